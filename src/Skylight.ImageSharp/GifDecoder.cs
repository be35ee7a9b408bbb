using System.Buffers.Binary;
using Skylight.Images;

namespace Skylight.ImageSharp;

/// <summary>
/// GIF: the first picture of it, on a ground of its transparent colour (else of its first), as Pillow has it.
/// Transparent pixels have the colour of their index.
/// </summary>
internal sealed class GifDecoder : ImageSharpDecoder
{
    private const int PaletteBytes = 3 * 256;

    /// <inheritdoc/>
    public override string Format => "GIF";

    /// <inheritdoc/>
    public override bool Recognizes(ReadOnlySpan<byte> header) => header.StartsWith("GIF87a"u8)
        || header.StartsWith("GIF89a"u8);

    /// <inheritdoc/>
    protected override RgbImage Decode(ReadOnlySpan<byte> file, ImageLimits limits, CancellationToken cancellationToken)
    {
        var reader = new Reader(this, file);
        ReadOnlySpan<byte> screen = reader.Take(13);
        (int width, int height) = (BinaryPrimitives.ReadUInt16LittleEndian(screen[6..]),
            BinaryPrimitives.ReadUInt16LittleEndian(screen[8..]));
        byte[]? palette = Palette(ref reader, screen[10]);
        int ground = 0;
        while (true)
        {
            switch (reader.Take(1)[0])
            {
                case (byte)'!':
                    int label = reader.Take(1)[0];
                    ReadOnlySpan<byte> block = reader.SubBlocks();
                    if (label == 0xF9 && block.Length >= 5 && block[0] == 4)
                        ground = (block[1] & 1) != 0 ? block[4] : 0;
                    break;
                case (byte)',':
                    return First(ref reader, width, height, palette, ground, limits, cancellationToken);
                case (byte)';':
                    throw Error("there is no picture in it");
                default:
                    throw Error("it is damaged between its blocks");
            }
        }
    }

    private RgbImage First(ref Reader reader, int width, int height, byte[]? palette, int ground, ImageLimits limits,
        CancellationToken cancellationToken)
    {
        ReadOnlySpan<byte> frame = reader.Take(9);
        int left = BinaryPrimitives.ReadUInt16LittleEndian(frame), top = BinaryPrimitives.ReadUInt16LittleEndian(frame[2..]);
        int frameWidth = BinaryPrimitives.ReadUInt16LittleEndian(frame[4..]),
            frameHeight = BinaryPrimitives.ReadUInt16LittleEndian(frame[6..]);
        limits.CheckSize(Format, frameWidth, frameHeight);
        (width, height) = (Math.Max(width, left + frameWidth), Math.Max(height, top + frameHeight));
        limits.CheckSize(Format, width, height);
        byte[] colors = Palette(ref reader, frame[8]) ?? palette ?? Grays();
        int literalBits = reader.Take(1)[0];
        if (literalBits is < 2 or > 8)
            throw Error($"its pixels are said to have {literalBits} bits");
        ReadOnlySpan<byte> blocks = reader.SubBlocks();
        if (LzwLength.Count(Join(blocks), literalBits, tiff: false, (long)frameWidth * frameHeight) < (long)frameWidth
            * frameHeight)
            throw Error("the pixels are damaged or not all there");

        byte[] file = new byte[13 + PaletteBytes + 11 + blocks.Length + 1];
        "GIF89a"u8.CopyTo(file);
        frame.Slice(4, 4).CopyTo(file.AsSpan(6));
        file[10] = 0xF7;
        colors.CopyTo(file, 13);
        Span<byte> rest = file.AsSpan(13 + PaletteBytes);
        rest[0] = (byte)',';
        frame.Slice(4, 4).CopyTo(rest[5..]);
        rest[9] = (byte)(frame[8] & 0x40);
        rest[10] = (byte)literalBits;
        blocks.CopyTo(rest[11..]);
        rest[^1] = (byte)';';
        RgbImage picture = Rgb(
            new SixLabors.ImageSharp.Formats.Gif.GifDecoder
            {
                IgnoreMetadata = true,
                DecodingMode = SixLabors.ImageSharp.Metadata.FrameDecodingMode.First,
            },
            file, frameWidth, frameHeight, cancellationToken);
        return (width, height) == (frameWidth, frameHeight) ? picture
            : OnGround(picture, left, top, width, height, colors.AsSpan(3 * ground, 3));
    }

    private static RgbImage OnGround(RgbImage picture, int left, int top, int width, int height, ReadOnlySpan<byte> color)
    {
        byte[] pixels = new byte[3 * width * height];
        for (int index = 0; index < pixels.Length; index += 3)
            color.CopyTo(pixels.AsSpan(index));
        for (int y = 0; y < picture.Height; y++)
            picture.Row(y).CopyTo(pixels.AsSpan(3 * ((width * (top + y)) + left)));
        return new RgbImage(width, height, pixels);
    }

    /// <summary>
    /// The colours of all 256 indices; null if there is no table. Those that a table leaves out are grays.
    /// </summary>
    private static byte[]? Palette(ref Reader reader, byte flags)
    {
        if ((flags & 0x80) == 0)
            return null;
        byte[] colors = Grays();
        reader.Take(3 * (2 << (flags & 7))).CopyTo(colors);
        return colors;
    }

    private static byte[] Grays()
    {
        byte[] colors = new byte[PaletteBytes];
        for (int index = 0; index < PaletteBytes; index++)
            colors[index] = (byte)(index / 3);
        return colors;
    }

    private static byte[] Join(ReadOnlySpan<byte> blocks)
    {
        byte[] data = new byte[blocks.Length];
        int length = 0;
        for (int at = 0; blocks[at] != 0; at += 1 + blocks[at])
        {
            blocks.Slice(at + 1, blocks[at]).CopyTo(data.AsSpan(length));
            length += blocks[at];
        }

        return data[..length];
    }

    /// <summary>Takes pieces of the file, one behind the other.</summary>
    private ref struct Reader(GifDecoder decoder, ReadOnlySpan<byte> file)
    {
        private readonly ReadOnlySpan<byte> _file = file;
        private int _at;

        public ReadOnlySpan<byte> Take(int bytes)
        {
            if (bytes > _file.Length - _at)
                throw decoder.Error($"the file is cut off after {_file.Length:N0} bytes");
            _at += bytes;
            return _file.Slice(_at - bytes, bytes);
        }

        /// <summary>Blocks with their lengths before them, up to that of length zero, which is part of it.</summary>
        public ReadOnlySpan<byte> SubBlocks()
        {
            int start = _at;
            while (Take(1)[0] is var length and not 0)
                Take(length);
            return _file[start.._at];
        }
    }
}
