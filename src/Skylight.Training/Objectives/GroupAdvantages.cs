namespace Skylight.Training.Objectives;

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

/// <summary>What the distance of a reward from its group's mean is divided by.</summary>
public enum AdvantageScale
{
    /// <summary>The unbiased deviation of the group's rewards (GRPO).</summary>
    Group,

    /// <summary>The unbiased deviation of all rewards of the step (REINFORCE++ with a group baseline).</summary>
    Batch,

    /// <summary>
    /// Nothing: questions that are nearly always or never solved are not favoured (Dr. GRPO, arXiv 2503.20783).
    /// </summary>
    None,
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
        return Of([rewards], AdvantageScale.Group)[0];
    }

    /// <summary>
    /// The advantages of the completions of each group: (r − the group's mean) / scale; all zero in a group without
    /// spread.
    /// </summary>
    /// <param name="groups">The rewards of each group of a step.</param>
    /// <param name="scale">What is divided by; 1e-6 is added to a deviation.</param>
    public static float[][] Of(IReadOnlyList<IReadOnlyList<double>> groups, AdvantageScale scale)
    {
        ArgumentNullException.ThrowIfNull(groups);
        double all = scale == AdvantageScale.Batch ? Deviation([.. groups.SelectMany(rewards => rewards)]) : 0;
        return [.. groups.Select(rewards => Of(rewards, scale switch
        {
            AdvantageScale.Group => Deviation(rewards) + Epsilon,
            AdvantageScale.Batch => all + Epsilon,
            AdvantageScale.None => 1,
            _ => throw new ArgumentOutOfRangeException(nameof(scale), scale, "Unknown scale."),
        }))];
    }

    /// <summary>The weight of each token of each completion.</summary>
    /// <param name="lengths">The completions' lengths in tokens; 0 for one whose tokens do not count, which gets the
    /// weight 0.</param>
    /// <param name="aggregation">How the losses of tokens become one number.</param>
    /// <param name="constantLength">For <see cref="LossAggregation.Constant"/>.</param>
    public static float[] TokenWeights(IReadOnlyList<int> lengths, LossAggregation aggregation, int constantLength)
    {
        ArgumentNullException.ThrowIfNull(lengths);
        double total = lengths.Sum(length => (long)length);
        return [.. lengths.Select(length => length == 0 ? 0 : (float)(aggregation switch
        {
            LossAggregation.SequenceMean => 1.0 / ((double)lengths.Count * length),
            LossAggregation.TokenMean => 1.0 / total,
            LossAggregation.Constant => 1.0 / ((double)lengths.Count * constantLength),
            _ => throw new ArgumentOutOfRangeException(nameof(aggregation), aggregation, "Unknown aggregation."),
        }))];
    }

    /// <summary>Gives the rollouts of a step's groups their advantages.</summary>
    internal static List<Rollout[]> Assign(IReadOnlyList<Rollout[]> groups, AdvantageScale scale)
    {
        // A group that is left out counts as one without spread.
        float[][] advantages = Of(
            [.. groups.Select(group =>
                (IReadOnlyList<double>)[.. group.Select(rollout => group.Any(other => other.Reward.IsSkipped) ? 0
                    : rollout.Reward.Total)])], scale);
        return [.. groups.Select((group, index) =>
            group.Select((rollout, member) => rollout with { Advantage = advantages[index][member] }).ToArray())];
    }

    private static float[] Of(IReadOnlyList<double> rewards, double scale)
    {
        // Asked before any rounding: the mean of equal rewards need not be equal to them, and 1e-17 over 1e-6 is an
        // advantage too.
        if (rewards.All(reward => reward == rewards[0]))
            return new float[rewards.Count];
        double mean = rewards.Average();
        return [.. rewards.Select(reward => (float)((reward - mean) / scale))];
    }

    private static double Deviation(IReadOnlyList<double> values)
    {
        if (values.Count < 2)
            return 0;
        double mean = values.Average();
        return Math.Sqrt(values.Sum(value => (value - mean) * (value - mean)) / (values.Count - 1));
    }
}
