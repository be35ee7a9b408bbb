using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>
/// Matrix products of float32 activations with float32 or bfloat16 weights. Where <c>operands</c> is bfloat16, both operands
/// are rounded to it first (<see cref="BFloat16Gemm"/>).
/// </summary>
/// <remarks>
/// Every output element is one chain of fused multiply-adds over its terms in ascending order, starting from
/// zero (or from the old value when accumulating); a bias is added last. The bits of an element therefore depend
/// only on its own row and column: not on the number of rows, the blocking, the threads or the vector width.
/// Strides count elements. All methods use the threads of <see cref="CpuParallel"/> unless they say otherwise.
/// </remarks>
internal static unsafe class Gemm
{
    private const int Width = WeightPanels.Width;

    /// <summary>
    /// y[m, n] = Σ_k x[m, k]·W[n, k] (+ bias[n]) for a weight of any kind, computed as the device is told to
    /// (<see cref="CpuDevice.Compute"/>); rows of x and y are dense.
    /// </summary>
    public static void MultiplyWeight(in CpuArguments arguments, Tensor weight, float* x, float* bias, float* y, int M)
    {
        int N = weight.Shape.Rows, K = weight.Shape.Columns;
        MultiplyPanels(arguments, weight, 0, N, x, bias, y, N, M, GemmBlocked.ThreadsFor((double)M * N * K));
    }

    /// <summary>
    /// The product of a whole weight of any kind for some panels only, on the calling thread: see
    /// <see cref="MultiplyWeightRange(float*, int, void*, DataType, float*, int, int, int, int, int, DataType)"/>.
    /// </summary>
    public static void MultiplyWeightRange(in CpuArguments arguments, Tensor weight, float* x, float* y, int ldy, int M,
        int firstPanel, int panelCount) =>
        MultiplyPanels(arguments, weight, firstPanel, panelCount * Width, x, null, y, ldy, M, threads: 1);

    private static void MultiplyPanels(in CpuArguments arguments, Tensor weight, int firstPanel, int columns, float* x,
        float* bias, float* y, int ldy, int M, int threads)
    {
        TensorType type = weight.Type;
        int K = type.Shape.Columns;
        byte* panels = (byte*)CpuMemory.Pointer(weight);
        if (type.Format is null)
        {
            panels += (nint)firstPanel * Width * K * type.DataType.Size();
            GemmOperands product = WeightProduct(x, K, panels, type.DataType, y, ldy, M, columns, K);
            product.Bias = bias;
            Run(product, arguments.OperandsOf(type.DataType), threads);
        }
        else if (FloatCodeLayout.Of(type) is { } codes)
        {
            MultiplyCodes(codes, panels + firstPanel * codes.PanelBytes, x, bias, y, ldy, M, columns, arguments.Compute,
                threads);
        }
        else
        {
            QuantizedLayout layout = QuantizedLayout.Of(type);
            MultiplyQuantized(arguments,
                new QuantizedProduct
                {
                    X = x,
                    XRow = K,
                    Panels = panels + firstPanel * layout.PanelBytes(K),
                    Layout = layout,
                    Bias = bias,
                    Y = y,
                    YRow = ldy,
                    Rows = M,
                    Columns = columns,
                    Steps = K,
                }, threads);
        }
    }

    /// <summary>The product with a quantised weight, computed as the device is told to.</summary>
    private static void MultiplyQuantized(in CpuArguments arguments, in QuantizedProduct product, int threads)
    {
        if (arguments.RoundsActivations)
            QuantizedGemm.Run(product, threads);
        else
            QuantizedGemm.RunFloat32(product, threads);
    }

    /// <summary>
    /// The product with a weight whose codes are no integers. In bfloat16 see <see cref="BFloat16Gemm"/>; in float32 the
    /// chain of every product, over the values.
    /// </summary>
    public static void MultiplyCodes(in FloatCodeLayout codes, byte* panels, float* x, float* bias, float* y, int ldy,
        int M, int N, DataType operands, int threads)
    {
        var product = new GemmOperands
        {
            A = x,
            ARow = codes.Inputs,
            AStep = 1,
            Layout = RightOperand.FloatCodePanels,
            B = panels,
            BStride = (nint)codes.PanelBytes,
            Codes = codes,
            C = y,
            CRow = ldy,
            CPanel = Width,
            Bias = bias,
            Rows = M,
            Columns = N,
            Steps = codes.Inputs,
        };
        Run(product, operands, threads);
    }

    /// <summary>y[m, n] = Σ_k x[m, k]·W[n, k] (+ bias[n]) for a weight in panels (<see cref="WeightPanels"/>).</summary>
    public static void MultiplyWeight(
        float* x, int ldx, void* panels, DataType weightType, float* bias, float* y, int ldy, int M, int N, int K,
        DataType operands = DataType.Float32)
    {
        var product = WeightProduct(x, ldx, panels, weightType, y, ldy, M, N, K);
        product.Bias = bias;
        Run(product, operands, GemmBlocked.ThreadsFor(product.Work));
    }

    /// <summary>
    /// The product of a whole weight for some panels only, on the calling thread: column 0 of
    /// <paramref name="y"/> is the first output of <paramref name="firstPanel"/>. y has
    /// <paramref name="panelCount"/>·32 columns; those of the last panel's padding become products with zero.
    /// </summary>
    public static void MultiplyWeightRange(
        float* x, int ldx, void* panels, DataType weightType, float* y, int ldy, int M, int firstPanel, int panelCount,
        int K, DataType operands = DataType.Float32)
    {
        byte* first = (byte*)panels + (nint)firstPanel * Width * K * weightType.Size();
        var product = WeightProduct(x, ldx, first, weightType, y, ldy, M, panelCount * Width, K);
        Run(product, operands, threads: 1);
    }

    /// <summary>dx[m, k] (+)= Σ_n dy[m, n]·W[n, k], n ascending: the gradient of the input.</summary>
    public static void MultiplyWeightTransposed(
        float* dy, int lddy, void* panels, DataType weightType, float* dx, int lddx, int M, int N, int K, bool accumulate,
        DataType operands = DataType.Float32)
    {
        GemmOperands product = InputGradientProduct(dy, lddy, panels, weightType, dx, lddx, M, N, K, accumulate);
        Run(product, operands, GemmBlocked.ThreadsFor(product.Work));
    }

    /// <summary>
    /// dW(n, k) (+)= Σ_m dy[m, n]·x[m, k], m ascending, with dW in panel order; its padding becomes zero unless
    /// accumulating, which leaves it alone.
    /// </summary>
    public static void WeightGradient(
        float* x, int ldx, float* dy, int lddy, float* dwPanels, int M, int N, int K, bool accumulate,
        DataType operands = DataType.Float32)
    {
        GemmOperands product = WeightGradientProduct(x, ldx, dy, lddy, dwPanels, M, N, K, accumulate);
        Run(product, operands, GemmBlocked.ThreadsFor(product.Work));
        int used = N % Width;
        if (accumulate || used == 0)
            return;
        float* last = dwPanels + (nint)(N / Width) * Width * K;
        for (int k = 0; k < K; k++)
            new Span<float>(last + (nint)k * Width + used, Width - used).Clear();
    }

    /// <summary>
    /// C[M, N] (+)= op(A)·op(B) for row-major matrices, where op(A) is M × K and op(B) is K × N: a transposed A is
    /// stored as [K, M], a transposed B as [N, K].
    /// </summary>
    public static void Multiply(
        float* a, int lda, bool transposeA, float* b, int ldb, bool transposeB, float* c, int ldc, int M, int N, int K,
        bool accumulate)
    {
        var product = new GemmOperands
        {
            A = a,
            ARow = transposeA ? 1 : lda,
            AStep = transposeA ? lda : 1,
            Layout = transposeB ? RightOperand.ColumnMajor : RightOperand.RowMajor,
            B = b,
            BStride = ldb,
            C = c,
            CRow = ldc,
            CPanel = Width,
            Rows = M,
            Columns = N,
            Steps = K,
            Accumulate = accumulate,
        };
        GemmBlocked.Run(product, GemmBlocked.ThreadsFor(product.Work));
    }

    /// <summary>
    /// c[r, j] (+)= Σ_k a[r·aRowStride + k·aStepStride]·b[k·bRowStride + j] for r &lt; rows, j &lt; columns ≤ 32 on the
    /// calling thread: the inner product of attention. Fastest with 32 columns and rows in multiples of 12 or 8.
    /// </summary>
    public static void Tile(
        float* a, nint aRowStride, nint aStepStride, float* b, nint bRowStride, float* c, nint ldc, int rows,
        int columns, int k, bool accumulate)
    {
        if (rows <= 0 || columns <= 0)
            return;
        if (columns < Width)
        {
            // The register tile reads 32 columns: lend it a padded copy.
            float* padded = GemmScratch.Tile((nint)k * Width);
            for (int step = 0; step < k; step++)
            {
                var target = new Span<float>(padded + (nint)step * Width, Width);
                new ReadOnlySpan<float>(b + step * bRowStride, columns).CopyTo(target);
                target[columns..].Clear();
            }
            b = padded;
            bRowStride = Width;
        }
        var tile = new TileArguments
        {
            A = (byte*)a,
            ARowBytes = aRowStride * sizeof(float),
            AStepBytes = aStepStride * sizeof(float),
            B = (byte*)b,
            BStepBytes = bRowStride * sizeof(float),
            C = c,
            CRowFloats = ldc,
            Steps = k,
            Accumulate = accumulate,
        };
        MicroKernel.Tile<FloatElement>(tile, rows, columns);
    }

    private static void Run(in GemmOperands product, DataType operands, int threads)
    {
        if (operands == DataType.BFloat16)
            BFloat16Gemm.Run(product, threads);
        else
            RunFloat32(product, threads);
    }

    /// <summary>A product as it is, in float32.</summary>
    internal static void RunFloat32(in GemmOperands product, int threads)
    {
        bool isWeight = product.Layout is RightOperand.FloatPanels or RightOperand.BFloat16Panels;
        if (product.Layout == RightOperand.FloatCodePanels && product.Rows == 1)
            FloatCodeRow.Run(product, threads);
        else if (isWeight && product.Rows <= GemmFewRows.MaxRows)
            GemmFewRows.Run(product, threads);
        else
            GemmBlocked.Run(product, threads);
    }

    internal static GemmOperands WeightProduct(
        float* x, int ldx, void* panels, DataType weightType, float* y, int ldy, int M, int N, int K) => new()
        {
            A = x,
            ARow = ldx,
            AStep = 1,
            Layout = IsFloat(weightType) ? RightOperand.FloatPanels : RightOperand.BFloat16Panels,
            B = panels,
            BStride = K,
            C = y,
            CRow = ldy,
            CPanel = Width,
            Rows = M,
            Columns = N,
            Steps = K,
        };

    internal static GemmOperands InputGradientProduct(
        float* dy, int lddy, void* panels, DataType weightType, float* dx, int lddx, int M, int N, int K,
        bool accumulate) => new()
        {
            A = dy,
            ARow = lddy,
            AStep = 1,
            Layout = IsFloat(weightType) ? RightOperand.FloatPanelsAcross : RightOperand.BFloat16PanelsAcross,
            B = panels,
            BStride = K,
            C = dx,
            CRow = lddx,
            CPanel = Width,
            Rows = M,
            Columns = K,
            Steps = N,
            Accumulate = accumulate,
        };

    // A panel of dW is a row-major K × 32 matrix: x^T times 32 columns of dy.
    internal static GemmOperands WeightGradientProduct(
        float* x, int ldx, float* dy, int lddy, float* dwPanels, int M, int N, int K, bool accumulate) => new()
        {
            A = x,
            ARow = 1,
            AStep = ldx,
            Layout = RightOperand.RowMajor,
            B = dy,
            BStride = lddy,
            C = dwPanels,
            CRow = Width,
            CPanel = (nint)Width * K,
            Rows = K,
            Columns = N,
            Steps = M,
            Accumulate = accumulate,
        };

    private static bool IsFloat(DataType weightType) => weightType switch
    {
        DataType.Float32 => true,
        DataType.BFloat16 => false,
        _ => throw new ArgumentOutOfRangeException(nameof(weightType), weightType, "Weights are Float32 or BFloat16."),
    };
}
