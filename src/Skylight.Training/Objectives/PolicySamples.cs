using Skylight.Generation;
using Skylight.Models;
using Skylight.Ops;

namespace Skylight.Training.Objectives;

/// <summary>Makes the samples of a policy update: weights by aggregation, masks.</summary>
internal static class PolicySamples
{
    /// <summary>
    /// The samples of rollouts, with the number of each one's rollout. Rollouts without any part in the loss are left
    /// out.
    /// </summary>
    public static IReadOnlyList<(int Rollout, TrainingSample Sample)> Of(IReadOnlyList<Rollout> rollouts,
        GrpoOptions options)
    {
        bool[] counts = [.. rollouts.Select(
            rollout => !(options.MaskTruncated && rollout.Completion.FinishReason == FinishReason.Length))];
        float[] weights = GroupAdvantages.TokenWeights(
            [.. rollouts.Select((rollout, index) => counts[index] ? rollout.Completion.Tokens.Length : 0)],
            options.Aggregation, options.ConstantLength);
        double lowest = options.TopEntropyShare < 1
            ? LowestEntropy([.. rollouts.Where((_, index) => counts[index])], options.TopEntropyShare) : 0;
        bool hasKl = options.Objective.Kl != KlKind.None;
        var samples = new List<(int, TrainingSample)>();
        for (int index = 0; index < rollouts.Count; index++)
        {
            // Without a KL term a completion without advantage has no gradient: it need not be run.
            if (!counts[index] || (!hasKl && rollouts[index].Advantage == 0))
                continue;
            TrainingSample sample = Sample(rollouts[index], weights[index]);
            if (options.TopEntropyShare < 1)
                sample = sample with
                {
                    AdvantageMask = [.. rollouts[index].Completion.Entropies.Select(entropy => entropy >= lowest)],
                };
            samples.Add((index, sample));
        }

        return samples;
    }

    private static TrainingSample Sample(Rollout rollout, float weight)
    {
        int[] prompt = rollout.Prompt.Tokens, completion = rollout.Completion.Tokens;
        var weights = new float[completion.Length];
        Array.Fill(weights, weight);
        return new TrainingSample(new TokenSequence([.. prompt, .. completion],
            rollout.Prompt.Images)
        { TextFrom = prompt.Length }, prompt.Length, weights)
        {
            Advantage = rollout.Advantage,
            OldLogProbabilities = rollout.Completion.LogProbabilities,
            RolloutLogProbabilities = rollout.RolloutLogProbabilities,
            ReferenceLogProbabilities = rollout.ReferenceLogProbabilities,
        };
    }

    /// <summary>The entropy that the share of tokens with the highest ones has at least.</summary>
    private static double LowestEntropy(Rollout[] rollouts, double share)
    {
        foreach (Rollout rollout in rollouts)
        {
            (int tokens, int given) = (rollout.Completion.Tokens.Length, rollout.Completion.Entropies.Length);
            if (given != tokens)
                throw new ArgumentException(
                    $"{nameof(GrpoOptions.TopEntropyShare)} needs the entropy of each of a rollout's {tokens} " +
                    $"tokens, not {given}.");
        }

        float[] entropies = [.. rollouts.SelectMany(rollout => rollout.Completion.Entropies)];
        Array.Sort(entropies);
        return entropies.Length == 0 ? 0 : entropies[^Math.Max(1, (int)Math.Ceiling(share * entropies.Length))];
    }
}
