using Skylight.Training.Rewards;

namespace Skylight.Tests.Training.Rewards;

public class RewardFunctionTests
{
    [Theory]
    [InlineData("<think>\n", "so</think>12", true, true)]
    [InlineData("", "<think>so</think>12", true, true)]
    [InlineData("<think>\n", "so</think>12", false, false)] // never ended
    [InlineData("<think>\n", "so</think>", true, false)] // no answer
    [InlineData("<think>\n", "so</think> \n", true, false)]
    [InlineData("<think>\n", "so", true, false)] // never closed
    [InlineData("<think>\n", "<think>so</think>12", true, false)] // opened twice
    [InlineData("<think>\n", "so</think>12</think>", true, false)] // closed twice
    [InlineData("", "so</think>12", true, false)] // never opened
    [InlineData("", "</think>so<think>12", true, false)] // the wrong way round
    public void Format_wants_one_block_an_answer_and_an_end(string suffix, string completion, bool finished, bool wellFormed) =>
        Assert.Equal(wellFormed, ThinkFormatReward.IsWellFormed(suffix, completion, finished));

    [Theory]
    [InlineData(@"7+5=12</think>\boxed{12}", true, 1.0, 1, 1)]
    [InlineData(@"7+5=13</think>\boxed{13}", true, 0.2, 0, 1)]
    [InlineData(@"</think></think>\boxed{12}", true, 0.8, 1, 0)]
    [InlineData(@"7+5=12 \boxed{12}", true, 0.0, 0, 0)] // answered inside the block
    [InlineData(@"7+5=12</think>\boxed{12}", false, 0.0, 0, 0)] // never ended
    public void Accuracy_and_format_are_weighed_as_in_the_paper(
        string completion, bool finished, double total, double accuracy, double format)
    {
        RewardBreakdown reward = new RewardFunction(new AnswerVerifier()).Score("<think>", completion, finished, "12");
        Assert.Equal(total, reward.Total, 12);
        Assert.Equal(accuracy, reward.Accuracy);
        Assert.Equal(format, reward.Format);
    }

    [Fact]
    public void Weights_are_the_callers()
    {
        var rewards = new RewardFunction(new AnswerVerifier(), accuracyWeight: 2, formatWeight: 0.5) { RewardUnfinished = true };
        Assert.Equal(2.5, rewards.Score("<think>", @"</think>\boxed{1}", true, "1").Total);
        Assert.Equal(2.0, rewards.Score("<think>", @"</think>\boxed{1}", false, "1").Total);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(double.NaN)]
    [InlineData(double.PositiveInfinity)]
    public void A_senseless_weight_is_refused(double weight)
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new RewardFunction(new AnswerVerifier(), accuracyWeight: weight));
        Assert.Throws<ArgumentOutOfRangeException>(() => new RewardFunction(new AnswerVerifier(), formatWeight: weight));
    }
}
