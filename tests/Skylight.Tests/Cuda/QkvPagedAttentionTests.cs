using System.Runtime.InteropServices;
using Skylight.Cpu;
using Skylight.Cuda;
using Skylight.Cuda.Bindings;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Execution;
using Skylight.Tests.Ops;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cuda;

/// <summary>
/// Decoding in one launch: it rotates, writes the cache and joins spans, with the bits of the ops that it replaces.
/// </summary>
[Collection(EmulatorCollection.Name)]
public sealed class QkvPagedAttentionTests
{
    private const string Kernel = "warpgroup_attention_paged.cu";

    private const int PageSize = PagedAttention.PageSize, Span = 512;

    public QkvPagedAttentionTests() => Emulator.Require();

    public static TheoryData<int, int, int, bool, string, string, int> Shapes => new()
    {
        { 4, 2, 64, false, "forward", "late", 90 },
        { 5, 1, 64, true, "reverse", "immediate", 90 },
        { 7, 1, 128, true, "seed:5", "late", 90 },
        { 8, 2, 128, false, "seed:8", "immediate", 90 },
        { 12, 1, 128, false, "reverse", "late", 90 }, // a row in two tiles of a sequence
        { 4, 2, 6, true, "forward", "immediate", 90 }, // heads that are no whole 16 bytes
        { 3, 1, 24, true, "reverse", "late", 90 }, // half a head is no multiple of an access
        { 5, 1, 80, false, "seed:3", "late", 90 },
        { 6, 2, 16, false, "reverse", "immediate", 90 },
        // Heads that warpgroups would attend, on a card without them.
        { 5, 1, 64, true, "seed:7", "late", 80 },
        { 4, 2, 64, false, "reverse", "immediate", 80 },
        { 7, 1, 128, false, "forward", "late", 80 },
        { 12, 1, 128, true, "seed:4", "late", 80 },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void The_bits_of_output_and_cache_are_those_of_the_ops_apart(int heads, int keyValueHeads, int dimension,
        bool isNormed, string schedule, string completion, int capability)
    {
        using var card = new SimulatedCard(capability: capability);
        Assert.Equal(capability == 90 && dimension is 64 or 128,
            WarpgroupAttention.Computes(card.Device.Target, dimension));
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("async", completion);
        Step[] steps =
        [
            // Alone: within a span, its last and the next one's first key, in the last place of a page and in the first.
            Step.Of([1], [70]), Step.Of([1], [Span]), Step.Of([1], [Span + 1]), Step.Of([1], [2 * Span + 33]),
                Step.Of([1], [1]),
            // Several rows over the end of a span and of a page; an empty sequence.
            Step.Of([1, 3, 0, 1, 2], [40, Span + 2, 0, 700, 33]),
            // A group with a common prompt that ends with a span, and a stranger.
            Step.Of([1, 1, 1, 1, 1], [600, 545, 560, 576, 544], common: Span / PageSize),
        ];
        foreach (Step step in steps)
        {
            (BFloat16[] output, float[][] caches) apart = step.Run(card, heads, keyValueHeads, dimension, isNormed,
                isFused: false),
                together = step.Run(card, heads, keyValueHeads, dimension, isNormed, isFused: true);
            Assert.Equal(apart.output, together.output);
            Assert.Equal(apart.caches[0], together.caches[0]);
            Assert.Equal(apart.caches[1], together.caches[1]);
            Assert.Contains(together.output, element => (float)element != 0);
        }
    }

    [Fact]
    public void A_slot_that_is_not_the_position_s_place_is_reported_on_every_device()
    {
        using var card = new SimulatedCard();
        Step step = Step.Of([1, 1], [40, 70]);
        step.Slots[1]++;
        const string Message = "QkvPagedAttention: slots[1] is ";
        Assert.Contains(Message, Assert.Throws<ArgumentOutOfRangeException>(
            () => step.Run(card, 2, 1, 64, isNormed: false, isFused: true)).Message, StringComparison.Ordinal);
        Assert.Contains(Message, Assert.Throws<ArgumentOutOfRangeException>(
            () => step.Run(card, 2, 1, 16, isNormed: false, isFused: true)).Message, StringComparison.Ordinal);
        using var rounding = new RoundingDevice();
        Assert.Contains(Message, Assert.Throws<ArgumentOutOfRangeException>(
            () => step.Run(rounding, 2, 1, 16, isNormed: false, isFused: true)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Ops_apart_are_fused_only_where_every_sequence_decodes_and_nobody_else_reads_what_is_between()
    {
        Assert.True(Fused(rows: 4, sequences: 4, DataType.BFloat16, readsKeys: false));
        Assert.False(Fused(rows: 300, sequences: 4, DataType.BFloat16, readsKeys: false));
        Assert.False(Fused(rows: 4, sequences: 4, DataType.Float32, readsKeys: false));
        Assert.False(Fused(rows: 4, sequences: 4, DataType.BFloat16, readsKeys: true));

        static bool Fused(int rows, int sequences, DataType type, bool readsKeys)
        {
            var graph = new Graph();
            var cache = new TensorType(type, new Shape(9, 1, PageSize * 16));
            Value table = graph.Input("table", TensorType.Int32(sequences, 2)), starts = graph.Input("starts",
                TensorType.Int32(sequences + 1)), lengths = graph.Input("lengths", TensorType.Int32(sequences));
            Value keys = graph.Persistent(new PersistentTensor("keys", cache)),
                values = graph.Persistent(new PersistentTensor("values", cache));
            IReadOnlyList<Value> heads = graph.AddNode(new QkvSplitRotary(2, 1, 16),
                graph.Input("qkv", new TensorType(type, new Shape(rows, 64))), graph.Input("rotations",
                    TensorType.Float32(rows, 16)));
            graph.AddNode(new KeyValueWrite(1, 16), heads[1], heads[2], keys, values, graph.Input("slots",
                TensorType.Int32(rows)));
            if (readsKeys)
                graph.Output("keys", graph.Add(new Silu(), heads[1]));
            graph.Output("out", graph.Add(new PagedAttention(2, 1, 16), heads[0], keys, values, table, starts, lengths,
                graph.Add(new PagedAttentionPlan(rows, 2, 1), table, starts, lengths)));
            graph.Fuse(FusionRules.AfterDifferentiation);
            return graph.Nodes.Any(node => node.Op is QkvPagedAttention);
        }
    }

    /// <summary>A mistake in how a row's spans are joined, and what the emulator says; nothing: the numbers differ.</summary>
    public static TheoryData<string, string, string> Mistakes => new()
    {
        { "            fence_device();\n            all =", "            all =",
            "no fence and atomic of one thread are behind that write" },
        { "*parts.arrivals(row) = 0;\n            fence_device();", "*parts.arrivals(row) = 0;",
            "has not come behind it by an atomic and a fence" },
        { "if (all) *parts.arrivals(row) = 0;", "", "" },
        { "divide_up(seen, attention_span) * group;", "(divide_up(seen, attention_span) - 1) * group;", "" },
        { "first_row + pair / group, pair % group, scale", "first_row + pair / group, 0, scale", "" },
        { "pairs = min(end, (own + 1) * group) - max(first, own * group)", "pairs = 1", "" },
    };

    [Theory]
    [MemberData(nameof(Mistakes))]
    public void A_mistake_in_how_spans_are_joined_is_found(string right, string wrong, string finding)
    {
        KernelSource kernel = KernelSource.Resource(Kernel),
            mistaken = KernelText.Mistaken(Kernel, right, wrong, "common/attention_paged.cuh");
        using var kernels = new EmulatedKernels();
        Emulator.Configure("visibility", "on");
        try
        {
            byte[] expected = Layers(kernels, kernel);
            if (finding.Length == 0)
                Assert.NotEqual(expected, LayersWithoutChecks(mistaken));
            else
                Assert.Contains(finding, Assert.ThrowsAny<Exception>(() => Layers(kernels, mistaken)).Message,
                    StringComparison.Ordinal);
        }
        finally
        {
            Emulator.Configure("visibility", "off");
        }

        byte[] LayersWithoutChecks(KernelSource source)
        {
            Emulator.Configure("visibility", "off");
            return Layers(kernels, source);
        }
    }

    /// <summary>
    /// Three layers that decode with one plan: what the last gives. (One that joins too early leaves a count with which the next
    /// one is right again.)
    /// </summary>
    private static byte[] Layers(EmulatedKernels kernels, KernelSource source)
    {
        // A group of 5, of which two tiles share a row; sequences of one to three spans, of which two share the first.
        const int Heads = 5, Dimension = 64, Common = Span / PageSize;
        int[] rows = [4, 1, 1, 1], lengths = [1040, 600, 560, 30];
        Step step = Step.Of(rows, lengths, Common);
        var op = new PagedAttention(Heads, 1, Dimension);
        int count = rows.Sum();
        TensorType cache = new(DataType.BFloat16, new Shape(step.Pages, 1, PageSize * Dimension)),
            queries = new(DataType.BFloat16, new Shape(count, Heads * Dimension)),
            table = TensorType.Int32(rows.Length, step.Table.Length / rows.Length);
        var planned = new PagedAttentionPlan(count, Heads, 1);
        int[] plan = step.Plan(planned);
        TensorType[] types = [queries, cache, cache, table, TensorType.Int32(rows.Length + 1),
            TensorType.Int32(rows.Length),
            TensorType.Int32(plan.Length)];
        var operands = new AttentionBindings.PagedOperands(count, Heads, 1, table.Shape);
        PagedAttentionTiles tiles = operands.Tiles;
        Assert.Equal(0, tiles.PrefillTiles);
        var kernel = new CudaKernelBuilder(op, types, [queries], CudaTarget.Hopper);
        long parts = (long)tiles.Spans * tiles.PartRows * Heads;
        CudaScratch sums = kernel.Scratch(parts * Dimension * sizeof(float)),
            statistics = kernel.Scratch(parts * 2 * sizeof(float));
        for (int layer = 0; layer < 3; layer++)
        {
            // So that what the layer before left is of no use.
            kernel.Clear(kernel.Output(0));
            kernel.Clear(sums);
            kernel.Clear(statistics);
            WarpgroupAttention.QueueDecode(kernel, op, operands,
                kernel.Input(6).At(tiles.FirstDecodeWord * sizeof(int)),
                kernel.Input(6).At((long)tiles.FirstVisibleWord * sizeof(int)), sums, statistics, 2, source,
                    "a bad page");
        }

        return kernels.Run(kernel.Build(), [queries], Random(1, count * Heads * Dimension),
            Random(2, step.Pages * PageSize * Dimension), Random(3, step.Pages * PageSize * Dimension), step.Table,
                step.Starts,
            lengths, plan)[0];

        static BFloat16[] Random(int seed, int elements) => Halves(Numbers.Random(seed, elements));
    }

    private static BFloat16[] Halves(float[] values) => Array.ConvertAll(values, value => (BFloat16)value);

    /// <summary>A step of sequences whose first pages may be the same, with a row of padding behind them.</summary>
    private sealed record Step(int[] Starts, int[] Lengths, int[] Table, int[] Slots, int Pages)
    {
        public static Step Of(int[] rows, int[] lengths, int common = 0)
        {
            int width = (lengths.Max() + PageSize - 1) / PageSize, pages = common + rows.Length * width;
            int[] order = [.. Enumerable.Range(0, pages)];
            new Random(pages).Shuffle(order);
            int[] table = [.. Enumerable.Range(0, rows.Length * width)
                .Select(place => order[place % width < common ? place % width : common + place])];
            return new(
                [.. Enumerable.Range(0, rows.Length + 1).Select(sequence => rows[..sequence].Sum())], lengths, table,
                [.. rows.SelectMany((count, sequence) => Enumerable.Range(lengths[sequence] - count,
                    count).Select(position =>
                    table[sequence * width + position / PageSize] * PageSize + position % PageSize)), -1], pages);
        }

        public int[] Plan(PagedAttentionPlan op)
        {
            using var workspace = new Workspace(new CpuDevice());
            var graph = new Graph();
            Value[] inputs = [graph.Input("table", TensorType.Int32(Lengths.Length, Table.Length / Lengths.Length)),
                graph.Input("starts", TensorType.Int32(Starts.Length)), graph.Input("lengths",
                    TensorType.Int32(Lengths.Length))];
            Value plan = graph.Add(op, inputs);
            graph.Output("plan", plan);
            var executor = new Executor(Planner.Plan(graph, workspace.Device), workspace);
            executor.Write<int>(inputs[0], Table);
            executor.Write<int>(inputs[1], Starts);
            executor.Write<int>(inputs[2], Lengths);
            executor.Run();
            return executor.Read<int>(plan);
        }

        public (BFloat16[] Output, float[][] Caches) Run(SimulatedCard card, int heads, int keyValueHeads,
            int dimension,
            bool isNormed, bool isFused) =>
            Run(card.Device, heads, keyValueHeads, dimension, isNormed, isFused);

        /// <summary>Two layers, so that one comes after another on the same plan; queued, recorded and replayed.</summary>
        public (BFloat16[] Output, float[][] Caches) Run(Device device, int heads, int keyValueHeads, int dimension,
            bool isNormed, bool isFused)
        {
            int count = Slots.Length, columns = (heads + 2 * keyValueHeads) * dimension;
            var cacheType = new TensorType(DataType.BFloat16, new Shape(Pages, keyValueHeads, PageSize * dimension));
            PersistentTensor[] caches = [new("keys", cacheType), new("values", cacheType)];
            try
            {
                int seed = 20;
                foreach (PersistentTensor cache in caches)
                {
                    device.Bind(cache);
                    BFloat16[] numbers = Halves(Numbers.Random(seed++, Pages * keyValueHeads * PageSize * dimension));
                    device.Upload(MemoryMarshal.AsBytes<BFloat16>(numbers), cache.Tensor);
                }

                var graph = new Graph();
                Value qkv = graph.Input("qkv", new TensorType(DataType.BFloat16, new Shape(count, columns))),
                    rotations = graph.Input("rotations", TensorType.Float32(count, dimension)),
                    slots = graph.Input("slots", TensorType.Int32(count)),
                    table = graph.Input("table", TensorType.Int32(Lengths.Length, Table.Length / Lengths.Length)),
                    starts = graph.Input("starts", TensorType.Int32(Starts.Length)),
                    lengths = graph.Input("lengths", TensorType.Int32(Lengths.Length));
                Value[] weights = isNormed ? [graph.Input("query weight", new TensorType(DataType.BFloat16,
                    new Shape(dimension))),
                    graph.Input("key weight", new TensorType(DataType.BFloat16, new Shape(dimension)))] : [];
                Value plan = graph.Add(new PagedAttentionPlan(count, heads / keyValueHeads, keyValueHeads), table,
                    starts, lengths);
                Value keys = graph.Persistent(caches[0]), values = graph.Persistent(caches[1]);
                Value output = Layer(graph);
                graph.Output("output", output);
                if (isFused)
                    Assert.Equal(1, graph.Fuse([new QkvPagedAttentionFusion()]));
                using var workspace = new Workspace(device);
                var executor = new Executor(Planner.Plan(graph, device), workspace);
                BFloat16[] first = [];
                for (int run = 0; run < 3; run++)
                {
                    executor.Write<BFloat16>(qkv, Halves(Numbers.Random(1, count * columns)));
                    executor.Write<float>(rotations, Numbers.Random(2, count * dimension));
                    executor.Write<int>(slots, Slots);
                    executor.Write<int>(table, Table);
                    executor.Write<int>(starts, Starts);
                    executor.Write<int>(lengths, Lengths);
                    for (int index = 0; index < weights.Length; index++)
                        executor.Write<BFloat16>(weights[index], Halves(Numbers.Random(5 + index, dimension)));
                    executor.Run(TestContext.Current.CancellationToken);
                    BFloat16[] result = executor.Read<BFloat16>(output);
                    if (run == 0)
                        first = result;
                    Assert.Equal(first, result);
                }

                return (first, [.. caches.Select(cache => PersistentTensors.Read(device, cache))]);

                Value Layer(Graph graph)
                {
                    IReadOnlyList<Value> parts = isNormed
                        ? graph.AddNode(new QkvSplitNormRotary(heads, keyValueHeads, dimension, 1e-6f), [qkv,
                            rotations, .. weights])
                        : graph.AddNode(new QkvSplitRotary(heads, keyValueHeads, dimension), qkv, rotations);
                    graph.AddNode(new KeyValueWrite(keyValueHeads, dimension), parts[1], parts[2], keys, values, slots);
                    return graph.Add(new PagedAttention(heads, keyValueHeads, dimension), parts[0], keys, values,
                        table, starts,
                        lengths, plan);
                }
            }
            finally
            {
                foreach (PersistentTensor cache in caches)
                    cache.Tensor.Memory.Dispose();
            }
        }
    }
}
