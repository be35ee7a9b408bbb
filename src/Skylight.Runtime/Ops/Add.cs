using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Element-wise sum: <c>(a, b) → a + b</c>, two tensors of one type in any storage order. Residual connections and the
/// sum of gradients.
/// </summary>
public sealed record Add : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2)
            .Is(0, "a", DataType.Float32, DataType.BFloat16)
            .That(inputs[0] == inputs[1], "both inputs must be of one type");
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context) =>
        [context.OutputGradient(0), context.OutputGradient(0)];

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => 0;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        float* a = arguments.InputPointer(0), b = arguments.InputPointer(1), sum = arguments.OutputPointer(0);
        ElementWise.For(arguments.InputFloat32(0).Length, (start, count) =>
            System.Numerics.Tensors.TensorPrimitives.Add(new ReadOnlySpan<float>(a + start, count),
                new ReadOnlySpan<float>(b + start, count), new Span<float>(sum + start, count)));
    }
}
