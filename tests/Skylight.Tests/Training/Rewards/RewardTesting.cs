using Skylight.Training.Rewards;

namespace Skylight.Tests.Training.Rewards;

/// <summary>What tests of rewards share.</summary>
internal static class RewardTesting
{
    public static RewardRequest Request(string completion, string? answer = null, string id = "data.jsonl:1",
        bool finished = true, string suffix = "", params string[] options) => new()
        {
            Id = id,
            Completion = completion,
            Answers = answer is null ? [] : [answer],
            Options = options,
            Finished = finished,
            PromptSuffix = suffix,
            TokenCount = 10,
        };

    public static IReward Create(string name, params (string Option, string Value)[] options) =>
        RewardCatalog.Create(name, options.ToDictionary(option => option.Option, option => option.Value));

    public static async Task<double> ScoreAsync(this IReward reward, RewardRequest request) =>
        (await reward.ScoreAsync([request], TestContext.Current.CancellationToken)).Single().Single();

    public static async Task<string> FaultAsync(this IReward reward, RewardRequest request) =>
        (await Assert.ThrowsAsync<RewardException>(
            () => reward.ScoreAsync([request], TestContext.Current.CancellationToken).AsTask())).Message;
}

/// <summary>A reward as a user writes it.</summary>
internal sealed class UserReward(Func<IReadOnlyList<RewardRequest>, CancellationToken, Task<double[][]>> score,
    params string[] components) : IReward
{
    private int _calls;

    public UserReward(Func<RewardRequest, double> score, string component)
        : this((requests, _) => Task.FromResult(requests.Select(request => new[] { score(request) }).ToArray()), component)
    {
    }

    public int Calls => _calls;

    public IReadOnlyList<string> Components => components;

    public async ValueTask<double[][]> ScoreAsync(IReadOnlyList<RewardRequest> requests, CancellationToken cancellationToken)
    {
        Interlocked.Increment(ref _calls);
        return await score(requests, cancellationToken);
    }
}
