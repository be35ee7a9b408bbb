using Skylight.Cuda;
using Skylight.Cuda.Bindings;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Ops;
using Skylight.Tests.Simt;
using Skylight.Workloads;

namespace Skylight.Tests.Cuda;

/// <summary>Products that end with their activation, on the emulator: the bits are those of two ops.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class ProductActivationTests
{
    // Halves of 300 columns, more than a tile has, and of 37, no multiple of eight.
    private static readonly (int Rows, int Columns, int Inner)[] s_shapes = [(72, 600, 40), (5, 74, 136), (18, 74, 9)];

    [Fact]
    public void Every_tile_of_every_card_gives_the_bits_of_two_ops()
    {
        using var kernels = new EmulatedKernels();
        foreach (ProductActivation activation in Enum.GetValues<ProductActivation>())
        {
            foreach ((int rows, int columns, int inner) in s_shapes)
            {
                var data = new Operands(activation, Half(rows, inner), Weight(columns, inner), Half(columns));
                BFloat16[] expected = data.Plain(kernels);
                foreach (MatrixTile tile in data.IsGated ? MatrixTile.OfGatedProducts : MatrixTile.All)
                    Assert.Equal(expected, data.Fused(kernels, (kernel, product) =>
                        MatMulBindings.QueueWeight(kernel, product, kernel.Inputs[1], tile)));
                Assert.Equal(expected, kernels.Run<BFloat16>(data.Op, data.Types, data.Inputs));
            }
        }
    }

    [Theory]
    [MemberData(nameof(WarpgroupProductTests.Modes), MemberType = typeof(WarpgroupProductTests))]
    public void Every_tile_of_warpgroups_gives_the_bits_of_two_ops(string schedule, string mode)
    {
        using var kernels = new EmulatedKernels();
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("async", mode);
        Emulator.Configure("rounding", "own");
        foreach (ProductActivation activation in Enum.GetValues<ProductActivation>())
        {
            foreach ((int rows, int columns, int inner) in s_shapes[..2])
            {
                var data = new Operands(activation, Half(rows, inner), Weight(columns, inner), Half(columns))
                {
                    Target = CudaTarget.Hopper with { MultiprocessorCount = 2 },
                };
                BFloat16[] expected = data.Plain(kernels);
                foreach (WarpgroupTile tile in ((WarpgroupTile[])[.. WarpgroupTile.All,
                    WarpgroupTile.Largest with { Cluster = 2 }, WarpgroupTile.Small with { Cluster = 2 }])
                    .Where(tile => rows <= tile.LeftRows || tile != WarpgroupTile.Few))
                    Assert.Equal(expected, data.Fused(kernels, (kernel, product) =>
                        MatMulBindings.QueueWarpgroups(kernel, product, DataType.BFloat16, tile)));
                Assert.Equal("warpgroup_product", Assert.Single(
                    CudaBindings.Standard.Describe(data.Op, data.Types, data.Target).Launches).EntryPoint);
            }
        }
    }

    public static TheoryData<int> Formats => [.. Enumerable.Range(0, QuantizedKernelTests.AllFormats.Count)];

    [Theory]
    [MemberData(nameof(Formats))]
    public void A_quantised_weight_gives_the_bits_of_two_ops(int index)
    {
        using var kernels = new EmulatedKernels();
        QuantizedFormat format = QuantizedKernelTests.AllFormats[index];
        foreach (ProductActivation activation in Enum.GetValues<ProductActivation>())
        {
            // Halves of 48 columns: they begin in the middle of a panel.
            const int Rows = 17, Columns = 96, Inner = 136;
            var weight = QuantizedElements.Random(format, new Shape(Columns, Inner), 5);
            var data = new Operands(activation, Half(Rows, Inner), weight.Type, Half(Columns))
            {
                Packed = QuantizedKernelTests.Packed(weight),
            };
            BFloat16[] expected = data.Plain(kernels);
            IEnumerable<MatrixTile> tiles = index > 1 ? [MatrixTile.Low]
                : MatrixTile.OfQuantizedWeights.Where(tile => !data.IsGated || tile.IsGating);
            foreach (MatrixTile tile in tiles)
                Assert.Equal(expected, data.Fused(kernels, (kernel, product) =>
                    MatMulBindings.QueueWeight(kernel, product, kernel.Inputs[1], tile)));
            Assert.Equal("quantized_product", Assert.Single(
                CudaBindings.Standard.Describe(data.Op, data.Types, data.Target).Launches).EntryPoint);
        }
    }

    [Fact]
    public void Where_no_kernel_ends_so_there_are_two_launches()
    {
        using var kernels = new EmulatedKernels();
        // Scales are copied for 16 outputs at a time, and a half has 19.
        const int Columns = 38, Inner = 64;
        var weight = QuantizedElements.Random(QuantizedFormat.Q4, new Shape(Columns, Inner), 5);
        var data = new Operands(ProductActivation.SwiGlu, Half(3, Inner), weight.Type, Half(Columns))
        {
            Packed = QuantizedKernelTests.Packed(weight),
        };
        Assert.Equal(["quantized_product", "swiglu"], Launches(data.Op, data.Types, data.Target));
        Assert.Equal(data.Plain(kernels), kernels.Run<BFloat16>(data.Op, data.Types, data.Inputs));

        // The library's products are the library's.
        CudaTarget relaxed = CudaTarget.Ampere with { Deterministic = false };
        TensorType[] types = [Half(3, Inner), Weight(Columns, Inner)];
        Assert.Equal(["swiglu"], Launches(new MatMulActivation(ProductActivation.SwiGlu), types, relaxed));
        Assert.Equal(["gelu_forward"], Launches(new MatMulActivation(ProductActivation.Gelu), types, relaxed));

        static IEnumerable<string> Launches(Op op, TensorType[] types, CudaTarget target) =>
            CudaBindings.Standard.Describe(op, types, target).Launches.Select(launch => launch.EntryPoint);
    }

    /// <summary>Mistakes in what becomes of a product: the numbers are others.</summary>
    public static TheoryData<string, string, string, ProductActivation> Mistakes => new()
    {
        { "warpgroup_gemm.cu", "activated<RESULT>(sum)", "gelu(sum)", ProductActivation.Gelu },
        { "warpgroup_gemm.cu", "sums[TILE_COLUMNS / 4 + i])", "sums[TILE_COLUMNS / 4 + (i ^ 1)])", ProductActivation.SwiGlu },
        { "warpgroup_gemm.cu", "columns + column, inner", "columns + column + 1, inner", ProductActivation.SwiGlu },
        { "warpgroup_gemm.cu", "bias : bias + columns", "bias : bias", ProductActivation.SwiGlu },
        { "warpgroup_gemm.cu", "gated<RESULT>(sums[i], sums[TILE_COLUMNS / 4 + i])", "silu(sums[i]) * sums[TILE_COLUMNS / 4 + i]",
            ProductActivation.SwiGlu },
        { "gemm.cu", "columns - Product::result_columns", "columns - Product::result_columns + 1", ProductActivation.SwiGlu },
        { "gemm.cu", "is_gated ? 2 * columns : columns", "columns", ProductActivation.SwiGlu },
    };

    [Theory]
    [MemberData(nameof(Mistakes))]
    public void A_mistake_in_an_activation_is_found(string resource, string right, string wrong, ProductActivation activation)
    {
        using var kernels = new EmulatedKernels();
        var data = new Operands(activation, Half(72, 40), Weight(300, 40), Half(300)) { Target = CudaTarget.Hopper };
        bool isWarpgroups = resource == "warpgroup_gemm.cu";
        BFloat16[][] results =
        [
            .. new[] { null, WarpgroupProductTests.Mistaken(resource, right, wrong) }.Select(source =>
                data.Fused(kernels, (kernel, product) =>
                {
                    if (isWarpgroups)
                        MatMulBindings.QueueWarpgroups(kernel, product, DataType.BFloat16, WarpgroupTile.Small, source);
                    else
                        MatMulBindings.Queue(kernel, product, MatrixTile.Medium, source);
                })),
        ];
        Assert.NotEqual(results[0], results[1]);
    }

    [Fact]
    public void Tiles_of_gated_products_have_warps_with_both_columns()
    {
        foreach (int rows in (int[])[1, 16, 17, 32, 33, 64, 65, 1024])
        {
            foreach (int columns in (int[])[64, 9728, 37_888])
            {
                foreach (bool isQuantized in (bool[])[false, true])
                    Assert.True(MatrixTile.Choose(rows, columns, 1, true, CudaTarget.Hopper, isQuantized, isGated: true)
                        .IsGating);
            }
        }

        Assert.Equal(MatrixTile.Paired, MatrixTile.Choose(1, 9728, 1, true, CudaTarget.Hopper, isGated: true));
    }

    private static TensorType Half(params int[] shape) => new(DataType.BFloat16, new Shape(shape));

    private static TensorType Weight(int rows, int columns) =>
        new(DataType.BFloat16, new Shape(rows, columns), Storage.Weight);

    private static BFloat16[] Random(int seed, TensorType type) =>
        [.. Numbers.Random(seed, (int)type.Shape.ElementCount).Select(value => (BFloat16)value)];

    /// <summary>x, weight and bias with random numbers.</summary>
    private sealed record Operands(ProductActivation Activation, TensorType X, TensorType Weight, TensorType Bias)
    {
        public CudaTarget Target { get; init; } = CudaTarget.Ampere;

        /// <summary>The weight's bytes, where it is quantised.</summary>
        public Array? Packed { get; init; }

        public bool IsGated => Activation == ProductActivation.SwiGlu;

        public MatMulActivation Op => new(Activation);

        public TensorType[] Types => [X, Weight, Bias];

        public Array[] Inputs => [Random(1, X), Packed ?? Random(2, Weight), Random(3, Bias)];

        /// <summary>By two ops.</summary>
        public BFloat16[] Plain(EmulatedKernels kernels)
        {
            TensorType product = new MatMul().Infer(Types)[0];
            return kernels.Run<BFloat16>(IsGated ? new SwiGlu() : new Gelu(), [product], Target,
                kernels.Run<BFloat16>(new MatMul(), Types, Target, Inputs));
        }

        /// <summary>By one launch.</summary>
        public BFloat16[] Fused(EmulatedKernels kernels, Action<CudaKernelBuilder, MatrixProduct> queue)
        {
            TensorType output = Op.Infer(Types)[0];
            var kernel = new CudaKernelBuilder(Op, Types, [output], Target);
            queue(kernel, MatMulBindings.OfWeight(kernel) with { Activation = Activation });
            CudaKernelDescription description = kernel.Build();
            Assert.Single(description.Launches);
            return kernels.Run<BFloat16>(description, output, Inputs);
        }
    }
}
