using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>Attention, its gradient, and over a cache of pages; see <c>kernels/attention_*.cu</c>.</summary>
internal static class AttentionBindings
{
    private const int Threads = 128;
    private const int Warps = Threads / 32;
    private const int Block = 2 * PagedAttention.PageSize; // keys of a step
    private const int WidestHead = 128;
    private const int BackwardRows = 64;
    private const int DecodePairs = 16;
    private const int SharedPairs = 64; // of several sequences that have the same pages in a span
    private const int Span = 8 * Block; // keys whose softmax stands alone; spans are joined in ascending order

    // Beside the blocks that plan, these zero rows of no sequence.
    private const int ClearBlocks = 8;
    private const int PlanThreads = 256;
    private const int TileBytes = 16;
    private const int SpanTileBytes = 32;

    private const string BadStarts =
        "starts[{index}] is {value}, but starts must ascend from 0 or more and end within the rows";
    private const string ShortLength =
        "lengths[{index}] is {value}, but the sequence has more new rows, which its length includes";
    private const string BadPage = "pageTable[{index}] is {value}, which is no page of the cache";

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<Attention>((op, kernel) => QueueForward(op, kernel, usesWarpgroups: false));
        bindings.Add<AttentionBackward>(Backward);
        bindings.Add<PagedAttention>(Paged);
    }

    /// <summary>
    /// Queues attention of packed sequences: by warpgroups (Hopper), or as all cards can. The kernel's source may be given.
    /// </summary>
    internal static void QueueForward(Attention op, CudaKernelBuilder kernel, bool usesWarpgroups,
        KernelSource? source = null)
    {
        CheckTypes(kernel, op.HeadDimension, [0, 1, 2], kernel.Outputs[0]);
        int rowTiles = RowTiles(kernel, op.HeadDimension),
            tileRows = usesWarpgroups ? WarpgroupAttention.TileRows : 16 * Warps * rowTiles;
        Tiles tiles = Plan(kernel, starts: 3, lengths: null, group: 1, tileRows, lengthLimit: 0, outputs: 2);
        if (usesWarpgroups)
        {
            WarpgroupAttention.QueueForward(kernel, op, tiles.Count, tiles.Scratch,
                source ?? KernelSource.Resource("warpgroup_attention.cu"));
            return;
        }

        kernel.Launch(source ?? KernelSource.Resource("attention_forward.cu"), "attention_forward",
            new Dim3(op.HeadCount, tiles.Count), Threads, WalkBytes(op.HeadDimension, rowTiles))
            .Define("HEAD_DIMENSION", op.HeadDimension).Define("CAUSAL", op.Causal).Define("ROW_TILES", rowTiles)
            .Input(0).Input(1).Input(2).Scratch(tiles.Scratch).Output(0).Output(1)
            .Scratch(EarlierSpans(kernel, kernel.Inputs[0].Shape[0], op.HeadCount, tiles, op.HeadDimension, rowTiles))
            .Int32(op.HeadCount / op.KeyValueHeadCount).Float32(ScaleOfPowers(op.HeadDimension))
            .Float32(Scale(op.HeadDimension));
    }

    private static void Backward(AttentionBackward op, CudaKernelBuilder kernel)
    {
        int dimension = op.HeadDimension, rows = kernel.Inputs[0].Shape[0], group = op.HeadCount / op.KeyValueHeadCount;
        CheckTypes(kernel, dimension, [0, 1, 2, 3, 5], kernel.Outputs[0]);
        Tiles tiles = Plan(kernel, starts: 6, lengths: null, group: 1, BackwardRows, lengthLimit: 0, outputs: 3);
        CudaScratch statistics = kernel.Scratch((long)rows * op.HeadCount * 2 * sizeof(float));
        int queryRows = dimension <= 64 ? 64 : 32;
        int stages = RowBytes(dimension) * (2 * BackwardRows + 4 * Block) <= kernel.Target.SharedBytesPerBlock ? 2 : 1;

        KernelLaunch Launch(string entryPoint, Dim3 grid, int threads, int sharedBytes) =>
            kernel.Launch("attention_backward.cu", entryPoint, grid, threads, sharedBytes)
                .Define("HEAD_DIMENSION", dimension).Define("CAUSAL", op.Causal).Define("QUERY_ROWS", queryRows)
                .Define("STAGES", stages);

        Launch("attention_backward_statistics", CudaKernelBuilder.Blocks((long)rows * op.HeadCount, 8), 256, 0)
            .Input(3).Input(5).Input(4).Scratch(statistics).Int32(rows).Int32(op.HeadCount);
        Launch("attention_backward_keys", new Dim3(op.KeyValueHeadCount, tiles.Count), Threads,
            RowBytes(dimension) * (2 * BackwardRows + 4 * queryRows) + 16 * queryRows)
            .Input(0).Input(1).Input(2).Input(5).Scratch(statistics).Scratch(tiles.Scratch).Output(1).Output(2)
            .Int32(rows).Int32(group).Float32(ScaleOfPowers(dimension)).Float32(Scale(dimension));
        Launch("attention_backward_queries", new Dim3(op.HeadCount, tiles.Count), Threads,
            RowBytes(dimension) * (2 * BackwardRows + 2 * stages * Block))
            .Input(0).Input(1).Input(2).Input(5).Scratch(statistics).Scratch(tiles.Scratch).Output(0)
            .Int32(rows).Int32(group).Float32(ScaleOfPowers(dimension)).Float32(Scale(dimension));
    }

    private static void Paged(PagedAttention op, CudaKernelBuilder kernel)
    {
        int group = op.HeadCount / op.KeyValueHeadCount, rows = kernel.Inputs[0].Shape[0],
            sequences = kernel.Inputs[3].Shape[0];
        CheckTypes(kernel, op.HeadDimension, [0, 1, 2], kernel.Outputs[0]);
        // Both give a row the same bits. Few rows in a sequence share the warps of a block; many fill them.
        if ((long)rows * group > 2L * DecodePairs * Math.Max(1, sequences))
            Prefill(op, kernel, group);
        else
            Decode(op, kernel, group);
    }

    private static void Prefill(PagedAttention op, CudaKernelBuilder kernel, int group)
    {
        int dimension = op.HeadDimension, tableWidth = kernel.Inputs[3].Shape[1], rowTiles = RowTiles(kernel, dimension);
        long limit = Math.Min((long)tableWidth * PagedAttention.PageSize, int.MaxValue);
        Tiles tiles = Plan(kernel, starts: 4, lengths: 5, group, 16 * Warps * rowTiles, (int)limit, outputs: 1);
        kernel.Launch("attention_paged.cu", "paged_prefill", new Dim3(op.KeyValueHeadCount, tiles.Count), Threads,
            WalkBytes(dimension, rowTiles))
            .Define("HEAD_DIMENSION", dimension).Define("ROW_TILES", rowTiles)
            .Input(0).Input(1).Input(2).Input(3).Input(5).Scratch(tiles.Scratch).Output(0)
            .Scratch(EarlierSpans(kernel, limit, op.KeyValueHeadCount, tiles, dimension, rowTiles))
            .Int32(group).Int32(tableWidth).Int32(kernel.Inputs[1].Shape[0]).Float32(ScaleOfPowers(dimension))
            .Status(BadPage);
    }

    private static void Decode(PagedAttention op, CudaKernelBuilder kernel, int group)
    {
        int dimension = op.HeadDimension, rows = kernel.Inputs[0].Shape[0], sequences = kernel.Inputs[3].Shape[0],
            tableWidth = kernel.Inputs[3].Shape[1];
        int limit = (int)Math.Min((long)tableWidth * PagedAttention.PageSize, int.MaxValue),
            spans = Math.Max(1, (limit - 1) / Span + 1);
        int count = TileCount(kernel, rows, sequences, group, DecodePairs);
        if (spans > ushort.MaxValue)
            throw kernel.Unsupported(
                $"a page table of {tableWidth} pages per sequence makes {spans} spans of {Span} keys, and one launch " +
                $"takes {ushort.MaxValue}; make it narrower");
        CudaScratch tiles = kernel.Scratch((long)spans * count * SpanTileBytes),
            visible = kernel.Scratch((long)rows * sizeof(int));
        kernel.Launch("attention_plan.cu", "attention_plan_spans", rows == 0 ? 0 : spans + ClearBlocks, PlanThreads,
            PlanThreads * sizeof(int) + sequences)
            .Input(4).Input(5).Input(3).Int32(sequences).Int32(rows).Int32(group).Int32(tableWidth).Int32(spans)
            .Scratch(tiles).Int32(count).Scratch(visible)
            .Output(0).Int64(op.HeadCount * dimension).Status(BadStarts).Status(ShortLength).Status(LongLength(limit));

        long parts = spans == 1 ? 0 : (long)spans * rows * op.HeadCount;
        CudaScratch sums = kernel.Scratch(parts * Padded(dimension) * sizeof(float)),
            statistics = kernel.Scratch(parts * 2 * sizeof(float));
        int stages = DecodeStages(kernel.Target, dimension);
        kernel.Launch("attention_paged.cu", "paged_decode", new Dim3(op.KeyValueHeadCount, count, spans), Threads,
            DecodeBytes(dimension, stages))
            .Define("HEAD_DIMENSION", dimension).Define("STAGES", stages)
            .Input(0).Input(1).Input(2).Input(3).Input(5).Scratch(tiles).Scratch(visible).Output(0).Scratch(sums)
            .Scratch(statistics)
            .Int32(rows).Int32(group).Int32(tableWidth).Int32(kernel.Inputs[1].Shape[0])
            .Float32(ScaleOfPowers(dimension)).Status(BadPage);
        if (spans == 1)
            return;
        kernel.Launch("attention_paged.cu", "paged_merge", CudaKernelBuilder.Blocks((long)rows * op.HeadCount, Warps),
            Threads, 0)
            .Define("HEAD_DIMENSION", dimension).Define("STAGES", stages)
            .Scratch(visible).Output(0).Scratch(sums).Scratch(statistics).Int32(rows).Int32(op.HeadCount)
            .Float32(ScaleOfPowers(dimension));
    }

    /// <summary>Queues what cuts the sequences into tiles, and zeroes the outputs' rows of no sequence.</summary>
    private static Tiles Plan(CudaKernelBuilder kernel, int starts, int? lengths, int group, int tilePairs,
        int lengthLimit, int outputs)
    {
        int rows = kernel.Inputs[0].Shape[0], sequences = kernel.Inputs[starts].Shape.Columns - 1;
        var tiles = new Tiles(kernel, TileCount(kernel, rows, sequences, group, tilePairs));
        KernelLaunch launch = kernel.Launch("attention_plan.cu", "attention_plan", rows == 0 ? 0 : 1 + ClearBlocks,
            PlanThreads, PlanThreads * sizeof(int))
            .Input(starts);
        launch = lengths is { } index ? launch.Input(index) : launch.Null();
        launch.Int32(sequences).Int32(rows).Int32(group).Int32(tilePairs).Int32(lengthLimit).Scratch(tiles.Scratch)
            .Int32(tiles.Count);
        for (int output = 0; output < 3; output++)
        {
            if (output < outputs)
                launch.Output(output).Int64(rows == 0 ? 0 : kernel.Outputs[output].Bytes / rows / sizeof(ushort));
            else
                launch.Null().Int64(0);
        }

        launch.Status(BadStarts).Status(ShortLength).Status(LongLength(lengthLimit));
        return tiles;
    }

    /// <summary>The most tiles that the pairs of some sequences make.</summary>
    private static int TileCount(CudaKernelBuilder kernel, int rows, int sequences, int group, int tilePairs)
    {
        // Each sequence that has rows may end with an incomplete tile.
        long count = (long)rows * group / tilePairs + Math.Min(sequences, rows);
        if (count > ushort.MaxValue)
            throw kernel.Unsupported(
                $"{rows} rows in {sequences} sequences make {count} tiles, and one launch takes {ushort.MaxValue}; " +
                $"give it fewer rows at a time");
        return (int)count;
    }

    private static string LongLength(int limit) =>
        $"lengths[{{index}}] is {{value}}, but the pages of a sequence hold only {limit} tokens";

    /// <summary>Where the blocks of a walk keep the sums of earlier spans; empty if no sequence can have several.</summary>
    private static CudaScratch EarlierSpans(CudaKernelBuilder kernel, long longest, int heads, Tiles tiles,
        int dimension, int rowTiles)
    {
        long each = longest > Span ? rowTiles * (2L * Padded(dimension) / 16 + 1) * Threads * 4 * sizeof(float) : 0;
        return kernel.Scratch(each * heads * tiles.Count);
    }

    /// <summary>
    /// Blocks of keys that a block of decoding copies ahead. A span has eight, so the beginning of the pipeline is a
    /// good part of it: two blocks on a multiprocessor fill each other's gap, where they fit.
    /// </summary>
    private static int DecodeStages(CudaTarget target, int dimension)
    {
        const int Reserved = 1024; // of each block; a multiprocessor has that much more than one block may ask for
        foreach (int blocks in new[] { 2, 1 })
        {
            for (int stages = 4; stages >= 2; stages--)
            {
                if (blocks * (DecodeBytes(dimension, stages) + Reserved) <= target.SharedBytesPerBlock + Reserved)
                    return stages;
            }
        }

        return 2;
    }

    private static void CheckTypes(CudaKernelBuilder kernel, int dimension, int[] inputs, TensorType output)
    {
        if (inputs.Any(index => kernel.Inputs[index].DataType != DataType.BFloat16) || output.DataType != DataType.BFloat16)
            throw kernel.Unsupported("attention works on bfloat16; cast its inputs");
        if (dimension > WidestHead)
            throw kernel.Unsupported($"heads may be {WidestHead} wide at most");
    }

    /// <summary>
    /// The m16n8k16 tiles of a warp: two halve the reads of keys and values from shared memory, where the card has
    /// enough of it.
    /// </summary>
    private static int RowTiles(CudaKernelBuilder kernel, int dimension) =>
        WalkBytes(dimension, 2) <= kernel.Target.SharedBytesPerBlock ? 2 : 1;

    private static int Padded(int dimension) => (dimension + 15) / 16 * 16;

    private static int RowBytes(int dimension) => 2 * (Padded(dimension) + 8);

    private static int WalkBytes(int dimension, int rowTiles)
    {
        // Wide tiles keep their statistics there too.
        int parked = rowTiles * Padded(dimension) / 8 > 16 ? rowTiles * Threads * 4 * sizeof(float) : 0;
        return RowBytes(dimension) * (16 * Warps * rowTiles + 4 * Block) + parked;
    }

    private static int DecodeBytes(int dimension, int stages) =>
        Math.Max(RowBytes(dimension) * (DecodePairs + 2 * stages * Block) + DecodePairs * (Block + 8) * sizeof(float),
            RowBytes(dimension) * (SharedPairs + 4 * Block));

    /// <summary>The factor on scores.</summary>
    internal static float Scale(int dimension) => (float)(1 / Math.Sqrt(dimension));

    /// <summary>The factor on scores that are exponents of 2.</summary>
    internal static float ScaleOfPowers(int dimension) => (float)(1 / (Math.Sqrt(dimension) * Math.Log(2)));

    private readonly record struct Tiles(CudaKernelBuilder Kernel, int Count)
    {
        public CudaScratch Scratch { get; } = Kernel.Scratch((long)Count * TileBytes);
    }
}
