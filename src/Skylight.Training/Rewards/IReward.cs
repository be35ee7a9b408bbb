namespace Skylight.Training.Rewards;

/// <summary>
/// Judges completions. A reward sees a whole batch at once and may be slow: it is awaited, beside the other rewards of
/// a <see cref="RewardSet"/>. One that also is <see cref="IAsyncDisposable"/> or <see cref="IDisposable"/> is disposed
/// with its set.
/// </summary>
public interface IReward
{
    /// <summary>
    /// The names of the values that it gives, in their order; each has a weight of its own and appears in metrics.
    /// Never changes.
    /// </summary>
    IReadOnlyList<string> Components { get; }

    /// <summary>Judges completions; called by one batch at a time or by several at once.</summary>
    /// <param name="requests">The completions; those of one prompt stand together. Never empty.</param>
    /// <param name="cancellationToken">The run is stopped, or another reward has ended it.</param>
    /// <returns>
    /// A row for each request, in their order, with a finite number for each component. A sample that cannot be judged
    /// is NaN; what is thrown is taken as a fault of the samples for which it is thrown also when they are judged alone.
    /// </returns>
    ValueTask<double[][]> ScoreAsync(IReadOnlyList<RewardRequest> requests, CancellationToken cancellationToken);
}

/// <summary>
/// A reward of this library: it says for each sample why it cannot be judged, so that nothing has to be judged twice to
/// find out.
/// </summary>
internal interface IFaultingReward : IReward
{
    /// <summary>Judges completions.</summary>
    /// <param name="requests">The completions.</param>
    /// <param name="stopAtFault">Whether the first fault ends it; rows behind it may be missing then.</param>
    /// <param name="cancellationToken">Ends it.</param>
    ValueTask<RewardRow[]> ScoreEachAsync(IReadOnlyList<RewardRequest> requests, bool stopAtFault,
        CancellationToken cancellationToken);
}

/// <summary>What a reward gives for a sample: values, or why there are none.</summary>
internal readonly record struct RewardRow(double[]? Values, Exception? Fault)
{
    public static RewardRow Of(double value) => new([value], null);

    public static RewardRow Failed(Exception fault) => new(null, fault);

    public static RewardRow Failed(string fault) => new(null, new InvalidDataException(fault));

    /// <summary>The values of all rows; the first fault is thrown.</summary>
    public static double[][] AllOrThrow(string reward, IReadOnlyList<RewardRequest> requests, RewardRow[] rows)
    {
        int fault = Array.FindIndex(rows, row => row.Fault is not null);
        return fault < 0 ? Array.ConvertAll(rows, row => row.Values!)
            : throw new RewardException(reward, requests[fault].Id, rows[fault].Fault!);
    }
}

/// <summary>A reward of one component that judges each completion alone.</summary>
internal abstract class SampleReward(string name) : IFaultingReward
{
    public IReadOnlyList<string> Components { get; } = [name];

    public async ValueTask<double[][]> ScoreAsync(IReadOnlyList<RewardRequest> requests,
        CancellationToken cancellationToken) =>
        RewardRow.AllOrThrow(name, requests,
            await ScoreEachAsync(requests, stopAtFault: true, cancellationToken).ConfigureAwait(false));

    public ValueTask<RewardRow[]> ScoreEachAsync(IReadOnlyList<RewardRequest> requests, bool stopAtFault,
        CancellationToken cancellationToken)
    {
        var rows = new RewardRow[requests.Count];
        for (int index = 0; index < rows.Length; index++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            try
            {
                rows[index] = RewardRow.Of(Score(requests[index]));
            }
            catch (Exception exception)
            {
                rows[index] = RewardRow.Failed(exception);
                if (stopAtFault)
                    break;
            }
        }

        return ValueTask.FromResult(rows);
    }

    /// <summary>Judges a completion.</summary>
    /// <exception cref="InvalidDataException">Its row lacks something; the message goes on after "sample X: ".</exception>
    protected abstract double Score(RewardRequest request);
}
