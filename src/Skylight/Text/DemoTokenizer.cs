using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Skylight.Text;

/// <summary>
/// The tokenizer of the demo's model (<c>skylight init --like demo</c>) as the files that transformers reads:
/// byte-level BPE with Qwen2's way of cutting, the 256 bytes, the few words of the demo's texts, and the special tokens
/// of InternVL. Any text has tokens; the demo's have few.
/// </summary>
public static class DemoTokenizer
{
    /// <summary>The longest text that the files say the model takes, in tokens.</summary>
    internal const int MaximumTokens = 512;

    // The order is that of the merges: a word may not hold the beginning of one that stands before it.
    private static readonly string[] s_words = ["assistant", "user", "system", "\\boxed", "digits", "sum", "diff",
        "larger", "smaller", "and", "Wait", " and", " Wait"];

    // As in Qwen3 the tags of a think block are tokens that are not special: who leaves out special tokens still sees
    // where the thinking ends.
    private static readonly (string Content, bool IsSpecial)[] s_added =
    [
        (SpecialTokens.TextEnd, true), (SpecialTokens.TurnStart, true), (SpecialTokens.TurnEnd, true),
        (SpecialTokens.ImageStart, true), (SpecialTokens.ImageEnd, true),
        (SpecialTokens.ImageContext, true), (Video, true), (SpecialTokens.ThinkStart, false),
        (SpecialTokens.ThinkEnd, false),
    ];

    // No picture ever stands behind it here, but transformers' processor does not start without.
    private const string Video = "<video>";

    // The processor puts <img>, as many <IMG_CONTEXT> as there are features, and </img> for the one that stands here.
    private const string Template =
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}{% if message['content'] is " +
        "string %}{{ message['content'] }}"
        + "{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\\n' }}{% " +
            "elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
        + "{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

    private static readonly (string Role, string Token)[] s_roles =
    [
        ("context_image_token", SpecialTokens.ImageContext), ("end_image_token", SpecialTokens.ImageEnd),
        ("start_image_token", SpecialTokens.ImageStart), ("video_token", Video),
    ];

    /// <summary>
    /// The files by name: <c>tokenizer.json</c>, <c>tokenizer_config.json</c> with the chat template,
    /// <c>special_tokens_map.json</c>, and the template once more as
    /// <c>chat_template.jinja</c>, where processors look for it.
    /// </summary>
    public static IReadOnlyList<KeyValuePair<string, string>> Files()
    {
        (List<string> tokens, List<(string, string)> merges) = Vocabulary();
        return
        [
            KeyValuePair.Create("tokenizer.json", Json(json => WriteTokenizer(json, tokens, merges))),
            KeyValuePair.Create("tokenizer_config.json", Json(json => WriteConfiguration(json, tokens.Count))),
            KeyValuePair.Create("special_tokens_map.json", Json(json =>
            {
                WriteEnds(json);
                WriteRoles(json);
            })),
            KeyValuePair.Create("chat_template.jinja", Template),
        ];
    }

    /// <summary>
    /// The tokens in the order of their numbers, without the added ones, and the merges: each word is put together from
    /// its beginning, one with a space before it last.
    /// </summary>
    private static (List<string> Tokens, List<(string Left, string Right)> Merges) Vocabulary()
    {
        List<string> tokens = [
            .. Enumerable.Range(0, 256).Select(value => ByteAlphabet.CharacterOf((byte)value).ToString())];
        var merges = new List<(string, string)>();
        foreach (string word in s_words)
        {
            string spelled = string.Concat(Encoding.UTF8.GetBytes(word).Select(ByteAlphabet.CharacterOf));
            if (word[0] == ' ')
                Merge(spelled[..1], spelled[1..]);
            else
                for (int length = 1; length < spelled.Length; length++)
                    Merge(spelled[..length], spelled[length].ToString());
        }

        return (tokens, merges);

        void Merge(string left, string right)
        {
            if (tokens.Contains(left + right))
                return;
            tokens.Add(left + right);
            merges.Add((left, right));
        }
    }

    private static void WriteTokenizer(Utf8JsonWriter json, List<string> tokens, List<(string Left, string Right)> merges)
    {
        json.WriteString("version", "1.0");
        json.WriteNull("truncation");
        json.WriteNull("padding");
        json.WriteStartArray("added_tokens");
        for (int index = 0; index < s_added.Length; index++)
        {
            json.WriteStartObject();
            json.WriteNumber("id", tokens.Count + index);
            WriteAdded(json, s_added[index]);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartObject("normalizer");
        json.WriteString("type", "NFC");
        json.WriteEndObject();
        json.WriteStartObject("pre_tokenizer");
        json.WriteString("type", "Sequence");
        json.WriteStartArray("pretokenizers");
        json.WriteStartObject();
        json.WriteString("type", "Split");
        json.WriteStartObject("pattern");
        json.WriteString("Regex", QwenPieces.Pattern);
        json.WriteEndObject();
        json.WriteString("behavior", "Isolated");
        json.WriteBoolean("invert", false);
        json.WriteEndObject();
        json.WriteStartObject();
        WriteByteLevel(json);
        json.WriteEndObject();
        json.WriteEndArray();
        json.WriteEndObject();
        foreach (string part in (ReadOnlySpan<string>)["post_processor", "decoder"])
        {
            json.WriteStartObject(part);
            WriteByteLevel(json);
            json.WriteEndObject();
        }

        json.WriteStartObject("model");
        json.WriteString("type", "BPE");
        json.WriteNull("dropout");
        json.WriteNull("unk_token");
        json.WriteString("continuing_subword_prefix", "");
        json.WriteString("end_of_word_suffix", "");
        json.WriteBoolean("fuse_unk", false);
        json.WriteBoolean("byte_fallback", false);
        json.WriteBoolean("ignore_merges", false);
        json.WriteStartObject("vocab");
        for (int id = 0; id < tokens.Count; id++)
            json.WriteNumber(tokens[id], id);
        json.WriteEndObject();
        json.WriteStartArray("merges");
        foreach ((string left, string right) in merges)
        {
            json.WriteStartArray();
            json.WriteStringValue(left);
            json.WriteStringValue(right);
            json.WriteEndArray();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteByteLevel(Utf8JsonWriter json)
    {
        json.WriteString("type", "ByteLevel");
        json.WriteBoolean("add_prefix_space", false);
        json.WriteBoolean("trim_offsets", false);
        json.WriteBoolean("use_regex", false);
    }

    private static void WriteConfiguration(Utf8JsonWriter json, int firstAdded)
    {
        json.WriteBoolean("add_bos_token", false);
        json.WriteBoolean("add_prefix_space", false);
        json.WriteStartObject("added_tokens_decoder");
        for (int index = 0; index < s_added.Length; index++)
        {
            json.WriteStartObject((firstAdded + index).ToString(System.Globalization.CultureInfo.InvariantCulture));
            WriteAdded(json, s_added[index]);
            json.WriteEndObject();
        }

        json.WriteEndObject();
        json.WriteNull("bos_token");
        json.WriteString("chat_template", Template);
        json.WriteBoolean("clean_up_tokenization_spaces", false);
        WriteEnds(json);
        json.WriteString("errors", "replace");
        json.WriteStartObject("extra_special_tokens");
        WriteRoles(json);
        json.WriteEndObject();
        json.WriteNumber("model_max_length", MaximumTokens);
        json.WriteString("processor_class", "InternVLProcessor");
        json.WriteBoolean("return_token_type_ids", false);
        json.WriteBoolean("split_special_tokens", false);
        json.WriteString("tokenizer_class", "Qwen2Tokenizer");
        json.WriteNull("unk_token");
    }

    private static void WriteAdded(Utf8JsonWriter json, (string Content, bool IsSpecial) token)
    {
        json.WriteString("content", token.Content);
        json.WriteBoolean("single_word", false);
        json.WriteBoolean("lstrip", false);
        json.WriteBoolean("rstrip", false);
        json.WriteBoolean("normalized", false);
        json.WriteBoolean("special", token.IsSpecial);
    }

    private static void WriteEnds(Utf8JsonWriter json)
    {
        json.WriteString("eos_token", SpecialTokens.TurnEnd);
        json.WriteString("pad_token", SpecialTokens.TextEnd);
    }

    private static void WriteRoles(Utf8JsonWriter json)
    {
        foreach ((string role, string token) in s_roles)
            json.WriteString(role, token);
    }

    private static string Json(Action<Utf8JsonWriter> write)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer,
            new JsonWriterOptions { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.ToArray());
    }
}
