using System.Buffers.Binary;

namespace Skylight.Images.Png;

/// <summary>How the samples of a pixel are stored; the numbers are those of the file.</summary>
internal enum PngColor
{
    Gray = 0,
    Rgb = 2,
    Palette = 3,
    GrayAlpha = 4,
    RgbAlpha = 6,
}

/// <summary>The IHDR chunk.</summary>
internal readonly record struct PngHeader(int Width, int Height, int BitDepth, PngColor Color, bool Interlaced)
{
    public int Channels => Color switch
    {
        PngColor.Rgb => 3,
        PngColor.GrayAlpha => 2,
        PngColor.RgbAlpha => 4,
        _ => 1,
    };

    /// <summary>Bytes between a byte and the one that predicts it: those of a pixel, at least one.</summary>
    public int FilterDistance => Math.Max(1, Channels * BitDepth / 8);

    /// <summary>Bytes of a row of so many pixels, without its filter type.</summary>
    public long RowBytes(long pixels) => ((pixels * Channels * BitDepth) + 7) / 8;

    /// <summary>Bytes of all rows of all passes, filter types included.</summary>
    public long DataBytes
    {
        get
        {
            long bytes = 0;
            foreach (PngPass pass in PngPass.Of(this))
                bytes += pass.Rows * (RowBytes(pass.Columns) + 1);
            return bytes;
        }
    }

    public static PngHeader Read(ReadOnlySpan<byte> chunk, ImageLimits limits)
    {
        if (chunk.Length < 13)
            throw new ImageException($"PNG: the header chunk has {chunk.Length} bytes instead of 13.");
        uint width = BinaryPrimitives.ReadUInt32BigEndian(chunk);
        uint height = BinaryPrimitives.ReadUInt32BigEndian(chunk[4..]);
        limits.CheckSize("PNG", width, height);
        int depth = chunk[8];
        int color = chunk[9];
        bool known = color switch
        {
            0 => depth is 1 or 2 or 4 or 8 or 16,
            3 => depth is 1 or 2 or 4 or 8,
            2 or 4 or 6 => depth is 8 or 16,
            _ => false,
        };
        if (!known)
            throw new ImageException($"PNG: there is no colour type {color} with {depth} bits.");
        // There is one method of compression and one of interlacing; Pillow does not ask for their numbers.
        if (chunk[11] != 0)
            throw new ImageException($"PNG: unknown filter method {chunk[11]}.");
        return new PngHeader((int)width, (int)height, depth, (PngColor)color, chunk[12] != 0);
    }
}

/// <summary>
/// One pass of an interlaced picture (a plain one has a single pass): every so many-th pixel from a start.
/// </summary>
internal readonly record struct PngPass(int Left, int Top, int StepX, int StepY, int Columns, int Rows)
{
    private static readonly (int Left, int Top, int StepX, int StepY)[] Adam7 =
        [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)];

    /// <summary>The passes that hold any pixels.</summary>
    public static IEnumerable<PngPass> Of(PngHeader header)
    {
        if (!header.Interlaced)
            return [new PngPass(0, 0, 1, 1, header.Width, header.Height)];
        return Adam7.Select(pass => new PngPass(pass.Left, pass.Top, pass.StepX, pass.StepY,
                (int)(((long)header.Width - pass.Left + pass.StepX - 1) / pass.StepX),
                (int)(((long)header.Height - pass.Top + pass.StepY - 1) / pass.StepY)))
            .Where(pass => pass.Columns > 0 && pass.Rows > 0);
    }
}
