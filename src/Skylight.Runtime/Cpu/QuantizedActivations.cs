using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

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
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ActivationBlock Round(float* source, int count, int block, int bias, sbyte* codes)
    {
        if (count < block)
            return RoundPart(source, count, block, bias, codes);
        Vector512<float> first = Vector512.Load(source);
        return block == Lanes ? Round16(first, bias, codes) : Round32(first, Vector512.Load(source + Lanes), bias, codes);
    }

    private static ActivationBlock RoundPart(float* source, int count, int block, int bias, sbyte* codes)
    {
        float* padded = stackalloc float[2 * Lanes];
        new Span<float>(padded, block).Clear();
        new ReadOnlySpan<float>(source, count).CopyTo(new Span<float>(padded, count));
        return Round(padded, block, block, bias, codes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ActivationBlock Round16(Vector512<float> values, int bias, sbyte* codes)
    {
        float largest = Largest(Magnitudes(values)), inverse = InverseOf(largest);
        Vector128<sbyte> rounded = Codes(values, inverse);
        rounded.Store(codes);
        return Block(largest, inverse, bias, Sum(rounded));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ActivationBlock Round32(Vector512<float> first, Vector512<float> second, int bias, sbyte* codes)
    {
        float largest = Largest(Vector512.Max(Magnitudes(first), Magnitudes(second))), inverse = InverseOf(largest);
        Vector128<sbyte> low = Codes(first, inverse), high = Codes(second, inverse);
        low.Store(codes);
        high.Store(codes + Lanes);
        return Block(largest, inverse, bias, Sum(low) + Sum(high));
    }

    /// <summary>
    /// 127 / largest; 0, which makes all codes zero, where the block is not finite and where it is so small that this is
    /// infinite.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float InverseOf(float largest)
    {
        float inverse = 127f / largest;
        return inverse <= float.MaxValue ? inverse : 0;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ActivationBlock Block(float largest, float inverse, int bias, int sum)
    {
        float scale = float.IsFinite(largest) ? inverse == 0 ? 0 : largest / 127f : float.NaN;
        return new ActivationBlock { Scale = scale, Start = -bias * sum, ScaledSum = scale * sum, Sum = sum };
    }

    /// <summary>Values times <paramref name="inverse"/>, to nearest even; zeros where that is zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<sbyte> Codes(Vector512<float> values, float inverse)
    {
        // Not finite times zero is not a number, as an integer 0 or −2³¹, whose lowest byte is zero.
        Vector512<float> scaled = values * inverse;
        if (Avx512F.IsSupported)
            return Avx512F.ConvertToVector128SByte(Avx512F.ConvertToVector512Int32(scaled));
        Vector512<int> codes = Vector512.ConvertToInt32Native(Vector512.Round(scaled));
        Vector256<short> half = Vector256.Narrow(codes.GetLower(), codes.GetUpper());
        return Vector128.Narrow(half.GetLower(), half.GetUpper());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Sum(Vector128<sbyte> codes)
    {
        if (!Sse2.IsSupported)
            return Vector128.Sum(Vector128.WidenLower(codes) + Vector128.WidenUpper(codes));
        // As distances from −128, whose sums the processor has.
        const int Each = 128;
        Vector128<long> sums = Sse2.SumAbsoluteDifferences((codes ^ Vector128.Create(sbyte.MinValue)).AsByte(),
            Vector128<byte>.Zero).AsInt64();
        return (int)(sums.ToScalar() + sums.GetElement(1)) - Each * Lanes;
    }

    /// <summary>As integers they have the order of the numbers, with what is not finite on top.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<int> Magnitudes(Vector512<float> values) => Vector512.Abs(values).AsInt32();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Largest(Vector512<int> values)
    {
        Vector256<int> half = Vector256.Max(values.GetLower(), values.GetUpper());
        Vector128<int> quarter = Vector128.Max(half.GetLower(), half.GetUpper());
        quarter = Vector128.Max(quarter, Vector128.Shuffle(quarter, Vector128.Create(2, 3, 0, 1)));
        quarter = Vector128.Max(quarter, Vector128.Shuffle(quarter, Vector128.Create(1, 0, 3, 2)));
        return BitConverter.Int32BitsToSingle(quarter.ToScalar());
    }
}
