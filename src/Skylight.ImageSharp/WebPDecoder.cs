using System.Buffers.Binary;
using Skylight.Images;

namespace Skylight.ImageSharp;

/// <summary>WebP, lossy and lossless. Alpha is dropped; animations are refused.</summary>
internal sealed class WebPDecoder : ImageSharpDecoder
{
    // Tables that no encoder fills for a small picture; for a large one more.
    private const long TableBytes = 32 << 20, TableBytesPerPixel = 16;

    /// <inheritdoc/>
    public override string Format => "WebP";

    /// <inheritdoc/>
    public override bool Recognizes(ReadOnlySpan<byte> header) => header.Length >= 12 && header.StartsWith("RIFF"u8)
        && header.Slice(8, 4).SequenceEqual("WEBP"u8);

    /// <inheritdoc/>
    protected override RgbImage Decode(ReadOnlySpan<byte> file, ImageLimits limits, CancellationToken cancellationToken)
    {
        uint length = BinaryPrimitives.ReadUInt32LittleEndian(file[4..]);
        if (length > file.Length - 8)
            throw CutOff(file);
        ReadOnlySpan<byte> chunks = file[..(8 + (int)length)];
        (int Width, int Height)? canvas = null;
        for (long at = 12; at + 8 <= chunks.Length;)
        {
            ReadOnlySpan<byte> name = chunks.Slice((int)at, 4);
            uint bytes = BinaryPrimitives.ReadUInt32LittleEndian(chunks[((int)at + 4)..]);
            if (bytes > chunks.Length - at - 8)
                throw CutOff(file);
            ReadOnlySpan<byte> chunk = chunks.Slice((int)at + 8, (int)bytes);
            if (name.SequenceEqual("VP8X"u8))
            {
                if (chunk.Length < 10)
                    throw Error("the header is damaged");
                if ((chunk[0] & 2) != 0)
                    throw Error("animations are not supported; save one picture of it");
                canvas = (1 + ReadUInt24(chunk[4..]), 1 + ReadUInt24(chunk[7..]));
                limits.CheckSize(Format, canvas.Value.Width, canvas.Value.Height);
            }
            else if (name.SequenceEqual("VP8 "u8) || name.SequenceEqual("VP8L"u8))
            {
                (int width, int height) = name[3] == 'L' ? LosslessSize(chunk) : LossySize(chunk);
                limits.CheckSize(Format, width, height);
                if (canvas is { } size && size != (width, height))
                    throw Error(
                        $"the picture is {width}×{height} pixels, not {size.Width}×{size.Height} as the header says");
                if (name[3] == 'L' && WebPTables.Bytes(chunk, width, height) is var bytesOfTables
                    && bytesOfTables > TableBytes + (TableBytesPerPixel * width * height))
                    throw Error(
                        $"its tables of codes would take {bytesOfTables:N0} bytes, far more than a picture of " +
                        $"{width:N0}×{height:N0} pixels needs");
                return Rgb(new SixLabors.ImageSharp.Formats.Webp.WebpDecoder { IgnoreMetadata = true },
                    File(name, chunk), width, height, cancellationToken);
            }

            at += 8 + bytes + (bytes & 1);
        }

        throw Error(canvas is null ? "there is no picture in it" : "the picture is missing behind the header");
    }

    private static byte[] File(ReadOnlySpan<byte> name, ReadOnlySpan<byte> chunk)
    {
        byte[] file = new byte[20 + chunk.Length + (chunk.Length & 1)];
        "RIFF"u8.CopyTo(file);
        BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(4), file.Length - 8);
        "WEBP"u8.CopyTo(file.AsSpan(8));
        name.CopyTo(file.AsSpan(12));
        BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(16), chunk.Length);
        chunk.CopyTo(file.AsSpan(20));
        return file;
    }

    private (int Width, int Height) LossySize(ReadOnlySpan<byte> chunk)
    {
        // A frame tag, a start code, and two sides of 14 bits with a hint for scaling above.
        if (chunk.Length < 10 || (chunk[0] & 1) != 0 || chunk[3] != 0x9D || chunk[4] != 1 || chunk[5] != 0x2A)
            throw Error("the header is damaged");
        return (BinaryPrimitives.ReadUInt16LittleEndian(chunk[6..]) & 0x3FFF,
            BinaryPrimitives.ReadUInt16LittleEndian(chunk[8..]) & 0x3FFF);
    }

    private (int Width, int Height) LosslessSize(ReadOnlySpan<byte> chunk)
    {
        if (chunk.Length < 5 || chunk[0] != 0x2F)
            throw Error("the header is damaged");
        uint sides = BinaryPrimitives.ReadUInt32LittleEndian(chunk[1..]);
        return (1 + (int)(sides & 0x3FFF), 1 + (int)((sides >> 14) & 0x3FFF));
    }

    private static int ReadUInt24(ReadOnlySpan<byte> data) => data[0] | (data[1] << 8) | (data[2] << 16);

    private ImageException CutOff(ReadOnlySpan<byte> file) => Error($"the file is cut off after {file.Length:N0} bytes");
}
