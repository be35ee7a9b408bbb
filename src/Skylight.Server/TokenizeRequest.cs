using System.Text.Json;
using Skylight.Chat;
using Skylight.Text;

namespace Skylight.Server;

/// <summary>What a client wants the tokens of: a text as it stands, or a conversation.</summary>
/// <param name="Text">The text; null of a conversation.</param>
/// <param name="Messages">The conversation.</param>
/// <param name="Options">How the conversation becomes a prompt.</param>
/// <param name="Spells">Whether the tokens' texts are wanted as well.</param>
internal sealed record TokenizeRequest(string? Text, IReadOnlyList<Message> Messages, GenerationOptions Options, bool Spells)
{
    // They say how a conversation is read, so a text has no use for them.
    private static readonly string[] s_ofMessages =
        ["enable_thinking", "chat_template_kwargs", "continue_final_message", "add_generation_prompt", "max_tiles"];

    /// <summary>Reads a request.</summary>
    /// <param name="body">JSON in UTF-8.</param>
    /// <param name="reader">Reads what chats have too.</param>
    /// <param name="cancellationToken">Stops the fetching of pictures.</param>
    /// <exception cref="ApiException">The body is not what it should be; the message says where.</exception>
    public static async Task<TokenizeRequest> ReadAsync(ReadOnlyMemory<byte> body, ChatRequestReader reader,
        CancellationToken cancellationToken)
    {
        using JsonDocument document = ChatRequestReader.ParseBody(body);
        var root = new JsonField(document.RootElement, "");
        reader.CheckRoot(root, TextFields.Tokenize);
        bool spells = root["return_token_strs"]?.Boolean() ?? false;
        if (root["messages"] is not { } messages)
        {
            foreach (JsonField field in s_ofMessages.Select(name => root[name]).OfType<JsonField>())
                throw ApiException.BadRequest($"'{field.Path}' needs 'messages': a 'prompt' has no template.", field.Path);
            return new TokenizeRequest(root.Required("prompt").Text(), [], new GenerationOptions(), spells);
        }

        if (root["prompt"] is not null)
            throw ApiException.BadRequest("'prompt' and 'messages' are both there: send one of them.", "prompt");
        (List<Message> read, bool lowDetail) = await reader.ReadMessagesAsync(messages, cancellationToken)
            .ConfigureAwait(false);
        ChatRequestReader.CheckContinuation(root, read[^1].Role == ChatRole.Assistant);
        return new TokenizeRequest(null, read, new GenerationOptions
        {
            Thinking = ChatRequestReader.ReadThinking(root),
            MaximumTiles = root["max_tiles"]?.Integer(1, GenerationOptions.MostTiles) ?? (lowDetail ? 1 : null),
        }, spells);
    }

    /// <summary>What the model would read.</summary>
    public async Task<PreparedPrompt> PrepareAsync(ChatModel model, CancellationToken cancellationToken) => Text is not null
        ? model.Prepare(Text) : await model.PrepareAsync(Messages, Options, cancellationToken).ConfigureAwait(false);
}

/// <summary>Tokens of which a client wants the text.</summary>
internal static class DetokenizeRequest
{
    private const int MostTokens = 1 << 20;

    /// <summary>Reads a request.</summary>
    /// <param name="body">JSON in UTF-8.</param>
    /// <param name="reader">Reads what chats have too.</param>
    /// <param name="vocabularySize">The tokenizer's tokens.</param>
    /// <exception cref="ApiException">The body is not what it should be; the message says where.</exception>
    public static int[] Read(ReadOnlyMemory<byte> body, ChatRequestReader reader, int vocabularySize)
    {
        using JsonDocument document = ChatRequestReader.ParseBody(body);
        var root = new JsonField(document.RootElement, "");
        reader.CheckRoot(root, TextFields.Detokenize);
        JsonField field = root.Required("tokens");
        if (field.Kind == JsonValueKind.Array && field.Count > MostTokens)
            throw ApiException.BadRequest($"'tokens' has {field.Count} tokens; at most {MostTokens} are allowed.", "tokens");
        return [.. field.Items().Select(item => item.Integer(0, vocabularySize - 1))];
    }
}
