using Microsoft.Win32.SafeHandles;

namespace Skylight.Training.Data;

/// <summary>
/// The examples of one or several files, JSONL or Parquet, which the content tells and not the name. In memory are 8
/// bytes for a row of JSONL, the footers of Parquet files and the few row groups that were read last.
/// </summary>
public sealed class ExampleFiles : IExampleSource, IDisposable
{
    /// <summary>The most bytes of memory that a row group may take.</summary>
    internal const long MostGroupBytes = 4L << 30;

    // Row groups that are shuffled together: as many as this holds, and never more than eight.
    private const long BytesAtOnce = 512L << 20;
    private const int MostGroupsAtOnce = 8, RowsOfLines = 1024;

    private readonly IDataFile[] _files;
    private readonly string[] _names;
    private readonly long[] _firstRows;
    private readonly ParquetGroupCache _cache;
    private readonly ExampleReader _reader;

    private ExampleFiles(IDataFile[] files, ExampleOptions options, ParquetGroupCache cache)
    {
        (_files, _cache, _reader) = (files, cache, new ExampleReader(options));
        // Ids are made of names; two files of one name have their whole paths.
        ILookup<string, IDataFile> byName = files.ToLookup(file => Path.GetFileName(file.FilePath));
        _names = [.. files.Select(file => byName[Path.GetFileName(file.FilePath)].Count() > 1
            ? file.FilePath.Replace('\\', '/') : Path.GetFileName(file.FilePath))];
        _firstRows = new long[files.Length];
        for (int file = 0; file < files.Length; file++)
        {
            _firstRows[file] = Count;
            Count += files[file].Count;
        }

        if (!files.Any(file => file.GroupRows.Count > 0))
            return;
        GroupRows = [.. files.SelectMany(file => file.GroupRows.Count > 0 ? file.GroupRows : Lines(file.Count))
            .Where(rows => rows > 0)];
        long largest = files.Max(file => file.LargestGroupBytes);
        GroupsAtOnce = (int)Math.Clamp(BytesAtOnce / Math.Max(1, largest), 1, MostGroupsAtOnce);
        // One more, for who is still at the last rows of the groups before.
        cache.MostGroups = GroupsAtOnce + 1;

        static IEnumerable<long> Lines(long rows)
        {
            for (long first = 0; first < rows; first += RowsOfLines)
                yield return Math.Min(RowsOfLines, rows - first);
        }
    }

    /// <inheritdoc/>
    public long Count { get; }

    /// <inheritdoc/>
    public IReadOnlyList<long> GroupRows { get; } = [];

    /// <inheritdoc/>
    public int GroupsAtOnce { get; } = 1;

    /// <summary>The files, in the order of their rows.</summary>
    public IReadOnlyList<string> FilePaths => [.. _files.Select(file => file.FilePath)];

    /// <summary>How many row groups were read so far.</summary>
    internal long GroupsRead => _cache.GroupsRead;

    /// <summary>Opens a file, a folder, or whatever a pattern finds.</summary>
    /// <inheritdoc cref="OpenAsync(IReadOnlyList{string}, ExampleOptions, CancellationToken)"/>
    public static Task<ExampleFiles> OpenAsync(string path, ExampleOptions? options = null,
        CancellationToken cancellationToken = default) => OpenAsync([path], options, cancellationToken);

    /// <summary>Opens files, and counts their rows.</summary>
    /// <param name="paths">
    /// Files, folders (all .jsonl and .parquet files in them) and patterns (<c>*</c>, <c>?</c>, <c>**</c> for folders
    /// below), whose files come in the order of their names.
    /// </param>
    /// <param name="options">How rows are read.</param>
    /// <param name="cancellationToken">Stops the opening.</param>
    /// <exception cref="FileNotFoundException">There is no such file, or none that fits a pattern.</exception>
    /// <exception cref="InvalidDataException">A file is neither JSONL nor Parquet, or damaged, or all of them have no
    /// rows.</exception>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public static Task<ExampleFiles> OpenAsync(IReadOnlyList<string> paths, ExampleOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(paths);
        return OpenAsync(paths, options, MostGroupBytes, cancellationToken);
    }

    /// <summary>Opens files with another limit of what a row group may take.</summary>
    internal static async Task<ExampleFiles> OpenAsync(IReadOnlyList<string> paths, ExampleOptions? options,
        long mostGroupBytes, CancellationToken cancellationToken)
    {
        options ??= new ExampleOptions();
        if (options.ImageFolder is not null && !Directory.Exists(options.ImageFolder))
            throw new FileNotFoundException($"There is no folder of pictures '{options.ImageFolder}'.", options.ImageFolder);
        IReadOnlyList<string> found = DataFiles.Find(paths);
        var cache = new ParquetGroupCache(MostGroupsAtOnce, mostGroupBytes);
        var files = new List<IDataFile>();
        try
        {
            foreach (string path in found)
                files.Add(await DataFiles.OpenAsync(path, cache, cancellationToken).ConfigureAwait(false));
            if (files.Sum(file => file.Count) == 0)
                throw new InvalidDataException(
                    $"The data {(found.Count == 1 ? $"file '{found[0]}' has" : $"files '{found[0]}' to '{found[^1]}' have")} no items: give one JSON object a line, or rows of Parquet.");
            return new ExampleFiles([.. files], options, cache);
        }
        catch
        {
            foreach (IDataFile file in files)
                file.Dispose();
            cache.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public async ValueTask<TrainingExample> ReadAsync(long row, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(row);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(row, Count);
        int at = Array.BinarySearch(_firstRows, row);
        at = at >= 0 ? at : ~at - 1;
        // Of several files that begin with the same row all but the last are empty.
        while (at + 1 < _files.Length && _firstRows[at + 1] == row)
            at++;
        IDataFile file = _files[at];
        long inFile = row - _firstRows[at];
        RowPlace place = file.PlaceOf(inFile);
        try
        {
            StructValue values = await file.ReadAsync(inFile, cancellationToken).ConfigureAwait(false);
            string folder = Path.GetDirectoryName(Path.GetFullPath(file.FilePath))!;
            TrainingExample example = _reader.Read(values, $"{_names[at]}:{place.Number}", folder);
            return example with { File = file.FilePath, Row = place.Number, Unit = place.Unit };
        }
        catch (InvalidDataException exception)
        {
            throw new BadRowException(new BadRow(file.FilePath, place.Number, place.Unit, exception.Message), exception);
        }
    }

    /// <summary>Closes the files.</summary>
    public void Dispose()
    {
        foreach (IDataFile file in _files)
            file.Dispose();
        _cache.Dispose();
    }
}

/// <summary>Finds and opens data files.</summary>
internal static class DataFiles
{
    private static readonly string[] s_endings = [".jsonl", ".parquet"];

    /// <summary>The files that paths, folders and patterns stand for.</summary>
    public static IReadOnlyList<string> Find(IReadOnlyList<string> paths)
    {
        var files = new List<string>();
        foreach (string path in paths)
        {
            if (string.IsNullOrWhiteSpace(path))
                throw new ArgumentException("A data file has no name.");
            IReadOnlyList<string> found = Find(path);
            if (found.FirstOrDefault(file => files.Any(known => Path.GetFullPath(known) == Path.GetFullPath(file)))
                is { } twice)
                throw new ArgumentException(
                    $"The data file '{twice}' is named twice; to see its rows more often give it a greater weight.");
            files.AddRange(found);
        }

        return files.Count > 0 ? files : throw new ArgumentException("No data file is named.");
    }

    /// <summary>Opens a file; its content says what it is.</summary>
    public static async Task<IDataFile> OpenAsync(string path, ParquetGroupCache cache, CancellationToken cancellationToken)
    {
        // Refuses folders and pipes, which would wait for ever.
        BoundedFile.Open(path).Dispose();
        SafeFileHandle handle = File.OpenHandle(path, FileMode.Open, FileAccess.Read,
            FileShare.ReadWrite | FileShare.Delete);
        try
        {
            var start = new byte[64];
            int count = RandomAccess.Read(handle, start, 0);
            if (start.AsSpan(0, count).StartsWith("PAR1"u8))
                return await ParquetRows.OpenAsync(path, handle, cache, cancellationToken).ConfigureAwait(false);
            if (Foreign(start.AsSpan(0, count)) is { } foreign)
                throw new InvalidDataException(foreign);
            return JsonLinesFile.Open(path, handle, cancellationToken);
        }
        catch (Exception exception)
        {
            handle.Dispose();
            if (exception is InvalidDataException)
                throw new InvalidDataException(
                    $"The data file '{path}' cannot be used: {exception.Message.TrimEnd('.')}.", exception);
            throw;
        }
    }

    private static IReadOnlyList<string> Find(string path)
    {
        if (File.Exists(path))
            return [path];
        if (Directory.Exists(path))
        {
            string[] inFolder = [.. Directory.EnumerateFiles(path).Where(
                file => s_endings.Contains(Path.GetExtension(file).ToLowerInvariant())).Order(StringComparer.Ordinal)];
            return inFolder.Length > 0 ? inFolder
                : throw new FileNotFoundException(
                    $"The folder '{path}' has no .jsonl and no .parquet files in it; name the files.", path);
        }

        if (path.AsSpan().IndexOfAny('*', '?') < 0)
            throw new FileNotFoundException($"There is no data file '{path}'.", path);
        string[] parts = path.Split('/', '\\');
        int wild = Array.FindIndex(parts, part => part.AsSpan().IndexOfAny('*', '?') >= 0);
        string root = wild == 0 ? "." : string.Join('/', parts[..wild]) is { Length: > 0 } above ? above : "/";
        string[] found = Directory.Exists(root)
            ? [.. Match(root, parts[wild..]).Distinct().Order(StringComparer.Ordinal)] : [];
        return found.Length > 0 ? found
            : throw new FileNotFoundException($"There is no data file that fits '{path}'.", path);
    }

    private static IEnumerable<string> Match(string folder, string[] parts)
    {
        if (parts.Length == 1)
            return Directory.EnumerateFiles(folder, parts[0] == "**" ? "*" : parts[0]).Select(file => Plain(folder, file));
        if (parts[0] == "**")
            return Directory.EnumerateDirectories(folder).SelectMany(inner => Match(Plain(folder, inner), parts))
                .Concat(Match(folder, parts[1..]));
        return Directory.EnumerateDirectories(folder, parts[0]).SelectMany(inner => Match(Plain(folder, inner), parts[1..]));
    }

    private static string Plain(string folder, string entry) => folder == "." ? Path.GetFileName(entry) : entry;

    /// <summary>What a file is that is neither; null if it may be JSONL.</summary>
    private static string? Foreign(ReadOnlySpan<byte> start)
    {
        if (start.StartsWith("version https://git-lfs"u8))
            return "it is a git-lfs pointer, not the data: run `git lfs pull` in the repository that it came from";
        if (start.StartsWith((ReadOnlySpan<byte>)[0x1F, 0x8B])
            || start.StartsWith((ReadOnlySpan<byte>)[0x28, 0xB5, 0x2F, 0xFD]) || start.StartsWith("PK"u8))
            return "it is compressed: unpack it first";
        if (start.StartsWith("ARROW1"u8) || start.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xFF, 0xFF, 0xFF]))
            return "it is an Arrow file: write it as Parquet (datasets: to_parquet)";
        if (start.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xFE]) || start.StartsWith((ReadOnlySpan<byte>)[0xFE, 0xFF]))
            return "it is UTF-16: save it in UTF-8";
        ReadOnlySpan<byte> text = (start.StartsWith("\uFEFF"u8) ? start[3..] : start).TrimStart(" \t\r\n"u8);
        return text.StartsWith("["u8) && IsListOfObjects(text[1..])
            ? "it is one JSON list; write one object a line (jq -c '.[]' data.json > data.jsonl)" : null;
    }

    private static bool IsListOfObjects(ReadOnlySpan<byte> text) => text.TrimStart(" \t\r\n"u8) is var rest
        && (rest.IsEmpty || rest[0] == '{');
}
