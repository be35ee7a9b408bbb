using Skylight.Training.Rewards;

namespace Skylight.Tests.Training.Rewards;

public sealed class OverlongPenaltyTests
{
    [Theory]
    [InlineData(0, 0)]
    [InlineData(16384, 0)]
    [InlineData(16385, -1.0 / 4096)]
    [InlineData(18432, -0.5)]
    [InlineData(20480, -1)]
    [InlineData(30000, -1)]
    public void It_falls_in_a_straight_line_over_the_buffer(int length, double expected) =>
        Assert.Equal(expected, OverlongPenalty.Of(length, 20480, 4096), 1e-12);

    [Fact]
    public void A_buffer_that_is_none_or_beyond_the_limit_is_refused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => OverlongPenalty.Of(1, 10, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => OverlongPenalty.Of(1, 10, 11));
        Assert.Throws<ArgumentOutOfRangeException>(() => OverlongPenalty.Of(-1, 10, 5));
    }
}
