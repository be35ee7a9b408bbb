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
    private const int DecodePairs = PagedAttentionTiles.DecodePairs;
    private const int SharedPairs = PagedAttentionTiles.SharedPairs;
    private const int Span = PagedAttentionTiles.SpanKeys; // keys whose softmax stands alone; spans are joined in order

    // Beside the blocks that plan, or that attend over a cache, these zero rows of no sequence.
    private const int ClearBlocks = 8, PagedClearBlocks = 2;
    private const int PlanThreads = 256;
    private const int TileBytes = 4 * sizeof(int);
    private const int SlotBytes = 16; // which slot of span sums a block has

    private const string BadStarts =
        "starts[{index}] is {value}, but starts must ascend from 0 or more and end within the rows";
    private const string ShortLength =
        "lengths[{index}] is {value}, but the sequence has more new rows, which its length includes";
    private const string BadSlot =
        "slots[{index}] is {value}, but must be −1 or the place of the row's position in its sequence's pages";
    private const string BadPage = "pageTable[{index}] is {value}, which is no page of the cache";

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<Attention>((op, kernel) =>
            QueueForward(op, kernel, WarpgroupAttention.Computes(kernel.Target, op.HeadDimension)));
        bindings.Add<AttentionBackward>((op, kernel) =>
            QueueBackward(op, kernel, WarpgroupAttention.Computes(kernel.Target, op.HeadDimension)));
        bindings.Add<PagedAttentionPlan>(PagedPlan);
        bindings.Add<PagedAttention>(Paged);
        bindings.Add<QkvPagedAttention>(FromProjection);
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
        Tiles tiles = Plan(kernel, starts: 3, tileRows, outputs: 2);
        if (usesWarpgroups)
        {
            WarpgroupAttention.QueueForward(kernel, op, tiles.Count, tiles.Scratch,
                source ?? KernelSource.Resource("warpgroup_attention.cu"));
            return;
        }

        SpanSlots slots = EarlierSpans(kernel, kernel.Inputs[0].Shape[0], op.HeadCount * tiles.Count, op.HeadDimension,
            rowTiles);
        kernel.Launch(source ?? KernelSource.Resource("attention_forward.cu"), "attention_forward",
            new Dim3(op.HeadCount, tiles.Count), Threads, WalkBytes(op.HeadDimension, rowTiles))
            .Define("HEAD_DIMENSION", op.HeadDimension).Define("CAUSAL", op.Causal).Define("ROW_TILES", rowTiles)
            .Input(0).Input(1).Input(2).Scratch(tiles.Scratch).Output(0).Output(1)
            .ScratchOrNull(slots.Sums).ScratchOrNull(slots.State).Int32(slots.Count)
            .Int32(op.HeadCount / op.KeyValueHeadCount).Float32(ScaleOfPowers(op.HeadDimension))
            .Float32(Scale(op.HeadDimension));
    }

    /// <summary>
    /// Queues the gradient of attention: by warpgroups (Hopper), or as all cards can. The warpgroups' source may be given.
    /// </summary>
    internal static void QueueBackward(AttentionBackward op, CudaKernelBuilder kernel, bool usesWarpgroups,
        KernelSource? source = null)
    {
        int dimension = op.HeadDimension, rows = kernel.Inputs[0].Shape[0], group = op.HeadCount / op.KeyValueHeadCount;
        CheckTypes(kernel, dimension, [0, 1, 2, 3, 5], kernel.Outputs[0]);
        Tiles tiles = Plan(kernel, starts: 6, usesWarpgroups ? WarpgroupAttention.TileRows : BackwardRows, outputs: 3);
        if (usesWarpgroups)
        {
            WarpgroupAttention.QueueBackward(kernel, op, tiles.Count, tiles.Scratch,
                source ?? KernelSource.Resource("warpgroup_attention_backward.cu"));
            return;
        }

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

    private static void PagedPlan(PagedAttentionPlan op, CudaKernelBuilder kernel) =>
        DealOut(kernel, new PagedOperands(op.Rows, op.Group, op.KeyValueHeadCount, kernel.Inputs[0].Shape), table: 0,
            kernel.Output(0));

    private static void Paged(PagedAttention op, CudaKernelBuilder kernel)
    {
        CheckTypes(kernel, op.HeadDimension, [0, 1, 2], kernel.Outputs[0]);
        var operands = new PagedOperands(kernel.Inputs[0].Shape[0], op.HeadCount / op.KeyValueHeadCount,
            op.KeyValueHeadCount, kernel.Inputs[3].Shape);
        if (operands.Rows == 0)
            return;
        CudaOperand plan = kernel.Inputs.Count > 6 ? kernel.Input(6)
            : kernel.Scratch((long)operands.Tiles.Words * sizeof(int)).ToOperand();
        if (kernel.Inputs.Count <= 6)
            DealOut(kernel, operands, table: 3, plan);
        // Both give a row the same bits, and each has its own rows.
        if (operands.Tiles.PrefillTiles > 0)
            Prefill(op, kernel, operands, plan);
        if (operands.Tiles.DecodeTiles > 0)
            Decode(op, kernel, operands, plan);
    }

    private static void FromProjection(QkvPagedAttention op, CudaKernelBuilder kernel)
    {
        CheckTypes(kernel, op.HeadDimension, [0, 1, 2], kernel.Outputs[0]);
        var operands = new PagedOperands(kernel.Inputs[0].Shape[0], op.HeadCount / op.KeyValueHeadCount,
            op.KeyValueHeadCount, kernel.Inputs[3].Shape);
        if (operands.Rows == 0)
            return;
        if (operands.Tiles.PrefillTiles > 0)
            throw kernel.Unsupported(
                "sequences of so many rows are prefill; rotate and write their heads by ops of their own");
        bool hasNorm = kernel.Inputs.Count > 9;
        Decode(new PagedAttention(op.HeadCount, op.KeyValueHeadCount, op.HeadDimension), kernel, operands,
            kernel.Input(6))
            .Define("ROTARY", 1).Type("PARAMETER", hasNorm ? kernel.Inputs[9].DataType : DataType.BFloat16)
            .Input(7).Input(8).Input(1).Input(2).OptionalInput(9).OptionalInput(10).Float32(op.Epsilon).Status(BadSlot);
    }

    /// <summary>Queues what makes the plan of a step over a cache; starts and lengths follow the page table.</summary>
    private static void DealOut(CudaKernelBuilder kernel, PagedOperands operands, int table, CudaOperand plan)
    {
        PagedAttentionTiles tiles = operands.Tiles;
        int blocks = Math.Max(2 * tiles.PrefillTiles, tiles.DecodeTiles) + PagedClearBlocks;
        if (blocks > ushort.MaxValue)
            throw TooManyTiles(kernel, operands.Rows, operands.Sequences, blocks);
        if (tiles.Spans > ushort.MaxValue)
            throw kernel.Unsupported(
                $"a page table of {operands.TableWidth} pages per sequence makes {tiles.Spans} spans of {Span} keys, and " +
                $"one launch takes {ushort.MaxValue}; make it narrower");
        if (tiles.PrefillTiles > 0)
        {
            Limits(kernel.Launch("attention_plan.cu", "attention_plan", 1, PlanThreads, PlanThreads * sizeof(int))
                .Input(table + 1).Input(table + 2).Int32(operands.Sequences).Int32(operands.Rows).Int32(operands.Group)
                .Int32(tiles.MostDecodePairs).Int32(PagedAttentionTiles.PrefillPairs).Int32(operands.LengthLimit)
                .Pointer(plan).Int32(tiles.PrefillTiles)
                .Null().Int64(0).Null().Int64(0).Null().Int64(0), operands.LengthLimit);
        }

        if (tiles.DecodeTiles > 0)
        {
            Limits(kernel.Launch("attention_plan.cu", "attention_plan_spans", tiles.Spans, PlanThreads,
                PlanThreads * sizeof(int) + operands.Sequences)
                .Input(table + 1).Input(table + 2).Input(table).Int32(operands.Sequences).Int32(operands.Rows)
                .Int32(operands.Group).Int32(tiles.MostDecodePairs).Int32(operands.LengthLimit).Int32(operands.TableWidth)
                .Pointer(plan.At(tiles.FirstDecodeWord * sizeof(int))).Int32(tiles.DecodeTiles)
                .Pointer(plan.At((long)tiles.FirstVisibleWord * sizeof(int))).Int32(tiles.RowsOfSequence)
                .Int32(tiles.ArrivalWords), operands.LengthLimit);
        }
    }

    private static void Prefill(PagedAttention op, CudaKernelBuilder kernel, PagedOperands operands, CudaOperand plan)
    {
        if (WarpgroupAttention.Computes(kernel.Target, op.HeadDimension))
        {
            WarpgroupAttention.QueuePrefill(kernel, op, operands, plan, PagedClearBlocks,
                KernelSource.Resource("warpgroup_attention_paged.cu"), BadPage);
            return;
        }

        int dimension = op.HeadDimension, rowTiles = RowTiles(kernel, dimension),
            blocks = operands.Tiles.PrefillTiles * (PagedAttentionTiles.PrefillPairs / (16 * Warps * rowTiles));
        SpanSlots slots = EarlierSpans(kernel, operands.LengthLimit, op.KeyValueHeadCount * blocks, dimension,
            rowTiles);
        kernel.Launch("attention_paged.cu", "paged_prefill",
            new Dim3(op.KeyValueHeadCount, blocks + PagedClearBlocks), Threads, WalkBytes(dimension, rowTiles))
            .Define("HEAD_DIMENSION", dimension).Define("ROW_TILES", rowTiles)
            .Input(0).Input(1).Input(2).Input(3).Input(4).Input(5).Pointer(plan).Output(0)
            .ScratchOrNull(slots.Sums).ScratchOrNull(slots.State).Int32(slots.Count)
            .Int32(operands.Sequences).Int32(operands.Rows).Int32(blocks)
            .Int32(operands.Group).Int32(operands.TableWidth).Int32(kernel.Inputs[1].Shape[0])
            .Float32(ScaleOfPowers(dimension)).Status(BadPage).Programmatic();
    }

    private static KernelLaunch Decode(PagedAttention op, CudaKernelBuilder kernel, PagedOperands operands,
        CudaOperand plan)
    {
        PagedAttentionTiles tiles = operands.Tiles;
        int dimension = op.HeadDimension, rows = operands.Rows;
        long parts = tiles.Spans == 1 ? 0 : (long)tiles.Spans * tiles.PartRows * op.HeadCount;
        CudaScratch sums = kernel.Scratch(parts * Padded(dimension) * sizeof(float)),
            statistics = kernel.Scratch(parts * 2 * sizeof(float));
        CudaOperand visible = plan.At((long)tiles.FirstVisibleWord * sizeof(int));
        int stages = DecodeStages(kernel.Target, dimension), clears = tiles.PrefillTiles > 0 ? 0 : PagedClearBlocks;
        if (WarpgroupAttention.Computes(kernel.Target, dimension))
            return WarpgroupAttention.QueueDecode(kernel, op, operands, plan.At(tiles.FirstDecodeWord * sizeof(int)),
                visible, sums, statistics, clears, KernelSource.Resource("warpgroup_attention_paged.cu"), BadPage);
        return kernel.Launch("attention_paged.cu", "paged_decode",
            new Dim3(op.KeyValueHeadCount, tiles.DecodeTiles + clears, tiles.Spans), Threads,
            DecodeBytes(dimension, stages))
            .Define("HEAD_DIMENSION", dimension).Define("STAGES", stages)
            .Input(0).Input(1).Input(2).Input(3).Input(4).Input(5)
            .Pointer(plan.At(tiles.FirstDecodeWord * sizeof(int))).Pointer(visible).Output(0).ScratchOrNull(sums)
            .ScratchOrNull(statistics).Int32(operands.Sequences).Int32(rows).Int32(tiles.DecodeTiles)
            .Int32(tiles.PartRows).Int32(operands.Group).Int32(operands.TableWidth).Int32(kernel.Inputs[1].Shape[0])
            .Float32(ScaleOfPowers(dimension)).Status(BadPage).Programmatic();
    }

    /// <summary>Queues what cuts sequences into tiles of rows, and zeroes the outputs' rows of no sequence.</summary>
    private static Tiles Plan(CudaKernelBuilder kernel, int starts, int tileRows, int outputs)
    {
        int rows = kernel.Inputs[0].Shape[0], sequences = kernel.Inputs[starts].Shape.Columns - 1;
        // Each sequence that has rows may end with an incomplete tile.
        long count = (long)rows / tileRows + Math.Min(sequences, rows);
        if (count > ushort.MaxValue)
            throw TooManyTiles(kernel, rows, sequences, count);
        var tiles = new Tiles(kernel, (int)count);
        KernelLaunch launch = kernel.Launch("attention_plan.cu", "attention_plan", rows == 0 ? 0 : 1 + ClearBlocks,
            PlanThreads, PlanThreads * sizeof(int))
            .Input(starts).Null().Int32(sequences).Int32(rows).Int32(1).Int32(0).Int32(tileRows).Int32(0)
            .Scratch(tiles.Scratch).Int32(tiles.Count);
        for (int output = 0; output < 3; output++)
        {
            if (output < outputs)
                launch.Output(output).Int64(rows == 0 ? 0 : kernel.Outputs[output].Bytes / rows / sizeof(ushort));
            else
                launch.Null().Int64(0);
        }

        Limits(launch, lengthLimit: 0);
        return tiles;
    }

    private static void Limits(KernelLaunch launch, int lengthLimit) =>
        launch.Status(BadStarts).Status(ShortLength).Status(
            $"lengths[{{index}}] is {{value}}, but the pages of a sequence hold only {lengthLimit} tokens");

    /// <summary>A pointer to temporary memory, of which a kernel that does not use it may have none.</summary>
    internal static KernelLaunch ScratchOrNull(this KernelLaunch launch, CudaScratch scratch) =>
        scratch.Bytes == 0 ? launch.Null() : launch.Scratch(scratch);

    private static NotSupportedException TooManyTiles(CudaKernelBuilder kernel, int rows, int sequences, long count) =>
        kernel.Unsupported(
            $"{rows} rows in {sequences} sequences make {count} tiles, and one launch takes {ushort.MaxValue}; " +
            $"give it fewer rows at a time");

    /// <summary>Where the blocks of a walk keep the sums of earlier spans; empty if no sequence can have several.</summary>
    private static SpanSlots EarlierSpans(CudaKernelBuilder kernel, long longest, int blocks, int dimension,
        int rowTiles)
    {
        if (longest <= Span || blocks == 0)
            return new SpanSlots(kernel.Scratch(0), kernel.Scratch(0), 0);
        // No more blocks are resident than have shared memory, of which a block's kilobyte for the driver is a part; nor
        // than have registers, of which a thread of a walk takes a hundred. If there were more, they would wait.
        const int Reserved = 1024, RegisterBlocks = 5;
        int bytes = WalkBytes(dimension, rowTiles) + Reserved,
            resident = Math.Min(RegisterBlocks, (kernel.Target.SharedBytesPerBlock + Reserved) / bytes),
            count = Math.Min(blocks, kernel.Target.MultiprocessorCount * resident);
        long each = rowTiles * (2L * Padded(dimension) / 16 + 1) * Threads * 4 * sizeof(float);
        var slots = new SpanSlots(kernel.Scratch(each * count), kernel.Scratch((2L + blocks) * sizeof(int)), count);
        kernel.Clear(slots.State);
        return slots;
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
        return RowBytes(dimension) * (16 * Warps * rowTiles + 4 * Block) + parked + SlotBytes;
    }

    private static int DecodeBytes(int dimension, int stages) =>
        Math.Max(RowBytes(dimension) * (DecodePairs + 2 * stages * Block) + DecodePairs * (Block + 8) * sizeof(float),
            RowBytes(dimension) * (SharedPairs + 4 * Block));

    /// <summary>The factor on scores.</summary>
    internal static float Scale(int dimension) => (float)(1 / Math.Sqrt(dimension));

    /// <summary>The factor on scores that are exponents of 2.</summary>
    internal static float ScaleOfPowers(int dimension) => (float)(1 / (Math.Sqrt(dimension) * Math.Log(2)));

    /// <summary>What paged attention and its plan know of a step.</summary>
    internal readonly record struct PagedOperands(int Rows, int Group, int KeyValueHeads, int Sequences, int TableWidth)
    {
        public PagedOperands(int rows, int group, int keyValueHeads, Shape table)
            : this(rows, group, keyValueHeads, table[0], table[1])
        {
        }

        public PagedAttentionTiles Tiles { get; } = new(Rows, Group, KeyValueHeads, Sequences, TableWidth);

        /// <summary>The most tokens of a sequence.</summary>
        public int LengthLimit => (int)Math.Min((long)TableWidth * PagedAttention.PageSize, int.MaxValue);
    }

    /// <summary>Room for the span sums of the blocks that can be resident, and who has which.</summary>
    private readonly record struct SpanSlots(CudaScratch Sums, CudaScratch State, int Count);

    private readonly record struct Tiles(CudaKernelBuilder Kernel, int Count)
    {
        public CudaScratch Scratch { get; } = Kernel.Scratch((long)Count * TileBytes);
    }
}
