using System.Numerics;

namespace Skylight.Cpu;

/// <summary>A function of one element, for vectors and for the remainder; both must give the same bits.</summary>
internal interface IUnaryFunction
{
    static abstract Vector<float> Of(Vector<float> x);

    static abstract float Of(float x);
}

/// <summary>A function of two elements, for vectors and for the remainder; both must give the same bits.</summary>
internal interface IBinaryFunction
{
    static abstract Vector<float> Of(Vector<float> a, Vector<float> b);

    static abstract float Of(float a, float b);
}

/// <summary>Applies a function to each element of a range. The result may take an operand's place.</summary>
internal static unsafe class ElementMap
{
    /// <summary>y = f(x).</summary>
    public static void Apply<TFunction>(float* x, float* y, int count)
        where TFunction : struct, IUnaryFunction
    {
        int index = 0;
        for (; index <= count - Vector<float>.Count; index += Vector<float>.Count)
            TFunction.Of(Vector.Load(x + index)).Store(y + index);
        for (; index < count; index++)
            y[index] = TFunction.Of(x[index]);
    }

    /// <summary>y = f(a, b).</summary>
    public static void Apply<TFunction>(float* a, float* b, float* y, int count)
        where TFunction : struct, IBinaryFunction
    {
        int index = 0;
        for (; index <= count - Vector<float>.Count; index += Vector<float>.Count)
            TFunction.Of(Vector.Load(a + index), Vector.Load(b + index)).Store(y + index);
        for (; index < count; index++)
            y[index] = TFunction.Of(a[index], b[index]);
    }
}
