using System.Globalization;
using System.IO.Hashing;
using System.Text;
using System.Text.Json;

namespace Skylight.Training.Evaluation;

/// <summary>
/// The questions of an evaluation, one JSON object a line: <c>id</c>, <c>question</c>, <c>answer</c> and, as they apply, <c>options</c>, <c>images</c>,
/// <c>category</c> and <c>hint</c>.
/// </summary>
public static class EvaluationData
{
    private const int MostProblems = 10;

    // Far more than the questions of any set; pictures lie in files of their own.
    private const int MostBytes = 256 << 20;

    /// <summary>Reads a file, and looks whether its pictures are there.</summary>
    /// <param name="path">The file; paths of pictures in it are relative to its folder, or absolute.</param>
    /// <exception cref="InvalidDataException">Lines are wrong, or pictures missing; names up to ten of them with their line numbers.</exception>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="IOException">It cannot be read, is no file, or has more than 256 MiB.</exception>
    public static IReadOnlyList<EvaluationItem> Load(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (!Path.Exists(path))
            throw new FileNotFoundException($"There is no data file '{path}'.", path);
        string folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        var items = new List<EvaluationItem>();
        var lineOf = new Dictionary<string, int>(StringComparer.Ordinal);
        var problems = new List<string>();
        byte[] bytes = BoundedFile.Read(path, MostBytes);
        if (Utf8Text.Fault(bytes) is { } fault)
            throw new InvalidDataException(Describe(path, [fault]));
        int number = 0;
        foreach (ReadOnlyMemory<byte> line in Lines(Utf8Text.WithoutMark(bytes)))
        {
            number++;
            if (line.Span.IndexOfAnyExcept(" \t\v\f"u8) < 0)
                continue;
            try
            {
                EvaluationItem item = Check(Parse(line, folder));
                if (!lineOf.TryAdd(item.Id, number))
                    throw new InvalidDataException($"the id '{item.Id}' is already that of line {lineOf[item.Id]}; give every item its own.");
                items.Add(item);
            }
            catch (Exception exception) when (exception is InvalidDataException or JsonException)
            {
                problems.Add($"line {number}: {(exception is JsonException json ? $"is not a JSON object: {WithinLine(json)}" : exception.Message)}");
            }
        }

        if (problems.Count > 0)
            throw new InvalidDataException(Describe(path, problems));
        return items.Count > 0 ? items : throw new InvalidDataException($"The data file '{path}' has no items: give one JSON object a line, with id, question and answer.");
    }

    /// <summary>A hash of everything that the answers and scores of items depend on, with the sizes of their pictures.</summary>
    /// <returns>Hexadecimal digits.</returns>
    public static string Fingerprint(IReadOnlyList<EvaluationItem> items)
    {
        ArgumentNullException.ThrowIfNull(items);
        var hash = new XxHash128();
        foreach (EvaluationItem item in items)
        {
            Append(item.Id);
            Append(item.Question);
            Append(item.Hint ?? "");
            Append(item.Category ?? "");
            AppendAll(item.Answers);
            AppendAll(item.Options);
            // Not their paths: a data set that was moved is still the same.
            AppendAll([.. item.Images.Select(image => new FileInfo(image).Length.ToString(CultureInfo.InvariantCulture))]);
        }

        return Convert.ToHexStringLower(hash.GetCurrentHash());

        void AppendAll(IReadOnlyList<string> texts)
        {
            Append(texts.Count.ToString(CultureInfo.InvariantCulture));
            foreach (string text in texts)
                Append(text);
        }

        // The length keeps "ab", "c" from being "a", "bc".
        void Append(string text)
        {
            byte[] bytes = Encoding.UTF8.GetBytes(text);
            hash.Append(BitConverter.GetBytes(bytes.Length));
            hash.Append(bytes);
        }
    }

    /// <summary>An error in a line of a file without the number of its line in the line.</summary>
    internal static string WithinLine(JsonException exception)
    {
        const string Only = "line 1, ";
        return exception.Message.StartsWith(Only, StringComparison.Ordinal) ? exception.Message[Only.Length..] : exception.Message;
    }

    /// <summary>Reads one line.</summary>
    private static EvaluationItem Parse(ReadOnlyMemory<byte> line, string folder)
    {
        using JsonDocument document = JsonText.Parse(line);
        JsonElement root = document.RootElement;
        if (root.ValueKind != JsonValueKind.Object)
            throw new InvalidDataException($"is {Describe(root)}, but an item is a JSON object.");
        string[] known = ["id", "question", "answer", "options", "images", "image", "category", "hint"];
        if (root.EnumerateObject().Select(property => property.Name).FirstOrDefault(name => IsNearly(name, known)) is { } wrong)
            throw new InvalidDataException($"has a field '{wrong}'; fields are in lower case: {string.Join(", ", known)}.");
        if (root.TryGetProperty("images", out _) && root.TryGetProperty("image", out _))
            throw new InvalidDataException("has both 'image' and 'images'; give one.");
        string[] options = [.. Options(root)];
        string[] answers = [.. Texts(root, "answer")];
        string[] images = [.. Texts(root, "images"), .. Texts(root, "image")];
        return new EvaluationItem(Required(root, "id"), Required(root, "question"), options.Length > 0 ? [.. answers.Select(answer => LetterOf(answer, options))] : answers)
        {
            Options = options,
            Images = [.. images.Select(image => Path.Combine(folder, image))],
            Category = Optional(root, "category"),
            Hint = Optional(root, "hint"),
        };
    }

    /// <summary>Lines as all systems end them.</summary>
    private static IEnumerable<ReadOnlyMemory<byte>> Lines(ReadOnlyMemory<byte> text)
    {
        while (!text.IsEmpty)
        {
            int end = text.Span.IndexOfAny((byte)'\r', (byte)'\n');
            yield return end < 0 ? text : text[..end];
            text = end < 0 ? default : text[(end + (text.Span[end..].StartsWith("\r\n"u8) ? 2 : 1))..];
        }
    }

    private static EvaluationItem Check(EvaluationItem item)
    {
        if (item.Answers.Count == 0)
            throw new InvalidDataException("has no 'answer'; give a letter, a text, or a list of accepted texts.");
        if (item.Answers.Any(string.IsNullOrWhiteSpace))
            throw new InvalidDataException("has an empty 'answer'.");
        if (item.IsMultipleChoice && item.Answers.Count > 1)
            throw new InvalidDataException($"has options and {item.Answers.Count} answers; a question with options has one.");
        if (item.Options.FirstOrDefault(string.IsNullOrWhiteSpace) is not null)
            throw new InvalidDataException("has an empty option.");
        foreach (string image in item.Images)
        {
            if (!File.Exists(image))
                throw new InvalidDataException($"there is no picture '{image}'.");
        }

        MmmuPrompt.CheckImages(item);
        return item;
    }

    private static IEnumerable<string> Options(JsonElement root)
    {
        if (!root.TryGetProperty("options", out JsonElement options) || options.ValueKind != JsonValueKind.Object)
            return Texts(root, "options");
        var list = new List<string>();
        foreach (JsonProperty option in options.EnumerateObject())
        {
            if (list.Count >= 26 || option.Name != EvaluationItem.Letter(list.Count).ToString())
                throw new InvalidDataException($"has an option '{option.Name}' where {(list.Count < 26 ? EvaluationItem.Letter(list.Count) : "none")} would be next; letters go from A without a gap.");
            list.Add(Text(option.Value, "options"));
        }

        return list;
    }

    /// <summary>The letter of an answer that is given as a letter or as the text of an option.</summary>
    private static string LetterOf(string answer, string[] options)
    {
        if (options.Length > 26)
            throw new InvalidDataException($"has {options.Length} options; at most 26 have a letter.");
        string trimmed = answer.Trim();
        if (trimmed.Length == 1 && trimmed[0] - 'A' is >= 0 and var place && place < options.Length)
            return trimmed;
        int[] same = [.. Enumerable.Range(0, options.Length).Where(option => options[option].Trim() == trimmed)];
        return same.Length == 1
            ? EvaluationItem.Letter(same[0]).ToString()
            : throw new InvalidDataException($"has the answer '{answer}', but its options are A to {EvaluationItem.Letter(options.Length - 1)}: give one of these letters, or the text of one option.");
    }

    private static string Required(JsonElement root, string name) =>
        Optional(root, name) is { } text && !string.IsNullOrWhiteSpace(text) ? text : throw new InvalidDataException($"has no '{name}'.");

    private static string? Optional(JsonElement root, string name) =>
        root.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? Text(value, name) : null;

    /// <summary>A text, or a list of them.</summary>
    private static IEnumerable<string> Texts(JsonElement root, string name)
    {
        if (!root.TryGetProperty(name, out JsonElement value) || value.ValueKind == JsonValueKind.Null)
            return [];
        return value.ValueKind == JsonValueKind.Array ? [.. value.EnumerateArray().Select(element => Text(element, name))] : [Text(value, name)];
    }

    private static string Text(JsonElement value, string name) => value.ValueKind switch
    {
        JsonValueKind.String => value.GetString()!,
        JsonValueKind.Number => value.GetRawText(),
        JsonValueKind.True => "true",
        JsonValueKind.False => "false",
        _ => throw new InvalidDataException($"has {Describe(value)} in '{name}', where a text is expected."),
    };

    private static string Describe(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "a list",
        JsonValueKind.Null => "null",
        JsonValueKind.String => "a text",
        _ => $"'{value.GetRawText()}'",
    };

    // Other fields are the user's own; one that differs from ours by case alone is a slip that would go unnoticed.
    private static bool IsNearly(string name, string[] known) => !known.Contains(name) && known.Contains(name, StringComparer.OrdinalIgnoreCase);

    private static string Describe(string path, List<string> problems) => problems.Count == 1
        ? $"The data file '{path}' cannot be used: {problems[0]}"
        : $"The data file '{path}' cannot be used:\n  {string.Join("\n  ", problems.Take(MostProblems))}{(problems.Count > MostProblems ? $"\n  and {problems.Count - MostProblems} more" : "")}";
}
