using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Skylight.Cpu;

/// <summary>
/// Softmax statistics of rows of logits, and the gradient of what is computed from them. A row is cut into segments of
/// <see cref="SegmentWidth"/> columns: each segment is reduced for itself, and the results are merged in order. The cut
/// depends on the vocabulary alone, so a row gives the same bits whether its logits were stored or made segment by
/// segment, whatever the other rows, the threads or the vector width.
/// </summary>
internal static unsafe class VocabularyCore
{
    /// <summary>Columns per segment; a multiple of the weight's panel width.</summary>
    public const int SegmentWidth = 1024;

    // Below this e^x is 0. A floor keeps 0·(−∞) out of the sums where a logit was masked with −∞.
    internal const float Floor = -105f;

    // Partial sums per segment: more than the widest vector, so that every width adds in the same order.
    private const int Lanes = 64;

    /// <summary>The number of segments of a vocabulary.</summary>
    public static int SegmentCount(int vocabulary) => (vocabulary + SegmentWidth - 1) / SegmentWidth;

    /// <summary>The columns of one segment.</summary>
    public static int ColumnsOf(int segment, int vocabulary) => Math.Min(SegmentWidth, vocabulary - segment * SegmentWidth);

    /// <summary>log p of a token from its logit and the statistics of its row; never above zero.</summary>
    public static float LogProbability(float logit, float temperature, float maximum, float logSum) =>
        (logit / temperature - maximum) - logSum;

    /// <summary>
    /// Reduces one segment of a row; with x = logit / temperature and m the segment's largest x: m, Σ e^(x−m), Σ
    /// e^(x−m)·(x−m).
    /// </summary>
    public static SegmentStatistics Reduce(float* logits, int count, float temperature)
    {
        if (Vector512.IsHardwareAccelerated)
            return Reduce<Simd512, Vector512<float>>(logits, count, temperature);
        if (Vector256.IsHardwareAccelerated)
            return Reduce<Simd256, Vector256<float>>(logits, count, temperature);
        return Reduce<Simd128, Vector128<float>>(logits, count, temperature);
    }

    /// <summary>Merges the segments of a row, in order.</summary>
    public static RowStatistics Merge(SegmentStatistics* segments, int vocabulary)
    {
        int count = SegmentCount(vocabulary);
        float maximum = float.NegativeInfinity;
        for (int segment = 0; segment < count; segment++)
        {
            if (segments[segment].Maximum > maximum)
                maximum = segments[segment].Maximum;
        }

        double sum = 0, weighted = 0;
        for (int segment = 0; segment < count; segment++)
        {
            // Nothing but −∞ there. The sum is NaN, and must stay so, where a logit was.
            if (segments[segment].Sum == 0)
                continue;
            double shift = (double)segments[segment].Maximum - maximum;
            double scale = Math.Exp(shift);
            if (scale == 0 && !float.IsNaN(segments[segment].Sum))
                continue;
            sum += scale * segments[segment].Sum;
            weighted += scale * (segments[segment].WeightedSum + shift * segments[segment].Sum);
        }

        // The largest term is 1 and all of the weighted terms are ≤ 0, so nothing cancels.
        double logSum = Math.Log(sum);
        double entropy = logSum - weighted / sum;
        return new RowStatistics(maximum, (float)logSum, Math.Clamp((float)entropy, 0f, LargestEntropy(vocabulary)));
    }

    /// <summary>
    /// One segment of the gradient of a row's logits: (dlogp·(1[target] − p) − dentropy·p·(log p + entropy)) / temperature.
    /// </summary>
    /// <param name="logits">The segment's logits.</param>
    /// <param name="gradient">Written; may be <paramref name="logits"/> itself.</param>
    /// <param name="count">The columns of the segment.</param>
    /// <param name="target">The target's column within the segment; any other number where it lies elsewhere.</param>
    /// <param name="row">The row's gradients and statistics.</param>
    public static void Gradient(float* logits, float* gradient, int count, int target, in RowGradient row)
    {
        if (Vector512.IsHardwareAccelerated)
            Gradient<Simd512, Vector512<float>>(logits, gradient, count, row);
        else if (Vector256.IsHardwareAccelerated)
            Gradient<Simd256, Vector256<float>>(logits, gradient, count, row);
        else
            Gradient<Simd128, Vector128<float>>(logits, gradient, count, row);
        if ((uint)target < (uint)count)
            gradient[target] += row.LogProbability / row.Temperature;
    }

    /// <summary>ln V, rounded towards zero.</summary>
    public static float LargestEntropy(int vocabulary)
    {
        float rounded = (float)Math.Log(vocabulary);
        return rounded > Math.Log(vocabulary) ? MathF.BitDecrement(rounded) : rounded;
    }

    private static SegmentStatistics Reduce<TSimd, TVector>(float* logits, int count, float temperature)
        where TSimd : struct, ISimd<TVector>
    {
        int whole = count - count % TSimd.Count;
        // Division keeps the order, so the largest quotient is that of the largest logit.
        float maximum = Largest<TSimd, TVector>(logits, whole);
        for (int column = whole; column < count; column++)
        {
            if (logits[column] > maximum)
                maximum = logits[column];
        }

        maximum /= temperature;
        // Where every column is −∞, the differences from 0 are too, and nothing is added.
        float origin = float.IsNegativeInfinity(maximum) ? 0 : maximum;
        float* sums = stackalloc float[2 * Lanes];
        new Span<float>(sums, 2 * Lanes).Clear();
        AddExponentials<TSimd, TVector>(logits, 0, whole, temperature, origin, sums, sums + Lanes);
        AddExponentials<SimdScalar, float>(logits, whole, count, temperature, origin, sums, sums + Lanes);
        for (int half = Lanes / 2; half > 0; half /= 2)
        {
            for (int lane = 0; lane < half; lane++)
            {
                sums[lane] += sums[lane + half];
                sums[Lanes + lane] += sums[Lanes + lane + half];
            }
        }

        return new SegmentStatistics(maximum, sums[0], sums[Lanes]);
    }

    private static float Largest<TSimd, TVector>(float* logits, int count)
        where TSimd : struct, ISimd<TVector>
    {
        TVector largest = TSimd.Broadcast(float.NegativeInfinity);
        for (int column = 0; column < count; column += TSimd.Count)
        {
            TVector x = TSimd.Load(logits + column);
            largest = TSimd.SelectGreater(x, largest, x, largest);
        }

        float* lanes = stackalloc float[Lanes];
        TSimd.Store(lanes, largest);
        float maximum = float.NegativeInfinity;
        for (int lane = 0; lane < TSimd.Count; lane++)
        {
            if (lanes[lane] > maximum)
                maximum = lanes[lane];
        }

        return maximum;
    }

    /// <summary>
    /// logit / temperature − maximum, at least the floor: the exponents of every probability, whoever asks for it.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static TVector BelowMaximum<TSimd, TVector>(float* logits, bool divides, TVector divisor, TVector maximum,
        TVector floor)
        where TSimd : struct, ISimd<TVector>
    {
        TVector x = TSimd.Load(logits);
        if (divides)
            x = TSimd.Divide(x, divisor);
        x = TSimd.Subtract(x, maximum);
        return TSimd.SelectGreater(floor, x, floor, x);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddExponentials<TSimd, TVector>(float* logits, int start, int end, float temperature,
        float maximum, float* sums, float* weightedSums)
        where TSimd : struct, ISimd<TVector>
    {
        TVector largest = TSimd.Broadcast(maximum), divisor = TSimd.Broadcast(temperature), floor = TSimd.Broadcast(Floor);
        bool divides = temperature != 1f;
        for (int column = start; column < end; column += TSimd.Count)
        {
            TVector x = BelowMaximum<TSimd, TVector>(logits + column, divides, divisor, largest, floor);
            TVector exponential = VectorMath.Exp<TSimd, TVector>(x);
            int lane = column % Lanes;
            TSimd.Store(sums + lane, TSimd.Add(TSimd.Load(sums + lane), exponential));
            TSimd.Store(weightedSums + lane, TSimd.FusedMultiplyAdd(exponential, x, TSimd.Load(weightedSums + lane)));
        }
    }

    private static void Gradient<TSimd, TVector>(float* logits, float* gradient, int count, in RowGradient row)
        where TSimd : struct, ISimd<TVector>
    {
        int whole = count - count % TSimd.Count;
        GradientRange<TSimd, TVector>(logits, gradient, 0, whole, row);
        GradientRange<SimdScalar, float>(logits, gradient, whole, count, row);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void GradientRange<TSimd, TVector>(float* logits, float* gradient, int start, int end, in RowGradient row)
        where TSimd : struct, ISimd<TVector>
    {
        TVector largest = TSimd.Broadcast(row.Maximum), logSum = TSimd.Broadcast(row.LogSum),
            divisor = TSimd.Broadcast(row.Temperature);
        TVector constant = TSimd.Broadcast(-(row.LogProbability + row.Entropy * row.EntropyValue) / row.Temperature);
        TVector slope = TSimd.Broadcast(-row.Entropy / row.Temperature), floor = TSimd.Broadcast(Floor);
        bool divides = row.Temperature != 1f;
        for (int column = start; column < end; column += TSimd.Count)
        {
            TVector x = TSimd.Load(logits + column);
            if (divides)
                x = TSimd.Divide(x, divisor);
            x = TSimd.Subtract(TSimd.Subtract(x, largest), logSum);
            x = TSimd.SelectGreater(floor, x, floor, x);
            TVector probability = VectorMath.Exp<TSimd, TVector>(x);
            TSimd.Store(gradient + column, TSimd.Multiply(probability, TSimd.FusedMultiplyAdd(slope, x, constant)));
        }
    }
}

/// <summary>A segment of a row: m = max x, Σ e^(x−m), Σ e^(x−m)·(x−m).</summary>
internal readonly record struct SegmentStatistics(float Maximum, float Sum, float WeightedSum);

/// <summary>A row: max x, log Σ e^(x−max) (never negative) and the entropy in nats.</summary>
internal readonly record struct RowStatistics(float Maximum, float LogSum, float Entropy);

/// <summary>What the gradient of a row's logits is made of.</summary>
/// <param name="LogProbability">The gradient of the target's log-probability.</param>
/// <param name="Entropy">The gradient of the entropy.</param>
/// <param name="EntropyValue">The entropy; anything finite where its gradient is zero.</param>
/// <param name="Maximum">See <see cref="RowStatistics"/>.</param>
/// <param name="LogSum">See <see cref="RowStatistics"/>.</param>
/// <param name="Temperature">The temperature.</param>
internal readonly record struct RowGradient(float LogProbability, float Entropy, float EntropyValue, float Maximum,
    float LogSum, float Temperature);
