using Skylight.Training.Rewards;
using static Skylight.Tests.Training.Rewards.RewardTesting;

namespace Skylight.Tests.Training.Rewards;

public class RewardSetTests
{
    private static readonly RewardRequest[] s_three = [
        .. new[] { 1, 2, 3 }.Select(number => Request($"{number}", id: $"data.jsonl:{number}"))];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_total_is_the_weighted_sum_and_every_component_has_its_value()
    {
        var two = new UserReward((requests, _) =>
            Task.FromResult(requests.Select(request => new[] { double.Parse(request.Completion), 10 }).ToArray()),
            "value", "ten");
        await using var rewards = new RewardSet([
            new RewardTerm(two, new Dictionary<string, double> { ["value"] = 0.5, ["ten"] = -0.1 }, "mine"),
            new RewardTerm(new UserReward(_ => 7, "seven"), 0), new RewardTerm(new UserReward(_ => 1, "one"), 2, "first"),
        ]);
        Assert.Equal(["mine/value", "mine/ten", "seven", "first"], rewards.Components);
        Assert.Equal([0.5, -0.1, 0, 2], rewards.Weights);
        RewardBreakdown[] found = await rewards.ScoreAsync(s_three, Token);
        Assert.Equal([1.5, 2, 2.5], found.Select(reward => Math.Round(reward.Total, 12)));
        Assert.Equal([3, 10, 7, 1], found[2].Values);
        Assert.Equal(3, found[2]["mine/value"]);
        Assert.Contains("'mine/ten'", Assert.Throws<KeyNotFoundException>(() => found[0]["value"]).Message,
            StringComparison.Ordinal);
        Assert.All(found, reward => Assert.True(reward is { Fault: null, IsSkipped: false }));
        Assert.Empty(await rewards.ScoreAsync([], Token));
        Assert.Null(rewards.VerifierUsage);
    }

    [Fact]
    public async Task Rewards_run_side_by_side_and_see_the_whole_batch()
    {
        using var both = new Barrier(2);
        UserReward Meeting(string name) => new((requests, _) => Task.FromResult(
            both.SignalAndWait(TimeSpan.FromSeconds(60), Token) && requests.Count == 3
                ? requests.Select(_ => new[] { 1.0 }).ToArray() : throw new InvalidOperationException("alone")), name);
        await using var rewards = new RewardSet([new RewardTerm(Meeting("a"), 1), new RewardTerm(Meeting("b"), 1)]);
        Assert.All(await rewards.ScoreAsync(s_three, Token), reward => Assert.Equal(2, reward.Total));
    }

    public static TheoryData<string, string> Faults => new()
    {
        { "throws", "FormatException: not a number: 2." },
        { "nan", "the component 'mine' is NaN, which is not a finite number." },
        { "infinite", "the component 'mine' is Infinity, which is not a finite number." },
        { "row", "it gives 2 values for 1 components" },
        { "null row", "its row is null." },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public async Task A_sample_that_cannot_be_judged_is_named_and_follows_the_policy(string kind, string why)
    {
        static double[] Row(RewardRequest request, string kind) => request.Completion != "2" ? [1] : kind switch
        {
            "throws" => throw new FormatException("not a number: 2"),
            "nan" => [double.NaN],
            "infinite" => [double.PositiveInfinity],
            "row" => [1, 2],
            _ => null!,
        };
        RewardSet Set(RewardFailure policy) => new([
            new RewardTerm(
                new UserReward((requests, _) =>
                    Task.FromResult(requests.Select(request => Row(request, kind)).ToArray()), "mine"), 1),
                        new RewardTerm(new UserReward(_ => 0.25, "other"), 1),
        ], policy);

        RewardException stopped = await Assert.ThrowsAsync<RewardException>(
            () => Set(RewardFailure.Stop).ScoreAsync(s_three, Token));
        Assert.Equal(("mine", "data.jsonl:2"), (stopped.Reward, stopped.SampleId));
        Assert.Contains($"Reward 'mine', sample 'data.jsonl:2': {why}", stopped.Message, StringComparison.Ordinal);
        foreach (RewardFailure policy in new[] { RewardFailure.Zero, RewardFailure.Skip })
        {
            RewardSet set = Set(policy);
            RewardBreakdown[] found = await set.ScoreAsync(s_three, Token);
            Assert.Equal(1, set.FaultCount);
            Assert.Equal([1.25, 0.25, 1.25], found.Select(reward => reward.Total));
            Assert.Contains($"mine: {why}", found[1].Fault, StringComparison.Ordinal);
            Assert.Equal([false, policy == RewardFailure.Skip, false], found.Select(reward => reward.IsSkipped));
            Assert.True(found is [{ Fault: null }, _, { Fault: null }]);
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(-1)]
    public async Task The_wrong_number_of_rows_is_a_fault_of_the_whole_batch(int rows)
    {
        RewardSet Set(RewardFailure policy) =>
            new([new RewardTerm(
                new UserReward((_, _) =>
                    Task.FromResult(rows < 0 ? null! : Enumerable.Repeat(new[] { 1.0 }, rows).ToArray()), "mine"), 1)],
                        policy);
        string message = (await Assert.ThrowsAsync<RewardException>(
            () => Set(RewardFailure.Stop).ScoreAsync(s_three, Token))).Message;
        Assert.Contains(
            $"Reward 'mine', sample 'data.jsonl:1': it gives {(rows < 0 ? "null" : $"{rows} rows")} for 3 samples, " +
            $"'data.jsonl:1' to 'data.jsonl:3'.", message, StringComparison.Ordinal);
        Assert.All(await Set(RewardFailure.Skip).ScoreAsync(s_three, Token),
            reward => Assert.True(reward is { IsSkipped: true, Total: 0, Fault: not null }));
    }

    /// <summary>One that compares the samples of a batch must not be asked about single ones for its values.</summary>
    [Fact]
    public async Task After_a_throw_the_good_samples_are_judged_together_again()
    {
        var reward = new UserReward((requests, _) => requests.Any(request => request.Completion == "2")
            ? throw new FormatException("2")
            : Task.FromResult(requests.Select(_ => new[] { (double)requests.Count }).ToArray()), "size");
        await using var rewards = new RewardSet([new RewardTerm(reward, 1)], RewardFailure.Zero);
        Assert.Equal([2, 0, 2], (await rewards.ScoreAsync(s_three, Token)).Select(found => found.Total));
        Assert.Equal(5, reward.Calls);
    }

    [Fact]
    public async Task What_fails_only_as_a_batch_is_a_fault_of_all()
    {
        UserReward Reward() => new((requests, _) => requests.Count > 1 ? throw new InvalidOperationException("too many")
            : Task.FromResult(new[] { new[] { 1.0 } }), "mine");
        Assert.All(await new RewardSet([new RewardTerm(Reward(), 1)], RewardFailure.Skip).ScoreAsync(s_three, Token),
            found => Assert.Contains("too many", found.Fault, StringComparison.Ordinal));
        RewardException stopped = await Assert.ThrowsAsync<RewardException>(
            () => new RewardSet([new RewardTerm(Reward(), 1)]).ScoreAsync(s_three, Token));
        Assert.Contains("InvalidOperationException: too many.", stopped.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_timeout_within_a_reward_is_its_fault_and_not_a_cancellation()
    {
        await using var rewards = new RewardSet(
            [new RewardTerm(new UserReward(_ => throw new TaskCanceledException("its own clock"), "mine"), 1)]);
        Assert.Contains("TaskCanceledException: its own clock.",
            (await Assert.ThrowsAsync<RewardException>(() => rewards.ScoreAsync(s_three, Token))).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task Cancelling_ends_at_once_also_where_a_reward_does_not_listen()
    {
        var never = new TaskCompletionSource<double[][]>();
        await using var rewards = new RewardSet([new RewardTerm(new UserReward((_, _) => never.Task, "deaf"), 1)],
            RewardFailure.Zero);
        using var cancel = new CancellationTokenSource(TimeSpan.FromMilliseconds(50));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => rewards.ScoreAsync(s_three, cancel.Token).WaitAsync(TimeSpan.FromSeconds(60), Token));
    }

    [Fact]
    public async Task A_fault_that_stops_cancels_the_other_rewards()
    {
        var slow = new UserReward(async (_, cancellationToken) =>
        {
            await Task.Delay(Timeout.Infinite, cancellationToken);
            return [];
        }, "slow");
        await using var rewards = new RewardSet(
            [new RewardTerm(slow, 1), new RewardTerm(new UserReward(_ => double.NaN, "mine"), 1)]);
        RewardException stopped = await Assert.ThrowsAsync<RewardException>(
            () => rewards.ScoreAsync(s_three, Token).WaitAsync(TimeSpan.FromSeconds(60), Token));
        Assert.Equal("mine", stopped.Reward);
    }

    [Fact]
    public async Task Two_faults_of_a_sample_are_both_told()
    {
        await using var rewards = new RewardSet([new RewardTerm(new UserReward(_ => double.NaN, "a"), 1),
            new RewardTerm(new UserReward(_ => throw new FormatException(), "b"), 1)], RewardFailure.Zero);
        string fault = (await rewards.ScoreAsync([s_three[0]], Token))[0].Fault!;
        Assert.Contains("a: the component 'a' is NaN", fault, StringComparison.Ordinal);
        Assert.Contains("b: FormatException", fault, StringComparison.Ordinal);
    }

    [Fact]
    public void Senseless_sets_are_refused_with_what_is_wrong()
    {
        UserReward one = new(_ => 1, "correct"), two = new((_, _) => Task.FromResult(Array.Empty<double[]>()), "a", "b");
        Assert.Contains("at least one", Refused(() => new RewardSet([])), StringComparison.Ordinal);
        Assert.Contains("a component 'correct'",
            Refused(() =>
                new RewardSet([new RewardTerm(one, 1), new RewardTerm(new UserReward(_ => 1, "x"), 1, "correct")])),
                    StringComparison.Ordinal);
        Assert.Contains("weight 0", Refused(() => new RewardSet([new RewardTerm(one, 0)])), StringComparison.Ordinal);
        Assert.Contains("weight NaN", Refused(() => new RewardTerm(one, double.NaN)), StringComparison.Ordinal);
        Assert.Contains("finite", Refused(() => new RewardTerm(one, double.NegativeInfinity)), StringComparison.Ordinal);
        Assert.Contains("2 components (a, b)", Refused(() => new RewardTerm(two, 1)), StringComparison.Ordinal);
        Assert.Contains("'b' has no weight",
            Refused(() => new RewardTerm(two, new Dictionary<string, double> { ["a"] = 1 })), StringComparison.Ordinal);
        Assert.Contains("did you mean 'correct'?",
            Refused(() => new RewardTerm(one, new Dictionary<string, double> { ["corect"] = 1 })), StringComparison.Ordinal);
        Assert.Contains("must name its components",
            Refused(() => new RewardTerm(new UserReward((_, _) => null!), new Dictionary<string, double>())),
            StringComparison.Ordinal);
        Assert.Contains("each once",
            Refused(() => new RewardTerm(new UserReward((_, _) => null!, "a", "a"),
                new Dictionary<string, double> { ["a"] = 1 })), StringComparison.Ordinal);
        Assert.Contains("blank", Refused(() => new RewardTerm(one, 1, " ")), StringComparison.Ordinal);

        static string Refused(Func<object> make) => Assert.ThrowsAny<ArgumentException>(make).Message;
    }

    [Fact]
    public void Values_have_their_names()
    {
        var reward = new RewardBreakdown(0.9, ["answer", "format"], [1, 0.5]);
        Assert.Equal((1, 0.5), (reward["answer"], reward["format"]));
        Assert.Throws<KeyNotFoundException>(() => reward["other"]);
        Assert.Throws<ArgumentException>(() => new RewardBreakdown(1, ["other"], []));
    }
}
