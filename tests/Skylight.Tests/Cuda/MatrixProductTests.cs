using Skylight.Cuda;
using Skylight.Cuda.Bindings;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Ops;
using Skylight.Tests.Simt;
using Skylight.Workloads;

namespace Skylight.Tests.Cuda;

/// <summary>The own matrix kernel on the emulator.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class MatrixProductTests
{
    private static readonly CudaTarget Relaxed = CudaTarget.Ampere with { Deterministic = false };

    [Theory]
    [InlineData(1, 24, 40)]
    [InlineData(5, 7, 9)]
    [InlineData(17, 33, 130)]
    [InlineData(70, 72, 200)]
    [InlineData(130, 136, 264)]
    [InlineData(3, 5, 0)]
    public void Every_tile_shape_gives_the_same_bits(int rows, int columns, int inner)
    {
        using var kernels = new EmulatedKernels();
        foreach ((bool transposeLeft, bool transposeRight) in ((bool, bool)[])[(false, true), (false, false),
            (true, false), (true, true)])
        {
            var op = new BatchedMatMul(transposeLeft, transposeRight);
            TensorType[] types = [Half(1, transposeLeft ? inner : rows, transposeLeft ? rows : inner),
                Half(1, transposeRight ? columns : inner, transposeRight ? inner : columns)];
            BFloat16[] left = Random(1, rows * inner), right = Random(2, columns * inner), bias = Random(3, columns);
            double[] expected = Reference(left, right, bias, rows, columns, inner, transposeLeft, transposeRight);
            float[]? first = null;
            foreach (MatrixTile tile in MatrixTile.All)
            {
                TensorType output = TensorType.Float32(rows, columns);
                var kernel = new CudaKernelBuilder(op, [.. types, Half(columns)], [output], CudaTarget.Ampere);
                var product = new MatrixProduct(kernel.Input(0), kernel.Input(1), kernel.Output(0), rows, columns, inner)
                {
                    TransposeLeft = transposeLeft,
                    TransposeRight = transposeRight,
                    Bias = kernel.Input(2),
                };
                MatMulBindings.Queue(kernel, product, tile);
                float[] result = kernels.Run<float>(kernel.Build(), output, left, right, bias);
                Numbers.AssertClose(expected, result, 1e-4);
                first ??= result;
                Assert.Equal(Bits(first), Bits(result));
            }
        }
    }

    [Theory]
    [InlineData("forward")]
    [InlineData("reverse")]
    [InlineData("seed:7")]
    public void A_row_does_not_depend_on_the_rows_beside_it(string schedule)
    {
        const int Rows = 70, Columns = 50, Inner = 72;
        using var kernels = new EmulatedKernels();
        Emulator.Configure("schedule", schedule);
        BFloat16[] x = Random(1, Rows * Inner), weight = Random(2, Columns * Inner), bias = Random(3, Columns);
        BFloat16[] many = Product(Rows, x), few = Product(20, x[..(20 * Inner)]),
            one = Product(1, x[(19 * Inner)..(20 * Inner)]);
        Assert.Equal(many[..(20 * Columns)], few);
        Assert.Equal(many[(19 * Columns)..(20 * Columns)], one);
        Numbers.AssertClose(Reference(x, weight, bias, Rows, Columns, Inner, false, true),
            [.. many.Select(value => (float)value)], 0.2);

        BFloat16[] Product(int rows, BFloat16[] input) =>
            kernels.Run<BFloat16>(new MatMul(), [Half(rows, Inner), Weight(Columns, Inner), Half(Columns)], input,
                weight, bias);
    }

    [Fact]
    public void Logits_and_a_float_bias_are_not_rounded()
    {
        const int Rows = 3, Columns = 41, Inner = 9;
        using var kernels = new EmulatedKernels();
        BFloat16[] x = Random(1, Rows * Inner), weight = Random(2, Columns * Inner);
        float[] bias = Numbers.Random(3, Columns);
        float[] logits = kernels.Run<float>(new MatMul(DataType.Float32),
            [Half(Rows, Inner), Weight(Columns, Inner), TensorType.Float32(Columns)], x, weight, bias);
        double[] expected = Reference(x, weight, new BFloat16[Columns], Rows, Columns, Inner, false, true);
        Numbers.AssertClose([.. expected.Select((value, index) => value + bias[index % Columns])], logits, 1e-5);
    }

    [Theory]
    [InlineData(1, 6, 5)]
    [InlineData(67, 24, 16)]
    public void Gradients_of_input_and_weight(int rows, int columns, int inner)
    {
        using var kernels = new EmulatedKernels();
        BFloat16[] x = Random(1, rows * inner), weight = Random(2, columns * inner), dy = Random(3, rows * columns);
        BFloat16[] dx = kernels.Run<BFloat16>(new MatMulInputGradient(), [Half(rows, columns), Weight(columns, inner)],
            dy, weight);
        Numbers.AssertClose(Reference(dy, weight, new BFloat16[inner], rows, inner, columns, false, false),
            [.. dx.Select(value => (float)value)], 0.1);
        float[] dw = kernels.Run<float>(new MatMulWeightGradient(), [Half(rows, inner), Half(rows, columns)], x, dy);
        Numbers.AssertClose(Reference(dy, x, new BFloat16[inner], columns, inner, rows, true, false), dw, 1e-4);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public void Batches(bool transposeA, bool transposeB)
    {
        const int Batch = 3, Rows = 18, Columns = 20, Inner = 24;
        using var kernels = new EmulatedKernels();
        BFloat16[] a = Random(1, Batch * Rows * Inner), b = Random(2, Batch * Columns * Inner);
        BFloat16[] result = kernels.Run<BFloat16>(
            new BatchedMatMul(transposeA, transposeB),
            [transposeA ? Half(Batch, Inner, Rows) : Half(Batch, Rows, Inner), transposeB ? Half(Batch, Columns, Inner)
                : Half(Batch, Inner, Columns)],
            a,
            b);
        IEnumerable<double> expected = Enumerable.Range(0, Batch).SelectMany(matrix => Reference(
            a[(matrix * Rows * Inner)..], b[(matrix * Columns * Inner)..], new BFloat16[Columns], Rows, Columns, Inner,
            transposeA, transposeB));
        Numbers.AssertClose([.. expected], [.. result.Select(value => (float)value)], 0.1);
    }

    [Fact]
    public void Tiles_are_chosen_by_rows_and_by_what_fills_the_card()
    {
        Assert.Equal(MatrixTile.Narrow, MatrixTile.Choose(1, 896, 1, true, CudaTarget.Hopper));
        Assert.Equal(MatrixTile.Wide, MatrixTile.Choose(16, 151_674, 1, true, CudaTarget.Hopper));
        Assert.Equal(MatrixTile.Small, MatrixTile.Choose(64, 896, 1, true, CudaTarget.Hopper));
        Assert.Equal(MatrixTile.Medium, MatrixTile.Choose(1024, 896, 1, true, CudaTarget.Hopper));
        Assert.Equal(MatrixTile.Largest, MatrixTile.Choose(8192, 4864, 1, true, CudaTarget.Hopper));
        Assert.Equal(MatrixTile.Large, MatrixTile.Choose(8192, 4864, 1, true, CudaTarget.Hopper, isQuantized: true));
        Assert.Equal(MatrixTile.Large, MatrixTile.Choose(2048, 1152, 1, true, CudaTarget.Hopper));
        // Up to 64 rows no tile is higher than they are, however large the weight.
        Assert.Equal(MatrixTile.Low, MatrixTile.Choose(17, 151_674, 1, true, CudaTarget.Hopper));
        Assert.Equal(MatrixTile.Low, MatrixTile.Choose(32, 9728, 1, true, CudaTarget.Hopper));
        Assert.Equal(MatrixTile.LowNarrow, MatrixTile.Choose(17, 896, 1, true, CudaTarget.Hopper));
        Assert.Equal(MatrixTile.LowNarrow, MatrixTile.Choose(32, 896, 1, true, CudaTarget.Hopper));
        Assert.Equal(MatrixTile.Small, MatrixTile.Choose(33, 896, 1, true, CudaTarget.Hopper));
        Assert.Equal(MatrixTile.Medium, MatrixTile.Choose(33, 151_674, 1, true, CudaTarget.Hopper));
        Assert.Equal(MatrixTile.Medium, MatrixTile.Choose(64, 151_674, 1, true, CudaTarget.Hopper));
        Assert.Equal(MatrixTile.Large, MatrixTile.Choose(65, 32_000, 1, true, CudaTarget.Hopper));
        Assert.Equal(MatrixTile.Medium, MatrixTile.Choose(8192, 4864, 1, false, CudaTarget.Hopper));
        // The smallest cards that are supported have 99 KiB for a block.
        Assert.All(MatrixTile.All.Append(MatrixTile.Tall), tile => Assert.InRange(tile.SharedBytes, 1, 99 * 1024));
    }

    [Fact]
    public void Outside_of_deterministic_mode_products_are_the_librarys()
    {
        TensorType[] types = [Half(5, 16), Weight(24, 16), TensorType.Float32(24)];
        CudaKernelDescription description = CudaBindings.Standard.Describe(new MatMul(), types, Relaxed);
        Assert.Equal("fill_rows", Assert.Single(description.Launches).EntryPoint);
        var product = Assert.IsType<CudaProductStep>(description.Steps[1]);
        Assert.Equal((5, 24, 16, 1f, true),
            (product.Rows, product.Columns, product.Inner, product.Beta, product.TransposeRight));
        Assert.Equal("matrix_product",
            Assert.Single(CudaBindings.Standard.Describe(new MatMul(), types, CudaTarget.Ampere).Launches).EntryPoint);
        var gradient = Assert.IsType<CudaProductStep>(Assert.Single(
            CudaBindings.Standard.Describe(new MatMulWeightGradient(), [Half(5, 16), Half(5, 24)], Relaxed).Steps));
        Assert.Equal((24, 16, 5, 0f, DataType.Float32),
            (gradient.Rows, gradient.Columns, gradient.Inner, gradient.Beta, gradient.ResultType));
        // There is no product over nothing in the library's terms; the own kernel writes the zeros.
        Assert.Equal("matrix_product",
            Assert.Single(CudaBindings.Standard.Describe(new MatMulWeightGradient(), [Half(0, 16), Half(0, 24)],
                Relaxed).Launches).EntryPoint);
    }

    [Theory]
    [InlineData("matmul/tiny")]
    [InlineData("matmul/tiny-logits")]
    [InlineData("matmul_input_gradient/tiny")]
    [InlineData("matmul_weight_gradient/tiny")]
    [InlineData("batched_matmul/tiny-transposed-both")]
    [InlineData("connector/tiny-8-wide")]
    public void Library_products_agree_with_the_cpu(string name)
    {
        Emulator.Require();
        using var device = new CudaDevice(
            new CudaDeviceOptions { Libraries = CudaLibraries.LoadSimulated(), Deterministic = false });
        Assert.All(DeviceParity.CheckForward(Catalog.All.First(workload => workload.Name == name), device),
            row => Assert.True(row.Passed, $"{row}"));
    }

    [Fact]
    public void Float_factors_are_refused()
    {
        NotSupportedException error = Assert.Throws<NotSupportedException>(() => CudaBindings.Standard.Describe(
            new MatMul(),
            [TensorType.Float32(5, 16), new TensorType(DataType.Float32, new Shape(24, 16), Storage.Weight)],
            CudaTarget.Ampere));
        Assert.Contains("MatMul", error.Message);
        Assert.Contains("bfloat16", error.Message);
    }

    private static TensorType Half(params int[] shape) => new(DataType.BFloat16, new Shape(shape));

    private static TensorType Weight(int rows, int columns) =>
        new(DataType.BFloat16, new Shape(rows, columns), Storage.Weight);

    private static BFloat16[] Random(int seed, int count) =>
        [.. Numbers.Random(seed, count).Select(value => (BFloat16)value)];

    private static int[] Bits(float[] values) => [.. values.Select(BitConverter.SingleToInt32Bits)];

    private static double[] Reference(BFloat16[] left, BFloat16[] right, BFloat16[] bias, int rows, int columns,
        int inner, bool transposeLeft, bool transposeRight)
    {
        double[] result = new double[rows * columns];
        for (int index = 0; index < result.Length; index++)
        {
            int row = index / columns, column = index % columns;
            result[index] = (float)bias[column];
            for (int k = 0; k < inner; k++)
            {
                result[index] += (double)(float)left[transposeLeft ? k * rows + row : row * inner + k]
                    * (float)right[transposeRight ? column * inner + k : k * columns + column];
            }
        }

        return result;
    }
}
