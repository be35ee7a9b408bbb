using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Joins 2 × 2 patches into one image token: <c>hidden [B·(1 + gh·gw), h] → [B·(gh/2)·(gw/2), 4h]</c>. The class token,
/// first of each image, is dropped. Token (i, j) holds patches (2i, 2j), (2i, 2j + 1), (2i + 1, 2j), (2i + 1, 2j + 1).
/// </summary>
/// <param name="GridHeight">gh, patches from top to bottom; even.</param>
/// <param name="GridWidth">gw, patches from left to right; even.</param>
public sealed record PixelShuffle(int GridHeight, int GridWidth) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(1).Activation(0, "hidden").Rank(0, "hidden", 2)
            .That(GridHeight > 0 && GridWidth > 0 && GridHeight % 2 == 0 && GridWidth % 2 == 0,
                $"the grid must be even in both directions, not {GridHeight} x {GridWidth}");
        int tokens = checked(1 + GridHeight * GridWidth);
        check.That(inputs[0].Shape[0] % tokens == 0,
            $"input 0 (hidden) must have a multiple of {tokens} rows, not {inputs[0]}");
        return [inputs[0] with
        {
            Shape = new Shape(inputs[0].Shape[0] / tokens * (GridHeight * GridWidth / 4), checked(4 * inputs[0].Shape[1])),
        }];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context) =>
        [context.Graph.Add(new PixelShuffleBackward(GridHeight, GridWidth), context.OutputGradient(0))];

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Input(0).Shape.Columns;
        float* hidden = arguments.InputPointer(0), y = arguments.OutputPointer(0);
        ElementWise.ForRows(arguments.Output(0).Shape.Rows, 4 * columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
                GatherToken(hidden, y + (long)row * 4 * columns, row, columns);
        });
    }

    /// <summary>
    /// One shuffled token: two runs of two patches, for neighbours in one line of the grid are neighbours in memory.
    /// </summary>
    internal unsafe void GatherToken(float* hidden, float* token, int row, int columns)
    {
        int tokens = GridHeight * GridWidth / 4, image = row / tokens, index = row % tokens;
        int top = index / (GridWidth / 2) * 2, left = index % (GridWidth / 2) * 2;
        for (int half = 0; half < 2; half++)
        {
            long patch = (long)image * (1 + GridHeight * GridWidth) + 1 + (top + half) * GridWidth + left;
            new ReadOnlySpan<float>(hidden + patch * columns, 2 * columns)
                .CopyTo(new Span<float>(token + (long)half * 2 * columns, 2 * columns));
        }
    }
}

/// <summary>
/// The gradient of <see cref="PixelShuffle"/>: <c>dy [B·(gh/2)·(gw/2), 4h] → [B·(1 + gh·gw), h]</c>, zero in the class
/// tokens.
/// </summary>
/// <param name="GridHeight">gh, patches from top to bottom; even.</param>
/// <param name="GridWidth">gw, patches from left to right; even.</param>
public sealed record PixelShuffleBackward(int GridHeight, int GridWidth) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(1).Activation(0, "dy").Rank(0, "dy", 2)
            .That(GridHeight > 0 && GridWidth > 0 && GridHeight % 2 == 0 && GridWidth % 2 == 0,
                $"the grid must be even in both directions, not {GridHeight} x {GridWidth}")
            .That(inputs[0].Shape[0] % (GridHeight * GridWidth / 4) == 0 && inputs[0].Shape[1] % 4 == 0,
                $"input 0 (dy) must have a multiple of {GridHeight * GridWidth / 4} rows and of 4 columns, not {inputs[0]}");
        int images = inputs[0].Shape[0] / (GridHeight * GridWidth / 4);
        return [inputs[0] with { Shape = new Shape(images * (1 + GridHeight * GridWidth), inputs[0].Shape[1] / 4) }];
    }

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Output(0).Shape.Columns, gridWidth = GridWidth, tokens = 1 + GridHeight * GridWidth,
            tokensOut = GridHeight * GridWidth / 4;
        float* dy = arguments.InputPointer(0), result = arguments.OutputPointer(0);
        ElementWise.ForRows(arguments.Output(0).Shape.Rows, columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
            {
                var target = new Span<float>(result + (long)row * columns, columns);
                int image = row / tokens, patch = row % tokens - 1;
                if (patch < 0)
                {
                    target.Clear();
                    continue;
                }

                int top = patch / gridWidth, left = patch % gridWidth;
                long token = (long)image * tokensOut + top / 2 * (gridWidth / 2) + left / 2;
                new ReadOnlySpan<float>(dy + (token * 4 + top % 2 * 2 + left % 2) * columns, columns).CopyTo(target);
            }
        });
    }
}
