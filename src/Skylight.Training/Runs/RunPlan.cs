using System.Globalization;
using Skylight.Execution;
using Skylight.Hub;
using Skylight.Images;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Text;
using Skylight.Training.Data;

namespace Skylight.Training.Runs;

/// <summary>What a recipe would take, known before weights are loaded.</summary>
/// <param name="Recipe">The recipe.</param>
/// <param name="Parameters">Parameters of the model.</param>
/// <param name="TrainedParameters">Those that are trained.</param>
/// <param name="Examples">Rows of the data.</param>
/// <param name="Steps">Optimizer steps.</param>
/// <param name="RolloutTokens">The most tokens drawn by a step; 0 for supervised tuning.</param>
/// <param name="Rows">What the memory was planned for: sizes of the rows that were looked at.</param>
/// <param name="Memory">The memory by its parts.</param>
/// <param name="DeviceBytes">What the device has.</param>
/// <param name="Advice">What would take less, each with what it would then be; empty where it fits.</param>
public sealed record RunPlan(
    Recipe Recipe, long Parameters, long TrainedParameters, long Examples, int Steps, long RolloutTokens,
    RunPlanRows Rows, RunMemory Memory, long DeviceBytes, IReadOnlyList<RunAdvice> Advice)
{
    /// <summary>Weights, optimizer, activations, cache and everything else at their most.</summary>
    public long PeakBytes => Memory.TotalBytes;

    /// <summary>Whether it fits the device.</summary>
    public bool Fits => PeakBytes <= DeviceBytes;

    /// <summary>
    /// Plans a recipe: reads the model's configuration and tokenizer, counts the rows of the data, and makes tokens of
    /// some of them (spread evenly) to see how long they are. Rows that are longer than all of those need more.
    /// </summary>
    /// <param name="recipe">The recipe.</param>
    /// <param name="model">The folder of the model, or its repository on the hub, of which all but the weights is
    /// read.</param>
    /// <param name="device">Where it would run; nothing is reserved on it. It must say that it has enough for anything:
    /// what does not fit is to be found out.</param>
    /// <param name="deviceBytes">The memory that there really is.</param>
    /// <param name="hub">Where a repository is looked for; as the environment says if null.</param>
    /// <param name="decoders">What decodes the pictures of the data; <see cref="ImageDecoders.Standard"/> if null.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <exception cref="HubException">The model's repository cannot be had.</exception>
    /// <exception cref="Checkpoints.CheckpointException">The configuration or the tokenizer cannot be read.</exception>
    /// <exception cref="RecipeException">The recipe does not fit the model.</exception>
    /// <exception cref="InvalidDataException">None of the rows can be used.</exception>
    public static async Task<RunPlan> OfAsync(Recipe recipe, string model, Device device, long deviceBytes,
        HubOptions? hub = null, ImageDecoders? decoders = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        ArgumentNullException.ThrowIfNull(device);
        model = await StartingModel.FolderAsync(model, ModelParts.Description, hub, cancellationToken).ConfigureAwait(false);
        ModelConfiguration configuration = ModelConfiguration.Load(model);
        ITokenizer tokenizer = BytePairTokenizer.Load(model, cancellationToken);
        configuration = configuration with
        {
            ImageTokenId = configuration.ImageTokenId ?? tokenizer.TokenId(SpecialTokens.ImageContext),
        };
        using var shape = new VisionLanguageModel(configuration, device, RunMemory.ParameterType(model, device));
        var measured = new Dictionary<PromptSettings, (RowSizes Rows, RowSizes? Answered, RowSizes? Scored)>();
        RunPlan plan = await PlanAsync(recipe).ConfigureAwait(false);
        if (plan.Fits)
            return plan;
        var advice = new List<RunAdvice>();
        Recipe least = recipe;
        (RowSizes rows, RowSizes? answered, _) = measured[recipe.Prompt];
        foreach ((string[] settings, string reason, Func<Recipe, Recipe> apply) in Candidates(plan,
            RunMemory.LeastCacheTokens(recipe, rows, answered)))
        {
            RunPlan other = await PlanAsync(apply(recipe)).ConfigureAwait(false);
            if (other.PeakBytes >= plan.PeakBytes)
                continue;
            advice.Add(new RunAdvice(settings, reason, other.PeakBytes));
            least = apply(least);
        }

        if (advice.Count > 1)
            advice.Add(new RunAdvice([.. advice.SelectMany(one => one.Settings)], "all of it",
                (await PlanAsync(least).ConfigureAwait(false)).PeakBytes));
        return plan with { Advice = advice };

        async Task<RunPlan> PlanAsync(Recipe recipe)
        {
            if (!measured.TryGetValue(recipe.Prompt, out (RowSizes Rows, RowSizes? Answered, RowSizes? Scored) sizes))
                measured.Add(recipe.Prompt,
                    sizes = await MeasureAsync(recipe,
                        TrainingRun.PromptsOf(recipe, configuration, tokenizer, decoders ?? ImageDecoders.Standard),
                        cancellationToken).ConfigureAwait(false));
            int newTokens = recipe.Method == TrainingMethod.Supervised ? 0
                : recipe.Sampling.MaximumNewTokens.Max(stage => stage.Tokens);
            return new RunPlan(
                recipe, shape.Parameters.ElementCount,
                shape.Parameters.All.Where(parameter => recipe.Modules.Includes(parameter))
                    .Sum(parameter => parameter.Type.Shape.ElementCount),
                sizes.Rows.Count, TrainingRun.StepsOf(recipe, sizes.Rows.Count),
                (long)recipe.Schedule.Batch * recipe.Sampling.Group * newTokens,
                new RunPlanRows(sizes.Rows.Looked, sizes.Rows.Unusable, sizes.Rows.FirstUnusable?.ToString(),
                    sizes.Rows.MostTokens + newTokens, sizes.Rows.MostTiles),
                RunMemory.Of(recipe, shape, deviceBytes, sizes.Rows, sizes.Answered, sizes.Scored), deviceBytes, []);
        }
    }

    /// <summary>
    /// The rows that are trained on, and of the held-out ones those that are answered and those of which only the loss
    /// is measured.
    /// </summary>
    private static async Task<(RowSizes Rows, RowSizes? Answered, RowSizes? Scored)> MeasureAsync(Recipe recipe,
        RunPrompts prompts, CancellationToken cancellationToken)
    {
        RowSizes rows = await RowSizes.OfTrainingAsync(recipe, prompts, cancellationToken).ConfigureAwait(false);
        if (rows.Rows.Count == 0)
            throw new InvalidDataException(
                $"None of the {rows.Looked} rows that were looked at can be " +
                $"used{(rows.FirstUnusable is { } bad ? $": {bad}" : ".")}");
        if (recipe.Evaluation is null)
            return (rows, null, null);
        RowSizes answered = await RowSizes.OfEvaluationAsync(recipe, prompts, true, cancellationToken).ConfigureAwait(false);
        RowSizes scored = await RowSizes.OfEvaluationAsync(recipe, prompts, false, cancellationToken).ConfigureAwait(false);
        return (rows, answered.Rows.Count > 0 ? answered : null, scored.Rows.Count > 0 ? scored : null);
    }

    /// <summary>What could be set otherwise: as the command line has it, why that helps, and the recipe with it.</summary>
    private static IEnumerable<(string[] Settings, string Reason, Func<Recipe, Recipe> Apply)> Candidates(RunPlan plan,
        int cache)
    {
        Recipe recipe = plan.Recipe;
        if (!recipe.Optimizer.Recompute)
            yield return (["optimizer.recompute=true"],
                "layers are computed again in the backward pass: more time, the same numbers",
                one => one with { Optimizer = one.Optimizer with { Recompute = true } });
        int longest = plan.Rows.LongestTokens;
        if (recipe.Optimizer.MicroBatchTokens > longest)
            yield return ([$"optimizer.micro_batch_tokens={longest}"], "fewer samples at once",
                one => one with { Optimizer = one.Optimizer with { MicroBatchTokens = longest } });
        if (plan.Memory.GenerationBytes > 0)
            yield return ([$"sampling.cache_tokens={cache}"], "fewer completions are written at once",
                one => one with { Sampling = one.Sampling with { CacheTokens = cache } });
        if (plan.Memory.ReferenceBytes > 0)
        {
            yield return (["grpo.kl=none", "grpo.beta=0"], "no second model for a divergence: another objective",
                one => one with
                {
                    Grpo = one.Grpo with
                    {
                        Options = one.Grpo.Options with
                        {
                            Objective = one.Grpo.Options.Objective with { Kl = KlKind.None, Beta = 0 },
                        },
                    },
                });
        }

        if (plan.Rows.MostTiles > 1)
            yield return (["prompt.max_tiles=1"], "one tile for each picture: less detail",
                one => one with { Prompt = one.Prompt with { MaximumTiles = 1 } });
        if (recipe.Modules != TrainableModules.Connector)
        {
            float rate = recipe.LearningRate.Connector > 0 ? recipe.LearningRate.Connector
                : Math.Max(recipe.LearningRate.Vision, recipe.LearningRate.Language);
            string setting = string.Create(CultureInfo.InvariantCulture, $"learning_rate={{connector: {rate:R}}}")
                .Replace('E', 'e');
            yield return ([setting], "only the connector is trained, without gradients and moments of the rest",
                one => one with { LearningRate = new LearningRates(0, rate, 0) });
        }
    }
}

/// <summary>What a plan was made for.</summary>
/// <param name="Looked">Rows that were made into tokens; those that come may be longer.</param>
/// <param name="Unusable">How many of them cannot be used.</param>
/// <param name="FirstUnusable">The first of these, and why; null if all can be used.</param>
/// <param name="LongestTokens">Tokens of the longest, with the most new tokens of a completion.</param>
/// <param name="MostTiles">The most tiles of one.</param>
public sealed record RunPlanRows(int Looked, int Unusable, string? FirstUnusable, int LongestTokens, int MostTiles);

/// <summary>A way to take less memory.</summary>
/// <param name="Settings">Keys and values as <c>--set</c> takes them.</param>
/// <param name="Reason">What becomes less.</param>
/// <param name="PeakBytes">The memory of the run with it.</param>
public sealed record RunAdvice(IReadOnlyList<string> Settings, string Reason, long PeakBytes);
