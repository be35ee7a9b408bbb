using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>Joins rows side by side: <c>(x₀ [.., w₀], x₁ [.., w₁], …) → [.., Σ w]</c>.</summary>
public sealed record ConcatenateColumns : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(1, int.MaxValue);
        int columns = 0;
        for (int input = 0; input < inputs.Count; input++)
        {
            check.Activation(input, $"x{input}")
                .That(inputs[input].Shape.Rank >= 1 && inputs[input].DataType == inputs[0].DataType
                    && inputs[input].Shape.WithColumns(0) == inputs[0].Shape.WithColumns(0),
                    $"input {input} must have the data type and the rows of input 0");
            columns = checked(columns + inputs[input].Shape.Columns);
        }

        return [inputs[0] with { Shape = inputs[0].Shape.WithColumns(columns) }];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context) =>
        [.. context.Graph.AddNode(new SplitColumns([.. context.Inputs.Select(input => input.Shape.Columns)]),
            context.OutputGradient(0))];

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int columns = arguments.Output(0).Shape.Columns;
        float* y = arguments.OutputPointer(0);
        var pieces = new float*[arguments.InputCount];
        var widths = new int[arguments.InputCount];
        for (int piece = 0; piece < pieces.Length; piece++)
        {
            pieces[piece] = arguments.InputPointer(piece);
            widths[piece] = arguments.Input(piece).Shape.Columns;
        }

        ElementWise.ForRows(arguments.Output(0).Shape.Rows, columns, (start, count) =>
        {
            for (int row = start; row < start + count; row++)
            {
                float* target = y + (long)row * columns;
                for (int piece = 0; piece < widths.Length; piece++)
                {
                    new ReadOnlySpan<float>(pieces[piece] + (long)row * widths[piece], widths[piece])
                        .CopyTo(new Span<float>(target, widths[piece]));
                    target += widths[piece];
                }
            }
        });
    }
}
