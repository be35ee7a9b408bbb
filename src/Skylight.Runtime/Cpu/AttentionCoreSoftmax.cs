using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Skylight.Cpu;

// What happens to the scores of one page, and to the running sums.
internal static unsafe partial class AttentionCore
{
    private static ReadOnlySpan<float> Lanes =>
    [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
    ];

    /// <summary>The offsets in a page as floats; constant data, which does not move.</summary>
    private static float* LanePointer => (float*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(Lanes));

    /// <summary>The online softmax of a tile of rows.</summary>
    private struct SoftmaxState
    {
        /// <summary>[TileRows][32]: a page's scores, then its p.</summary>
        public float* Scores;

        /// <summary>[TileRows][32]: the sums of p, by offset in the page.</summary>
        public float* Weights;

        /// <summary>[TileRows]: the greatest score yet.</summary>
        public float* Maximum;

        /// <summary>[TileRows]: the greatest score of the page.</summary>
        public float* PageMaximum;

        /// <summary>[TileRows]: the factor on older sums.</summary>
        public float* Correction;

        /// <summary>Nothing seen yet.</summary>
        public readonly void Start(int rows)
        {
            new Span<float>(Weights, rows * PageSize).Clear();
            new Span<float>(Maximum, TileRows).Fill(float.NegativeInfinity);
            // Rows that do not exist take part in whole vectors of rows.
            new Span<float>(PageMaximum, TileRows).Clear();
        }
    }

    /// <summary>The exponential of attention in float32.</summary>
    private readonly struct FullExponential : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Of<TSimd, TVector>(TVector x)
            where TSimd : struct, ISimd<TVector> => VectorMath.Exp<TSimd, TVector>(x);
    }

    /// <summary>That of attention whose operands are rounded.</summary>
    private readonly struct WeightExponential : IUnaryFunction
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TVector Of<TSimd, TVector>(TVector x)
            where TSimd : struct, ISimd<TVector> => VectorMath.ExpOfWeight<TSimd, TVector>(x);
    }

    /// <summary>Scores become p; the maxima, corrections and sums go on.</summary>
    private static void SoftmaxPage<TSimd, TVector, TExponential>(in SoftmaxState state, int rows, bool masked,
        int* visible, int pageStart)
        where TSimd : struct, ISimd<TVector>
        where TExponential : struct, IUnaryFunction
    {
        for (int row = 0; row < rows; row++)
        {
            float* scores = state.Scores + row * PageSize;
            state.PageMaximum[row] = masked && visible[row] - pageStart < PageSize
                ? Greatest<TSimd, TVector>(scores, visible[row] - pageStart)
                : Greatest<TSimd, TVector>(scores);
        }

        for (int row = 0; row < rows; row += TSimd.Count)
        {
            TVector old = TSimd.Load(state.Maximum + row), page = TSimd.Load(state.PageMaximum + row);
            TVector maximum = TSimd.SelectGreater(page, old, page, old);
            TSimd.Store(state.Correction + row, TExponential.Of<TSimd, TVector>(TSimd.Subtract(old, maximum)));
            TSimd.Store(state.Maximum + row, maximum);
        }

        for (int row = 0; row < rows; row++)
        {
            float* scores = state.Scores + row * PageSize;
            float* weights = state.Weights + row * PageSize;
            TVector maximum = TSimd.Broadcast(state.Maximum[row]), correction = TSimd.Broadcast(state.Correction[row]);
            if (masked && visible[row] - pageStart < PageSize)
                ExponentialsOfVisible<TSimd, TVector, TExponential>(scores, maximum, visible[row] - pageStart);
            else
                Exponentials<TSimd, TVector, TExponential>(scores, maximum);
            for (int lane = 0; lane < PageSize; lane += TSimd.Count)
                TSimd.Store(weights + lane,
                    TSimd.FusedMultiplyAdd(TSimd.Load(weights + lane), correction, TSimd.Load(scores + lane)));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Greatest<TSimd, TVector>(float* scores)
        where TSimd : struct, ISimd<TVector>
    {
        TVector greatest = TSimd.Load(scores);
        for (int lane = TSimd.Count; lane < PageSize; lane += TSimd.Count)
        {
            TVector other = TSimd.Load(scores + lane);
            greatest = TSimd.SelectGreater(other, greatest, other, greatest);
        }

        return MaximumAcross<TSimd, TVector>(greatest);
    }

    /// <summary>The greatest of the lanes before the limit; the others may hold anything.</summary>
    private static float Greatest<TSimd, TVector>(float* scores, int limit)
        where TSimd : struct, ISimd<TVector>
    {
        TVector end = TSimd.Broadcast(limit), hidden = TSimd.Broadcast(float.NegativeInfinity), greatest = hidden;
        float* lanes = LanePointer;
        for (int lane = 0; lane < PageSize; lane += TSimd.Count)
        {
            TVector other = TSimd.SelectGreater(end, TSimd.Load(lanes + lane), TSimd.Load(scores + lane), hidden);
            greatest = TSimd.SelectGreater(other, greatest, other, greatest);
        }

        return MaximumAcross<TSimd, TVector>(greatest);
    }

    /// <summary>scores = exp(scores − shift).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Exponentials<TSimd, TVector, TExponential>(float* scores, TVector shift)
        where TSimd : struct, ISimd<TVector>
        where TExponential : struct, IUnaryFunction
    {
        for (int lane = 0; lane < PageSize; lane += TSimd.Count)
            TSimd.Store(scores + lane,
                TExponential.Of<TSimd, TVector>(TSimd.Subtract(TSimd.Load(scores + lane), shift)));
    }

    /// <summary>
    /// The same for the lanes before the limit; 0 for the others, whatever they hold. Those pass through the
    /// exponential as 0, not as −∞: results that underflow are slow on many processors.
    /// </summary>
    private static void ExponentialsOfVisible<TSimd, TVector, TExponential>(float* scores, TVector shift, int limit)
        where TSimd : struct, ISimd<TVector>
        where TExponential : struct, IUnaryFunction
    {
        TVector end = TSimd.Broadcast(limit);
        float* lanes = LanePointer;
        for (int lane = 0; lane < PageSize; lane += TSimd.Count)
        {
            TVector index = TSimd.Load(lanes + lane);
            TVector difference = TSimd.SelectGreater(end, index, TSimd.Subtract(TSimd.Load(scores + lane), shift),
                TSimd.Zero);
            TSimd.Store(scores + lane,
                TSimd.SelectGreater(end, index, TExponential.Of<TSimd, TVector>(difference), TSimd.Zero));
        }
    }

    /// <summary>sum[r] ·= correction[r]; a factor of one changes nothing and is skipped.</summary>
    private static void Correct<TSimd, TVector>(float* sum, float* correction, int rows, int dimension)
        where TSimd : struct, ISimd<TVector>
    {
        for (int row = 0; row < rows; row++)
        {
            float factor = correction[row];
            if (factor == 1f)
                continue;
            TVector factors = TSimd.Broadcast(factor);
            for (int block = 0; block < dimension; block += PageSize)
            {
                // The last block may have fewer columns; what lies behind them is no sum.
                float* target = sum + (nint)block * TileRows + row * PageSize;
                for (int column = 0; column < PageSize; column += TSimd.Count)
                    TSimd.Store(target + column, TSimd.Multiply(TSimd.Load(target + column), factors));
            }
        }
    }

    /// <summary>
    /// target = source · factor + 0: the last term makes −0 to 0, whose sign would depend on the rows beside.
    /// </summary>
    private static void Rescale<TSimd, TVector>(float* source, float factor, float* target, int count)
        where TSimd : struct, ISimd<TVector>
    {
        TVector factors = TSimd.Broadcast(factor);
        int index = 0;
        for (; index <= count - TSimd.Count; index += TSimd.Count)
            TSimd.Store(target + index, TSimd.Add(TSimd.Multiply(TSimd.Load(source + index), factors), TSimd.Zero));
        for (; index < count; index++)
            target[index] = source[index] * factor + 0f;
    }

    /// <summary>The same for a row of sums in blocks of 32 columns.</summary>
    private static void RescaleBlocks<TSimd, TVector>(float* source, int blockRows, float factor, float* target, int count)
        where TSimd : struct, ISimd<TVector>
    {
        for (int d = 0; d < count; d += PageSize)
            Rescale<TSimd, TVector>(source + (nint)d * blockRows, factor, target + d, Math.Min(PageSize, count - d));
    }

    /// <summary>sum[r, d] += Σ_j p[r, j]·values[j, d], j ascending.</summary>
    private static void AddValues<TSimd, TVector>(float* p, float* values, float* sum, int rows, int dimension, int keys)
        where TSimd : struct, ISimd<TVector>
    {
        int d = 0;
        for (; d <= dimension - PageSize; d += PageSize)
            Multiply(p, PageSize, 1, values + d, dimension, sum + (nint)d * TileRows, PageSize, rows, keys,
                accumulate: true);
        if (d == dimension)
            return;
        // The last block's columns from its own pointer, so that a column d is at sum + d.
        sum += (nint)d * TileRows - d;
        d = AddValueColumns<TSimd, TVector>(p, values, sum, rows, dimension, keys, d);
        if (TSimd.Count > 8)
            d = AddValueColumns<Simd256, Vector256<float>>(p, values, sum, rows, dimension, keys, d);
        if (TSimd.Count > 4)
            d = AddValueColumns<Simd128, Vector128<float>>(p, values, sum, rows, dimension, keys, d);
        AddValueColumns<SimdScalar, float>(p, values, sum, rows, dimension, keys, d);
    }

    /// <summary>The columns from <paramref name="d"/> on, one vector wide, while whole vectors are left.</summary>
    /// <returns>The first column that is left.</returns>
    private static int AddValueColumns<TSimd, TVector>(float* p, float* values, float* sum, int rows, int dimension,
        int keys, int d)
        where TSimd : struct, ISimd<TVector>
    {
        for (; d <= dimension - TSimd.Count; d += TSimd.Count)
        {
            int row = 0;
            for (; row <= rows - 4; row += 4)
                AddFourRows<TSimd, TVector>(p + row * PageSize, values + d, sum + row * PageSize + d, dimension, keys);
            for (; row < rows; row++)
            {
                float* target = sum + row * PageSize + d;
                float* weight = p + row * PageSize;
                TVector c = TSimd.Load(target);
                for (int key = 0; key < keys; key++)
                    c = TSimd.FusedMultiplyAdd(TSimd.Broadcast(weight[key]),
                        TSimd.Load(values + (nint)key * dimension + d), c);
                TSimd.Store(target, c);
            }
        }

        return d;
    }

    private static void AddFourRows<TSimd, TVector>(float* p, float* values, float* sum, nint dimension, int keys)
        where TSimd : struct, ISimd<TVector>
    {
        TVector c0 = TSimd.Load(sum), c1 = TSimd.Load(sum + PageSize);
        TVector c2 = TSimd.Load(sum + 2 * PageSize), c3 = TSimd.Load(sum + 3 * PageSize);
        for (int key = 0; key < keys; key++)
        {
            TVector value = TSimd.Load(values);
            c0 = TSimd.FusedMultiplyAdd(TSimd.Broadcast(p[0]), value, c0);
            c1 = TSimd.FusedMultiplyAdd(TSimd.Broadcast(p[PageSize]), value, c1);
            c2 = TSimd.FusedMultiplyAdd(TSimd.Broadcast(p[2 * PageSize]), value, c2);
            c3 = TSimd.FusedMultiplyAdd(TSimd.Broadcast(p[3 * PageSize]), value, c3);
            p++;
            values += dimension;
        }

        TSimd.Store(sum, c0);
        TSimd.Store(sum + PageSize, c1);
        TSimd.Store(sum + 2 * PageSize, c2);
        TSimd.Store(sum + 3 * PageSize, c3);
    }

    /// <summary>The sum of 32 floats by halving, in one order for every vector width.</summary>
    private static float SumOfLanes(float* lanes)
    {
        Vector128<float> a = (Vector128.Load(lanes) + Vector128.Load(lanes + 16))
            + (Vector128.Load(lanes + 8) + Vector128.Load(lanes + 24));
        Vector128<float> b = (Vector128.Load(lanes + 4) + Vector128.Load(lanes + 20))
            + (Vector128.Load(lanes + 12) + Vector128.Load(lanes + 28));
        Vector128<float> c = a + b;
        return (c.GetElement(0) + c.GetElement(2)) + (c.GetElement(1) + c.GetElement(3));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float MaximumAcross<TSimd, TVector>(TVector value)
        where TSimd : struct, ISimd<TVector>
    {
        if (TSimd.Count == 16)
        {
            Vector512<float> wide = Unsafe.As<TVector, Vector512<float>>(ref value);
            return MaximumAcross(Greater(wide.GetLower(), wide.GetUpper()));
        }

        if (TSimd.Count == 8)
            return MaximumAcross(Unsafe.As<TVector, Vector256<float>>(ref value));
        return MaximumAcross(Unsafe.As<TVector, Vector128<float>>(ref value));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float MaximumAcross(Vector256<float> value) =>
        MaximumAcross(Simd128.SelectGreater(value.GetLower(), value.GetUpper(), value.GetLower(), value.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Greater(Vector256<float> a, Vector256<float> b) => Simd256.SelectGreater(a, b, a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float MaximumAcross(Vector128<float> value)
    {
        Vector128<float> other = Vector128.Shuffle(value, Vector128.Create(2, 3, 0, 1));
        value = Simd128.SelectGreater(value, other, value, other);
        other = Vector128.Shuffle(value, Vector128.Create(1, 0, 3, 2));
        return Simd128.SelectGreater(value, other, value, other).ToScalar();
    }
}
