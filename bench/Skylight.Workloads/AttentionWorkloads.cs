using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using static Skylight.Workloads.Operand;

namespace Skylight.Workloads;

/// <summary>Attention: packed sequences, its gradient, and over a key-value cache.</summary>
internal static class AttentionWorkloads
{
    private const int PageSize = KeyValuePages.Size;

    public static IReadOnlyList<Workload> All { get; } =
    [
        // Padding rows at the end, an empty sequence, one longer than a page.
        new("attention/tiny-causal", new Attention(4, 2, 5, Causal: true),
            [Normal(46, 20), Normal(46, 10), Normal(46, 10), Integers([0, 3, 3, 38, 44])], Tiny: true),
        new("attention/tiny-full", new Attention(2, 2, 16, Causal: false),
            [Normal(12, 32), Normal(12, 32), Normal(12, 32), Integers([0, 5, 12])], Tiny: true),
        // Several blocks of keys, with ends inside of one; rows before the first sequence; the widest heads.
        new("attention/tiny-blocks", new Attention(6, 2, 24, Causal: true),
            [Normal(160, 144), Normal(160, 48), Normal(160, 48), Integers([2, 20, 20, 155])], Tiny: true),
        new("attention/tiny-blocks-full", new Attention(2, 1, 72, Causal: false),
            [Normal(100, 144), Normal(100, 72), Normal(100, 72), Integers([0, 100])], Tiny: true),
        new("attention/tiny-wide", new Attention(1, 1, 128, Causal: true),
            [Normal(70, 128), Normal(70, 128), Normal(70, 128), Integers([0, 70])], Tiny: true),
        // More keys than the CUDA kernels take together.
        new("attention/tiny-spans", new Attention(2, 1, 16, Causal: true),
            [Normal(600, 32), Normal(600, 16), Normal(600, 16), Integers([0, 20, 600])], Tiny: true),
        // Several tiles of keys add to a query's gradient, of heads that warpgroups multiply; ends inside of tiles.
        new("attention/tiny-tiles", new Attention(4, 2, 64, Causal: true),
            [Normal(340, 256), Normal(340, 128), Normal(340, 128), Integers([3, 20, 20, 300, 340])], Tiny: true),
        new("attention/tiny-tiles-full", new Attention(2, 1, 128, Causal: false),
            [Normal(200, 256), Normal(200, 128), Normal(200, 128), Integers([0, 200])], Tiny: true),
        // The heads of one key-value head of the 8B model.
        Packed("attention/8b-group-320", 7, 1, 128, causal: true, sequences: 1, length: 320),
        Packed("attention/demo-training", 4, 4, 32, causal: true, sequences: 256, length: 80),
        Packed("attention/internvl3-1b-1k", 14, 2, 64, causal: true, sequences: 1, length: 1024),
        Packed("attention/internvl3-8b-1k", 28, 4, 128, causal: true, sequences: 1, length: 1024),
        Packed("attention/internvl3-1b-4k", 14, 2, 64, causal: true, sequences: 1, length: 4096),
        Packed("attention/internvit-300m", 16, 16, 64, causal: false, sequences: 1, length: 1025),
        // The same where products are of bfloat16.
        Packed("attention/internvl3-1b-4k-bfloat16", 14, 2, 64, causal: true, sequences: 1, length: 4096, rounds: true),
        Packed("attention/internvit-300m-bfloat16", 16, 16, 64, causal: false, sequences: 1, length: 1025, rounds: true),

        Backward("attention_backward/tiny", 4, 2, 5, causal: true, tiny: true, sequences: 2, length: 7),
        Backward("attention_backward/demo-training", 4, 4, 32, causal: true, tiny: false, sequences: 256, length: 80),
        Backward("attention_backward/internvl3-1b-1k", 14, 2, 64, causal: true, tiny: false, sequences: 1, length: 1024),
        Backward("attention_backward/internvit-300m", 16, 16, 64, causal: false, tiny: false, sequences: 1, length: 1025),
        Backward("attention_backward/internvl3-1b-1k-bfloat16", 14, 2, 64, causal: true, tiny: false, sequences: 1,
            length: 1024, rounds: true),

        Write("key_value_write/tiny", 2, 5, tokens: 6, pages: 3, tiny: true),
        Write("key_value_write/internvl3-1b-1k", 2, 64, tokens: 1024, pages: 64, tiny: false),

        Plan("paged_attention_plan/tiny-decode", group: 4, [1, 1, 0, 2, 1, 1, 9], [1100, 1030, 0, 1200, 600, 33, 520],
            common: 32),
        Plan("paged_attention_plan/tiny-prefill", group: 5, [300], [310], common: 0),
        Plan("paged_attention_plan/tiny-mixed", group: 8, [1, 1, 400, 1, 0, 5], [600, 600, 450, 30, 0, 700], common: 17),

        Paged("paged_attention/tiny", 4, 2, 5, sequences: 3, rows: 2, context: 40, tiny: true),
        Paged("paged_attention/tiny-decode", 6, 2, 16, sequences: 2, rows: 1, context: 130, tiny: true),
        Paged("paged_attention/tiny-decode-wide", 3, 1, 128, sequences: 1, rows: 1, context: 70, tiny: true),
        Paged("paged_attention/tiny-prefill", 6, 2, 8, sequences: 2, rows: 50, context: 130, tiny: true),
        // A part of a prompt beside completions.
        Mixed("paged_attention/tiny-mixed", 4, 2, 8, [1, 90, 1, 0, 2], [700, 130, 40, 0, 90]),
        Mixed("paged_attention/tiny-mixed-64", 4, 2, 64, [1, 90, 1, 0, 2], [700, 130, 40, 0, 90]),
        Group("paged_attention/tiny-group", 4, 2, 8, completions: 9, prompt: 544, context: 600, together: true, tiny: true),
        // One key-value head of the 38B model's: completions of one prompt, with the prompt's pages in common, and each
        // with its own.
        Group("paged_attention/38b-group-shared", 5, 1, 128, completions: 12, prompt: 1024, context: 1100,
            together: true, tiny: false),
        Group("paged_attention/38b-group-apart", 5, 1, 128, completions: 12, prompt: 1024, context: 1100,
            together: false, tiny: false),
        // From the projection on: heads that are normalised and not, several rows of a sequence around the end of a span and of a
        // page, sequences that share their first span, an empty one, padding.
        Projected("qkv_paged_attention/tiny", 4, 2, 6, isNormed: false, [1, 2, 0, 1], [40, 34, 0, 600], common: 0, tiny: true),
        Projected("qkv_paged_attention/tiny-norm", 6, 2, 16, isNormed: true, [1, 3, 1], [1100, 514, 33], common: 0,
            tiny: true),
        Projected("qkv_paged_attention/tiny-64", 5, 1, 64, isNormed: false, [1, 1, 3, 1], [600, 513, 545, 530], common: 16,
            tiny: true),
        Projected("qkv_paged_attention/tiny-norm-128", 8, 2, 128, isNormed: true, [1, 1, 2], [545, 576, 610], common: 17,
            tiny: true),
        Projected("qkv_paged_attention/internvl3-8b-decode", 28, 4, 128, isNormed: false, [.. Enumerable.Repeat(1, 8)],
            [.. Enumerable.Repeat(2048, 8)], common: 0, tiny: false),
        Projected("qkv_paged_attention/qwen3-8b-decode", 32, 8, 128, isNormed: true, [.. Enumerable.Repeat(1, 8)],
            [.. Enumerable.Repeat(2048, 8)], common: 0, tiny: false),
        Paged("paged_attention/demo-decode", 4, 4, 32, sequences: 256, rows: 1, context: 80, tiny: false),
        Paged("paged_attention/internvl3-1b-decode", 14, 2, 64, sequences: 32, rows: 1, context: 2048, tiny: false),
        Paged("paged_attention/internvl3-1b-decode-16k", 14, 2, 64, sequences: 1, rows: 1, context: 16384, tiny: false),
        Paged("paged_attention/internvl3-1b-decode-16k-bfloat16", 14, 2, 64, sequences: 1, rows: 1, context: 16384,
            tiny: false, DataType.BFloat16),
        Paged("paged_attention/38b-prefill", 8, 1, 128, sequences: 1, rows: 512, context: 1100, tiny: false),
        Paged("paged_attention/internvl3-1b-prefill", 14, 2, 64, sequences: 1, rows: 1024, context: 1024, tiny: false),
    ];

    private static Workload Packed(string name, int heads, int keyValueHeads, int dimension, bool causal, int sequences,
        int length, bool rounds = false) =>
        new(name, new Attention(heads, keyValueHeads, dimension, causal) { RoundsOperands = rounds },
            [.. QueryKeyValue(heads, keyValueHeads, dimension, sequences * length), Starts(sequences, length)], Tiny: false);

    private static Workload Backward(string name, int heads, int keyValueHeads, int dimension, bool causal, bool tiny,
        int sequences, int length, bool rounds = false)
    {
        int rows = sequences * length;
        // A log-sum-exp in its usual range; not that of these queries and keys.
        Operand logSumExp = Normal(rows, heads) with
        {
            Differentiable = false,
            Fill = seed => Shifted(Normal(rows, heads).Fill(seed), MathF.Log(length) + 2),
        };
        Operand[] operands = [.. QueryKeyValue(heads, keyValueHeads, dimension, rows), Normal(rows, heads * dimension),
            logSumExp, Normal(rows, heads * dimension), Starts(sequences, length)];
        return new(name, new AttentionBackward(heads, keyValueHeads, dimension, causal) { RoundsOperands = rounds },
            [.. operands.Select(operand => operand with { Differentiable = false })], tiny);
    }

    private static Workload Write(string name, int keyValueHeads, int dimension, int tokens, int pages, bool tiny)
    {
        // A sequence that starts in the middle of a page, from the last page backwards, after a skipped token.
        int[] slots = [-1, .. Enumerable.Range(PageSize / 2, tokens - 1)
            .Select(position => (pages - 1 - position / PageSize) * PageSize + position % PageSize)];
        Operand rows = Normal(tokens, keyValueHeads * dimension) with { Differentiable = false };
        return new(name, new KeyValueWrite(keyValueHeads, dimension),
            [rows, rows, Cache(pages, keyValueHeads, dimension), Cache(pages, keyValueHeads, dimension),
                Integers(slots)], tiny);
    }

    /// <summary>A step of sequences whose first pages are the same, with rows of padding behind them.</summary>
    private static Workload Plan(string name, int group, int[] rows, int[] lengths, int common)
    {
        int width = (lengths.Max() + PageSize - 1) / PageSize;
        int[] table = [.. Enumerable.Range(0, rows.Length * width)
            .Select(place => place % width < common ? place % width : place)];
        return new(name, new PagedAttentionPlan(rows.Sum() + 3, group, KeyValueHeadCount: 2),
            [new Operand(TensorType.Int32(rows.Length, width), _ => table), Starts(rows), Integers(lengths)], Tiny: true);
    }

    private static Workload Mixed(string name, int heads, int keyValueHeads, int dimension, int[] rows, int[] lengths)
    {
        int width = (lengths.Max() + PageSize - 1) / PageSize, pages = rows.Length * width;
        return new(
            name,
            new PagedAttention(heads, keyValueHeads, dimension),
            [
                Normal(rows.Sum() + 3, heads * dimension) with { Differentiable = false },
                Cache(pages, keyValueHeads, dimension),
                Cache(pages, keyValueHeads, dimension),
                ShuffledTable(rows.Length, width),
                Starts(rows),
                Integers(lengths),
            ],
            Tiny: true);
    }

    private static Operand ShuffledTable(int sequences, int width) =>
        new(TensorType.Int32(sequences, width), seed =>
        {
            int[] order = [.. Enumerable.Range(0, sequences * width)];
            new Random(seed).Shuffle(order);
            return order;
        });

    private static Workload Paged(string name, int heads, int keyValueHeads, int dimension, int sequences, int rows,
        int context, bool tiny, DataType cacheType = DataType.Float32)
    {
        int pagesEach = (context + PageSize - 1) / PageSize, pages = sequences * pagesEach;
        return new(
            name,
            new PagedAttention(heads, keyValueHeads, dimension),
            [
                Normal(sequences * rows, heads * dimension) with { Differentiable = false },
                Cache(pages, keyValueHeads, dimension, cacheType),
                Cache(pages, keyValueHeads, dimension, cacheType),
                ShuffledTable(sequences, pagesEach),
                Starts(sequences, rows),
                Integers([.. Enumerable.Repeat(context, sequences)]),
            ],
            tiny);
    }

    /// <summary>One new token for each completion of a prompt that fills whole pages.</summary>
    private static Workload Group(string name, int heads, int keyValueHeads, int dimension, int completions, int prompt,
        int context, bool together, bool tiny)
    {
        int common = together ? prompt / PageSize : 0, width = (context + PageSize - 1) / PageSize,
            pages = common + completions * (width - common);
        var table = new Operand(TensorType.Int32(completions, width), seed =>
        {
            int[] order = [.. Enumerable.Range(0, pages)];
            new Random(seed).Shuffle(order);
            return Enumerable.Range(0, completions * width)
                .Select(place => (Completion: place / width, Page: place % width))
                .Select(place =>
                    order[place.Page < common ? place.Page
                        : common + place.Completion * (width - common) + place.Page - common]).ToArray();
        });
        return new(
            name,
            new PagedAttention(heads, keyValueHeads, dimension),
            [
                Normal(completions, heads * dimension) with { Differentiable = false },
                Cache(pages, keyValueHeads, dimension),
                Cache(pages, keyValueHeads, dimension),
                table,
                Starts(completions, 1),
                Integers([.. Enumerable.Repeat(context, completions)]),
            ],
            tiny);
    }

    /// <summary>
    /// Decoding from the projection on: sequences whose first pages may be the same, with two rows of padding behind them.
    /// </summary>
    private static Workload Projected(string name, int heads, int keyValueHeads, int dimension, bool isNormed, int[] rows,
        int[] lengths, int common, bool tiny)
    {
        int width = (lengths.Max() + PageSize - 1) / PageSize, pages = common + rows.Length * width, all = rows.Sum() + 2;
        int[] order = [.. Enumerable.Range(0, pages)];
        new Random(9).Shuffle(order);
        int[] table = [.. Enumerable.Range(0, rows.Length * width)
            .Select(place => order[place % width < common ? place % width : common + place])],
            starts = [.. Enumerable.Range(0, rows.Length + 1).Select(sequence => rows[..sequence].Sum())];
        int[] slots = [.. rows.SelectMany((count, sequence) => Enumerable.Range(lengths[sequence] - count, count)
            .Select(position => table[sequence * width + position / PageSize] * PageSize + position % PageSize)), -1, -1];
        int group = heads / keyValueHeads;
        TensorType tableType = TensorType.Int32(rows.Length, width);
        Operand weight = Normal(dimension) with { Differentiable = false };
        return new(
            name,
            new QkvPagedAttention(heads, keyValueHeads, dimension, 1e-6f),
            [
                Normal(all, (heads + 2 * keyValueHeads) * dimension) with { Differentiable = false },
                Cache(pages, keyValueHeads, dimension),
                Cache(pages, keyValueHeads, dimension),
                new Operand(tableType, _ => table),
                Integers(starts),
                Integers(lengths),
                Integers(Planned(new PagedAttentionPlan(all, group, keyValueHeads), tableType, table, starts, lengths)),
                RotaryWorkloads.Table(all, dimension),
                Integers(slots),
                .. isNormed ? (Operand[])[weight, weight] : [],
            ],
            tiny);
    }

    /// <summary>The plan of a step.</summary>
    private static int[] Planned(PagedAttentionPlan op, TensorType tableType, int[] table, int[] starts, int[] lengths)
    {
        using var workspace = new Workspace(new CpuDevice());
        var graph = new Graph();
        Value[] inputs = [graph.Input("table", tableType), graph.Input("starts", TensorType.Int32(starts.Length)),
            graph.Input("lengths", TensorType.Int32(lengths.Length))];
        Value plan = graph.Add(op, inputs);
        graph.Output("plan", plan);
        var executor = new Executor(Planner.Plan(graph, workspace.Device), workspace);
        executor.Write<int>(inputs[0], table);
        executor.Write<int>(inputs[1], starts);
        executor.Write<int>(inputs[2], lengths);
        executor.Run();
        return executor.Read<int>(plan);
    }

    private static IEnumerable<Operand> QueryKeyValue(int heads, int keyValueHeads, int dimension, int rows) =>
        [Normal(rows, heads * dimension), Normal(rows, keyValueHeads * dimension), Normal(rows, keyValueHeads * dimension)];

    private static Operand Cache(int pages, int keyValueHeads, int dimension, DataType type = DataType.Float32)
    {
        Operand cache = Normal(pages, keyValueHeads, PageSize * dimension);
        return cache with { Type = cache.Type with { DataType = type }, Differentiable = false, Persistent = true };
    }

    private static Operand Starts(int sequences, int length) => Starts([.. Enumerable.Repeat(length, sequences)]);

    private static Operand Starts(int[] rows) =>
        Integers([.. Enumerable.Range(0, rows.Length + 1).Select(sequence => rows[..sequence].Sum())]);

    private static float[] Shifted(Array values, float shift) => Array.ConvertAll((float[])values, value => value + shift);
}
