using Skylight.Models;
using Skylight.Training.Objectives;

namespace Skylight.Training;

/// <summary>A sequence whose completion is to be made more or less likely.</summary>
/// <param name="Sequence">Prompt and completion.</param>
/// <param name="CompletionStart">The index of the completion's first token; at least 1.</param>
/// <param name="Weights">The weight of each completion token in the loss.</param>
public sealed record TrainingSample(TokenSequence Sequence, int CompletionStart, float[] Weights)
{
    /// <summary>The number of tokens in the completion.</summary>
    public int CompletionLength => Sequence.Tokens.Length - CompletionStart;

    /// <summary>The advantage of the completion; for a policy objective.</summary>
    public float Advantage { get; init; }

    /// <summary>
    /// The log-probability of each completion token under the policy before the update, which drew it unless another
    /// one did; for a policy objective.
    /// </summary>
    public float[]? OldLogProbabilities { get; init; }

    /// <summary>
    /// The log-probability of each completion token under the policy that drew it, where that was another one (another
    /// engine, older weights): tokens are then weighted by <see cref="PolicyObjective.ImportanceCap"/>. Null where
    /// <see cref="OldLogProbabilities"/> are those.
    /// </summary>
    public float[]? RolloutLogProbabilities { get; init; }

    /// <summary>Whether each completion token's advantage counts; null for all. For a policy objective.</summary>
    public bool[]? AdvantageMask { get; init; }

    /// <summary>
    /// The log-probability of each completion token under the reference model; for a policy objective with a KL term.
    /// </summary>
    public float[]? ReferenceLogProbabilities { get; init; }

    internal void Validate(Objective objective)
    {
        if (CompletionStart < 1 || CompletionStart >= Sequence.Tokens.Length)
            throw new ArgumentException(
                $"A completion must start after the first and before the last of the {Sequence.Tokens.Length} " +
                $"tokens, not at {CompletionStart}.");
        CheckRows(Weights, nameof(Weights));
        objective.Check(this);
    }

    /// <summary>Refuses rows that are not as many as there are completion tokens.</summary>
    internal void CheckRows(Array? values, string name)
    {
        if (values?.Length != CompletionLength)
            throw new ArgumentException(
                $"{name} must have one element for each of the {CompletionLength} completion tokens, not " +
                $"{values?.Length ?? 0}.");
    }
}

/// <summary>What a forward (and backward) pass over samples found.</summary>
/// <param name="Loss">The objective.</param>
/// <param name="LogProbabilities">For each sample those of its completion tokens.</param>
/// <param name="Entropies">For each sample those of the distributions of its completion tokens; nats.</param>
/// <param name="ClippedTokens">Policy objective: tokens whose ratio was clipped.</param>
/// <param name="Kl">Policy objective: the weighted sum of the divergence estimates.</param>
/// <param name="MaximumLogRatio">Policy objective: the greatest |log p − old log p|.</param>
public sealed record BatchResult(double Loss, float[][] LogProbabilities, float[][] Entropies, int ClippedTokens,
    double Kl, float MaximumLogRatio);

/// <summary>Training went to infinity or NaN; the parameters are as they were before the step.</summary>
public sealed class TrainingDivergedException : Exception
{
    /// <summary>Makes an exception.</summary>
    public TrainingDivergedException(string message)
        : base(message)
    {
    }

    /// <summary>Makes an exception with its cause.</summary>
    public TrainingDivergedException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Makes an exception without a message.</summary>
    public TrainingDivergedException()
    {
    }
}
