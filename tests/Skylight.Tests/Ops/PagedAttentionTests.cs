using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Cpu;

namespace Skylight.Tests.Ops;

/// <summary>Attention over a cache gives the bits of attention in training, however the tokens come.</summary>
[Collection(CpuThreadsCollection.Name)]
public sealed class PagedAttentionTests : IDisposable
{
    private const int Page = AttentionCore.PageSize;
    private readonly int _threads = CpuParallel.ThreadCount;

    public void Dispose() => CpuParallel.ThreadCount = _threads;

    [Theory]
    [InlineData(4, 4, 32, 1, false)]
    [InlineData(4, 4, 32, 2, false)]
    [InlineData(6, 2, 5, 2, false)]
    [InlineData(2, 1, 1, 2, false)]
    [InlineData(3, 1, 16, 1, false)]
    [InlineData(7, 1, 20, 2, false)]
    [InlineData(14, 2, 64, 2, false)]
    [InlineData(2, 2, 128, 2, false)]
    [InlineData(4, 4, 32, 1, true)]
    [InlineData(3, 1, 16, 2, true)]
    [InlineData(7, 1, 20, 2, true)]
    [InlineData(26, 2, 2, 2, true)]
    [InlineData(14, 2, 64, 2, true)]
    [InlineData(14, 2, 64, 9, true)]
    [InlineData(7, 1, 20, 16, false)]
    [InlineData(2, 2, 80, 1, true)]
    [InlineData(2, 2, 128, 2, true)]
    public void Chunked_prefill_and_decoding_give_the_bits_of_training(int heads, int keyValueHeads, int dimension,
        int threads, bool rounds)
    {
        CpuParallel.ThreadCount = threads;
        var random = new Random(heads * 1000 + dimension);
        int[] lengths = [330, 1, 64, 97, 31, 205];
        using var conversation = new PagedConversation(heads, keyValueHeads, dimension, lengths, random, TypeOf(rounds));

        conversation.Reset();
        conversation.Step(lengths);
        conversation.AssertEqualsTraining("prefill in one go");

        conversation.Reset();
        while (conversation.Left > 0)
            conversation.Step([.. lengths.Select(_ => 1)]);
        conversation.AssertEqualsTraining("one token at a time");

        for (int round = 0; round < 4; round++)
        {
            conversation.Reset();
            while (conversation.Left > 0)
                conversation.Step(
                    [.. lengths.Select(
                        _ => random.Next(3) switch { 0 => 0, 1 => random.Next(1, 4), _ => random.Next(1, 90) })]);
            conversation.AssertEqualsTraining($"chunks, round {round}");
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Sequences_may_share_pages(bool rounds)
    {
        // 40 tokens of prompt, prefilled once; page 0 shared, page 1 copied by writing its 8 tokens again.
        const int Heads = 2, Dimension = 16, Prompt = 40, Width = Heads * Dimension;
        var random = new Random(4);
        float[] q = AttentionHarness.Random(random, Width), k = AttentionHarness.Random(random, Prompt * Width),
            v = AttentionHarness.Random(random, Prompt * Width);
        using var cache = new PagedCache(Heads, Heads, Dimension, pages: 5, TypeOf(rounds));
        cache.Write(k, v, [.. Enumerable.Range(2 * Page, Prompt)]);
        cache.Write(k[(Page * Width)..], v[(Page * Width)..], [.. Enumerable.Range(0, Prompt - Page)]);
        float[] twice = cache.Attend([.. q, .. q], [2, 3, 2, 0], [0, 1, 2], [Prompt, Prompt]);
        AttentionHarness.AssertSameBits(twice.AsSpan(0, Width), twice.AsSpan(Width), "second sequence");
        float[] alone = cache.Attend(q, [2, 3], [0, 1], [Prompt]);
        AttentionHarness.AssertSameBits(alone, twice.AsSpan(0, Width), "alone");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Rows_of_no_sequence_are_zero_and_empty_sequences_do_not_matter(bool rounds)
    {
        using var cache = new PagedCache(1, 1, 4, pages: 2, TypeOf(rounds));
        cache.Write(new float[8], [1, 2, 3, 4, 1, 2, 3, 4], [Page, Page + 1]);
        var q = new float[16];
        // Once with every row in use, so that zeros were made.
        cache.Attend(q, [1, 1, 1, 1], [0, 1, 2, 3, 4], [1, 1, 1, 1]);
        float[] output = cache.Attend(q, [-7, 1, 99, 99], [1, 1, 2, 2, 2], [0, 2, 32, 0]);
        Assert.Equal([0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0], output);
    }

    [Fact]
    public void Writing_touches_the_given_slots_only()
    {
        const int Heads = 2, Dimension = 3, Tokens = 40;
        using var cache = new PagedCache(Heads, Heads, Dimension, pages: 4);
        float[] k = [.. Enumerable.Range(0, Tokens * Heads * Dimension).Select(index => (float)index)];
        float[] v = [.. k.Select(value => -value)];
        // A skipped token, a run over the end of a page, a whole page, a lone token.
        int[] slots = [-1, 30, 31, 96, 97, 98, .. Enumerable.Range(64, 32), 40, -1];
        cache.Write(k, v, slots);
        ReadOnlySpan<float> keys = CpuMemory.Span<float>(cache.Keys.Tensor),
            values = CpuMemory.Span<float>(cache.Values.Tensor);
        for (int slot = 0; slot < 4 * Page; slot++)
        {
            int token = Array.IndexOf(slots, slot);
            for (int head = 0; head < Heads; head++)
            {
                for (int d = 0; d < Dimension; d++)
                {
                    int page = (slot / Page * Heads + head) * Page * Dimension;
                    float expected = token < 0 ? float.NaN : (token * Heads + head) * Dimension + d;
                    Assert.Equal(expected, keys[page + d * Page + slot % Page]);
                    Assert.Equal(-expected, values[page + slot % Page * Dimension + d]);
                }
            }
        }
    }

    [Fact]
    public unsafe void Writing_touches_the_given_slots_of_rounded_pages_only()
    {
        const int Heads = 2, Dimension = 36, Tokens = 40, PageElements = Page * Dimension;
        using var cache = new PagedCache(Heads, Heads, Dimension, pages: 4, DataType.BFloat16);
        // Eight bits, which bfloat16 holds.
        float[] k = [.. Enumerable.Range(0, Tokens * Heads * Dimension).Select(index => (float)(index % 251))];
        float[] v = [.. k.Select(value => -value)];
        int[] slots = [-1, 30, 31, 96, 97, 98, .. Enumerable.Range(64, 32), 41, -1];
        cache.Write(k, v, slots);
        float[] keys = new float[PageElements], values = new float[PageElements];
        for (int place = 0; place < 4 * Heads; place++)
        {
            fixed (BFloat16* pk = CpuMemory.Span<BFloat16>(cache.Keys.Tensor), pv = CpuMemory.Span<BFloat16>(cache.Values.Tensor))
            fixed (float* wideKeys = keys, wideValues = values)
            {
                BFloat16Pages.WidenKeys((byte*)(pk + place * PageElements), wideKeys, Dimension);
                BFloat16Pages.WidenValues((byte*)(pv + place * PageElements), wideValues, Dimension);
            }

            for (int offset = 0; offset < Page; offset++)
            {
                int token = Array.IndexOf(slots, place / Heads * Page + offset);
                for (int d = 0; d < Dimension; d++)
                {
                    float expected = token < 0 ? float.NaN : k[(token * Heads + place % Heads) * Dimension + d];
                    Assert.Equal(expected, keys[d * Page + offset]);
                    Assert.Equal(-expected, values[offset * Dimension + d]);
                }
            }
        }
    }

    [Fact]
    public void Bad_indices_are_named()
    {
        using var cache = new PagedCache(1, 1, 4, pages: 3);
        AssertError("KeyValueWrite: slots[1] is 96, but must be −1 or within the cache's 96 slots",
            () => cache.Write(new float[8], new float[8], [0, 96]));
        AssertError("KeyValueWrite: slots[0] is -2", () => cache.Write(new float[8], new float[8], [-2, 0]));
        var q = new float[16];
        AssertError("PagedAttention: lengths[0] is 65, but 2 pages per sequence hold only 64 tokens",
            () => cache.Attend(q, [0, 1], [0, 4], [65]));
        AssertError("PagedAttention: lengths[0] is 3, but the sequence has 4 new rows",
            () => cache.Attend(q, [0, 1], [0, 4], [3]));
        AssertError("PagedAttention: starts[1] is 5, but there are only 4 rows", () => cache.Attend(q, [0, 1], [0, 5], [5]));
        AssertError("PagedAttention: starts[1] is 1, but starts must ascend", () => cache.Attend(q, [0, 1], [2, 1], [5]));
        AssertError("PagedAttention: pageTable[1] is 3, but page 1 of sequence 0 must be one of the cache's 3 pages",
            () => cache.Attend(q, [0, 3], [0, 4], [33]));
        AssertError("PagedAttention: pageTable[0] is -1", () => cache.Attend(q, [-1, 0], [0, 4], [4]));
        // What lies beyond the length is not looked at.
        cache.Write(new float[16], new float[16], [0, 1, 2, 3]);
        cache.Attend(q, [0, 99], [0, 4], [4]);
    }

    [Fact]
    public void Wrong_shapes_are_named()
    {
        TensorType q = TensorType.Float32(8, 12), k = TensorType.Float32(8, 6), pages = TensorType.Float32(5, 2, 96);
        TensorType table = TensorType.Int32(3, 4), starts = TensorType.Int32(4), lengths = TensorType.Int32(3);
        var read = new PagedAttention(4, 2, 3);
        Assert.Equal([q], read.Infer([q, pages, pages, table, starts, lengths]));
        Assert.Throws<GraphException>(() => read.Infer([k, pages, pages, table, starts, lengths]));
        Assert.Throws<GraphException>(() => read.Infer([q, TensorType.Float32(5, 2, 95), pages, table, starts, lengths]));
        Assert.Throws<GraphException>(() => read.Infer([q, pages, TensorType.Float32(4, 2, 96), table, starts, lengths]));
        Assert.Throws<GraphException>(() => read.Infer([q, pages, pages, table, lengths, lengths]));
        Assert.Throws<GraphException>(() => read.Infer([q, pages, pages, table, starts, starts]));
        Assert.Throws<GraphException>(() => new PagedAttention(3, 2, 4).Infer([q, pages, pages, table, starts, lengths]));
        var write = new KeyValueWrite(2, 3);
        TensorType slots = TensorType.Int32(8);
        Assert.Empty(write.Infer([k, k, pages, pages, slots]));
        Assert.Throws<GraphException>(() => write.Infer([q, k, pages, pages, slots]));
        Assert.Throws<GraphException>(() => write.Infer([k, k, pages, pages, starts]));
        Assert.Throws<GraphException>(() => write.Infer([k, k, k, k, slots]));

        // float32 is rounded into a cache of bfloat16, pair by pair; both caches are alike.
        TensorType even = TensorType.Float32(8, 8), half = new(DataType.BFloat16, new Shape(5, 2, 128)),
            full = TensorType.Float32(5, 2, 128), odd = new(DataType.BFloat16, new Shape(5, 2, 96));
        Assert.Empty(new KeyValueWrite(2, 4).Infer([even, even, half, half, slots]));
        Assert.Equal([TensorType.Float32(8, 16)],
            new PagedAttention(4, 2, 4).Infer([TensorType.Float32(8, 16), half, half, table, starts, lengths]));
        Assert.Throws<GraphException>(() => new KeyValueWrite(2, 4).Infer([even, even, half, full, slots]));
        Assert.Throws<GraphException>(() => new KeyValueWrite(2, 4).Infer([even, even, full, half, slots]));
        Assert.Contains("even width", Assert.Throws<GraphException>(() => write.Infer([k, k, odd, odd, slots])).Message,
            StringComparison.Ordinal);
    }

    private static DataType TypeOf(bool rounds) => rounds ? DataType.BFloat16 : DataType.Float32;

    private static void AssertError(string message, Action action) =>
        Assert.Contains(message, Assert.Throws<ArgumentOutOfRangeException>(action).Message, StringComparison.Ordinal);
}
