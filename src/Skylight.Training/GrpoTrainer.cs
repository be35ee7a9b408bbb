using Skylight.Generation;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Training.Entropy;
using Skylight.Training.Objectives;
using Skylight.Training.Rewards;

namespace Skylight.Training;

/// <summary>A prompt with what is needed to judge its completions.</summary>
/// <param name="Prompt">Tokens and pictures.</param>
/// <param name="Score">Judges a completion.</param>
public sealed record GrpoPrompt(TokenSequence Prompt, Func<Completion, RewardBreakdown> Score);

/// <summary>A completion with its reward.</summary>
/// <param name="Prompt">What was completed.</param>
/// <param name="Completion">What the model wrote, with the log-probabilities of the moment.</param>
/// <param name="Reward">How it was judged.</param>
/// <param name="Advantage">How much better than its group it is.</param>
public sealed record Rollout(TokenSequence Prompt, Completion Completion, RewardBreakdown Reward, float Advantage)
{
    /// <summary>The log-probabilities under the reference model; needed with a KL term.</summary>
    public float[]? ReferenceLogProbabilities { get; init; }

    /// <summary>
    /// The log-probabilities under the policy that drew the completion, where that was not the one being trained: those of <see cref="Completion"/> are then
    /// what the trained model says. Tokens are weighted by <see cref="PolicyObjective.ImportanceCap"/>. Null where the completion is the model's own.
    /// </summary>
    public float[]? RolloutLogProbabilities { get; init; }
}

/// <summary>What a step of GRPO found.</summary>
/// <param name="Step">Counted from 1.</param>
/// <param name="Reward">The mean total reward.</param>
/// <param name="Accuracy">The mean accuracy reward.</param>
/// <param name="Format">The mean format reward.</param>
/// <param name="ActiveGroups">The fraction of groups whose rewards differ.</param>
/// <param name="ResponseLength">The mean length of completions in tokens.</param>
/// <param name="Entropy">Critical-token and mean entropies of the rollouts.</param>
/// <param name="Loss">The objective.</param>
/// <param name="GradientNorm">Before clipping, of the last mini-batch.</param>
/// <param name="ClippedTokens">Tokens whose ratio was clipped.</param>
/// <param name="Kl">The weighted divergence from the reference model.</param>
/// <param name="RolloutTrainDifference">The greatest |log p of training − log p of the rollout| of the first mini-batch: 0.</param>
/// <param name="GeneratedTokens">Tokens drawn, those of replaced groups and of their replacements included.</param>
/// <param name="RolloutSeconds">Time spent on drawing.</param>
/// <param name="UpdateSeconds">Time spent on forward, backward and optimizer.</param>
public sealed record GrpoMetrics(
    int Step, double Reward, double Accuracy, double Format, double ActiveGroups, double ResponseLength, CriticalTokenEntropy Entropy, double Loss,
    double GradientNorm, int ClippedTokens, double Kl, double RolloutTrainDifference, long GeneratedTokens, double RolloutSeconds, double UpdateSeconds);

/// <summary>
/// Group-relative policy optimisation: draws a group of completions for each prompt, compares their rewards, and makes the better
/// ones more likely. Rollout and training share weights, kernels and bits: the on-policy ratio is exactly 1.
/// </summary>
public sealed class GrpoTrainer
{
    private readonly ModelTrainer _trainer;
    private readonly GenerationEngine _engine;
    private readonly GrpoOptions _options;
    private readonly CriticalTokens _criticalTokens;
    private readonly PolicyUpdate _update;

    /// <summary>Makes a trainer.</summary>
    /// <param name="trainer">The model's optimizer; says which modules are trained.</param>
    /// <param name="engine">Draws completions from the same model.</param>
    /// <param name="options">Group size, objective, sampling.</param>
    /// <param name="criticalTokens">Measures the entropy where reasoning starts.</param>
    /// <param name="reference">The model that the KL term compares with; null without one.</param>
    public GrpoTrainer(ModelTrainer trainer, GenerationEngine engine, GrpoOptions options, CriticalTokens criticalTokens, ModelScorer? reference = null)
    {
        ArgumentNullException.ThrowIfNull(trainer);
        ArgumentNullException.ThrowIfNull(engine);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(criticalTokens);
        if (options.GroupSize < 2)
            throw new ArgumentException($"A group needs at least 2 completions to compare, not {options.GroupSize}.", nameof(options));
        if (options.MiniBatches < 1)
            throw new ArgumentException($"A step needs at least 1 mini-batch, not {options.MiniBatches}.", nameof(options));
        if (options.Sampling.Temperature != options.Objective.Temperature)
            throw new ArgumentException($"Rollouts at temperature {options.Sampling.Temperature} cannot be trained at {options.Objective.Temperature}: the ratio would not be 1.", nameof(options));
        _trainer = trainer;
        _engine = engine;
        _options = options;
        _criticalTokens = criticalTokens;
        _update = new PolicyUpdate(trainer, options, reference);
    }

    /// <summary>The steps taken so far; with the seed it decides the random numbers of the next.</summary>
    public int StepCount { get; set; }

    /// <summary>Takes one step.</summary>
    /// <param name="prompts">The prompts of the step; each call gives the next batch (called again where groups are resampled).</param>
    /// <param name="learningRate">The step's learning rate.</param>
    /// <param name="cancellationToken">The model is unchanged if cancelled during rollouts; gradients of an unfinished update are dropped.</param>
    /// <exception cref="TrainingDivergedException">Rollouts, loss or gradients are not finite.</exception>
    public GrpoMetrics Step(Func<IReadOnlyList<GrpoPrompt>> prompts, float learningRate, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(prompts);
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        List<Rollout[]> groups = Draw(prompts(), attempt: 0, cancellationToken);
        int drawn = groups.Count;
        List<Rollout> all = [.. groups.SelectMany(group => group)];
        long tokens = Tokens(groups);
        int active = groups.Count(HasSpread);
        for (int attempt = 1; attempt <= _options.ResampleAttempts && groups.Exists(group => !HasSpread(group)); attempt++)
        {
            List<Rollout[]> others = Draw(prompts(), attempt, cancellationToken);
            tokens += Tokens(others);
            var fresh = new Queue<Rollout[]>(others.Where(HasSpread));
            groups = [.. groups.Select(group => HasSpread(group) || fresh.Count == 0 ? group : fresh.Dequeue())];
        }

        // Only now, because a scale over the batch is that of the groups which are trained.
        groups = GroupAdvantages.Assign(groups, _options.AdvantageScale);
        double rolloutSeconds = System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalSeconds;
        start = System.Diagnostics.Stopwatch.GetTimestamp();
        double loss = 0, kl = 0, difference = 0, norm = 0;
        int clipped = 0;
        Rollout[][][] miniBatches = [.. groups.Chunk((groups.Count + _options.MiniBatches - 1) / _options.MiniBatches)];
        for (int index = 0; index < miniBatches.Length; index++)
        {
            BatchResult result;
            try
            {
                result = _update.AccumulateGradients([.. miniBatches[index].SelectMany(group => group)], cancellationToken);
            }
            catch
            {
                _trainer.ClearGradients();
                throw;
            }

            norm = _trainer.Step(learningRate);
            loss += result.Loss / miniBatches.Length;
            kl += result.Kl / miniBatches.Length;
            clipped += result.ClippedTokens;
            if (index == 0)
                difference = result.MaximumLogRatio;
        }

        StepCount++;
        var entropy = default(CriticalTokenEntropy);
        foreach (Rollout rollout in all)
            entropy += _criticalTokens.Measure(rollout.Completion.Tokens, rollout.Completion.Entropies);
        return new GrpoMetrics(
            StepCount, all.Average(rollout => rollout.Reward.Total), all.Average(rollout => rollout.Reward.Accuracy), all.Average(rollout => rollout.Reward.Format),
            (double)active / drawn, all.Average(rollout => rollout.Completion.Tokens.Length), entropy, loss, norm, clipped, kl, difference,
            tokens, rolloutSeconds, System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalSeconds);
    }

    private static bool HasSpread(Rollout[] group) => group.Any(rollout => rollout.Advantage != 0);

    private static long Tokens(List<Rollout[]> groups) => groups.Sum(group => group.Sum(rollout => (long)rollout.Completion.Tokens.Length));

    private List<Rollout[]> Draw(IReadOnlyList<GrpoPrompt> prompts, int attempt, CancellationToken cancellationToken)
    {
        // Streams never repeat: step, attempt and prompt each have their digits.
        ulong first = ((ulong)StepCount << 32) + ((ulong)attempt << 24);
        GenerationRequest[] requests = [.. prompts.Select((prompt, index) => new GenerationRequest(prompt.Prompt, _options.GroupSize, first + (ulong)index))];
        IReadOnlyList<Completion[]> completions = Complete(requests, cancellationToken);
        var groups = new List<Rollout[]>(prompts.Count);
        for (int index = 0; index < prompts.Count; index++)
        {
            RewardBreakdown[] rewards = [.. completions[index].Select(prompts[index].Score)];
            float[] advantages = GroupAdvantages.Of([.. rewards.Select(reward => (double)reward.Total)]);
            groups.Add([.. completions[index].Select((completion, member) => new Rollout(prompts[index].Prompt, completion, rewards[member], advantages[member]))]);
        }

        return groups;
    }

    /// <summary>
    /// A broken model writes nothing that earns a reward, so its groups have no spread and no loss would ever show that it is broken.
    /// </summary>
    private IReadOnlyList<Completion[]> Complete(GenerationRequest[] requests, CancellationToken cancellationToken)
    {
        try
        {
            return _engine.Generate(requests, _options.Sampling, cancellationToken);
        }
        catch (ArithmeticException exception) when (exception is LogitsNotFiniteException or ImageFeaturesNotFiniteException)
        {
            string where = PassRunner.FirstNotFinite(_trainer.Model) is { } parameter ? $"parameter '{parameter.Name}' is not finite" : "all parameters are finite, so activations overflowed";
            throw new TrainingDivergedException(
                $"Optimizer step {_trainer.StepCount + 1}: the rollouts are not finite; {where}. {exception.Message} That step was not taken; resume from the last checkpoint with a lower learning rate.", exception);
        }
    }
}
