using Skylight.Models;
using Skylight.Ops;

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

    /// <summary>The log-probability of each completion token when it was drawn; for a policy objective.</summary>
    public float[]? OldLogProbabilities { get; init; }

    /// <summary>The log-probability of each completion token under the reference model; for a policy objective with a KL term.</summary>
    public float[]? ReferenceLogProbabilities { get; init; }

    internal void Validate(Objective objective)
    {
        if (CompletionStart < 1 || CompletionStart >= Sequence.Tokens.Length)
            throw new ArgumentException($"A completion must start after the first and before the last of the {Sequence.Tokens.Length} tokens, not at {CompletionStart}.");
        Check(Weights, nameof(Weights));
        if (objective is PolicyObjective policy)
        {
            Check(OldLogProbabilities, nameof(OldLogProbabilities));
            if (policy.Kl != KlKind.None)
                Check(ReferenceLogProbabilities, nameof(ReferenceLogProbabilities));
        }
    }

    private void Check(float[]? values, string name)
    {
        if (values?.Length != CompletionLength)
            throw new ArgumentException($"{name} must have one element for each of the {CompletionLength} completion tokens, not {values?.Length ?? 0}.");
    }
}

/// <summary>What a training step minimises.</summary>
/// <param name="Temperature">Divides the logits before the softmax.</param>
public abstract record Objective(float Temperature);

/// <summary>Cross-entropy: −Σ weight · log p. Supervised tuning.</summary>
public sealed record CrossEntropyObjective() : Objective(1f);

/// <summary>The clipped policy objective with an optional KL term: Σ weight · (−min(ρA, clip(ρ)A) + β·KL).</summary>
/// <param name="ClipLow">The ratio is clipped from below at 1 − this.</param>
/// <param name="ClipHigh">The ratio is clipped from above at 1 + this.</param>
/// <param name="Kl">How the divergence from the reference model is estimated.</param>
/// <param name="Beta">Its weight.</param>
/// <param name="Temperature">The temperature of the rollouts.</param>
public sealed record PolicyObjective(float ClipLow = 0.2f, float ClipHigh = 0.2f, KlKind Kl = KlKind.None, float Beta = 0f, float Temperature = 1f) : Objective(Temperature);

/// <summary>What a forward (and backward) pass over samples found.</summary>
/// <param name="Loss">The objective.</param>
/// <param name="LogProbabilities">For each sample those of its completion tokens.</param>
/// <param name="Entropies">For each sample those of the distributions of its completion tokens; nats.</param>
/// <param name="ClippedTokens">Policy objective: tokens whose ratio was clipped.</param>
/// <param name="Kl">Policy objective: the weighted sum of the divergence estimates.</param>
/// <param name="MaximumLogRatio">Policy objective: the greatest |log p − old log p|.</param>
public sealed record BatchResult(double Loss, float[][] LogProbabilities, float[][] Entropies, int ClippedTokens, double Kl, float MaximumLogRatio);

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
