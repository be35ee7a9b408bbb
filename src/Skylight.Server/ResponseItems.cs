using System.Text;
using System.Text.Json;
using Skylight.Chat;
using Skylight.Generation;
using Skylight.Text;

namespace Skylight.Server;

/// <summary>
/// The items of a response while it is written: thinking, text and calls of tools, each from its first piece to its last,
/// and the events that say so.
/// </summary>
/// <param name="tokenizer">Spells tokens.</param>
/// <param name="reportsTokens">Whether text comes with its tokens.</param>
/// <param name="emit">Hears of events.</param>
internal sealed class ResponseItems(ITokenizer tokenizer, bool reportsTokens, Action<ResponseEvent> emit)
{
    private const string Reasoning = "reasoning", Text = "message", Call = "function_call";
    private const string InProgress = "in_progress", Completed = "completed", Incomplete = "incomplete";

    private readonly List<ResponseItem> _done = [];
    private readonly StringBuilder _text = new();
    private readonly List<TokenLogProbability> _tokens = [];
    // What is open has no text and no status yet.
    private ResponseItem? _open;

    /// <summary>The items that have ended.</summary>
    public IReadOnlyList<ResponseItem> Done => _done;

    private bool IsCall => _open?.Type == Call;

    /// <summary>Takes a piece of the answer.</summary>
    public void Add(GenerationUpdate update)
    {
        TokenLogProbability[] tokens = reportsTokens
            ? AnswerCollector.Spelled(tokenizer, update.Tokens.Where(token => !token.IsThinking)) : [];
        if (update.ToolCall is { } call)
            Add(call);
        else if (update.BrokenToolCall is not null && IsCall)
            Close(Incomplete);
        if (update.Text.Length > 0)
            Add(update.Kind == UpdateKind.Thinking ? Reasoning : Text, update.Text, tokens);
        else if (tokens.Length > 0 && _open?.Type == Text)
            Add(Text, "", tokens);
    }

    /// <summary>Nothing more comes.</summary>
    /// <param name="end">Why.</param>
    public void End(FinishReason end)
    {
        bool isCut = end == FinishReason.Length;
        // A model that says nothing has said so.
        if (!isCut && _open?.Type is not Text && _done.All(item => item.Type == Reasoning) && !IsCall)
            Open(new ResponseItem($"msg_{Guid.NewGuid():N}", Text, InProgress, "assistant"));
        Close(isCut ? Incomplete : Completed);
    }

    private void Add(ToolCallUpdate call)
    {
        if (call.IsFirst)
            Open(new ResponseItem($"fc_{Guid.NewGuid():N}", Call, InProgress, CallId: call.Id, Name: call.Name));
        if (call.Arguments.Length > 0)
        {
            _text.Append(call.Arguments);
            emit(Here("response.function_call_arguments.delta") with { Delta = call.Arguments });
        }

        if (call.IsComplete)
            Close(Completed);
    }

    private void Add(string type, string text, TokenLogProbability[] tokens)
    {
        if (_open?.Type != type)
            Open(type == Reasoning ? new ResponseItem($"rs_{Guid.NewGuid():N}", Reasoning, InProgress)
                : new ResponseItem($"msg_{Guid.NewGuid():N}", Text, InProgress, "assistant"));
        _text.Append(text);
        _tokens.AddRange(type == Text ? tokens : []);
        emit(type == Reasoning ? Here("response.reasoning_text.delta", 0) with { Delta = text }
            : Here("response.output_text.delta", 0) with { Delta = text, Logprobs = tokens });
    }

    private void Open(ResponseItem item)
    {
        Close(Completed);
        _open = item;
        emit(Here("response.output_item.added") with { ItemId = null, Item = Whole(InProgress, "", []) });
        if (!IsCall)
            emit(Here("response.content_part.added", 0) with { Part = PartOf("", []) });
    }

    private void Close(string status)
    {
        if (_open is null)
            return;
        string text = _text.ToString();
        TokenLogProbability[] tokens = [.. _tokens];
        ResponseItem item = Whole(status, text, tokens, isDone: true);
        // A call that was cut off has no arguments that could be read.
        if (IsCall && status == Completed)
            emit(Here("response.function_call_arguments.done") with { Name = _open.Name, Arguments = text });
        else if (_open.Type == Text)
            emit(Here("response.output_text.done", 0) with { Text = text, Logprobs = tokens });
        else if (_open.Type == Reasoning)
            emit(Here("response.reasoning_text.done", 0) with { Text = text });
        if (!IsCall)
            emit(Here("response.content_part.done", 0) with { Part = PartOf(text, tokens) });
        emit(Here("response.output_item.done") with { ItemId = null, Item = item });
        _done.Add(item);
        _text.Clear();
        _tokens.Clear();
        _open = null;
    }

    private ResponseEvent Here(string type, int? part = null) =>
        new(type, 0) { OutputIndex = _done.Count, ItemId = _open!.Id, ContentIndex = part };

    private ResponseItem Whole(string status, string text, IReadOnlyList<TokenLogProbability> tokens, bool isDone = false) =>
        IsCall ? _open! with { Status = status, Arguments = text }
            : _open! with
            {
                Status = status,
                Content = isDone ? [PartOf(text, tokens)] : [],
                Summary = _open.Type == Reasoning ? [] : null,
            };

    private ResponsePart PartOf(string text, IReadOnlyList<TokenLogProbability> tokens) => _open!.Type == Reasoning
        ? new ResponsePart("reasoning_text", text)
        : new ResponsePart("output_text", text, Array.Empty<JsonElement>(), tokens);
}
