using System.Text;
using System.Text.Json;
using Skylight.Chat;
using Skylight.Text;

namespace Skylight.Server;

/// <summary>What the input of a request is.</summary>
/// <param name="Messages">The messages.</param>
/// <param name="LowDetail">Whether all pictures are wanted in low detail.</param>
/// <param name="Bytes">What they take in memory, pictures included.</param>
/// <param name="Items">The same, item by item.</param>
internal sealed record ResponseInput(IReadOnlyList<Message> Messages, bool LowDetail, long Bytes,
    IReadOnlyList<KeptItem> Items);

/// <summary>
/// Reads the items of an input. Thinking, a message and calls that follow each other are one turn of the model's.
/// </summary>
/// <param name="chat">Opens pictures.</param>
internal sealed class ResponseInputReader(ChatRequestReader chat)
{
    // What an object of a message costs beside its content, roughly.
    private const int PerItem = 512;

    private readonly List<Message> _messages = [];
    private readonly List<KeptItem> _items = [];
    private string? _thinking, _text;
    private readonly List<ToolCallPart> _calls = [];
    private int _pictures, _low;
    private long _bytes;

    /// <summary>Reads them; a reader reads once.</summary>
    /// <param name="input">A text or a list of items.</param>
    /// <param name="cancellationToken">Stops the fetching of pictures.</param>
    /// <exception cref="ApiException">An item cannot be used; says where.</exception>
    public async Task<ResponseInput> ReadAsync(JsonField input, CancellationToken cancellationToken)
    {
        if (input.Kind == JsonValueKind.String)
        {
            if (input.Text().Length == 0)
                throw Empty(input);
            _messages.Add(new Message(ChatRole.User, [Part(input.Text())]));
            _items.Add(Item("user", [new KeptPart("input_text", input.Text())]));
            return new ResponseInput(_messages, false, _bytes + PerItem, _items);
        }

        if (input.Kind != JsonValueKind.Array)
            throw input.Wrong("a text or a list of items");
        foreach (JsonField item in input.Items())
        {
            _bytes += PerItem;
            await ReadItemAsync(item, cancellationToken).ConfigureAwait(false);
        }

        EndAnswer(isLast: true);
        if (_messages.Count == 0)
            throw ApiException.BadRequest($"'{input.Path}' holds nothing that the model could read.", input.Path);
        // Nobody has said anything: what would be written then is about nothing, up to the end of the context.
        if (_messages.TrueForAll(message => message.Parts.All(part => part is TextPart { Text.Length: 0 })))
            throw Empty(input);
        return new ResponseInput(_messages, _pictures > 0 && _low == _pictures, _bytes, _items);
    }

    private static ApiException Empty(JsonField input) => ApiException.BadRequest(
        $"'{input.Path}' is empty: the model has nothing to answer. Send a text, or items with content.", input.Path);

    private static KeptItem Item(string role, IReadOnlyList<KeptPart> parts) =>
        KeptItem.New("message", parts) with { Role = role };

    private async Task ReadItemAsync(JsonField item, CancellationToken cancellationToken)
    {
        if (item.Kind != JsonValueKind.Object)
            throw item.Wrong("an object");
        JsonField? type = item["type"];
        string kind = type?.Text() ?? "message";
        switch (kind)
        {
            case "message" or "function_call" or "function_call_output" or "reasoning":
                ResponseFields.All.Check(item, ResponseFields.Items);
                break;
            case "item_reference":
                throw ApiException.BadRequest(
                    $"'{type!.Value.Path}' is '{kind}': items are not kept by themselves. Send the item, or " +
                    "'previous_response_id' of the response that it belongs to.", type.Value.Path, "unsupported_content");
            default:
                throw ApiException.BadRequest(
                    $"'{type!.Value.Path}' is '{(kind.Length <= 40 ? kind : kind[..40] + "…")}'; the model reads 'message', " +
                    "'reasoning', 'function_call' and 'function_call_output'.", type.Value.Path, "unsupported_content");
        }

        switch (kind)
        {
            case "reasoning":
                ReadThinking(item);
                break;
            case "function_call":
                ReadCall(item);
                break;
            case "function_call_output":
                EndAnswer();
                JsonField output = item.Required("output");
                (List<MessagePart> given, List<KeptPart> kept) = await ReadPartsAsync(output, ResponseFields.Results,
                    ["input_text"], true, cancellationToken).ConfigureAwait(false);
                string id = Counted(item.Required("call_id").Text());
                _messages.Add(new Message(ChatRole.Tool, given) { ToolCallId = id });
                _items.Add(KeptItem.New(kind, kept) with { CallId = id, IsText = output.Kind == JsonValueKind.String });
                break;
            default:
                await ReadMessageAsync(item, cancellationToken).ConfigureAwait(false);
                break;
        }
    }

    private async Task ReadMessageAsync(JsonField item, CancellationToken cancellationToken)
    {
        JsonField role = item.Required("role");
        ChatRole read = role.Text() switch
        {
            "system" or "developer" => ChatRole.System,
            "user" => ChatRole.User,
            "assistant" => ChatRole.Assistant,
            _ => throw role.Wrong("'system', 'developer', 'user' or 'assistant'"),
        };
        (List<MessagePart> parts, List<KeptPart> kept) = await ReadPartsAsync(item.Required("content"), ResponseFields.Parts,
            ["input_text", "output_text"], read == ChatRole.User, cancellationToken).ConfigureAwait(false);
        string type = read == ChatRole.Assistant ? "output_text" : "input_text";
        _items.Add(Item(role.Text(), [.. kept.Select(part => part.Type == "input_image" ? part : part with { Type = type })]));
        if (read != ChatRole.Assistant)
        {
            EndAnswer();
            _messages.Add(new Message(read, parts));
            return;
        }

        if (_text is not null || _calls.Count > 0)
            EndAnswer();
        _text = ChatRequestReader.TextOf(parts);
    }

    private void ReadThinking(JsonField item)
    {
        JsonField? content = item["content"];
        bool isContent = content is { Count: > 0 };
        var text = new StringBuilder();
        foreach (JsonField part in (isContent ? content : item["summary"])?.Items() ?? [])
        {
            ResponseFields.All.Check(part, isContent ? ResponseFields.Parts : ResponseFields.Summaries);
            string expected = isContent ? "reasoning_text" : "summary_text";
            JsonField type = part.Required("type");
            if (type.Text() != expected)
                throw type.Wrong($"'{expected}'");
            text.Append(part.Required("text").Text());
        }

        EndAnswer();
        _thinking = text.Length > 0 ? Counted(text.ToString()) : null;
        _items.Add(KeptItem.New("reasoning", [new KeptPart("reasoning_text", _thinking ?? "")]));
    }

    private void ReadCall(JsonField item)
    {
        JsonField arguments = item.Required("arguments");
        string text = Counted(arguments.Text());
        if (!ToolFields.IsObject(text))
            throw arguments.Wrong("a JSON object in a string");
        var call = new ToolCall(Counted(item.Required("call_id").Text()), Counted(item.Required("name").Text()), text);
        _calls.Add(new ToolCallPart(call));
        _items.Add(KeptItem.New("function_call", []) with { CallId = call.Id, Name = call.Name, Arguments = text });
    }

    /// <summary>What the model said is one message, whatever items it came in.</summary>
    private void EndAnswer(bool isLast = false)
    {
        if (_thinking is null && _text is null && _calls.Count == 0)
            return;
        string text = _text ?? "";
        if (_thinking is not null)
            text = ChatTemplate.JoinThinking(_thinking, text, closes: !isLast || _calls.Count > 0);
        _messages.Add(new Message(ChatRole.Assistant, [.. text.Length > 0 || _calls.Count == 0
            ? (MessagePart[])[new TextPart(text)] : [], .. _calls]));
        (_thinking, _text) = (null, null);
        _calls.Clear();
    }

    private async Task<(List<MessagePart> Parts, List<KeptPart> Kept)> ReadPartsAsync(JsonField content, string place,
        string[] texts, bool takesPictures, CancellationToken cancellationToken)
    {
        if (content.Kind == JsonValueKind.String)
            return ([Part(content.Text())], [new KeptPart(texts[0], content.Text())]);
        if (content.Kind != JsonValueKind.Array)
            throw content.Wrong("a string or a list of parts");
        var parts = new List<MessagePart>();
        var kept = new List<KeptPart>();
        foreach (JsonField part in content.Items())
        {
            JsonField type = part.Required("type");
            ResponseFields.All.Check(part, place);
            string kind = type.Text();
            if (texts.Contains(kind))
            {
                TextPart text = Part(part.Required("text").Text());
                parts.Add(text);
                kept.Add(new KeptPart(kind, text.Text));
            }
            else if (kind != "input_image")
            {
                throw ApiException.BadRequest(
                    $"'{type.Path}' is '{(kind.Length <= 40 ? kind : kind[..40] + "…")}'; the model takes " +
                    $"{string.Join(", ", texts.Select(text => $"'{text}'"))} and 'input_image' here.", type.Path,
                    "unsupported_content");
            }
            else if (!takesPictures)
            {
                throw ApiException.BadRequest(
                    $"'{part.Path}' is a picture that is not the user's or a tool's; the model takes no others.", part.Path);
            }
            else
            {
                _pictures++;
                _low += part["detail"] is { } detail && ChatRequestReader.IsLow(detail) ? 1 : 0;
                JsonField address = part.Required("image_url");
                ReadOnlyMemory<byte> file = await chat.OpenAsync(address, cancellationToken).ConfigureAwait(false);
                _bytes += file.Length + PerItem;
                parts.Add(ImagePart.FromBytes(file, part.Path));
                string url = address.Text();
                bool isData = DataUrl.Is(url);
                kept.Add(new KeptPart(kind, Counted(isData ? url[..url.IndexOf(',', StringComparison.Ordinal)] : url))
                {
                    File = isData ? file : default,
                    Detail = part["detail"]?.Text(),
                });
            }
        }

        return (parts, kept);
    }

    private TextPart Part(string text) => new(Counted(text));

    private string Counted(string text)
    {
        _bytes += (long)sizeof(char) * text.Length;
        return text;
    }
}
