using Skylight.Generation;
using Skylight.Models;
using Skylight.Training.Entropy;
using Skylight.Training.Rewards;

namespace Skylight.Training;

/// <summary>A prompt with what is needed to judge its completions.</summary>
/// <param name="Prompt">Tokens and pictures.</param>
/// <param name="Request">What rewards are to see of a completion: its text, the row's answers.</param>
public sealed record GrpoPrompt(TokenSequence Prompt, Func<Completion, RewardRequest> Request);

/// <summary>A completion with its reward.</summary>
/// <param name="Prompt">What was completed.</param>
/// <param name="Completion">What the model wrote, with the log-probabilities of the moment.</param>
/// <param name="Reward">How it was judged.</param>
/// <param name="Advantage">How much better than its group it is.</param>
public sealed record Rollout(TokenSequence Prompt, Completion Completion, RewardBreakdown Reward, float Advantage)
{
    /// <summary>What rewards saw of it; null where nothing was judged.</summary>
    public RewardRequest? Request { get; init; }

    /// <summary>The log-probabilities under the reference model; needed with a KL term.</summary>
    public float[]? ReferenceLogProbabilities { get; init; }

    /// <summary>
    /// The log-probabilities under the policy that drew the completion, where that was not the one being trained: those
    /// of <see cref="Completion"/> are then what the trained model says. Tokens are weighted by
    /// <see cref="Objectives.PolicyObjective.ImportanceCap"/>. Null where the completion is the model's own.
    /// </summary>
    public float[]? RolloutLogProbabilities { get; init; }
}

/// <summary>The completions of one prompt, whose rewards are compared.</summary>
/// <param name="Step">The step of <see cref="GrpoTrainer"/> that drew them: its <see cref="GrpoTrainer.StepCount"/>
/// before it.</param>
/// <param name="Temperature">The temperature they were drawn at.</param>
/// <param name="Rollouts">The completions.</param>
public sealed record RolloutGroup(int Step, float Temperature, IReadOnlyList<Rollout> Rollouts)
{
    /// <summary>Whether rewards differ: only then is there something to learn.</summary>
    public bool IsActive => Rollouts.Any(rollout => rollout.Advantage != 0);
}

/// <summary>
/// What a step of GRPO found. Rewards, lengths and entropies are those of the completions that were trained on.
/// </summary>
/// <param name="Step">Counted from 1.</param>
/// <param name="Reward">The mean total reward.</param>
/// <param name="ActiveGroups">The fraction of groups whose rewards differ, after replacement.</param>
/// <param name="ResponseLength">The mean length of completions in tokens.</param>
/// <param name="Entropy">Critical-token and mean entropies of the rollouts.</param>
/// <param name="Loss">The objective.</param>
/// <param name="GradientNorm">Before clipping, of the last optimizer step; 0 if there was none, not finite if it was
/// skipped.</param>
/// <param name="ClippedTokens">Tokens whose ratio was clipped.</param>
/// <param name="Kl">The weighted divergence from the reference model.</param>
/// <param name="RolloutTrainDifference">The greatest |log p of training − log p of the rollout| of the first
/// mini-batch: 0; null where it holds groups that an earlier step drew, and so under other weights.</param>
/// <param name="GeneratedTokens">Tokens drawn in this step, those of replaced groups and of their replacements
/// included.</param>
/// <param name="RolloutSeconds">Time spent on drawing and judging.</param>
/// <param name="UpdateSeconds">Time spent on forward, backward and optimizer.</param>
public sealed record GrpoMetrics(
    int Step, double Reward, double ActiveGroups, double ResponseLength, CriticalTokenEntropy Entropy, double Loss,
    double GradientNorm, int ClippedTokens, double Kl, double? RolloutTrainDifference, long GeneratedTokens,
    double RolloutSeconds, double UpdateSeconds)
{
    /// <summary>The mean of each component of the reward, by name, before its weight.</summary>
    public required IReadOnlyList<(string Name, double Value)> Components { get; init; }

    /// <summary>What was trained on.</summary>
    public required IReadOnlyList<RolloutGroup> Groups { get; init; }

    /// <summary>
    /// The mean total reward of the first draw: of all prompts, before groups without spread were replaced. What a
    /// curve of progress shows.
    /// </summary>
    public required double DrawnReward { get; init; }

    /// <summary>The fraction of groups of the first draw whose rewards differ.</summary>
    public required double DrawnActiveGroups { get; init; }

    /// <summary>
    /// The optimizer steps taken: one for each mini-batch with a gradient. 0: no group had a spread, and no weight and
    /// no moment has moved.
    /// </summary>
    public required int OptimizerSteps { get; init; }

    /// <summary>The groups among those trained on that an earlier step had drawn and kept.</summary>
    public int GroupsFromEarlierSteps { get; init; }

    /// <summary>The groups that are kept for the next step.</summary>
    public int GroupsKept { get; init; }

    /// <summary>
    /// Groups with a spread that were drawn, for which there was no place, and that were dropped: not to be kept, too
    /// old, or of another temperature.
    /// </summary>
    public int GroupsDropped { get; init; }
}
