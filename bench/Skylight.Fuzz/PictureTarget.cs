using System.Buffers.Binary;
using Skylight.Images;
using Skylight.ImageSharp;

namespace Skylight.Fuzz;

/// <summary>Pictures of a format.</summary>
/// <param name="name">The format.</param>
/// <param name="extension">Of its samples.</param>
internal sealed class PictureTarget(string name, string extension) : FuzzTarget(name)
{
    // A file within the limits of a host: pictures of a third of a megapixel.
    private static readonly ImageLimits s_limits = new()
    {
        MaximumPixels = 300_000,
        MaximumWidth = 8192,
        MaximumHeight = 8192
    };
    private static readonly ImageDecoders s_decoders = ImageDecoders.Standard.WithImageSharp();
    private static readonly uint[] s_checksums = [.. Enumerable.Range(0, 256)
        .Select(value => Enumerable.Range(0, 8)
            .Aggregate((uint)value, (sum, _) => (sum & 1) != 0 ? 0xEDB88320 ^ (sum >> 1) : sum >> 1))];

    public override IReadOnlyList<byte[]> Seeds { get; } =
    [
        .. Directory.EnumerateFiles(Repository.PathOf("tests", "Skylight.Tests", "Images", "samples"), "*" + extension,
            SearchOption.AllDirectories)
            .Order(StringComparer.Ordinal).Select(File.ReadAllBytes).Where(file => file.Length < 1 << 16),
    ];

    // Lossless WebP has tables of codes that a small picture may ask for (Skylight.ImageSharp's WebPTables).
    private readonly long _tables = name == "webp" ? 32 << 20 : 0;

    // What ImageLimits says that decoders need for a pixel, their tables, and what a compressed file may unfold to
    // before it is refused.
    public override long AllocationLimit(int inputBytes) =>
        (24 * s_limits.MaximumPixels) + _tables + (4L << 20) + (16L * inputBytes);

    public override void Run(byte[] input)
    {
        RgbImage image = s_decoders.Decode(input, s_limits);
        if ((long)image.Width * image.Height > s_limits.MaximumPixels)
            throw new InvalidOperationException($"A picture of {image.Width}×{image.Height} pixels is over the limit.");
    }

    public override bool IsDocumented(Exception exception) => exception is ImageException;

    /// <summary>Makes PNG's checksums right.</summary>
    public override void Repair(byte[] input, Random random)
    {
        if (!input.AsSpan().StartsWith((ReadOnlySpan<byte>)[0x89, (byte)'P', (byte)'N', (byte)'G']))
            return;
        for (long at = 8; at <= input.Length - 12;)
        {
            uint length = BinaryPrimitives.ReadUInt32BigEndian(input.AsSpan((int)at));
            if (at + 12 + length > input.Length)
                return;
            BinaryPrimitives.WriteUInt32BigEndian(input.AsSpan((int)(at + 8 + length)),
                Checksum(input.AsSpan((int)at + 4, (int)length + 4)));
            at += 12L + length;
        }
    }

    private static uint Checksum(ReadOnlySpan<byte> data)
    {
        uint sum = uint.MaxValue;
        foreach (byte value in data)
            sum = s_checksums[(byte)(sum ^ value)] ^ (sum >> 8);
        return ~sum;
    }
}
