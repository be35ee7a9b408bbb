using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>
/// The fused connector; see <c>kernels/connector.cu</c>, and for Hopper <c>kernels/warpgroup_connector.cu</c>. Its
/// gradient is a graph of other ops (<see cref="FusedConnector.Gradient"/>).
/// </summary>
internal static class ConnectorBindings
{
    private const int StatisticsThreads = 128;

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings) =>
        bindings.Add<FusedConnector>((op, kernel) => Queue(op, kernel));

    /// <summary>Queues the connector. A tile of warpgroups may be given for its first product; it changes no bit.</summary>
    internal static void Queue(FusedConnector op, CudaKernelBuilder kernel, WarpgroupTile? tile = null,
        KernelSource? source = null)
    {
        foreach (int input in (int[])[0, 3, 5])
        {
            if (kernel.Inputs[input].DataType != DataType.BFloat16 && kernel.Inputs[input].Format is null)
                throw kernel.Unsupported(
                    $"hidden states and weights must be bfloat16, not {kernel.Inputs[input].DataType}: give the " +
                    $"model bfloat16 parameters and activations");
        }

        if (kernel.Inputs[1].DataType != kernel.Inputs[2].DataType)
            throw kernel.Unsupported("the weight and the bias of the LayerNorm must have one data type");
        int columns = kernel.Inputs[3].Shape[0], rows = kernel.Outputs[0].Shape.Rows;
        CudaScratch inner = kernel.Scratch((long)rows * columns * DataTypes.Size(DataType.BFloat16));
        if (Multiplies(kernel))
            QueueWarpgroups(op, kernel, inner, tile, source);
        else
            QueueInner(op, kernel, inner);
        MatMulBindings.QueueWeight(kernel, new MatrixProduct(inner, kernel.Input(5), kernel.Output(0), rows, columns, columns)
        {
            TransposeRight = true,
            Bias = kernel.Input(6),
            BiasType = kernel.Inputs[6].DataType,
        }, kernel.Inputs[5]);
    }

    /// <summary>
    /// Whether warpgroups make the first product: a matter of the card and of the weight
    /// (<see cref="WarpgroupTile.Multiplies"/>).
    /// </summary>
    private static bool Multiplies(CudaKernelBuilder kernel) => kernel.Inputs[3].Format is null
        && IsAligned(kernel) && WarpgroupTile.Multiplies(kernel.Target, First(kernel, default));

    private static bool IsAligned(CudaKernelBuilder kernel) => kernel.Inputs[0].Shape.Columns % 8 == 0;

    private static MatrixProduct First(CudaKernelBuilder kernel, CudaOperand inner) => new(default, kernel.Input(3), inner,
        kernel.Outputs[0].Shape.Rows, kernel.Inputs[3].Shape[0], kernel.Inputs[3].Shape[1])
    { TransposeRight = true };

    /// <summary>Queues the first product, with the statistics, by warpgroups (Hopper).</summary>
    private static void QueueWarpgroups(FusedConnector op, CudaKernelBuilder kernel, CudaScratch inner, WarpgroupTile? tile,
        KernelSource? given)
    {
        MatrixProduct first = First(kernel, inner);
        WarpgroupTile chosen = tile ?? WarpgroupTile.ChooseLarge(first, kernel.Target.MultiprocessorCount);
        KernelSource source = given ?? KernelSource.Resource("warpgroup_connector.cu");
        CudaScratch statistics = kernel.Scratch(StatisticsBytes(first.Rows));
        Constants(kernel, chosen.Launch(kernel, source, "warpgroup_connector_inner", chosen.Tiles(first), null,
            new(first.Right, first.RightStride, first.Columns, IsInnerContiguous: true)))
            .Input(0).Scratch(statistics).Input(1).Input(2).Input(4).Scratch(inner).Counters()
            .Int32(first.Rows).Int32(first.Columns).Int32(op.GridHeight).Int32(op.GridWidth)
            .Int32(kernel.Inputs[0].Shape.Columns).Float32(op.Epsilon).Programmatic();
    }

    /// <summary>Queues statistics and the first product by the instructions of all cards.</summary>
    private static void QueueInner(FusedConnector op, CudaKernelBuilder kernel, CudaScratch inner)
    {
        MatrixProduct first = First(kernel, inner);
        MatrixTile tile = IsAligned(kernel)
            && MatrixTile.Tall.Blocks(first.Rows, first.Columns) >= kernel.Target.MultiprocessorCount
            ? MatrixTile.Tall : MatrixTile.Medium;
        TensorType weight = kernel.Inputs[3];
        CudaScratch statistics = kernel.Scratch(StatisticsBytes(first.Rows));
        // Of the same module as the product, so that there is one to compile.
        Constants(kernel, tile.DefineWeight(kernel.Launch("connector.cu", "connector_statistics",
            CudaKernelBuilder.Blocks(first.Rows, StatisticsThreads / 32), StatisticsThreads), weight))
            .Input(0).Scratch(statistics).Int32(first.Rows).Int32(op.GridHeight).Int32(op.GridWidth)
            .Int32(kernel.Inputs[0].Shape.Columns).Float32(op.Epsilon).Programmatic();
        Constants(kernel, tile.LaunchWeight(kernel, "connector.cu", "connector_inner", first.Rows, weight))
            .Input(0).Scratch(statistics).Input(1).Input(2).Input(3).Input(4).Scratch(inner)
            .Int32(first.Rows).Int32(first.Columns).Int32(op.GridHeight).Int32(op.GridWidth)
            .Int32(kernel.Inputs[0].Shape.Columns).Programmatic();
    }

    private static long StatisticsBytes(int rows) => 2L * sizeof(float) * rows;

    private static KernelLaunch Constants(CudaKernelBuilder kernel, KernelLaunch launch) =>
        launch.Define("ALIGNED", IsAligned(kernel)).Type("NORM", kernel.Inputs[1].DataType)
            .Type("BIAS", kernel.Inputs[4].DataType);
}
