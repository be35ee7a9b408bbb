using Skylight.Graphs;
using Skylight.Ops;

namespace Skylight.Tests.Ops;

public sealed class CrossEntropyTests
{
    [Fact]
    public void Sums_in_double_precision_and_ignores_rows_of_weight_zero()
    {
        float[] logProbability = [-1f, float.NaN, -2.5f, -0.001f, -7f], weights = [0.25f, 0, 2, 1e-3f, 1f];
        double expected = 0;
        for (int row = 0; row < 5; row++)
            expected -= row == 1 ? 0 : (double)weights[row] * logProbability[row];
        Assert.Equal((float)expected,
            HeadHarness.Floats(new CrossEntropy(), Given.Rows(logProbability), Given.Rows(weights))[0][0]);
    }

    [Fact]
    public void Gradient_is_minus_the_weight_times_that_of_the_loss()
    {
        float[] weights = [0.25f, 0, 2];
        using var harness = new HeadHarness();
        Value logProbability = harness.Add(Given.Rows([-1, -2, -3]));
        Value loss = harness.Graph.Add(new CrossEntropy(), logProbability, harness.Add(Given.Rows(weights)));
        Value three = harness.Add(Given.Rows([3]));
        float[] gradient = (float[])harness.Run(
            harness.Graph.Differentiate(loss, [logProbability], three, new Add())[logProbability])[0];
        Assert.Equal([-0.75f, -0f, -6f], gradient);
    }

    [Theory]
    [InlineData("vit300m-style")]
    [InlineData("vit6b-style")]
    public void Matches_the_loss_of_the_reference_dump(string style)
    {
        using GoldenDump dump = GoldenDump.Open(style);
        float[] logProbability = [.. Enumerable.Range(0, 3)
            .SelectMany(s => dump.Floats($"s{s}.token_logprob")[(dump.Integers($"s{s}.completion_start")[0] - 1)..])];
        float[] weights = new float[logProbability.Length];
        Array.Fill(weights, 1f / weights.Length);
        float loss = HeadHarness.Floats(new CrossEntropy(), Given.Rows(logProbability), Given.Rows(weights))[0][0];
        Assert.Equal(dump.Floats("sft.loss")[0], loss, 1e-5f);
    }
}
