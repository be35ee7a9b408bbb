namespace Skylight.Images;

/// <summary>
/// How large a picture may be. Decoders compare a file with it before they reserve memory for the picture, so that a
/// small file that claims to be a huge picture costs nothing.
/// </summary>
public sealed record ImageLimits
{
    /// <summary>The limits that are used where none are given.</summary>
    public static ImageLimits Default { get; } = new();

    /// <summary>Most bytes of an encoded file.</summary>
    public long MaximumEncodedBytes { get; init; } = 128L << 20;

    /// <summary>
    /// Most pixels, width × height. A decoder needs at most 15 bytes for each (a progressive JPEG with four colours),
    /// the picture itself 3.
    /// </summary>
    public long MaximumPixels { get; init; } = 100_000_000;

    /// <summary>Most pixels from left to right.</summary>
    public int MaximumWidth { get; init; } = 65_535;

    /// <summary>Most pixels from top to bottom.</summary>
    public int MaximumHeight { get; init; } = 65_535;

    /// <summary>Refuses a file that is too long.</summary>
    /// <param name="format">What the file is, for the message.</param>
    /// <param name="bytes">Its length.</param>
    /// <exception cref="ImageException">It is longer than <see cref="MaximumEncodedBytes"/>.</exception>
    public void CheckEncodedBytes(string format, long bytes)
    {
        if (bytes > MaximumEncodedBytes)
            throw new ImageException(
                $"{format}: the file has {bytes:N0} bytes, more than the {MaximumEncodedBytes:N0} that " +
                $"{nameof(ImageLimits)}.{nameof(MaximumEncodedBytes)} allows.");
    }

    /// <summary>Refuses a picture that is empty or too large.</summary>
    /// <param name="format">What the file is, for the message.</param>
    /// <param name="width">Pixels from left to right.</param>
    /// <param name="height">Pixels from top to bottom.</param>
    /// <exception cref="ImageException">A side is not positive, or a limit is exceeded.</exception>
    public void CheckSize(string format, long width, long height)
    {
        if (width <= 0 || height <= 0)
            throw new ImageException($"{format}: the picture claims to be {width}×{height} pixels.");
        (int mostWidth, int mostHeight) = (Math.Min(MaximumWidth, RgbImage.MostSide),
            Math.Min(MaximumHeight, RgbImage.MostSide));
        if (width > mostWidth || height > mostHeight)
            throw new ImageException(
                $"{format}: the picture of {width:N0}×{height:N0} pixels exceeds the {mostWidth:N0}×{mostHeight:N0} " +
                $"that {nameof(ImageLimits)} allows: make it smaller or raise {nameof(MaximumWidth)} and " +
                $"{nameof(MaximumHeight)}.");
        if (width * height > Math.Min(MaximumPixels, RgbImage.MostPixels))
            throw new ImageException(
                $"{format}: the picture of {width:N0}×{height:N0} pixels has {width * height:N0} of them, more than " +
                $"the {Math.Min(MaximumPixels, RgbImage.MostPixels):N0} that " +
                $"{nameof(ImageLimits)}.{nameof(MaximumPixels)} allows: make it smaller or raise the limit.");
    }
}
