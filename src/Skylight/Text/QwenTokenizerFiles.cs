using System.Globalization;
using System.Text.Json;

namespace Skylight.Text;

/// <summary>
/// Qwen2's tokenizer in its older form, as the original InternVL3 folders have it: <c>vocab.json</c>,
/// <c>merges.txt</c>, and the added tokens of <c>tokenizer_config.json</c> or <c>added_tokens.json</c>. Normalizer and
/// expression are Qwen2Tokenizer's own.
/// </summary>
internal static class QwenTokenizerFiles
{
    public const string Vocabulary = "vocab.json", Merges = "merges.txt";
    private const string Configuration = "tokenizer_config.json", AddedTokens = "added_tokens.json";

    /// <summary>Fills a tokenizer from the files of a folder.</summary>
    public static void Read(string directory, TokenizerFile result, CancellationToken cancellationToken)
    {
        TokenizerFile.ReadingJson(result.File, () =>
        {
            Utf8JsonReader json = JsonText.Reader(TokenizerFile.ReadBytes(result.File));
            json.Read();
            result.ReadVocabulary(ref json, "vocabulary", cancellationToken);
            json.Read();
        });
        TokenizerFile.ReadingJson(Path.Combine(directory, Configuration), () => ReadAdded(directory, result));
        ReadMerges(Path.Combine(directory, Merges), result, cancellationToken);
    }

    private static void ReadMerges(string file, TokenizerFile result, CancellationToken cancellationToken)
    {
        byte[] bytes = TokenizerFile.ReadBytes(file);
        if (Utf8Text.Fault(bytes) is { } fault)
            throw new TokenizerException(file, $"cannot be read: {fault}");
        ReadOnlySpan<byte> text = Utf8Text.WithoutMark(bytes).Span;
        var merges = new List<(int, int, int)>(result.Tokens.Count);
        int line = 0;
        while (!text.IsEmpty)
        {
            int end = text.IndexOf((byte)'\n');
            ReadOnlySpan<byte> merge = (end < 0 ? text : text[..end]).TrimEnd((byte)'\r');
            text = end < 0 ? [] : text[(end + 1)..];
            line++;
            if (merge.IsEmpty || merge.StartsWith("#version"u8))
                continue;
            merges.Add(result.Merge(Merges, line, merge));
            if ((line & 0xFFFF) == 0)
                cancellationToken.ThrowIfCancellationRequested();
        }

        result.SetMerges(Merges, merges);
    }

    private static void ReadAdded(string directory, TokenizerFile result)
    {
        string configuration = Path.Combine(directory, Configuration);
        if (!File.Exists(configuration))
            throw new TokenizerException(configuration,
                $"is missing. Beside {Vocabulary} it says of which class the tokenizer is.");
        JsonElement root = Object(configuration);
        string? tokenizerClass = root.TryGetProperty("tokenizer_class", out JsonElement value)
            && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
        if (tokenizerClass is not ("Qwen2Tokenizer" or "Qwen2TokenizerFast"))
            throw new TokenizerException(configuration,
                $"'tokenizer_class' is {(tokenizerClass is null ? "missing or no text" : $"'{tokenizerClass}'")}; " +
                $"supported without a tokenizer.json: 'Qwen2Tokenizer'.");

        if (root.TryGetProperty("added_tokens_decoder", out JsonElement tokens) && tokens.ValueKind == JsonValueKind.Object)
        {
            foreach (JsonProperty token in tokens.EnumerateObject())
            {
                string path = $"{Configuration}: added_tokens_decoder.{token.Name}";
                if (!int.TryParse(token.Name, NumberStyles.None, CultureInfo.InvariantCulture, out int id))
                    throw result.Error($"'{path}' has no number for its name.");
                result.Added.Add(TokenizerParts.AddedToken(result, path, token.Value, id));
            }

            return;
        }

        string added = Path.Combine(directory, AddedTokens);
        if (!File.Exists(added))
            throw new TokenizerException(configuration,
                $"has no 'added_tokens_decoder', and there is no {AddedTokens}: the special tokens are not known.");
        foreach (JsonProperty token in Object(added).EnumerateObject())
        {
            int id = token.Value.ValueKind == JsonValueKind.Number && token.Value.TryGetInt32(out int number)
                && number is >= 0 and < TokenTable.MostTokens
                ? number : throw new TokenizerException(added,
                    $"'{token.Name}' is {TokenizerParts.Shorten(token.Value)}; supported: a whole number from 0 to " +
                    $"{TokenTable.MostTokens - 1}.");
            if (token.Name.Length == 0)
                throw new TokenizerException(added, "holds an empty token.");
            result.Added.Add(new AddedToken(id, token.Name, Special: true));
        }
    }

    private static JsonElement Object(string file)
    {
        JsonElement root = default;
        TokenizerFile.ReadingJson(file, () =>
        {
            root = JsonText.ParseElement(TokenizerFile.ReadBytes(file));
        });
        return root.ValueKind == JsonValueKind.Object ? root
            : throw new TokenizerException(file, "must hold a JSON object.");
    }
}
