namespace Skylight.Training.Rewards;

/// <summary>
/// 1 if all of several yes-or-no rewards give 1. They are asked in their order, and of what one refused the later ones
/// are not asked.
/// </summary>
internal sealed class AllOfReward(IReadOnlyList<IFaultingReward> parts) : IFaultingReward, IAsyncDisposable
{
    public IReadOnlyList<string> Components { get; } = ["all_of"];

    public IReadOnlyList<IReward> Parts => parts;

    public async ValueTask<double[][]> ScoreAsync(IReadOnlyList<RewardRequest> requests,
        CancellationToken cancellationToken) =>
        RewardRow.AllOrThrow(Components[0], requests,
            await ScoreEachAsync(requests, stopAtFault: true, cancellationToken).ConfigureAwait(false));

    public async ValueTask<RewardRow[]> ScoreEachAsync(IReadOnlyList<RewardRequest> requests, bool stopAtFault,
        CancellationToken cancellationToken)
    {
        var rows = new RewardRow[requests.Count];
        Array.Fill(rows, RewardRow.Of(0));
        int[] left = [.. Enumerable.Range(0, requests.Count)];
        foreach (IFaultingReward part in parts)
        {
            if (left.Length == 0)
                break;
            RewardRow[] found = await part.ScoreEachAsync([.. left.Select(sample => requests[sample])], stopAtFault,
                cancellationToken).ConfigureAwait(false);
            for (int index = 0; index < left.Length; index++)
            {
                if (found[index].Fault is { } fault)
                    rows[left[index]] = RewardRow.Failed($"{part.Components[0]}: {RewardException.Describe(fault)}");
            }

            if (stopAtFault && Array.Exists(found, row => row.Fault is not null))
                return rows;
            left = [.. left.Where((_, index) => found[index].Values is [1])];
        }

        foreach (int sample in left)
            rows[sample] = RewardRow.Of(1);
        return rows;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (IFaultingReward part in parts)
            await RewardSet.DisposeAsync(part).ConfigureAwait(false);
    }
}
