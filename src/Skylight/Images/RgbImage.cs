namespace Skylight.Images;

/// <summary>
/// A picture in memory: red, green and blue, 8 bits each, interleaved, rows from top to bottom without padding.
/// </summary>
public sealed class RgbImage
{
    /// <summary>The most pixels that fit into one array.</summary>
    public static readonly long MostPixels = Array.MaxLength / 3;

    /// <summary>
    /// The most pixels that a decoder gives one side; <see cref="float"/> counts so far without gaps, as Pillow's
    /// resampling does.
    /// </summary>
    public const int MostSide = 1 << 24;

    /// <summary>Wraps pixels that a host has decoded itself.</summary>
    /// <param name="width">Pixels from left to right.</param>
    /// <param name="height">Pixels from top to bottom.</param>
    /// <param name="pixels">3 · width · height bytes: red, green and blue of each pixel, row by row; not copied.</param>
    /// <exception cref="ArgumentException">A side is not positive, or the length is not that of such a picture.</exception>
    public RgbImage(int width, int height, byte[] pixels)
    {
        ArgumentNullException.ThrowIfNull(pixels);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(width);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(height);
        if (pixels.Length != 3L * width * height)
            throw new ArgumentException(
                $"{pixels.Length} bytes are no RGB picture of {width}×{height} pixels: that needs 3·{width}·{height} " +
                $"= {3L * width * height} bytes, without alpha and without padding at the ends of rows.", nameof(pixels));
        Width = width;
        Height = height;
        Pixels = pixels;
    }

    /// <summary>Pixels from left to right.</summary>
    public int Width { get; }

    /// <summary>Pixels from top to bottom.</summary>
    public int Height { get; }

    /// <summary>
    /// 3 · <see cref="Width"/> · <see cref="Height"/> bytes: red, green and blue of each pixel, row by row.
    /// </summary>
    public byte[] Pixels { get; }

    /// <summary>The bytes of one row.</summary>
    /// <param name="y">The row, 0 at the top.</param>
    public Span<byte> Row(int y) => Pixels.AsSpan(3 * Width * y, 3 * Width);

    /// <summary>A copy of a part of the picture.</summary>
    /// <param name="left">The first column.</param>
    /// <param name="top">The first row.</param>
    /// <param name="width">Columns.</param>
    /// <param name="height">Rows.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is empty or does not lie within the picture.</exception>
    public RgbImage Crop(int left, int top, int width, int height)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(left);
        ArgumentOutOfRangeException.ThrowIfNegative(top);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(width);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(height);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(width, Width - left);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(height, Height - top);
        byte[] part = new byte[3 * width * height];
        for (int y = 0; y < height; y++)
            Row(top + y).Slice(3 * left, 3 * width).CopyTo(part.AsSpan(3 * width * y));
        return new RgbImage(width, height, part);
    }
}
