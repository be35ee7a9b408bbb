using System.Runtime.Intrinsics;
using Skylight.Cpu;

namespace Skylight.Tests.Cpu;

public sealed class VectorMathTests
{
    [Fact]
    public void Exp_is_within_two_units_in_the_last_place()
    {
        double worst = 0;
        for (float x = -87; x < 88.7f; x += 0.000937f)
        {
            double exact = Math.Exp(x);
            double unit = MathF.BitIncrement((float)exact) - (float)exact;
            worst = Math.Max(worst, Math.Abs(VectorMath.Exp(x) - exact) / unit);
        }
        Assert.InRange(worst, 0.4, 2.0);
    }

    [Fact]
    public void The_exponential_of_weights_is_far_more_accurate_than_bfloat16()
    {
        for (float x = -87; x < 80; x += 0.000937f)
            Assert.InRange(VectorMath.ExpOfWeight(x) / Math.Exp(x), 1 - 3e-7 - 2e-8 * Math.Abs(x), 1 + 3e-7 + 2e-8 * Math.Abs(x));
        Assert.Equal(1f, VectorMath.ExpOfWeight(0f));
        Assert.Equal(0f, VectorMath.ExpOfWeight(float.NegativeInfinity));
        Assert.Equal(0f, VectorMath.ExpOfWeight(float.MinValue));
        Assert.Equal(0f, VectorMath.ExpOfWeight(-87.1f));
        Assert.True(float.IsNaN(VectorMath.ExpOfWeight(float.NaN)));
    }

    [Fact]
    public void Exp_holds_at_the_edges()
    {
        Assert.Equal(1f, VectorMath.Exp(0f));
        Assert.Equal(1f, VectorMath.Exp(-0f));
        Assert.Equal(0f, VectorMath.Exp(float.NegativeInfinity));
        Assert.Equal(0f, VectorMath.Exp(-1000f));
        Assert.Equal(0f, VectorMath.Exp(float.MinValue));
        Assert.Equal(float.PositiveInfinity, VectorMath.Exp(float.PositiveInfinity));
        Assert.Equal(float.PositiveInfinity, VectorMath.Exp(89f));
        Assert.True(float.IsNaN(VectorMath.Exp(float.NaN)));
        Assert.Equal(1e-42, VectorMath.Exp(MathF.Log(1e-42f)), 3e-45);
    }

    [Fact]
    public void Exp_ends_where_half_of_the_smallest_number_is()
    {
        // Every number between two that lie on either side of −150·ln 2, and far beyond on both.
        for (float x = -103.9f; x > -104.1f; x = MathF.BitDecrement(x))
            Assert.Equal((float)Math.Exp(x), VectorMath.Exp(x));
        for (float x = -87.3f; x > -200; x -= 0.0037f)
            Assert.Equal(Math.Exp(x), VectorMath.Exp(x), 2e-45);
    }

    [Fact]
    public void Erf_is_within_1e_7()
    {
        double worst = 0;
        for (double x = -6; x <= 6; x += 0.00371)
            worst = Math.Max(worst, Math.Abs(VectorMath.Erf((float)x) - ExactErf((float)x)));
        Assert.InRange(worst, 0, 1e-7);
        Assert.Equal(1f, VectorMath.Erf(float.PositiveInfinity));
        Assert.Equal(-1f, VectorMath.Erf(float.NegativeInfinity));
        Assert.Equal(0f, VectorMath.Erf(0f));
        Assert.True(float.IsNaN(VectorMath.Erf(float.NaN)));
    }

    [Fact]
    public void Sigmoid_is_accurate_and_saturates()
    {
        for (double x = -30; x <= 30; x += 0.0137)
        {
            double exact = 1 / (1 + Math.Exp(-(float)x));
            Assert.InRange(VectorMath.Sigmoid((float)x) / exact, 1 - 3e-7, 1 + 3e-7);
        }
        Assert.Equal(0f, VectorMath.Sigmoid(-200f));
        Assert.Equal(1f, VectorMath.Sigmoid(200f));
        Assert.Equal(0.5f, VectorMath.Sigmoid(0f));
    }

    [Fact]
    public void Every_width_gives_the_same_bits()
    {
        float[] special = [0f, -0f, float.NaN, float.PositiveInfinity, float.NegativeInfinity, 88.8f, -88f, -103.5f,
            1e-30f, -1e30f, 0.927734375f, 4f];
        var random = new Random(5);
        for (int round = 0; round < 5000; round++)
        {
            var x = new float[16];
            for (int i = 0; i < 16; i++)
                x[i] = round == 0 && i < special.Length ? special[i]
                    : (float)(random.NextDouble() * 220 - 110) * (round % 2 == 0 ? 1f : 0.04f);
            var exp = Array.ConvertAll(x, VectorMath.Exp);
            var erf = Array.ConvertAll(x, VectorMath.Erf);
            var sigmoid = Array.ConvertAll(x, VectorMath.Sigmoid);
            var actual = new float[16];

            VectorMath.Exp(Vector512.Create(x)).CopyTo(actual);
            GemmReference.AssertSameBits(exp, actual, "exp, 512 bits");
            VectorMath.Exp(Vector256.Create(x)).CopyTo(actual);
            VectorMath.Exp(Vector256.Create(x, 8)).CopyTo(actual, 8);
            GemmReference.AssertSameBits(exp, actual, "exp, 256 bits");
            for (int i = 0; i < 16; i += 4)
                VectorMath.Exp(Vector128.Create(x, i)).CopyTo(actual, i);
            GemmReference.AssertSameBits(exp, actual, "exp, 128 bits");

            float[] weights = Array.ConvertAll(x, VectorMath.ExpOfWeight);
            VectorMath.ExpOfWeight<Simd512, Vector512<float>>(Vector512.Create(x)).CopyTo(actual);
            GemmReference.AssertSameBits(weights, actual, "exp of weights, 512 bits");
            for (int i = 0; i < 16; i += 8)
                VectorMath.ExpOfWeight<Simd256, Vector256<float>>(Vector256.Create(x, i)).CopyTo(actual, i);
            GemmReference.AssertSameBits(weights, actual, "exp of weights, 256 bits");
            for (int i = 0; i < 16; i += 4)
                VectorMath.ExpOfWeight<Simd128, Vector128<float>>(Vector128.Create(x, i)).CopyTo(actual, i);
            GemmReference.AssertSameBits(weights, actual, "exp of weights, 128 bits");

            VectorMath.Erf(Vector512.Create(x)).CopyTo(actual);
            GemmReference.AssertSameBits(erf, actual, "erf, 512 bits");
            for (int i = 0; i < 16; i += 8)
                VectorMath.Erf<Simd256, Vector256<float>>(Vector256.Create(x, i)).CopyTo(actual, i);
            GemmReference.AssertSameBits(erf, actual, "erf, 256 bits");
            for (int i = 0; i < 16; i += 4)
                VectorMath.Erf<Simd128, Vector128<float>>(Vector128.Create(x, i)).CopyTo(actual, i);
            GemmReference.AssertSameBits(erf, actual, "erf, 128 bits");

            VectorMath.Sigmoid(Vector512.Create(x)).CopyTo(actual);
            GemmReference.AssertSameBits(sigmoid, actual, "sigmoid, 512 bits");
            for (int i = 0; i < 16; i += 8)
                VectorMath.Sigmoid<Simd256, Vector256<float>>(Vector256.Create(x, i)).CopyTo(actual, i);
            GemmReference.AssertSameBits(sigmoid, actual, "sigmoid, 256 bits");
            for (int i = 0; i < 16; i += 4)
                VectorMath.Sigmoid<Simd128, Vector128<float>>(Vector128.Create(x, i)).CopyTo(actual, i);
            GemmReference.AssertSameBits(sigmoid, actual, "sigmoid, 128 bits");
        }
    }

    /// <summary>The Maclaurin series below 3, the continued fraction of erfc above: far more than float's digits.</summary>
    private static double ExactErf(double x)
    {
        double t = Math.Abs(x);
        double result;
        if (t < 3)
        {
            double term = t, sum = t;
            for (int n = 1; n < 120; n++)
            {
                term *= -t * t / n;
                sum += term / (2 * n + 1);
            }
            result = 2 / Math.Sqrt(Math.PI) * sum;
        }
        else
        {
            double fraction = t;
            for (int n = 60; n >= 1; n--)
                fraction = t + n / 2.0 / fraction;
            result = 1 - Math.Exp(-t * t) / Math.Sqrt(Math.PI) / fraction;
        }
        return Math.CopySign(result, x);
    }
}
