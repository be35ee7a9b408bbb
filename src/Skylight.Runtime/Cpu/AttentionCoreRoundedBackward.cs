using Skylight.Cpu.Assembly;

namespace Skylight.Cpu;

// Operands of the gradient: in float32 (rounded or not), or in the order of the processor's own dot products.
internal static unsafe partial class AttentionCore
{
    /// <summary>The keys and values of a sequence as the gradient's products read them.</summary>
    private readonly struct GradientPages
    {
        private readonly byte* _keys, _values, _keyRows;
        private readonly nint _columnBytes, _rowBytes;

        public GradientPages(in Gradient gradient, int width, float* memory, bool isAssembled)
        {
            int dimension = gradient.Forward.HeadDimension, count = gradient.Count, pages = PageCount(count);
            _columnBytes = isAssembled ? BFloat16Pages.Bytes(dimension) : (nint)PageSize * dimension * sizeof(float);
            _rowBytes = (nint)PageSize * width * (isAssembled ? sizeof(ushort) : sizeof(float));
            _keys = (byte*)memory;
            _values = _keys + pages * _columnBytes;
            _keyRows = _values + pages * _columnBytes;
            if (!isAssembled)
            {
                PackTransposed(gradient.Keys, gradient.Stride, count, dimension, (float*)_keys);
                PackTransposed(gradient.Values, gradient.Stride, count, dimension, (float*)_values);
                PadRows(gradient.Keys, gradient.Stride, count, dimension, (float*)_keyRows, width);
                if (gradient.Rounds)
                {
                    BFloat16Pages.Round((float*)_keys, pages * PageSize * dimension);
                    BFloat16Pages.Round((float*)_values, pages * PageSize * dimension);
                    BFloat16Pages.Round((float*)_keyRows, count * width);
                }

                return;
            }

            for (int page = 0; page < pages; page++)
            {
                nint first = page * PageSize * gradient.Stride;
                int tokens = Math.Min(PageSize, count - page * PageSize);
                BFloat16Pages.PackKeys(gradient.Keys + first, gradient.Stride, tokens, dimension, Keys(page));
                BFloat16Pages.PackKeys(gradient.Values + first, gradient.Stride, tokens, dimension, Values(page));
                PackSteps(gradient.Keys + first, gradient.Stride, tokens, dimension, KeyRows(page));
            }
        }

        /// <summary>Floats of a page.</summary>
        public static nint Floats(int dimension, int width, bool isAssembled) => isAssembled
            ? (2 * BFloat16Pages.Bytes(dimension) + (nint)PageSize * width * sizeof(ushort)) / sizeof(float)
            : 2 * (nint)PageSize * dimension + (nint)PageSize * width;

        /// <summary>Keys as columns.</summary>
        public byte* Keys(int page) => _keys + page * _columnBytes;

        /// <summary>Values as columns.</summary>
        public byte* Values(int page) => _values + page * _columnBytes;

        /// <summary>Keys as rows, padded to the width.</summary>
        public byte* KeyRows(int page) => _keyRows + page * _rowBytes;
    }

    /// <summary>The products of a tile of query rows with a page, there and back.</summary>
    private readonly struct RoundedGradientTile
    {
        private readonly RegisterTiles _rowTiles, _keyTiles;
        private readonly int _rows, _dimension, _width;
        private readonly byte* _query, _gradient, _querySteps, _gradientSteps, _weights, _transposedWeights, _transposed;

        public RoundedGradientTile(float* scratch, float* query, float* outputGradient, int rows, int dimension, int width,
            BFloat16Instruction instruction)
        {
            (_rows, _dimension, _width) = (rows, dimension, width);
            _rowTiles = new RegisterTiles(rows, instruction, isConfigured: rows == PageSize);
            _keyTiles = new RegisterTiles(PageSize, instruction, isConfigured: true);
            nint bytes = (nint)width / PageSize * BlockBytes;
            _query = (byte*)scratch;
            _gradient = _query + bytes;
            _querySteps = _gradient + bytes;
            _gradientSteps = _querySteps + bytes;
            _weights = _gradientSteps + bytes;
            _transposedWeights = _weights + BlockBytes;
            _transposed = _transposedWeights + BlockBytes;
            _rowTiles.Pack(query, _query, width, width);
            _rowTiles.Pack(outputGradient, _gradient, width, width);
            PackSteps(query, width, rows, width, _querySteps);
            PackSteps(outputGradient, width, rows, width, _gradientSteps);
        }

        public static nint Floats(int width) => (4 * (nint)width / PageSize + 3) * BlockBytes / sizeof(float);

        /// <summary>S = Q·Kᵀ and dP = dO·Vᵀ.</summary>
        public void Scores(byte* keys, byte* values, float* scores, float* weightGradients)
        {
            int chunks = _width / PageSize, pairs = BFloat16Pages.Width(_dimension) / 2;
            _rowTiles.MultiplyFromZero(_query, chunks, keys, scores, pairs);
            _rowTiles.MultiplyFromZero(_gradient, chunks, values, weightGradients, pairs);
        }

        /// <summary>dV += Pᵀ·dO, dK += dSᵀ·Q, dQ += dS·K.</summary>
        /// <param name="weights">P; rows that do not exist are 0.</param>
        /// <param name="scoreGradients">dS, likewise.</param>
        /// <param name="keyRows">The page's keys.</param>
        /// <param name="keys">How many of them a row sees at most.</param>
        /// <param name="valueSum">dV of the page.</param>
        /// <param name="keySum">dK of the page.</param>
        /// <param name="queryGradient">dQ.</param>
        public void AddGradients(float* weights, float* scoreGradients, byte* keyRows, int keys, float* valueSum,
            float* keySum, float* queryGradient)
        {
            Transpose(weights, _transposedWeights);
            Transpose(scoreGradients, _transposed);
            _rowTiles.Pack(scoreGradients, _weights, PageSize, PageSize);
            for (int d = 0; d < _width; d += PageSize)
            {
                nint block = (nint)d / PageSize * BlockBytes;
                _keyTiles.Multiply(_transposedWeights, 1, _gradientSteps + block, valueSum + d * PageSize, (_rows + 1) / 2);
                _keyTiles.Multiply(_transposed, 1, _querySteps + block, keySum + d * PageSize, (_rows + 1) / 2);
                _rowTiles.Multiply(_weights, 1, keyRows + block, queryGradient + d * TileRows, (keys + 1) / 2);
            }
        }

        /// <summary>[32 rows][32 keys] as a chunk of 32 steps for each key.</summary>
        private static void Transpose(float* source, byte* target)
        {
            const int Half = PageSize / 2;
            void** targets = stackalloc void*[Half];
            for (int first = 0; first < PageSize; first += Half)
            {
                for (int row = 0; row < Half; row++)
                    targets[row] = target + (first + row) * RowBytes;
                BFloat16Kernels.PackColumns(source + first, PageSize * sizeof(float), targets, Half);
            }
        }
    }

    /// <summary>Rows as steps: blocks of 32 columns, [16 pairs of rows][32 columns] each, filled up with zeros.</summary>
    private static void PackSteps(float* source, nint stride, int rows, int columns, byte* target)
    {
        for (int d = 0; d < columns; d += PageSize)
            BFloat16Kernels.PackSteps(source + d, target + (nint)d / PageSize * BlockBytes, stride * sizeof(float), rows / 2,
                rows % 2, Math.Min(PageSize, columns - d));
    }
}
