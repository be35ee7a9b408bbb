using Skylight.Cpu;
using Skylight.Cpu.Assembly;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Cpu;

namespace Skylight.Tests.Ops;

/// <summary>Attention over a cache of bytes: what it computes, and that nothing but what a row sees decides its bits.</summary>
[Collection(CpuThreadsCollection.Name)]
public sealed class Int8PagedAttentionTests : IDisposable
{
    private const int Page = KeyValuePages.Size, Block = KeyValuePages.BlockSize;
    private readonly int _threads = CpuParallel.ThreadCount;

    public void Dispose() => CpuParallel.ThreadCount = _threads;

    [Theory]
    [InlineData(4, 4, 32, 1)]
    [InlineData(7, 1, 64, 2)]
    [InlineData(14, 2, 64, 9)]
    [InlineData(2, 2, 96, 2)]
    [InlineData(26, 2, 32, 2)]
    [InlineData(4, 1, 128, 2)]
    public void The_bits_of_a_row_do_not_depend_on_how_tokens_come(int heads, int keyValueHeads, int dimension, int threads)
    {
        var random = new Random(heads * 1000 + dimension);
        int[] lengths = [330, 1, 64, 97, 31, 205];
        using var conversation = new PagedConversation(heads, keyValueHeads, dimension, lengths, random, DataType.Int8);
        CpuParallel.ThreadCount = 1;
        conversation.Reset();
        conversation.Step(lengths);
        float[] expected = [.. conversation.Output];
        Assert.All(expected, number => Assert.True(float.IsFinite(number)));

        CpuParallel.ThreadCount = threads;
        conversation.Reset();
        while (conversation.Left > 0)
            conversation.Step([.. lengths.Select(_ => 1)]);
        AttentionHarness.AssertSameBits(expected, conversation.Output, "one token at a time");
        for (int round = 0; round < 4; round++)
        {
            conversation.Reset();
            while (conversation.Left > 0)
                conversation.Step([.. lengths.Select(
                    _ => random.Next(3) switch { 0 => 0, 1 => random.Next(1, 4), _ => random.Next(1, 90) })]);
            AttentionHarness.AssertSameBits(expected, conversation.Output, $"chunks, round {round}");
        }
    }

    [Theory]
    [InlineData(32, 1)]
    [InlineData(64, 5)]
    [InlineData(128, 40)]
    public void It_is_attention_over_the_rounded_keys_and_values(int dimension, int rows)
    {
        const int Heads = 2, Context = 150;
        var random = new Random(dimension);
        float[] q = AttentionHarness.Random(random, rows * Heads * dimension, 2),
            k = AttentionHarness.Random(random, Context * dimension, 2), v = AttentionHarness.Random(random, Context * dimension);
        // A channel far beyond the others, as biases of keys make it.
        for (int token = 0; token < Context; token++)
            k[token * dimension + 3] += 60;
        using var cache = new PagedCache(Heads, 1, dimension, pages: 6, DataType.Int8);
        int[] table = [4, 0, 5, 1, 2];
        cache.Write(k, v, [.. Enumerable.Range(0, Context).Select(token => table[token / Page] * Page + token % Page)]);
        float[] actual = cache.Attend(q, table, [0, rows], [Context]);

        double[] keys = Rounded(Transformed([.. k.Select(number => number / dimension)], dimension)), values = Rounded(v);
        var expected = new double[actual.Length];
        for (int row = 0; row < rows; row++)
        {
            for (int head = 0; head < Heads; head++)
            {
                int place = (row * Heads + head) * dimension, seen = Context - rows + row + 1;
                float scale = (float)(1 / Math.Sqrt(dimension));
                float[] scaled = [.. q.AsSpan(place, dimension).ToArray().Select(number => number * scale)];
                double[] query = [.. Transformed(scaled, dimension).Select(number => (double)(float)(BFloat16)number)];
                double[] scores = [.. Enumerable.Range(0, seen).Select(token =>
                    query.Select((number, d) => number * keys[token * dimension + d]).Sum())];
                double greatest = scores.Max(), total = scores.Sum(score => Math.Exp(score - greatest));
                for (int d = 0; d < dimension; d++)
                    expected[place + d] = scores.Select((score, token) =>
                        Math.Exp(score - greatest) / total * values[token * dimension + d]).Sum();
            }
        }

        // Softmax weights times scales are rounded to bfloat16, which is all that is left of errors.
        AttentionHarness.AssertClose(expected, actual, 2e-3, "attention");
    }

    [Theory]
    [InlineData(64)]
    [InlineData(96)]
    public void A_few_numbers_of_keys_that_are_far_beyond_the_others_do_little(int dimension)
    {
        // As biases make them: a pair that rotates together.
        const int Context = 100;
        var random = new Random(dimension);
        float[] q = AttentionHarness.Random(random, dimension), k = AttentionHarness.Random(random, Context * dimension),
            v = AttentionHarness.Random(random, Context * dimension);
        double plain = Error(), spread;
        for (int token = 0; token < Context; token++)
            (k[token * dimension + 5], k[token * dimension + dimension / 2 + 5]) = (100, -100);
        (q[5], q[dimension / 2 + 5]) = (0, 0);
        spread = Error();
        // A step of 100 / 127 for every number of the blocks would be 24 times that of 4 / 127.
        Assert.True(spread < 8 * plain, $"{plain:G3} without, {spread:G3} with them");

        double Error()
        {
            float[] exact = Attend(DataType.Float32), bytes = Attend(DataType.Int8);
            return Math.Sqrt(exact.Zip(bytes, (left, right) => Math.Pow(left - right, 2)).Average());
        }

        float[] Attend(DataType type)
        {
            using var cache = new PagedCache(1, 1, dimension, pages: 4, type);
            cache.Write(k, v, [.. Enumerable.Range(0, Context)]);
            return cache.Attend(q, [0, 1, 2, 3], [0, 1], [Context]);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(29)]
    public unsafe void Managed_loops_give_the_bits_of_dot_products_and_agree_with_matrices(int group)
    {
        Assert.SkipUnless(BFloat16Kernels.AreAvailable, "No dot products of bfloat16 here.");
        const int Dimension = 96, Tokens = 77;
        var random = new Random(group);
        float[] q = AttentionHarness.Random(random, group * Dimension, 2),
            k = AttentionHarness.Random(random, Tokens * Dimension, 2), v = AttentionHarness.Random(random, Tokens * Dimension);
        int pageBytes = KeyValuePages.ElementCount(DataType.Int8, Dimension);
        var keyPages = new byte[3 * pageBytes];
        var valuePages = new byte[3 * pageBytes];
        fixed (float* pq = q, pk = k, pv = v)
        fixed (byte* pKeys = keyPages, pValues = valuePages)
        {
            int[] slots = [.. Enumerable.Range(0, Tokens)];
            fixed (int* pSlots = slots)
                AttentionCore.Write(pk, pv, pSlots, Tokens, pKeys, pValues, 1, Dimension, DataType.Int8);
            float[] managed = Run(pq, pKeys, pValues, null),
                dots = Run(pq, pKeys, pValues, BFloat16Instruction.DotProducts);
            AttentionHarness.AssertSameBits(managed, dots, "dot products");
            if (BFloat16Kernels.Has(BFloat16Instruction.Matrices))
                AttentionHarness.AssertClose([.. managed.Select(number => (double)number)],
                    Run(pq, pKeys, pValues, BFloat16Instruction.Matrices), 1e-3, "matrices");
        }

        float[] Run(float* query, byte* keys, byte* values, BFloat16Instruction? instruction)
        {
            var output = new float[group * Dimension];
            fixed (float* target = output)
            {
                AttentionCore.Forward(
                    new AttentionCore.Queries
                    {
                        Query = query,
                        Output = target,
                        RowStride = group * Dimension,
                        Rows = 1,
                        Group = group,
                        HeadDimension = Dimension,
                        Visible = Tokens,
                    },
                    new AttentionCore.Pages { Keys = keys, Values = values, Stride = pageBytes, Type = DataType.Int8 },
                    instruction);
            }

            return output;
        }
    }

    [Fact]
    public void Errors_are_half_a_step_of_the_greatest_number_of_a_block()
    {
        const int Dimension = 64;
        var random = new Random(1);
        foreach (float size in new[] { 1e-30f, 1f, 1e30f })
        {
            float[] numbers = [.. AttentionHarness.Random(random, Page * Dimension).Select(number => number * size)];
            double[] rounded = ReadValues(numbers, Dimension);
            for (int block = 0; block < numbers.Length; block += Block)
            {
                double greatest = numbers.AsSpan(block, Block).ToArray().Max(Math.Abs);
                for (int index = block; index < block + Block; index++)
                    Assert.InRange(Math.Abs(rounded[index] - numbers[index]), 0, greatest / 127 * (1 + 1.0 / 128) / 2 * 1.0001);
            }

            AttentionHarness.AssertClose(Rounded(numbers), [.. rounded.Select(number => (float)number)], 0, "reference");
        }

        Assert.All(ReadValues(new float[Page * Dimension], Dimension), number => Assert.Equal(0, number));
        float[] tiny = new float[Page * Dimension];
        tiny.AsSpan().Fill(float.Epsilon);
        Assert.All(ReadValues(tiny, Dimension), number => Assert.Equal(0, number));
        float[] huge = new float[Page * Dimension];
        huge.AsSpan().Fill(float.MinValue);
        Assert.All(ReadValues(huge, Dimension), number => Assert.InRange(number / float.MinValue, 0.999, 1.001));
    }

    [Theory]
    [InlineData(float.NaN, true)]
    [InlineData(float.PositiveInfinity, true)]
    [InlineData(float.NegativeInfinity, true)]
    [InlineData(float.NaN, false)]
    [InlineData(float.NegativeInfinity, false)]
    public void What_is_not_finite_shows_in_every_row_that_sees_it_and_in_no_other_sequence(float fault, bool inKey)
    {
        const int Dimension = 64, Context = 40, Bad = 33;
        var random = new Random(3);
        float[] q = AttentionHarness.Random(random, 2 * Dimension), k = AttentionHarness.Random(random, Context * Dimension),
            v = AttentionHarness.Random(random, Context * Dimension);
        (inKey ? k : v)[Bad * Dimension + 40] = fault;
        using var cache = new PagedCache(1, 1, Dimension, pages: 4, DataType.Int8);
        cache.Write(k, v, [.. Enumerable.Range(0, Context)]);
        // The one ends before the fault, the other sees it.
        float[] output = cache.Attend(q, [0, 1, 0, 1], [0, 1, 2], [Bad, Context]);
        Assert.All(output[..Dimension], number => Assert.True(float.IsFinite(number)));
        Assert.Contains(output[Dimension..], number => !float.IsFinite(number));
    }

    [Fact]
    public void Writing_touches_the_given_slots_only()
    {
        const int Heads = 2, Dimension = 64, Tokens = 40;
        var random = new Random(9);
        float[] k = AttentionHarness.Random(random, Tokens * Heads * Dimension),
            v = AttentionHarness.Random(random, Tokens * Heads * Dimension);
        int[] slots = [-1, 30, 31, 96, 97, 98, .. Enumerable.Range(64, 32), 41, -1];
        using PagedCache all = new(Heads, Heads, Dimension, pages: 4, DataType.Int8),
            one = new(Heads, Heads, Dimension, pages: 4, DataType.Int8);
        all.Write(k, v, slots);
        // Token by token, the last first: what another has written stays.
        int width = Heads * Dimension;
        for (int token = Tokens - 1; token >= 0; token--)
            one.Write(k[(token * width)..((token + 1) * width)], v[(token * width)..((token + 1) * width)], [slots[token]]);
        foreach ((PersistentTensor expected, PersistentTensor actual) in new[] { (all.Keys, one.Keys), (all.Values, one.Values) })
        {
            byte[] bytes = CpuMemory.Span<byte>(actual.Tensor).ToArray();
            Assert.Equal(CpuMemory.Span<byte>(expected.Tensor).ToArray(), bytes);
            int written = slots.Count(slot => slot >= 0) * Heads * Dimension / Block * (Block + 2);
            Assert.InRange(bytes.Count(value => value != 0xFF), written * 9 / 10, written);
        }
    }

    [Fact]
    public void Wrong_types_are_named()
    {
        TensorType q = TensorType.Float32(8, 64), k = TensorType.Float32(8, 32);
        TensorType pages = new(DataType.Int8, new Shape(5, 1, 34 * 32));
        TensorType table = TensorType.Int32(3, 4), starts = TensorType.Int32(4), lengths = TensorType.Int32(3),
            slots = TensorType.Int32(8);
        Assert.Equal("i8[5, 1, 1088]", pages.ToString());
        var read = new PagedAttention(2, 1, 32);
        Assert.Equal([q], read.Infer([q, pages, pages, table, starts, lengths]));
        Assert.Empty(new KeyValueWrite(1, 32).Infer([k, k, pages, pages, slots]));
        TensorType plain = new(DataType.Int8, new Shape(5, 1, 32 * 32)), full = TensorType.Float32(5, 1, 34 * 32);
        AssertRefused("(keyCache) must be", read, q, plain, plain, table, starts, lengths);
        AssertRefused("(valueCache) must have the data type", read, q, pages, full, table, starts, lengths);
        AssertRefused("input 0 (q) must be Float32", read, new TensorType(DataType.BFloat16, q.Shape), pages, pages, table,
            starts, lengths);
        TensorType narrow = new(DataType.Int8, new Shape(5, 1, 34 * 16)), narrowKeys = TensorType.Float32(8, 16);
        AssertRefused("multiple of 32, not 16: give it a bfloat16 or float32 cache", new KeyValueWrite(1, 16), narrowKeys,
            narrowKeys, narrow, narrow, slots);
    }

    private static void AssertRefused(string message, Op op, params TensorType[] inputs) =>
        Assert.Contains(message, Assert.Throws<GraphException>(() => op.Infer(inputs)).Message, StringComparison.Ordinal);

    /// <summary>What a cache makes of values: a query of zeros sees the mean of all, so each is alone in a page.</summary>
    private static double[] ReadValues(float[] numbers, int dimension)
    {
        using var cache = new PagedCache(1, 1, dimension, pages: Page, DataType.Int8);
        cache.Write(numbers, numbers, [.. Enumerable.Range(0, Page).Select(token => token * Page)]);
        float[] output = cache.Attend(new float[numbers.Length], [.. Enumerable.Range(0, Page)],
            [.. Enumerable.Range(0, Page + 1)], [.. Enumerable.Repeat(1, Page)]);
        return [.. output.Select(number => (double)number)];
    }

    /// <summary>The Walsh–Hadamard transform of rows whose width is a power of two.</summary>
    private static float[] Transformed(float[] rows, int width)
    {
        float[] transformed = [.. rows];
        for (int stride = width / 2; stride > 0; stride /= 2)
        {
            for (int index = 0; index < rows.Length; index++)
            {
                if (index / stride % 2 == 0)
                    (transformed[index], transformed[index + stride]) =
                        (transformed[index] + transformed[index + stride], transformed[index] - transformed[index + stride]);
            }
        }

        return transformed;
    }

    /// <summary>Numbers as blocks of codes hold them.</summary>
    private static double[] Rounded(float[] numbers)
    {
        var rounded = new double[numbers.Length];
        for (int block = 0; block < numbers.Length; block += Block)
        {
            float greatest = numbers.AsSpan(block, Block).ToArray().Max(MathF.Abs) / 127;
            float scale = BitConverter.UInt32BitsToSingle((BitConverter.SingleToUInt32Bits(greatest) + 0xFFFF) & 0xFFFF0000);
            for (int index = block; index < block + Block; index++)
                rounded[index] = scale == 0 ? 0 : (double)MathF.Round(numbers[index] / scale) * scale;
        }

        return rounded;
    }
}
