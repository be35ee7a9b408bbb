using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace Skylight.Cpu;

/// <summary>How the elements of a panel are stored and widened, and whether they come from main memory.</summary>
internal unsafe interface IPanelElement
{
    /// <summary>Bytes per element.</summary>
    static abstract int Size { get; }

    /// <summary>Loads a vector of consecutive elements as floats.</summary>
    static abstract TVector Load<TSimd, TVector>(byte* source) where TSimd : struct, ISimd<TVector>;

    /// <summary>Called once per step with the address that the step read.</summary>
    static abstract void Prefetch(byte* source);
}

/// <summary>float32 elements that are in a cache or will be read by many rows.</summary>
internal readonly unsafe struct FloatElement : IPanelElement
{
    public static int Size => sizeof(float);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load<TSimd, TVector>(byte* source) where TSimd : struct,
        ISimd<TVector> => TSimd.Load((float*)source);

    public static void Prefetch(byte* source)
    {
    }
}

/// <summary>bfloat16 elements that are in a cache or will be read by many rows.</summary>
internal readonly unsafe struct BFloat16Element : IPanelElement
{
    public static int Size => sizeof(ushort);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load<TSimd, TVector>(byte* source) where TSimd : struct,
        ISimd<TVector> => TSimd.LoadBFloat16((ushort*)source);

    public static void Prefetch(byte* source)
    {
    }
}

/// <summary>
/// Elements read once from main memory. One panel is a single stream, which the hardware's prefetcher follows
/// within a page only; asking for the line two pages ahead takes 4 to 12 rows from 60–30 % of the read bandwidth
/// to 80–50 % on Zen 5. An address past the end of memory is ignored by the instruction.
/// </summary>
internal readonly unsafe struct Streamed<TElement> : IPanelElement
    where TElement : struct, IPanelElement
{
    private const int Ahead = 8192;

    public static int Size => TElement.Size;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Load<TSimd, TVector>(byte* source) where TSimd : struct,
        ISimd<TVector> => TElement.Load<TSimd, TVector>(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Prefetch(byte* source)
    {
        if (!Sse.IsSupported)
            return;
        // A step is a row of 32 elements: a cache line of bfloat16, two of float32.
        Sse.Prefetch0(source + Ahead);
        if (TElement.Size == sizeof(float))
            Sse.Prefetch0(source + Ahead + 64);
    }
}
