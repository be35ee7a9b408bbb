using System.IO.Compression;
using System.Security.Cryptography;
using System.Text.Json;
using Skylight.Images;
using Skylight.ImageSharp;

namespace Skylight.Tests.Images;

/// <summary>The sample pictures, and what Pillow makes of them.</summary>
internal static class ImageSamples
{
    private static readonly Lazy<JsonDocument> GoldenDocument = new(() => JsonDocument.Parse(Bytes("golden.json")));
    private static readonly Lazy<JsonDocument> PillowDocument = new(() => JsonDocument.Parse(Bytes("pillow.json")));

    public static JsonElement Golden => GoldenDocument.Value.RootElement;

    public static JsonElement Pillow => PillowDocument.Value.RootElement;

    /// <summary>The names of the sample pictures.</summary>
    public static string[] Names =>
        [.. Golden.GetProperty("images").EnumerateObject().Select(image => image.Name).Order(StringComparer.Ordinal)];

    public static byte[] Bytes(string name) => File.ReadAllBytes(PathOf(name));

    public static string PathOf(string name) => Repository.PathOf("tests", "Skylight.Tests", "Images", "samples", name);

    /// <summary>Decoders of all formats.</summary>
    public static ImageDecoders Decoders { get; } = ImageDecoders.Standard.WithImageSharp();

    /// <summary>Decodes a sample.</summary>
    public static RgbImage Decode(string name) => Decoders.Decode(Bytes(name));

    public static string Hash(RgbImage image) => Convert.ToHexStringLower(SHA256.HashData(image.Pixels));

    /// <summary>The mean of each patch of the normalised tiles of each sample: [tiles, 3, 32, 32].</summary>
    public static Dictionary<string, float[]> PatchMeans()
    {
        using var file = new MemoryStream();
        using (var stream = new GZipStream(new MemoryStream(Bytes("patch_mean.f16.gz")), CompressionMode.Decompress))
            stream.CopyTo(file);
        byte[] halves = file.ToArray();
        int count = halves.Length / 2;
        int next = 0;
        var means = new Dictionary<string, float[]>();
        foreach (string name in Names)
        {
            float[] values = new float[Golden.GetProperty("images").GetProperty(name).GetProperty("tiles")
                .GetInt32() * 3 * 32 * 32];
            for (int i = 0; i < values.Length; i++, next++)
                values[i] = (float)BitConverter.UInt16BitsToHalf((ushort)(halves[next] | (halves[count + next] << 8)));
            means[name] = values;
        }

        Assert.Equal(count, next);
        return means;
    }
}
