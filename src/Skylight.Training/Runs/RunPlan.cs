using System.Globalization;
using Skylight.Execution;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Training.Data;

namespace Skylight.Training.Runs;

/// <summary>What a recipe would take, known before weights are loaded.</summary>
/// <param name="Recipe">The recipe.</param>
/// <param name="Parameters">Parameters of the model.</param>
/// <param name="TrainedParameters">Those that are trained.</param>
/// <param name="Examples">Rows of the data.</param>
/// <param name="Steps">Optimizer steps.</param>
/// <param name="RolloutTokens">The most tokens drawn by a step; 0 for supervised tuning.</param>
/// <param name="Estimate">The memory of training.</param>
/// <param name="CacheBytes">The key-value cache of rollouts and evaluations.</param>
/// <param name="DeviceBytes">What the device has.</param>
/// <param name="Advice">Settings that need less, each with the peak that it leads to; empty where the recipe fits.</param>
public sealed record RunPlan(
    Recipe Recipe, long Parameters, long TrainedParameters, long Examples, int Steps, long RolloutTokens,
    TrainingEstimate Estimate, long CacheBytes, long DeviceBytes, IReadOnlyList<string> Advice)
{
    // What most questions with a picture and a long answer fit into.
    private const int ShortSequence = 4096, FewTiles = 4, DefaultCacheTokens = 16384;

    /// <summary>Weights, optimizer, activations and cache at their most.</summary>
    public long PeakBytes => Estimate.PeakBytes + CacheBytes + ReferenceBytes;

    /// <summary>The weights of the model that a KL term compares with.</summary>
    public long ReferenceBytes => Recipe.Method == TrainingMethod.Grpo && Recipe.Grpo.HasReference ? Estimate.WeightBytes : 0;

    /// <summary>Whether it fits the device.</summary>
    public bool Fits => PeakBytes <= DeviceBytes;

    /// <summary>Plans a recipe; reads the model's configuration and counts the rows of the data.</summary>
    /// <param name="recipe">The recipe.</param>
    /// <param name="model">The folder of the model.</param>
    /// <param name="device">Where it would run; nothing is reserved on it.</param>
    /// <param name="cancellationToken">Stops the counting.</param>
    /// <exception cref="Checkpoints.CheckpointException">The configuration cannot be read.</exception>
    public static async Task<RunPlan> OfAsync(Recipe recipe, string model, Device device, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        ArgumentNullException.ThrowIfNull(device);
        ModelConfiguration configuration = ModelConfiguration.Load(model);
        long examples = 0;
        foreach (DataSettings data in recipe.Data)
        {
            using ExampleFiles files = await ExampleFiles.OpenAsync(data.File, TrainingRun.OptionsOf(data, ExampleNeeds.None), cancellationToken).ConfigureAwait(false);
            examples += files.Count;
        }

        RunPlan plan = Of(recipe, configuration, examples, device);
        return plan.Fits ? plan : plan with { Advice = AdviceFor(plan, configuration, device) };
    }

    private static RunPlan Of(Recipe recipe, ModelConfiguration configuration, long examples, Device device)
    {
        DataType type = device.ActivationType == DataType.BFloat16 || configuration.WeightType == "bfloat16" ? DataType.BFloat16 : DataType.Float32;
        using var shape = new VisionLanguageModel(configuration, device, type);
        bool draws = recipe.Method != TrainingMethod.Supervised;
        int longest = LongestOf(recipe, configuration), mostNew = recipe.Sampling.MaximumNewTokens[^1].Tokens;
        int tokens = Math.Max(longest, Math.Min(recipe.Optimizer.MicroBatchTokens, (int)Math.Min(int.MaxValue, (long)longest * recipe.Schedule.Batch)));
        int completion = draws ? (int)Math.Min(tokens / 2, (long)mostNew * Math.Max(1, tokens / longest)) : tokens / 2;
        int mostTiles = (recipe.Prompt.MaximumTiles ?? configuration.Preprocessing.MaximumTiles) + 1;
        int tiles = Math.Min((tokens - completion - 2) / Math.Max(1, configuration.TokensPerTile), mostTiles);
        TrainingEstimate estimate = TrainingEstimate.Of(
            shape, recipe.Modules, tokens, Math.Max(0, tiles), Math.Max(1, completion), recipe.Optimizer.Recompute);
        LanguageConfiguration language = configuration.Language;
        long perToken = 2L * language.LayerCount * language.KeyValueSize * device.ActivationType.Size();
        long cacheTokens = draws || recipe.Evaluation is not null ? recipe.Sampling.CacheTokens ?? DefaultCacheTokens : 0;
        return new RunPlan(
            recipe, shape.Parameters.ElementCount,
            shape.Parameters.All.Where(parameter => recipe.Modules.Includes(parameter)).Sum(parameter => parameter.Type.Shape.ElementCount),
            examples, TrainingRun.StepsOf(recipe, examples), draws ? (long)recipe.Schedule.Batch * recipe.Sampling.Group * mostNew : 0,
            estimate, perToken * cacheTokens, device.MemoryBytes, []);
    }

    private static int LongestOf(Recipe recipe, ModelConfiguration configuration) =>
        Math.Min(recipe.Prompt.MaximumSequence ?? int.MaxValue, configuration.Language.MaxPositions);

    /// <summary>Plans again with each of the settings that help, and with all of them.</summary>
    private static List<string> AdviceFor(RunPlan plan, ModelConfiguration configuration, Device device)
    {
        var advice = new List<string>();
        Recipe together = plan.Recipe;
        foreach ((string setting, string why, Func<Recipe, Recipe> change) in Savings(plan, LongestOf(plan.Recipe, configuration)))
        {
            advice.Add($"{setting}: {Gigabytes(Of(change(plan.Recipe), configuration, plan.Examples, device))}; {why}");
            together = change(together);
        }

        RunPlan least = Of(together, configuration, plan.Examples, device);
        if (advice.Count > 1)
            advice.Add($"all of these: {Gigabytes(least)}");
        if (!least.Fits)
            advice.Add("a device with more memory: these settings alone do not do");
        return advice;
    }

    private static string Gigabytes(RunPlan plan) => string.Create(CultureInfo.InvariantCulture, $"{plan.PeakBytes / 1e9:F2} GB");

    private static IEnumerable<(string Setting, string Why, Func<Recipe, Recipe> Change)> Savings(RunPlan plan, int longest)
    {
        Recipe recipe = plan.Recipe;
        if (!recipe.Optimizer.Recompute)
        {
            yield return (
                "optimizer.recompute=true", "layers are computed again in the backward pass",
                r => r with { Optimizer = r.Optimizer with { Recompute = true } });
        }

        bool needsLong = recipe.Method != TrainingMethod.Supervised && recipe.Sampling.MaximumNewTokens[^1].Tokens >= ShortSequence;
        bool isShort = longest <= ShortSequence || needsLong;
        int kept = isShort ? longest : ShortSequence;
        if (recipe.Optimizer.MicroBatchTokens > kept && isShort)
        {
            yield return (
                $"optimizer.micro_batch_tokens={kept}", "fewer tokens at once",
                r => r with { Optimizer = r.Optimizer with { MicroBatchTokens = kept } });
        }

        if (!isShort)
        {
            yield return (
                $"prompt.max_sequence={kept}, prompt.max_tiles={FewTiles}, optimizer.micro_batch_tokens={kept}",
                "shorter sequences; longer rows cannot be used",
                r => r with
                {
                    Prompt = r.Prompt with { MaximumSequence = kept, MaximumTiles = FewTiles },
                    Optimizer = r.Optimizer with { MicroBatchTokens = kept },
                });
        }

        if (plan.CacheBytes > 0 && (recipe.Sampling.CacheTokens ?? DefaultCacheTokens) > kept)
        {
            yield return (
                $"sampling.cache_tokens={kept}", "fewer completions at once", r => r with { Sampling = r.Sampling with { CacheTokens = kept } });
        }

        if (plan.ReferenceBytes > 0)
        {
            yield return (
                "grpo.kl=none, grpo.beta=0", "no second model for the divergence",
                r => r with { Grpo = r.Grpo with { Options = r.Grpo.Options with { Objective = r.Grpo.Options.Objective with { Kl = KlKind.None, Beta = 0 } } } });
        }

        if (recipe.Modules != TrainableModules.Connector)
        {
            LearningRates rates = recipe.LearningRate;
            float rate = rates.Connector > 0 ? rates.Connector : Math.Max(rates.Vision, rates.Language);
            yield return (
                string.Create(CultureInfo.InvariantCulture, $"learning_rate={{connector: {rate}}}").Replace('E', 'e'),
                "the connector alone is trained",
                r => r with { LearningRate = new LearningRates(0, rate, 0) });
        }
    }
}
