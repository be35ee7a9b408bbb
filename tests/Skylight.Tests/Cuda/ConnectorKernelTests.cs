using Skylight.Cuda;
using Skylight.Cuda.Bindings;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Ops;
using Skylight.Tests.Simt;
using Skylight.Workloads;

namespace Skylight.Tests.Cuda;

/// <summary>The fused connector on the emulator against the CPU.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class ConnectorKernelTests
{
    [Theory]
    [InlineData(2, 4, 2, 3, 6, DataType.BFloat16)]
    [InlineData(2, 2, 1, 8, 16, DataType.Float32)]
    [InlineData(4, 2, 5, 24, 70, DataType.BFloat16)]
    [InlineData(12, 12, 2, 16, 33, DataType.BFloat16)]
    [InlineData(4, 4, 0, 8, 8, DataType.BFloat16)]
    public void Agrees_with_the_cpu(int gridHeight, int gridWidth, int images, int width, int columns,
        DataType parameterType)
    {
        var op = new FusedConnector(gridHeight, gridWidth, 1e-5f);
        int[][] shapes = [[images * (1 + gridHeight * gridWidth), width], [4 * width], [4 * width],
            [columns, 4 * width], [columns], [columns, columns], [columns]];
        float[][] data =
            [.. shapes.Select((shape, index) =>
                Numbers.Random(index + 1, shape.Aggregate(1, (left, right) => left * right))
                    .Select(value => (float)(BFloat16)value).ToArray())];
        // Far from zero, where a variance from one pass would lose its digits.
        for (int index = 0; index < data[0].Length; index++)
            data[0][index] = (float)(BFloat16)(data[0][index] + 6);
        for (int index = 0; index < data[3].Length; index++)
            data[3][index] /= 16;

        TensorType[] types = [.. shapes.Select((shape, index) => new TensorType(
            index is 0 or 3 or 5 ? DataType.BFloat16 : parameterType, new Shape(shape), index is 3 or 5 ? Storage.Weight
                : Storage.RowMajor))];
        Array[] inputs = [.. data.Select((values, index) => types[index].DataType == DataType.BFloat16
            ? (Array)values.Select(value => (BFloat16)value).ToArray() : values)];
        using var kernels = new EmulatedKernels();
        float[] actual = [.. kernels.Run<BFloat16>(op, types, inputs).Select(value => (float)value)];

        float[] expected = OpRun.Floats(op,
            [.. data.Select(
                (values, index) => new Operand(types[index] with { DataType = DataType.Float32 }, _ => values))])[0];
        Assert.Equal(expected.Length, actual.Length);
        double difference = expected.Zip(actual, (left, right) => Math.Pow(left - right, 2)).Sum(),
            norm = expected.Sum(value => (double)value * value);
        Assert.True(Math.Sqrt(difference) <= 1e-2 * Math.Sqrt(norm), $"relative error {Math.Sqrt(difference / norm)}");
    }

    [Theory]
    [MemberData(nameof(WarpgroupProductTests.Modes), MemberType = typeof(WarpgroupProductTests))]
    public void Warpgroups_give_the_bits_of_mma_where_both_round_alike(string schedule, string mode)
    {
        using var kernels = new EmulatedKernels();
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("async", mode);
        // More than a tile of rows, incomplete tiles, an incomplete stage, and more stages than are kept.
        foreach ((int images, int width, int columns, DataType type) in ((int, int, int, DataType)[])[
            (5, 104, 136, DataType.BFloat16), (4, 8, 33, DataType.Float32)])
        {
            var data = new Connector(images, width, columns, type);
            BFloat16[] expected = data.Run(kernels, CudaTarget.Ampere);
            foreach (WarpgroupTile tile in (WarpgroupTile[])[WarpgroupTile.Large, WarpgroupTile.Largest])
            {
                Assert.Equal(expected, data.Run(kernels, Connector.OneProcessor, tile));
                Assert.Equal(expected, data.Run(kernels, Connector.ThreeProcessors, tile));
            }
        }
    }

    [Theory]
    [InlineData("1", 3)]
    [InlineData("2", 3)]
    [InlineData("2", 132)]
    public void Statistics_are_taken_from_other_blocks_however_many_of_them_run(string workers, int multiprocessors)
    {
        using var kernels = new EmulatedKernels();
        var data = new Connector(5, 104, 300, DataType.BFloat16);
        BFloat16[] expected = data.Run(kernels, CudaTarget.Ampere);
        Emulator.Configure("workers", workers);
        Emulator.Configure("visibility", "on");
        try
        {
            Assert.Equal(expected,
                data.Run(kernels, CudaTarget.Hopper with { MultiprocessorCount = multiprocessors }, WarpgroupTile.Large));
        }
        finally
        {
            Emulator.Configure("workers", "2");
            Emulator.Configure("visibility", "off");
        }
    }

    [Fact]
    public void On_hopper_a_connector_is_two_launches_that_a_recorded_graph_repeats()
    {
        using var card = new SimulatedCard();
        var data = new Connector(5, 104, 136, DataType.BFloat16);
        CudaKernelDescription description = CudaBindings.Standard.Describe(Connector.Op, data.Types, card.Device.Target);
        // Nothing is cleared or copied beside them: that would be a node of the graph too.
        Assert.Equal(2, description.Steps.Count);
        Assert.All(description.Steps, step => Assert.True(Assert.IsType<CudaLaunchStep>(step).Launch.IsProgrammatic));
        (Executor executor, Value[] inputs, IReadOnlyList<Value> outputs) = card.Prepare(Connector.Op, data.Types);
        BFloat16[]? first = null;
        for (int run = 0; run < 4; run++)
        {
            // Queued, recorded, replayed. Every other time with other pictures.
            Assert.Equal(run >= 2, executor.IsRecorded);
            Array[] values = data.Values(run % 2);
            for (int index = 0; index < inputs.Length; index++)
                executor.Write<BFloat16>(inputs[index], (BFloat16[])values[index]);
            executor.Run(TestContext.Current.CancellationToken);
            BFloat16[] result = new BFloat16[outputs[0].Type.Shape.ElementCount];
            executor.Read<BFloat16>(outputs[0], result);
            if (run % 2 == 0)
                Assert.Equal(first ??= result, result);
            else
                Assert.NotEqual(first, result);
        }
    }

    [Fact]
    public void A_row_has_the_same_bits_among_any_others_though_wgmma_rounds_in_its_own_way()
    {
        using var kernels = new EmulatedKernels();
        Emulator.Configure("rounding", "own");
        var many = new Connector(5, 24, 136, DataType.BFloat16);
        BFloat16[] expected = many.Run(kernels, CudaTarget.Hopper);
        BFloat16[] one = (many with { Images = 1 }).Run(kernels, CudaTarget.Hopper);
        Assert.Equal(expected[..one.Length], one);
        Assert.NotEqual(one, (many with { Images = 1 }).Run(kernels, CudaTarget.Ampere));
    }

    [Fact]
    public void The_first_product_has_one_kind_of_instruction_for_all_pictures()
    {
        foreach (int images in (int[])[1, 2, 40])
        {
            Assert.Equal(["warpgroup_connector_inner", "warpgroup_product"],
                Launches(new Connector(images, 24, 136, DataType.BFloat16), CudaTarget.Hopper));
            // Tokens of which 16 bytes are not read at a time, other cards, and the switch.
            foreach ((int width, CudaTarget target) in ((int, CudaTarget)[])[(20, CudaTarget.Hopper),
                (24, CudaTarget.Ampere), (24, CudaTarget.Hopper with { UsesWarpgroups = false })])
                Assert.Equal("connector_inner", Launches(new Connector(images, width, 136, DataType.BFloat16), target)[1]);
        }

        static string[] Launches(Connector data, CudaTarget target) => [.. CudaBindings.Standard.Describe(Connector.Op,
            data.Types, target).Launches.Select(launch => launch.EntryPoint)];
    }

    /// <summary>A mistake in the kernel's source, and what the emulator says of it; nothing: the numbers are wrong.</summary>
    public static TheoryData<string, string, string> Mistakes => new()
    {
        // What is stored is not seen by the tensor cores, or not by the time that it is said to be.
        { "fence_proxy_async();", "", "without a fence_proxy_async" },
        { "        synchronize_warp();\n        if (lane_index() == 0)\n            mbarrier_arrive(barrier);",
            "        if (lane_index() == 0)\n            mbarrier_arrive(barrier);", "race on shared memory" },
        { "arrivals = 1 + group_threads / 32", "arrivals = group_threads / 32", "arrivals|misses" },
        { "arrivals = 1 + group_threads / 32", "arrivals = 2 + group_threads / 32", "deadlock" },
        // Stages that are given back before they were read, or filled before they were given back.
        { "wgmma_wait<1>();", "", "may still be reading it" },
        { "ring.parity ^ 1", "ring.parity", "mbarrier_wait" },
        // Tokens, swizzle, norm and bias.
        { "read(inner + stage_inner);", "", "" },
        { "column < run ? column : shuffle.line() + column - run", "column", "" },
        { "min(first_row + own_row(i), rows - 1)", "first_row + own_row(i)", "warpgroup_connector.cu" },
        { "Tokens::offset(own_row(0), own_chunk())", "own_row(0) * 128 + own_chunk() * 16", "" },
        { "shift.load(norm_bias + column)", "shift.load(norm_weight + column)", "" },
        { "first_patch[i] * shuffle.width", "first_patch[0] * shuffle.width", "" },
        { "min(own_column, columns - 1)]", "0]", "" },
        // Statistics of other rows, of too few, and counters that the next launch does not find cleared.
        { "shuffle.first(row), shuffle, epsilon", "shuffle.first(0), shuffle, epsilon", "" },
        { "first + part * 32 * pack", "first + part * 32", "" },
        { "if (row >= rows)", "if (row >= rows - 1)", "hang" },
        { "progress->taken = 0;", ";", "counters are left" },
        { "progress->stored = 0;", "", "counters are left" },
        { "progress->ended = 0;", "", "counters are left" },
        { "gridDim.x * (Product::threads / 32) - 1", "gridDim.x - 1", "counters are left" },
    };

    /// <summary>The same of how blocks tell each other of statistics.</summary>
    public static TheoryData<string, string, string> Misunderstandings => new()
    {
        { "fence_device(); atomicAdd(&progress->stored, 1);", "atomicAdd(&progress->stored, 1);",
            "reads global memory that block number" },
        { "__nanosleep(32); fence_device();", "__nanosleep(32);", "has not come behind it by an atomic and a fence" },
        { "while (atomicAdd(&progress->stored, 0) < rows) __nanosleep(32);", "", "reads global memory that block number" },
        { "while (atomicAdd(&progress->stored, 0) < rows)", "while (atomicAdd(&progress->stored, 0) < rows / 2)",
            "reads global memory that block number" },
    };

    [Theory]
    [MemberData(nameof(Misunderstandings))]
    public void A_misunderstanding_of_blocks_is_found(string right, string wrong, string finding)
    {
        using var kernels = new EmulatedKernels();
        var data = new Connector(5, 104, 300, DataType.BFloat16);
        KernelSource mistaken = WarpgroupProductTests.Mistaken("warpgroup_connector.cu", right, wrong);
        Emulator.Configure("visibility", "on");
        try
        {
            // Of the three blocks two run at a time: what a block finds that does not wait depends on how far the other is.
            string? report = null;
            for (int turn = 0; turn < 30 && report is null; turn++)
                report = Record.Exception(() => data.Run(kernels, Connector.ThreeProcessors, WarpgroupTile.Large,
                    mistaken))?.Message;
            Assert.Contains(finding, report, StringComparison.Ordinal);
        }
        finally
        {
            Emulator.Configure("visibility", "off");
        }
    }

    [Theory]
    [MemberData(nameof(Mistakes))]
    public void A_mistake_in_the_kernel_is_found(string right, string wrong, string findings)
    {
        using var kernels = new EmulatedKernels();
        var data = new Connector(5, 104, 136, DataType.BFloat16);
        KernelSource mistaken = WarpgroupProductTests.Mistaken("warpgroup_connector.cu", right, wrong);
        BFloat16[] expected = data.Run(kernels, Connector.OneProcessor, WarpgroupTile.Large);
        BFloat16[] found = [];
        string? report = Record.Exception(
            () => found = data.Run(kernels, Connector.OneProcessor, WarpgroupTile.Large, mistaken))?.Message;
        if (findings.Length == 0)
        {
            Assert.Null(report);
            Assert.NotEqual(expected, found);
            return;
        }

        Assert.NotNull(report);
        Assert.True(findings.Split('|').Any(finding => report.Contains(finding, StringComparison.Ordinal)), report);
    }

    /// <summary>A connector over pictures of 12 × 12 patches, with random numbers.</summary>
    private sealed record Connector(int Images, int Width, int Columns, DataType ParameterType)
    {
        private const int Grid = 12;

        public static FusedConnector Op { get; } = new(Grid, Grid, 1e-5f);

        public static CudaTarget OneProcessor { get; } = CudaTarget.Hopper with { MultiprocessorCount = 1 };

        public static CudaTarget ThreeProcessors { get; } = CudaTarget.Hopper with { MultiprocessorCount = 3 };

        public TensorType[] Types =>
        [
            new(DataType.BFloat16, new Shape(Images * (1 + (Grid * Grid)), Width)), Parameter(4 * Width), Parameter(4 * Width),
            Weight(Columns, 4 * Width), Parameter(Columns), Weight(Columns, Columns), Parameter(Columns),
        ];

        public BFloat16[] Run(EmulatedKernels kernels, CudaTarget target, WarpgroupTile? tile = null,
            KernelSource? source = null)
        {
            TensorType[] types = Types;
            CudaBindings bindings = CudaBindings.Standard.With<FusedConnector>(
                (op, kernel) => ConnectorBindings.Queue(op, kernel, tile, source));
            return kernels.Run<BFloat16>(bindings.Describe(Op, types, target), Op.Infer(types)[0],
                Values(0));
        }

        public Array[] Values(int seed) => [.. Types.Select((type, index) => Numbers(type, index + 1 + (10 * seed)))];

        // A picture's numbers do not depend on how many come after it.
        private static Array Numbers(TensorType type, int seed)
        {
            float[] values = Ops.Numbers.Random(seed, (int)type.Shape.ElementCount);
            return type.DataType == DataType.Float32 ? values : Array.ConvertAll(values, value => (BFloat16)value);
        }

        private TensorType Parameter(int count) => new(ParameterType, new Shape(count));

        private static TensorType Weight(int rows, int columns) =>
            new(DataType.BFloat16, new Shape(rows, columns), Storage.Weight);
    }
}
