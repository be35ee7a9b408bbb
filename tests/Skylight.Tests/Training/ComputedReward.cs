using System.Globalization;
using Skylight.Generation;
using Skylight.Training.Rewards;

namespace Skylight.Tests.Training;

/// <summary>A reward that a test computes from a completion's tokens: the request carries it.</summary>
internal sealed class ComputedReward : IReward
{
    private const string Column = "reward";

    public IReadOnlyList<string> Components { get; } = [Column];

    public static RewardSet Set(RewardFailure onFailure = RewardFailure.Stop) =>
        new([new RewardTerm(new ComputedReward(), 1)], onFailure);

    public static Func<Completion, RewardRequest> Request(Func<Completion, double> reward, string id = "test:1") =>
        completion => new RewardRequest
        {
            Id = id,
            Completion = "",
            Columns = new Dictionary<string,
            string>
            { [Column] = reward(completion).ToString("R", CultureInfo.InvariantCulture) },
            TokenCount = completion.Tokens.Length,
        };

    public ValueTask<double[][]> ScoreAsync(IReadOnlyList<RewardRequest> requests, CancellationToken cancellationToken) =>
        ValueTask.FromResult<double[][]>(
            [.. requests.Select(request => new[] { double.Parse(request.Columns[Column], CultureInfo.InvariantCulture) })]);
}
