using System.Globalization;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Skylight.Chat;
using Skylight.Images;
using Skylight.Text;

namespace Skylight.Server;

/// <summary>
/// Reads a request for chat completions. Fields that mean nothing here are ignored; what would change the answer and is not supported (tools, JSON
/// schemas, other media) is refused by name, so that nothing is dropped silently.
/// </summary>
/// <param name="modelName">What the model is called.</param>
/// <param name="vocabularySize">The model's tokens.</param>
/// <param name="options">Limits and the resolver of pictures.</param>
internal sealed class ChatRequestReader(string modelName, int vocabularySize, SkylightServerOptions options)
{
    private const int MostStops = 16, MostBias = 1024, MostReason = 160;

    /// <summary>Reads a body.</summary>
    /// <param name="body">JSON in UTF-8.</param>
    /// <param name="cancellationToken">Stops the fetching of pictures.</param>
    /// <exception cref="ApiException">The body is not what it should be; the message says where.</exception>
    public async Task<ChatRequest> ReadAsync(ReadOnlyMemory<byte> body, CancellationToken cancellationToken)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(body);
            return await ReadAsync(new JsonField(document.RootElement, ""), cancellationToken).ConfigureAwait(false);
        }
        catch (JsonException exception)
        {
            // It quotes what it does not understand up to the end of the body: megabytes of a picture, perhaps.
            string reason = exception.Message.Split(" LineNumber:")[0];
            reason = reason.Length <= MostReason ? reason : reason[..MostReason] + "…";
            throw ApiException.BadRequest($"The body is not valid JSON: line {exception.LineNumber + 1}, byte {exception.BytePositionInLine + 1}: {reason}", code: "invalid_json");
        }
        catch (InvalidOperationException)
        {
            // Half a surrogate pair or bytes that are not UTF-8, in a string.
            throw ApiException.BadRequest("The body holds text that is not valid Unicode.", code: "invalid_json");
        }
    }

    private async Task<ChatRequest> ReadAsync(JsonField root, CancellationToken cancellationToken)
    {
        if (root.Kind != JsonValueKind.Object)
            throw ApiException.BadRequest("The body must be a JSON object.");
        if (root["model"]?.Text() is { } name && name != modelName)
            throw new ApiException(StatusCodes.Status404NotFound, $"There is no model '{(name.Length <= 100 ? name : name[..100] + "…")}' here. This server has: {modelName}.", "model", "model_not_found");
        RefuseWhatIsNotSupported(root);
        bool stream = root["stream"]?.Boolean() ?? false;
        bool includeUsage = root["stream_options"]?["include_usage"]?.Boolean() ?? false;
        if (!stream && root["stream_options"] is { } streamOptions)
            throw ApiException.BadRequest($"'{streamOptions.Path}' needs 'stream' to be true.", streamOptions.Path);
        int count = root["n"]?.Integer(1, options.MaximumChoices) ?? 1;
        GenerationOptions generation = ReadOptions(root);
        (List<Message> messages, bool lowDetail) = await ReadMessagesAsync(root.Required("messages"), cancellationToken).ConfigureAwait(false);
        if (lowDetail && generation.MaximumTiles is null)
            generation = generation with { MaximumTiles = 1 };
        return new ChatRequest(messages, generation, count, stream, includeUsage);
    }

    private static void RefuseWhatIsNotSupported(JsonField root)
    {
        foreach (string name in (ReadOnlySpan<string>)["tools", "functions"])
        {
            if (root[name] is { } tools && !(tools.Kind == JsonValueKind.Array && tools.Count == 0))
                throw ApiException.BadRequest($"'{name}' are not supported: the model calls no tools. Leave them out.", name, "unsupported_parameter");
        }

        foreach (string name in (ReadOnlySpan<string>)["frequency_penalty", "presence_penalty"])
        {
            if (root[name]?.Number(-2, 2) is not (null or 0))
                throw ApiException.BadRequest($"'{name}' is not supported; 'repetition_penalty' is.", name, "unsupported_parameter");
        }

        if (root["response_format"] is { } format && format.Required("type") is var type && type.Text() != "text")
            throw ApiException.BadRequest($"'{type.Path}' must be 'text': answers cannot be bound to '{type.Text()}' yet. Ask for JSON in the prompt, and check what comes.", type.Path, "unsupported_parameter");
        if (root["modalities"] is { } modalities && modalities.Items().FirstOrDefault(item => item.Text() != "text") is { Path: not null } modality)
            throw ApiException.BadRequest($"'{modality.Path}' must be 'text': the model writes nothing else.", modality.Path, "unsupported_parameter");
        if (root["audio"] is not null)
            throw ApiException.BadRequest("'audio' is not supported: the model writes text.", "audio", "unsupported_parameter");
        if (root["top_logprobs"] is { } top && top.Integer(0, 20) > 0)
            throw ApiException.BadRequest("'top_logprobs' is not supported; 'logprobs' gives the log-probability of the chosen tokens.", "top_logprobs", "unsupported_parameter");
    }

    private GenerationOptions ReadOptions(JsonField root)
    {
        if (root["top_p"] is { } topP && topP.Number(0, 1) == 0)
            throw topP.Wrong("above 0 and at most 1");
        if (root["repetition_penalty"] is { } penalty && penalty.Number(0, float.MaxValue) == 0)
            throw penalty.Wrong("above 0");
        return new GenerationOptions
        {
            Temperature = root["temperature"]?.Number(0, float.MaxValue),
            TopP = root["top_p"]?.Number(0, 1),
            // vLLM's clients say −1 for all.
            TopK = root["top_k"]?.Integer(-1, int.MaxValue) is { } topK ? Math.Max(0, topK) : null,
            MinP = root["min_p"]?.Number(0, 1),
            RepetitionPenalty = root["repetition_penalty"]?.Number(0, float.MaxValue),
            LogitBias = ReadBias(root["logit_bias"]),
            MaxNewTokens = (root["max_completion_tokens"] ?? root["max_tokens"])?.Integer(1, int.MaxValue),
            StopTexts = ReadStops(root["stop"]),
            Seed = root["seed"]?.Seed(),
            Thinking = ReadThinking(root),
            MaximumTiles = root["max_tiles"]?.Integer(1, 1024),
            ReportTokens = root["logprobs"]?.Boolean() ?? false,
        };
    }

    private static ThinkingMode ReadThinking(JsonField root)
    {
        if ((root["chat_template_kwargs"]?["enable_thinking"] ?? root["chat_template_kwargs"]?["thinking"])?.Boolean() is { } thinks)
            return thinks ? ThinkingMode.On : ThinkingMode.Off;
        if (root["reasoning_effort"] is not { } effort)
            return ThinkingMode.Default;
        return effort.Text() switch
        {
            "none" or "minimal" => ThinkingMode.Off,
            "low" or "medium" or "high" or "xhigh" => ThinkingMode.On,
            _ => throw effort.Wrong("'none', 'minimal' (no thinking), 'low', 'medium', 'high' or 'xhigh' (thinking)"),
        };
    }

    private static string[] ReadStops(JsonField? stop)
    {
        if (stop is not { } field)
            return [];
        JsonField[] items = field.Kind == JsonValueKind.String ? [field] : field.Kind == JsonValueKind.Array ? [.. field.Items()] : throw field.Wrong("a string or an array of strings");
        if (items.Length > MostStops)
            throw ApiException.BadRequest($"'stop' has {items.Length} texts; at most {MostStops} are allowed.", "stop");
        return [.. items.Select(item => item.Text() is { Length: > 0 } text ? text : throw item.Wrong("a text that is not empty"))];
    }

    private Dictionary<int, float>? ReadBias(JsonField? bias)
    {
        if (bias is not { } field)
            return null;
        var values = new Dictionary<int, float>();
        foreach ((string name, JsonField value) in field.Members())
        {
            if (!int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out int token) || token >= vocabularySize)
                throw ApiException.BadRequest($"'{field.Path}' names the token '{(name.Length <= 40 ? name : name[..40] + "…")}'; expected a number from 0 to {vocabularySize - 1}.", field.Path);
            values[token] = value.Number(-100, 100);
            if (values.Count > MostBias)
                throw ApiException.BadRequest($"'{field.Path}' names more than {MostBias} tokens.", field.Path);
        }

        return values;
    }

    /// <summary>The messages, and whether all their pictures are wanted in low detail.</summary>
    private async Task<(List<Message> Messages, bool LowDetail)> ReadMessagesAsync(JsonField field, CancellationToken cancellationToken)
    {
        var messages = new List<Message>();
        int low = 0, pictures = 0;
        foreach (JsonField message in field.Items())
        {
            ChatRole role = ReadRole(message);
            var parts = new List<MessagePart>();
            if (message["content"] is not { } content)
            {
                throw ApiException.BadRequest($"'{message.Path}.content' is missing.", $"{message.Path}.content");
            }
            else if (content.Kind == JsonValueKind.String)
            {
                parts.Add(new TextPart(content.Text()));
            }
            else
            {
                if (content.Kind != JsonValueKind.Array)
                    throw content.Wrong("a string or an array of parts");
                foreach (JsonField part in content.Items())
                {
                    (MessagePart read, bool isLow) = await ReadPartAsync(part, role, cancellationToken).ConfigureAwait(false);
                    parts.Add(read);
                    pictures += read is ImagePart ? 1 : 0;
                    low += isLow ? 1 : 0;
                }
            }

            messages.Add(new Message(role, parts));
        }

        if (messages.Count == 0)
            throw ApiException.BadRequest("'messages' is empty; a conversation needs at least one message.", "messages");
        return (messages, pictures > 0 && low == pictures);
    }

    private static ChatRole ReadRole(JsonField message)
    {
        if (message.Kind != JsonValueKind.Object)
            throw message.Wrong("an object");
        JsonField role = message.Required("role");
        foreach (string name in (ReadOnlySpan<string>)["tool_calls", "function_call", "audio"])
        {
            if (message[name] is { } call && !(call.Kind == JsonValueKind.Array && call.Count == 0))
                throw ApiException.BadRequest($"'{call.Path}' is not supported: the model calls no tools and hears nothing.", call.Path, "unsupported_parameter");
        }

        return role.Text() switch
        {
            "system" or "developer" => ChatRole.System,
            "user" => ChatRole.User,
            "assistant" => ChatRole.Assistant,
            "tool" or "function" => throw ApiException.BadRequest($"'{role.Path}' is '{role.Text()}': the model calls no tools, so that nothing can have come from one.", role.Path, "unsupported_parameter"),
            _ => throw role.Wrong("'system', 'developer', 'user' or 'assistant'"),
        };
    }

    private async Task<(MessagePart Part, bool IsLow)> ReadPartAsync(JsonField part, ChatRole role, CancellationToken cancellationToken)
    {
        JsonField type = part.Required("type");
        switch (type.Text())
        {
            case "text":
                return (new TextPart(part.Required("text").Text()), false);
            case "image_url":
                if (role != ChatRole.User)
                    throw ApiException.BadRequest($"'{part.Path}' is a picture in a message that is not the user's; the model takes pictures from the user only.", part.Path);
                JsonField image = part.Required("image_url");
                // Some clients give the URL alone.
                JsonField url = image.Kind == JsonValueKind.String ? image : image.Required("url");
                bool isLow = image.Kind == JsonValueKind.Object && image["detail"] is { } detail && detail.Text() switch
                {
                    "low" => true,
                    "high" or "auto" => false,
                    _ => throw detail.Wrong("'low' (one tile), 'high' or 'auto'"),
                };
                return (ImagePart.FromBytes(await OpenAsync(url, cancellationToken).ConfigureAwait(false), part.Path), isLow);
            default:
                throw ApiException.BadRequest($"'{type.Path}' is '{type.Text()}'; the model takes 'text' and 'image_url'.", type.Path, "unsupported_content");
        }
    }

    private async Task<ReadOnlyMemory<byte>> OpenAsync(JsonField field, CancellationToken cancellationToken)
    {
        string url = field.Text();
        if (DataUrl.Is(url))
            return DataUrl.Decode(url, field.Path);
        if (!Uri.TryCreate(url, UriKind.Absolute, out Uri? uri) || (uri.Scheme != Uri.UriSchemeHttp && uri.Scheme != Uri.UriSchemeHttps))
            throw ApiException.BadRequest($"'{field.Path}' is neither a data URL (data:image/png;base64,…) nor an http or https URL.", field.Path, "invalid_image_url");
        if (options.ImageResolver is not { } resolver)
            throw ApiException.BadRequest($"'{field.Path}' is the address of a picture, and this server fetches nothing: send the picture itself, as data:image/png;base64,… (or have the server started with URLs allowed).", field.Path, "image_urls_not_allowed");
        try
        {
            return await resolver(uri, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is ImageException or HttpRequestException)
        {
            throw new ApiException(StatusCodes.Status400BadRequest, $"'{field.Path}' cannot be fetched: {exception.Message}", field.Path, "invalid_image_url", exception);
        }
    }
}
