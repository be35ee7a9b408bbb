using System.Buffers.Binary;
using SixLabors.ImageSharp.PixelFormats;
using Skylight.Images;

namespace Skylight.ImageSharp;

/// <summary>
/// TGA: 8 bits with a palette or gray, gray with alpha, 15 and 16 bits (5-5-5), 24 and 32 bits, plain and as run
/// lengths. Alpha is dropped. The format has no signature; a file counts as one only if every field of its header is as
/// the format asks.
/// </summary>
internal sealed class TgaDecoder : ImageSharpDecoder
{
    private const int Header = 18;
    private const int Palette = 1, Colors = 2, Gray = 3, Packed = 8;

    /// <inheritdoc/>
    public override string Format => "TGA";

    /// <inheritdoc/>
    public override bool Recognizes(ReadOnlySpan<byte> header)
    {
        if (header.Length < Header || header[1] > 1 || (header[2] & ~(Packed | 3)) != 0 || (header[17] & 0xC0) != 0)
            return false;
        int colors = BinaryPrimitives.ReadUInt16LittleEndian(header[5..]), depth = header[16];
        bool sides = BinaryPrimitives.ReadUInt16LittleEndian(header[12..]) > 0
            && BinaryPrimitives.ReadUInt16LittleEndian(header[14..]) > 0;
        return sides && (header[2] & 3) switch
        {
            Palette => header[1] == 1 && depth == 8 && colors > 0 && header[7] is 15 or 16 or 24 or 32,
            Colors => header[1] == 0 && header[3..8].IndexOfAnyExcept((byte)0) < 0 && depth is 15 or 16 or 24 or 32,
            Gray => header[1] == 0 && header[3..8].IndexOfAnyExcept((byte)0) < 0 && depth is 8 or 16,
            _ => false,
        };
    }

    /// <inheritdoc/>
    protected override RgbImage Decode(ReadOnlySpan<byte> file, ImageLimits limits, CancellationToken cancellationToken)
    {
        int width = BinaryPrimitives.ReadUInt16LittleEndian(file[12..]),
            height = BinaryPrimitives.ReadUInt16LittleEndian(file[14..]);
        limits.CheckSize(Format, width, height);
        int kind = file[2] & 3, depth = file[16], bytes = (depth + 7) / 8;
        byte[] palette = [];
        long at = Header + file[0];
        if (kind == Palette)
        {
            int first = BinaryPrimitives.ReadUInt16LittleEndian(file[3..]),
                colors = BinaryPrimitives.ReadUInt16LittleEndian(file[5..]), colorBytes = (file[7] + 7) / 8;
            palette = ReadPalette(Part(file, at, (long)colors * colorBytes), first, colorBytes);
            at += (long)colors * colorBytes;
        }

        ReadOnlySpan<byte> pixels = (file[2] & Packed) != 0 ? Runs(file, at, (long)width * height, bytes)
            : Part(file, at, (long)width * height * bytes);
        byte[] picture = new byte[Header + palette.Length + pixels.Length];
        file[..Header].CopyTo(picture);
        picture[0] = 0;
        picture.AsSpan(3, 9).Clear();
        if (kind == Palette)
            (picture[6], picture[7]) = (1, 24);
        palette.CopyTo(picture, Header);
        pixels.CopyTo(picture.AsSpan(Header + palette.Length));
        var decoder = new SixLabors.ImageSharp.Formats.Tga.TgaDecoder();
        return kind == Colors && bytes == 2
            ? Widen(width, height, Pixels<Bgra5551>(decoder, picture, width, height, cancellationToken))
            : Rgb(decoder, picture, width, height, cancellationToken);
    }

    /// <summary>ImageSharp rounds to the nearest, Pillow down.</summary>
    private static RgbImage Widen(int width, int height, ReadOnlySpan<byte> packed)
    {
        byte[] pixels = new byte[3 * width * height];
        for (int index = 0; index < width * height; index++)
            Widen(BinaryPrimitives.ReadUInt16LittleEndian(packed[(2 * index)..]), pixels.AsSpan(3 * index));
        return new RgbImage(width, height, pixels);
    }

    private static void Widen(int packed, Span<byte> color)
    {
        color[0] = (byte)(((packed >> 10) & 31) * 255 / 31);
        color[1] = (byte)(((packed >> 5) & 31) * 255 / 31);
        color[2] = (byte)((packed & 31) * 255 / 31);
    }

    /// <summary>
    /// The colours of all 256 indices, blue first; those that it leaves out behind its own are grays, before them
    /// black, as Pillow has them.
    /// </summary>
    private static byte[] ReadPalette(ReadOnlySpan<byte> table, int first, int bytes)
    {
        byte[] palette = new byte[3 * 256];
        for (int index = 3 * first; index < palette.Length; index++)
            palette[index] = (byte)(index / 3);
        for (int index = 0; index < table.Length / bytes && first + index < 256; index++)
        {
            Span<byte> color = palette.AsSpan(3 * (first + index), 3);
            if (bytes == 2)
            {
                Widen(BinaryPrimitives.ReadUInt16LittleEndian(table[(2 * index)..]), color);
                color.Reverse();
            }
            else
            {
                table.Slice(index * bytes, 3).CopyTo(color);
            }
        }

        return palette;
    }

    /// <summary>Run lengths with all pixels in them.</summary>
    private ReadOnlySpan<byte> Runs(ReadOnlySpan<byte> file, long start, long pixels, int bytes)
    {
        long at = start;
        while (pixels > 0)
        {
            byte head = Part(file, at, 1)[0];
            int count = (head & 127) + 1;
            at += 1 + (head > 127 ? bytes : (long)count * bytes);
            pixels -= count;
        }

        if (pixels < 0)
            throw Error("a run of pixels is longer than the picture");
        return Part(file, start, at - start);
    }

    private ReadOnlySpan<byte> Part(ReadOnlySpan<byte> file, long start, long bytes) => start + bytes <= file.Length
        ? file.Slice((int)start, (int)bytes)
        : throw Error($"the file is cut off after {file.Length:N0} bytes, of {start + bytes:N0}");
}
