using System.IO.Compression;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Skylight.Images.Png;

/// <summary>From the compressed rows of a PNG to RGB.</summary>
internal static class PngPixels
{
    public static RgbImage Decode(PngFile file, CancellationToken cancellationToken)
    {
        PngHeader header = file.Header;
        byte[] pixels = new byte[3 * header.Width * header.Height];
        byte[] palette = Colors(file);
        int widest = (int)header.RowBytes(header.Width) + 1;
        byte[] current = new byte[widest];
        byte[] previous = new byte[widest];
        var source = new PngDataStream(file.Data);
        using var stream = new ZLibStream(source, CompressionMode.Decompress);
        bool ended = false;
        foreach (PngPass pass in PngPass.Of(header))
        {
            int length = (int)header.RowBytes(pass.Columns) + 1;
            previous.AsSpan().Clear();
            for (int row = 0; row < pass.Rows; row++)
            {
                if (row % 64 == 0)
                    cancellationToken.ThrowIfCancellationRequested();
                Span<byte> line = current.AsSpan(0, length);
                int count = ended ? 0 : stream.ReadAtLeast(line, length, throwOnEndOfStream: false);
                // Rows that whole data does not hold are zero, as Pillow leaves them.
                ended |= count == 0 && (row > 0 || pass.Top + pass.Left > 0) && !source.IsAtEnd;
                if (count < length && !ended)
                    throw new ImageException("PNG: the compressed pixels end before the picture does.");
                if (ended)
                    line.Clear();
                else
                    Unfilter(line[0], line[1..], previous.AsSpan(1, length - 1), header.FilterDistance);
                int y = pass.Top + (row * pass.StepY);
                Span<byte> target = pixels.AsSpan(3 * ((header.Width * y) + pass.Left),
                    (3 * pass.StepX * (pass.Columns - 1)) + 3);
                Expand(header, line[1..], palette, target, 3 * pass.StepX);
                (current, previous) = (previous, current);
            }
        }

        // One byte more makes zlib look at the checksum after the pixels; data beyond the picture does no harm, nor
        // does a checksum cut off.
        source.EndWithThisPart();
        try
        {
            Span<byte> beyond = stackalloc byte[1];
            _ = stream.Read(beyond);
        }
        catch (InvalidDataException) when (source.IsAtEnd)
        {
        }

        return new RgbImage(header.Width, header.Height, pixels);
    }

    /// <summary>The colour of each value that a sample of at most 8 bits can have.</summary>
    private static byte[] Colors(PngFile file)
    {
        byte[] colors = new byte[3 * 256];
        if (file.Header.Color == PngColor.Palette)
        {
            // Colours beyond the palette are gray, as in Pillow.
            for (int value = 0; value < 256; value++)
                colors.AsSpan(3 * value, 3).Fill((byte)value);
            file.Palette.AsSpan(0, file.Palette.Length / 3 * 3).CopyTo(colors);
        }
        else if (file.Header.BitDepth <= 8)
        {
            int most = (1 << file.Header.BitDepth) - 1;
            for (int value = 0; value <= most; value++)
                colors.AsSpan(3 * value, 3).Fill((byte)(value * 255 / most));
        }

        return colors;
    }

    private static void Unfilter(int filter, Span<byte> row, ReadOnlySpan<byte> above, int distance)
    {
        switch (filter)
        {
            case 0:
                break;
            case 1:
                for (int i = distance; i < row.Length; i++)
                    row[i] += row[i - distance];
                break;
            case 2:
                Up(row, above);
                break;
            case 3:
                for (int i = 0; i < distance && i < row.Length; i++)
                    row[i] += (byte)(above[i] >> 1);
                for (int i = distance; i < row.Length; i++)
                    row[i] += (byte)((row[i - distance] + above[i]) >> 1);
                break;
            case 4:
                Paeth(row, above, distance);
                break;
            default:
                throw new ImageException($"PNG: unknown filter type {filter} of a row: the file is damaged.");
        }
    }

    private static void Up(Span<byte> row, ReadOnlySpan<byte> above)
    {
        Span<Vector<byte>> rowVectors = MemoryMarshal.Cast<byte, Vector<byte>>(row);
        ReadOnlySpan<Vector<byte>> aboveVectors = MemoryMarshal.Cast<byte, Vector<byte>>(above);
        for (int i = 0; i < rowVectors.Length; i++)
            rowVectors[i] += aboveVectors[i];
        for (int i = rowVectors.Length * Vector<byte>.Count; i < row.Length; i++)
            row[i] += above[i];
    }

    private static void Paeth(Span<byte> row, ReadOnlySpan<byte> above, int distance)
    {
        above = above[..row.Length];
        for (int i = 0; i < distance && i < row.Length; i++)
            row[i] += above[i];
        for (int i = distance; i < row.Length; i++)
        {
            int left = row[i - distance];
            int up = above[i];
            int corner = above[i - distance];
            int toLeft = Math.Abs(up - corner);
            int toUp = Math.Abs(left - corner);
            int toCorner = Math.Abs(left + up - corner - corner);
            row[i] += (byte)(toLeft <= toUp && toLeft <= toCorner ? left : toUp <= toCorner ? up : corner);
        }
    }

    /// <summary>Writes a row of samples as RGB, each pixel <paramref name="step"/> bytes after the one before.</summary>
    private static void Expand(PngHeader header, ReadOnlySpan<byte> row, ReadOnlySpan<byte> colors, Span<byte> target,
        int step)
    {
        bool wide = header.BitDepth == 16;
        switch (header.Color)
        {
            case PngColor.Gray when wide:
                for (int from = 0, to = 0; from < row.Length; from += 2, to += step)
                    target.Slice(to, 3).Fill(row[from] != 0 ? byte.MaxValue : row[from + 1]);
                break;
            case PngColor.GrayAlpha:
                for (int from = 0, to = 0, size = header.FilterDistance; from < row.Length; from += size, to += step)
                    target.Slice(to, 3).Fill(row[from]);
                break;
            case PngColor.Rgb when !wide && step == 3:
                row.CopyTo(target);
                break;
            case PngColor.Rgb or PngColor.RgbAlpha:
                int bytes = wide ? 2 : 1;
                for (int from = 0, to = 0, size = header.FilterDistance; from < row.Length; from += size, to += step)
                {
                    target[to] = row[from];
                    target[to + 1] = row[from + bytes];
                    target[to + 2] = row[from + bytes + bytes];
                }

                break;
            default:
                LookUp(header, row, colors, target, step);
                break;
        }
    }

    /// <summary>Gray of at most 8 bits, and palettes.</summary>
    private static void LookUp(PngHeader header, ReadOnlySpan<byte> row, ReadOnlySpan<byte> colors, Span<byte> target,
        int step)
    {
        int mask = (1 << header.BitDepth) - 1;
        for (int to = 0, bit = 0; to < target.Length; to += step, bit += header.BitDepth)
        {
            int value = (row[bit >> 3] >> (8 - header.BitDepth - (bit & 7))) & mask;
            colors.Slice(3 * value, 3).CopyTo(target[to..]);
        }
    }
}

/// <summary>The chunks of pixels one after the other, for the decompressor.</summary>
internal sealed class PngDataStream(IReadOnlyList<ReadOnlyMemory<byte>> parts) : Stream
{
    private int _part;
    private int _offset;
    private int _end = parts.Count;

    /// <summary>Whether more was asked for than there is.</summary>
    public bool IsAtEnd { get; private set; }

    /// <summary>
    /// Lets the data end with the chunk that was read last, as for Pillow, which asks for no more once it has all
    /// pixels.
    /// </summary>
    public void EndWithThisPart() => _end = Math.Min(_end, _part + 1);

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override int Read(Span<byte> buffer)
    {
        while (_part < _end)
        {
            ReadOnlySpan<byte> rest = parts[_part].Span[_offset..];
            if (rest.IsEmpty)
            {
                _part++;
                _offset = 0;
                continue;
            }

            int count = Math.Min(rest.Length, buffer.Length);
            rest[..count].CopyTo(buffer);
            _offset += count;
            return count;
        }

        IsAtEnd = true;
        return 0;
    }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}
