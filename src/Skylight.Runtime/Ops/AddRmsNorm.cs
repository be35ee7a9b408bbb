using System.Numerics.Tensors;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Residual connection and the norm after it in one pass: <c>(residual [.., h], x [.., h], weight [h]) → (sum,
/// normalized)</c> with sum = residual + x and normalized = <see cref="RmsNorm"/> of it, both [.., h].
/// </summary>
/// <param name="Epsilon">Added to the mean square.</param>
public sealed record AddRmsNorm(float Epsilon) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(3).Activation(0, "residual").Activation(1, "x", 0, "residual")
            .SameShape(1, "x", 0, "residual")
            .Shape(2, "weight", inputs[0].Shape.Columns).Is(2, "weight", DataType.Float32, DataType.BFloat16);
        return [inputs[0], inputs[0]];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        if (context.OutputGradients[1] is not { } normalizedGradient)
            return [context.OutputGradients[0], context.OutputGradients[0], null];
        var backward = new RmsNormBackward(Epsilon);
        Value sum = context.Outputs[0], weight = context.Inputs[2];
        IReadOnlyList<Value> gradients = context.OutputGradients[0] is { } sumGradient
            ? context.Graph.AddNode(backward, sum, weight, normalizedGradient, sumGradient)
            : context.Graph.AddNode(backward, sum, weight, normalizedGradient);
        return [gradients[0], gradients[0], context.Needs(2) ? gradients[1] : null];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(5.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => output;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Input(0).Shape.Columns;
        float* residual = arguments.InputPointer(0), x = arguments.InputPointer(1), sum = arguments.OutputPointer(0),
            normalized = arguments.OutputPointer(1);
        float[] weight = arguments.ReadParameter(2);
        float epsilon = Epsilon;
        ElementWise.ForRows(arguments.Input(0).Shape.Rows, 2 * columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
            {
                long offset = (long)row * columns;
                TensorPrimitives.Add(new ReadOnlySpan<float>(residual + offset, columns),
                    new ReadOnlySpan<float>(x + offset, columns), new Span<float>(sum + offset, columns));
                RmsNorm.NormalizeRow(sum + offset, normalized + offset, weight, epsilon);
            }
        });
    }
}

/// <summary><see cref="Add"/>, then <see cref="RmsNorm"/> of the sum → <see cref="AddRmsNorm"/>.</summary>
public sealed class AddRmsNormFusion : FusionRule
{
    /// <inheritdoc/>
    public override string Name => nameof(AddRmsNorm);

    /// <inheritdoc/>
    public override FusionMatch? Match(Node node, ValueUses uses)
    {
        ArgumentNullException.ThrowIfNull(node);
        ArgumentNullException.ThrowIfNull(uses);
        if (node.Op is not RmsNorm { Groups: 1 } norm || node.Inputs[0].Producer is not { Op: Add } add)
            return null;
        Value sum = add.Outputs[0];
        // The fused node stands where the norm stood: whoever reads the sum must come after it.
        if (uses.Readers(sum).Any(reader => reader.Index < node.Index))
            return null;
        return new FusionMatch([add, node], new AddRmsNorm(norm.Epsilon),
            [add.Inputs[0], add.Inputs[1], node.Inputs[1]], [sum, node.Outputs[0]]);
    }
}
