using Microsoft.Extensions.AI;
using Skylight.Chat;
using Skylight.Extensions.AI;
using Skylight.Generation;
using Skylight.Images;
using Skylight.Tests.Generation;
using Skylight.Text;
using ChatRole = Microsoft.Extensions.AI.ChatRole;

namespace Skylight.Tests.Extensions;

/// <summary>One model for the tests of a class, whose requests may be batched.</summary>
public sealed class ExtensionModelFixture : IDisposable
{
    internal const string Name = "extension-model";

    public ChatModel Model { get; } = ExtensionModel.Create(
        Name, new ExtensionModel.ThinkEndingTokenizer(),
        new ChatModelOptions { CacheTokens = 8192, PrefillTokens = 32, PrefillTokensBesideDecoding = 32 });

    public void Dispose() => Model.Dispose();
}

public class SkylightChatClientTests(ExtensionModelFixture fixture) : IClassFixture<ExtensionModelFixture>
{
    private static readonly ChatOptions _sampled = new()
    {
        Temperature = 1,
        Seed = 3,
        MaxOutputTokens = 40,
        Reasoning = new() { Effort = ReasoningEffort.None }
    };

    private ChatModel Model => fixture.Model;

    [Fact]
    public async Task Pieces_together_are_the_answer()
    {
        using var client = new SkylightChatClient(Model);
        ChatResponse whole = await client.GetResponseAsync("What is it?", _sampled);
        List<ChatResponseUpdate> updates = await client.GetStreamingResponseAsync("What is it?", _sampled)
            .ToListAsync(TestContext.Current.CancellationToken);

        Assert.Equal(whole.Text, string.Concat(updates.Select(update => update.Text)));
        Assert.Equal(ChatFinishReason.Length, whole.FinishReason);
        Assert.NotEmpty(whole.Text);
        Assert.Equal(ExtensionModelFixture.Name, whole.ModelId);
        ChatMessage message = Assert.Single(whole.Messages);
        Assert.Equal(ChatRole.Assistant, message.Role);
        Assert.NotNull(whole.CreatedAt);
        Assert.Single(updates.Select(update => (update.ResponseId, update.MessageId, update.ModelId, update.Role))
            .Distinct());
        Assert.NotEqual(whole.ResponseId, updates[0].ResponseId);
        Assert.All(updates.SkipLast(1),
            update => Assert.True(update.FinishReason is null && !update.Contents.OfType<UsageContent>().Any()));
        Assert.Equal(ChatFinishReason.Length, updates[^1].FinishReason);
        UsageDetails usage = Assert.Single(updates[^1].Contents.OfType<UsageContent>()).Details;
        Assert.Equal((40, usage.InputTokenCount + 40), (usage.OutputTokenCount, usage.TotalTokenCount));
        Assert.Equal((usage.InputTokenCount, usage.OutputTokenCount),
            (whole.Usage!.InputTokenCount, whole.Usage.OutputTokenCount));
    }

    [Fact]
    public async Task Usage_counts_what_the_model_read()
    {
        using var client = new SkylightChatClient(Model);
        ChatMessage[] messages = [new(ChatRole.System, "Be brief."),
            new(ChatRole.User, [Picture(200, 0, 0), Picture(0, 200, 0), new TextContent("Which?")])];
        PreparedPrompt prompt = await Model.PrepareAsync(
            [Message.System("Be brief."),
                Message.User("Which?", ImagePart.FromBytes(ExtensionModel.Png(200, 0, 0)),
                    ImagePart.FromBytes(ExtensionModel.Png(0, 200, 0)))],
            cancellationToken: TestContext.Current.CancellationToken);
        ChatResponse response = await client.GetResponseAsync(messages, _sampled, TestContext.Current.CancellationToken);
        Assert.Equal(prompt.Sequence.Tokens.Length, response.Usage!.InputTokenCount);
        Assert.Equal(2 * ExtensionModel.TokensPerTile, response.Usage.AdditionalCounts![SkylightChatClient.ImageTokenCount]);
        ChatResponse again = await client.GetResponseAsync(messages, _sampled, TestContext.Current.CancellationToken);
        Assert.InRange(again.Usage!.CachedInputTokenCount!.Value, again.Usage.InputTokenCount!.Value - 32,
            again.Usage.InputTokenCount.Value - 1);
        Assert.Equal(response.Text, again.Text);
        Assert.Equal(0, response.Usage.ReasoningTokenCount);
    }

    [Fact]
    public async Task Thinking_is_told_from_the_answer_and_counted()
    {
        using var client = new SkylightChatClient(Model);
        // In 200 tokens the end of the think block comes but for once in hundreds of thousands.
        ChatOptions options = new()
        {
            Temperature = 2,
            Seed = 1,
            MaxOutputTokens = 200,
            Reasoning = new() { Effort = ReasoningEffort.High },
            RawRepresentationFactory = _ => new GenerationOptions { ReportTokens = true },
        };
        List<ChatResponseUpdate> updates = await client.GetStreamingResponseAsync("Think.", options)
            .ToListAsync(TestContext.Current.CancellationToken);
        ChatResponse response = updates.ToChatResponse();
        int[] tokens = [.. updates.SelectMany(update => ((GenerationUpdate)update.RawRepresentation!).Tokens)
            .Select(token => token.Token)];
        int thinking = Array.FindIndex(tokens, token => token % ExtensionModel.ThinkEndStride == 0) + 1;
        string text = new ExtensionModel.ThinkEndingTokenizer().Decode(tokens, skipSpecial: true);
        int end = text.IndexOf(SpecialTokens.ThinkEnd, StringComparison.Ordinal);

        Assert.Equal(200, tokens.Length);
        Assert.Equal(text[..end].TrimEnd('\n'),
            string.Concat(response.Messages[0].Contents.OfType<TextReasoningContent>().Select(content => content.Text)));
        // Ends of a block that come again are no part of the text.
        Assert.Equal(text[end..].Replace(SpecialTokens.ThinkEnd, "", StringComparison.Ordinal).TrimStart('\n'),
            response.Text);
        Assert.Equal(thinking, response.Usage!.ReasoningTokenCount);

        options.Reasoning.Output = ReasoningOutput.None;
        ChatResponse hidden = await client.GetResponseAsync("Think.", options, TestContext.Current.CancellationToken);
        Assert.DoesNotContain(hidden.Messages[0].Contents, content => content is TextReasoningContent);
        Assert.Equal((response.Text, response.Usage.ReasoningTokenCount), (hidden.Text, hidden.Usage!.ReasoningTokenCount));

        // The answer goes into the next turn as any other, its thinking is left out.
        ChatResponse next = await client.GetResponseAsync([new(ChatRole.User, "Think."), .. response.Messages,
            new(ChatRole.User, "More.")], _sampled, TestContext.Current.CancellationToken);
        PreparedPrompt expected = await Model.PrepareAsync([Message.User("Think."), Message.Assistant(response.Text),
            Message.User("More.")], new() { Thinking = ThinkingMode.Off }, TestContext.Current.CancellationToken);
        Assert.Equal(expected.Sequence.Tokens.Length, next.Usage!.InputTokenCount);
    }

    [Fact]
    public async Task The_end_has_its_reason()
    {
        using var client = new SkylightChatClient(Model);
        ChatOptions ending = _sampled.Clone();
        ending.RawRepresentationFactory = _ =>
            new GenerationOptions { LogitBias = new Dictionary<int, float> { [ExtensionModel.EndOfTurn] = 1e6f } };
        ChatResponse stopped = await client.GetResponseAsync("Go on.", ending, TestContext.Current.CancellationToken);
        Assert.Equal((ChatFinishReason.Stop, "", 1), (stopped.FinishReason, stopped.Text, stopped.Usage!.OutputTokenCount));

        ChatResponse whole = await client.GetResponseAsync("Go on.", _sampled, TestContext.Current.CancellationToken);
        string stop = whole.Text.Substring(whole.Text.Length / 2, 3);
        ChatOptions cut = _sampled.Clone();
        cut.StopSequences = [stop];
        ChatResponse before = await client.GetResponseAsync("Go on.", cut, TestContext.Current.CancellationToken);
        Assert.Equal((ChatFinishReason.Stop, whole.Text[..whole.Text.IndexOf(stop, StringComparison.Ordinal)]),
            (before.FinishReason, before.Text));
    }

    [Fact]
    public async Task A_picture_changes_the_answer_in_whatever_content_it_comes()
    {
        using var client = new SkylightChatClient(Model,
            new SkylightChatClientOptions
            {
                ImageUriResolver = (_, _) => ValueTask.FromResult<ReadOnlyMemory<byte>>(ExtensionModel.Png(250, 20, 10)),
            });
        string without = await AnswerAbout();
        string red = await AnswerAbout(Picture(250, 20, 10)), blue = await AnswerAbout(Picture(10, 20, 250));
        Assert.Equal(3, new[] { without, red, blue }.Distinct().Count());
        Assert.Equal(red,
            await AnswerAbout(
                new DataContent("data:image/png;base64," + Convert.ToBase64String(ExtensionModel.Png(250, 20, 10)))));
        Assert.Equal(red, await AnswerAbout(new UriContent("https://example.com/red.png", "image/png")));
        Assert.Equal(red,
            await AnswerAbout(
                new RgbImageContent(ImageDecoders.Standard.Decode(ExtensionModel.Png(250, 20, 10), ImageLimits.Default,
                    TestContext.Current.CancellationToken))));

        async Task<string> AnswerAbout(params AIContent[] picture) =>
            (await client.GetResponseAsync([new ChatMessage(ChatRole.User, [.. picture, new TextContent("Colour?")])],
                _sampled, TestContext.Current.CancellationToken)).Text;
    }

    [Fact]
    public async Task A_picture_is_encoded_once_for_all_turns()
    {
        using var client = new SkylightChatClient(Model);
        long before = await Encoded();
        ChatMessage question = new(ChatRole.User, [Picture(77, 88, 99), new TextContent("What is it?")]);
        ChatResponse first = await client.GetResponseAsync([question], _sampled, TestContext.Current.CancellationToken);
        // As a host sends it again: the same bytes in another object. Nothing is asked of the engine in between,
        // because that forgets features.
        ChatMessage again = new(ChatRole.User, [Picture(77, 88, 99), new TextContent("What is it?")]);
        await client.GetResponseAsync([again, .. first.Messages, new(ChatRole.User, "Sure?")], _sampled,
            TestContext.Current.CancellationToken);
        Assert.Equal(1, await Encoded() - before);

        async Task<long> Encoded()
        {
            long count = -1;
            await Model.BetweenStepsAsync(engine => count = engine.EncodedImages);
            return count;
        }
    }

    [Fact]
    public async Task Cancelling_while_the_prompt_is_read_frees_its_pages()
    {
        using var client = new SkylightChatClient(Model);
        using var cancellation = new CancellationTokenSource();
        string text = string.Concat(Enumerable.Repeat("one two three four ", 1000));
        int updates = 0;
        Task<GenerationHold> reading = GenerationHold.WhenAsync(Model.BetweenStepsAsync,
            engine => engine.ReadingRequests == 1 && engine.FreePages < engine.PageCount);
        Task answering = Task.Run(async () =>
        {
            await foreach (ChatResponseUpdate _ in client.GetStreamingResponseAsync(text, _sampled, cancellation.Token))
                updates++;
        });
        using (await reading)
            await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => answering);
        Assert.Equal(0, updates);
        await AssertIdle();
    }

    [Fact]
    public async Task Cancelling_reaches_the_resolver_and_abandoning_frees_pages()
    {
        var asked = new TaskCompletionSource();
        ImageUriResolver resolver = async (_, cancellationToken) =>
        {
            asked.SetResult();
            await Task.Delay(Timeout.Infinite, cancellationToken);
            return default;
        };
        using var client = new SkylightChatClient(Model, new SkylightChatClientOptions { ImageUriResolver = resolver });
        using var cancellation = new CancellationTokenSource();
        Task<ChatResponse> waiting = client.GetResponseAsync(
            [new(ChatRole.User, [new UriContent("https://example.com/slow.png", "image/png")])], _sampled,
            cancellation.Token);
        await asked.Task;
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);

        await foreach (ChatResponseUpdate update in client.GetStreamingResponseAsync("Go on.", _sampled)
            .WithCancellation(TestContext.Current.CancellationToken))
        {
            Assert.Null(update.FinishReason);
            break;
        }

        await AssertIdle();
    }

    [Fact]
    public async Task The_callers_thread_does_not_make_tokens_and_its_context_is_not_used()
    {
        var tokenizer = new ExtensionModel.ThinkEndingTokenizer();
        await using ChatModel model = ExtensionModel.Create("threads", tokenizer);
        using var client = new SkylightChatClient(model);
        Task<ChatResponse>? answering = null;
        var caller = new Thread(() =>
        {
            SynchronizationContext.SetSynchronizationContext(new DeadContext());
            answering = client.GetResponseAsync("A long prompt.", _sampled);
        });
        caller.Start();
        caller.Join();
        Assert.NotEmpty((await answering!).Text);
        Assert.NotEmpty(tokenizer.EncodingThreads);
        Assert.DoesNotContain(caller, tokenizer.EncodingThreads);
    }

    [Fact]
    public async Task Callers_at_once_get_what_each_gets_alone()
    {
        using var client = new SkylightChatClient(Model);
        string[] questions = [.. Enumerable.Range(0, 8).Select(index => $"Question {index}: {new string('?', index)}")];
        var alone = new List<string>();
        foreach (string question in questions)
            alone.Add((await client.GetResponseAsync(question, _sampled, TestContext.Current.CancellationToken)).Text);
        ChatResponse[] together = await Task.WhenAll(
            questions.Select(question => Task.Run(() => client.GetResponseAsync(question, _sampled))));
        Assert.Equal(alone, together.Select(response => response.Text));
        Assert.Equal(8, together.Select(response => response.ResponseId).Distinct().Count());
    }

    [Fact]
    public async Task Bad_input_is_an_error_and_the_next_request_is_answered()
    {
        using var client = new SkylightChatClient(Model);
        await Assert.ThrowsAsync<ImageException>(() =>
            client.GetResponseAsync([new(ChatRole.User, [new DataContent(new byte[] { 1, 2, 3 }, "image/png")])], _sampled));
        await Assert.ThrowsAsync<ContextLengthException>(
            () => client.GetResponseAsync("x", new ChatOptions { MaxOutputTokens = 1_000_000 }));
        await Assert.ThrowsAsync<ArgumentException>(
            () => client.GetResponseAsync("x", new ChatOptions { Temperature = -1 }));
        await Assert.ThrowsAsync<ArgumentException>(() => client.GetResponseAsync([], _sampled));
        await Assert.ThrowsAsync<Skylight.Constraints.ConstraintException>(() => client.GetResponseAsync("x", new ChatOptions
        {
            ResponseFormat = ChatResponseFormat.ForJsonSchema(
                System.Text.Json.JsonDocument.Parse("""{"not": {}}""").RootElement),
        }));
        Assert.Throws<ArgumentNullException>(() => client.GetStreamingResponseAsync((IEnumerable<ChatMessage>)null!));
        Assert.NotEmpty((await client.GetResponseAsync("x", _sampled, TestContext.Current.CancellationToken)).Text);
    }

    [Fact]
    public async Task Services_and_lifetimes()
    {
        ChatModel owned = ExtensionModel.Create("owned");
        var borrowing = new SkylightChatClient(owned);
        Assert.Same(borrowing, borrowing.GetService<IChatClient>());
        Assert.Same(borrowing, borrowing.GetService<SkylightChatClient>());
        Assert.Same(owned, borrowing.GetService<ChatModel>());
        Assert.Null(borrowing.GetService(typeof(ChatModel), "key"));
        Assert.Null(borrowing.GetService<string>());
        ChatClientMetadata metadata = borrowing.GetRequiredService<ChatClientMetadata>();
        Assert.Equal(("skylight", "owned"), (metadata.ProviderName, metadata.DefaultModelId));

        borrowing.Dispose();
        borrowing.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => borrowing.GetResponseAsync("x"));
        var owning = new SkylightChatClient(owned, new SkylightChatClientOptions { OwnsModel = true });
        Assert.NotNull(await owning.GetResponseAsync("x", new ChatOptions { MaxOutputTokens = 1 },
            TestContext.Current.CancellationToken));
        owning.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => owned.CompleteAsync([Message.User("x")]));
    }

    private static DataContent Picture(byte red, byte green, byte blue) =>
        new(ExtensionModel.Png(red, green, blue), "image/png");

    /// <summary>As that of a window whose thread is busy.</summary>
    private sealed class DeadContext : SynchronizationContext
    {
        public override void Post(SendOrPostCallback d, object? state)
        {
        }
    }

    private async Task AssertIdle()
    {
        (int free, int all, bool hasWork) = (0, 0, true);
        await Model.BetweenStepsAsync(engine => (free, all, hasWork) = (engine.FreePages, engine.PageCount, engine.HasWork));
        Assert.Equal((all, false), (free, hasWork));
    }
}
