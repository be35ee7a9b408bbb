using System.Numerics.Tensors;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// The input of a vision transformer: <c>(patches [B·P, h], classToken [h], positions [1 + P, h]) → [B·(1 + P), h]</c>.
/// Of each image, the first row is classToken + positions[0], the others patch i + positions[1 + i].
/// </summary>
public sealed record AddClassTokenAndPositions : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(3).Activation(0, "patches").Rank(0, "patches", 2);
        int columns = inputs[0].Shape[1];
        check.Shape(1, "classToken", columns).Is(1, "classToken", DataType.Float32, DataType.BFloat16)
            .Activation(2, "positions").Rank(2, "positions", 2)
            .That(inputs[2].Shape[0] >= 2 && inputs[2].Shape[1] == columns,
                $"input 2 (positions) must be [1 + patches of an image, {columns}], not {inputs[2]}");
        int patches = inputs[2].Shape[0] - 1;
        check.That(inputs[0].Shape[0] % patches == 0,
            $"input 0 (patches) must have a multiple of {patches} rows, since there are {patches} positions beside " +
            $"the class token's");
        return [inputs[0] with { Shape = new Shape(inputs[0].Shape[0] / patches * (1 + patches), columns) }];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        IReadOnlyList<Value> gradients = context.Graph.AddNode(
            new AddClassTokenAndPositionsBackward(context.Inputs[2].Shape[0] - 1), context.OutputGradient(0));
        return [context.Needs(0) ? gradients[0] : null, context.Needs(1) ? gradients[1] : null,
            context.Needs(2) ? gradients[2] : null];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(outputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Input(0).Shape.Columns, tokens = arguments.Input(2).Shape[0];
        float* patches = arguments.InputPointer(0), y = arguments.OutputPointer(0);
        float[] classToken = arguments.ReadParameter(1);
        var positions = arguments.Input(2);
        ElementWise.ForRows(arguments.Output(0).Shape.Rows, columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
            {
                int image = row / tokens, token = row % tokens;
                ReadOnlySpan<float> source = token == 0
                    ? classToken
                    : new ReadOnlySpan<float>(patches + ((long)image * (tokens - 1) + token - 1) * columns, columns);
                var target = new Span<float>(y + (long)row * columns, columns);
                CpuArguments.ReadRows(positions, token, target);
                TensorPrimitives.Add(source, target, target);
            }
        });
    }
}

/// <summary>
/// The gradient of <see cref="AddClassTokenAndPositions"/>: <c>dy [B·(1 + P), h] → (dpatches [B·P, h], dclassToken [h],
/// dpositions [1 + P, h])</c>, images added in ascending order.
/// </summary>
/// <param name="PatchCount">P, the patches of one image.</param>
public sealed record AddClassTokenAndPositionsBackward(int PatchCount) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(1).Activation(0, "dy").Rank(0, "dy", 2)
            .That(inputs[0].Shape[0] % (1 + PatchCount) == 0,
                $"input 0 (dy) must have a multiple of {1 + PatchCount} rows, not {inputs[0]}");
        int images = inputs[0].Shape[0] / (1 + PatchCount), columns = inputs[0].Shape[1];
        return [inputs[0] with { Shape = new Shape(images * PatchCount, columns) }, TensorType.Float32(columns),
            TensorType.Float32(1 + PatchCount, columns)];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Input(0).Shape.Columns, tokens = 1 + PatchCount,
            images = arguments.Input(0).Shape[0] / tokens;
        float* dy = arguments.InputPointer(0), dpatches = arguments.OutputPointer(0),
            dclass = arguments.OutputPointer(1), dpositions = arguments.OutputPointer(2);
        ElementWise.ForRows(tokens, columns * Math.Max(1, images), (start, count) =>
        {
            for (int token = start; token < start + count; token++)
            {
                var sum = new Span<float>(dpositions + (long)token * columns, columns);
                sum.Clear();
                for (int image = 0; image < images; image++)
                {
                    var gradient = new ReadOnlySpan<float>(dy + ((long)image * tokens + token) * columns, columns);
                    TensorPrimitives.Add(sum, gradient, sum);
                    if (token > 0)
                        gradient.CopyTo(
                            new Span<float>(dpatches + ((long)image * (tokens - 1) + token - 1) * columns, columns));
                }

                if (token == 0)
                    sum.CopyTo(new Span<float>(dclass, columns));
            }
        });
    }
}
