using Skylight.Training.Rewards;

namespace OwnReward;

/// <summary>
/// Two values: whether the answer names the unit that a column of the row asks for, and how short it is beside the
/// longest of its group.
/// </summary>
public sealed class UnitReward : IReward
{
    private readonly string _column;

    // The options of the recipe; a constructor without parameters will do for a reward without options.
    public UnitReward(IReadOnlyDictionary<string, string> options)
    {
        if (options.Keys.FirstOrDefault(name => name != "column") is { } unknown)
            throw new ArgumentException($"There is no option '{unknown}' but 'column'.");
        _column = options.GetValueOrDefault("column", "unit");
    }

    // Each has a weight of its own, and its own curve in the metrics.
    public IReadOnlyList<string> Components { get; } = ["unit", "brevity"];

    // A whole batch at once, and asynchronous: a reward may ask a service, and compare the completions of a group.
    public ValueTask<double[][]> ScoreAsync(IReadOnlyList<RewardRequest> requests, CancellationToken cancellationToken)
    {
        Dictionary<string, int> longest = requests.GroupBy(request => request.Id)
            .ToDictionary(group => group.Key, group => group.Max(request => request.TokenCount));
        return ValueTask.FromResult(requests.Select(
            request => new[] { Unit(request), 1 - request.TokenCount / (double)longest[request.Id] }).ToArray());
    }

    // What is thrown names the sample and follows the run's policy: stop, zero or skip.
    private double Unit(RewardRequest request) => !request.Columns.TryGetValue(_column, out string? unit)
        ? throw new InvalidDataException($"the row has no column '{_column}'.")
        : request.Finished && ThinkBlock.Answer(request.Turn).ToString().Contains(unit, StringComparison.Ordinal) ? 1 : 0;
}
