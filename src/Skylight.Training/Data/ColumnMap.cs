using System.Collections.Immutable;

namespace Skylight.Training.Data;

/// <summary>
/// Which column of a data set is which part of an example. What is not said is found by the usual names; where two
/// columns have such a name the row is refused until it is said. A dot leads into an object:
/// <c>reward_model.ground_truth</c>.
/// </summary>
public sealed class ColumnMap
{
    internal const string Id = "id", Prompt = "prompt", Answer = "answer", Response = "response", Images = "images",
        Options = "options", Category = "category",
        Hint = "hint", Difficulty = "difficulty", System = "system", Chosen = "chosen", Rejected = "rejected";

    private static readonly string[] s_roles = [Id, Prompt, Answer, Response, Images, Options, Category, Hint,
        Difficulty, System, Chosen, Rejected];

    private readonly ImmutableDictionary<string, string> _columns;

    private ColumnMap(ImmutableDictionary<string, string> columns) => _columns = columns;

    /// <summary>Everything is found by the usual names.</summary>
    public static ColumnMap Detected { get; } = new(ImmutableDictionary<string, string>.Empty);

    /// <summary>The parts that a column may be named for.</summary>
    public static IReadOnlyList<string> Roles => s_roles;

    /// <summary>The column that was named for a part; null where it is to be found.</summary>
    /// <param name="role">One of <see cref="Roles"/>.</param>
    public string? this[string role] => _columns.GetValueOrDefault(role);

    /// <summary>This map and one column more.</summary>
    /// <param name="role">One of <see cref="Roles"/>; <c>messages</c>, <c>question</c> and <c>problem</c> say the same
    /// as <c>prompt</c>.</param>
    /// <param name="column">The column's name. For pictures also a pattern of numbered ones: <c>image_*</c>.</param>
    /// <exception cref="ArgumentException">There is no such part, or its column was named before.</exception>
    public ColumnMap With(string role, string column)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(role);
        string known = role is "messages" or "question" or "problem" ? Prompt : role is "image" ? Images
            : role is "solution" ? Answer : role;
        if (!s_roles.Contains(known))
            throw new ArgumentException(
                $"An example has no part '{role}' that a column could be named for; it has {string.Join(", ", s_roles)}.");
        if (string.IsNullOrWhiteSpace(column))
            throw new ArgumentException($"The column of '{role}' has no name.");
        if (_columns.TryGetValue(known, out string? before))
            throw new ArgumentException($"Two columns are named for '{known}': '{before}' and '{column}'; name one.");
        return new ColumnMap(_columns.Add(known, column));
    }

    /// <summary>Reads pairs as a command line has them: <c>answer=solution</c>.</summary>
    /// <exception cref="ArgumentException">One is no such pair.</exception>
    public static ColumnMap Parse(IEnumerable<string> pairs)
    {
        ArgumentNullException.ThrowIfNull(pairs);
        ColumnMap map = Detected;
        foreach (string pair in pairs.SelectMany(
            text => text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)))
        {
            int at = pair.IndexOf('=', StringComparison.Ordinal);
            map = at > 0 ? map.With(pair[..at].Trim(), pair[(at + 1)..].Trim())
                : throw new ArgumentException($"'{pair}' names no column; write part=column, such as answer=solution.");
        }

        return map;
    }
}
