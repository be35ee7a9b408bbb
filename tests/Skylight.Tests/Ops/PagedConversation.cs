using Skylight.Execution;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Tests.Ops;

/// <summary>Sequences whose tokens come in steps, in any portions, into pages in any order.</summary>
internal sealed class PagedConversation : IDisposable
{
    private readonly int _heads, _keyValueHeads, _dimension, _pagesEach;
    private readonly int[] _lengths, _starts, _done;
    private readonly float[] _q, _k, _v, _trained, _output;
    private readonly Random _random;
    private readonly DataType _type;
    private PagedCache? _cache;
    private int[] _table = [];

    public PagedConversation(int heads, int keyValueHeads, int dimension, int[] lengths, Random random,
        DataType type)
    {
        _type = type;
        (_heads, _keyValueHeads, _dimension, _lengths, _random) = (heads, keyValueHeads, dimension, lengths, random);
        _pagesEach = (lengths.Max() + KeyValuePages.Size - 1) / KeyValuePages.Size;
        _done = new int[lengths.Length];
        _starts = new int[lengths.Length + 1];
        for (int sequence = 0; sequence < lengths.Length; sequence++)
            _starts[sequence + 1] = _starts[sequence] + lengths[sequence];
        int rows = _starts[^1];
        _q = AttentionHarness.Random(random, rows * heads * dimension, 2);
        _k = AttentionHarness.Random(random, rows * keyValueHeads * dimension, 2);
        _v = AttentionHarness.Random(random, rows * keyValueHeads * dimension);
        TensorType key = TensorType.Float32(rows, keyValueHeads * dimension);
        using var training = new AttentionHarness(
            new Attention(heads, keyValueHeads, dimension, Causal: true) { RoundsOperands = type == DataType.BFloat16 },
            [TensorType.Float32(rows, heads * dimension), key, key, TensorType.Int32(_starts.Length)]);
        _trained = training.Run(_q, _k, _v, _starts)[0];
        _output = new float[_trained.Length];
    }

    /// <summary>The outputs of all rows so far.</summary>
    public float[] Output => _output;

    public int Left => _lengths.Sum() - _done.Sum();

    public void Reset()
    {
        _cache?.Dispose();
        int pages = _lengths.Sum(length => (length + KeyValuePages.Size - 1) / KeyValuePages.Size) + 3;
        _cache = new PagedCache(_heads, _keyValueHeads, _dimension, pages, _type);
        int[] order = [.. Enumerable.Range(0, pages)];
        _random.Shuffle(order);
        // Pages that a sequence never needs are no pages at all.
        _table = new int[_lengths.Length * _pagesEach];
        Array.Fill(_table, -1);
        int next = 0;
        for (int sequence = 0; sequence < _lengths.Length; sequence++)
        {
            for (int page = 0; page * KeyValuePages.Size < _lengths[sequence]; page++)
                _table[sequence * _pagesEach + page] = order[next++];
        }

        Array.Clear(_done);
        Array.Fill(_output, float.NaN);
    }

    public void Step(int[] portions)
    {
        var rows = new List<int>();
        var slots = new List<int>();
        int[] starts = new int[_lengths.Length + 1], lengths = new int[_lengths.Length];
        for (int sequence = 0; sequence < _lengths.Length; sequence++)
        {
            int count = Math.Min(portions[sequence], _lengths[sequence] - _done[sequence]);
            for (int index = 0; index < count; index++)
            {
                int position = _done[sequence]++;
                rows.Add(_starts[sequence] + position);
                slots.Add(_table[sequence * _pagesEach + position / KeyValuePages.Size] * KeyValuePages.Size
                    + position % KeyValuePages.Size);
            }

            lengths[sequence] = _done[sequence];
            starts[sequence + 1] = rows.Count;
        }

        if (rows.Count == 0)
            return;
        _cache!.Write(Gather(_k, _keyValueHeads, rows), Gather(_v, _keyValueHeads, rows), [.. slots]);
        float[] output = _cache.Attend(Gather(_q, _heads, rows), _table, starts, lengths);
        int width = _heads * _dimension;
        for (int index = 0; index < rows.Count; index++)
            output.AsSpan(index * width, width).CopyTo(_output.AsSpan(rows[index] * width));
    }

    public void AssertEqualsTraining(string what) => AttentionHarness.AssertSameBits(_trained, _output, what);

    public void Dispose() => _cache?.Dispose();

    private float[] Gather(float[] values, int heads, List<int> rows)
    {
        int width = heads * _dimension;
        var gathered = new float[rows.Count * width];
        for (int index = 0; index < rows.Count; index++)
            values.AsSpan(rows[index] * width, width).CopyTo(gathered.AsSpan(index * width));
        return gathered;
    }
}
