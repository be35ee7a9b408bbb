using Skylight.Graphs;
using Skylight.Ops;

namespace Skylight.Tests.Ops;

public sealed class PolicyLossTests
{
    public static TheoryData<KlKind, float, float> Variants() => new()
    {
        { KlKind.None, 0f, 0f }, { KlKind.K1, 0.3f, 0f }, { KlKind.K2, 0.5f, 0f }, { KlKind.K3, 0.7f, 0f },
        { KlKind.K3, 0.1f, 1.5f }, { KlKind.None, 0f, 3f },
    };

    [Theory]
    [MemberData(nameof(Variants))]
    public void Matches_the_definition_and_its_finite_differences(KlKind kl, float beta, float dualClip)
    {
        const int Count = 200;
        float[] old = HeadReference.Normal(Count, 1), ratio = HeadReference.Normal(Count, 2, 0.4f),
            reference = HeadReference.Normal(Count, 3), advantages = HeadReference.Normal(Count, 4);
        float[] logProbability = [.. old.Zip(ratio, (x, y) => x + y)],
            weights = [.. HeadReference.Normal(Count, 5).Select((w, i) => i % 5 == 0 ? 0 : Math.Abs(w))];
        var op = new PolicyLoss(0.2f, 0.28f, kl, beta, dualClip);
        using var harness = new HeadHarness();
        Value x = harness.Add(Given.Rows(logProbability));
        IReadOnlyList<Value> outputs = harness.Graph.AddNode(op, x, harness.Add(Given.Rows(old)),
            harness.Add(Given.Rows(reference)), harness.Add(Given.Rows(advantages)), harness.Add(Given.Rows(weights)));
        Value gradient = harness.Graph.Differentiate(outputs[0], [x], harness.One(), new Add())[x];
        Array[] actual = harness.Run([.. outputs, gradient]);

        (double Loss, double Kl, int Clipped, double Largest) Reference(double[] at)
        {
            double loss = 0, divergence = 0, largest = 0;
            int clipped = 0;
            for (int i = 0; i < Count; i++)
            {
                if (weights[i] == 0)
                    continue;
                double rho = Math.Exp(at[i] - old[i]), free = rho * advantages[i];
                double bounded = Math.Min(Math.Max(rho, 1 - (double)0.2f), 1 + (double)0.28f) * advantages[i];
                double objective = Math.Min(free, bounded);
                bool isClipped = bounded < free;
                if (dualClip > 0 && advantages[i] < 0 && objective < dualClip * advantages[i])
                    (objective, isClipped) = (dualClip * advantages[i], true);
                double r = reference[i] - at[i];
                double term = kl switch
                {
                    KlKind.K1 => -r,
                    KlKind.K2 => r * r / 2,
                    KlKind.K3 => Math.Exp(r) - r - 1,
                    _ => 0,
                };
                loss += weights[i] * (-objective + beta * term);
                divergence += weights[i] * term;
                largest = Math.Max(largest, Math.Abs(at[i] - old[i]));
                clipped += isClipped ? 1 : 0;
            }

            return (loss, divergence, clipped, largest);
        }

        var expected = Reference(HeadReference.Widen(logProbability));
        Assert.Equal(expected.Loss, ((float[])actual[0])[0], 1e-5 * (1 + Math.Abs(expected.Loss)));
        Assert.Equal(expected.Clipped, ((int[])actual[1])[0]);
        Assert.InRange(expected.Clipped, 10, Count / 2);
        Assert.Equal(expected.Kl, ((float[])actual[2])[0], 1e-5 * (1 + Math.Abs(expected.Kl)));
        Assert.Equal(expected.Largest, ((float[])actual[3])[0], 1e-6);
        double[] slopes = HeadReference.CentralDifferences(HeadReference.Widen(logProbability),
            at => Reference(at).Loss, 1e-6);
        HeadReference.AssertClose(slopes, (float[])actual[4], 1e-5, "gradient");
    }

    [Fact]
    public void On_policy_the_gradient_is_that_of_plain_policy_gradient_and_nothing_is_clipped()
    {
        float[] logProbability = [-1, -2, -0.25f];
        Array[] actual = HeadHarness.Run(
            new PolicyLoss(0.2f, 0.2f, KlKind.None, 0), Given.Rows(logProbability), Given.Rows(logProbability),
            Given.Rows([0, 0, 0]), Given.Rows([1, -2, 0.5f]), Given.Rows([1, 1, 2]));
        Assert.Equal([0f], (float[])actual[0]);
        Assert.Equal([0], (int[])actual[1]);
        Assert.Equal([0f], (float[])actual[3]);
        float[] gradient = HeadHarness.Floats(
            new PolicyLossBackward(new PolicyLoss(0.2f, 0.2f, KlKind.None, 0)),
            Given.Rows(logProbability), Given.Rows(logProbability), Given.Rows([0, 0, 0]), Given.Rows([1, -2, 0.5f]),
            Given.Rows([1, 1, 2]), Given.Rows([2]))[0];
        Assert.Equal([-2f, 4f, -2f], gradient);
    }

    [Fact]
    public void Rows_of_weight_zero_and_an_unused_reference_may_hold_anything()
    {
        float nan = float.NaN;
        var op = new PolicyLoss(0.2f, 0.2f, KlKind.K3, 0.1f);
        Given[] inputs = [Given.Rows([-1, nan]), Given.Rows([-1, nan]), Given.Rows([-1, nan]), Given.Rows([1, nan]),
            Given.Rows([1, 0])];
        Assert.All(HeadHarness.Floats(op, inputs), output => Assert.True(float.IsFinite(output[0])));
        Assert.Equal([-1f, 0f], HeadHarness.Floats(new PolicyLossBackward(op), [.. inputs, Given.Rows([1])])[0]);
        inputs[2] = Given.Rows([nan, nan]);
        Assert.All(HeadHarness.Floats(op with { Kl = KlKind.None }, inputs),
            output => Assert.True(float.IsFinite(output[0])));
        Assert.True(float.IsNaN(HeadHarness.Floats(op, inputs)[0][0]));
    }

    [Theory]
    [InlineData("vit300m-style", "sequence_mean")]
    [InlineData("vit300m-style", "token_mean_kl3")]
    [InlineData("vit300m-style", "constant_kl1")]
    [InlineData("vit6b-style", "sequence_mean")]
    [InlineData("vit6b-style", "token_mean_kl3")]
    [InlineData("vit6b-style", "constant_kl1")]
    public void Matches_the_reference_dump(string style, string variant)
    {
        using GoldenDump dump = GoldenDump.Open(style);
        float[][] logProbability = new float[3][], old = new float[3][], reference = new float[3][];
        for (int s = 0; s < 3; s++)
        {
            logProbability[s] = dump.Floats($"s{s}.token_logprob")[(dump.Integers($"s{s}.completion_start")[0] - 1)..];
            old[s] = dump.Floats($"grpo.s{s}.old_logprob");
            reference[s] = dump.Floats($"grpo.s{s}.ref_logprob");
        }

        int tokens = logProbability.Sum(sequence => sequence.Length);
        float[] advantages = dump.Floats("grpo.advantages");
        (PolicyLoss op, Func<int, float> weight) = variant switch
        {
            "sequence_mean" => (new PolicyLoss(0.2f, 0.2f, KlKind.None, 0),
                (Func<int, float>)(s => 1f / (3 * logProbability[s].Length))),
            "token_mean_kl3" => (new PolicyLoss(0.2f, 0.28f, KlKind.K3, 0.04f), _ => 1f / tokens),
            _ => (new PolicyLoss(0.2f, 0.2f, KlKind.K1, 0.04f), _ => 1f / (3 * 64)),
        };
        Array[] actual = HeadHarness.Run(
            op, Flat(logProbability), Flat(old), Flat(reference),
            Flat([.. logProbability.Select((sequence, s) => Filled(sequence.Length, advantages[s]))]),
            Flat([.. logProbability.Select((sequence, s) => Filled(sequence.Length, weight(s)))]));
        float loss = dump.Floats($"grpo.{variant}.loss")[0];
        Assert.Equal(loss, ((float[])actual[0])[0], Math.Abs(loss) * 1e-5f);
        Assert.Equal(dump.Integers($"grpo.{variant}.clipped_tokens")[0], ((int[])actual[1])[0]);
    }

    [Fact]
    public void Misuse_is_refused_when_the_graph_is_built()
    {
        Given rows = Given.Rows([1, 2]), other = Given.Rows([1, 2, 3]);
        var op = new PolicyLoss(0.2f, 0.2f, KlKind.K1, 0.1f);
        Assert.Throws<GraphException>(() => HeadHarness.Run(op, rows, rows, rows, rows));
        Assert.Throws<GraphException>(() => HeadHarness.Run(op, rows, rows, rows, rows, other));
        Assert.Throws<GraphException>(() => HeadHarness.Run(op with { ClipLow = 1.5f }, rows, rows, rows, rows, rows));
        Assert.Throws<GraphException>(() => HeadHarness.Run(op with { ClipHigh = -0.1f }, rows, rows, rows, rows, rows));
        Assert.Throws<GraphException>(() => HeadHarness.Run(op with { DualClip = 0.5f }, rows, rows, rows, rows, rows));
        Assert.Throws<GraphException>(() => HeadHarness.Run(op with { Beta = float.NaN }, rows, rows, rows, rows, rows));
    }

    private static Given Flat(float[][] sequences) => Given.Rows([.. sequences.SelectMany(sequence => sequence)]);

    private static float[] Filled(int count, float value)
    {
        var values = new float[count];
        Array.Fill(values, value);
        return values;
    }
}
