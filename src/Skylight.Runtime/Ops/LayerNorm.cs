using System.Numerics.Tensors;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Layer normalisation of each row: <c>(x [.., h], weight [h], bias [h]) → (x − mean) / sqrt(variance + ε) · weight +
/// bias</c>
/// (Ba, Kiros and Hinton, 2016).
/// </summary>
/// <param name="Epsilon">Added to the variance.</param>
public sealed record LayerNorm(float Epsilon) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(3).Activation(0, "x")
            .Shape(1, "weight", inputs[0].Shape.Columns).Is(1, "weight", DataType.Float32, DataType.BFloat16)
            .Shape(2, "bias", inputs[0].Shape.Columns).Is(2, "bias", DataType.Float32, DataType.BFloat16);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        IReadOnlyList<Value> gradients = context.Graph.AddNode(new LayerNormBackward(Epsilon), context.Inputs[0],
            context.Inputs[1], context.OutputGradient(0));
        return [context.Needs(0) ? gradients[0] : null, context.Needs(1) ? gradients[1] : null,
            context.Needs(2) ? gradients[2] : null];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(7.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => 0;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Input(0).Shape.Columns;
        float* x = arguments.InputPointer(0), y = arguments.OutputPointer(0);
        float[] weight = arguments.ReadParameter(1), bias = arguments.ReadParameter(2);
        float epsilon = Epsilon;
        ElementWise.ForRows(arguments.Input(0).Shape.Rows, columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
                NormalizeRow(x + (long)row * columns, y + (long)row * columns, weight, bias, epsilon);
        });
    }

    /// <summary>One row; <paramref name="target"/> may be <paramref name="source"/>.</summary>
    internal static unsafe void NormalizeRow(float* source, float* target, float[] weight, float[] bias, float epsilon)
    {
        var result = new Span<float>(target, weight.Length);
        TensorPrimitives.Multiply(result, Center(source, target, weight.Length, epsilon), result);
        TensorPrimitives.MultiplyAdd(result, weight, bias, result);
    }

    /// <summary>Subtracts the mean from a row and returns one over its standard deviation.</summary>
    internal static unsafe float Center(float* source, float* target, int columns, float epsilon)
    {
        float mean = RowMath.Sum(source, columns) / columns;
        TensorPrimitives.Subtract(new ReadOnlySpan<float>(source, columns), mean, new Span<float>(target, columns));
        return 1f / MathF.Sqrt(RowMath.SumOfSquares(target, columns) / columns + epsilon);
    }
}

/// <summary>
/// The gradient of <see cref="LayerNorm"/>: <c>(x, weight, dy[, more]) → (dx, dweight, dbias)</c>. With x̂ the
/// normalised row, r one over the standard deviation and g = dy·w: dx = r·(g − mean(g) − x̂·mean(g·x̂)) + more, dweight
/// = Σ over rows of dy·x̂, dbias = Σ over rows of dy, added in blocks of 64 rows so that the sums do not depend on the
/// number of threads. <c>more</c> is a gradient that x gets from elsewhere (in <see cref="AddLayerNorm"/>, through the sum).
/// </summary>
/// <param name="Epsilon">As in the forward op.</param>
public sealed record LayerNormBackward(float Epsilon) : Op, ICpuKernel
{
    private const int RowBlock = 64;

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(3, 4).Activation(0, "x")
            .Shape(1, "weight", inputs[0].Shape.Columns)
            .Is(1, "weight", DataType.Float32, DataType.BFloat16).Activation(2, "dy", 0, "x").SameShape(2, "dy", 0, "x");
        if (inputs.Count == 4)
            check.Activation(3, "more", 0, "x").SameShape(3, "more", 0, "x");
        var parameter = new TensorType(DataType.Float32, inputs[1].Shape);
        return [inputs[0], parameter, parameter];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(16.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => output == 0 ? 2 : -1;

    /// <inheritdoc/>
    public long ScratchBytes(IReadOnlyList<TensorType> inputs) =>
        2L * RowBlocks.Count(inputs[0].Shape.Rows, RowBlock) * inputs[0].Shape.Columns * sizeof(float);

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int rows = arguments.Input(0).Shape.Rows, columns = arguments.Input(0).Shape.Columns,
            blocks = RowBlocks.Count(rows, RowBlock);
        float* x = arguments.InputPointer(0), dy = arguments.InputPointer(2), dx = arguments.OutputPointer(0);
        float* more = arguments.InputCount == 4 ? arguments.InputPointer(3) : null;
        float* weightPartial = blocks > 0 ? arguments.ScratchPointer : null,
            biasPartial = weightPartial + (long)blocks * columns;
        float[] weight = arguments.ReadParameter(1);
        float epsilon = Epsilon;
        CpuParallel.For(blocks, block =>
        {
            var weightGradient = new Span<float>(weightPartial + (long)block * columns, columns);
            var biasGradient = new Span<float>(biasPartial + (long)block * columns, columns);
            weightGradient.Clear();
            biasGradient.Clear();
            var normalizedRow = new float[columns];
            fixed (float* normalized = normalizedRow)
            {
                for (int row = block * RowBlock; row < Math.Min(rows, (block + 1) * RowBlock); row++)
                {
                    long offset = (long)row * columns;
                    var gradient = new ReadOnlySpan<float>(dy + offset, columns);
                    var target = new Span<float>(dx + offset, columns);
                    float scale = LayerNorm.Center(x + offset, normalized, columns, epsilon);
                    TensorPrimitives.Multiply(normalizedRow, scale, normalizedRow);
                    TensorPrimitives.MultiplyAdd(gradient, normalizedRow, weightGradient, weightGradient);
                    TensorPrimitives.Add(biasGradient, gradient, biasGradient);
                    TensorPrimitives.Multiply(gradient, weight, target);
                    float mean = RowMath.Sum(dx + offset, columns) / columns;
                    float slope = RowMath.Dot(dx + offset, normalized, columns) / columns;
                    TensorPrimitives.Subtract(target, mean, target);
                    TensorPrimitives.MultiplyAdd(normalizedRow, -slope, target, target);
                    TensorPrimitives.Multiply(target, scale, target);
                    if (more is not null)
                        TensorPrimitives.Add(target, new ReadOnlySpan<float>(more + offset, columns), target);
                }
            }
        });
        RowBlocks.Sum(weightPartial, blocks, columns, arguments.OutputPointer(1));
        RowBlocks.Sum(biasPartial, blocks, columns, arguments.OutputPointer(2));
    }
}
