using Skylight.Images;

namespace Skylight.Tests.Images;

public class ImageProcessorTests
{
    [Theory]
    [InlineData(448, 448, 1, 1)]
    [InlineData(640, 480, 4, 3)]
    [InlineData(1024, 768, 4, 3)]
    [InlineData(1920, 1080, 4, 2)]
    [InlineData(1000, 1000, 3, 3)]
    [InlineData(1, 1, 1, 1)]
    [InlineData(20000, 20000, 3, 3)]
    [InlineData(65535, 1, 12, 1)]
    [InlineData(1, 65535, 1, 12)]
    public void Grids(int width, int height, int columns, int rows) =>
        Assert.Equal((columns, rows), new ImageTiling().Grid(width, height));

    [Fact]
    public void Fewest_and_most_tiles_hold()
    {
        var tiling = new ImageTiling { MinimumTiles = 4, MaximumTiles = 5 };
        foreach ((int width, int height) in ((int, int)[])[(1, 1), (100, 1), (1, 100), (300, 200), (2000, 2000)])
        {
            (int columns, int rows) = tiling.Grid(width, height);
            Assert.InRange(columns * rows, 4, 5);
        }

        Assert.Equal(4, (tiling with { UseThumbnail = false }).TileCount(100, 100));
        Assert.Equal(5, tiling.TileCount(100, 100));
        Assert.Throws<ArgumentException>(() => new ImageTiling { MinimumTiles = 3, MaximumTiles = 2 }.Grid(1, 1));
        Assert.Throws<ArgumentException>(() => new ImageProcessor(new ImageTiling { TileSize = 0 }));
        Assert.Throws<ArgumentException>(() => new ImageProcessor(new ImageTiling { TileSize = 30000 }));
        Assert.ThrowsAny<ArgumentException>(() => new ImageTiling().Grid(0, 1));
    }

    [Fact]
    public void Tiles_are_parts_of_the_resized_picture_in_rows_and_the_thumbnail_comes_last()
    {
        RgbImage image = Noise(60, 40);
        var processor = new ImageProcessor(new ImageTiling { TileSize = 20 });
        ProcessedImage processed = processor.Process(image);
        Assert.Equal((3, 2, 7, true, 20),
            (processed.Columns, processed.Rows, processed.Tiles.Count, processed.HasThumbnail, processed.TileSize));
        for (int tile = 0; tile < 6; tile++)
            Assert.Equal(image.Crop(tile % 3 * 20, tile / 3 * 20, 20, 20).Pixels, processed.Tiles[tile].Pixels);
        Assert.Equal(BicubicResampler.Resize(image, 20, 20).Pixels, processed.Tiles[6].Pixels);

        float[] mean = [0.485f, 0.456f, 0.406f];
        float[] deviation = [0.229f, 0.224f, 0.225f];
        for (int tile = 0; tile < 7; tile++)
        {
            for (int i = 0; i < 1200; i++)
                Assert.Equal(((processed.Tiles[tile].Pixels[(i % 400 * 3) + (i / 400)] / 255f) - mean[i / 400])
                    / deviation[i / 400], processed.Pixels[tile][i], 1e-6f);
        }

        Assert.Equal(6, new ImageProcessor(processor.Tiling with { UseThumbnail = false }).Process(image).Tiles.Count);
    }

    [Fact]
    public void A_square_picture_has_no_thumbnail()
    {
        ProcessedImage processed = new ImageProcessor().Process(new RgbImage(1, 1, [10, 20, 30]));
        Assert.False(processed.HasThumbnail);
        Assert.Single(processed.Tiles);
        for (int i = 0; i < 448 * 448; i++)
            Assert.True(processed.Tiles[0].Pixels.AsSpan(3 * i, 3).SequenceEqual((ReadOnlySpan<byte>)[10, 20, 30]));
    }

    [Theory]
    [InlineData(65535, 1)]
    [InlineData(1, 65535)]
    [InlineData(3, 20001)]
    public void Extreme_shapes_are_processed(int width, int height)
    {
        var image = new RgbImage(width, height, new byte[3 * width * height]);
        image.Pixels.AsSpan().Fill(200);
        ProcessedImage processed = new ImageProcessor().Process(image);
        Assert.Equal(13, processed.Tiles.Count);
        Assert.All(processed.Tiles, tile => Assert.False(tile.Pixels.AsSpan().ContainsAnyExcept((byte)200)));
    }

    /// <summary>Against the definition, in exact arithmetic but for the two roundings.</summary>
    [Theory]
    [InlineData(7, 5, 20, 9)]
    [InlineData(31, 17, 6, 4)]
    [InlineData(16, 40, 16, 13)]
    [InlineData(40, 16, 13, 16)]
    [InlineData(1, 1, 3, 2)]
    public void Resizing_is_the_definition(int width, int height, int newWidth, int newHeight)
    {
        RgbImage image = Noise(width, height);
        double[,,] wide = new double[height, newWidth, 3];
        for (int y = 0; y < height; y++)
        {
            for (int x = 0; x < newWidth; x++)
            {
                foreach ((int from, double weight) in Weights(width, newWidth, x))
                {
                    for (int color = 0; color < 3; color++)
                        wide[y, x, color] += weight * image.Pixels[(3 * ((y * width) + from)) + color];
                }
            }
        }

        RgbImage resized = BicubicResampler.Resize(image, newWidth, newHeight);
        for (int y = 0; y < newHeight; y++)
        {
            for (int x = 0; x < newWidth; x++)
            {
                for (int color = 0; color < 3; color++)
                {
                    double value = 0;
                    foreach ((int from, double weight) in Weights(height, newHeight, y))
                        value += weight * Math.Clamp(Math.Round(wide[from, x, color]), 0, 255);
                    Assert.InRange(resized.Pixels[(3 * ((y * newWidth) + x)) + color], Math.Clamp(value, 0, 255) - 1.01,
                        Math.Clamp(value, 0, 255) + 1.01);
                }
            }
        }
    }

    [Fact]
    public void A_picture_that_has_the_size_is_returned_as_it_is()
    {
        RgbImage image = Noise(5, 6);
        Assert.Same(image, BicubicResampler.Resize(image, 5, 6));
        Assert.ThrowsAny<ArgumentException>(() => BicubicResampler.Resize(image, 0, 6));
        Assert.ThrowsAny<ArgumentException>(() => BicubicResampler.Resize(image, 100_000, 100_000));
    }

    [Fact]
    public void Useless_normalisation_is_refused()
    {
        Assert.Throws<ArgumentException>(() => new ImageProcessor(new ImageTiling(), [0, 0], [1, 1]));
        Assert.Throws<ArgumentException>(() => new ImageProcessor(new ImageTiling(), [0, 0, 0], [1, 0, 1]));
        Assert.Throws<ArgumentException>(() => new ImageProcessor(new ImageTiling(), [0, float.NaN, 0], [1, 1, 1]));
    }

    [Fact]
    public void Processing_can_be_stopped()
    {
        using var stop = new CancellationTokenSource();
        stop.Cancel();
        Assert.ThrowsAny<OperationCanceledException>(() => new ImageProcessor().Process(Noise(30, 20), stop.Token));
    }

    private static List<(int From, double Weight)> Weights(int from, int to, int index)
    {
        double scale = Math.Max(1, (double)from / to);
        double center = (index + 0.5) * from / to;
        var weights = new List<(int From, double Weight)>();
        for (int i = 0; i < from; i++)
        {
            double x = Math.Abs(i + 0.5 - center) / scale;
            double weight = x < 1 ? (1.5 * x * x * x) - (2.5 * x * x) + 1
                : x < 2 ? (-0.5 * x * x * x) + (2.5 * x * x) - (4 * x) + 2 : 0;
            weights.Add((i, weight));
        }

        double sum = weights.Sum(weight => weight.Weight);
        return [.. weights.Select(weight => (weight.From, weight.Weight / sum))];
    }

    private static RgbImage Noise(int width, int height)
    {
        byte[] pixels = new byte[3 * width * height];
        new Random(width + (1000 * height)).NextBytes(pixels);
        return new RgbImage(width, height, pixels);
    }
}
