using Skylight.Training.Objectives;

namespace Skylight.Tests.Training.Objectives;

public sealed class GroupAdvantagesTests
{
    [Fact]
    public void Advantages_are_rewards_less_mean_over_unbiased_deviation()
    {
        // Mean 1/2, squared distances 4 · 1/4, so the deviation is √(1/3).
        double one = 0.5 / (Math.Sqrt(1.0 / 3) + 1e-6);
        Assert.Equal([(float)one, (float)-one, (float)-one, (float)one], GroupAdvantages.Of([1, 0, 0, 1]));

        // 0, 1, 5: mean 2, squared distances 4 + 1 + 9 = 14, deviation √7.
        double deviation = Math.Sqrt(7) + 1e-6;
        Assert.Equal([(float)(-2 / deviation), (float)(-1 / deviation), (float)(3 / deviation)],
            GroupAdvantages.Of([0, 1, 5]));
    }

    [Theory]
    [InlineData(0.1, 3)] // the mean of three 0.1 is not 0.1 in floating point
    [InlineData(0.2, 8)]
    [InlineData(0.8, 7)]
    [InlineData(1.0, 8)]
    [InlineData(0.3, 1)]
    public void A_group_without_spread_has_no_advantages(double reward, int count) =>
        Assert.All(GroupAdvantages.Of([.. Enumerable.Repeat(reward, count)]), advantage => Assert.Equal(0f, advantage));

    [Fact]
    public void A_scale_is_of_the_group_of_the_batch_or_none()
    {
        double[][] groups = [[1, 0], [0, 0.5, 1], [0.25, 0.25]];
        Assert.Equal([[0.5f, -0.5f], [-0.5f, 0, 0.5f], [0, 0]], GroupAdvantages.Of(groups, AdvantageScale.None));
        Assert.Equal(groups.Select(group => GroupAdvantages.Of(group)), GroupAdvantages.Of(groups, AdvantageScale.Group));

        // All seven: mean 3/7, squares 1 + 1/4 + 1 + 1/8 less 9/7.
        float half = (float)(0.5 / (Math.Sqrt((2.375 - (9.0 / 7)) / 6) + 1e-6));
        Assert.Equal([[half, -half], [-half, 0, half], [0, 0]], GroupAdvantages.Of(groups, AdvantageScale.Batch));
        Assert.Throws<ArgumentOutOfRangeException>(() => GroupAdvantages.Of(groups, (AdvantageScale)7));
    }

    [Fact]
    public void Token_weights_follow_the_aggregation()
    {
        int[] lengths = [2, 6];
        Assert.Equal([0.25f, 1f / 12], GroupAdvantages.TokenWeights(lengths, LossAggregation.SequenceMean, 0));
        Assert.Equal([0.125f, 0.125f], GroupAdvantages.TokenWeights(lengths, LossAggregation.TokenMean, 0));
        Assert.Equal([0.05f, 0.05f], GroupAdvantages.TokenWeights(lengths, LossAggregation.Constant, 10));
        Assert.Equal([0, 1f / 12], GroupAdvantages.TokenWeights([0, 6], LossAggregation.SequenceMean, 0));
    }
}
