using System.Collections.Concurrent;

namespace Skylight.Cpu.Assembly;

/// <summary>The assembled kernels of products with quantised weights, each made when it is first asked for.</summary>
internal static unsafe class QuantizedKernels
{
    private static readonly ConcurrentDictionary<(QuantizedLayout Layout, int Rows, bool AsksAhead), nint> Tiles = new();
    private static readonly ConcurrentDictionary<(UnpackedBlocks Layout, int Rows), nint> Matrices = new();
    private static readonly ConcurrentDictionary<QuantizedLayout, nint> Unpackings = new();

    /// <summary>Whether they run here.</summary>
    public static bool AreAvailable { get; } = ProcessorFeatures.WhyNoAssembly is null && ProcessorFeatures.HasVnni;

    /// <inheritdoc cref="QuantizedTile.Make"/>
    public static delegate* unmanaged<void*, void*, void*, float*, nint, nint, PanelPart*, void> Tile(
        QuantizedLayout layout, int rows, bool asksAhead) =>
        (delegate* unmanaged<void*, void*, void*, float*, nint, nint, PanelPart*, void>)Tiles.GetOrAdd(
            (layout, rows, asksAhead), static key => QuantizedTile.Make(key.Layout, key.Rows, key.AsksAhead));

    /// <summary>Whether sums of codes may also be computed as products of matrices; the bits are the same.</summary>
    public static bool HasMatrices { get; } = AreAvailable && ProcessorFeatures.HasByteMatrices;

    /// <inheritdoc cref="QuantizedMatrices.Make"/>
    public static delegate* unmanaged<void*, void*, void*, float*, nint, nint, void> MatrixTile(
        UnpackedBlocks layout, int rows) =>
        (delegate* unmanaged<void*, void*, void*, float*, nint, nint, void>)Matrices.GetOrAdd((layout, rows),
            static key => QuantizedMatrices.Make(key.Layout, key.Rows));

    /// <inheritdoc cref="QuantizedMatrices.Unpack"/>
    public static delegate* unmanaged<void*, void*, nint, void> Unpack(QuantizedLayout layout) =>
        (delegate* unmanaged<void*, void*, nint, void>)Unpackings.GetOrAdd(layout,
            static key => QuantizedMatrices.Unpack(key));
}
