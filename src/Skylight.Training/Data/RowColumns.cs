namespace Skylight.Training.Data;

/// <summary>The columns of a row, found by role; notes which of them were used.</summary>
internal sealed class RowColumns(StructValue row, ColumnMap map)
{
    /// <summary>The usual names of each part.</summary>
    private static readonly Dictionary<string, string[]> s_names = new()
    {
        [ColumnMap.Id] = ["id"],
        [ColumnMap.Prompt] = ["messages", "conversations", "prompt", "question", "problem", "query"],
        [ColumnMap.Answer] = ["answer", "answers", "solution", "ground_truth", "reward_model.ground_truth"],
        [ColumnMap.Response] = ["response", "completion"],
        [ColumnMap.Images] = ["images", "image"],
        [ColumnMap.Options] = ["options", "choices"],
        [ColumnMap.Category] = ["category", "subject"],
        [ColumnMap.Hint] = ["hint"],
        [ColumnMap.Difficulty] = ["difficulty"],
        [ColumnMap.System] = ["system"],
        [ColumnMap.Chosen] = ["chosen"],
        [ColumnMap.Rejected] = ["rejected", "rejected_response"],
    };

    private static readonly string[] s_topNames = [
        .. s_names.Values.SelectMany(names => names).Where(name => !name.Contains('.', StringComparison.Ordinal))];

    private readonly HashSet<string> _used = new(StringComparer.Ordinal);

    /// <summary>The value of a part and the column that it was found in; null where the row has none.</summary>
    /// <exception cref="InvalidDataException">Several columns could be meant, or the named one is not there.</exception>
    public (string Column, DataValue Value)? Find(string role)
    {
        if (map[role] is { } named)
        {
            if (!Exists(named))
                throw new InvalidDataException(
                    $"has no column '{named}', which is named for '{role}'; its columns are {Columns()}.");
            return Value(named) is { } value ? Use(named, value) : null;
        }

        (string Column, DataValue Value)[] found = [.. s_names[role].Select(name => (name, Value(name)))
            .Where(pair => pair.Item2 is not null).Select(pair => (pair.name, pair.Item2!))];
        if (found.Length > 1 && role != ColumnMap.Category)
            throw new InvalidDataException(
                $"has {string.Join(" and ", found.Select(pair => $"'{pair.Column}'"))}, which could both be its " +
                $"'{role}': name one (columns: {role}={found[0].Column}).");
        if (found.Length == 0
            && row.Fields.Select(field => field.Key).FirstOrDefault(name => IsNearly(name, s_names[role])) is { } wrong)
            throw new InvalidDataException(
                $"has a field '{wrong}'; the usual names are in lower case: {string.Join(", ", s_names[role])}. " +
                $"Rename it, or name it (columns: {role}={wrong}).");
        return found.Length > 0 ? Use(found[0].Column, found[0].Value) : null;
    }

    /// <summary>The names of a part's columns, for errors.</summary>
    public static string NamesOf(string role) => string.Join(", ", s_names[role].Select(name => $"'{name}'"));

    /// <summary>The names of the row's columns, for errors.</summary>
    public string Columns() => row.Fields.Count == 0 ? "none"
        : string.Join(", ", row.Fields.Take(30).Select(field => field.Key)) + (row.Fields.Count > 30 ? ", …" : "");

    /// <summary>
    /// Columns that are numbered from 1 behind a beginning, such as <c>image_1</c>; those that are null have a place as
    /// well.
    /// </summary>
    public SortedDictionary<int, (string Column, DataValue? Value)> Numbered(string beginning)
    {
        var numbered = new SortedDictionary<int, (string Column, DataValue? Value)>();
        foreach ((string name, DataValue? value) in row.Fields)
        {
            if (name.StartsWith(beginning, StringComparison.Ordinal) && int.TryParse(name.AsSpan(beginning.Length),
                System.Globalization.NumberStyles.None, null, out int number)
                && number > 0 && numbered.TryAdd(number, (name, value)))
            {
                _used.Add(name);
            }
        }

        return numbered;
    }

    /// <summary>A column that is no part of an example by itself; null where there is none.</summary>
    public DataValue? Peek(string column) => row[column];

    /// <summary>What no part was made of.</summary>
    public IReadOnlyDictionary<string, string> Rest()
    {
        var rest = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach ((string name, DataValue? value) in row.Fields)
        {
            if (!_used.Contains(name) && value?.ToColumnText() is { } text)
                rest[name] = text;
        }

        return rest;
    }

    private (string Column, DataValue Value) Use(string column, DataValue value)
    {
        _used.Add(column);
        return value is UnreadableValue
            ? throw new InvalidDataException($"has {value.Kind} in '{column}'; write that column as text.")
            : (column, value);
    }

    private bool Exists(string column) => row.Has(column)
        || (Split(column) is { } path && row.Has(path.First) && row[path.First] is null or StructValue);

    private DataValue? Value(string column)
    {
        if (row.Has(column))
            return row[column];
        return Split(column) is { } path && row[path.First] is StructValue inner ? inner[path.Inner] : null;
    }

    private static (string First, string Inner)? Split(string column)
    {
        int dot = column.IndexOf('.', StringComparison.Ordinal);
        return dot > 0 ? (column[..dot], column[(dot + 1)..]) : null;
    }

    // Other columns are the user's own; one that differs from ours by case alone is a slip that would go unnoticed.
    private static bool IsNearly(string name, string[] known) => !s_topNames.Contains(name)
        && known.Contains(name, StringComparer.OrdinalIgnoreCase);
}
