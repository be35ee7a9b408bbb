using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Changes single logits before a token is drawn (repetition penalty, bias, bans):
/// <c>(logits [R, V] float32, rowStarts int32 [R + 1], tokens int32 [N], penalty [N] float32, bias [N] float32) →
/// logits [R, V]</c>. Row r has the entries rowStarts[r] … rowStarts[r + 1] − 1; entries beyond rowStarts[R] are not
/// looked at, so that lists of different lengths share a plan. An entry turns its token's logit x into (x &gt; 0 ? x /
/// penalty : x · penalty) + bias: the repetition penalty of transformers, 1 for none, then the bias, −∞ to ban the
/// token. Works in place where the logits are not needed afterwards. No gradient.
/// </summary>
/// <remarks>
/// Within a row tokens ascend strictly, so none occurs twice. Errors at run time: wrong row starts, a token that is
/// outside of the vocabulary or does not ascend, a penalty that is not above zero and finite, a bias that is NaN or +∞.
/// </remarks>
public sealed record AdjustLogits : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(5).Float32(0, "logits").Rank(0, "logits", 2)
            .Is(1, "rowStarts", DataType.Int32).Shape(1, "rowStarts", inputs[0].Shape.Rows + 1)
            .Is(2, "tokens", DataType.Int32).Rank(2, "tokens", 1);
        int entries = inputs[2].Shape[0];
        check.Float32(3, "penalty").Shape(3, "penalty", entries).Float32(4, "bias").Shape(4, "bias", entries);
        return [inputs[0]];
    }

    /// <inheritdoc/>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(2.0 * inputs[2].Shape.ElementCount, Traffic(inputs, outputs));

    /// <inheritdoc/>
    public override int InPlaceInput(int output) => 0;

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        Shape shape = arguments.Input(0).Shape;
        ReadOnlySpan<int> starts = arguments.InputInt32(1), tokens = arguments.InputInt32(2);
        ReadOnlySpan<float> penalty = arguments.InputFloat32(3), bias = arguments.InputFloat32(4);
        for (int row = 0; row < shape.Rows; row++)
        {
            if (starts[row] < 0 || starts[row + 1] < starts[row] || starts[row + 1] > tokens.Length)
                throw new ArgumentOutOfRangeException(null,
                    $"{Name}: the entries of row {row} are from {starts[row]} to {starts[row + 1]}, which is not a " +
                    $"range within 0 … {tokens.Length}.");
            for (int entry = starts[row]; entry < starts[row + 1]; entry++)
            {
                int before = entry > starts[row] ? tokens[entry - 1] : -1;
                if (tokens[entry] <= before || tokens[entry] >= shape.Columns)
                    throw new ArgumentOutOfRangeException(null,
                        $"{Name}: tokens[{entry}] is {tokens[entry]}, but within a row tokens must ascend and be " +
                        $"from 0 to {shape.Columns - 1}.");
                if (!(penalty[entry] > 0) || !float.IsFinite(penalty[entry]))
                    throw new ArgumentOutOfRangeException(null,
                        $"{Name}: the penalty of entry {entry} must be above zero and finite.");
                if (!(bias[entry] < float.PositiveInfinity))
                    throw new ArgumentOutOfRangeException(null,
                        $"{Name}: the bias of entry {entry} must be a number or −∞.");
            }
        }

        float* source = arguments.InputPointer(0), target = arguments.OutputPointer(0);
        if (source != target)
            arguments.InputFloat32(0).CopyTo(arguments.OutputFloat32(0));
        for (int row = 0; row < shape.Rows; row++)
        {
            float* line = target + (long)row * shape.Columns;
            for (int entry = starts[row]; entry < starts[row + 1]; entry++)
            {
                float x = line[tokens[entry]];
                line[tokens[entry]] = (x > 0 ? x / penalty[entry] : x * penalty[entry]) + bias[entry];
            }
        }
    }
}
