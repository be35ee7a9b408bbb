using Skylight.Cpu.Assembly;

namespace Skylight.Cpu;

// Products of bfloat16 on the processor's own dot products.
internal static unsafe partial class AttentionCore
{
    private const int RowBytes = 64, PairBytes = 4 * PageSize, BlockBytes = PageSize / 2 * PairBytes;

    /// <summary>Chunks of 32 steps.</summary>
    private static int Chunks(int steps) => (steps + BFloat16Tile.ChunkSteps - 1) / BFloat16Tile.ChunkSteps;

    /// <summary>
    /// Some rows as register tiles of equal height. A call works for a microsecond at most, so that it need not tell the
    /// garbage collector that it has left managed code.
    /// </summary>
    private readonly struct RegisterTiles
    {
        private readonly RowTiling _tiling;
        private readonly delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, nint, void> _tile, _last;
        private readonly delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, nint, void*, void> _ahead,
            _fromZero, _fromZeroAhead;
        private readonly BFloat16Instruction _instruction;

        /// <param name="rows">All rows.</param>
        /// <param name="instruction">What multiplies.</param>
        /// <param name="isConfigured">
        /// Whether a <see cref="MatrixTileScope"/> is in use for these rows, which are one tile.
        /// </param>
        public RegisterTiles(int rows, BFloat16Instruction instruction, bool isConfigured)
        {
            _instruction = instruction;
            _tiling = new RowTiling(rows, BFloat16Kernels.MaxRows(instruction));
            if (instruction == BFloat16Instruction.Matrices && isConfigured && IsOne)
            {
                _tile = _last = (delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, nint, void>)
                    BFloat16Kernels.ConfiguredTile(rows, startsFromZero: false, asksAhead: false);
                _ahead = Configured(rows, startsFromZero: false, asksAhead: true);
                _fromZero = Configured(rows, startsFromZero: true, asksAhead: false);
                _fromZeroAhead = Configured(rows, startsFromZero: true, asksAhead: true);
                return;
            }

            _tile = (delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, nint, void>)
                BFloat16Kernels.Tile(instruction, _tiling.Height);
            _last = (delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, nint, void>)
                BFloat16Kernels.Tile(instruction, _tiling.Last);
            _ahead = !IsOne ? null : (delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, nint, void*, void>)
                BFloat16Kernels.TileAhead(instruction, _tiling.Last);
        }

        /// <summary>Whether all rows are in one tile, which can ask for what comes next.</summary>
        public bool IsOne => _tiling.Count == 1;

        private static delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, nint, void*, void> Configured(
            int rows, bool startsFromZero, bool asksAhead) =>
            (delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, nint, void*, void>)
                BFloat16Kernels.ConfiguredTile(rows, startsFromZero, asksAhead);

        /// <summary>Rows of float32 in the order that <see cref="Multiply"/> takes.</summary>
        public void Pack(float* source, byte* target, nint stride, int steps)
        {
            var pack = (delegate* unmanaged[SuppressGCTransition]<float*, void*, nint, nint, nint, nint, void>)
                BFloat16Kernels.PackRows;
            if (steps <= BFloat16Tile.ChunkSteps)
            {
                // Of one chunk each, tiles lie as rows do.
                pack(source, target, stride * sizeof(float), steps / BFloat16Tile.ChunkSteps,
                    steps % BFloat16Tile.ChunkSteps, (_tiling.Count - 1) * _tiling.Height + _tiling.Last);
                return;
            }

            for (int tile = 0; tile < _tiling.Count; tile++)
            {
                nint first = tile * _tiling.Height;
                pack(source + first * stride, target + first * Chunks(steps) * RowBytes, stride * sizeof(float),
                    steps / BFloat16Tile.ChunkSteps, steps % BFloat16Tile.ChunkSteps, _tiling.HeightOf(tile));
            }
        }

        /// <summary>sums[rows, 32] += a·b over so many pairs of steps; a has chunks for each row.</summary>
        /// <param name="a">The rows.</param>
        /// <param name="chunks">Chunks of a row.</param>
        /// <param name="b">[pairs][32 columns].</param>
        /// <param name="sums">[rows][32].</param>
        /// <param name="pairs">Pairs of steps.</param>
        /// <param name="ahead">What to ask for meanwhile, as large as b; only where <see cref="IsOne"/>.</param>
        public void Multiply(byte* a, int chunks, void* b, float* sums, int pairs, void* ahead = null)
        {
            if (ahead != null && IsOne)
            {
                _ahead(a, b, sums, pairs, 1, ahead);
                return;
            }

            int whole = _tiling.Count - 1;
            if (whole > 0)
                _tile(a, b, sums, pairs, whole);
            nint rows = (nint)whole * _tiling.Height;
            _last(a + rows * chunks * RowBytes, b, sums + rows * PageSize, pairs, 1);
        }

        /// <summary>sums[rows, 32] = a·b: as <see cref="Multiply"/>, from zero.</summary>
        public void MultiplyFromZero(byte* a, int chunks, void* b, float* sums, int pairs, void* ahead = null)
        {
            if (_fromZero != null)
            {
                (ahead == null ? _fromZero : _fromZeroAhead)(a, b, sums, pairs, 1, ahead);
                return;
            }

            int rows = (_tiling.Count - 1) * _tiling.Height + _tiling.Last;
            new Span<float>(sums, rows * PageSize).Clear();
            Multiply(a, chunks, b, sums, pairs, ahead);
        }

        /// <summary>sums[rows, 32] = fma(a·b, scales, sums) for one chunk of 32 steps, a column with its own scale.</summary>
        public void MultiplyScaled(byte* a, void* b, float* sums, float* scales)
        {
            int whole = _tiling.Count - 1;
            if (whole > 0)
                Scaled(_tiling.Height)(a, b, sums, PageSize / 2, whole, scales);
            nint rows = (nint)whole * _tiling.Height;
            Scaled(_tiling.Last)(a + rows * RowBytes, b, sums + rows * PageSize, PageSize / 2, 1, scales);
        }

        private delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, nint, float*, void> Scaled(int rows) =>
            (delegate* unmanaged[SuppressGCTransition]<void*, void*, float*, nint, nint, float*, void>)
                BFloat16Kernels.ScaledTile(_instruction, rows);
    }

    /// <summary>The products of a tile of query rows with pages of bfloat16.</summary>
    private readonly struct RoundedTile
    {
        private readonly RegisterTiles _tiles;
        private readonly int _rows, _dimension;
        private readonly byte* _query, _weights, _block;

        /// <summary>Rounds the queries.</summary>
        /// <param name="scratch"><see cref="Floats"/>.</param>
        /// <param name="query">[rows][D], scaled.</param>
        /// <param name="rows">At most <see cref="TileRows"/>.</param>
        /// <param name="dimension">The width of a head.</param>
        /// <param name="instruction">What multiplies.</param>
        public RoundedTile(float* scratch, float* query, int rows, int dimension, BFloat16Instruction instruction)
        {
            _tiles = new RegisterTiles(rows, instruction, isConfigured: true);
            (_rows, _dimension) = (rows, dimension);
            _query = (byte*)scratch;
            _weights = _query + TileRows * (nint)Chunks(dimension) * RowBytes;
            _block = _weights + TileRows * RowBytes;
            _tiles.Pack(query, _query, dimension, dimension);
        }

        public static nint Floats(int dimension) =>
            (TileRows * ((nint)Chunks(dimension) + 1) * RowBytes + BlockBytes) / sizeof(float);

        /// <summary>Whether <see cref="Scores"/> and <see cref="AddValues"/> ask for the page that comes next.</summary>
        public bool AsksAhead => _tiles.IsOne;

        /// <summary>scores = queries·keys.</summary>
        /// <param name="keys">The page.</param>
        /// <param name="scores">[rows][32].</param>
        /// <param name="next">The keys of the next page; null where there is none.</param>
        public void Scores(byte* keys, float* scores, byte* next)
        {
            _tiles.MultiplyFromZero(_query, Chunks(_dimension), keys, scores, BFloat16Pages.Width(_dimension) / 2, next);
        }

        /// <summary>sum += p·values; sums in blocks of 32 columns.</summary>
        /// <param name="p">[rows][32].</param>
        /// <param name="values">The page.</param>
        /// <param name="sum">The sums.</param>
        /// <param name="keys">How many of the page's values exist.</param>
        /// <param name="next">The values of the next page; null where there is none.</param>
        public void AddValues(float* p, byte* values, float* sum, int keys, byte* next)
        {
            _tiles.Pack(p, _weights, PageSize, PageSize);
            int width = BFloat16Pages.Width(_dimension);
            for (int d = 0; d < width; d += PageSize)
            {
                int columns = Math.Min(PageSize, width - d);
                byte* block = values + (nint)d * (PairBytes / 2);
                if (columns < PageSize || keys < PageSize)
                    block = Complete(block, columns, keys);
                _tiles.Multiply(_weights, 1, block, sum + (nint)d * TileRows, PageSize / 2,
                    next == null ? null : next + (nint)d * (PairBytes / 2));
            }
        }

        /// <summary>
        /// A block as one of 32 keys and 32 columns, with zeros for what does not exist or was not written yet.
        /// </summary>
        private byte* Complete(byte* block, int columns, int keys)
        {
            new Span<byte>(_block, BlockBytes).Clear();
            for (int pair = 0; pair < (keys + 1) / 2; pair++)
                new ReadOnlySpan<uint>(block + pair * columns * sizeof(uint), columns).CopyTo(
                    new Span<uint>(_block + pair * PairBytes, columns));
            if (keys % 2 != 0)
            {
                var lonely = new Span<uint>(_block + keys / 2 * PairBytes, columns);
                System.Numerics.Tensors.TensorPrimitives.BitwiseAnd(lonely, 0xFFFF0000, lonely);
            }

            return _block;
        }
    }
}
