using Skylight.Chat;
using Skylight.Models;
using Skylight.Tests.Chat;
using Skylight.Text;
using Skylight.Training;
using Skylight.Training.Objectives;

namespace Skylight.Tests.Training;

public sealed class SampleBuilderTests
{
    private static readonly ModelConfiguration s_configuration = ModelFamily.Configuration("tiny");

    private static ITokenizer Tokenizer => Skylight.Tests.Text.TokenizerFixture.Real;

    [Theory]
    [InlineData("internvl2_5", "It is 4.", "It is 4.<|im_end|>")]
    [InlineData("internvl2_5", "\nIt is 4.", "\nIt is 4.<|im_end|>")]
    [InlineData("internvl2_5", "<think>\n2+2\n</think>\n\n4", "<think>\n2+2\n</think>\n\n4<|im_end|>")]
    [InlineData("r1v3", "<think>\n2+2\n</think>\n\n4", "2+2\n</think>\n\n4<|im_end|>")]
    [InlineData("r1v3", "2+2\n</think>\n\n4", "2+2\n</think>\n\n4<|im_end|>")]
    [InlineData("r1v3-no-think", "4 <|im_end|>", "4 <|im_end|><|im_end|>")]
    public async Task A_sample_is_the_prompt_and_what_the_model_is_to_write_after_it(string template, string answer,
        string learnt)
    {
        CancellationToken cancellation = TestContext.Current.CancellationToken;
        var builder = new SampleBuilder(s_configuration, Tokenizer, ChatTemplate.Named(template));
        Message question = Message.User("What is 2+2?", ImagePart.FromRgb(TinyChatModel.Picture(1)));
        TrainingSample sample = await builder.SampleAsync([question, Message.Assistant(answer)], cancellation);
        PreparedPrompt prompt = await builder.PromptAsync([question], cancellation);
        Assert.Equal(prompt.Sequence.Tokens, sample.Sequence.Tokens[..sample.CompletionStart]);
        Assert.Equal(learnt, Tokenizer.Decode(sample.Sequence.Tokens.AsSpan(sample.CompletionStart)));
        Assert.All(sample.Weights, weight => Assert.Equal(1, weight));
        Assert.Equal(Tokenizer.RequiredTokenId(SpecialTokens.TurnEnd), sample.Sequence.Tokens[^1]);
        Assert.Equal(prompt.Sequence.Images.Select(tile => tile.Pixels), sample.Sequence.Images.Select(tile => tile.Pixels));

        // The same code as for a model that is served.
        using ChatModel chat = TinyChatModel.Create(
            new ChatModelOptions { CacheTokens = 8192, Template = ChatTemplate.Named(template) });
        Assert.Equal((await chat.PrepareAsync([question], cancellationToken: cancellation)).Sequence.Tokens,
            prompt.Sequence.Tokens);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task All_answers_of_a_conversation_are_learnt_and_nothing_between_them(bool lastOnly)
    {
        var builder = new SampleBuilder(s_configuration, Tokenizer) { LastAnswerOnly = lastOnly };
        TrainingSample sample = await builder.SampleAsync(
            [
                Message.User("First?", ImagePart.FromRgb(TinyChatModel.Picture(1))),
                Message.Assistant("<think>\nhm\n</think>\n\nA cat."),
                Message.User("And this?", ImagePart.FromRgb(TinyChatModel.Picture(2))), Message.Assistant("A dog."),
            ],
            TestContext.Current.CancellationToken);
        var learnt = new List<string>();
        for (int token = 0, start = -1; token <= sample.Weights.Length; token++)
        {
            bool isLearnt = token < sample.Weights.Length && sample.Weights[token] == 1;
            if (isLearnt && start < 0)
                start = token;
            if (isLearnt || start < 0)
                continue;
            learnt.Add(Tokenizer.Decode(sample.Sequence.Tokens.AsSpan(sample.CompletionStart + start, token - start)));
            start = -1;
        }

        Assert.Equal(lastOnly ? ["A dog.<|im_end|>"] : ["A cat.<|im_end|>", "A dog.<|im_end|>"], learnt);
        Assert.Equal(2, sample.Sequence.Images.Count);

        // And the loss is that of those tokens.
        using var model = new VisionLanguageModel(
            s_configuration with { ImageTokenId = Tokenizer.RequiredTokenId(SpecialTokens.ImageContext) },
            new Skylight.Cpu.CpuDevice());
        model.Initialize(3);
        using var trainer = new ModelTrainer(model, TrainableModules.Connector);
        TrainingSample weighted = SampleBuilder.WithMeanWeights([sample])[0];
        BatchResult result = trainer.AccumulateGradients([weighted], new CrossEntropyObjective(),
            TestContext.Current.CancellationToken);
        double expected = result.LogProbabilities[0].Zip(sample.Weights).Where(pair => pair.Second == 1)
            .Average(pair => -(double)pair.First);
        Assert.Equal(expected, result.Loss, 1e-4);
        Assert.True(trainer.Step(0) > 0);
    }

    [Fact]
    public async Task Conversations_from_which_nothing_can_be_learnt_are_refused()
    {
        var builder = new SampleBuilder(s_configuration, Tokenizer, ChatTemplate.SkyworkThinking);
        Assert.Contains("must end with the assistant's turn",
            await Refused<ArgumentException>(builder, Message.User("a")), StringComparison.Ordinal);
        string message = await Refused<ArgumentException>(builder, Message.User("a"), Message.Assistant("4"));
        Assert.Contains("turn 1", message, StringComparison.Ordinal);
        Assert.Contains("no </think>", message, StringComparison.Ordinal);
        Assert.Contains("picture",
            await Refused<ArgumentException>(builder,
                new Message(ChatRole.Assistant, [ImagePart.FromRgb(TinyChatModel.Picture(1))])), StringComparison.Ordinal);
        var small = new SampleBuilder(new ConversationEncoder(s_configuration, Tokenizer,
            ChatTemplate.InternVLWithoutSystem)
        { MaximumTokens = 40 });
        message = await Refused<ContextLengthException>(small, Message.User("a"),
            Message.Assistant(string.Concat(Enumerable.Repeat("word ", 50))));
        Assert.Contains("40", message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => SampleBuilder.WithMeanWeights([]));

        static async Task<string> Refused<TException>(SampleBuilder builder, params Message[] messages)
            where TException : Exception =>
            (await Assert.ThrowsAnyAsync<TException>(
                () => builder.SampleAsync(messages, TestContext.Current.CancellationToken))).Message;
    }
}
