using Skylight.Chat;
using Skylight.Training.Data;

namespace Skylight.Training.Runs;

/// <summary>
/// How long the rows of a recipe's data are once they are tokens: of some rows, spread evenly over the files.
/// </summary>
internal sealed class RowSizes
{
    /// <summary>
    /// Rows that are looked at, of training data and of held-out data each. Their pictures are decoded, which takes
    /// most of the time.
    /// </summary>
    public const int MostRows = 128;

    private readonly List<(int Tokens, int Scored, int Tiles)> _rows = [];

    /// <summary>The rows of all files.</summary>
    public long Count { get; private set; }

    /// <summary>The rows that were looked at.</summary>
    public int Looked { get; private set; }

    /// <summary>Those of them that cannot be used.</summary>
    public int Unusable { get; private set; }

    /// <summary>The first that cannot be used, and why; null if all can.</summary>
    public BadRow? FirstUnusable { get; private set; }

    /// <summary>
    /// Usable rows: tokens of the sample (of the prompt, where the answer is yet to be written), those of them that are
    /// scored, tiles.
    /// </summary>
    public IReadOnlyList<(int Tokens, int Scored, int Tiles)> Rows => _rows;

    public int MostTokens => _rows.Max(row => row.Tokens);

    public int FewestTokens => _rows.Min(row => row.Tokens);

    public int MostScored => _rows.Max(row => row.Scored);

    public int MostTiles => _rows.Max(row => row.Tiles);

    /// <summary>Looks at the rows that are trained on.</summary>
    public static Task<RowSizes> OfTrainingAsync(Recipe recipe, RunPrompts prompts, CancellationToken cancellationToken) =>
        OfAsync(
            recipe.Data, TrainingRun.NeedsOf(recipe), MostRows,
            async (example, token) => recipe.Method == TrainingMethod.Supervised
                ? await SampleAsync(prompts, example, token).ConfigureAwait(false)
                : SizeOf(await GrpoStep.PromptAsync(prompts, example,
                    recipe.Sampling.MaximumNewTokens.Max(stage => stage.Tokens), token).ConfigureAwait(false)),
            cancellationToken);

    /// <summary>Looks at held-out rows: at those that are answered, or at those whose loss is measured.</summary>
    public static Task<RowSizes> OfEvaluationAsync(Recipe recipe, RunPrompts prompts, bool answered,
        CancellationToken cancellationToken)
    {
        EvaluationSettings settings = recipe.Evaluation!;
        return OfAsync(settings.Data, ExampleNeeds.None, Math.Min(MostRows, settings.Items ?? int.MaxValue),
            MeasureAsync, cancellationToken);

        async Task<(int, int, int)?> MeasureAsync(TrainingExample example, CancellationToken token)
        {
            (bool isAsked, bool isLearnt) = RunEvaluation.UsesOf(recipe, example);
            if (!(answered ? isAsked : isLearnt))
                return null;
            return answered
                ? SizeOf(await prompts.EvaluationPromptAsync(example, settings.Thinking ?? recipe.Prompt.Thinking,
                    token).ConfigureAwait(false))
                : await SampleAsync(prompts, example, token).ConfigureAwait(false);
        }
    }

    private static async Task<(int, int, int)?> SampleAsync(RunPrompts prompts, TrainingExample example,
        CancellationToken cancellationToken)
    {
        TrainingSample sample = await prompts.Samples.SampleAsync(prompts.Conversation(example), cancellationToken)
            .ConfigureAwait(false);
        return (sample.Sequence.Tokens.Length, sample.CompletionLength, sample.Sequence.Images.Count);
    }

    private static (int, int, int) SizeOf(PreparedPrompt prompt) =>
        (prompt.Sequence.Tokens.Length, 0, prompt.Sequence.Images.Count);

    private static async Task<RowSizes> OfAsync(
        IReadOnlyList<DataSettings> sources, ExampleNeeds needs, int most,
        Func<TrainingExample, CancellationToken, Task<(int, int, int)?>> measure, CancellationToken cancellationToken)
    {
        var sizes = new RowSizes();
        foreach (DataSettings data in sources)
        {
            using ExampleFiles files = await ExampleFiles.OpenAsync(data.File, TrainingRun.OptionsOf(data, needs),
                cancellationToken).ConfigureAwait(false);
            sizes.Count += files.Count;
            long looked = Math.Min(files.Count, Math.Max(1, most / sources.Count));
            for (long index = 0; index < looked; index++)
                await sizes.LookAsync(files, index * files.Count / looked, data, measure, cancellationToken)
                    .ConfigureAwait(false);
        }

        return sizes;
    }

    private async Task LookAsync(ExampleFiles files, long row, DataSettings data,
        Func<TrainingExample, CancellationToken, Task<(int, int, int)?>> measure, CancellationToken cancellationToken)
    {
        BadRow bad;
        TrainingExample? example = null;
        try
        {
            example = await files.ReadAsync(row, cancellationToken).ConfigureAwait(false);
            if (!data.Includes(example))
                return;
            Looked++;
            if (await measure(example, cancellationToken).ConfigureAwait(false) is { } size)
                _rows.Add(size);

            return;
        }
        catch (BadRowException exception)
        {
            Looked += example is null ? 1 : 0;
            bad = exception.Row;
        }
        catch (Exception exception) when (example is not null && RunEvaluation.IsOfTheRow(exception))
        {
            bad = new BadRow(example.File, example.Row, example.Unit, PlainMessages.Of(exception));
        }

        Unusable++;
        FirstUnusable ??= bad;
    }
}
