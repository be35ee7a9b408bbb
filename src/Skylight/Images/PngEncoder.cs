using System.Buffers.Binary;
using System.IO.Compression;
using Skylight.Images.Png;

namespace Skylight.Images;

/// <summary>Writes pictures as PNG: 8 bits a sample, not filtered, not interlaced.</summary>
public static class PngEncoder
{
    private const byte Gray = 0, Rgb = 2;

    /// <summary>Encodes a picture in colours.</summary>
    public static byte[] Encode(RgbImage image)
    {
        ArgumentNullException.ThrowIfNull(image);
        return Encode(image.Pixels, image.Width, image.Height, Rgb);
    }

    /// <summary>Encodes a gray picture.</summary>
    /// <param name="levels">Gray levels, [height, width], 0 = black.</param>
    /// <param name="width">Width in pixels.</param>
    /// <param name="height">Height in pixels.</param>
    /// <exception cref="ArgumentException">The length is not that of such a picture.</exception>
    public static byte[] EncodeGray(ReadOnlySpan<byte> levels, int width, int height)
    {
        if (width < 1 || height < 1 || levels.Length != (long)width * height)
            throw new ArgumentException(
                $"A picture of {width}×{height} needs {(long)width * height} bytes, but there are {levels.Length}.",
                nameof(levels));
        return Encode(levels, width, height, Gray);
    }

    private static byte[] Encode(ReadOnlySpan<byte> samples, int width, int height, byte colours)
    {
        var png = new MemoryStream();
        png.Write([0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A]);
        Span<byte> header = stackalloc byte[13];
        header.Clear();
        BinaryPrimitives.WriteInt32BigEndian(header, width);
        BinaryPrimitives.WriteInt32BigEndian(header[4..], height);
        header[8] = 8; // bits a sample
        header[9] = colours;
        WriteChunk(png, "IHDR"u8, header);
        WriteChunk(png, "IDAT"u8, Compress(samples, samples.Length / height));
        WriteChunk(png, "IEND"u8, []);
        return png.ToArray();
    }

    private static byte[] Compress(ReadOnlySpan<byte> samples, int rowBytes)
    {
        using var data = new MemoryStream();
        using (var deflate = new ZLibStream(data, CompressionLevel.SmallestSize, leaveOpen: true))
        {
            for (int start = 0; start < samples.Length; start += rowBytes)
            {
                deflate.WriteByte(0); // this row is not filtered
                deflate.Write(samples.Slice(start, rowBytes));
            }
        }

        return data.ToArray();
    }

    private static void WriteChunk(MemoryStream png, ReadOnlySpan<byte> type, ReadOnlySpan<byte> data)
    {
        byte[] chunk = [.. type, .. data];
        Span<byte> number = stackalloc byte[4];
        BinaryPrimitives.WriteInt32BigEndian(number, data.Length);
        png.Write(number);
        png.Write(chunk);
        BinaryPrimitives.WriteUInt32BigEndian(number, PngChecksum.Of(chunk));
        png.Write(number);
    }
}
