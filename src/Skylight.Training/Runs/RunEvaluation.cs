using Skylight.Chat;
using Skylight.Generation;
using Skylight.Images;
using Skylight.Text;
using Skylight.Training.Data;
using Skylight.Training.Evaluation;
using Skylight.Training.Objectives;
using Skylight.Training.Rewards;

namespace Skylight.Training.Runs;

/// <summary>
/// Tries a run's model on held-out data: what has answers is answered and scored by the code of <c>skylight eval</c>,
/// with the prompts of the run; what has responses to learn from has their mean cross-entropy; for supervised tuning a
/// row may have both.
/// </summary>
internal sealed class RunEvaluation
{
    /// <summary>Items that are answered at once.</summary>
    public const int Concurrency = 64;

    private readonly Recipe _recipe;
    private readonly RunPrompts _prompts;
    private readonly IReadOnlyList<(EvaluationItem Item, TrainingExample Example)> _items;
    private readonly IReadOnlyList<TrainingExample> _learnt;

    private RunEvaluation(Recipe recipe, RunPrompts prompts, IReadOnlyList<(EvaluationItem, TrainingExample)> items,
        IReadOnlyList<TrainingExample> learnt) =>
        (_recipe, _prompts, _items, _learnt) = (recipe, prompts, items, learnt);

    /// <summary>Whether something is to be answered, and not only scored.</summary>
    public bool Answers => _items.Count > 0;

    /// <summary>
    /// Reads the data; held-out data must be usable to its last row, pictures and lengths included. Pictures are not
    /// kept in memory.
    /// </summary>
    /// <exception cref="InvalidDataException">A row cannot be used, or there is none.</exception>
    public static async Task<RunEvaluation> OpenAsync(Recipe recipe, RunPrompts prompts, List<IDisposable> owned,
        CancellationToken cancellationToken)
    {
        EvaluationSettings settings = recipe.Evaluation!;
        var items = new List<(EvaluationItem, TrainingExample)>();
        var learnt = new List<TrainingExample>();
        var ids = new HashSet<string>(StringComparer.Ordinal);
        using var badRows = new BadRows();
        foreach (DataSettings data in settings.Data)
        {
            ExampleFiles files = await ExampleFiles.OpenAsync(data.File, TrainingRun.OptionsOf(data, ExampleNeeds.None),
                cancellationToken).ConfigureAwait(false);
            owned.Add(files);
            for (long row = 0; row < files.Count && ids.Count < (settings.Items ?? int.MaxValue); row++)
            {
                try
                {
                    TrainingExample example = await files.ReadAsync(row, cancellationToken).ConfigureAwait(false);
                    if (!data.Includes(example))
                        continue;
                    if (!ids.Add(example.Id))
                        badRows.Add(example, $"the id '{example.Id}' is that of another row; give every row its own.");
                    else
                        await AddAsync(EvaluationData.Light(example, files, row), files, row).ConfigureAwait(false);
                }
                catch (BadRowException exception)
                {
                    badRows.Add(exception.Row);
                }
            }
        }

        badRows.ThrowIfOverLimit();
        if (ids.Count == 0)
            throw new InvalidDataException(
                $"The recipe '{recipe.Name}' is to be tried on " +
                $"{string.Join(", ", settings.Data.Select(data => $"'{data.File}'"))}, of which no row is of " +
                $"the difficulties asked for. Widen 'difficulty', or give other data.");
        if (learnt.Count == 0
            && (recipe.Schedule.Patience is not null || recipe.Checkpoints.Best == CheckpointCriterion.Loss))
        {
            throw new InvalidDataException(
                $"The recipe '{recipe.Name}' goes by the loss on its evaluation data, but none of its rows has a " +
                $"response to learn from: "
                + "give some, or leave out 'patience' and 'checkpoints.best: loss'.");
        }

        if (items.Count == 0 && recipe.Checkpoints is { Result: ResultCheckpoint.Best, Best: not CheckpointCriterion.Loss })
        {
            throw new InvalidDataException(
                $"The recipe '{recipe.Name}' takes the best checkpoint by what the model answers, but none of the " +
                $"rows of its evaluation data has an answer: "
                + "give some, or set 'checkpoints.best: loss'.");
        }

        return new RunEvaluation(recipe, prompts, items, learnt);

        async Task AddAsync(TrainingExample example, ExampleFiles files, long row)
        {
            (bool isAsked, bool isLearnt) = UsesOf(recipe, example);
            if (!isLearnt && !isAsked)
            {
                badRows.Add(example, "it has neither an answer nor a response.");
                return;
            }

            try
            {
                // Made once, so that what is too long or broken is known before the first step.
                if (isLearnt)
                    await prompts.Samples.SampleAsync(prompts.Conversation(example), cancellationToken)
                        .ConfigureAwait(false);
                if (isAsked)
                    await prompts.EvaluationPromptAsync(example, settings.Thinking ?? recipe.Prompt.Thinking,
                        cancellationToken).ConfigureAwait(false);
            }
            catch (Exception exception) when (IsOfTheRow(exception))
            {
                badRows.Add(example, PlainMessages.Of(exception));
                return;
            }

            if (isLearnt)
                learnt.Add(example);
            if (isAsked)
                items.Add((EvaluationData.Item(example, files, row) with { Conversation = prompts.Prompt(example) },
                    example));
        }
    }

    /// <summary>Whether a held-out row is answered, and whether its loss is measured.</summary>
    public static (bool IsAsked, bool IsLearnt) UsesOf(Recipe recipe, TrainingExample example)
    {
        bool isAsked = example.Answers.Count > 0;
        // A response beside an answer is something to learn from only where responses are learnt.
        return (isAsked, example.Messages[^1].Role == ChatRole.Assistant
            && (!isAsked || recipe.Method == TrainingMethod.Supervised));
    }

    /// <summary>Whether a fault is one of the row: too long, a picture that is broken or gone.</summary>
    public static bool IsOfTheRow(Exception exception) => exception is ArgumentException or ImageException
        or IOException or UnauthorizedAccessException or InvalidDataException or BadRowException;

    /// <summary>Answers and scores everything.</summary>
    public async Task<EvaluationPoint> TryAsync(ChatModel chat, ModelTrainer trainer, RewardSet? rewards, int step,
        CancellationToken cancellationToken)
    {
        EvaluationSettings settings = _recipe.Evaluation!;
        double? loss = _learnt.Count > 0 ? await LossAsync(chat, trainer, cancellationToken).ConfigureAwait(false) : null;
        if (_items.Count == 0)
            return new EvaluationPoint(step, null, null, null, loss, _learnt.Count);
        int most = settings.MaximumNewTokens ?? _recipe.Sampling.MaximumNewTokens[^1].Tokens;
        Dictionary<string, TrainingExample> byId = _items.ToDictionary(pair => pair.Item.Id, pair => pair.Example,
            StringComparer.Ordinal);
        var evaluator = new Evaluator(chat, new EvaluationOptions
        {
            Samples = settings.Samples,
            Temperature = (float)settings.Temperature,
            MaxOutputTokens = most,
            Thinking = settings.Thinking ?? _recipe.Prompt.Thinking,
            MaximumTiles = _recipe.Prompt.MaximumTiles,
            // The same at every step, so that points differ by the model alone.
            Seed = _recipe.Seed,
            Concurrency = Concurrency,
        });
        EvaluationItem[] items = [.. _items.Select(pair => pair.Item)];
        CheckPictures();
        (EvaluationReport report, IReadOnlyList<EvaluationResult> results) = await evaluator.RunAsync(items,
            evaluator.SettingsFor(items), cancellationToken: cancellationToken).ConfigureAwait(false);
        // Fewer items than before would be another measure.
        if (results.FirstOrDefault(result => result.Error is not null) is { } failed)
            throw Unusable(byId[failed.Id], failed.Error!);
        double? reward = null;
        if (rewards is not null)
        {
            bool opens = _prompts.Opens(settings.Thinking ?? _recipe.Prompt.Thinking);
            RewardBreakdown[] judged = await rewards.ScoreAsync(
                [.. results.Select(result => RequestOf(byId[result.Id], result, opens, most))], cancellationToken)
                    .ConfigureAwait(false);
            reward = judged.Average(breakdown => breakdown.Total);
        }

        return new EvaluationPoint(step, report.Accuracy.Mean, reward, report.MeanCriticalEntropy, loss, items.Length);
    }

    /// <summary>
    /// The mean cross-entropy over all tokens that are to be learnt; as many rows at a time as a step takes, because
    /// their tiles are in memory.
    /// </summary>
    private async Task<double> LossAsync(ChatModel chat, ModelTrainer trainer, CancellationToken cancellationToken)
    {
        (double sum, double tokens) = (0, 0);
        foreach (TrainingExample[] part in _learnt.Chunk(_recipe.Schedule.Batch))
        {
            var samples = new List<TrainingSample>(part.Length);
            foreach (TrainingExample example in part)
            {
                try
                {
                    samples.Add(await _prompts.Samples.SampleAsync(_prompts.Conversation(example), cancellationToken)
                        .ConfigureAwait(false));
                }
                catch (Exception exception) when (IsOfTheRow(exception))
                {
                    throw Unusable(example, PlainMessages.Of(exception));
                }
            }

            double weight = samples.Sum(sample => sample.Weights.Sum(each => (double)each));
            await chat.BetweenStepsAsync(_ => sum += weight * trainer.Evaluate(SampleBuilder.WithMeanWeights(samples),
                new CrossEntropyObjective(), cancellationToken).Loss, cancellationToken).ConfigureAwait(false);
            tokens += weight;
        }

        return sum / tokens;
    }

    private void CheckPictures()
    {
        foreach ((EvaluationItem item, TrainingExample example) in _items)
        {
            try
            {
                _ = item.Images.Sum(image => image.Length);
            }
            catch (Exception exception) when (IsOfTheRow(exception))
            {
                throw Unusable(example, PlainMessages.Of(exception));
            }
        }
    }

    private static InvalidDataException Unusable(TrainingExample example, string reason) =>
        new($"A row of the evaluation data could be used when the run was opened, and cannot any more: " +
            $"{new BadRow(example.File, example.Row, example.Unit, reason)}");

    /// <summary>A point as figures.</summary>
    public static StepFigures Figures(EvaluationPoint point) => new(point.Step, FigureKind.Evaluation,
    [
        .. Given("accuracy", point.Accuracy), .. Given("reward", point.Reward),
        .. Given("critical_entropy", point.CriticalEntropy), .. Given("loss", point.Loss), ("items", point.Items),
    ]);

    private static (string, double)[] Given(string name, double? value) => value is { } number ? [(name, number)] : [];

    private static RewardRequest RequestOf(TrainingExample example, EvaluationResult result, bool opens, int most)
    {
        bool isClosed = result.Answer.Length > 0 || result.FinishReason == FinishReason.Stop;
        string thought = result.Thinking.Length == 0 && !opens ? ""
            : $"{(opens ? "" : SpecialTokens.ThinkStart)}{result.Thinking}{(isClosed ? SpecialTokens.ThinkEnd : "")}";
        return new RewardRequest
        {
            Id = example.Id,
            Completion = thought + result.Answer,
            Question = StepContext.QuestionOf(example),
            Answers = example.Answers,
            Options = example.Options,
            Columns = example.Columns,
            PromptSuffix = opens ? $"{SpecialTokens.ThinkStart}\n" : "",
            Finished = result.FinishReason == FinishReason.Stop,
            TokenCount = result.CompletionTokens,
            MaximumTokens = most,
        };
    }
}
