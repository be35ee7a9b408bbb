using System.IO.Hashing;
using System.Text;
using Skylight.Training.Rewards;

namespace Skylight.Bench.Training;

/// <summary>
/// A number for each completion that follows from its text alone: every group has a spread, so that every completion is
/// trained on.
/// </summary>
internal sealed class NoiseReward : IReward
{
    public IReadOnlyList<string> Components { get; } = ["noise"];

    public ValueTask<double[][]> ScoreAsync(IReadOnlyList<RewardRequest> requests, CancellationToken cancellationToken) =>
        ValueTask.FromResult<double[][]>(
            [.. requests.Select(request =>
                new[] { XxHash32.HashToUInt32(Encoding.UTF8.GetBytes(request.Completion)) / (double)uint.MaxValue })]);
}
