using System.Runtime.CompilerServices;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Skylight.Chat;
using Skylight.Generation;
using Skylight.Images;
using ChatRole = Microsoft.Extensions.AI.ChatRole;

namespace Skylight.Extensions.AI;

/// <summary>
/// A <see cref="ChatModel"/> as an <see cref="IChatClient"/>: text and pictures in, thinking as
/// <see cref="TextReasoningContent"/> and the answer as
/// <see cref="TextContent"/> out. Every content and every option is either used or refused with an error that names it.
/// Any number of callers may use a client at once, and several clients one model.
/// </summary>
/// <remarks>
/// <para>Of <see cref="ChatOptions"/>: <c>Temperature</c>, <c>TopP</c>, <c>TopK</c>, <c>Seed</c>, <c>StopSequences</c>,
/// <c>MaxOutputTokens</c>, <c>FrequencyPenalty</c>, <c>PresencePenalty</c>; <c>Instructions</c>
/// (joined with the system message); <c>Reasoning</c> (no effort: the model does not think, any other: it does;
/// <c>Output</c> none: its thinking is not given);
/// <c>AdditionalProperties</c> "min_p", "repetition_penalty", "max_tiles", "banned_words" and "top_logprobs"
/// (how many of the most likely tokens come with each token; then the raw representations have them);
/// <c>ResponseFormat</c>: text, JSON, and JSON of a schema, to which the answer is held, so that
/// <c>GetResponseAsync&lt;T&gt;</c> works;
/// <c>Tools</c> that are functions (<see cref="AIFunctionDeclaration"/>), <c>ToolMode</c> and
/// <c>AllowMultipleToolCalls</c>: calls come as <see cref="FunctionCallContent"/> once they are complete, and what
/// functions give is read from <see cref="FunctionResultContent"/>, pictures included, so that
/// <c>UseFunctionInvocation</c> works;
/// <c>RawRepresentationFactory</c> giving <see cref="GenerationOptions"/>, whose values go first. Refused: tools that
/// are no functions, conversation ids, continuation tokens, another model's
/// name.</para>
/// <para>The last update has the <see cref="UsageContent"/>, with the pictures' tokens under "image_tokens", and the
/// finish reason. Updates carry the
/// <see cref="GenerationUpdate"/> they come from as raw representation.</para>
/// </remarks>
/// <example>
/// <code>
/// using IChatClient client = new SkylightChatClient(model);
/// ChatResponse response = await client.GetResponseAsync("What is the largest animal?");
/// </code>
/// </example>
public sealed class SkylightChatClient : IChatClient
{
    /// <summary>The key of <see cref="UsageDetails.AdditionalCounts"/> that has the tokens of pictures.</summary>
    public const string ImageTokenCount = "image_tokens";

    /// <summary>
    /// The key of <see cref="UsageDetails.AdditionalCounts"/> that has the tokens that were guessed, where any were
    /// (<see cref="GenerationOptions.SpeculativeTokens"/>).
    /// </summary>
    public const string GuessedTokenCount = "guessed_tokens";

    /// <summary>The key of those of them that were right.</summary>
    public const string AcceptedTokenCount = "accepted_tokens";

    private readonly Func<CancellationToken, ValueTask<ChatModel>> _modelOf;
    private readonly Func<ChatModel?> _loadedModel;
    private readonly SkylightChatClientOptions _options;
    private readonly ILogger _logger;
    private readonly ChatClientMetadata _metadata;
    private readonly string _name;
    private readonly IDisposable? _watch;
    private volatile bool _disposed;

    /// <summary>Makes a client of a model.</summary>
    /// <param name="model">The model; it stays open unless <see cref="SkylightChatClientOptions.OwnsModel"/> is set.</param>
    /// <param name="options">How the client works.</param>
    /// <param name="logger">Hears of requests; never of what is in them.</param>
    public SkylightChatClient(ChatModel model, SkylightChatClientOptions? options = null,
        ILogger<SkylightChatClient>? logger = null)
        : this(NameOf(model), _ => ValueTask.FromResult(model), () => model, options, logger) =>
            _watch = SkylightTelemetry.Observe(model);

    /// <summary>Makes a client of a model that is loaded when it is first needed.</summary>
    /// <param name="provider">Loads the model, and closes it; <see cref="SkylightChatClientOptions.OwnsModel"/> is not
    /// looked at.</param>
    /// <param name="options">How the client works.</param>
    /// <param name="logger">Hears of requests; never of what is in them.</param>
    public SkylightChatClient(SkylightModelProvider provider, SkylightChatClientOptions? options = null,
        ILogger<SkylightChatClient>? logger = null)
        : this(NameOf(provider), cancellationToken => new ValueTask<ChatModel>(provider.GetAsync(cancellationToken)),
            () => provider.LoadedModel, (options ?? new()) with { OwnsModel = false }, logger)
    {
    }

    private SkylightChatClient(string name, Func<CancellationToken, ValueTask<ChatModel>> modelOf,
        Func<ChatModel?> loadedModel, SkylightChatClientOptions? options, ILogger? logger)
    {
        (_name, _modelOf, _loadedModel) = (name, modelOf, loadedModel);
        _options = options ?? new SkylightChatClientOptions();
        _logger = logger ?? NullLogger.Instance;
        _metadata = new ChatClientMetadata(SkylightTelemetry.ProviderName, defaultModelId: name);
    }

    /// <inheritdoc cref="GetStreamingResponseAsync"/>
    /// <returns>The whole answer.</returns>
    public async Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        Check(messages);
        var updates = new List<ChatResponseUpdate>();
        await foreach (ChatResponseUpdate update in StreamAsync(messages, options, isStreaming: false,
            cancellationToken).ConfigureAwait(false))
            updates.Add(update);
        return updates.ToChatResponse();
    }

    /// <summary>Answers.</summary>
    /// <param name="messages">The conversation, oldest message first.</param>
    /// <param name="options">How the answer is made; not changed.</param>
    /// <param name="cancellationToken">Takes the request out, also while pictures are prepared or the prompt is read;
    /// its memory is free at once.</param>
    /// <returns>The answer in pieces.</returns>
    /// <exception cref="NotSupportedException">A content, a role or an option cannot be used; names it.</exception>
    /// <exception cref="ArgumentException">A content or an option has an unusable value, or the conversation does not
    /// fit.</exception>
    /// <exception cref="ImageException">A picture cannot be decoded, or is too large.</exception>
    /// <exception cref="GenerationQueueFullException">There are too many requests already.</exception>
    /// <exception cref="ObjectDisposedException">The client or the model is closed.</exception>
    public IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(IEnumerable<ChatMessage> messages,
        ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        Check(messages);
        return StreamAsync(messages, options, isStreaming: true, cancellationToken);
    }

    /// <summary>
    /// Gives the <see cref="ChatClientMetadata"/>, the <see cref="ChatModel"/> if it is loaded, or the client itself.
    /// </summary>
    public object? GetService(Type serviceType, object? serviceKey = null)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        if (serviceKey is not null)
            return null;
        if (serviceType == typeof(ChatClientMetadata))
            return _metadata;
        if (serviceType == typeof(ChatModel))
            return _loadedModel();
        return serviceType.IsInstanceOfType(this) ? this : null;
    }

    /// <summary>Takes no more requests; the model stays open unless the client owns it.</summary>
    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        _watch?.Dispose();
        if (_options.OwnsModel)
            _loadedModel()?.Dispose();
    }

    private static string NameOf(ChatModel model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return model.Name;
    }

    private static string NameOf(SkylightModelProvider provider)
    {
        ArgumentNullException.ThrowIfNull(provider);
        return provider.Name;
    }

    private void Check(IEnumerable<ChatMessage> messages)
    {
        ArgumentNullException.ThrowIfNull(messages);
        ObjectDisposedException.ThrowIf(_disposed, this);
    }

    private async IAsyncEnumerable<ChatResponseUpdate> StreamAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options, bool isStreaming,
        [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        string id = Guid.NewGuid().ToString("N"), responseId = "skylight-" + id, messageId = "message-" + id;
        bool showsThinking = ChatOptionsReader.ShowsThinking(options);
        var calls = new ToolCallCollector();
        using var trace = new ChatTrace(_name, responseId, isStreaming, _options, _logger);
        await using IAsyncEnumerator<GenerationUpdate> updates = GenerateAsync(messages, options, responseId, trace,
            cancellationToken).GetAsyncEnumerator(cancellationToken);
        while (true)
        {
            try
            {
                if (!await updates.MoveNextAsync().ConfigureAwait(false))
                    yield break;
            }
            catch (Exception exception)
            {
                trace.Fail(exception);
                throw;
            }

            GenerationUpdate update = updates.Current;
            trace.Record(update);
            IList<AIContent> contents = ContentsOf(update, calls, showsThinking);
            if (contents.Count == 0 && update.Tokens.Count == 0)
                continue;
            yield return new ChatResponseUpdate(ChatRole.Assistant, contents)
            {
                ResponseId = responseId,
                MessageId = messageId,
                ModelId = _name,
                CreatedAt = _options.TimeProvider.GetUtcNow(),
                FinishReason = update.FinishReason switch
                {
                    null => null,
                    FinishReason.Length => ChatFinishReason.Length,
                    FinishReason.ToolCalls => ChatFinishReason.ToolCalls,
                    _ => ChatFinishReason.Stop,
                },
                RawRepresentation = update,
            };
            trace.Resume();
        }
    }

    private async IAsyncEnumerable<GenerationUpdate> GenerateAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options, string responseId, ChatTrace trace,
        [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        GenerationOptions generation = ChatOptionsReader.Read(options, _options.Defaults, this, _name);
        ChatMessage[] conversation = [.. messages];
        cancellationToken.ThrowIfCancellationRequested();
        // From here on not on the caller's thread: a long prompt takes a while to become tokens, and the caller may be
        // a user interface.
        await Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);
        ChatModel model = await _modelOf(cancellationToken).ConfigureAwait(false);
        List<Message> read = await ChatMessageReader.ReadAsync(
            conversation, options?.Instructions, model.Template.KeepsThinking, _options.ImageUriResolver,
            cancellationToken).ConfigureAwait(false);
        trace.Record(read, generation);
        await foreach (
            GenerationUpdate update in model.GenerateAsync(read, generation, cancellationToken).ConfigureAwait(false))
            yield return update;
    }

    private static List<AIContent> ContentsOf(GenerationUpdate update, ToolCallCollector calls, bool showsThinking)
    {
        var contents = new List<AIContent>();
        if (calls.Add(update.ToolCall) is { } call)
            contents.Add(ToolReader.ContentOf(call));
        if (update.Text.Length > 0 && update.Kind == UpdateKind.Answer)
            contents.Add(new TextContent(update.Text));
        else if (update.Text.Length > 0 && showsThinking)
            contents.Add(new TextReasoningContent(update.Text));
        if (update.Usage is { } usage)
        {
            contents.Add(new UsageContent(new UsageDetails
            {
                InputTokenCount = usage.PromptTokens,
                CachedInputTokenCount = usage.CachedTokens,
                OutputTokenCount = usage.CompletionTokens,
                TotalTokenCount = (long)usage.PromptTokens + usage.CompletionTokens,
                ReasoningTokenCount = usage.ThinkingTokens,
                AdditionalCounts = CountsOf(usage),
            }));
        }

        return contents;
    }

    private static AdditionalPropertiesDictionary<long> CountsOf(Usage usage)
    {
        var counts = new AdditionalPropertiesDictionary<long> { [ImageTokenCount] = usage.ImageTokens };
        if (usage.GuessedTokens > 0)
            (counts[GuessedTokenCount], counts[AcceptedTokenCount]) = (usage.GuessedTokens, usage.AcceptedTokens);
        return counts;
    }
}
