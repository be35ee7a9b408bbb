using System.Runtime.InteropServices;
using Skylight.Cuda;
using Skylight.Cuda.Bindings;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Ops;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cuda;

/// <summary>Products by the instructions of Hopper's warpgroups, on the emulator.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class WarpgroupProductTests
{
    /// <summary>Schedules, each with late and with immediate completion.</summary>
    public static TheoryData<string, string> Modes =>
        new() { { "forward", "late" }, { "reverse", "late" }, { "seed:7", "late" }, { "forward", "immediate" },
            { "reverse", "immediate" }, { "seed:8", "immediate" } };

    [Theory]
    [MemberData(nameof(Modes))]
    public void Every_tile_gives_the_bits_of_mma_where_both_round_alike(string schedule, string mode)
    {
        using var kernels = new EmulatedKernels();
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("async", mode);
        foreach ((int rows, int columns, int inner) in ((int, int, int)[])[(5, 24, 8), (8, 40, 1304), (72, 280, 200),
            (136, 16, 600)])
        {
            foreach ((bool transposeLeft, bool transposeRight) in ((bool, bool)[])[(false, true), (false, false),
                (true, false), (true, true)])
            {
                // Rows that begin at multiples of 16 bytes are enough; the result's may begin anywhere.
                (int tall, int wide) = (transposeLeft ? (rows + 7) / 8 * 8 : rows, transposeRight ? columns - 1 : columns);
                var data = new Factors(tall, wide, inner, transposeLeft, transposeRight);
                float[] expected = data.Run(kernels, null);
                WarpgroupTile[] tiles = (transposeLeft, transposeRight) switch
                {
                    (false, true) => [.. WarpgroupTile.All],
                    (true, true) => [WarpgroupTile.Small],
                    (_, false) => [transposeLeft ? WarpgroupTile.Large : WarpgroupTile.Small, WarpgroupTile.Largest],
                };
                foreach (WarpgroupTile tile in tiles.Where(tile => rows <= tile.LeftRows || tile != WarpgroupTile.Few))
                    Assert.Equal(Bits(expected), Bits(data.Run(kernels, tile)));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Modes))]
    public void Clusters_give_the_bits_of_single_blocks(string schedule, string mode)
    {
        using var kernels = new EmulatedKernels();
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("async", mode);
        // Rows of tiles: one and two of a pair, and an odd number; several tiles for a cluster, and clusters side by side.
        foreach ((int rows, int columns, int inner, int batch, int multiprocessors) in ((int, int, int, int, int)[])[
            (5, 24, 8, 1, 2), (136, 280, 456, 1, 2), (296, 280, 72, 2, 4), (264, 136, 136, 3, 1)])
        {
            foreach ((bool transposeLeft, bool transposeRight, WarpgroupTile tile) in ((bool, bool, WarpgroupTile)[])[
                (false, true, WarpgroupTile.Largest), (false, true, WarpgroupTile.Large), (false, false, WarpgroupTile.Largest),
                (true, false, WarpgroupTile.Large), (true, true, WarpgroupTile.Small)])
            {
                int tall = transposeLeft ? (rows + 7) / 8 * 8 : rows;
                var data = new Factors(tall, columns, inner, transposeLeft, transposeRight)
                {
                    Batch = batch,
                    Target = CudaTarget.Hopper with { MultiprocessorCount = multiprocessors },
                };
                Assert.Equal(Bits(data.Run(kernels, tile)), Bits(data.Run(kernels, tile with { Cluster = 2 })));
            }
        }
    }

    [Fact]
    public void A_cluster_reads_its_right_factor_once()
    {
        // Four tiles of two stages, each of 16 KB of left and 32 KB of right.
        const int Left = 16 << 10, Right = 32 << 10;
        using var kernels = new EmulatedKernels();
        var data = new Factors(256, 512, 128, false, true);
        Assert.Equal(4 * 2 * (Left + Right), Loaded(WarpgroupTile.Largest));
        Assert.Equal(4 * 2 * (Left + Right / 2), Loaded(WarpgroupTile.Largest with { Cluster = 2 }));

        int Loaded(WarpgroupTile tile)
        {
            Emulator.Configure("counters", "on");
            Emulator.Check(Emulator.simtCountersReset());
            data.Run(kernels, tile);
            Emulator.Check(Emulator.simtCountersRead("warpgroup_product", out EmulatorCounters counters));
            Emulator.Configure("counters", "off");
            return (int)counters.BulkLoadBytes;
        }
    }

    [Fact]
    public void Clusters_make_what_fills_the_card_with_them()
    {
        CudaTarget hopper = CudaTarget.Hopper;
        KernelLaunch launch = Launch(8192, 37_888, 3584, hopper);
        Assert.Equal((new Dim3(132), new Dim3(2), "2"), (launch.Grid, launch.ClusterSize, launch.Defines["CLUSTER"]));
        // A card with an odd number of multiprocessors has one block fewer.
        launch = Launch(256, 14_336, 896, hopper with { MultiprocessorCount = 113 });
        Assert.Equal((new Dim3(112), new Dim3(2)), (launch.Grid, launch.ClusterSize));
        // Decoding, one row of tiles, too few of them, a third row that would cost a round; and who does not want them.
        foreach (KernelLaunch single in (KernelLaunch[])[Launch(16, 37_888, 3584, hopper), Launch(128, 37_888, 3584, hopper),
            Launch(1024, 896, 4864, hopper), Launch(300, 11_264, 896, hopper),
            Launch(8192, 37_888, 3584, hopper with { UsesClusters = false })])
        {
            Assert.Equal(new Dim3(1), single.ClusterSize);
            Assert.DoesNotContain("CLUSTER", single.Defines.Keys);
        }

        static KernelLaunch Launch(int rows, int columns, int inner, CudaTarget target) => Assert.Single(
            CudaBindings.Standard.Describe(new MatMul(), [Half(rows, inner), Weight(columns, inner)], target).Launches);
    }

    [Theory]
    [InlineData(null, null, true)]
    [InlineData("on", null, true)]
    [InlineData("off", null, false)]
    [InlineData("off", true, true)]
    [InlineData("on", false, false)]
    public void Clusters_can_be_turned_off_by_a_variable_which_options_precede(string? variable, bool? option, bool isUsed)
    {
        using var set = new EnvironmentVariable("SKYLIGHT_CLUSTERS", variable);
        using var card = new CudaDevice(new CudaDeviceOptions
        {
            Libraries = CudaLibraries.LoadSimulated(),
            CacheFolder = "",
            Clusters = option,
        });
        Assert.Equal(isUsed, card.Target.UsesClusters);
        KernelLaunch launch = Assert.Single(CudaBindings.Standard.Describe(new MatMul(),
            [Half(264, 72), Weight(256, 72)], card.Target).Launches);
        Assert.Equal(new Dim3(isUsed ? 2 : 1), launch.ClusterSize);
    }

    [Fact]
    public void A_recorded_graph_repeats_clusters()
    {
        const int Rows = 264, Columns = 256, Inner = 72;
        TensorType[] types = [Half(Rows, Inner), Weight(Columns, Inner)];
        List<BFloat16[]> expected = [];
        using (var kernels = new EmulatedKernels())
        {
            for (int run = 0; run < 4; run++)
                expected.Add(kernels.Run<BFloat16>(new MatMul(), types,
                    CudaTarget.Hopper with { MultiprocessorCount = 4, UsesClusters = false },
                    Random(run, Rows * Inner), Random(run + 100, Columns * Inner)));
        }

        using var card = new SimulatedCard();
        Assert.Equal(new Dim3(2), Assert.Single(
            CudaBindings.Standard.Describe(new MatMul(), types, card.Device.Target).Launches).ClusterSize);
        (Executor executor, Value[] inputs, IReadOnlyList<Value> outputs) = card.Prepare(new MatMul(), types);
        for (int run = 0; run < 4; run++)
        {
            // Queued, recorded, replayed.
            Assert.Equal(run >= 2, executor.IsRecorded);
            executor.Write<BFloat16>(inputs[0], Random(run, Rows * Inner));
            executor.Write<BFloat16>(inputs[1], Random(run + 100, Columns * Inner));
            executor.Run(TestContext.Current.CancellationToken);
            Assert.Equal(expected[run], executor.Read<BFloat16>(outputs[0]));
        }
    }

    [Theory]
    [InlineData(false, true)]
    [InlineData(true, false)]
    public void Batches(bool transposeA, bool transposeB)
    {
        using var kernels = new EmulatedKernels();
        TensorType[] types = [Half(transposeA ? [3, 24, 72] : [3, 72, 24]), Half(transposeB ? [3, 40, 24] : [3, 24, 40])];
        var op = new BatchedMatMul(transposeA, transposeB);
        BFloat16[] left = Random(1, 3 * 72 * 24), right = Random(2, 3 * 40 * 24);
        Assert.Equal("warpgroup_product", EntryPoint(op, CudaTarget.Hopper, types));
        Assert.Equal(kernels.Run<BFloat16>(op, types, left, right),
            kernels.Run<BFloat16>(op, types, CudaTarget.Hopper, left, right));
    }

    [Fact]
    public void A_weight_has_one_kind_of_instruction_for_all_rows()
    {
        foreach (int rows in (int[])[1, 8, 16, 17, 64, 65, 300, 8192])
        {
            Assert.Equal("warpgroup_product", Product(rows, 4864, 896));
            // Rows of the weight that do not begin at multiples of 16 bytes.
            Assert.Equal("matrix_product", Product(rows, 4864, 900));
            // Logits, which the vocabulary head makes too, by the same rule (WarpgroupHeadTests); and what other cards have.
            Assert.Equal("warpgroup_product", Product(rows, 4864, 896, isLogits: true));
            Assert.Equal("matrix_product", Product(rows, 4864, 900, isLogits: true));
            Assert.Equal("matrix_product", Product(rows, 4864, 896, CudaTarget.Ampere));
            Assert.Equal("matrix_product", Product(rows, 4864, 896,
                CudaTarget.Hopper with { ArchitectureName = "compute_90" }));
            // Gradients: of the input by the weight's two extents, of the weight by its own.
            Assert.Equal("warpgroup_product",
                EntryPoint(new MatMulInputGradient(), CudaTarget.Hopper, Half(rows, 40), Weight(40, 24)));
            Assert.Equal("matrix_product",
                EntryPoint(new MatMulInputGradient(), CudaTarget.Hopper, Half(rows, 41), Weight(41, 24)));
            Assert.Equal("warpgroup_product",
                EntryPoint(new MatMulWeightGradient(), CudaTarget.Hopper, Half(rows, 24), Half(rows, 40)));
        }

        static string Product(int rows, int columns, int inner, CudaTarget? target = null, bool isLogits = false) =>
            EntryPoint(new MatMul(isLogits ? DataType.Float32 : null), target ?? CudaTarget.Hopper, Half(rows, inner),
                Weight(columns, inner));
    }

    [Fact]
    public void Tiles_are_chosen_by_rows_and_by_what_fills_the_card()
    {
        Assert.Equal(WarpgroupTile.Few, Choose(1, 896, 4864));
        Assert.Equal(WarpgroupTile.Few, Choose(8, 4608, 3584));
        Assert.Equal(WarpgroupTile.Narrow, Choose(9, 4608, 3584));
        Assert.Equal(WarpgroupTile.Narrow, Choose(64, 896, 4864));
        Assert.Equal(WarpgroupTile.Small, Choose(1, 37_888, 3584));
        Assert.Equal(WarpgroupTile.Small, Choose(64, 37_888, 3584));
        Assert.Equal(WarpgroupTile.Small, Choose(1024, 896, 4864));
        // One round either way, and five rounds rather than three of twice the length; then two, and one.
        Assert.Equal(WarpgroupTile.Large with { Cluster = 2 }, Choose(256, 8448, 896));
        Assert.Equal(WarpgroupTile.Large with { Cluster = 2 }, Choose(1024, 9728, 896));
        Assert.Equal(WarpgroupTile.Largest, Choose(256, 9728, 896));
        Assert.Equal(WarpgroupTile.Largest with { Cluster = 2 }, Choose(8192, 37_888, 3584));
        // The weight of an input's gradient does not lie as the narrow tile reads it.
        Assert.Equal(WarpgroupTile.Small, Choose(1, 896, 4864, transposeRight: false));
        Assert.All(WarpgroupTile.All, tile => Assert.InRange(tile.SharedBytes * tile.Blocks, 1, 226 * 1024));

        static WarpgroupTile Choose(int rows, int columns, int inner, bool transposeRight = true) =>
            WarpgroupTile.Choose(new MatrixProduct(default, default, default, rows, columns, inner)
            {
                TransposeRight = transposeRight,
            }, CudaTarget.Hopper);
    }

    [Theory]
    [InlineData("forward")]
    [InlineData("reverse")]
    [InlineData("seed:9")]
    public void A_row_has_the_same_bits_among_any_others_though_wgmma_rounds_in_its_own_way(string schedule)
    {
        const int Rows = 200, Columns = 440, Inner = 88;
        using var kernels = new EmulatedKernels();
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("rounding", "own");
        BFloat16[] x = Random(1, Rows * Inner), weight = Random(2, Columns * Inner), bias = Random(3, Columns);
        BFloat16[] many = Product(Rows);
        foreach (int rows in (int[])[1, 8, 20, 64, 65])
            Assert.Equal(many[..(rows * Columns)], Product(rows));
        // It is another rounding: with mma.sync for few rows the bits would not be those of many.
        Assert.NotEqual(many[..(20 * Columns)], Product(20, CudaTarget.Ampere));

        BFloat16[] Product(int rows, CudaTarget? target = null) =>
            kernels.Run<BFloat16>(new MatMul(), [Half(rows, Inner), Weight(Columns, Inner), Half(Columns)],
                target ?? CudaTarget.Hopper with { MultiprocessorCount = 4 }, x[..(rows * Inner)], weight, bias);
    }

    [Fact]
    public void A_replay_never_reads_through_the_map_of_other_memory()
    {
        const int Rows = 3, Columns = 24, Inner = 16;
        using var card = new SimulatedCard();
        var graph = new Graph();
        var weight = new PersistentTensor("weight", Weight(Columns, Inner));
        Value x = graph.Input("x", Half(Rows, Inner)), y = graph.Add(new MatMul(), x, graph.Persistent(weight));
        graph.Output("y", y);
        card.Device.Bind(weight);
        Plan plan = Planner.Plan(graph, card.Device);
        var executor = new Executor(plan, card.Workspace);
        for (int run = 1; run <= 3; run++)
            Check(run);
        Assert.True(executor.IsRecorded);

        // Other memory for the weight: the old map's is gone, and holds other numbers.
        DeviceMemory old = weight.Tensor.Memory;
        card.Device.Bind(weight);
        old.Dispose();
        for (int run = 4; run <= 6; run++)
            Check(run);
        Assert.True(executor.IsRecorded);

        // Other memory for the activations: a larger plan makes the workspace grow.
        (Executor large, Value[] inputs, _) = card.Prepare(new Add(), TensorType.Float32(1 << 16),
            TensorType.Float32(1 << 16));
        large.Write<float>(inputs[0], new float[1 << 16]);
        large.Write<float>(inputs[1], new float[1 << 16]);
        large.Run(TestContext.Current.CancellationToken);
        for (int run = 7; run <= 9; run++)
            Check(run);
        Assert.True(executor.IsRecorded);

        void Check(int seed)
        {
            BFloat16[] left = Random(seed, Rows * Inner), right = Random(seed + 100, Columns * Inner);
            card.Device.Upload(MemoryMarshal.AsBytes<BFloat16>(right), weight.Tensor);
            executor.Write<BFloat16>(x, left);
            executor.Run(TestContext.Current.CancellationToken);
            float[] expected = new float[Rows * Columns];
            for (int index = 0; index < expected.Length; index++)
            {
                for (int k = 0; k < Inner; k++)
                    expected[index] += (float)left[index / Columns * Inner + k] * (float)right[index % Columns * Inner + k];
            }

            Assert.Equal(expected.Select(value => (BFloat16)value), executor.Read<BFloat16>(y));
        }
    }

    /// <summary>A mistake in the kernel's source, and what the emulator says of it; nothing: the numbers are wrong.</summary>
    public static TheoryData<string, string, string> Mistakes => new()
    {
        // The registers are read without a tie to the wait, or without a wait, or taken over without a fence.
        { "wgmma_wait<0>(sums)", "wgmma_wait<0>()", "does not name its registers" },
        { "wgmma_wait<0>(sums);", "", "no wgmma_wait covers it|were written|may still be reading it" },
        { "wgmma_fence();", "", "without a wgmma_fence" },
        // Wrong phases: of what is full, and of what is empty.
        { "full + ring.stage * 8, ring.parity", "full + ring.stage * 8, 0", "no wait covers that copy|more than the" },
        { "ring.parity ^ 1", "ring.parity", "mbarrier_wait" },
        // Stages that are given back before they were read, and arrivals that never come.
        { "wgmma_wait<1>();", "", "may still be reading it" },
        { "Consumers * group_threads / 32)", "Consumers * group_threads / 32 + 1)", "arrivals in phase" },
        // Bytes that are not counted, and bytes that never come.
        { "expect(barrier, loaded_bytes)", "expect(barrier, loaded_bytes - 1024)", "no wait covers that copy|misses -" },
        { "expect(barrier, loaded_bytes)", "expect(barrier, loaded_bytes + 16)", "misses 16 bytes" },
        // A descriptor that does not say how the engine laid the tile out.
        { "swizzle_128 = 1;", "swizzle_128 = 2;", "" },
        // Factors that are read before whoever makes them has ended, and prefetches of what is another block's.
        { "copies.start();", "", "before grid_wait" },
        { "copies.prefetch_right(column, first, matrix);", "copies.prefetch_right(column + 8, first, matrix);", "never loads the box" },
    };

    [Theory]
    [MemberData(nameof(Mistakes))]
    public void A_mistake_in_the_kernel_is_found(string right, string wrong, string findings) =>
        Finds(right, wrong, findings, WarpgroupTile.Small);

    private static void Finds(string right, string wrong, string findings, WarpgroupTile tile)
    {
        KernelSource mistaken = Mistaken("warpgroup_gemm.cu", right, wrong);
        using var kernels = new EmulatedKernels();
        // More stages than are kept, more tiles than blocks, and an odd number of rows of tiles.
        var data = new Factors(136, 136, 520, false, true) { Target = CudaTarget.Hopper with { MultiprocessorCount = 1 } };
        float[] expected = data.Run(kernels, tile);
        if (findings.Length == 0)
        {
            Assert.NotEqual(Bits(expected), Bits(data.Run(kernels, tile, mistaken)));
            return;
        }

        string report = Assert.ThrowsAny<Exception>(() => data.Run(kernels, tile, mistaken)).Message;
        Assert.Contains("warpgroup_product", report, StringComparison.Ordinal);
        Assert.True(findings.Split('|').Any(finding => report.Contains(finding, StringComparison.Ordinal)), report);
    }

    /// <summary>The same of a cluster, whose blocks fill each other's stages.</summary>
    public static TheoryData<string, string, string> ClusterMistakes => new()
    {
        // Stages that are given back though the other block's consumers have not left them, or never.
        { "Cluster * Consumers * group_threads", "Consumers * group_threads", "may still be reading it|more than the" },
        { "else if (lane < Cluster)", "else if (lane == (int)cluster_rank())", "4 of 8 arrivals in phase" },
        { "mbarrier_arrive_cluster_reader(map_shared(empty, lane))", "mbarrier_arrive(empty)", "may still be reading it" },
        // Copies that do not come to both blocks, are not counted, or lie where the other block's do.
        { "(1 << Blocks) - 1)", "1)", "misses 8192 bytes" },
        { "(1 << Blocks) - 1)", "1 << cluster_rank())", "misses 4096 bytes" },
        { "expect(barrier, loaded_bytes)", "expect(barrier, loaded_bytes - 4096)", "no wait covers that copy|misses -" },
        { "tile += own * stage_inner * 2;", "", "may still be filling it" },
        { "first += own;", "", "never loads the box" },
        { "first += Blocks == 1 ? 0 : (int)cluster_rank() * extent;", "", "never loads the box" },
        // A barrier that the other block does not know of yet, by a barrier of the block or without a fence.
        { "cluster_arrive_relaxed(); cluster_wait();", "synchronize_block();", "are no initialised mbarrier|not ordered by any barrier" },
        { "fence_mbarrier_initialize();", "", "not ordered by any barrier" },
        // A block that leaves before the other one's last arrivals, blocks that make the same tile, or another number of them.
        { "if constexpr (Cluster > 1) {", "if constexpr (Cluster > 2) {", "which has returned" },
        { "const int own = Cluster == 1 ? 0 : (int)cluster_rank();", "const int own = 0;", "" },
        { "(int)blockIdx.x / Cluster; tile", "(int)blockIdx.x; tile", "arrivals in phase|which has returned" },
    };

    [Theory]
    [MemberData(nameof(ClusterMistakes))]
    public void A_mistake_with_clusters_is_found(string right, string wrong, string findings) =>
        Finds(right, wrong, findings, WarpgroupTile.Small with { Cluster = 2 });

    /// <summary>A kernel of warpgroups with their headers in its text, and a mistake in any of them.</summary>
    internal static KernelSource Mistaken(string resource, string right, string wrong) => KernelText.Mistaken(resource, right,
        wrong, "common/shuffled_tokens.cuh", "common/warpgroup_attention.cuh", "common/warpgroup_tile.cuh", "common/warpgroup.cuh");

    private static string EntryPoint(Op op, CudaTarget target, params TensorType[] types) =>
        Assert.Single(CudaBindings.Standard.Describe(op, types, target).Launches).EntryPoint;

    private static TensorType Half(params int[] shape) => new(DataType.BFloat16, new Shape(shape));

    private static TensorType Weight(int rows, int columns) =>
        new(DataType.BFloat16, new Shape(rows, columns), Storage.Weight);

    private static BFloat16[] Random(int seed, int count) =>
        [.. Numbers.Random(seed, count).Select(value => (BFloat16)value)];

    private static int[] Bits(float[] values) => [.. values.Select(BitConverter.SingleToInt32Bits)];

    /// <summary>Factors and a bias with random numbers.</summary>
    private sealed record Factors(int Rows, int Columns, int Inner, bool TransposeLeft, bool TransposeRight)
    {
        private readonly BFloat16[] _bias = Random(3, Columns);

        public int Batch { get; init; } = 1;

        public CudaTarget Target { get; init; } = CudaTarget.Hopper with { MultiprocessorCount = 2 };

        /// <summary>Their product by a tile of warpgroups; null: by <c>mma.sync</c>.</summary>
        public float[] Run(EmulatedKernels kernels, WarpgroupTile? tile, KernelSource? source = null)
        {
            TensorType output = TensorType.Float32(Batch * Rows, Columns);
            var kernel = new CudaKernelBuilder(new BatchedMatMul(TransposeLeft, TransposeRight),
                [Half(TransposeLeft ? [Inner, Rows] : [Rows, Inner]), Half(TransposeRight ? [Columns, Inner] : [Inner, Columns]),
                    Half(Columns)], [output], Target);
            var product = new MatrixProduct(kernel.Input(0), kernel.Input(1), kernel.Output(0), Rows, Columns, Inner)
            {
                TransposeLeft = TransposeLeft,
                TransposeRight = TransposeRight,
                Bias = kernel.Input(2),
                Batch = Batch,
            };
            if (tile is { } given)
                MatMulBindings.QueueWarpgroups(kernel, product, DataType.Float32, given, source);
            else
                MatMulBindings.Queue(kernel, product, MatrixTile.Medium);
            return kernels.Run<float>(kernel.Build(), output, Random(1, Batch * Rows * Inner),
                Random(2, Batch * Columns * Inner), _bias);
        }
    }
}
