using Skylight.Ops;

namespace Skylight.Tests.Ops;

/// <summary>Penalties, biases and bans of single tokens.</summary>
public class AdjustLogitsTests
{
    private const float Banned = float.NegativeInfinity;

    [Fact]
    public void Listed_tokens_change_and_no_others()
    {
        float[] logits = [1, -2, 3, -4, 0, 5, 6, -7, 8, 9, 1, 1];
        float[] actual = Run(logits, 3, [0, 3, 3, 5], [0, 1, 3, 0, 3, 2], [2, 2, 1, 1, 4, 1], [0, 0.5f, Banned, -1, 2, 100]);
        Assert.Equal([0.5f, -3.5f, 3, Banned, 0, 5, 6, -7, 7, 9, 1, 2.25f], actual);
    }

    [Fact]
    public void A_ban_after_the_penalty_holds()
    {
        Assert.Equal([Banned, Banned, 2], Run([Banned, 4, 2], 1, [0, 2], [0, 1], [1.5f, 1.5f], [3, Banned]));
    }

    [Theory]
    [InlineData(new[] { 0, 1, 4 }, new[] { 0, 1, 2 },
        "the entries of row 1 are from 1 to 4, which is not a range within 0 … 3")]
    [InlineData(new[] { -1, 1, 3 }, new[] { 0, 1, 2 }, "the entries of row 0 are from -1 to 1")]
    [InlineData(new[] { 0, 2, 1 }, new[] { 0, 1, 2 }, "the entries of row 1 are from 2 to 1")]
    [InlineData(new[] { 0, 1, 3 }, new[] { 0, 1, 10 },
        "tokens[2] is 10, but within a row tokens must ascend and be from 0 to 9")]
    [InlineData(new[] { 0, 1, 3 }, new[] { -1, 1, 2 }, "tokens[0] is -1")]
    [InlineData(new[] { 0, 1, 3 }, new[] { 5, 7, 7 }, "tokens[2] is 7")]
    public void Wrong_lists_are_named(int[] starts, int[] tokens, string message)
    {
        string error = Assert.Throws<ArgumentOutOfRangeException>(
            () => Run(new float[20], 2, starts, tokens, [1, 1, 1], new float[3])).Message;
        Assert.Contains("AdjustLogits: " + message, error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0f, 0f, "the penalty of entry 1")]
    [InlineData(-1f, 0f, "the penalty of entry 1")]
    [InlineData(float.NaN, 0f, "the penalty of entry 1")]
    [InlineData(float.PositiveInfinity, 0f, "the penalty of entry 1")]
    [InlineData(1f, float.NaN, "the bias of entry 1")]
    [InlineData(1f, float.PositiveInfinity, "the bias of entry 1")]
    public void Numbers_that_would_ruin_the_distribution_are_named(float penalty, float bias, string message)
    {
        string error = Assert.Throws<ArgumentOutOfRangeException>(
            () => Run(new float[10], 1, [0, 2], [3, 4], [1, penalty], [0, bias])).Message;
        Assert.Contains(message, error, StringComparison.Ordinal);
    }

    private static float[] Run(float[] logits, int rows, int[] starts, int[] tokens, float[] penalty, float[] bias) =>
        HeadHarness.Floats(new AdjustLogits(), Given.Rows(logits, rows, logits.Length / rows), Given.Ids(starts),
            Given.Ids(tokens), Given.Rows(penalty), Given.Rows(bias))[0];
}
