namespace Skylight.Images;

/// <summary>
/// How a picture is cut into tiles for the vision encoder (InternVL's dynamic resolution): the grid of tiles whose
/// aspect ratio is nearest to the picture's, and the whole picture once more as a small last tile.
/// </summary>
public sealed record ImageTiling
{
    /// <summary>Pixels of a side of a tile.</summary>
    public int TileSize { get; init; } = 448;

    /// <summary>The fewest tiles of a grid.</summary>
    public int MinimumTiles { get; init; } = 1;

    /// <summary>The most tiles of a grid; the thumbnail comes on top.</summary>
    public int MaximumTiles { get; init; } = 12;

    /// <summary>Whether a picture of several tiles is followed by a tile that shows all of it.</summary>
    public bool UseThumbnail { get; init; } = true;

    /// <summary>The grid for a picture.</summary>
    /// <param name="width">Its pixels from left to right.</param>
    /// <param name="height">Its pixels from top to bottom.</param>
    /// <exception cref="ArgumentException">A side is not positive, or the options allow no grid.</exception>
    public (int Columns, int Rows) Grid(int width, int height)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(width);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(height);
        Check();
        double aspect = (double)width / height;
        double area = (double)width * height;
        double nearest = double.PositiveInfinity;
        (int Columns, int Rows) best = (1, 1);
        for (int tiles = MinimumTiles; tiles <= MaximumTiles; tiles++)
        {
            for (int columns = 1; columns <= tiles; columns++)
            {
                if (tiles % columns != 0)
                    continue;
                int rows = tiles / columns;
                double difference = Math.Abs(aspect - ((double)columns / rows));
                // Of grids of one shape (1×1, 2×2, …) the larger is taken where the picture covers more than half of it.
                if (difference < nearest || (difference == nearest && area > 0.5 * TileSize * TileSize * columns * rows))
                    best = (columns, rows);
                nearest = Math.Min(nearest, difference);
            }
        }

        return best;
    }

    /// <summary>How many tiles a picture becomes, thumbnail included.</summary>
    /// <param name="width">Its pixels from left to right.</param>
    /// <param name="height">Its pixels from top to bottom.</param>
    public int TileCount(int width, int height)
    {
        (int columns, int rows) = Grid(width, height);
        return (columns * rows) + (UseThumbnail && columns * rows > 1 ? 1 : 0);
    }

    /// <summary>Refuses options that allow no grid.</summary>
    internal void Check()
    {
        if (TileSize < 1 || MinimumTiles < 1 || MaximumTiles < MinimumTiles)
            throw new ArgumentException(
                $"Tiles of {TileSize} pixels, {MinimumTiles} to {MaximumTiles} of them, are no grid: both must be at " +
                $"least 1, and the most not below the fewest.");
        if ((long)TileSize * TileSize * MaximumTiles > RgbImage.MostPixels)
            throw new ArgumentException($"{MaximumTiles} tiles of {TileSize}×{TileSize} pixels do not fit into one array.");
    }
}
