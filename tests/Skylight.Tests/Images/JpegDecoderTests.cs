using Skylight.Images;

namespace Skylight.Tests.Images;

public class JpegDecoderTests
{
    private static byte[] Baseline => ImageSamples.Bytes("variants/baseline-22_11_11-37x29.jpg");

    private static byte[] Progressive => ImageSamples.Bytes("variants/progressive-22_11_11-37x29.jpg");

    [Fact]
    public void Data_behind_the_end_and_fill_bytes_before_markers_are_ignored()
    {
        string expected = ImageSamples.Hash(ImageDecoders.Standard.Decode(Baseline));
        Assert.Equal(expected, ImageSamples.Hash(ImageDecoders.Standard.Decode((byte[])[.. Baseline, 0xFF, 0xD8, 1, 2])));
        foreach (int marker in Segments(Baseline))
            Assert.Equal(expected,
                ImageSamples.Hash(
                    ImageDecoders.Standard.Decode((byte[])[.. Baseline[..marker], 0xFF, 0xFF, .. Baseline[marker..]])));
    }

    [Fact]
    public void Every_truncation_is_refused()
    {
        foreach (byte[] file in (byte[][])[Baseline, Progressive])
        {
            for (int length = 0; length < file.Length; length++)
                Assert.Throws<ImageException>(() => ImageDecoders.Standard.Decode(file.AsMemory(0, length)));
        }
    }

    [Fact]
    public void Arithmetic_coding_is_refused() =>
        Refused("arithmetic", ImageSamples.Bytes("variants/arithmetic-16x16.jpg"));

    [Theory]
    [InlineData(0xC3, "lossless")]
    [InlineData(0xC6, "hierarchical")]
    [InlineData(0xCA, "arithmetic")]
    public void Other_processes_are_refused(int frame, string says) =>
        Refused(says, Changed(Baseline, 0xC0, 1, (byte)frame));

    [Fact]
    public void Wrong_headers_are_refused()
    {
        // Offsets from the marker: 2 length, 4 precision, 5 height, 7 width, 9 components, 10 id, 11 sampling, 12 table.
        Refused("12 bits", Changed(Baseline, 0xC0, 4, 12));
        Refused("height", Changed(Changed(Baseline, 0xC0, 5, 0), 0xC0, 6, 0));
        Refused("0", Changed(Changed(Baseline, 0xC0, 7, 0), 0xC0, 8, 0));
        Refused("cannot hold", Changed(Baseline, 0xC0, 5, 0x60));
        Refused("MaximumPixels", Changed(Changed(Baseline, 0xC0, 5, 0x90), 0xC0, 7, 0x90));
        Refused("frame header", Changed(Baseline, 0xC0, 9, 4));
        Refused("component 1", Changed(Baseline, 0xC0, 11, 0x52));
        Refused("component 1", Changed(Baseline, 0xC0, 11, 0));
        Refused("component 2", Changed(Baseline, 0xC0, 14, 0x10));
        Refused("names component 2", Changed(Baseline, 0xC0, 13, 1));
        Refused("quantisation table 3 is missing", Changed(Baseline, 0xC0, 12, 3));
        Refused("scan header", Changed(Baseline, 0xDA, 4, 0));
        Refused("component 9", Changed(Baseline, 0xDA, 5, 9));
        Refused("Huffman table 3 is missing", Changed(Baseline, 0xDA, 6, 0x33));
        Refused("not valid", Changed(Progressive, 0xDA, 12, 9));
        Refused("Huffman table", Changed(Baseline, 0xC4, 5, 200));
        Refused("more codes of 1 bits", Changed(Changed(Baseline, 0xC4, 5, 3), 0xC4, 7, 0));
        Refused("quantisation", Changed(Baseline, 0xDB, 4, 0x20));
        Refused("two frame headers", Repeated(Baseline, 0xC0));
        Refused("before the frame header", Without(Baseline, 0xC0));
        Refused("Huffman table 0 is missing", Without(Progressive, 0xC4));
        Refused("without a picture", [0xFF, 0xD8, 0xFF, 0xD9]);
        int segment = Segments(Baseline)[1];
        Refused("no segment of kind 0x02", [.. Baseline[..segment], 0xFF, 2, 3, .. Baseline[segment..]]);
        Refused("second picture", [.. Baseline[..2], 0xFF, 0xD8, 0, 2, .. Baseline[2..]]);
    }

    /// <summary>A file cannot send the same scan again and again to keep the decoder busy.</summary>
    [Fact]
    public void Repeated_scans_are_refused()
    {
        byte[] file = Baseline;
        int scan = Segments(file).First(marker => file[marker + 1] == 0xDA);
        Refused("comes twice", [.. file[..^2], .. file[scan..]]);
    }

    /// <summary>
    /// Every bit of every coefficient in a scan of its own is a right file; an encoder that does this does not exist.
    /// </summary>
    [Fact]
    public void Too_many_scans_are_refused()
    {
        byte[] table = [0, .. Enumerable.Repeat((byte)1, 64)];
        var file = new List<byte>(
            [0xFF, 0xD8, 0xFF, 0xDB, 0, 67, .. table, 0xFF, 0xC2, 0, 11, 8, 0, 8, 0, 8, 1, 1, 0x11, 0]);
        foreach (byte kind in (byte[])[0x00, 0x10])
            file.AddRange([0xFF, 0xC4, 0, 20, kind, 1, .. new byte[15], 0]);
        // One code, '0': no difference, or the end of the block.
        Scan(0, 0);
        Assert.Equal(8, Decode().Width);
        for (int coefficient = 1; coefficient <= 63 && file.Count < 20_000; coefficient++)
        {
            Scan(coefficient, 9);
            for (int low = 8; low >= 0; low--)
                Scan(coefficient, (low + 1) << 4 | low);
            if (coefficient == 20)
                Assert.Equal(128, Decode().Pixels[0]);
        }

        Assert.Contains("more than 256 scans", Assert.Throws<ImageException>(Decode).Message);

        void Scan(int coefficient, int bits) =>
            file.AddRange([0xFF, 0xDA, 0, 8, 1, 1, 0, (byte)coefficient, (byte)coefficient, (byte)bits, 0x3F]);
        RgbImage Decode() => ImageDecoders.Standard.Decode((byte[])[.. file, 0xFF, 0xD9]);
    }

    private static void Refused(string says, byte[] file) =>
        Assert.Contains(says, Assert.Throws<ImageException>(() => ImageDecoders.Standard.Decode(file)).Message);

    /// <summary>Where the segments begin; the data of a scan belongs to its header.</summary>
    private static List<int> Segments(byte[] file)
    {
        var found = new List<int>();
        for (int position = 2; file[position + 1] != 0xD9;)
        {
            found.Add(position);
            position += 2 + (file[position + 2] << 8) + file[position + 3];
            while (file[position] != 0xFF || file[position + 1] == 0 || file[position + 1] is >= 0xD0 and <= 0xD7)
                position++;
        }

        return found;
    }

    private static byte[] Changed(byte[] file, byte kind, int offset, byte value)
    {
        byte[] changed = [.. file];
        changed[Find(file, kind).Start + offset] = value;
        return changed;
    }

    private static byte[] Without(byte[] file, byte kind)
    {
        while (Segments(file).Any(marker => file[marker + 1] == kind))
        {
            (int start, int end) = Find(file, kind);
            file = [.. file[..start], .. file[end..]];
        }

        return file;
    }

    private static byte[] Repeated(byte[] file, byte kind)
    {
        (int start, int end) = Find(file, kind);
        return [.. file[..end], .. file[start..end], .. file[end..]];
    }

    private static (int Start, int End) Find(byte[] file, byte kind)
    {
        int start = Segments(file).First(marker => file[marker + 1] == kind);
        return (start, start + 2 + (file[start + 2] << 8) + file[start + 3]);
    }
}
