using System.Text;
using System.Text.Json.Nodes;
using Skylight.Text;

namespace Skylight.Tests.Text;

/// <summary>What a damaged or unsupported tokenizer is told.</summary>
public class TokenizerFileTests
{
    public static TheoryData<string, string> Spoilt => new()
    {
        { "model.type=WordPiece", "'model.type' is 'WordPiece'; supported: 'BPE'" },
        { "model.type=", "'model.type' is missing" },
        { "model=", "'model' is missing" },
        { "model=5", "'model' is such a number" },
        { "model.vocab=", "'model.vocab' is missing" },
        { "model.merges=", "'model.merges' is missing" },
        { "model.vocab=[]", "'model.vocab' is a list" },
        { "model.merges={}", "'model.merges' is an object" },
        { "model.merges=[]", "'model.merges' is empty" },
        { "model.merges=[\"a b\",\"a zz\"]", "'model.merges[1]' needs the token 'zz'" },
        { "model.merges=[\"a c\"]", "'model.merges[0]' needs the token 'ac'" },
        { "model.merges=[\"ab\"]", "'model.merges[0]' is 'ab'" },
        { "model.merges=[\"a b c\"]", "'model.merges[0]' is 'a b c'" },
        { "model.merges=[[\"a\"]]", "'model.merges[0]' is not supported" },
        { "model.merges=[[\"a\",\"b\",\"c\"]]", "'model.merges[0]' is not supported" },
        { "model.merges=[7]", "'model.merges[0]' is not supported" },
        { "model.vocab.x=", "no token for the byte 0x78 ('x')" },
        { "model.vocab.zz=3", "'model.vocab' gives 3 to both" },
        { "model.vocab.zz=-1", "the token 'zz' such a number" },
        { "model.vocab.zz=1.5", "the token 'zz' such a number" },
        { "model.vocab.zz=99999999", "a whole number from 0 to" },
        { "model.vocab.zz=\"4\"", "the token 'zz' a string" },
        { "model.dropout=0.1", "'model.dropout' is 0.1" },
        { "model.byte_fallback=true", "'model.byte_fallback' is true" },
        { "model.ignore_merges=true", "'model.ignore_merges' is true" },
        { "model.end_of_word_suffix=\"@@\"", "'model.end_of_word_suffix' is \"@@\"" },
        { "model.continuing_subword_prefix=\"##\"", "'model.continuing_subword_prefix'" },
        { "normalizer.type=\"NFKC\"", "'normalizer.type' is 'NFKC'; supported: 'NFC'" },
        { "normalizer=7", "'normalizer.type' is missing" },
        { "pre_tokenizer=", "'pre_tokenizer' is missing" },
        { "pre_tokenizer.type=\"Whitespace\"", "'pre_tokenizer.type' is 'Whitespace'" },
        { "pre_tokenizer.pretokenizers=[]", "'pre_tokenizer.pretokenizers' is ''; supported: 'Split, ByteLevel'" },
        { "pre_tokenizer.pretokenizers=3", "'pre_tokenizer.pretokenizers' is missing or no list" },
        { "pre_tokenizer.pretokenizers.0.behavior=\"Removed\"", "'pre_tokenizer.pretokenizers[0].behavior' is 'Removed'" },
        { "pre_tokenizer.pretokenizers.0.invert=true", "'pre_tokenizer.pretokenizers[0].invert' is true" },
        { "pre_tokenizer.pretokenizers.0.pattern={\"String\":\" \"}", "'pre_tokenizer.pretokenizers[0].pattern' must be" },
        { "pre_tokenizer.pretokenizers.0.pattern={\"Regex\":\"(\"}", "a regular expression that is not understood" },
        { "pre_tokenizer.pretokenizers.1.add_prefix_space=true",
            "'pre_tokenizer.pretokenizers[1].add_prefix_space' is true" },
        { "pre_tokenizer.pretokenizers.1.use_regex=true", "'pre_tokenizer.pretokenizers[1].use_regex' is true" },
        { "post_processor={\"type\":\"TemplateProcessing\"}", "'post_processor.type' is 'TemplateProcessing'" },
        { "decoder=", "'decoder' is missing" },
        { "decoder.type=\"Metaspace\"", "'decoder.type' is 'Metaspace'" },
        { "added_tokens=3", "'added_tokens' is 3" },
        { "added_tokens.0.content=", "'added_tokens[0].content' is missing" },
        { "added_tokens.0.content=\"\"", "'added_tokens[0].content' is empty" },
        { "added_tokens.0.content=5", "'added_tokens[0].content' is 5" },
        { "added_tokens.1.id=", "'added_tokens[1].id' is missing" },
        { "added_tokens.1.id=\"x\"", "'added_tokens[1].id' is \"x\"" },
        { "added_tokens.1.id=-4", "'added_tokens[1].id' is -4" },
        { "added_tokens.1.id=2000000000", "'added_tokens[1].id' is 2000000000" },
        { "added_tokens.1.id=259", "'added_tokens' gives 259 to both '<|im_end|>' and '<tool>'" },
        { "added_tokens.1.id=5", "'added_tokens' gives 5 to '<tool>', and the vocabulary gives it to" },
        { "added_tokens.1.content=\"<|im_end|>\"", "'added_tokens' gives '<|im_end|>' twice" },
        { "added_tokens.1.content=\"abc\"", "'added_tokens' gives 'abc' the number 260, and the vocabulary gives it 258" },
        { "added_tokens.1.special=\"yes\"", "'added_tokens[1].special' is \"yes\"" },
    };

    [Theory]
    [MemberData(nameof(Spoilt))]
    public void What_is_wrong_is_named(string change, string expected)
    {
        JsonObject json = TokenizerFixture.Small();
        int equals = change.IndexOf('=');
        Set(json, change[..equals].Split('.'), change[(equals + 1)..]);
        var error = Assert.Throws<TokenizerException>(() => TokenizerFixture.Load(json));
        Assert.Contains(expected, error.Message);
        Assert.EndsWith("tokenizer.json", error.File);
        Assert.StartsWith(error.File!, error.Message);
    }

    [Fact]
    public void Every_truncation_is_an_error()
    {
        byte[] json = Encoding.UTF8.GetBytes(TokenizerFixture.Small().ToJsonString());
        for (int length = 0; length < json.Length; length += length < json.Length - 100 ? 37 : 1)
            Assert.Throws<TokenizerException>(() => TokenizerFixture.LoadBytes(json[..length]));
    }

    [Fact]
    public void A_changed_byte_loads_or_is_an_error()
    {
        byte[] json = Encoding.UTF8.GetBytes(TokenizerFixture.Small().ToJsonString());
        var random = new Random(4);
        for (int i = 0; i < 1500; i++)
        {
            byte[] changed = [.. json];
            changed[random.Next(json.Length)] = (byte)random.Next(256);
            try
            {
                BytePairTokenizer tokenizer = TokenizerFixture.LoadBytes(changed);
                Assert.NotNull(tokenizer.Decode(tokenizer.Encode("abc abc <|im_end|>", allowSpecial: true)));
            }
            catch (TokenizerException)
            {
                // Said what is wrong.
            }
        }
    }

    [Theory]
    [InlineData("", "not valid JSON")]
    [InlineData("[]", "must hold a JSON object")]
    [InlineData("{} {}", "not valid JSON")]
    [InlineData("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"\\ud800\":1}}}", "half of a surrogate pair")]
    [InlineData("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git-lfs pointer")]
    public void What_is_no_tokenizer_is_said(string content, string expected) =>
        Assert.Contains(expected, Assert.Throws<TokenizerException>(() => TokenizerFixture.LoadText(content)).Message);

    public static TheoryData<string, string> DamagedFiles => new(
        from name in (string[])["tokenizer.json", "vocab.json", "tokenizer_config.json",
            "added_tokens.json"]
        from kind in DamagedJson.Kinds
        select (name, kind));

    [Theory]
    [MemberData(nameof(DamagedFiles))]
    public void A_damaged_file_is_named_in_plain_words(string name, string kind)
    {
        string message = Fails(folder =>
        {
            string json = name == "tokenizer.json" ? TokenizerFixture.Small().ToJsonString() : WriteOld(folder, name);
            File.WriteAllBytes(Path.Combine(folder, name), DamagedJson.Damage(kind, json));
        });
        Assert.Contains(name, message);
        PlainWords.Check(message);
    }

    [Theory]
    [InlineData("UTF-16")]
    [InlineData("Latin-1")]
    public void Merges_in_another_encoding_are_refused(string encoding)
    {
        string message = Fails(folder =>
        {
            WriteOld(folder, "merges.txt");
            const string Merges = "#version: 0.2\na é\n";
            File.WriteAllBytes(Path.Combine(folder, "merges.txt"), encoding == "UTF-16"
                ? System.Text.Encoding.Unicode.GetBytes(Merges) : System.Text.Encoding.Latin1.GetBytes(Merges));
        });
        Assert.Contains(encoding == "UTF-16" ? "from line 1 on" : "line 2, byte 3 is 0xE9", message);
        Assert.Contains("merges.txt", message);
    }

    [Theory]
    [InlineData("\"post_processor\":", "\"post_processor\":null,\"post_processor\":", "'post_processor' is there twice")]
    [InlineData("\"normalizer\":", "\"normalizer\":null,\"normalizer\":", "'normalizer' is there twice")]
    [InlineData("\"merges\":", "\"merges\":[],\"merges\":", "'model.merges' is there twice")]
    [InlineData("\"behavior\":", "\"behavior\":\"Removed\",\"behavior\":", "'behavior' is there twice")]
    [InlineData("\"id\":259", "\"id\":1e400", "'added_tokens[0].id'")]
    [InlineData("\"bc\":256", "\"bc\":1e400", "'model.vocab'")]
    public void A_member_that_is_there_twice_or_out_of_range_is_named(string member, string instead, string expected)
    {
        string json = TokenizerFixture.Small().ToJsonString(), changed = json.Replace(member, instead);
        Assert.NotEqual(json, changed);
        string message = Assert.Throws<TokenizerException>(() => TokenizerFixture.LoadText(changed)).Message;
        Assert.Contains(expected, message);
        PlainWords.Check(message);
    }

    /// <summary>The files of the older form.</summary>
    /// <returns>The content of one of them.</returns>
    private static string WriteOld(string folder, string wanted)
    {
        var files = new Dictionary<string, string>
        {
            ["vocab.json"] = TokenizerFixture.Small()["model"]!["vocab"]!.ToJsonString(),
            ["merges.txt"] = "#version: 0.2\nb c\na b\nab c\n",
            ["tokenizer_config.json"] = "{\"tokenizer_class\":\"Qwen2Tokenizer\"}",
            ["added_tokens.json"] = "{\"<|im_end|>\":259}",
        };
        foreach ((string name, string content) in files)
            File.WriteAllText(Path.Combine(folder, name), content);
        return files[wanted];
    }

    [Fact]
    public void A_repeated_token_is_named()
    {
        string json = TokenizerFixture.Small().ToJsonString().Replace("\"bc\":256", "\"bc\":256,\"bc\":777");
        Assert.Contains("gives the token 'bc' twice",
            Assert.Throws<TokenizerException>(() => TokenizerFixture.LoadText(json)).Message);
    }

    [Fact]
    public void Missing_files_are_named()
    {
        Assert.Contains("tokenizer.json", Fails(_ => { }));
        Assert.Contains("tokenizer_config.json: is missing",
            Fails(folder => File.WriteAllText(Path.Combine(folder, "vocab.json"), "{}")));
        Assert.Contains("'tokenizer_class' is 'LlamaTokenizer'", Fails(folder =>
        {
            File.WriteAllText(Path.Combine(folder, "vocab.json"), "{}");
            File.WriteAllText(Path.Combine(folder, "tokenizer_config.json"), "{\"tokenizer_class\":\"LlamaTokenizer\"}");
        }));
        Assert.Contains("merges.txt: cannot be read", Fails(folder =>
        {
            File.WriteAllText(Path.Combine(folder, "vocab.json"), "{}");
            File.WriteAllText(Path.Combine(folder, "tokenizer_config.json"), "{\"tokenizer_class\":\"Qwen2Tokenizer\"}");
            File.WriteAllText(Path.Combine(folder, "added_tokens.json"), "{\"<|im_end|>\":5}");
        }));
        Assert.Contains("is missing",
            Assert.Throws<TokenizerException>(() => BytePairTokenizer.Load("no/such/tokenizer.json")).Message);
    }

    [Fact]
    public void Reading_can_be_stopped() => TokenizerFixture.InFolder(folder =>
    {
        File.WriteAllText(Path.Combine(folder, "tokenizer.json"), TokenizerFixture.Small().ToJsonString());
        return Assert.Throws<OperationCanceledException>(
            () => BytePairTokenizer.Load(folder, new CancellationToken(canceled: true)));
    });

    private static string Fails(Action<string> fill) => TokenizerFixture.InFolder(folder =>
    {
        fill(folder);
        return Assert.Throws<TokenizerException>(() => BytePairTokenizer.Load(folder)).Message;
    });

    private static void Set(JsonNode node, string[] path, string value)
    {
        foreach (string step in path[..^1])
            node = node is JsonArray list ? list[int.Parse(step)]! : node[step]!;
        if (value.Length == 0)
            node.AsObject().Remove(path[^1]);
        else
            node[path[^1]] = value[0] is >= 'A' and <= 'Z' ? value : JsonNode.Parse(value);
    }
}
