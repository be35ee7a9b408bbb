using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>The number one, float32 [1]: the gradient of a loss with respect to itself.</summary>
public sealed record One : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(0);
        return [TensorType.Float32(1)];
    }

    /// <inheritdoc/>
    public void Run(in CpuArguments arguments) => arguments.OutputFloat32(0)[0] = 1f;
}
