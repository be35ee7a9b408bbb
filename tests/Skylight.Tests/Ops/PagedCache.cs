using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Tests.Ops;

/// <summary>A cache full of NaN, and the two ops on it.</summary>
internal sealed class PagedCache(int heads, int keyValueHeads, int dimension, int pages,
    DataType type = DataType.Float32) : IDisposable
{
    private readonly Dictionary<(int, int, int), AttentionHarness> _harnesses = [];

    public PersistentTensor Keys { get; } = AttentionHarness.Filled("keys", type, float.NaN, pages,
        keyValueHeads, KeyValuePages.ElementCount(type, dimension));

    public PersistentTensor Values { get; } = AttentionHarness.Filled("values", type, float.NaN, pages,
        keyValueHeads, KeyValuePages.ElementCount(type, dimension));

    public void Write(float[] k, float[] v, int[] slots)
    {
        TensorType rows = TensorType.Float32(slots.Length, keyValueHeads * dimension);
        using var harness = new AttentionHarness(
            new KeyValueWrite(keyValueHeads, dimension),
            [rows, rows, Keys.Type, Values.Type, TensorType.Int32(slots.Length)], null, null, Keys, Values);
        harness.Run(k, v, null, null, slots);
    }

    public float[] Attend(float[] q, int[] table, int[] starts, int[] lengths)
    {
        int rows = q.Length / (heads * dimension);
        if (!_harnesses.TryGetValue((rows, table.Length, lengths.Length), out AttentionHarness? harness))
        {
            harness = new AttentionHarness(
                new PagedAttention(heads, keyValueHeads, dimension),
                [
                    TensorType.Float32(rows, heads * dimension), Keys.Type, Values.Type,
                    TensorType.Int32(lengths.Length, table.Length / lengths.Length),
                    TensorType.Int32(starts.Length), TensorType.Int32(lengths.Length),
                ],
                null, Keys, Values);
            _harnesses.Add((rows, table.Length, lengths.Length), harness);
        }

        return harness.Run(q, null, null, table, starts, lengths)[0];
    }

    public void Dispose()
    {
        foreach (AttentionHarness harness in _harnesses.Values)
            harness.Dispose();
    }
}
