using Skylight.Generation;
using Skylight.Tensors;

namespace Skylight.Tests.Generation;

public sealed class SamplerTests
{
    private static readonly float[] s_logits = [0.3f, 2f, -1f, 1.2f, float.NegativeInfinity, 0.3f];

    [Theory]
    [InlineData(1f, 0, 1f, new[] { 0, 1, 2, 3, 5 })]
    [InlineData(0.5f, 0, 1f, new[] { 0, 1, 2, 3, 5 })]
    [InlineData(1f, 3, 1f, new[] { 0, 1, 3 })] // 0 and 5 are equal: the lower id is eligible
    [InlineData(1f, 1, 1f, new[] { 1 })]
    [InlineData(1f, 0, 0.5f, new[] { 1 })]
    [InlineData(1f, 0, 0.6f, new[] { 1, 3 })]
    [InlineData(2f, 4, 0.7f, new[] { 0, 1, 3 })]
    public void Drawn_as_often_as_probable(float temperature, int topK, float topP, int[] eligible)
    {
        const int Draws = 20000;
        var options = new SamplingOptions { Temperature = temperature, TopK = topK, TopP = topP };
        var counts = new int[s_logits.Length];
        var random = new CounterRandom(3, 4);
        for (int draw = 0; draw < Draws; draw++)
            counts[Sampler.Draw(s_logits, s_logits[1] / temperature, options, random.NextDouble())]++;

        double total = eligible.Sum(token => Math.Exp(s_logits[token] / temperature));
        for (int token = 0; token < counts.Length; token++)
        {
            double expected = eligible.Contains(token) ? Math.Exp(s_logits[token] / temperature) / total : 0;
            double deviation = Math.Sqrt(expected * (1 - expected) / Draws);
            Assert.InRange(counts[token] / (double)Draws, expected - 4.5 * deviation, expected + 4.5 * deviation);
        }
    }

    [Fact]
    public void Greedy_takes_the_lowest_id_of_equals()
    {
        Assert.Equal(1, Sampler.Greedy([1f, 3f, 3f, 2f]));
        Assert.Equal(1, Sampler.Draw([1f, 3f, 3f, 2f], 3f, new SamplingOptions { Temperature = 0 }, 0.99));
    }

    [Theory]
    [InlineData(0.0)]
    [InlineData(0.99999999999)]
    public void The_ends_of_the_unit_interval_never_draw_the_impossible(double uniform)
    {
        int token = Sampler.Draw([float.NegativeInfinity, 0, 0, float.NegativeInfinity], 0, new SamplingOptions(), uniform);
        Assert.Equal(uniform == 0 ? 1 : 2, token);
    }
}
