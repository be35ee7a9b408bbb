using System.Buffers.Binary;
using SixLabors.ImageSharp.Formats.Bmp;
using Skylight.Images;

namespace Skylight.ImageSharp;

/// <summary>
/// BMP: 1, 4 and 8 bits with a palette, run lengths among them, 16 bits (5-5-5 and 5-6-5), 24 and 32 bits. Alpha is
/// dropped.
/// </summary>
internal sealed class BmpDecoder : ImageSharpDecoder
{
    private const int FileHeader = 14;
    private const int InfoHeader = 40;
    private const int Plain = 0, RunLengths8 = 1, RunLengths4 = 2, Masks = 3;

    private static readonly uint[] s_masks555 = [0x7C00, 0x3E0, 0x1F];
    private static readonly uint[] s_masks565 = [0xF800, 0x7E0, 0x1F];

    /// <inheritdoc/>
    public override string Format => "BMP";

    /// <inheritdoc/>
    public override bool Recognizes(ReadOnlySpan<byte> header) => header.Length >= FileHeader + 4
        && header.StartsWith("BM"u8);

    /// <inheritdoc/>
    protected override RgbImage Decode(ReadOnlySpan<byte> file, ImageLimits limits, CancellationToken cancellationToken)
    {
        int size = BinaryPrimitives.ReadInt32LittleEndian(file[FileHeader..]);
        if (size is not (12 or InfoHeader or 52 or 56 or 64 or 108 or 124))
            throw Error($"a header of {size:N0} bytes is not known: the file is damaged, or no BMP");
        ReadOnlySpan<byte> header = Part(file, FileHeader, size);
        bool old = size == 12;
        int width = old ? BinaryPrimitives.ReadUInt16LittleEndian(header[4..])
            : BinaryPrimitives.ReadInt32LittleEndian(header[4..]);
        int rows = old ? BinaryPrimitives.ReadUInt16LittleEndian(header[6..])
            : BinaryPrimitives.ReadInt32LittleEndian(header[8..]);
        limits.CheckSize(Format, width, Math.Abs((long)rows));
        int bits = BinaryPrimitives.ReadUInt16LittleEndian(header[(old ? 10 : 14)..]);
        int compression = old ? Plain : BinaryPrimitives.ReadInt32LittleEndian(header[16..]);
        bool packed = (bits, compression) is (8, RunLengths8) or (4, RunLengths4);
        if (!packed && !(compression == Plain && bits is 1 or 4 or 8 or 16 or 24 or 32)
            && !(compression == Masks && size != 64 && bits is 16 or 32))
            throw Error($"pixels of {bits} bits with compression {compression} are not supported: convert it to PNG");
        if (packed && rows < 0)
            throw Error("run lengths from top to bottom are not allowed");

        // Masks lie in the header, or behind the oldest that has them.
        uint[] masks = compression == Masks ? ReadMasks(size == InfoHeader ? Part(file, FileHeader + InfoHeader, 12)
            : Part(file, FileHeader + InfoHeader, Math.Min(12, size - InfoHeader))) : [];
        if (bits == 16 && compression == Masks && !masks.SequenceEqual(s_masks555) && !masks.SequenceEqual(s_masks565))
            throw Error(
                $"colours in the bits {string.Join(", ", masks.Select(mask => $"0x{mask:X}"))} of 16 are not " +
                $"supported: convert it to PNG");
        if (bits == 32 && compression == Masks
            && (masks.Any(mask => mask is not (0xFF or 0xFF00 or 0xFF0000 or 0xFF000000)) || masks.Distinct().Count() != 3))
            throw Error(
                $"colours in the bits {string.Join(", ", masks.Select(mask => $"0x{mask:X}"))} of 32 are not " +
                $"supported: convert it to PNG");

        byte[] palette = bits <= 8 ? Palette(file, header, bits, old) : [];
        int height = Math.Abs(rows);
        uint start = BinaryPrimitives.ReadUInt32LittleEndian(file[10..]);
        long bytes = ((((long)width * bits) + 31) / 32) * 4 * height;
        if (start < FileHeader + size || start > file.Length)
            throw Error($"its pixels are said to begin at byte {start:N0} of {file.Length:N0}");
        ReadOnlySpan<byte> pixels = packed ? file[(int)start..] : Part(file, start, bytes);
        byte[] picture = File(width, rows, bits, compression, masks, palette, pixels);
        RgbImage image = Rgb(
            new SixLabors.ImageSharp.Formats.Bmp.BmpDecoder
            {
                RleSkippedPixelHandling = RleSkippedPixelHandling.FirstColorOfPalette,
            }, picture, width, height, cancellationToken);
        if (bits == 16)
            Widen(image.Pixels, masks.SequenceEqual(s_masks565) ? 6 : 5);
        return image;
    }

    /// <summary>ImageSharp repeats the highest bits in the lowest, Pillow multiplies by 255 and divides.</summary>
    private static void Widen(byte[] pixels, int greenBits)
    {
        int most = (1 << greenBits) - 1;
        for (int index = 0; index < pixels.Length; index += 3)
        {
            pixels[index] = (byte)((pixels[index] >> 3) * 255 / 31);
            pixels[index + 1] = (byte)((pixels[index + 1] >> (8 - greenBits)) * 255 / most);
            pixels[index + 2] = (byte)((pixels[index + 2] >> 3) * 255 / 31);
        }
    }

    private static byte[] File(int width, int rows, int bits, int compression, uint[] masks, byte[] palette,
        ReadOnlySpan<byte> pixels)
    {
        int start = FileHeader + InfoHeader + (4 * masks.Length) + palette.Length;
        byte[] file = new byte[start + pixels.Length];
        "BM"u8.CopyTo(file);
        BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(2), file.Length);
        BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(10), start);
        Span<byte> header = file.AsSpan(FileHeader);
        BinaryPrimitives.WriteInt32LittleEndian(header, InfoHeader);
        BinaryPrimitives.WriteInt32LittleEndian(header[4..], width);
        BinaryPrimitives.WriteInt32LittleEndian(header[8..], rows);
        header[12] = 1;
        BinaryPrimitives.WriteInt16LittleEndian(header[14..], (short)bits);
        BinaryPrimitives.WriteInt32LittleEndian(header[16..], compression);
        BinaryPrimitives.WriteInt32LittleEndian(header[20..], pixels.Length);
        for (int index = 0; index < masks.Length; index++)
            BinaryPrimitives.WriteUInt32LittleEndian(header[(InfoHeader + (4 * index))..], masks[index]);
        palette.CopyTo(file, start - palette.Length);
        pixels.CopyTo(file.AsSpan(start));
        return file;
    }

    private static uint[] ReadMasks(ReadOnlySpan<byte> data) =>
        data.Length < 12 ? []
            : [BinaryPrimitives.ReadUInt32LittleEndian(data), BinaryPrimitives.ReadUInt32LittleEndian(data[4..]),
                BinaryPrimitives.ReadUInt32LittleEndian(data[8..])];

    /// <summary>
    /// The colours of all indices, four bytes each; those that the file leaves out are grays, as Pillow has them.
    /// </summary>
    private byte[] Palette(ReadOnlySpan<byte> file, ReadOnlySpan<byte> header, int bits, bool old)
    {
        long used = old ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(header[32..]);
        if (used == 0)
            used = 1 << bits;
        if (used > 256)
            throw Error($"its palette is said to have {used:N0} colours");
        int colors = (int)Math.Min(used, 1 << bits), width = old ? 3 : 4;
        ReadOnlySpan<byte> table = Part(file, FileHeader + header.Length, used * width);
        byte[] palette = new byte[4 << bits];
        for (int index = 0; index < palette.Length; index++)
            palette[index] = (byte)(index / 4);
        for (int index = 0; index < colors; index++)
            table.Slice(index * width, 3).CopyTo(palette.AsSpan(4 * index));
        return palette;
    }

    private ReadOnlySpan<byte> Part(ReadOnlySpan<byte> file, long start, long bytes) => start + bytes <= file.Length
        ? file.Slice((int)start, (int)bytes)
        : throw Error($"the file is cut off after {file.Length:N0} bytes, of {start + bytes:N0}");
}
