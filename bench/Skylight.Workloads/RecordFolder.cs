using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Skylight.Workloads;

/// <summary>A measured figure that was better than all before it on its card: <c>record.json</c> of a record's folder.</summary>
/// <param name="Kernel">Which kernel: <see cref="KernelRecord.Kernel"/>.</param>
/// <param name="Idea">What was new, in a few words.</param>
/// <param name="Date">The day on which it was measured, year-month-day.</param>
/// <param name="Device">The card, as its driver names it.</param>
/// <param name="Commit">The commit that was measured.</param>
/// <param name="Figure">What was reached.</param>
/// <param name="Unit">Its unit.</param>
/// <param name="Milliseconds">The median from which it comes.</param>
public sealed record MeasuredRecord(string Kernel, string Idea, string Date, string Device, string Commit, double Figure,
    string Unit, double Milliseconds);

/// <summary>
/// The records of kernels, a folder for each: <c>KERNEL/DATE-IDEA/record.json</c> with the results that it comes from, and a
/// table of all in <c>README.md</c>.
/// </summary>
/// <param name="path">The folder that holds them, <c>bench/records</c>.</param>
public sealed class RecordFolder(string path)
{
    private const string Begin = "<!-- records: made by Skylight.Bench -- records -->", End = "<!-- /records -->";

    private const long MostBytes = 64 << 20;

    /// <summary>All records, by kernel, card and date.</summary>
    /// <exception cref="InvalidDataException">A file is no record.</exception>
    public IReadOnlyList<MeasuredRecord> Read() =>
        [.. (Directory.Exists(path) ? Directory.EnumerateFiles(path, "record.json", SearchOption.AllDirectories) : [])
            .Select(Read).OrderBy(record => record.Kernel, StringComparer.Ordinal)
            .ThenBy(record => record.Device, StringComparer.Ordinal).ThenBy(record => record.Date, StringComparer.Ordinal)
            .ThenBy(record => record.Figure)];

    /// <summary>
    /// Adds what a benchmark of kernels has measured better than anything before on the same card, copies its results and
    /// log beside each, and writes the table anew.
    /// </summary>
    /// <param name="results">The benchmark's results, <c>cuda-kernels.json</c>.</param>
    /// <param name="idea">What is new, in a few words.</param>
    /// <param name="log">What was printed meanwhile; null for none.</param>
    /// <returns>The new records.</returns>
    /// <exception cref="InvalidDataException">The results are not of that benchmark.</exception>
    /// <exception cref="ArgumentException">The idea has no letters or digits.</exception>
    public IReadOnlyList<MeasuredRecord> Add(string results, string idea, string? log)
    {
        string slug = string.Join('-', idea.ToLowerInvariant().Split(
            [.. idea.ToLowerInvariant().Where(letter => !char.IsAsciiLetterOrDigit(letter)).Distinct()],
            StringSplitOptions.RemoveEmptyEntries));
        if (slug.Length == 0)
            throw new ArgumentException($"'{idea}' does not say what is new: give a few words.", nameof(idea));
        if (idea.AsSpan().IndexOfAny("|\r\n") >= 0)
            throw new ArgumentException("What is new is a cell of a table: one line without '|'.", nameof(idea));
        if (log is not null && !File.Exists(log))
            throw new FileNotFoundException($"There is no log '{log}'.", log);
        IReadOnlyList<MeasuredRecord> before = Read();
        MeasuredRecord[] better = [.. Measured(results, idea).Where(now => before.All(
            then => then.Kernel != now.Kernel || then.Device != now.Device || then.Figure < now.Figure))];
        foreach (MeasuredRecord record in better)
        {
            string folder = Path.Combine(path, record.Kernel, $"{record.Date}-{slug}");
            for (int number = 2; Directory.Exists(folder); number++)
                folder = Path.Combine(path, record.Kernel, $"{record.Date}-{slug}-{number}");
            Directory.CreateDirectory(folder);
            File.Copy(results, Path.Combine(folder, "results.json"));
            if (log is not null)
                File.Copy(log, Path.Combine(folder, "log.txt"));
            // Last: a folder without it is no record.
            Write(Path.Combine(folder, "record.json"), JsonSerializer.Serialize(record, RecordJson.Default.MeasuredRecord) + "\n");
        }

        WriteTable();
        return better;
    }

    /// <summary>Writes the table of <c>README.md</c> anew, between its marks.</summary>
    /// <exception cref="InvalidDataException">The file has no such marks.</exception>
    public void WriteTable()
    {
        string file = Path.Combine(path, "README.md"), text = File.ReadAllText(file);
        int first = text.IndexOf(Begin, StringComparison.Ordinal), last = text.IndexOf(End, StringComparison.Ordinal);
        if (first < 0 || last < first)
            throw new InvalidDataException($"'{file}' has no table: it must hold the lines '{Begin}' and '{End}'.");
        Write(file, string.Concat(text.AsSpan(0, first + Begin.Length), "\n", Table(Read()), text.AsSpan(last)));
    }

    /// <summary>The table: a row for each record, and one for each kernel that has none.</summary>
    public static string Table(IReadOnlyList<MeasuredRecord> records)
    {
        var text = new StringBuilder("| kernel | ours | of the target | of the published | target | published | card | when, what |\n"
            + "| --- | --- | --- | --- | --- | --- | --- | --- |\n");
        foreach (KernelRecord kernel in KernelRecord.All)
        {
            string bounds = Invariant($"{kernel.Target:0.##} {kernel.Unit} | {kernel.Published:0.##} ({kernel.Source})");
            MeasuredRecord[] own = [.. records.Where(record => record.Kernel == kernel.Kernel)];
            foreach (MeasuredRecord record in own)
            {
                string ours = Invariant(
                    $"{record.Figure:0.##} {record.Unit} | {record.Figure / kernel.Target:P0} | {record.Figure / kernel.Published:P0}"),
                    when = $"{record.Date}, {record.Idea}, {Short(record.Commit)}";
                text.Append(Invariant($"| {kernel.Kernel} | {ours} | {bounds} | {record.Device} | {when} |\n"));
            }

            if (own.Length == 0)
                text.Append(Invariant($"| {kernel.Kernel} | not measured | | | {bounds} | | |\n"));
        }

        return text.ToString();
    }

    private static IEnumerable<MeasuredRecord> Measured(string results, string idea)
    {
        using JsonDocument document = Parse(results);
        JsonElement root = document.RootElement;
        string device = Text(root, "device"), commit = Text(root, "commit"), date = Text(root, "measured_utc");
        if (date.Length < 10)
            throw NotResults(results);
        var rows = new List<MeasuredRecord>();
        foreach (JsonElement row in root.TryGetProperty("workloads", out JsonElement list) ? list.EnumerateArray() : throw NotResults(results))
        {
            // What was skipped has no time.
            if (KernelRecord.All.FirstOrDefault(kernel => kernel.Workload.Name == Text(row, "workload")) is not { } kernel
                || !row.TryGetProperty("own", out JsonElement own))
                continue;
            double milliseconds = own.GetProperty("ms").GetDouble();
            rows.Add(new MeasuredRecord(kernel.Kernel, idea, date[..10], device, commit,
                Math.Round(kernel.Figure(milliseconds / 1e3), 2), kernel.Unit, milliseconds));
        }

        return rows;

        string Text(JsonElement element, string name) =>
            element.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String
                ? value.GetString()! : throw NotResults(results);
    }

    private static InvalidDataException NotResults(string file) =>
        new($"'{file}' is not what Skylight.Bench -- kernels writes (cuda-kernels.json).");

    private static JsonDocument Parse(string file)
    {
        try
        {
            return JsonDocument.Parse(BoundedFile.Read(file, (int)MostBytes));
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"'{file}' is no JSON: {exception.Message}", exception);
        }
    }

    private static MeasuredRecord Read(string file)
    {
        using JsonDocument document = Parse(file);
        try
        {
            return document.Deserialize(RecordJson.Default.MeasuredRecord)!;
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"'{file}' is no record: {exception.Message}", exception);
        }
    }

    private static void Write(string file, string text)
    {
        // The old file or the new one, never half of it.
        string temporary = file + ".tmp";
        File.WriteAllText(temporary, text);
        File.Move(temporary, file, overwrite: true);
    }

    private static string Short(string commit) => commit.Length > 10 ? commit[..10] : commit;

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

/// <summary>JSON of records.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true,
    RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(MeasuredRecord))]
internal sealed partial class RecordJson : JsonSerializerContext;
