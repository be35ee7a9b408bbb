using System.Runtime.Intrinsics.X86;
using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>
/// A matrix product in blocks of steps, whose operands stay in the second cache while they are used again; blocks
/// of rows and panels are shared out among threads.
/// </summary>
/// <remarks>
/// Steps are never split among threads. Between two blocks of steps the partial sums rest in C, which is exact,
/// so blocking changes no bit.
/// </remarks>
internal static unsafe class GemmBlocked
{
    private const int Width = WeightPanels.Width;
    private const int TileRows = 12;

    // Measured on Zen 5: longer blocks save more loads and stores of C than a right operand that overflows the
    // first cache costs. Steps a stride apart take a cache line each, so there the block must fit the first cache.
    // The left operand is read in place: copying it, the textbook's way, cost more than it brought at any size.
    private const int MaxStepBlock = 1024;
    private const int MaxStridedStepBlock = 256;
    private const int MaxFewRowsStepBlock = 2048;

    // What is made of codes for a few rows is read from the first cache.
    private const int MaxFewRowsCodeBlock = 256;
    private const int FewRows = 96;
    private const int RowTilesPerTask = 88;
    private const int PanelsPerTask = 8;

    // Below this a loop on several threads costs more than it saves.
    private const double ParallelWork = 256 * 1024;

    /// <summary>The threads worth using for a product of so many multiply-adds.</summary>
    public static int ThreadsFor(double work) => work < ParallelWork ? 1 : CpuParallel.ThreadCount;

    /// <summary>Computes the product on at most <paramref name="threads"/> threads.</summary>
    public static void Run(GemmOperands product, int threads)
    {
        if (product.Rows <= 0 || product.Columns <= 0)
            return;
        product.SpreadFewRows();
        int tiles = (product.Rows + TileRows - 1) / TileRows;
        int panels = WeightPanels.PanelCount(product.Columns);
        int stepBlock = StepBlock(product);
        int rowTasks = (tiles + RowTilesPerTask - 1) / RowTilesPerTask;
        int panelTasks = (panels + PanelsPerTask - 1) / PanelsPerTask;
        ProductTasks.For(tiles, rowTasks, panels, panelTasks, threads, (1, 4),
            (firstTile, endTile, firstPanel, endPanel) =>
                RunTask(product, stepBlock, firstTile, endTile, firstPanel, endPanel));
    }

    /// <summary>Steps per block: all blocks about equally long.</summary>
    private static int StepBlock(in GemmOperands product)
    {
        int fewRows = product.Layout == RightOperand.FloatCodePanels ? MaxFewRowsCodeBlock : MaxFewRowsStepBlock;
        int most = product.AStep != 1 ? MaxStridedStepBlock : product.Rows <= FewRows ? fewRows : MaxStepBlock;
        int blocks = Math.Max(1, (product.Steps + most - 1) / most);
        return Math.Max(16, ((product.Steps + blocks - 1) / blocks + 15) & ~15);
    }

    /// <summary>
    /// Asks for what a tile touches first, its part of C and the start of its rows, while the tile before it
    /// computes: both wait for a farther cache otherwise (2–3 % of a large product).
    /// </summary>
    private static void PrefetchTile(in GemmOperands product, int row, int start, int panel)
    {
        int end = Math.Min(row + TileRows, product.Rows);
        for (; row < end; row++)
        {
            float* c = product.C + row * product.CRow + panel * product.CPanel;
            Sse.Prefetch0(c);
            Sse.Prefetch0(c + Width / 2);
            if (product.AStep == 1)
                Sse.Prefetch0(product.A + row * product.ARow + start);
        }
    }

    private static void RunTask(
        in GemmOperands product, int stepBlock, int firstTile, int endTile, int firstPanel, int endPanel)
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
                    ARowBytes = product.ARow * sizeof(float),
                    AStepBytes = product.AStep * sizeof(float),
                    B = block.Start,
                    BStepBytes = block.StepBytes,
                    CRowFloats = product.CRow,
                    Steps = steps,
                    Accumulate = product.Accumulate || start > 0,
                    Bias = product.Bias != null && start + steps == product.Steps
                        ? product.Bias + panel * Width : null,
                };
                for (int t = firstTile; t < endTile; t++)
                {
                    int row = t * TileRows;
                    tile.A = (byte*)(product.A + row * product.ARow + start * product.AStep);
                    tile.C = product.C + row * product.CRow + panel * product.CPanel;
                    if (Sse.IsSupported && t + 1 < endTile)
                        PrefetchTile(product, row + TileRows, start, panel);
                    int rows = Math.Min(TileRows, product.Rows - row);
                    if (block.Type == DataType.BFloat16)
                        MicroKernel.Tile<BFloat16Element>(tile, rows, product.ColumnsOf(panel));
                    else
                        MicroKernel.Tile<FloatElement>(tile, rows, product.ColumnsOf(panel));
                }
            }
            start += steps;
        }
        while (start < product.Steps);
    }
}
