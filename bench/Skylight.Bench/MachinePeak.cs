using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Skylight.Cpu;

namespace Skylight.Bench;

/// <summary>What the machine can do at most, measured with loops that do nothing else.</summary>
internal static unsafe class MachinePeak
{
    private const int Steps = 800_000;
    private const int Chains = 16;

    /// <summary>Floating-point operations of one <see cref="FusedMultiplyAdds"/>.</summary>
    public static double FusedMultiplyAddFlops =>
        2.0 * Steps * Chains * CpuParallel.ThreadCount
            * (Vector512.IsHardwareAccelerated ? 16 : Vector256.IsHardwareAccelerated ? 8 : 4);

    private static float _sink;

    /// <summary>Fused multiply-adds on registers only, on every thread.</summary>
    public static void FusedMultiplyAdds() => CpuParallel.For(CpuParallel.ThreadCount, _ => FusedMultiplyAddsOnThisThread());

    /// <summary>One thread's part: it takes as long as all together where every thread has a core to itself.</summary>
    public static void FusedMultiplyAddsOnThisThread()
    {
        float sum;
        if (Vector512.IsHardwareAccelerated)
            sum = FusedMultiplyAdds<Simd512, Vector512<float>>();
        else if (Vector256.IsHardwareAccelerated)
            sum = FusedMultiplyAdds<Simd256, Vector256<float>>();
        else
            sum = FusedMultiplyAdds<Simd128, Vector128<float>>();
        Volatile.Write(ref _sink, sum);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static float FusedMultiplyAdds<TSimd, TVector>()
        where TSimd : struct, ISimd<TVector>
    {
        TVector x = TSimd.Broadcast(0.999f), y = TSimd.Broadcast(0.001f);
        TVector a0 = x, a1 = x, a2 = x, a3 = x, a4 = x, a5 = x, a6 = x, a7 = x;
        TVector b0 = y, b1 = y, b2 = y, b3 = y, b4 = y, b5 = y, b6 = y, b7 = y;
        for (int i = 0; i < Steps; i++)
        {
            a0 = TSimd.FusedMultiplyAdd(a0, x, y);
            a1 = TSimd.FusedMultiplyAdd(a1, x, y);
            a2 = TSimd.FusedMultiplyAdd(a2, x, y);
            a3 = TSimd.FusedMultiplyAdd(a3, x, y);
            a4 = TSimd.FusedMultiplyAdd(a4, x, y);
            a5 = TSimd.FusedMultiplyAdd(a5, x, y);
            a6 = TSimd.FusedMultiplyAdd(a6, x, y);
            a7 = TSimd.FusedMultiplyAdd(a7, x, y);
            b0 = TSimd.FusedMultiplyAdd(b0, x, y);
            b1 = TSimd.FusedMultiplyAdd(b1, x, y);
            b2 = TSimd.FusedMultiplyAdd(b2, x, y);
            b3 = TSimd.FusedMultiplyAdd(b3, x, y);
            b4 = TSimd.FusedMultiplyAdd(b4, x, y);
            b5 = TSimd.FusedMultiplyAdd(b5, x, y);
            b6 = TSimd.FusedMultiplyAdd(b6, x, y);
            b7 = TSimd.FusedMultiplyAdd(b7, x, y);
        }
        TVector sum = TSimd.Add(TSimd.Add(TSimd.Add(a0, a1), TSimd.Add(a2, a3)),
            TSimd.Add(TSimd.Add(a4, a5), TSimd.Add(a6, a7)));
        sum = TSimd.Add(sum,
            TSimd.Add(TSimd.Add(TSimd.Add(b0, b1), TSimd.Add(b2, b3)), TSimd.Add(TSimd.Add(b4, b5), TSimd.Add(b6, b7))));
        float* lanes = stackalloc float[16];
        TSimd.Store(lanes, sum);
        return lanes[0];
    }

    /// <summary>
    /// Reads a buffer on every thread, adding its floats. Each thread follows four streams at once: one alone
    /// leaves the memory waiting.
    /// </summary>
    public static void Read(float* buffer, long floats)
    {
        const long Piece = 1 << 18;
        CpuParallel.For((int)(floats / Piece), piece => Volatile.Write(ref _sink, Sum(buffer + piece * Piece, Piece / 4)));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static float Sum(float* buffer, long stream)
    {
        Vector512<float> a = default, b = default, c = default, d = default, e = default, f = default, g = default,
            h = default;
        float* p0 = buffer, p1 = p0 + stream, p2 = p1 + stream, p3 = p2 + stream;
        for (long i = 0; i < stream; i += 32)
        {
            a += Vector512.Load(p0 + i);
            b += Vector512.Load(p0 + i + 16);
            c += Vector512.Load(p1 + i);
            d += Vector512.Load(p1 + i + 16);
            e += Vector512.Load(p2 + i);
            f += Vector512.Load(p2 + i + 16);
            g += Vector512.Load(p3 + i);
            h += Vector512.Load(p3 + i + 16);
        }
        return Vector512.Sum(a + b + (c + d) + (e + f + (g + h)));
    }
}
