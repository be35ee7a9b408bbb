using Skylight.Models;
using Skylight.Ops;

namespace Skylight.Training;

/// <summary>The gradient of the policy objective over rollouts: the half of a GRPO step that follows the drawing.</summary>
/// <param name="trainer">Where gradients add up.</param>
/// <param name="options">The objective and its aggregation.</param>
/// <param name="reference">The model that the KL term compares with; null without one, or when rollouts bring its log-probabilities.</param>
public sealed class PolicyUpdate(ModelTrainer trainer, GrpoOptions options, ModelScorer? reference = null)
{
    /// <summary>Adds the gradients of the objective over rollouts; <see cref="ModelTrainer.Step"/> applies them.</summary>
    /// <param name="rollouts">All completions of whole groups: they share the normalisation of the loss.</param>
    /// <param name="cancellationToken">Checked between ops.</param>
    public BatchResult AccumulateGradients(IReadOnlyList<Rollout> rollouts, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(rollouts);
        float[] weights = GroupAdvantages.TokenWeights([.. rollouts.Select(rollout => rollout.Completion.Tokens.Length)], options.Aggregation, options.ConstantLength);
        bool hasKl = options.Objective.Kl != KlKind.None;
        var samples = new List<TrainingSample>();
        for (int index = 0; index < rollouts.Count; index++)
        {
            // Without a KL term a completion without advantage has no gradient: it need not be run.
            if (hasKl || rollouts[index].Advantage != 0)
                samples.Add(Sample(rollouts[index], weights[index]));
        }

        return samples.Count == 0
            ? new BatchResult(0, [], [], 0, 0, 0)
            : trainer.AccumulateGradients(hasKl ? WithReference(samples, cancellationToken) : samples, options.Objective, cancellationToken);
    }

    private static TrainingSample Sample(Rollout rollout, float weight)
    {
        int[] prompt = rollout.Prompt.Tokens, completion = rollout.Completion.Tokens;
        var weights = new float[completion.Length];
        Array.Fill(weights, weight);
        return new TrainingSample(new TokenSequence([.. prompt, .. completion], rollout.Prompt.Images) { TextFrom = prompt.Length }, prompt.Length, weights)
        {
            Advantage = rollout.Advantage,
            OldLogProbabilities = rollout.Completion.LogProbabilities,
            ReferenceLogProbabilities = rollout.ReferenceLogProbabilities,
        };
    }

    /// <summary>Fills in the reference model's log-probabilities where the caller gave none.</summary>
    private List<TrainingSample> WithReference(List<TrainingSample> samples, CancellationToken cancellationToken)
    {
        if (samples.TrueForAll(sample => sample.ReferenceLogProbabilities is not null))
            return samples;
        if (reference is null)
            throw new InvalidOperationException("A KL term needs a reference model, or rollouts with reference log-probabilities.");
        float[][] scores = reference.Score(samples, options.Objective.Temperature, cancellationToken).LogProbabilities;
        return [.. samples.Select((sample, index) => sample with { ReferenceLogProbabilities = scores[index] })];
    }
}
