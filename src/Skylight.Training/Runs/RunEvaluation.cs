using Skylight.Chat;
using Skylight.Images;
using Skylight.Text;
using Skylight.Training.Data;
using Skylight.Training.Evaluation;
using Skylight.Training.Objectives;
using Skylight.Training.Rewards;

namespace Skylight.Training.Runs;

/// <summary>
/// Tries a run's model on held-out data: what has answers is answered and scored by the code of <c>skylight eval</c>, with the prompts of the run; what has responses to learn from
/// has their mean cross-entropy, for supervised tuning.
/// </summary>
internal sealed class RunEvaluation
{
    /// <summary>Items that are answered at once.</summary>
    public const int Concurrency = 64;

    private readonly Recipe _recipe;
    private readonly RunPrompts _prompts;
    private readonly IReadOnlyList<(EvaluationItem Item, TrainingExample Example)> _items;
    private readonly IReadOnlyList<TrainingSample> _samples;

    private RunEvaluation(Recipe recipe, RunPrompts prompts, IReadOnlyList<(EvaluationItem, TrainingExample)> items, IReadOnlyList<TrainingSample> samples) =>
        (_recipe, _prompts, _items, _samples) = (recipe, prompts, items, samples);

    /// <summary>Whether something is to be answered, and not only scored.</summary>
    public bool Answers => _items.Count > 0;

    /// <summary>Reads the data; held-out data must be usable to its last row.</summary>
    /// <exception cref="InvalidDataException">A row cannot be used.</exception>
    public static async Task<RunEvaluation> OpenAsync(Recipe recipe, RunPrompts prompts, List<IDisposable> owned, CancellationToken cancellationToken)
    {
        EvaluationSettings settings = recipe.Evaluation!;
        var items = new List<(EvaluationItem, TrainingExample)>();
        var samples = new List<TrainingSample>();
        var ids = new HashSet<string>(StringComparer.Ordinal);
        using var badRows = new BadRows();
        foreach (DataSettings data in settings.Data)
        {
            ExampleFiles files = await ExampleFiles.OpenAsync(data.File, TrainingRun.OptionsOf(data, ExampleNeeds.None), cancellationToken).ConfigureAwait(false);
            owned.Add(files);
            for (long row = 0; row < files.Count && items.Count + samples.Count < (settings.Items ?? int.MaxValue); row++)
            {
                TrainingExample? example = null;
                try
                {
                    example = await files.ReadAsync(row, cancellationToken).ConfigureAwait(false);
                    if (!data.Includes(example))
                        continue;
                    if (!ids.Add(example.Id))
                        badRows.Add(example, $"the id '{example.Id}' is that of another row; give every row its own.");
                    else if (example.Answers.Count > 0)
                        items.Add((EvaluationData.Item(example, files, row) with { Conversation = prompts.Prompt(example) }, example));
                    else if (example.Messages[^1].Role == ChatRole.Assistant)
                        samples.Add(await prompts.Samples.SampleAsync(prompts.Conversation(example), cancellationToken).ConfigureAwait(false));
                    else
                        badRows.Add(example, "it has neither an answer nor a response.");
                }
                catch (BadRowException exception)
                {
                    badRows.Add(exception.Row);
                }
                catch (Exception exception) when (example is not null && exception is (ArgumentException or ImageException or IOException or UnauthorizedAccessException))
                {
                    badRows.Add(example!, PlainMessages.Of(exception));
                }
            }
        }

        badRows.ThrowIfOverLimit();
        return new RunEvaluation(recipe, prompts, items, samples);
    }

    /// <summary>Answers and scores everything.</summary>
    public async Task<EvaluationPoint> TryAsync(ChatModel chat, ModelTrainer trainer, RewardSet? rewards, int step, CancellationToken cancellationToken)
    {
        EvaluationSettings settings = _recipe.Evaluation!;
        double? loss = null;
        if (_samples.Count > 0)
        {
            double sum = 0;
            await chat.BetweenStepsAsync(_ => sum = trainer.Evaluate(SampleBuilder.WithMeanWeights(_samples), new CrossEntropyObjective(), cancellationToken).Loss).ConfigureAwait(false);
            loss = sum;
        }

        if (_items.Count == 0)
            return new EvaluationPoint(step, null, null, null, loss, _samples.Count);
        int most = settings.MaximumNewTokens ?? _recipe.Sampling.MaximumNewTokens[^1].Tokens;
        Dictionary<string, TrainingExample> byId = _items.ToDictionary(pair => pair.Item.Id, pair => pair.Example, StringComparer.Ordinal);
        var evaluator = new Evaluator(chat, new EvaluationOptions
        {
            Samples = settings.Samples,
            Temperature = (float)settings.Temperature,
            MaxNewTokens = most,
            Thinking = settings.Thinking ?? _recipe.Prompt.Thinking,
            MaximumTiles = _recipe.Prompt.MaximumTiles,
            // The same at every step, so that points differ by the model alone.
            Seed = _recipe.Seed,
            Concurrency = Concurrency,
        });
        EvaluationItem[] items = [.. _items.Select(pair => pair.Item)];
        (EvaluationReport report, IReadOnlyList<EvaluationResult> results) = await evaluator.RunAsync(items, evaluator.SettingsFor(items), cancellationToken: cancellationToken).ConfigureAwait(false);
        double? reward = null;
        if (rewards is not null)
        {
            bool opens = _prompts.Opens(settings.Thinking ?? _recipe.Prompt.Thinking);
            RewardBreakdown[] judged = await rewards.ScoreAsync([.. results.Select(result => RequestOf(byId[result.Id], result, opens, most))], cancellationToken).ConfigureAwait(false);
            reward = judged.Average(breakdown => breakdown.Total);
        }

        return new EvaluationPoint(step, report.Accuracy.Mean, reward, report.MeanCriticalEntropy, loss, items.Length);
    }

    /// <summary>A point as figures.</summary>
    public static StepFigures Figures(EvaluationPoint point) => new(point.Step, FigureKind.Evaluation,
    [
        .. Given("accuracy", point.Accuracy), .. Given("reward", point.Reward), .. Given("critical_entropy", point.CriticalEntropy), .. Given("loss", point.Loss), ("items", point.Items),
    ]);

    private static (string, double)[] Given(string name, double? value) => value is { } number ? [(name, number)] : [];

    private static RewardRequest RequestOf(TrainingExample example, EvaluationResult result, bool opens, int most)
    {
        bool isClosed = result.Answer.Length > 0 || result.End == AnswerEnd.Stop;
        string thought = result.Thinking.Length == 0 && !opens ? "" : $"{(opens ? "" : SpecialTokens.ThinkStart)}{result.Thinking}{(isClosed ? SpecialTokens.ThinkEnd : "")}";
        return new RewardRequest
        {
            Id = example.Id,
            Completion = thought + result.Answer,
            Question = StepContext.QuestionOf(example),
            Answers = example.Answers,
            Options = example.Options,
            Columns = example.Columns,
            PromptSuffix = opens ? $"{SpecialTokens.ThinkStart}\n" : "",
            Finished = result.End == AnswerEnd.Stop,
            TokenCount = result.CompletionTokens,
            MaximumTokens = most,
        };
    }
}
