using System.Text;
using System.Text.Json;
using Skylight.Chat;
using Skylight.Checkpoints.Gguf;
using Skylight.Tests.Text;
using Skylight.Text;

namespace Skylight.Tests.Checkpoints.Gguf;

/// <summary>The tokenizer of a GGUF file beside the tokenizer.json that it was made of.</summary>
public class GgufTokenizerTests
{
    [Fact]
    public void Ids_and_decodings_are_those_of_tokenizer_json()
    {
        BytePairTokenizer ours = Load(Metadata(new GgufWriter()));
        using JsonDocument golden = JsonDocument.Parse(File.ReadAllBytes(Golden.PathOf("tokenizer/encodings.json")));
        int count = 0;
        foreach (JsonElement item in golden.RootElement.GetProperty("cases").EnumerateArray())
        {
            int[] tokens = [.. item.GetProperty("ids").EnumerateArray().Select(id => id.GetInt32())];
            string text = item.GetProperty("text").GetString()!;
            Assert.Equal(tokens, ours.Encode(text, allowSpecial: true));
            Assert.Equal(TokenizerFixture.Real.Encode(text), ours.Encode(text));
            Assert.Equal(item.GetProperty("decoded").GetString(), ours.Decode(tokens));
            Assert.Equal(item.GetProperty("decoded_skip_special").GetString(), ours.Decode(tokens, skipSpecial: true));
            count++;
        }

        Assert.Equal(300, count);
        Assert.Equal(TokenizerFixture.Real.VocabularySize, ours.VocabularySize);
        Assert.Equal(TokenizerFixture.Real.AddedTokens.Order(), ours.AddedTokens.Order());
        for (int token = 0; token < ours.VocabularySize; token++)
        {
            Assert.Equal(TokenizerFixture.Real.IsSpecial(token), ours.IsSpecial(token));
            Assert.True(TokenizerFixture.Real.TokenBytes(token).SequenceEqual(ours.TokenBytes(token)), $"token {token}");
        }
    }

    public static TheoryData<string, string> Damages => new()
    {
        { "model", "'tokenizer.ggml.model' is 'llama'; supported: 'gpt2'" },
        { "no model", "'tokenizer.ggml.model' is missing; supported: 'gpt2'" },
        { "pre", "'tokenizer.ggml.pre' is 'llama-bpe'; supported: 'qwen2'" },
        { "begin", "'tokenizer.ggml.add_bos_token' is true; supported: false" },
        { "no types", "'tokenizer.ggml.token_type' is missing" },
        { "no merges", "'tokenizer.ggml.merges' is missing" },
        { "few types", "'tokenizer.ggml.tokens' has 259 tokens and 'tokenizer.ggml.token_type' 258" },
        { "type", "'tokenizer.ggml.token_type[7]' is 6; supported: 1 (normal)" },
        { "twice", "'tokenizer.ggml.tokens' gives the token 'a' twice" },
        { "empty", "'tokenizer.ggml.tokens[3]' is empty" },
        { "not UTF-8", "'tokenizer.ggml.tokens[3]' is not UTF-8" },
        { "merge", "'tokenizer.ggml.merges[1]' needs the token 'zz'" },
        { "merge of one", "'tokenizer.ggml.merges[1]' is 'ab'; supported: two tokens with a space" },
        { "byte", "the vocabulary has no token for the byte 0x61" },
    };

    [Theory]
    [MemberData(nameof(Damages))]
    public void What_is_wrong_is_named(string damage, string message)
    {
        List<byte[]> tokens =
        [
            .. Enumerable.Range(0, 256).Select(value => Encoding.UTF8.GetBytes($"{ByteAlphabet.CharacterOf((byte)value)}")),
            "ab"u8.ToArray(), "<|im_end|>"u8.ToArray(), "[PAD258]"u8.ToArray(),
        ];
        List<int> types = [.. Enumerable.Repeat(1, 257), 3, 5];
        List<byte[]> merges = ["a b"u8.ToArray()];
        var writer = new GgufWriter();
        writer.Text("tokenizer.ggml.model", damage == "model" ? "llama" : "gpt2")
            .Text("tokenizer.ggml.pre", damage == "pre" ? "llama-bpe" : "qwen2")
            .Flag("tokenizer.ggml.add_bos_token", damage == "begin");
        switch (damage)
        {
            case "few types":
                types.RemoveAt(0);
                break;
            case "type":
                types[7] = 6;
                break;
            case "twice":
                tokens[256] = "a"u8.ToArray();
                break;
            case "empty":
                tokens[3] = [];
                break;
            case "not UTF-8":
                tokens[3] = [0xFF];
                break;
            case "merge":
                merges.Add("zz z"u8.ToArray());
                break;
            case "merge of one":
                merges.Add("ab"u8.ToArray());
                break;
            case "byte":
                tokens['a'] = "long"u8.ToArray();
                merges.Clear();
                break;
        }

        writer.Texts("tokenizer.ggml.tokens", tokens).Integers("tokenizer.ggml.token_type", types)
            .Texts("tokenizer.ggml.merges", merges);
        if (damage.StartsWith("no ", StringComparison.Ordinal))
            writer.Without($"tokenizer.ggml.{(damage == "no types" ? "token_type" : damage[3..])}");
        var error = Assert.Throws<TokenizerException>(() => Load(writer));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.EndsWith(".gguf", error.File, StringComparison.Ordinal);
    }

    /// <summary>The tokenizer of the model family as llama.cpp's converter writes it, with numbers that are not used.</summary>
    internal static GgufWriter Metadata(GgufWriter writer, int vocabularySize = 151_680)
    {
        using JsonDocument json = JsonDocument.Parse(TokenizerFixture.RealJson);
        byte[][] tokens = [.. Enumerable.Range(0, vocabularySize).Select(id => Encoding.UTF8.GetBytes($"[PAD{id}]"))];
        int[] types = [.. Enumerable.Repeat(5, vocabularySize)];
        foreach (JsonProperty token in json.RootElement.GetProperty("model").GetProperty("vocab").EnumerateObject())
            (tokens[token.Value.GetInt32()], types[token.Value.GetInt32()]) = (Encoding.UTF8.GetBytes(token.Name), 1);
        foreach (JsonElement token in json.RootElement.GetProperty("added_tokens").EnumerateArray())
        {
            int id = token.GetProperty("id").GetInt32();
            tokens[id] = Encoding.UTF8.GetBytes(token.GetProperty("content").GetString()!);
            types[id] = token.GetProperty("special").GetBoolean() ? 3 : 4;
        }

        return writer.Text("tokenizer.ggml.model", "gpt2").Text("tokenizer.ggml.pre", "qwen2")
            .Texts("tokenizer.ggml.tokens", tokens).Integers("tokenizer.ggml.token_type", types)
            .Texts("tokenizer.ggml.merges", json.RootElement.GetProperty("model").GetProperty("merges").EnumerateArray()
                .Select(merge => Encoding.UTF8.GetBytes(merge.ValueKind == JsonValueKind.String ? merge.GetString()!
                    : $"{merge[0].GetString()} {merge[1].GetString()}")))
            .Flag("tokenizer.ggml.add_bos_token", false);
    }

    private static BytePairTokenizer Load(GgufWriter writer)
    {
        using var folder = new TemporaryFolder();
        return GgufTokenizer.Load(folder.Write("x.gguf", writer.ToBytes()), CancellationToken.None);
    }
}
