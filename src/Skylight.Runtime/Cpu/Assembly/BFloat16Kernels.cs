namespace Skylight.Cpu.Assembly;

/// <summary>The assembled kernels of bfloat16 products, each made when it is first asked for.</summary>
internal static unsafe class BFloat16Kernels
{
    private static readonly nint[] Packed = new nint[BFloat16Tile.MaxRows + 1], Panels = new nint[BFloat16Tile.MaxRows + 1],
        Ahead = new nint[BFloat16Tile.MaxRows + 1];
    private static readonly nint[] Packings = new nint[6];
    private static readonly Lock Making = new();

    /// <summary>Whether they run here.</summary>
    public static bool AreAvailable { get; } = ProcessorFeatures.WhyNoAssembly is null && ProcessorFeatures.HasBFloat16;

    /// <summary>Whether <c>vdpbf16ps</c> is faster here than multiply-adds: on AMD's processors, not on Intel's.</summary>
    public static bool HasFastDots { get; } = !ProcessorFeatures.IsIntel;

    /// <inheritdoc cref="BFloat16Tile.Packed"/>
    public static delegate* unmanaged<void*, void*, float*, nint, nint, void> Tile(int rows) =>
        (delegate* unmanaged<void*, void*, float*, nint, nint, void>)Get(Packed, rows,
            () => BFloat16Tile.Packed(rows, HasFastDots));

    /// <inheritdoc cref="BFloat16Tile.PackedAhead"/>
    public static delegate* unmanaged<void*, void*, float*, nint, nint, void*, void> TileAhead(int rows) =>
        (delegate* unmanaged<void*, void*, float*, nint, nint, void*, void>)Get(Ahead, rows,
            () => BFloat16Tile.PackedAhead(rows, HasFastDots));

    /// <inheritdoc cref="BFloat16Tile.Panel"/>
    public static delegate* unmanaged<void*, void*, float*, nint, nint, void> PanelTile(int rows) =>
        (delegate* unmanaged<void*, void*, float*, nint, nint, void>)Get(Panels, rows,
            () => BFloat16Tile.Panel(rows, HasFastDots));

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
