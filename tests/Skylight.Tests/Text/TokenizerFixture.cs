using System.Text;
using System.Text.Json.Nodes;
using Skylight.Text;

namespace Skylight.Tests.Text;

/// <summary>The tokenizer of the model family, and files of small ones.</summary>
internal static class TokenizerFixture
{
    private static readonly Lazy<BytePairTokenizer> LazyReal = new(() => BytePairTokenizer.Load(RealPath));
    private static readonly Lazy<byte[]> LazyJson = new(() => File.ReadAllBytes(RealPath));

    /// <summary>The file of Qwen2.5's tokenizer with InternVL3's added tokens.</summary>
    public static string RealPath => Golden.PathOf("tokenizer/tokenizer.json");

    /// <summary>Qwen2.5's tokenizer with InternVL3's added tokens.</summary>
    public static BytePairTokenizer Real => LazyReal.Value;

    /// <summary>Its tokenizer.json.</summary>
    public static byte[] RealJson => LazyJson.Value;

    /// <summary>
    /// A correct tokenizer.json with the 256 bytes, "ab", "abc" and "bc", and two added tokens; to be spoilt.
    /// </summary>
    public static JsonObject Small()
    {
        var vocabulary = new JsonObject();
        for (int value = 0; value < 256; value++)
            vocabulary.Add(ByteAlphabet.CharacterOf((byte)value).ToString(), value);
        foreach (string token in (string[])["bc", "ab", "abc"])
            vocabulary.Add(token, vocabulary.Count);
        return new JsonObject
        {
            ["version"] = "1.0",
            ["truncation"] = null,
            ["added_tokens"] = new JsonArray(Added(259, "<|im_end|>"), Added(260, "<tool>", special: false)),
            ["normalizer"] = new JsonObject { ["type"] = "NFC" },
            ["pre_tokenizer"] = new JsonObject
            {
                ["type"] = "Sequence",
                ["pretokenizers"] = new JsonArray(
                    new JsonObject
                    {
                        ["type"] = "Split",
                        ["pattern"] = new JsonObject { ["Regex"] = QwenPieces.Pattern },
                        ["behavior"] = "Isolated",
                        ["invert"] = false,
                    },
                    new JsonObject
                    {
                        ["type"] = "ByteLevel",
                        ["add_prefix_space"] = false,
                        ["trim_offsets"] = false,
                        ["use_regex"] = false,
                    }),
            },
            ["post_processor"] = null,
            ["decoder"] = new JsonObject { ["type"] = "ByteLevel", ["add_prefix_space"] = true, ["use_regex"] = true },
            ["model"] = new JsonObject
            {
                ["type"] = "BPE",
                ["dropout"] = null,
                ["unk_token"] = null,
                ["vocab"] = vocabulary,
                ["merges"] = new JsonArray("b c", "a b", "ab c"),
            },
        };
    }

    public static JsonObject Added(int id, string content, bool special = true, bool normalized = false,
        bool left = false, bool right = false, bool word = false) => new()
        {
            ["id"] = id,
            ["content"] = content,
            ["single_word"] = word,
            ["lstrip"] = left,
            ["rstrip"] = right,
            ["normalized"] = normalized,
            ["special"] = special,
        };

    public static BytePairTokenizer Load(JsonObject json) => LoadText(json.ToJsonString());

    public static BytePairTokenizer LoadText(string json) => LoadBytes(Encoding.UTF8.GetBytes(json));

    public static BytePairTokenizer LoadBytes(byte[] json) => InFolder(folder =>
    {
        string file = Path.Combine(folder, "tokenizer.json");
        File.WriteAllBytes(file, json);
        return BytePairTokenizer.Load(file);
    });

    /// <summary>Does something in a folder that is gone afterwards.</summary>
    public static T InFolder<T>(Func<string, T> use)
    {
        using var folder = new TemporaryFolder();
        return use(folder.Path);
    }

    /// <summary>
    /// Text of all kinds: words, code, digits, Chinese, Arabic, emoji, marks, jamo, white space, special tokens, rarely
    /// a lone surrogate.
    /// </summary>
    public static string RandomText(Random random, int pieces, bool loneSurrogates = false)
    {
        string[] words = ["the", " of", "'s", "'LL", "Ing", "你好", "世界，", "الله", "नमस्ते", "дом", "\r\n", "\n\n", "  ",
            "\t", " \u3000", "\u00A0", "e\u0301", "\u1100\u1161\u11A8",
            "<|im_end|>", "<img>", "</think>", "𝟘", "𐐀", "🙂", "👩‍👩‍👧", "x = y[0];", "!!", "'", "12345", "½", "ſ",
            "\u0323\u0307", "ﬁ", "\0", "\u0085", "\u200B", "Å"];
        var text = new StringBuilder();
        for (int i = 0; i < pieces; i++)
        {
            int kind = random.Next(10);
            if (kind < 5)
                text.Append(words[random.Next(words.Length)]);
            else if (kind < 8)
                text.Append((char)random.Next(0x20, 0x7F));
            else if (kind < 9)
                text.Append(new Rune(RandomScalar(random)).ToString());
            else if (loneSurrogates)
                text.Append((char)random.Next(0xD800, 0xE000));
        }

        return text.ToString();
    }

    private static int RandomScalar(Random random)
    {
        int value = random.Next(2) == 0 ? random.Next(0x3000) : random.Next(0x110000 - 0x800);
        return value >= 0xD800 ? value + 0x800 : value;
    }
}
