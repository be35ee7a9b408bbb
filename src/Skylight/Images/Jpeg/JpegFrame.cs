namespace Skylight.Images.Jpeg;

/// <summary>What the components of a picture mean.</summary>
internal enum JpegColorSpace
{
    Gray,
    YCbCr,
    Rgb,
    Cmyk,
    Ycck,
}

/// <summary>One colour plane of a picture: its geometry, and what the scans have brought of it so far.</summary>
internal sealed class JpegComponent(int id, int horizontal, int vertical, int quantization)
{
    public int Id { get; } = id;

    /// <summary>Blocks in an interleaved unit from left to right.</summary>
    public int Horizontal { get; } = horizontal;

    /// <summary>Blocks in an interleaved unit from top to bottom.</summary>
    public int Vertical { get; } = vertical;

    /// <summary>The number of the quantisation table.</summary>
    public int Quantization { get; } = quantization;

    /// <summary>Samples from left to right that belong to the picture.</summary>
    public int Width { get; private set; }

    /// <summary>Samples from top to bottom that belong to the picture.</summary>
    public int Height { get; private set; }

    /// <summary>Blocks that hold <see cref="Width"/> samples: those of a scan of this component alone.</summary>
    public int BlocksAcross => (Width + 7) / 8;

    /// <summary>Blocks that hold <see cref="Height"/> samples.</summary>
    public int BlocksDown => (Height + 7) / 8;

    /// <summary>Blocks from left to right in memory: whole interleaved units.</summary>
    public int BlockStride { get; private set; }

    /// <summary>Blocks from top to bottom in memory.</summary>
    public int BlockRows { get; private set; }

    /// <summary>Bytes between rows of <see cref="Samples"/>.</summary>
    public int Stride => 8 * BlockStride;

    /// <summary>The decoded plane.</summary>
    public byte[] Samples { get; private set; } = [];

    /// <summary>Coefficients of a progressive picture, 64 for each block in natural order.</summary>
    public short[] Coefficients { get; private set; } = [];

    /// <summary>The table as it was when this component's first scan began, in natural order; null before that.</summary>
    public ushort[]? Table { get; set; }

    /// <summary>The last DC value of the running scan.</summary>
    public int Predictor { get; set; }

    /// <summary>For each coefficient the lowest bit that has been coded, −1 before any.</summary>
    public sbyte[] CodedTo { get; } = NothingCoded(64);

    /// <summary>
    /// The same of the first ten coefficients before the latest scan of this component, as libjpeg keeps it for block
    /// smoothing.
    /// </summary>
    public sbyte[] CodedBefore { get; } = NothingCoded(JpegSmoothing.Coefficients);

    public ReadOnlySpan<byte> Row(int y) => Samples.AsSpan(y * Stride, Width);

    public void Size(int width, int height, int stride, int rows) =>
        (Width, Height, BlockStride, BlockRows) = (width, height, stride, rows);

    public void Allocate(bool coefficients)
    {
        Samples = new byte[checked(64 * BlockStride * BlockRows)];
        // What no data comes for is medium gray.
        Array.Fill(Samples, (byte)128);
        if (coefficients)
            Coefficients = new short[Samples.Length];
    }

    private static sbyte[] NothingCoded(int count)
    {
        sbyte[] bits = new sbyte[count];
        Array.Fill(bits, (sbyte)-1);
        return bits;
    }
}

/// <summary>The picture that a frame header announces.</summary>
internal sealed class JpegFrame
{
    public JpegFrame(int width, int height, bool progressive, JpegComponent[] components)
    {
        Width = width;
        Height = height;
        Progressive = progressive;
        Components = components;
        MostHorizontal = components.Max(component => component.Horizontal);
        MostVertical = components.Max(component => component.Vertical);
        UnitsAcross = Up(width, 8 * MostHorizontal);
        UnitsDown = Up(height, 8 * MostVertical);
        foreach (JpegComponent component in components)
        {
            component.Size(Up(width * component.Horizontal, MostHorizontal), Up(height * component.Vertical, MostVertical),
                UnitsAcross * component.Horizontal, UnitsDown * component.Vertical);
        }
    }

    public int Width { get; }

    public int Height { get; }

    public bool Progressive { get; }

    public JpegComponent[] Components { get; }

    public int MostHorizontal { get; }

    public int MostVertical { get; }

    /// <summary>Interleaved units from left to right.</summary>
    public int UnitsAcross { get; }

    /// <summary>Interleaved units from top to bottom.</summary>
    public int UnitsDown { get; }

    /// <summary>Scans that have begun.</summary>
    public int Scans { get; set; }

    /// <summary>The row of interleaved units in which the latest scan's data ended, or the last one.</summary>
    public int LastRowWithData { get; set; }

    /// <summary>Blocks of all components.</summary>
    public long Blocks => Components.Sum(component => (long)component.BlocksAcross * component.BlocksDown);

    public void Allocate()
    {
        foreach (JpegComponent component in Components)
            component.Allocate(Progressive);
    }

    private static int Up(int value, int divisor) => (value + divisor - 1) / divisor;
}
