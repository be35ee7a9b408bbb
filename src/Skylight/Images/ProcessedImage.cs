namespace Skylight.Images;

/// <summary>A picture as the vision encoder takes it.</summary>
public sealed class ProcessedImage
{
    internal ProcessedImage(int columns, int rows, IReadOnlyList<RgbImage> tiles, IReadOnlyList<float[]> pixels) =>
        (Columns, Rows, Tiles, Pixels) = (columns, rows, tiles, pixels);

    /// <summary>Tiles of the grid from left to right.</summary>
    public int Columns { get; }

    /// <summary>Tiles of the grid from top to bottom.</summary>
    public int Rows { get; }

    /// <summary>Whether the last tile shows the whole picture.</summary>
    public bool HasThumbnail => Tiles.Count > Columns * Rows;

    /// <summary>Pixels of a side of a tile.</summary>
    public int TileSize => Tiles[0].Width;

    /// <summary>The tiles of the grid, row by row, then the thumbnail if there is one.</summary>
    public IReadOnlyList<RgbImage> Tiles { get; }

    /// <summary>The same tiles, normalised: [3, <see cref="TileSize"/>, <see cref="TileSize"/>] each, red first.</summary>
    public IReadOnlyList<float[]> Pixels { get; }
}
