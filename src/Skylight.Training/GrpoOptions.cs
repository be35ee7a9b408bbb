using Skylight.Generation;
using Skylight.Ops;

namespace Skylight.Training;

/// <summary>How the losses of tokens become one number.</summary>
public enum LossAggregation
{
    /// <summary>The mean over a sequence's tokens, then the mean over sequences: the paper's equation 7.</summary>
    SequenceMean,

    /// <summary>The mean over all tokens (DAPO).</summary>
    TokenMean,

    /// <summary>The sum over all tokens, divided by sequences × a constant length (Dr. GRPO).</summary>
    Constant,
}

/// <summary>Group-relative policy optimisation (DeepSeekMath, arXiv 2402.03300; Skywork-R1V3, arXiv 2507.06167, section 3.3).</summary>
public sealed record GrpoOptions
{
    /// <summary>Completions drawn for each prompt.</summary>
    public int GroupSize { get; init; } = 8;

    /// <summary>The objective: clipping, KL term. Its temperature is that of the rollouts.</summary>
    public PolicyObjective Objective { get; init; } = new();

    /// <summary>How the losses of tokens become one number.</summary>
    public LossAggregation Aggregation { get; init; } = LossAggregation.SequenceMean;

    /// <summary>The length that <see cref="LossAggregation.Constant"/> divides by; usually the most new tokens.</summary>
    public int ConstantLength { get; init; } = 256;

    /// <summary>Optimizer steps per batch of rollouts: 1 is on-policy, more use the log-probabilities of the rollouts as old ones.</summary>
    public int MiniBatches { get; init; } = 1;

    /// <summary>How often groups whose rewards are all equal are replaced by those of other prompts; 0 for never.</summary>
    public int ResampleAttempts { get; init; }

    /// <summary>
    /// For how many steps groups are kept that have a spread and for which a step that replaces others had no place: they are the first to replace groups in the steps that follow,
    /// with the log-probabilities they were drawn with. 0 drops them.
    /// </summary>
    public int KeepSurplusSteps { get; init; }

    /// <summary>
    /// How completions are drawn: at the temperature of the objective, and with nothing else that changes the distribution (penalty, bias, top-k, top-p, min-p, fewest tokens),
    /// which a trainer refuses.
    /// </summary>
    public SamplingOptions Sampling { get; init; } = new();
}

/// <summary>The arithmetic of groups.</summary>
public static class GroupAdvantages
{
    /// <summary>Added to the standard deviation.</summary>
    public const double Epsilon = 1e-6;

    /// <summary>(r − mean) / (unbiased standard deviation + 1e-6); all zero for a group without spread.</summary>
    public static float[] Of(IReadOnlyList<double> rewards)
    {
        ArgumentNullException.ThrowIfNull(rewards);
        // Asked before any rounding: the mean of equal rewards need not be equal to them, and 1e-17 over 1e-6 is an advantage too.
        if (rewards.All(reward => reward == rewards[0]))
            return new float[rewards.Count];
        double mean = rewards.Average();
        double squares = rewards.Sum(reward => (reward - mean) * (reward - mean));
        double deviation = Math.Sqrt(squares / (rewards.Count - 1));
        return [.. rewards.Select(reward => (float)((reward - mean) / (deviation + Epsilon)))];
    }

    /// <summary>The weight of each token of each completion.</summary>
    /// <param name="lengths">The completions' lengths in tokens.</param>
    /// <param name="aggregation">How the losses of tokens become one number.</param>
    /// <param name="constantLength">For <see cref="LossAggregation.Constant"/>.</param>
    public static float[] TokenWeights(IReadOnlyList<int> lengths, LossAggregation aggregation, int constantLength)
    {
        ArgumentNullException.ThrowIfNull(lengths);
        double total = lengths.Sum();
        return [.. lengths.Select(length => (float)(aggregation switch
        {
            LossAggregation.SequenceMean => 1.0 / ((double)lengths.Count * length),
            LossAggregation.TokenMean => 1.0 / total,
            LossAggregation.Constant => 1.0 / ((double)lengths.Count * constantLength),
            _ => throw new ArgumentOutOfRangeException(nameof(aggregation), aggregation, "Unknown aggregation."),
        }))];
    }
}
