using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// The attention of a decoding layer from its projection on: heads of queries and keys are normalised, where there are
/// weights, and rotated, new keys and values are written into the cache, and queries attend over it. <c>(qkv [T, (Hq +
/// 2·Hkv)·D], keyCache, valueCache, pageTable int32 [B, maxPages], starts int32 [B+1], lengths int32 [B], plan, table [T, D],
/// slots int32 [T][, query weight [D], key weight [D]]) → out [T, Hq·D]</c>. It computes what <see cref="QkvSplitRotary"/> or
/// <see cref="QkvSplitNormRotary"/>, <see cref="KeyValueWrite"/> and <see cref="PagedAttention"/> compute one after the other,
/// with queries, keys and values rounded to bfloat16 in between.
/// </summary>
/// <remarks>
/// slots[t] is the place of row t's position in the pages of its sequence, or −1, where it is not to be written. Rows of no
/// sequence are not written. The pages of new positions belong to no other sequence of the step: nobody finds out where they
/// do. Ops that have one plan run one after the other, for a card counts in it who has come. There is no gradient.
/// </remarks>
/// <param name="HeadCount">Query heads, Hq.</param>
/// <param name="KeyValueHeadCount">Key-value heads, Hkv; divides Hq.</param>
/// <param name="HeadDimension">The width of a head, D; even.</param>
/// <param name="Epsilon">Added to the mean square of a head, where heads are normalised.</param>
public sealed record QkvPagedAttention(int HeadCount, int KeyValueHeadCount, int HeadDimension, float Epsilon) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<int> MutatedInputs => [1, 2];

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(9, 11)
            .That(inputs.Count != 10, "takes the weights of both queries and keys, or of neither")
            .That(HeadCount >= 1 && KeyValueHeadCount >= 1 && HeadCount % KeyValueHeadCount == 0,
                $"{KeyValueHeadCount} key-value heads cannot be shared by {HeadCount} query heads")
            .That(HeadDimension >= 2 && HeadDimension % 2 == 0, $"the head dimension must be even, not {HeadDimension}")
            .Activation(0, "qkv").Rank(0, "qkv", 2);
        int tokens = inputs[0].Shape[0];
        check.Shape(0, "qkv", tokens, checked((HeadCount + 2 * KeyValueHeadCount) * HeadDimension));
        PagedAttention.CheckStep(check, inputs, HeadCount, KeyValueHeadCount, HeadDimension, "qkv");
        check.Float32(7, "table").Shape(7, "table", tokens, HeadDimension).Is(8, "slots", DataType.Int32)
            .Shape(8, "slots", tokens);
        if (inputs.Count > 9)
        {
            check.Shape(9, "query weight", HeadDimension).Is(9, "query weight", DataType.Float32, DataType.BFloat16)
                .Shape(10, "key weight", HeadDimension).SameDataType(10, "key weight", 9, "query weight");
        }

        return [Heads(inputs, HeadCount)];
    }

    /// <summary>That of the ops which this one replaces, but for what they hand on to each other.</summary>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs)
    {
        OpCost attention = new PagedAttention(HeadCount, KeyValueHeadCount, HeadDimension)
            .Cost([outputs[0], .. inputs.Skip(1).Take(6)], outputs);
        TensorType key = Heads(inputs, KeyValueHeadCount);
        return new(attention.Flops + 7.0 * (outputs[0].Shape.ElementCount + key.Shape.ElementCount),
            attention.Bytes - outputs[0].Bytes + inputs[0].Bytes + 2 * key.Bytes + inputs.Skip(7).Sum(input => input.Bytes));
    }

    /// <summary>Queries, keys and values in float32.</summary>
    public long ScratchBytes(IReadOnlyList<TensorType> inputs)
    {
        ArgumentNullException.ThrowIfNull(inputs);
        return inputs[0].Shape.ElementCount * sizeof(float);
    }

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        TensorType type = arguments.Input(0).Type;
        TensorType queries = Heads([type], HeadCount), keys = Heads([type], KeyValueHeadCount);
        Tensor scratch = arguments.Scratch;
        Tensor query = Part(0, queries), key = Part(queries.Bytes, keys), value = Part(queries.Bytes + keys.Bytes, keys);
        if (arguments.InputCount > 9)
        {
            new QkvSplitNormRotary(HeadCount, KeyValueHeadCount, HeadDimension, Epsilon).Run(new CpuArguments(
                new KernelArguments([arguments.Input(0), arguments.Input(7), arguments.Input(9), arguments.Input(10)],
                    [query, key, value], null)));
        }
        else
        {
            new QkvSplitRotary(HeadCount, KeyValueHeadCount, HeadDimension).Run(new CpuArguments(
                new KernelArguments([arguments.Input(0), arguments.Input(7)], [query, key, value], null)));
        }

        float* all = arguments.ScratchPointer;
        ElementWise.ForRows(type.Shape.Rows, type.Shape.Columns, (start, count) =>
        {
            // The parts lie one behind the other, and rounding does not care whose an element is.
            long end = (long)(start + count) * type.Shape.Columns;
            for (long element = (long)start * type.Shape.Columns; element < end; element++)
                all[element] = (float)(BFloat16)all[element];
        });
        int[] slots = Slots(arguments);
        fixed (int* first = slots)
        {
            AttentionCore.Write((float*)CpuMemory.Pointer(key), (float*)CpuMemory.Pointer(value), first, slots.Length,
                (byte*)CpuMemory.Pointer(arguments.Input(1)), (byte*)CpuMemory.Pointer(arguments.Input(2)),
                KeyValueHeadCount, HeadDimension, arguments.Input(1).Type.DataType);
        }

        new PagedAttention(HeadCount, KeyValueHeadCount, HeadDimension).Run(new CpuArguments(
            new KernelArguments(
                [query, arguments.Input(1), arguments.Input(2), arguments.Input(3), arguments.Input(4), arguments.Input(5)],
                [arguments.Output(0)], null)));

        Tensor Part(long offset, TensorType part) => new(scratch.Memory, scratch.ByteOffset + offset, part);
    }

    /// <summary>The slots of the rows that belong to a sequence, each of which is checked; −1 for all others.</summary>
    private int[] Slots(in CpuArguments arguments)
    {
        ReadOnlySpan<int> table = arguments.InputInt32(3), starts = arguments.InputInt32(4), lengths = arguments.InputInt32(5),
            given = arguments.InputInt32(8);
        int width = arguments.Input(3).Shape[1];
        PackedSequences.CheckStarts(Name, starts, given.Length);
        PagedAttention.CheckLengths(Name, starts, lengths, width);
        int[] slots = new int[given.Length];
        Array.Fill(slots, -1);
        for (int sequence = 0; sequence < lengths.Length; sequence++)
        {
            for (int row = starts[sequence]; row < starts[sequence + 1]; row++)
            {
                int position = lengths[sequence] - starts[sequence + 1] + row,
                    page = table[sequence * width + position / PagedAttention.PageSize],
                    place = page * PagedAttention.PageSize + position % PagedAttention.PageSize;
                if (given[row] == -1)
                    continue;
                if (given[row] != place || page < 0 || page >= arguments.Input(1).Shape[0])
                    throw PackedSequences.Error(Name, "slots", row, given[row],
                        "must be −1 or the place of the row's position in its sequence's pages");
                slots[row] = place;
            }
        }

        return slots;
    }

    private TensorType Heads(IReadOnlyList<TensorType> inputs, int heads) =>
        inputs[0] with { Shape = new Shape(inputs[0].Shape[0], heads * HeadDimension) };
}

/// <summary>
/// <see cref="QkvSplitRotary"/> or <see cref="QkvSplitNormRotary"/>, <see cref="KeyValueWrite"/> of its keys and values, and
/// <see cref="PagedAttention"/> of its queries with a plan, over the same caches → <see cref="QkvPagedAttention"/>; in steps
/// of which every sequence decodes, and of bfloat16 activations: those of float32, on the CPU, would be rounded. Slots are to
/// be as that op says.
/// </summary>
public sealed class QkvPagedAttentionFusion : FusionRule
{
    /// <inheritdoc/>
    public override string Name => nameof(QkvPagedAttention);

    /// <inheritdoc/>
    public override FusionMatch? Match(Node node, ValueUses uses)
    {
        ArgumentNullException.ThrowIfNull(node);
        ArgumentNullException.ThrowIfNull(uses);
        if (node.Op is not PagedAttention attention || node.Inputs.Count != 7
            || node.Inputs[0].Producer is not { Op: QkvSplitRotary or QkvSplitNormRotary } split
            || split.Inputs[0].Type.DataType != DataType.BFloat16 || node.Inputs[1].Type.DataType != DataType.BFloat16)
            return null;
        var tiles = new PagedAttentionTiles(node.Inputs[0].Shape[0], attention.HeadCount / attention.KeyValueHeadCount,
            attention.KeyValueHeadCount, node.Inputs[3].Shape[0], node.Inputs[3].Shape[1]);
        Value query = split.Outputs[0], key = split.Outputs[1], value = split.Outputs[2];
        if (tiles.PrefillTiles > 0 || node.Inputs[0] != query || !uses.OnlyReadBy(query, node)
            || uses.Readers(key) is not [{ Op: KeyValueWrite write } writer] || !uses.OnlyReadBy(key, writer)
            || !uses.OnlyReadBy(value, writer) || writer.Inputs[0] != key || writer.Inputs[1] != value
            || writer.Index > node.Index)
            return null;
        (int heads, int keyHeads, int dimension, float epsilon) = split.Op switch
        {
            QkvSplitNormRotary norm => (norm.HeadCount, norm.KeyValueHeadCount, norm.HeadDimension, norm.Epsilon),
            QkvSplitRotary rotary => (rotary.HeadCount, rotary.KeyValueHeadCount, rotary.HeadDimension, 0f),
            _ => default,
        };
        if (attention != new PagedAttention(heads, keyHeads, dimension) || write != new KeyValueWrite(keyHeads, dimension))
            return null;
        // Nobody else may read a cache: between the two it would find the new keys, and after the fusion it would not.
        for (int cache = 1; cache <= 2; cache++)
        {
            if (writer.Inputs[cache + 1] != node.Inputs[cache]
                || uses.Readers(node.Inputs[cache]).Any(reader => reader != node && reader != writer))
                return null;
        }

        return new FusionMatch([split, writer, node], new QkvPagedAttention(heads, keyHeads, dimension, epsilon),
            [split.Inputs[0], .. node.Inputs.Skip(1), split.Inputs[1], writer.Inputs[4], .. split.Inputs.Skip(2)],
            [node.Outputs[0]]);
    }
}
