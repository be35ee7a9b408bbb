namespace Skylight.Cpu.Assembly;

/// <summary>The assembled kernels of bfloat16 products, each made when it is first asked for.</summary>
internal static unsafe class BFloat16Kernels
{
    // By instruction.
    private static readonly nint[][] Panels = New(), Packed = New(), Ahead = New(), Scaled = New(),
        Parts = New();
    private static readonly nint[] Packings = new nint[6], Blocks = new nint[2 * (BFloat16Matrices.MaxRows + 1)],
        Configured = new nint[4 * (BFloat16Matrices.MaxRows + 1)], Configurations = new nint[BFloat16Matrices.MaxRows + 1],
        KeptConfigurations = new nint[2];
    private static readonly Lock Making = new();

    /// <summary>Whether they run here.</summary>
    public static bool AreAvailable { get; } = ProcessorFeatures.WhyNoAssembly is null && ProcessorFeatures.HasBFloat16;

    /// <summary>Whether <c>vdpbf16ps</c> is faster here than multiply-adds: on AMD's processors, not on Intel's.</summary>
    public static bool HasFastDots { get; } = !ProcessorFeatures.IsIntel;

    /// <summary>Whether an instruction is here.</summary>
    public static bool Has(BFloat16Instruction instruction) => AreAvailable
        && (instruction == BFloat16Instruction.DotProducts || ProcessorFeatures.HasMatrices);

    /// <summary>
    /// The one that all products of this process are computed with: a weight has one order of sums, whatever it is used for.
    /// </summary>
    public static BFloat16Instruction Fastest { get; } = Has(BFloat16Instruction.Matrices)
        ? BFloat16Instruction.Matrices : BFloat16Instruction.DotProducts;

    /// <summary>The most rows of a tile.</summary>
    public static int MaxRows(BFloat16Instruction instruction) =>
        instruction == BFloat16Instruction.Matrices ? BFloat16Matrices.MaxRows : BFloat16Tile.MaxRows;

    /// <inheritdoc cref="BFloat16Tile.Packed"/>
    public static delegate* unmanaged<void*, void*, float*, nint, nint, void> Tile(BFloat16Instruction instruction, int rows) =>
        (delegate* unmanaged<void*, void*, float*, nint, nint, void>)Get(Packed[(int)instruction], rows,
            () => instruction == BFloat16Instruction.Matrices
                ? BFloat16Matrices.Packed(rows) : BFloat16Tile.Packed(rows, HasFastDots));

    /// <inheritdoc cref="BFloat16Matrices.Configured"/>
    public static delegate* unmanaged<void*, void*, float*, nint, nint, void*, void> ConfiguredTile(
        int rows, bool startsFromZero, bool asksAhead) =>
        (delegate* unmanaged<void*, void*, float*, nint, nint, void*, void>)Get(Configured,
            4 * rows + (startsFromZero ? 2 : 0) + (asksAhead ? 1 : 0),
            () => BFloat16Matrices.Configured(rows, startsFromZero, asksAhead));

    /// <inheritdoc cref="BFloat16Matrices.Configure"/>
    public static delegate* unmanaged[SuppressGCTransition]<void> ConfigureTiles(int rows) =>
        (delegate* unmanaged[SuppressGCTransition]<void>)Get(Configurations, rows, () => BFloat16Matrices.Configure(rows));

    /// <inheritdoc cref="BFloat16Matrices.KeepConfiguration"/>
    public static delegate* unmanaged[SuppressGCTransition]<void*, void> KeepTileConfiguration =>
        (delegate* unmanaged[SuppressGCTransition]<void*, void>)Get(KeptConfigurations, 0,
            BFloat16Matrices.KeepConfiguration);

    /// <inheritdoc cref="BFloat16Matrices.PutBackConfiguration"/>
    public static delegate* unmanaged[SuppressGCTransition]<void*, void> PutBackTileConfiguration =>
        (delegate* unmanaged[SuppressGCTransition]<void*, void>)Get(KeptConfigurations, 1,
            BFloat16Matrices.PutBackConfiguration);

    /// <inheritdoc cref="BFloat16MatrixBlock.Make"/>
    public static delegate* unmanaged<MatrixBlock*, void> MatrixBlock(int rows, bool isMoved) =>
        (delegate* unmanaged<MatrixBlock*, void>)Get(Blocks, 2 * rows + (isMoved ? 1 : 0),
            () => BFloat16MatrixBlock.Make(rows, isMoved));

    /// <inheritdoc cref="BFloat16Tile.PackedScaled"/>
    public static delegate* unmanaged<void*, void*, float*, nint, nint, float*, void> ScaledTile(
        BFloat16Instruction instruction, int rows) =>
        (delegate* unmanaged<void*, void*, float*, nint, nint, float*, void>)Get(Scaled[(int)instruction], rows,
            () => instruction == BFloat16Instruction.Matrices
                ? BFloat16Matrices.PackedScaled(rows) : BFloat16Tile.PackedScaled(rows));

    /// <inheritdoc cref="BFloat16Tile.PackedPart"/>
    public static delegate* unmanaged<void*, void*, float*, nint, nint, float*, PanelPart*, void> PartTile(
        int rows, bool isScaled) =>
        (delegate* unmanaged<void*, void*, float*, nint, nint, float*, PanelPart*, void>)Get(
            Parts[isScaled ? 1 : 0], rows, () => BFloat16Tile.PackedPart(rows, HasFastDots, isScaled));

    /// <inheritdoc cref="BFloat16Tile.PackedAhead"/>
    public static delegate* unmanaged<void*, void*, float*, nint, nint, void*, void> TileAhead(
        BFloat16Instruction instruction, int rows) =>
        (delegate* unmanaged<void*, void*, float*, nint, nint, void*, void>)Get(Ahead[(int)instruction], rows,
            () => instruction == BFloat16Instruction.Matrices
                ? BFloat16Matrices.PackedAhead(rows) : BFloat16Tile.PackedAhead(rows, HasFastDots));

    /// <inheritdoc cref="BFloat16Matrices.Panel"/>
    /// <remarks>The last argument is of matrices only.</remarks>
    public static delegate* unmanaged<void*, void*, float*, nint, nint, float*, void> PanelTile(
        BFloat16Instruction instruction, int rows) =>
        (delegate* unmanaged<void*, void*, float*, nint, nint, float*, void>)Get(Panels[(int)instruction], rows,
            () => instruction == BFloat16Instruction.Matrices
                ? BFloat16Matrices.Panel(rows) : BFloat16Tile.Panel(rows, HasFastDots));

    /// <inheritdoc cref="BFloat16Packing.Rows"/>
    public static delegate* unmanaged<float*, void*, nint, nint, nint, nint, void> PackRows =>
        (delegate* unmanaged<float*, void*, nint, nint, nint, nint, void>)Get(Packings, 0, BFloat16Packing.Rows);

    /// <inheritdoc cref="BFloat16Packing.Columns"/>
    public static delegate* unmanaged<float*, nint, void**, nint, void> PackColumns =>
        (delegate* unmanaged<float*, nint, void**, nint, void>)Get(Packings, 1, BFloat16Packing.Columns);

    /// <inheritdoc cref="BFloat16Packing.Panel"/>
    public static delegate* unmanaged<void*, void*, nint, nint, void> PackPanel =>
        (delegate* unmanaged<void*, void*, nint, nint, void>)Get(Packings, 2, BFloat16Packing.Panel);

    /// <inheritdoc cref="BFloat16Packing.PanelAcross"/>
    public static delegate* unmanaged<void*, void*, void> PackPanelAcross =>
        (delegate* unmanaged<void*, void*, void>)Get(Packings, 3, BFloat16Packing.PanelAcross);

    /// <inheritdoc cref="BFloat16Packing.Steps"/>
    public static delegate* unmanaged<float*, void*, nint, nint, nint, nint, void> PackSteps =>
        (delegate* unmanaged<float*, void*, nint, nint, nint, nint, void>)Get(Packings, 4, BFloat16Packing.Steps);

    /// <inheritdoc cref="BFloat16Packing.ChunkAcross"/>
    public static delegate* unmanaged<void*, void*, void> PackChunkAcross =>
        (delegate* unmanaged<void*, void*, void>)Get(Packings, 5, BFloat16Packing.ChunkAcross);

    private static nint[][] New() => [new nint[BFloat16Tile.MaxRows + 1], new nint[BFloat16Matrices.MaxRows + 1]];

    private static nint Get(nint[] kernels, int index, Func<nint> make)
    {
        nint kernel = Volatile.Read(ref kernels[index]);
        if (kernel != 0)
            return kernel;
        lock (Making)
        {
            if (kernels[index] == 0)
                Volatile.Write(ref kernels[index], make());
            return kernels[index];
        }
    }
}
