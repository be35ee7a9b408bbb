namespace Skylight.Cpu;

/// <summary>How a blocked product is shared out among threads: some row tiles times some panels of columns to a task.</summary>
internal static class ProductTasks
{
    /// <summary>A task's tiles and panels.</summary>
    public delegate void Body(int firstTile, int endTile, int firstPanel, int endPanel);

    /// <summary>Runs all tasks.</summary>
    /// <param name="tiles">Row tiles of the product.</param>
    /// <param name="rowTasks">Into how many parts they are cut at least.</param>
    /// <param name="panels">Panels of the product.</param>
    /// <param name="panelTasks">Into how many parts they are cut at least.</param>
    /// <param name="threads">The most threads.</param>
    /// <param name="least">
    /// Panels and tiles of a task below which it is not cut for the sake of balance, but only where a thread had nothing to do.
    /// </param>
    /// <param name="body">Computes a task.</param>
    public static void For(int tiles, int rowTasks, int panels, int panelTasks, int threads,
        (int Panels, int Tiles) least, Body body)
    {
        if (threads > 1)
        {
            // Enough tasks that two threads of different speed finish together.
            int most = tiles == 1 ? 3 : 6;
            while (rowTasks * panelTasks < most * threads && panelTasks * least.Panels < panels)
                panelTasks = Math.Min(panels, 2 * panelTasks);
            while (rowTasks * panelTasks < 4 * threads && rowTasks * least.Tiles < tiles)
                rowTasks *= 2;
            while (rowTasks * panelTasks < threads && panelTasks < panels)
                panelTasks = Math.Min(panels, 2 * panelTasks);
        }

        CpuParallel.For(rowTasks * panelTasks, threads, task =>
        {
            int rowTask = task / panelTasks, panelTask = task % panelTasks;
            body((int)((long)tiles * rowTask / rowTasks), (int)((long)tiles * (rowTask + 1) / rowTasks),
                (int)((long)panels * panelTask / panelTasks), (int)((long)panels * (panelTask + 1) / panelTasks));
        });
    }
}
