using System.Text.Json;
using Skylight.Chat;
using Skylight.Generation;
using Skylight.Text;

namespace Skylight.Server;

/// <summary>Puts the pieces of an answer into the form of a response, stores it, and tells of it in events.</summary>
/// <param name="id">What it is called.</param>
/// <param name="modelName">What the model is called.</param>
/// <param name="tokenizer">Spells tokens.</param>
/// <param name="store">Where it is kept.</param>
internal sealed class ResponseCollector(string id, string modelName, ITokenizer tokenizer, ResponseStore store) : IAnswers
{
    // What an item costs beside its texts, roughly.
    private const int PerItem = 256;

    private readonly long _created = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
    private readonly CollectedAnswer _answer = new();
    private readonly List<ResponseEvent> _pending = [];
    private ResponseItems _items = null!;
    private ResponseRequest _request = null!;
    private byte[] _json = [];
    private int _sequence;

    /// <inheritdoc/>
    public IEnumerable<Usage> Usages => _answer.Usage is { } usage ? [usage] : [];

    /// <inheritdoc/>
    public string Ends => CollectedAnswer.EndsOf([_answer]);

    /// <inheritdoc/>
    public int BrokenToolCalls => _answer.BrokenToolCalls;

    /// <summary>Begins.</summary>
    /// <param name="request">What is asked for.</param>
    public void Start(ResponseRequest request)
    {
        _request = request;
        _items = new ResponseItems(tokenizer, request.Options.ReportTokens, request.Stream ? _pending.Add : _ => { });
    }

    /// <inheritdoc/>
    public void Add(int choice, GenerationUpdate update)
    {
        _answer.Add(update);
        _items.Add(update);
        if (update.FinishReason is not { } end)
            return;
        _items.End(end);
        // Kept before anybody hears that it is complete: the next request may go on from it at once.
        ResponseBody body = Finish(end);
        if (_request.Stream)
            _pending.Add(new ResponseEvent($"response.{body.Status}", 0) { Response = body });
    }

    /// <inheritdoc/>
    public byte[] ToJson() => _json;

    /// <inheritdoc/>
    public void Open(EventStream stream)
    {
        ResponseBody begun = Body("in_progress", null, null, _request.Store);
        Write(stream, new ResponseEvent("response.created", 0) { Response = begun });
        Write(stream, new ResponseEvent("response.in_progress", 0) { Response = begun });
    }

    /// <inheritdoc/>
    public bool Write(EventStream stream, int choice, GenerationUpdate update)
    {
        foreach (ResponseEvent pending in _pending)
            Write(stream, pending);
        bool any = _pending.Count > 0;
        _pending.Clear();
        return any;
    }

    /// <inheritdoc/>
    public void WriteUsage(EventStream stream)
    {
        // It is a part of the last event.
    }

    /// <inheritdoc/>
    public void Close(EventStream stream)
    {
        // The last event says what came of it; there is no other mark.
    }

    /// <inheritdoc/>
    public void Fail(EventStream stream, ApiException error) => Write(stream, new ResponseEvent("response.failed", 0)
    {
        Response = Body("failed", null, null, false) with
        {
            Error = new ResponseFault(error.Code ?? "server_error", error.Message),
        },
    });

    private void Write(EventStream stream, ResponseEvent told) =>
        stream.Add(told.Type, told with { SequenceNumber = _sequence++ }, ServerJson.Compact.ResponseEvent);

    private ResponseBody Finish(FinishReason end)
    {
        ResponseEnd? why = end == FinishReason.Length ? new ResponseEnd("max_output_tokens") : null;
        ResponseBody body = Body(why is null ? "completed" : "incomplete", why, _answer.Usage, _request.Store);
        _json = JsonSerializer.SerializeToUtf8Bytes(body, ServerJson.Compact.ResponseBody);
        if (!_request.Store)
            return body;
        Message said = Said();
        long bytes = _request.InputBytes + said.Parts.Sum(part => (long)sizeof(char) * (part switch
        {
            TextPart text => text.Text.Length,
            ToolCallPart call => call.Call.Id.Length + call.Call.Name.Length + call.Call.Arguments.Length,
            _ => 0,
        }));
        KeptItem[] items = [.. _items.Done.Select(KeptItem.Of)];
        bytes += items.Sum(item => PerItem
            + sizeof(char) * ((item.Arguments?.Length ?? 0) + item.Parts.Sum(part => (long)part.Text.Length)));
        var turn = new StoredTurn([.. _request.Input, said], bytes) { Input = _request.InputItems, Output = items };
        if (store.TryAdd(new StoredResponse(id, _json, [.. _request.Previous?.Turns ?? [], turn])))
            return body;
        // More than may be kept: said so, not promised.
        body = body with { Store = false };
        _json = JsonSerializer.SerializeToUtf8Bytes(body, ServerJson.Compact.ResponseBody);
        return body;
    }

    /// <summary>The answer as a message; a call that was cut off is no part of it.</summary>
    private Message Said()
    {
        string text = _answer.Text.ToString(), thinking = _answer.Thinking.ToString();
        ToolCallPart[] calls = [.. _answer.Calls.Complete.Select(call => new ToolCallPart(call))];
        if (thinking.Length > 0)
            text = ChatTemplate.JoinThinking(thinking, text, closes: true);
        return new Message(ChatRole.Assistant, [new TextPart(text), .. calls]);
    }

    private ResponseBody Body(string status, ResponseEnd? why, Usage? usage, bool stores)
    {
        GenerationOptions options = _request.Options;
        return new ResponseBody(id, "response", _created, status, false, null, why, _request.Instructions,
            _request.Metadata, options.MaxOutputTokens, modelName, status == "in_progress" ? [] : [.. _items.Done],
            options.ParallelToolCalls, _request.Previous?.Id, _request.Reasoning, stores, options.Temperature,
            _request.Text, _request.ToolChoice, [.. options.Tools.Select(tool => new ResponseTool("function", tool.Name,
                tool.Description, tool.Parameters, tool.IsStrict))], options.TopLogProbabilityCount, options.TopP,
            "disabled", usage is null ? null : new ResponseUsage(usage.PromptTokens,
                new PromptTokensDetails(usage.CachedTokens, usage.ImageTokens), usage.CompletionTokens,
                CompletionTokensDetails.Of([usage]), usage.PromptTokens + usage.CompletionTokens));
    }
}
