using System.Numerics.Tensors;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>A learned factor for each column: <c>(x [.., h], scale [h]) → x · scale</c> (Touvron et al., 2021).</summary>
public sealed record LayerScale : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Activation(0, "x").Shape(1, "scale", inputs[0].Shape.Columns)
            .Is(1, "scale", DataType.Float32, DataType.BFloat16);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        Value gradient = context.OutputGradient(0);
        if (!context.Needs(1))
            return [context.Graph.Add(this, gradient, context.Inputs[1]), null];
        IReadOnlyList<Value> gradients = context.Graph.AddNode(new LayerScaleBackward(), context.Inputs[0],
            context.Inputs[1], gradient);
        return [context.Needs(0) ? gradients[0] : null, gradients[1]];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => 0;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Input(0).Shape.Columns;
        float* x = arguments.InputPointer(0), y = arguments.OutputPointer(0);
        float[] scale = arguments.ReadParameter(1);
        ElementWise.ForRows(arguments.Input(0).Shape.Rows, columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
                TensorPrimitives.Multiply(new ReadOnlySpan<float>(x + (long)row * columns, columns), scale,
                    new Span<float>(y + (long)row * columns, columns));
        });
    }
}

/// <summary>
/// The gradient of <see cref="LayerScale"/>: <c>(x, scale, dy) → (dx, dscale)</c>: dx = dy·scale, dscale = Σ over rows
/// of dy·x, added in blocks of 64 rows so that the sum does not depend on the number of threads.
/// </summary>
public sealed record LayerScaleBackward : Op, ICpuKernel
{
    private const int RowBlock = 64;

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(3).Activation(0, "x").Shape(1, "scale", inputs[0].Shape.Columns)
            .Is(1, "scale", DataType.Float32, DataType.BFloat16).Activation(2, "dy", 0, "x").SameShape(2, "dy", 0, "x");
        return [inputs[0], new TensorType(DataType.Float32, inputs[1].Shape)];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(3.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => output == 0 ? 2 : -1;

    /// <inheritdoc/>
    public long ScratchBytes(IReadOnlyList<TensorType> inputs) =>
        (long)RowBlocks.Count(inputs[0].Shape.Rows, RowBlock) * inputs[0].Shape.Columns * sizeof(float);

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int rows = arguments.Input(0).Shape.Rows, columns = arguments.Input(0).Shape.Columns,
            blocks = RowBlocks.Count(rows, RowBlock);
        float* x = arguments.InputPointer(0), dy = arguments.InputPointer(2), dx = arguments.OutputPointer(0);
        float* partial = blocks > 0 ? arguments.ScratchPointer : null;
        float[] scale = arguments.ReadParameter(1);
        CpuParallel.For(blocks, block =>
        {
            var scaleGradient = new Span<float>(partial + (long)block * columns, columns);
            scaleGradient.Clear();
            for (int row = block * RowBlock; row < Math.Min(rows, (block + 1) * RowBlock); row++)
            {
                long offset = (long)row * columns;
                var gradient = new ReadOnlySpan<float>(dy + offset, columns);
                TensorPrimitives.MultiplyAdd(gradient, new ReadOnlySpan<float>(x + offset, columns), scaleGradient,
                    scaleGradient);
                TensorPrimitives.Multiply(gradient, scale, new Span<float>(dx + offset, columns));
            }
        });
        RowBlocks.Sum(partial, blocks, columns, arguments.OutputPointer(1));
    }
}
