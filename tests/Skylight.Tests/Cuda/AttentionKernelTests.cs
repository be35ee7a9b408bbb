using Skylight.Cpu;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cuda;

/// <summary>
/// What parity with the CPU cannot show of the attention kernels: equal bits, bad input, the card's limits.
/// </summary>
[Collection(EmulatorCollection.Name)]
public sealed class AttentionKernelTests
{
    private const int PageSize = PagedAttention.PageSize;
    private const int Span = 512; // keys whose softmax stands alone

    public AttentionKernelTests()
    {
        Emulator.Require();
        Emulator.Configure("schedule", "forward");
        Emulator.Configure("async", "late");
        Emulator.Configure("rounding", "same");
    }

    [Theory]
    [InlineData(6, 2, 64, "forward", "late")]
    [InlineData(3, 1, 80, "reverse", "late")] // statistics in shared memory; an uneven share of the columns in decoding
    [InlineData(2, 1, 128, "seed:11", "late")]
    [InlineData(4, 2, 5, "seed:3", "late")] // heads that are no whole 16 bytes
    [InlineData(2, 1, 24, "reverse", "immediate")] // heads that are padded
    [InlineData(2, 1, 32, "seed:2", "immediate")]
    [InlineData(2, 1, 128, "forward", "immediate")]
    public void Prefill_whole_or_in_chunks_and_decoding_have_the_bits_of_the_training_forward(int heads,
        int keyValueHeads, int dimension, string schedule, string completion)
    {
        const int Length = 75;
        using CudaDevice device = Device();
        var batch = new Tokens(Length, heads, keyValueHeads, dimension);
        BFloat16[] expected = (BFloat16[])Attend(device, batch, [0, Length], causal: true)[0];
        Assert.Contains(expected, element => (float)element != 0);
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("async", completion);
        Assert.Equal(expected, Continue(device, batch, 0, Length));
        // Chunks that begin and end inside of blocks and pages; one row alone is decoding.
        foreach ((int first, int rows) in new[] { (0, 20), (20, 50), (70, 4), (Length - 1, 1), (63, 1), (64, 1) })
            Assert.Equal(batch.RowsOf(expected, first, rows), Continue(device, batch, first, rows));
    }

    [Theory]
    [InlineData(16, "same")]
    [InlineData(64, "own")] // several tiles of keys, by warpgroups
    [InlineData(128, "own")]
    public void A_sequence_has_the_same_bits_alone_and_beside_others(int dimension, string rounding)
    {
        int first = 37, length = dimension == 16 ? 70 : 270, rows = first + length + 43, wide = 4 * dimension,
            narrow = 2 * dimension;
        using CudaDevice device = Device();
        Emulator.Configure("rounding", rounding);
        var batch = new Tokens(rows, 4, 2, dimension);
        Array[] together = Differentiate(device, batch, [3, first, first + length, first + length, rows - 2]),
            alone = Differentiate(device, batch.Part(first, length), [0, length]);
        int[] widths = [wide, wide, narrow, narrow];
        for (int tensor = 0; tensor < widths.Length; tensor++)
        {
            var (own, others) = ((BFloat16[])alone[tensor], (BFloat16[])together[tensor]);
            Assert.Equal(own, others.Skip(first * widths[tensor]).Take(length * widths[tensor]));
            Assert.All(others.Take(3 * widths[tensor]).Concat(others.TakeLast(2 * widths[tensor])),
                element => Assert.Equal(0f, (float)element));
        }
    }

    [Fact]
    public void Sequences_that_share_pages_decode_together_as_alone()
    {
        // Two sequences with a common first page, the second with more of its own.
        using CudaDevice device = Device();
        var (op, pool) = (new PagedAttention(2, 1, 16), new Tokens(5 * PageSize, 2, 1, 16));
        int[] table = [3, 1, 0, 3, 2, 4];
        BFloat16[] queries = pool.Query[..(2 * 32)];
        BFloat16[] together = Page(device, op, queries, pool, table, [0, 1, 2], [40, 90]);
        Assert.Equal(together[..32], Page(device, op, queries[..32], pool, table[..3], [0, 1], [40]));
        Assert.Equal(together[32..], Page(device, op, queries[32..], pool, table[3..], [0, 1], [90]));
        Assert.NotEqual(together[..32], together[32..]);
    }

    [Theory]
    [InlineData(6, 2, 16, "forward", "late")]
    [InlineData(2, 1, 72, "seed:5", "late")] // statistics in shared memory
    [InlineData(8, 2, 32, "reverse", "immediate")]
    public void Spans_side_by_side_have_the_bits_of_spans_one_after_the_other(int heads, int keyValueHeads,
        int dimension, string schedule, string completion)
    {
        const int Length = 2 * Span + 70;
        using CudaDevice device = Device();
        var batch = new Tokens(Length, heads, keyValueHeads, dimension);
        BFloat16[] expected = (BFloat16[])Attend(device, batch, [0, Length], causal: true)[0];
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("async", completion);
        // More blocks than there are slots for the sums of earlier spans, which are taken in another order now.
        Assert.Equal(expected, Attend(device, batch, [0, Length], causal: true)[0]);
        foreach ((int first, int rows) in new[]
        {
            (Span - 4, 9), (Length - 1, 1), (Span - 1, 1), (Span, 1), (2 * Span - 1, 1), (2 * Span, 1), (Span - 60, 130),
        })
            Assert.Equal(batch.RowsOf(expected, first, rows), Continue(device, batch, first, rows));
    }

    [Fact]
    public void Several_spans_agree_with_the_cpu()
    {
        const int Length = 2 * Span + 33;
        using CudaDevice device = Device();
        var batch = new Tokens(Length, 2, 1, 24);
        foreach (bool causal in new[] { true, false })
        {
            Array[] actual = Attend(device, batch, [0, Length], causal);
            var graph = new Graph();
            TensorType wide = TensorType.Float32(Length, 48), narrow = TensorType.Float32(Length, 24);
            Value[] inputs = [graph.Input("q", wide), graph.Input("k", narrow), graph.Input("v", narrow),
                graph.Input("starts", TensorType.Int32(2))];
            IReadOnlyList<Value> results = graph.AddNode(new Attention(2, 1, 24, causal), inputs);
            graph.Output("out", results[0]);
            graph.Output("logSumExp", results[1]);
            using var workspace = new Workspace(new CpuDevice());
            var executor = new Executor(Planner.Plan(graph, workspace.Device), workspace);
            for (int index = 0; index < 3; index++)
                executor.Write<float>(inputs[index],
                    Array.ConvertAll((BFloat16[])batch.Arrays[index], element => (float)element));
            executor.Write<int>(inputs[3], [0, Length]);
            executor.Run(TestContext.Current.CancellationToken);
            Assert.InRange(Distance(executor.ReadFloats(results[0]),
                Array.ConvertAll((BFloat16[])actual[0], element => (float)element)), 0, 6e-3);
            Assert.InRange(Distance(executor.ReadFloats(results[1]), (float[])actual[1]), 0, 1e-3);
        }
    }

    [Theory]
    [InlineData(2, 1, 16, 3, "forward")] // all pairs of the group in one tile of 16
    [InlineData(6, 2, 32, 24, "reverse")] // 72 pairs: one tile of 64 and one of 8
    [InlineData(5, 1, 80, 8, "seed:7")] // 40 pairs
    [InlineData(6, 2, 64, 24, "seed:2")] // warpgroups
    [InlineData(4, 1, 128, 9, "reverse")]
    public void A_group_of_completions_with_a_common_prompt_decodes_as_with_copies_of_it(int heads, int keyValueHeads,
        int dimension, int completions, string schedule)
    {
        // The prompt ends inside of the second span; after it every completion has pages of its own. A stranger stands
        // before the group.
        const int Prompt = Span + 3 * PageSize, Longest = Prompt + 2 * PageSize;
        int promptPages = Prompt / PageSize, width = Longest / PageSize, sequences = completions + 1;
        int[] lengths = [Span - 7,
            .. Enumerable.Range(0, completions).Select(completion => Prompt + 1 + completion % (2 * PageSize))];
        int pages = promptPages + sequences * width;
        Emulator.Configure("schedule", schedule);
        using CudaDevice device = Device();
        var (op, pool) = (new PagedAttention(heads, keyValueHeads, dimension),
            new Tokens(pages * PageSize, heads, keyValueHeads, dimension));
        int[] shared = new int[sequences * width], copied = new int[sequences * width];
        int pageWidth = PageSize * keyValueHeads * dimension;
        for (int place = 0; place < shared.Length; place++)
        {
            bool common = place >= width && place % width < promptPages;
            copied[place] = promptPages + place;
            shared[place] = common ? place % width : promptPages + place;
            foreach (BFloat16[] rows in new[] { pool.Key, pool.Value }.Where(_ => common))
                rows.AsSpan(shared[place] * pageWidth, pageWidth).CopyTo(rows.AsSpan(copied[place] * pageWidth));
        }

        BFloat16[] queries = pool.Query[..(sequences * heads * dimension)];
        int[] starts = [.. Enumerable.Range(0, sequences + 1)];
        (BFloat16[] apart, long bytesApart) = Counted(copied);
        (BFloat16[] together, long bytesTogether) = Counted(shared);
        Assert.Equal(apart, together);
        Assert.Contains(together, element => (float)element != 0);

        // One reading of the first span for every 64 pairs, instead of one for every sequence.
        int readings = (completions * (heads / keyValueHeads) + 63) / 64;
        long saved = (long)(completions - readings) * Span * keyValueHeads * dimension * 2 * sizeof(ushort);
        Assert.InRange(bytesApart - bytesTogether, saved * 9 / 10, long.MaxValue);

        int row = heads * dimension;
        Assert.Equal(together[(2 * row)..(3 * row)],
            Page(device, op, queries[(2 * row)..(3 * row)], pool, shared[(2 * width)..(3 * width)], [0, 1], [lengths[2]]));

        (BFloat16[] Output, long LoadBytes) Counted(int[] table)
        {
            Emulator.Configure("counters", "on");
            Emulator.Check(Emulator.simtCountersReset());
            BFloat16[] output = Page(device, op, queries, pool, table, starts, lengths);
            Emulator.Check(Emulator.simtCountersRead(Kernel("paged_decode", dimension), out EmulatorCounters counters));
            Emulator.Configure("counters", "off");
            return (output, (long)(counters.GlobalLoadBytes + counters.BulkLoadBytes));
        }
    }

    [Theory]
    [InlineData(4, 2, 64, 70, "forward", "late")]
    [InlineData(8, 1, 128, 30, "reverse", "immediate")]
    [InlineData(5, 1, 80, 30, "seed:9", "late")]
    public void A_part_of_a_prompt_beside_completions_leaves_each_its_bits_and_its_own_kernel(int heads, int keyValueHeads,
        int dimension, int promptRows, string schedule, string completion)
    {
        // Completions, one of them empty, around the rows of a prompt; three rows of padding behind.
        int[] rows = [1, 1, promptRows, 0, 1], lengths = [700, 2 * Span + 1, promptRows + 60, 0, 40];
        int width = 2 * Span / PageSize + 1, sequences = rows.Length, row = heads * dimension;
        int[] starts = [.. Enumerable.Range(0, sequences + 1).Select(sequence => rows[..sequence].Sum())],
            table = [.. Enumerable.Range(0, sequences * width)];
        new Random(3).Shuffle(table);
        var (op, pool) = (new PagedAttention(heads, keyValueHeads, dimension),
            new Tokens(sequences * width * PageSize, heads, keyValueHeads, dimension));
        BFloat16[] queries = pool.Query[..((starts[^1] + 3) * row)];
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("async", completion);
        using CudaDevice device = Device();
        (BFloat16[] together, long decode, long prefill) = Counted(queries, starts, lengths);
        Assert.Equal(together, Page(device, op, queries, pool, table, starts, lengths));
        Assert.All(together[^(3 * row)..], element => Assert.Equal(0f, (float)element));
        for (int sequence = 0; sequence < sequences; sequence++)
        {
            if (rows[sequence] == 0)
                continue;
            int first = starts[sequence] * row, end = starts[sequence + 1] * row;
            BFloat16[] alone = Page(device, op, queries[first..end], pool,
                table[(sequence * width)..((sequence + 1) * width)], [0, rows[sequence]], [lengths[sequence]]);
            Assert.Equal(alone, together[first..end]);
            Assert.Contains(alone, element => (float)element != 0);
        }

        // The contexts of the completions are read by the one, as where the prompt's rows are of no sequence (with as many
        // blocks, each of whose threads reads its tile), and by the other only the prompt's.
        int prompt = starts[2] * row, behind = starts[3] * row;
        (BFloat16[] completions, long without, _) = Counted(
            [.. queries[..prompt], .. queries[behind..], .. queries[prompt..behind]], [0, 1, 2, 2, 2, 3],
            [lengths[0], lengths[1], 0, 0, lengths[4]]);
        Assert.Equal(together[..prompt], completions[..prompt]);
        Assert.Equal(together[behind..(behind + row)], completions[prompt..(prompt + row)]);
        long contexts = 2L * sizeof(ushort) * keyValueHeads * dimension * (lengths[0] + lengths[1] + lengths[4]);
        Assert.InRange(without, contexts, 2 * contexts);
        Assert.InRange(decode, without, without * 21 / 20);
        Assert.InRange(prefill, 1, contexts / 2);

        (BFloat16[] Output, long Decode, long Prefill) Counted(BFloat16[] some, int[] firsts, int[] seen)
        {
            Emulator.Configure("counters", "on");
            Emulator.Check(Emulator.simtCountersReset());
            BFloat16[] output = Page(device, op, some, pool, table, firsts, seen, planned: true);
            Emulator.Check(Emulator.simtCountersRead(Kernel("paged_decode", dimension), out EmulatorCounters decoding));
            // Without a prompt it is not launched.
            bool hasPrompt = firsts[3] > firsts[2];
            EmulatorCounters reading = default;
            if (hasPrompt)
                Emulator.Check(Emulator.simtCountersRead(Kernel("paged_prefill", dimension), out reading));
            Emulator.Configure("counters", "off");
            return (output, Loaded(decoding), Loaded(reading));
        }

        static long Loaded(EmulatorCounters counters) => (long)(counters.GlobalLoadBytes + counters.BulkLoadBytes);
    }

    [Fact]
    public void A_layer_that_is_given_a_plan_makes_none_and_a_step_of_one_kind_has_one_kernel()
    {
        var op = new PagedAttention(16, 2, 128);
        Assert.Equal(["attention_plan_spans"], Kernels(new PagedAttentionPlan(8, 8, 2), null, 8, 8));
        Assert.Equal(["warpgroup_paged_decode"], Kernels(op, 8, 8, 8));
        Assert.Equal(["attention_plan"], Kernels(new PagedAttentionPlan(300, 8, 2), null, 300, 1));
        Assert.Equal(["warpgroup_paged_prefill"], Kernels(op, 300, 300, 1));
        Assert.Equal(["attention_plan", "attention_plan_spans"], Kernels(new PagedAttentionPlan(300, 8, 2), null, 300, 40));
        Assert.Equal(["warpgroup_paged_prefill", "warpgroup_paged_decode"], Kernels(op, 300, 300, 40));

        static string[] Kernels(Op op, int? planned, int rows, int sequences)
        {
            TensorType table = TensorType.Int32(sequences, 40), starts = TensorType.Int32(sequences + 1),
                lengths = TensorType.Int32(sequences), cache = new(DataType.BFloat16, new Shape(9, 2, PageSize * 128));
            TensorType[] types = planned is null ? [table, starts, lengths]
                : [Type(rows, 2048), cache, cache, table, starts, lengths,
                    new PagedAttentionPlan(rows, 8, 2).Infer([table, starts, lengths])[0]];
            return [.. CudaBindings.Standard.Describe(op, types, CudaTarget.Hopper).Launches.Select(each => each.EntryPoint)];
        }
    }

    [Theory]
    [InlineData("starts[1] is 9, but starts must ascend", new[] { 0, 9 }, new[] { 5 }, new[] { 1 })]
    [InlineData("starts[0] is -1, but starts must ascend", new[] { -1, 2 }, new[] { 5 }, new[] { 1 })]
    [InlineData("lengths[0] is 1, but the sequence has more new rows", new[] { 0, 2 }, new[] { 1 }, new[] { 1 })]
    [InlineData("lengths[0] is 33, but the pages of a sequence hold only 32 tokens", new[] { 0, 2 }, new[] { 33 },
        new[] { 1 })]
    [InlineData("pageTable[0] is 2, which is no page of the cache", new[] { 0, 2 }, new[] { 5 }, new[] { 2 })]
    [InlineData("pageTable[0] is -7, which is no page of the cache", new[] { 0, 2 }, new[] { 5 }, new[] { -7 })]
    public void Bad_indices_are_reported(string message, int[] starts, int[] lengths, int[] table)
    {
        using CudaDevice device = Device();
        var pool = new Tokens(2 * PageSize, 2, 1, 8);
        ArgumentOutOfRangeException error = Assert.Throws<ArgumentOutOfRangeException>(
            () => Page(device, new PagedAttention(2, 1, 8), pool.Query[..32], pool, table, starts, lengths));
        Assert.Contains("PagedAttention: " + message, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Bad_starts_of_training_are_reported()
    {
        using CudaDevice device = Device();
        ArgumentOutOfRangeException error = Assert.Throws<ArgumentOutOfRangeException>(
            () => Attend(device, new Tokens(9, 1, 1, 8), [0, 5, 4, 9], causal: true));
        Assert.Contains("Attention: starts[2] is 4, but starts must ascend", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Kernels_fit_into_the_shared_memory_of_every_card()
    {
        foreach (string architecture in new[] { "sm_80", "sm_86", "sm_89", "sm_90a", "sm_120a" })
        {
            foreach (int dimension in new[] { 8, 64, 80, 128 })
            {
                CudaTarget target = CudaTarget.For(architecture);
                TensorType q = Type(70, 2 * dimension), k = Type(70, dimension), starts = TensorType.Int32(2),
                    statistics = TensorType.Float32(70, 2);
                Assert.NotEmpty(CudaBindings.Standard.Describe(new Attention(2, 1, dimension, true), [q, k, k, starts],
                    target).Steps);
                Assert.NotEmpty(CudaBindings.Standard.Describe(new AttentionBackward(2, 1, dimension, true),
                    [q, k, k, q, statistics, q, starts], target).Steps);
                Assert.NotEmpty(Describe(new PagedAttention(2, 1, dimension), target, 1, 4, 1, 4).Steps);
                Assert.NotEmpty(Describe(new PagedAttention(2, 1, dimension), target, 100, 4, 1, 4).Steps);
            }
        }
    }

    [Fact]
    public void Sums_of_earlier_spans_take_memory_for_the_blocks_of_a_card_and_not_of_the_grid()
    {
        // 32 heads of 32,768 tokens: more than 8,192 blocks, of which two are resident on each of 148 multiprocessors. Each
        // has two tiles of 16 rows by 128 columns, maxima and sums for each of its four warps.
        CudaTarget card = CudaTarget.For("sm_100");
        TensorType q = Type(32768, 4096), k = Type(32768, 1024), starts = TensorType.Int32(9);
        long sums = 2 * 148 * 2 * (16 * 128 + 128) * 4 * sizeof(float);
        Assert.InRange(CudaBindings.Standard.Describe(new Attention(32, 8, 128, true), [q, k, k, starts], card)
            .ScratchBytes, sums, sums + 100_000);
        Assert.InRange(Describe(new PagedAttention(32, 8, 128), card, 8192, 4, 1, 1024).ScratchBytes, sums,
            sums + 100_000);
        // Warpgroups keep them in shared memory.
        Assert.InRange(CudaBindings.Standard.Describe(new Attention(32, 8, 128, true), [q, k, k, starts], CudaTarget.Hopper)
            .ScratchBytes, 0, 100_000);
        // None where no sequence is longer than a span.
        Assert.InRange(Describe(new PagedAttention(32, 8, 128), card, 400, 4, 1, 16).ScratchBytes, 0, 10_000);
    }

    [Fact]
    public void Wider_heads_and_other_types_are_refused()
    {
        TensorType wide = Type(4, 136), exact = TensorType.Float32(4, 8), starts = TensorType.Int32(2);
        Assert.Contains("heads may be 128 wide at most",
            Refused(new Attention(1, 1, 136, false), [wide, wide, wide, starts]), StringComparison.Ordinal);
        Assert.Contains("attention works on bfloat16",
            Refused(new Attention(1, 1, 8, false), [exact, exact, exact, starts]), StringComparison.Ordinal);
        static string Refused(Op op, TensorType[] types) =>
            Assert.Throws<NotSupportedException>(() => CudaBindings.Standard.Describe(op, types, CudaTarget.Hopper)).Message;
    }

    [Theory]
    [InlineData(6, 2, 64, "forward", "late")]
    [InlineData(5, 1, 128, "seed:11", "late")]
    [InlineData(2, 1, 128, "reverse", "immediate")]
    public void Rollouts_have_the_bits_of_training_though_wgmma_rounds_in_its_own_way(int heads, int keyValueHeads,
        int dimension, string schedule, string completion)
    {
        const int Length = Span + 75;
        using CudaDevice device = Device();
        var batch = new Tokens(Length, heads, keyValueHeads, dimension);
        BFloat16[] alike = (BFloat16[])Attend(device, batch, [0, Length], causal: true)[0];
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("async", completion);
        Emulator.Configure("rounding", "own");
        BFloat16[] expected = (BFloat16[])Attend(device, batch, [0, Length], causal: true)[0];
        Assert.NotEqual(alike, expected);
        foreach ((int first, int rows) in new[]
        {
            (0, Length), (20, 50), (Span - 60, 130), (70, 4), (63, 1), (64, 1), (Span - 1, 1), (Span, 1), (Length - 1, 1),
        })
            Assert.Equal(batch.RowsOf(expected, first, rows), Continue(device, batch, first, rows));
    }

    [Fact]
    public void Warpgroups_multiply_by_the_card_and_the_heads_whatever_the_rows()
    {
        foreach (int rows in new[] { 1, 16, 33, 700 })
        {
            foreach (int sequences in new[] { 1, 8 })
            {
                Assert.All(Names(64, CudaTarget.Hopper), name => Assert.StartsWith("warpgroup", name, StringComparison.Ordinal));
                Assert.All(Names(128, CudaTarget.Hopper), name => Assert.StartsWith("warpgroup", name, StringComparison.Ordinal));
                Assert.All(Names(80, CudaTarget.Hopper), name => Assert.DoesNotContain("warpgroup", name, StringComparison.Ordinal));
                Assert.All(Names(128, CudaTarget.Hopper with { ArchitectureName = "compute_90" }),
                    name => Assert.DoesNotContain("warpgroup", name, StringComparison.Ordinal));

                IEnumerable<string> Names(int dimension, CudaTarget target)
                {
                    TensorType q = Type(rows, 4 * dimension), k = Type(rows, dimension);
                    return CudaBindings.Standard.Describe(new Attention(4, 1, dimension, true),
                        [q, k, k, TensorType.Int32(sequences + 1)], target).Launches
                        .Concat(CudaBindings.Standard.Describe(new AttentionBackward(4, 1, dimension, true),
                            [q, k, k, q, TensorType.Float32(rows, 4), q, TensorType.Int32(sequences + 1)], target).Launches)
                        .Concat(Describe(new PagedAttention(4, 1, dimension), target, rows, 40, sequences, 40).Launches)
                        .Select(launch => launch.EntryPoint)
                        .Where(name => !name.StartsWith("attention_plan", StringComparison.Ordinal));
                }
            }
        }
    }

    /// <summary>The kernel of the emulator's card, a Hopper.</summary>
    private static string Kernel(string name, int dimension) => dimension is 64 or 128 ? "warpgroup_" + name : name;

    private static CudaDevice Device(bool deterministic = true) =>
        new(new CudaDeviceOptions { Libraries = CudaLibraries.LoadSimulated(), Deterministic = deterministic });

    private static double Distance(float[] expected, float[] actual) =>
        Math.Sqrt(expected.Zip(actual)
            .Sum(pair => Math.Pow(pair.First - pair.Second, 2)) / expected.Sum(element => Math.Pow(element, 2)));

    private static CudaKernelDescription Describe(PagedAttention op, CudaTarget target, int rows, int pages,
        int sequences, int tableWidth)
    {
        var cache = new TensorType(DataType.BFloat16, new Shape(pages, op.KeyValueHeadCount, PageSize * op.HeadDimension));
        return CudaBindings.Standard.Describe(
            op, [Type(rows, op.HeadCount * op.HeadDimension), cache, cache, TensorType.Int32(sequences, tableWidth),
                TensorType.Int32(sequences + 1), TensorType.Int32(sequences)], target);
    }

    private static TensorType Type(int rows, int columns) => new(DataType.BFloat16, new Shape(rows, columns));

    private static Array[] Attend(CudaDevice device, Tokens tokens, int[] starts, bool causal) =>
        Run(device, graph => graph.AddNode(new Attention(tokens.Heads, tokens.KeyValueHeads, tokens.Dimension, causal),
            Inputs(graph, tokens, starts)), [.. tokens.Arrays, starts]);

    /// <summary>The output, and the gradients of the squared output's half by queries, keys and values.</summary>
    private static Array[] Differentiate(CudaDevice device, Tokens tokens, int[] starts) => Run(
        device,
        graph =>
        {
            Value[] inputs = Inputs(graph, tokens, starts);
            IReadOnlyList<Value> forward = graph.AddNode(
                new Attention(tokens.Heads, tokens.KeyValueHeads, tokens.Dimension, true), inputs);
            return [forward[0],
                .. graph.AddNode(new AttentionBackward(tokens.Heads, tokens.KeyValueHeads, tokens.Dimension, true),
                    inputs[0], inputs[1], inputs[2], forward[0], forward[1], forward[0], inputs[3])];
        },
        [.. tokens.Arrays, starts]);

    private static Value[] Inputs(Graph graph, Tokens tokens, int[] starts)
    {
        int rows = tokens.Query.Length / (tokens.Heads * tokens.Dimension);
        TensorType narrow = Type(rows, tokens.KeyValueHeads * tokens.Dimension);
        return [graph.Input("q", Type(rows, tokens.Heads * tokens.Dimension)), graph.Input("k", narrow),
            graph.Input("v", narrow), graph.Input("starts", TensorType.Int32(starts.Length))];
    }

    /// <summary>
    /// Rows of a sequence whose keys and values up to the last of them lie in shuffled pages; the rest of the cache is
    /// not a number.
    /// </summary>
    private static BFloat16[] Continue(CudaDevice device, Tokens tokens, int first, int rows)
    {
        int length = first + rows, used = (length + PageSize - 1) / PageSize, pages = used + 2,
            width = tokens.KeyValueHeads * tokens.Dimension;
        int[] table = [.. Enumerable.Range(0, pages)];
        new Random(length).Shuffle(table);
        table = table[..used];
        var cached = new Tokens(pages * PageSize, tokens.Heads, tokens.KeyValueHeads, tokens.Dimension);
        Array.Fill(cached.Key, (BFloat16)float.NaN);
        Array.Fill(cached.Value, (BFloat16)float.NaN);
        for (int position = 0; position < length; position++)
        {
            int slot = table[position / PageSize] * PageSize + position % PageSize;
            tokens.Key.AsSpan(position * width, width).CopyTo(cached.Key.AsSpan(slot * width));
            tokens.Value.AsSpan(position * width, width).CopyTo(cached.Value.AsSpan(slot * width));
        }

        return Page(device, new PagedAttention(tokens.Heads, tokens.KeyValueHeads, tokens.Dimension),
            tokens.RowsOf(tokens.Query, first, rows), cached, table, [0, rows], [length]);
    }

    /// <summary>Runs paged attention over a cache whose slots, in order, are the rows of a batch.</summary>
    private static BFloat16[] Page(CudaDevice device, PagedAttention op, BFloat16[] queries, Tokens cached, int[] table,
        int[] starts, int[] lengths, bool planned = false)
    {
        int sequences = lengths.Length, rowWidth = op.HeadCount * op.HeadDimension,
            pages = cached.Key.Length / (PageSize * op.KeyValueHeadCount * op.HeadDimension);
        var cache = new TensorType(DataType.BFloat16, new Shape(pages, op.KeyValueHeadCount, PageSize * op.HeadDimension));
        TensorType[] types = [Type(queries.Length / rowWidth, rowWidth), cache, cache,
            TensorType.Int32(sequences, table.Length / sequences), TensorType.Int32(sequences + 1),
            TensorType.Int32(sequences)];
        return (BFloat16[])Run(
            device,
            graph =>
            {
                Value[] inputs = [.. types.Select((type, index) => graph.Input($"input{index}", type))];
                if (planned)
                    inputs = [.. inputs, graph.Add(new PagedAttentionPlan(types[0].Shape[0], op.HeadCount / op.KeyValueHeadCount,
                        op.KeyValueHeadCount), inputs[3..])];
                return graph.AddNode(op, inputs);
            },
            [queries, ByHead(cached.Key), ByHead(cached.Value), table, starts, lengths])[0];

        // [pages·32, Hkv, D] → [pages, Hkv, 32, D]
        BFloat16[] ByHead(BFloat16[] rows)
        {
            var result = new BFloat16[rows.Length];
            for (int index = 0; index < rows.Length; index++)
            {
                int element = index % op.HeadDimension, head = index / op.HeadDimension % op.KeyValueHeadCount,
                    slot = index / (op.HeadDimension * op.KeyValueHeadCount);
                result[((slot / PageSize * op.KeyValueHeadCount + head) * PageSize + slot % PageSize) * op.HeadDimension
                    + element] = rows[index];
            }

            return result;
        }
    }

    /// <summary>Runs a graph whose inputs are these arrays, and reads its results: bfloat16 as it is.</summary>
    private static Array[] Run(CudaDevice device, Func<Graph, IReadOnlyList<Value>> build, Array[] data)
    {
        var graph = new Graph();
        Value[] results = [.. build(graph)];
        for (int index = 0; index < results.Length; index++)
            graph.Output($"result{index}", results[index]);
        using var workspace = new Workspace(device);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        for (int index = 0; index < data.Length; index++)
        {
            if (data[index] is int[] integers)
                executor.Write<int>(graph.Inputs[index], integers);
            else
                executor.Write<BFloat16>(graph.Inputs[index], (BFloat16[])data[index]);
        }

        executor.Run(TestContext.Current.CancellationToken);
        return [.. results.Select(result => result.Type.DataType == DataType.BFloat16
            ? (Array)executor.Read<BFloat16>(result) : executor.ReadFloats(result))];
    }

    /// <summary>Queries, keys and values of some rows.</summary>
    private sealed class Tokens
    {
        public Tokens(int rows, int heads, int keyValueHeads, int dimension)
            : this(heads, keyValueHeads, dimension, Random(rows * heads * dimension, 1),
                Random(rows * keyValueHeads * dimension, 2), Random(rows * keyValueHeads * dimension, 3))
        {
        }

        private Tokens(int heads, int keyValueHeads, int dimension, BFloat16[] query, BFloat16[] key, BFloat16[] value) =>
            (Heads, KeyValueHeads, Dimension, Query, Key, Value) = (heads, keyValueHeads, dimension, query, key, value);

        public int Heads { get; }

        public int KeyValueHeads { get; }

        public int Dimension { get; }

        public BFloat16[] Query { get; }

        public BFloat16[] Key { get; }

        public BFloat16[] Value { get; }

        public Array[] Arrays => [Query, Key, Value];

        public BFloat16[] RowsOf(BFloat16[] query, int first, int rows) =>
            query.AsSpan(first * Heads * Dimension, rows * Heads * Dimension).ToArray();

        public Tokens Part(int first, int rows)
        {
            int width = KeyValueHeads * Dimension;
            return new(Heads, KeyValueHeads, Dimension, RowsOf(Query, first, rows),
                Key.AsSpan(first * width, rows * width).ToArray(), Value.AsSpan(first * width, rows * width).ToArray());
        }

        private static BFloat16[] Random(int count, int seed)
        {
            var random = new Random(seed);
            return [.. Enumerable.Range(0, count).Select(_ => (BFloat16)(float)(4 * random.NextDouble() - 2))];
        }
    }
}
