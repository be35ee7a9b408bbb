using System.Text;
using Skylight.Chat;
using Skylight.Generation;
using Skylight.Text;

namespace Skylight.Server;

/// <summary>Puts the pieces of a request's answers into OpenAI's form.</summary>
/// <param name="id">What the whole is called.</param>
/// <param name="modelName">What the model is called.</param>
/// <param name="tokenizer">Spells tokens.</param>
internal sealed class AnswerCollector(string id, string modelName, ITokenizer tokenizer)
{
    private readonly long _created = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
    private Answer[] _answers = [];
    private bool _reportTokens;

    /// <summary>What complete answers took.</summary>
    public IEnumerable<Usage> Usages => _answers.Where(answer => answer.Usage is not null).Select(answer => answer.Usage!);

    /// <summary>Why they ended.</summary>
    public string Ends => string.Join(", ", _answers.Select(answer => answer.End?.ToString() ?? "nothing").Distinct());

    /// <summary>How many calls of tools were begun that are none.</summary>
    public int BrokenToolCalls { get; private set; }

    public void Start(ChatRequest request)
    {
        _answers = [.. Enumerable.Range(0, request.Count).Select(_ => new Answer())];
        _reportTokens = request.Options.ReportTokens;
    }

    public void Add(int choice, GenerationUpdate update)
    {
        Answer answer = _answers[choice];
        (update.Kind == UpdateKind.Thinking ? answer.Thinking : answer.Text).Append(update.Text);
        answer.Tokens.AddRange(update.Tokens);
        answer.Calls.Add(update.ToolCall);
        BrokenToolCalls += update.BrokenToolCall is null ? 0 : 1;
        answer.End ??= update.FinishReason;
        answer.Usage ??= update.Usage;
    }

    /// <summary>The whole.</summary>
    public ChatCompletion Completion() => new(
        id, "chat.completion", _created, modelName,
        [.. _answers.Select((answer, index) => new ChatChoice(
            index, MessageOf(answer),
            LogProbabilities(answer.Tokens), Reason(answer.End!.Value)))],
        TotalUsage());

    private static ChatMessage MessageOf(Answer answer)
    {
        ToolCallBody[] calls = [.. answer.Calls.All.Select(
            call => new ToolCallBody(null, call.Id, "function", new FunctionBody(call.Name, call.Arguments)))];
        // An answer that is calls alone has no content.
        return new ChatMessage("assistant", calls.Length > 0 && answer.Text.Length == 0 ? null : answer.Text.ToString(),
            answer.Thinking.Length > 0 ? answer.Thinking.ToString() : null, calls.Length > 0 ? calls : null, null);
    }

    /// <summary>The first piece of a stream: who speaks.</summary>
    public ChatChunk Opening(int choice) => Chunk(choice, new ChunkDelta("assistant", ""), null, null);

    /// <summary>A piece of a stream; null if there is nothing in it.</summary>
    public ChatChunk? Chunk(int choice, GenerationUpdate update)
    {
        if (update is { Text.Length: 0, Tokens.Count: 0, FinishReason: null } && !HasPiece(update.ToolCall))
            return null;
        string? text = update.Text.Length > 0 ? update.Text : null;
        ChunkDelta delta = HasPiece(update.ToolCall) ? new ChunkDelta(ToolCalls: [BodyOf(update.ToolCall!)])
            : update.Kind == UpdateKind.Thinking ? new ChunkDelta(ReasoningContent: text)
            : new ChunkDelta(Content: text);
        return Chunk(choice, delta, update.Tokens.Count > 0 ? LogProbabilities(update.Tokens) : null,
            update.FinishReason is { } end ? Reason(end) : null);
    }

    /// <summary>The last piece of a stream, where the client wants it.</summary>
    public ChatChunk UsageChunk() => new(id, "chat.completion.chunk", _created, modelName, [], TotalUsage());

    private ChatChunk Chunk(int choice, ChunkDelta delta, ChatLogProbabilities? logProbabilities, string? reason) =>
        new(id, "chat.completion.chunk", _created, modelName,
            [new ChunkChoice(choice, delta, logProbabilities, reason)], null);

    private static bool HasPiece(ToolCallUpdate? call) => call is { IsFirst: true } or { Arguments.Length: > 0 };

    private static ToolCallBody BodyOf(ToolCallUpdate call) => call.IsFirst
        ? new ToolCallBody(call.Index, call.Id, "function", new FunctionBody(call.Name, call.Arguments))
        : new ToolCallBody(call.Index, null, null, new FunctionBody(null, call.Arguments));

    private static string Reason(FinishReason end) => end switch
    {
        FinishReason.Length => "length",
        FinishReason.ToolCalls => "tool_calls",
        _ => "stop",
    };

    /// <summary>The tokens, those of the thinking included; not the special ones that end an answer.</summary>
    private ChatLogProbabilities? LogProbabilities(IReadOnlyList<TokenDetail> tokens) => !_reportTokens ? null
        : new ChatLogProbabilities(
        [.. tokens.Where(token => !tokenizer.IsSpecial(token.Token)).Select(token =>
        {
            ReadOnlySpan<byte> bytes = tokenizer.TokenBytes(token.Token);
            int[] numbers = new int[bytes.Length];
            for (int index = 0; index < numbers.Length; index++)
                numbers[index] = bytes[index];
            return new TokenLogProbability(Encoding.UTF8.GetString(bytes), token.LogProbability, numbers, []);
        })], null);

    private ChatUsage TotalUsage()
    {
        Usage[] usages = [.. Usages];
        int prompt = usages[0].PromptTokens, completion = usages.Sum(usage => usage.CompletionTokens);
        return new ChatUsage(prompt, completion, prompt + completion,
            new PromptTokensDetails(usages[0].CachedTokens, usages[0].ImageTokens),
            new CompletionTokensDetails(usages.Sum(usage => usage.ThinkingTokens)));
    }

    private sealed class Answer
    {
        public StringBuilder Thinking { get; } = new();

        public StringBuilder Text { get; } = new();

        public List<TokenDetail> Tokens { get; } = [];

        public ToolCallCollector Calls { get; } = new();

        public FinishReason? End { get; set; }

        public Usage? Usage { get; set; }
    }
}
