using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>
/// Norms, alone and after a residual connection, and their gradients; see <c>kernels/norm.cu</c> and
/// <c>kernels/norm_backward.cu</c>.
/// </summary>
internal static class NormBindings
{
    private const int RowsOfWarps = 4;
    private const int LeastRows = 4;

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<RmsNorm>((op, kernel) =>
            Finish(Launch(kernel, "rms_norm", 1, op.Groups).Input(0).Input(1).Output(0), kernel, op.Epsilon, op.Groups));
        bindings.Add<LayerNorm>((op, kernel) =>
            Finish(Launch(kernel, "layer_norm", 1).Input(0).Input(1).Input(2).Output(0), kernel, op.Epsilon));
        bindings.Add<AddRmsNorm>((op, kernel) =>
            Finish(Launch(kernel, "add_rms_norm", 2).Input(0).Input(1).Input(2).Output(0).Output(1), kernel, op.Epsilon));
        bindings.Add<AddLayerNorm>((op, kernel) =>
            Finish(Launch(kernel, "add_layer_norm", 2).Input(0).Input(1).Input(2).Input(3).Output(0).Output(1), kernel,
                op.Epsilon));
        bindings.Add<RmsNormBackward>(
            (op, kernel) => AddBackward(kernel, "rms_norm_backward", op.Epsilon, parameters: 1, sums: 2, op.Groups));
        bindings.Add<LayerNormBackward>(
            (op, kernel) => AddBackward(kernel, "layer_norm_backward", op.Epsilon, parameters: 2, sums: 3));
    }

    /// <summary>Each group of a row is a row to the kernels.</summary>
    private static (int Rows, int Columns) Extents(CudaKernelBuilder kernel, int groups) =>
        (checked(kernel.Inputs[0].Shape.Rows * groups), kernel.Inputs[0].Shape.Columns / groups);

    private static KernelLaunch Launch(CudaKernelBuilder kernel, string entryPoint, int weight, int groups = 1)
    {
        TensorType x = kernel.Inputs[0];
        (int rows, int columns) = Extents(kernel, groups);
        RowLayout layout = RowLayout.Forward(x.DataType, columns);
        int rowsPerBlock = layout.Threads == 32 ? RowsOfWarps : 1;
        int blocks = columns == 0 ? 0 : CudaKernelBuilder.Blocks(rows, rowsPerBlock);
        return layout.Define(kernel.Launch("norm.cu", entryPoint, blocks, layout.Threads * rowsPerBlock,
            ReductionBindings.BlockSumBytes(layout.Threads, sizeof(float))))
            .Type("ELEMENT", x.DataType).Type("PARAMETER", ParameterType(kernel, weight));
    }

    private static void Finish(KernelLaunch launch, CudaKernelBuilder kernel, float epsilon, int groups = 1)
    {
        (int rows, int columns) = Extents(kernel, groups);
        launch.Int32(rows).Int32(columns).Float32(epsilon).Programmatic();
    }

    /// <summary>The gradients of rows and, block by block, those of the parameters; then the sums over the blocks.</summary>
    private static void AddBackward(CudaKernelBuilder kernel, string entryPoint, float epsilon, int parameters,
        int sums, int groups = 1)
    {
        TensorType x = kernel.Inputs[0];
        (int rows, int columns) = Extents(kernel, groups);
        (int blocks, int rowsPerBlock) = ReductionBindings.RowBlocks(rows, LeastRows);
        RowLayout layout = RowLayout.Backward(x.DataType, columns);
        CudaScratch[] partial = [
            .. Enumerable.Range(0, parameters).Select(_ => kernel.Scratch((long)blocks * columns * sizeof(float)))];
        int sharedBytes = ReductionBindings.BlockSumBytes(layout.Threads, sums * sizeof(float));
        KernelLaunch launch = layout.Define(
            kernel.Launch("norm_backward.cu", entryPoint, columns == 0 ? 0 : blocks, layout.Threads, sharedBytes))
            .Type("ELEMENT", x.DataType).Type("PARAMETER", ParameterType(kernel, 1))
            .Input(0).Input(1).Input(2).OptionalInput(3).Output(0);
        foreach (CudaScratch region in partial)
            launch.Scratch(region);
        launch.Int32(rows).Int32(columns).Int32(rowsPerBlock).Float32(epsilon);
        for (int parameter = 0; parameter < parameters; parameter++)
            ReductionBindings.AddBlocks(kernel, partial[parameter], blocks, columns, 1 + parameter);
    }

    /// <summary>The type of weight and bias: one constant for both, so they must agree.</summary>
    private static DataType ParameterType(CudaKernelBuilder kernel, int weight)
    {
        DataType type = kernel.Inputs[weight].DataType;
        if (kernel.Op is LayerNorm or AddLayerNorm && kernel.Inputs[weight + 1].DataType != type)
            throw kernel.Unsupported("weight and bias must have one data type");
        return type;
    }
}
