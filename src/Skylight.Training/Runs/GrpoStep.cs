using Skylight.Chat;
using Skylight.Generation;
using Skylight.Training.Data;
using Skylight.Training.Entropy;
using Skylight.Training.Rewards;

namespace Skylight.Training.Runs;

/// <summary>
/// Policy optimisation: a step of <see cref="GrpoTrainer"/> with prompts of the data and rewards of the recipe.
/// </summary>
/// <param name="stopTokens">What ends a completion.</param>
/// <param name="criticalTokens">Measures entropies.</param>
/// <param name="reference">The model of the KL term; null without one.</param>
/// <param name="state">How often prompts were tried and solved.</param>
internal sealed class GrpoStep(IReadOnlyList<int> stopTokens, CriticalTokens criticalTokens, ModelScorer? reference,
    RunState state) : ITrainingStep
{
    /// <summary>What has to be saved beside the step: groups that were left over.</summary>
    public IReadOnlyList<RolloutGroup> KeptGroups { get; set; } = [];

    public Task<StepOutcome> TakeAsync(StepContext context, int steps, CancellationToken cancellationToken)
    {
        SamplingOptions sampling = context.Sampling(steps, stopTokens);
        GrpoOptions options = context.Recipe.Grpo.Options;
        options = options with
        {
            Sampling = sampling,
            Objective = options.Objective with { Temperature = sampling.Temperature },
            ConstantLength = sampling.MaxOutputTokens,
        };
        // A new one for each step, because lengths and temperature are the step's.
        var trainer = new GrpoTrainer(context.Trainer, context.Engine, options, criticalTokens, context.Rewards!,
            reference)
        { StepCount = context.Step, KeptGroups = KeptGroups };
        long first = context.Feed.Next;
        GrpoMetrics metrics;
        try
        {
            metrics = trainer.Step(() => Prompts(context, sampling, cancellationToken), context.Rates, sampling,
                cancellationToken);
        }
        catch
        {
            // The step has not happened, so its prompts are drawn again.
            if (trainer.StepCount == context.Step)
                context.Feed.Next = first;
            throw;
        }

        KeptGroups = trainer.KeptGroups;
        Count(metrics, context.Recipe.Grpo.DropSolved);
        double tokens = metrics.Groups.Sum(group => group.Rollouts.Sum(rollout => (double)rollout.Completion.Tokens.Length));
        // Without a divergence a completion without advantage is not run, and a step of nothing else has no speed.
        double trained = metrics.Groups.Sum(group => group.Rollouts.Where(rollout => context.Recipe.Grpo.HasReference
            || rollout.Advantage != 0).Sum(rollout => (double)rollout.Completion.Tokens.Length));
        List<(string, double)> figures =
        [
            ("loss", metrics.Loss), ("reward", metrics.Reward),
            .. metrics.Components.Select(component => ($"reward/{component.Name}", component.Value)),
            ("active_groups", metrics.ActiveGroups), ("drawn_reward", metrics.DrawnReward),
            ("drawn_active_groups", metrics.DrawnActiveGroups),
            ("completion_tokens", metrics.ResponseLength), ("entropy", metrics.Entropy.MeanEntropy),
            ("critical_entropy", metrics.Entropy.MeanCriticalEntropy ?? double.NaN),
            ("critical_tokens", metrics.Entropy.CriticalCount),
            ("high_entropy_share", metrics.Entropy.ShareAboveThreshold), ("kl", metrics.Kl),
            ("clipped_share", metrics.ClippedTokens / Math.Max(1, tokens)),
            ("gradient_norm", metrics.GradientNorm), ("optimizer_steps", metrics.OptimizerSteps),
            ("kept_groups", metrics.GroupsKept),
            ("log_probability_difference", metrics.RolloutTrainDifference ?? double.NaN),
            ("rollout_seconds", metrics.RolloutSeconds), ("update_seconds", metrics.UpdateSeconds),
            ("rollout_tokens_per_second", metrics.GeneratedTokens / Math.Max(metrics.RolloutSeconds, 1e-9)),
            ("update_tokens_per_second", trained > 0 ? trained / Math.Max(metrics.UpdateSeconds, 1e-9) : double.NaN),
        ];
        RewardRequest[] requests = [.. metrics.Groups.SelectMany(group => group.Rollouts)
            .Select(rollout => rollout.Request!)];
        return Task.FromResult(new StepOutcome(
            figures, Samples(context, requests,
                [.. metrics.Groups.SelectMany(group => group.Rollouts).Select(rollout => rollout.Reward)],
            [.. metrics.Groups.SelectMany(group => group.Rollouts).Select(rollout => (double)rollout.Advantage)])));
    }

    /// <summary>A prompt that leaves room for its completion.</summary>
    public static async Task<PreparedPrompt> PromptAsync(RunPrompts prompts, TrainingExample example, int mostNewTokens,
        CancellationToken cancellationToken)
    {
        PreparedPrompt prompt = await prompts.Samples.PromptAsync(prompts.Prompt(example), cancellationToken)
            .ConfigureAwait(false);
        int most = prompts.Encoder.MaximumTokens;
        return prompt.Sequence.Tokens.Length + mostNewTokens <= most
            ? prompt
            : throw new ContextLengthException(
                $"The prompt has {prompt.Sequence.Tokens.Length} tokens, and with {mostNewTokens} new ones more than " +
                $"the longest sequence of {most}.");
    }

    /// <summary>The mean total and the mean of every component.</summary>
    public static IEnumerable<(string Name, double Value)> RewardFigures(IReadOnlyList<RewardBreakdown> rewards)
    {
        yield return ("reward", rewards.Average(reward => reward.Total));
        for (int component = 0; component < rewards[0].Components.Count; component++)
            yield return ($"reward/{rewards[0].Components[component]}", rewards.Average(reward => reward.Values[component]));
    }

    /// <summary>The first completions of a step, as the log keeps them: whole groups, as far as they go.</summary>
    public static IReadOnlyList<RunSample> Samples(StepContext context, IReadOnlyList<RewardRequest> requests,
        IReadOnlyList<RewardBreakdown> rewards, IReadOnlyList<double>? advantages) =>
    [
        .. requests.Take(context.Recipe.SamplesPerStep).Select((request, index) => new RunSample(
            context.Step + 1, request.Id, request.Question, request.Turn,
            [("total", rewards[index].Total), .. rewards[index].Components.Zip(rewards[index].Values)],
            advantages?[index] ?? 0, request.TokenCount, request.Finished)),
    ];

    private IReadOnlyList<GrpoPrompt> Prompts(StepContext context, SamplingOptions sampling,
        CancellationToken cancellationToken)
    {
        IReadOnlyList<(TrainingExample Example, PreparedPrompt Prompt)> taken = context.Feed.TakeAsync(
            context.Recipe.Schedule.Batch,
            (example, token) => PromptAsync(context.Prompts, example, sampling.MaxOutputTokens, token), cancellationToken)
                .GetAwaiter().GetResult();
        return [.. taken.Select(pair =>
            new GrpoPrompt(pair.Prompt.Sequence,
                completion => context.Request(pair.Example, pair.Prompt, completion, sampling.MaxOutputTokens)))];
    }

    /// <summary>Notes which prompts were solved, where the recipe leaves solved ones out.</summary>
    private void Count(GrpoMetrics metrics, double? dropSolved)
    {
        if (dropSolved is null)
            return;
        foreach (RolloutGroup group in metrics.Groups)
        {
            // What the first component says: the answer's, as recipes have it.
            int solved = group.Rollouts.Count(rollout => rollout.Reward.Values[0] > 0);
            long[] before = state.Solved.GetValueOrDefault(group.Rollouts[0].Request!.Id, [0, 0]);
            state.Solved[group.Rollouts[0].Request!.Id] = [before[0] + group.Rollouts.Count, before[1] + solved];
        }
    }
}
