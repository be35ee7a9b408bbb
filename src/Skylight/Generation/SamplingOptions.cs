using Skylight.Ops;

namespace Skylight.Generation;

/// <summary>How tokens are chosen.</summary>
/// <example>
/// <code>
/// var sampling = new SamplingOptions { Temperature = 0.7f, TopP = 0.95f, MaxOutputTokens = 64, Seed = 1 };
/// </code>
/// </example>
public sealed record SamplingOptions
{
    private const float Smallest = 1e-6f, Largest = 1e6f, LargestPenalty = 2;

    /// <summary>The most of <see cref="SpeculativeTokens"/>.</summary>
    public const int MostSpeculativeTokens = 15;

    /// <summary>The most of <see cref="TopLogProbabilityCount"/>.</summary>
    public const int MostTopLogProbabilities = SampleTokens.MostTopTokens;

    /// <summary>Divides the logits before the softmax; 0 takes the most likely token (the lowest id of equals).</summary>
    public float Temperature { get; init; } = 1f;

    /// <summary>Only this many of the most likely tokens are eligible; 0 for all.</summary>
    public int TopK { get; init; }

    /// <summary>Only the most likely tokens that together have this probability are eligible; 1 for all.</summary>
    public float TopP { get; init; } = 1f;

    /// <summary>Only tokens at least this much as probable as the most likely one are eligible; 0 for all.</summary>
    public float MinP { get; init; }

    /// <summary>
    /// Divides the positive logits, and multiplies the negative ones, of tokens that the prompt or the completion holds
    /// already; 1 for none. Log-probabilities are then those of the changed distribution.
    /// </summary>
    public float RepetitionPenalty { get; init; } = 1f;

    /// <summary>
    /// Taken from the logit of a token once for each time that the completion holds it, the prompt not counted; from −2
    /// to 2, 0 for none: OpenAI's definition, logit − count · frequency − (count &gt; 0) · presence, after
    /// <see cref="RepetitionPenalty"/> and together with <see cref="LogitBias"/>, before the temperature.
    /// Log-probabilities are then those of the changed distribution.
    /// </summary>
    public float FrequencyPenalty { get; init; }

    /// <summary>The same, taken once from the logits of all tokens that the completion holds.</summary>
    public float PresencePenalty { get; init; }

    /// <summary>
    /// How many of the most likely tokens are told with each token that is drawn
    /// (<see cref="GeneratedToken.TopTokens"/>), up to <see cref="MostTopLogProbabilities"/>; 0 for none. It changes
    /// nothing else.
    /// </summary>
    public int TopLogProbabilityCount { get; init; }

    /// <summary>
    /// How many tokens are guessed at most behind the next one, and run with it in one pass: those that followed where
    /// the last few tokens stood before, in the prompt or in the completion. From 0, for none, to
    /// <see cref="MostSpeculativeTokens"/>. Each token is drawn as ever and a guess only counts where it is what was
    /// drawn, so tokens, log-probabilities and entropies are the same bits; what repeats itself is written in fewer
    /// passes. Fewer are guessed where guesses fail, and none beside many completions. On a card outside of its
    /// deterministic mode products depend a little on the rows of a pass, and so do the bits.
    /// </summary>
    public int SpeculativeTokens { get; init; }

    /// <summary>
    /// Added to the logits of single tokens; −∞ bans a token. Log-probabilities are then those of the changed
    /// distribution.
    /// </summary>
    public IReadOnlyDictionary<int, float> LogitBias { get; init; } = System.Collections.Frozen.FrozenDictionary<int,
        float>.Empty;

    /// <summary>The most tokens of a completion.</summary>
    public int MaxOutputTokens { get; init; } = 256;

    /// <summary>
    /// None of <see cref="StopTokens"/> is drawn before a completion has so many tokens; 0 for none. Log-probabilities
    /// are then those of the changed distribution.
    /// </summary>
    public int MinOutputTokens { get; init; }

    /// <summary>Tokens after which a completion ends; they are part of it.</summary>
    public IReadOnlyList<int> StopTokens { get; init; } = [];

    /// <summary>The same seed, prompts and streams give the same completions, whatever else runs.</summary>
    public ulong Seed { get; init; }

    /// <summary>Checks the ranges.</summary>
    /// <exception cref="ArgumentException">A value is out of its range.</exception>
    public void Validate()
    {
        // Beyond these bounds logits could overflow, and then nobody's tokens could be drawn in the step.
        if (Temperature != 0 && !(Temperature >= Smallest && Temperature <= Largest))
            throw new ArgumentException(
                $"The temperature must be 0 (the most likely token) or from {Smallest} to {Largest}, not {Temperature}.");
        if (TopK < 0)
            throw new ArgumentException($"Top-k must be 0 (all) or more, not {TopK}.");
        if (!(TopP > 0 && TopP <= 1))
            throw new ArgumentException($"Top-p must be in (0, 1], not {TopP}.");
        if (!(MinP >= 0 && MinP <= 1))
            throw new ArgumentException($"Min-p must be in [0, 1], not {MinP}.");
        if (!(RepetitionPenalty >= Smallest && RepetitionPenalty <= Largest))
            throw new ArgumentException(
                $"The repetition penalty must be from {Smallest} to {Largest}, not {RepetitionPenalty}.");
        CheckPenalty("frequency", FrequencyPenalty);
        CheckPenalty("presence", PresencePenalty);
        if (TopLogProbabilityCount is < 0 or > MostTopLogProbabilities)
            throw new ArgumentException(
                $"The most likely tokens that are told must be from 0 to {MostTopLogProbabilities}, not " +
                $"{TopLogProbabilityCount}.");
        if (SpeculativeTokens is < 0 or > MostSpeculativeTokens)
            throw new ArgumentException(
                $"The tokens that are guessed must be from 0 (none) to {MostSpeculativeTokens}, not {SpeculativeTokens}.");
        foreach ((int token, float bias) in LogitBias)
        {
            if (!(MathF.Abs(bias) <= Largest || float.IsNegativeInfinity(bias)))
                throw new ArgumentException(
                    $"The bias of token {token} must be from −{Largest} to {Largest}, or −∞, not {bias}.");
        }

        if (MaxOutputTokens < 1)
            throw new ArgumentException($"A completion needs at least 1 new token, not {MaxOutputTokens}.");
        if (MinOutputTokens < 0 || MinOutputTokens > MaxOutputTokens)
            throw new ArgumentException(
                $"The fewest new tokens must be from 0 to the most new tokens ({MaxOutputTokens}), not {MinOutputTokens}.");
        if (StopTokens.FirstOrDefault(token => token < 0, 0) is < 0 and int negative)
            throw new ArgumentException($"A stop token has the number {negative}; numbers begin at 0.");
    }

    private static void CheckPenalty(string name, float penalty)
    {
        if (!(MathF.Abs(penalty) <= LargestPenalty))
            throw new ArgumentException(
                $"The {name} penalty must be from −{LargestPenalty} to {LargestPenalty}, not {penalty}.");
    }
}
