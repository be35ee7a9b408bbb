using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tests.Cpu;

namespace Skylight.Tests.Ops;

[Collection(CpuThreadsCollection.Name)]
public sealed class VocabularyHeadTests : IDisposable
{
    private readonly int _threads = CpuParallel.ThreadCount;

    public void Dispose() => CpuParallel.ThreadCount = _threads;

    [Theory]
    [InlineData(1, 1, 1, 1f)]
    [InlineData(5, 37, 8, 1f)]
    [InlineData(30, 64, 16, 0.7f)]
    [InlineData(3, 1024, 12, 1f)]
    [InlineData(7, 1025, 12, 1.5f)]
    [InlineData(14, 3000, 20, 1f)]
    public void Matches_the_definition_in_double_precision(int tokens, int vocabulary, int width, float temperature)
    {
        float[] hidden = HeadReference.Normal(tokens * width, 1), weight = HeadReference.Normal(vocabulary * width, 2, 0.5f);
        int[] targets = HeadReference.Targets(tokens, vocabulary, 3);
        double[] logits = HeadReference.Logits(HeadReference.Widen(hidden), HeadReference.Widen(weight), tokens,
            vocabulary, width);
        float[][] actual = HeadHarness.Floats(new VocabularyHead(temperature), Given.Rows(hidden, tokens, width),
            Given.Weight(weight, vocabulary, width), Given.Ids(targets));
        for (int t = 0; t < tokens; t++)
        {
            if (targets[t] < 0)
            {
                Assert.All(actual, output => Assert.Equal(0f, output[t]));
                continue;
            }

            (double logProbability, double entropy, double logSumExp) = HeadReference.Row(
                logits.AsSpan(t * vocabulary, vocabulary), targets[t], temperature);
            Assert.Equal(logProbability, actual[0][t], 1e-5 * (1 + Math.Abs(logProbability)));
            Assert.Equal(entropy, actual[1][t], 1e-5);
            Assert.Equal(logSumExp, actual[2][t], 1e-5 * (1 + Math.Abs(logSumExp)));
            Assert.Equal(actual[2][t], actual[3][t] + actual[4][t]);
        }
    }

    [Theory]
    [InlineData(6, 37, 5, 1f, true, false)]
    [InlineData(6, 37, 5, 0.8f, false, true)]
    [InlineData(6, 37, 5, 1.4f, true, true)]
    [InlineData(2, 2100, 2, 1f, true, true)]
    public void Gradients_match_finite_differences_of_the_definition(int tokens, int vocabulary, int width,
        float temperature, bool useLogProbability, bool useEntropy)
    {
        float[] hidden = HeadReference.Normal(tokens * width, 1), weight = HeadReference.Normal(vocabulary * width, 2);
        int[] targets = HeadReference.Targets(tokens, vocabulary, 3);
        float[] a = useLogProbability ? HeadReference.Normal(tokens, 4) : new float[tokens],
            b = useEntropy ? HeadReference.Normal(tokens, 5) : new float[tokens];
        (float[] hiddenGradient, float[] weightGradient) = Gradients(new VocabularyHead(temperature), hidden, weight,
            targets, vocabulary, width, useLogProbability ? a : null, useEntropy ? b : null);

        double[] h = HeadReference.Widen(hidden), w = HeadReference.Widen(weight);
        double[] expectedHidden = HeadReference.CentralDifferences(h,
            x => HeadReference.Objective(x, w, targets, vocabulary, width, temperature, a, b));
        double[] expectedWeight = HeadReference.CentralDifferences(w,
            x => HeadReference.Objective(h, x, targets, vocabulary, width, temperature, a, b));
        HeadReference.AssertClose(expectedHidden, hiddenGradient, 2e-6, "hidden");
        HeadReference.AssertClose(expectedWeight, weightGradient, 2e-6, "weight");
        for (int t = 0; t < tokens; t++)
        {
            if (targets[t] < 0)
                Assert.All(hiddenGradient[(t * width)..((t + 1) * width)], value => Assert.Equal(0f, value));
        }
    }

    [Theory]
    [InlineData(40, 300, 24, false)]
    [InlineData(40, 300, 24, true)]
    [InlineData(500, 1100, 33, false)]
    [InlineData(2500, 70, 16, true)]
    public void Fused_equals_unfused_and_stored_statistics_bit_for_bit(int tokens, int vocabulary, int width, bool half)
    {
        const float Temperature = 0.9f;
        float[] hidden = HeadReference.Normal(tokens * width, 1), weight = HeadReference.Normal(vocabulary * width, 2);
        int[] targets = HeadReference.Targets(tokens, vocabulary, 3);
        Given given = Given.Weight(weight, vocabulary, width, half);
        float[]? bitsOfGradient = null;
        foreach (int threads in new[] { 1, 2 })
        {
            CpuParallel.ThreadCount = threads;
            float[][] fused = HeadHarness.Floats(new VocabularyHead(Temperature), Given.Rows(hidden, tokens, width),
                given, Given.Ids(targets));
            float[] logits = HeadHarness.Floats(new MatMul(), Given.Rows(hidden, tokens, width), given)[0];
            float[][] unfused = HeadHarness.Floats(new LogProbabilities(Temperature),
                Given.Rows(logits, tokens, vocabulary), Given.Ids(targets));
            for (int output = 0; output < fused.Length; output++)
                GemmReference.AssertSameBits(unfused[output], fused[output], $"output {output}, {threads} threads");

            float[][] stored = HeadHarness.Floats(new LogitStatistics(Temperature), Given.Rows(logits, tokens, vocabulary));
            for (int t = 0; t < tokens; t++)
            {
                if (targets[t] < 0)
                    continue;
                Assert.Equal((logits[t * vocabulary + targets[t]] / Temperature - stored[0][t]) - stored[1][t], fused[0][t]);
                Assert.Equal(stored[2][t], fused[1][t]);
            }

            (_, float[] gradient) = Gradients(new VocabularyHead(Temperature), hidden, weight, targets, vocabulary,
                width, HeadReference.Normal(tokens, 4), HeadReference.Normal(tokens, 5));
            GemmReference.AssertSameBits(bitsOfGradient ??= gradient, gradient, "gradient by threads");
        }
    }

    /// <summary>Any part of a batch, alone, gives the bits it gives in the whole.</summary>
    [Fact]
    public void A_row_does_not_depend_on_the_others()
    {
        const int Tokens = 300, Vocabulary = 1500, Width = 24;
        float[] hidden = HeadReference.Normal(Tokens * Width, 1), weight = HeadReference.Normal(Vocabulary * Width, 2);
        int[] targets = HeadReference.Targets(Tokens, Vocabulary, 3, everyNone: 20);
        foreach (bool half in new[] { false, true })
        {
            Given given = Given.Weight(weight, Vocabulary, Width, half);
            float[][] whole = HeadHarness.Floats(new VocabularyHead(), Given.Rows(hidden, Tokens, Width), given,
                Given.Ids(targets));
            foreach ((int start, int count) in new[] { (0, 1), (17, 2), (40, 13), (100, 200) })
            {
                float[] part = hidden[(start * Width)..((start + count) * Width)];
                float[][] alone = HeadHarness.Floats(new VocabularyHead(), Given.Rows(part, count, Width), given,
                    Given.Ids(targets[start..(start + count)]));
                for (int output = 0; output < whole.Length; output++)
                    GemmReference.AssertSameBits(whole[output][start..(start + count)], alone[output],
                        $"output {output} of rows {start} + {count}");
            }
        }
    }

    /// <summary>The larger case takes several blocks of rows, forward and backward.</summary>
    [Theory]
    [InlineData(90, 1300, 20)]
    [InlineData(3300, 1030, 6)]
    public void The_fusion_rule_keeps_outputs_and_gradients_bit_for_bit(int tokens, int vocabulary, int width)
    {
        float[] hidden = HeadReference.Normal(tokens * width, 1), weight = HeadReference.Normal(vocabulary * width, 2);
        int[] targets = HeadReference.Targets(tokens, vocabulary, 3, everyNone: 3);
        var results = new List<Array[]>();
        foreach (bool fuse in new[] { false, true })
        {
            using var harness = new HeadHarness();
            Graph graph = harness.Graph;
            Value x = harness.Add(Given.Rows(hidden, tokens, width)),
                w = harness.Add(Given.Weight(weight, vocabulary, width));
            IReadOnlyList<Value> outputs = graph.AddNode(new LogProbabilities(1.1f), graph.Add(new MatMul(), x, w),
                harness.Add(Given.Ids(targets)));
            Value loss = Objective(harness, outputs, HeadReference.Normal(tokens, 4), HeadReference.Normal(tokens, 5));
            Assert.Equal(fuse ? 1 : 0, fuse ? graph.Fuse([new VocabularyHeadFusion()]) : 0);
            Assert.Equal(fuse, graph.Nodes.All(node => node.Op is not MatMul));
            IReadOnlyDictionary<Value, Value> gradients = graph.Differentiate(loss, [x, w], harness.One(), new Add());
            results.Add(harness.Run(outputs[0], outputs[1], outputs[2], gradients[x], gradients[w]));
        }

        for (int index = 0; index < results[0].Length; index++)
            GemmReference.AssertSameBits((float[])results[0][index], (float[])results[1][index], $"result {index}");
    }

    [Fact]
    public void The_rule_leaves_logits_alone_that_someone_else_reads()
    {
        using var harness = new HeadHarness();
        Graph graph = harness.Graph;
        Value logits = graph.Add(new MatMul(), harness.Add(Given.Rows(new float[8], 2, 4)),
            harness.Add(Given.Weight(new float[40], 10, 4)));
        graph.AddNode(new LogProbabilities(), logits, harness.Add(Given.Ids(1, 2)));
        graph.Output("logits", logits);
        Assert.Equal(0, graph.Fuse([new VocabularyHeadFusion()]));
    }

    [Fact]
    public void A_frozen_weight_costs_no_gradient()
    {
        using var harness = new HeadHarness();
        Graph graph = harness.Graph;
        Value x = harness.Add(Given.Rows(new float[8], 2, 4)), w = harness.Add(Given.Weight(new float[40], 10, 4));
        IReadOnlyList<Value> outputs = graph.AddNode(new VocabularyHead(), x, w, harness.Add(Given.Ids(1, 2)));
        Value loss = graph.Add(new CrossEntropy(), outputs[0], harness.Add(Given.Rows([1, 1])));
        graph.Differentiate(loss, [x], harness.One(), new Add());
        Node backward = Assert.Single(graph.Nodes, node => node.Op is VocabularyHeadBackward);
        Assert.Equal([x.Type], backward.Outputs.Select(output => output.Type));
    }

    [Fact]
    public void Rows_without_target_may_hold_anything()
    {
        float[] hidden = [1, 2, float.NaN, float.PositiveInfinity, 3, -1];
        int[] targets = [4, -1, 0];
        float[] weight = HeadReference.Normal(20, 1);
        float[][] actual = HeadHarness.Floats(new VocabularyHead(), Given.Rows(hidden, 3, 2),
            Given.Weight(weight, 10, 2), Given.Ids(targets));
        Assert.All(actual, output => Assert.All(output, value => Assert.True(float.IsFinite(value))));
        (float[] x, float[] w) = Gradients(new VocabularyHead(), hidden, weight, targets, 10, 2, [1, float.NaN, 1], null);
        Assert.All(x.Concat(w), value => Assert.True(float.IsFinite(value)));
        Assert.Equal([0f, 0f], x[2..4]);

        (x, w) = Gradients(new VocabularyHead(), hidden, weight, [-1, -1, -1], 10, 2, [1, 1, 1], null);
        Assert.All(x.Concat(w), value => Assert.Equal(0f, value));
    }

    [Theory]
    [InlineData(10)]
    [InlineData(-2)]
    public void A_target_outside_the_vocabulary_is_an_error_with_its_place(int target)
    {
        var error = Assert.Throws<ArgumentOutOfRangeException>(() =>
            HeadHarness.Run(new VocabularyHead(), Given.Rows(new float[8], 2, 4), Given.Weight(new float[40], 10, 4),
                Given.Ids(1, target)));
        Assert.Contains($"VocabularyHead: target {target} of row 1", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Misuse_is_refused_when_the_graph_is_built()
    {
        using var harness = new HeadHarness();
        Graph graph = harness.Graph;
        Value x = harness.Add(Given.Rows(new float[8], 2, 4)), w = harness.Add(Given.Weight(new float[40], 10, 4)),
            ids = harness.Add(Given.Ids(1, 2));
        Value narrow = harness.Add(Given.Rows(new float[6], 2, 3)),
            plain = harness.Add(Given.Rows(new float[40], 10, 4)), few = harness.Add(Given.Ids(1));
        Assert.Throws<GraphException>(() => graph.AddNode(new VocabularyHead(), x, w));
        Assert.Throws<GraphException>(() => graph.AddNode(new VocabularyHead(), narrow, w, ids));
        Assert.Throws<GraphException>(() => graph.AddNode(new VocabularyHead(), x, plain, ids));
        Assert.Throws<GraphException>(() => graph.AddNode(new VocabularyHead(), x, w, few));
        Assert.Throws<GraphException>(() => graph.AddNode(new VocabularyHead(), x, w, x));
        Assert.Throws<GraphException>(() => graph.AddNode(new VocabularyHead(0f), x, w, ids));
        IReadOnlyList<Value> outputs = graph.AddNode(new VocabularyHead(), x, w, ids);
        Value loss = graph.Add(new CrossEntropy(), outputs[2], harness.Add(Given.Rows([1, 1])));
        Assert.Throws<GraphException>(() => graph.Differentiate(loss, [x], harness.One(), new Add()));
    }

    internal static Value Objective(HeadHarness harness, IReadOnlyList<Value> outputs, float[]? a, float[]? b)
    {
        // CrossEntropy is −Σ weight·value.
        Value? first = a is null ? null
            : harness.Graph.Add(new CrossEntropy(), outputs[0],
                harness.Add(Given.Rows(Array.ConvertAll(a, value => -value))));
        Value? second = b is null ? null
            : harness.Graph.Add(new CrossEntropy(), outputs[1],
                harness.Add(Given.Rows(Array.ConvertAll(b, value => -value))));
        return first is null ? second! : second is null ? first : harness.Graph.Add(new Add(), first, second);
    }

    private static (float[] Hidden, float[] Weight) Gradients(VocabularyHead op, float[] hidden, float[] weight,
        int[] targets, int vocabulary, int width, float[]? a, float[]? b)
    {
        using var harness = new HeadHarness();
        Value x = harness.Add(Given.Rows(hidden, targets.Length, width)),
            w = harness.Add(Given.Weight(weight, vocabulary, width));
        IReadOnlyList<Value> outputs = harness.Graph.AddNode(op, x, w, harness.Add(Given.Ids(targets)));
        Value loss = Objective(harness, outputs, a, b);
        IReadOnlyDictionary<Value, Value> gradients = harness.Graph.Differentiate(loss, [x, w], harness.One(), new Add());
        Array[] results = harness.Run(gradients[x], gradients[w]);
        return ((float[])results[0], (float[])results[1]);
    }
}
