using System.Runtime.Intrinsics;
using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>How the right operand of a product lies in memory.</summary>
internal enum RightOperand
{
    /// <summary>b[k, n] row-major with a stride.</summary>
    RowMajor,

    /// <summary>b[k, n] at n·stride + k.</summary>
    ColumnMajor,

    /// <summary>A float32 weight in panels, used as W^T: steps are its inputs, columns its outputs.</summary>
    FloatPanels,

    /// <summary>The same with bfloat16 elements.</summary>
    BFloat16Panels,

    /// <summary>A quantised weight in panels, used as W^T: <see cref="GemmOperands.Quantized"/> says how.</summary>
    QuantizedPanels,

    /// <summary>The same of codes that are no integers: <see cref="GemmOperands.Codes"/> says how.</summary>
    FloatCodePanels,

    /// <summary>A float32 weight in panels, used as W: steps are its outputs, columns its inputs.</summary>
    FloatPanelsAcross,

    /// <summary>The same with bfloat16 elements.</summary>
    BFloat16PanelsAcross,
}

/// <summary>A block of 32 columns of the right operand as the register tiles read it.</summary>
internal unsafe struct PanelBlock
{
    /// <summary>The element (first step, first column).</summary>
    public byte* Start;

    /// <summary>Bytes from a step to the next.</summary>
    public nint StepBytes;

    /// <summary>The elements: float32 or bfloat16.</summary>
    public DataType Type;
}

/// <summary>One matrix product C (+)= A·B (+ bias) with all its strides; the columns of C in panels of 32.</summary>
internal unsafe struct GemmOperands
{
    private const int Width = WeightPanels.Width;
    private const int MostSpreadRows = 96;

    /// <summary>a[0, 0].</summary>
    public float* A;

    /// <summary>Floats from a row of A to the next.</summary>
    public nint ARow;

    /// <summary>Floats from a step (column) of A to the next; 1 unless A is used transposed.</summary>
    public nint AStep;

    /// <summary>The layout of B.</summary>
    public RightOperand Layout;

    /// <summary>The start of B.</summary>
    public void* B;

    /// <summary>
    /// The stride of a row- or column-major B; the inputs K of a weight in panels; the bytes of a quantised panel.
    /// </summary>
    public nint BStride;

    /// <summary>How a quantised B lies in its panels.</summary>
    public QuantizedLayout Quantized;

    /// <summary>How a B of codes that are no integers lies in its panels.</summary>
    public FloatCodeLayout Codes;

    /// <summary>c[0, 0].</summary>
    public float* C;

    /// <summary>Floats from a row of C to the next.</summary>
    public nint CRow;

    /// <summary>Floats from a panel of 32 columns of C to the next.</summary>
    public nint CPanel;

    /// <summary>Per column, added last; or null.</summary>
    public float* Bias;

    /// <summary>Rows of C.</summary>
    public int Rows;

    /// <summary>Columns of C.</summary>
    public int Columns;

    /// <summary>Terms of each sum.</summary>
    public int Steps;

    /// <summary>Whether the sums start from the old C.</summary>
    public bool Accumulate;

    /// <summary>The multiply-adds of the product.</summary>
    public readonly double Work => (double)Rows * Columns * Steps;

    /// <summary>The columns of C that a panel really has.</summary>
    public readonly int ColumnsOf(int panel) => Math.Min(Width, Columns - panel * Width);

    /// <summary>
    /// Rows whole pages apart share the cache sets of every step and, beside a streamed weight, drive each other
    /// out (12 rows of 8192: a third slower); a few such rows are copied to a distance that does not.
    /// </summary>
    public void SpreadFewRows()
    {
        const int PageFloats = 1024, Padding = 16;
        if (AStep != 1 || ARow % PageFloats != 0 || Rows < 4 || Rows > MostSpreadRows || Columns < 8 * Width)
            return;
        nint stride = Steps + Padding;
        float* rows = GemmScratch.FewRows(Rows * stride);
        for (int row = 0; row < Rows; row++)
            new ReadOnlySpan<float>(A + row * ARow, Steps).CopyTo(new Span<float>(rows + row * stride, Steps));
        A = rows;
        ARow = stride;
    }

    /// <summary>
    /// Makes steps [start, start + count) of a panel readable. <paramref name="once"/>: it is read by one tile
    /// only, so a copy would not pay for itself.
    /// </summary>
    public readonly PanelBlock Block(int panel, int start, int count, bool once)
    {
        switch (Layout)
        {
            case RightOperand.FloatPanels:
                return Floats((float*)B + ((nint)panel * BStride + start) * Width, Width);
            case RightOperand.BFloat16Panels:
                ushort* bits = (ushort*)B + ((nint)panel * BStride + start) * Width;
                return new PanelBlock { Start = (byte*)bits, StepBytes = Width * sizeof(ushort), Type = DataType.BFloat16 };
            case RightOperand.QuantizedPanels:
                float* values = GemmScratch.PanelBlock((nint)count * Width);
                Quantized.Dequantize((byte*)B + panel * BStride, start, count, values);
                return Floats(values, Width);
            case RightOperand.FloatCodePanels:
                float* numbers = GemmScratch.PanelBlock(FloatCodeValues.FloatsOf(count));
                FloatCodeValues.Write(Codes, (byte*)B + panel * BStride, start, count, isScaled: true, numbers);
                return Floats(numbers, Width);
            case RightOperand.RowMajor:
                float* rows = (float*)B + start * BStride + (nint)panel * Width;
                if (once && ColumnsOf(panel) == Width)
                    return Floats(rows, BStride);
                return Floats(CopyRows(rows, ColumnsOf(panel), count), Width);
            case RightOperand.ColumnMajor:
                float* packed = GemmScratch.PanelBlock((nint)count * Width);
                WeightPanels.PackTransposed((float*)B + (nint)panel * Width * BStride + start, BStride,
                    ColumnsOf(panel), count, packed);
                return Floats(packed, Width);
            default:
                return Floats(CopyAcross(panel, start, count), Width);
        }
    }

    private static PanelBlock Floats(float* start, nint stride) =>
        new() { Start = (byte*)start, StepBytes = stride * sizeof(float) };

    private readonly float* CopyRows(float* rows, int columns, int count)
    {
        float* copy = GemmScratch.PanelBlock((nint)count * Width);
        if (columns == Width)
        {
            for (int k = 0; k < count; k++)
            {
                float* source = rows + k * BStride, whole = copy + (nint)k * Width;
                Vector512<float> first = Vector512.Load(source), second = Vector512.Load(source + 16);
                first.Store(whole);
                second.Store(whole + 16);
            }
            return copy;
        }
        for (int k = 0; k < count; k++)
        {
            var target = new Span<float>(copy + (nint)k * Width, Width);
            new ReadOnlySpan<float>(rows + k * BStride, columns).CopyTo(target);
            target[columns..].Clear();
        }
        return copy;
    }

    /// <summary>Columns are the weight's inputs: 32 × 32 blocks of its panels are transposed.</summary>
    private readonly float* CopyAcross(int panel, int start, int count)
    {
        float* copy = GemmScratch.PanelBlock((nint)count * Width);
        float* widened = stackalloc float[Width * Width];
        int firstInput = panel * Width;
        int inputs = ColumnsOf(panel);
        for (int done = 0; done < count;)
        {
            int output = start + done;
            int within = output % Width;
            int length = Math.Min(Width - within, count - done);
            nint index = ((nint)(output / Width) * BStride + firstInput) * Width;
            float* block = (float*)B + index;
            if (Layout == RightOperand.BFloat16PanelsAcross)
            {
                Widen((ushort*)B + index, widened, (nint)inputs * Width);
                block = widened;
            }
            WeightPanels.PackTransposed(block + within, Width, inputs, length, copy + (nint)done * Width);
            done += length;
        }
        return copy;
    }

    private static void Widen(ushort* bits, float* target, nint count)
    {
        // Counts are multiples of 32.
        if (Vector512.IsHardwareAccelerated)
            Widen<Simd512, Vector512<float>>(bits, target, count);
        else if (Vector256.IsHardwareAccelerated)
            Widen<Simd256, Vector256<float>>(bits, target, count);
        else
            Widen<Simd128, Vector128<float>>(bits, target, count);
    }

    private static void Widen<TSimd, TVector>(ushort* bits, float* target, nint count)
        where TSimd : struct, ISimd<TVector>
    {
        for (nint i = 0; i < count; i += 2 * TSimd.Count)
        {
            TSimd.Store(target + i, TSimd.LoadBFloat16(bits + i));
            TSimd.Store(target + i + TSimd.Count, TSimd.LoadBFloat16(bits + i + TSimd.Count));
        }
    }
}
