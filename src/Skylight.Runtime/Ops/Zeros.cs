using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>Zeros: <c>() → type</c>. Stands in for a gradient that is not there.</summary>
/// <param name="Type">The type of the output, in any storage order.</param>
public sealed record Zeros(TensorType Type) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(0);
        return [Type];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context) => [];

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        // Zero has the same bits in every data type.
        float* y = arguments.OutputPointer(0);
        ElementWise.For(arguments.OutputFloat32(0).Length, (start, count) => new Span<float>(y + start, count).Clear());
    }
}
