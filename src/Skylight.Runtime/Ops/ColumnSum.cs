using System.Numerics.Tensors;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// The sum over rows, <c>x [.., n] → [n]</c>, float32 whatever x is: the gradient of a bias. Rows are added in blocks
/// of 256, so that the sum does not depend on the number of threads.
/// </summary>
public sealed record ColumnSum : Op, ICpuKernel
{
    private const int RowBlock = 256;

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(1).Activation(0, "x");
        return [TensorType.Float32(inputs[0].Shape.Columns)];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public long ScratchBytes(IReadOnlyList<TensorType> inputs) =>
        (long)RowBlocks.Count(inputs[0].Shape.Rows, RowBlock) * inputs[0].Shape.Columns * sizeof(float);

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int rows = arguments.Input(0).Shape.Rows, columns = arguments.Input(0).Shape.Columns,
            blocks = RowBlocks.Count(rows, RowBlock);
        float* x = arguments.InputPointer(0);
        float* partial = blocks > 0 ? arguments.ScratchPointer : null;
        CpuParallel.For(blocks, block =>
        {
            var sum = new Span<float>(partial + (long)block * columns, columns);
            sum.Clear();
            for (int row = block * RowBlock; row < Math.Min(rows, (block + 1) * RowBlock); row++)
                TensorPrimitives.Add(sum, new ReadOnlySpan<float>(x + (long)row * columns, columns), sum);
        });
        RowBlocks.Sum(partial, blocks, columns, arguments.OutputPointer(0));
    }
}
