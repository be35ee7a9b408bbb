using Skylight.Execution;
using Skylight.Hub;
using Skylight.Models;
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
/// <param name="Estimate">The memory of training; null where no plan could be made.</param>
/// <param name="CacheBytes">The key-value cache of rollouts and evaluations.</param>
/// <param name="DeviceBytes">What the device has.</param>
/// <param name="Advice">What would make it fit; empty where it does.</param>
public sealed record RunPlan(
    Recipe Recipe, long Parameters, long TrainedParameters, long Examples, int Steps, long RolloutTokens, TrainingEstimate Estimate, long CacheBytes, long DeviceBytes, IReadOnlyList<string> Advice)
{
    /// <summary>Weights, optimizer, activations and cache at their most.</summary>
    public long PeakBytes => Estimate.PeakBytes + CacheBytes + ReferenceBytes;

    /// <summary>The weights of the model that a KL term compares with.</summary>
    public long ReferenceBytes => Recipe.Method == TrainingMethod.Grpo && Recipe.Grpo.HasReference ? Estimate.WeightBytes : 0;

    /// <summary>Whether it fits the device.</summary>
    public bool Fits => PeakBytes <= DeviceBytes;

    /// <summary>Plans a recipe; reads the model's configuration and counts the rows of the data.</summary>
    /// <param name="recipe">The recipe.</param>
    /// <param name="model">The folder of the model, or its repository on the hub, of which all but the weights is read.</param>
    /// <param name="device">Where it would run; nothing is reserved on it.</param>
    /// <param name="hub">Where a repository is looked for; as the environment says if null.</param>
    /// <param name="cancellationToken">Stops the counting.</param>
    /// <exception cref="HubException">The model's repository cannot be had.</exception>
    /// <exception cref="Checkpoints.CheckpointException">The configuration cannot be read.</exception>
    public static async Task<RunPlan> OfAsync(Recipe recipe, string model, Device device, HubOptions? hub = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        ArgumentNullException.ThrowIfNull(device);
        ModelConfiguration configuration = ModelConfiguration.Load(await ModelSource.FolderAsync(model, ModelParts.Description, hub, cancellationToken).ConfigureAwait(false));
        long examples = 0;
        foreach (DataSettings data in recipe.Data)
        {
            using ExampleFiles files = await ExampleFiles.OpenAsync(data.File, TrainingRun.OptionsOf(data, ExampleNeeds.None), cancellationToken).ConfigureAwait(false);
            examples += files.Count;
        }

        DataType type = device.ActivationType == DataType.BFloat16 || configuration.WeightType == "bfloat16" ? DataType.BFloat16 : DataType.Float32;
        using var shape = new VisionLanguageModel(configuration, device, type);
        int longest = Math.Min(recipe.Prompt.MaximumSequence ?? configuration.Language.MaxPositions, configuration.Language.MaxPositions);
        int tokens = Math.Max(longest, Math.Min(recipe.Optimizer.MicroBatchTokens, (int)Math.Min(int.MaxValue, (long)longest * recipe.Schedule.Batch)));
        int completion = Math.Min(tokens / 2, recipe.Method == TrainingMethod.Supervised ? tokens / 2 : Math.Min(tokens / 2, recipe.Sampling.MaximumNewTokens[^1].Tokens * Math.Max(1, tokens / longest)));
        int tiles = Math.Min((tokens - completion - 2) / Math.Max(1, configuration.TokensPerTile), (recipe.Prompt.MaximumTiles ?? configuration.Preprocessing.MaximumTiles) + 1);
        TrainingEstimate estimate = TrainingEstimate.Of(shape, recipe.Modules, tokens, Math.Max(0, tiles), Math.Max(1, completion), recipe.Optimizer.Recompute);
        LanguageConfiguration language = configuration.Language;
        long perToken = 2L * language.LayerCount * language.KeyValueSize * device.ActivationType.Size();
        long cacheTokens = recipe.Method == TrainingMethod.Supervised && recipe.Evaluation is null ? 0 : recipe.Sampling.CacheTokens ?? 16384;
        int steps = TrainingRun.StepsOf(recipe, examples);
        long drawn = recipe.Method == TrainingMethod.Supervised ? 0 : (long)recipe.Schedule.Batch * recipe.Sampling.Group * recipe.Sampling.MaximumNewTokens[^1].Tokens;
        var plan = new RunPlan(
            recipe, shape.Parameters.ElementCount, shape.Parameters.All.Where(parameter => recipe.Modules.Includes(parameter)).Sum(parameter => parameter.Type.Shape.ElementCount),
            examples, steps, drawn, estimate, perToken * cacheTokens, device.MemoryBytes, []);
        return plan.Fits ? plan : plan with { Advice = AdviceFor(plan) };
    }

    private static List<string> AdviceFor(RunPlan plan)
    {
        var advice = new List<string>();
        Recipe recipe = plan.Recipe;
        if (!recipe.Optimizer.Recompute)
            advice.Add("optimizer.recompute=true: activations are computed again in the backward pass");
        if (recipe.Optimizer.MicroBatchTokens > (recipe.Prompt.MaximumSequence ?? int.MaxValue))
            advice.Add($"optimizer.micro_batch_tokens={recipe.Prompt.MaximumSequence}: fewer tokens at once");
        if (recipe.Modules != TrainableModules.Connector)
            advice.Add($"learning_rate={{connector: …}}: only the connector is trained, without gradients and moments of the rest ({plan.Estimate.StateBytes / 1e9:F1} GB now)");
        if (recipe.Prompt.MaximumSequence is null or > 4096)
            advice.Add("prompt.max_sequence=4096, prompt.max_tiles=4: shorter sequences");
        if (plan.ReferenceBytes > 0)
            advice.Add("grpo.kl=none, grpo.beta=0: no second model for the divergence");
        return advice;
    }
}
