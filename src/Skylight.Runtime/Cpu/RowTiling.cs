namespace Skylight.Cpu;

/// <summary>Rows in tiles of equal height, the last one perhaps lower.</summary>
internal readonly struct RowTiling
{
    public RowTiling(int rows, int mostHeight)
    {
        Count = (rows + mostHeight - 1) / mostHeight;
        Height = (rows + Count - 1) / Count;
        // Equal heights may need fewer tiles than the tallest do.
        Count = (rows + Height - 1) / Height;
        Last = rows - (Count - 1) * Height;
    }

    /// <summary>The tiles.</summary>
    public int Count { get; }

    /// <summary>The rows of all but the last.</summary>
    public int Height { get; }

    /// <summary>The rows of the last one.</summary>
    public int Last { get; }

    /// <summary>The rows of a tile.</summary>
    public int HeightOf(int tile) => tile == Count - 1 ? Last : Height;
}
