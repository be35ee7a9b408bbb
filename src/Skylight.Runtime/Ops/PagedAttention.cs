using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Causal attention of new tokens over a cache of pages (Kwon et al., 2023), for decoding and for prefill, whole or in
/// chunks:
/// <c>(q [T, Hq·D], keyCache [pages, Hkv, 32·D], valueCache [pages, Hkv, 32·D], pageTable int32 [B, maxPages], starts
/// int32 [B+1], lengths int32 [B][, plan]) → out [T, Hq·D]</c>. Sequence b owns query rows starts[b] to starts[b+1] − 1, its
/// context of lengths[b] tokens ends with them, and page i of it is page pageTable[b, i] of the caches. Row r has
/// position lengths[b] − rows + r and sees the positions up to its own, which <see cref="KeyValueWrite"/> wrote before.
/// The caches have the data type of q, or are bfloat16 where q is float32: q and the softmax weights are then rounded for the
/// products, as by an <see cref="Attention"/> that rounds its operands. Caches of <see cref="DataType.Int8"/>, [pages, Hkv,
/// 34·D], are read likewise: codes are multiplied as they are, and scales are factors on scores and softmax weights. Rows
/// of no sequence get 0. Sequences may share pages. The plan is that of <see cref="PagedAttentionPlan"/> for the same table,
/// starts and lengths; a device that needs one makes it where none is given.
/// </summary>
/// <remarks>
/// A row has the same bits in any batch and in chunks of any size: all keys and values that it sees are read from the cache,
/// also those of tokens that are new. Unless the caches are <see cref="DataType.Int8"/>, they are those of
/// <see cref="Attention"/>. There is no gradient.
/// </remarks>
/// <param name="HeadCount">Query heads, Hq.</param>
/// <param name="KeyValueHeadCount">Key-value heads, Hkv; divides Hq.</param>
/// <param name="HeadDimension">The width of a head, D.</param>
public sealed record PagedAttention(int HeadCount, int KeyValueHeadCount, int HeadDimension) : Op, ICpuKernel
{
    /// <summary>
    /// The tokens of a cache page; page i of a sequence holds positions 32·i to 32·i + 31, on every device.
    /// </summary>
    public const int PageSize = KeyValuePages.Size;

    // Query rows of all heads of a group that one task computes. Nothing is packed, so a few tiles are enough.
    private const int PairsPerTask = 64;

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(6, 7)
            .That(HeadCount >= 1 && KeyValueHeadCount >= 1 && HeadDimension >= 1,
                "head counts and the head dimension must be at least 1")
            .That(HeadCount % KeyValueHeadCount == 0,
                $"{KeyValueHeadCount} key-value heads cannot be shared by {HeadCount} query heads: one must " +
                $"divide the other")
            .Activation(0, "q").Rank(0, "q", 2).Shape(0, "q", inputs[0].Shape[0], checked(HeadCount * HeadDimension));
        CheckStep(check, inputs, HeadCount, KeyValueHeadCount, HeadDimension, "q");
        return [inputs[0]];
    }

    /// <summary>An upper bound, as if every context filled its row of the page table.</summary>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs)
    {
        double context = (double)inputs[3].Shape[1] * AttentionCore.PageSize;
        double cache = Math.Min(inputs[1].Bytes,
            inputs[3].Shape[0] * context * inputs[1].Bytes / Math.Max(1, inputs[1].Shape[0]) / AttentionCore.PageSize);
        double rows = (double)inputs[0].Shape[0] / Math.Max(1, inputs[3].Shape[0]);
        double seen = Math.Max(0, context - Math.Max(0, rows - 1) / 2);
        return new(4 * seen * inputs[0].Shape.ElementCount,
            inputs[0].Bytes + outputs[0].Bytes + 2 * cache + inputs.Skip(3).Sum(input => input.Bytes));
    }

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int heads = HeadCount, keyValueHeads = KeyValueHeadCount, dimension = HeadDimension, group = heads / keyValueHeads;
        int tableWidth = arguments.Input(3).Shape[1];
        ReadOnlySpan<int> starts = arguments.InputInt32(4);
        PackedSequences.CheckStarts(Name, starts, arguments.Input(0).Shape[0]);
        long context = CheckPages(arguments, starts, tableWidth);
        PackedSequences.ClearOutside(starts, arguments.OutputFloat32(0), heads * dimension);

        float* q = arguments.InputPointer(0), output = arguments.OutputPointer(0);
        byte* keyCache = (byte*)CpuMemory.Pointer(arguments.Input(1)),
            valueCache = (byte*)CpuMemory.Pointer(arguments.Input(2));
        DataType cacheType = arguments.Input(1).Type.DataType;
        int* table = (int*)arguments.InputPointer(3);
        int* firstRows = (int*)arguments.InputPointer(4);
        int* lengths = (int*)arguments.InputPointer(5);
        PackedSequences.Piece[] pieces = PackedSequences.Cut(starts, Math.Max(AttentionCore.PageSize, PairsPerTask / group));
        int threads = AttentionCore.ThreadsFor((double)context * heads * dimension), tasks = pieces.Length * keyValueHeads;
        // Where there are fewer tasks than threads, as in decoding, the heads of a group share the work on their pages.
        int parts = Math.Clamp(threads / Math.Max(tasks, 1), 1, group);
        CpuParallel.For(tasks * parts, threads, task =>
        {
            PackedSequences.Piece piece = pieces[task / parts / keyValueHeads];
            int head = task / parts % keyValueHeads, sequence = piece.Sequence, part = task % parts;
            int firstOfGroup = group * part / parts, endOfGroup = group * (part + 1) / parts;
            int rows = firstRows[sequence + 1] - firstRows[sequence];
            nint pageBytes = (nint)KeyValuePages.ElementCount(cacheType, dimension) * cacheType.Size();
            nint query = ((nint)(firstRows[sequence] + piece.First) * heads + head * group + firstOfGroup) * dimension;
            AttentionCore.Forward(
                new AttentionCore.Queries
                {
                    Query = q + query,
                    Output = output + query,
                    RowStride = (nint)heads * dimension,
                    Rows = piece.Rows,
                    Group = endOfGroup - firstOfGroup,
                    HeadDimension = dimension,
                    Visible = lengths[sequence] - rows + piece.First + 1,
                    Causal = true,
                },
                new AttentionCore.Pages
                {
                    Keys = keyCache + head * pageBytes,
                    Values = valueCache + head * pageBytes,
                    Stride = keyValueHeads * pageBytes,
                    Type = cacheType,
                    Table = table + (nint)sequence * tableWidth,
                });
        });
    }

    /// <summary>
    /// Checks what a step over the cache reads beside its activations, which are input 0: the caches are inputs 1 and 2, then
    /// come page table, starts, lengths and, where there are seven inputs, the plan.
    /// </summary>
    internal static void CheckStep(TypeCheck check, IReadOnlyList<TensorType> inputs, int heads, int keyValueHeads,
        int dimension, string activation)
    {
        CheckCaches(check, inputs, 1, keyValueHeads, dimension, activation);
        check.Is(3, "pageTable", DataType.Int32).Rank(3, "pageTable", 2);
        int sequences = inputs[3].Shape[0];
        check.Is(4, "starts", DataType.Int32).Shape(4, "starts", sequences + 1).Is(5, "lengths", DataType.Int32)
            .Shape(5, "lengths", sequences);
        if (inputs.Count >= 7)
        {
            check.Is(6, "plan", DataType.Int32).Shape(6, "plan", new PagedAttentionTiles(inputs[0].Shape[0],
                heads / keyValueHeads, keyValueHeads, sequences, inputs[3].Shape[1]).Words);
        }
    }

    /// <summary>
    /// Checks a key cache and the value cache after it; both hold what input 0 (q or k) is, or round it to bfloat16 or bytes.
    /// </summary>
    internal static void CheckCaches(TypeCheck check, IReadOnlyList<TensorType> inputs, int keyCache, int keyValueHeads,
        int dimension, string activation)
    {
        DataType type = inputs[keyCache].DataType;
        bool rounds = inputs[0].DataType == DataType.Float32 && type == DataType.BFloat16;
        if (type == DataType.Int8)
        {
            check.Is(0, activation, DataType.Float32).That(dimension % KeyValuePages.BlockSize == 0,
                $"heads in an int8 cache must have a width that is a multiple of {KeyValuePages.BlockSize}, not {dimension}: " +
                "give it a bfloat16 or float32 cache");
        }
        else if (rounds)
        {
            check.Activation(keyCache, "keyCache").That(dimension % 2 == 0,
                $"heads in a bfloat16 cache must have an even width, not {dimension}: give it a float32 cache");
        }
        else
        {
            check.Activation(keyCache, "keyCache", 0, activation);
        }

        check.Rank(keyCache, "keyCache", 3)
            .Shape(keyCache, "keyCache", inputs[keyCache].Shape[0], keyValueHeads,
                KeyValuePages.ElementCount(type, dimension))
            .SameDataType(keyCache + 1, "valueCache", keyCache, "keyCache")
            .SameShape(keyCache + 1, "valueCache", keyCache, "keyCache");
    }

    /// <summary>Checks that lengths include the new rows and fit into the page table.</summary>
    internal static void CheckLengths(string op, ReadOnlySpan<int> starts, ReadOnlySpan<int> lengths, int tableWidth)
    {
        long limit = (long)tableWidth * PageSize;
        for (int sequence = 0; sequence < lengths.Length; sequence++)
        {
            int rows = starts[sequence + 1] - starts[sequence], length = lengths[sequence];
            if (length < rows)
                throw PackedSequences.Error(op, "lengths", sequence, length,
                    $"the sequence has {rows} new rows, which its length includes");
            if (length > limit)
                throw PackedSequences.Error(op, "lengths", sequence, length,
                    $"{tableWidth} pages per sequence hold only {limit} tokens");
        }
    }

    /// <summary>Checks lengths and the part of the page table that is used.</summary>
    /// <returns>The tokens of all contexts.</returns>
    private long CheckPages(in CpuArguments arguments, ReadOnlySpan<int> starts, int tableWidth)
    {
        ReadOnlySpan<int> table = arguments.InputInt32(3), lengths = arguments.InputInt32(5);
        int pages = arguments.Input(1).Shape[0];
        long total = 0;
        CheckLengths(Name, starts, lengths, tableWidth);
        for (int sequence = 0; sequence < lengths.Length; sequence++)
        {
            int length = lengths[sequence];
            if (starts[sequence + 1] == starts[sequence])
                continue;
            total += length;
            for (int page = 0; page < AttentionCore.PageCount(length); page++)
            {
                int entry = table[sequence * tableWidth + page];
                if ((uint)entry >= (uint)pages)
                    throw PackedSequences.Error(Name, "pageTable", sequence * tableWidth + page, entry,
                        $"page {page} of sequence {sequence} must be one of the cache's {pages} pages");
            }
        }

        return total;
    }
}
