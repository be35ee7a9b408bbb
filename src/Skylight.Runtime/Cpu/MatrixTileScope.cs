using Skylight.Cpu.Assembly;

namespace Skylight.Cpu;

/// <summary>
/// The processor's tiles of this thread, configured for many small products one after the other; what was there before is put
/// back at the end. Where no matrices are multiplied it does nothing.
/// </summary>
internal readonly unsafe ref struct MatrixTileScope : IDisposable
{
    /// <summary>The memory it takes: the configuration that is kept, and for how many rows there is one now.</summary>
    public const int Bytes = TileConfiguration.Bytes + sizeof(int);

    private readonly byte* _kept;

    /// <summary>Keeps what there is.</summary>
    /// <param name="instruction">What multiplies; null for managed loops.</param>
    /// <param name="memory"><see cref="Bytes"/> of the caller's.</param>
    public MatrixTileScope(BFloat16Instruction? instruction, byte* memory)
    {
        if (instruction != BFloat16Instruction.Matrices)
            return;
        _kept = memory;
        ConfiguredRows = 0;
        BFloat16Kernels.KeepTileConfiguration(_kept);
    }

    private ref int ConfiguredRows => ref *(int*)(_kept + TileConfiguration.Bytes);

    /// <summary>
    /// Configures the tiles for products of so many rows: those of a <see cref="BFloat16Kernels.ConfiguredTile"/>.
    /// </summary>
    public void Use(int rows)
    {
        if (_kept == null || rows == ConfiguredRows)
            return;
        BFloat16Kernels.ConfigureTiles(rows)();
        ConfiguredRows = rows;
    }

    public void Dispose()
    {
        if (_kept != null)
            BFloat16Kernels.PutBackTileConfiguration(_kept);
    }
}
