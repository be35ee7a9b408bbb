using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>
/// Attention by warpgroup instructions: <c>kernels/warpgroup_attention.cu</c>, <c>warpgroup_attention_backward.cu</c> and
/// <c>warpgroup_attention_paged.cu</c>.
/// </summary>
internal static class WarpgroupAttention
{
    /// <summary>The rows of a tile of training and of prefill.</summary>
    public const int TileRows = Consumers * GroupRows;

    private const int Consumers = 2, GroupRows = 64, GroupThreads = 128, DecodeBlocks = 2, Block = 2 * PagedAttention.PageSize;

    // Bytes of each block's shared memory; a multiprocessor has that much more than one block may ask for.
    private const int Reserved = 1024;

    /// <summary>
    /// Whether warpgroups multiply, in training, prefill and decoding alike: <c>wgmma</c> may round otherwise than
    /// <c>mma.sync</c>, and a token gets the same bits in all three. So this depends on the card and on the heads, never
    /// on how many rows there are.
    /// </summary>
    public static bool Computes(CudaTarget target, int dimension) =>
        target is { HasHopperInstructions: true, UsesWarpgroups: true } && dimension is 64 or 128;

    /// <summary>Queues attention within the sequences of a packed batch.</summary>
    /// <param name="kernel">Where to; the op's operands are those of <see cref="Attention"/>.</param>
    /// <param name="op">What.</param>
    /// <param name="tiles">How many tiles of <see cref="TileRows"/> rows.</param>
    /// <param name="plan">The tiles.</param>
    /// <param name="source">The kernel's source.</param>
    public static void QueueForward(CudaKernelBuilder kernel, Attention op, int tiles, CudaScratch plan, KernelSource source)
    {
        int stages = Stages(kernel.Target, op.HeadDimension, Consumers, blocks: 1);
        var map = new KernelTensorMap(op.KeyValueHeadCount * op.HeadDimension, kernel.Inputs[0].Shape[0], 1, Block);
        kernel.Launch(source, "warpgroup_attention", new Dim3(op.HeadCount, tiles), (Consumers + 1) * GroupThreads,
            SharedBytes(op.HeadDimension, stages, Consumers))
            .Define("HEAD_DIMENSION", op.HeadDimension).Define("CAUSAL", op.Causal).Define("STAGES", stages)
            .TensorMap(kernel.Input(1), map).TensorMap(kernel.Input(2), map).Input(0).Scratch(plan).Output(0).Output(1)
            .Int32(op.HeadCount / op.KeyValueHeadCount).Float32(AttentionBindings.ScaleOfPowers(op.HeadDimension))
            .Float32(AttentionBindings.Scale(op.HeadDimension));
    }

    /// <summary>Queues attention of a step's prompts over a cache of pages.</summary>
    /// <param name="kernel">Where to; the op's operands are those of <see cref="PagedAttention"/>.</param>
    /// <param name="op">What.</param>
    /// <param name="operands">The step.</param>
    /// <param name="plan">The tiles.</param>
    /// <param name="clears">Blocks that zero the rows of no sequence.</param>
    /// <param name="source">The kernel's source.</param>
    /// <param name="badPage">What a page outside of the cache is reported with.</param>
    public static void QueuePrefill(CudaKernelBuilder kernel, PagedAttention op, AttentionBindings.PagedOperands operands,
        CudaOperand plan, int clears, KernelSource source, string badPage)
    {
        int stages = Stages(kernel.Target, op.HeadDimension, Consumers, blocks: 1), blocks = operands.Tiles.PrefillTiles;
        KernelLaunch launch = kernel.Launch(source, "warpgroup_paged_prefill",
            new Dim3(op.KeyValueHeadCount, blocks + clears), (Consumers + 1) * GroupThreads,
            SharedBytes(op.HeadDimension, stages, Consumers))
            .Define("HEAD_DIMENSION", op.HeadDimension).Define("STAGES", stages).Define("PREFILL", true);
        Caches(launch, kernel, op).Input(0).Input(3).Input(4).Input(5).Pointer(plan).Output(0);
        Numbers(launch, kernel, op, operands, blocks, badPage).Programmatic();
    }

    /// <summary>Queues attention of a step's completions over a cache of pages, span by span.</summary>
    /// <param name="kernel">Where to; the op's operands are those of <see cref="PagedAttention"/>.</param>
    /// <param name="op">What.</param>
    /// <param name="operands">The step.</param>
    /// <param name="plan">The tiles, from the first one of decoding on.</param>
    /// <param name="visible">How many keys each row sees.</param>
    /// <param name="sums">The sums of rows that see several spans.</param>
    /// <param name="statistics">Their maximum and sum of weights.</param>
    /// <param name="clears">Blocks that zero the rows of no sequence.</param>
    /// <param name="source">The kernel's source.</param>
    /// <param name="badPage">What a page outside of the cache is reported with.</param>
    /// <returns>The launch, which may be given what decoding from the projection takes more.</returns>
    public static KernelLaunch QueueDecode(CudaKernelBuilder kernel, PagedAttention op, AttentionBindings.PagedOperands operands,
        CudaOperand plan, CudaOperand visible, CudaScratch sums, CudaScratch statistics, int clears, KernelSource source,
        string badPage)
    {
        int stages = Stages(kernel.Target, op.HeadDimension, keptGroups: 0, DecodeBlocks), blocks = operands.Tiles.DecodeTiles;
        KernelLaunch launch = kernel.Launch(source, "warpgroup_paged_decode",
            new Dim3(op.KeyValueHeadCount, blocks + clears, operands.Tiles.Spans), 2 * GroupThreads,
            SharedBytes(op.HeadDimension, stages, keptGroups: 0))
            .Define("HEAD_DIMENSION", op.HeadDimension).Define("STAGES", stages).Define("PREFILL", false);
        Caches(launch, kernel, op).Input(0).Input(3).Input(4).Input(5).Pointer(plan).Pointer(visible).Output(0)
            .ScratchOrNull(sums).ScratchOrNull(statistics).Int32(operands.Tiles.PartRows);
        return Numbers(launch, kernel, op, operands, blocks, badPage).Programmatic();
    }

    /// <summary>Queues the gradient of attention within the sequences of a packed batch.</summary>
    /// <param name="kernel">Where to; the op's operands are those of <see cref="AttentionBackward"/>.</param>
    /// <param name="op">What.</param>
    /// <param name="tiles">How many tiles of <see cref="TileRows"/> rows.</param>
    /// <param name="plan">The tiles.</param>
    /// <param name="source">The kernels' source.</param>
    public static void QueueBackward(CudaKernelBuilder kernel, AttentionBackward op, int tiles, CudaScratch plan,
        KernelSource source)
    {
        int dimension = op.HeadDimension, rows = kernel.Inputs[0].Shape[0];
        // Every sequence's rows are filled up to whole blocks.
        int blocks = (rows / Block) + kernel.Inputs[6].Shape.Columns - 1;
        CudaScratch statistics = kernel.Scratch((long)op.HeadCount * blocks * 2 * Block * sizeof(float)),
            sums = kernel.Scratch((long)op.HeadCount * blocks * Block * dimension * sizeof(float)),
            progress = kernel.Scratch((1L + ((long)op.KeyValueHeadCount * tiles)) * sizeof(int));
        int stages = BackwardBytes(dimension, 3) <= kernel.Target.SharedBytesPerBlock ? 3 : 2;
        var queries = new KernelTensorMap(op.HeadCount * dimension, rows, 1, Block);
        var keys = new KernelTensorMap(op.KeyValueHeadCount * dimension, rows, 1, Block);
        float scale = AttentionBindings.Scale(dimension);

        KernelLaunch Launch(string entryPoint, Dim3 grid, int threads, int sharedBytes) =>
            kernel.Launch(source, entryPoint, grid, threads, sharedBytes)
                .Define("HEAD_DIMENSION", dimension).Define("CAUSAL", op.Causal).Define("STAGES", stages);

        Launch("warpgroup_backward_statistics", new Dim3(op.HeadCount, tiles), 256, 0)
            .Input(3).Input(5).Input(4).Scratch(plan).Scratch(statistics).Int32(blocks);
        kernel.Clear(progress);
        Launch("warpgroup_attention_backward", op.KeyValueHeadCount * tiles, (Consumers + 1) * GroupThreads,
            BackwardBytes(dimension, stages))
            .TensorMap(kernel.Input(0), queries).TensorMap(kernel.Input(5), queries)
            .TensorMap(kernel.Input(1), keys).TensorMap(kernel.Input(2), keys)
            .Scratch(statistics).Scratch(plan).Scratch(progress).Scratch(sums).Output(1).Output(2)
            .Int32(blocks).Int32(op.KeyValueHeadCount).Int32(op.HeadCount / op.KeyValueHeadCount)
            .Float32(AttentionBindings.ScaleOfPowers(dimension)).Float32(scale);
        Launch("warpgroup_backward_queries", new Dim3(op.HeadCount, tiles), Consumers * GroupThreads, 0)
            .Scratch(sums).Scratch(plan).Output(0).Int32(blocks).Float32(scale);
    }

    private static KernelLaunch Caches(KernelLaunch launch, CudaKernelBuilder kernel, PagedAttention op)
    {
        var map = new KernelTensorMap(op.HeadDimension, PagedAttention.PageSize,
            kernel.Inputs[1].Shape[0] * op.KeyValueHeadCount, PagedAttention.PageSize);
        return launch.TensorMap(kernel.Input(1), map).TensorMap(kernel.Input(2), map);
    }

    private static KernelLaunch Numbers(KernelLaunch launch, CudaKernelBuilder kernel, PagedAttention op,
        AttentionBindings.PagedOperands operands, int tileBlocks, string badPage) =>
        launch.Int32(operands.Sequences).Int32(operands.Rows).Int32(tileBlocks).Int32(operands.Group)
            .Int32(operands.TableWidth).Int32(kernel.Inputs[1].Shape[0])
            .Float32(AttentionBindings.ScaleOfPowers(op.HeadDimension)).Status(badPage);

    /// <summary>As many blocks of keys and values in flight as there is room for, at most four.</summary>
    private static int Stages(CudaTarget target, int dimension, int keptGroups, int blocks)
    {
        int stages = 4;
        while (stages > 2
            && blocks * (SharedBytes(dimension, stages, keptGroups) + Reserved) > target.SharedBytesPerBlock + Reserved)
            stages--;
        return stages;
    }

    /// <summary>The shared memory of a block: tiles, sums of earlier spans, barriers.</summary>
    private static int SharedBytes(int dimension, int stages, int keptGroups) =>
        stages * (2 * Block * dimension * sizeof(ushort) + 4 * sizeof(long)) + sizeof(long)
        + keptGroups * GroupThreads * (dimension / 8 + 1) * 4 * sizeof(float);

    /// <summary>
    /// The shared memory of a block of the gradient: queries and output gradients with statistics and barriers; keys and
    /// values; score gradients of two steps; the sums of dq; barriers, and which block it is.
    /// </summary>
    private static int BackwardBytes(int dimension, int stages) =>
        (stages * ((2 * Block * dimension * sizeof(ushort)) + (2 * Block * sizeof(float)) + (4 * sizeof(long))))
        + (2 * TileRows * dimension * sizeof(ushort)) + (2 * TileRows * Block * sizeof(ushort))
        + (Block * dimension * sizeof(float)) + (7 * sizeof(long));
}
