using System.Text.Json;

namespace Skylight.Text;

/// <summary>The small parts of a <c>tokenizer.json</c>: each is either what is supported or refused by name.</summary>
internal static class TokenizerParts
{
    // What a ByteLevel pre-tokenizer cuts by when it uses its own expression; GPT-2's.
    private const string ByteLevelPattern = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    /// <summary>Whether the normalizer is NFC; there may be none.</summary>
    public static bool Composes(TokenizerFile file, JsonElement normalizer)
    {
        if (normalizer.ValueKind == JsonValueKind.Null)
            return false;
        Demand(file, "normalizer.type", Type(file, "normalizer", normalizer), "NFC");
        return true;
    }

    /// <summary>
    /// The expression of the pre-tokenizer: a Split and a ByteLevel that adds nothing, or a ByteLevel alone.
    /// </summary>
    public static string Pattern(TokenizerFile file, JsonElement preTokenizer)
    {
        const string Path = "pre_tokenizer";
        string type = Type(file, Path, preTokenizer);
        if (type == "ByteLevel")
        {
            CheckByteLevel(file, Path, preTokenizer, "use_regex", true);
            return ByteLevelPattern;
        }

        Demand(file, Path + ".type", type, "Sequence", "ByteLevel");
        JsonElement[] steps = preTokenizer.TryGetProperty("pretokenizers", out JsonElement list)
            && list.ValueKind == JsonValueKind.Array
            ? [.. list.EnumerateArray()] : throw file.Error($"'{Path}.pretokenizers' is missing or no list.");
        string[] types = [.. steps.Select((step, index) => Type(file, $"{Path}.pretokenizers[{index}]", step))];
        Demand(file, Path + ".pretokenizers", string.Join(", ", types), "Split, ByteLevel");
        CheckByteLevel(file, $"{Path}.pretokenizers[1]", steps[1], "use_regex", false);
        return SplitPattern(file, $"{Path}.pretokenizers[0]", steps[0]);
    }

    /// <summary>Refuses a post-processor that would add tokens.</summary>
    public static void CheckPostProcessor(TokenizerFile file, JsonElement processor)
    {
        if (processor.ValueKind != JsonValueKind.Null)
            Demand(file, "post_processor.type", Type(file, "post_processor", processor), "ByteLevel");
    }

    /// <summary>Refuses a decoder that is not ByteLevel.</summary>
    public static void CheckDecoder(TokenizerFile file, JsonElement decoder)
    {
        if (decoder.ValueKind == JsonValueKind.Null)
            throw file.Error("'decoder' is null; supported: 'ByteLevel'.");
        Demand(file, "decoder.type", Type(file, "decoder", decoder), "ByteLevel");
    }

    /// <summary>Refuses a setting of the model that is not as in byte-level tokenizers.</summary>
    public static void CheckModelField(TokenizerFile file, string field, JsonElement value)
    {
        bool supported = field switch
        {
            "dropout" => value.ValueKind == JsonValueKind.Null
                || (value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double rate) && rate == 0),
            "continuing_subword_prefix" or "end_of_word_suffix" => value.ValueKind == JsonValueKind.Null
                || (value.ValueKind == JsonValueKind.String && value.ValueEquals("")),
            "byte_fallback" or "ignore_merges" => value.ValueKind is JsonValueKind.Null or JsonValueKind.False,

            // The unknown token is never needed where every byte has a token.
            _ => true,
        };
        if (!supported)
            throw file.Error(
                $"'model.{field}' is {Shorten(value)}; supported: " +
                $"{(field is "byte_fallback" or "ignore_merges" ? "false" : field == "dropout" ? "null" : "null or an empty string")}.");
    }

    /// <summary>Reads an added token's own fields.</summary>
    public static AddedToken AddedToken(TokenizerFile file, string path, JsonElement element, int id)
    {
        string content = Text(file, path, element, "content");
        if (content.Length == 0)
            throw file.Error($"'{path}.content' is empty.");
        if (id < 0 || id >= TokenTable.MostTokens)
            throw file.Error($"'{path}.id' is {id}; supported: 0 to {TokenTable.MostTokens - 1}.");
        bool special = Flag(file, path, element, "special", false);
        return new AddedToken(
            id, content, special, Flag(file, path, element, "normalized", !special),
            Flag(file, path, element, "lstrip", false),
            Flag(file, path, element, "rstrip", false), Flag(file, path, element, "single_word", false));
    }

    /// <summary>A whole number that must be there.</summary>
    public static int Integer(TokenizerFile file, string path, JsonElement element, string field)
    {
        if (element.ValueKind != JsonValueKind.Object || !element.TryGetProperty(field, out JsonElement value))
            throw file.Error($"'{path}.{field}' is missing.");
        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) ? number
            : throw file.Error($"'{path}.{field}' is {Shorten(value)}; supported: a whole number.");
    }

    /// <summary>A JSON value as an error shows it.</summary>
    public static string Shorten(JsonElement element)
    {
        string text = element.GetRawText();
        return text.Length <= 80 ? text : text[..80] + "…";
    }

    private static string SplitPattern(TokenizerFile file, string path, JsonElement split)
    {
        Demand(file, path + ".behavior", Text(file, path, split, "behavior"), "Isolated");
        if (Flag(file, path, split, "invert", false))
            throw file.Error($"'{path}.invert' is true; supported: false.");
        if (!split.TryGetProperty("pattern", out JsonElement pattern) || pattern.ValueKind != JsonValueKind.Object
            || !pattern.TryGetProperty("Regex", out JsonElement regex) || regex.ValueKind != JsonValueKind.String)
            throw file.Error($"'{path}.pattern' must be an object with a string 'Regex'.");
        return regex.GetString()!;
    }

    private static void CheckByteLevel(TokenizerFile file, string path, JsonElement step, string field, bool usesRegex)
    {
        if (Flag(file, path, step, "add_prefix_space", true))
            throw file.Error($"'{path}.add_prefix_space' is true (or missing, which means true); supported: false.");
        if (Flag(file, path, step, field, true) != usesRegex)
            throw file.Error(
                $"'{path}.{field}' is {(usesRegex ? "false" : "true (or missing, which means true)")}; supported " +
                $"here: {(usesRegex ? "true" : "false")}.");
    }

    private static string Type(TokenizerFile file, string path, JsonElement element) => Text(file, path, element, "type");

    private static string Text(TokenizerFile file, string path, JsonElement element, string field)
    {
        if (element.ValueKind != JsonValueKind.Object || !element.TryGetProperty(field, out JsonElement value))
            throw file.Error($"'{path}.{field}' is missing.");
        return value.ValueKind == JsonValueKind.String ? value.GetString()!
            : throw file.Error($"'{path}.{field}' is {Shorten(value)}; supported: a string.");
    }

    private static bool Flag(TokenizerFile file, string path, JsonElement element, string field, bool otherwise)
    {
        if (!element.TryGetProperty(field, out JsonElement value))
            return otherwise;
        return value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean()
            : throw file.Error($"'{path}.{field}' is {Shorten(value)}; supported: true or false.");
    }

    private static void Demand(TokenizerFile file, string path, string found, params ReadOnlySpan<string> supported)
    {
        if (!supported.Contains(found))
            throw file.Error(
                $"'{path}' is '{found}'; supported: " +
                $"{string.Join(" or ", supported.ToArray().Select(name => $"'{name}'"))}.");
    }
}
