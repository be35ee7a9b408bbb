using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>
/// The part of a product that one block makes, and how; the constants of <c>kernels/common/matrix_tile.cuh</c>. Which
/// tile is chosen changes no bit of a product, so the choice may look at the number of rows and at the card.
/// </summary>
/// <param name="Rows">Rows of the result per block.</param>
/// <param name="Columns">Columns of the result per block.</param>
/// <param name="Inner">Inner indices that are brought into shared memory at once.</param>
/// <param name="WarpsDown">Warps that share the rows.</param>
/// <param name="WarpsAcross">Warps that share the columns.</param>
/// <param name="Stages">How many such pieces are in flight or in use.</param>
internal readonly record struct MatrixTile(int Rows, int Columns, int Inner, int WarpsDown, int WarpsAcross, int Stages)
{
    /// <summary>Decoding with a small weight: many blocks, so that the whole card streams it.</summary>
    public static MatrixTile Narrow { get; } = new(16, 16, 128, 1, 2, 6);

    /// <summary>The same for gate and up columns, of which a warp has eight each.</summary>
    public static MatrixTile Paired { get; } = new(16, 32, 64, 1, 2, 8);

    /// <summary>Decoding with a large weight.</summary>
    public static MatrixTile Wide { get; } = new(16, 64, 64, 1, 4, 6);

    /// <summary>Decoding of a batch: up to 32 rows, and a weight large enough to keep the card busy.</summary>
    public static MatrixTile Low { get; } = new(32, 64, 64, 1, 4, 5);

    /// <summary>The same with a small weight.</summary>
    public static MatrixTile LowNarrow { get; } = new(32, 16, 128, 1, 2, 5);

    /// <summary>More than 32 rows, and a small weight.</summary>
    public static MatrixTile Small { get; } = new(64, 32, 64, 2, 2, 5);

    /// <summary>More rows, or factors that are not aligned.</summary>
    public static MatrixTile Medium { get; } = new(64, 64, 64, 2, 2, 4);

    /// <summary>Much arithmetic per byte; two blocks fit on a multiprocessor.</summary>
    public static MatrixTile Large { get; } = new(128, 128, 32, 2, 4, 4);

    /// <summary>
    /// The most: a warp's 64×64 elements read two bytes of shared memory for 64 products, where those of <see cref="Large"/>
    /// read three. One block fits on a multiprocessor.
    /// </summary>
    public static MatrixTile Largest { get; } = new(128, 256, 32, 2, 4, 4);

    /// <summary>For the connector, whose left tiles take registers on their way in.</summary>
    public static MatrixTile Tall { get; } = new(128, 64, 32, 4, 2, 4);

    /// <summary>All tiles that <see cref="Choose"/> chooses from.</summary>
    public static IReadOnlyList<MatrixTile> All { get; } = [Narrow, Paired, Wide, Low, LowNarrow, Small, Medium, Large, Largest];

    /// <summary>Those whose warps have both a gate's column and the one that it gates.</summary>
    public static IEnumerable<MatrixTile> OfGatedProducts => All.Where(tile => tile.IsGating);

    /// <summary>Those whose threads have registers left to dequantise a weight.</summary>
    public static IEnumerable<MatrixTile> OfQuantizedWeights => All.Where(tile => tile != Largest);

    /// <summary>Whether a warp has both a gate's column and the one that it gates.</summary>
    public bool IsGating => Columns / WarpsAcross >= 16;

    /// <summary>The threads of a block.</summary>
    public int Threads => 32 * WarpsDown * WarpsAcross;

    /// <summary>The shared memory of a block, for bfloat16 factors.</summary>
    public int SharedBytes => Stages * (Rows + Columns) * Inner * 2;

    /// <summary>The tile for a batch of products.</summary>
    /// <param name="rows">Of a result.</param>
    /// <param name="columns">Of a result.</param>
    /// <param name="batch">The number of products.</param>
    /// <param name="aligned">Whether factors can be copied 16 bytes at a time.</param>
    /// <param name="target">The card.</param>
    /// <param name="isQuantized">Whether the right factor is a quantised weight.</param>
    /// <param name="isGated">Whether the first half of the columns gates the second.</param>
    public static MatrixTile Choose(int rows, int columns, int batch, bool aligned, CudaTarget target,
        bool isQuantized = false, bool isGated = false)
    {
        int multiprocessors = target.MultiprocessorCount;
        if (rows <= Narrow.Rows)
            return Wide.Blocks(rows, columns, batch) >= 2 * multiprocessors ? Wide : isGated ? Paired : Narrow;
        if (rows <= Low.Rows)
            return isGated || Low.Blocks(rows, columns, batch) >= multiprocessors ? Low : LowNarrow;
        // Half of a higher tile would be rows that are not there.
        bool isHigh = rows > Medium.Rows;
        if (isHigh && aligned && !isQuantized && Largest.Blocks(rows, columns, batch) >= 2 * multiprocessors)
            return Largest;
        if (isHigh && aligned && Large.Blocks(rows, columns, batch) >= multiprocessors)
            return Large;
        return Medium.Blocks(rows, columns, batch) >= multiprocessors ? Medium : Small;
    }

    /// <summary>How many blocks make a batch of products.</summary>
    public long Blocks(int rows, int columns, int batch = 1) =>
        (long)batch * CudaKernelBuilder.Blocks(rows, Rows) * CudaKernelBuilder.Blocks(columns, Columns);

    /// <summary>Queues a launch with this tile and defines its constants.</summary>
    public KernelLaunch Launch(CudaKernelBuilder kernel, KernelSource source, string entryPoint, int rows, int columns,
        int batch = 1) =>
        Define(kernel.Launch(source, entryPoint, checked((int)Blocks(rows, columns, batch)), Threads, SharedBytes));

    /// <summary>
    /// Queues a launch with this tile whose right factor is a weight; a quantised one has constants of its own, and more or
    /// less shared memory.
    /// </summary>
    public KernelLaunch LaunchWeight(CudaKernelBuilder kernel, string resource, string entryPoint, int rows,
        TensorType weight) =>
        DefineWeight(kernel.Launch(resource, entryPoint, checked((int)Blocks(rows, weight.Shape.Rows)), Threads,
            WeightBytes(weight)), weight);

    /// <summary>Defines the tile's constants, and those of a quantised weight.</summary>
    public KernelLaunch DefineWeight(KernelLaunch launch, TensorType weight) =>
        weight.Format is null ? Define(launch) : QuantizedWeightLayout.Of(weight).Define(Define(launch));

    /// <summary>The shared memory of a block whose right factor is a weight, quantised or bfloat16.</summary>
    public int WeightBytes(TensorType weight) =>
        weight.Format is null ? SharedBytes : QuantizedWeightLayout.Of(weight).SharedBytes(this);

    /// <summary>Defines the tile's constants.</summary>
    public KernelLaunch Define(KernelLaunch launch) => launch
        .Define("TILE_ROWS", Rows).Define("TILE_COLUMNS", Columns).Define("TILE_INNER", Inner)
        .Define("WARPS_DOWN", WarpsDown).Define("WARPS_ACROSS", WarpsAcross).Define("STAGES", Stages);
}
