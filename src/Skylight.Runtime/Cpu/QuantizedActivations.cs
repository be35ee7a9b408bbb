using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Skylight.Cpu;

/// <summary>What a block of a row of activations is, beside its codes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ActivationBlock
{
    /// <summary>The scale s: value ≈ s · code.</summary>
    public float Scale;

    /// <summary>
    /// −bias · Σ codes, which the sum of products starts from, because the weight's codes have the bias in them.
    /// </summary>
    public int Start;

    /// <summary>s · Σ codes, which minimums are multiplied with.</summary>
    public float ScaledSum;

    /// <summary>Σ codes, which zeros are multiplied with.</summary>
    public float Sum;
}

/// <summary>
/// Rounds rows of activations to signed bytes, with a scale for each block of a row: s = max |x| / 127, code = x · (127 /
/// max |x|) to nearest even. A row's codes depend on nothing but the row. A block that is not finite has a scale of NaN, so
/// that its row's results are.
/// </summary>
internal static unsafe class QuantizedActivations
{
    private const int Lanes = 16;

    /// <summary>Rounds one block.</summary>
    /// <param name="source">Its values.</param>
    /// <param name="count">How many there are: at most <paramref name="block"/>.</param>
    /// <param name="block">16 or 32.</param>
    /// <param name="bias">The weight's.</param>
    /// <param name="codes">As many as a block has; filled up with zeros.</param>
    public static ActivationBlock Round(float* source, int count, int block, int bias, sbyte* codes)
    {
        float* padded = stackalloc float[2 * Lanes];
        if (count < block)
        {
            new Span<float>(padded, block).Clear();
            new ReadOnlySpan<float>(source, count).CopyTo(new Span<float>(padded, count));
            source = padded;
        }

        Vector512<float> first = Vector512.Load(source),
            second = block == Lanes ? Vector512<float>.Zero : Vector512.Load(source + Lanes);
        // As integers magnitudes have the order of the numbers, with what is not finite on top.
        int most = Largest(Vector512.Max(Vector512.Abs(first).AsInt32(), Vector512.Abs(second).AsInt32()));
        float largest = BitConverter.Int32BitsToSingle(most), inverse = 127f / largest;
        new Span<sbyte>(codes, block).Clear();
        if (!float.IsFinite(largest))
            return new ActivationBlock { Scale = float.NaN, ScaledSum = float.NaN };
        // So small that 127 / max is infinite: zero.
        if (!float.IsFinite(inverse))
            return default;
        Vector512<int> low = Codes(first, inverse), high = Codes(second, inverse);
        Store(low, codes);
        if (block > Lanes)
            Store(high, codes + Lanes);
        int sum = Vector512.Sum(low + high);
        float scale = largest / 127f;
        return new ActivationBlock { Scale = scale, Start = -bias * sum, ScaledSum = scale * sum, Sum = sum };
    }

    private static Vector512<int> Codes(Vector512<float> values, float inverse) =>
        Vector512.ConvertToInt32Native(Vector512.Round(values * inverse));

    private static void Store(Vector512<int> codes, sbyte* target)
    {
        Vector256<short> half = Vector256.Narrow(codes.GetLower(), codes.GetUpper());
        Vector128.Narrow(half.GetLower(), half.GetUpper()).Store(target);
    }

    private static int Largest(Vector512<int> values)
    {
        Vector256<int> half = Vector256.Max(values.GetLower(), values.GetUpper());
        Vector128<int> quarter = Vector128.Max(half.GetLower(), half.GetUpper());
        quarter = Vector128.Max(quarter, Vector128.Shuffle(quarter, Vector128.Create(2, 3, 0, 1)));
        quarter = Vector128.Max(quarter, Vector128.Shuffle(quarter, Vector128.Create(1, 0, 3, 2)));
        return quarter.ToScalar();
    }
}
