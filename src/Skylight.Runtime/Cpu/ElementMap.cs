using System.Runtime.Intrinsics;

namespace Skylight.Cpu;

/// <summary>A function of one element, in any width; the remainder goes through it one by one, with the same bits.</summary>
internal interface IUnaryFunction
{
    static abstract TVector Of<TSimd, TVector>(TVector x)
        where TSimd : struct, ISimd<TVector>;
}

/// <summary>A function of two elements, likewise.</summary>
internal interface IBinaryFunction
{
    static abstract TVector Of<TSimd, TVector>(TVector a, TVector b)
        where TSimd : struct, ISimd<TVector>;
}

/// <summary>Applies a function to each element of a range. The result may take an operand's place.</summary>
internal static unsafe class ElementMap
{
    /// <summary>y = f(x).</summary>
    public static void Apply<TFunction>(float* x, float* y, int count)
        where TFunction : struct, IUnaryFunction
    {
        if (Vector512.IsHardwareAccelerated)
            Apply<TFunction, Simd512, Vector512<float>>(x, y, count);
        else if (Vector256.IsHardwareAccelerated)
            Apply<TFunction, Simd256, Vector256<float>>(x, y, count);
        else
            Apply<TFunction, Simd128, Vector128<float>>(x, y, count);
    }

    /// <summary>y = f(a, b).</summary>
    public static void Apply<TFunction>(float* a, float* b, float* y, int count)
        where TFunction : struct, IBinaryFunction
    {
        if (Vector512.IsHardwareAccelerated)
            Apply<TFunction, Simd512, Vector512<float>>(a, b, y, count);
        else if (Vector256.IsHardwareAccelerated)
            Apply<TFunction, Simd256, Vector256<float>>(a, b, y, count);
        else
            Apply<TFunction, Simd128, Vector128<float>>(a, b, y, count);
    }

    private static void Apply<TFunction, TSimd, TVector>(float* x, float* y, int count)
        where TFunction : struct, IUnaryFunction
        where TSimd : struct, ISimd<TVector>
    {
        int index = 0;
        for (; index <= count - TSimd.Count; index += TSimd.Count)
            TSimd.Store(y + index, TFunction.Of<TSimd, TVector>(TSimd.Load(x + index)));
        for (; index < count; index++)
            y[index] = TFunction.Of<SimdScalar, float>(x[index]);
    }

    private static void Apply<TFunction, TSimd, TVector>(float* a, float* b, float* y, int count)
        where TFunction : struct, IBinaryFunction
        where TSimd : struct, ISimd<TVector>
    {
        int index = 0;
        for (; index <= count - TSimd.Count; index += TSimd.Count)
            TSimd.Store(y + index, TFunction.Of<TSimd, TVector>(TSimd.Load(a + index), TSimd.Load(b + index)));
        for (; index < count; index++)
            y[index] = TFunction.Of<SimdScalar, float>(a[index], b[index]);
    }
}
