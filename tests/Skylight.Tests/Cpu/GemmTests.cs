using Skylight.Cpu;
using Skylight.Tensors;

namespace Skylight.Tests.Cpu;

/// <summary>
/// Every product against the scalar chain, bit for bit. Outputs stand in larger arrays whose rest must survive.
/// </summary>
[Collection(CpuThreadsCollection.Name)]
public sealed unsafe class GemmTests : IDisposable
{
    private const float Untouched = -12345f;
    private readonly int _threads = CpuParallel.ThreadCount;

    public void Dispose() => CpuParallel.ThreadCount = _threads;

    public static TheoryData<int, int, int> Shapes()
    {
        var data = new TheoryData<int, int, int>();
        for (int m = 1; m <= 30; m++)
            data.Add(m, 31 + m, 7 * m);
        foreach ((int m, int n, int k) in new[]
        {
            (1, 1, 1), (1, 33, 1), (2, 5, 3), (5, 32, 1), (13, 95, 2), (1, 257, 300), (2, 257, 300), (3, 130, 515),
            (12, 64, 256),
            (12, 70, 257), (24, 64, 512), (25, 96, 513), (64, 64, 64), (100, 100, 100), (131, 67, 700), (290, 33, 40),
            (600, 257, 270),
            (7, 9, 0), (300, 40, 0), (100, 40, 1100), (13, 40, 2100),
        })
        {
            if (!VectorWidthTests.IsNarrowed || (long)m * n * k < 5_000_000)
                data.Add(m, n, k);
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void MultiplyWeight_is_the_scalar_chain(int M, int N, int K)
    {
        int ldx = K + 3, ldy = N + 2;
        float[] x = GemmReference.Random(M * ldx, 1), weight = GemmReference.Random(N * K, 2),
            bias = GemmReference.Random(N, 3);
        float[] rounded = GemmReference.RoundToBFloat16(weight);
        foreach (bool half in new[] { false, true })
        {
            float[] w = half ? rounded : weight;
            float[] panels = GemmReference.ToPanels(w, N, K);
            ushort[] bits = GemmReference.ToBits(panels);
            foreach (float[]? b in new[] { null, bias })
            {
                float[] expected = Filled(M * ldy);
                GemmReference.Multiply((m, k) => x[m * ldx + k], (k, n) => w[n * K + k], expected, ldy, M, N, K, false, b);
                foreach (int threads in new[] { 1, 2 })
                {
                    CpuParallel.ThreadCount = threads;
                    float[] actual = Filled(M * ldy);
                    fixed (float* px = x, pp = panels, pb = b, py = actual)
                    fixed (ushort* ph = bits)
                        Gemm.MultiplyWeight(px, ldx, half ? ph : pp, half ? DataType.BFloat16 : DataType.Float32, pb,
                            py, ldy, M, N, K);
                    GemmReference.AssertSameBits(expected, actual,
                        $"M {M} N {N} K {K} bfloat16 {half} bias {b != null} threads {threads}");
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void MultiplyWeightTransposed_is_the_scalar_chain(int M, int N, int K)
    {
        int lddy = N + 1, lddx = K + 5;
        float[] dy = GemmReference.Random(M * lddy, 4), weight = GemmReference.Random(N * K, 5),
            old = GemmReference.Random(M * lddx, 6);
        float[] rounded = GemmReference.RoundToBFloat16(weight);
        foreach (bool half in new[] { false, true })
        {
            float[] w = half ? rounded : weight;
            float[] panels = GemmReference.ToPanels(w, N, K);
            ushort[] bits = GemmReference.ToBits(panels);
            foreach (bool accumulate in new[] { false, true })
            {
                var expected = (float[])old.Clone();
                GemmReference.Multiply((m, n) => dy[m * lddy + n], (n, k) => w[n * K + k], expected, lddx, M, K, N,
                    accumulate);
                foreach (int threads in new[] { 1, 2 })
                {
                    CpuParallel.ThreadCount = threads;
                    var actual = (float[])old.Clone();
                    fixed (float* pdy = dy, pp = panels, pdx = actual)
                    fixed (ushort* ph = bits)
                        Gemm.MultiplyWeightTransposed(pdy, lddy, half ? ph : pp, half ? DataType.BFloat16
                            : DataType.Float32, pdx, lddx, M, N, K, accumulate);
                    GemmReference.AssertSameBits(expected, actual,
                        $"M {M} N {N} K {K} bfloat16 {half} accumulate {accumulate} threads {threads}");
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void WeightGradient_is_the_scalar_chain(int K, int N, int M)
    {
        int ldx = K + 1, lddy = N + 4;
        float[] x = GemmReference.Random(M * ldx, 7), dy = GemmReference.Random(M * lddy, 8);
        float[] old = GemmReference.ToPanels(GemmReference.Random(N * K, 9), N, K);
        foreach (bool accumulate in new[] { false, true })
        {
            var expected = (float[])old.Clone();
            for (int n = 0; n < N; n++)
            {
                for (int k = 0; k < K; k++)
                {
                    float sum = accumulate ? old[WeightPanels.IndexOf(n, k, K)] : 0f;
                    for (int m = 0; m < M; m++)
                        sum = MathF.FusedMultiplyAdd(dy[m * lddy + n], x[m * ldx + k], sum);
                    expected[WeightPanels.IndexOf(n, k, K)] = sum;
                }
            }
            foreach (int threads in new[] { 1, 2 })
            {
                CpuParallel.ThreadCount = threads;
                var actual = (float[])old.Clone();
                if (!accumulate)
                    Array.Fill(actual, Untouched);
                fixed (float* px = x, pdy = dy, pw = actual)
                    Gemm.WeightGradient(px, ldx, pdy, lddy, pw, M, N, K, accumulate);
                GemmReference.AssertSameBits(expected, actual,
                    $"M {M} N {N} K {K} accumulate {accumulate} threads {threads}");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Multiply_is_the_scalar_chain(int M, int N, int K)
    {
        float[] old = GemmReference.Random(M * (N + 1), 12);
        foreach (bool transposeA in new[] { false, true })
        {
            int lda = (transposeA ? M : K) + 2;
            float[] a = GemmReference.Random((transposeA ? K : M) * lda, 10);
            foreach (bool transposeB in new[] { false, true })
            {
                int ldb = (transposeB ? K : N) + 3;
                float[] b = GemmReference.Random((transposeB ? N : K) * ldb, 11);
                bool accumulate = transposeA != transposeB;
                var expected = (float[])old.Clone();
                GemmReference.Multiply(
                    (m, k) => transposeA ? a[k * lda + m] : a[m * lda + k], (k, n) => transposeB ? b[n * ldb + k]
                        : b[k * ldb + n],
                    expected, N + 1, M, N, K, accumulate);
                foreach (int threads in new[] { 1, 2 })
                {
                    CpuParallel.ThreadCount = threads;
                    var actual = (float[])old.Clone();
                    fixed (float* pa = a, pb = b, pc = actual)
                        Gemm.Multiply(pa, lda, transposeA, pb, ldb, transposeB, pc, N + 1, M, N, K, accumulate);
                    GemmReference.AssertSameBits(expected, actual,
                        $"M {M} N {N} K {K} transposed {transposeA} {transposeB} threads {threads}");
                }
            }
        }
    }

    [Theory]
    [InlineData(1, 0, 1, 5)]
    [InlineData(2, 1, 2, 17)]
    [InlineData(3, 0, 5, 64)]
    [InlineData(30, 2, 3, 600)]
    public void MultiplyWeightRange_is_part_of_the_whole(int M, int firstPanel, int panelCount, int K)
    {
        const int N = 150;
        float[] x = GemmReference.Random(M * K, 1);
        float[] panels = GemmReference.ToPanels(GemmReference.RoundToBFloat16(GemmReference.Random(N * K, 2)), N, K);
        ushort[] bits = GemmReference.ToBits(panels);
        var whole = new float[M * N];
        int columns = panelCount * WeightPanels.Width;
        float[] part = Filled(M * columns), halfPart = Filled(M * columns);
        fixed (float* px = x, pp = panels, pw = whole, py = part, pz = halfPart)
        fixed (ushort* ph = bits)
        {
            Gemm.MultiplyWeight(px, K, pp, DataType.Float32, null, pw, N, M, N, K);
            Gemm.MultiplyWeightRange(px, K, pp, DataType.Float32, py, columns, M, firstPanel, panelCount, K);
            Gemm.MultiplyWeightRange(px, K, ph, DataType.BFloat16, pz, columns, M, firstPanel, panelCount, K);
        }
        var expected = new float[M * columns];
        for (int m = 0; m < M; m++)
            for (int j = 0; j < columns && firstPanel * WeightPanels.Width + j < N; j++)
                expected[m * columns + j] = whole[m * N + firstPanel * WeightPanels.Width + j];
        GemmReference.AssertSameBits(expected, part, "float32");
        GemmReference.AssertSameBits(expected, halfPart, "bfloat16");
    }

    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(5, 32, 9)]
    [InlineData(12, 17, 40)]
    [InlineData(29, 32, 64)]
    [InlineData(31, 7, 128)]
    [InlineData(64, 31, 0)]
    public void Tile_is_the_scalar_chain(int rows, int columns, int k)
    {
        float[] a = GemmReference.Random(rows * (k + 1) + 1, 1), b = GemmReference.Random(k * 40 + 1, 2),
            old = GemmReference.Random(rows * 50, 3);
        foreach (bool transposed in new[] { false, true })
        {
            foreach (bool accumulate in new[] { false, true })
            {
                int rowStride = transposed ? 1 : k + 1, stepStride = transposed ? rows : 1;
                var expected = (float[])old.Clone();
                GemmReference.Multiply((r, s) => a[r * rowStride + s * stepStride], (s, j) => b[s * 40 + j], expected,
                    50, rows, columns, k, accumulate);
                var actual = (float[])old.Clone();
                fixed (float* pa = a, pb = b, pc = actual)
                    Gemm.Tile(pa, rowStride, stepStride, pb, 40, pc, 50, rows, columns, k, accumulate);
                GemmReference.AssertSameBits(expected, actual, $"transposed {transposed} accumulate {accumulate}");
            }
        }
    }

    /// <summary>The golden rule seen from outside: a row alone and the same row among others.</summary>
    [Fact]
    public void A_row_does_not_depend_on_the_others()
    {
        const int M = 200, N = 96, K = 1000;
        float[] x = GemmReference.Random(M * K, 1), panels = GemmReference.ToPanels(GemmReference.Random(N * K, 2), N, K);
        var whole = new float[M * N];
        var single = new float[M * N];
        fixed (float* px = x, pp = panels, pw = whole, ps = single)
        {
            Gemm.MultiplyWeight(px, K, pp, DataType.Float32, null, pw, N, M, N, K);
            for (int m = 0; m < M; m++)
                Gemm.MultiplyWeight(px + m * K, K, pp, DataType.Float32, null, ps + m * N, N, 1, N, K);
        }
        GemmReference.AssertSameBits(whole, single, "row");
    }

    /// <summary>Rows that are whole pages apart take a path of their own.</summary>
    [Theory]
    [InlineData(5)]
    [InlineData(12)]
    [InlineData(30)]
    public void Rows_pages_apart_give_the_same_bits(int M)
    {
        const int N = 260, K = 1000, PageFloats = 1024;
        float[] x = GemmReference.Random(M * PageFloats, 1),
            panels = GemmReference.ToPanels(GemmReference.Random(N * K, 2), N, K);
        var close = new float[M * K];
        for (int m = 0; m < M; m++)
            Array.Copy(x, m * PageFloats, close, m * K, K);
        var expected = new float[M * N];
        var actual = new float[M * N];
        fixed (float* px = x, pq = close, pp = panels, pe = expected, pa = actual)
        {
            for (int m = 0; m < M; m++)
                Gemm.MultiplyWeight(pq + m * K, K, pp, DataType.Float32, null, pe + m * N, N, 1, N, K);
            Gemm.MultiplyWeight(px, PageFloats, pp, DataType.Float32, null, pa, N, M, N, K);
        }
        GemmReference.AssertSameBits(expected, actual, "rows pages apart");
    }

    [Fact]
    public void A_weight_of_integers_is_refused()
    {
        float value = 1;
        nint address = (nint)(&value);
        var error = Assert.Throws<ArgumentOutOfRangeException>(() =>
            Gemm.MultiplyWeight((float*)address, 1, (void*)address, DataType.Int32, null, (float*)address, 1, 1, 1, 1));
        Assert.Contains("Float32 or BFloat16", error.Message, StringComparison.Ordinal);
    }

    private static float[] Filled(int count)
    {
        var values = new float[count];
        Array.Fill(values, Untouched);
        return values;
    }
}
