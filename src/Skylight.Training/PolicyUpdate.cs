using Skylight.Ops;
using Skylight.Training.Objectives;

namespace Skylight.Training;

/// <summary>The gradient of the policy objective over rollouts: the half of a GRPO step that follows the drawing.</summary>
/// <param name="trainer">Where gradients add up.</param>
/// <param name="options">The objective, its aggregation and masks.</param>
/// <param name="reference">The model that the KL term compares with; null without one, or when rollouts bring its
/// log-probabilities.</param>
/// <exception cref="ArgumentException">The options contradict themselves.</exception>
public sealed class PolicyUpdate(ModelTrainer trainer, GrpoOptions options, ModelScorer? reference = null)
{
    private readonly GrpoOptions _options = options.Checked();

    /// <summary>Adds the gradients of the objective over rollouts; <see cref="ModelTrainer.Step"/> applies them.</summary>
    /// <param name="rollouts">All completions of whole groups: they share the normalisation of the loss.</param>
    /// <param name="cancellationToken">Checked between ops.</param>
    public BatchResult AccumulateGradients(IReadOnlyList<Rollout> rollouts, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(rollouts);
        List<TrainingSample> samples = [.. PolicySamples.Of(rollouts, _options).Select(pair => pair.Sample)];
        if (samples.Count == 0)
            return new BatchResult(0, [], [], 0, 0, 0);
        bool hasKl = _options.Objective.Kl != KlKind.None;
        return trainer.AccumulateGradients(hasKl ? WithReference(samples, cancellationToken) : samples,
            _options.Objective, cancellationToken);
    }

    /// <summary>Fills in the reference model's log-probabilities where the caller gave none.</summary>
    private List<TrainingSample> WithReference(List<TrainingSample> samples, CancellationToken cancellationToken)
    {
        if (samples.TrueForAll(sample => sample.ReferenceLogProbabilities is not null))
            return samples;
        if (reference is null)
            throw new InvalidOperationException(
                "A KL term needs a reference model, or rollouts with reference log-probabilities.");
        float[][] scores = reference.Score(samples, _options.Objective.Temperature, cancellationToken).LogProbabilities;
        return [.. samples.Select((sample, index) => sample with { ReferenceLogProbabilities = scores[index] })];
    }
}
