using System.Text.Json;
using Skylight.Images;

namespace Skylight.Tests.Images;

/// <summary>
/// Holds decoders, resizing, tiling and normalising to what Pillow and the model family's own code compute.
/// </summary>
public class GoldenImageTests
{
    public static TheoryData<string> Names => [.. ImageSamples.Names];

    public static TheoryData<string> Variants =>
        [.. ImageSamples.Pillow.GetProperty("variants").EnumerateObject().Select(variant => variant.Name)];

    /// <summary>Also of JPEG every byte is that of libjpeg-turbo.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void Decodes_to_the_same_bytes(string name)
    {
        RgbImage image = ImageSamples.Decode(name);
        JsonElement golden = ImageSamples.Golden.GetProperty("images").GetProperty(name);
        Assert.Equal((golden.GetProperty("width").GetInt32(), golden.GetProperty("height").GetInt32()),
            (image.Width, image.Height));
        Assert.Equal(golden.GetProperty("rgb_sha256").GetString(), ImageSamples.Hash(image));
    }

    [Theory]
    [MemberData(nameof(Variants))]
    public void Decodes_every_kind_of_jpeg_to_the_same_bytes(string name) =>
        Assert.Equal(ImageSamples.Pillow.GetProperty("variants").GetProperty(name).GetString(),
            ImageSamples.Hash(ImageSamples.Decode("variants/" + name)));

    [Fact]
    public void Resizes_to_the_same_bytes()
    {
        foreach (JsonElement resized in ImageSamples.Pillow.GetProperty("resized").EnumerateArray())
        {
            RgbImage image = BicubicResampler.Resize(ImageSamples.Decode(resized.GetProperty("file").GetString()!),
                resized.GetProperty("width").GetInt32(), resized.GetProperty("height").GetInt32());
            Assert.True(resized.GetProperty("rgb_sha256").GetString() == ImageSamples.Hash(image), resized.ToString());
        }
    }

    [Fact]
    public void Chooses_the_same_grids()
    {
        var six = new ImageTiling { MaximumTiles = 6 };
        foreach (JsonProperty size in ImageSamples.Golden.GetProperty("grids_columns_rows_max12_max6").EnumerateObject())
        {
            int[] sides = [.. size.Name.Split('x').Select(int.Parse)];
            int[] expected = [.. size.Value.EnumerateArray().Select(side => side.GetInt32())];
            Assert.True((expected[0], expected[1]) == new ImageTiling().Grid(sides[0], sides[1]), size.Name);
            Assert.True((expected[2], expected[3]) == six.Grid(sides[0], sides[1]), size.Name + " of at most 6");
        }

        foreach (JsonProperty image in ImageSamples.Golden.GetProperty("images").EnumerateObject())
        {
            int Of(string name) => image.Value.GetProperty(name).GetInt32();
            Assert.Equal((Of("columns"), Of("rows")), new ImageTiling().Grid(Of("width"), Of("height")));
            Assert.Equal((Of("columns_max6"), Of("rows_max6")), six.Grid(Of("width"), Of("height")));
            Assert.Equal(Of("tiles"), new ImageTiling().TileCount(Of("width"), Of("height")));
            Assert.Equal(Of("tiles_max6"), six.TileCount(Of("width"), Of("height")));
        }
    }

    [Fact]
    public void Cuts_the_same_tiles()
    {
        Dictionary<string, float[]> means = ImageSamples.PatchMeans();
        foreach (string name in ImageSamples.Names)
        {
            ProcessedImage image = new ImageProcessor().Process(ImageSamples.Decode(name));
            Assert.Equal(ImageSamples.Pillow.GetProperty("first_tile_sha256").GetProperty(name).GetString(),
                ImageSamples.Hash(image.Tiles[0]));
            Assert.Equal(means[name].Length, image.Pixels.Count * 3 * 32 * 32);
            for (int tile = 0; tile < image.Pixels.Count; tile++)
            {
                float[] computed = PatchMeans(image.Pixels[tile]);
                ReadOnlySpan<float> expected = means[name].AsSpan(tile * computed.Length, computed.Length);
                for (int i = 0; i < computed.Length; i++)
                    Assert.True(Math.Abs(expected[i] - computed[i]) < 0.003,
                        $"{name}, tile {tile}, patch {i}: {computed[i]} instead of {expected[i]}");
            }
        }
    }

    private static float[] PatchMeans(float[] pixels)
    {
        double[] sums = new double[3 * 32 * 32];
        for (int i = 0; i < pixels.Length; i++)
            sums[(i / (448 * 448) * 1024) + (i / 448 % 448 / 14 * 32) + (i % 448 / 14)] += pixels[i];
        return [.. sums.Select(sum => (float)(sum / 196))];
    }
}
