using Skylight.Cpu;
using Skylight.Tensors;

namespace Skylight.Tests.Cpu;

/// <summary>The definition of a product: one chain of fused multiply-adds per element, terms ascending.</summary>
internal static class GemmReference
{
    public static float[] Random(int count, int seed)
    {
        var random = new Random(seed);
        var values = new float[count];
        for (int i = 0; i < count; i++)
            values[i] = (float)(random.NextDouble() * 2 - 1) * MathF.Pow(2, random.Next(-3, 4));
        return values;
    }

    /// <summary>One of the orders of sums below.</summary>
    public delegate void Chain(
        Func<int, int, float> a, Func<int, int, float> b, float[] c, int ldc, int M, int N, int K, bool accumulate,
        float[]? bias = null);

    /// <summary>c[m, n] (+)= Σ_k a(m, k)·b(k, n) (+ bias[n]).</summary>
    public static void Multiply(
        Func<int, int, float> a, Func<int, int, float> b, float[] c, int ldc, int M, int N, int K, bool accumulate,
        float[]? bias = null)
    {
        for (int m = 0; m < M; m++)
        {
            for (int n = 0; n < N; n++)
            {
                float sum = accumulate ? c[m * ldc + n] : 0f;
                for (int k = 0; k < K; k++)
                    sum = MathF.FusedMultiplyAdd(a(m, k), b(k, n), sum);
                c[m * ldc + n] = bias == null ? sum : sum + bias[n];
            }
        }
    }

    /// <summary>
    /// The same as <c>tdpbf16ps</c> has it: of 32 terms the even ones are a chain from zero and the odd ones another; their sum
    /// is added.
    /// </summary>
    public static void MultiplyInChunks(
        Func<int, int, float> a, Func<int, int, float> b, float[] c, int ldc, int M, int N, int K, bool accumulate,
        float[]? bias = null)
    {
        for (int m = 0; m < M; m++)
        {
            for (int n = 0; n < N; n++)
            {
                float sum = accumulate ? c[m * ldc + n] : 0f;
                for (int first = 0; first < K; first += 32)
                {
                    float even = 0, odd = 0;
                    for (int k = first; k < Math.Min(first + 32, K); k += 2)
                    {
                        even = MathF.FusedMultiplyAdd(a(m, k), b(k, n), even);
                        if (k + 1 < K)
                            odd = MathF.FusedMultiplyAdd(a(m, k + 1), b(k + 1, n), odd);
                    }

                    sum += even + odd;
                }

                c[m * ldc + n] = bias == null ? sum : sum + bias[n];
            }
        }
    }

    public static float[] ToPanels(float[] weight, int N, int K)
    {
        var panels = new float[WeightPanels.ElementCount(N, K)];
        for (int n = 0; n < N; n++)
            for (int k = 0; k < K; k++)
                panels[WeightPanels.IndexOf(n, k, K)] = weight[n * K + k];
        return panels;
    }

    public static ushort[] ToBits(float[] values) => Array.ConvertAll(values, value => ((BFloat16)value).Bits);

    public static float[] RoundToBFloat16(float[] values) => Array.ConvertAll(values, value => (float)(BFloat16)value);

    public static void AssertSameBits(float[] expected, float[] actual, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
        {
            // Which NaN an instruction makes depends on the order of its operands; that it is one does not.
            if (float.IsNaN(expected[i]) && float.IsNaN(actual[i]))
                continue;
            if (BitConverter.SingleToInt32Bits(expected[i]) != BitConverter.SingleToInt32Bits(actual[i]))
                Assert.Fail($"{what}: element {i} is {actual[i]:R}, not {expected[i]:R}");
        }
    }
}
