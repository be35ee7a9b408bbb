using System.Diagnostics;
using Skylight.Chat;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Text;
using Skylight.Training.Data;
using Skylight.Training.Entropy;
using Skylight.Training.Objectives;
using Skylight.Training.Rewards;

namespace Skylight.Training.Runs;

/// <summary>What a method takes a step with.</summary>
/// <param name="Recipe">The recipe.</param>
/// <param name="Trainer">The optimizer.</param>
/// <param name="Engine">Draws completions; only valid during the step.</param>
/// <param name="Feed">Examples.</param>
/// <param name="Prompts">Examples to tokens.</param>
/// <param name="Tokenizer">Tokens to text.</param>
/// <param name="Rewards">Judges completions; null for methods that need none.</param>
/// <param name="Step">Steps done before this one.</param>
/// <param name="Rates">The learning rates of the step.</param>
internal sealed record StepContext(
    Recipe Recipe, ModelTrainer Trainer, GenerationEngine Engine, ExampleFeed Feed, RunPrompts Prompts,
    ITokenizer Tokenizer, RewardSet? Rewards, int Step, LearningRates Rates)
{
    /// <summary>How the completions of this step are drawn.</summary>
    public SamplingOptions Sampling(int steps, IReadOnlyList<int> stopTokens)
    {
        SamplingSettings sampling = Recipe.Sampling;
        double progress = steps > 1 ? (double)Step / (steps - 1) : 0;
        double temperature = sampling.FinalTemperature is { } final
            ? sampling.Temperature + (final - sampling.Temperature) * progress : sampling.Temperature;
        return new SamplingOptions
        {
            // Plans depend on it: hundredths are few enough.
            Temperature = (float)Math.Round(temperature, 2),
            MaxOutputTokens = sampling.MaximumNewTokens.Last(stage => stage.FromStep <= Step).Tokens,
            StopTokens = stopTokens,
            Seed = Recipe.Seed,
        };
    }

    /// <summary>A completion as rewards see it.</summary>
    public RewardRequest Request(TrainingExample example, PreparedPrompt prompt, Completion completion, int mostTokens)
    {
        bool isFinished = completion.FinishReason == FinishReason.Stop;
        return new RewardRequest
        {
            Id = example.Id,
            Completion = Tokenizer.Decode(isFinished ? completion.Tokens.AsSpan(..^1) : completion.Tokens),
            Question = QuestionOf(example),
            Answers = example.Answers,
            Options = example.Options,
            Columns = example.Columns,
            PromptSuffix = RunPrompts.SuffixOf(prompt),
            Finished = isFinished,
            TokenCount = completion.Tokens.Length,
            MaximumTokens = mostTokens,
        };
    }

    public static string QuestionOf(TrainingExample example) =>
        example.Question
            ?? string.Concat(example.Prompt.LastOrDefault(message =>
                message.Role == ChatRole.User)?.Parts.OfType<TextPart>().Select(part => part.Text) ?? []);
}

/// <summary>What a step gave.</summary>
/// <param name="Figures">Names and values, in the order in which they are shown.</param>
/// <param name="Samples">Completions with their rewards.</param>
internal sealed record StepOutcome(IReadOnlyList<(string Name, double Value)> Figures, IReadOnlyList<RunSample> Samples);

/// <summary>A way to take a step: one for each <see cref="TrainingMethod"/>.</summary>
internal interface ITrainingStep
{
    Task<StepOutcome> TakeAsync(StepContext context, int steps, CancellationToken cancellationToken);
}

/// <summary>Supervised tuning on the assistant's turns.</summary>
internal sealed class SupervisedStep : ITrainingStep
{
    public async Task<StepOutcome> TakeAsync(StepContext context, int steps, CancellationToken cancellationToken)
    {
        IReadOnlyList<(TrainingExample Example, TrainingSample Sample)> taken = await context.Feed.TakeAsync(
            context.Recipe.Schedule.Batch,
            (example, token) => context.Prompts.Samples.SampleAsync(context.Prompts.Conversation(example), token),
            cancellationToken).ConfigureAwait(false);
        return Train(context.Trainer, [.. taken.Select(pair => pair.Sample)], context.Rates, cancellationToken);
    }

    /// <summary>One optimizer step on the mean loss over all learnt tokens.</summary>
    public static StepOutcome Train(ModelTrainer trainer, IReadOnlyList<TrainingSample> samples, LearningRates rates,
        CancellationToken cancellationToken)
    {
        long start = Stopwatch.GetTimestamp();
        IReadOnlyList<TrainingSample> weighted = SampleBuilder.WithMeanWeights(samples);
        BatchResult result = trainer.AccumulateGradients(weighted, new CrossEntropyObjective(), cancellationToken);
        float norm = trainer.Step(rates);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        long tokens = samples.Sum(sample => (long)sample.Sequence.Tokens.Length);
        double learnt = samples.Sum(sample => sample.Weights.Count(weight => weight > 0));
        return new StepOutcome(
            [("loss", result.Loss), ("gradient_norm", norm), ("learnt_tokens", learnt),
                ("update_tokens_per_second", tokens / Math.Max(seconds, 1e-9))], []);
    }
}

/// <summary>
/// Supervised tuning on the model's own answers: of each prompt the one that earned most, if it earned anything.
/// </summary>
internal sealed class RejectionStep(IReadOnlyList<int> stopTokens) : ITrainingStep
{
    public async Task<StepOutcome> TakeAsync(StepContext context, int steps, CancellationToken cancellationToken)
    {
        SamplingOptions sampling = context.Sampling(steps, stopTokens);
        IReadOnlyList<(TrainingExample Example, PreparedPrompt Prompt)> taken = await context.Feed.TakeAsync(
            context.Recipe.Schedule.Batch,
            (example, token) => GrpoStep.PromptAsync(context.Prompts, example, sampling.MaxOutputTokens, token),
            cancellationToken).ConfigureAwait(false);
        long start = Stopwatch.GetTimestamp();
        IReadOnlyList<Completion[]> drawn = Draw(context, [.. taken.Select(pair => pair.Prompt)], sampling,
            cancellationToken);
        RewardRequest[] requests =
            [.. taken.SelectMany((pair, index) =>
                drawn[index].Select(
                    completion => context.Request(pair.Example, pair.Prompt, completion, sampling.MaxOutputTokens)))];
        RewardBreakdown[] rewards = await context.Rewards!.ScoreAsync(requests, cancellationToken).ConfigureAwait(false);
        double rolloutSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        long tokens = drawn.Sum(group => group.Sum(completion => (long)completion.Tokens.Length));
        var samples = new List<TrainingSample>();
        int group = context.Recipe.Sampling.Group;
        for (int index = 0; index < taken.Count; index++)
        {
            int best = Enumerable.Range(0, group).MaxBy(member => rewards[index * group + member].Total);
            if (rewards[index * group + best].Total > 0)
                samples.Add(SampleOf(taken[index].Prompt.Sequence, drawn[index][best].Tokens));
        }

        List<(string, double)> figures = [.. GrpoStep.RewardFigures(rewards),
            ("accepted", (double)samples.Count / taken.Count), ("completion_tokens", (double)tokens / rewards.Length),
            ("rollout_tokens_per_second", tokens / Math.Max(rolloutSeconds, 1e-9))];
        // Nothing to learn from leaves weights and moments as they are.
        if (samples.Count > 0)
            figures.AddRange(SupervisedStep.Train(context.Trainer, samples, context.Rates, cancellationToken).Figures);
        return new StepOutcome(figures, GrpoStep.Samples(context, requests, rewards, null));
    }

    private static IReadOnlyList<Completion[]> Draw(StepContext context, IReadOnlyList<PreparedPrompt> prompts,
        SamplingOptions sampling, CancellationToken cancellationToken)
    {
        GenerationRequest[] requests =
            [.. prompts.Select((prompt, index) => new GenerationRequest(prompt.Sequence, context.Recipe.Sampling.Group,
                ((ulong)context.Step << 32) + (ulong)index))];
        try
        {
            return context.Engine.Generate(requests, sampling, cancellationToken);
        }
        catch (ArithmeticException exception) when (exception is LogitsNotFiniteException or ImageFeaturesNotFiniteException)
        {
            throw PassRunner.RolloutsDiverged(context.Trainer, exception);
        }
    }

    private static TrainingSample SampleOf(TokenSequence prompt, int[] completion)
    {
        float[] weights = new float[completion.Length];
        Array.Fill(weights, 1f);
        return new TrainingSample(new TokenSequence([.. prompt.Tokens, .. completion],
            prompt.Images)
        { TextFrom = prompt.Tokens.Length }, prompt.Tokens.Length, weights);
    }
}
