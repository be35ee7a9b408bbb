using Skylight.Chat;
using Skylight.Ops;
using Skylight.Text;
using Skylight.Training.Objectives;

namespace Skylight.Training.Runs;

/// <summary>Makes a recipe from its YAML, key by key.</summary>
internal static class RecipeReader
{
    private static readonly string[] s_chatTemplates = [ConversationEncoder.BuiltIn, .. ChatTemplate.Names];

    private static readonly (string, ThinkingMode)[] s_thinking = [("default", ThinkingMode.Default),
        ("on", ThinkingMode.On), ("off", ThinkingMode.Off)];

    public static Recipe Read(RecipeNode node, string fileName)
    {
        TrainingMethod method = node.Choice("method", ("sft", TrainingMethod.Supervised), ("grpo", TrainingMethod.Grpo),
            ("rejection", TrainingMethod.Rejection))
            ?? throw node.Fault("has no 'method': give sft, grpo or rejection.");
        string? folder = node.Named("data_folder");
        SamplingSettings sampling = Sampling(node.Map("sampling"));
        var recipe = new Recipe
        {
            Name = Name(node, fileName),
            Description = node.Text("description") ?? "",
            Model = node.Named("model"),
            From = node.Named("from"),
            Method = method,
            Seed = node.Seed("seed") ?? 1,
            LearningRate = LearningRate(node),
            Data = Data(node, folder),
            BadRows = node.Count("bad_rows") ?? 0,
            Prompt = Prompt(node.Map("prompt")),
            Schedule = Schedule(node),
            Optimizer = Optimizer(node.Map("optimizer")),
            Sampling = sampling,
            Grpo = Grpo(node.Map("grpo"), sampling),
            Rewards = Rewards(node),
            RewardFaults = node.Choice("reward_faults", ("stop", FaultPolicy.Stop), ("zero", FaultPolicy.Zero),
                ("skip", FaultPolicy.Skip)) ?? FaultPolicy.Stop,
            Evaluation = node.Has("evaluation") ? Evaluation(node.Map("evaluation"), folder) : null,
            Checkpoints = Checkpoints(node.Map("checkpoints")),
            SamplesPerStep = node.Text("samples") == "all" ? int.MaxValue : node.Count("samples") ?? 4,
        };
        node.Finish();
        Check(node, recipe);
        return recipe;
    }

    private static string Name(RecipeNode node, string fileName)
    {
        string name = node.Text("name") ?? fileName;
        return name.Length > 0 && name.All(character => char.IsLetterOrDigit(character)
            || character is '-' or '_' or '.') && name[0] != '.'
            ? name
            : throw node.Fault($"has the name '{name}'; it names a folder: use letters, digits, '-', '_' and '.'.");
    }

    private static LearningRates LearningRate(RecipeNode node)
    {
        if (!node.Has("learning_rate"))
            throw node.Fault(
                "has no 'learning_rate': give one for all modules, or one for each of vision, connector and language.");
        LearningRates rates;
        if (node.HasMap("learning_rate"))
        {
            RecipeNode map = node.Map("learning_rate");
            rates = new LearningRates((float)(map.Number("vision", 0) ?? 0), (float)(map.Number("connector", 0) ?? 0),
                (float)(map.Number("language", 0) ?? 0));
            map.Finish();
        }
        else
        {
            float rate = (float)node.Number("learning_rate", 0)!.Value;
            rates = new LearningRates(rate, rate, rate);
        }

        return ModulesOf(rates) != TrainableModules.None ? rates
            : throw node.Fault("trains nothing: give one of the modules a learning rate above 0.");
    }

    /// <summary>What has a learning rate.</summary>
    public static TrainableModules ModulesOf(LearningRates rates) =>
        (rates.Vision > 0 ? TrainableModules.Vision : 0) | (rates.Connector > 0 ? TrainableModules.Connector : 0)
            | (rates.Language > 0 ? TrainableModules.Language : 0);

    private static DataSettings[] Data(RecipeNode node, string? folder)
    {
        DataSettings[] data = [.. node.List("data").Select(source => Source(source, folder))];
        return data.Length > 0 ? data : throw node.Fault("has no 'data': name at least one JSONL or Parquet file.");
    }

    private static DataSettings Source(RecipeNode node, string? folder)
    {
        if (!node.IsMap)
            return new DataSettings(InFolder(folder, node.AsNamed()), 0, new Dictionary<string, string>());
        string file = node.Named("file") ?? throw node.Fault("has no 'file'.");
        (double? least, double? most) = Range(node, "difficulty");
        var source = new DataSettings(InFolder(folder, file), node.Number("weight", double.Epsilon) ?? 0,
            node.Texts("columns"))
        { LeastDifficulty = least, MostDifficulty = most };
        node.Finish();
        return source;
    }

    private static string InFolder(string? folder, string file) => folder is null ? file : Path.Combine(folder, file);

    private static (double? Least, double? Most) Range(RecipeNode node, string key)
    {
        IReadOnlyList<RecipeNode> ends = node.List(key);
        if (ends.Count == 0)
            return (null, null);
        if (ends.Count != 2)
            throw node.Fault($"has a '{key}' of {ends.Count} numbers; give [least, most].");
        (double least, double most) = (ends[0].AsNumber(), ends[1].AsNumber());
        return least <= most ? (least, most) : throw ends[0].Fault($"is {least}, above the other end {most}.");
    }

    private static PromptSettings Prompt(RecipeNode node)
    {
        var prompt = new PromptSettings
        {
            System = node.Text("system"),
            ChatTemplate = node.Choice("chat_template", [.. s_chatTemplates.Select((name, index) => (name, index))])
                is { } chosen ? s_chatTemplates[chosen] : null,
            Thinking = node.Choice("thinking", s_thinking) ?? ThinkingMode.Default,
            Template = node.Text("template") ?? "{question}",
            MaximumTiles = node.Count("max_tiles", 1, GenerationOptions.MostTiles),
            MaximumSequence = node.Count("max_sequence", 2),
        };
        node.Finish();
        return prompt.Template.Contains("{question}", StringComparison.Ordinal) ? prompt
            : throw node.Fault("has a 'template' without '{question}': nothing would say where the question stands.");
    }

    private static ScheduleSettings Schedule(RecipeNode node) => new()
    {
        Steps = node.Count("steps", 1),
        Epochs = node.Number("epochs", 0.001),
        Batch = node.Count("batch", 1, 1 << 20) ?? 32,
        Warmup = node.Number("warmup", 0) ?? 0,
        Decay = node.Choice("decay", ("constant", LearningRateDecay.Constant), ("linear", LearningRateDecay.Linear),
            ("cosine", LearningRateDecay.Cosine)) ?? LearningRateDecay.Constant,
        FinalFraction = node.Number("final_fraction", 0, 1) ?? 0,
        Patience = node.Count("patience", 1),
    };

    private static OptimizerSettings Optimizer(RecipeNode node)
    {
        var defaults = new OptimizerOptions();
        var optimizer = new OptimizerSettings
        {
            AdamW = defaults with
            {
                Beta1 = (float)(node.Number("beta1", 0, 0.99999) ?? defaults.Beta1),
                Beta2 = (float)(node.Number("beta2", 0, 0.9999999) ?? defaults.Beta2),
                Epsilon = (float)(node.Number("epsilon", 0) ?? defaults.Epsilon),
                WeightDecay = (float)(node.Number("weight_decay", 0) ?? defaults.WeightDecay),
                MaximumGradientNorm = (float)(node.Number("max_gradient_norm", 0) ?? defaults.MaximumGradientNorm),
                NotFinite = node.Choice("not_finite", ("stop", NotFiniteStep.Stop), ("skip", NotFiniteStep.Skip))
                    ?? NotFiniteStep.Stop,
            },
            MicroBatchTokens = node.Count("micro_batch_tokens", 2) ?? 8192,
            Recompute = node.Flag("recompute") ?? false,
        };
        node.Finish();
        return optimizer;
    }

    private static SamplingSettings Sampling(RecipeNode node)
    {
        IReadOnlyList<RecipeNode> temperatures = node.List("temperature");
        if (temperatures.Count > 2)
            throw node.Fault($"has a 'temperature' of {temperatures.Count} numbers; give one, or [first, last].");
        var sampling = new SamplingSettings
        {
            Temperature = temperatures.Count > 0 ? temperatures[0].AsNumber(0.01, 100) : 1,
            FinalTemperature = temperatures.Count > 1 ? temperatures[1].AsNumber(0.01, 100) : null,
            MaximumNewTokens = NewTokens(node),
            Group = node.Count("group", 1, 4096) ?? 8,
            CacheTokens = node.Count("cache_tokens", 32),
        };
        node.Finish();
        return sampling;
    }

    private static IReadOnlyList<(int FromStep, int Tokens)> NewTokens(RecipeNode node)
    {
        if (!node.HasMap("max_new_tokens"))
            return [(0, node.Count("max_new_tokens", 1) ?? 1024)];
        var stages = new List<(int FromStep, int Tokens)>();
        RecipeNode map = node.Map("max_new_tokens");
        foreach ((string key, string value) in node.Texts("max_new_tokens"))
        {
            if (!int.TryParse(key, out int step) || step < 0 || !int.TryParse(value, out int tokens) || tokens < 1)
                throw map.Fault($"has '{key}: {value}'; each pair is the step from which on, and the most tokens.");
            stages.Add((step, tokens));
        }

        stages.Sort();
        return stages.Count > 0 && stages[0].FromStep == 0 ? stages
            : throw map.Fault("says nothing about step 0: begin with it.");
    }

    private static GrpoSettings Grpo(RecipeNode node, SamplingSettings sampling)
    {
        string loss = node.Text("loss") ?? "grpo";
        if (!GrpoPresets.All.TryGetValue(loss, out GrpoOptions? options))
            throw node.Fault($"has the loss '{loss}'; it must be one of {string.Join(", ", GrpoPresets.All.Keys)}.");
        PolicyObjective objective = options.Objective;
        var grpo = new GrpoSettings
        {
            Options = options with
            {
                GroupSize = sampling.Group,
                Objective = objective with
                {
                    ClipLow = (float)(node.Number("clip_low", 0, 1) ?? objective.ClipLow),
                    ClipHigh = (float)(node.Number("clip_high", 0) ?? objective.ClipHigh),
                    DualClip = (float)(node.Number("dual_clip", 0) ?? objective.DualClip),
                    Kl = node.Choice("kl", ("none", KlKind.None), ("k1", KlKind.K1), ("k2", KlKind.K2),
                        ("k3", KlKind.K3)) ?? KlKind.None,
                    Beta = (float)(node.Number("beta", 0) ?? 0),
                },
                AdvantageScale = node.Choice("advantage", ("group", AdvantageScale.Group),
                    ("batch", AdvantageScale.Batch), ("none", AdvantageScale.None)) ?? options.AdvantageScale,
                Aggregation = node.Choice(
                    "aggregation", ("sequence_mean", LossAggregation.SequenceMean),
                    ("token_mean", LossAggregation.TokenMean), ("constant", LossAggregation.Constant))
                        ?? options.Aggregation,
                MiniBatches = node.Count("mini_batches", 1) ?? 1,
                ResampleAttempts = node.Count("resample", 0, 255) ?? 0,
                KeepSurplusSteps = node.Count("keep_surplus", 0, 1000) ?? 0,
                MaskTruncated = node.Flag("mask_truncated") ?? false,
                TopEntropyShare = node.Number("entropy_share", 0.001, 1) ?? 1,
            },
            DropSolved = node.Number("drop_solved", 0, 1),
        };
        node.Finish();
        if (grpo.Options.Objective.Kl == KlKind.None != (grpo.Options.Objective.Beta == 0))
            throw node.Fault(
                "has only one of 'kl' and 'beta'; a divergence from the model at the start needs both, and none neither.");
        return grpo;
    }

    private static RewardSettings[] Rewards(RecipeNode node)
    {
        RewardSettings[] rewards = [.. node.List("rewards").Select(Reward)];
        return rewards.Length > 0 ? rewards : [new RewardSettings("answer", 0.8, new Dictionary<string, string>()),
            new RewardSettings("format", 0.2, new Dictionary<string, string>())];
    }

    private static RewardSettings Reward(RecipeNode node)
    {
        if (!node.IsMap)
            return new RewardSettings(node.AsNamed(), 1, new Dictionary<string, string>());
        var reward = new RewardSettings(
            node.Named("name") ?? throw node.Fault("has no 'name'."), node.Number("weight") ?? 1, node.Texts("options"),
            node.Named("assembly"))
        {
            Weights = Weights(node),
            Label = node.Named("label"),
        };
        node.Finish();
        return reward;
    }

    private static Dictionary<string, double> Weights(RecipeNode node)
    {
        var weights = new Dictionary<string, double>(StringComparer.Ordinal);
        foreach ((string component, string text) in node.Texts("weights"))
        {
            if (!double.TryParse(text, System.Globalization.NumberStyles.Float,
                System.Globalization.CultureInfo.InvariantCulture, out double weight) || !double.IsFinite(weight))
                throw node.Fault($"has the weight '{text}' for '{component}', which is not a number.");
            weights.Add(component, weight);
        }

        return weights;
    }

    private static EvaluationSettings Evaluation(RecipeNode node, string? folder)
    {
        var evaluation = new EvaluationSettings
        {
            Data = Data(node, folder),
            Every = node.Count("every", 1) ?? 50,
            Items = node.Count("items", 1),
            Samples = node.Count("samples", 1) ?? 1,
            Temperature = node.Number("temperature", 0) ?? 0,
            Thinking = node.Choice("thinking", s_thinking),
            MaximumNewTokens = node.Count("max_new_tokens", 1),
        };
        node.Finish();
        return evaluation;
    }

    private static CheckpointSettings Checkpoints(RecipeNode node)
    {
        var checkpoints = new CheckpointSettings
        {
            Every = node.Count("every") ?? 0,
            Keep = node.Count("keep", 1) ?? 3,
            Best = node.Choice(
                "best", ("accuracy", CheckpointCriterion.Accuracy), ("reward", CheckpointCriterion.Reward),
                ("critical_entropy", CheckpointCriterion.CriticalEntropy),
                ("loss", CheckpointCriterion.Loss)) ?? CheckpointCriterion.Accuracy,
            Result = node.Choice("result", ("last", ResultCheckpoint.Last), ("best", ResultCheckpoint.Best))
                ?? ResultCheckpoint.Last,
            SaveState = node.Count("save_state", 1) ?? 20,
        };
        node.Finish();
        return checkpoints;
    }

    /// <summary>What no single key can say.</summary>
    private static void Check(RecipeNode node, Recipe recipe)
    {
        if (recipe.Schedule.Steps is null == recipe.Schedule.Epochs is null)
            throw node.Fault(recipe.Schedule.Steps is null ? "says neither 'steps' nor 'epochs'; give one."
                : "says both 'steps' and 'epochs'; give one.");
        if (recipe.Model is not null && recipe.From is not null)
            throw node.Fault("says both 'model' and 'from'; give one.");
        // Read by no step of another method: who wrote them meant something.
        if (recipe.Method != TrainingMethod.Grpo && node.Has("grpo"))
            throw node.Fault("has 'grpo', which only method 'grpo' reads: leave it out.");
        if (recipe.Method == TrainingMethod.Supervised && node.Has("rewards"))
            throw node.Fault("has 'rewards', which method 'sft' does not read: leave them out.");
        if (recipe.Method == TrainingMethod.Grpo && recipe.Sampling.Group < 2)
            throw node.Fault(
                $"draws groups of {recipe.Sampling.Group}; completions are compared within their group, so it needs " +
                $"at least 2.");
        if (recipe.Schedule.Patience is not null
            && (recipe.Method != TrainingMethod.Supervised || recipe.Evaluation is null))
            throw node.Fault("has 'patience', which needs method 'sft' and an 'evaluation'.");
        if (recipe.Checkpoints.Result == ResultCheckpoint.Best && recipe.Evaluation is null)
            throw node.Fault("takes the best checkpoint as its result, but has no 'evaluation' to compare them by.");
        if (recipe.Checkpoints.Result == ResultCheckpoint.Best && recipe.Checkpoints.Every == 0)
            throw node.Fault(
                "takes the best checkpoint as its result, but saves none before the last: give 'checkpoints.every'.");
        if (recipe.Checkpoints.Best == CheckpointCriterion.Loss && recipe.Method != TrainingMethod.Supervised)
            throw node.Fault("compares checkpoints by loss, which only method 'sft' has.");
    }
}
