namespace Skylight.Cuda.Bindings;

/// <summary>
/// The part of a product that one block of <c>kernels/warpgroup_gemm.cu</c> makes at a time, and how. As with
/// <see cref="MatrixTile"/> the choice changes no bit, so it may look at the number of rows and at the card; whether
/// warpgroups multiply at all may not (<see cref="Multiplies"/>).
/// </summary>
/// <param name="Consumers">Warpgroups that multiply, 64 rows each.</param>
/// <param name="Columns">Columns of the result.</param>
/// <param name="Stages">How many pieces are in flight or in use.</param>
/// <param name="Blocks">Blocks on a multiprocessor.</param>
/// <param name="Cluster">
/// Blocks that make tiles one below the other and read their right factor once for all of them.
/// </param>
internal readonly record struct WarpgroupTile(int Consumers, int Columns, int Stages, int Blocks, int Cluster = 1)
{
    private const int StageInner = KernelTensorMap.BoxColumns, BarrierBytes = 16;

    /// <summary>
    /// Decoding of up to eight sequences with a small weight: many blocks, and in each of them many bytes on their way, so
    /// that the whole card streams it. Its right factor lies as weights do.
    /// </summary>
    public static WarpgroupTile Few { get; } = new(1, 16, 8, 4) { Panels = 2, LeftRows = 8 };

    /// <summary>The same for up to 64 sequences, whose activations leave room for less.</summary>
    public static WarpgroupTile Narrow { get; } = new(1, 16, 5, 2) { Panels = 2 };

    /// <summary>Decoding with a large weight, and whatever would not fill the card with higher tiles.</summary>
    public static WarpgroupTile Small { get; } = new(1, 64, 6, 2);

    /// <summary>Many rows.</summary>
    public static WarpgroupTile Large { get; } = new(2, 128, 6, 1);

    /// <summary>
    /// The most: a stage is read from memory once for 128·256 elements, and a consumer's registers hold 64·256 sums.
    /// </summary>
    public static WarpgroupTile Largest { get; } = new(2, 256, 4, 1);

    /// <summary>All tiles that <see cref="Choose"/> chooses from.</summary>
    public static IReadOnlyList<WarpgroupTile> All { get; } = [Few, Narrow, Small, Large, Largest];

    /// <summary>How many times 64 inner indices a piece has.</summary>
    public int Panels { get; init; } = 1;

    /// <summary>Rows of the left factor that a piece has room for: those of the result, or eight.</summary>
    public int LeftRows { get; init; } = 64 * Consumers;

    /// <summary>Rows of the result.</summary>
    public int Rows => 64 * Consumers;

    /// <summary>The threads of a block: the consumers', and a warpgroup, or for one consumer a warp, that copies.</summary>
    public int Threads => 128 * Consumers + (Consumers > 1 ? 128 : 32);

    /// <summary>The shared memory of a block.</summary>
    public int SharedBytes => Stages * ((LeftRows + Columns) * Panels * StageInner * sizeof(ushort) + BarrierBytes);

    /// <summary>
    /// Whether warpgroups make a product. <c>wgmma</c> may round otherwise than <c>mma.sync</c>, so this depends on the
    /// card and on the weight, never on how many rows it is multiplied with: a token gets the same bits in prefill,
    /// decoding and training.
    /// </summary>
    public static bool Multiplies(CudaTarget target, MatrixProduct product) =>
        target.HasHopperInstructions && target.UsesWarpgroups && product.Inner > 0
        && KernelTensorMap.Reads(product.LeftStride) && KernelTensorMap.Reads(product.RightStride);

    /// <summary>The tile for a product.</summary>
    public static WarpgroupTile Choose(MatrixProduct product, CudaTarget target)
    {
        int multiprocessors = target.MultiprocessorCount;
        long small = Small.Tiles(product), large = Large.Tiles(product);
        if (product.Rows <= Small.Rows)
        {
            if (small >= 2 * multiprocessors || !product.TransposeRight)
                return Small;
            return Few.Makes(product) ? Few : Narrow;
        }

        if (large < multiprocessors)
            return Small;
        return ChooseLarge(product, multiprocessors).Clustered(target, product.Rows, product.Columns, product.Batch);
    }

    /// <summary>The tile for a product whose left factor a whole warpgroup brings, as those of many rows have.</summary>
    public static WarpgroupTile ChooseLarge(MatrixProduct product, int multiprocessors)
    {
        // A round of the largest tiles takes as long as two of large ones.
        return 2 * Rounds(Largest.Tiles(product), multiprocessors) <= Rounds(Large.Tiles(product), multiprocessors)
            ? Largest : Large;
    }

    /// <summary>Whether its pieces have room for the product's left factor.</summary>
    public bool Makes(MatrixProduct product) => LeftRows == Rows || (product.Rows <= LeftRows && !product.TransposeLeft);

    /// <summary>
    /// A tile of two consumers in clusters of two blocks, where that pays: where a result has several rows of tiles, fills the
    /// card with clusters, and takes no more rounds than without, for the last row of tiles may want a second one beside it,
    /// which is computed and not stored.
    /// </summary>
    public WarpgroupTile Clustered(CudaTarget target, int rows, int columns, int batch = 1)
    {
        WarpgroupTile pairs = this with { Cluster = 2 };
        int multiprocessors = target.MultiprocessorCount, even = multiprocessors / 2 * 2;
        long tiles = batch * pairs.Tiles(rows, columns);
        return target.UsesClusters && Consumers > 1 && rows > Rows && even > 0 && tiles >= even
            && Rounds(tiles, even) <= Rounds(batch * Tiles(rows, columns), multiprocessors) ? pairs : this;
    }

    /// <summary>How many tiles a product has, those included that fill a cluster.</summary>
    public long Tiles(MatrixProduct product) => product.Batch * Tiles(product.Rows, product.Columns);

    /// <summary>How many tiles a result has, those included that fill a cluster.</summary>
    public long Tiles(int rows, int columns) => (long)RowsOfTiles(rows) * CudaKernelBuilder.Blocks(columns, Columns);

    /// <summary>How many tiles are one below the other, those included that fill a cluster.</summary>
    public int RowsOfTiles(int rows) => CudaKernelBuilder.Blocks(rows, Rows * Cluster) * Cluster;

    /// <summary>
    /// Queues a launch that makes some tiles. Its first arguments are both factors' maps and the bytes of a stage.
    /// </summary>
    /// <param name="kernel">Where to.</param>
    /// <param name="source">The kernel's source.</param>
    /// <param name="entryPoint">The kernel.</param>
    /// <param name="tiles">
    /// How many tiles there are at most, those included that fill a cluster; none: nothing will run.
    /// </param>
    /// <param name="left">The left factor; null: the kernel's own threads bring it, and it has no map.</param>
    /// <param name="right">The right factor.</param>
    public KernelLaunch Launch(CudaKernelBuilder kernel, KernelSource source, string entryPoint, long tiles,
        WarpgroupFactor? left, WarpgroupFactor right)
    {
        // Whole clusters, and one at least.
        long resident = Math.Max((long)Blocks * kernel.Target.MultiprocessorCount / Cluster, 1) * Cluster;
        int grid = (int)Math.Min(tiles, resident);
        right = right with { Parts = right.Parts * Cluster };
        KernelTensorMap rightMap = right.Map(Columns);
        int bytes = Panels * right.Boxes(Columns) * rightMap.BoxBytes;
        KernelLaunch launch = Define(kernel.Launch(source, entryPoint, grid, Threads, SharedBytes));
        if (Cluster > 1)
            launch.Define("CLUSTER", Cluster).Cluster(Cluster);
        if (Panels > 1)
            launch.Define("PANELS", Panels);
        if (LeftRows < Rows)
            launch.Define("LEFT_ROWS", LeftRows);
        if (left is { } factor)
        {
            KernelTensorMap leftMap = factor.Map(LeftRows);
            launch.TensorMap(factor.Operand, leftMap);
            bytes += Panels * factor.Boxes(LeftRows) * leftMap.BoxBytes;
        }

        return launch.TensorMap(right.Operand, rightMap).Int32(bytes);
    }

    /// <summary>Defines the tile's constants.</summary>
    public KernelLaunch Define(KernelLaunch launch) => launch
        .Define("CONSUMERS", Consumers).Define("TILE_COLUMNS", Columns).Define("STAGES", Stages).Define("BLOCKS", Blocks);

    private static long Rounds(long tiles, int multiprocessors) => (tiles + multiprocessors - 1) / multiprocessors;
}

/// <summary>A factor of a product of warpgroups, as it lies in memory: bfloat16, rows without gaps.</summary>
/// <param name="Operand">The first matrix; its address is a multiple of 16.</param>
/// <param name="Columns">Columns of a stored matrix, a multiple of 8.</param>
/// <param name="Rows">Rows of a stored matrix.</param>
/// <param name="IsInnerContiguous">Whether a row has the inner indices; otherwise the inner index counts rows.</param>
/// <param name="Matrices">The number of matrices.</param>
internal readonly record struct WarpgroupFactor(CudaOperand Operand, int Columns, int Rows, bool IsInnerContiguous,
    int Matrices = 1)
{
    private const int BoxColumns = KernelTensorMap.BoxColumns;

    /// <summary>
    /// The pieces that a tile has of the factor, in rows of their own; more than one only where the inner index is contiguous.
    /// </summary>
    public int Parts { get; init; } = 1;

    /// <summary>
    /// The boxes in which it is read. Of a factor whose inner index is contiguous one has all rows of the tile, but for whole
    /// groups of eight that are not there.
    /// </summary>
    /// <param name="extent">The rows of the left factor, or columns of the right one, that a tile has.</param>
    public KernelTensorMap Map(int extent) => new(Columns, Rows, Matrices,
        IsInnerContiguous ? Math.Min(extent / Parts, CudaKernelBuilder.Blocks(Rows, 8) * 8) : BoxColumns);

    /// <summary>The boxes of a stage.</summary>
    /// <param name="extent">The rows of the left factor, or columns of the right one, that a tile has.</param>
    public int Boxes(int extent) => IsInnerContiguous ? Parts : extent / BoxColumns;
}
