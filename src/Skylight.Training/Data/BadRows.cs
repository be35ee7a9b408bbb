using System.Text.Json;

namespace Skylight.Training.Data;

/// <summary>A row that cannot be used.</summary>
/// <param name="File">Its file.</param>
/// <param name="Row">Its line (JSONL) or row (Parquet), from 1.</param>
/// <param name="Unit">What <paramref name="Row"/> counts: "line" or "row".</param>
/// <param name="Reason">Why, as the end of a sentence that begins with the row.</param>
public sealed record BadRow(string File, long Row, string Unit, string Reason)
{
    /// <summary>Where it is and why it cannot be used.</summary>
    public override string ToString() => $"'{File}', {Unit} {Row}: {Reason}";
}

/// <summary>A row of a data set cannot be used.</summary>
public sealed class BadRowException : Exception
{
    /// <summary>Makes the error.</summary>
    public BadRowException(BadRow row, Exception? innerException = null)
        : base(row?.ToString(), innerException)
    {
        ArgumentNullException.ThrowIfNull(row);
        Row = row;
    }

    /// <summary>The row.</summary>
    public BadRow Row { get; }
}

/// <summary>
/// Counts rows that cannot be used, lists them, and ends a run that has met more than it may. A row that is met again,
/// in the next epoch, counts once. Safe for use by several threads.
/// </summary>
public sealed class BadRows : IDisposable
{
    private const int MostListed = 10, MostKept = 1000, MostBytes = 1 << 30;

    private readonly Lock _gate = new();
    private readonly HashSet<(string File, long Row)> _seen = [];
    private readonly List<BadRow> _rows = [];
    private readonly string? _path;
    private AppendedFile? _file;

    /// <summary>Makes an empty list.</summary>
    /// <param name="limit">How many a run may meet and go on.</param>
    /// <param name="path">A file that gets a JSON object a line with each; made with the first.</param>
    /// <param name="length">
    /// How many bytes of that file a run that goes on has written so far (<see cref="Length"/>): its rows count, and
    /// what comes behind them is cut off.
    /// </param>
    /// <exception cref="IOException">The file is shorter, or cannot be written.</exception>
    /// <exception cref="InvalidDataException">It is no list of bad rows.</exception>
    public BadRows(int limit = 0, string? path = null, long length = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(limit);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        (Limit, _path) = (limit, path);
        if (path is null || (length == 0 && !File.Exists(path)))
            return;
        if (length == 0)
        {
            File.Delete(path);
            return;
        }

        _file = new AppendedFile(path, length);
        try
        {
            Read(path);
        }
        catch
        {
            _file.Dispose();
            throw;
        }
    }

    /// <summary>Bytes in the file so far.</summary>
    public long Length
    {
        get
        {
            lock (_gate)
                return _file?.Length ?? 0;
        }
    }

    /// <summary>How many a run may meet and go on.</summary>
    public int Limit { get; }

    /// <summary>How many different rows there were.</summary>
    public int Count
    {
        get
        {
            lock (_gate)
                return _seen.Count;
        }
    }

    /// <summary>The first thousand of them.</summary>
    public IReadOnlyList<BadRow> Rows
    {
        get
        {
            lock (_gate)
                return [.. _rows];
        }
    }

    /// <summary>Takes note of a row.</summary>
    /// <exception cref="IOException">The file of bad rows cannot be written.</exception>
    public void Add(BadRow row)
    {
        ArgumentNullException.ThrowIfNull(row);
        lock (_gate)
        {
            if (!_seen.Add((row.File, row.Row)))
                return;
            if (_rows.Count < MostKept)
                _rows.Add(row);
            if (_path is not null)
                Write(row);
        }
    }

    /// <summary>Takes note of a row that was read well and then turned out to be of no use: over the context, say.</summary>
    /// <param name="example">What was read.</param>
    /// <param name="reason">Why it cannot be used.</param>
    /// <exception cref="IOException">The file of bad rows cannot be written.</exception>
    public void Add(TrainingExample example, string reason)
    {
        ArgumentNullException.ThrowIfNull(example);
        Add(new BadRow(example.File, example.Row, example.Unit, reason));
    }

    /// <summary>Ends a run that met more than it may.</summary>
    /// <exception cref="InvalidDataException">There are more than <see cref="Limit"/>; names up to ten.</exception>
    public void ThrowIfOverLimit()
    {
        lock (_gate)
        {
            if (_seen.Count > Limit)
                throw new InvalidDataException(Describe());
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file?.Dispose();

    private string Describe()
    {
        string allowed = Limit == 0 ? "none is allowed" : $"{Limit} are allowed";
        string rest = _seen.Count > MostListed ? $"\n  and {_seen.Count - MostListed} more" : "";
        string where = _path is null ? "" : $" All of them are in '{_path}'.";
        return $"{(_seen.Count == 1 ? "A row of the data" : $"{_seen.Count} rows of the data")} cannot be used, and " +
            $"{allowed}:\n  {string.Join("\n  ", _rows.Take(MostListed))}{rest}\nCorrect them, or raise the limit " +
            $"of bad rows.{where}";
    }

    private void Write(BadRow row)
    {
        if (_file is null)
        {
            if (Path.GetDirectoryName(_path) is { Length: > 0 } folder)
                Directory.CreateDirectory(folder);
            _file = new AppendedFile(_path!, 0);
        }

        using var line = new MemoryStream();
        using (var writer = new Utf8JsonWriter(line))
        {
            writer.WriteStartObject();
            writer.WriteString("file", row.File);
            writer.WriteNumber(row.Unit, row.Row);
            writer.WriteString("reason", row.Reason);
            writer.WriteEndObject();
        }

        line.WriteByte((byte)'\n');
        _file.Append(line.GetBuffer().AsSpan(0, (int)line.Length));
    }

    private void Read(string path)
    {
        ReadOnlyMemory<byte> rest = BoundedFile.Read(path, MostBytes);
        while (rest.Length > 0)
        {
            int end = rest.Span.IndexOf((byte)'\n');
            try
            {
                JsonElement row = JsonText.ParseElement(end < 0 ? rest : rest[..end]);
                string unit = row.TryGetProperty("line", out JsonElement number) ? "line" : "row";
                if (unit == "row")
                    number = row.GetProperty("row");
                var read = new BadRow(row.GetProperty("file").GetString()!, number.GetInt64(), unit,
                    row.GetProperty("reason").GetString()!);
                if (_seen.Add((read.File, read.Row)) && _rows.Count < MostKept)
                    _rows.Add(read);
            }
            catch (Exception exception)
                when (exception is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
            {
                throw new InvalidDataException(
                    $"'{path}' is no list of bad rows, as the run in its folder has written it. Put it back, or " +
                    $"start a new run in another folder.", exception);
            }

            rest = end < 0 ? default : rest[(end + 1)..];
        }
    }
}
