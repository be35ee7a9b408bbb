using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>
/// Matrix products; see <c>kernels/gemm.cu</c>, and for Hopper <c>kernels/warpgroup_gemm.cu</c>. In deterministic mode they
/// are made by an own kernel, otherwise by cuBLAS; those with quantised weights always by
/// <c>kernels/quantized_gemm.cu</c>.
/// </summary>
internal static class MatMulBindings
{
    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<MatMul>((_, kernel) => QueueWeight(kernel, OfWeight(kernel), kernel.Inputs[1]));
        bindings.Add<MatMulActivation>((op, kernel) => QueueActivation(kernel, op.Activation));
        bindings.Add<MatMulInputGradient>((_, kernel) =>
        {
            (int inner, int columns) = (kernel.Inputs[1].Shape[0], kernel.Inputs[1].Shape[1]);
            QueueInputs(kernel,
                new MatrixProduct(kernel.Input(0), kernel.Input(1), kernel.Output(0), kernel.Inputs[0].Shape.Rows,
                    columns, inner));
        });
        bindings.Add<MatMulWeightGradient>((_, kernel) =>
        {
            Shape x = kernel.Inputs[0].Shape, gradient = kernel.Inputs[1].Shape;
            QueueInputs(kernel, new MatrixProduct(kernel.Input(1), kernel.Input(0), kernel.Output(0), gradient.Columns,
                x.Columns, x.Rows)
            { TransposeLeft = true });
        });
        bindings.Add<BatchedMatMul>((op, kernel) =>
        {
            Shape left = kernel.Inputs[0].Shape, result = kernel.Outputs[0].Shape;
            QueueInputs(kernel,
                new MatrixProduct(kernel.Input(0), kernel.Input(1), kernel.Output(0), result[1], result[2],
                    op.TransposeA ? left[1] : left[2])
                {
                    TransposeLeft = op.TransposeA,
                    TransposeRight = op.TransposeB,
                    Batch = result[0],
                });
        });
    }

    /// <summary>The product of an op whose inputs are activations, a weight and perhaps a bias.</summary>
    internal static MatrixProduct OfWeight(CudaKernelBuilder kernel)
    {
        RefuseFloats(kernel, 0);
        if (kernel.Inputs[1].Format is null)
            RefuseFloats(kernel, 1);
        var product = new MatrixProduct(kernel.Input(0), kernel.Input(1), kernel.Output(0), kernel.Inputs[0].Shape.Rows,
            kernel.Inputs[1].Shape[0], kernel.Inputs[1].Shape[1])
        { TransposeRight = true };
        return kernel.Inputs.Count == 3
            ? product with { Bias = kernel.Input(2), BiasType = kernel.Inputs[2].DataType } : product;
    }

    /// <summary>
    /// Queues a product and the activation of it: one launch of an own kernel, or, where there is none for it, two launches
    /// with the same bits.
    /// </summary>
    private static void QueueActivation(CudaKernelBuilder kernel, ProductActivation activation)
    {
        MatrixProduct product = OfWeight(kernel) with { Activation = activation };
        TensorType weight = kernel.Inputs[1];
        // Of a quantised weight, scales are copied for 16 outputs at a time.
        if (weight.Format is null ? kernel.Target.Deterministic : !product.IsGated || weight.Shape.Rows % 32 == 0)
        {
            QueueWeight(kernel, product, weight);
            return;
        }

        CudaOperand whole = product.IsGated
            ? kernel.Scratch((long)product.Rows * product.Columns * kernel.Outputs[0].DataType.Size()) : product.Result;
        QueueWeight(kernel, product with { Activation = null, Result = whole }, weight);
        if (product.IsGated)
            ColumnWiseBindings.QueueSwiGlu(kernel, whole);
        else
            ElementWiseBindings.QueueActivation(kernel, "gelu", whole);
    }

    /// <summary>
    /// Queues a product; the factors must be bfloat16. A tile may be given for the kernel of all cards; it changes no bit.
    /// </summary>
    internal static void Queue(CudaKernelBuilder kernel, MatrixProduct product, MatrixTile? tile = null,
        KernelSource? source = null)
    {
        DataType resultType = product.ResultType ?? kernel.Outputs[0].DataType;
        if (kernel.Target.Deterministic || product.Inner == 0)
            QueueOwn(kernel, product, resultType, tile, source);
        else
            QueueLibrary(kernel, product, resultType);
    }

    /// <summary>Queues a product whose right factor is a weight, transposed: bfloat16 or quantised.</summary>
    internal static void QueueWeight(CudaKernelBuilder kernel, MatrixProduct product, TensorType weight,
        MatrixTile? tile = null)
    {
        if (weight.Format is null)
            Queue(kernel, product, tile);
        else
            QueueQuantized(kernel, product, weight, tile);
    }

    /// <summary>Queues a product of warpgroups (Hopper). A tile may be given; it changes no bit.</summary>
    internal static void QueueWarpgroups(CudaKernelBuilder kernel, MatrixProduct product, DataType resultType,
        WarpgroupTile? tile = null, KernelSource? source = null)
    {
        WarpgroupTile chosen = tile ?? WarpgroupTile.Choose(product, kernel.Target);
        if (!chosen.Makes(product))
            throw new ArgumentException($"a tile of {chosen.LeftRows} rows does not make {product.Rows}", nameof(tile));
        KernelLaunch launch = chosen.Launch(kernel, source ?? KernelSource.Resource("warpgroup_gemm.cu"),
            "warpgroup_product", chosen.Tiles(product),
            new(product.Left, product.LeftStride, product.TransposeLeft ? product.Inner : product.Rows,
                !product.TransposeLeft, product.Batch),
            new(product.Right, product.RightStride, product.TransposeRight ? product.Columns : product.Inner,
                product.TransposeRight, product.Batch)
            { Parts = product.IsGated ? 2 : 1 })
            .Define("TRANSPOSE_LEFT", product.TransposeLeft).Define("TRANSPOSE_RIGHT", product.TransposeRight)
            .Type("BIAS", product.BiasType).Type("RESULT", resultType);
        product.DefineActivation(launch);
        (product.Bias is { } bias ? launch.Pointer(bias) : launch.Null()).Pointer(product.Result)
            .Int32(product.Rows).Int32(product.ResultColumns).Int32(product.Inner).Int32(product.Batch).Programmatic();
    }

    private static void QueueInputs(CudaKernelBuilder kernel, MatrixProduct product)
    {
        RefuseFloats(kernel, 0);
        RefuseFloats(kernel, 1);
        Queue(kernel, product);
    }

    private static void RefuseFloats(CudaKernelBuilder kernel, int input)
    {
        if (kernel.Inputs[input].DataType != DataType.BFloat16)
            throw kernel.Unsupported(
                $"matrix products read bfloat16, not {kernel.Inputs[input].DataType}: give the model bfloat16 parameters " +
                $"and activations, or insert a Cast");
    }

    /// <summary>cuBLAS has no such product, so in every mode it is the own kernel's.</summary>
    private static void QueueQuantized(CudaKernelBuilder kernel, MatrixProduct product, TensorType weight, MatrixTile? given)
    {
        bool aligned = product.Inner % 8 == 0;
        MatrixTile tile = given ?? MatrixTile.Choose(product.Rows, product.Columns, 1, aligned, kernel.Target,
            isQuantized: true, product.IsGated);
        KernelLaunch launch = tile.LaunchWeight(kernel, "quantized_gemm.cu", "quantized_product", product.Rows, weight)
            .Define("ALIGNED", aligned).Type("BIAS", product.BiasType)
            .Type("RESULT", product.ResultType ?? kernel.Outputs[0].DataType)
            .Pointer(product.Left).Pointer(product.Right);
        product.DefineActivation(launch);
        (product.Bias is { } bias ? launch.Pointer(bias) : launch.Null()).Pointer(product.Result)
            .Int32(product.Rows).Int32(product.ResultColumns).Int32(product.Inner).Programmatic();
    }

    private static void QueueOwn(CudaKernelBuilder kernel, MatrixProduct product, DataType resultType, MatrixTile? given,
        KernelSource? source)
    {
        if (given is null && WarpgroupTile.Multiplies(kernel.Target, product))
        {
            QueueWarpgroups(kernel, product, resultType);
            return;
        }

        // Operands begin at multiples of 256 bytes; rows and the matrices of a batch follow one another without gaps.
        bool aligned = product.LeftStride % 8 == 0 && product.RightStride % 8 == 0;
        MatrixTile tile = given ?? MatrixTile.Choose(product.Rows, product.Columns, product.Batch, aligned, kernel.Target,
            isGated: product.IsGated);
        KernelLaunch launch = tile.Launch(kernel, source ?? KernelSource.Resource("gemm.cu"), "matrix_product", product.Rows,
            product.Columns, product.Batch)
            .Define("TRANSPOSE_LEFT", product.TransposeLeft).Define("TRANSPOSE_RIGHT", product.TransposeRight)
            .Define("ALIGNED", aligned)
            .Type("BIAS", product.BiasType).Type("RESULT", resultType)
            .Pointer(product.Left).Pointer(product.Right);
        product.DefineActivation(launch);
        (product.Bias is { } bias ? launch.Pointer(bias) : launch.Null()).Pointer(product.Result)
            .Int32(product.Rows).Int32(product.ResultColumns).Int32(product.Inner)
            .Int32(product.LeftStride).Int32(product.RightStride).Int32(product.ResultColumns)
            .Int64((long)product.Rows * product.Inner).Int64((long)product.Inner * product.Columns)
            .Int64((long)product.Rows * product.ResultColumns).Programmatic();
    }

    private static void QueueLibrary(CudaKernelBuilder kernel, MatrixProduct product, DataType resultType)
    {
        if (product.Bias is { } bias)
        {
            long count = (long)product.Rows * product.Columns;
            kernel.Launch("bias.cu", "fill_rows", CudaKernelBuilder.Blocks(count, 256), 256)
                .Type("BIAS", product.BiasType).Type("RESULT", resultType)
                .Pointer(bias).Pointer(product.Result).Int64(count).Int32(product.Columns);
        }

        kernel.Product(new CudaProductStep
        {
            Left = product.Left,
            Right = product.Right,
            Result = product.Result,
            Rows = product.Rows,
            Columns = product.Columns,
            Inner = product.Inner,
            TransposeLeft = product.TransposeLeft,
            TransposeRight = product.TransposeRight,
            FactorType = DataType.BFloat16,
            ResultType = resultType,
            Beta = product.Bias is null ? 0 : 1,
            Batch = product.Batch,
            LeftBatchStride = (long)product.Rows * product.Inner,
            RightBatchStride = (long)product.Inner * product.Columns,
            ResultBatchStride = (long)product.Rows * product.Columns,
        });
    }
}

/// <summary>
/// result [rows, columns] = left [rows, inner] · right [inner, columns] + bias, dense, for each matrix of a batch.
/// </summary>
/// <param name="Left">bfloat16; stored [inner, rows] when <see cref="TransposeLeft"/> is set.</param>
/// <param name="Right">bfloat16; stored [columns, inner] when <see cref="TransposeRight"/> is set.</param>
/// <param name="Result">float32 or bfloat16.</param>
/// <param name="Rows">Rows of the result.</param>
/// <param name="Columns">Columns of the result.</param>
/// <param name="Inner">The length of the sums.</param>
internal sealed record MatrixProduct(CudaOperand Left, CudaOperand Right, CudaOperand Result, int Rows, int Columns,
    int Inner)
{
    /// <summary>Whether the left matrix lies transposed.</summary>
    public bool TransposeLeft { get; init; }

    /// <summary>Whether the right matrix lies transposed, as weights do.</summary>
    public bool TransposeRight { get; init; }

    /// <summary><c>[columns]</c>, or none.</summary>
    public CudaOperand? Bias { get; init; }

    /// <summary>The element type of the bias.</summary>
    public DataType BiasType { get; init; } = DataType.BFloat16;

    /// <summary>The element type of the result; by default that of the op's output.</summary>
    public DataType? ResultType { get; init; }

    /// <summary>
    /// What own kernels make of the product before they store it; the right matrix is then a weight. None: the product is the
    /// result.
    /// </summary>
    public ProductActivation? Activation { get; init; }

    /// <summary>Whether the first half of the columns gates the second.</summary>
    public bool IsGated => Activation == ProductActivation.SwiGlu;

    /// <summary>The columns that are stored.</summary>
    public int ResultColumns => IsGated ? Columns / 2 : Columns;

    /// <summary>The number of products.</summary>
    public int Batch { get; init; } = 1;

    /// <summary>The elements from one stored row of the left matrix to the next.</summary>
    public int LeftStride => TransposeLeft ? Rows : Inner;

    /// <summary>The elements from one stored row of the right matrix to the next.</summary>
    public int RightStride => TransposeRight ? Inner : Columns;

    /// <summary>Tells a kernel of the activation; without one it has nothing to be told.</summary>
    public void DefineActivation(KernelLaunch launch)
    {
        if (Activation is { } activation)
            launch.Define("ACTIVATION", activation == ProductActivation.Gelu ? 1 : 2);
    }
}
