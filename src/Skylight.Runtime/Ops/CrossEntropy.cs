using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Weighted cross-entropy, all float32: <c>(logProbability [T], weights [T]) → loss [1] = −Σ weight·logProbability</c>,
/// summed in double precision in order. Rows of weight 0 are ignored, whatever they hold.
/// </summary>
public sealed record CrossEntropy : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Float32(0, "logProbability").Rank(0, "logProbability", 1)
            .Float32(1, "weights").SameShape(1, "weights", 0, "logProbability");
        return [TensorType.Float32(1)];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        if (context.Needs(1))
            throw new GraphException($"{Name}: the weights (input 1) have no gradient.");
        return [context.Graph.Add(new CrossEntropyBackward(), context.Inputs[1], context.OutputGradient(0)), null];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(2.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public void Run(in CpuArguments arguments)
    {
        ReadOnlySpan<float> logProbability = arguments.InputFloat32(0), weights = arguments.InputFloat32(1);
        double loss = 0;
        for (int row = 0; row < weights.Length; row++)
        {
            if (weights[row] != 0)
                loss -= (double)weights[row] * logProbability[row];
        }

        arguments.OutputFloat32(0)[0] = (float)loss;
    }
}

/// <summary>
/// The gradient of <see cref="CrossEntropy"/>: <c>(weights [T], dLoss [1]) → dLogProbability [T] = −weight·dLoss</c>.
/// </summary>
public sealed record CrossEntropyBackward : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Float32(0, "weights").Rank(0, "weights", 1)
            .Is(1, "dLoss", DataType.Float32).Shape(1, "dLoss", 1);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => 0;

    /// <inheritdoc/>
    public void Run(in CpuArguments arguments) =>
        System.Numerics.Tensors.TensorPrimitives.Multiply(arguments.InputFloat32(0), -arguments.InputFloat32(1)[0],
            arguments.OutputFloat32(0));
}
