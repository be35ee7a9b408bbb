using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Skylight.Cpu;

/// <summary>
/// Elementary functions over float vectors. Every width runs the same sequence of exactly rounded operations,
/// so a value's result never depends on the machine's vector width or on its place in a loop.
/// </summary>
internal static class VectorMath
{
    // 1.5 · 2^23: adding it rounds to an integer.
    private const float Rounder = 12582912f;
    private const float ExponentBias = 8388608f + 127f;

    /// <summary>e^x within 2 units in the last place; 0 below about −104, +∞ above about 88.72, NaN for NaN.</summary>
    public static float Exp(float x) => Exp<SimdScalar, float>(x);

    /// <inheritdoc cref="Exp(float)"/>
    public static Vector128<float> Exp(Vector128<float> x) => Exp<Simd128, Vector128<float>>(x);

    /// <inheritdoc cref="Exp(float)"/>
    public static Vector256<float> Exp(Vector256<float> x) => Exp<Simd256, Vector256<float>>(x);

    /// <inheritdoc cref="Exp(float)"/>
    public static Vector512<float> Exp(Vector512<float> x) => Exp<Simd512, Vector512<float>>(x);

    /// <summary>The error function within 1e-7.</summary>
    public static float Erf(float x) => Erf<SimdScalar, float>(x);

    /// <inheritdoc cref="Erf(float)"/>
    public static Vector512<float> Erf(Vector512<float> x) => Erf<Simd512, Vector512<float>>(x);

    /// <summary>1 / (1 + e^−x).</summary>
    public static float Sigmoid(float x) => Sigmoid<SimdScalar, float>(x);

    /// <inheritdoc cref="Sigmoid(float)"/>
    public static Vector512<float> Sigmoid(Vector512<float> x) => Sigmoid<Simd512, Vector512<float>>(x);

    /// <summary>
    /// x = n·ln 2 + r, |r| ≤ ln 2 / 2; e^r by the polynomial of Cephes' expf; then two halves of 2^n, so that
    /// results below the normal range and above the largest float come out of the multiplications by themselves.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Exp<TSimd, TVector>(TVector x)
        where TSimd : struct, ISimd<TVector>
    {
        // By comparison, so that NaN stays NaN.
        TVector high = TSimd.Broadcast(89f), low = TSimd.Broadcast(-104f), zero = TSimd.Broadcast(0f);
        x = TSimd.SelectGreater(x, high, high, x);
        // From here down e^x is zero. Results too small for the format cost an Intel processor a hundred cycles each, and
        // masked scores and logits are many.
        TVector inside = TSimd.SelectGreater(low, x, zero, x);
        TVector p = Reduce<TSimd, TVector>(inside, out TVector n);
        TVector rounder = TSimd.Broadcast(Rounder), exponentBias = TSimd.Broadcast(ExponentBias);
        TVector half = TSimd.Subtract(TSimd.FusedMultiplyAdd(n, TSimd.Broadcast(0.5f), rounder), rounder);
        TVector rest = TSimd.Subtract(n, half);
        p = TSimd.Multiply(p, TSimd.ShiftIntoExponent(TSimd.Add(half, exponentBias)));
        p = TSimd.Multiply(p, TSimd.ShiftIntoExponent(TSimd.Add(rest, exponentBias)));
        return TSimd.SelectGreater(low, x, zero, p);
    }

    /// <summary>
    /// The same for x between −80 and 80, or NaN, where neither limits nor halves are needed: the same bits with fewer steps.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector ExpOfModerate<TSimd, TVector>(TVector x)
        where TSimd : struct, ISimd<TVector>
    {
        TVector p = Reduce<TSimd, TVector>(x, out TVector n);
        return TSimd.Multiply(p, TSimd.ShiftIntoExponent(TSimd.Add(n, TSimd.Broadcast(ExponentBias))));
    }

    /// <inheritdoc cref="ExpOfWeight{TSimd, TVector}"/>
    public static float ExpOfWeight(float x) => ExpOfWeight<SimdScalar, float>(x);

    /// <summary>
    /// e^x for −87 ≤ x ≤ 80 within a few units in the last place and a relative 2e-8·|x|, exactly 1 at 0, 0 below −87, NaN for
    /// NaN: half the steps of <see cref="Exp(float)"/>, for weights that are rounded to bfloat16. The polynomial is a minimax
    /// of 2^f, |f| ≤ ½, through 1.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector ExpOfWeight<TSimd, TVector>(TVector x)
        where TSimd : struct, ISimd<TVector>
    {
        TVector toPowers = TSimd.Broadcast(1.44269504088896341f), rounder = TSimd.Broadcast(Rounder);
        TVector shifted = TSimd.FusedMultiplyAdd(x, toPowers, rounder);
        TVector f = TSimd.FusedMultiplyAdd(x, toPowers, TSimd.Subtract(rounder, shifted));
        TVector p = TSimd.Broadcast(0.001326472731307149f);
        p = TSimd.FusedMultiplyAdd(p, f, TSimd.Broadcast(0.009671512991189957f));
        p = TSimd.FusedMultiplyAdd(p, f, TSimd.Broadcast(0.05550733581185341f));
        p = TSimd.FusedMultiplyAdd(p, f, TSimd.Broadcast(0.24022242426872253f));
        p = TSimd.FusedMultiplyAdd(p, f, TSimd.Broadcast(0.6931470036506653f));
        p = TSimd.FusedMultiplyAdd(p, f, TSimd.Broadcast(1f));
        // The lowest bits of what was shifted are the exponent.
        p = TSimd.Multiply(p, TSimd.ShiftIntoExponent(TSimd.Add(shifted, TSimd.Broadcast(127f))));
        return TSimd.SelectGreater(TSimd.Broadcast(-87f), x, TSimd.Zero, p);
    }

    /// <summary>e^r, and n.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Reduce<TSimd, TVector>(TVector x, out TVector n)
        where TSimd : struct, ISimd<TVector>
    {
        TVector rounder = TSimd.Broadcast(Rounder);
        n = TSimd.Subtract(TSimd.FusedMultiplyAdd(x, TSimd.Broadcast(1.44269504088896341f), rounder), rounder);
        TVector r = TSimd.FusedMultiplyAdd(n, TSimd.Broadcast(-0.693359375f), x);
        r = TSimd.FusedMultiplyAdd(n, TSimd.Broadcast(2.12194440e-4f), r);

        TVector p = TSimd.Broadcast(1.9875691500e-4f);
        p = TSimd.FusedMultiplyAdd(p, r, TSimd.Broadcast(1.3981999507e-3f));
        p = TSimd.FusedMultiplyAdd(p, r, TSimd.Broadcast(8.3334519073e-3f));
        p = TSimd.FusedMultiplyAdd(p, r, TSimd.Broadcast(4.1665795894e-2f));
        p = TSimd.FusedMultiplyAdd(p, r, TSimd.Broadcast(1.6666665459e-1f));
        p = TSimd.FusedMultiplyAdd(p, r, TSimd.Broadcast(5.0000001201e-1f));
        p = TSimd.FusedMultiplyAdd(p, TSimd.Multiply(r, r), r);
        return TSimd.Add(p, TSimd.Broadcast(1f));
    }

    /// <summary>
    /// N. Juffa's two minimax pieces: an odd polynomial near zero, 1 − exp of a polynomial outside. Beyond 4
    /// the result rounds to ±1.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Erf<TSimd, TVector>(TVector x)
        where TSimd : struct, ISimd<TVector>
    {
        TVector four = TSimd.Broadcast(4f);
        TVector t = TSimd.Abs(x);
        t = TSimd.SelectGreater(t, four, four, t);
        TVector s = TSimd.Multiply(t, t);

        TVector outer = TSimd.FusedMultiplyAdd(TSimd.Broadcast(-1.72853470e-5f), t, TSimd.Broadcast(3.83197126e-4f));
        TVector u = TSimd.FusedMultiplyAdd(TSimd.Broadcast(-3.88396438e-3f), t, TSimd.Broadcast(2.42546219e-2f));
        outer = TSimd.FusedMultiplyAdd(outer, s, u);
        outer = TSimd.FusedMultiplyAdd(outer, t, TSimd.Broadcast(-1.06777877e-1f));
        outer = TSimd.FusedMultiplyAdd(outer, t, TSimd.Broadcast(-6.34846687e-1f));
        outer = TSimd.FusedMultiplyAdd(outer, t, TSimd.Broadcast(-1.28717512e-1f));
        outer = TSimd.FusedMultiplyAdd(outer, t, TSimd.Subtract(TSimd.Zero, t));
        outer = TSimd.Subtract(TSimd.Broadcast(1f), ExpOfModerate<TSimd, TVector>(outer));
        outer = TSimd.CopySign(outer, x);

        TVector inner = TSimd.Broadcast(-5.96761703e-4f);
        inner = TSimd.FusedMultiplyAdd(inner, s, TSimd.Broadcast(4.99119423e-3f));
        inner = TSimd.FusedMultiplyAdd(inner, s, TSimd.Broadcast(-2.67681349e-2f));
        inner = TSimd.FusedMultiplyAdd(inner, s, TSimd.Broadcast(1.12819925e-1f));
        inner = TSimd.FusedMultiplyAdd(inner, s, TSimd.Broadcast(-3.76125336e-1f));
        inner = TSimd.FusedMultiplyAdd(inner, s, TSimd.Broadcast(1.28379166e-1f));
        inner = TSimd.FusedMultiplyAdd(inner, x, x);

        return TSimd.SelectGreater(t, TSimd.Broadcast(0.927734375f), outer, inner);
    }

    /// <summary>1 / (1 + e^−x) from the exponential above; 0 and 1 in the limits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Sigmoid<TSimd, TVector>(TVector x)
        where TSimd : struct, ISimd<TVector>
    {
        TVector one = TSimd.Broadcast(1f);
        return TSimd.Divide(one, TSimd.Add(one, Exp<TSimd, TVector>(TSimd.Subtract(TSimd.Zero, x))));
    }
}
