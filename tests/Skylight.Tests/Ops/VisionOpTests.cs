using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Tests.Ops;

public class VisionOpTests
{
    [Fact]
    public void Patches_are_ordered_as_a_convolution_weight()
    {
        const int images = 2, channels = 3, height = 4, width = 6, patchHeight = 2, patchWidth = 3;
        float[] pixels = [.. Enumerable.Range(0, images * channels * height * width).Select(index => (float)index)];
        var expected = new List<float>();
        for (int image = 0; image < images; image++)
            for (int row = 0; row < height / patchHeight; row++)
                for (int column = 0; column < width / patchWidth; column++)
                    for (int channel = 0; channel < channels; channel++)
                        for (int y = 0; y < patchHeight; y++)
                            for (int x = 0; x < patchWidth; x++)
                                expected.Add(
                                    pixels[((image * channels + channel) * height + row * patchHeight + y) * width
                                        + column * patchWidth + x]);
        Assert.Equal(expected,
            OpRun.Floats(new PatchGather(patchHeight, patchWidth), OpRun.Given(pixels, images, channels, height, width))[0]);
    }

    [Fact]
    public void Images_that_do_not_divide_into_patches_are_refused()
    {
        GraphException exception = Assert.Throws<GraphException>(
            () => new PatchGather(14, 14).Infer([TensorType.Float32(1, 3, 28, 30)]));
        Assert.Contains("28 x 30", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Pixels_have_no_gradient()
    {
        var graph = new Graph();
        Value pixels = graph.Input("pixels", TensorType.Float32(1, 1, 2, 2));
        Value loss = graph.Add(new Sum(), graph.Add(new PatchGather(2, 2), pixels));
        Assert.Contains("PatchGather",
            Assert.Throws<GraphException>(() => graph.Differentiate(loss, [pixels], graph.Add(new One()), new Add()))
                .Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Class_token_comes_first_and_every_token_gets_its_position()
    {
        float[] patches = [1, 2, 3, 4], classToken = [10], positions = [100, 200, 300];
        Assert.Equal([110, 201, 302, 110, 203, 304],
            OpRun.Floats(new AddClassTokenAndPositions(), OpRun.Given(patches, 4, 1), OpRun.Given(classToken, 1),
                OpRun.Given(positions, 3, 1))[0]);
    }

    [Fact]
    public void Pixel_shuffle_joins_squares_and_drops_class_tokens()
    {
        // Two images, grid 2 x 4, one column: class token -1, then 0 … 7 (and 10 … 17).
        float[] hidden = [-1, 0, 1, 2, 3, 4, 5, 6, 7, -1, 10, 11, 12, 13, 14, 15, 16, 17];
        float[] shuffled = OpRun.Floats(new PixelShuffle(2, 4), OpRun.Given(hidden, 18, 1))[0];
        Assert.Equal([0, 1, 4, 5, 2, 3, 6, 7, 10, 11, 14, 15, 12, 13, 16, 17], shuffled);
        float[] back = OpRun.Floats(new PixelShuffleBackward(2, 4), OpRun.Given(shuffled, 4, 4))[0];
        Assert.Equal(hidden.Select(value => Math.Max(value, 0)), back);
    }

    [Fact]
    public void Odd_grids_cannot_be_shuffled() =>
        Assert.Contains("3 x 4",
            Assert.Throws<GraphException>(() => new PixelShuffle(3, 4).Infer([TensorType.Float32(13, 2)])).Message,
            StringComparison.Ordinal);

    [Fact]
    public void Equal_grids_are_copied_exactly()
    {
        float[] table = Numbers.Random(1, (1 + 3 * 5) * 7);
        Assert.Equal(table, OpRun.Floats(new InterpolatePositions(3, 5, 3, 5), OpRun.Given(table, 16, 7))[0]);
    }

    [Fact]
    public void A_constant_stays_constant()
    {
        float[] table = [.. Enumerable.Repeat(0.7f, 1 + 4 * 3)];
        Numbers.AssertClose([.. Enumerable.Repeat(0.7, 1 + 7 * 5)],
            OpRun.Floats(new InterpolatePositions(4, 3, 7, 5), OpRun.Given(table, 13, 1))[0].ToArray(), 1e-6);
    }

    [Theory]
    [InlineData(4, 3, 7, 5)]
    [InlineData(4, 6, 2, 3)]
    [InlineData(2, 2, 5, 1)]
    [InlineData(1, 8, 3, 8)]
    public void Interpolation_is_the_bicubic_convolution(int sourceHeight, int sourceWidth, int targetHeight,
        int targetWidth)
    {
        float[] table = Numbers.Random(2, 1 + sourceHeight * sourceWidth);
        var expected = new List<double> { table[0] };
        for (int y = 0; y < targetHeight; y++)
        {
            for (int x = 0; x < targetWidth; x++)
            {
                // Every source pixel of an endless picture whose border goes on for ever, weighted by Keys' kernel of
                // its distance.
                double centreY = (y + 0.5) * sourceHeight / targetHeight - 0.5,
                    centreX = (x + 0.5) * sourceWidth / targetWidth - 0.5, sum = 0;
                for (int line = -4; line < sourceHeight + 4; line++)
                {
                    for (int column = -4; column < sourceWidth + 4; column++)
                    {
                        int clampedLine = Math.Min(Math.Max(line, 0), sourceHeight - 1),
                            clampedColumn = Math.Min(Math.Max(column, 0), sourceWidth - 1);
                        sum += Keys(line - centreY) * Keys(column - centreX)
                            * table[1 + clampedLine * sourceWidth + clampedColumn];
                    }
                }

                expected.Add(sum);
            }
        }

        Numbers.AssertClose(expected,
            OpRun.Floats(new InterpolatePositions(sourceHeight, sourceWidth, targetHeight, targetWidth),
                OpRun.Given(table, table.Length, 1))[0], 2e-6);
    }

    /// <summary>Keys' cubic convolution kernel (1981), a = −3/4.</summary>
    private static double Keys(double distance)
    {
        const double a = -0.75;
        double d = Math.Abs(distance);
        return d switch
        {
            <= 1 => (a + 2) * d * d * d - (a + 3) * d * d + 1,
            < 2 => a * d * d * d - 5 * a * d * d + 8 * a * d - 4 * a,
            _ => 0,
        };
    }
}
