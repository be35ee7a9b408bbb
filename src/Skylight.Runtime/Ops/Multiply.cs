using System.Numerics.Tensors;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>Element-wise product: <c>(a, b) → a · b</c>, two tensors of one type in any storage order.</summary>
public sealed record Multiply : Op, ICpuKernel
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
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        Value gradient = context.OutputGradient(0);
        return
        [
            context.Needs(0) ? context.Graph.Add(this, gradient, context.Inputs[1]) : null,
            context.Needs(1) ? context.Graph.Add(this, gradient, context.Inputs[0]) : null,
        ];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => 0;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        float* a = arguments.InputPointer(0), b = arguments.InputPointer(1), product = arguments.OutputPointer(0);
        ElementWise.For(arguments.InputFloat32(0).Length, (start, count) =>
            TensorPrimitives.Multiply(new ReadOnlySpan<float>(a + start, count),
                new ReadOnlySpan<float>(b + start, count), new Span<float>(product + start, count)));
    }
}
