using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Skylight.Checkpoints;

namespace Skylight.Training.Evaluation;

/// <summary>
/// The folder of a run: <c>settings.json</c>, and <c>results.jsonl</c>, which grows by a line with every response, so
/// that what was done is kept whatever happens. Safe for use by several threads.
/// </summary>
public sealed class EvaluationFolder : IDisposable
{
    // An array cannot be much larger; of settings there are few.
    private const int MostResultsBytes = 2_000_000_000, MostSettingsBytes = 16 << 20;

    // What is shown of a setting that somebody wrote by hand.
    private const int MostShown = 80;

    private const string SettingsName = "settings.json", ResultsName = "results.jsonl", ReportName = "report.json";

    private readonly FileStream _results;
    private readonly Lock _gate = new();

    private EvaluationFolder(string path, FileStream results, IReadOnlyList<EvaluationResult> before)
    {
        (FolderPath, _results, Before) = (path, results, before);
    }

    /// <summary>Where it is.</summary>
    public string FolderPath { get; }

    /// <summary>The responses that were there when it was opened.</summary>
    public IReadOnlyList<EvaluationResult> Before { get; }

    /// <summary>Begins a run in a folder, or goes on with the one in it.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="settings">What responses depend on.</param>
    /// <param name="resume">Whether a run that is there is gone on with; if there is none, one begins.</param>
    /// <exception cref="InvalidDataException">The folder holds a run and <paramref name="resume"/> is false, or one
    /// with other settings, or a damaged one.</exception>
    /// <exception cref="IOException">The folder cannot be written, or another process writes it.</exception>
    public static EvaluationFolder Open(string path, EvaluationSettings settings, bool resume)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(settings);
        string settingsFile = Path.Combine(path, SettingsName), resultsFile = Path.Combine(path, ResultsName);
        bool isThere = Holds(path);
        CheckFree(path, resume);
        if (isThere)
            CheckSettings(settingsFile, settings);
        try
        {
            Directory.CreateDirectory(path);
            // What is no file would be waited for, or never end.
            if (File.Exists(resultsFile))
                BoundedFile.Open(resultsFile).Dispose();
            var results = new FileStream(resultsFile, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read);
            try
            {
                IReadOnlyList<EvaluationResult> before = ReadResults(results, resultsFile);
                if (!isThere)
                    WriteJson(settingsFile, JsonSerializer.Serialize(settings, ReportJson.Readable.EvaluationSettings));
                return new EvaluationFolder(path, results, before);
            }
            catch
            {
                results.Dispose();
                throw;
            }
        }
        catch (Exception exception) when (exception is UnauthorizedAccessException or IOException)
        {
            throw new IOException(
                $"The folder '{path}' cannot be written: {exception.Message} Choose another (--output).", exception);
        }
    }

    /// <summary>
    /// Refuses a folder that holds a run, unless it is to be gone on with: what can be known before a model is loaded.
    /// </summary>
    /// <exception cref="InvalidDataException">It does.</exception>
    public static void CheckFree(string path, bool resume)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (!resume && Holds(path))
            throw new InvalidDataException(
                $"The folder '{path}' already holds an evaluation. Go on with it (--resume), or name another folder " +
                $"(--output).");
    }

    /// <summary>Adds a response. It is in the file when this returns.</summary>
    public void Append(EvaluationResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        byte[] line = [.. JsonSerializer.SerializeToUtf8Bytes(result, ResultJson.Readable.EvaluationResult), (byte)'\n'];
        lock (_gate)
        {
            _results.Write(line);
            _results.Flush(flushToDisk: false);
        }
    }

    /// <summary>Writes <c>report.json</c>.</summary>
    /// <returns>Its path.</returns>
    public string Write(EvaluationReport report)
    {
        ArgumentNullException.ThrowIfNull(report);
        string file = Path.Combine(FolderPath, ReportName);
        WriteJson(file, report.ToJson());
        return file;
    }

    /// <inheritdoc/>
    public void Dispose() => _results.Dispose();

    private static bool Holds(string path) => File.Exists(Path.Combine(path, SettingsName))
        || File.Exists(Path.Combine(path, ResultsName));

    /// <summary>
    /// Reads what is there; a last line without its end was being written when the program ended, and is taken away.
    /// </summary>
    private static List<EvaluationResult> ReadResults(FileStream stream, string file)
    {
        byte[] bytes = BoundedFile.ReadToEnd(stream, file, MostResultsBytes);
        int end = bytes.AsSpan().LastIndexOf((byte)'\n') + 1;
        if (end < bytes.Length)
            stream.SetLength(end);
        stream.Position = end;
        var results = new List<EvaluationResult>();
        int start = 0;
        for (int number = 1; start < end; number++)
        {
            int length = bytes.AsSpan(start, end - start).IndexOf((byte)'\n');
            try
            {
                EvaluationResult result = JsonText.Deserialize(bytes.AsMemory(start, length),
                    ResultJson.Readable.EvaluationResult);
                if (!Enum.IsDefined(result.Rule) || (result.FinishReason is { } ending && !Enum.IsDefined(ending)))
                    throw new JsonException("its 'rule' or 'end' is a number that stands for nothing.");
                results.Add(result);
            }
            catch (JsonException exception)
            {
                throw new InvalidDataException(
                    $"'{file}' is damaged in line {number}: {JsonText.WithinLine(exception)} Take the line out to " +
                    $"have that response written again.", exception);
            }

            start += length + 1;
        }

        return results;
    }

    private static void CheckSettings(string file, EvaluationSettings settings)
    {
        JsonObject there;
        try
        {
            JsonElement root = JsonText.ParseElement(BoundedFile.Read(file, MostSettingsBytes));
            there = root.ValueKind == JsonValueKind.Object ? JsonObject.Create(root)!
                : throw new JsonException("it is no object.");
        }
        catch (Exception exception) when (exception is JsonException or IOException or UnauthorizedAccessException)
        {
            throw new InvalidDataException(
                $"The evaluation cannot be resumed, because its settings '{file}' cannot be read: " +
                $"{exception.Message} Begin another (--output).", exception);
        }

        var wanted = (JsonObject)JsonSerializer.SerializeToNode(settings, ReportJson.Readable.EvaluationSettings)!;
        const string Version = "version";
        if (!JsonNode.DeepEquals(wanted[Version], there[Version]))
        {
            throw new InvalidDataException(
                $"The evaluation in '{Path.GetDirectoryName(file)}' was begun by another version of Skylight " +
                $"(version {Show(there[Version])} of the settings, this is {Show(wanted[Version])}), "
                + "which computed seeds and fingerprints in another way. Begin another (--output).");
        }

        foreach ((string name, JsonNode? value) in wanted)
        {
            if (!JsonNode.DeepEquals(value, there[name]))
            {
                throw new InvalidDataException(
                    $"The evaluation in '{Path.GetDirectoryName(file)}' was begun with another {name}: " +
                    $"{Show(there[name])}, not {Show(value)}. Resume it with the same settings and data, or " +
                    $"begin another (--output).");
            }
        }

        static string Show(JsonNode? node) => node?.ToJsonString() is not { } text ? "none" : text.Length <= MostShown
            ? text : text[..MostShown] + "…";
    }

    private static void WriteJson(string file, string json)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(json + "\n");
        AtomicFile.Write(file, bytes.Length, stream => stream.Write(bytes));
    }
}
