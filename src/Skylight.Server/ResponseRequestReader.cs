using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Skylight.Chat;
using Skylight.Generation;

namespace Skylight.Server;

/// <summary>Reads a request for a response. <see cref="ResponseFields"/> says which fields there are.</summary>
/// <param name="chat">Reads what such requests have in common with chat completions.</param>
/// <param name="store">Has the responses that may be gone on from.</param>
internal sealed class ResponseRequestReader(ChatRequestReader chat, ResponseStore store)
{
    private const string LogProbabilities = "message.output_text.logprobs", Encrypted = "reasoning.encrypted_content";
    private const int MostMetadata = 16, MostMetadataName = 64, MostMetadataValue = 512;

    private static readonly JsonElement s_anyText = JsonText.ParseElement("""{"format":{"type":"text"}}"""u8.ToArray()),
        s_auto = JsonText.ParseElement("\"auto\""u8.ToArray());

    /// <summary>Reads a body.</summary>
    /// <param name="body">JSON in UTF-8.</param>
    /// <param name="cancellationToken">Stops the fetching of pictures.</param>
    /// <exception cref="ApiException">The body is not what it should be; the message says where.</exception>
    public async Task<ResponseRequest> ReadAsync(ReadOnlyMemory<byte> body, CancellationToken cancellationToken)
    {
        using JsonDocument document = ChatRequestReader.ParseBody(body);
        var root = new JsonField(document.RootElement, "");
        chat.CheckRoot(root, ResponseFields.All);
        bool stream = root["stream"]?.Boolean() ?? false;
        if (root["stream_options"] is { } streaming)
        {
            ResponseFields.All.Check(streaming, "stream_options.");
            if (!stream)
                throw ApiException.BadRequest("'stream_options' needs 'stream' to be true.", "stream_options");
        }

        // Before any picture is fetched: what is asked for cannot be stored, or is not there.
        bool stores = root["store"]?.Boolean() ?? store.IsOn;
        if (stores && !store.IsOn)
            throw ApiException.BadRequest("'store' is true, and this server keeps no responses: leave it out.", "store");
        StoredResponse? previous = root["previous_response_id"] is { } id ? Find(id) : null;
        GenerationOptions generation = ReadOptions(root);
        ResponseInput input = await new ResponseInputReader(chat).ReadAsync(root.Required("input"), cancellationToken)
            .ConfigureAwait(false);
        string? instructions = root["instructions"]?.Text();
        Message[] messages = WithInstructions(instructions,
            [.. previous?.Turns.SelectMany(turn => turn.Messages) ?? [], .. input.Messages]);
        if (input.LowDetail && generation.MaximumTiles is null)
            generation = generation with { MaximumTiles = 1 };
        return new ResponseRequest(messages, generation, stream, input.Messages, input.Bytes)
        {
            Previous = previous,
            InputItems = input.Items,
            Instructions = instructions,
            Store = stores,
            Metadata = ReadMetadata(root["metadata"]),
            Reasoning = new ResponseReasoning(root["reasoning"]?["effort"]?.Text(), null),
            Text = root["text"] is { } text && text["format"] is not null ? Clone(text) : s_anyText,
            ToolChoice = root["tool_choice"] is { } choice ? Clone(choice) : s_auto,
        };
    }

    private StoredResponse Find(JsonField id)
    {
        string name = id.Text();
        return store.Find(name) ?? throw new ApiException(StatusCodes.Status404NotFound,
            $"'{id.Path}' is '{(name.Length <= 80 ? name : name[..80] + "…")}', and no such response is kept" +
            $"{(store.IsOn ? ": it was sent with 'store' false, was deleted, or has made room for later ones. " : "; this server keeps none. ")}" +
            "Send the whole conversation as 'input'.", id.Path, "previous_response_not_found");
    }

    private GenerationOptions ReadOptions(JsonField root)
    {
        if (root["text"] is { } text)
            ResponseFields.All.Check(text, "text.");
        if (root["reasoning"] is { } reasoning)
            ResponseFields.All.Check(reasoning, "reasoning.");
        int topTokens = root["top_logprobs"]?.Integer(0, SamplingOptions.MostTopLogProbabilities) ?? 0;
        bool reports = topTokens > 0;
        foreach (JsonField included in root["include"]?.Items() ?? [])
        {
            reports |= included.Text() switch
            {
                LogProbabilities => true,
                Encrypted => false,
                _ => throw included.Wrong($"'{LogProbabilities}' or '{Encrypted}'"),
            };
        }

        return ToolFields.ReadFlat(root, chat.ReadOptions(root)) with
        {
            MaxOutputTokens = root["max_output_tokens"]?.Integer(1, int.MaxValue),
            ReportTokens = reports,
            TopLogProbabilityCount = topTokens,
        };
    }

    /// <summary>The family was trained on one system turn, so that instructions join the one that is there.</summary>
    private static Message[] WithInstructions(string? instructions, Message[] messages)
    {
        if (string.IsNullOrEmpty(instructions))
            return messages;
        return messages[0].Role == Skylight.Text.ChatRole.System
            ? [messages[0] with { Parts = [new TextPart(instructions + "\n\n"), .. messages[0].Parts] }, .. messages[1..]]
            : [Message.System(instructions), .. messages];
    }

    private static Dictionary<string, string> ReadMetadata(JsonField? metadata)
    {
        var read = new Dictionary<string, string>(StringComparer.Ordinal);
        if (metadata is not { } field)
            return read;
        foreach ((string name, JsonField value) in field.Members())
        {
            if (read.Count == MostMetadata)
                throw ApiException.BadRequest($"'{field.Path}' has more than {MostMetadata} texts.", field.Path);
            if (name.Length > MostMetadataName || value.Text().Length > MostMetadataValue)
                throw ApiException.BadRequest(
                    $"A name in '{field.Path}' may have {MostMetadataName} characters, and its text {MostMetadataValue}.",
                    field.Path);
            read[name] = value.Text();
        }

        return read;
    }

    private static JsonElement Clone(JsonField field) =>
        JsonText.ParseElement(System.Text.Encoding.UTF8.GetBytes(field.RawText));
}
