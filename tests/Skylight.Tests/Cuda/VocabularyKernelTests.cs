using Skylight.Cuda;
using Skylight.Cuda.Bindings;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Simt;
using Skylight.Workloads;

namespace Skylight.Tests.Cuda;

/// <summary>The CUDA kernels of the vocabulary head, of stored logits and of the losses, on the emulator.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class VocabularyKernelTests
{
    private const double LargestFlops = 2e7;

    private static readonly string[] Families =
        ["vocabulary_head", "vocabulary_head_backward", "log_probabilities", "log_probabilities_backward",
            "logit_statistics", "cross_entropy", "policy_loss"];

    /// <summary>Several tiles and chunks: more than <see cref="ParityTests"/> takes.</summary>
    public static TheoryData<string> Workloads =>
        [.. Catalog.All.Where(workload => Families.Contains(workload.Name.Split('/')[0]) && Flops(workload) <= LargestFlops)
            .Select(workload => workload.Name).Except(ParityTests.Small.Select(row => row.Data))];

    [Theory]
    [MemberData(nameof(Workloads))]
    public void Outputs_and_gradients_are_those_of_the_cpu(string name)
    {
        using CudaDevice device = Device();
        Workload workload = Catalog.All.First(candidate => candidate.Name == name);
        ParityRow[] rows = [.. DeviceParity.CheckForward(workload, device),
            .. DeviceParity.CheckGradients(workload, device)];
        Assert.NotEmpty(rows);
        Assert.All(rows, row => Assert.True(row.Passed, row.ToString()));
    }

    [Theory]
    [InlineData(131, 1101, 20, 1f, "forward")]
    [InlineData(9, 2049, 24, 0.7f, "reverse")]
    [InlineData(1, 64, 8, 1f, "seed:1")]
    public void The_head_and_stored_logits_give_the_same_bits(int tokens, int vocabulary, int width, float temperature,
        string schedule)
    {
        using CudaDevice device = Device();
        Emulator.Configure("schedule", schedule);
        (float[] hidden, float[] weight, int[] targets) = Data(tokens, vocabulary, width);
        var graph = new Graph();
        Value hiddenValue = graph.Input("hidden", new TensorType(DataType.BFloat16, new Shape(tokens, width)));
        Value weightValue = graph.Input("weight",
            new TensorType(DataType.BFloat16, new Shape(vocabulary, width), Storage.Weight));
        Value targetValue = graph.Input("targets", TensorType.Int32(tokens));
        Value logits = graph.Add(new MatMul(DataType.Float32), hiddenValue, weightValue);
        IReadOnlyList<Value> head = graph.AddNode(new VocabularyHead(temperature), hiddenValue, weightValue, targetValue);
        IReadOnlyList<Value> stored = graph.AddNode(new LogProbabilities(temperature), logits, targetValue);
        IReadOnlyList<Value> statistics = graph.AddNode(new LogitStatistics(temperature), logits);
        float[][] results = Run(device, graph, [logits, .. head, .. stored, .. statistics], (hiddenValue, hidden),
            (weightValue, weight), (targetValue, targets));
        for (int output = 0; output < 5; output++)
            Assert.Equal(results[1 + output], results[6 + output]);
        for (int row = 0; row < tokens; row++)
        {
            if (targets[row] < 0)
                continue;
            Assert.Equal((results[4][row], results[5][row], results[2][row]),
                (results[11][row], results[12][row], results[13][row]));
            Assert.Equal(results[1][row],
                results[0][row * vocabulary + targets[row]] / temperature - results[4][row] - results[5][row]);
        }
    }

    [Fact]
    public void A_row_does_not_depend_on_the_others()
    {
        using CudaDevice device = Device();
        const int Tokens = 140, Vocabulary = 1100, Width = 24;
        (float[] hidden, float[] weight, int[] targets) = Data(Tokens, Vocabulary, Width);
        float[][] together = Head(device, hidden, weight, targets, Vocabulary, Width);
        foreach (int row in new[] { 0, 17, 129 })
        {
            Assert.True(targets[row] >= 0);
            float[][] alone = Head(device, hidden[(row * Width)..((row + 1) * Width)], weight, [targets[row]],
                Vocabulary, Width);
            for (int output = 0; output < 5; output++)
                Assert.Equal(alone[output][0], together[output][row]);
        }
    }

    [Fact]
    public void Chunks_of_the_vocabulary_change_no_bit_of_the_gradients()
    {
        const int Tokens = 20, Vocabulary = 700, Width = 20;
        (float[] hidden, float[] weight, int[] targets) = Data(Tokens, Vocabulary, Width);
        List<float[][]> results = [];
        foreach (long workspace in new long[] { 1 << 20, Tokens * 128, Tokens * 3 * 128 })
        {
            using CudaDevice device = Device(CudaBindings.Standard.With<VocabularyHeadBackward>(
                (op, kernel) => VocabularyHeadBindings.Backward(op, kernel, workspace)));
            var graph = new Graph();
            Value[] inputs =
            [
                graph.Input("hidden", new TensorType(DataType.BFloat16, new Shape(Tokens, Width))),
                graph.Input("weight", new TensorType(DataType.BFloat16, new Shape(Vocabulary, Width), Storage.Weight)),
                graph.Input("targets", TensorType.Int32(Tokens)),
                graph.Input("maximum", TensorType.Float32(Tokens)),
                graph.Input("logSum", TensorType.Float32(Tokens)),
                graph.Input("gradient", TensorType.Float32(Tokens)),
            ];
            IReadOnlyList<Value> gradients = graph.AddNode(new VocabularyHeadBackward(1, true, false, true, true), inputs);
            float[] maximum = Normal(Tokens, 4), logSum = [.. Enumerable.Repeat(5f, Tokens)], gradient = Normal(Tokens, 5);
            results.Add(Run(
                device, graph, gradients,
                (inputs[0], hidden), (inputs[1], weight), (inputs[2], targets), (inputs[3], maximum),
                (inputs[4], logSum), (inputs[5], gradient)));
        }

        Assert.Contains(results[0][0], value => value != 0);
        Assert.Contains(results[0][1], value => value != 0);
        foreach (float[][] other in results.Skip(1))
        {
            Assert.Equal(results[0][0], other[0]);
            Assert.Equal(results[0][1], other[1]);
        }
    }

    [Fact]
    public void Log_probabilities_and_entropies_stay_in_their_range()
    {
        const int Vocabulary = 5000;
        using CudaDevice device = Device();
        float[] logits = new float[4 * Vocabulary];
        // All alike; one far above the rest; all but a few masked, whole slices and segments among them; steep.
        logits[Vocabulary + 4999] = 80;
        Array.Fill(logits, float.NegativeInfinity, 2 * Vocabulary, Vocabulary);
        logits[2 * Vocabulary + 3000] = 1.5f;
        logits[2 * Vocabulary + 3001] = -0.5f;
        for (int column = 0; column < Vocabulary; column++)
            logits[3 * Vocabulary + column] = -0.3f * column;
        int[] targets = [17, 4999, 3000, 0];
        var graph = new Graph();
        Value input = graph.Input("logits", TensorType.Float32(4, Vocabulary)),
            target = graph.Input("targets", TensorType.Int32(4));
        IReadOnlyList<Value> outputs = graph.AddNode(new LogProbabilities(), input, target);
        float[][] actual = Run(device, graph, outputs, (input, logits), (target, targets));
        using var cpu = new Skylight.Cpu.CpuDevice();
        float[][] expected = Run(cpu, graph, outputs, (input, logits), (target, targets));
        for (int row = 0; row < 4; row++)
        {
            Assert.InRange(actual[0][row], -20f, 0f);
            Assert.InRange(actual[1][row], 0.0, Math.Log(Vocabulary));
            for (int output = 0; output < 5; output++)
                Assert.Equal(expected[output][row], actual[output][row], 1e-5f);
        }

        Assert.Equal(0f, actual[0][1]);
    }

    [Theory]
    [InlineData(-2)]
    [InlineData(64)]
    public void A_target_outside_of_the_vocabulary_is_named(int wrong)
    {
        using CudaDevice device = Device();
        (float[] hidden, float[] weight, int[] targets) = Data(5, 64, 8);
        targets[3] = wrong;
        ArgumentException error = Assert.ThrowsAny<ArgumentException>(() => Head(device, hidden, weight, targets, 64, 8));
        Assert.Contains($"target {wrong} of row 3", error.Message);
        Assert.Contains("VocabularyHead", error.Message);
    }

    private static double Flops(Workload workload)
    {
        TensorType[] inputs = [.. workload.Inputs.Select(input => input.Type)];
        return workload.Op.Cost(inputs, workload.Op.Infer(inputs)).Flops;
    }

    private static CudaDevice Device(CudaBindings? bindings = null)
    {
        Emulator.Require();
        Emulator.Configure("schedule", "forward");
        Emulator.Configure("async", "late");
        Emulator.Configure("checks", "on");
        return new CudaDevice(new CudaDeviceOptions
        {
            Libraries = CudaLibraries.LoadSimulated(),
            Bindings = bindings ?? CudaBindings.Standard,
        });
    }

    private static float[][] Head(Device device, float[] hidden, float[] weight, int[] targets, int vocabulary, int width)
    {
        var graph = new Graph();
        Value hiddenValue = graph.Input("hidden", new TensorType(DataType.BFloat16, new Shape(targets.Length, width)));
        Value weightValue = graph.Input("weight",
            new TensorType(DataType.BFloat16, new Shape(vocabulary, width), Storage.Weight));
        Value targetValue = graph.Input("targets", TensorType.Int32(targets.Length));
        IReadOnlyList<Value> outputs = graph.AddNode(new VocabularyHead(), hiddenValue, weightValue, targetValue);
        return Run(device, graph, outputs, (hiddenValue, hidden), (weightValue, weight), (targetValue, targets));
    }

    private static float[][] Run(Device device, Graph graph, IReadOnlyList<Value> results,
        params (Value Value, Array Elements)[] inputs)
    {
        // A graph may run on two devices.
        for (int index = graph.Outputs.Count; index < results.Count; index++)
            graph.Output($"result{index}", results[index]);

        using var workspace = new Workspace(device);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        foreach ((Value value, Array elements) in inputs)
        {
            if (elements is int[] integers)
                executor.Write<int>(value, integers);
            else if (value.Type.DataType == DataType.Float32)
                executor.Write<float>(value, (float[])elements);
            else
                executor.Write<BFloat16>(value, Array.ConvertAll((float[])elements, number => (BFloat16)number));
        }

        executor.Run(TestContext.Current.CancellationToken);
        return [.. results.Select(executor.ReadFloats)];
    }

    private static (float[] Hidden, float[] Weight, int[] Targets) Data(int tokens, int vocabulary, int width)
    {
        var random = new Random(3);
        int[] targets = [.. Enumerable.Range(0, tokens).Select(row => row % 3 == 1 ? -1 : random.Next(vocabulary))];
        return (Normal(tokens * width, 1), Normal(vocabulary * width, 2), targets);
    }

    private static float[] Normal(int count, int seed) => (float[])Operand.Normal(count).Fill(seed);
}
