using System.Buffers;
using System.Text.Json;
using Skylight.Training.Data;

namespace Skylight.Training.Runs;

/// <summary>
/// What a run writes as it goes: <c>metrics.jsonl</c>, <c>samples.jsonl</c> and a TensorBoard event file. The lengths
/// belong to the saved state.
/// </summary>
public sealed class RunLog : IDisposable
{
    /// <summary>The file of figures in the folder of a run: a line for each step or evaluation.</summary>
    public const string MetricsName = "metrics.jsonl";

    /// <summary>The file of samples: a line for each.</summary>
    public const string SamplesName = "samples.jsonl";

    internal const string EventsName = "events.out.tfevents.skylight";

    private readonly AppendedFile _metrics;
    private readonly AppendedFile _samples;
    private readonly AppendedFile _events;

    /// <summary>Opens the files of a folder at the lengths of a saved state; zeros for a new run.</summary>
    internal RunLog(string folder, RunLogLengths lengths)
    {
        ArgumentNullException.ThrowIfNull(lengths);
        _metrics = new AppendedFile(Path.Combine(folder, MetricsName), lengths.Metrics);
        _samples = new AppendedFile(Path.Combine(folder, SamplesName), lengths.Samples);
        _events = new AppendedFile(Path.Combine(folder, EventsName), lengths.Events);
        if (lengths.Events == 0)
            _events.Append(TensorBoardLog.Header(Now()));
    }

    /// <summary>How long the files are.</summary>
    internal RunLogLengths Lengths => new(_metrics.Length, _samples.Length, _events.Length);

    /// <summary>Writes figures.</summary>
    internal void Write(StepFigures figures)
    {
        string kind = figures.Kind == FigureKind.Step ? "train" : "eval";
        _metrics.Append(Line(json =>
        {
            json.WriteNumber("step", figures.Step);
            json.WriteString("kind", kind);
            foreach ((string name, double value) in figures.Values)
            {
                if (double.IsFinite(value))
                    json.WriteNumber(name, value);
                else
                    json.WriteNull(name);
            }
        }));
        _events.Append(
            TensorBoardLog.Scalars(Now(), figures.Step, figures.Values.Where(figure => double.IsFinite(figure.Value))
                .Select(figure => ($"{kind}/{figure.Name}", figure.Value))));
    }

    /// <summary>Writes a sample.</summary>
    internal void Write(RunSample sample) => _samples.Append(Line(json =>
    {
        json.WriteNumber("step", sample.Step);
        json.WriteString("id", sample.Id);
        json.WriteString("prompt", sample.Prompt);
        json.WriteString("completion", sample.Completion);
        json.WriteStartObject("rewards");
        foreach ((string name, double value) in sample.Rewards)
            json.WriteNumber(name, value);
        json.WriteEndObject();
        json.WriteNumber("advantage", sample.Advantage);
        json.WriteNumber("tokens", sample.Tokens);
        json.WriteBoolean("finished", sample.Finished);
    }));

    /// <summary>Reads figures back.</summary>
    /// <param name="file">The file.</param>
    /// <param name="mostBytes">The most bytes that it may have.</param>
    /// <exception cref="InvalidDataException">A line is not what <see cref="Write(StepFigures)"/> writes.</exception>
    public static IReadOnlyList<StepFigures> ReadMetrics(string file, int mostBytes) =>
    [
        .. Read(file, mostBytes).Select(line => new StepFigures(
            line.GetProperty("step").GetInt32(), line.GetProperty("kind").GetString() == "train" ? FigureKind.Step
                : FigureKind.Evaluation,
            [.. line.EnumerateObject().Where(member => member.Value.ValueKind == JsonValueKind.Number
                && member.Name != "step").Select(member => (member.Name, member.Value.GetDouble()))])),
    ];

    /// <summary>Reads samples back.</summary>
    /// <param name="file">The file.</param>
    /// <param name="mostBytes">The most bytes that it may have.</param>
    /// <exception cref="InvalidDataException">A line is not what <see cref="Write(RunSample)"/> writes.</exception>
    public static IReadOnlyList<RunSample> ReadSamples(string file, int mostBytes) =>
    [
        .. Read(file, mostBytes).Select(line => new RunSample(
            line.GetProperty("step").GetInt32(), line.GetProperty("id").GetString()!,
            line.GetProperty("prompt").GetString()!, line.GetProperty("completion").GetString()!,
            [.. line.GetProperty("rewards").EnumerateObject().Select(member => (member.Name, member.Value.GetDouble()))],
            line.GetProperty("advantage").GetDouble(), line.GetProperty("tokens").GetInt32(),
            line.GetProperty("finished").GetBoolean())),
    ];

    private static IEnumerable<JsonElement> Read(string file, int mostBytes)
    {
        ReadOnlyMemory<byte> rest = BoundedFile.Read(file, mostBytes);
        for (int number = 1; rest.Length > 0; number++)
        {
            int end = rest.Span.IndexOf((byte)'\n');
            ReadOnlyMemory<byte> line = end < 0 ? rest : rest[..end];
            rest = end < 0 ? default : rest[(end + 1)..];
            JsonElement element;
            try
            {
                element = JsonText.ParseElement(line);
                if (element.ValueKind != JsonValueKind.Object)
                    throw new JsonException("it is no object.");
            }
            catch (JsonException exception)
            {
                throw new InvalidDataException($"'{file}' is damaged in line {number}: {exception.Message}", exception);
            }

            yield return element;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _metrics.Dispose();
        _samples.Dispose();
        _events.Dispose();
    }

    private static double Now() => (DateTime.UtcNow - DateTime.UnixEpoch).TotalSeconds;

    private static byte[] Line(Action<Utf8JsonWriter> write)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer,
            new JsonWriterOptions { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
        }

        buffer.Write("\n"u8);
        return buffer.WrittenSpan.ToArray();
    }
}

/// <summary>Lengths of a run's files in bytes.</summary>
internal sealed record RunLogLengths(long Metrics, long Samples, long Events)
{
    public static RunLogLengths None { get; } = new(0, 0, 0);
}
