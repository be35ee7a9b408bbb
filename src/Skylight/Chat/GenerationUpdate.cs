using Skylight.Generation;

namespace Skylight.Chat;

/// <summary>What a piece of text belongs to.</summary>
public enum UpdateKind
{
    /// <summary>The think block.</summary>
    Thinking,

    /// <summary>What is meant for the reader.</summary>
    Answer,
}

/// <summary>A token of an answer.</summary>
/// <param name="Token">Its number.</param>
/// <param name="LogProbability">In the distribution it was drawn from, before top-k and top-p; nats.</param>
/// <param name="Entropy">Of that distribution; nats.</param>
public readonly record struct TokenDetail(int Token, float LogProbability, float Entropy)
{
    /// <summary>Whether it was written while the model was thinking.</summary>
    public bool IsThinking { get; init; }

    /// <summary>
    /// The most likely tokens in its place, the likeliest first: as many as
    /// <see cref="GenerationOptions.TopLogProbabilityCount"/> asked for.
    /// </summary>
    public IReadOnlyList<LikelyToken> TopTokens { get => field ?? []; init; }
}

/// <summary>What an answer took.</summary>
/// <param name="PromptTokens">Tokens of the prompt, those of pictures included.</param>
/// <param name="ImageTokens">Tokens of the prompt that stand for pictures.</param>
/// <param name="CachedTokens">Tokens of the prompt that did not have to be read, because an earlier prompt or answer
/// began with the same.</param>
/// <param name="CompletionTokens">Tokens that were made.</param>
/// <param name="ThinkingTokens">Those of them that are in the think block.</param>
/// <param name="TimeToFirstToken">From the call to the first token: pictures, waiting and prompt.</param>
/// <param name="Duration">From the call to the end.</param>
public sealed record Usage(int PromptTokens, int ImageTokens, int CachedTokens, int CompletionTokens,
    int ThinkingTokens, TimeSpan TimeToFirstToken, TimeSpan Duration)
{
    /// <summary>
    /// Tokens that were guessed and run with others in one pass (<see cref="GenerationOptions.SpeculativeTokens"/>); no part
    /// of <see cref="CompletionTokens"/>, unless they are among <see cref="AcceptedTokens"/>.
    /// </summary>
    public int GuessedTokens { get; init; }

    /// <summary>Those of them that were right: each saved a pass.</summary>
    public int AcceptedTokens { get; init; }
}

/// <summary>A piece of an answer. All pieces of a kind together are its text.</summary>
/// <param name="Kind">What it belongs to.</param>
/// <param name="Text">The text; may be empty.</param>
public sealed record GenerationUpdate(UpdateKind Kind, string Text)
{
    /// <summary>The tokens made since the last update, where they were asked for.</summary>
    public IReadOnlyList<TokenDetail> Tokens { get; init; } = [];

    /// <summary>A piece of a call of a tool; the update then has no text.</summary>
    public ToolCallUpdate? ToolCall { get; init; }

    /// <summary>
    /// Why the text of this update, which begins like a call of a tool, is none: it was cut off, or is written wrongly.
    /// Null where it is text like any other.
    /// </summary>
    public string? BrokenToolCall { get; init; }

    /// <summary>Why the answer ended; in the last update.</summary>
    public FinishReason? FinishReason { get; init; }

    /// <summary>What the answer took; in the last update.</summary>
    public Usage? Usage { get; init; }
}

/// <summary>A whole answer.</summary>
/// <param name="Thinking">The text of the think block; empty if there is none.</param>
/// <param name="Answer">What is meant for the reader.</param>
/// <param name="Tokens">All tokens, where they were asked for.</param>
/// <param name="FinishReason">Why it ended.</param>
/// <param name="Usage">What it took.</param>
public sealed record ChatAnswer(string Thinking, string Answer, IReadOnlyList<TokenDetail> Tokens,
    FinishReason FinishReason, Usage Usage)
{
    /// <summary>The calls of tools that are complete, in the order in which they were made.</summary>
    public IReadOnlyList<ToolCall> ToolCalls { get; init; } = [];
}
