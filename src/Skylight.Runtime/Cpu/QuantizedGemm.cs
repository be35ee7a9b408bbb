using System.Numerics.Tensors;
using Skylight.Cpu.Assembly;

namespace Skylight.Cpu;

/// <summary>One product with a quantised weight: y[m, n] = Σ_k x[m, k]·W[n, k] (+ bias[n]).</summary>
internal unsafe struct QuantizedProduct
{
    /// <summary>x[0, 0].</summary>
    public float* X;

    /// <summary>Floats from a row of x to the next.</summary>
    public nint XRow;

    /// <summary>The weight's first panel.</summary>
    public byte* Panels;

    /// <summary>How the weight lies there.</summary>
    public QuantizedLayout Layout;

    /// <summary>Per output, added last; or null.</summary>
    public float* Bias;

    /// <summary>y[0, 0].</summary>
    public float* Y;

    /// <summary>Floats from a row of y to the next.</summary>
    public nint YRow;

    /// <summary>Rows of x.</summary>
    public int Rows;

    /// <summary>Outputs of the weight.</summary>
    public int Columns;

    /// <summary>Inputs of the weight.</summary>
    public int Steps;
}

/// <summary>
/// Products of quantised weights with activations that are rounded to bytes (<see cref="QuantizedActivations"/>).
/// </summary>
/// <remarks>
/// An element is one chain over the blocks of inputs, ascending. Of each block the products of codes are summed up in
/// integers, exactly: d. Then, in float32: d −= zero · Σ codes of x where there are zeros (exact), sum = fma(d, scale of the
/// weight · scale of x, sum), and where there are minimums sum = fma(minimum, ScaledSum, sum). Scales and minimums that are
/// multiples of a super-block's are made of it first, exactly. So the bits depend on the row and the output only, and the assembled kernels (<see cref="QuantizedTile"/>) and the managed one have the same.
/// </remarks>
internal static unsafe class QuantizedGemm
{
    private const int Width = WeightPanels.Width;
    private const int StepBlock = QuantizedLayout.MostInputs;
    private const int PanelsPerTask = 8;

    // Tiles of matrices, and the lower ones of dot products: their codes stay in the second cache while panels pass.
    private const int TilesPerTask = 43, DotTilesPerTask = 22;

    // So many that a panel's block is asked for, and stays in the first cache, while they pass.
    private const int ManyTiles = 8;

    // So many that unpacking codes costs less than it saves.
    private const int LeastRowsOfMatrices = 24;

    // What a thread reads in one go where a weight is read once: long enough for the processor's prefetcher to follow.
    private const int StreamBytes = 512 << 10;
    private const long MostPackedBytes = 16 << 20;

    // Activations that one thread rounds in less time than another takes to start.
    private const int LeastSharedBytes = 32 << 10;

    /// <summary>Whether codes are multiplied faster here than the numbers that they stand for.</summary>
    public static bool HasDotProducts => QuantizedKernels.AreAvailable || QuantizedVectors.AreAvailable;

    /// <summary>Computes a product on at most <paramref name="threads"/> threads.</summary>
    public static void Run(QuantizedProduct product, int threads) => Run(product, threads,
        !QuantizedKernels.AreAvailable
            ? QuantizedVectors.AreAvailable ? QuantizedInstruction.Vectors : QuantizedInstruction.Managed
            : QuantizedKernels.HasMatrices && product.Rows >= LeastRowsOfMatrices ? QuantizedInstruction.Matrices
            : QuantizedInstruction.DotProducts);

    internal static void Run(QuantizedProduct product, int threads, QuantizedInstruction instruction)
    {
        if (product.Rows <= 0 || product.Columns <= 0)
            return;
        long rowBytes = (long)product.Layout.BlocksOf(product.Steps) * (product.Layout.Block + sizeof(ActivationBlock));
        const int TileRows = QuantizedMatrices.MaxRows;
        int most = (int)Math.Max(MostPackedBytes / Math.Max(rowBytes, 1) / TileRows, TilesPerTask) * TileRows;
        int pieces = (product.Rows + most - 1) / most;
        for (int piece = 0; piece < pieces; piece++)
        {
            int first = (int)((long)product.Rows * piece / pieces), end = (int)((long)product.Rows * (piece + 1) / pieces);
            QuantizedProduct part = product;
            part.X += first * product.XRow;
            part.Y += first * product.YRow;
            part.Rows = end - first;
            RunRows(part, threads, instruction);
        }
    }

    /// <summary>The same with operands as they are, in float32: a panel's block is dequantised where it is used.</summary>
    public static void RunFloat32(in QuantizedProduct product, int threads)
    {
        QuantizedLayout layout = product.Layout;
        var operands = new GemmOperands
        {
            A = product.X,
            ARow = product.XRow,
            AStep = 1,
            Layout = RightOperand.QuantizedPanels,
            B = product.Panels,
            BStride = (nint)layout.PanelBytes(product.Steps),
            Quantized = layout,
            C = product.Y,
            CRow = product.YRow,
            CPanel = Width,
            Bias = product.Bias,
            Rows = product.Rows,
            Columns = product.Columns,
            Steps = product.Steps,
        };
        GemmBlocked.Run(operands, threads);
    }

    private static void RunRows(QuantizedProduct product, int threads, QuantizedInstruction instruction)
    {
        QuantizedLayout layout = product.Layout;
        var tiling = new RowTiling(product.Rows, instruction switch
        {
            QuantizedInstruction.Matrices => QuantizedMatrices.MaxRows,
            QuantizedInstruction.Vectors => QuantizedVectors.MaxRows,
            // Up to two high tiles read a weight once or twice; lower ones are the faster where it stays in the cache.
            _ => product.Rows <= 2 * QuantizedTile.MaxHighRows ? QuantizedTile.MaxHighRows : QuantizedTile.MaxRows,
        });
        int panels = WeightPanels.PanelCount(product.Columns), blocks = layout.BlocksOf(product.Steps);
        // Codes, then what belongs to the blocks; both by blocks of steps, in each the tiles, in each the blocks.
        nint codeBytes = (nint)product.Rows * blocks * layout.Block;
        byte* codes = (byte*)GemmScratch.LeftOperand(
            (codeBytes + 63) / 64 * 16 + (nint)product.Rows * blocks * sizeof(ActivationBlock) / sizeof(float));
        var infos = (ActivationBlock*)(codes + (codeBytes + 63) / 64 * 64);
        CpuParallel.For(tiling.Count, tiling.Count > 1 && codeBytes >= LeastSharedBytes ? threads : 1,
            tile => RoundTile(product, tiling, codes, infos, tile));

        int tilesPerTask = instruction == QuantizedInstruction.DotProducts ? DotTilesPerTask : TilesPerTask;
        int rowTasks = (tiling.Count + tilesPerTask - 1) / tilesPerTask;
        int panelTasks = tiling.Count == 1
            ? (int)Math.Clamp(panels * layout.PanelBytes(product.Steps) / StreamBytes, 1, panels)
            : (panels + PanelsPerTask - 1) / PanelsPerTask;
        ProductTasks.For(tiling.Count, rowTasks, panels, panelTasks, threads, (1, 4),
            (firstTile, endTile, firstPanel, endPanel) =>
            {
                // For a few tiles a weight is read as it lies: all of a panel before the next.
                bool isStream = instruction == QuantizedInstruction.DotProducts && tiling.Count < ManyTiles;
                int panelsAtOnce = isStream ? 1 : endPanel - firstPanel;
                for (int panel = firstPanel; panel < endPanel; panel += panelsAtOnce)
                    RunTask(product, tiling, codes, infos, instruction, firstTile, endTile, panel, panel + panelsAtOnce);
            });
    }

    private static int StepsAt(in QuantizedProduct product, int start, bool all) =>
        all ? product.Steps : Math.Min(StepBlock, product.Steps - start);

    /// <summary>Where the first block of a tile lies, counted in blocks of rows.</summary>
    private static nint Place(in QuantizedProduct product, in RowTiling tiling, int start, int tile)
    {
        bool all = tiling.Count == 1;
        nint before = (nint)(start / product.Layout.Block) * product.Rows;
        return before + (nint)tile * tiling.Height * product.Layout.BlocksOf(StepsAt(product, start, all));
    }

    private static void RoundTile(in QuantizedProduct product, in RowTiling tiling, byte* codes, ActivationBlock* infos,
        int tile)
    {
        bool all = tiling.Count == 1;
        int rows = tiling.HeightOf(tile), size = product.Layout.Block;
        for (int start = 0; start < product.Steps; start += StepsAt(product, start, all))
        {
            int steps = StepsAt(product, start, all);
            nint place = Place(product, tiling, start, tile);
            for (int block = 0; block < product.Layout.BlocksOf(steps); block++)
            {
                for (int row = 0; row < rows; row++, place++)
                {
                    float* source = product.X + ((nint)tile * tiling.Height + row) * product.XRow + start + block * size;
                    infos[place] = QuantizedActivations.Round(source, Math.Min(size, steps - block * size), size,
                        product.Layout.Bias, (sbyte*)codes + place * size);
                }
            }
        }
    }

    private static void RunTask(in QuantizedProduct product, in RowTiling tiling, byte* codes, ActivationBlock* infos,
        QuantizedInstruction instruction, int firstTile, int endTile, int firstPanel, int endPanel)
    {
        QuantizedLayout layout = product.Layout;
        bool all = tiling.Count == 1;
        int firstRow = firstTile * tiling.Height, rows = Math.Min(endTile * tiling.Height, product.Rows) - firstRow;
        bool hasLast = endTile == tiling.Count && tiling.Last != tiling.Height;
        int whole = endTile - firstTile - (hasLast ? 1 : 0);
        nint panelSums = (nint)rows * Width, panelBytes = (nint)layout.PanelBytes(product.Steps);
        float* sums = GemmScratch.Sums(panelSums * (endPanel - firstPanel));
        bool isDots = instruction == QuantizedInstruction.DotProducts;
        if (!isDots)
            new Span<float>(sums, (int)(panelSums * (endPanel - firstPanel))).Clear();
        for (int start = 0; start < product.Steps; start += StepsAt(product, start, all))
        {
            int steps = StepsAt(product, start, all), blocks = layout.BlocksOf(steps);
            nint first = Place(product, tiling, start, firstTile), last = Place(product, tiling, start, endTile - 1);
            for (int panel = firstPanel; panel < endPanel; panel++)
            {
                byte* weight = product.Panels + panel * panelBytes + (nint)layout.PanelBytes(start);
                float* target = sums + (panel - firstPanel) * panelSums;
                if (isDots)
                {
                    PanelPart part = PartOf(product, firstRow, panel, start, start + steps >= product.Steps);
                    // Each of a few tiles would ask for too much at once: the first of them asks for what it is about to read.
                    bool areMany = tiling.Count >= ManyTiles;
                    if (areMany)
                        AskForNext(product, ref part, (firstPanel, endPanel), panel, start, endTile - firstTile);
                    int alone = areMany ? 0 : Math.Min(whole, 1);
                    nint height = tiling.Height;
                    DotTiles(layout, tiling.Height, codes, infos, first, weight, target, blocks, alone, &part, true);
                    DotTiles(layout, tiling.Height, codes, infos, first + alone * blocks * height, weight,
                        target + alone * height * Width, blocks, whole - alone, &part, false);
                    if (hasLast)
                        DotTiles(layout, tiling.Last, codes, infos, last, weight, target + whole * height * Width, blocks, 1,
                            &part, whole == 0);
                    continue;
                }

                if (instruction == QuantizedInstruction.Matrices)
                    weight = Unpack(layout, weight, blocks);
                Tiles(layout, tiling.Height, codes, infos, first, weight, target, blocks, whole, instruction);
                if (hasLast)
                    Tiles(layout, tiling.Last, codes, infos, last, weight, target + (nint)whole * tiling.Height * Width, blocks,
                        1, instruction);
            }
        }

        for (int panel = firstPanel; panel < endPanel; panel++)
        {
            if (!isDots || !IsWhole(product, panel))
                Finish(product, sums + (panel - firstPanel) * panelSums, firstRow, rows, panel);
        }
    }

    /// <summary>
    /// What a task reads of the weight after a panel's block: the next panel's, then the first one's next block.
    /// </summary>
    private static void AskForNext(in QuantizedProduct product, ref PanelPart part, (int First, int End) panels, int panel,
        int start, int tiles)
    {
        bool isLast = panel + 1 == panels.End;
        int next = isLast ? panels.First : panel + 1, from = isLast ? start + StepBlock : start;
        if (from < product.Steps)
        {
            QuantizedLayout layout = product.Layout;
            nint panelBytes = (nint)layout.PanelBytes(product.Steps), blockBytes =
                (nint)layout.PanelBytes(StepsAt(product, from, all: false));
            part.AskFor(product.Panels + next * panelBytes + (nint)layout.PanelBytes(from), blockBytes, tiles);
        }
    }

    private static bool IsWhole(in QuantizedProduct product, int panel) => (panel + 1) * Width <= product.Columns;

    private static PanelPart PartOf(in QuantizedProduct product, int firstRow, int panel, int start, bool isLast) => new()
    {
        IsFirst = start == 0 ? 1 : 0,
        Row = isLast && IsWhole(product, panel) ? product.Y + firstRow * product.YRow + (nint)panel * Width : null,
        RowBytes = product.YRow * sizeof(float),
        Bias = product.Bias == null ? null : product.Bias + (nint)panel * Width,
    };

    /// <summary>Tiles by dot products, which write whole panels of the result themselves.</summary>
    private static void DotTiles(in QuantizedLayout layout, int rows, byte* codes, ActivationBlock* infos, nint first,
        byte* weight, float* sums, int blocks, int tiles, PanelPart* part, bool asksAhead)
    {
        if (tiles > 0)
            QuantizedKernels.Tile(layout, rows, asksAhead)(codes + first * layout.Block, infos + first, weight, sums, blocks,
                tiles, part);
    }

    /// <summary>Blocks of a panel in the thread's own memory, as products of matrices read them.</summary>
    private static byte* Unpack(in QuantizedLayout layout, byte* weight, int blocks)
    {
        byte* unpacked = (byte*)GemmScratch.PanelBlock((nint)blocks * UnpackedBlocks.Of(layout).BlockBytes / sizeof(float));
        QuantizedKernels.Unpack(layout)(weight, unpacked, blocks);
        return unpacked;
    }

    private static void Tiles(in QuantizedLayout layout, int rows, byte* codes, ActivationBlock* infos, nint first,
        byte* weight, float* sums, int blocks, int tiles, QuantizedInstruction instruction)
    {
        codes += first * layout.Block;
        infos += first;
        if (instruction == QuantizedInstruction.Vectors)
        {
            for (int tile = 0; tile < tiles; tile++)
                QuantizedVectors.Tile(layout, (sbyte*)codes + (nint)tile * blocks * rows * layout.Block,
                    infos + (nint)tile * blocks * rows, weight, sums + tile * rows * Width, blocks, rows);
            return;
        }

        if (instruction == QuantizedInstruction.Matrices)
        {
            QuantizedKernels.MatrixTile(UnpackedBlocks.Of(layout), rows)(codes, infos, weight, sums, blocks, tiles);
            return;
        }

        for (int tile = 0; tile < tiles; tile++, sums += rows * Width)
        {
            for (int block = 0; block < blocks; block++, codes += rows * layout.Block, infos += rows)
            {
                BlockPlace place = layout.PlaceOf(weight, block);
                for (int row = 0; row < rows; row++)
                    Managed(layout, (sbyte*)codes + row * layout.Block, infos[row], place, sums + row * Width);
            }
        }
    }

    /// <summary>One block of a row with 32 outputs: what the assembled kernels compute.</summary>
    private static void Managed(in QuantizedLayout layout, sbyte* codes, in ActivationBlock info, in BlockPlace place,
        float* sums)
    {
        for (int output = 0; output < Width; output++)
        {
            int dot = info.Start;
            for (int input = 0; input < layout.Block; input++)
                dot += layout.Code(place, output, input) * codes[input];
            float d = dot;
            if (layout.Offset == BlockOffset.Zero)
                d = MathF.FusedMultiplyAdd(-layout.Zero(place, output), info.Sum, d);
            sums[output] = MathF.FusedMultiplyAdd(d, layout.Scale(place, output) * info.Scale, sums[output]);
            if (layout.HasMinimum)
                sums[output] = MathF.FusedMultiplyAdd(layout.Added(place, output), info.ScaledSum, sums[output]);
        }
    }

    private static void Finish(in QuantizedProduct product, float* sums, int firstRow, int rows, int panel)
    {
        int columns = Math.Min(Width, product.Columns - panel * Width);
        float* target = product.Y + firstRow * product.YRow + (nint)panel * Width;
        for (int row = 0; row < rows; row++)
        {
            var source = new ReadOnlySpan<float>(sums + row * Width, columns);
            var line = new Span<float>(target + row * product.YRow, columns);
            if (product.Bias == null)
                source.CopyTo(line);
            else
                TensorPrimitives.Add(source, new ReadOnlySpan<float>(product.Bias + (nint)panel * Width, columns), line);
        }
    }
}
