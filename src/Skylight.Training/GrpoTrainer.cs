using System.Diagnostics;
using Skylight.Generation;
using Skylight.Ops;
using Skylight.Training.Entropy;
using Skylight.Training.Objectives;
using Skylight.Training.Rewards;

namespace Skylight.Training;

/// <summary>
/// Group-relative policy optimisation: draws a group of completions for each prompt, compares their rewards, and makes
/// the better ones more likely. Rollout and training share weights, kernels and bits: the on-policy ratio is exactly 1.
/// </summary>
/// <remarks>
/// A step is whole or has not happened: until the weights move for the first time a cancellation or a fault leaves
/// everything as it was, and the same step may be repeated; from then on the step counts as taken, a cancellation is
/// heard when it is complete, and what it drew is never drawn again.
/// </remarks>
/// <example>
/// <code>
/// var options = new GrpoOptions { GroupSize = 8, Sampling = sampling };
/// var grpo = new GrpoTrainer(trainer, engine, options, new CriticalTokens(tokenizer), rewards);
/// GrpoMetrics metrics = grpo.Step(() => prompts, 1e-6f);
/// </code>
/// </example>
public sealed class GrpoTrainer
{
    private readonly ModelTrainer _trainer;
    private readonly GenerationEngine _engine;
    private readonly GrpoOptions _options;
    private readonly CriticalTokens _criticalTokens;
    private readonly RewardSet _rewards;
    private readonly ModelScorer? _reference;

    /// <summary>Makes a trainer.</summary>
    /// <param name="trainer">The model's optimizer; says which modules are trained.</param>
    /// <param name="engine">Draws completions from the same model. It may keep pages and image features: what it keeps
    /// is forgotten when weights change.</param>
    /// <param name="options">Group size, objective, sampling.</param>
    /// <param name="criticalTokens">Measures the entropy where reasoning starts.</param>
    /// <param name="rewards">Judges completions, those of a draw together; stays open.</param>
    /// <param name="reference">The model that the KL term compares with; null without one.</param>
    /// <exception cref="ArgumentException">The options cannot work, or the engine keeps keys and values in another type than
    /// training computes with; names the option and says what to set.</exception>
    public GrpoTrainer(ModelTrainer trainer, GenerationEngine engine, GrpoOptions options,
        CriticalTokens criticalTokens, RewardSet rewards, ModelScorer? reference = null)
    {
        ArgumentNullException.ThrowIfNull(trainer);
        ArgumentNullException.ThrowIfNull(engine);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(criticalTokens);
        ArgumentNullException.ThrowIfNull(rewards);
        if (options.GroupSize < 2)
            throw new ArgumentException($"A group needs at least 2 completions to compare, not {options.GroupSize}.",
                nameof(options));
        if (options.MiniBatches < 1)
            throw new ArgumentException($"A step needs at least 1 mini-batch, not {options.MiniBatches}.", nameof(options));
        if (options.ResampleAttempts < 0 || options.KeepSurplusSteps < 0)
            throw new ArgumentException(
                $"{nameof(options.ResampleAttempts)} and {nameof(options.KeepSurplusSteps)} must be 0 or more, not " +
                $"{options.ResampleAttempts} and {options.KeepSurplusSteps}.", nameof(options));
        RolloutSampling.Check(options.Sampling);
        RolloutSampling.Check(engine, trainer.Model);
        if (options.Sampling.Temperature != options.Objective.Temperature)
            throw new ArgumentException(
                $"Rollouts at temperature {options.Sampling.Temperature} cannot be trained at " +
                $"{options.Objective.Temperature}: the ratio would not be 1.", nameof(options));
        _trainer = trainer;
        _engine = engine;
        _options = options.Checked();
        _criticalTokens = criticalTokens;
        _rewards = rewards;
        _reference = reference;
    }

    /// <summary>The steps taken so far; with the seed it decides the random numbers of the next.</summary>
    public int StepCount { get; set; }

    /// <summary>
    /// Groups with a spread that earlier steps drew and had no place for (<see cref="GrpoOptions.KeepSurplusSteps"/>),
    /// oldest first. A run that is to be resumed saves them beside <see cref="StepCount"/> (<see cref="RolloutGroups"/>).
    /// </summary>
    public IReadOnlyList<RolloutGroup> KeptGroups { get; set; } = [];

    /// <summary>Takes one step.</summary>
    /// <param name="prompts">The prompts of the step; each call gives the next batch (called again where groups are
    /// resampled).</param>
    /// <param name="learningRates">The step's learning rates; one number for all modules.</param>
    /// <param name="cancellationToken">Heard until the weights move for the first time: the model is then as before the
    /// step. Later the step is completed first.</param>
    /// <exception cref="ArgumentException">There are fewer prompts than mini-batches.</exception>
    /// <exception cref="RewardException">A reward failed or is not a number; nothing was changed.</exception>
    /// <exception cref="TrainingDivergedException">Rollouts, loss or gradients are not finite.</exception>
    public GrpoMetrics Step(Func<IReadOnlyList<GrpoPrompt>> prompts, LearningRates learningRates,
        CancellationToken cancellationToken = default) =>
        Step(prompts, learningRates, _options.Sampling, cancellationToken);

    /// <summary>
    /// Takes one step with sampling options of its own: another temperature, say, or a longer completion. The objective
    /// follows the temperature.
    /// </summary>
    /// <param name="prompts">The prompts of the step.</param>
    /// <param name="learningRates">The step's learning rates.</param>
    /// <param name="sampling">How this step's completions are drawn. Plans depend on the temperature: let it take few
    /// values over a run.</param>
    /// <param name="cancellationToken">As without sampling options.</param>
    /// <exception cref="ArgumentException">The options draw from another distribution than is trained, or there are
    /// fewer prompts than mini-batches.</exception>
    /// <inheritdoc cref="Step(Func{IReadOnlyList{GrpoPrompt}}, LearningRates, CancellationToken)"/>
    public GrpoMetrics Step(Func<IReadOnlyList<GrpoPrompt>> prompts, LearningRates learningRates,
        SamplingOptions sampling, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(prompts);
        RolloutSampling.Check(sampling);
        learningRates.Validate();
        long start = Stopwatch.GetTimestamp();
        // Only after it is filled, because a scale over the batch is that of the groups which are trained.
        RolloutBatch batch = Assigned(Fill(prompts, sampling, cancellationToken));
        double rolloutSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        start = Stopwatch.GetTimestamp();
        int step = StepCount;
        UpdateResult update = Update(batch, learningRates, sampling.Temperature, cancellationToken);
        Rollout[] all = [.. batch.Groups.SelectMany(group => group.Rollouts)];
        return new GrpoMetrics(
            step + 1, all.Average(rollout => rollout.Reward.Total), ActiveShare(batch.Groups),
            all.Average(rollout => rollout.Completion.Tokens.Length), Entropy(batch.Groups), update.Loss,
            update.GradientNorm,
            update.ClippedTokens, update.Kl, update.Difference, batch.GeneratedTokens, rolloutSeconds,
            Stopwatch.GetElapsedTime(start).TotalSeconds)
        {
            Components = [.. _rewards.Components.Select(
                (name, component) => (name, all.Average(rollout => rollout.Reward.Values[component])))],
            Groups = batch.Groups,
            DrawnReward = batch.Drawn.SelectMany(group => group.Rollouts).Average(rollout => rollout.Reward.Total),
            DrawnActiveGroups = ActiveShare(batch.Drawn),
            OptimizerSteps = update.OptimizerSteps,
            GroupsFromEarlierSteps = batch.Groups.Count(group => group.Step != step),
            GroupsKept = batch.Kept.Count,
            GroupsDropped = batch.Dropped,
        };
    }

    private RolloutBatch Assigned(RolloutBatch batch)
    {
        List<Rollout[]> rollouts = GroupAdvantages.Assign([.. batch.Groups.Select(group => group.Rollouts.ToArray())],
            _options.AdvantageScale);
        return batch with { Groups = [.. batch.Groups.Select((group, index) => group with { Rollouts = rollouts[index] })] };
    }

    private static double ActiveShare(IReadOnlyList<RolloutGroup> groups) =>
        (double)groups.Count(group => group.IsActive) / groups.Count;

    /// <summary>
    /// Draws, and replaces groups without spread: by kept ones, the oldest first, then by those of other prompts.
    /// </summary>
    private RolloutBatch Fill(Func<IReadOnlyList<GrpoPrompt>> prompts, SamplingOptions sampling,
        CancellationToken cancellationToken)
    {
        IReadOnlyList<GrpoPrompt> batch = prompts();
        if (batch.Count < _options.MiniBatches)
            throw new ArgumentException(
                $"{_options.MiniBatches} mini-batches need at least as many prompts, not {batch.Count}: give more " +
                $"prompts or set {nameof(GrpoOptions.MiniBatches)} to {Math.Max(1, batch.Count)}.");
        IReadOnlyList<RolloutGroup> drawn = Draw(batch, attempt: 0, sampling, cancellationToken);
        long tokens = Tokens(drawn);
        RolloutGroup[] groups = [.. drawn];
        var spare = new Queue<RolloutGroup>(KeptGroups.Where(group => group.Temperature == sampling.Temperature
            && StepCount - group.Step <= _options.KeepSurplusSteps));
        int dropped = KeptGroups.Count - spare.Count;
        Replace();
        for (int attempt = 1; attempt <= _options.ResampleAttempts && Array.Exists(groups, group => !group.IsActive);
            attempt++)
        {
            IReadOnlyList<RolloutGroup> others = Draw(prompts(), attempt, sampling, cancellationToken);
            tokens += Tokens(others);
            foreach (RolloutGroup other in others.Where(other => other.IsActive))
                spare.Enqueue(other);
            Replace();
        }

        RolloutGroup[] kept = [.. spare.Where(group => StepCount + 1 - group.Step <= _options.KeepSurplusSteps)];
        return new RolloutBatch(groups, drawn, kept, dropped + spare.Count - kept.Length, tokens);

        void Replace()
        {
            for (int index = 0; index < groups.Length && spare.Count > 0; index++)
            {
                if (!groups[index].IsActive)
                    groups[index] = spare.Dequeue();
            }
        }
    }

    /// <summary>One optimizer step for each mini-batch that has a gradient.</summary>
    private UpdateResult Update(RolloutBatch batch, LearningRates learningRates, float temperature,
        CancellationToken cancellationToken)
    {
        GrpoOptions options = _options with { Objective = _options.Objective with { Temperature = temperature } };
        var update = new PolicyUpdate(_trainer, options, _reference);
        bool hasKl = options.Objective.Kl != KlKind.None && options.Objective.Beta != 0;
        double loss = 0, kl = 0, norm = 0;
        double? difference = null;
        int clipped = 0, first = 0, steps = 0;
        bool isTaken = false;
        for (int index = 0; index < options.MiniBatches; index++)
        {
            // Sizes differ by one at most, so that no mini-batch is missing.
            int end = (int)((long)batch.Groups.Count * (index + 1) / options.MiniBatches);
            IReadOnlyList<RolloutGroup> groups = [.. batch.Groups.Skip(first).Take(end - first)];
            first = end;
            BatchResult result = update.AccumulateGradients([.. groups.SelectMany(group => group.Rollouts)],
                isTaken ? CancellationToken.None : cancellationToken);
            loss += result.Loss / options.MiniBatches;
            kl += result.Kl / options.MiniBatches;
            clipped += result.ClippedTokens;
            if (index == 0 && groups.All(group => group.Step == StepCount))
                difference = result.MaximumLogRatio;
            // Nothing was run: no group has a spread, or all that have one are masked.
            if (!hasKl && (result.LogProbabilities.Length == 0 || !groups.Any(group => group.IsActive)))
            {
                _trainer.ClearGradients();
                continue;
            }

            norm = _trainer.Step(learningRates);
            steps++;
            if (!isTaken)
                Take(batch);
            isTaken = true;
        }

        if (!isTaken)
            Take(batch);
        return new UpdateResult(loss, kl, clipped, difference, norm, steps);
    }

    private void Take(RolloutBatch batch)
    {
        StepCount++;
        KeptGroups = batch.Kept;
    }

    private CriticalTokenEntropy Entropy(IReadOnlyList<RolloutGroup> groups)
    {
        var entropy = default(CriticalTokenEntropy);
        foreach (RolloutGroup group in groups)
        {
            bool thinks = _criticalTokens.EndsInsideThink(group.Rollouts[0].Prompt.Tokens);
            foreach (Rollout rollout in group.Rollouts)
                entropy += _criticalTokens.Measure(rollout.Completion.Tokens, rollout.Completion.Entropies, thinks);
        }

        return entropy;
    }

    private static long Tokens(IReadOnlyList<RolloutGroup> groups) =>
        groups.Sum(group => group.Rollouts.Sum(rollout => (long)rollout.Completion.Tokens.Length));

    private RolloutGroup[] Draw(IReadOnlyList<GrpoPrompt> prompts, int attempt, SamplingOptions sampling,
        CancellationToken cancellationToken)
    {
        if (prompts.Count == 0)
            throw new ArgumentException("A step needs at least one prompt.", nameof(prompts));
        // Streams never repeat: step, attempt and prompt each have their digits.
        ulong first = ((ulong)StepCount << 32) + ((ulong)attempt << 24);
        GenerationRequest[] requests = [.. prompts.Select(
            (prompt, index) => new GenerationRequest(prompt.Prompt, _options.GroupSize, first + (ulong)index))];
        IReadOnlyList<Completion[]> completions = Complete(requests, sampling, cancellationToken);
        RewardRequest[] judged = [.. prompts.SelectMany((prompt, index) => completions[index].Select(prompt.Request))];
        // On this thread, because the engine is the caller's while a step is taken; rewards run side by side on others.
        RewardBreakdown[] rewards = _rewards.ScoreAsync(judged, cancellationToken).GetAwaiter().GetResult();
        var groups = new RolloutGroup[prompts.Count];
        for (int index = 0, offset = 0; index < prompts.Count; offset += completions[index].Length, index++)
        {
            RewardBreakdown[] ofGroup = rewards[offset..(offset + completions[index].Length)];
            // A group with a sample that no reward can judge has nothing to compare, where the policy is to leave it out.
            float[] advantages = ofGroup.Any(reward => reward.IsSkipped) ? new float[ofGroup.Length]
                : GroupAdvantages.Of([.. ofGroup.Select(reward => reward.Total)]);
            int start = offset;
            groups[index] = new RolloutGroup(
                StepCount, sampling.Temperature,
                [.. completions[index].Select((completion, member) => new Rollout(prompts[index].Prompt, completion,
                    ofGroup[member], advantages[member]) { Request = judged[start + member] })]);
        }

        return groups;
    }

    /// <summary>
    /// A broken model writes nothing that earns a reward, so its groups have no spread and no loss would ever show that
    /// it is broken.
    /// </summary>
    private IReadOnlyList<Completion[]> Complete(GenerationRequest[] requests, SamplingOptions sampling,
        CancellationToken cancellationToken)
    {
        try
        {
            return _engine.Generate(requests, sampling, cancellationToken);
        }
        catch (ArithmeticException exception) when (exception is LogitsNotFiniteException or ImageFeaturesNotFiniteException)
        {
            throw PassRunner.RolloutsDiverged(_trainer, exception);
        }
    }

    private sealed record RolloutBatch(IReadOnlyList<RolloutGroup> Groups, IReadOnlyList<RolloutGroup> Drawn,
        IReadOnlyList<RolloutGroup> Kept, int Dropped, long GeneratedTokens);

    private sealed record UpdateResult(double Loss, double Kl, int ClippedTokens, double? Difference,
        double GradientNorm, int OptimizerSteps);
}
