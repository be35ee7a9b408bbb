using System.Numerics.Tensors;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Position embeddings for another grid of patches: <c>table [1 + sh·sw, h] → [1 + th·tw, h]</c>, float32 whatever the
/// table is. The class token's row is copied; the patches' rows are interpolated bicubically as PyTorch's
/// <c>interpolate(mode="bicubic", align_corners=False)</c> does: Keys' kernel with a = −0.75, pixel centres at half
/// integers, taps beyond the border clamped to it, no antialiasing.
/// </summary>
/// <param name="SourceHeight">sh, rows of the table's grid.</param>
/// <param name="SourceWidth">sw, columns of the table's grid.</param>
/// <param name="TargetHeight">th, rows of the wanted grid.</param>
/// <param name="TargetWidth">tw, columns of the wanted grid.</param>
public sealed record InterpolatePositions(int SourceHeight, int SourceWidth, int TargetHeight, int TargetWidth) : Op,
    ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(1).Activation(0, "table").Rank(0, "table", 2)
            .That(SourceHeight > 0 && SourceWidth > 0 && TargetHeight > 0 && TargetWidth > 0,
                $"grids cannot be {SourceHeight} x {SourceWidth} and {TargetHeight} x {TargetWidth}")
            .Shape(0, "table", 1 + SourceHeight * SourceWidth, inputs[0].Shape.Columns);
        return [TensorType.Float32(1 + TargetHeight * TargetWidth, inputs[0].Shape[1])];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context) =>
        [context.Graph.Add(new InterpolatePositionsBackward(SourceHeight, SourceWidth, TargetHeight, TargetWidth),
            context.OutputGradient(0))];

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(32.0 * outputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public long ScratchBytes(IReadOnlyList<TensorType> inputs) => inputs[0].DataType == DataType.Float32 ? 0
        : inputs[0].Shape.ElementCount * sizeof(float);

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Input(0).Shape.Columns, sourceWidth = SourceWidth, targetWidth = TargetWidth;
        BicubicTap[][] lines = BicubicTap.ForAxis(SourceHeight, TargetHeight),
            places = BicubicTap.ForAxis(SourceWidth, TargetWidth);
        var stored = arguments.Input(0);
        float* y = arguments.OutputPointer(0), table = stored.Type.DataType == DataType.Float32
            ? arguments.InputPointer(0) : arguments.ScratchPointer;
        if (stored.Type.DataType != DataType.Float32)
        {
            ElementWise.ForRows(stored.Shape.Rows, columns, (start, count) =>
                CpuArguments.ReadRows(stored, start, new Span<float>(table + (long)start * columns, count * columns)));
        }

        new ReadOnlySpan<float>(table, columns).CopyTo(new Span<float>(y, columns));
        ElementWise.ForRows(TargetHeight * TargetWidth, 16 * columns, (start, count) =>
        {
            for (int patch = start; patch < start + count; patch++)
            {
                var target = new Span<float>(y + (1 + (long)patch) * columns, columns);
                target.Clear();
                foreach (BicubicTap line in lines[patch / targetWidth])
                {
                    foreach (BicubicTap place in places[patch % targetWidth])
                        TensorPrimitives.MultiplyAdd(
                            new ReadOnlySpan<float>(table + (1 + (long)line.Index * sourceWidth + place.Index)
                                * columns, columns), line.Weight * place.Weight, target, target);
                }
            }
        });
    }
}

/// <summary>
/// The gradient of <see cref="InterpolatePositions"/>, its transpose: <c>dy [1 + th·tw, h] → [1 + sh·sw, h]</c>.
/// </summary>
/// <param name="SourceHeight">sh, rows of the table's grid.</param>
/// <param name="SourceWidth">sw, columns of the table's grid.</param>
/// <param name="TargetHeight">th, rows of the wanted grid.</param>
/// <param name="TargetWidth">tw, columns of the wanted grid.</param>
public sealed record InterpolatePositionsBackward(int SourceHeight, int SourceWidth, int TargetHeight, int TargetWidth)
    : Op, ICpuKernel
{
    private const int ColumnBlock = 64;

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(1).Activation(0, "dy").Rank(0, "dy", 2)
            .Shape(0, "dy", 1 + TargetHeight * TargetWidth, inputs[0].Shape.Columns);
        return [TensorType.Float32(1 + SourceHeight * SourceWidth, inputs[0].Shape[1])];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(32.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Input(0).Shape.Columns, sourceWidth = SourceWidth,
            targetPatches = TargetHeight * TargetWidth, targetWidth = TargetWidth;
        int sourceRows = 1 + SourceHeight * SourceWidth;
        BicubicTap[][] lines = BicubicTap.ForAxis(SourceHeight, TargetHeight),
            places = BicubicTap.ForAxis(SourceWidth, TargetWidth);
        float* dy = arguments.InputPointer(0), result = arguments.OutputPointer(0);
        // Threads share the columns, so that each element adds its terms in one order.
        CpuParallel.For(RowBlocks.Count(columns, ColumnBlock), block =>
        {
            int first = block * ColumnBlock, width = Math.Min(ColumnBlock, columns - first);
            for (int row = 0; row < sourceRows; row++)
                new Span<float>(result + (long)row * columns + first, width).Clear();
            new ReadOnlySpan<float>(dy + first, width).CopyTo(new Span<float>(result + first, width));
            for (int patch = 0; patch < targetPatches; patch++)
            {
                var gradient = new ReadOnlySpan<float>(dy + (1 + (long)patch) * columns + first, width);
                foreach (BicubicTap line in lines[patch / targetWidth])
                {
                    foreach (BicubicTap place in places[patch % targetWidth])
                    {
                        var target = new Span<float>(
                            result + (1 + (long)line.Index * sourceWidth + place.Index) * columns + first, width);
                        TensorPrimitives.MultiplyAdd(gradient, line.Weight * place.Weight, target, target);
                    }
                }
            }
        });
    }
}

/// <summary>One source position that a target position reads, and how much of it.</summary>
internal readonly record struct BicubicTap(int Index, float Weight)
{
    private const double A = -0.75;

    /// <summary>
    /// The taps of every target position along one axis; those of weight zero are left out, so that an equal grid is
    /// copied exactly.
    /// </summary>
    public static BicubicTap[][] ForAxis(int source, int target)
    {
        double scale = (double)source / target;
        var taps = new BicubicTap[target][];
        for (int position = 0; position < target; position++)
        {
            double real = scale * (position + 0.5) - 0.5;
            int floor = (int)Math.Floor(real);
            double t = real - floor;
            double[] weights = [Outer(t + 1), Inner(t), Inner(1 - t), Outer(2 - t)];
            taps[position] =
                [.. weights.Select((weight, tap) => new BicubicTap(Math.Clamp(floor - 1 + tap, 0, source - 1),
                    (float)weight)).Where(tap => tap.Weight != 0)];
        }

        return taps;
    }

    private static double Inner(double x) => ((A + 2) * x - (A + 3)) * x * x + 1;

    private static double Outer(double x) => ((A * x - 5 * A) * x + 8 * A) * x - 4 * A;
}
