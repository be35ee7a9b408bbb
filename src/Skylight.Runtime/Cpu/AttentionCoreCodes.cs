using Skylight.Cpu.Assembly;

namespace Skylight.Cpu;

// Pages of bytes.
internal static unsafe partial class AttentionCore
{
    /// <summary>Queries for keys that are transformed, which have the factor: products are those of both as they were.</summary>
    private static void TransformQueries(float* query, int rows, int dimension)
    {
        for (int row = 0; row < rows; row++)
            WalshHadamard.Transform(query + (nint)row * dimension, dimension);
    }

    /// <summary>What the pages add to the sums of a tile of rows.</summary>
    private static void WalkCodes<TSimd, TVector>(in Pages pages, in CodeTile tile, in SoftmaxState state, float* sum,
        int* visible, int most)
        where TSimd : struct, ISimd<TVector>
    {
        for (int start = 0, page = 0; start < most; start += PageSize, page++)
        {
            // Work on a page takes hardly longer than memory to answer, so the one after the next is asked for.
            nint offset = pages.Offset(page), next = start + 2 * PageSize < most ? pages.Offset(page + 2) : offset;
            if (!tile.AsksAhead && next != offset)
                PrefetchPage(pages, next, PageSize, tile.Dimension);
            tile.Expand(pages, offset, Math.Min(PageSize, most - start));
            tile.Scores<TSimd, TVector>(state.Scores, pages.Keys + next);
            // Only the first row's count can be the smallest.
            SoftmaxPage<TSimd, TVector, WeightExponential>(state, tile.Rows, visible[0] - start < PageSize, visible, start);
            Correct<TSimd, TVector>(sum, state.Correction, tile.Rows, tile.Dimension);
            tile.AddValues<TSimd, TVector>(state.Scores, sum, pages.Values + next);
        }
    }

    /// <summary>
    /// The products of a tile of query rows with pages of bytes: each becomes bfloat16, or float32 for managed loops, in the
    /// first cache, for all rows of the tile.
    /// </summary>
    private readonly struct CodeTile
    {
        private const int BlockFloats = PageSize * Int8Pages.BlockSize;

        private readonly RegisterTiles _tiles;
        private readonly bool _isAssembled;
        private readonly delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, float*, void*, void> _scores;
        private readonly delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, void*, void> _addValues;
        private readonly float* _query, _weights, _products, _keyScales, _valueScales, _keys, _values;
        private readonly int _blocks;

        /// <summary>Packs the queries.</summary>
        /// <param name="scratch"><see cref="Floats"/>.</param>
        /// <param name="query">[rows][D], scaled; rounded where there is no instruction.</param>
        /// <param name="rows">At most <see cref="TileRows"/>.</param>
        /// <param name="dimension">The width of a head; whole blocks.</param>
        /// <param name="instruction">
        /// What multiplies, a <see cref="MatrixTileScope"/> being in use for the rows; null for managed loops.
        /// </param>
        public CodeTile(float* scratch, float* query, int rows, int dimension, BFloat16Instruction? instruction)
        {
            (Rows, Dimension, _isAssembled, _blocks) = (rows, dimension, instruction is not null,
                dimension / Int8Pages.BlockSize);
            _keys = scratch;
            _values = _keys + _blocks * BlockFloats;
            _weights = _values + _blocks * BlockFloats;
            _products = _weights + _blocks * BlockFloats;
            _keyScales = _products + BlockFloats;
            _valueScales = _keyScales + dimension;
            _query = query;
            if (instruction is not { } multiplies)
                return;
            _tiles = new RegisterTiles(rows, multiplies, isConfigured: false);
            _query = _valueScales + dimension;
            for (int block = 0; block < _blocks; block++)
                _tiles.Pack(query + block * Int8Pages.BlockSize, OfRows(_query, block), dimension, Int8Pages.BlockSize);
            if (multiplies != BFloat16Instruction.Matrices)
                return;
            _scores = Int8Kernels.Scores(rows);
            _addValues = Int8Kernels.Values(rows);
        }

        /// <summary>Query rows.</summary>
        public int Rows { get; }

        /// <summary>The width of a head.</summary>
        public int Dimension { get; }

        public static nint Floats(int dimension) =>
            // Keys, values and weights in blocks of float32, a block of products, scales, and queries in bfloat16.
            3 * (nint)dimension * PageSize + BlockFloats + 2 * dimension + (nint)dimension * TileRows / 2;

        /// <summary>Whether <see cref="Scores"/> and <see cref="AddValues"/> ask for a page meanwhile.</summary>
        public bool AsksAhead => _scores != null;

        /// <summary>Takes up a page.</summary>
        /// <param name="pages">All of them.</param>
        /// <param name="offset">Where it is.</param>
        /// <param name="count">How many of its values exist.</param>
        public void Expand(in Pages pages, nint offset, int count)
        {
            Expand(pages.Keys + offset, _keys, _keyScales);
            Expand(pages.Values + offset, _values, _valueScales);
            // Those that do not exist have weights of zero, and codes of any value; a scale might be NaN.
            for (int block = 0; count < PageSize && block < _blocks; block++)
                new Span<float>(_valueScales + block * PageSize + count, PageSize - count).Clear();
        }

        private void Expand(byte* page, float* target, float* scales)
        {
            if (_isAssembled)
            {
                Int8Kernels.Expand(page, target, scales, _blocks);
                return;
            }

            for (int block = 0; block < _blocks; block++, page += Int8Pages.BlockBytes)
            {
                Int8Pages.WidenScales(page, scales + block * PageSize);
                Int8Pages.WidenCodes(page, target + block * BlockFloats);
            }
        }

        /// <summary>scores[rows, 32] = fma(queries·codes of the keys, scale of a key, scores) over blocks, from zero.</summary>
        /// <param name="scores">[rows][32].</param>
        /// <param name="next">The keys of a page to ask for meanwhile.</param>
        public void Scores<TSimd, TVector>(float* scores, byte* next)
            where TSimd : struct, ISimd<TVector>
        {
            new Span<float>(scores, Rows * PageSize).Clear();
            if (_scores != null)
            {
                _scores(_query, _keys, scores, _blocks, _keyScales, next);
                return;
            }

            for (int block = 0; block < _blocks; block++)
            {
                float* scales = _keyScales + block * PageSize;
                if (_isAssembled)
                {
                    _tiles.MultiplyScaled(OfRows(_query, block), OfPage(_keys, block), scores, scales);
                    continue;
                }

                Multiply(_query + block * Int8Pages.BlockSize, Dimension, 1, _keys + block * BlockFloats, PageSize, _products,
                    PageSize, Rows, Int8Pages.BlockSize, accumulate: false);
                for (int row = 0; row < Rows * PageSize; row += PageSize)
                {
                    for (int lane = 0; lane < PageSize; lane += TSimd.Count)
                        TSimd.Store(scores + row + lane, TSimd.FusedMultiplyAdd(TSimd.Load(_products + row + lane),
                            TSimd.Load(scales + lane), TSimd.Load(scores + row + lane)));
                }
            }
        }

        /// <summary>sum += (p · scale of a value, rounded)·codes of the values; sums in blocks of 32 columns.</summary>
        /// <param name="p">[rows][32].</param>
        /// <param name="sum">The sums.</param>
        /// <param name="next">The values of a page to ask for meanwhile.</param>
        public void AddValues<TSimd, TVector>(float* p, float* sum, byte* next)
            where TSimd : struct, ISimd<TVector>
        {
            if (_isAssembled)
                Int8Kernels.Weights(p, _valueScales, _weights, Rows, _blocks);
            if (_addValues != null)
            {
                _addValues(_weights, _values, sum, _blocks, next);
                return;
            }

            for (int block = 0; block < _blocks; block++, sum += TileRows * PageSize)
            {
                if (_isAssembled)
                {
                    _tiles.Multiply(OfRows(_weights, block), 1, OfPage(_values, block), sum, PageSize / 2);
                    continue;
                }

                float* scales = _valueScales + block * PageSize;
                for (int row = 0; row < Rows * PageSize; row += PageSize)
                {
                    for (int lane = 0; lane < PageSize; lane += TSimd.Count)
                        TSimd.Store(_products + row + lane,
                            TSimd.Multiply(TSimd.Load(p + row + lane), TSimd.Load(scales + lane)));
                }

                BFloat16Pages.Round(_products, Rows * PageSize);
                Multiply(_products, PageSize, 1, _values + block * BlockFloats, PageSize, sum, PageSize, Rows, PageSize,
                    accumulate: true);
            }
        }

        private static byte* OfRows(float* operand, int block) => (byte*)operand + (nint)block * Int8Matrices.RowBlockBytes;

        private static byte* OfPage(float* operand, int block) => (byte*)operand + (nint)block * Int8Matrices.PageBlockBytes;
    }
}
