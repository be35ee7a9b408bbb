using Skylight.Chat;
using Skylight.Generation;
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
        var drawn = new GenerationOptions { Seed = 3, MaxOutputTokens = 12 };
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
            MaxOutputTokens = 3,
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
        var ends = new GenerationOptions { MaxOutputTokens = 6, LogitBias = new Dictionary<int, float> { [end] = 1e6f } };
        var defaults = new GenerationDefaults { MinOutputTokens = 3 };
        Assert.Equal((FinishReason.Stop, 4), await EndAsync(defaults, ends));
        Assert.Equal((FinishReason.Stop, 1), await EndAsync(defaults, ends with { MinOutputTokens = 0 }));
        Assert.Equal((FinishReason.Length, 2), await EndAsync(defaults, ends with { MaxOutputTokens = 2 }));
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
    [InlineData("the", 0, " ", 1, FinishReason.StopSequence)]
    [InlineData("the", 2, " the the ", 3, FinishReason.StopSequence)]
    [InlineData("the", 5, " the the the the the ", 6, FinishReason.StopSequence)]
    [InlineData("the", 6, " the the the the the the", 6, FinishReason.Length)]
    // It begins in the second token and ends in the third.
    [InlineData("the the", 2, " the ", 3, FinishReason.StopSequence)]
    [InlineData("he the the", 0, " t", 3, FinishReason.StopSequence)]
    [InlineData("he the the", 3, " the t", 4, FinishReason.StopSequence)]
    public async Task Stop_texts_do_not_end_an_answer_before_its_fewest_tokens(string stop, int fewest, string text,
        int tokens, FinishReason end)
    {
        await using ChatModel model = TinyChatModel.Create();
        int word = Assert.Single(model.Tokenizer.Encode(" the"));
        var options = new GenerationOptions
        {
            MaxOutputTokens = 6,
            MinOutputTokens = fewest,
            StopSequences = [stop],
            LogitBias = new Dictionary<int, float> { [word] = 1e6f },
        };
        ChatAnswer answer = await model.CompleteAsync(s_messages, options, TestContext.Current.CancellationToken);
        Assert.Equal((text, tokens, end), (answer.Answer, answer.Usage.CompletionTokens, answer.FinishReason));
    }

    private static async Task<string> AnswerAsync(GenerationDefaults defaults, GenerationOptions options) =>
        (await CompleteAsync(defaults, options)).Answer;

    private static async Task<(FinishReason End, int Tokens)> EndAsync(GenerationDefaults defaults,
        GenerationOptions options)
    {
        ChatAnswer answer = await CompleteAsync(defaults, options);
        return (answer.FinishReason, answer.Usage.CompletionTokens);
    }

    private static async Task<ChatAnswer> CompleteAsync(GenerationDefaults defaults, GenerationOptions options)
    {
        await using ChatModel model = TinyChatModel.Create(change: configuration =>
            configuration with { Generation = defaults });
        return await model.CompleteAsync(s_messages, options, TestContext.Current.CancellationToken);
    }
}
