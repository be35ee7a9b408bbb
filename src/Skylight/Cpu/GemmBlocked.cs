using System.Runtime.CompilerServices;

namespace Skylight.Cpu;

/// <summary>
/// A matrix product in cache-sized blocks: blocks of steps whose right operand (32 columns) stays in the first
/// cache and whose left operand stays in the second; blocks of rows and panels are shared out among threads.
/// </summary>
/// <remarks>
/// Steps are never split among threads. Between two blocks of steps the partial sums rest in C, which is exact,
/// so blocking changes no bit.
/// </remarks>
internal static unsafe class GemmBlocked
{
    private const int Width = WeightPanels.Width;
    private const int TileRows = 12;
    private const int MaxStepBlock = 256;
    private const int RowTilesPerTask = 22;
    private const int PanelsPerTask = 8;

    // Rows lie this many floats further apart than they are long: rows of a power of two would all fall into
    // the same cache sets.
    private const int RowPadding = 16;

    private const long PackedInputFloats = 4 << 20;

    // Below this a loop on several threads costs more than it saves.
    private const double ParallelWork = 256 * 1024;

    /// <summary>The threads worth using for a product of so many multiply-adds.</summary>
    public static int ThreadsFor(double work) => work < ParallelWork ? 1 : CpuParallel.ThreadCount;

    /// <summary>Computes the product on at most <paramref name="threads"/> threads.</summary>
    public static void Run(in GemmOperands product, int threads)
    {
        if (product.Rows <= 0 || product.Columns <= 0)
            return;
        int blocks = Math.Max(1, (product.Steps + MaxStepBlock - 1) / MaxStepBlock);
        int stepBlock = Math.Max(16, ((product.Steps + blocks - 1) / blocks + 15) & ~15);
        if (!PacksInput(product, blocks))
        {
            RunRows(product, null, stepBlock, threads);
            return;
        }
        long rowFloats = (long)blocks * (stepBlock + RowPadding);
        int rowsAtOnce = (int)Math.Max(PackedInputFloats / rowFloats / TileRows, RowTilesPerTask) * TileRows;
        for (int row = 0; row < product.Rows; row += rowsAtOnce)
        {
            GemmOperands part = product;
            part.A += row * product.ARow;
            part.C += row * product.CRow;
            part.Rows = Math.Min(rowsAtOnce, product.Rows - row);
            float* packed = GemmScratch.PackedInput((nint)(rowFloats * (part.Rows + TileRows)));
            PackInput(part, packed, stepBlock, threads);
            RunRows(part, packed, stepBlock, threads);
        }
    }

    /// <summary>Whether rows would collide in the cache or be read across their lines.</summary>
    private static bool PacksInput(in GemmOperands product, int stepBlocks)
    {
        if (product.Rows <= 4 || product.Columns <= Width)
            return false;
        if (product.AStep != 1)
            return true;
        return product.Rows > TileRows && (stepBlocks > 1 || (product.ARow > product.Steps && product.ARow % 256 == 0));
    }

    /// <summary>
    /// Copies A so that tile t of step block s starts at (s·tiles + t)·12·(stepBlock + padding): as rows where
    /// A's rows are contiguous, as steps of 12 rows where its steps are.
    /// </summary>
    private static void PackInput(GemmOperands product, float* packed, int stepBlock, int threads)
    {
        int tiles = (product.Rows + TileRows - 1) / TileRows;
        int blocks = Math.Max(1, (product.Steps + stepBlock - 1) / stepBlock);
        nint tileFloats = TileRows * (stepBlock + RowPadding);
        const int TilesAtOnce = 8;
        int groups = (tiles + TilesAtOnce - 1) / TilesAtOnce;
        CpuParallel.For(blocks * groups, threads, index =>
        {
            int block = index / groups, group = index % groups;
            int start = block * stepBlock, steps = Math.Min(stepBlock, product.Steps - start);
            int lastTile = Math.Min(tiles, (group + 1) * TilesAtOnce);
            for (int tile = group * TilesAtOnce; tile < lastTile; tile++)
            {
                float* target = packed + ((nint)block * tiles + tile) * tileFloats;
                int row = tile * TileRows, rows = Math.Min(TileRows, product.Rows - row);
                float* source = product.A + row * product.ARow + start * product.AStep;
                if (product.AStep == 1)
                    CopyRows(source, product.ARow, target, stepBlock + RowPadding, rows, steps);
                else
                    CopyRows(source, product.AStep, target, TileRows, steps, rows);
            }
        });
    }

    private static void CopyRows(float* source, nint sourceStride, float* target, nint targetStride, int rows, int columns)
    {
        for (int row = 0; row < rows; row++)
            Unsafe.CopyBlockUnaligned(target + row * targetStride, source + row * sourceStride, (uint)columns * sizeof(float));
    }

    private static void RunRows(GemmOperands product, float* packed, int stepBlock, int threads)
    {
        int tiles = (product.Rows + TileRows - 1) / TileRows;
        int panels = WeightPanels.PanelCount(product.Columns);
        int rowTasks = (tiles + RowTilesPerTask - 1) / RowTilesPerTask;
        int panelTasks = (panels + PanelsPerTask - 1) / PanelsPerTask;
        if (threads > 1)
        {
            // Enough tasks that two threads of different speed finish together.
            while (rowTasks * panelTasks < 6 * threads && panelTasks < panels)
                panelTasks = Math.Min(panels, 2 * panelTasks);
            while (rowTasks * panelTasks < 4 * threads && rowTasks * 4 < tiles)
                rowTasks *= 2;
        }
        CpuParallel.For(rowTasks * panelTasks, threads, task =>
        {
            int rowTask = task / panelTasks, panelTask = task % panelTasks;
            RunTask(
                product, packed, stepBlock, tiles,
                (int)((long)tiles * rowTask / rowTasks), (int)((long)tiles * (rowTask + 1) / rowTasks),
                (int)((long)panels * panelTask / panelTasks), (int)((long)panels * (panelTask + 1) / panelTasks));
        });
    }

    private static void RunTask(
        in GemmOperands product, float* packed, int stepBlock, int tiles, int firstTile, int endTile, int firstPanel, int endPanel)
    {
        int start = 0;
        do
        {
            int steps = Math.Min(stepBlock, product.Steps - start);
            for (int panel = firstPanel; panel < endPanel; panel++)
            {
                PanelBlock block = product.Block(panel, start, steps, once: endTile - firstTile == 1);
                var tile = new TileArguments
                {
                    B = block.Start,
                    BStepBytes = block.StepBytes,
                    CRowFloats = product.CRow,
                    Steps = steps,
                    Accumulate = product.Accumulate || start > 0,
                    Bias = product.Bias != null && start + steps == product.Steps ? product.Bias + panel * Width : null,
                };
                for (int t = firstTile; t < endTile; t++)
                {
                    int row = t * TileRows;
                    if (packed == null)
                    {
                        tile.A = (byte*)(product.A + row * product.ARow + start * product.AStep);
                        tile.ARowBytes = product.ARow * sizeof(float);
                        tile.AStepBytes = product.AStep * sizeof(float);
                    }
                    else
                    {
                        int blockIndex = start / stepBlock;
                        tile.A = (byte*)(packed + ((nint)blockIndex * tiles + t) * TileRows * (stepBlock + RowPadding));
                        bool asRows = product.AStep == 1;
                        tile.ARowBytes = (asRows ? stepBlock + RowPadding : 1) * sizeof(float);
                        tile.AStepBytes = (asRows ? 1 : TileRows) * sizeof(float);
                    }
                    tile.C = product.C + row * product.CRow + panel * product.CPanel;
                    MicroKernel.Tile(tile, Math.Min(TileRows, product.Rows - row), product.ColumnsOf(panel), block.IsBFloat16);
                }
            }
            start += steps;
        }
        while (start < product.Steps);
    }
}
