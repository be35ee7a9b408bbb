using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Skylight.Cpu.Assembly;
using Skylight.Execution;
using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>
/// Attention on the CPU: the one forward loop that training, prefill and decoding share.
/// </summary>
/// <remarks>
/// <para>
/// A query row walks the keys in pages of 32 at fixed absolute positions, in ascending order, with an online softmax
/// (Milakov and Gimelshein, 2018). Per page: scores are one chain of fused multiply-adds over the head dimension; the
/// running maximum, the correction exp(old − new) and p = exp(score − maximum) follow; the 32 running sums of p (one
/// for each offset in a page, added in a fixed tree at the end) and the weighted sum of the values are corrected and
/// continued, keys ascending. Keys that a row does not see contribute exact zeros: p = 0, times a value that must be
/// finite where another row of the same sequence and tile sees it. Memory beyond what any row sees is never used.
/// </para>
/// <para>
/// So the bits of a row depend on its query, the keys and values it sees and their positions, and on nothing else: not
/// on the rows computed beside it, not on chunks, pages in memory, threads or vector width.
/// </para>
/// <para>
/// Over pages of bfloat16, queries (scaled) and p are rounded to bfloat16 too; scores, maxima, the sums of p and the
/// weighted sums stay float32, in the same order. Over pages of bytes (<see cref="Int8Pages"/>) the operands of products are
/// codes, which bfloat16 holds: each block of a head's width is a chain of its own, times the keys' scales, and p is
/// multiplied by the values' scales before it is rounded.
/// </para>
/// </remarks>
internal static unsafe partial class AttentionCore
{
    /// <summary>Tokens in a page of a key-value cache: page i of a sequence holds positions 32·i to 32·i + 31.</summary>
    public const int PageSize = KeyValuePages.Size;

    /// <summary>
    /// Query rows computed together: a page's scores, queries and weighted sums stay in the first cache, and causal
    /// tiles that start at a page's first position end with the page.
    /// </summary>
    private const int TileRows = 32;

    /// <summary>The keys and values of one sequence and one key-value head.</summary>
    internal struct Pages
    {
        /// <summary>
        /// Page 0's keys, in float32: element (d, offset) at d·32 + offset; else <see cref="BFloat16Pages"/> or
        /// <see cref="Int8Pages"/>.
        /// </summary>
        public byte* Keys;

        /// <summary>Page 0's values, in float32: element (offset, d) at offset·D + d; else likewise.</summary>
        public byte* Values;

        /// <summary>What they are.</summary>
        public DataType Type;

        /// <summary>Bytes from a page to the next in memory.</summary>
        public nint Stride;

        /// <summary>Which page in memory is page i of the sequence; null where they lie in order.</summary>
        public int* Table;

        /// <summary>Whether products are of bfloat16.</summary>
        public readonly bool AreRounded => Type != DataType.Float32;

        /// <summary>Whether they are bytes.</summary>
        public readonly bool AreCodes => Type == DataType.Int8;

        /// <summary>Where page i of the sequence starts, in bytes from page 0 in memory.</summary>
        public readonly nint Offset(int page) => (Table == null ? page : Table[page]) * Stride;
    }

    /// <summary>Consecutive query rows of one sequence, for all query heads that read one key-value head.</summary>
    internal struct Queries
    {
        /// <summary>The first row's query of the group's first head; [Rows][Group·D] at <see cref="RowStride"/>.</summary>
        public float* Query;

        /// <summary>The output that belongs to <see cref="Query"/>, in the same layout.</summary>
        public float* Output;

        /// <summary>The first row's log-sum-exp of the group's first head; null where it is not wanted.</summary>
        public float* LogSumExp;

        /// <summary>Floats from a row to the next.</summary>
        public nint RowStride;

        /// <summary>Floats from a row of <see cref="LogSumExp"/> to the next.</summary>
        public nint LogSumExpStride;

        /// <summary>Query rows (tokens).</summary>
        public int Rows;

        /// <summary>Query heads.</summary>
        public int Group;

        /// <summary>The width of a head.</summary>
        public int HeadDimension;

        /// <summary>How many keys the first row sees, counted from position 0; at least 1.</summary>
        public int Visible;

        /// <summary>Whether every row sees one key more than the row before; otherwise all see the same.</summary>
        public bool Causal;

        /// <summary>How many keys a row sees.</summary>
        public readonly int VisibleTo(int row) => Causal ? Visible + row : Visible;
    }

    /// <summary>The factor on every score: 1/√D.</summary>
    internal static float Scale(int headDimension) => (float)(1 / Math.Sqrt(headDimension));

    /// <summary>The threads worth using, given the size of one row's operands times the rows or keys there are.</summary>
    internal static int ThreadsFor(double elements) => elements < 16 * 1024 ? 1 : CpuParallel.ThreadCount;

    /// <summary>Computes the outputs of some query rows on the calling thread.</summary>
    internal static void Forward(in Queries queries, in Pages pages) =>
        Forward(queries, pages, pages.AreRounded && BFloat16Kernels.AreAvailable ? BFloat16Kernels.Fastest : null);

    /// <inheritdoc cref="Forward(in Queries, in Pages)"/>
    /// <param name="queries">The rows.</param>
    /// <param name="pages">What they see.</param>
    /// <param name="instruction">What multiplies rounded pages; null for managed loops.</param>
    internal static void Forward(in Queries queries, in Pages pages, BFloat16Instruction? instruction)
    {
        if (Vector512.IsHardwareAccelerated)
            Forward<Simd512, Vector512<float>>(queries, pages, instruction);
        else if (Vector256.IsHardwareAccelerated)
            Forward<Simd256, Vector256<float>>(queries, pages, instruction);
        else
            Forward<Simd128, Vector128<float>>(queries, pages, instruction);
    }

    private static void Forward<TSimd, TVector>(in Queries queries, in Pages pages, BFloat16Instruction? instruction)
        where TSimd : struct, ISimd<TVector>
    {
        int dimension = queries.HeadDimension, group = queries.Group;
        int pairs = queries.Rows * group;
        bool isAssembled = instruction is not null;
        // Sums lie in blocks of 32 columns, [TileRows][32] each.
        nint sumFloats = TileRows * (nint)PageCount(dimension) * PageSize;
        nint roundedFloats = pages.AreCodes ? CodeTile.Floats(dimension) : isAssembled ? RoundedTile.Floats(dimension)
            : pages.AreRounded ? 2 * PageSize * (nint)dimension : 0;
        float* scratch = AttentionScratch.Tile(
            TileRows * ((nint)dimension + 2 * PageSize + 3) + sumFloats + roundedFloats);
        float* query = scratch;
        float* sum = query + (nint)TileRows * dimension;
        float* scores = sum + sumFloats;
        float* rounded = scores + TileRows * (2 * PageSize + 3);
        var state = new SoftmaxState
        {
            Scores = scores,
            Weights = scores + TileRows * PageSize,
            Maximum = scores + 2 * TileRows * PageSize,
            PageMaximum = scores + 2 * TileRows * PageSize + TileRows,
            Correction = scores + 2 * TileRows * PageSize + 2 * TileRows,
        };
        int* visible = stackalloc int[TileRows];
        byte* kept = stackalloc byte[MatrixTileScope.Bytes];
        using var tiles = new MatrixTileScope(instruction, kept);
        for (int first = 0; first < pairs; first += TileRows)
        {
            int rows = Math.Min(TileRows, pairs - first);
            tiles.Use(rows);
            int most = GatherQueries<TSimd, TVector>(queries, first, rows, query, visible);
            if (pages.AreCodes)
                TransformQueries(query, rows, dimension);
            if (pages.AreRounded && !isAssembled)
                BFloat16Pages.Round(query, rows * dimension);
            new Span<float>(sum, (int)sumFloats).Clear();
            state.Start(rows);
            if (pages.AreCodes)
                WalkCodes<TSimd, TVector>(pages, new CodeTile(rounded, query, rows, dimension, instruction), state, sum,
                    visible, most);
            else
                Walk<TSimd, TVector>(pages, instruction, query, rounded, rows, dimension, state, sum, visible, most,
                    asks: first == 0);
            WriteOutputs<TSimd, TVector>(queries, first, rows, state, sum);
        }
    }

    /// <summary>What the pages of float32 or bfloat16 add to the sums of a tile of rows.</summary>
    private static void Walk<TSimd, TVector>(in Pages pages, BFloat16Instruction? instruction, float* query, float* rounded,
        int rows, int dimension, in SoftmaxState state, float* sum, int* visible, int most, bool asks)
        where TSimd : struct, ISimd<TVector>
    {
        bool isAssembled = instruction is not null;
        float* scores = state.Scores;
        RoundedTile tile = isAssembled ? new RoundedTile(rounded, query, rows, dimension, instruction!.Value) : default;
        for (int start = 0, page = 0; start < most; start += PageSize, page++)
        {
            nint offset = pages.Offset(page), next = start + PageSize < most ? pages.Offset(page + 1) : 0;
            bool asksAhead = isAssembled && asks && tile.AsksAhead && start + PageSize < most;
            if (asks && start + PageSize < most && !asksAhead)
                PrefetchPage(pages, next, Math.Min(PageSize, most - start - PageSize), dimension);
            int keys = Math.Min(PageSize, most - start);
            byte* keyPage = pages.Keys + offset, valuePage = pages.Values + offset;
            if (pages.AreRounded && !isAssembled)
            {
                BFloat16Pages.WidenKeys(keyPage, rounded, dimension);
                BFloat16Pages.WidenValues(valuePage, rounded + PageSize * (nint)dimension, dimension);
                keyPage = (byte*)rounded;
                valuePage = (byte*)(rounded + PageSize * (nint)dimension);
            }

            if (isAssembled)
                tile.Scores(keyPage, scores, asksAhead ? pages.Keys + next : null);
            else
                Multiply(query, dimension, 1, (float*)keyPage, PageSize, scores, PageSize, rows, dimension,
                    accumulate: false);
            // Only the first row's count can be the smallest.
            bool masked = visible[0] - start < PageSize;
            if (pages.AreRounded)
                SoftmaxPage<TSimd, TVector, WeightExponential>(state, rows, masked, visible, start);
            else
                SoftmaxPage<TSimd, TVector, FullExponential>(state, rows, masked, visible, start);
            Correct<TSimd, TVector>(sum, state.Correction, rows, dimension);
            if (isAssembled)
            {
                tile.AddValues(scores, valuePage, sum, keys, asksAhead ? pages.Values + next : null);
                continue;
            }

            if (pages.AreRounded)
                BFloat16Pages.Round(scores, rows * PageSize);
            AddValues<TSimd, TVector>(scores, (float*)valuePage, sum, rows, dimension, keys);
        }
    }

    /// <summary>Copies scaled queries side by side, and says how many keys each row sees.</summary>
    /// <returns>The most keys that a row sees.</returns>
    private static int GatherQueries<TSimd, TVector>(in Queries queries, int first, int rows, float* query, int* visible)
        where TSimd : struct, ISimd<TVector>
    {
        int dimension = queries.HeadDimension, row = first / queries.Group, head = first % queries.Group;
        float scale = Scale(dimension);
        for (int index = 0; index < rows; index++)
        {
            visible[index] = queries.VisibleTo(row);
            Rescale<TSimd, TVector>(queries.Query + row * queries.RowStride + (nint)head * dimension, scale,
                query + (nint)index * dimension, dimension);
            if (++head == queries.Group)
            {
                head = 0;
                row++;
            }
        }

        return visible[rows - 1];
    }

    private static void WriteOutputs<TSimd, TVector>(in Queries queries, int first, int rows, in SoftmaxState state,
        float* sum)
        where TSimd : struct, ISimd<TVector>
    {
        int dimension = queries.HeadDimension, row = first / queries.Group, head = first % queries.Group;
        for (int index = 0; index < rows; index++)
        {
            float total = SumOfLanes(state.Weights + index * PageSize);
            RescaleBlocks<TSimd, TVector>(sum + index * PageSize, TileRows, 1 / total,
                queries.Output + row * queries.RowStride + (nint)head * dimension, dimension);
            if (queries.LogSumExp != null)
                queries.LogSumExp[row * queries.LogSumExpStride + head] = state.Maximum[index] + MathF.Log(total);
            if (++head == queries.Group)
            {
                head = 0;
                row++;
            }
        }
    }

    /// <summary>
    /// Asks for a page while the one before is worked on: pages lie anywhere, so the processor cannot guess the next. Into the
    /// second cache: the first one's few open loads would hold up the work (Zen 4, decoding at 16k: 21.6 ms, not 28).
    /// </summary>
    private static void PrefetchPage(in Pages pages, nint offset, int keys, int dimension)
    {
        if (!Sse.IsSupported)
            return;
        const int Line = 64;
        nint page = (nint)KeyValuePages.ElementCount(pages.Type, dimension) * pages.Type.Size();
        for (nint index = 0; index < page; index += Line)
            Sse.Prefetch1(pages.Keys + offset + index);
        for (nint index = 0; index < (pages.AreCodes ? page : page / PageSize * keys); index += Line)
            Sse.Prefetch1(pages.Values + offset + index);
    }

    /// <summary>The register tiles with 32 columns that exist in b and c.</summary>
    private static void Multiply(float* a, nint aRow, nint aStep, float* b, nint bStep, float* c, nint cRow, int rows,
        int steps, bool accumulate)
    {
        var tile = new TileArguments
        {
            A = (byte*)a,
            ARowBytes = aRow * sizeof(float),
            AStepBytes = aStep * sizeof(float),
            B = (byte*)b,
            BStepBytes = bStep * sizeof(float),
            C = c,
            CRowFloats = cRow,
            Steps = steps,
            Accumulate = accumulate,
        };
        MicroKernel.FullTile<FloatElement>(tile, rows);
    }
}
