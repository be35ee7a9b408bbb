using System.Text.Json;
using Skylight.Models;
using Skylight.Text;

namespace Skylight.Tests.Text;

/// <summary>
/// The demo's tokenizer; <see cref="HuggingFaceTokenizerTests"/> holds its ids beside those of Hugging Face.
/// </summary>
public sealed class DemoTokenizerTests
{
    [Fact]
    public void It_is_the_tokenizer_of_the_demo_s_model()
    {
        using TemporaryFolder folder = Write();
        BytePairTokenizer tokenizer = BytePairTokenizer.Load(folder.Path);
        ModelConfiguration model = ModelFamily.Configuration(ModelFamily.Demo);
        Assert.Equal(model.Language.VocabularySize, tokenizer.VocabularySize);
        Assert.Equal(DemoTokenizer.MaximumTokens, model.Language.MaxPositions);
        Assert.Equal(model.ImageTokenId, tokenizer.TokenId(SpecialTokens.ImageContext));
        Assert.Equal([tokenizer.TokenId(SpecialTokens.TurnEnd)!.Value], model.StopTokenIds);
        Assert.Equal(model.StopTokenIds, model.Generation.StopTokenIds);
        Assert.Equal(tokenizer.TokenId(SpecialTokens.TextEnd), model.Generation.PaddingTokenId);
        tokenizer.EnsureFits(model.Language.VocabularySize, model.ImageTokenId);
    }

    [Fact]
    public void Words_of_the_demo_are_one_token_and_every_text_comes_back()
    {
        using TemporaryFolder folder = Write();
        BytePairTokenizer tokenizer = BytePairTokenizer.Load(folder.Path);
        foreach (string word in (string[])["assistant", "user", "system", "\\boxed", "digits", "sum", "diff", "larger",
            "smaller", "and", "Wait", " and", " Wait"])
            Assert.Equal(word, tokenizer.Decode([Assert.Single(tokenizer.Encode(word))]));
        Assert.Equal(13, tokenizer.Encode("\n7 and 5. 7+5=12").Length);
        Assert.Equal(["\\boxed", "{", "1", "2", "}"],
            tokenizer.Encode("\\boxed{12}").Select(token => tokenizer.Decode([token])));
        const string Text = "naïve 数学 🙂\r\n\t  assistants\0 \\boxed{½}";
        Assert.Equal(Text, tokenizer.Decode(tokenizer.Encode(Text)));

        // Who leaves out special tokens still sees the thinking.
        Assert.Equal("<think>a</think>b",
            tokenizer.Decode(tokenizer.Encode("<|im_start|><think>a</think>b<|im_end|>", allowSpecial: true),
                skipSpecial: true));
    }

    [Fact]
    public void The_other_files_name_its_tokens()
    {
        using TemporaryFolder folder = Write();
        BytePairTokenizer tokenizer = BytePairTokenizer.Load(folder.Path);
        using JsonDocument configuration = JsonDocument.Parse(File.ReadAllBytes(folder["tokenizer_config.json"])),
            map = JsonDocument.Parse(File.ReadAllBytes(folder["special_tokens_map.json"]));
        JsonElement added = configuration.RootElement.GetProperty("added_tokens_decoder");
        Assert.Equal(9, added.EnumerateObject().Count());
        foreach (JsonProperty token in added.EnumerateObject())
        {
            int id = int.Parse(token.Name, System.Globalization.CultureInfo.InvariantCulture);
            Assert.Equal(id, tokenizer.TokenId(token.Value.GetProperty("content").GetString()!));
            Assert.Equal(token.Value.GetProperty("special").GetBoolean(), tokenizer.IsSpecial(id));
        }

        // The names by which transformers' InternVLProcessor asks for them.
        foreach ((string role, string token) in (ReadOnlySpan<(string, string)>)[("start_image_token", "<img>"),
            ("end_image_token", "</img>"), ("context_image_token", "<IMG_CONTEXT>"), ("video_token", "<video>")])
        {
            Assert.NotNull(tokenizer.TokenId(token));
            Assert.Equal(token, configuration.RootElement.GetProperty("extra_special_tokens").GetProperty(role).GetString());
            Assert.Equal(token, map.RootElement.GetProperty(role).GetString());
        }

        Assert.Equal("<|im_end|>", configuration.RootElement.GetProperty("eos_token").GetString());
        Assert.Equal(File.ReadAllText(folder["chat_template.jinja"]),
            configuration.RootElement.GetProperty("chat_template").GetString());
    }

    private static TemporaryFolder Write()
    {
        var folder = new TemporaryFolder();
        foreach ((string name, string text) in DemoTokenizer.Files())
            folder.Write(name, text);
        return folder;
    }
}
