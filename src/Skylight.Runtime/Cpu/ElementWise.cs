namespace Skylight.Cpu;

/// <summary>Splits element-wise and row-wise work over the cores.</summary>
public static class ElementWise
{
    private const int Grain = 8192;

    /// <summary>Calls the body with ranges that together cover all elements; small work is not split.</summary>
    /// <param name="count">The number of elements.</param>
    /// <param name="body">Takes the first element and the number of elements.</param>
    public static void For(int count, Action<int, int> body)
    {
        ArgumentNullException.ThrowIfNull(body);
        if (count <= Grain)
        {
            if (count > 0)
                body(0, count);
            return;
        }

        int pieces = (count + Grain - 1) / Grain;
        CpuParallel.For(pieces, piece => body(piece * Grain, Math.Min(Grain, count - piece * Grain)));
    }

    /// <summary>Calls the body with ranges of rows.</summary>
    /// <param name="rows">The number of rows.</param>
    /// <param name="columns">How much work a row is; about the elements it touches.</param>
    /// <param name="body">Takes the first row and the number of rows.</param>
    public static void ForRows(int rows, int columns, Action<int, int> body)
    {
        ArgumentNullException.ThrowIfNull(body);
        int grain = Math.Max(1, Grain / Math.Max(columns, 1));
        if (rows <= grain)
        {
            if (rows > 0)
                body(0, rows);
            return;
        }

        int pieces = (rows + grain - 1) / grain;
        CpuParallel.For(pieces, piece => body(piece * grain, Math.Min(grain, rows - piece * grain)));
    }
}
