using System.Numerics;

namespace Skylight.Cpu;

/// <summary>
/// Sums over one row in a fixed order that depends on the row's length alone, never on its address: a row's result must
/// not depend on where it lies in the batch. (<c>TensorPrimitives</c> leaves the order of its sums open.)
/// </summary>
internal static unsafe class RowMath
{
    /// <summary>Σ x.</summary>
    public static float Sum(float* x, int count) => Reduce<First>(x, x, count);

    /// <summary>Σ x².</summary>
    public static float SumOfSquares(float* x, int count) => Reduce<Product>(x, x, count);

    /// <summary>Σ a·b.</summary>
    public static float Dot(float* a, float* b, int count) => Reduce<Product>(a, b, count);

    private static float Reduce<TTerm>(float* a, float* b, int count)
        where TTerm : struct, ITerm
    {
        Vector<float> sum0 = Vector<float>.Zero, sum1 = Vector<float>.Zero, sum2 = Vector<float>.Zero,
            sum3 = Vector<float>.Zero;
        int width = Vector<float>.Count, index = 0;
        for (; index <= count - 4 * width; index += 4 * width)
        {
            sum0 += TTerm.Of(Vector.Load(a + index), Vector.Load(b + index));
            sum1 += TTerm.Of(Vector.Load(a + index + width), Vector.Load(b + index + width));
            sum2 += TTerm.Of(Vector.Load(a + index + 2 * width), Vector.Load(b + index + 2 * width));
            sum3 += TTerm.Of(Vector.Load(a + index + 3 * width), Vector.Load(b + index + 3 * width));
        }

        for (; index <= count - width; index += width)
            sum0 += TTerm.Of(Vector.Load(a + index), Vector.Load(b + index));
        float total = Vector.Sum(sum0 + sum1 + (sum2 + sum3));
        for (; index < count; index++)
            total += TTerm.Of(a[index], b[index]);
        return total;
    }

    private interface ITerm
    {
        static abstract Vector<float> Of(Vector<float> a, Vector<float> b);

        static abstract float Of(float a, float b);
    }

    private readonly struct First : ITerm
    {
        public static Vector<float> Of(Vector<float> a, Vector<float> b) => a;

        public static float Of(float a, float b) => a;
    }

    private readonly struct Product : ITerm
    {
        public static Vector<float> Of(Vector<float> a, Vector<float> b) => a * b;

        public static float Of(float a, float b) => a * b;
    }
}
