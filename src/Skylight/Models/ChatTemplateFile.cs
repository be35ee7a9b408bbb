using System.Text.Json;
using Skylight.Checkpoints;

namespace Skylight.Models;

/// <summary>The chat template that a checkpoint brings, as text.</summary>
/// <param name="File">The file that it is from.</param>
/// <param name="Source">The template, in Jinja.</param>
/// <param name="Tokens">Special tokens by the names that templates have for them, such as <c>bos_token</c>, as
/// tokenizer_config.json spells them.</param>
public sealed record ChatTemplateFile(string File, string Source, IReadOnlyDictionary<string, string> Tokens)
{
    private const string Member = "chat_template", TokenizerName = "tokenizer_config.json";
    private const int MostBytes = 4 << 20;

    /// <summary>
    /// Looks for it where transformers does, in its order: chat_template.jinja, chat_template.json,
    /// tokenizer_config.json.
    /// </summary>
    /// <returns>Null where there is none.</returns>
    /// <exception cref="CheckpointException">A file cannot be read, or holds something else.</exception>
    internal static ChatTemplateFile? Load(string directory)
    {
        string own = Path.Combine(directory, "chat_template.jinja"),
            processor = Path.Combine(directory, "chat_template.json"), tokenizer = Path.Combine(directory, TokenizerName);
        JsonSource? settings = System.IO.File.Exists(tokenizer) ? JsonSource.Load(tokenizer) : null;
        Dictionary<string, string> tokens = settings is { } found ? TokensOf(found) : [];
        if (System.IO.File.Exists(own))
            return new ChatTemplateFile(own, ReadText(own), tokens);
        if (System.IO.File.Exists(processor) && TemplateOf(JsonSource.Load(processor)) is { } ofProcessor)
            return new ChatTemplateFile(processor, ofProcessor, tokens);
        return settings is { } last && TemplateOf(last) is { } ofTokenizer
            ? new ChatTemplateFile(tokenizer, ofTokenizer, tokens) : null;
    }

    /// <summary>One template, or several with names, of which "default" is the one for chats.</summary>
    private static string? TemplateOf(JsonSource json)
    {
        if (!json.Has(Member) || json.Element.GetProperty(Member) is not { ValueKind: JsonValueKind.Array } list)
            return json.Text(Member);
        List<string> names = [];
        foreach (JsonElement entry in list.EnumerateArray())
        {
            if (entry.ValueKind != JsonValueKind.Object || !entry.TryGetProperty("name", out JsonElement name)
                || name.ValueKind != JsonValueKind.String
                || !entry.TryGetProperty("template", out JsonElement template) || template.ValueKind != JsonValueKind.String)
                throw new CheckpointException(json.File,
                    $"'{Member}' is a list of something else than objects with 'name' and 'template'; supported: a " +
                    $"template, or such a list.");
            if (name.ValueEquals("default"))
                return template.GetString();
            names.Add(name.GetString()!);
        }

        throw new CheckpointException(json.File,
            $"'{Member}' has templates named {string.Join(", ", names.Select(name => $"'{name}'"))}; supported: a " +
            $"list with one named 'default'.");
    }

    private static Dictionary<string, string> TokensOf(JsonSource json)
    {
        var tokens = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (JsonProperty member in json.Element.EnumerateObject())
        {
            if (!member.Name.EndsWith("_token", StringComparison.Ordinal))
                continue;
            if (member.Value.ValueKind == JsonValueKind.String)
                tokens[member.Name] = member.Value.GetString()!;
            else if (member.Value.ValueKind == JsonValueKind.Object
                && member.Value.TryGetProperty("content", out JsonElement content)
                && content.ValueKind == JsonValueKind.String)
                tokens[member.Name] = content.GetString()!;
        }

        return tokens;
    }

    private static string ReadText(string file)
    {
        try
        {
            byte[] bytes = BoundedFile.Read(file, MostBytes);
            FileFaults.RefuseEmptyOrPointer(file, bytes, bytes.Length);
            if (Utf8Text.Fault(bytes) is { } fault)
                throw new CheckpointException(file, $"cannot be read: {fault}");
            return System.Text.Encoding.UTF8.GetString(Utf8Text.WithoutMark(bytes).Span);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(file, $"cannot be read: {exception.Message}", innerException: exception);
        }
    }
}
