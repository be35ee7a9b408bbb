using System.Diagnostics;
using System.Runtime.CompilerServices;
using Skylight.Constraints;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Images;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Text;

namespace Skylight.Chat;

/// <summary>
/// A model with its tokenizer, its way with pictures and a <see cref="GenerationService"/>: messages go in, an answer
/// streams out. Any number of callers may use it at once; their requests are batched continuously and share one copy of
/// the weights. To be made by <see cref="LoadAsync"/>.
/// </summary>
public sealed partial class ChatModel : IAsyncDisposable, IDisposable
{
    private const int DefaultNewTokens = 4096;

    private readonly ChatModelOptions _options;
    private readonly Device _device;
    private readonly GenerationService _service;
    private readonly ConversationEncoder _encoder;
    private readonly int[] _stopTokens;
    // Where they are special tokens: the readers of answers want to see them, and leave them out.
    private readonly Dictionary<int, string> _tags;
    private readonly ConstraintCache _constraints;
    private readonly int _cacheTokens;
    private bool _disposed;

    /// <summary>Starts serving a model.</summary>
    /// <param name="name">What it is called.</param>
    /// <param name="model">The model; closed together with this.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="options">How it is served; its device is not looked at.</param>
    /// <exception cref="TokenizerException">The tokenizer does not belong to the model.</exception>
    public ChatModel(string name, VisionLanguageModel model, ITokenizer tokenizer, ChatModelOptions? options = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(tokenizer);
        ModelConfiguration configuration = model.Configuration;
        tokenizer.EnsureFits(configuration.Language.VocabularySize, configuration.ImageTokenId);
        _options = (options ?? new ChatModelOptions()).Validate();
        (Name, Model, Tokenizer, _device) = (name, model, tokenizer, model.Device);
        if (_options.Quantization is { } format)
            model.Quantize(format);
        // A number beyond the vocabulary is never drawn.
        _stopTokens = [.. tokenizer.StopTokenIds().Union(configuration.StopTokenIds)
            .Where(token => (uint)token < (uint)configuration.Language.VocabularySize)];
        _constraints = new ConstraintCache(tokenizer);
        _tags = new[] { SpecialTokens.ThinkStart, SpecialTokens.ThinkEnd, SpecialTokens.ToolCallStart,
            SpecialTokens.ToolCallEnd }
            .Where(tag => tokenizer.TokenId(tag) is not null).ToDictionary(tag => tokenizer.RequiredTokenId(tag));
        CheckContext(_options, configuration.Language);
        // Who asks for a longer context than is usual asks for its cache.
        _cacheTokens = _options.CacheTokens ?? Math.Max(
            DefaultCacheTokens(model, _device.MemoryBytes, _options.KeyValueType), _options.ContextTokens ?? 0);
        ContextTokens = _options.ContextTokens ?? Math.Min(configuration.Language.MaxPositions, _cacheTokens);
        _encoder = new ConversationEncoder(configuration, tokenizer, _options.Template)
        {
            MaximumTokens = ContextTokens,
            MaximumImages = _options.MaximumImages,
            ImageLimits = _options.ImageLimits,
            ImageDecoders = _options.ImageDecoders,
            NamesPictures = _options.ImageCacheBytes > 0 || _options.CachePrefixes,
        };
        var engine = new GenerationEngine(model, _cacheTokens, _options.PrefillTokens, _options.ImageCacheBytes,
            _options.CachePrefixes, _options.KeyValueType)
        { PrefillTokensBesideDecoding = _options.PrefillTokensBesideDecoding };
        _service = new GenerationService(engine, _options.MaximumRequests);
    }

    /// <summary>What the model is called.</summary>
    public string Name { get; }

    /// <summary>The most answers that run or wait at once; more are refused.</summary>
    public int MaximumRequests => _options.MaximumRequests;

    /// <summary>The network and its weights.</summary>
    public VisionLanguageModel Model { get; }

    /// <summary>Text to tokens and back.</summary>
    public ITokenizer Tokenizer { get; }

    /// <summary>How messages become a prompt.</summary>
    public ChatTemplate Template => _encoder.Template;

    /// <summary>The most tokens of one request, prompt and answer.</summary>
    public int ContextTokens { get; }

    /// <summary>
    /// What the checkpoint's files ask for that is not done and changes answers (beams, say), a sentence each; a
    /// program tells its user.
    /// </summary>
    public IReadOnlyList<string> Warnings => Model.Configuration.Warnings;

    /// <summary>How large pictures may be.</summary>
    public ImageLimits ImageLimits => _options.ImageLimits;

    /// <summary>What is going on.</summary>
    public GenerationLoad Load => _service.Load;

    /// <summary>Answers.</summary>
    /// <param name="messages">The conversation, oldest message first. A last message of the assistant is what the
    /// answer begins with (its thinking, where the model thinks, up to a <c>&lt;/think&gt;</c> in it): the model goes
    /// on there, and the updates hold what is new.</param>
    /// <param name="options">How the answer is made.</param>
    /// <param name="cancellationToken">Takes the request out, also while pictures are encoded or the prompt is read;
    /// its memory is free at once.</param>
    /// <returns>The answer in pieces that never end within a character; the last one has the end's reason and the
    /// usage.</returns>
    /// <exception cref="ArgumentException">The messages or options cannot be used.</exception>
    /// <exception cref="ContextLengthException">Messages and answer are longer than the context; the message has the
    /// numbers.</exception>
    /// <exception cref="ImageException">A picture cannot be decoded, or is too large.</exception>
    /// <exception cref="GenerationQueueFullException">There are too many requests already.</exception>
    /// <exception cref="LogitsNotFiniteException">The model's logits for this request are not finite; other requests go
    /// on.</exception>
    /// <exception cref="ImageFeaturesNotFiniteException">The features of one of its pictures are not; likewise.</exception>
    /// <exception cref="ObjectDisposedException">The model is, or is being, closed; also while the request runs.</exception>
    public async IAsyncEnumerable<GenerationUpdate> GenerateAsync(
        IReadOnlyList<Message> messages, GenerationOptions? options = null,
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        long start = Stopwatch.GetTimestamp();
        options ??= new GenerationOptions();
        PreparedPrompt prompt = await PrepareAsync(messages, options, cancellationToken).ConfigureAwait(false);
        await foreach (
            GenerationUpdate update in AnswerAsync(prompt, options, start, cancellationToken).ConfigureAwait(false))
            yield return update;
    }

    /// <summary>
    /// Answers a conversation that was prepared before: several answers to it need not read its pictures several times.
    /// </summary>
    /// <param name="prompt">What <see cref="PrepareAsync"/> gave, with options of the same thinking mode and tiles.</param>
    /// <param name="options">How the answer is made.</param>
    /// <param name="cancellationToken">Takes the request out.</param>
    /// <returns>As for messages; times count from here.</returns>
    /// <exception cref="ArgumentException">The options cannot be used.</exception>
    /// <exception cref="ContextLengthException">Prompt and answer are longer than the context.</exception>
    /// <exception cref="GenerationQueueFullException">There are too many requests already.</exception>
    /// <exception cref="ObjectDisposedException">The model is, or is being, closed.</exception>
    public IAsyncEnumerable<GenerationUpdate> GenerateAsync(PreparedPrompt prompt, GenerationOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        options ??= new GenerationOptions();
        options.Validate();
        return AnswerAsync(prompt, options, Stopwatch.GetTimestamp(), cancellationToken);
    }

    /// <summary>
    /// The same, where times count from an earlier moment: that at which a server received the request, say.
    /// </summary>
    /// <param name="prompt">What <see cref="PrepareAsync"/> gave, with options of the same thinking mode and tiles.</param>
    /// <param name="options">How the answer is made.</param>
    /// <param name="startTimestamp">That moment, as <see cref="Stopwatch.GetTimestamp"/> gave it.</param>
    /// <param name="cancellationToken">Takes the request out.</param>
    public IAsyncEnumerable<GenerationUpdate> GenerateAsync(
        PreparedPrompt prompt, GenerationOptions options, long startTimestamp, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        return AnswerAsync(prompt, options, startTimestamp, cancellationToken);
    }

    private async IAsyncEnumerable<GenerationUpdate> AnswerAsync(
        PreparedPrompt prompt, GenerationOptions options, long start,
        [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        SamplingOptions sampling = SamplingOf(options, prompt.Sequence.Tokens.Length);
        TokenConstraint? constraint = ConstraintOf(options, prompt);
        var reader = new AnswerReader(prompt.OpensThinking, options.StopSequences, hasForm: constraint is not null,
            prompt.IsPlain);
        var decoder = new StreamingDecoder(Tokenizer, options.SkipSpecialTokens);
        var details = new List<TokenDetail>();
        TimeSpan toFirst = default;
        int tokens = 0, thinking = 0, cached = 0, guessed = 0, accepted = 0;
        FinishReason end = FinishReason.Length;
        ToolCallReader? calls = options.OfferedTools.Count == 0 ? null
            : new ToolCallReader([.. options.OfferedTools.Select(tool => tool.Name)]);
        var ending = new List<(UpdateKind Kind, string Text)>();
        var request = new GenerationRequest(prompt.Sequence) { Constraint = constraint };
        await foreach (GeneratedToken token in _service.GenerateAsync(request, sampling, cancellationToken)
            .ConfigureAwait(false))
        {
            if (tokens++ == 0)
                (toFirst, cached) = (Stopwatch.GetElapsedTime(start), token.CachedPromptTokens);
            guessed += token.GuessedTokens;
            accepted += token.AcceptedTokens;
            bool isThinking = reader.Kind == UpdateKind.Thinking;
            if (isThinking)
                thinking++;
            if (options.ReportTokens)
                details.Add(new TokenDetail(token.Token, token.LogProbability, token.Entropy)
                {
                    IsThinking = isThinking,
                    TopTokens = token.TopTokens,
                });
            string text = token.FinishReason == FinishReason.Stop ? ""
                : _tags.TryGetValue(token.Token, out string? tag) ? decoder.Flush() + tag
                : decoder.Append(token.Token);
            List<(UpdateKind Kind, string Text)> pieces = reader.Append(text, mayStop: tokens > sampling.MinOutputTokens);
            if (reader.IsStopped)
                end = FinishReason.StopSequence;
            else if (token.FinishReason == FinishReason.Stop)
                end = FinishReason.Stop;
            if (reader.IsStopped || token.FinishReason is not null)
            {
                ending = pieces;
                break;
            }

            GenerationUpdate[] updates = [.. UpdatesOf(pieces, calls)];
            for (int index = 0; index < updates.Length; index++)
                yield return index < updates.Length - 1 ? updates[index] : updates[index] with { Tokens = Take(details) };
        }

        ending.AddRange(reader.Append(decoder.Flush(), isEnd: true, mayStop: tokens > sampling.MinOutputTokens));
        if (reader.IsStopped)
            end = FinishReason.StopSequence;
        foreach (GenerationUpdate update in UpdatesOf(ending, calls))
            yield return update;
        foreach (GenerationUpdate update in calls?.Append(UpdateKind.Answer, "", isEnd: true) ?? [])
            yield return update;
        if (calls is { Count: > 0, Broken: 0 } && end != FinishReason.Length)
            end = FinishReason.ToolCalls;
        yield return new GenerationUpdate(reader.Kind, "")
        {
            Tokens = Take(details),
            FinishReason = end,
            Usage = new Usage(prompt.Sequence.Tokens.Length, prompt.ImageTokens, cached, tokens, thinking, toFirst,
                Stopwatch.GetElapsedTime(start))
            {
                GuessedTokens = guessed,
                AcceptedTokens = accepted,
            },
        };
    }

    private static IEnumerable<GenerationUpdate> UpdatesOf(List<(UpdateKind Kind, string Text)> pieces,
        ToolCallReader? calls) => calls is null ? pieces.Select(piece => new GenerationUpdate(piece.Kind, piece.Text))
            : pieces.SelectMany(piece => calls.Append(piece.Kind, piece.Text));

    /// <summary>Answers, and gives the whole answer at its end.</summary>
    /// <inheritdoc cref="GenerateAsync(IReadOnlyList{Message}, GenerationOptions, CancellationToken)"/>
    public async Task<ChatAnswer> CompleteAsync(IReadOnlyList<Message> messages, GenerationOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        System.Text.StringBuilder thinking = new(), answer = new();
        var tokens = new List<TokenDetail>();
        var calls = new ToolCallCollector();
        GenerationUpdate? last = null;
        await foreach (GenerationUpdate update in GenerateAsync(messages, options, cancellationToken).ConfigureAwait(false))
        {
            (update.Kind == UpdateKind.Thinking ? thinking : answer).Append(update.Text);
            tokens.AddRange(update.Tokens);
            calls.Add(update.ToolCall);
            last = update;
        }

        return new ChatAnswer(thinking.ToString(), answer.ToString(), tokens, last!.FinishReason!.Value, last.Usage!)
        {
            ToolCalls = [.. calls.Complete],
        };
    }

    /// <summary>Turns messages into what the model reads: pictures decoded and cut into tiles, text into tokens.</summary>
    /// <exception cref="ArgumentException">The messages cannot be used.</exception>
    /// <exception cref="ContextLengthException">They are longer than the context; the message has the numbers.</exception>
    /// <exception cref="ImageException">A picture cannot be decoded, or is too large.</exception>
    public async Task<PreparedPrompt> PrepareAsync(IReadOnlyList<Message> messages, GenerationOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(messages);
        ObjectDisposedException.ThrowIf(_disposed, this);
        options ??= new GenerationOptions();
        options.Validate();
        return await _encoder.PromptAsync(messages, options.Thinking, options.MaximumTiles,
            options.OfferedTools, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>A text that is continued as it stands, without the template of chats.</summary>
    /// <inheritdoc cref="ConversationEncoder.TextPrompt"/>
    public PreparedPrompt Prepare(string text) => _encoder.TextPrompt(text);

    /// <summary>The same, given as tokens.</summary>
    /// <inheritdoc cref="ConversationEncoder.TokenPrompt"/>
    public PreparedPrompt Prepare(IReadOnlyList<int> tokens) => _encoder.TokenPrompt(tokens);

    /// <summary>
    /// Runs something between two steps, when nothing of the model is in use: training on the same weights, say.
    /// </summary>
    /// <param name="action">Gets the engine; may not keep it. What is kept of pictures and prompts is forgotten
    /// afterwards, because weights may have changed; the engine sees it itself where the action changes them by a
    /// trainer and then generates.</param>
    /// <param name="cancellationToken">Heard until the action begins; it is then for the action itself to listen to.</param>
    /// <exception cref="OperationCanceledException">It was cancelled before it began.</exception>
    public Task BetweenStepsAsync(Action<GenerationEngine> action, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(action);
        return _service.BetweenStepsAsync(engine =>
        {
            try
            {
                action(engine);
            }
            finally
            {
                engine.Forget();
            }
        }, cancellationToken);
    }

    /// <summary>Takes no more requests, and ends when those that are there have their answers.</summary>
    public Task DrainAsync(CancellationToken cancellationToken = default) => _service.DrainAsync(cancellationToken);

    /// <summary>Ends all requests with an <see cref="ObjectDisposedException"/> and frees everything.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_disposed)
            return;
        _disposed = true;
        await _service.DisposeAsync().ConfigureAwait(false);
        Free();
    }

    /// <inheritdoc cref="DisposeAsync"/>
    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        _service.Dispose();
        Free();
    }

    /// <summary>A context is never shortened in silence: one that cannot be had is refused, before weights are read.</summary>
    private static void CheckContext(ChatModelOptions options, LanguageConfiguration language)
    {
        if (options.ContextTokens is not { } context)
            return;
        if (context > language.MaxPositions)
            throw new ArgumentException(
                $"A context of {context} tokens exceeds the model's {language.DescribePositions()}. Ask for at most as many.");
        if (context > options.CacheTokens)
            throw new ArgumentException(
                $"A context of {context} tokens does not fit into a key-value cache of {options.CacheTokens}: ask for a larger " +
                "cache, or for none, and it is as large as the context.");
    }

    /// <summary>
    /// The tokens that a key-value cache holds where <see cref="ChatModelOptions.CacheTokens"/> says nothing.
    /// </summary>
    /// <param name="model">The model; its parameters need no memory.</param>
    /// <param name="deviceBytes">The memory of the device.</param>
    /// <param name="keyValueType"><see cref="ChatModelOptions.KeyValueType"/>.</param>
    /// <exception cref="NotSupportedException">The device keeps no such caches, or the model's heads do not fit.</exception>
    public static int DefaultCacheTokens(VisionLanguageModel model, long deviceBytes, DataType? keyValueType = null)
    {
        const int Most = 16384, Fewest = 1024;
        ArgumentNullException.ThrowIfNull(model);
        long weights = model.Parameters.All.Sum(parameter => model.Device.StorageBytes(parameter.Type));
        return (int)Math.Clamp((deviceBytes - weights) / 4 / KeyValueCache.BytesPerToken(model, keyValueType), Fewest, Most);
    }

    private static IReadOnlyList<TokenDetail> Take(List<TokenDetail> details)
    {
        if (details.Count == 0)
            return [];
        TokenDetail[] taken = [.. details];
        details.Clear();
        return taken;
    }

    private void Free()
    {
        Model.Dispose();
        if (!_options.LeaveDeviceOpen)
            _device.Dispose();
    }

    /// <summary>
    /// Checks options as far as no prompt is needed for it: their ranges, and whether each banned word has a token.
    /// </summary>
    /// <exception cref="ArgumentException">An answer with them would be refused; says why.</exception>
    public void CheckOptions(GenerationOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        foreach (string word in options.BannedWords)
            TokensOf(word);
    }

    /// <summary>The form of an answer, behind its think block if there is one.</summary>
    private TokenConstraint? ConstraintOf(GenerationOptions options, PreparedPrompt prompt)
    {
        if (ToolForm.Of(options) is not { } constraint)
            return null;
        bool mayThink = options.Thinking switch
        {
            // Whoever may say anything may open a think block, in which no call is meant.
            _ when options.OfferedTools.Count > 0 && options.ToolChoice.Kind == ToolChoiceKind.Auto => true,
            ThinkingMode.On => true,
            ThinkingMode.Off => false,
            _ => Template.MayThink,
        };
        return _constraints.Get(constraint, prompt.OpensThinking ? true : mayThink && !prompt.IsPlain ? false : null);
    }

    private SamplingOptions SamplingOf(GenerationOptions options, int promptTokens)
    {
        GenerationDefaults defaults = Model.Configuration.Generation;
        bool sample = defaults.Sample == true;
        int left = ContextTokens - promptTokens;
        int most = options.MaxOutputTokens ?? Math.Min(left, defaults.MaxOutputTokens ?? DefaultNewTokens);
        if (left < 1)
            throw new ContextLengthException(
                $"The prompt has {promptTokens} tokens, and the context has {ContextTokens}: none is left for an answer.");
        if (options.MaxOutputTokens > left)
            throw new ContextLengthException(
                $"A prompt of {promptTokens} tokens with up to {options.MaxOutputTokens} new ones exceeds the context " +
                $"of {ContextTokens} tokens.");

        int fewest = options.MinOutputTokens
            ?? (!options.HasForm ? Math.Min(defaults.MinOutputTokens ?? 0, most) : 0);
        if (fewest > most)
            throw new ContextLengthException(
                $"A prompt of {promptTokens} tokens leaves an answer {most} tokens, fewer than the {fewest} that it " +
                $"is to have at least.");

        var bias = new Dictionary<int, float>(options.LogitBias ?? new Dictionary<int, float>());
        // A number beyond the vocabulary is never drawn anyway.
        foreach (int token in options.BannedWords.SelectMany(TokensOf)
            .Concat(defaults.SuppressedTokenIds.Where(
                token => (uint)token < (uint)Model.Configuration.Language.VocabularySize)))
            bias[token] = float.NegativeInfinity;
        return new SamplingOptions
        {
            Temperature = options.Temperature ?? (sample ? (float)(defaults.Temperature ?? 1) : 0),
            TopP = options.TopP ?? (sample ? (float)(defaults.TopP ?? 1) : 1),
            TopK = options.TopK ?? (sample ? defaults.TopK ?? 0 : 0),
            MinP = options.MinP ?? (sample ? (float)(defaults.MinP ?? 0) : 0),
            RepetitionPenalty = options.RepetitionPenalty ?? (float)(defaults.RepetitionPenalty ?? 1),
            FrequencyPenalty = options.FrequencyPenalty ?? 0,
            PresencePenalty = options.PresencePenalty ?? 0,
            TopLogProbabilityCount = options.TopLogProbabilityCount,
            SpeculativeTokens = options.SpeculativeTokens ?? _options.SpeculativeTokens,
            LogitBias = bias,
            MaxOutputTokens = most,
            MinOutputTokens = fewest,
            StopTokens = options.IgnoreEndOfSequence ? options.StopTokenIds : options.StopTokenIds.Count > 0
                ? [.. _stopTokens.Union(options.StopTokenIds)] : _stopTokens,
            Seed = options.Seed ?? AnySeed(),
        };
    }

    /// <summary>A seed for those who gave none; no secret, so that no cryptography is needed.</summary>
    private static ulong AnySeed()
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        Random.Shared.NextBytes(bytes);
        return BitConverter.ToUInt64(bytes);
    }

    /// <summary>The tokens that spell a word alone.</summary>
    private int[] TokensOf(string word)
    {
        string plain = word.Trim(), lower = plain.ToLowerInvariant();
        string[] spellings = [.. new[] { plain, lower, char.ToUpperInvariant(lower[0]) + lower[1..] }.Distinct()
            .SelectMany(spelling => new[] { spelling, " " + spelling })];
        int[] tokens = [.. spellings.Where(Tokenizer.CanEncode).Select(spelling => Tokenizer.Encode(spelling))
            .Where(encoded => encoded.Length == 1).Select(encoded => encoded[0])];
        return tokens.Length > 0 ? tokens
            : throw new ArgumentException($"The word '{word}' cannot be banned: the vocabulary has no single token for it.");
    }
}
