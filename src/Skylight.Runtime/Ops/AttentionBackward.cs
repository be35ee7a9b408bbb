using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// The gradient of <see cref="Attention"/>: <c>(q, k, v, out, logSumExp, dOut, starts) → (dq, dk, dv)</c>. Scores are
/// computed again in tiles; memory grows with the tokens, never with their square (Dao et al., 2022). One task works
/// through a sequence and a key-value head in a fixed order, so the sums do not depend on the number of threads.
/// </summary>
/// <param name="HeadCount">As in the forward op.</param>
/// <param name="KeyValueHeadCount">As in the forward op.</param>
/// <param name="HeadDimension">As in the forward op.</param>
/// <param name="Causal">As in the forward op.</param>
public sealed record AttentionBackward(int HeadCount, int KeyValueHeadCount, int HeadDimension, bool Causal) : Op, ICpuKernel
{
    /// <summary>
    /// Whether the operands of products (queries, keys, values and softmax weights, and what flows back) are rounded from
    /// float32 to bfloat16; sums stay float32. <see cref="PagedAttention"/> does so where its caches are bfloat16; see
    /// <see cref="Execution.Device.KeyValueType"/>.
    /// </summary>
    public bool RoundsOperands { get; init; }

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(7);
        Attention.CheckInputs(check, inputs, HeadCount, KeyValueHeadCount, HeadDimension);
        check.Activation(3, "out", 0, "q").SameShape(3, "out", 0, "q")
            .Float32(4, "logSumExp").Shape(4, "logSumExp", inputs[0].Shape[0], HeadCount)
            .Activation(5, "dOut", 0, "q").SameShape(5, "dOut", 0, "q")
            .Is(6, "starts", DataType.Int32).Rank(6, "starts", 1)
            .That(inputs[6].Shape.Columns >= 1, "starts must have one element more than there are sequences");
        return [inputs[0], inputs[1], inputs[2]];
    }

    /// <summary>Five products of Hq·D multiply-adds per pair of tokens, as if the sequences were equally long.</summary>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(5 * Attention.ProductFlops(inputs[0].Shape, inputs[6].Shape, Causal), Traffic(inputs, outputs));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int rows = arguments.Input(0).Shape.Rows, heads = HeadCount, keyValueHeads = KeyValueHeadCount,
            dimension = HeadDimension;
        int group = heads / keyValueHeads;
        bool causal = Causal, rounds = RoundsOperands;
        ReadOnlySpan<int> starts = arguments.InputInt32(6);
        PackedSequences.CheckStarts(Name, starts, rows);
        PackedSequences.ClearOutside(starts, arguments.OutputFloat32(0), heads * dimension);
        PackedSequences.ClearOutside(starts, arguments.OutputFloat32(1), keyValueHeads * dimension);
        PackedSequences.ClearOutside(starts, arguments.OutputFloat32(2), keyValueHeads * dimension);

        float* q = arguments.InputPointer(0), k = arguments.InputPointer(1), v = arguments.InputPointer(2);
        float* output = arguments.InputPointer(3), logSumExp = arguments.InputPointer(4),
            outputGradient = arguments.InputPointer(5);
        float* queryGradient = arguments.OutputPointer(0), keyGradient = arguments.OutputPointer(1),
            valueGradient = arguments.OutputPointer(2);
        int* firstRows = (int*)arguments.InputPointer(6);
        CpuParallel.For((starts.Length - 1) * keyValueHeads, AttentionCore.ThreadsFor((double)rows * heads * dimension),
            task =>
        {
            int sequence = task / keyValueHeads, head = task % keyValueHeads;
            nint first = firstRows[sequence];
            int length = firstRows[sequence + 1] - firstRows[sequence];
            if (length == 0)
                return;
            nint query = (first * heads + head * group) * dimension, keyValue = (first * keyValueHeads + head) * dimension;
            AttentionCore.Backward(new AttentionCore.Gradient
            {
                Forward = new AttentionCore.Queries
                {
                    Query = q + query,
                    Output = output + query,
                    LogSumExp = logSumExp + first * heads + head * group,
                    RowStride = (nint)heads * dimension,
                    LogSumExpStride = heads,
                    Rows = length,
                    Group = group,
                    HeadDimension = dimension,
                    Visible = causal ? 1 : length,
                    Causal = causal,
                },
                OutputGradient = outputGradient + query,
                QueryGradient = queryGradient + query,
                Keys = k + keyValue,
                Values = v + keyValue,
                KeyGradient = keyGradient + keyValue,
                ValueGradient = valueGradient + keyValue,
                Stride = (nint)keyValueHeads * dimension,
                Count = length,
                Rounds = rounds,
            });
        });
    }
}
