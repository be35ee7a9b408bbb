using System.Collections.Immutable;
using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>Splits each row into pieces: <c>x [.., Σ widths] → one tensor [.., width] for each width</c>.</summary>
/// <param name="Widths">The columns of the outputs, in order; all at least 1.</param>
public sealed record SplitColumns(params ImmutableArray<int> Widths) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(1).Activation(0, "x")
            .That(!Widths.IsDefaultOrEmpty && Widths.All(width => width > 0), "the widths must be positive")
            .That(inputs[0].Shape.Rank >= 1 && inputs[0].Shape.Columns == Widths.Sum(),
                $"input 0 (x) must have {string.Join(" + ", Widths)} columns, not {inputs[0]}");
        return [.. Widths.Select(width => inputs[0] with { Shape = inputs[0].Shape.WithColumns(width) })];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        Value[] pieces = [.. context.Outputs.Select(
            (output, index) => context.OutputGradients[index] ?? context.Graph.Add(new Zeros(output.Type)))];
        return [context.Graph.Add(new ConcatenateColumns(), pieces)];
    }

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Input(0).Shape.Columns;
        float* x = arguments.InputPointer(0);
        var pieces = new float*[Widths.Length];
        for (int piece = 0; piece < pieces.Length; piece++)
            pieces[piece] = arguments.OutputPointer(piece);
        ImmutableArray<int> widths = Widths;
        ElementWise.ForRows(arguments.Input(0).Shape.Rows, columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
            {
                float* source = x + (long)row * columns;
                for (int piece = 0; piece < widths.Length; piece++)
                {
                    new ReadOnlySpan<float>(source, widths[piece])
                        .CopyTo(new Span<float>(pieces[piece] + (long)row * widths[piece], widths[piece]));
                    source += widths[piece];
                }
            }
        });
    }

    /// <summary>Equality of the widths.</summary>
    public bool Equals(SplitColumns? other) => other is not null && Widths.AsSpan().SequenceEqual(other.Widths.AsSpan());

    /// <inheritdoc/>
    public override int GetHashCode() => Widths.Aggregate(0, HashCode.Combine);
}
