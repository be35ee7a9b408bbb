using System.Text;
using System.Text.Json;
using Skylight.Chat;
using Skylight.Text;

namespace Skylight.Server;

/// <summary>Puts the pieces of a request's answers into OpenAI's form.</summary>
/// <param name="id">What the whole is called.</param>
/// <param name="modelName">What the model is called.</param>
/// <param name="tokenizer">Spells tokens.</param>
internal sealed class AnswerCollector(string id, string modelName, ITokenizer tokenizer) : IAnswers
{
    private readonly long _created = DateTimeOffset.UtcNow.ToUnixTimeSeconds();
    private CollectedAnswer[] _answers = [];
    private bool _reportTokens;

    /// <summary>What complete answers took.</summary>
    public IEnumerable<Usage> Usages => _answers.Where(answer => answer.Usage is not null).Select(answer => answer.Usage!);

    /// <summary>Why they ended.</summary>
    public string Ends => CollectedAnswer.EndsOf(_answers);

    /// <inheritdoc/>
    public int BrokenToolCalls => _answers.Sum(answer => answer.BrokenToolCalls);

    public void Start(ChatRequest request)
    {
        _answers = [.. Enumerable.Range(0, request.Count).Select(_ => new CollectedAnswer())];
        _reportTokens = request.Options.ReportTokens;
    }

    public void Add(int choice, GenerationUpdate update) => _answers[choice].Add(update);

    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(Completion(), ServerJson.Compact.ChatCompletion);

    /// <summary>Who speaks.</summary>
    public void Open(EventStream stream)
    {
        for (int choice = 0; choice < _answers.Length; choice++)
            stream.Add(Chunk(choice, new ChunkDelta("assistant", ""), null, null), ServerJson.Compact.ChatChunk);
    }

    public bool Write(EventStream stream, int choice, GenerationUpdate update)
    {
        if (Chunk(choice, update) is not { } chunk)
            return false;
        stream.Add(chunk, ServerJson.Compact.ChatChunk);
        return true;
    }

    public void WriteUsage(EventStream stream) =>
        stream.Add(new ChatChunk(id, "chat.completion.chunk", _created, modelName, [], TotalUsage()),
            ServerJson.Compact.ChatChunk);

    private ChatCompletion Completion() => new(
        id, "chat.completion", _created, modelName,
        [.. _answers.Select((answer, index) => new ChatChoice(
            index, MessageOf(answer),
            LogProbabilities(answer.Tokens), CollectedAnswer.Reason(answer.End!.Value)))],
        TotalUsage());

    private static ChatMessage MessageOf(CollectedAnswer answer)
    {
        ToolCallBody[] calls = [.. answer.Calls.All.Select(
            call => new ToolCallBody(null, call.Id, "function", new FunctionBody(call.Name, call.Arguments)))];
        // An answer that is calls alone has no content.
        return new ChatMessage("assistant", calls.Length > 0 && answer.Text.Length == 0 ? null : answer.Text.ToString(),
            answer.Thinking.Length > 0 ? answer.Thinking.ToString() : null, calls.Length > 0 ? calls : null, null);
    }

    private ChatChunk? Chunk(int choice, GenerationUpdate update)
    {
        if (update is { Text.Length: 0, Tokens.Count: 0, FinishReason: null } && !HasPiece(update.ToolCall))
            return null;
        string? text = update.Text.Length > 0 ? update.Text : null;
        ChunkDelta delta = HasPiece(update.ToolCall) ? new ChunkDelta(ToolCalls: [BodyOf(update.ToolCall!)])
            : update.Kind == UpdateKind.Thinking ? new ChunkDelta(ReasoningContent: text)
            : new ChunkDelta(Content: text);
        return Chunk(choice, delta, update.Tokens.Count > 0 ? LogProbabilities(update.Tokens) : null,
            update.FinishReason is { } end ? CollectedAnswer.Reason(end) : null);
    }

    private ChatChunk Chunk(int choice, ChunkDelta delta, ChatLogProbabilities? logProbabilities, string? reason) =>
        new(id, "chat.completion.chunk", _created, modelName,
            [new ChunkChoice(choice, delta, logProbabilities, reason)], null);

    private static bool HasPiece(ToolCallUpdate? call) => call is { IsFirst: true } or { Arguments.Length: > 0 };

    private static ToolCallBody BodyOf(ToolCallUpdate call) => call.IsFirst
        ? new ToolCallBody(call.Index, call.Id, "function", new FunctionBody(call.Name, call.Arguments))
        : new ToolCallBody(call.Index, null, null, new FunctionBody(null, call.Arguments));

    /// <summary>The tokens, those of the thinking included; not the special ones that end an answer.</summary>
    private ChatLogProbabilities? LogProbabilities(IReadOnlyList<TokenDetail> tokens) => !_reportTokens ? null
        : new ChatLogProbabilities(Spelled(tokenizer, tokens), null);

    /// <summary>Tokens with their texts, without the special ones.</summary>
    internal static TokenLogProbability[] Spelled(ITokenizer tokenizer, IEnumerable<TokenDetail> tokens) =>
        [.. tokens.Where(token => !tokenizer.IsSpecial(token.Token)).Select(token =>
        {
            (string text, int[] bytes) = Spell(tokenizer, token.Token);
            return new TokenLogProbability(text, token.LogProbability, bytes,
                [.. token.TopTokens.Select(likely =>
                {
                    (string spelled, int[] spelledBytes) = Spell(tokenizer, likely.Token);
                    return new TopLogProbability(spelled, likely.LogProbability, spelledBytes);
                })], token.Entropy, token.IsThinking ? true : null);
        })];

    private static (string Text, int[] Bytes) Spell(ITokenizer tokenizer, int token)
    {
        ReadOnlySpan<byte> bytes = tokenizer.TokenBytes(token);
        int[] numbers = new int[bytes.Length];
        for (int index = 0; index < numbers.Length; index++)
            numbers[index] = bytes[index];
        return (Encoding.UTF8.GetString(bytes), numbers);
    }

    private ChatUsage TotalUsage()
    {
        Usage[] usages = [.. Usages];
        int prompt = usages[0].PromptTokens, completion = usages.Sum(usage => usage.CompletionTokens);
        return new ChatUsage(prompt, completion, prompt + completion,
            new PromptTokensDetails(usages[0].CachedTokens, usages[0].ImageTokens),
            CompletionTokensDetails.Of(usages));
    }
}
