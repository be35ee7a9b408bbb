using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Chosen rows: <c>(x [R, h], rows int32 [N]) → [N, h]</c>; a row may be chosen more than once. A row outside of x is
/// an error at run time.
/// </summary>
public sealed record GatherRows : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Activation(0, "x").Rank(0, "x", 2).Is(1, "rows", DataType.Int32)
            .Rank(1, "rows", 1);
        return [inputs[0] with { Shape = new Shape(inputs[1].Shape[0], inputs[0].Shape[1]) }];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context) =>
        [context.Graph.Add(new GatherRowsBackward(context.Inputs[0].Shape[0]), context.Inputs[1],
            context.OutputGradient(0)), null];

    /// <summary>Only the chosen rows move.</summary>
    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(0, inputs[1].Bytes + 2.0 * outputs[0].Bytes);

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Input(0).Shape.Columns;
        IndexCheck.Range(this, "rows", arguments.InputInt32(1), 0, arguments.Input(0).Shape[0]);
        float* x = arguments.InputPointer(0), y = arguments.OutputPointer(0);
        int* rows = (int*)arguments.InputPointer(1);
        ElementWise.ForRows(arguments.Output(0).Shape.Rows, columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
                new ReadOnlySpan<float>(x + (long)rows[row] * columns, columns)
                    .CopyTo(new Span<float>(y + (long)row * columns, columns));
        });
    }
}

/// <summary>
/// The gradient of <see cref="GatherRows"/>: <c>(rows int32 [N], dy [N, h]) → dx [R, h]</c>, zero where no row was
/// chosen, added in ascending order.
/// </summary>
/// <param name="RowCount">R.</param>
public sealed record GatherRowsBackward(int RowCount) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Is(0, "rows", DataType.Int32).Rank(0, "rows", 1)
            .Activation(1, "dy").Rank(1, "dy", 2).Shape(1, "dy", inputs[0].Shape[0], inputs[1].Shape.Columns);
        return [inputs[1] with { Shape = new Shape(RowCount, inputs[1].Shape[1]) }];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(inputs[1].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public long ScratchBytes(IReadOnlyList<TensorType> inputs) => RowScatter.ScratchBytes(inputs[0].Shape[0], RowCount);

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        IndexCheck.Range(this, "rows", arguments.InputInt32(0), 0, RowCount);
        RowScatter.Run(arguments.InputInt32(0), arguments.InputPointer(1), arguments.OutputPointer(0),
            arguments.Output(0).Type, arguments.ScratchPointer);
    }
}
