using Skylight.Cpu.Assembly;

namespace Skylight.Cpu;

// Pages of bytes.
internal static unsafe partial class AttentionCore
{
    /// <summary>What the pages add to the sums of a tile of rows.</summary>
    private static void WalkCodes<TSimd, TVector>(in Pages pages, in CodeTile tile, in SoftmaxState state, float* sum,
        int* visible, int most)
        where TSimd : struct, ISimd<TVector>
    {
        for (int start = 0, page = 0; start < most; start += PageSize, page++)
        {
            nint offset = pages.Offset(page), next = start + PageSize < most ? pages.Offset(page + 1) : offset;
            tile.Expand(pages, offset, next, Math.Min(PageSize, most - start));
            tile.Scores<TSimd, TVector>(state.Scores);
            // Only the first row's count can be the smallest.
            SoftmaxPage<TSimd, TVector, WeightExponential>(state, tile.Rows, visible[0] - start < PageSize, visible, start);
            Correct<TSimd, TVector>(sum, state.Correction, tile.Rows, tile.Dimension);
            tile.AddValues<TSimd, TVector>(state.Scores, sum);
        }
    }

    /// <summary>
    /// The products of a tile of query rows with pages of bytes: each becomes bfloat16, or float32 for managed loops, in the
    /// first cache, for all rows of the tile.
    /// </summary>
    private readonly struct CodeTile
    {
        private readonly RegisterTiles _tiles;
        private readonly bool _isAssembled;
        private readonly float* _query, _products, _weights, _keyScales, _valueScales;
        private readonly byte* _keys, _values;

        /// <summary>Packs the queries.</summary>
        /// <param name="scratch"><see cref="Floats"/>.</param>
        /// <param name="query">[rows][D], scaled; rounded where there is no instruction.</param>
        /// <param name="rows">At most <see cref="TileRows"/>.</param>
        /// <param name="dimension">The width of a head; whole blocks.</param>
        /// <param name="instruction">What multiplies; null for managed loops.</param>
        public CodeTile(float* scratch, float* query, int rows, int dimension, BFloat16Instruction? instruction)
        {
            (Rows, Dimension, _isAssembled) = (rows, dimension, instruction is not null);
            _keys = (byte*)scratch;
            _values = _keys + dimension * (nint)BlockRowBytes;
            _products = (float*)(_values + dimension * (nint)BlockRowBytes);
            _weights = _products + TileRows * PageSize;
            _keyScales = _weights + TileRows * PageSize;
            _valueScales = _keyScales + dimension;
            _query = _isAssembled ? _valueScales + dimension : query;
            _tiles = _isAssembled ? new RegisterTiles(rows, instruction!.Value) : default;
            for (int d = 0; _isAssembled && d < dimension; d += Int8Pages.BlockSize)
                _tiles.Pack(query + d, (byte*)_query + (nint)(d / Int8Pages.BlockSize) * TileRows * RowBytes, dimension,
                    Int8Pages.BlockSize);
        }

        private const int BlockRowBytes = PageSize * sizeof(float);

        /// <summary>Query rows.</summary>
        public int Rows { get; }

        /// <summary>The width of a head.</summary>
        public int Dimension { get; }

        public static nint Floats(int dimension) =>
            2 * (nint)dimension * PageSize + 2 * TileRows * PageSize + 2 * dimension
            + (nint)dimension / Int8Pages.BlockSize * TileRows * RowBytes / sizeof(float);

        /// <summary>Takes up a page.</summary>
        /// <param name="pages">All of them.</param>
        /// <param name="offset">Where it is.</param>
        /// <param name="next">Where the page is that is asked for meanwhile.</param>
        /// <param name="count">How many of its values exist.</param>
        public void Expand(in Pages pages, nint offset, nint next, int count)
        {
            int blocks = Dimension / Int8Pages.BlockSize;
            Expand(pages.Keys + offset, _keys, _keyScales, blocks, pages.Keys + next);
            Expand(pages.Values + offset, _values, _valueScales, blocks, pages.Values + next);
            // Those that do not exist have weights of zero, and codes of any value; a scale might be NaN.
            for (int block = 0; count < PageSize && block < blocks; block++)
                new Span<float>(_valueScales + block * PageSize + count, PageSize - count).Clear();
        }

        private void Expand(byte* page, byte* target, float* scales, int blocks, byte* next)
        {
            if (_isAssembled)
            {
                ((delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, void*, void>)Int8Expansion.Kernel)(
                    page, target, scales, blocks, next);
                return;
            }

            for (int block = 0; block < blocks; block++, page += Int8Pages.BlockBytes)
            {
                Int8Pages.WidenScales(page, scales + block * PageSize);
                Int8Pages.WidenCodes(page, (float*)target + (nint)block * PageSize * PageSize);
            }
        }

        /// <summary>scores[rows, 32] = Σ over blocks of fma(queries·codes of the keys, scale of a key, scores), from zero.</summary>
        public void Scores<TSimd, TVector>(float* scores)
            where TSimd : struct, ISimd<TVector>
        {
            new Span<float>(scores, Rows * PageSize).Clear();
            for (int block = 0; block < Dimension / Int8Pages.BlockSize; block++)
            {
                float* scales = _keyScales + block * PageSize;
                if (_isAssembled)
                {
                    _tiles.MultiplyScaled((byte*)_query + (nint)block * TileRows * RowBytes, _keys + (nint)block * BlockBytes,
                        scores, scales);
                    continue;
                }

                Multiply(_query + block * Int8Pages.BlockSize, Dimension, 1, (float*)_keys + (nint)block * PageSize * PageSize,
                    PageSize, _products, PageSize, Rows, Int8Pages.BlockSize, accumulate: false);
                for (int row = 0; row < Rows * PageSize; row += PageSize)
                {
                    for (int lane = 0; lane < PageSize; lane += TSimd.Count)
                        TSimd.Store(scores + row + lane, TSimd.FusedMultiplyAdd(TSimd.Load(_products + row + lane),
                            TSimd.Load(scales + lane), TSimd.Load(scores + row + lane)));
                }
            }
        }

        /// <summary>sum += (p · scale of a value, rounded)·codes of the values; sums in blocks of 32 columns.</summary>
        public void AddValues<TSimd, TVector>(float* p, float* sum)
            where TSimd : struct, ISimd<TVector>
        {
            for (int block = 0; block < Dimension / Int8Pages.BlockSize; block++, sum += TileRows * PageSize)
            {
                float* scales = _valueScales + block * PageSize;
                for (int row = 0; row < Rows * PageSize; row += PageSize)
                {
                    for (int lane = 0; lane < PageSize; lane += TSimd.Count)
                        TSimd.Store(_products + row + lane,
                            TSimd.Multiply(TSimd.Load(p + row + lane), TSimd.Load(scales + lane)));
                }

                if (_isAssembled)
                {
                    _tiles.Pack(_products, (byte*)_weights, PageSize, PageSize);
                    _tiles.Multiply((byte*)_weights, 1, _values + (nint)block * BlockBytes, sum, PageSize / 2);
                    continue;
                }

                BFloat16Pages.Round(_products, Rows * PageSize);
                Multiply(_products, PageSize, 1, (float*)_values + (nint)block * PageSize * PageSize, PageSize, sum, PageSize,
                    Rows, PageSize, accumulate: true);
            }
        }
    }
}
