using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Text;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Caching.Distributed;
using Skylight.Chat;
using Skylight.Extensions.AI;
using ChatRole = Microsoft.Extensions.AI.ChatRole;

namespace Skylight.Tests.Extensions;

/// <summary>
/// What any client has to do that stands in the pipelines of Microsoft.Extensions.AI, after the cases of its own
/// ChatClientIntegrationTests (49 at dotnet/extensions' commit 06c0643) that need neither tools nor answers held to a
/// form. A model of random weights knows nothing, so that what is held is the form of answers and not what they say.
/// <para>
/// Here are 19: the seven of GetResponseAsync and GetStreamingResponseAsync without a form, MultiModal_DescribeImage
/// and _DescribePdf (refused), Caching_OutputVariesWithoutCaching and _SamePromptResultsInCacheHit (both), both
/// Logging_LogsCalls, OpenTelemetry_CanEmitTracesAndMetrics, SummarizingChatReducer_PreservesConversationContext,
/// _PreservesSystemMessage, _Streaming and _CustomPrompt.
/// </para>
/// <para>
/// 21 are of tools, and want calls that random weights do not choose (<see cref="FunctionInvocationTests"/> has some):
/// FunctionInvocation_AutomaticallyInvokeFunction_Parameterless, _WithParameters_NonStreaming and _Streaming,
/// _OptionalParameter, _NestedParameters, _ArrayParameter, _SupportsMultipleParallelRequests, _RequireAny and
/// _RequireSpecific, because the model has to ask for a call; both AvailableTools_SchemasAreAccepted, because its prompt
/// has to describe tools; Caching_BeforeFunctionInvocation_AvoidsExtraCalls, Caching_AfterFunctionInvocation_
/// FunctionOutputUnchangedAsync and _FunctionOutputChangedAsync, both Logging_LogsFunctionCalls and
/// SummarizingChatReducer_WithFunctionCalls, because calls are in the conversation; and the four of ToolReduction, which
/// choose among tools (three of them by an embedding generator, which is no part of Skylight).
/// </para>
/// <para>
/// 8 ask for answers held to a form, and for the right ones, which random weights do not give: GetResponseAsync_
/// StructuredOutput, _StructuredOutputArray, _Integer, _String, _Bool_True, _Bool_False, _Enum and
/// _StructuredOutput_NonNative; <see cref="StructuredOutputTests"/> holds the forms. _StructuredOutput_WithFunctions wants
/// a call as well.
/// </para>
/// </summary>
public sealed class ChatClientContractTests : IDisposable
{
    private static readonly ChatOptions s_greedy = new()
    {
        MaxOutputTokens = 8,
        Temperature = 0,
        Reasoning = new() { Effort = ReasoningEffort.None },
    };

    private readonly SkylightChatClient _client =
        new(ExtensionModel.Create("contract"), new SkylightChatClientOptions { OwnsModel = true });

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => _client.Dispose();

    [Fact]
    public async Task One_message_is_answered()
    {
        ChatResponse response = await _client.GetResponseAsync("What's the biggest animal?", s_greedy, Cancellation);
        ChatMessage message = Assert.Single(response.Messages);
        Assert.Equal(ChatRole.Assistant, message.Role);
        Assert.NotEmpty(response.Text);
        Assert.Equal(response.Text, message.Text);
        Assert.Equal(("contract", ChatFinishReason.Length), (response.ModelId, response.FinishReason));
        Assert.NotNull(response.ResponseId);
        Assert.NotNull(message.MessageId);
    }

    [Fact]
    public async Task A_conversation_is_answered_by_all_of_its_turns()
    {
        ChatMessage[] turns =
        [
            new(ChatRole.User, "Pick a city, any city"), new(ChatRole.Assistant, "Seattle"),
            new(ChatRole.User, "And another one"), new(ChatRole.Assistant, "Jakarta"),
            new(ChatRole.User, "What continent are they each in?"),
        ];
        ChatResponse whole = await _client.GetResponseAsync(turns, s_greedy, Cancellation);
        ChatResponse last = await _client.GetResponseAsync(turns[^1..], s_greedy, Cancellation);
        Assert.True(whole.Usage!.InputTokenCount > last.Usage!.InputTokenCount + 15);
    }

    [Fact]
    public async Task Messages_without_content_are_taken()
    {
        ChatResponse response = await _client.GetResponseAsync(
            [
                new(ChatRole.System, []), new(ChatRole.User, []), new(ChatRole.Assistant, []),
                new(ChatRole.User, "What is 1 + 2? Reply with a single number."),
            ],
            s_greedy, Cancellation);
        Assert.NotEmpty(response.Text);
    }

    [Fact]
    public async Task A_stream_is_the_answer_in_pieces()
    {
        ChatMessage[] messages = [new(ChatRole.User, "Quote, word for word, Neil Armstrong's famous words.")];
        var text = new StringBuilder();
        await foreach (ChatResponseUpdate update in _client.GetStreamingResponseAsync(messages, s_greedy, Cancellation))
            text.Append(update.Text);
        Assert.Equal((await _client.GetResponseAsync(messages, s_greedy, Cancellation)).Text, text.ToString());
    }

    [Fact]
    public async Task Usage_adds_up()
    {
        UsageDetails usage = (
            await _client.GetResponseAsync("Explain in 10 words how AI works", s_greedy, Cancellation)).Usage!;
        Assert.True(usage.InputTokenCount > 1);
        Assert.True(usage.OutputTokenCount > 1);
        Assert.Equal(usage.InputTokenCount + usage.OutputTokenCount, usage.TotalTokenCount);
    }

    [Fact]
    public async Task Usage_comes_once_in_a_stream()
    {
        ChatOptions options = s_greedy.Clone();
        // What OpenAI's clients ask for; here it comes anyway.
        options.AdditionalProperties = new()
        {
            ["stream_options"] = new Dictionary<string, object> { ["include_usage"] = true },
        };
        List<ChatResponseUpdate> updates = [];
        await foreach (ChatResponseUpdate update in _client.GetStreamingResponseAsync("Explain how AI works", options,
            Cancellation))
            updates.Add(update);
        Assert.True(updates.Count > 1);
        UsageDetails usage = Assert.Single(updates.SelectMany(update => update.Contents).OfType<UsageContent>()).Details;
        Assert.Equal(usage.InputTokenCount + usage.OutputTokenCount, usage.TotalTokenCount);
    }

    [Fact]
    public async Task A_stream_becomes_one_message_of_the_history()
    {
        List<ChatMessage> history = [new(ChatRole.User, "Explain in 100 words how AI works")];
        IAsyncEnumerable<ChatResponseUpdate> stream = _client.GetStreamingResponseAsync(history, s_greedy, Cancellation);
        Assert.Single(history);
        await history.AddMessagesAsync(stream);
        Assert.Equal(2, history.Count);
        Assert.Equal(ChatRole.Assistant, history[1].Role);
        TextContent content = Assert.IsType<TextContent>(Assert.Single(history[1].Contents));
        Assert.NotEmpty(content.Text);
        Assert.Equal(history[1].Text, content.Text);
        // And the conversation goes on.
        history.Add(new(ChatRole.User, "Shorter."));
        Assert.NotEmpty((await _client.GetResponseAsync(history, s_greedy, Cancellation)).Text);
    }

    [Fact]
    public async Task A_picture_is_seen()
    {
        async Task<ChatResponse> AskAsync(byte red) => await _client.GetResponseAsync(
            [
                new(ChatRole.User,
                    [new TextContent("What does this logo say?"),
                        new DataContent(ExtensionModel.Png(red, 0, 40), "image/png")]),
            ],
            s_greedy, Cancellation);
        Assert.Equal(ExtensionModel.TokensPerTile,
            (await AskAsync(0)).Usage!.AdditionalCounts![SkylightChatClient.ImageTokenCount]);
        Assert.NotEqual((await AskAsync(0)).Text, (await AskAsync(250)).Text);
    }

    /// <summary>The one case in which this client differs: it reads pictures, no documents.</summary>
    [Fact]
    public async Task A_document_is_refused_by_its_type()
    {
        NotSupportedException refused = await Assert.ThrowsAsync<NotSupportedException>(() => _client.GetResponseAsync(
            [new(ChatRole.User, [new TextContent("?"), new DataContent(new byte[] { 1, 2, 3 }, "application/pdf")])],
            s_greedy, Cancellation));
        Assert.Contains("application/pdf", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_a_seed_answers_differ()
    {
        ChatOptions drawn = s_greedy.Clone();
        (drawn.Temperature, drawn.MaxOutputTokens) = (1, 24);
        string first = (await _client.GetResponseAsync("Pick a random number", drawn, Cancellation)).Text;
        Assert.NotEqual(first, (await _client.GetResponseAsync("Pick a random number", drawn, Cancellation)).Text);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_cache_answers_what_was_asked_before(bool isStreaming)
    {
        int calls = 0;
        using IChatClient client = _client.AsBuilder().UseDistributedCache(new Cache())
            .Use(async (messages, options, next, cancellationToken) =>
            {
                calls++;
                await next(messages, options, cancellationToken);
            }).Build();
        ChatOptions drawn = s_greedy.Clone();
        (drawn.Temperature, drawn.MaxOutputTokens) = (1, 24);
        async Task<string> AskAsync(string text) => isStreaming
            ? (await client.GetStreamingResponseAsync(text, drawn, Cancellation).ToChatResponseAsync(Cancellation)).Text
            : (await client.GetResponseAsync(text, drawn, Cancellation)).Text;
        string first = await AskAsync("Pick a random number");
        Assert.Equal([first, first], [await AskAsync("Pick a random number"), await AskAsync("Pick a random number")]);
        Assert.Equal(1, calls);
        Assert.NotEqual(first, await AskAsync("Pick a random number!"));
        Assert.Equal(2, calls);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Logging_wraps_it(bool isStreaming)
    {
        var logger = new RecordingLogger<LoggingChatClient>();
        using var client = new LoggingChatClient(_client, logger);
        string text = isStreaming
            ? (await client.GetStreamingResponseAsync("Hello", s_greedy, Cancellation)
                .ToChatResponseAsync(Cancellation)).Text
            : (await client.GetResponseAsync("Hello", s_greedy, Cancellation)).Text;
        Assert.NotEmpty(text);
        Assert.Contains(logger.Entries, entry => entry.Text.Contains("completed", StringComparison.Ordinal));
        // What was asked, and what was answered: at the level at which both may be logged.
        Assert.Contains(logger.Entries, entry => entry.Text.Contains("\"Hello\"", StringComparison.Ordinal));
        Assert.Contains(logger.Entries, entry => entry.Text.Contains("\"assistant\"", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Traces_and_metrics_of_the_pipeline_have_the_usage()
    {
        string source = Guid.NewGuid().ToString();
        ConcurrentQueue<Activity> activities = new();
        ConcurrentQueue<string> metrics = new();
        using var listener = new ActivityListener
        {
            ShouldListenTo = candidate => candidate.Name == source,
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = activities.Enqueue,
        };
        ActivitySource.AddActivityListener(listener);
        using var meters = new MeterListener();
        meters.InstrumentPublished = (instrument, from) =>
        {
            if (instrument.Meter.Name == source)
                from.EnableMeasurementEvents(instrument);
        };
        meters.SetMeasurementEventCallback<int>((instrument, _, _, _) => metrics.Enqueue(instrument.Name));
        meters.SetMeasurementEventCallback<double>((instrument, _, _, _) => metrics.Enqueue(instrument.Name));
        meters.Start();
        IChatClient client = _client.AsBuilder().UseOpenTelemetry(sourceName: source).Build();
        UsageDetails usage = (await client.GetResponseAsync("What's the biggest animal?", s_greedy, Cancellation)).Usage!;

        Activity activity = Assert.Single(activities);
        Assert.Equal("chat contract", activity.DisplayName);
        Assert.Equal(((int)usage.InputTokenCount!.Value, (int)usage.OutputTokenCount!.Value),
            ((int)activity.GetTagItem("gen_ai.usage.input_tokens")!, (int)activity.GetTagItem("gen_ai.usage.output_tokens")!));
        // The model is in the process: there is no server to name.
        Assert.Null(activity.GetTagItem("server.address"));
        Assert.True(activity.Duration > TimeSpan.Zero);
        Assert.Superset(new HashSet<string> { "gen_ai.client.operation.duration", "gen_ai.client.token.usage" },
            metrics.ToHashSet());
    }

#pragma warning disable MEAI001 // Reducers may change; what they ask of a client is what is tested.
    [Theory]
    [InlineData(false, false, 1, 3)]
    [InlineData(false, true, 0, 2)]
    [InlineData(true, false, 0, 2)]
    public async Task A_reducer_puts_a_summary_before_the_last_messages(bool isStreaming, bool hasSystemMessage,
        int threshold, int kept)
    {
        List<ChatMessage> messages =
        [
            new(ChatRole.User, "My name is Alice and I love hiking in the mountains."),
            new(ChatRole.Assistant, "Nice to meet you, Alice! Do you have a favorite trail?"),
            new(ChatRole.User, "Yes, I love the Pacific Crest Trail. I hiked a section last summer."),
            new(ChatRole.Assistant, "The Pacific Crest Trail is amazing! Which section did you hike?"),
            new(ChatRole.User, "The one through the Sierra Nevada. It was challenging but beautiful."),
            new(ChatRole.Assistant, "It is known for its stunning views. How long did it take you?"),
            new(ChatRole.User, "What's my name and what activity do I enjoy?"),
        ];
        if (hasSystemMessage)
            messages.Insert(0, new(ChatRole.System, "You are a pirate."));
        List<IReadOnlyList<ChatMessage>> summarized = [], reduced = [];
        var reducer = new SummarizingChatReducer(Capturing(_client.AsBuilder().ConfigureOptions(Greedy), summarized), 2,
            threshold)
        {
            SummarizationPrompt = "Summarize, with every number.",
        };
        IChatClient client = Capturing(_client.AsBuilder().UseChatReducer(reducer), reduced);
        ChatResponse response = isStreaming
            ? await client.GetStreamingResponseAsync(messages, s_greedy, Cancellation).ToChatResponseAsync(Cancellation)
            : await client.GetResponseAsync(messages, s_greedy, Cancellation);

        // The summary is an answer of this client, to a conversation with a prompt of the host's own.
        Assert.Contains(Assert.Single(summarized), message => message.Text == "Summarize, with every number.");
        List<ChatMessage> sent = [.. Assert.Single(reduced)];
        if (hasSystemMessage)
        {
            Assert.Equal((ChatRole.System, "You are a pirate."), (sent[0].Role, sent[0].Text));
            sent.RemoveAt(0);
        }

        Assert.Equal(kept + 1, sent.Count);
        Assert.Equal(ChatRole.Assistant, sent[0].Role);
        Assert.NotEmpty(sent[0].Text);
        Assert.Equal(messages.TakeLast(kept).Select(message => message.Text), sent.Skip(1).Select(message => message.Text));
        // A conversation that begins with the assistant's turn is read to its end, and is the shorter one.
        Assert.NotEmpty(response.Text);
        ChatResponse whole = await _client.GetResponseAsync(messages, s_greedy, Cancellation);
        Assert.InRange(response.Usage!.InputTokenCount!.Value, 20, whole.Usage!.InputTokenCount!.Value - 20);

        static void Greedy(ChatOptions options) =>
            (options.MaxOutputTokens, options.Temperature, options.Reasoning) = (8, 0, s_greedy.Reasoning);

        static IChatClient Capturing(ChatClientBuilder builder, List<IReadOnlyList<ChatMessage>> calls) =>
            builder.Use(async (messages, options, next, cancellationToken) =>
            {
                calls.Add([.. messages]);
                await next(messages, options, cancellationToken);
            }).Build();
    }
#pragma warning restore MEAI001

    [Fact]
    public async Task Options_may_be_set_by_the_pipeline()
    {
        using IChatClient client = _client.AsBuilder().ConfigureOptions(options => options.MaxOutputTokens = 3).Build();
        ChatResponse response = await client.GetResponseAsync("Hello", s_greedy, Cancellation);
        Assert.Equal(3, response.Usage!.OutputTokenCount);
        Assert.Equal(8, s_greedy.MaxOutputTokens);
    }

    [Fact]
    public void Services_are_found_through_a_pipeline()
    {
        using IChatClient client = _client.AsBuilder().UseOpenTelemetry().Build();
        Assert.Same(_client, client.GetService<SkylightChatClient>());
        Assert.Equal(("skylight", "contract"),
            (client.GetService<ChatClientMetadata>()!.ProviderName,
                client.GetService<ChatClientMetadata>()!.DefaultModelId));
        Assert.NotNull(client.GetService<ChatModel>());
        Assert.Null(client.GetService<string>());
        Assert.Null(client.GetService(typeof(ChatModel), "key"));
    }

    private sealed class Cache : IDistributedCache
    {
        private readonly ConcurrentDictionary<string, byte[]> _values = new();

        public byte[]? Get(string key) => _values.GetValueOrDefault(key);

        public Task<byte[]?> GetAsync(string key, CancellationToken token = default) => Task.FromResult(Get(key));

        public void Refresh(string key)
        {
        }

        public Task RefreshAsync(string key, CancellationToken token = default) => Task.CompletedTask;

        public void Remove(string key) => _values.TryRemove(key, out _);

        public Task RemoveAsync(string key, CancellationToken token = default)
        {
            Remove(key);
            return Task.CompletedTask;
        }

        public void Set(string key, byte[] value, DistributedCacheEntryOptions options) => _values[key] = value;

        public Task SetAsync(string key, byte[] value, DistributedCacheEntryOptions options,
            CancellationToken token = default)
        {
            Set(key, value, options);
            return Task.CompletedTask;
        }
    }
}
