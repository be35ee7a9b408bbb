using Skylight.Cpu;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tests.Cpu;

namespace Skylight.Tests.Ops;

/// <summary>Statistics of stored logits: <see cref="LogProbabilities"/> and <see cref="LogitStatistics"/>.</summary>
[Collection(CpuThreadsCollection.Name)]
public sealed class LogProbabilitiesTests : IDisposable
{
    private readonly int _threads = CpuParallel.ThreadCount;

    public void Dispose() => CpuParallel.ThreadCount = _threads;

    /// <summary>Whatever the logits: log p ≤ 0 and 0 ≤ entropy ≤ ln V.</summary>
    [Fact]
    public void Log_probabilities_and_entropies_stay_in_their_bounds()
    {
        var random = new Random(7);
        for (int round = 0; round < 300; round++)
        {
            int vocabulary = round % 3 == 0 ? random.Next(1, 40) : random.Next(1, 5000), tokens = random.Next(1, 6);
            float scale = MathF.Pow(10, random.Next(-6, 5)), temperature = MathF.Pow(4, (float)random.NextDouble() * 2 - 1);
            float[] logits = HeadReference.Normal(tokens * vocabulary, round, scale);
            if (round % 5 == 0)
                Array.Fill(logits, scale);
            if (round % 7 == 0)
                logits[random.Next(logits.Length)] = 1e4f;
            if (round % 11 == 0)
                Array.Fill(logits, float.NegativeInfinity, 0, vocabulary - 1);
            int[] targets = HeadReference.Targets(tokens, vocabulary, round, everyNone: 1000);
            float[][] actual = HeadHarness.Floats(new LogProbabilities(temperature),
                Given.Rows(logits, tokens, vocabulary), Given.Ids(targets));
            for (int t = 0; t < tokens; t++)
            {
                Assert.InRange(actual[0][t], float.NegativeInfinity, 0f);
                Assert.InRange(actual[1][t], 0f, Math.Log(vocabulary));
                Assert.True(actual[4][t] >= 0);
            }
        }
    }

    [Fact]
    public void Equal_logits_have_the_largest_entropy_and_one_large_logit_the_smallest()
    {
        foreach (float level in new[] { -1e4f, 0f, 1e4f })
        {
            var logits = new float[2000];
            Array.Fill(logits, level);
            float[][] actual = HeadHarness.Floats(new LogProbabilities(), Given.Rows(logits, 1, 2000), Given.Ids(1500));
            Assert.Equal(-Math.Log(2000), actual[0][0], 1e-6);
            Assert.Equal(Math.Log(2000), actual[1][0], 1e-6);
        }

        var peaked = new float[2000];
        Array.Fill(peaked, -1e4f);
        peaked[1999] = 1e4f;
        float[][] sure = HeadHarness.Floats(new LogProbabilities(), Given.Rows([.. peaked, .. peaked], 2, 2000),
            Given.Ids(1999, 0));
        Assert.Equal([0f, -2e4f], sure[0]);
        Assert.Equal([0f, 0f], sure[1]);
    }

    [Fact]
    public void A_logit_that_is_not_a_number_is_not_hidden()
    {
        var logits = new float[3000];
        logits[2500] = float.NaN;
        float[][] actual = HeadHarness.Floats(new LogitStatistics(), Given.Rows(logits, 1, 3000));
        Assert.True(float.IsNaN(actual[1][0]));
        Assert.True(float.IsNaN(actual[2][0]));
    }

    [Theory]
    [InlineData(1f, true, false)]
    [InlineData(0.6f, true, true)]
    [InlineData(2f, false, true)]
    public void Gradient_matches_finite_differences_of_the_definition(float temperature, bool useLogProbability,
        bool useEntropy)
    {
        const int Tokens = 4, Vocabulary = 29;
        float[] logits = HeadReference.Normal(Tokens * Vocabulary, 1, 2);
        int[] targets = [3, -1, 28, 0];
        float[] a = useLogProbability ? [0.3f, 2f, -1f, 0.7f] : new float[4], b = useEntropy ? [0.2f, 1f, 0.4f, -2f]
            : new float[4];
        using var harness = new HeadHarness();
        Value z = harness.Add(Given.Rows(logits, Tokens, Vocabulary));
        IReadOnlyList<Value> outputs = harness.Graph.AddNode(new LogProbabilities(temperature), z,
            harness.Add(Given.Ids(targets)));
        Value loss = VocabularyHeadTests.Objective(harness, outputs, useLogProbability ? a : null, useEntropy ? b : null);
        float[] actual = (float[])harness.Run(harness.Graph.Differentiate(loss, [z], harness.One(), new Add())[z])[0];
        double[] expected = HeadReference.CentralDifferences(HeadReference.Widen(logits), x =>
        {
            double sum = 0;
            for (int t = 0; t < Tokens; t++)
            {
                if (targets[t] < 0)
                    continue;
                (double logProbability, double entropy, _) = HeadReference.Row(x.AsSpan(t * Vocabulary, Vocabulary),
                    targets[t], temperature);
                sum += a[t] * logProbability + b[t] * entropy;
            }

            return sum;
        });
        HeadReference.AssertClose(expected, actual, 2e-6, "logits");
    }

    [Theory]
    [InlineData(1)]
    [InlineData(9)]
    public void Stored_statistics_do_not_depend_on_threads(int tokens)
    {
        const int Vocabulary = 20_011;
        float[] logits = HeadReference.Normal(tokens * Vocabulary, 1, 3);
        CpuParallel.ThreadCount = 1;
        float[][] alone = HeadHarness.Floats(new LogitStatistics(), Given.Rows(logits, tokens, Vocabulary));
        CpuParallel.ThreadCount = 2;
        float[][] together = HeadHarness.Floats(new LogitStatistics(), Given.Rows(logits, tokens, Vocabulary));
        for (int output = 0; output < 3; output++)
            GemmReference.AssertSameBits(alone[output], together[output], $"output {output}");
    }

    [Theory]
    [InlineData("vit300m-style")]
    [InlineData("vit6b-style")]
    public void Matches_the_reference_dump(string style)
    {
        using GoldenDump dump = GoldenDump.Open(style);
        for (int sequence = 0; sequence < 3; sequence++)
        {
            float[] logits = dump.Floats($"s{sequence}.logits");
            int[] ids = dump.Integers($"s{sequence}.input_ids");
            int vocabulary = logits.Length / ids.Length;
            float[][] actual = HeadHarness.Floats(new LogProbabilities(), Given.Rows(logits, ids.Length, vocabulary),
                Given.Ids([.. ids[1..], -1]));
            HeadReference.AssertClose(HeadReference.Widen(dump.Floats($"s{sequence}.token_logprob")), actual[0][..^1],
                1e-6, "log-probability");
            HeadReference.AssertClose(HeadReference.Widen(dump.Floats($"s{sequence}.token_entropy")), actual[1][..^1],
                1e-6, "entropy");
        }
    }
}
