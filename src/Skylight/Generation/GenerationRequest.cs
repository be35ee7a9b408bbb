using Skylight.Constraints;
using Skylight.Models;

namespace Skylight.Generation;

/// <summary>A prompt to complete.</summary>
/// <param name="Prompt">Tokens and pictures.</param>
/// <param name="Count">How many completions to draw; the prompt is run once for all of them.</param>
/// <param name="Stream">Tells this prompt's random numbers from those of others.</param>
public sealed record GenerationRequest(TokenSequence Prompt, int Count = 1, ulong Stream = 0)
{
    /// <summary>
    /// The form that each completion has; null for any. Only tokens with which it can still come to have it are drawn,
    /// and those of <see cref="SamplingOptions.StopTokens"/>, of which one at least is needed, only where it has it.
    /// Log-probabilities are then those of what is left of the distribution.
    /// </summary>
    public TokenConstraint? Constraint { get; init; }
}

/// <summary>Why a completion ended.</summary>
public enum FinishReason
{
    /// <summary>A stop token was chosen.</summary>
    Stop,

    /// <summary>The most new tokens were reached.</summary>
    Length,

    /// <summary>One of the stop sequences was written: texts, which the engine does not know, but a chat model.</summary>
    StopSequence,

    /// <summary>The answer ended with calls of tools, which the engine does not know, but a chat model.</summary>
    ToolCalls,
}

/// <summary>What a model wrote.</summary>
/// <param name="Tokens">The new tokens, the stop token included.</param>
/// <param name="LogProbabilities">Of each token in the distribution it was drawn from, before top-k and top-p; nats.</param>
/// <param name="Entropies">Of those distributions; nats.</param>
/// <param name="FinishReason">Why it ended.</param>
public sealed record Completion(int[] Tokens, float[] LogProbabilities, float[] Entropies, FinishReason FinishReason)
{
    /// <summary>
    /// The most likely tokens where each of <see cref="Tokens"/> was drawn, as many as
    /// <see cref="SamplingOptions.TopLogProbabilityCount"/> asked for; none where it asked for none.
    /// </summary>
    public IReadOnlyList<IReadOnlyList<LikelyToken>> TopTokens { get; init; } = [];
}

/// <summary>One of the most likely tokens where a token was drawn.</summary>
/// <param name="Token">Its number.</param>
/// <param name="LogProbability">In the distribution that the token was drawn from, before top-k and top-p; nats.</param>
public readonly record struct LikelyToken(int Token, float LogProbability);

/// <summary>A token just made.</summary>
/// <param name="Completion">Which of the request's completions it belongs to.</param>
/// <param name="Token">Its number.</param>
/// <param name="LogProbability">In the distribution it was drawn from, before top-k and top-p; nats.</param>
/// <param name="Entropy">Of that distribution; nats.</param>
/// <param name="FinishReason">Why the completion ends with it; null while it goes on.</param>
/// <param name="CachedPromptTokens">How many of the prompt's tokens were found in the cache.</param>
public readonly record struct GeneratedToken(int Completion, int Token, float LogProbability, float Entropy,
    FinishReason? FinishReason, int CachedPromptTokens = 0)
{
    /// <summary>
    /// The most likely tokens, the likeliest first and of equals the one of the lowest number: as many as
    /// <see cref="SamplingOptions.TopLogProbabilityCount"/> asked for, fewer where no more may be drawn. The token itself
    /// need not be among them.
    /// </summary>
    public IReadOnlyList<LikelyToken> TopTokens { get => field ?? []; init; }

    /// <summary>
    /// How many tokens were guessed behind the one before it (<see cref="SamplingOptions.SpeculativeTokens"/>); told once
    /// for a guess, with the first token that its pass made.
    /// </summary>
    public int GuessedTokens { get; init; }

    /// <summary>How many of them were right, and so came in the same pass.</summary>
    public int AcceptedTokens { get; init; }
}
