using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Training.Objectives;

namespace Skylight.Training.Runs;

/// <summary>
/// The memory that a run reserves on its device, in bytes. Not in it: what a device takes for itself (kernels,
/// workspaces of its libraries), and what lies in the memory of the host, such as the pictures of a step.
/// </summary>
/// <param name="WeightBytes">The parameters.</param>
/// <param name="StateBytes">Gradients, moments and masters of what is trained.</param>
/// <param name="ActivationBytes">What lives between forward and backward pass, and temporaries.</param>
/// <param name="CacheBytes">Keys and values of rollouts and evaluations.</param>
/// <param name="GenerationBytes">The passes of rollouts and evaluations beside weights and cache.</param>
/// <param name="ReferenceBytes">The model that a KL term compares with, and its passes.</param>
/// <param name="VerifierBytes">Verifier models in this process, with their caches and passes.</param>
public sealed record RunMemory(
    long WeightBytes, long StateBytes, long ActivationBytes, long CacheBytes, long GenerationBytes, long ReferenceBytes,
    long VerifierBytes)
{
    /// <summary>All of it: each part is kept until the run ends.</summary>
    public long TotalBytes =>
        WeightBytes + StateBytes + ActivationBytes + CacheBytes + GenerationBytes + ReferenceBytes + VerifierBytes;

    /// <summary>
    /// The tokens that the cache of a run holds; null for what its device gives. A run that writes nothing needs but
    /// the smallest cache.
    /// </summary>
    internal static int? CacheTokens(Recipe recipe, bool isAnswering) =>
        recipe.Method == TrainingMethod.Supervised && !isAnswering ? KeyValuePages.Size : recipe.Sampling.CacheTokens;

    /// <summary>The smallest cache with which a run can draw and be tried: that of one group of completions.</summary>
    internal static int LeastCacheTokens(Recipe recipe, RowSizes rows, RowSizes? answered)
    {
        int tokens = answered is null ? 0 : PagesOf(answered.MostTokens + AnswerTokens(recipe));
        if (recipe.Method != TrainingMethod.Supervised)
            tokens = Math.Max(tokens,
                checked(recipe.Sampling.Group
                    * PagesOf(rows.MostTokens + recipe.Sampling.MaximumNewTokens.Max(stage => stage.Tokens))));
        return tokens;

        static int PagesOf(int count) => (count + KeyValuePages.Size - 1) / KeyValuePages.Size * KeyValuePages.Size;
    }

    private static int AnswerTokens(Recipe recipe) =>
        recipe.Evaluation!.MaximumNewTokens ?? recipe.Sampling.MaximumNewTokens[^1].Tokens;

    /// <summary>Plans a run.</summary>
    /// <param name="recipe">The recipe.</param>
    /// <param name="model">Its model, without memory, on a device that says it has enough.</param>
    /// <param name="deviceBytes">What the device has.</param>
    /// <param name="rows">The rows that are trained on.</param>
    /// <param name="answered">Held-out rows that are answered; null for none.</param>
    /// <param name="scored">Held-out rows whose loss is measured; null for none.</param>
    internal static RunMemory Of(Recipe recipe, VisionLanguageModel model, long deviceBytes, RowSizes rows,
        RowSizes? answered, RowSizes? scored)
    {
        OptimizerSettings optimizer = recipe.Optimizer;
        MicroBatchShape shape = MicroBatch(recipe, model.Configuration, rows);
        bool isPolicy = recipe.Method == TrainingMethod.Grpo;
        TrainingEstimate training = TrainingEstimate.Of(
            model, recipe.Modules, shape,
            isPolicy ? recipe.Grpo.Options.Objective with { Temperature = (float)recipe.Sampling.Temperature }
                : new CrossEntropyObjective(), optimizer.Recompute);
        long activations = training.ActivationBytes;
        if (scored is not null)
        {
            int together = (int)Math.Min(scored.Count,
                Math.Min(recipe.Schedule.Batch, recipe.Evaluation!.Items ?? int.MaxValue));
            activations = Math.Max(activations,
                TrainingEstimate.ScoringBytes(model,
                    Supervised(model.Configuration, scored, together, optimizer.MicroBatchTokens)));
        }

        long reference = isPolicy && recipe.Grpo.HasReference
            ? training.WeightBytes + TrainingEstimate.ScoringBytes(model, shape) : 0;
        int cacheTokens = CacheTokens(recipe, answered is not null) ?? ChatModel.DefaultCacheTokens(model, deviceBytes);
        return new RunMemory(
            training.WeightBytes, training.StateBytes, activations, KeyValueBytes(model, cacheTokens),
            Math.Max(RolloutBytes(recipe, model, rows, cacheTokens), AnswerBytes(recipe, model, answered, cacheTokens)),
            reference, VerifierFolders(recipe)
                .Sum(folder => OfVerifier(folder.Path, folder.Requests, model.Device, deviceBytes)));
    }

    private static long KeyValueBytes(VisionLanguageModel model, int tokens) =>
        (long)KeyValueCache.PagesFor(tokens) * KeyValuePages.Size * KeyValueCache.BytesPerToken(model);

    /// <summary>The largest micro-batch that rows of these sizes can make: one bound for each of its extents.</summary>
    private static MicroBatchShape MicroBatch(Recipe recipe, ModelConfiguration configuration, RowSizes rows)
    {
        int micro = recipe.Optimizer.MicroBatchTokens;
        if (recipe.Method == TrainingMethod.Supervised)
            return Supervised(configuration, rows, recipe.Schedule.Batch, micro);
        int group = recipe.Sampling.Group, newTokens = recipe.Sampling.MaximumNewTokens.Max(stage => stage.Tokens),
            prompts = recipe.Schedule.Batch;
        // Of each prompt the best completion alone, or all of a mini-batch; those of a prompt share its pictures.
        bool isPolicy = recipe.Method == TrainingMethod.Grpo;
        int inStep = isPolicy
            ? checked((prompts + recipe.Grpo.Options.MiniBatches - 1) / recipe.Grpo.Options.MiniBatches * group) : prompts;
        int samples = Math.Clamp(micro / (rows.FewestTokens + 1), 1, inStep), longest = rows.MostTokens + newTokens;
        int tokens = Tokens(samples, longest, micro);
        int different = isPolicy ? Math.Min(prompts, (samples + group - 2) / group + 1) : samples;
        return new MicroBatchShape(tokens, samples, Tiles(configuration, different * (long)rows.MostTiles, tokens),
            (int)Math.Min(tokens - 1L, (long)samples * newTokens));
    }

    private static MicroBatchShape Supervised(ModelConfiguration configuration, RowSizes rows, int batch, int micro)
    {
        int samples = Math.Clamp(micro / rows.FewestTokens, 1, batch);
        int tokens = Tokens(samples, rows.MostTokens, micro);
        double density = rows.Rows.Max(row => (double)row.Tiles / row.Tokens),
            share = rows.Rows.Max(row => (double)row.Scored / row.Tokens);
        long tiles = Math.Min((long)samples * rows.MostTiles, Math.Max(rows.MostTiles, (long)(density * tokens)));
        return new MicroBatchShape(tokens, samples, Tiles(configuration, tiles, tokens),
            (int)Math.Min(tokens - 1L, Math.Max(rows.MostScored, (long)Math.Ceiling(share * tokens))));
    }

    private static int Tokens(int samples, int longest, int micro) =>
        (int)Math.Max(longest, Math.Min(micro, (long)samples * longest));

    private static int Tiles(ModelConfiguration configuration, long tiles, int tokens) =>
        (int)Math.Min(tiles, tokens / Math.Max(1, configuration.TokensPerTile));

    private static long RolloutBytes(Recipe recipe, VisionLanguageModel model, RowSizes rows, int cacheTokens)
    {
        if (recipe.Method == TrainingMethod.Supervised)
            return 0;
        int newTokens = recipe.Sampling.MaximumNewTokens.Max(stage => stage.Tokens);
        return PassBytes(model, rows, recipe.Schedule.Batch, recipe.Sampling.Group, newTokens, cacheTokens);
    }

    private static long AnswerBytes(Recipe recipe, VisionLanguageModel model, RowSizes? rows, int cacheTokens)
    {
        if (rows is null)
            return 0;
        EvaluationSettings settings = recipe.Evaluation!;
        int requests = (int)Math.Min(RunEvaluation.Concurrency,
            Math.Min(rows.Count, settings.Items ?? int.MaxValue) * settings.Samples);
        return PassBytes(model, rows, requests, 1, AnswerTokens(recipe), cacheTokens);
    }

    /// <summary>
    /// The larger of two passes of an engine: prompts that are read, and then draw a token for each completion, beside the
    /// completions of the other requests; and all completions at once.
    /// </summary>
    private static long PassBytes(VisionLanguageModel model, RowSizes rows, int requests, int group, int newTokens,
        int cacheTokens)
    {
        int prefill = new ChatModelOptions().PrefillTokens,
            pages = (cacheTokens + KeyValuePages.Size - 1) / KeyValuePages.Size;
        int context = Math.Min(rows.MostTokens + newTokens, model.Configuration.Language.MaxPositions);
        // A request is only admitted where the pages of its worst case are free.
        int admitted = (int)Math.Clamp(pages / Pages(rows.FewestTokens, group, newTokens), 1, requests);
        int together = Math.Clamp((prefill + rows.FewestTokens - 1) / rows.FewestTokens, 1, admitted);
        // From one to all of those are read at once; the others may all be written meanwhile.
        int read = (int)Math.Min(prefill, (long)together * rows.MostTokens), beside = checked((admitted - 1) * group);
        long mixed = GenerationEstimate.PassBytes(model, checked(read + beside), checked(together + beside),
            checked(admitted * group), context, checked(together * rows.MostTiles));
        int writing = checked(admitted * group);
        return Math.Max(mixed, GenerationEstimate.PassBytes(model, writing, writing, writing, context, 0));
    }

    private static long Pages(int prompt, int group, int newTokens)
    {
        long shared = prompt / KeyValuePages.Size,
            all = ((long)prompt + newTokens + KeyValuePages.Size - 1) / KeyValuePages.Size;
        return Math.Max(1, shared + group * (all - shared));
    }

    /// <summary>
    /// The checkpoints of verifiers, also of those within <c>all_of</c>, and how many requests they judge at once; one that
    /// several rewards ask is there once.
    /// </summary>
    private static IEnumerable<(string Path, int Requests)> VerifierFolders(Recipe recipe) =>
        VerifiersOf(recipe).GroupBy(verifier => verifier.Path)
            .Select(same => (same.Key, same.Sum(verifier => verifier.Requests)));

    private static IEnumerable<(string Path, int Requests)> VerifiersOf(Recipe recipe)
    {
        const string Key = "checkpoint", Limit = "max_requests";
        foreach (RewardSettings reward in recipe.Method == TrainingMethod.Supervised ? []
            : recipe.Rewards.Where(reward => reward.Assembly is null))
        {
            foreach ((string name, string folder) in reward.Options.Where(option => option.Key == Key
                || option.Key.EndsWith("." + Key, StringComparison.Ordinal)))
                yield return (folder,
                    int.TryParse(reward.Options.GetValueOrDefault(name[..^Key.Length] + Limit), out int requests)
                        ? requests : new Rewards.ModelVerifierOptions().MaximumRequests);
        }
    }

    /// <summary>The model as it would be loaded; where it is not downloaded yet, by its configuration.</summary>
    private static VisionLanguageModel Describe(string folder, Device device)
    {
        try
        {
            return ModelCheckpoint.Describe(folder, device);
        }
        catch (CheckpointException)
        {
            return new VisionLanguageModel(ModelConfiguration.Load(folder), device, ParameterType(folder, device));
        }
    }

    private static long OfVerifier(string folder, int requests, Device device, long deviceBytes)
    {
        using VisionLanguageModel model = Describe(folder, device);
        int cacheTokens = ChatModel.DefaultCacheTokens(model, deviceBytes),
            context = Math.Min(cacheTokens, model.Configuration.Language.MaxPositions);
        int prefill = new ChatModelOptions().PrefillTokens;
        long pass = GenerationEstimate.PassBytes(model, checked(prefill + requests - 1), requests, requests, context, 0);
        return model.Parameters.All.Sum(parameter => device.StorageBytes(parameter.Type))
            + KeyValueBytes(model, cacheTokens) + pass;
    }

    /// <summary>
    /// The data type that weights have in memory; where they are not downloaded yet, what the configuration says.
    /// </summary>
    internal static DataType ParameterType(string folder, Device device)
    {
        try
        {
            return ModelCheckpoint.ParameterTypeOf(folder, device);
        }
        catch (CheckpointException)
        {
            return device.ActivationType == DataType.BFloat16
                || ModelConfiguration.Load(folder).WeightType == "bfloat16" ? DataType.BFloat16 : DataType.Float32;
        }
    }
}
