namespace Skylight.Images;

/// <summary>
/// Cuts a picture into tiles and normalises them: (value / 255 − mean) / standard deviation for each colour. Safe to
/// share between threads.
/// </summary>
public sealed class ImageProcessor
{
    private static readonly float[] ImageNetMean = [0.485f, 0.456f, 0.406f];
    private static readonly float[] ImageNetDeviation = [0.229f, 0.224f, 0.225f];

    /// <summary>The normalised value of each byte, for each colour.</summary>
    private readonly float[][] _values;

    /// <summary>Makes a processor with the mean and deviation of ImageNet, which the InternVL family uses.</summary>
    /// <param name="tiling">How pictures are cut; the family's defaults if null.</param>
    public ImageProcessor(ImageTiling? tiling = null)
        : this(tiling ?? new ImageTiling(), ImageNetMean, ImageNetDeviation)
    {
    }

    /// <summary>Makes a processor.</summary>
    /// <param name="tiling">How pictures are cut.</param>
    /// <param name="mean">Mean of red, green and blue, of values from 0 to 1.</param>
    /// <param name="deviation">Standard deviation of red, green and blue.</param>
    /// <exception cref="ArgumentException">The tiling allows no grid, there are not three means and deviations, or one
    /// is of no use.</exception>
    public ImageProcessor(ImageTiling tiling, ReadOnlySpan<float> mean, ReadOnlySpan<float> deviation)
    {
        ArgumentNullException.ThrowIfNull(tiling);
        tiling.Check();
        if (mean.Length != 3 || deviation.Length != 3)
            throw new ArgumentException(
                $"{mean.Length} means and {deviation.Length} deviations are given; there are 3 colours.", nameof(mean));
        Tiling = tiling;
        _values = new float[3][];
        for (int color = 0; color < 3; color++)
        {
            if (!float.IsFinite(mean[color]) || !float.IsFinite(deviation[color]) || deviation[color] <= 0)
                throw new ArgumentException(
                    $"Mean {mean[color]} and standard deviation {deviation[color]} of colour {color} cannot " +
                    $"normalise anything.", nameof(deviation));
            _values[color] = new float[256];
            for (int value = 0; value < 256; value++)
                _values[color][value] = ((value / 255f) - mean[color]) / deviation[color];
        }
    }

    /// <summary>How pictures are cut.</summary>
    public ImageTiling Tiling { get; }

    /// <summary>Resizes a picture to its grid, cuts it into tiles, adds the thumbnail, and normalises all of them.</summary>
    /// <param name="image">The picture; not changed.</param>
    /// <param name="cancellationToken">Stops the work.</param>
    /// <exception cref="OperationCanceledException">The work was stopped.</exception>
    public ProcessedImage Process(RgbImage image, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(image);
        (int columns, int rows) = Tiling.Grid(image.Width, image.Height);
        int size = Tiling.TileSize;
        RgbImage resized = BicubicResampler.Resize(image, columns * size, rows * size, cancellationToken);
        var tiles = new List<RgbImage>();
        for (int tile = 0; tile < columns * rows; tile++)
            tiles.Add(resized.Crop(tile % columns * size, tile / columns * size, size, size));
        if (Tiling.UseThumbnail && tiles.Count > 1)
            tiles.Add(BicubicResampler.Resize(image, size, size, cancellationToken));
        return new ProcessedImage(columns, rows, tiles, [.. tiles.Select(tile => Normalize(tile, cancellationToken))]);
    }

    /// <summary>A picture of any size, normalised: [3, height, width].</summary>
    /// <param name="image">The picture.</param>
    /// <param name="cancellationToken">Stops the work.</param>
    public float[] Normalize(RgbImage image, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(image);
        cancellationToken.ThrowIfCancellationRequested();
        int count = image.Width * image.Height;
        float[] planes = new float[3 * count];
        for (int color = 0; color < 3; color++)
        {
            ReadOnlySpan<float> values = _values[color];
            ReadOnlySpan<byte> pixels = image.Pixels.AsSpan(color);
            Span<float> plane = planes.AsSpan(color * count, count);
            for (int i = 0; i < plane.Length; i++)
                plane[i] = values[pixels[3 * i]];
        }

        return planes;
    }
}
