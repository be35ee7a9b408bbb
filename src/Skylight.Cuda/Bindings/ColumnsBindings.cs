using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>
/// Splitting rows into pieces and joining them, one launch per piece, and columns in another order; see
/// <c>kernels/columns.cu</c>.
/// </summary>
internal static class ColumnsBindings
{
    private const string Source = "columns.cu";

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<SplitColumns>((_, kernel) =>
        {
            int first = 0;
            for (int piece = 0; piece < kernel.Outputs.Count; piece++)
            {
                Copy(kernel, kernel.Input(0), kernel.Inputs[0], first, kernel.Output(piece), kernel.Outputs[piece], 0,
                    kernel.Outputs[piece].Shape.Columns);
                first += kernel.Outputs[piece].Shape.Columns;
            }
        });
        bindings.Add<ConcatenateColumns>((_, kernel) =>
        {
            int first = 0;
            for (int piece = 0; piece < kernel.Inputs.Count; piece++)
            {
                Copy(kernel, kernel.Input(piece), kernel.Inputs[piece], 0, kernel.Output(0), kernel.Outputs[0], first,
                    kernel.Inputs[piece].Shape.Columns);
                first += kernel.Inputs[piece].Shape.Columns;
            }
        });
        bindings.Add<PermuteColumns>((_, kernel) =>
        {
            TensorType type = kernel.Inputs[0];
            int rows = type.Shape.Rows, columns = type.Shape.Columns;
            RowPacks.Launch(kernel, Source, "permute_columns", rows, columns, RowPacks.Width([type.DataType], columns))
                .Type("ELEMENT", type.DataType).Input(0).Input(1).Output(0).Int32(rows).Int32(columns)
                .Status(RowPacks.RangeMessage("order", 0, columns));
        });
    }

    private static void Copy(
        CudaKernelBuilder kernel, CudaOperand source, TensorType sourceType, int sourceFirst, CudaOperand target,
        TensorType targetType, int targetFirst, int columns)
    {
        DataType type = sourceType.DataType;
        int rows = sourceType.Shape.Rows, sourceStride = sourceType.Shape.Columns, targetStride = targetType.Shape.Columns;
        // Without rows, an offset in bytes would lie outside of the operand.
        if (rows == 0 || columns == 0)
            return;
        int width = RowPacks.Width([type], columns, sourceStride, targetStride, sourceFirst, targetFirst);
        RowPacks.Launch(kernel, Source, "copy_columns", rows, columns, width).Type("ELEMENT", type)
            .Pointer(source.At((long)sourceFirst * type.Size())).Pointer(target.At((long)targetFirst * type.Size()))
            .Int32(rows).Int32(columns).Int32(sourceStride).Int32(targetStride);
    }
}
