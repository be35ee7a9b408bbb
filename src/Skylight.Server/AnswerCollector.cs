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
        answer.End ??= update.FinishReason;
        answer.Usage ??= update.Usage;
    }

    /// <summary>The whole.</summary>
    public ChatCompletion Completion() => new(
        id, "chat.completion", _created, modelName,
        [.. _answers.Select((answer, index) => new ChatChoice(
            index, new ChatMessage("assistant", answer.Text.ToString(),
                answer.Thinking.Length > 0 ? answer.Thinking.ToString() : null, null),
            LogProbabilities(answer.Tokens), Reason(answer.End!.Value)))],
        TotalUsage());

    /// <summary>The first piece of a stream: who speaks.</summary>
    public ChatChunk Opening(int choice) => Chunk(choice, new ChunkDelta("assistant", ""), null, null);

    /// <summary>A piece of a stream; null if there is nothing in it.</summary>
    public ChatChunk? Chunk(int choice, GenerationUpdate update)
    {
        if (update.Text.Length == 0 && update.Tokens.Count == 0 && update.FinishReason is null)
            return null;
        string? text = update.Text.Length > 0 ? update.Text : null;
        ChunkDelta delta = update.Kind == UpdateKind.Thinking ? new ChunkDelta(ReasoningContent: text)
            : new ChunkDelta(Content: text);
        return Chunk(choice, delta, update.Tokens.Count > 0 ? LogProbabilities(update.Tokens) : null,
            update.FinishReason is { } end ? Reason(end) : null);
    }

    /// <summary>The last piece of a stream, where the client wants it.</summary>
    public ChatChunk UsageChunk() => new(id, "chat.completion.chunk", _created, modelName, [], TotalUsage());

    private ChatChunk Chunk(int choice, ChunkDelta delta, ChatLogProbabilities? logProbabilities, string? reason) =>
        new(id, "chat.completion.chunk", _created, modelName,
            [new ChunkChoice(choice, delta, logProbabilities, reason)], null);

    private static string Reason(FinishReason end) => end == FinishReason.Length ? "length" : "stop";

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

        public FinishReason? End { get; set; }

        public Usage? Usage { get; set; }
    }
}
