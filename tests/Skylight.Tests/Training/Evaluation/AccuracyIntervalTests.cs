using Skylight.Training.Evaluation;

namespace Skylight.Tests.Training.Evaluation;

public sealed class AccuracyIntervalTests
{
    [Theory]
    [InlineData(524, 1000, 0.4930, 0.5548)] // as the demo's report has it, by Wilson's formula
    [InlineData(0, 10, 0, 0.2775)]
    [InlineData(10, 10, 0.7225, 1)]
    [InlineData(8, 10, 0.4902, 0.9433)]
    public void With_one_sample_it_is_Wilsons(int right, int items, double low, double high)
    {
        AccuracyInterval interval = AccuracyInterval.Of(
            [.. Enumerable.Range(0, items).Select(item => (item < right ? 1 : 0, 1))]);
        Assert.Equal((double)right / items, interval.Mean, 12);
        Assert.Equal(low, interval.Low, 4);
        Assert.Equal(high, interval.High, 4);
    }

    [Fact]
    public void Samples_that_always_agree_tell_no_more_than_one()
    {
        AccuracyInterval one = AccuracyInterval.Of([.. Enumerable.Range(0, 50).Select(item => (item % 3 == 0 ? 1 : 0, 1))]);
        AccuracyInterval five = AccuracyInterval.Of([.. Enumerable.Range(0, 50).Select(item => (item % 3 == 0 ? 5 : 0, 5))]);
        Assert.Equal(one.Low, five.Low, 12);
        Assert.Equal(one.High, five.High, 12);
        Assert.Equal((50, 250), (five.Items, five.Samples));
    }

    [Fact]
    public void Samples_that_differ_as_much_within_items_as_between_them_count_each()
    {
        // Binomial shares: their spread is p(1 − p) / 4, so that 64 items of 4 samples are worth 256 responses.
        (int, int)[] items = [.. new[]
        {
            (0, 4), (1, 16), (2, 24), (3, 16), (4, 4),
        }.SelectMany(share => Enumerable.Repeat((share.Item1, 4), share.Item2))];
        AccuracyInterval clustered = AccuracyInterval.Of(items);
        AccuracyInterval single = AccuracyInterval.Of([.. Enumerable.Range(0, 256).Select(item => (item % 2, 1))]);
        Assert.Equal(0.5, clustered.Mean, 12);
        Assert.Equal(single.Low, clustered.Low, 10);
        Assert.Equal(single.High, clustered.High, 10);
    }

    [Fact]
    public void It_covers_the_truth_about_as_often_as_it_says()
    {
        var random = new Random(7);
        int covered = 0;
        const int Trials = 2000;
        for (int trial = 0; trial < Trials; trial++)
        {
            // Items of two kinds: the truth is the mean of their chances.
            AccuracyInterval interval = AccuracyInterval.Of([.. Enumerable.Range(0, 80).Select(_ =>
            {
                double chance = random.NextDouble() < 0.5 ? 0.9 : 0.2;
                return (Enumerable.Range(0, 5).Count(_ => random.NextDouble() < chance), 5);
            })]);
            covered += interval.Low <= 0.55 && interval.High >= 0.55 ? 1 : 0;
        }

        Assert.InRange((double)covered / Trials, 0.93, 0.97);
    }

    [Fact]
    public void Nothing_cannot_be_measured()
    {
        Assert.Throws<ArgumentException>(() => AccuracyInterval.Of([]));
        Assert.Throws<ArgumentException>(() => AccuracyInterval.Of([(0, 0)]));
    }
}
