using Skylight.Checkpoints;
using Skylight.Images;
using Skylight.Models;
using Skylight.Text;
using Skylight.Text.Templates;

namespace Skylight.Chat;

/// <summary>
/// Turns messages into what a model reads: pictures decoded and cut into tiles, text into tokens. It needs no weights,
/// so that samples for training are made by the same code as prompts. Any number of callers may use it at once.
/// </summary>
public sealed class ConversationEncoder
{
    // How much shorter text becomes at most when a tokenizer composes its characters (NFC, in UTF-8).
    private const int MostShrinking = 3;

    private readonly ModelConfiguration _configuration;
    private readonly ITokenizer _tokenizer;
    // Not disposed: who waits for it while its owner is closed would wait for ever.
    private readonly SemaphoreSlim _preparing = new(Environment.ProcessorCount);
    private int? _longestToken;

    /// <summary>Makes an encoder.</summary>
    /// <param name="configuration">The model's sizes and its way with pictures.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="template">How messages become a prompt; by default the one that belongs to the model.</param>
    /// <exception cref="TokenizerException">The tokenizer does not belong to the model.</exception>
    public ConversationEncoder(ModelConfiguration configuration, ITokenizer tokenizer, ChatTemplate? template = null)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        ArgumentNullException.ThrowIfNull(tokenizer);
        tokenizer.EnsureFits(configuration.Language.VocabularySize, configuration.ImageTokenId);
        (_configuration, _tokenizer) = (configuration, tokenizer);
        Template = template ?? TemplateOf(configuration);
        MaximumTokens = configuration.Language.MaxPositions;
    }

    /// <summary>How messages become a prompt.</summary>
    public ChatTemplate Template { get; }

    /// <summary>The most tokens of a conversation; by default the model's positions.</summary>
    public int MaximumTokens { get; init; }

    /// <summary>The most pictures of a conversation.</summary>
    public int MaximumImages { get; init; } = int.MaxValue;

    /// <summary>How large pictures may be.</summary>
    public ImageLimits ImageLimits { get; init; } = ImageLimits.Default;

    /// <summary>What decodes pictures.</summary>
    public ImageDecoders ImageDecoders { get; init; } = ImageDecoders.Standard;

    /// <summary>Whether tiles are given the keys by which a cache finds them.</summary>
    internal bool NamesPictures { get; init; }

    /// <summary>The name of the template that is built in for a model, for <see cref="TemplateOf"/>.</summary>
    public const string BuiltIn = "built-in";

    /// <summary>
    /// The template that belongs to a checkpoint, with the system message that its configuration names: its own
    /// (<c>chat_template</c>) where it writes anything else than the one that is built in for its model, else the
    /// built-in one.
    /// </summary>
    /// <param name="configuration">The checkpoint's.</param>
    /// <param name="name"><see cref="BuiltIn"/> or one of <see cref="ChatTemplate.Names"/>, in place of the
    /// checkpoint's own.</param>
    /// <exception cref="CheckpointException">The checkpoint's own template cannot be used; says where and what to
    /// do.</exception>
    /// <exception cref="ArgumentException">There is no template of that name, or none for the model.</exception>
    public static ChatTemplate TemplateOf(ModelConfiguration configuration, string? name = null)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        ChatTemplate template = name switch
        {
            null when configuration.ChatTemplate is { } file => OwnTemplate(configuration, file),
            null or BuiltIn => ChatTemplate.For(configuration.ModelType, configuration.Template),
            _ => ChatTemplate.Named(name),
        };
        // InternVL3.5 thinks when a system message asks it to.
        if (configuration is { Language.Kind: LanguageModelKind.Qwen3, ModelType: "internvl_chat" or "internvl" }
            && template.Jinja is null or { SwitchesThinking: false })
            template = template with { ThinkingMessage = ChatTemplate.InternVLThinkingMessage };
        return configuration.SystemMessage is { } message
            ? template with { SystemMessage = message.Length == 0 ? null : message } : template;
    }

    private static ChatTemplate OwnTemplate(ModelConfiguration configuration, ChatTemplateFile file)
    {
        ChatTemplate own;
        try
        {
            own = ChatTemplate.FromJinja(Path.GetFileName(file.File), file.Source, file.Tokens);
        }
        catch (TemplateException exception)
        {
            throw new CheckpointException(
                file.File, $"has a chat template that cannot be used: {exception.Message} Correct it, take it out, " +
                    $"or choose another (--template {BuiltIn}; in a recipe 'prompt.chat_template'; " +
                    $"ChatModelOptions.Template).", innerException: exception);
        }

        ChatTemplate builtIn;
        try
        {
            builtIn = ChatTemplate.For(configuration.ModelType, configuration.Template);
        }
        catch (ArgumentException)
        {
            return own;
        }

        return builtIn.WritesLike(own) ? builtIn : own;
    }

    /// <summary>The prompt that a conversation makes; the model's answer comes next.</summary>
    /// <param name="messages">The conversation, oldest message first. A last message of the assistant is what the
    /// answer begins with.</param>
    /// <param name="thinking">Whether the answer begins by thinking.</param>
    /// <param name="maximumTiles">The most tiles of a picture; by default what the model's configuration says.</param>
    /// <param name="tools">What the model may call; none by default.</param>
    /// <param name="cancellationToken">Stops, also while a picture is read.</param>
    /// <exception cref="ArgumentException">The messages cannot be used.</exception>
    /// <exception cref="ContextLengthException">They are longer than the context; the message has the numbers.</exception>
    /// <exception cref="ImageException">A picture cannot be decoded, or is too large.</exception>
    public async Task<PreparedPrompt> PromptAsync(
        IReadOnlyList<Message> messages, ThinkingMode thinking = ThinkingMode.Default, int? maximumTiles = null,
        IReadOnlyList<ToolDefinition>? tools = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(messages);
        CheckMessages(messages, tools ??= []);
        messages = ToolResults.Ordered(messages);
        (List<ChatTurn> turns, List<ImageTile> tiles) = await TurnsAsync(messages, maximumTiles, cancellationToken)
            .ConfigureAwait(false);
        ChatPrompt prompt = TemplateFor(thinking).Apply(_tokenizer, turns, [.. tools.Select(tool => tool.Signature)]);
        if (prompt.Tokens.Length >= MaximumTokens)
            throw new ContextLengthException(
                $"The conversation has {prompt.Tokens.Length} tokens ({prompt.ImageTokenCount} of them for " +
                $"pictures), and the context has {MaximumTokens}: none is left for an answer.", nameof(messages));
        return new PreparedPrompt(new TokenSequence(prompt.Tokens, tiles), prompt.ImageTokenCount, prompt.OpensThinking);
    }

    /// <summary>A text that is continued as it stands, outside of any conversation. Spellings of special tokens in it
    /// are those tokens.</summary>
    /// <param name="text">The text.</param>
    /// <exception cref="ArgumentException">The text is empty, or asks for a picture.</exception>
    /// <exception cref="ContextLengthException">It is longer than the context; the message has the numbers.</exception>
    public PreparedPrompt TextPrompt(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        CheckLength(System.Text.Encoding.UTF8.GetByteCount(text), "prompt");
        return TokenPrompt(_tokenizer.Encode(text, allowSpecial: true));
    }

    /// <summary>The same, given as tokens.</summary>
    /// <param name="tokens">The tokens' numbers.</param>
    /// <exception cref="ArgumentException">There are none, or one is not in the vocabulary or a picture's.</exception>
    /// <exception cref="ContextLengthException">They are more than the context; the message has the numbers.</exception>
    public PreparedPrompt TokenPrompt(IReadOnlyList<int> tokens)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        if (tokens.Count == 0)
            throw new ConversationException("A prompt needs at least one token.", "prompt");
        int vocabulary = _tokenizer.VocabularySize;
        for (int index = 0; index < tokens.Count; index++)
        {
            if ((uint)tokens[index] >= (uint)vocabulary)
                throw new ConversationException(
                    $"Token {index} of the prompt has the number {tokens[index]}; there are those from 0 to {vocabulary - 1}.",
                    "prompt");
            if (tokens[index] == _configuration.ImageTokenId)
                throw new ConversationException(
                    $"Token {index} of the prompt stands for a picture, which a prompt without messages cannot have: send " +
                    $"pictures in messages.", "prompt");
        }

        if (tokens.Count >= MaximumTokens)
            throw new ContextLengthException(
                $"The prompt has {tokens.Count} tokens, and the context has {MaximumTokens}: none is left for an answer.",
                "prompt");
        return new PreparedPrompt(new TokenSequence([.. tokens], []), 0, false) { IsPlain = true };
    }

    /// <summary>
    /// A whole conversation, with the places of the assistant's answers: to be trained on, or to be scored.
    /// </summary>
    /// <param name="messages">The conversation, oldest message first; the last one is the assistant's.</param>
    /// <param name="thinking">Whether answers begin by thinking: the opening of the think block is then the
    /// prompt's.</param>
    /// <param name="maximumTiles">The most tiles of a picture; by default what the model's configuration says.</param>
    /// <param name="cancellationToken">Stops, also while a picture is read.</param>
    /// <exception cref="ArgumentException">The messages cannot be used: nobody answers at their end, or an answer has
    /// no thinking where the template opens a think block.</exception>
    /// <exception cref="ContextLengthException">They are longer than the context; the message has the numbers.</exception>
    /// <exception cref="ImageException">A picture cannot be decoded, or is too large.</exception>
    public async Task<PreparedConversation> ConversationAsync(
        IReadOnlyList<Message> messages, ThinkingMode thinking = ThinkingMode.Default, int? maximumTiles = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(messages);
        CheckMessages(messages, []);
        (List<ChatTurn> turns, List<ImageTile> tiles) = await TurnsAsync(messages, maximumTiles, cancellationToken)
            .ConfigureAwait(false);
        ChatTranscript transcript = TemplateFor(thinking).ApplyWithAnswers(_tokenizer, turns);
        if (transcript.Tokens.Length > MaximumTokens)
            throw new ContextLengthException(
                $"The conversation has {transcript.Tokens.Length} tokens with its answers " +
                $"({transcript.ImageTokenCount} of them for pictures), and the context has {MaximumTokens}: " +
                $"shorten it, or allow fewer tiles.", nameof(messages));
        return new PreparedConversation(new TokenSequence(transcript.Tokens, tiles), transcript.ImageTokenCount,
            transcript.Answers);
    }

    private ChatTemplate TemplateFor(ThinkingMode thinking) => thinking == ThinkingMode.Default ? Template
        : Template.WithThinking(thinking == ThinkingMode.On);

    private async Task<(List<ChatTurn> Turns, List<ImageTile> Tiles)> TurnsAsync(IReadOnlyList<Message> messages,
        int? maximumTiles, CancellationToken cancellationToken)
    {
        ImageProcessor processor = ProcessorOf(maximumTiles);
        var tiles = new List<ImageTile>();
        var turns = new List<ChatTurn>(messages.Count);
        foreach (Message message in messages)
        {
            var parts = new List<ChatPart>(message.Parts.Count);
            foreach (MessagePart part in message.Parts)
            {
                if (part is not ImagePart image)
                {
                    parts.Add(part is ToolCallPart call ? new ChatToolCall(call.Call.Name, call.Call.Arguments)
                        : new ChatText(((TextPart)part).Text));
                    continue;
                }

                ImageTile[] tilesOfImage = await TilesAsync(image, processor, cancellationToken).ConfigureAwait(false);
                tiles.AddRange(tilesOfImage);
                parts.Add(new ChatImage(tilesOfImage.Length * _configuration.TokensPerTile));
                if ((long)tiles.Count * _configuration.TokensPerTile >= MaximumTokens)
                    throw new ContextLengthException(
                        $"The pictures take {tiles.Count} tiles of {_configuration.TokensPerTile} tokens or more, " +
                        $"and the context has {MaximumTokens} tokens: send fewer or set a lower maximum of " +
                        $"tiles (it is {processor.Tiling.MaximumTiles}).", nameof(messages));
            }

            turns.Add(new ChatTurn(message.Role, [.. parts]));
        }

        return (turns, tiles);
    }

    private void CheckMessages(IReadOnlyList<Message> messages, IReadOnlyList<ToolDefinition> tools)
    {
        if (messages.Count == 0)
            throw new ConversationException("A conversation needs at least one message.", nameof(messages));
        int images = 0;
        for (int index = 0; index < messages.Count; index++)
        {
            Message message = messages[index]
                ?? throw new ConversationException($"Message {index} is null.", nameof(messages));
            foreach (MessagePart part in message.Parts)
            {
                ArgumentNullException.ThrowIfNull(part);
                if (part is ImagePart && message.Role is not (ChatRole.User or ChatRole.Tool))
                    throw new ConversationException(
                        $"Message {index} is from the {message.Role.ToString().ToLowerInvariant()} and holds a " +
                        $"picture; the model takes pictures from the user and from tools only.", nameof(messages));
                if (part is ToolCallPart)
                    CheckCall(messages, index);
                images += part is ImagePart ? 1 : 0;
            }
        }

        CheckLength(messages, tools);
        if (images > MaximumImages)
            throw new ConversationException(
                $"The conversation holds {images} pictures; at most {MaximumImages} are allowed.", nameof(messages));
    }

    private static void CheckCall(IReadOnlyList<Message> messages, int index)
    {
        if (messages[index].Role != ChatRole.Assistant)
            throw new ConversationException(
                $"Message {index} is from the {messages[index].Role.ToString().ToLowerInvariant()} and calls a tool; " +
                $"only the assistant calls tools.", nameof(messages));
        if (index == messages.Count - 1)
            throw new ConversationException(
                $"Message {index}, the last one, calls tools: what they gave must follow it.", nameof(messages));
    }

    /// <summary>
    /// Refuses text that cannot fit before time is spent on its tokens: megabytes of it would keep a processor busy for
    /// seconds.
    /// </summary>
    private void CheckLength(IReadOnlyList<Message> messages, IReadOnlyList<ToolDefinition> tools)
    {
        // Of the last message nothing is left out: it is continued.
        CheckLength(messages.Select((message, index) => BytesOf(message, index == messages.Count - 1)).Sum()
            + tools.Sum(tool => (long)tool.Signature.GetRawText().Length), nameof(messages));
    }

    private void CheckLength(long bytes, string parameter)
    {
        if (bytes / MostShrinking < MaximumTokens)
            return;
        _longestToken ??= Enumerable.Range(0, _tokenizer.VocabularySize).Max(token => _tokenizer.TokenBytes(token).Length);
        long fewest = bytes / MostShrinking / Math.Max(1, _longestToken.Value);
        if (fewest >= MaximumTokens)
            throw new ContextLengthException(
                $"The {(parameter == "messages" ? "conversation" : parameter)} has {bytes:N0} bytes of text, more than " +
                $"{fewest:N0} tokens, and the context has {MaximumTokens}: none is left for an answer.", parameter);
    }

    private long BytesOf(Message message, bool isLast)
    {
        string text = string.Concat(message.Parts.OfType<TextPart>().Select(part => part.Text));
        long calls = message.Parts.OfType<ToolCallPart>().Sum(part => (long)part.Call.Arguments.Length);
        return calls + System.Text.Encoding.UTF8.GetByteCount(message.Role == ChatRole.Assistant && !isLast
            && !Template.KeepsThinking ? ChatTemplate.WithoutThinking(text) : text);
    }

    private ImageProcessor ProcessorOf(int? maximumTiles)
    {
        ImagePreprocessing preprocessing = _configuration.Preprocessing;
        int most = preprocessing.IsTiled ? maximumTiles ?? preprocessing.MaximumTiles : 1;
        var tiling = new ImageTiling
        {
            TileSize = _configuration.Vision.ImageHeight,
            MinimumTiles = Math.Min(most, preprocessing.IsTiled ? preprocessing.MinimumTiles : 1),
            MaximumTiles = most,
            UseThumbnail = preprocessing.HasThumbnail,
        };
        return new ImageProcessor(tiling, Channels(preprocessing.Mean), Channels(preprocessing.Deviation));

        static float[] Channels(ColorChannels channels) =>
            [(float)channels.Red, (float)channels.Green, (float)channels.Blue];
    }

    /// <summary>
    /// Decodes a picture and cuts it; only so many at once as there are processors, because a large one takes much
    /// memory.
    /// </summary>
    private async Task<ImageTile[]> TilesAsync(ImagePart image, ImageProcessor processor,
        CancellationToken cancellationToken)
    {
        await _preparing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            return await Task.Run(
                async () =>
                {
                    RgbImage picture = await image.OpenAsync(ImageDecoders, ImageLimits, cancellationToken)
                        .ConfigureAwait(false);
                    ProcessedImage processed = processor.Process(picture, cancellationToken);
                    ImageTile[] tiles = [.. processed.Pixels.Select(
                        pixels => new ImageTile(pixels, processed.TileSize, processed.TileSize))];
                    // Here, and not on the thread that everybody's tokens wait for.
                    if (NamesPictures)
                        Array.ForEach(tiles, tile => _ = tile.ContentKey);
                    return tiles;
                },
                cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _preparing.Release();
        }
    }
}

/// <summary>A conversation as the model reads it.</summary>
/// <param name="Sequence">Tokens and tiles.</param>
/// <param name="ImageTokens">How many of the tokens stand for pictures.</param>
/// <param name="OpensThinking">Whether the answer begins inside a think block.</param>
public sealed record PreparedPrompt(TokenSequence Sequence, int ImageTokens, bool OpensThinking)
{
    /// <summary>
    /// Whether it is no conversation but a text that goes on: what looks like the tag of a think block is then text like
    /// any other.
    /// </summary>
    public bool IsPlain { get; init; }
}

/// <summary>A conversation with its answers as the model reads, or would write, it.</summary>
/// <param name="Sequence">Tokens and tiles.</param>
/// <param name="ImageTokens">How many of the tokens stand for pictures.</param>
/// <param name="Answers">For each answer its tokens, from the first that the model writes to the end of its turn, that
/// token included: [start, end).</param>
public sealed record PreparedConversation(TokenSequence Sequence, int ImageTokens,
    IReadOnlyList<(int Start, int End)> Answers);
