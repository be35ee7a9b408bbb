using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace Skylight.Tests.Images;

/// <summary>Writes PNG files of any kind, right ones and wrong ones.</summary>
internal static class PngWriter
{
    private static readonly byte[] Signature = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A];

    public static byte[] File(params (string Type, byte[] Data)[] chunks)
    {
        using var file = new MemoryStream();
        file.Write(Signature);
        foreach ((string type, byte[] data) in chunks)
            file.Write(Chunk(type, data));
        return file.ToArray();
    }

    public static byte[] Chunk(string type, byte[] data)
    {
        byte[] chunk = new byte[12 + data.Length];
        BinaryPrimitives.WriteInt32BigEndian(chunk, data.Length);
        Encoding.ASCII.GetBytes(type).CopyTo(chunk, 4);
        data.CopyTo(chunk, 8);
        BinaryPrimitives.WriteUInt32BigEndian(chunk.AsSpan(8 + data.Length), Checksum(chunk.AsSpan(4, 4 + data.Length)));
        return chunk;
    }

    public static byte[] Header(long width, long height, int depth, int color, bool interlaced = false)
    {
        byte[] header = new byte[13];
        BinaryPrimitives.WriteUInt32BigEndian(header, (uint)width);
        BinaryPrimitives.WriteUInt32BigEndian(header.AsSpan(4), (uint)height);
        (header[8], header[9], header[12]) = ((byte)depth, (byte)color, (byte)(interlaced ? 1 : 0));
        return header;
    }

    public static byte[] Compress(byte[] data)
    {
        using var compressed = new MemoryStream();
        using (var stream = new ZLibStream(compressed, CompressionLevel.Optimal))
            stream.Write(data);
        return compressed.ToArray();
    }

    /// <summary>Filtered rows of all passes; the filter of a row is chosen by a generator.</summary>
    /// <param name="samples">[height, width, channels].</param>
    public static byte[] Rows(int[] samples, int width, int height, int channels, int depth, bool interlaced, Random filters)
    {
        (int, int, int, int)[] passes = interlaced ? [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
            (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)] : [(0, 0, 1, 1)];
        var data = new List<byte>();
        foreach ((int left, int top, int stepX, int stepY) in passes)
        {
            byte[]? above = null;
            for (int y = top; y < height && left < width; y += stepY)
            {
                var bits = new List<bool>();
                for (int x = left; x < width; x += stepX)
                {
                    for (int channel = 0; channel < channels; channel++)
                    {
                        int value = samples[(((y * width) + x) * channels) + channel];
                        for (int bit = depth - 1; bit >= 0; bit--)
                            bits.Add((value >> bit & 1) != 0);
                    }
                }

                byte[] row = new byte[(bits.Count + 7) / 8];
                for (int i = 0; i < bits.Count; i++)
                    row[i / 8] |= (byte)(bits[i] ? 128 >> (i % 8) : 0);
                above ??= new byte[row.Length];
                int filter = filters.Next(5);
                data.Add((byte)filter);
                data.AddRange(Filter(row, above, filter, Math.Max(1, channels * depth / 8)));
                above = row;
            }
        }

        return [.. data];
    }

    private static byte[] Filter(byte[] row, byte[] above, int filter, int distance)
    {
        byte[] filtered = new byte[row.Length];
        for (int i = 0; i < row.Length; i++)
        {
            int left = i < distance ? 0 : row[i - distance];
            int corner = i < distance ? 0 : above[i - distance];
            int up = above[i];
            int estimate = left + up - corner;
            (int Distance, int Order, int Value)[] candidates = [(Math.Abs(estimate - left), 0, left),
                (Math.Abs(estimate - up), 1, up), (Math.Abs(estimate - corner), 2, corner)];
            int prediction = filter switch { 1 => left, 2 => up, 3 => (left + up) / 2, 4 => candidates.Min().Value, _ => 0 };
            filtered[i] = (byte)(row[i] - prediction);
        }

        return filtered;
    }

    /// <summary>CRC-32, bit by bit.</summary>
    public static uint Checksum(ReadOnlySpan<byte> data)
    {
        uint sum = uint.MaxValue;
        foreach (byte value in data)
        {
            sum ^= value;
            for (int bit = 0; bit < 8; bit++)
                sum = (sum & 1) != 0 ? 0xEDB88320 ^ (sum >> 1) : sum >> 1;
        }

        return ~sum;
    }
}
