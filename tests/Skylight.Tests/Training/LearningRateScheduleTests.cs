using Skylight.Training;

namespace Skylight.Tests.Training;

public sealed class LearningRateScheduleTests
{
    [Fact]
    public void Warm_up_rises_in_equal_steps_to_the_peak_and_stays()
    {
        var schedule = new LearningRateSchedule(8f, 10, WarmupSteps: 4);
        Assert.Equal([2f, 4f, 6f, 8f, 8f, 8f, 8f], [.. Enumerable.Range(0, 7).Select(schedule.At)]);
    }

    [Fact]
    public void A_cosine_falls_from_the_peak_through_the_middle_to_the_final_fraction()
    {
        var schedule = new LearningRateSchedule(2f, 10, WarmupSteps: 2, LearningRateDecay.Cosine, FinalFraction: 0.1f);
        Assert.Equal([1f, 2f, 2f], [.. Enumerable.Range(0, 3).Select(schedule.At)]);
        Assert.Equal(2 * 0.55f, schedule.At(6), 1e-6f);
        Assert.Equal(0.2f, schedule.At(10), 1e-6f);
        Assert.Equal(0.2f, schedule.At(50), 1e-6f);
    }
}
