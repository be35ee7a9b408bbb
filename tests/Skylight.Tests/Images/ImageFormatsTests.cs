using System.Buffers.Binary;
using System.Text.Json;
using Skylight.Images;
using Skylight.ImageSharp;

namespace Skylight.Tests.Images;

/// <summary>
/// WebP, GIF, BMP, TIFF, TGA and PNM: each file has the bytes that Pillow gives, or is refused with a reason.
/// </summary>
public class ImageFormatsTests
{
    private const string Folder = "formats/";

    private static readonly Lazy<JsonDocument> s_pillow = new(
        () => JsonDocument.Parse(ImageSamples.Bytes(Folder + "pillow.json")));

    public static TheoryData<string> Files => [.. s_pillow.Value.RootElement.EnumerateObject().Select(file => file.Name)];

    [Theory]
    [MemberData(nameof(Files))]
    public void Has_the_bytes_of_Pillow(string name)
    {
        JsonElement expected = s_pillow.Value.RootElement.GetProperty(name);
        if (expected.TryGetProperty("refused", out JsonElement says))
        {
            Assert.Contains(says.GetString()!,
                Assert.Throws<ImageException>(() => ImageSamples.Decode(Folder + name)).Message);
            return;
        }

        RgbImage image = ImageSamples.Decode(Folder + name);
        Assert.Equal((expected.GetProperty("width").GetInt32(), expected.GetProperty("height").GetInt32()),
            (image.Width, image.Height));
        Assert.Equal(expected.GetProperty("rgb_sha256").GetString(), ImageSamples.Hash(image));
    }

    [Fact]
    public void Every_file_is_held_by_a_hash() =>
        Assert.Equal(
            Directory.EnumerateFiles(ImageSamples.PathOf(Folder)).Select(Path.GetFileName)
                .Where(name => name is not ("pillow.json" or "make.py")).Order(StringComparer.Ordinal),
            s_pillow.Value.RootElement.EnumerateObject().Select(file => file.Name).Order(StringComparer.Ordinal));

    /// <summary>Headers that announce far more than they hold; nothing is reserved for it.</summary>
    [Theory]
    [InlineData("rgb.webp")]
    [InlineData("lossless.webp")]
    [InlineData("palette.gif")]
    [InlineData("rgb.bmp")]
    [InlineData("rle8.bmp")]
    [InlineData("rgb-raw.tif")]
    [InlineData("rgb-tiff_adobe_deflate.tif")]
    [InlineData("rgb.tga")]
    [InlineData("palette-rle.tga")]
    [InlineData("rgb.ppm")]
    public void A_bomb_is_refused_before_memory_is_reserved(string name)
    {
        byte[] file = ImageSamples.Bytes(Folder + name);
        (int at, int bytes) = Path.GetExtension(name) switch
        {
            ".webp" => name[0] == 'l' ? (21, 4) : (26, 4),
            ".gif" => (6, 4),
            ".bmp" => (18, 8),
            ".tga" => (12, 4),
            _ => (0, 0),
        };
        if (Path.GetExtension(name) == ".tif")
        {
            int entries = BinaryPrimitives.ReadInt32LittleEndian(file.AsSpan(4)) + 2;
            for (int entry = entries; entry < entries + (12 * 8); entry += 12)
            {
                if (BinaryPrimitives.ReadUInt16LittleEndian(file.AsSpan(entry)) is 256 or 257)
                    BinaryPrimitives.WriteUInt16LittleEndian(file.AsSpan(entry + 8), 60000);
            }
        }
        else if (bytes == 0)
        {
            file = "P6 60000 60000 255\n"u8.ToArray();
        }
        else
        {
            for (int index = 0; index < bytes; index++)
                file[at + index] = bytes == 8 ? (byte)(index % 4 is 0 or 1 ? 0x7F : 0) : (byte)0x7F;
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        string message = Assert.Throws<ImageException>(() => ImageSamples.Decoders.Decode(file)).Message;
        Assert.Contains(nameof(ImageLimits.MaximumPixels), message);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
    }

    [Theory]
    [InlineData("rgb.webp")]
    [InlineData("palette.gif")]
    [InlineData("rgb.bmp")]
    [InlineData("rgb-tiff_lzw.tif")]
    [InlineData("rgb.tga")]
    [InlineData("rgb.ppm")]
    public void Limits_hold_and_decoding_can_be_stopped(string name)
    {
        byte[] file = ImageSamples.Bytes(Folder + name);
        RgbImage image = ImageSamples.Decode(Folder + name);
        var exact = new ImageLimits
        {
            MaximumEncodedBytes = file.Length,
            MaximumWidth = image.Width,
            MaximumHeight = image.Height,
            MaximumPixels = image.Width * image.Height,
        };
        Assert.Equal(image.Pixels, ImageSamples.Decoders.Decode(file, exact).Pixels);
        Refused(nameof(ImageLimits.MaximumEncodedBytes), exact with { MaximumEncodedBytes = file.Length - 1 });
        Refused(nameof(ImageLimits.MaximumWidth), exact with { MaximumWidth = image.Width - 1 });
        Refused(nameof(ImageLimits.MaximumHeight), exact with { MaximumHeight = image.Height - 1 });
        Refused(nameof(ImageLimits.MaximumPixels), exact with { MaximumPixels = exact.MaximumPixels - 1 });
        using var stop = new CancellationTokenSource();
        stop.Cancel();
        IImageDecoder decoder = ImageSharpDecoders.All.FirstOrDefault(decoder => decoder.Recognizes(file))
            ?? new PnmDecoder();
        Assert.ThrowsAny<OperationCanceledException>(() => decoder.Decode(file, ImageLimits.Default, stop.Token));

        void Refused(string says, ImageLimits limits) =>
            Assert.Contains(says, Assert.Throws<ImageException>(() => ImageSamples.Decoders.Decode(file, limits)).Message);
    }

    [Theory]
    [InlineData("rgb.webp", "WebP")]
    [InlineData("palette.gif", "GIF")]
    [InlineData("rgb.bmp", "BMP")]
    [InlineData("rgb-raw.tif", "TIFF")]
    public void Who_leaves_the_package_out_is_told_its_name(string name, string says)
    {
        string message = Assert.Throws<ImageException>(
            () => ImageDecoders.Standard.Decode(ImageSamples.Bytes(Folder + name))).Message;
        Assert.Contains($"it is a {says}", message);
        Assert.Contains("Skylight.ImageSharp", message);
        Assert.Contains("WithImageSharp()", message);
    }

    [Fact]
    public void Animations_and_what_is_cut_off_are_refused()
    {
        byte[] animated = [.. "RIFF"u8, 30, 0, 0, 0, .. "WEBPVP8X"u8, 10, 0, 0, 0, 2, .. new byte[20]];
        Assert.Contains("animation", Assert.Throws<ImageException>(() => ImageSamples.Decoders.Decode(animated)).Message);
        byte[] file = ImageSamples.Bytes("coffee-lossless.webp");
        for (int length = 12; length < file.Length; length += 7)
            Assert.Throws<ImageException>(() => ImageSamples.Decoders.Decode(file.AsMemory(0, length)));
    }

    /// <summary>
    /// Skips, and runs of an odd number of half bytes, which Pillow 9.4 reads otherwise than the format says.
    /// </summary>
    [Theory]
    [InlineData(8, 1, new byte[] { 2, 3, 0, 2, 1, 0, 1, 4, 0, 0, 0, 3, 1, 2, 3, 0, 0, 1 },
        new byte[] { 1, 2, 3, 0, 3, 3, 0, 4 })]
    [InlineData(4, 2, new byte[] { 4, 0x12, 0, 0, 0, 3, 0x34, 0x50, 1, 0x60, 0, 1 }, new byte[] { 3, 4, 5, 6, 1, 2, 1, 2 })]
    public void Run_lengths_of_BMP_are_read_as_the_format_says(int bits, int compression, byte[] runs, byte[] indices)
    {
        int start = 54 + (4 << bits);
        byte[] file = new byte[start + runs.Length];
        "BM"u8.CopyTo(file);
        (int At, int Value)[] fields = [(10, start), (14, 40), (18, 4), (22, 2), (26, 1 | (bits << 16)), (30, compression)];
        foreach ((int at, int value) in fields)
            BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(at), value);
        for (int index = 0; index < 1 << bits; index++)
            file[54 + (4 * index)] = (byte)index;
        runs.CopyTo(file, start);
        byte[] pixels = ImageSamples.Decoders.Decode(file).Pixels;
        Assert.Equal(indices, indices.Select((_, index) => pixels[(3 * index) + 2]));
    }

    /// <summary>A file that is no picture must not be taken for TGA, which has no signature.</summary>
    [Fact]
    public void Other_files_are_no_TGA()
    {
        IImageDecoder tga = ImageSharpDecoders.All[^1];
        foreach (string folder in (string[])["samples", "samples/variants"])
        {
            foreach (string file in Directory.EnumerateFiles(ImageSamples.PathOf("..") + "/" + folder))
                Assert.False(tga.Recognizes(File.ReadAllBytes(file)), file);
        }

        foreach (byte[] data in (byte[][])[[0, 0, 1, 0, 1, 0, 16, 16, .. new byte[40]],
            [0, 0, 2, 0, 1, 0, 16, 16, .. new byte[40]], new byte[100], [.. "\0\0\0\u0020ftypavif"u8, .. new byte[40]]])
            Assert.False(tga.Recognizes(data));
    }

    /// <summary>A lossless WebP of some bytes: one inner pixel that asks for 65,536 groups of tables.</summary>
    [Fact]
    public void Tables_of_a_small_WebP_are_bounded()
    {
        var bits = new List<int>();
        void Put(int value, int count) => bits.AddRange(Enumerable.Range(0, count).Select(bit => (value >> bit) & 1));
        Put(0x2F, 8);
        Put(3, 14);
        Put(3, 14);
        Put(0, 4); // No alpha, version 0.
        Put(0, 2); // No transform, no cache.
        Put(1, 1);
        Put(0, 3); // Groups for each 4×4 pixels: one inner pixel, whose red and green are the group.
        Put(0, 1);
        foreach (int symbol in (int[])[255, 255, 0, 0, 0])
        {
            Put(1, 1); // A code of one symbol.
            Put(0, 1);
            Put(1, 1);
            Put(symbol, 8);
        }

        byte[] chunk = new byte[64];
        for (int bit = 0; bit < bits.Count; bit++)
            chunk[bit / 8] |= (byte)(bits[bit] << (bit % 8));
        byte[] file = [.. "RIFF"u8, 76, 0, 0, 0, .. "WEBPVP8L"u8, 64, 0, 0, 0, .. chunk];
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Contains("tables of codes", Assert.Throws<ImageException>(() => ImageSamples.Decoders.Decode(file)).Message);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
    }

    /// <summary>Strips that share their bytes would make a large file of a small one.</summary>
    [Fact]
    public void Strips_that_overlap_are_refused()
    {
        byte[] file = ImageSamples.Bytes(Folder + "rows2.tif");
        int table = file.AsSpan().IndexOf((byte[])[0x11, 1, 4, 0, 3, 0, 0, 0]),
            counts = file.AsSpan().IndexOf((byte[])[0x17, 1, 4, 0, 3, 0, 0, 0]);
        int values = BinaryPrimitives.ReadInt32LittleEndian(file.AsSpan(counts + 8));
        Assert.True(table > 0 && counts > 0);
        for (int strip = 0; strip < 3; strip++)
            BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(values + (4 * strip)), file.Length / 2);
        Assert.Contains("longer than the file",
            Assert.Throws<ImageException>(() => ImageSamples.Decoders.Decode(file)).Message);
    }
}
