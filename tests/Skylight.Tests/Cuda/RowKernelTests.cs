using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Simt;
using Skylight.Workloads;

namespace Skylight.Tests.Cuda;

/// <summary>
/// What the norms' and other row kernels promise besides right numbers (see <see cref="ParityTests"/> for those).
/// </summary>
[Collection(EmulatorCollection.Name)]
public sealed class RowKernelTests
{
    // Of both kinds of access, of a warp and of a block to a row, kept in registers and not.
    public static TheoryData<int> Widths => [20, 24, 896, 2056, 4099];

    public static TheoryData<string> Float32 => [.. Catalog.All
        .Where(workload => workload.Op is RmsNorm or LayerNorm or AddRmsNorm or AddLayerNorm or LayerScale or SwiGlu
            or Gelu or Silu or Sum or ColumnSum or Multiply)
        .Where(workload => workload.Inputs[0].Type.Shape.ElementCount < 20_000).Select(workload => workload.Name)];

    /// <summary>Models have bfloat16 activations; float32 ones show whether anything is rounded in between.</summary>
    [Theory]
    [MemberData(nameof(Float32))]
    public void Float32_activations_are_not_rounded(string name)
    {
        Workload workload = Catalog.All.First(candidate => candidate.Name == name);
        workload = workload with { Inputs = [.. workload.Inputs.Select(input => input with { KeepsType = true })] };
        using CudaDevice device = Open();
        IReadOnlyList<ParityRow> rows = [.. DeviceParity.CheckForward(workload, device),
            .. DeviceParity.CheckGradients(workload, device)];
        Assert.All(rows, row => Assert.True(row.Passed && row.Tolerance <= 1e-4, $"{row}"));
    }

    [Theory]
    [MemberData(nameof(Widths))]
    public void A_row_has_the_same_bits_in_any_batch(int columns)
    {
        const int Rows = 9;
        BFloat16[] x = Random(1, Rows * columns), residual = Random(2, Rows * columns), weight = Random(3, columns),
            bias = Random(4, columns);
        using CudaDevice device = Open();
        using var workspace = new Workspace(device);
        foreach (int row in new[] { 0, 4, Rows - 1 })
        {
            Range range = (row * columns)..((row + 1) * columns);
            AssertRow(new RmsNorm(1e-6f), [x, weight], [x[range], weight]);
            AssertRow(new LayerNorm(1e-6f), [x, weight, bias], [x[range], weight, bias]);
            AssertRow(new AddRmsNorm(1e-6f), [residual, x, weight], [residual[range], x[range], weight]);
            AssertRow(new AddLayerNorm(1e-6f), [residual, x, weight, bias], [residual[range], x[range], weight, bias]);

            void AssertRow(Op op, BFloat16[][] batch, BFloat16[][] alone)
            {
                BFloat16[][] all = Run(device, workspace, op, columns, batch),
                    one = Run(device, workspace, op, columns, alone);
                for (int output = 0; output < all.Length; output++)
                    Assert.Equal(Bits(all[output][range]), Bits(one[output]));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Widths))]
    public void Fusing_a_norm_with_the_sum_before_it_changes_no_bits(int columns)
    {
        BFloat16[] x = Random(1, 3 * columns), residual = Random(2, 3 * columns), weight = Random(3, columns),
            bias = Random(4, columns);
        using CudaDevice device = Open();
        using var workspace = new Workspace(device);
        BFloat16[] sum = Run(device, workspace, new Add(), columns, residual, x)[0];
        AssertSame(Run(device, workspace, new AddRmsNorm(1e-6f), columns, residual, x, weight),
            Run(device, workspace, new RmsNorm(1e-6f), columns, sum, weight)[0]);
        AssertSame(
            Run(device, workspace, new AddLayerNorm(1e-6f), columns, residual, x, weight, bias),
            Run(device, workspace, new LayerNorm(1e-6f), columns, sum, weight, bias)[0]);

        void AssertSame(BFloat16[][] fused, BFloat16[] normalized)
        {
            Assert.Equal(Bits(sum), Bits(fused[0]));
            Assert.Equal(Bits(normalized), Bits(fused[1]));
        }
    }

    [Theory]
    [InlineData(6)]
    [InlineData(16)]
    [InlineData(24)]
    [InlineData(128)]
    public void Fusing_the_norm_of_heads_with_split_and_rotation_changes_no_bits(int dimension)
    {
        const int Tokens = 3, Heads = 4, KeyHeads = 2, Columns = Heads + 2 * KeyHeads;
        BFloat16[] qkv = Random(1, Tokens * Columns * dimension), queryWeight = Random(2, dimension),
            keyWeight = Random(3, dimension);
        using CudaDevice device = Open();
        using var workspace = new Workspace(device);
        BFloat16[][] fused = Of(plain: false), plain = Of(plain: true);
        for (int output = 0; output < plain.Length; output++)
            Assert.Equal(Bits(plain[output]), Bits(fused[output]));
        Assert.NotEqual(Bits(plain[0]), Bits(Random(1, plain[0].Length)));

        BFloat16[][] Of(bool plain)
        {
            var graph = new Graph();
            Value x = graph.Input("qkv", new TensorType(DataType.BFloat16, new Shape(Tokens, Columns * dimension)));
            Value q = graph.Input("q", new TensorType(DataType.BFloat16, new Shape(dimension))),
                k = graph.Input("k", new TensorType(DataType.BFloat16, new Shape(dimension)));
            Value table = graph.Add(new RotaryTable(dimension, 100f), graph.Constant("positions", [7, 0, 1000]));
            IReadOnlyList<Value> outputs;
            if (plain)
            {
                IReadOnlyList<Value> parts = graph.AddNode(
                    new SplitColumns(Heads * dimension, KeyHeads * dimension, KeyHeads * dimension), x);
                outputs =
                [
                    graph.Add(new RotaryEmbedding(dimension), graph.Add(new RmsNorm(1e-6f, Heads), parts[0], q), table),
                    graph.Add(new RotaryEmbedding(dimension), graph.Add(new RmsNorm(1e-6f, KeyHeads), parts[1], k), table),
                    parts[2],
                ];
            }
            else
            {
                outputs = graph.AddNode(new QkvSplitNormRotary(Heads, KeyHeads, dimension, 1e-6f), x, table, q, k);
            }

            for (int output = 0; output < outputs.Count; output++)
                graph.Output($"{output}", outputs[output]);
            var executor = new Executor(Planner.Plan(graph, device), workspace);
            executor.Write<BFloat16>(x, qkv);
            executor.Write<BFloat16>(q, queryWeight);
            executor.Write<BFloat16>(k, keyWeight);
            executor.Run(TestContext.Current.CancellationToken);
            return [.. outputs.Select(output => executor.Read<BFloat16>(output))];
        }
    }

    /// <summary>
    /// The gradients of parameters are sums over rows of many blocks: in which order the blocks run must not show.
    /// </summary>
    [Theory]
    [InlineData("reverse")]
    [InlineData("seed:5")]
    public void Sums_over_rows_have_the_same_bits_in_any_order_of_execution(string schedule)
    {
        const int Rows = 70, Columns = 72;
        BFloat16[] x = Random(1, Rows * Columns), dy = Random(2, Rows * Columns), weight = Random(3, Columns);
        using CudaDevice device = Open();
        using var workspace = new Workspace(device);
        float[][] expected = Sums();
        Emulator.Configure("schedule", schedule);
        try
        {
            Assert.Equal(expected, Sums());
        }
        finally
        {
            Emulator.Configure("schedule", "forward");
        }

        float[][] Sums() =>
        [
            .. new Op[] { new RmsNormBackward(1e-6f), new LayerNormBackward(1e-6f), new LayerScaleBackward() }
                .SelectMany(op => Execute(device, workspace, op, Columns, [x, weight, dy]).Skip(1)),
            .. Execute(device, workspace, new ColumnSum(), Columns, [x]),
            .. Execute(device, workspace, new Sum(), Columns, [x]),
        ];
    }

    [Theory]
    [InlineData(1)]
    [InlineData(1024)]
    [InlineData(2048)]
    [InlineData(2056)]
    [InlineData(3584)]
    [InlineData(4099)]
    [InlineData(8192)]
    [InlineData(40000)]
    public void Threads_cover_a_row(int columns)
    {
        foreach (DataType dataType in new[] { DataType.Float32, DataType.BFloat16 })
        {
            TensorType x = new(dataType, new Shape(5, columns)), weight = new(dataType, new Shape(columns));
            foreach ((Op op, TensorType[] inputs) in new (Op, TensorType[])[]
            {
                (new RmsNorm(1e-6f), [x, weight]), (new RmsNormBackward(1e-6f), [x, weight, x]),
            })
            {
                KernelLaunch launch = CudaBindings.Standard.Describe(op, inputs, CudaTarget.Ampere).Launches.First();
                int vector = Number("VECTOR"), threads = Number("ROW_THREADS"), packs = Number("PACKS");
                Assert.Equal(0, columns % vector);
                Assert.Equal(0, (int)launch.Threads.Count % threads);
                Assert.InRange(packs, 0, 8);
                if (packs > 0)
                    Assert.True(threads * packs * vector >= columns && threads * (packs - 1) * vector < columns,
                        $"{launch}");
                else
                    Assert.True(columns > 512 * vector, $"{launch}: so narrow a row fits into registers");

                int Number(string name) =>
                    int.Parse(launch.Defines[name], System.Globalization.CultureInfo.InvariantCulture);
            }
        }
    }

    private static CudaDevice Open()
    {
        Emulator.Require();
        return new CudaDevice(new CudaDeviceOptions { Libraries = CudaLibraries.LoadSimulated() });
    }

    private static BFloat16[][] Run(CudaDevice device, Workspace workspace, Op op, int columns,
        params BFloat16[][] inputs) =>
        [.. Execute(device, workspace, op, columns, inputs)
            .Select(output => Array.ConvertAll(output, value => (BFloat16)value))];

    /// <summary>Runs an op on bfloat16 matrices of some columns and, where it takes parameters, vectors.</summary>
    private static float[][] Execute(CudaDevice device, Workspace workspace, Op op, int columns, BFloat16[][] inputs)
    {
        var graph = new Graph();
        Value[] values = [.. inputs.Select((input, index) => graph.Input($"input{index}", new TensorType(
            DataType.BFloat16, IsMatrix(index) ? new Shape(input.Length / columns, columns) : new Shape(columns))))];
        IReadOnlyList<Value> outputs = graph.AddNode(op, values);
        for (int index = 0; index < outputs.Count; index++)
            graph.Output($"output{index}", outputs[index]);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        for (int index = 0; index < inputs.Length; index++)
            executor.Write<BFloat16>(values[index], inputs[index]);
        executor.Run();
        return [.. outputs.Select(executor.ReadFloats)];

        bool IsMatrix(int index) => op switch
        {
            RmsNormBackward or LayerNormBackward or LayerScaleBackward => index != 1,
            AddRmsNorm or AddLayerNorm or Add => index < 2,
            _ => index == 0,
        };
    }

    private static BFloat16[] Random(int seed, int count) =>
        Array.ConvertAll((float[])Operand.Normal(count).Fill(seed), value => (BFloat16)value);

    private static ushort[] Bits(BFloat16[] values) => Array.ConvertAll(values, value => value.Bits);
}
