using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Generation;
using Skylight.Images;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Tests.Generation;
using Skylight.Tests.Text;
using Skylight.Text;

namespace Skylight.Tests.Chat;

public sealed class ChatModelTests
{
    private static readonly GenerationOptions s_drawn = new() { Temperature = 1, Seed = 3, MaxOutputTokens = 24 };

    [Fact]
    public async Task A_folder_is_loaded_and_asked_about_a_photograph()
    {
        using var folder = new TemporaryFolder();
        string checkpoint = folder["tiny-model"];
        TinyChatModel.WriteCheckpoint(checkpoint);
        string tokenizer = Path.Combine(checkpoint, "tokenizer.json"), hidden = folder["hidden"];
        File.Move(tokenizer, hidden);
        await Assert.ThrowsAsync<TokenizerException>(
            () => ChatModel.LoadAsync(checkpoint, cancellationToken: TestContext.Current.CancellationToken));
        File.Move(hidden, tokenizer);
        var fractions = new List<float>();
        using ChatModel model = await ChatModel.LoadAsync(
            checkpoint, new ChatModelOptions { CacheTokens = 4096 }, new Listener(fractions.Add),
            TestContext.Current.CancellationToken);
        Assert.Equal("tiny-model", model.Name);
        Assert.Equal("internvl2_5", model.Template.Name);
        Assert.Equal(1f, fractions[^1]);
        Assert.Equal(fractions.Order(), fractions);
        string photograph = Repository.PathOf("tests", "Skylight.Tests", "Images", "samples", "cat.jpg");
        ChatAnswer answer = await model.CompleteAsync(
            [Message.User("What is in the picture?", ImagePart.FromFile(photograph))], s_drawn,
            TestContext.Current.CancellationToken);
        Assert.InRange(answer.Usage.CompletionTokens, 1, 24);
        Assert.Equal(0, answer.Usage.ImageTokens % 256);
        Assert.InRange(answer.Usage.PromptTokens - answer.Usage.ImageTokens, 20, 60);
    }

    [Fact]
    public async Task Streaming_gives_the_answer_in_pieces_with_its_tokens_and_usage()
    {
        await using ChatModel model = TinyChatModel.Create();
        Message[] messages = [Message.System("Be brief."),
            Message.User("Describe.", ImagePart.FromRgb(TinyChatModel.Picture(1)))];
        GenerationOptions options = s_drawn with { ReportTokens = true };
        ChatAnswer whole = await model.CompleteAsync(messages, options, TestContext.Current.CancellationToken);
        var updates = new List<GenerationUpdate>();
        await foreach (
            GenerationUpdate update in model.GenerateAsync(messages, options, TestContext.Current.CancellationToken))
            updates.Add(update);
        Assert.Equal(whole.Answer, string.Concat(updates.Select(update => update.Text)));
        Assert.Equal(whole.Tokens, updates.SelectMany(update => update.Tokens));
        Assert.True(updates.Count > 5);
        Assert.All(updates[..^1], update => Assert.True(update.FinishReason is null && update.Usage is null));
        Assert.Equal(model.Tokenizer.Decode([.. whole.Tokens.Select(token => token.Token)], skipSpecial: true),
            whole.Answer);
        Assert.All(whole.Tokens, token =>
            Assert.True(token.LogProbability <= 0 && token.Entropy >= 0 && token.Entropy <= Math.Log(151674) + 1e-3));
        Usage usage = updates[^1].Usage!;
        Assert.Equal((whole.Tokens.Count, 0, 256), (usage.CompletionTokens, usage.ThinkingTokens, usage.ImageTokens));
        Assert.True(usage.TimeToFirstToken > TimeSpan.Zero && usage.TimeToFirstToken <= usage.Duration);
        Assert.Equal(FinishReason.Length, updates[^1].FinishReason);
        await model.BetweenStepsAsync(engine => Assert.Equal(engine.PageCount, engine.FreePages));
    }

    [Fact]
    public async Task Pictures_words_and_their_order_make_a_difference_and_the_seed_makes_none_twice()
    {
        await using ChatModel model = TinyChatModel.Create();
        ImagePart first = ImagePart.FromRgb(TinyChatModel.Picture(1)), second = ImagePart.FromRgb(TinyChatModel.Picture(2));
        Message[][] conversations =
        [
            [Message.User("Compare.", first, second)],
            [Message.User("Compare.", second, first)],
            [Message.User("Compare.", first, first)],
            [Message.User("Compare.", first)],
            [Message.User("Compare.")],
            [Message.User("Contrast.")],
            [Message.User("Compare."), Message.Assistant("No."), Message.User("Compare.")],
            [new Message(ChatRole.User, [new TextPart("Compare."), first])],
        ];
        var answers = new List<string>();
        foreach (Message[] conversation in conversations)
        {
            ChatAnswer answer = await model.CompleteAsync(conversation, s_drawn, TestContext.Current.CancellationToken);
            Assert.Equal(answer.Answer,
                (await model.CompleteAsync(conversation, s_drawn, TestContext.Current.CancellationToken)).Answer);
            answers.Add(answer.Answer);
        }

        Assert.Equal(answers.Count, answers.Distinct().Count());
        Assert.NotEqual(answers[4],
            (await model.CompleteAsync(conversations[4], s_drawn with { Seed = 4 },
                TestContext.Current.CancellationToken)).Answer);
    }

    [Fact]
    public async Task Special_tokens_are_kept_when_asked_for()
    {
        await using ChatModel model = TinyChatModel.Create();
        Message[] messages = [Message.User("Where?")];
        GenerationOptions options = s_drawn with
        {
            MaxOutputTokens = 4,
            LogitBias = new Dictionary<int, float> { [model.Tokenizer.RequiredTokenId("<box>")] = 1e6f },
        };
        Assert.Equal("", (await model.CompleteAsync(messages, options, TestContext.Current.CancellationToken)).Answer);
        ChatAnswer kept = await model.CompleteAsync(messages, options with { SkipSpecialTokens = false },
            TestContext.Current.CancellationToken);
        Assert.Equal("<box><box><box><box>", kept.Answer);
    }

    [Fact]
    public async Task A_token_can_end_an_answer_or_not_and_not_before_it_has_its_fewest_tokens()
    {
        await using ChatModel model = TinyChatModel.Create();
        Message[] messages = [Message.User("Go on.")];
        int word = Assert.Single(model.Tokenizer.Encode(" the")),
            end = model.Tokenizer.RequiredTokenId(SpecialTokens.TurnEnd);
        GenerationOptions words = s_drawn with
        {
            MaxOutputTokens = 6,
            LogitBias = new Dictionary<int, float> { [word] = 1e6f },
        };
        Assert.Equal((" the the the the the the", FinishReason.Length, 6), await AnswerAsync(words));
        Assert.Equal(("", FinishReason.Stop, 1), await AnswerAsync(words with { StopTokenIds = [word] }));
        (string text, FinishReason reason, int tokens) = await AnswerAsync(
            words with { StopTokenIds = [word], MinOutputTokens = 3 });
        Assert.Equal((FinishReason.Stop, 4), (reason, tokens));
        Assert.DoesNotContain(" the", text, StringComparison.Ordinal);

        GenerationOptions ends = s_drawn with
        {
            MaxOutputTokens = 6,
            LogitBias = new Dictionary<int, float> { [end] = 1e6f },
        };
        Assert.Equal(("", FinishReason.Stop, 1), await AnswerAsync(ends with { SkipSpecialTokens = false }));
        Assert.Equal(("", FinishReason.Length, 6), await AnswerAsync(ends with { IgnoreEndOfSequence = true }));
        Assert.Equal((string.Concat(Enumerable.Repeat("<|im_end|>", 6)), FinishReason.Length, 6),
            await AnswerAsync(ends with { IgnoreEndOfSequence = true, SkipSpecialTokens = false }));
        Assert.Equal(("", FinishReason.Stop, 1),
            await AnswerAsync(ends with { IgnoreEndOfSequence = true, StopTokenIds = [end] }));
        (_, reason, tokens) = await AnswerAsync(ends with { MinOutputTokens = 2, RepetitionPenalty = 1.1f });
        Assert.Equal((FinishReason.Stop, 3), (reason, tokens));

        async Task<(string Text, FinishReason End, int Tokens)> AnswerAsync(GenerationOptions options)
        {
            ChatAnswer answer = await model.CompleteAsync(messages, options, TestContext.Current.CancellationToken);
            return (answer.Answer, answer.FinishReason, answer.Usage.CompletionTokens);
        }
    }

    [Theory]
    [InlineData(7, 6, new int[0], "from 0 to the most new tokens (6), not 7")]
    [InlineData(-1, 6, new int[0], "not -1")]
    [InlineData(0, 6, new[] { 5, -2 }, "number -2")]
    [InlineData(0, 6, new[] { 1 << 20 }, "outside the vocabulary")]
    [InlineData(20000, null, new int[0], "fewer than the 20000")]
    public async Task Ends_that_cannot_be_are_refused(int fewest, int? most, int[] stops, string message)
    {
        await using ChatModel model = TinyChatModel.Create();
        GenerationOptions options = s_drawn with { MinOutputTokens = fewest, MaxOutputTokens = most, StopTokenIds = stops };
        ArgumentException error = await Assert.ThrowsAnyAsync<ArgumentException>(
            () => model.CompleteAsync([Message.User("Go on.")], options, TestContext.Current.CancellationToken));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_model_that_thinks_begins_inside_the_think_block()
    {
        await using ChatModel model = TinyChatModel.Create(thinking: true);
        Message[] messages = [Message.User("Why?")];
        ChatAnswer thinking = await model.CompleteAsync(messages, s_drawn, TestContext.Current.CancellationToken);
        Assert.Equal("", thinking.Answer);
        Assert.NotEqual("", thinking.Thinking);
        Assert.Equal(thinking.Usage.CompletionTokens, thinking.Usage.ThinkingTokens);
        ChatAnswer direct = await model.CompleteAsync(messages, s_drawn with { Thinking = ThinkingMode.Off },
            TestContext.Current.CancellationToken);
        Assert.Equal("", direct.Thinking);
        Assert.Equal(0, direct.Usage.ThinkingTokens);
        Assert.True(direct.Usage.PromptTokens < thinking.Usage.PromptTokens);
    }

    [Fact]
    public async Task A_picture_is_encoded_once_for_all_turns()
    {
        await using ChatModel model = TinyChatModel.Create();
        byte[] file = await File.ReadAllBytesAsync(Repository.PathOf("tests", "Skylight.Tests", "Images", "samples",
            "gray.jpg"), TestContext.Current.CancellationToken);
        var messages = new List<Message> { Message.User("What is it?", ImagePart.FromBytes(file)) };
        long first = 0, last = 0;
        for (int turn = 0; turn < 3; turn++)
        {
            ChatAnswer answer = await model.CompleteAsync(messages, s_drawn with { MaxOutputTokens = 4, MaximumTiles = 4 },
                TestContext.Current.CancellationToken);
            messages.AddRange([Message.Assistant(answer.Answer), Message.User("And then?")]);
            await model.BetweenStepsAsync(engine => last = engine.EncodedImages);
            first = first == 0 ? last : first;
            if (turn == 1)
                break;
        }

        // Between steps weights may change, so the second turn had to encode it again; without that it would not.
        Assert.Equal(2 * first, last);
        await model.CompleteAsync(messages, s_drawn with { MaxOutputTokens = 4, MaximumTiles = 4 },
            TestContext.Current.CancellationToken);
        await model.CompleteAsync(messages, s_drawn with { MaxOutputTokens = 4, MaximumTiles = 4 },
            TestContext.Current.CancellationToken);
        await model.BetweenStepsAsync(engine => last = engine.EncodedImages);
        Assert.Equal(3 * first, last);
    }

    [Fact]
    public async Task A_turn_is_read_from_where_the_conversation_goes_on()
    {
        await using ChatModel keeping = TinyChatModel.Create(),
            fresh = TinyChatModel.Create(new ChatModelOptions { CacheTokens = 8192, CachePrefixes = false });
        var messages = new List<Message>
        {
            Message.System("Be brief."), Message.User("What is it?", ImagePart.FromRgb(TinyChatModel.Picture(1, 900, 450))),
        };
        int read = 0;
        for (int turn = 0; turn < 4; turn++)
        {
            ChatAnswer answer = await keeping.CompleteAsync(messages, s_drawn, TestContext.Current.CancellationToken),
                expected = await fresh.CompleteAsync(messages, s_drawn, TestContext.Current.CancellationToken);
            Assert.Equal(expected.Answer, answer.Answer);
            Assert.Equal(0, expected.Usage.CachedTokens);
            // What the model writes is not always spelt with the tokens that it wrote: the answer may be read again,
            // the prompt never.
            Assert.InRange(answer.Usage.CachedTokens, read / 32 * 32, Math.Max(0, answer.Usage.PromptTokens - 1));
            Assert.True(turn == 0 || answer.Usage.CachedTokens > 500, $"{answer.Usage}");
            read = answer.Usage.PromptTokens - 20;
            messages.AddRange([Message.Assistant(answer.Answer), Message.User("And then?")]);
        }
    }

    [Fact]
    public async Task What_was_prepared_is_answered_like_its_messages()
    {
        await using ChatModel model = TinyChatModel.Create(new ChatModelOptions { CacheTokens = 1024 });
        Message[] messages = [Message.User("What is it?", ImagePart.FromRgb(TinyChatModel.Picture(1)))];
        string expected = (await model.CompleteAsync(messages, s_drawn, TestContext.Current.CancellationToken)).Answer;
        PreparedPrompt prompt = await model.PrepareAsync(messages, s_drawn, TestContext.Current.CancellationToken);
        for (int time = 0; time < 2; time++)
            Assert.Equal(expected, await Answer(model, prompt, s_drawn));
        Assert.Throws<ArgumentException>(() =>
            {
                _ = model.GenerateAsync(prompt, s_drawn with { StopSequences = [""] },
                TestContext.Current.CancellationToken);
            });
        Assert.Throws<ArgumentException>(() =>
            {
                _ = model.GenerateAsync(prompt, s_drawn with { BannedWords = [" "] },
                TestContext.Current.CancellationToken);
            });

        await using ChatModel small = TinyChatModel.Create(new ChatModelOptions { CacheTokens = 256 });
        Assert.Contains("none is left",
            (await Assert.ThrowsAsync<ContextLengthException>(
                () => Answer(small, prompt, s_drawn with { MaxOutputTokens = null }))).Message, StringComparison.Ordinal);

        static async Task<string> Answer(ChatModel model, PreparedPrompt prompt, GenerationOptions options)
        {
            string answer = "";
            await foreach (
                GenerationUpdate update in model.GenerateAsync(prompt, options, TestContext.Current.CancellationToken))
                answer += update.Text;
            return answer;
        }
    }

    [Fact]
    public async Task What_changes_the_model_and_then_fails_leaves_nothing_of_the_old_one()
    {
        await using ChatModel model = TinyChatModel.Create();
        Message[] messages = [Message.System(
            "One, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve."), Message.User("And then?")];
        await model.CompleteAsync(messages, s_drawn, TestContext.Current.CancellationToken);
        await Assert.ThrowsAsync<IOException>(() => model.BetweenStepsAsync(engine =>
        {
            TinyChatModel.Scale(model.Model, "language.embedding.weight", 2);
            throw new IOException("The disk is full.");
        }));
        Assert.Equal(0,
            (await model.CompleteAsync(messages, s_drawn, TestContext.Current.CancellationToken)).Usage.CachedTokens);
        Assert.True((await model.CompleteAsync(messages, s_drawn, TestContext.Current.CancellationToken))
            .Usage.CachedTokens >= 32);
    }

    [Fact]
    public async Task Words_that_are_banned_and_stop_texts_are_not_written()
    {
        await using ChatModel model = TinyChatModel.Create();
        Message[] messages = [Message.User("Go.")];
        ChatAnswer free = await model.CompleteAsync(messages, s_drawn with { ReportTokens = true },
            TestContext.Current.CancellationToken);
        string stop = model.Tokenizer.Decode([free.Tokens[5].Token]);
        ChatAnswer stopped = await model.CompleteAsync(messages, s_drawn with { StopSequences = [stop] },
            TestContext.Current.CancellationToken);
        Assert.Equal(free.Answer[..free.Answer.IndexOf(stop, StringComparison.Ordinal)], stopped.Answer);
        Assert.Equal(FinishReason.StopSequence, stopped.FinishReason);
        await model.BetweenStepsAsync(engine => Assert.False(engine.HasWork));

        int wait = model.Tokenizer.Encode(" Wait")[0];
        var always = new Dictionary<int, float> { [wait] = 1000 };
        Assert.Equal(" Wait",
            (await model.CompleteAsync(messages, s_drawn with { LogitBias = always, MaxOutputTokens = 1 },
                TestContext.Current.CancellationToken)).Answer);
        Assert.DoesNotContain("Wait",
            (await model.CompleteAsync(messages, s_drawn with { LogitBias = always, BannedWords = ["wait"] },
                TestContext.Current.CancellationToken)).Answer, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public async Task Cancellation_and_disposal_free_everything()
    {
        ChatModel model = TinyChatModel.Create();
        using var cancellation = new CancellationTokenSource();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            await foreach (GenerationUpdate _ in model.GenerateAsync([Message.User("Go.")],
                s_drawn with { MaxOutputTokens = 500 }, cancellation.Token))
                await cancellation.CancelAsync();
        });
        await model.BetweenStepsAsync(engine => Assert.Equal(engine.PageCount, engine.FreePages));
        Task<GenerationHold> writing = GenerationHold.WhenAsync(model.BetweenStepsAsync);
        Task<ChatAnswer> running = model.CompleteAsync([Message.User("Go.")], s_drawn with { MaxOutputTokens = 4000 },
            TestContext.Current.CancellationToken);
        ValueTask disposal;
        using (await writing)
            disposal = model.DisposeAsync();
        await disposal;
        await Assert.ThrowsAsync<ObjectDisposedException>(() => running);
        await model.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(
            () => model.CompleteAsync([Message.User("Go.")], s_drawn, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task What_cannot_be_used_is_refused_by_name()
    {
        await using ChatModel model = TinyChatModel.Create(new ChatModelOptions
        {
            CacheTokens = 1024,
            MaximumImages = 2,
            ImageLimits = new ImageLimits { MaximumPixels = 100_000 },
        });
        ImagePart picture = ImagePart.FromRgb(TinyChatModel.Picture(1));
        await Refused<ArgumentException>("at least one message", []);
        await Refused<ArgumentException>("takes pictures from the user and from tools only", [new Message(ChatRole.Assistant, [picture])]);
        await Refused<ArgumentException>("at most 2 are allowed", [Message.User("?", picture, picture, picture)]);
        await Refused<ArgumentException>("the context has 1024 tokens",
            [Message.User("?", ImagePart.FromRgb(TinyChatModel.Picture(1, 400, 200)), picture)]);
        await Refused<ArgumentException>("none is left for an answer",
            [Message.User(string.Concat(Enumerable.Repeat("word ", 1200)))]);
        await Refused<ArgumentException>("exceeds the context of 1024", [Message.User("?")],
            s_drawn with { MaxOutputTokens = 1020 });
        await Refused<ArgumentException>("1 to 1024 tiles", [Message.User("?", picture)], s_drawn with { MaximumTiles = 0 });
        await Refused<ArgumentException>("stop text", [Message.User("?")], s_drawn with { StopSequences = [""] });
        await Refused<ArgumentException>("no single token", [Message.User("?")],
            s_drawn with { BannedWords = ["antidisestablishmentarianism"] });
        await Refused<ArgumentException>("temperature", [Message.User("?")], s_drawn with { Temperature = -1 });
        await Refused<ArgumentException>("banned word", [Message.User("?")], s_drawn with { BannedWords = [" "] });
        await Refused<ArgumentException>("more than", [Message.User(new string('a', 3 << 20))]);
        await Refused<ArgumentException>("more than", [Message.Assistant(new string('中', 1 << 20)), Message.User("?")]);
        await Refused<ImageException>("a file: ",
            [Message.User("?", ImagePart.FromBytes("no picture"u8.ToArray(), "a file"))]);
        await Refused<ImageException>("allows", [Message.User("?", ImagePart.FromRgb(TinyChatModel.Picture(1, 400, 300)))]);
        await Refused<ImageException>("cannot be decoded",
            [Message.User("?", ImagePart.FromBytes("no picture"u8.ToArray()))]);
        await Refused<FileNotFoundException>("nowhere.png", [Message.User("?", ImagePart.FromFile("nowhere.png"))]);
        Assert.Equal(24,
            (await model.CompleteAsync([Message.User("?")], s_drawn, TestContext.Current.CancellationToken))
                .Usage.CompletionTokens);

        async Task Refused<T>(string part, Message[] messages, GenerationOptions? options = null)
            where T : Exception =>
            Assert.Contains(part,
                (await Assert.ThrowsAnyAsync<T>(() => model.CompleteAsync(messages, options ?? s_drawn))).Message,
                StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public async Task Text_that_composes_or_is_thinking_is_not_too_long()
    {
        await using ChatModel model = TinyChatModel.Create(new ChatModelOptions { CacheTokens = 256 });
        // Three letters in nine bytes are one syllable in three; runs of spaces are one token, up to 128 of them.
        string spaces = new(' ', 128 * 128), syllables = string.Concat(Enumerable.Repeat("\u1112\u1161\u11ab", 60));
        await Fits(Message.User(spaces));
        await Fits(Message.User(syllables));
        await Fits(Message.User("?"), Message.Assistant(new string('a', 3 << 20) + "</think>\nYes."), Message.User("Why?"));

        async Task Fits(params Message[] messages) =>
            Assert.InRange(
                (await model.PrepareAsync(messages, cancellationToken: TestContext.Current.CancellationToken))
                    .Sequence.Tokens.Length, 40, 255);
    }

    [Fact]
    public void Options_of_no_use_are_refused()
    {
        foreach (ChatModelOptions options in (ChatModelOptions[])[
            new() { CacheTokens = 0 }, new() { ContextTokens = -1 }, new() { PrefillTokens = 0 },
            new() { PrefillTokensBesideDecoding = 0 }, new() { MaximumRequests = 0 },
            new() { MaximumImages = -1 }, new() { ImageCacheBytes = -1 }])
            Assert.ThrowsAny<ArgumentException>(() => TinyChatModel.Create(options).Dispose());
    }

    [Fact]
    public void A_context_that_cannot_be_had_is_refused_and_not_shortened()
    {
        using ChatModel usual = TinyChatModel.Create();
        int positions = usual.Model.Configuration.Language.MaxPositions;
        Assert.Contains($"A context of {positions + 1} tokens exceeds the model's {positions} positions",
            Assert.Throws<ArgumentException>(() => TinyChatModel.Create(
                new ChatModelOptions { ContextTokens = positions + 1 }).Dispose()).Message, StringComparison.Ordinal);
        Assert.Contains("does not fit into a key-value cache of 100", Assert.Throws<ArgumentException>(
            () => TinyChatModel.Create(new ChatModelOptions { ContextTokens = 101, CacheTokens = 100 }).Dispose()).Message,
            StringComparison.Ordinal);
        using ChatModel whole = TinyChatModel.Create(new ChatModelOptions { ContextTokens = positions });
        Assert.Equal(positions, whole.ContextTokens);
    }

    [Fact]
    public async Task What_the_checkpoint_says_about_generation_is_the_default()
    {
        await using ChatModel greedy = TinyChatModel.Create();
        await using ChatModel drawn = TinyChatModel.Create(change: configuration => configuration with
        {
            Generation = new GenerationDefaults { Sample = true, Temperature = 0.9, MaxOutputTokens = 7 },
            SystemMessage = "Short.",
        });
        Message[] messages = [Message.User("Go.")];
        var options = new GenerationOptions { MaxOutputTokens = 12 };
        Assert.Equal(
            (await greedy.CompleteAsync(messages, options, TestContext.Current.CancellationToken)).Answer,
            (await greedy.CompleteAsync(messages, options, TestContext.Current.CancellationToken)).Answer);
        Assert.Equal(7, (await drawn.CompleteAsync(messages, cancellationToken: TestContext.Current.CancellationToken))
            .Usage.CompletionTokens);
        Assert.NotEqual(
            (await drawn.CompleteAsync(messages, options, TestContext.Current.CancellationToken)).Answer,
            (await drawn.CompleteAsync(messages, options, TestContext.Current.CancellationToken)).Answer);
        PreparedPrompt prompt = await drawn.PrepareAsync(messages, cancellationToken: TestContext.Current.CancellationToken);
        Assert.StartsWith("<|im_start|>system\nShort.<|im_end|>\n<|im_start|>user\nGo.",
            drawn.Tokenizer.Decode(prompt.Sequence.Tokens), StringComparison.Ordinal);
    }

    private sealed class Listener(Action<float> action) : IProgress<float>
    {
        public void Report(float value) => action(value);
    }
}
