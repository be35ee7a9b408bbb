using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Scaled dot-product attention within the sequences of a packed batch (Vaswani et al., 2017), with grouped query heads:
/// <c>(q [T, Hq·D], k [T, Hkv·D], v [T, Hkv·D], starts int32 [B+1]) → (out [T, Hq·D], logSumExp [T, Hq] float32)</c>.
/// Sequence b owns rows starts[b] to starts[b+1] − 1 and may be empty; rows before the first and after the last
/// sequence get an output and a gradient of 0. Scores are scaled by 1/√D. Query head h reads key-value head h / (Hq / Hkv).
/// </summary>
/// <remarks>
/// With <paramref name="Causal"/>, a row's output has the same bits as the row of <see cref="PagedAttention"/> for the
/// same token, whatever else is in either batch. Only <c>out</c> is differentiable: the gradient of <c>logSumExp</c>
/// must be absent.
/// </remarks>
/// <param name="HeadCount">Query heads, Hq.</param>
/// <param name="KeyValueHeadCount">Key-value heads, Hkv; divides Hq.</param>
/// <param name="HeadDimension">The width of a head, D.</param>
/// <param name="Causal">Whether a row sees only its own position and those before; otherwise its whole sequence.</param>
public sealed record Attention(int HeadCount, int KeyValueHeadCount, int HeadDimension, bool Causal) : Op, ICpuKernel
{
    /// <summary>
    /// Whether the operands of products (queries, keys, values and softmax weights) are rounded from
    /// float32 to bfloat16; sums stay float32. <see cref="PagedAttention"/> does so where its caches are bfloat16; see
    /// <see cref="Execution.Device.KeyValueType"/>.
    /// </summary>
    public bool RoundsOperands { get; init; }

    // Query rows of all heads of a group that one task computes: enough to repay packing the keys, and more while every
    // thread still has some tasks.
    private const int FewestPairsPerTask = 256, MostPairsPerTask = 1024, TasksPerThread = 8;

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        CheckInputs(new TypeCheck(this, inputs).Count(4), inputs, HeadCount, KeyValueHeadCount, HeadDimension);
        new TypeCheck(this, inputs).Is(3, "starts", DataType.Int32).Rank(3, "starts", 1)
            .That(inputs[3].Shape.Columns >= 1, "starts must have one element more than there are sequences");
        return [inputs[0], TensorType.Float32(inputs[0].Shape[0], HeadCount)];
    }

    /// <inheritdoc/>
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        if (context.OutputGradients[1] is not null)
            throw new GraphException($"{Name}: logSumExp (output 1) cannot be differentiated; only out (output 0) can.");
        if (context.OutputGradients[0] is not { } outputGradient)
            return context.NoGradients();
        IReadOnlyList<Value> gradients = context.Graph.AddNode(
            new AttentionBackward(HeadCount, KeyValueHeadCount, HeadDimension, Causal) { RoundsOperands = RoundsOperands },
            context.Inputs[0], context.Inputs[1], context.Inputs[2], context.Outputs[0], context.Outputs[1],
            outputGradient, context.Inputs[3]);
        return
        [
            context.Needs(0) ? gradients[0] : null,
            context.Needs(1) ? gradients[1] : null,
            context.Needs(2) ? gradients[2] : null,
            null,
        ];
    }

    /// <summary>Two products of Hq·D multiply-adds per pair of tokens, as if the sequences were equally long.</summary>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(2 * ProductFlops(inputs[0].Shape, inputs[3].Shape, Causal), Traffic(inputs, outputs));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int rows = arguments.Input(0).Shape.Rows, heads = HeadCount, keyValueHeads = KeyValueHeadCount,
            dimension = HeadDimension;
        int group = heads / keyValueHeads;
        bool causal = Causal, rounds = RoundsOperands;
        ReadOnlySpan<int> starts = arguments.InputInt32(3);
        PackedSequences.CheckStarts(Name, starts, rows);
        PackedSequences.ClearOutside(starts, arguments.OutputFloat32(0), heads * dimension);
        PackedSequences.ClearOutside(starts, arguments.OutputFloat32(1), heads);

        float* q = arguments.InputPointer(0), k = arguments.InputPointer(1), v = arguments.InputPointer(2);
        float* output = arguments.OutputPointer(0), logSumExp = arguments.OutputPointer(1);
        int* firstRows = (int*)arguments.InputPointer(3);
        int threads = AttentionCore.ThreadsFor((double)rows * heads * dimension);
        int pairs = (int)Math.Clamp((long)rows * heads / (TasksPerThread * threads), FewestPairsPerTask, MostPairsPerTask);
        PackedSequences.Piece[] pieces = PackedSequences.Cut(starts, Math.Max(AttentionCore.PageSize, pairs / group));
        CpuParallel.For(pieces.Length * keyValueHeads, threads, task =>
        {
            PackedSequences.Piece piece = pieces[task / keyValueHeads];
            int head = task % keyValueHeads;
            nint first = firstRows[piece.Sequence], length = firstRows[piece.Sequence + 1] - first;
            int visible = causal ? piece.First + piece.Rows : (int)length;
            nint keyValueStride = (nint)keyValueHeads * dimension,
                keyValue = first * keyValueStride + (nint)head * dimension;
            AttentionCore.Pages pages = AttentionCore.Pack(k + keyValue, v + keyValue, keyValueStride, visible, dimension,
                rounds);
            nint row = first + piece.First, query = (row * heads + head * group) * dimension;
            AttentionCore.Forward(
                new AttentionCore.Queries
                {
                    Query = q + query,
                    Output = output + query,
                    LogSumExp = logSumExp + row * heads + head * group,
                    RowStride = (nint)heads * dimension,
                    LogSumExpStride = heads,
                    Rows = piece.Rows,
                    Group = group,
                    HeadDimension = dimension,
                    Visible = causal ? piece.First + 1 : visible,
                    Causal = causal,
                },
                pages);
        });
    }

    /// <summary>Checks the heads, and q, k and v as inputs 0 to 2.</summary>
    internal static void CheckInputs(TypeCheck check, IReadOnlyList<TensorType> inputs, int heads, int keyValueHeads,
        int dimension)
    {
        check.That(heads >= 1 && keyValueHeads >= 1 && dimension >= 1,
            "head counts and the head dimension must be at least 1")
            .That(heads % keyValueHeads == 0,
                $"{keyValueHeads} key-value heads cannot be shared by {heads} query heads: one must divide the other")
            .Activation(0, "q").Rank(0, "q", 2).Activation(1, "k", 0, "q").Activation(2, "v", 0, "q");
        int rows = inputs[0].Shape[0];
        check.Shape(0, "q", rows, checked(heads * dimension)).Shape(1, "k", rows, checked(keyValueHeads * dimension))
            .SameShape(2, "v", 1, "k");
    }

    /// <summary>The arithmetic of one product between queries and keys (or values).</summary>
    internal static double ProductFlops(Shape queries, Shape starts, bool causal)
    {
        double length = (double)queries[0] / Math.Max(1, starts.Columns - 1);
        double keys = causal ? (length + 1) / 2 : length;
        return 2 * keys * queries.ElementCount;
    }
}
