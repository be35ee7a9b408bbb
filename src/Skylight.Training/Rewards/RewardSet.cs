using System.Runtime.ExceptionServices;

namespace Skylight.Training.Rewards;

/// <summary>
/// What becomes of a sample that a reward cannot judge: it throws, or gives NaN, an infinity, or the wrong number of
/// values.
/// </summary>
public enum RewardFailure
{
    /// <summary>The run stops with a <see cref="RewardException"/> that names reward and sample.</summary>
    Stop,

    /// <summary>
    /// The components of that reward are 0, the others stand; <see cref="RewardBreakdown.Fault"/> says why.
    /// </summary>
    Zero,

    /// <summary>
    /// As for zero, and the sample's group is to be left out of training: <see cref="RewardBreakdown.IsSkipped"/>.
    /// </summary>
    Skip,
}

/// <summary>Rewards with their weights: judges completions by all of them, side by side.</summary>
public sealed class RewardSet : IAsyncDisposable
{
    private readonly RewardTerm[] _terms;
    private readonly string[] _components;
    private long _faultCount;

    /// <summary>Joins rewards; they are disposed with the set.</summary>
    /// <param name="terms">The rewards with their weights.</param>
    /// <param name="onFailure">What becomes of samples that one of them cannot judge.</param>
    /// <exception cref="ArgumentException">There is no reward, two components share a name, or all weights are
    /// 0.</exception>
    public RewardSet(IReadOnlyList<RewardTerm> terms, RewardFailure onFailure = RewardFailure.Stop)
    {
        ArgumentNullException.ThrowIfNull(terms);
        if (terms.Count == 0)
            throw new ArgumentException("There is no reward; give at least one.", nameof(terms));
        if (!Enum.IsDefined(onFailure))
            throw new ArgumentOutOfRangeException(nameof(onFailure), onFailure, "Unknown policy.");
        _terms = [.. terms];
        _components = [.. _terms.SelectMany(term => term.Components)];
        Weights = [.. _terms.SelectMany(term => term.Weights)];
        if (_components.GroupBy(name => name, StringComparer.Ordinal)
            .FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw new ArgumentException($"Two rewards have a component '{twice.Key}': give one of them another name.",
                nameof(terms));
        if (Weights.All(weight => weight == 0))
            throw new ArgumentException(
                $"All rewards have the weight 0 ({string.Join(", ", _components)}): there would be nothing to train on.", nameof(terms));
        OnFailure = onFailure;
    }

    /// <summary>What becomes of samples that a reward cannot judge.</summary>
    public RewardFailure OnFailure { get; }

    /// <summary>The names of all components, in the order of the rewards.</summary>
    public IReadOnlyList<string> Components => _components;

    /// <summary>The weight of each component.</summary>
    public IReadOnlyList<double> Weights { get; }

    /// <summary>Samples so far that a reward could not judge and with which the run went on.</summary>
    public long FaultCount => Interlocked.Read(ref _faultCount);

    /// <summary>What all verifier models of the set have done so far; null if there is none.</summary>
    public VerifierUsage? VerifierUsage => Verifiers.Select(verifier => verifier.Usage)
        .Aggregate((VerifierUsage?)null, (sum, usage) => sum is null ? usage : sum + usage);

    private IEnumerable<ModelVerifier> Verifiers =>
        _terms.SelectMany(term => term.Reward is AllOfReward all ? all.Parts : [term.Reward]).OfType<ModelVerifier>();

    /// <summary>
    /// Loads verifiers that live in this process, one after the other: nothing else may use their device meanwhile.
    /// </summary>
    internal async Task OpenAsync(CancellationToken cancellationToken)
    {
        foreach (ModelVerifier verifier in Verifiers)
            await verifier.OpenAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Judges completions.</summary>
    /// <param name="requests">The completions.</param>
    /// <param name="cancellationToken">Stops at once, also where a reward does not listen to it.</param>
    /// <returns>For each request its total and the value of every component. Only <see cref="RewardFailure.Zero"/> and
    /// <see cref="RewardFailure.Skip"/> leave faults in them.</returns>
    /// <exception cref="RewardException">A reward cannot judge a sample, and the policy is to stop.</exception>
    public async Task<RewardBreakdown[]> ScoreAsync(IReadOnlyList<RewardRequest> requests,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(requests);
        if (requests.Any(request => request is null))
            throw new ArgumentException("A request is null.", nameof(requests));
        if (requests.Count == 0)
            return [];
        // Not disposed where a reward that does not listen is left behind with its token.
        var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task<RewardRow[]>[] tasks = [
            .. _terms.Select(term => Task.Run(() => ScoreAsync(term, requests, stop), CancellationToken.None))];
        try
        {
            await Task.WhenAll(tasks).WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception) when (!cancellationToken.IsCancellationRequested
            && tasks.FirstOrDefault(task => task.Exception?.InnerException is RewardException) is { } failed)
        {
            // The others were only cancelled because of it.
            ExceptionDispatchInfo.Throw(failed.Exception!.InnerException!);
        }

        stop.Dispose();
        var breakdowns = new RewardBreakdown[requests.Count];
        for (int sample = 0; sample < breakdowns.Length; sample++)
            breakdowns[sample] = Join(sample, tasks);
        return breakdowns;
    }

    /// <summary>Disposes the rewards.</summary>
    public async ValueTask DisposeAsync()
    {
        foreach (RewardTerm term in _terms)
            await DisposeAsync(term.Reward).ConfigureAwait(false);
    }

    internal static async ValueTask DisposeAsync(object reward)
    {
        if (reward is IAsyncDisposable asynchronous)
            await asynchronous.DisposeAsync().ConfigureAwait(false);
        else
            (reward as IDisposable)?.Dispose();
    }

    private RewardBreakdown Join(int sample, Task<RewardRow[]>[] tasks)
    {
        var values = new double[_components.Length];
        var faults = new List<string>();
        (int at, double total) = (0, 0);
        for (int term = 0; term < _terms.Length; term++)
        {
            RewardRow row = tasks[term].Result[sample];
            if (row.Fault is { } fault)
                faults.Add($"{_terms[term].Name}: {RewardException.Describe(fault)}");
            for (int component = 0; component < _terms[term].Components.Count; component++, at++)
            {
                values[at] = row.Values?[component] ?? 0;
                total += Weights[at] * values[at];
            }
        }

        if (faults.Count > 0)
            Interlocked.Increment(ref _faultCount);
        return new RewardBreakdown(total, _components, values)
        {
            Fault = faults.Count > 0 ? string.Join(" ", faults) : null,
            IsSkipped = faults.Count > 0 && OnFailure == RewardFailure.Skip,
        };
    }

    private async Task<RewardRow[]> ScoreAsync(RewardTerm term, IReadOnlyList<RewardRequest> requests,
        CancellationTokenSource stop)
    {
        bool stops = OnFailure == RewardFailure.Stop;
        RewardRow[] rows = term.Reward is IFaultingReward each
            ? await each.ScoreEachAsync(requests, stops, stop.Token).ConfigureAwait(false)
            : await ScoreForeignAsync(term, requests, stop.Token).ConfigureAwait(false);
        for (int sample = 0; sample < rows.Length; sample++)
            rows[sample] = Checked(term, rows[sample]);
        int fault = stops ? Array.FindIndex(rows, row => row.Fault is not null) : -1;
        if (fault < 0)
            return rows;
        var exception = new RewardException(term.Name, requests[fault].Id, rows[fault].Fault!);
        await stop.CancelAsync().ConfigureAwait(false);
        throw exception;
    }

    /// <summary>A finite value for each component, or a fault.</summary>
    private static RewardRow Checked(RewardTerm term, RewardRow row)
    {
        if (row.Values is not { } values)
            return row;
        if (values.Length != term.Components.Count)
            return RewardRow.Failed(
                $"it gives {values.Length} values for {term.Components.Count} components " +
                $"({string.Join(", ", term.Components)}).");
        int wrong = Array.FindIndex(values, value => !double.IsFinite(value));
        return wrong < 0 ? row
            : RewardRow.Failed(
                $"the component '{term.Components[wrong]}' is {values[wrong]}, which is not a finite number.");
    }

    /// <summary>
    /// A reward that is not ours says with an exception only that something is wrong with the batch. Each sample alone
    /// shows which they are; the others are then judged together once more, because a reward may compare the samples of
    /// its batch.
    /// </summary>
    private async Task<RewardRow[]> ScoreForeignAsync(RewardTerm term, IReadOnlyList<RewardRequest> requests,
        CancellationToken cancellationToken)
    {
        (RewardRow[]? rows, Exception? fault) = await TryScoreAsync(term.Reward, requests, cancellationToken)
            .ConfigureAwait(false);
        if (rows is not null)
            return rows;
        var failures = new Dictionary<int, Exception>();
        for (int sample = 0; sample < requests.Count && requests.Count > 1
            && !(failures.Count > 0 && OnFailure == RewardFailure.Stop); sample++)
        {
            (_, Exception? alone) = await TryScoreAsync(term.Reward, [requests[sample]], cancellationToken)
                .ConfigureAwait(false);
            if (alone is not null)
                failures[sample] = alone;
        }

        int[] rest = [.. Enumerable.Range(0, requests.Count).Where(sample => !failures.ContainsKey(sample))];
        RewardRow[]? others = null;
        if (failures.Count > 0 && rest.Length > 0 && OnFailure != RewardFailure.Stop)
            (others, fault) = await TryScoreAsync(term.Reward, [.. rest.Select(sample => requests[sample])],
                cancellationToken).ConfigureAwait(false);
        var all = new RewardRow[requests.Count];
        foreach ((int sample, Exception alone) in failures)
            all[sample] = RewardRow.Failed(alone);
        if (failures.Count > 0 && OnFailure == RewardFailure.Stop)
            return all;
        for (int index = 0; index < rest.Length; index++)
            all[rest[index]] = others?[index] ?? RewardRow.Failed(fault!);
        return all;
    }

    private static async Task<(RewardRow[]? Rows, Exception? Fault)> TryScoreAsync(IReward reward,
        IReadOnlyList<RewardRequest> requests, CancellationToken cancellationToken)
    {
        try
        {
            double[]?[]? values = await reward.ScoreAsync(requests, cancellationToken).ConfigureAwait(false);
            if (values is null || values.Length != requests.Count)
            {
                string wrong =
                    $"it gives {(values is null ? "null" : $"{values.Length} rows")} for {requests.Count} samples, " +
                    $"'{requests[0].Id}' to '{requests[^1].Id}'.";
                return ([.. requests.Select(_ => RewardRow.Failed(wrong))], null);
            }

            return ([.. values.Select(row => row is null ? RewardRow.Failed("its row is null.")
                : new RewardRow(row, null))], null);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            return (null, exception);
        }
    }
}
