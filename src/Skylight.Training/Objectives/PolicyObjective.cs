using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Training.Objectives;

/// <summary>
/// The objective of policy gradients: Σ weight · (−objective(ρ, A) + β·KL), in the forms of <see cref="PolicyForm"/>.
/// By default PPO's and GRPO's clipped one.
/// <see cref="GrpoPresets"/> has those of the literature with their aggregation.
/// </summary>
/// <param name="ClipLow">The ratio is clipped from below at 1 − this; in [0, 1].</param>
/// <param name="ClipHigh">The ratio is clipped from above at 1 + this: more than <paramref name="ClipLow"/> is DAPO's
/// clip-higher.</param>
/// <param name="Kl">How the divergence from the reference model is estimated. <see cref="KlKind.K1"/> has, as a loss, a
/// gradient of zero in expectation.</param>
/// <param name="Beta">Its weight.</param>
/// <param name="Temperature">The temperature of the rollouts.</param>
public sealed record PolicyObjective(float ClipLow = 0.2f, float ClipHigh = 0.2f, KlKind Kl = KlKind.None,
    float Beta = 0f, float Temperature = 1f) : Objective(Temperature)
{
    /// <summary>What is made larger.</summary>
    public PolicyForm Form { get; init; }

    /// <summary>
    /// Bounds the loss of tokens with a negative advantage at this times |A| (dual-clip PPO, Ye et al., 2020; verl
    /// takes 3); 0 for no bound.
    /// </summary>
    public float DualClip { get; init; }

    /// <summary>SAPO's temperature for advantages above 0.</summary>
    public float SapoPositive { get; init; } = 1f;

    /// <summary>SAPO's temperature for other advantages.</summary>
    public float SapoNegative { get; init; } = 1.05f;

    /// <summary>
    /// For rollouts that came from elsewhere (<see cref="TrainingSample.RolloutLogProbabilities"/>): each token's
    /// advantage is multiplied by min(π_old/π_rollout, this), held: truncated importance sampling (Yao et al., 2025). 2
    /// is the cap of verl; infinity truncates nothing.
    /// </summary>
    public float ImportanceCap { get; init; } = 2f;

    internal PolicyLoss Loss => new(ClipLow, ClipHigh, Kl, Beta, DualClip)
    {
        Form = Form,
        SapoPositive = SapoPositive,
        SapoNegative = SapoNegative
    };

    /// <inheritdoc/>
    public override Value AppendLoss(ObjectiveGraph graph)
    {
        ArgumentNullException.ThrowIfNull(graph);
        List<Value> inputs =
        [
            graph.LogProbabilities,
            graph.AddInput("old_log_probabilities", sample => sample.OldLogProbabilities),
            graph.AddInput("reference_log_probabilities", sample => Kl == KlKind.None ? null
                : sample.ReferenceLogProbabilities),
            graph.AddInput("advantages", TokenAdvantages),
            graph.Weights,
        ];
        if (Loss.TakesSequences)
            inputs.Add(graph.AddSequences());
        IReadOnlyList<Value> outputs = graph.Graph.AddNode(Loss, [.. inputs]);
        graph.ReportPolicy(outputs[1], outputs[2], outputs[3]);
        return outputs[0];
    }

    /// <inheritdoc/>
    public override void Check(TrainingSample sample)
    {
        ArgumentNullException.ThrowIfNull(sample);
        sample.CheckRows(sample.OldLogProbabilities, nameof(sample.OldLogProbabilities));
        if (Kl != KlKind.None)
            sample.CheckRows(sample.ReferenceLogProbabilities, nameof(sample.ReferenceLogProbabilities));
        if (sample.RolloutLogProbabilities is not null)
            sample.CheckRows(sample.RolloutLogProbabilities, nameof(sample.RolloutLogProbabilities));
        if (sample.AdvantageMask is not null)
            sample.CheckRows(sample.AdvantageMask, nameof(sample.AdvantageMask));
    }

    /// <summary>Refuses attributes that no loss can be made of, before anything is drawn.</summary>
    /// <exception cref="ArgumentException">What is wrong with them.</exception>
    internal void CheckAttributes()
    {
        if (!(ImportanceCap > 0))
            throw new ArgumentException(
                $"The cap of importance weights must be above 0, not {ImportanceCap}; infinity truncates nothing.");
        TensorType row = TensorType.Float32(1), number = TensorType.Int32(1);
        try
        {
            Loss.Infer(Loss.TakesSequences ? [row, row, row, row, row, number] : [row, row, row, row, row]);
        }
        catch (GraphException exception)
        {
            throw new ArgumentException($"The objective is not valid. {exception.Message}", exception);
        }
    }

    /// <summary>
    /// The advantage of each token: the completion's, times the importance weight, and 0 for masked tokens.
    /// </summary>
    private float[] TokenAdvantages(TrainingSample sample)
    {
        var advantages = new float[sample.CompletionLength];
        for (int token = 0; token < advantages.Length; token++)
        {
            double weight = sample.RolloutLogProbabilities is { } rollout
                ? Math.Min(Math.Exp((double)sample.OldLogProbabilities![token] - rollout[token]), ImportanceCap) : 1;
            advantages[token] = sample.AdvantageMask is { } mask && !mask[token] ? 0 : (float)(sample.Advantage * weight);
        }

        return advantages;
    }
}
