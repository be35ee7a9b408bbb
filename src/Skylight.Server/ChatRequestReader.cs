using System.Globalization;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Generation;
using Skylight.Images;
using Skylight.Text;

namespace Skylight.Server;

/// <summary>
/// Reads a request for chat completions. Which fields there are, and what becomes of them, <see cref="RequestFields"/>
/// says: what is unknown or would change the answer and is not supported is refused by name, so that nothing is dropped
/// silently.
/// </summary>
/// <param name="modelName">What the model is called.</param>
/// <param name="vocabularySize">The model's tokens.</param>
/// <param name="options">Limits and the resolver of pictures.</param>
internal sealed class ChatRequestReader(string modelName, int vocabularySize, SkylightServerOptions options)
{
    private const int MostStops = 16, MostBias = 1024;

    /// <summary>Reads a body.</summary>
    /// <param name="body">JSON in UTF-8.</param>
    /// <param name="cancellationToken">Stops the fetching of pictures.</param>
    /// <exception cref="ApiException">The body is not what it should be; the message says where.</exception>
    public async Task<ChatRequest> ReadAsync(ReadOnlyMemory<byte> body, CancellationToken cancellationToken)
    {
        using JsonDocument document = ParseBody(body);
        return await ReadAsync(new JsonField(document.RootElement, ""), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>A body that is JSON.</summary>
    internal static JsonDocument ParseBody(ReadOnlyMemory<byte> body)
    {
        try
        {
            return JsonText.Parse(body);
        }
        catch (JsonException exception)
        {
            throw ApiException.BadRequest($"The body is not valid JSON: {exception.Message}", code: "invalid_json");
        }
    }

    /// <summary>What all requests are: an object for this model, of known fields.</summary>
    internal void CheckRoot(JsonField root, FieldList fields)
    {
        if (root.Kind != JsonValueKind.Object)
            throw ApiException.BadRequest("The body must be a JSON object.");
        if (root["model"]?.Text() is { } name && name != modelName)
            throw new ApiException(StatusCodes.Status404NotFound,
                $"There is no model '{(name.Length <= 100 ? name : name[..100] + "…")}' here. This server has: " +
                $"{modelName}.", "model", "model_not_found");
        fields.Check(root, "");
    }

    /// <summary>How answers are sent: in pieces or whole, with or without usage at the end, and how many.</summary>
    internal (bool Stream, bool IncludeUsage, int Count) ReadDelivery(JsonField root)
    {
        bool stream = root["stream"]?.Boolean() ?? false;
        if (root["stream_options"] is { } streaming)
            RequestFields.Check(streaming, "stream_options.");
        bool includeUsage = root["stream_options"]?["include_usage"]?.Boolean() ?? false;
        if (!stream && root["stream_options"] is { } streamOptions)
            throw ApiException.BadRequest($"'{streamOptions.Path}' needs 'stream' to be true.", streamOptions.Path);
        return (stream, includeUsage, root["n"]?.Integer(1, options.MaximumChoices) ?? 1);
    }

    private async Task<ChatRequest> ReadAsync(JsonField root, CancellationToken cancellationToken)
    {
        CheckRoot(root, RequestFields.Chat);
        (bool stream, bool includeUsage, int count) = ReadDelivery(root);
        bool reports = root["logprobs"]?.Boolean() ?? false;
        int topTokens = root["top_logprobs"]?.Integer(0, SamplingOptions.MostTopLogProbabilities) ?? 0;
        if (topTokens > 0 && !reports)
            throw ApiException.BadRequest("'top_logprobs' needs 'logprobs' to be true.", "top_logprobs");
        GenerationOptions generation = ToolFields.Read(root, ReadOptions(root)) with
        {
            ReportTokens = reports,
            TopLogProbabilityCount = topTokens,
        };
        (List<Message> messages, bool lowDetail) = await ReadMessagesAsync(root.Required("messages"), cancellationToken)
            .ConfigureAwait(false);
        CheckContinuation(root, messages[^1].Role == ChatRole.Assistant);
        if (lowDetail && generation.MaximumTiles is null)
            generation = generation with { MaximumTiles = 1 };
        return new ChatRequest(messages, generation, count, stream, includeUsage);
    }

    /// <summary>How answers are made, as far as no endpoint has ways of its own.</summary>
    internal GenerationOptions ReadOptions(JsonField root)
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
            FrequencyPenalty = root["frequency_penalty"]?.Number(-2, 2),
            PresencePenalty = root["presence_penalty"]?.Number(-2, 2),
            SpeculativeTokens = root["prompt_lookup_num_tokens"]?.Integer(0, SamplingOptions.MostSpeculativeTokens),
            LogitBias = ReadBias(root["logit_bias"]),
            BannedWords = ReadTexts(root["bad_words"], MostBias),
            MaxOutputTokens = ReadMost(root),
            MinOutputTokens = root["min_tokens"]?.Integer(0, int.MaxValue),
            StopSequences = ReadTexts(root["stop"], MostStops),
            StopTokenIds = ReadStopTokens(root["stop_token_ids"]),
            IgnoreEndOfSequence = root["ignore_eos"]?.Boolean() ?? false,
            SkipSpecialTokens = root["skip_special_tokens"]?.Boolean() ?? true,
            Seed = root["seed"]?.Seed(),
            Thinking = ReadThinking(root),
            MaximumTiles = root["max_tiles"]?.Integer(1, GenerationOptions.MostTiles),
            Constraint = AnswerForm.Read(root),
        };
    }

    private static int? ReadMost(JsonField root)
    {
        int? most = root["max_completion_tokens"]?.Integer(1, int.MaxValue),
            older = root["max_tokens"]?.Integer(1, int.MaxValue);
        return most is null || older is null || most == older
            ? most ?? older
            : throw ApiException.BadRequest(
                $"'max_completion_tokens' is {most} and 'max_tokens' is {older}: send one of them.", "max_tokens");
    }

    /// <summary>All that says whether the model thinks must say the same.</summary>
    internal static ThinkingMode ReadThinking(JsonField root)
    {
        (string Path, bool Thinks)? first = null;
        foreach ((string path, bool thinks) in ThinkingSettings(root))
        {
            if (first is { } other && other.Thinks != thinks)
                throw ApiException.BadRequest(
                    $"'{other.Path}' and '{path}' contradict each other: one wants thinking, the other does not. " +
                    $"Send one of them.", path);
            first = (path, thinks);
        }

        return first is { } setting ? setting.Thinks ? ThinkingMode.On : ThinkingMode.Off : ThinkingMode.Default;
    }

    private static IEnumerable<(string Path, bool Thinks)> ThinkingSettings(JsonField root)
    {
        if (root["chat_template_kwargs"] is { } settings)
        {
            RequestFields.Check(settings, "chat_template_kwargs.");
            foreach (string name in (string[])["enable_thinking", "thinking"])
            {
                if (settings[name] is { } setting)
                    yield return (setting.Path, setting.Boolean());
            }
        }

        if (root["enable_thinking"] is { } enable)
            yield return (enable.Path, enable.Boolean());
        if (root["thinking"] is { } thinking)
        {
            if (thinking.Kind == JsonValueKind.Object)
                RequestFields.Check(thinking, "thinking.");
            yield return (thinking.Path, thinking.Kind == JsonValueKind.Object
                ? ReadThinkingType(thinking.Required("type")) : thinking.Boolean());
        }

        JsonField? reasoning = root["reasoning"] is { Kind: JsonValueKind.Object } own ? own["effort"] : null;
        foreach (JsonField? given in (JsonField?[])[root["reasoning_effort"], reasoning])
        {
            if (given is not { } effort)
                continue;
            yield return (effort.Path, effort.Text() switch
            {
                "none" or "minimal" => false,
                "low" or "medium" or "high" or "xhigh" => true,
                _ => throw effort.Wrong("'none', 'minimal' (no thinking), 'low', 'medium', 'high' or 'xhigh' (thinking)"),
            });
        }
    }

    private static bool ReadThinkingType(JsonField type) => type.Text() switch
    {
        "enabled" => true,
        "disabled" => false,
        _ => throw type.Wrong("'enabled' or 'disabled'"),
    };

    private static string[] ReadTexts(JsonField? texts, int most)
    {
        if (texts is not { } field)
            return [];
        JsonField[] items = field.Kind == JsonValueKind.String ? [field] : field.Kind == JsonValueKind.Array
            ? [.. field.Items()] : throw field.Wrong("a string or an array of strings");
        if (items.Length > most)
            throw ApiException.BadRequest($"'{field.Path}' has {items.Length} texts; at most {most} are allowed.",
                field.Path);
        return [.. items.Select(item => item.Text() is { Length: > 0 } text ? text
            : throw item.Wrong("a text that is not empty"))];
    }

    private int[] ReadStopTokens(JsonField? tokens)
    {
        if (tokens is not { } field)
            return [];
        JsonField[] items = [.. field.Items()];
        return items.Length <= MostBias
            ? [.. items.Select(item => item.Integer(0, vocabularySize - 1))]
            : throw ApiException.BadRequest(
                $"'{field.Path}' has {items.Length} tokens; at most {MostBias} are allowed.", field.Path);
    }

    /// <summary>Whether the last message is continued is not a choice; whoever says it must say it as it is.</summary>
    internal static void CheckContinuation(JsonField root, bool continues)
    {
        if (root["continue_final_message"] is { } continuation && continuation.Boolean() != continues)
        {
            throw continuation.Wrong(continues
                ? "true or left out: a last message of the assistant is continued (add a message of the user for a " +
                    "new answer)" : "false or left out: only a last message of the assistant can be continued");
        }

        if (root["add_generation_prompt"] is { } opening && opening.Boolean() == continues)
            throw opening.Wrong(continues ? "false or left out: a last message of the assistant is continued"
                : "true or left out: the answer begins a turn of its own");
    }

    private Dictionary<int, float>? ReadBias(JsonField? bias)
    {
        if (bias is not { } field)
            return null;
        var values = new Dictionary<int, float>();
        foreach ((string name, JsonField value) in field.Members())
        {
            if (!int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out int token)
                || token >= vocabularySize)
                throw ApiException.BadRequest(
                    $"'{field.Path}' names the token '{(name.Length <= 40 ? name : name[..40] + "…")}'; expected a " +
                    $"number from 0 to {vocabularySize - 1}.", field.Path);
            values[token] = value.Number(-100, 100);
            if (values.Count > MostBias)
                throw ApiException.BadRequest($"'{field.Path}' names more than {MostBias} tokens.", field.Path);
        }

        return values;
    }

    /// <summary>The messages, and whether all their pictures are wanted in low detail.</summary>
    internal async Task<(List<Message> Messages, bool LowDetail)> ReadMessagesAsync(JsonField field,
        CancellationToken cancellationToken)
    {
        var messages = new List<Message>();
        int low = 0, pictures = 0, index = 0;
        foreach (JsonField message in field.Items())
        {
            ChatRole role = ReadRole(message);
            var parts = new List<MessagePart>();
            if (message["content"] is not { } content)
            {
                if (role != ChatRole.Assistant || (Calls(message) is null && Thinking(message) is null))
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
                    (MessagePart read, bool isLow) = await ReadPartAsync(part, role, cancellationToken)
                        .ConfigureAwait(false);
                    parts.Add(read);
                    pictures += read is ImagePart ? 1 : 0;
                    low += isLow ? 1 : 0;
                }
            }

            if (Thinking(message) is { } thinking)
                parts = [new TextPart(ChatTemplate.JoinThinking(thinking, TextOf(parts),
                    closes: index < field.Count - 1 || Calls(message) is not null))];
            if (Calls(message) is { } calls)
                parts.AddRange(ToolFields.Calls(calls));
            messages.Add(new Message(role, parts) { ToolCallId = message["tool_call_id"]?.Text() });
            index++;
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
        RequestFields.Check(message, RequestFields.Messages);
        ChatRole read = role.Text() switch
        {
            "system" or "developer" => ChatRole.System,
            "user" => ChatRole.User,
            "assistant" => ChatRole.Assistant,
            "tool" => ChatRole.Tool,
            "function" =>
                throw ApiException.BadRequest(
                    $"'{role.Path}' is 'function', which is not supported: send results of tools with the role 'tool'.",
                    role.Path, "unsupported_parameter"),
            _ => throw role.Wrong("'system', 'developer', 'user', 'assistant' or 'tool'"),
        };
        foreach (string name in (string[])["tool_calls", "reasoning_content", "reasoning"])
        {
            if (read != ChatRole.Assistant && message[name] is { } own
                && !(own.Kind == JsonValueKind.Array && own.Count == 0))
                throw ApiException.BadRequest(
                    $"'{own.Path}' is in a message from the {role.Text()}; only the assistant's have it.", own.Path);
        }

        if (read != ChatRole.Tool && message["tool_call_id"] is { } id)
            throw ApiException.BadRequest(
                $"'{id.Path}' is in a message from the {role.Text()}; only those of tools have it.", id.Path);
        return read;
    }

    private static JsonField? Calls(JsonField message) => message["tool_calls"] is { } calls
        && !(calls.Kind == JsonValueKind.Array && calls.Count == 0) ? calls : null;

    private static string? Thinking(JsonField message) =>
        (message["reasoning_content"] ?? message["reasoning"])?.Text() is { Length: > 0 } thinking ? thinking : null;

    internal static string TextOf(IEnumerable<MessagePart> parts) =>
        string.Concat(parts.OfType<TextPart>().Select(part => part.Text));

    private async Task<(MessagePart Part, bool IsLow)> ReadPartAsync(JsonField part, ChatRole role,
        CancellationToken cancellationToken)
    {
        JsonField type = part.Required("type");
        RequestFields.Check(part, RequestFields.Parts);
        switch (type.Text())
        {
            case "text":
                return (new TextPart(part.Required("text").Text()), false);
            case "image_url":
                if (role is not (ChatRole.User or ChatRole.Tool))
                    throw ApiException.BadRequest(
                        $"'{part.Path}' is a picture in a message from the {role.ToString().ToLowerInvariant()}; the model " +
                        $"takes pictures from the user and from tools only.", part.Path);
                JsonField image = part.Required("image_url");
                if (image.Kind == JsonValueKind.Object)
                    RequestFields.Check(image, RequestFields.Picture);
                // Some clients give the URL alone.
                JsonField url = image.Kind == JsonValueKind.String ? image : image.Required("url");
                bool isLow = image.Kind == JsonValueKind.Object && image["detail"] is { } detail && IsLow(detail);
                return (ImagePart.FromBytes(await OpenAsync(url, cancellationToken).ConfigureAwait(false), part.Path),
                    isLow);
            default:
                throw ApiException.BadRequest(
                    $"'{type.Path}' is '{type.Text()}'; the model takes 'text' and 'image_url'.", type.Path,
                    "unsupported_content");
        }
    }

    /// <summary>Whether a picture is wanted as one tile.</summary>
    internal static bool IsLow(JsonField detail) => detail.Text() switch
    {
        "low" => true,
        "high" or "auto" => false,
        _ => throw detail.Wrong("'low' (one tile), 'high' or 'auto'"),
    };

    /// <summary>The file of a picture that is in a URL, or behind one.</summary>
    internal async Task<ReadOnlyMemory<byte>> OpenAsync(JsonField field, CancellationToken cancellationToken)
    {
        string url = field.Text();
        if (DataUrl.Is(url))
            return DataUrl.Decode(url, field.Path);
        if (!Uri.TryCreate(url, UriKind.Absolute, out Uri? uri)
            || (uri.Scheme != Uri.UriSchemeHttp && uri.Scheme != Uri.UriSchemeHttps))
            throw ApiException.BadRequest(
                $"'{field.Path}' is neither a data URL (data:image/png;base64,…) nor an http or https URL.", field.Path,
                "invalid_image_url");
        if (options.ImageResolver is not { } resolver)
            throw ApiException.BadRequest(
                $"'{field.Path}' is the address of a picture, and this server fetches nothing: send the picture " +
                $"itself, as data:image/png;base64,… (or have the server started with URLs allowed).", field.Path,
                "image_urls_not_allowed");
        try
        {
            return await resolver(uri, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is ImageException or HttpRequestException)
        {
            throw new ApiException(StatusCodes.Status400BadRequest,
                $"'{field.Path}' cannot be fetched: {exception.Message}", field.Path, "invalid_image_url", exception);
        }
    }
}
