using Skylight.Chat;
using Skylight.Ops;

namespace Skylight.Training.Runs;

/// <summary>How a run trains.</summary>
public enum TrainingMethod
{
    /// <summary>Supervised tuning on the assistant's turns of conversations.</summary>
    Supervised,

    /// <summary>Group-relative policy optimisation and its relatives, by rewards.</summary>
    Grpo,

    /// <summary>Supervised tuning on the model's own answers that earned a reward (rejection sampling).</summary>
    Rejection,
}

/// <summary>Which checkpoint of a run is its result.</summary>
public enum ResultCheckpoint
{
    /// <summary>The weights after the last step.</summary>
    Last,

    /// <summary>The best by <see cref="CheckpointSettings.Best"/>.</summary>
    Best,
}

/// <summary>What makes one checkpoint better than another.</summary>
public enum CheckpointCriterion
{
    /// <summary>Accuracy on the evaluation data; of equal ones the earliest.</summary>
    Accuracy,

    /// <summary>The mean reward on the evaluation data.</summary>
    Reward,

    /// <summary>The mean entropy of critical reasoning tokens (Skywork-R1V3, arXiv 2507.06167, section 5.1).</summary>
    CriticalEntropy,

    /// <summary>The loss on the evaluation data, the lowest.</summary>
    Loss,
}

/// <summary>What a run does about a reward that fails.</summary>
public enum FaultPolicy
{
    /// <summary>It stops; what was saved before stays.</summary>
    Stop,

    /// <summary>It leaves the sample's group out, and counts it.</summary>
    Skip,

    /// <summary>The reward counts as 0, and is counted as a fault.</summary>
    Zero,
}

/// <summary>
/// A training run, as a YAML file or text says it (<see cref="RecipeFile"/>, which also sets single keys).
/// docs/recipes.md describes every key.
/// </summary>
public sealed record Recipe
{
    // What a run has written into its folder is this recipe's text, so nothing may differ from it.
    internal Recipe()
    {
    }

    /// <summary>What it is called; the name of its folder where several recipes run in order.</summary>
    public string Name { get; internal init; } = "";

    /// <summary>What it is for, in a line.</summary>
    public string Description { get; internal init; } = "";

    /// <summary>The folder of the model to begin with; null for the result of the recipe before.</summary>
    public string? Model { get; internal init; }

    /// <summary>
    /// The earlier recipe of the same command whose result is the model to begin with; null for the one before.
    /// </summary>
    public string? From { get; internal init; }

    /// <summary>How it trains.</summary>
    public TrainingMethod Method { get; internal init; }

    /// <summary>Everything random follows from it.</summary>
    public ulong Seed { get; internal init; } = 1;

    /// <summary>The learning rate of each module; 0 freezes it.</summary>
    public LearningRates LearningRate { get; internal init; }

    /// <summary>What is trained: the modules with a learning rate.</summary>
    public TrainableModules Modules => RecipeReader.ModulesOf(LearningRate);

    /// <summary>What is trained on.</summary>
    public IReadOnlyList<DataSettings> Data { get; internal init; } = [];

    /// <summary>The most rows that may be unusable.</summary>
    public int BadRows { get; internal init; }

    /// <summary>How examples become prompts.</summary>
    public PromptSettings Prompt { get; internal init; } = new();

    /// <summary>Steps, batches and how the learning rate goes.</summary>
    public ScheduleSettings Schedule { get; internal init; } = new();

    /// <summary>The optimizer, and the memory that a pass may take.</summary>
    public OptimizerSettings Optimizer { get; internal init; } = new();

    /// <summary>How completions are drawn; for methods that draw.</summary>
    public SamplingSettings Sampling { get; internal init; } = new();

    /// <summary>The policy objective; for <see cref="TrainingMethod.Grpo"/>.</summary>
    public GrpoSettings Grpo { get; internal init; } = new();

    /// <summary>What completions earn, by component.</summary>
    public IReadOnlyList<RewardSettings> Rewards { get; internal init; } = [];

    /// <summary>What becomes of a run in which a reward throws or is not a number.</summary>
    public FaultPolicy RewardFaults { get; internal init; } = FaultPolicy.Stop;

    /// <summary>Held-out data that the model is tried on; null for none.</summary>
    public EvaluationSettings? Evaluation { get; internal init; }

    /// <summary>What is saved, and which result counts.</summary>
    public CheckpointSettings Checkpoints { get; internal init; } = new();

    /// <summary>Completions of each step that are written to samples.jsonl; int.MaxValue for all.</summary>
    public int SamplesPerStep { get; internal init; } = 4;

    /// <summary>The recipe as YAML, with what the command line has set.</summary>
    public string Text { get; internal init; } = "";

    /// <summary>Of that text what must be the same when a run goes on.</summary>
    internal string ResumedText { get; init; } = "";
}

/// <summary>A source of examples.</summary>
/// <param name="File">A JSONL or Parquet file, or a pattern of several.</param>
/// <param name="Weight">How often it is drawn from, relative to the others; 0 for as often as it has rows.</param>
/// <param name="Columns">Names of columns by what they are to be, where they are called otherwise.</param>
public sealed record DataSettings(string File, double Weight, IReadOnlyDictionary<string, string> Columns)
{
    /// <summary>Only rows of at least this difficulty.</summary>
    public double? LeastDifficulty { get; init; }

    /// <summary>Only rows of at most this difficulty.</summary>
    public double? MostDifficulty { get; init; }

    /// <summary>
    /// Whether a row is wanted: one that says nothing of its difficulty is not, where a range is asked for.
    /// </summary>
    public bool Includes(Data.TrainingExample example)
    {
        ArgumentNullException.ThrowIfNull(example);
        return (LeastDifficulty is null && MostDifficulty is null)
            || (example.Difficulty >= LeastDifficulty && example.Difficulty <= MostDifficulty);
    }
}

/// <summary>How examples become prompts.</summary>
public sealed record PromptSettings
{
    /// <summary>The system message; null for that of the checkpoint, empty for none.</summary>
    public string? System { get; init; }

    /// <summary>
    /// The chat template by name (<see cref="ConversationEncoder.TemplateOf"/>); null for the checkpoint's.
    /// </summary>
    public string? ChatTemplate { get; init; }

    /// <summary>Whether the prompt opens a think block.</summary>
    public ThinkingMode Thinking { get; init; }

    /// <summary>What is written around a question: <c>{question}</c> stands for it.</summary>
    public string Template { get; init; } = "{question}";

    /// <summary>The most tiles of a picture; null for what the checkpoint says.</summary>
    public int? MaximumTiles { get; init; }

    /// <summary>The most tokens of prompt and completion; null for the context of the checkpoint.</summary>
    public int? MaximumSequence { get; init; }
}

/// <summary>How long a run is.</summary>
public sealed record ScheduleSettings
{
    /// <summary>Optimizer steps; null where epochs say it.</summary>
    public int? Steps { get; init; }

    /// <summary>How often the data is gone through; null where steps say it.</summary>
    public double? Epochs { get; init; }

    /// <summary>Examples of a step; for methods that draw, prompts.</summary>
    public int Batch { get; init; } = 32;

    /// <summary>Steps of linear rise: a number of steps, or below 1 a share of all.</summary>
    public double Warmup { get; init; }

    /// <summary>What follows the rise.</summary>
    public LearningRateDecay Decay { get; init; }

    /// <summary>The share of the highest learning rate that is left at the end of a cosine.</summary>
    public double FinalFraction { get; init; }

    /// <summary>Evaluations without a lower loss after which the run ends; null for never.</summary>
    public int? Patience { get; init; }
}

/// <summary>The optimizer, and the memory that a pass may take.</summary>
public sealed record OptimizerSettings
{
    /// <summary>AdamW's numbers.</summary>
    public OptimizerOptions AdamW { get; init; } = new();

    /// <summary>Samples are run together up to so many tokens.</summary>
    public int MicroBatchTokens { get; init; } = 8192;

    /// <summary>Whether layers are computed again in the backward pass, which needs less memory.</summary>
    public bool Recompute { get; init; }
}

/// <summary>How completions are drawn.</summary>
public sealed record SamplingSettings
{
    /// <summary>The temperature of the first step.</summary>
    public double Temperature { get; init; } = 1;

    /// <summary>The temperature of the last step; it goes from one to the other in a line.</summary>
    public double? FinalTemperature { get; init; }

    /// <summary>The most tokens of a completion, from a step on: the first is of step 0.</summary>
    public IReadOnlyList<(int FromStep, int Tokens)> MaximumNewTokens { get; init; } = [(0, 1024)];

    /// <summary>Completions of a prompt.</summary>
    public int Group { get; init; } = 8;

    /// <summary>
    /// The tokens that the key-value cache holds; null for a quarter of the memory that the weights leave, at most
    /// 16,384.
    /// </summary>
    public int? CacheTokens { get; init; }
}

/// <summary>The policy objective.</summary>
public sealed record GrpoSettings
{
    /// <summary>Its numbers, as the trainer takes them; sampling is set by the step.</summary>
    public GrpoOptions Options { get; init; } = new();

    /// <summary>The reference of the KL term is the model that the run began with.</summary>
    public bool HasReference => Options.Objective.Kl != KlKind.None;

    /// <summary>
    /// Prompts that were solved at least so often are left out from then on, once each was tried; null for none.
    /// </summary>
    public double? DropSolved { get; init; }
}

/// <summary>One reward of a recipe.</summary>
/// <param name="Name">Which one: a name of the library, or the name of a type in <paramref name="Assembly"/>.</param>
/// <param name="Weight">What its component counts in the sum.</param>
/// <param name="Options">Its own settings, as texts.</param>
/// <param name="Assembly">The file of a user's own rewards; null for the library.</param>
public sealed record RewardSettings(string Name, double Weight, IReadOnlyDictionary<string, string> Options,
    string? Assembly = null)
{
    /// <summary>Weights by component, of a reward with several; empty for one.</summary>
    public IReadOnlyDictionary<string, double> Weights { get; init; } = new Dictionary<string, double>();

    /// <summary>What it is called in metrics, where not by its own name; two of one kind need it.</summary>
    public string? Label { get; init; }
}

/// <summary>How a run is tried on held-out data.</summary>
public sealed record EvaluationSettings
{
    /// <summary>The data.</summary>
    public required IReadOnlyList<DataSettings> Data { get; init; }

    /// <summary>Steps from one evaluation to the next; there is one before the first step and one after the last.</summary>
    public int Every { get; init; } = 50;

    /// <summary>The most items; null for all.</summary>
    public int? Items { get; init; }

    /// <summary>Responses to each item.</summary>
    public int Samples { get; init; } = 1;

    /// <summary>The temperature; 0 takes the most likely token.</summary>
    public double Temperature { get; init; }

    /// <summary>Whether the prompt opens a think block; null as in training.</summary>
    public ThinkingMode? Thinking { get; init; }

    /// <summary>The most tokens of a response; null for that of the sampling.</summary>
    public int? MaximumNewTokens { get; init; }
}

/// <summary>What is saved.</summary>
public sealed record CheckpointSettings
{
    /// <summary>Steps from one checkpoint to the next; 0 for the last one alone.</summary>
    public int Every { get; init; }

    /// <summary>How many of the latest are kept; the best is kept too.</summary>
    public int Keep { get; init; } = 3;

    /// <summary>What makes one better than another.</summary>
    public CheckpointCriterion Best { get; init; }

    /// <summary>Which one is the result.</summary>
    public ResultCheckpoint Result { get; init; }

    /// <summary>Steps from one saved state to the next, from which an interrupted run goes on.</summary>
    public int SaveState { get; init; } = 20;
}
