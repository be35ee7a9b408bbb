namespace Skylight.Cli.Demo.Digits;

/// <summary>Handwritten digits with their labels, all from one writer pool: either for training or held out.</summary>
internal sealed class DigitSet
{
    /// <summary>Height and width of a digit, in pixels.</summary>
    public const int Side = 28;

    /// <summary>Pixels of a digit.</summary>
    public const int Area = Side * Side;

    private readonly byte[] _images;
    private readonly byte[] _labels;

    /// <summary>Makes a set.</summary>
    /// <param name="images">Pixels, [count, 28, 28], 0 = paper and 255 = ink.</param>
    /// <param name="labels">Labels, [count].</param>
    public DigitSet(byte[] images, byte[] labels)
    {
        if (labels.Length == 0 || images.Length != (long)labels.Length * Area)
            throw new ArgumentException(
                $"{labels.Length} labels need {(long)labels.Length * Area} bytes of images, but there are {images.Length}.");
        _images = images;
        _labels = labels;
    }

    /// <summary>How many digits there are.</summary>
    public int Count => _labels.Length;

    /// <summary>The pixels of a digit, [28, 28].</summary>
    public ReadOnlySpan<byte> Image(int index) => _images.AsSpan(index * Area, Area);

    /// <summary>Which digit it is, 0 to 9.</summary>
    public int Label(int index) => _labels[index];

    /// <summary>How many rows and columns around the ink of a digit are empty; all of them where there is no ink.</summary>
    public (int Left, int Top, int Right, int Bottom) Margins(int index)
    {
        (int left, int top, int right, int bottom) = (Side, Side, Side, Side);
        ReadOnlySpan<byte> image = Image(index);
        for (int pixel = 0; pixel < Area; pixel++)
        {
            if (image[pixel] == 0)
                continue;
            int x = pixel % Side, y = pixel / Side;
            (left, top) = (Math.Min(left, x), Math.Min(top, y));
            (right, bottom) = (Math.Min(right, Side - 1 - x), Math.Min(bottom, Side - 1 - y));
        }

        return (left, top, right, bottom);
    }
}
