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

    // One block plans, the others zero rows of no sequence.
    private const int PlanBlocks = 9;
    private const int PlanThreads = 256;
    private const int TileBytes = 16;

    private const string BadStarts = "starts[{index}] is {value}, but starts must ascend from 0 or more and end within the rows";

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<Attention>(Forward);
        bindings.Add<AttentionBackward>(Backward);
        bindings.Add<PagedAttention>(Paged);
    }

    private static void Forward(Attention op, CudaKernelBuilder kernel)
    {
        CheckTypes(kernel, op.HeadDimension, [0, 1, 2], kernel.Outputs[0]);
        int rowTiles = RowTiles(kernel, op.HeadDimension), tileRows = 16 * Warps * rowTiles;
        Tiles tiles = Plan(kernel, starts: 3, lengths: null, group: 1, tileRows, lengthLimit: 0, outputs: 2);
        kernel.Launch("attention_forward.cu", "attention_forward", new Dim3(op.HeadCount, tiles.Count), Threads, WalkBytes(op.HeadDimension, rowTiles))
            .Define("HEAD_DIMENSION", op.HeadDimension).Define("CAUSAL", op.Causal).Define("ROW_TILES", rowTiles)
            .Input(0).Input(1).Input(2).Scratch(tiles.Scratch).Output(0).Output(1)
            .Int32(op.HeadCount / op.KeyValueHeadCount).Float32(ScaleOfPowers(op.HeadDimension)).Float32(Scale(op.HeadDimension));
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
                .Define("HEAD_DIMENSION", dimension).Define("CAUSAL", op.Causal).Define("QUERY_ROWS", queryRows).Define("STAGES", stages);

        Launch("attention_backward_statistics", CudaKernelBuilder.Blocks((long)rows * op.HeadCount, 8), 256, 0)
            .Input(3).Input(5).Input(4).Scratch(statistics).Int32(rows).Int32(op.HeadCount);
        Launch("attention_backward_keys", new Dim3(op.KeyValueHeadCount, tiles.Count), Threads, RowBytes(dimension) * (2 * BackwardRows + 4 * queryRows) + 16 * queryRows)
            .Input(0).Input(1).Input(2).Input(5).Scratch(statistics).Scratch(tiles.Scratch).Output(1).Output(2)
            .Int32(rows).Int32(group).Float32(ScaleOfPowers(dimension)).Float32(Scale(dimension));
        Launch("attention_backward_queries", new Dim3(op.HeadCount, tiles.Count), Threads, RowBytes(dimension) * (2 * BackwardRows + 2 * stages * Block))
            .Input(0).Input(1).Input(2).Input(5).Scratch(statistics).Scratch(tiles.Scratch).Output(0)
            .Int32(rows).Int32(group).Float32(ScaleOfPowers(dimension)).Float32(Scale(dimension));
    }

    private static void Paged(PagedAttention op, CudaKernelBuilder kernel)
    {
        int dimension = op.HeadDimension, group = op.HeadCount / op.KeyValueHeadCount;
        CheckTypes(kernel, dimension, [0, 1, 2], kernel.Outputs[0]);
        int rows = kernel.Inputs[0].Shape[0], pages = kernel.Inputs[1].Shape[0], sequences = kernel.Inputs[3].Shape[0], tableWidth = kernel.Inputs[3].Shape[1];
        long limit = Math.Min((long)tableWidth * PagedAttention.PageSize, int.MaxValue);
        const string BadPage = "pageTable[{index}] is {value}, which is no page of the cache";

        // Both kernels give a row the same bits. Few rows in a sequence share the warps of a block; many fill them.
        if ((long)rows * group > 2L * DecodePairs * Math.Max(1, sequences))
        {
            int rowTiles = RowTiles(kernel, dimension);
            Tiles prefill = Plan(kernel, starts: 4, lengths: 5, group, 16 * Warps * rowTiles, (int)limit, outputs: 1);
            Common("paged_prefill", new Dim3(op.KeyValueHeadCount, prefill.Count), WalkBytes(dimension, rowTiles), prefill)
                .Define("ROW_TILES", rowTiles)
                .Int32(group).Int32(tableWidth).Int32(pages).Float32(ScaleOfPowers(dimension)).Status(BadPage);
            return;
        }

        Tiles tiles = Plan(kernel, starts: 4, lengths: 5, group, DecodePairs, (int)limit, outputs: 1);
        int stages = DecodeBytes(dimension, 4) <= kernel.Target.SharedBytesPerBlock ? 4 : 2;
        int splits = kernel.Target.Deterministic ? 1 : Splits(kernel.Target, op.KeyValueHeadCount * Math.Min(rows, Math.Max(1, sequences)), limit);
        long parts = splits == 1 ? 0 : (long)splits * tiles.Count * op.KeyValueHeadCount * DecodePairs;
        CudaScratch sums = kernel.Scratch(parts * Padded(dimension) * sizeof(float)), maximum = kernel.Scratch(parts * sizeof(float)), total = kernel.Scratch(parts * sizeof(float));
        Common("paged_decode", new Dim3(op.KeyValueHeadCount, tiles.Count, splits), DecodeBytes(dimension, stages), tiles)
            .Define("STAGES", stages)
            .Scratch(sums).Scratch(maximum).Scratch(total)
            .Int32(group).Int32(tableWidth).Int32(pages).Float32(ScaleOfPowers(dimension)).Status(BadPage);
        if (splits == 1)
            return;
        kernel.Launch("attention_paged.cu", "paged_merge", new Dim3(op.KeyValueHeadCount, tiles.Count), Threads)
            .Define("HEAD_DIMENSION", dimension).Define("STAGES", stages)
            .Input(0).Input(5).Scratch(tiles.Scratch).Output(0).Scratch(sums).Scratch(maximum).Scratch(total)
            .Int32(group).Int32(splits).Float32(ScaleOfPowers(dimension));

        KernelLaunch Common(string entryPoint, Dim3 grid, int sharedBytes, Tiles plan) =>
            kernel.Launch("attention_paged.cu", entryPoint, grid, Threads, sharedBytes)
                .Define("HEAD_DIMENSION", dimension)
                .Input(0).Input(1).Input(2).Input(3).Input(5).Scratch(plan.Scratch).Output(0);
    }

    /// <summary>Queues what cuts the sequences into tiles, and zeroes the outputs' rows of no sequence.</summary>
    private static Tiles Plan(CudaKernelBuilder kernel, int starts, int? lengths, int group, int tilePairs, int lengthLimit, int outputs)
    {
        int rows = kernel.Inputs[0].Shape[0], sequences = kernel.Inputs[starts].Shape.Columns - 1;
        // Each sequence that has rows may end with an incomplete tile.
        long count = (long)rows * group / tilePairs + Math.Min(sequences, rows);
        if (count > ushort.MaxValue)
            throw kernel.Unsupported($"{rows} rows in {sequences} sequences make {count} tiles, and one launch takes {ushort.MaxValue}; give it fewer rows at a time");
        var tiles = new Tiles(kernel.Scratch(count * TileBytes), (int)count);
        KernelLaunch launch = kernel.Launch("attention_plan.cu", "attention_plan", rows == 0 ? 0 : PlanBlocks, PlanThreads, PlanThreads * sizeof(int))
            .Input(starts);
        launch = lengths is { } index ? launch.Input(index) : launch.Null();
        launch.Int32(sequences).Int32(rows).Int32(group).Int32(tilePairs).Int32(lengthLimit).Scratch(tiles.Scratch).Int32(tiles.Count);
        for (int output = 0; output < 3; output++)
        {
            if (output < outputs)
                launch.Output(output).Int64(rows == 0 ? 0 : kernel.Outputs[output].Bytes / rows / sizeof(ushort));
            else
                launch.Null().Int64(0);
        }

        launch.Status(BadStarts)
            .Status("lengths[{index}] is {value}, but the sequence has more new rows, which its length includes")
            .Status($"lengths[{{index}}] is {{value}}, but the pages of a sequence hold only {lengthLimit} tokens");
        return tiles;
    }

    /// <summary>How many blocks share the keys of a sequence: enough to occupy the card, none with fewer than four blocks of keys of the longest context.</summary>
    private static int Splits(CudaTarget target, int blocks, long longest)
    {
        long most = Math.Max(1, longest / (4 * Block));
        return (int)Math.Clamp(2L * target.MultiprocessorCount / Math.Max(1, blocks), 1, Math.Min(most, 64));
    }

    private static void CheckTypes(CudaKernelBuilder kernel, int dimension, int[] inputs, TensorType output)
    {
        if (inputs.Any(index => kernel.Inputs[index].DataType != DataType.BFloat16) || output.DataType != DataType.BFloat16)
            throw kernel.Unsupported("attention works on bfloat16; cast its inputs");
        if (dimension > WidestHead)
            throw kernel.Unsupported($"heads may be {WidestHead} wide at most");
    }

    /// <summary>The m16n8k16 tiles of a warp: two halve the reads of keys and values, and fit into registers with narrow heads only.</summary>
    private static int RowTiles(CudaKernelBuilder kernel, int dimension) =>
        dimension <= 64 && WalkBytes(dimension, 2) <= kernel.Target.SharedBytesPerBlock ? 2 : 1;

    private static int Padded(int dimension) => (dimension + 15) / 16 * 16;

    private static int RowBytes(int dimension) => 2 * (Padded(dimension) + 8);

    private static int WalkBytes(int dimension, int rowTiles) => RowBytes(dimension) * (16 * Warps * rowTiles + 4 * Block);

    private static int DecodeBytes(int dimension, int stages) => RowBytes(dimension) * (DecodePairs + 2 * stages * Block) + DecodePairs * (Block + 8) * sizeof(float);

    private static float Scale(int dimension) => (float)(1 / Math.Sqrt(dimension));

    /// <summary>The factor on scores that are exponents of 2.</summary>
    private static float ScaleOfPowers(int dimension) => (float)(1 / (Math.Sqrt(dimension) * Math.Log(2)));

    private readonly record struct Tiles(CudaScratch Scratch, int Count);
}
