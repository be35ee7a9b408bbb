using System.Buffers.Binary;
using System.Text;

namespace Skylight.Images.Png;

/// <summary>The chunks of a PNG that its pixels need.</summary>
/// <param name="Header">IHDR.</param>
/// <param name="Palette">PLTE: red, green and blue of each colour; empty if there is none.</param>
/// <param name="Data">IDAT, in order.</param>
internal sealed record PngFile(PngHeader Header, byte[] Palette, IReadOnlyList<ReadOnlyMemory<byte>> Data)
{
    /// <summary>Deflate cannot shrink data further than this.</summary>
    private const long MostCompression = 1032;

    public static ReadOnlySpan<byte> Signature => [0x89, (byte)'P', (byte)'N', (byte)'G', 0x0D, 0x0A, 0x1A, 0x0A];

    public static PngFile Read(ReadOnlyMemory<byte> data, ImageLimits limits)
    {
        if (!data.Span.StartsWith(Signature))
            throw new ImageException("PNG: the signature is missing.");
        PngHeader? header = null;
        byte[] palette = [];
        var pixels = new List<ReadOnlyMemory<byte>>();
        for (int position = Signature.Length; ;)
        {
            int start = position;
            (string type, ReadOnlyMemory<byte> chunk) = Chunk(data, ref position);
            switch (type)
            {
                case "IHDR":
                    header = PngHeader.Read(chunk.Span, limits);
                    break;
                case "PLTE":
                    if (chunk.Length > 770)
                        throw new ImageException(
                            $"PNG: a palette of {chunk.Length} bytes has more than 256 colours of 3 bytes.");
                    palette = chunk.ToArray();
                    break;
                case "IDAT":
                    if (header is null)
                        throw new ImageException("PNG: the first chunk is 'IDAT' instead of 'IHDR'.");
                    CollectPixels(data, start, pixels);
                    return Checked(new PngFile(header.Value, palette, pixels));
                case "IEND":
                    throw new ImageException("PNG: there are no pixels (no 'IDAT' chunk).");
            }
        }
    }

    private static PngFile Checked(PngFile file)
    {
        long compressed = file.Data.Sum(part => (long)part.Length);
        if (compressed == 0)
            throw new ImageException("PNG: there are no pixels (no 'IDAT' chunk).");
        // A file that claims to be huge is refused here, before its pixels have a place.
        if (file.Header.DataBytes > compressed * MostCompression)
            throw new ImageException(
                $"PNG: {compressed:N0} compressed bytes cannot hold {file.Header.Width:N0}×{file.Header.Height:N0} " +
                $"pixels: the file is cut off or its header is wrong.");
        return file;
    }

    /// <summary>
    /// The chunks of pixels that follow each other. Their checksums are not looked at, and the last may be cut off: the
    /// pixels have a checksum of their own, and a picture that is whole needs nothing that comes behind it.
    /// </summary>
    private static void CollectPixels(ReadOnlyMemory<byte> data, int position, List<ReadOnlyMemory<byte>> pixels)
    {
        while (data.Length - position >= 8 && data.Span.Slice(position + 4, 4).SequenceEqual("IDAT"u8))
        {
            uint length = BinaryPrimitives.ReadUInt32BigEndian(data.Span[position..]);
            int there = (int)Math.Min(length, data.Length - position - 8);
            pixels.Add(data.Slice(position + 8, there));
            position = (int)Math.Min(data.Length, position + 12L + there);
        }
    }

    /// <summary>The next chunk; the checksum of one that the pixels need is verified.</summary>
    private static (string Type, ReadOnlyMemory<byte> Data) Chunk(ReadOnlyMemory<byte> data, ref int position)
    {
        ReadOnlySpan<byte> rest = data.Span[position..];
        if (rest.Length < 12)
            throw CutOff(data.Length);
        uint length = BinaryPrimitives.ReadUInt32BigEndian(rest);
        ReadOnlySpan<byte> name = rest.Slice(4, 4);
        foreach (byte letter in name)
        {
            if (!char.IsAsciiLetterOrDigit((char)letter) && letter != '_')
                throw new ImageException($"PNG: no chunk begins at byte {position:N0}: the file is damaged.");
        }

        string type = Encoding.ASCII.GetString(name);
        if (type == "IDAT")
            return (type, default);
        if (length > rest.Length - 12)
            throw CutOff(data.Length);
        if (char.IsAsciiLetterUpper(type[0])
            && PngChecksum.Of(rest.Slice(4, (int)length + 4)) != BinaryPrimitives.ReadUInt32BigEndian(
                rest[((int)length + 8)..]))
            throw new ImageException($"PNG: chunk '{type}' at byte {position:N0} is damaged: its checksum is wrong.");
        ReadOnlyMemory<byte> chunk = data.Slice(position + 8, (int)length);
        position += (int)length + 12;
        return (type, chunk);
    }

    private static ImageException CutOff(int length) => new($"PNG: the file is cut off after {length:N0} bytes.");
}

/// <summary>CRC-32 as PNG and zlib use it.</summary>
internal static class PngChecksum
{
    private static readonly uint[] Table = Build();

    public static uint Of(ReadOnlySpan<byte> data)
    {
        uint[] table = Table;
        uint sum = uint.MaxValue;
        while (data.Length >= 4)
        {
            sum ^= BinaryPrimitives.ReadUInt32LittleEndian(data);
            sum = table[768 + (sum & 255)] ^ table[512 + ((sum >> 8) & 255)] ^ table[256
                + ((sum >> 16) & 255)] ^ table[sum >> 24];
            data = data[4..];
        }

        foreach (byte value in data)
            sum = table[(sum ^ value) & 255] ^ (sum >> 8);
        return ~sum;
    }

    /// <summary>Four tables: a byte's effect, and the same with one to three zero bytes after it.</summary>
    private static uint[] Build()
    {
        uint[] table = new uint[1024];
        for (uint i = 0; i < 256; i++)
        {
            uint value = i;
            for (int bit = 0; bit < 8; bit++)
                value = (value & 1) != 0 ? 0xEDB88320 ^ (value >> 1) : value >> 1;
            table[i] = value;
        }

        for (int i = 256; i < 1024; i++)
            table[i] = table[table[i - 256] & 255] ^ (table[i - 256] >> 8);
        return table;
    }
}
