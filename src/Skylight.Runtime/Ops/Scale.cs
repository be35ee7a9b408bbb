using System.Numerics.Tensors;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>Multiplication by a constant: <c>x → factor · x</c>, in any storage order.</summary>
/// <param name="Factor">The constant.</param>
public sealed record Scale(float Factor) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(1).Is(0, "x", DataType.Float32, DataType.BFloat16);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context) =>
        [context.Graph.Add(this, context.OutputGradient(0))];

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => 0;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        float* x = arguments.InputPointer(0), y = arguments.OutputPointer(0);
        float factor = Factor;
        ElementWise.For(arguments.InputFloat32(0).Length, (start, count) =>
            TensorPrimitives.Multiply(new ReadOnlySpan<float>(x + start, count), factor, new Span<float>(y + start, count)));
    }
}
