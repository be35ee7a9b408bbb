using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Columns in another order: <c>(x [.., k], order int32 [k]) → y [.., k], y[.., i] = x[.., order[i]]</c>. It puts activations
/// into the order in which a quantised weight has its inputs (<see cref="QuantizedFormat.HasInputOrder"/>), which serves
/// inference only: there is no gradient. A column outside of x is an error at run time.
/// </summary>
public sealed record PermuteColumns : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Activation(0, "x").Is(1, "order", DataType.Int32)
            .Shape(1, "order", inputs[0].Shape.Columns);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int width = arguments.Input(0).Shape.Columns;
        IndexCheck.Range(this, "order", arguments.InputInt32(1), 0, width);
        float* x = arguments.InputPointer(0), y = arguments.OutputPointer(0);
        int* order = (int*)arguments.InputPointer(1);
        ElementWise.ForRows(arguments.Output(0).Shape.Rows, width, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
            {
                float* source = x + (long)row * width, target = y + (long)row * width;
                for (int column = 0; column < width; column++)
                    target[column] = source[order[column]];
            }
        });
    }
}
