using Skylight.Cpu.Assembly;

namespace Skylight.Cpu;

/// <content>Products by whole matrices (AMX) of rows that are packed: <see cref="BFloat16MatrixBlock"/>.</content>
/// <remarks>
/// The sums of a product of one block of steps go from registers to the result; of more blocks they rest in between in the
/// thread's own memory. They start from the bias, which so costs nothing, and is one term of the chain: the first.
/// </remarks>
internal static unsafe partial class BFloat16Gemm
{
    private const int SumBytes = Width * sizeof(float);

    private static void RunMatrices(in Job job, int firstTile, int endTile, int firstPanel, int endPanel)
    {
        ref readonly GemmOperands product = ref job.Product;
        RowTiling tiling = job.Tiling;
        int block = job.StepBlock, firstRow = firstTile * tiling.Height;
        int rows = Math.Min(endTile * tiling.Height, product.Rows) - firstRow;
        nint panelSums = (nint)rows * Width;
        float* sums = GemmScratch.Sums(panelSums * (endPanel - firstPanel));
        byte* b = (byte*)GemmScratch.PanelBlock((nint)block / 2 * PairBytes / sizeof(float));
        float* start = stackalloc float[Width];
        for (int first = 0; first < product.Steps; first += block)
        {
            int steps = Math.Min(block, product.Steps - first);
            bool isFirst = first == 0, isLast = first + steps == product.Steps;
            for (int panel = firstPanel; panel < endPanel; panel++)
            {
                PackBlock(product, b, panel, first, steps);
                int pairs = (steps + 1) / 2;
                new Span<byte>(b + pairs * PairBytes, Chunks(steps) * Chunk / 2 * PairBytes - pairs * PairBytes).Clear();
                var work = new MatrixBlock { B = b, Chunks = Chunks(steps) };
                AskForNext(product, ref work, panel, endPanel, firstPanel, first, block);
                float* own = sums + (panel - firstPanel) * panelSums;
                // A panel with fewer columns than a tile has is finished elsewhere.
                bool isWhole = product.ColumnsOf(panel) == Width;
                work.Source = work.Target = own;
                work.SourceStride = work.TargetStride = SumBytes;
                if (isFirst)
                    StartFrom(product, ref work, own, start, firstRow, rows, panel, isWhole);
                if (isLast && isWhole)
                {
                    work.Target = product.C + firstRow * product.CRow + panel * product.CPanel;
                    work.TargetStride = product.CRow * sizeof(float);
                }

                RunTiles(job, work, first, firstTile, endTile);
                if (isLast && !isWhole)
                    CopySums(product, own, firstRow, rows, panel);
            }
        }
    }

    /// <summary>What the chains of a panel start from: the old C, the bias, or zero.</summary>
    private static void StartFrom(in GemmOperands product, ref MatrixBlock work, float* own, float* start, int firstRow,
        int rows, int panel, bool isWhole)
    {
        if (!product.Accumulate)
        {
            var shared = new Span<float>(start, Width);
            shared.Clear();
            if (product.Bias != null)
                new ReadOnlySpan<float>(product.Bias + (nint)panel * Width, product.ColumnsOf(panel)).CopyTo(shared);
            work.Source = start;
            work.SourceStride = 0;
        }
        else if (isWhole)
        {
            work.Source = product.C + firstRow * product.CRow + panel * product.CPanel;
            work.SourceStride = product.CRow * sizeof(float);
        }
        else
        {
            Begin(product, own, firstRow, rows, panel);
        }
    }

    /// <summary>The same of a bias, in the order in which a panel is interleaved where it lies.</summary>
    private static void InterleaveStart(in GemmOperands product, int panel, float* start)
    {
        int columns = product.ColumnsOf(panel);
        for (int column = 0; column < Width; column++)
            start[BFloat16Matrices.InterleavedColumn(column)] = column < columns ? product.Bias[panel * Width + column] : 0;
    }

    private static void RunTiles(in Job job, MatrixBlock work, int start, int firstTile, int endTile)
    {
        RowTiling tiling = job.Tiling;
        bool isMoved = work.SourceStride != 0 && work.Source != work.Target;
        bool hasLast = endTile == tiling.Count && tiling.Last != tiling.Height;
        int whole = endTile - firstTile - (hasLast ? 1 : 0);
        work.SourceStep = tiling.Height * work.SourceStride;
        work.TargetStep = tiling.Height * work.TargetStride;
        if (whole > 0)
        {
            work.A = TileStart(job, start, firstTile);
            work.Tiles = whole;
            BFloat16Kernels.MatrixBlock(tiling.Height, isMoved)(&work);
        }

        if (!hasLast)
            return;
        work.A = TileStart(job, start, endTile - 1);
        work.Tiles = 1;
        work.Source = (float*)((byte*)work.Source + whole * work.SourceStep);
        work.Target = (float*)((byte*)work.Target + whole * work.TargetStep);
        work.Ahead = work.AheadEnd;
        BFloat16Kernels.MatrixBlock(tiling.Last, isMoved)(&work);
    }

    /// <summary>Has the block that is packed after this one asked for, where it is one piece of memory.</summary>
    private static void AskForNext(in GemmOperands product, ref MatrixBlock work, int panel, int endPanel, int firstPanel,
        int first, int block)
    {
        bool isLastPanel = panel + 1 == endPanel;
        int next = isLastPanel ? firstPanel : panel + 1, start = isLastPanel ? first + block : first;
        if (product.Layout != RightOperand.BFloat16Panels || start >= product.Steps)
            return;
        ushort* from = (ushort*)product.B + ((nint)next * product.BStride + start) * Width;
        work.Ahead = (byte*)from;
        work.AheadEnd = (byte*)(from + (nint)Math.Min(block, product.Steps - start) * Width);
    }

    private static void CopySums(in GemmOperands product, float* sums, int firstRow, int rows, int panel)
    {
        int columns = product.ColumnsOf(panel);
        float* target = product.C + firstRow * product.CRow + panel * product.CPanel;
        for (int row = 0; row < rows; row++)
            new ReadOnlySpan<float>(sums + row * Width, columns).CopyTo(
                new Span<float>(target + row * product.CRow, columns));
    }
}
