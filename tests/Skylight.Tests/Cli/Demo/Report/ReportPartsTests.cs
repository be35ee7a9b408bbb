using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using System.Xml.Linq;
using Skylight.Cli.Demo.Report;
using Skylight.Images;
using Skylight.Training;
using Skylight.Training.Reports;

namespace Skylight.Tests.Cli.Demo.Report;

public class ReportPartsTests
{
    [Fact]
    public void A_picture_comes_back_from_its_png()
    {
        var pixels = new byte[7 * 5];
        new Random(1).NextBytes(pixels);
        byte[] png = PngEncoder.EncodeGray(pixels, width: 7, height: 5);

        Assert.Equal([0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A], png[..8]);
        Dictionary<string, byte[]> chunks = ReadChunks(png);
        Assert.Equal([0, 0, 0, 7, 0, 0, 0, 5, 8, 0, 0, 0, 0], chunks["IHDR"]);

        using var rows = new ZLibStream(new MemoryStream(chunks["IDAT"]), CompressionMode.Decompress);
        var decoded = new MemoryStream();
        rows.CopyTo(decoded);
        byte[][] lines = [.. decoded.ToArray().Chunk(8)];
        Assert.All(lines, line => Assert.Equal(0, line[0]));
        Assert.Equal(pixels, lines.SelectMany(line => line[1..]));

        // The checksum of an empty IEND chunk is the same in every PNG.
        Assert.Equal([0xAE, 0x42, 0x60, 0x82], png[^4..]);
        Assert.Throws<ArgumentException>(() => PngEncoder.EncodeGray(pixels, 7, 6));
    }

    [Theory]
    [InlineData(0, 1, new[] { 0, 0.25, 0.5, 0.75, 1 })]
    [InlineData(0, 0.83, new[] { 0, 0.25, 0.5, 0.75, 1 })]
    [InlineData(0, 37, new double[] { 0, 10, 20, 30, 40 })]
    [InlineData(3, 3, new[] { 3, 3.25, 3.5, 3.75, 4 })]
    public void Ticks_are_round_and_cover_the_data(double low, double high, double[] expected) =>
        Assert.Equal(expected, LineChart.Ticks(low, high));

    [Fact]
    public void A_chart_leaves_out_what_is_no_number_and_marks_a_step()
    {
        var chart = new LineChart
        {
            Description = "a < b",
            Format = value => Markup.Number(value, 1),
            Series = [new("line", "one", [(1, 0.5), (2, double.NaN), (3, null), (4, 1.5)])],
            Mark = (3, "here"),
        };
        XElement svg = XElement.Parse(chart.ToSvg());
        Assert.Equal("a < b", svg.Attribute("aria-label")!.Value);
        Assert.Equal(2, svg.Elements("circle").Count());
        Assert.DoesNotContain("NaN", svg.ToString());
        Assert.Contains(svg.Elements("text"), text => text.Value == "here");
    }

    [Fact]
    public void Checkpoints_agree_only_if_the_pick_by_entropy_is_as_accurate()
    {
        CheckpointRanking disagree = CheckpointRanking.Of(
            [new(1, 0.9, 0.3, false), new(2, 0.8, 0.4, false), new(3, 0.7, 0.5, false)])!;
        Assert.Equal((1, 3, false), (disagree.BestByEntropy.Step, disagree.BestByAccuracy.Step, disagree.Agree));
        Assert.Equal(-1.0, disagree.RankCorrelation!.Value, 12);
        // The most accurate one writes no critical token at all.
        CheckpointRanking silent = CheckpointRanking.Of(
            [new(1, 0.9, 0.3, false), new(2, 0.8, 0.2, false), new(3, null, 0.5, true)])!;
        Assert.Equal((1, 3, false), (silent.BestByEntropy.Step, silent.BestByAccuracy.Step, silent.Agree));

        CheckpointRanking tie = CheckpointRanking.Of(
            [new(1, 0.7, 0.5, false), new(2, 0.9, 0.5, false), new(3, null, 0.4, false)])!;
        Assert.True(tie.Agree);
        Assert.Null(tie.RankCorrelation);
        Assert.Null(CheckpointRanking.Of([new(1, null, 0.5, false)]));
    }

    [Theory]
    [InlineData(0, 1000, 0, 0.0038)]
    [InlineData(1000, 1000, 0.9962, 1)]
    [InlineData(500, 1000, 0.4691, 0.5309)]
    public void Intervals_are_wilsons(int correct, int count, double low, double high)
    {
        (double Low, double High) interval = new PhaseResult("", "", "", correct, count, 0).Interval;
        Assert.Equal(low, interval.Low, 4);
        Assert.Equal(high, interval.High, 4);
    }

    [Fact]
    public void Text_is_escaped_and_pairs_of_surrogates_survive()
    {
        Assert.Equal("&lt;a b=&quot;c&#39;&quot;&gt; &amp;", Markup.Escape("<a b=\"c'\"> &"));
        Assert.Equal("😀\uFFFD", Markup.Escape("😀\ud800"));
        Assert.Equal("48\u00a0s", Markup.Duration(48.2));
        Assert.Equal("–", Markup.Number(double.NaN));
    }

    private static Dictionary<string, byte[]> ReadChunks(byte[] png)
    {
        var chunks = new Dictionary<string, byte[]>();
        for (int position = 8; position < png.Length;)
        {
            int length = BinaryPrimitives.ReadInt32BigEndian(png.AsSpan(position));
            chunks[Encoding.ASCII.GetString(png, position + 4, 4)] = png[(position + 8)..(position + 8 + length)];
            position += 12 + length;
        }

        return chunks;
    }
}
