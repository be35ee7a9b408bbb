using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// The sum of all elements: <c>x [..] → [1]</c>, float32 whatever x is, added in blocks of fixed size, so that it does
/// not depend on the number of threads.
/// </summary>
public sealed record Sum : Op, ICpuKernel
{
    private const int Block = 8192;

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(1).Activation(0, "x");
        return [TensorType.Float32(1)];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context) =>
        [context.Graph.Add(new Broadcast(context.Inputs[0].Shape, context.Inputs[0].Type.DataType),
            context.OutputGradient(0))];

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public long ScratchBytes(IReadOnlyList<TensorType> inputs) =>
        RowBlocks.Count(checked((int)inputs[0].Shape.ElementCount), Block) * sizeof(float);

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int count = arguments.InputFloat32(0).Length, blocks = RowBlocks.Count(count, Block);
        float* sum = arguments.OutputPointer(0);
        if (blocks == 0)
        {
            *sum = 0;
            return;
        }

        float* x = arguments.InputPointer(0), partial = arguments.ScratchPointer;
        CpuParallel.For(blocks,
            block => partial[block] = RowMath.Sum(x + (long)block * Block, Math.Min(Block, count - block * Block)));
        *sum = RowMath.Sum(partial, blocks);
    }
}

/// <summary>One number in every place: <c>x [1] float32 → shape</c>. The gradient of <see cref="Sum"/>.</summary>
/// <param name="Shape">The shape of the output.</param>
/// <param name="OutputType">The data type of the output.</param>
public sealed record Broadcast(Shape Shape, DataType OutputType = DataType.Float32) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(1).Float32(0, "x").Shape(0, "x", 1)
            .That(OutputType.IsFloatingPoint(), $"a number cannot be spread as {OutputType}");
        return [new TensorType(OutputType, Shape)];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context) =>
        [context.Graph.Add(new Sum(), context.OutputGradient(0))];

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        float value = *arguments.InputPointer(0);
        float* y = arguments.OutputPointer(0);
        ElementWise.For(arguments.OutputFloat32(0).Length, (start, count) => new Span<float>(y + start, count).Fill(value));
    }
}
