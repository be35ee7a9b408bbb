using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>Gated activation and factors for columns; see <c>kernels/column_wise.cu</c>.</summary>
internal static class ColumnWiseBindings
{
    private const int Threads = 128;
    private const int LeastRows = 4;

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<SwiGlu>((_, kernel) => QueueSwiGlu(kernel, kernel.Input(0)));
        bindings.Add<SwiGluBackward>((_, kernel) =>
        {
            TensorType dy = kernel.Inputs[1];
            Launch(kernel, "swiglu_backward", dy, dy.DataType, dy.Shape.Rows).Input(0).Input(1).Output(0)
                .Int32(dy.Shape.Columns);
        });
        bindings.Add<LayerScale>((_, kernel) =>
        {
            TensorType x = kernel.Inputs[0];
            Launch(kernel, "layer_scale", x, kernel.Inputs[1].DataType, x.Shape.Rows).Input(0).Input(1).Output(0)
                .Int32(x.Shape.Columns);
        });
        bindings.Add<LayerScaleBackward>((_, kernel) =>
        {
            TensorType x = kernel.Inputs[0];
            int rows = x.Shape.Rows, columns = x.Shape.Columns;
            (int blocks, int rowsPerBlock) = ReductionBindings.RowBlocks(rows, LeastRows);
            CudaScratch partial = kernel.Scratch((long)blocks * columns * sizeof(float));
            Launch(kernel, "layer_scale_backward", x, kernel.Inputs[1].DataType, blocks)
                .Input(0).Input(1).Input(2).Output(0).Scratch(partial).Int32(rows).Int32(columns).Int32(rowsPerBlock);
            ReductionBindings.AddBlocks(kernel, partial, blocks, columns, 1);
        });
    }

    /// <summary>Queues the gated activation of something, [rows, 2f], to the op's output.</summary>
    public static void QueueSwiGlu(CudaKernelBuilder kernel, CudaOperand gateUp)
    {
        TensorType y = kernel.Outputs[0];
        Launch(kernel, "swiglu", y, y.DataType, y.Shape.Rows).Pointer(gateUp).Output(0).Int32(y.Shape.Columns);
    }

    private static KernelLaunch Launch(CudaKernelBuilder kernel, string entryPoint, TensorType rows, DataType parameter,
        int blocks)
    {
        int columns = rows.Shape.Columns, vector = RowLayout.VectorOf(rows.DataType, columns);
        return kernel.Launch("column_wise.cu", entryPoint,
            new Dim3(blocks, CudaKernelBuilder.Blocks(columns, Threads * vector)), Threads)
            .Type("ELEMENT", rows.DataType).Type("PARAMETER", parameter).Define("VECTOR", vector);
    }
}
