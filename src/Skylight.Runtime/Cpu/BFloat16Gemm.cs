using Skylight.Cpu.Assembly;
using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>
/// Products whose operands are rounded to bfloat16, with sums in float32, on the processor's own dot products
/// (<see cref="BFloat16Kernels"/>) or those of whole matrices. With the former an element is the same chain over ascending
/// steps as in <see cref="Gemm"/>: what is rounded before gives the same bits there.
/// </summary>
/// <remarks>
/// A few rows read a weight's panels as they lie in memory. For more, the left operand is packed once, and each thread packs
/// the block of the right one that it is about to use: 256 steps of 32 columns stay in the first cache for all row tiles.
/// Between blocks of steps the sums rest in a contiguous piece of the thread's own memory.
/// </remarks>
internal static unsafe partial class BFloat16Gemm
{
    private const int Width = WeightPanels.Width;
    private const int Chunk = BFloat16Tile.ChunkSteps;
    private const int RowBytes = 64, PairBytes = 4 * Width;
    private const long MostPackedBytes = 16 << 20;

    /// <summary>How a product is cut so that what an instruction reads often stays in the caches.</summary>
    private readonly struct Blocking(BFloat16Instruction instruction)
    {
        /// <summary>What computes the tiles.</summary>
        public BFloat16Instruction Instruction => instruction;

        /// <summary>The most rows of a tile.</summary>
        public int TileRows => BFloat16Kernels.MaxRows(instruction);

        /// <summary>
        /// Up to so many rows a panel is interleaved anew for each tile, from the second cache: packing it would cost more.
        /// </summary>
        public int FewRows => instruction == BFloat16Instruction.Matrices ? TileRows : 3 * TileRows;

        /// <summary>The most steps of a block; whole chunks.</summary>
        public int MostSteps => instruction == BFloat16Instruction.Matrices ? 512 : 256;

        /// <summary>Row tiles that share a packed block of the right operand.</summary>
        public int TilesPerTask => instruction == BFloat16Instruction.Matrices ? 16 : 22;

        /// <summary>Panels that share row tiles while these are in the second cache.</summary>
        public int PanelsPerTask => instruction == BFloat16Instruction.Matrices ? 16 : 8;

        /// <summary>
        /// Panels and row tiles below which a task is not cut only to have more of them: left operands come from memory
        /// further away than matrices are multiplied.
        /// </summary>
        public (int Panels, int Tiles) LeastOfTask =>
            instruction == BFloat16Instruction.Matrices ? (14, 8) : (1, 4);

        /// <summary>Steps of a block: equal blocks of whole chunks.</summary>
        public int StepBlock(int steps)
        {
            int chunks = Chunks(steps), blocks = (chunks * Chunk + MostSteps - 1) / MostSteps;
            return Math.Max((chunks + blocks - 1) / Math.Max(blocks, 1), 1) * Chunk;
        }
    }

    /// <summary>A product with its left operand packed.</summary>
    private struct Job
    {
        public GemmOperands Product;
        public Blocking Blocking;
        public RowTiling Tiling;
        public byte* A;

        /// <summary>Steps whose sums stay in registers; whole chunks.</summary>
        public readonly int StepBlock =>
            Product.Layout == RightOperand.FloatCodePanels ? Product.Codes.Block : Blocking.StepBlock(Product.Steps);
    }

    /// <summary>Computes a product on at most <paramref name="threads"/> threads. Scales are not known here.</summary>
    public static void Run(GemmOperands product, int threads)
    {
        bool isHere = product.Layout == RightOperand.FloatCodePanels
            ? FloatCodeKernels.AreAvailable(product.Codes.Codes) : BFloat16Kernels.AreAvailable;
        if (isHere)
            Run(product, threads, BFloat16Kernels.Fastest);
        else if (product.Rows > 0 && product.Columns > 0)
            RunManaged(product, threads);
    }

    /// <summary>Computes a product with an instruction that is here.</summary>
    internal static void Run(GemmOperands product, int threads, BFloat16Instruction instruction)
    {
        if (product.Rows <= 0 || product.Columns <= 0)
            return;
        var blocking = new Blocking(instruction);
        bool isInPlace = product.Layout == RightOperand.FloatCodePanels ? product.Rows <= blocking.TileRows
            : product.Layout == RightOperand.BFloat16Panels && product.Rows <= blocking.FewRows && product.AStep == 1
                && !product.Accumulate;
        if (isInPlace)
        {
            RunFewRows(product, threads, instruction);
            return;
        }

        // Rows in pieces whose packed form stays small.
        long rowBytes = (long)Chunks(product.Steps) * RowBytes;
        int most = (int)Math.Max(MostPackedBytes / Math.Max(rowBytes, 1) / blocking.TileRows, blocking.TilesPerTask)
            * blocking.TileRows;
        int pieces = (product.Rows + most - 1) / most;
        for (int piece = 0; piece < pieces; piece++)
        {
            int first = (int)((long)product.Rows * piece / pieces), end = (int)((long)product.Rows * (piece + 1) / pieces);
            GemmOperands part = product;
            part.A += first * product.ARow;
            part.C += first * product.CRow;
            part.Rows = end - first;
            RunRows(part, threads, blocking);
        }
    }

    /// <summary>
    /// The same on any machine: rounded copies of the operands in float32, and the bits of
    /// <see cref="BFloat16Instruction.DotProducts"/> but where a number is subnormal. This saves no time; it is what a machine
    /// without the instructions computes with when it is asked to.
    /// </summary>
    internal static void RunManaged(GemmOperands product, int threads)
    {
        if (product.Layout == RightOperand.FloatCodePanels)
        {
            RunManagedCodes(product, threads);
            return;
        }

        bool isWeight = product.Layout is RightOperand.BFloat16Panels or RightOperand.BFloat16PanelsAcross;
        // A matrix with its rows or, where it is used transposed, its steps one after the other.
        (int lines, int length, nint stride) = product.AStep == 1
            ? (product.Rows, product.Steps, product.ARow) : (product.Steps, product.Rows, product.AStep);
        float[] left = Rounded(product.A, lines, length, stride),
            right = isWeight ? [] : Rounded((float*)product.B, product.Steps, product.Columns, product.BStride);
        fixed (float* a = left, b = right)
        {
            product.A = a;
            (product.ARow, product.AStep) = product.AStep == 1 ? (length, 1) : (1, (nint)length);
            if (!isWeight)
            {
                product.B = b;
                product.BStride = product.Columns;
            }

            Gemm.RunFloat32(product, threads);
        }
    }

    private static float[] Rounded(float* source, int lines, int length, nint stride)
    {
        float[] rounded = GC.AllocateUninitializedArray<float>(checked(lines * length));
        CpuParallel.For(lines, line =>
        {
            Span<float> target = rounded.AsSpan(line * length, length);
            float* from = source + line * stride;
            for (int index = 0; index < length; index++)
                target[index] = (BFloat16)from[index];
        });
        return rounded;
    }

    private static int Chunks(int steps) => (steps + Chunk - 1) / Chunk;

    /// <summary>A few tiles of rows: panels are read from memory once, in place, by all threads.</summary>
    private static void RunFewRows(GemmOperands product, int threads, BFloat16Instruction instruction)
    {
        int steps = product.Steps;
        var tiling = new RowTiling(product.Rows, BFloat16Kernels.MaxRows(instruction));
        nint rowBytes = (nint)Chunks(steps) * RowBytes;
        byte* a = (byte*)GemmScratch.LeftOperand(product.Rows * rowBytes / sizeof(float));
        for (int tile = 0; tile < tiling.Count; tile++)
            BFloat16Kernels.PackRows(product.A + (nint)tile * tiling.Height * product.ARow,
                a + (nint)tile * tiling.Height * rowBytes, product.ARow * sizeof(float), steps / Chunk, steps % Chunk,
                tiling.HeightOf(tile));
        bool hasCodes = product.Layout == RightOperand.FloatCodePanels;
        nint panelBytes = hasCodes ? product.BStride : product.BStride * Width * sizeof(ushort);
        // Panels in a row for each thread: what it reads is one stream, which the processor's prefetcher follows.
        const int StreamBytes = 512 << 10;
        int panels = WeightPanels.PanelCount(product.Columns),
            tasks = (int)Math.Clamp(panels * panelBytes / StreamBytes, Math.Min(3 * threads, panels), panels);
        CpuParallel.For(tasks, threads, task =>
        {
            int panel = (int)((long)panels * task / tasks), end = (int)((long)panels * (task + 1) / tasks);
            if (hasCodes)
            {
                MultiplyCodes(product, a, panel, end, instruction);
                return;
            }

            float* sums = stackalloc float[BFloat16Matrices.MaxRows * Width], start = stackalloc float[Width];
            new Span<float>(start, Width).Clear();
            for (; panel < end; panel++)
            {
                if (instruction == BFloat16Instruction.Matrices && product.Bias != null)
                    InterleaveStart(product, panel, start);
                for (int tile = 0; tile < tiling.Count; tile++)
                {
                    int first = tile * tiling.Height, rows = tiling.HeightOf(tile);
                    BFloat16Kernels.PanelTile(instruction, rows)(a + first * rowBytes, (byte*)product.B + panel * panelBytes,
                        sums, steps / 2, steps % 2, start);
                    if (instruction == BFloat16Instruction.Matrices)
                        CopySums(product, sums, first, rows, panel);
                    else
                        Finish(product, sums, first, rows, panel);
                }
            }
        });
    }

    private static void RunRows(GemmOperands product, int threads, Blocking blocking)
    {
        var job = new Job
        {
            Product = product,
            Blocking = blocking,
            Tiling = new RowTiling(product.Rows, blocking.TileRows),
        };
        RowTiling tiling = job.Tiling;
        job.A = (byte*)GemmScratch.LeftOperand(
            (nint)tiling.Count * tiling.Height * Chunks(product.Steps) * RowBytes / sizeof(float));
        int panels = WeightPanels.PanelCount(product.Columns);
        CpuParallel.For(tiling.Count, threads, tile => PackTile(job, tile));

        int rowTasks = (tiling.Count + blocking.TilesPerTask - 1) / blocking.TilesPerTask;
        int panelTasks = (panels + blocking.PanelsPerTask - 1) / blocking.PanelsPerTask;
        bool areMatrices = blocking.Instruction == BFloat16Instruction.Matrices
            && product.Layout != RightOperand.FloatCodePanels;
        ProductTasks.For(tiling.Count, rowTasks, panels, panelTasks, threads, blocking.LeastOfTask,
            (firstTile, endTile, firstPanel, endPanel) =>
            {
                if (areMatrices)
                {
                    RunMatrices(job, firstTile, endTile, firstPanel, endPanel);
                    return;
                }

                // What is read once is read as it lies.
                int panelsAtOnce = tiling.Count > 1 ? endPanel - firstPanel : 1;
                for (int panel = firstPanel; panel < endPanel; panel += panelsAtOnce)
                    RunTask(job, firstTile, endTile, panel, panel + panelsAtOnce);
            });
    }

    /// <summary>Where a tile's part of a block of steps begins: blocks of steps, in each the tiles.</summary>
    private static byte* TileStart(in Job job, int start, int tile)
    {
        int chunks = Chunks(Math.Min(job.StepBlock, job.Product.Steps - start));
        nint before = (nint)(start / Chunk) * job.Product.Rows;
        return job.A + (before + (nint)tile * job.Tiling.Height * chunks) * RowBytes;
    }

    private static void PackTile(in Job job, int tile)
    {
        ref readonly GemmOperands product = ref job.Product;
        int rows = job.Tiling.HeightOf(tile), block = job.StepBlock;
        for (int start = 0; start < product.Steps; start += block)
        {
            int steps = Math.Min(block, product.Steps - start);
            byte* target = TileStart(job, start, tile);
            float* source = product.A + (nint)tile * job.Tiling.Height * product.ARow + start * product.AStep;
            if (product.AStep == 1)
                BFloat16Kernels.PackRows(source, target, product.ARow * sizeof(float), steps / Chunk, steps % Chunk, rows);
            else
                PackColumns(source, product.AStep, target, rows, steps);
        }
    }

    /// <summary>A left operand used transposed: its rows are neighbours (a stride of 1), its steps a stride apart.</summary>
    private static void PackColumns(float* source, nint stride, byte* target, int rows, int steps)
    {
        const int Block = 16;
        byte* unused = stackalloc byte[RowBytes + RowBytes];
        void** targets = stackalloc void*[Block];
        float* padded = stackalloc float[Block * Chunk];
        for (int start = 0; start < steps; start += Chunk)
        {
            int count = Math.Min(Chunk, steps - start);
            for (int first = 0; first < rows; first += Block)
            {
                int height = Math.Min(Block, rows - first);
                float* from = source + start * stride + first;
                for (int row = 0; row < Block; row++)
                    targets[row] = row < height ? target + (first + row) * RowBytes : unused;
                if (count == Chunk)
                {
                    BFloat16Kernels.PackColumns(from, stride * sizeof(float), targets, height);
                    continue;
                }

                new Span<float>(padded, Block * Chunk).Clear();
                for (int step = 0; step < count; step++)
                    new ReadOnlySpan<float>(from + step * stride, height).CopyTo(
                        new Span<float>(padded + step * Block, height));
                BFloat16Kernels.PackColumns(padded, Block * sizeof(float), targets, height);
            }

            target += rows * RowBytes;
        }
    }

    private static void RunTask(in Job job, int firstTile, int endTile, int firstPanel, int endPanel)
    {
        ref readonly GemmOperands product = ref job.Product;
        RowTiling tiling = job.Tiling;
        int block = job.StepBlock;
        int firstRow = firstTile * tiling.Height, rows = Math.Min(endTile * tiling.Height, product.Rows) - firstRow;
        bool hasLast = endTile == tiling.Count && tiling.Last != tiling.Height;
        int whole = endTile - firstTile - (hasLast ? 1 : 0);
        nint panelSums = (nint)rows * Width;
        float* sums = GemmScratch.Sums(panelSums * (endPanel - firstPanel));
        byte* b = (byte*)GemmScratch.PanelBlock((nint)block / 2 * PairBytes / sizeof(float));
        // Tiles of dot products begin the sums and write whole panels of the result themselves.
        bool isDots = job.Blocking.Instruction == BFloat16Instruction.DotProducts, isBegun = !isDots || product.Accumulate;
        for (int panel = firstPanel; isBegun && panel < endPanel; panel++)
            Begin(product, sums + (panel - firstPanel) * panelSums, firstRow, rows, panel);

        for (int start = 0; start < product.Steps; start += block)
        {
            int steps = Math.Min(block, product.Steps - start);
            byte* rowsStart = TileStart(job, start, firstTile);
            byte* lastStart = TileStart(job, start, endTile - 1);
            for (int panel = firstPanel; panel < endPanel; panel++)
            {
                PackBlock(product, b, panel, start, steps);
                float* target = sums + (panel - firstPanel) * panelSums;
                PanelPart part = PartOf(product, firstRow, panel, start + steps >= product.Steps);
                part.IsFirst = !isBegun && start == 0 ? 1 : 0;
                if (product.Layout is RightOperand.BFloat16Panels or RightOperand.FloatCodePanels)
                    AskForNext(product, ref part, (firstPanel, endPanel), panel, start, block, endTile - firstTile);
                Tiles(job, tiling.Height, rowsStart, b, target, panel, start, steps, whole, &part);
                if (hasLast)
                    Tiles(job, tiling.Last, lastStart, b, target + (nint)whole * tiling.Height * Width, panel, start, steps, 1,
                        &part);
            }
        }

        for (int panel = firstPanel; panel < endPanel; panel++)
        {
            if (!isDots || product.ColumnsOf(panel) < Width)
                Finish(product, sums + (panel - firstPanel) * panelSums, firstRow, rows, panel);
        }
    }

    private static void Tiles(in Job job, int rows, byte* a, byte* b, float* sums, int panel, int start, int steps, int tiles,
        PanelPart* part)
    {
        ref readonly GemmOperands product = ref job.Product;
        BFloat16Instruction instruction = job.Blocking.Instruction;
        int pairs = (steps + 1) / 2;
        bool isScaled = product.Layout == RightOperand.FloatCodePanels;
        float* scales = isScaled ? product.Codes.ScalesAt((byte*)product.B + panel * product.BStride, start) : null;
        if (instruction == BFloat16Instruction.DotProducts)
            BFloat16Kernels.PartTile(rows, isScaled)(a, b, sums, pairs, tiles, scales, part);
        else if (isScaled)
            BFloat16Kernels.ScaledTile(instruction, rows)(a, b, sums, pairs, tiles, scales);
        else
            BFloat16Kernels.Tile(instruction, rows)(a, b, sums, pairs, tiles);
    }

    /// <summary>
    /// What a task reads of a weight after a panel's block: the next panel's, then the first one's next block.
    /// </summary>
    private static void AskForNext(in GemmOperands product, ref PanelPart part, (int First, int End) panels, int panel,
        int start, int block, int tiles)
    {
        bool isLast = panel + 1 == panels.End;
        int next = isLast ? panels.First : panel + 1, from = isLast ? start + block : start;
        int steps = Math.Min(block, product.Steps - from);
        if (steps <= 0)
            return;
        if (product.Layout == RightOperand.FloatCodePanels)
            part.AskFor(product.Codes.ChunkAt((byte*)product.B + next * product.BStride, from),
                product.BStride * steps / product.Steps, tiles);
        else
            part.AskFor((byte*)product.B + (next * product.BStride + from) * RowBytes, (nint)steps * RowBytes, tiles);
    }

    private static PanelPart PartOf(in GemmOperands product, int firstRow, int panel, bool isLast) => new()
    {
        Row = isLast && product.ColumnsOf(panel) == Width ? product.C + firstRow * product.CRow + panel * product.CPanel : null,
        RowBytes = product.CRow * sizeof(float),
        Bias = product.Bias == null ? null : product.Bias + (nint)panel * Width,
    };

    private static void PackBlock(in GemmOperands product, byte* b, int panel, int start, int steps)
    {
        switch (product.Layout)
        {
            case RightOperand.BFloat16Panels:
                BFloat16Kernels.PackPanel((ushort*)product.B + ((nint)panel * product.BStride + start) * Width, b, steps / 2,
                    steps % 2);
                break;
            case RightOperand.FloatCodePanels:
                FloatCodeKernels.Expand(product.Codes.Codes)(
                    product.Codes.ChunkAt((byte*)product.B + panel * product.BStride, start), b, Chunks(steps));
                break;
            case RightOperand.RowMajor:
                BFloat16Kernels.PackSteps((float*)product.B + start * product.BStride + (nint)panel * Width, b,
                    product.BStride * sizeof(float), steps / 2, steps % 2, product.ColumnsOf(panel));
                break;
            case RightOperand.BFloat16PanelsAcross:
                PackAcross(product, b, panel, start, steps);
                break;
            default:
                throw new ArgumentException($"There is no product in bfloat16 with {product.Layout}.", nameof(product));
        }
    }

    private static void PackAcross(in GemmOperands product, byte* b, int panel, int start, int steps)
    {
        // A weight's panels are full of zeros where there are no more outputs; its inputs end where the next panel begins.
        int columns = product.ColumnsOf(panel);
        ushort* padded = stackalloc ushort[Width * Width];
        for (int done = 0; done < steps; done += Width)
        {
            ushort* source = (ushort*)product.B
                + ((nint)((start + done) / Width) * product.BStride + (nint)panel * Width) * Width;
            if (columns < Width)
            {
                var copy = new Span<ushort>(padded, Width * Width);
                new ReadOnlySpan<ushort>(source, columns * Width).CopyTo(copy);
                copy[(columns * Width)..].Clear();
                source = padded;
            }

            BFloat16Kernels.PackPanelAcross(source, b + (nint)done / 2 * PairBytes);
        }
    }

    /// <summary>What the chains of a panel start from.</summary>
    private static void Begin(in GemmOperands product, float* sums, int firstRow, int rows, int panel)
    {
        new Span<float>(sums, rows * Width).Clear();
        if (!product.Accumulate)
            return;
        int columns = product.ColumnsOf(panel);
        float* old = product.C + firstRow * product.CRow + panel * product.CPanel;
        for (int row = 0; row < rows; row++)
            new ReadOnlySpan<float>(old + row * product.CRow, columns).CopyTo(new Span<float>(sums + row * Width, columns));
    }

    private static void Finish(in GemmOperands product, float* sums, int firstRow, int rows, int panel)
    {
        int columns = product.ColumnsOf(panel);
        float* target = product.C + firstRow * product.CRow + panel * product.CPanel;
        if (product.Bias == null)
        {
            for (int row = 0; row < rows; row++)
                new ReadOnlySpan<float>(sums + row * Width, columns).CopyTo(
                    new Span<float>(target + row * product.CRow, columns));
            return;
        }

        var bias = new ReadOnlySpan<float>(product.Bias + (nint)panel * Width, columns);
        for (int row = 0; row < rows; row++)
            System.Numerics.Tensors.TensorPrimitives.Add(new ReadOnlySpan<float>(sums + row * Width, columns), bias,
                new Span<float>(target + row * product.CRow, columns));
    }
}
