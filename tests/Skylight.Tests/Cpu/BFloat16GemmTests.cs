using Skylight.Cpu;
using Skylight.Cpu.Assembly;
using Skylight.Tensors;

namespace Skylight.Tests.Cpu;

/// <summary>
/// Products in bfloat16, for every height of a tile: the assembled dot products and the managed ones give the same bits, those
/// of the plain chain over rounded operands; products of matrices those of their own order of sums.
/// </summary>
public sealed unsafe class BFloat16GemmTests
{
    public static TheoryData<int, int, int> Shapes
    {
        get
        {
            var shapes = new TheoryData<int, int, int>();
            for (int rows = 1; rows <= 30; rows++)
                shapes.Add(rows, 33 + rows, 70 + rows);
            // Blocks of steps, several tasks, one step, an odd step, columns that end within a panel.
            shapes.Add(1, 32, 1);
            shapes.Add(7, 1, 2);
            shapes.Add(3, 64, 255);
            shapes.Add(40, 100, 512);
            shapes.Add(100, 70, 513);
            shapes.Add(530, 300, 260);
            shapes.Add(70, 100, 1100);
            shapes.Add(33, 130, 1056);
            return shapes;
        }
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Dot_products_are_the_chain_over_rounded_operands(int M, int N, int K) =>
        AssertProducts(BFloat16Instruction.DotProducts, M, N, K);

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Products_of_matrices_are_two_chains_a_chunk(int M, int N, int K) =>
        AssertProducts(BFloat16Instruction.Matrices, M, N, K);

    private static void AssertProducts(BFloat16Instruction instruction, int M, int N, int K)
    {
        if (!BFloat16Kernels.Has(instruction))
            return;
        float[] x = GemmReference.Random(M * K, 1), weight = GemmReference.Random(N * K, 2), dy = GemmReference.Random(M * N, 3),
            bias = GemmReference.Random(N, 4), dx = GemmReference.Random(M * K, 5), oldWeight = GemmReference.Random(N * K, 6);
        float[] dw = GemmReference.ToPanels(oldWeight, N, K), y = new float[M * N];
        ushort[] panels = GemmReference.ToBits(GemmReference.ToPanels(weight, N, K));
        float[] roundX = GemmReference.RoundToBFloat16(x), roundDy = GemmReference.RoundToBFloat16(dy),
            roundWeight = GemmReference.RoundToBFloat16(weight);
        bool accumulate = M % 2 == 0;
        GemmReference.Chain multiply = instruction == BFloat16Instruction.Matrices
            ? GemmReference.MultiplyInChunks : GemmReference.Multiply;
        float[] expectedY = new float[M * N], expectedDx = [.. dx], expectedDw = [.. oldWeight];
        // Matrices have the bias as the first term of a chain, dot products as the last one.
        bool startsFromBias = instruction == BFloat16Instruction.Matrices;
        for (int index = 0; index < expectedY.Length; index++)
            expectedY[index] = startsFromBias ? bias[index % N] : 0;
        multiply((m, k) => roundX[m * K + k], (k, n) => roundWeight[n * K + k], expectedY, N, M, N, K, startsFromBias,
            startsFromBias ? null : bias);
        multiply((m, n) => roundDy[m * N + n], (n, k) => roundWeight[n * K + k], expectedDx, K, M, K, N, accumulate, null);
        multiply((n, m) => roundDy[m * N + n], (m, k) => roundX[m * K + k], expectedDw, K, N, K, M, accumulate, null);
        fixed (float* px = x, pdy = dy, pBias = bias, py = y, pdx = dx, pdw = dw)
        fixed (ushort* pw = panels)
        {
            GemmOperands product = Gemm.WeightProduct(px, K, pw, DataType.BFloat16, py, N, M, N, K);
            product.Bias = pBias;
            BFloat16Gemm.Run(product, 2, instruction);
            BFloat16Gemm.Run(
                Gemm.InputGradientProduct(pdy, N, pw, DataType.BFloat16, pdx, K, M, N, K, accumulate), 2, instruction);
            BFloat16Gemm.Run(Gemm.WeightGradientProduct(px, K, pdy, N, pdw, M, N, K, accumulate), 2, instruction);
        }

        GemmReference.AssertSameBits(expectedY, y, "y");
        GemmReference.AssertSameBits(expectedDx, dx, "dx");
        for (int n = 0; n < N; n++)
            for (int k = 0; k < K; k++)
                Assert.Equal(expectedDw[n * K + k], dw[WeightPanels.IndexOf(n, k, K)]);
    }

    [Theory]
    [InlineData(5, 70, 37)]
    [InlineData(33, 40, 300)]
    public void Without_the_instruction_the_bits_are_the_same(int M, int N, int K)
    {
        float[] x = GemmReference.Random(M * K, 1), y = new float[M * N], managed = new float[M * N];
        ushort[] panels = GemmReference.ToBits(GemmReference.ToPanels(GemmReference.Random(N * K, 2), N, K));
        fixed (float* px = x, py = y, pm = managed)
        fixed (ushort* pw = panels)
        {
            GemmOperands product = Gemm.WeightProduct(px, K, pw, DataType.BFloat16, py, N, M, N, K);
            if (BFloat16Kernels.AreAvailable)
                BFloat16Gemm.Run(product, 2, BFloat16Instruction.DotProducts);
            else
                BFloat16Gemm.Run(product, 2);
            product.C = pm;
            BFloat16Gemm.RunManaged(product, 2);
        }

        GemmReference.AssertSameBits(managed, y, "y");
    }

    [Fact]
    public void A_row_has_the_same_bits_whatever_stands_beside_it()
    {
        const int M = 70, N = 70, K = 1100;
        float[] x = GemmReference.Random(M * K, 1), bias = GemmReference.Random(N, 3),
            whole = new float[M * N], alone = new float[M * N];
        ushort[] panels = GemmReference.ToBits(GemmReference.ToPanels(GemmReference.Random(N * K, 2), N, K));
        fixed (float* px = x, pb = bias, pw = whole, pa = alone)
        fixed (ushort* pp = panels)
        {
            Gemm.MultiplyWeight(px, K, pp, DataType.BFloat16, pb, pw, N, M, N, K, DataType.BFloat16);
            for (int row = 0; row < M; row++)
                Gemm.MultiplyWeight(px + row * K, K, pp, DataType.BFloat16, pb, pa + row * N, N, 1, N, K, DataType.BFloat16);
        }

        GemmReference.AssertSameBits(whole, alone, "y");
    }

    [Fact]
    public void Faults_of_the_operands_stay_where_they_are()
    {
        const int M = 14, N = 40, K = 33;
        float[] x = GemmReference.Random(M * K, 1), y = new float[M * N];
        x[5 * K + 32] = float.NaN;
        x[6 * K] = float.PositiveInfinity;
        ushort[] panels = GemmReference.ToBits(GemmReference.ToPanels(GemmReference.Random(N * K, 2), N, K));
        fixed (float* px = x, py = y)
        fixed (ushort* pw = panels)
            Gemm.MultiplyWeight(px, K, pw, DataType.BFloat16, null, py, N, M, N, K, DataType.BFloat16);
        for (int row = 0; row < M; row++)
            Assert.Equal(row is 5 or 6, y.AsSpan(row * N, N).ContainsAnyExceptInRange(float.MinValue, float.MaxValue));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(15)]
    [InlineData(16)]
    [InlineData(37)]
    [InlineData(128)]
    public void Dot_products_and_multiply_adds_give_the_same_bits(int pairs)
    {
        Assert.SkipUnless(BFloat16Kernels.AreAvailable, CpuAssembly.WhyNot ?? "");
        const int Tiles = 3;
        for (int rows = 1; rows <= BFloat16Tile.MaxRows; rows++)
        {
            int chunks = (pairs + 15) / 16;
            ushort[] a = GemmReference.ToBits(GemmReference.Random(Tiles * chunks * rows * 32, rows)),
                b = GemmReference.ToBits(GemmReference.Random((pairs + 1) * 64, 100 + rows));
            float[] sums = GemmReference.Random(Tiles * rows * 32, 200 + rows);
            foreach (Func<bool, nint> make in (Func<bool, nint>[])[isDot => BFloat16Tile.Packed(rows, isDot),
                isDot => BFloat16Tile.PackedAhead(rows, isDot), isDot => BFloat16Tile.Panel(rows, isDot)])
            {
                float[] dots = Run(make(true)), adds = Run(make(false));
                GemmReference.AssertSameBits(dots, adds, $"{rows} rows");
                Assert.NotEqual(sums, adds);
            }

            float[] Run(nint kernel)
            {
                float[] result = [.. sums];
                fixed (ushort* pa = a, pb = b)
                fixed (float* target = result)
                {
                    // The last argument is what is asked for ahead, or not read.
                    ((delegate* unmanaged<void*, void*, float*, nint, nint, void*, void>)kernel)(pa, pb, target, pairs, 1, pb);
                }

                return result;
            }
        }

        // Tiles one after the other are those of several calls.
        ushort[] rowsOfA = GemmReference.ToBits(GemmReference.Random(Tiles * 8 * 12 * 32, 7)),
            columnsOfB = GemmReference.ToBits(GemmReference.Random(pairs * 64, 8));
        float[] many = new float[Tiles * 12 * 32], each = new float[many.Length];
        var tile = (delegate* unmanaged<void*, void*, float*, nint, nint, void>)BFloat16Tile.Packed(12, isDot: false);
        fixed (ushort* pa = rowsOfA, pb = columnsOfB)
        fixed (float* pm = many, pe = each)
        {
            tile(pa, pb, pm, pairs, Tiles);
            for (int index = 0; index < Tiles; index++)
                tile(pa + index * ((pairs + 15) / 16) * 12 * 32, pb, pe + index * 12 * 32, pairs, 1);
        }

        GemmReference.AssertSameBits(each, many, "tiles");
    }

    [Theory]
    [InlineData(true, false, true)]
    [InlineData(false, false, true)]
    [InlineData(true, true, true)]
    [InlineData(true, false, false)]
    public void Parts_of_a_panel_begin_and_end_where_they_are_told(bool isDot, bool isScaled, bool hasBias)
    {
        Assert.SkipUnless(BFloat16Kernels.AreAvailable, CpuAssembly.WhyNot ?? "");
        const int Tiles = 3, Pairs = 20, Chunks = 2, RowFloats = 45;
        for (int rows = 1; rows <= BFloat16Tile.MaxRows; rows++)
        {
            int height = Tiles * rows;
            ushort[] a = GemmReference.ToBits(GemmReference.Random(2 * Chunks * height * 32, rows)),
                b = GemmReference.ToBits(GemmReference.Random(2 * Pairs * 64, 100 + rows));
            float[] scales = GemmReference.Random(32, 7), bias = GemmReference.Random(32, 8),
                wanted = new float[height * 32], sums = GemmReference.Random(height * 32, 9),
                result = new float[height * RowFloats];
            result.AsSpan().Fill(float.NaN);
            fixed (ushort* pa = a, pb = b)
            fixed (float* ps = scales, pi = bias, pw = wanted, pu = sums, pr = result)
            {
                var whole = (delegate* unmanaged<void*, void*, float*, nint, nint, float*, void>)(
                    isScaled ? BFloat16Tile.PackedScaled(rows) : BFloat16Tile.Packed(rows, isDot));
                whole(pa, pb, pw, Pairs, Tiles, ps);
                whole(pa + Chunks * height * 32, pb + Pairs * 64, pw, Pairs, Tiles, ps);

                var parts = (delegate* unmanaged<void*, void*, float*, nint, nint, float*, PanelPart*, void>)
                    BFloat16Tile.PackedPart(rows, isDot, isScaled);
                var first = new PanelPart { IsFirst = 1 };
                first.AskFor((byte*)(pb + Pairs * 64), Pairs * 128, Tiles);
                parts(pa, pb, pu, Pairs, Tiles, ps, &first);
                Assert.True(first.Ahead >= (byte*)(pb + 2 * Pairs * 64));
                var last = new PanelPart { Row = pr, RowBytes = RowFloats * sizeof(float), Bias = hasBias ? pi : null };
                parts(pa + Chunks * height * 32, pb + Pairs * 64, pu, Pairs, Tiles, ps, &last);
                Assert.True(last.Row == pr + height * RowFloats);
            }

            for (int row = 0; row < height; row++)
            {
                for (int column = 0; hasBias && column < 32; column++)
                    wanted[row * 32 + column] += bias[column];
                GemmReference.AssertSameBits(wanted[(row * 32)..(row * 32 + 32)],
                    result[(row * RowFloats)..(row * RowFloats + 32)], $"{rows} rows, row {row}");
                Assert.All(result[(row * RowFloats + 32)..((row + 1) * RowFloats)], value => Assert.True(float.IsNaN(value)));
            }
        }
    }

    [Fact]
    public void Kernels_are_there_exactly_where_nothing_speaks_against_it()
    {
        Assert.Equal(ProcessorFeatures.WhyNoAssembly is null && ProcessorFeatures.HasBFloat16, BFloat16Kernels.AreAvailable);
        Assert.Equal(BFloat16Kernels.AreAvailable, CpuAssembly.Kernels.Any(name => name.StartsWith("bfloat16")));
        Assert.Equal(BFloat16Kernels.Has(BFloat16Instruction.Matrices), CpuAssembly.Kernels.Contains("bfloat16 (AMX)"));
        Assert.Equal(BFloat16Kernels.AreAvailable ? DataType.BFloat16 : DataType.Float32, new CpuDevice().Compute);
        Assert.Throws<ArgumentOutOfRangeException>(() => new CpuDevice(new CpuDeviceOptions { Compute = DataType.Int32 }));
    }
}
