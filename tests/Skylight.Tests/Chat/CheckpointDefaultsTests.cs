using Skylight.Chat;
using Skylight.Models;
using Skylight.Text;

namespace Skylight.Tests.Chat;

/// <summary>What the checkpoint proposes for answers, and what goes before it.</summary>
public sealed class CheckpointDefaultsTests
{
    private static readonly Message[] s_messages = [Message.User("Go on.")];

    [Fact]
    public async Task Min_p_is_used_when_the_checkpoint_samples()
    {
        var drawn = new GenerationOptions { Seed = 3, MaxNewTokens = 12 };
        string likeliest = await AnswerAsync(new GenerationDefaults(), drawn);
        // Only the likeliest token is as probable as the likeliest one.
        Assert.Equal(likeliest, await AnswerAsync(new GenerationDefaults { Sample = true, MinP = 1 }, drawn));
        Assert.NotEqual(likeliest, await AnswerAsync(new GenerationDefaults { Sample = true }, drawn));
        Assert.NotEqual(likeliest,
            await AnswerAsync(new GenerationDefaults { Sample = true, MinP = 1 }, drawn with { MinP = 0 }));
    }

    [Fact]
    public async Task Suppressed_tokens_are_never_written()
    {
        await using ChatModel model = TinyChatModel.Create();
        int word = Assert.Single(model.Tokenizer.Encode(" the")), other = Assert.Single(model.Tokenizer.Encode(" a"));
        var options = new GenerationOptions
        {
            MaxNewTokens = 3,
            LogitBias = new Dictionary<int, float> { [word] = 1e6f, [other] = 1e5f },
        };
        Assert.Equal(" the the the", await AnswerAsync(new GenerationDefaults(), options));
        Assert.Equal(" a a a",
            await AnswerAsync(new GenerationDefaults { SuppressedTokenIds = [-1, word, 1 << 24] }, options));
    }

    [Fact]
    public async Task The_fewest_tokens_are_used_and_give_way_to_what_is_asked_for()
    {
        await using ChatModel model = TinyChatModel.Create();
        int end = model.Tokenizer.RequiredTokenId(SpecialTokens.TurnEnd);
        var ends = new GenerationOptions { MaxNewTokens = 6, LogitBias = new Dictionary<int, float> { [end] = 1e6f } };
        var defaults = new GenerationDefaults { MinNewTokens = 3 };
        Assert.Equal((AnswerEnd.Stop, 4), await EndAsync(defaults, ends));
        Assert.Equal((AnswerEnd.Stop, 1), await EndAsync(defaults, ends with { MinNewTokens = 0 }));
        Assert.Equal((AnswerEnd.Length, 2), await EndAsync(defaults, ends with { MaxNewTokens = 2 }));
    }

    [Fact]
    public async Task What_is_not_used_is_told()
    {
        await using ChatModel model = TinyChatModel.Create(change: configuration =>
            configuration with { Warnings = ["generation_config.json says so."] });
        Assert.Equal(["generation_config.json says so."], model.Warnings);
    }

    [Theory]
    // " the the the the the the", looked through from the token after the fewest.
    [InlineData("the", 0, " ", 1, AnswerEnd.StopText)]
    [InlineData("the", 2, " the the ", 3, AnswerEnd.StopText)]
    [InlineData("the", 5, " the the the the the ", 6, AnswerEnd.StopText)]
    [InlineData("the", 6, " the the the the the the", 6, AnswerEnd.Length)]
    // It begins in the second token and ends in the third.
    [InlineData("the the", 2, " the ", 3, AnswerEnd.StopText)]
    [InlineData("he the the", 0, " t", 3, AnswerEnd.StopText)]
    [InlineData("he the the", 3, " the t", 4, AnswerEnd.StopText)]
    public async Task Stop_texts_do_not_end_an_answer_before_its_fewest_tokens(string stop, int fewest, string text,
        int tokens, AnswerEnd end)
    {
        await using ChatModel model = TinyChatModel.Create();
        int word = Assert.Single(model.Tokenizer.Encode(" the"));
        var options = new GenerationOptions
        {
            MaxNewTokens = 6,
            MinNewTokens = fewest,
            StopTexts = [stop],
            LogitBias = new Dictionary<int, float> { [word] = 1e6f },
        };
        ChatAnswer answer = await model.CompleteAsync(s_messages, options, TestContext.Current.CancellationToken);
        Assert.Equal((text, tokens, end), (answer.Answer, answer.Usage.CompletionTokens, answer.End));
    }

    private static async Task<string> AnswerAsync(GenerationDefaults defaults, GenerationOptions options) =>
        (await CompleteAsync(defaults, options)).Answer;

    private static async Task<(AnswerEnd End, int Tokens)> EndAsync(GenerationDefaults defaults, GenerationOptions options)
    {
        ChatAnswer answer = await CompleteAsync(defaults, options);
        return (answer.End, answer.Usage.CompletionTokens);
    }

    private static async Task<ChatAnswer> CompleteAsync(GenerationDefaults defaults, GenerationOptions options)
    {
        await using ChatModel model = TinyChatModel.Create(change: configuration =>
            configuration with { Generation = defaults });
        return await model.CompleteAsync(s_messages, options, TestContext.Current.CancellationToken);
    }
}
