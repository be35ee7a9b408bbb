using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Skylight.Cpu;

/// <summary>How the token of a row is chosen.</summary>
/// <param name="Temperature">Divides the logits; above zero.</param>
/// <param name="TopK">How many of the most likely tokens are eligible; 0 for all.</param>
/// <param name="TopP">Only the most likely tokens that together have this probability are eligible; 1 for all.</param>
/// <param name="MinP">Only tokens with this share of the greatest probability are eligible; 0 for all.</param>
/// <param name="Random">64 random bits.</param>
internal readonly record struct TokenChoice(float Temperature, int TopK, float TopP, float MinP, ulong Random)
{
    /// <summary>Whether only the first tokens in order of probability are eligible.</summary>
    public bool Selects(int vocabulary) => (TopK > 0 && TopK < vocabulary) || TopP < 1;
}

/// <summary>
/// Draws tokens from logits. A token's weight is a whole number: e^(x − max x) in units of 2⁻⁴³, rounded to nearest,
/// with x = logit / temperature and e^x from <see cref="VectorMath"/>, whose operations are all exactly rounded. Sums
/// of whole numbers have no order, so every device, thread count and vector width draws the same token for the same
/// logits and random bits. A token of less than 2⁻⁴⁴ of the greatest probability is never drawn.
/// </summary>
/// <remarks>
/// With r random bits of 64, the token is the first of the eligible ones, in vocabulary order, at which the sum of
/// weights exceeds ⌊W·r / 2⁶⁴⌋, where W is the sum of all of them.
/// </remarks>
internal static unsafe class TokenSampler
{
    /// <summary>Weights of so many tokens add up without overflow.</summary>
    public const int LargestVocabulary = 1 << 20;

    /// <summary>
    /// The weight of the most likely token. A segment of 1024 such weights is still exact in double precision.
    /// </summary>
    private const double One = 1L << 43;

    // Adding it to a number from 0 to 2⁵² rounds that to a whole one.
    private const double Rounder = 1L << 52;

    // Where candidates are sought first, in nats below the maximum; then among all tokens.
    private static readonly float[] s_reaches = [3f, 7f, 11f, 15f, float.PositiveInfinity];

    [ThreadStatic]
    private static Candidates? _candidates;

    /// <summary>The first token that has the greatest logit.</summary>
    public static int Greedy(ReadOnlySpan<float> logits, SegmentStatistics* segments, float maximum)
    {
        int segment = 0;
        while (segments[segment].Maximum != maximum)
            segment++;
        int first = segment * VocabularyCore.SegmentWidth;
        return first + logits.Slice(first, VocabularyCore.ColumnsOf(segment, logits.Length)).IndexOf(maximum);
    }

    /// <summary>The sum of the weights of one segment.</summary>
    /// <param name="logits">The segment's logits.</param>
    /// <param name="count">The columns of the segment.</param>
    /// <param name="temperature">Divides the logits.</param>
    /// <param name="maximum">The greatest x of the row.</param>
    public static ulong SumOfWeights(float* logits, int count, float temperature, float maximum)
    {
        float* exponentials = stackalloc float[VocabularyCore.SegmentWidth];
        Exponentials(logits, exponentials, count, temperature, maximum);
        Vector<double> one = new(One), rounder = new(Rounder), sum = Vector<double>.Zero;
        int column = 0;
        for (; column + Vector<float>.Count <= count; column += Vector<float>.Count)
        {
            Vector.Widen(Vector.Load(exponentials + column), out Vector<double> low, out Vector<double> high);
            sum += (low * one + rounder - rounder) + (high * one + rounder - rounder);
        }

        ulong total = (ulong)Vector.Sum(sum);
        for (; column < count; column++)
            total += Weight(exponentials[column]);
        return total;
    }

    /// <summary>Draws a token.</summary>
    /// <param name="logits">The row.</param>
    /// <param name="vocabulary">Its length.</param>
    /// <param name="choice">How.</param>
    /// <param name="maximum">The greatest x of the row; finite.</param>
    /// <param name="segmentWeights">From <see cref="SumOfWeights"/>.</param>
    /// <param name="segments">From <see cref="VocabularyCore"/>.</param>
    public static int Draw(float* logits, int vocabulary, in TokenChoice choice, float maximum, ulong* segmentWeights,
        SegmentStatistics* segments)
    {
        int count = VocabularyCore.SegmentCount(vocabulary);
        ulong total = 0;
        for (int segment = 0; segment < count; segment++)
            total += segmentWeights[segment];
        if (choice.Selects(vocabulary) || choice.MinP > 0)
            return DrawTruncated(new Span<float>(logits, vocabulary), choice, maximum, total, segments);

        ulong target = Target(total, choice.Random), before = 0;
        int drawn = 0;
        while (before + segmentWeights[drawn] <= target)
            before += segmentWeights[drawn++];
        float* line = logits + drawn * VocabularyCore.SegmentWidth;
        float* exponentials = stackalloc float[VocabularyCore.SegmentWidth];
        Exponentials(line, exponentials, VocabularyCore.ColumnsOf(drawn, vocabulary), choice.Temperature, maximum);
        int column = 0;
        while ((before += Weight(exponentials[column])) <= target)
            column++;
        return drawn * VocabularyCore.SegmentWidth + column;
    }

    private static int DrawTruncated(ReadOnlySpan<float> logits, in TokenChoice choice, float maximum, ulong total,
        SegmentStatistics* segments)
    {
        Candidates candidates = _candidates ??= new Candidates();
        int limit = choice.TopK > 0 ? choice.TopK : int.MaxValue;
        ulong needed = choice.TopP < 1 ? Math.Min(total, (ulong)Math.Ceiling((double)choice.TopP * (long)total))
            : ulong.MaxValue;
        float lowest = LogitOfRank(segments, VocabularyCore.SegmentCount(logits.Length), choice);
        foreach (float reach in s_reaches)
        {
            float bound = Math.Max((maximum - reach) * choice.Temperature, lowest);
            ulong weight = candidates.Collect(logits, bound, choice.Temperature, maximum);
            // Below the bound nothing is eligible when enough lies above it.
            if (candidates.Count >= limit || weight >= needed
                || VectorMath.Exp(bound / choice.Temperature - maximum) < 0.999f * choice.MinP)
                break;
        }

        (uint threshold, int ties) = choice.Selects(logits.Length) ? candidates.Select(limit, needed) : (0, 0);
        ulong kept = candidates.Keep(threshold, ties, choice.MinP);
        return candidates.Walk(Target(kept, choice.Random));
    }

    /// <summary>
    /// A logit above which at least top-k tokens lie: as many segments have their greatest there. −∞ where that says
    /// nothing.
    /// </summary>
    private static float LogitOfRank(SegmentStatistics* segments, int count, in TokenChoice choice)
    {
        if (choice.TopK == 0 || choice.TopK > count)
            return float.NegativeInfinity;
        float[] greatest = new float[count];
        for (int segment = 0; segment < count; segment++)
            greatest[segment] = segments[segment].Maximum;
        Array.Sort(greatest);
        // From x to the logit: whatever is lost by rounding must be lost downwards.
        float logit = greatest[count - choice.TopK] * choice.Temperature;
        return logit - Math.Abs(logit) * 1e-6f;
    }

    private static ulong Target(ulong total, ulong random) => Math.BigMul(total, random, out _);

    // The whole number that Rounder leaves is in the lower bits of the sum's significand.
    private static ulong Weight(float exponential) =>
        BitConverter.DoubleToUInt64Bits(exponential * One + Rounder) & ((1UL << 52) - 1);

    /// <summary>Equal logits have equal keys, greater ones greater keys.</summary>
    private static uint Key(float logit)
    {
        uint bits = BitConverter.SingleToUInt32Bits(logit == 0 ? 0f : logit);
        return (bits & 0x80000000) != 0 ? ~bits : bits | 0x80000000;
    }

    /// <summary>e^(logit / temperature − maximum).</summary>
    private static void Exponentials(float* logits, float* exponentials, int count, float temperature, float maximum)
    {
        if (Vector512.IsHardwareAccelerated)
            Exponentials<Simd512, Vector512<float>>(logits, exponentials, count, temperature, maximum);
        else if (Vector256.IsHardwareAccelerated)
            Exponentials<Simd256, Vector256<float>>(logits, exponentials, count, temperature, maximum);
        else
            Exponentials<Simd128, Vector128<float>>(logits, exponentials, count, temperature, maximum);
    }

    private static void Exponentials<TSimd, TVector>(float* logits, float* exponentials, int count, float temperature,
        float maximum)
        where TSimd : struct, ISimd<TVector>
    {
        int whole = count - count % TSimd.Count;
        ExponentialRange<TSimd, TVector>(logits, exponentials, 0, whole, temperature, maximum);
        ExponentialRange<SimdScalar, float>(logits, exponentials, whole, count, temperature, maximum);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ExponentialRange<TSimd, TVector>(float* logits, float* exponentials, int start, int end,
        float temperature, float maximum)
        where TSimd : struct, ISimd<TVector>
    {
        TVector largest = TSimd.Broadcast(maximum), divisor = TSimd.Broadcast(temperature),
            floor = TSimd.Broadcast(VocabularyCore.Floor);
        bool divides = temperature != 1f;
        for (int column = start; column < end; column += TSimd.Count)
        {
            TVector x = VocabularyCore.BelowMaximum<TSimd, TVector>(logits + column, divides, divisor, largest, floor);
            TSimd.Store(exponentials + column, VectorMath.Exp<TSimd, TVector>(x));
        }
    }

    /// <summary>The tokens above a bound, in vocabulary order, of which some are kept.</summary>
    private sealed class Candidates
    {
        private const int Bins = 2048;

        private static readonly (int Shift, int Bits)[] s_digits = [(21, 11), (10, 11), (0, 10)];

        private readonly int[] _counts = new int[Bins];
        private readonly ulong[] _sums = new ulong[Bins];
        private int[] _tokens = [];
        private int[] _selected = [];
        private float[] _logits = [];
        private float[] _exponentials = [];
        private ulong[] _weights = [];

        public int Count { get; private set; }

        /// <summary>Collects the tokens whose logits are not below the bound; gives the sum of their weights.</summary>
        public ulong Collect(ReadOnlySpan<float> logits, float bound, float temperature, float maximum)
        {
            Reserve(logits.Length);
            int[] tokens = _tokens;
            int count = 0, token = 0;
            Vector256<float> bounds = Vector256.Create(bound);
            for (; token + Vector256<float>.Count <= logits.Length; token += Vector256<float>.Count)
            {
                uint mask = Vector256.GreaterThanOrEqual(Vector256.Create(logits[token..]), bounds)
                    .ExtractMostSignificantBits();
                for (; mask != 0; mask &= mask - 1)
                    tokens[count++] = token + BitOperations.TrailingZeroCount(mask);
            }

            for (; token < logits.Length; token++)
            {
                if (logits[token] >= bound)
                    tokens[count++] = token;
            }

            Count = count;
            Span<float> collected = _logits.AsSpan(0, count), exponentials = _exponentials.AsSpan(0, count);
            for (int index = 0; index < collected.Length; index++)
                collected[index] = logits[tokens[index]];
            fixed (float* source = collected, target = exponentials)
                Exponentials(source, target, count, temperature, maximum);
            Span<ulong> weights = _weights.AsSpan(0, count);
            ulong sum = 0;
            for (int index = 0; index < weights.Length; index++)
                sum += weights[index] = Weight(exponentials[index]);
            return sum;
        }

        /// <summary>
        /// In order of falling logits, and of ascending ids among equals: the first tokens that are
        /// <paramref name="limit"/>, or that together weigh <paramref name="needed"/>. By the digits of their keys, so
        /// that nothing is sorted.
        /// </summary>
        /// <returns>The key of the last of them, and how many of those that have it are among them; 0 where all
        /// are.</returns>
        public (uint Threshold, int Ties) Select(int limit, ulong needed)
        {
            int[] counts = _counts;
            ulong[] sums = _sums;
            Span<int> selected = _selected.AsSpan(0, Count);
            ReadOnlySpan<float> logits = _logits.AsSpan(0, Count);
            ReadOnlySpan<ulong> weights = _weights.AsSpan(0, Count);
            for (int index = 0; index < selected.Length; index++)
                selected[index] = index;
            int countBefore = 0;
            ulong weightBefore = 0;
            uint key = 0;
            foreach ((int shift, int bits) in s_digits)
            {
                uint mask = (1u << bits) - 1;
                Array.Clear(counts);
                Array.Clear(sums);
                foreach (int index in selected)
                {
                    uint digit = Key(logits[index]) >> shift & mask;
                    counts[digit]++;
                    sums[digit] += weights[index];
                }

                int bin = (int)mask;
                while (bin >= 0 && countBefore + counts[bin] < limit && weightBefore + sums[bin] < needed)
                {
                    countBefore += counts[bin];
                    weightBefore += sums[bin--];
                }

                if (bin < 0)
                    return (0, 0);
                int left = 0;
                foreach (int index in selected)
                {
                    if ((Key(logits[index]) >> shift & mask) == (uint)bin)
                        selected[left++] = index;
                }

                selected = selected[..left];
                key = key << bits | (uint)bin;
            }

            ulong weight = weights[selected[0]], missing = needed - weightBefore;
            ulong byWeight = weight == 0 ? ulong.MaxValue : missing / weight + (missing % weight == 0 ? 0u : 1u);
            return (key, (int)Math.Min((ulong)Math.Min(limit - countBefore, selected.Length), byWeight));
        }

        /// <summary>Takes the weight from all tokens that are not kept; gives the sum that is left.</summary>
        public ulong Keep(uint threshold, int ties, float minP)
        {
            ReadOnlySpan<float> logits = _logits.AsSpan(0, Count), exponentials = _exponentials.AsSpan(0, Count);
            Span<ulong> weights = _weights.AsSpan(0, Count);
            ulong sum = 0;
            for (int index = 0; index < weights.Length; index++)
            {
                uint key = Key(logits[index]);
                if (key < threshold || (key == threshold && ties-- <= 0) || exponentials[index] < minP)
                    weights[index] = 0;
                sum += weights[index];
            }

            return sum;
        }

        /// <summary>The first token at which the sum of weights exceeds the target.</summary>
        public int Walk(ulong target)
        {
            ReadOnlySpan<ulong> weights = _weights.AsSpan(0, Count);
            int index = 0;
            ulong sum = 0;
            while ((sum += weights[index]) <= target)
                index++;
            return _tokens[index];
        }

        private void Reserve(int size)
        {
            if (_tokens.Length >= size)
                return;
            _tokens = new int[size];
            _selected = new int[size];
            _logits = new float[size];
            _exponentials = new float[size];
            _weights = new ulong[size];
        }
    }
}
