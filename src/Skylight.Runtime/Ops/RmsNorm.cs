using System.Numerics.Tensors;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Root-mean-square normalisation of each row: <c>(x [.., h], weight [h]) → x / sqrt(mean(x²) + ε) · weight</c>
/// (Zhang and Sennrich, 2019).
/// </summary>
/// <param name="Epsilon">Added to the mean square.</param>
/// <param name="Groups">How many parts a row has side by side, such as the heads of queries: each is normalised alone,
/// all by the one weight [h / Groups].</param>
public sealed record RmsNorm(float Epsilon, int Groups = 1) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(2).Activation(0, "x");
        CheckWeight(check, inputs, Groups);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        IReadOnlyList<Value> gradients = context.Graph.AddNode(new RmsNormBackward(Epsilon, Groups), context.Inputs[0],
            context.Inputs[1], context.OutputGradient(0));
        return [context.Needs(0) ? gradients[0] : null, context.Needs(1) ? gradients[1] : null];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(4.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => 0;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Input(1).Shape.Columns;
        float* x = arguments.InputPointer(0), y = arguments.OutputPointer(0);
        float[] weight = arguments.ReadParameter(1);
        float epsilon = Epsilon;
        ElementWise.ForRows(checked(arguments.Input(0).Shape.Rows * Groups), columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
                NormalizeRow(x + (long)row * columns, y + (long)row * columns, weight, epsilon);
        });
    }

    /// <summary>Checks groups, and that the weight is as wide as one.</summary>
    internal static TypeCheck CheckWeight(TypeCheck check, IReadOnlyList<TensorType> inputs, int groups)
    {
        int columns = inputs[0].Shape.Columns;
        return check.That(groups >= 1 && columns % Math.Max(groups, 1) == 0,
            $"input 0 (x) must have columns for {groups} groups of one width, not {inputs[0]}")
            .Shape(1, "weight", columns / groups).Is(1, "weight", DataType.Float32, DataType.BFloat16);
    }

    /// <summary>One row; <paramref name="target"/> may be <paramref name="source"/>.</summary>
    internal static unsafe void NormalizeRow(float* source, float* target, float[] weight, float epsilon)
    {
        int columns = weight.Length;
        float scale = 1f / MathF.Sqrt(RowMath.SumOfSquares(source, columns) / columns + epsilon);
        var result = new Span<float>(target, columns);
        TensorPrimitives.Multiply(new ReadOnlySpan<float>(source, columns), scale, result);
        TensorPrimitives.Multiply(result, weight, result);
    }
}

/// <summary>
/// The gradient of <see cref="RmsNorm"/>: <c>(x, weight, dy[, more]) → (dx, dweight)</c>. With r = 1/rms: dx = r·(dy·w
/// − x·r²·mean(dy·w·x)) + more, dweight = Σ over rows of dy·x·r, added in blocks of 64 rows so that the sum does not
/// depend on the number of threads.
/// <c>more</c> is a gradient that x gets from elsewhere (in <see cref="AddRmsNorm"/>, through the sum).
/// </summary>
/// <param name="Epsilon">As in the forward op.</param>
/// <param name="Groups">As in the forward op; the sum of dweight then goes over the groups of all rows.</param>
public sealed record RmsNormBackward(float Epsilon, int Groups = 1) : Op, ICpuKernel
{
    private const int RowBlock = 64;

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(3, 4).Activation(0, "x");
        check = RmsNorm.CheckWeight(check, inputs, Groups).Activation(2, "dy", 0, "x").SameShape(2, "dy", 0, "x");
        if (inputs.Count == 4)
            check.Activation(3, "more", 0, "x").SameShape(3, "more", 0, "x");
        return [inputs[0], new TensorType(DataType.Float32, inputs[1].Shape)];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(11.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => output == 0 ? 2 : -1;

    /// <inheritdoc/>
    public long ScratchBytes(IReadOnlyList<TensorType> inputs) =>
        (long)RowBlocks.Count(checked(inputs[0].Shape.Rows * Groups), RowBlock) * inputs[1].Shape.Columns * sizeof(float);

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int rows = checked(arguments.Input(0).Shape.Rows * Groups), columns = arguments.Input(1).Shape.Columns,
            blocks = RowBlocks.Count(rows, RowBlock);
        float* x = arguments.InputPointer(0), dy = arguments.InputPointer(2), dx = arguments.OutputPointer(0);
        float* more = arguments.InputCount == 4 ? arguments.InputPointer(3) : null;
        float* partial = blocks > 0 ? arguments.ScratchPointer : null;
        float[] weight = arguments.ReadParameter(1);
        float epsilon = Epsilon;
        CpuParallel.For(blocks, block =>
        {
            var weightGradient = new Span<float>(partial + (long)block * columns, columns);
            weightGradient.Clear();
            var normalizedRow = new float[columns];
            fixed (float* normalized = normalizedRow)
            {
                for (int row = block * RowBlock; row < Math.Min(rows, (block + 1) * RowBlock); row++)
                {
                    long offset = (long)row * columns;
                    var gradient = new ReadOnlySpan<float>(dy + offset, columns);
                    var target = new Span<float>(dx + offset, columns);
                    float scale = 1f / MathF.Sqrt(RowMath.SumOfSquares(x + offset, columns) / columns + epsilon);
                    TensorPrimitives.Multiply(new ReadOnlySpan<float>(x + offset, columns), scale, normalizedRow);
                    TensorPrimitives.MultiplyAdd(gradient, normalizedRow, weightGradient, weightGradient);
                    TensorPrimitives.Multiply(gradient, weight, target);
                    float mean = RowMath.Dot(dx + offset, normalized, columns) / columns;
                    TensorPrimitives.MultiplyAdd(normalizedRow, -mean, target, target);
                    TensorPrimitives.Multiply(target, scale, target);
                    if (more is not null)
                        TensorPrimitives.Add(target, new ReadOnlySpan<float>(more + offset, columns), target);
                }
            }
        });
        RowBlocks.Sum(partial, blocks, columns, arguments.OutputPointer(1));
    }
}
