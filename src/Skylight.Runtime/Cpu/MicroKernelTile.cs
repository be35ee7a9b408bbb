namespace Skylight.Cpu;

// Tiles narrower than a panel.
internal static unsafe partial class MicroKernel
{
    private const int PartialRows = 12;

    /// <summary>
    /// A tile of any number of rows and at most 32 columns; b must be readable for 32 columns, c and the bias
    /// need only have <paramref name="columns"/>.
    /// </summary>
    public static void Tile<TElement>(in TileArguments tile, int rows, int columns)
        where TElement : struct, IPanelElement
    {
        if (columns < Width)
            NarrowTile<TElement>(tile, rows, columns);
        else
            FullTile<TElement>(tile, rows);
    }

    /// <summary>Computes 32 columns beside c and copies the ones that exist.</summary>
    private static void NarrowTile<TElement>(in TileArguments tile, int rows, int columns)
        where TElement : struct, IPanelElement
    {
        float* beside = stackalloc float[PartialRows * Width];
        float* bias = stackalloc float[Width];
        TileArguments part = tile;
        part.C = beside;
        part.CRowFloats = Width;
        if (tile.Bias != null)
        {
            Copy(tile.Bias, bias, columns);
            new Span<float>(bias + columns, Width - columns).Clear();
            part.Bias = bias;
        }
        new Span<float>(beside, PartialRows * Width).Clear();
        for (int row = 0; row < rows; row += PartialRows)
        {
            int count = Math.Min(PartialRows, rows - row);
            float* c = tile.C + row * tile.CRowFloats;
            if (tile.Accumulate)
            {
                for (int r = 0; r < count; r++)
                    Copy(c + r * tile.CRowFloats, beside + r * Width, columns);
            }
            part.A = tile.A + row * tile.ARowBytes;
            FullTile<TElement>(part, count);
            for (int r = 0; r < count; r++)
                Copy(beside + r * Width, c + r * tile.CRowFloats, columns);
        }
    }

    private static void Copy(float* source, float* target, int count) =>
        new ReadOnlySpan<float>(source, count).CopyTo(new Span<float>(target, count));
}
