using Skylight.Images;

namespace Skylight.Tests.Images;

public class PngDecoderTests
{
    private static readonly (int Color, int[] Depths)[] Kinds = [(0, [1, 2, 4, 8, 16]), (2, [8, 16]), (3, [1, 2, 4, 8]),
        (4, [8, 16]), (6, [8, 16])];

    public static TheoryData<int, int, bool> AllKinds
    {
        get
        {
            var data = new TheoryData<int, int, bool>();
            foreach ((int color, int[] depths) in Kinds)
            {
                foreach (int depth in depths)
                {
                    data.Add(color, depth, false);
                    data.Add(color, depth, true);
                }
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(AllKinds))]
    public void Every_kind_is_decoded(int color, int depth, bool interlaced)
    {
        var random = new Random((color * 100) + depth + (interlaced ? 1000 : 0));
        int channels = color switch { 2 => 3, 4 => 2, 6 => 4, _ => 1 };
        foreach ((int width, int height) in ((int, int)[])[(1, 1), (2, 3), (5, 1), (1, 9), (8, 8), (13, 11), (33, 7),
            (64, 17)])
        {
            byte[] palette = new byte[3 << Math.Min(depth, 8)];
            random.NextBytes(palette);
            int[] samples = new int[width * height * channels];
            for (int i = 0; i < samples.Length; i++)
                samples[i] = depth == 16 && random.Next(2) == 0 ? random.Next(300) : random.Next(1 << depth);
            byte[] rows = PngWriter.Compress(PngWriter.Rows(samples, width, height, channels, depth, interlaced, random));
            int cut = random.Next(rows.Length);
            byte[] file = PngWriter.File(
                [("IHDR", PngWriter.Header(width, height, depth, color, interlaced)), ("gAMA", [0, 0, 1, 2]),
                    .. color == 3 ? [("PLTE", palette)] : ((string, byte[])[])[],
                ("tRNS", [0, 0]), ("IDAT", rows[..cut]), ("IDAT", []), ("IDAT", rows[cut..]), ("tEXt", [65, 0, 66]),
                ("IEND", [])]);

            RgbImage image = ImageDecoders.Standard.Decode(file);
            Assert.Equal((width, height), (image.Width, image.Height));
            for (int i = 0; i < width * height; i++)
            {
                int[] pixel = samples[(i * channels)..((i + 1) * channels)];
                byte[] expected = color switch
                {
                    3 => palette[(3 * pixel[0])..((3 * pixel[0]) + 3)],
                    0 when depth == 16 => Gray(Math.Min(pixel[0], 255)),
                    0 => Gray(pixel[0] * 255 / ((1 << depth) - 1)),
                    4 => Gray(pixel[0] >> (depth - 8)),
                    _ => [.. pixel[..3].Select(value => (byte)(value >> (depth - 8)))],
                };
                Assert.Equal(expected, image.Pixels[(3 * i)..((3 * i) + 3)]);
            }
        }
    }

    private static byte[] Gray(int value) => [(byte)value, (byte)value, (byte)value];

    [Fact]
    public void What_follows_the_end_is_ignored() =>
        Assert.Equal(ImageSamples.Hash(ImageSamples.Decode("gray16.png")),
            ImageSamples.Hash(ImageDecoders.Standard.Decode((byte[])[.. ImageSamples.Bytes("gray16.png"), 1, 2, 3])));

    public static TheoryData<string, byte[]> Damaged
    {
        get
        {
            (string, byte[]) header = ("IHDR", PngWriter.Header(2, 2, 8, 0));
            (string, byte[]) pixels = ("IDAT", PngWriter.Compress([0, 1, 2, 0, 3, 4]));
            (string, byte[]) end = ("IEND", []);
            byte[] wrongSum = PngWriter.File(header, pixels, end);
            wrongSum[^20]++;
            byte[] wrongHeaderSum = PngWriter.File(header, pixels, end);
            wrongHeaderSum[30]++;
            return new TheoryData<string, byte[]>
            {
                { "damaged", wrongSum },
                { "checksum", wrongHeaderSum },
                { "cut off", PngWriter.File(header) },
                { "end before the picture", [.. PngWriter.File(header, pixels)[..^10]] },
                { "no pixels", PngWriter.File(header, end) },
                { "first chunk", PngWriter.File(pixels, header, end) },
                { "no chunk begins", PngWriter.File(header, ("A\u0001CD", []), pixels, end) },
                { "end before the picture", PngWriter.File(header, ("IDAT", PngWriter.Compress([0, 1, 2, 0, 3])), end) },
                { "damaged", PngWriter.File(header, ("IDAT", [1, 2, 3, 4]), end) },
                { "damaged", PngWriter.File(header, ("IDAT", [0x78, 0xBB, 1, 2, 3, 4]), end) },
                { "filter type 5", PngWriter.File(header, ("IDAT", PngWriter.Compress([5, 1, 2, 0, 3, 4])), end) },
                { "header chunk has 12 bytes", PngWriter.File(("IHDR", new byte[12]), pixels, end) },
                { "0×2", PngWriter.File(("IHDR", PngWriter.Header(0, 2, 8, 0)), pixels, end) },
                { "colour type 2 with 4 bits", PngWriter.File(("IHDR", PngWriter.Header(2, 2, 4, 2)), pixels, end) },
                { "colour type 5", PngWriter.File(("IHDR", PngWriter.Header(2, 2, 8, 5)), pixels, end) },
                { "palette of 771 bytes",
                    PngWriter.File(("IHDR", PngWriter.Header(2, 2, 8, 3)), ("PLTE", new byte[771]), pixels, end) },
                { "cannot hold", PngWriter.File(("IHDR", PngWriter.Header(9000, 9000, 8, 2)), pixels, end) },
                { "MaximumPixels", PngWriter.File(("IHDR", PngWriter.Header(20000, 20000, 8, 2)), pixels, end) },
                { "MaximumWidth", PngWriter.File(("IHDR", PngWriter.Header(4294967295, 1, 8, 2)), pixels, end) },
            };
        }
    }

    [Theory]
    [MemberData(nameof(Damaged))]
    public void A_damaged_file_is_refused(string says, byte[] file) =>
        Assert.Contains(says, Assert.Throws<ImageException>(() => ImageDecoders.Standard.Decode(file)).Message);
}
