using Skylight.Cpu;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Ops;
using Skylight.Tests.Simt;
using static Skylight.Tests.Ops.SampleTokensTests;

namespace Skylight.Tests.Cuda;

/// <summary>
/// Sampling on the emulator: what goes beyond the catalog's workloads, which <see cref="ParityTests"/> compares.
/// </summary>
[Collection(EmulatorCollection.Name)]
public sealed class SamplingKernelTests
{
    [Theory]
    [InlineData("forward", "late", 1, 24, 2100)]
    [InlineData("reverse", "immediate", 2, 24, 2100)]
    [InlineData("seed:3", "late", 3, 24, 2100)]
    [InlineData("seed:5", "immediate", 4, 10, 20000)] // three blocks add up the bins of a row
    [InlineData("reverse", "late", 5, 4, 16385)]
    public void Tokens_are_those_of_the_cpu_whatever_the_schedule(string schedule, string completion, int seed, int rows,
        int vocabulary)
    {
        var random = new Random(seed);
        float[] logits = HeadReference.Normal(rows * vocabulary, seed, 1 + seed);
        // Equals by rounding: the bound falls among them.
        for (int index = 0; index < logits.Length; index++)
            logits[index] = index / vocabulary % 2 == 0 ? logits[index] : MathF.Round(logits[index] * 2) / 2;
        Parameters[] parameters = [.. Enumerable.Range(0, rows).Select(row => new Parameters(
            row % 8 == 7 ? 0 : 0.3f + random.NextSingle() * 2,
            row % 3 == 0 ? random.Next(1, 500) : 0,
            row % 4 == 1 ? 0.2f + 0.79f * random.NextSingle() : 1,
            row % 5 == 2 ? random.NextSingle() * 0.2f : 0))];
        Given[] inputs = Inputs(logits, vocabulary, parameters, (ulong)seed);
        using CudaDevice device = Device();
        Emulator.Configure("schedule", schedule);
        Emulator.Configure("async", completion);
        using var cpu = new CpuDevice();
        (int[] expected, float[] expectedScores) = Run(cpu, inputs);
        (int[] actual, float[] actualScores) = Run(device, inputs);
        Assert.Equal(expected, actual);
        for (int row = 0; row < rows; row++)
            Assert.Equal(expectedScores[row], actualScores[row], 1e-5f);
    }

    [Fact]
    public void Scores_are_those_of_training_bit_for_bit()
    {
        const int Rows = 6, Vocabulary = 2049;
        float[] temperatures = [0, 1, 0.7f, 1.3f, 0.2f, 2];
        float[] logits = HeadReference.Normal(Rows * Vocabulary, 2, 2);
        using CudaDevice device = Device();
        (int[] tokens, float[] scores, float[] entropies) = RunAll(device,
            Inputs(logits, Vocabulary, [.. temperatures.Select(temperature => new Parameters(temperature, 0, 1, 0))], 4));
        for (int row = 0; row < Rows; row++)
        {
            Given line = Given.Rows(logits[(row * Vocabulary)..((row + 1) * Vocabulary)], 1, Vocabulary);
            using var workspace = new Workspace(device);
            (Executor executor, IReadOnlyList<Value> outputs) = Prepare(device, workspace,
                new LogProbabilities(temperatures[row] == 0 ? 1 : temperatures[row]), [line, Given.Ids(tokens[row])]);
            executor.Run(TestContext.Current.CancellationToken);
            Assert.Equal((executor.Read<float>(outputs[0])[0], executor.Read<float>(outputs[1])[0]),
                (scores[row], entropies[row]));
        }
    }

    [Theory]
    [InlineData(float.NaN, SampleTokens.NotFinite)]
    [InlineData(float.PositiveInfinity, SampleTokens.NotFinite)]
    [InlineData(float.NegativeInfinity, SampleTokens.NothingToDraw)]
    public void A_row_of_which_nothing_can_be_drawn_says_so_and_changes_no_other(float bad, int token)
    {
        const int Vocabulary = 1030;
        float[] logits = HeadReference.Normal(3 * Vocabulary, 3, 1), healthy = [.. logits];
        if (float.IsNegativeInfinity(bad))
            Array.Fill(logits, bad, Vocabulary, Vocabulary);
        else
            logits[Vocabulary + 1027] = bad;
        using CudaDevice device = Device();
        foreach (Parameters parameters in (Parameters[])[new(0, 0, 1, 0), new(1, 0, 1, 0), new(1, 5, 0.5f, 0)])
        {
            (int[] tokens, float[] scores, float[] entropies) = RunAll(device,
                Inputs(healthy, Vocabulary, [parameters, parameters, parameters], 1));
            (int[] drawn, float[] drawnScores, float[] drawnEntropies) = RunAll(device,
                Inputs(logits, Vocabulary, [parameters, parameters, parameters], 1));
            Assert.Equal([tokens[0], token, tokens[2]], drawn);
            Assert.Equal([scores[0], float.NaN, scores[2]], drawnScores);
            Assert.Equal([entropies[0], float.NaN, entropies[2]], drawnEntropies);
        }
    }

    [Theory]
    [InlineData(-1f, 0, 1f, 0f)]
    [InlineData(float.NaN, 0, 1f, 0f)]
    [InlineData(float.PositiveInfinity, 0, 1f, 0f)]
    [InlineData(1f, -1, 1f, 0f)]
    [InlineData(1f, 0, 0f, 0f)]
    [InlineData(1f, 0, 1.1f, 0f)]
    [InlineData(1f, 0, 1f, -0.5f)]
    [InlineData(1f, 0, 1f, float.NaN)]
    public void Parameters_out_of_range_are_named(float temperature, int topK, float topP, float minP)
    {
        using CudaDevice device = Device();
        Parameters good = new(1, 0, 1, 0);
        Exception error = Assert.Throws<ArgumentOutOfRangeException>(() =>
            Run(device, Inputs(new float[60], 20, [good, good, new Parameters(temperature, topK, topP, minP)], 1)));
        Assert.Contains("SampleTokens: row 2: the temperature must be 0 or more", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(new[] { 0, 1, 4 }, new[] { 0, 1, 2 }, 1f, 0f, "AdjustLogits: the entries of row 1, from 1,")]
    [InlineData(new[] { 0, 1, 3 }, new[] { 0, 1, 5000 }, 1f, 0f, "AdjustLogits: tokens[2] is 5000")]
    [InlineData(new[] { 0, 1, 3 }, new[] { -1, 1, 2 }, 1f, 0f, "AdjustLogits: tokens[0] is -1")]
    [InlineData(new[] { 0, 1, 3 }, new[] { 4999, 4900, 4900 }, 1f, 0f, "AdjustLogits: tokens[2] is 4900")]
    [InlineData(new[] { 0, 1, 3 }, new[] { 4, 4200, 4201 }, 0f, 0f, "AdjustLogits: the penalty of entry")]
    [InlineData(new[] { 0, 1, 3 }, new[] { 4, 4200, 4201 }, 1f, float.NaN, "AdjustLogits: the penalty of entry")]
    public void Wrong_adjustments_are_named(int[] starts, int[] tokens, float penalty, float bias, string message)
    {
        using CudaDevice device = Device();
        using var workspace = new Workspace(device);
        Given[] inputs = [Given.Rows(new float[10000], 2, 5000), Given.Ids(starts), Given.Ids(tokens),
            Given.Rows([penalty, penalty, penalty]), Given.Rows([bias, bias, bias])];
        (Executor executor, IReadOnlyList<Value> outputs) = Prepare(device, workspace, new AdjustLogits(), inputs);
        Exception error = Assert.Throws<ArgumentOutOfRangeException>(() =>
        {
            executor.Run(TestContext.Current.CancellationToken);
            executor.Read<float>(outputs[0]);
        });
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    private static CudaDevice Device()
    {
        Emulator.Require();
        Emulator.Configure("schedule", "forward");
        Emulator.Configure("async", "late");
        Emulator.Configure("checks", "on");
        return new CudaDevice(new CudaDeviceOptions { Libraries = CudaLibraries.LoadSimulated() });
    }

    private static (int[] Tokens, float[] Scores) Run(Device device, Given[] inputs)
    {
        (int[] tokens, float[] scores, _) = RunAll(device, inputs);
        return (tokens, scores);
    }

    private static (int[] Tokens, float[] Scores, float[] Entropies) RunAll(Device device, Given[] inputs)
    {
        using var workspace = new Workspace(device);
        (Executor executor, IReadOnlyList<Value> outputs) = Prepare(device, workspace, new SampleTokens(), inputs);
        executor.Run(TestContext.Current.CancellationToken);
        return (executor.Read<int>(outputs[0]), executor.Read<float>(outputs[1]), executor.Read<float>(outputs[2]));
    }

    private static (Executor Executor, IReadOnlyList<Value> Outputs) Prepare(Device device, Workspace workspace, Op op,
        Given[] inputs)
    {
        var graph = new Graph();
        Value[] values = [.. inputs.Select((given, index) => graph.Input($"input{index}", given.Type))];
        IReadOnlyList<Value> outputs = graph.AddNode(op, values);
        for (int index = 0; index < outputs.Count; index++)
            graph.Output($"output{index}", outputs[index]);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        for (int index = 0; index < values.Length; index++)
        {
            if (inputs[index].Elements is int[] integers)
                executor.Write<int>(values[index], integers);
            else
                executor.Write<float>(values[index], (float[])inputs[index].Elements);
        }

        return (executor, outputs);
    }
}
