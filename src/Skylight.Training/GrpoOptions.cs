using Skylight.Generation;
using Skylight.Training.Objectives;

namespace Skylight.Training;

/// <summary>
/// Group-relative policy optimisation (DeepSeekMath, arXiv 2402.03300; Skywork-R1V3, arXiv 2507.06167, section 3.3).
/// </summary>
public sealed record GrpoOptions
{
    /// <summary>Completions drawn for each prompt.</summary>
    public int GroupSize { get; init; } = 8;

    /// <summary>The objective: form, clipping, KL term. Its temperature is that of the rollouts.</summary>
    public PolicyObjective Objective { get; init; } = new();

    /// <summary>What the distance of a reward from its group's mean is divided by.</summary>
    public AdvantageScale AdvantageScale { get; init; } = AdvantageScale.Group;

    /// <summary>How the losses of tokens become one number.</summary>
    public LossAggregation Aggregation { get; init; } = LossAggregation.SequenceMean;

    /// <summary>The length that <see cref="LossAggregation.Constant"/> divides by; usually the most new tokens.</summary>
    public int ConstantLength { get; init; } = 256;

    /// <summary>
    /// Whether completions that reached the most new tokens have no loss (DAPO's overlong filtering, arXiv 2503.14476,
    /// section 3.4). Their rewards still count in their groups; means over sequences still divide by all sequences,
    /// means over tokens by the tokens that are left. Off by default, as in TRL.
    /// </summary>
    public bool MaskTruncated { get; init; }

    /// <summary>
    /// The share of tokens, those of the highest entropy over the rollouts of an update, whose advantage counts; the
    /// others have none, and only a KL term if there is one. 0.2 in "Beyond the 80/20 Rule" (arXiv 2506.01939); 1, the
    /// default, masks nothing. What the loss is divided by stays as it is.
    /// </summary>
    public double TopEntropyShare { get; init; } = 1;

    /// <summary>
    /// Optimizer steps per batch of rollouts: 1 is on-policy, more use the log-probabilities of the rollouts as old
    /// ones.
    /// </summary>
    public int MiniBatches { get; init; } = 1;

    /// <summary>How often groups whose rewards are all equal are replaced by those of other prompts; 0 for never.</summary>
    public int ResampleAttempts { get; init; }

    /// <summary>
    /// For how many steps groups are kept that have a spread and for which a step that replaces others had no place:
    /// they are the first to replace groups in the steps that follow, with the log-probabilities they were drawn with.
    /// 0 drops them.
    /// </summary>
    public int KeepSurplusSteps { get; init; }

    /// <summary>
    /// How completions are drawn: at the temperature of the objective, and with nothing else that changes the
    /// distribution (penalty, bias, top-k, top-p, min-p, fewest tokens), which a trainer refuses.
    /// </summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>Refuses what no update can be made with.</summary>
    /// <exception cref="ArgumentException">What it is and what would be right.</exception>
    internal GrpoOptions Checked()
    {
        Objective.CheckAttributes();
        if (!(TopEntropyShare is > 0 and <= 1))
            throw new ArgumentException(
                $"{nameof(TopEntropyShare)} must be above 0 and at most 1, which masks nothing, not {TopEntropyShare}.");
        if (Aggregation == LossAggregation.Constant && ConstantLength < 1)
            throw new ArgumentException(
                $"{nameof(ConstantLength)} must be at least 1, not {ConstantLength}; usually the most new tokens.");
        if (!Enum.IsDefined(Aggregation) || !Enum.IsDefined(AdvantageScale))
            throw new ArgumentException($"There is no aggregation {Aggregation} or no advantage scale {AdvantageScale}.");
        return this;
    }
}
