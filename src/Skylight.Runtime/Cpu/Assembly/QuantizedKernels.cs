using System.Collections.Concurrent;

namespace Skylight.Cpu.Assembly;

/// <summary>The assembled kernels of products with quantised weights, each made when it is first asked for.</summary>
internal static unsafe class QuantizedKernels
{
    private static readonly ConcurrentDictionary<(QuantizedLayout Layout, int Rows), nint> Tiles = new();

    /// <summary>Whether they run here.</summary>
    public static bool AreAvailable { get; } = ProcessorFeatures.WhyNoAssembly is null && ProcessorFeatures.HasVnni;

    /// <inheritdoc cref="QuantizedTile.Make"/>
    public static delegate* unmanaged<void*, void*, void*, float*, nint, nint, void> Tile(QuantizedLayout layout, int rows) =>
        (delegate* unmanaged<void*, void*, void*, float*, nint, nint, void>)Tiles.GetOrAdd((layout, rows),
            static key => QuantizedTile.Make(key.Layout, key.Rows));
}
