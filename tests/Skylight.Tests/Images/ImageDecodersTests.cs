using System.Text;
using Skylight.Images;

namespace Skylight.Tests.Images;

public class ImageDecodersTests
{
    public static TheoryData<string, byte[]> Unsupported => new()
    {
        { "empty", [] },
        { "all of its 100 bytes are zero", new byte[100] },
        { "git-lfs pointer", Text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n") },
        { "GIF", Text("GIF89a......") },
        { "BMP", Text("BM..............") },
        { "TIFF", Text("II*\0........") },
        { "TIFF", Text("MM\0*........") },
        { "AVIF", Text("\0\0\0\u0020ftypavif....") },
        { "HEIC", Text("\0\0\0\u0018ftypheic....") },
        { "MP4", Text("\0\0\0\u0018ftypisom....") },
        { "JPEG 2000", Text("\0\0\0\u000CjP  ....") },
        { "JPEG XL", [0xFF, 0x0A, 1, 2] },
        { "PDF", Text("%PDF-1.7") },
        { "SVG", Text("<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"/>") },
        { "SVG", Text("  <svg/>") },
        { "HTML", Text("<!DOCTYPE html><html>404") },
        { "JSON", Text("{\"error\": 1}") },
        { "data URL", Text("data:image/png;base64,AAAA") },
        { "RIFF", Text("RIFF....WAVEfmt ") },
        { "PAM", Text("P7\nWIDTH 1\n") },
        { "unknown (first bytes: 0102)", [1, 2] },
        { "unknown", [0x89, (byte)'P'] },
    };

    [Theory]
    [MemberData(nameof(Unsupported))]
    public void What_was_found_instead_of_a_picture_is_said(string says, byte[] data)
    {
        string message = Assert.Throws<ImageException>(() => ImageDecoders.Standard.Decode(data)).Message;
        Assert.Contains(says, message);
        Assert.Contains("PNG, JPEG, PNM", message);
    }

    [Fact]
    public void A_host_adds_a_decoder_that_is_asked_first()
    {
        ImageDecoders decoders = ImageDecoders.Standard.With(new OnePixel());
        Assert.Equal(["One", "PNG", "JPEG", "PNM"], decoders.Formats);
        Assert.Equal([7, 8, 9], decoders.Decode("ONE"u8.ToArray()).Pixels);
        Assert.Equal(120, decoders.Decode(ImageSamples.Bytes("palette.png")).Width);
        Assert.Throws<ImageException>(() => ImageDecoders.Standard.Decode("ONE"u8.ToArray()));
    }

    [Theory]
    [InlineData("palette.png")]
    [InlineData("exif-rotated.jpg")]
    [InlineData("coffee.webp")]
    public void Limits_hold_for_every_format(string name)
    {
        byte[] file = ImageSamples.Bytes(name);
        RgbImage image = ImageSamples.Decode(name);
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

        void Refused(string says, ImageLimits limits) =>
            Assert.Contains(says, Assert.Throws<ImageException>(() => ImageSamples.Decoders.Decode(file, limits)).Message);
    }

    /// <summary>A header alone, however large the picture that it announces, reserves nothing for it.</summary>
    [Fact]
    public void A_header_that_lies_costs_nothing()
    {
        byte[] png = PngWriter.File(("IHDR", PngWriter.Header(9000, 11000, 16, 6)), ("IDAT", new byte[50]), ("IEND", []));
        byte[] jpeg = [0xFF, 0xD8, 0xFF, 0xC2, 0, 17, 8, 0x20, 0, 0x20, 0, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 0xFF,
            0xD9];
        foreach (byte[] file in (byte[][])[png, jpeg])
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            Assert.Contains("cannot hold", Assert.Throws<ImageException>(() => ImageDecoders.Standard.Decode(file)).Message);
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
        }
    }

    [Theory]
    [InlineData("cat.png")]
    [InlineData("cat-progressive-420.jpg")]
    public void Decoding_can_be_stopped(string name)
    {
        using var stop = new CancellationTokenSource();
        stop.Cancel();
        IImageDecoder decoder = name.EndsWith(".png", StringComparison.Ordinal) ? new PngDecoder() : new JpegDecoder();
        Assert.ThrowsAny<OperationCanceledException>(
            () => decoder.Decode(ImageSamples.Bytes(name), ImageLimits.Default, stop.Token));
        Assert.ThrowsAny<OperationCanceledException>(
            () => ImageDecoders.Standard.Decode(ImageSamples.Bytes(name), null, stop.Token));
    }

    [Fact]
    public void A_buffer_of_the_wrong_size_is_refused()
    {
        Assert.Contains("3·2·2 = 12", Assert.Throws<ArgumentException>(() => new RgbImage(2, 2, new byte[16])).Message);
        Assert.ThrowsAny<ArgumentException>(() => new RgbImage(0, 2, []));
        Assert.ThrowsAny<ArgumentException>(() => new RgbImage(2, -1, []));
        Assert.ThrowsAny<ArgumentException>(() => new RgbImage(65536, 65536, []));
    }

    private static byte[] Text(string text) => Encoding.Latin1.GetBytes(text);

    private sealed class OnePixel : IImageDecoder
    {
        public string Format => "One";

        public bool Recognizes(ReadOnlySpan<byte> header) => header.StartsWith("ONE"u8);

        public RgbImage Decode(ReadOnlyMemory<byte> data, ImageLimits limits,
            CancellationToken cancellationToken = default) => new(1, 1, [7, 8, 9]);
    }
}
