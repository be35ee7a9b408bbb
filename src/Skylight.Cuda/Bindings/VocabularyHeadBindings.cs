using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>
/// The vocabulary head and its gradient; see <c>kernels/vocabulary_head.cu</c>, for Hopper
/// <c>kernels/warpgroup_head.cu</c>, and <c>kernels/target_rows.cu</c>. Which of the first two multiplies a weight goes by the
/// same rule as its logits: <see cref="WarpgroupTile.Multiplies"/>.
/// </summary>
internal static class VocabularyHeadBindings
{
    // As in kernels/vocabulary_head.cu and kernels/target_rows.cu.
    private const string Source = "vocabulary_head.cu", RowSource = "target_rows.cu";
    private const int Threads = 256;
    private const int SelectThreads = 1024;
    private const int Tile = 128;
    private const int ProductBytes = 4 * (Tile + Tile) * 32 * sizeof(ushort);
    private const int SlicesBytes = 2 * Tile * 3 * sizeof(float);
    private const int RowGradientBytes = 24;
    private const int ClusterTokens = 2048;

    private static readonly MatrixTile LogitTile = new(Tile, Tile, 32, 4, 2, 4);

    /// <summary>
    /// Gradients of logits that are held at once: the backward pass goes through the vocabulary in chunks of as many
    /// columns.
    /// </summary>
    private const long WorkspaceElements = 64L << 20;

    private const string WrongTarget = "target {value} of row {index} is neither −1 (none) nor a token id of the vocabulary";

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<VocabularyHead>((op, kernel) => Forward(op, kernel));
        bindings.Add<VocabularyHeadBackward>((op, kernel) => Backward(op, kernel, WorkspaceElements));
    }

    /// <summary>Queues the forward pass.</summary>
    /// <param name="op">The op.</param>
    /// <param name="kernel">Where to.</param>
    /// <param name="tile">What a block of warpgroups makes; by default what the rows ask for. It changes no bit.</param>
    /// <param name="source">The kernels of warpgroups; by default their file.</param>
    internal static void Forward(VocabularyHead op, CudaKernelBuilder kernel, WarpgroupTile? tile = null,
        KernelSource? source = null)
    {
        Problem problem = Problem.Of(kernel);
        int tokens = problem.Tokens, vocabulary = problem.Vocabulary, segments = LogitBindings.Segments(vocabulary);
        Selection selection = Select(kernel, problem, null, null);
        CudaScratch gathered = kernel.Scratch((long)tokens * problem.Stride * sizeof(ushort)),
            rowTargets = kernel.Scratch((long)tokens * sizeof(int));
        CudaScratch partials = LogitBindings.Partials(kernel, tokens, vocabulary),
            targetLogits = kernel.Scratch((long)tokens * sizeof(float));
        Gather(kernel, problem)
            .Input(0).Input(2).Scratch(selection.Rows).Scratch(selection.Count).Scratch(gathered).Scratch(rowTargets).Null()
            .Null().Null().Null().Null().Null()
            .Int32(tokens).Int32(problem.Width).Int32(problem.Stride).Float32(op.Temperature).Programmatic();
        if (problem.IsOfWarpgroups)
        {
            WarpgroupTile chosen = tile ?? TileFor(problem, kernel.Target);
            chosen.Launch(kernel, source ?? WarpgroupSource, "head_statistics",
                (long)chosen.RowsOfTiles(tokens) * segments, problem.Hidden(gathered),
                problem.WeightRows(kernel, 0, vocabulary))
                .Scratch(rowTargets).Scratch(selection.Count).Scratch(partials).Scratch(targetLogits)
                .Int32(segments).Int32(vocabulary).Int32(problem.Width).Float32(op.Temperature).Programmatic();
        }
        else
        {
            Launch(kernel, problem, "head_statistics", checked(problem.RowTiles * segments),
                LogitTile.WeightBytes(problem.Weight) + SlicesBytes)
                .Scratch(gathered).Input(1).Scratch(rowTargets).Scratch(selection.Count).Scratch(partials)
                .Scratch(targetLogits)
                .Int32(problem.RowTiles).Int32(segments).Int32(vocabulary).Int32(problem.Width).Int32(problem.Stride)
                .Float32(op.Temperature).Programmatic();
        }

        LogitBindings.FinishLaunch(kernel, tokens)
            .Scratch(partials).Input(2).Scratch(selection.Positions).Scratch(targetLogits).Null()
            .Output(0).Output(1).Output(2).Output(3).Output(4)
            .FinishNumbers(tokens, vocabulary, op.Temperature);
    }

    /// <summary>Queues the backward pass.</summary>
    /// <param name="op">The op.</param>
    /// <param name="kernel">Where to.</param>
    /// <param name="workspaceElements">How many gradients of logits may be held at once; one tile of columns is the
    /// least.</param>
    /// <param name="tile">What a block of warpgroups makes; by default what the rows ask for. It changes no bit.</param>
    /// <param name="source">The kernels of warpgroups; by default their file.</param>
    internal static void Backward(VocabularyHeadBackward op, CudaKernelBuilder kernel, long workspaceElements,
        WarpgroupTile? tile = null, KernelSource? source = null)
    {
        Problem problem = Problem.Of(kernel);
        int tokens = problem.Tokens, width = problem.Width, vocabulary = problem.Vocabulary;
        int afterStatistics = op.HasEntropyGradient ? 6 : 5;
        Selection selection = Select(
            kernel, problem, op.HasLogProbabilityGradient ? afterStatistics : null,
            op.HasEntropyGradient ? kernel.Inputs.Count - 1 : null);
        CudaScratch gathered = kernel.Scratch((long)tokens * problem.Stride * sizeof(ushort)),
            rowGradients = kernel.Scratch((long)tokens * RowGradientBytes);
        Gather(kernel, problem)
            .Input(0).Input(2).Scratch(selection.Rows).Scratch(selection.Count).Scratch(gathered).Null()
            .Scratch(rowGradients)
            .RowGradients(3, op.HasLogProbabilityGradient, op.HasEntropyGradient)
            .Int32(tokens).Int32(width).Int32(problem.Stride).Float32(op.Temperature).Programmatic();

        int chunkStride = ChunkColumns(tokens, vocabulary, workspaceElements);
        CudaScratch logitGradients = kernel.Scratch((long)tokens * chunkStride * sizeof(ushort));
        bool isOneChunk = chunkStride >= vocabulary;
        CudaScratch? sums = op.NeedsHidden && !isOneChunk ? kernel.Scratch((long)tokens * width * sizeof(float)) : null;
        if (op.NeedsHidden)
            kernel.Clear(kernel.Output(0));
        var pass = new BackwardPass(op, kernel, problem, selection, gathered, rowGradients, logitGradients, sums,
            chunkStride);
        for (int first = 0; first < vocabulary; first += chunkStride)
        {
            int columns = Math.Min(chunkStride, vocabulary - first);
            if (problem.IsOfWarpgroups)
                QueueWarpgroups(pass, first, columns, tile ?? TileFor(problem, kernel.Target), source ?? WarpgroupSource);
            else
                QueueChunk(pass, first, columns);
        }
    }

    private static KernelSource WarpgroupSource => KernelSource.Resource("warpgroup_head.cu");

    /// <summary>
    /// A tile must have whole slices of a row's statistics, 64 columns. How many tokens have targets is known on the device
    /// only, and an odd row of tiles makes a cluster compute one for nothing; so there are none where that could be much.
    /// </summary>
    private static WarpgroupTile TileFor(Problem problem, CudaTarget target) =>
        problem.Tokens <= WarpgroupTile.Small.Rows ? WarpgroupTile.Small
        : problem.Tokens < ClusterTokens ? WarpgroupTile.Largest
        : WarpgroupTile.Largest.Clustered(target, problem.Tokens, problem.Vocabulary);

    /// <summary>Queues a chunk of the vocabulary by <c>mma.sync</c>.</summary>
    private static void QueueChunk(BackwardPass pass, int first, int columns)
    {
        (VocabularyHeadBackward op, CudaKernelBuilder kernel, Problem problem) = (pass.Op, pass.Kernel, pass.Problem);
        int tokens = problem.Tokens, width = problem.Width, chunkStride = pass.ChunkStride;
        Launch(kernel, problem, "head_logit_gradients", Tiles(tokens, columns), ProductBytes)
            .Scratch(pass.Gathered).Input(1).Scratch(pass.RowGradients).Scratch(pass.Selection.Count)
            .Scratch(pass.LogitGradients)
            .Int32(problem.RowTiles).Int32(first).Int32(columns).Int32(chunkStride).Int32(width)
            .Int32(problem.Stride).Float32(op.Temperature).Programmatic();
        if (op.NeedsHidden)
        {
            KernelLaunch launch = Launch(kernel, problem, "head_hidden_gradient", Tiles(tokens, width), ProductBytes)
                .Scratch(pass.LogitGradients).Input(1).Scratch(pass.Selection.Rows).Scratch(pass.Selection.Count);
            (pass.Sums is { } region ? launch.Scratch(region) : launch.Null()).Output(0)
                .Int32(problem.RowTiles).Int32(first).Int32(columns).Int32(chunkStride).Int32(width)
                .Int32(first == 0 ? 1 : 0).Int32(first + columns == problem.Vocabulary ? 1 : 0).Programmatic();
        }

        if (op.NeedsWeight)
        {
            Launch(kernel, problem, "head_weight_gradient", Tiles(columns, width), ProductBytes)
                .Scratch(pass.LogitGradients).Scratch(pass.Gathered).Scratch(pass.Selection.Count)
                .Output(op.NeedsHidden ? 1 : 0)
                .Int32(first).Int32(columns).Int32(chunkStride).Int32(width).Int32(problem.Stride).Programmatic();
        }
    }

    /// <summary>Queues a chunk of the vocabulary by <c>wgmma</c>.</summary>
    private static void QueueWarpgroups(BackwardPass pass, int first, int columns, WarpgroupTile tile, KernelSource source)
    {
        (VocabularyHeadBackward op, CudaKernelBuilder kernel, Problem problem) = (pass.Op, pass.Kernel, pass.Problem);
        int tokens = problem.Tokens, width = problem.Width, chunkStride = pass.ChunkStride;
        WarpgroupFactor hidden = problem.Hidden(pass.Gathered), weight = problem.WeightRows(kernel, first, columns),
            gradients = new(pass.LogitGradients, chunkStride, tokens, IsInnerContiguous: true);
        tile.Launch(kernel, source, "head_logit_gradients", tile.Tiles(tokens, columns), hidden, weight)
            .Scratch(pass.RowGradients).Scratch(pass.Selection.Count).Scratch(pass.LogitGradients)
            .Int32(tokens).Int32(first).Int32(columns).Int32(chunkStride).Int32(width).Float32(op.Temperature).Programmatic();
        if (op.NeedsHidden)
        {
            KernelLaunch launch = tile.Launch(kernel, source,
                first == 0 ? "head_hidden_gradient_first" : "head_hidden_gradient", tile.Tiles(tokens, width), gradients,
                weight with { IsInnerContiguous = false })
                .Scratch(pass.Selection.Rows).Scratch(pass.Selection.Count);
            (pass.Sums is { } region ? launch.Scratch(region) : launch.Null()).Output(0)
                .Int32(columns).Int32(width).Int32(first + columns == problem.Vocabulary ? 1 : 0).Programmatic();
        }

        if (op.NeedsWeight)
        {
            tile.Launch(kernel, source, "head_weight_gradient", tile.Tiles(columns, width),
                gradients with { IsInnerContiguous = false }, hidden with { IsInnerContiguous = false })
                .Scratch(pass.Selection.Count)
                .Output(op.NeedsHidden ? 1 : 0, (long)first * width * sizeof(float))
                .Int32(columns).Int32(width).Programmatic();
        }
    }

    private static Selection Select(CudaKernelBuilder kernel, Problem problem, int? logProbabilityGradient,
        int? entropyGradient)
    {
        int tokens = problem.Tokens;
        var selection = new Selection(
            kernel.Scratch((long)tokens * sizeof(int)), kernel.Scratch((long)tokens * sizeof(int)),
            kernel.Scratch(sizeof(int)));
        KernelLaunch launch = kernel.Launch(RowSource, "select_rows", 1, SelectThreads, SelectThreads / 32 * sizeof(int))
            .Define("ALIGNED", problem.IsAligned).Input(2);
        launch = logProbabilityGradient is int first ? launch.Input(first) : launch.Null();
        launch = entropyGradient is int second ? launch.Input(second) : launch.Null();
        launch.Scratch(selection.Rows).Scratch(selection.Positions).Scratch(selection.Count)
            .Int32(tokens).Int32(problem.Vocabulary).Status(WrongTarget).Programmatic();
        return selection;
    }

    private static KernelLaunch Gather(CudaKernelBuilder kernel, Problem problem) =>
        kernel.Launch(RowSource, "gather_rows", CudaKernelBuilder.Blocks(problem.Tokens, Threads / 32), Threads)
            .Define("ALIGNED", problem.IsAligned);

    private static KernelLaunch Launch(CudaKernelBuilder kernel, Problem problem, string entryPoint, int blocks,
        int sharedBytes = 0) =>
        problem.Define(kernel.Launch(Source, entryPoint, blocks, Threads, sharedBytes).Define("ALIGNED", problem.IsAligned));

    private static int Tiles(int rows, int columns) =>
        checked(CudaKernelBuilder.Blocks(rows, Tile) * CudaKernelBuilder.Blocks(columns, Tile));

    /// <summary>As many whole tiles of columns as the workspace holds; no more than the vocabulary has.</summary>
    private static int ChunkColumns(int tokens, int vocabulary, long workspaceElements)
    {
        long tiles = Math.Max(1, workspaceElements / Math.Max(1, tokens) / Tile);
        return (int)Math.Min(tiles, CudaKernelBuilder.Blocks(vocabulary, Tile)) * Tile;
    }

    /// <summary>Which rows have a target, where each is among them, and how many they are.</summary>
    private readonly record struct Selection(CudaScratch Rows, CudaScratch Positions, CudaScratch Count);

    /// <summary>What the chunks of a backward pass share.</summary>
    private sealed record BackwardPass(VocabularyHeadBackward Op, CudaKernelBuilder Kernel, Problem Problem,
        Selection Selection, CudaScratch Gathered, CudaScratch RowGradients, CudaScratch LogitGradients, CudaScratch? Sums,
        int ChunkStride);

    /// <summary>The extents; hidden states are gathered into rows of <paramref name="Stride"/> elements.</summary>
    private readonly record struct Problem(int Tokens, int Vocabulary, int Width, int Stride, TensorType Weight,
        bool IsOfWarpgroups)
    {
        public int RowTiles => CudaKernelBuilder.Blocks(Tokens, Tile);

        public bool IsAligned => Stride == Width;

        public static Problem Of(CudaKernelBuilder kernel)
        {
            TensorType weight = kernel.Inputs[1];
            if (kernel.Inputs[0].DataType != DataType.BFloat16
                || (weight.DataType != DataType.BFloat16 && weight.Format is null))
                throw kernel.Unsupported("hidden states and weight must be bfloat16");
            (int tokens, int width, int vocabulary) =
                (kernel.Inputs[0].Shape.Rows, kernel.Inputs[0].Shape.Columns, weight.Shape.Rows);
            var logits = new MatrixProduct(default, default, default, tokens, vocabulary, width) { TransposeRight = true };
            // Without tokens there are no sums, and no map of them.
            return new Problem(tokens, vocabulary, width, CudaKernelBuilder.Blocks(width, 8) * 8, weight,
                tokens > 0 && weight.Format is null && WarpgroupTile.Multiplies(kernel.Target, logits));
        }

        /// <summary>The gathered hidden states, as the left factor of logits.</summary>
        public WarpgroupFactor Hidden(CudaScratch gathered) => new(gathered, Width, Tokens, IsInnerContiguous: true);

        /// <summary>Rows of the weight, as the right factor of logits.</summary>
        public WarpgroupFactor WeightRows(CudaKernelBuilder kernel, int first, int count) =>
            new(kernel.Input(1).At((long)first * Width * sizeof(ushort)), Width, count, IsInnerContiguous: true);

        /// <summary>Defines the constants of a quantised weight.</summary>
        public KernelLaunch Define(KernelLaunch launch) =>
            Weight.Format is null ? launch : QuantizedWeightLayout.Of(Weight).Define(launch);
    }
}
