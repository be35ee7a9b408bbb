using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>
/// The fused connector; see <c>kernels/connector.cu</c>. Its gradient is a graph of other ops
/// (<see cref="FusedConnector.Gradient"/>).
/// </summary>
internal static class ConnectorBindings
{
    private const int StatisticsThreads = 128, StatisticsSharedBytes = StatisticsThreads / 32 * sizeof(float);

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings) => bindings.Add<FusedConnector>(Queue);

    private static void Queue(FusedConnector op, CudaKernelBuilder kernel)
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
        int width = kernel.Inputs[0].Shape.Columns, columns = kernel.Inputs[3].Shape[0], rows = kernel.Outputs[0].Shape.Rows;
        CudaScratch statistics = kernel.Scratch(2L * sizeof(float) * rows),
            inner = kernel.Scratch((long)rows * columns * DataTypes.Size(DataType.BFloat16));
        bool aligned = width % 8 == 0;
        MatrixTile tile = aligned && MatrixTile.Tall.Blocks(rows, columns) >= kernel.Target.MultiprocessorCount
            ? MatrixTile.Tall : MatrixTile.Medium;
        // Of the same module as the product, so that there is one to compile.
        TensorType weight = kernel.Inputs[3];
        Constants(tile.DefineWeight(
            kernel.Launch("connector.cu", "connector_statistics", rows, StatisticsThreads, StatisticsSharedBytes), weight))
            .Input(0).Scratch(statistics).Int32(op.GridHeight).Int32(op.GridWidth).Int32(width).Float32(op.Epsilon);
        Constants(tile.LaunchWeight(kernel, "connector.cu", "connector_inner", rows, weight))
            .Input(0).Scratch(statistics).Input(1).Input(2).Input(3).Input(4).Scratch(inner)
            .Int32(rows).Int32(columns).Int32(op.GridHeight).Int32(op.GridWidth).Int32(width);
        MatMulBindings.QueueWeight(kernel, new MatrixProduct(inner, kernel.Input(5), kernel.Output(0), rows, columns, columns)
        {
            TransposeRight = true,
            Bias = kernel.Input(6),
            BiasType = kernel.Inputs[6].DataType,
        }, kernel.Inputs[5]);

        KernelLaunch Constants(KernelLaunch launch) =>
            launch.Define("ALIGNED", aligned).Type("NORM", kernel.Inputs[1].DataType)
                .Type("BIAS", kernel.Inputs[4].DataType);
    }
}
