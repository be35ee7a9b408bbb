using System.Text.Encodings.Web;
using System.Text.Json;
using Skylight.Images;

namespace Skylight.Training.Data;

/// <summary>
/// Writes a data set of questions: <c>NAME.jsonl</c>, and the pictures beside it in <c>images/</c>, as PNG.
/// <see cref="ExampleFiles"/> and <c>skylight eval</c> read it.
/// </summary>
public sealed class ExampleWriter : IDisposable
{
    private const string ImageFolder = "images";

    private readonly string _folder;
    private readonly string _name;
    private readonly FileStream _lines;
    private long _count;

    /// <summary>Begins a data set; what was there under its name is written over.</summary>
    /// <param name="folder">Where it goes; made if it is not there.</param>
    /// <param name="name">What it is called, such as "train".</param>
    /// <exception cref="IOException">The folder cannot be written.</exception>
    public ExampleWriter(string folder, string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        ArgumentException.ThrowIfNullOrEmpty(name);
        (_folder, _name) = (folder, name);
        Directory.CreateDirectory(Path.Combine(folder, ImageFolder));
        _lines = new FileStream(FilePath, FileMode.Create, FileAccess.Write, FileShare.Read);
    }

    /// <summary>The file of the questions.</summary>
    public string FilePath => Path.Combine(_folder, _name + ".jsonl");

    /// <summary>Adds a question.</summary>
    /// <param name="question">What is asked.</param>
    /// <param name="answers">What is accepted as its answer; one is written as a text, several as a list.</param>
    /// <param name="images">Its pictures.</param>
    /// <param name="columns">Other columns, such as a category or a response to learn from; may be null.</param>
    /// <exception cref="IOException">A file cannot be written.</exception>
    public void Add(string question, IReadOnlyList<string> answers, IReadOnlyList<RgbImage> images,
        IReadOnlyDictionary<string, string>? columns = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(question);
        ArgumentNullException.ThrowIfNull(answers);
        ArgumentNullException.ThrowIfNull(images);
        string[] reserved = ["id", "question", "answer", "images"];
        if (columns?.Keys.FirstOrDefault(reserved.Contains) is { } taken)
            throw new ArgumentException($"A column '{taken}' is written already.", nameof(columns));
        string id = $"{_name}-{++_count}";
        var paths = new List<string>();
        foreach (RgbImage image in images)
        {
            paths.Add($"{ImageFolder}/{id}{(images.Count > 1 ? $"-{paths.Count + 1}" : "")}.png");
            File.WriteAllBytes(Path.Combine(_folder, paths[^1]), PngEncoder.Encode(image));
        }

        using (var writer = new Utf8JsonWriter(_lines,
            new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            writer.WriteStartObject();
            writer.WriteString("id", id);
            writer.WriteString("question", question);
            if (answers.Count == 1)
                writer.WriteString("answer", answers[0]);
            else if (answers.Count > 1)
                WriteList(writer, "answer", answers);
            if (paths.Count > 0)
                WriteList(writer, "images", paths);
            foreach ((string name, string value) in columns ?? new Dictionary<string, string>())
                writer.WriteString(name, value);
            writer.WriteEndObject();
        }

        _lines.WriteByte((byte)'\n');
    }

    /// <inheritdoc/>
    public void Dispose() => _lines.Dispose();

    private static void WriteList(Utf8JsonWriter writer, string name, IReadOnlyList<string> texts)
    {
        writer.WriteStartArray(name);
        foreach (string text in texts)
            writer.WriteStringValue(text);
        writer.WriteEndArray();
    }
}
