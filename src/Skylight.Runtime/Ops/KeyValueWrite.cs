using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Ops;

/// <summary>
/// Writes the keys and values of new tokens into the pages of a cache:
/// <c>(k [T, Hkv·D], v [T, Hkv·D], keyCache [pages, Hkv, 32·D], valueCache [pages, Hkv, 32·D], slots int32 [T]) →
/// ()</c>. Token t goes to slots[t] = page·32 + offset, where offset is the token's position in its sequence modulo 32;
/// −1 skips it. The slots of one call must differ. The caches are persistent tensors of the data type of k and v, or of
/// bfloat16, to which float32 is then rounded, or of <see cref="DataType.Int8"/>, [pages, Hkv, 34·D], see
/// <see cref="KeyValuePages.BlockSize"/>; a block there that holds a number which is not finite becomes NaN. The order within
/// a page is the device's own; only <see cref="PagedAttention"/> reads them.
/// </summary>
/// <param name="KeyValueHeadCount">Key-value heads, Hkv.</param>
/// <param name="HeadDimension">The width of a head, D.</param>
public sealed record KeyValueWrite(int KeyValueHeadCount, int HeadDimension) : Op, ICpuKernel
{
    /// <inheritdoc/>
    public override IReadOnlyList<int> MutatedInputs => [2, 3];

    /// <inheritdoc/>
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        TypeCheck check = new TypeCheck(this, inputs).Count(5)
            .That(KeyValueHeadCount >= 1 && HeadDimension >= 1, "the head count and the head dimension must be at least 1")
            .Activation(0, "k").Rank(0, "k", 2).Activation(1, "v", 0, "k");
        int rows = inputs[0].Shape[0];
        check.Shape(0, "k", rows, checked(KeyValueHeadCount * HeadDimension)).SameShape(1, "v", 0, "k");
        PagedAttention.CheckCaches(check, inputs, 2, KeyValueHeadCount, HeadDimension, "k");
        check.Is(4, "slots", DataType.Int32).Shape(4, "slots", rows);
        return [];
    }

    /// <summary>No arithmetic; every new key and value is read and written once.</summary>
    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(0, inputs[4].Bytes + 2.0 * (inputs[0].Bytes + inputs[1].Bytes));

    /// <inheritdoc/>
    public unsafe void Run(in CpuArguments arguments)
    {
        int heads = KeyValueHeadCount, dimension = HeadDimension;
        ReadOnlySpan<int> slots = arguments.InputInt32(4);
        long limit = (long)arguments.Input(2).Shape[0] * AttentionCore.PageSize;
        for (int token = 0; token < slots.Length; token++)
        {
            if (slots[token] < -1 || slots[token] >= limit)
                throw PackedSequences.Error(Name, "slots", token, slots[token],
                    $"must be −1 or within the cache's {limit} slots");
        }

        float* k = arguments.InputPointer(0), v = arguments.InputPointer(1);
        byte* keyCache = (byte*)CpuMemory.Pointer(arguments.Input(2)),
            valueCache = (byte*)CpuMemory.Pointer(arguments.Input(3));
        int* slot = (int*)arguments.InputPointer(4);
        int columns = heads * dimension, tokens = slots.Length;
        DataType type = arguments.Input(2).Type.DataType;
        // Whole pages where tokens come in order: those are transposed in blocks.
        ElementWise.ForRows(AttentionCore.PageCount(tokens), AttentionCore.PageSize * 2 * columns, (page, pages) =>
        {
            int first = page * AttentionCore.PageSize, count = Math.Min(pages * AttentionCore.PageSize, tokens - first);
            AttentionCore.Write(k + (nint)first * columns, v + (nint)first * columns, slot + first, count, keyCache,
                valueCache, heads, dimension, type);
        });
    }
}
