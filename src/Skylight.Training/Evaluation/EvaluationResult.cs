using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Skylight.Chat;
using Skylight.Generation;
using Skylight.Training.Entropy;

namespace Skylight.Training.Evaluation;

/// <summary>A response and its score; a line of <c>results.jsonl</c>.</summary>
/// <param name="Id">The item.</param>
/// <param name="Sample">The number of the response, from 0.</param>
public sealed record EvaluationResult(string Id, int Sample)
{
    /// <summary>Whether it is right.</summary>
    public bool IsCorrect { get; init; }

    /// <summary>The answer that was found in it; null if none was.</summary>
    public string? Given { get; init; }

    /// <summary>What it was found by.</summary>
    public AnswerRule Rule { get; init; }

    /// <summary>Why the response ended; null if it failed.</summary>
    [JsonPropertyName("end")]
    public FinishReason? FinishReason { get; init; }

    /// <summary>The text of its think block.</summary>
    public string Thinking { get; init; } = "";

    /// <summary>The text after it.</summary>
    public string Answer { get; init; } = "";

    /// <summary>Tokens of the prompt, those of pictures included.</summary>
    public int PromptTokens { get; init; }

    /// <summary>Tokens of the response.</summary>
    public int CompletionTokens { get; init; }

    /// <summary>Those of them that are in the think block.</summary>
    public int ThinkingTokens { get; init; }

    /// <summary>The most tokens that the response could have; less than was asked for where the context left less.</summary>
    public int TokenBudget { get; init; }

    /// <summary>Its entropy, in nats.</summary>
    public EntropySums Entropy { get; init; } = new(0, 0, 0, 0);

    /// <summary>Seconds from its start to its end, beside whatever else ran.</summary>
    public double Seconds { get; init; }

    /// <summary>
    /// Why there is no response; null if there is one. It is neither right nor wrong, and resuming tries again.
    /// </summary>
    public string? Error { get; init; }
}

/// <summary>Sums of entropies over the steps of a response, in nats.</summary>
/// <param name="CriticalSum">Over the steps that emitted a critical token.</param>
/// <param name="CriticalCount">How many such steps there were.</param>
/// <param name="Sum">Over all steps.</param>
/// <param name="AboveThreshold">How many of all steps had more than <see cref="EvaluationReport.EntropyThreshold"/>.</param>
public sealed record EntropySums(double CriticalSum, long CriticalCount, double Sum, long AboveThreshold)
{
    internal static EntropySums Of(CriticalTokenEntropy entropy) =>
        new(entropy.CriticalSum, entropy.CriticalCount, entropy.EntropySum, entropy.AboveThresholdCount);
}

/// <summary>What responses depend on; a run is resumed only with the same.</summary>
/// <param name="Model">What the model is called.</param>
/// <param name="ModelFingerprint">Tells it from others of the name.</param>
/// <param name="Data">The fingerprint of the items.</param>
/// <param name="Seed">As in <see cref="EvaluationOptions"/>, like all that follow.</param>
/// <param name="Temperature">The temperature.</param>
/// <param name="TopP">Top-p.</param>
/// <param name="RepetitionPenalty">The repetition penalty.</param>
/// <param name="MaxOutputTokens">The most tokens of a response.</param>
/// <param name="ContextTokens">The most tokens of prompt and response.</param>
/// <param name="Prompt">How questions are put.</param>
/// <param name="Thinking">Whether the model thinks first.</param>
/// <param name="BannedWords">Words that are never written.</param>
/// <param name="MaximumTiles">The most tiles of a picture; null for the checkpoint's.</param>
public sealed record EvaluationSettings(
    string Model, string ModelFingerprint, string Data, ulong Seed, float Temperature, float TopP,
    float RepetitionPenalty, [property: JsonPropertyName("maxNewTokens")] int MaxOutputTokens, int ContextTokens,
    PromptStyle Prompt, ThinkingMode Thinking, string BannedWords, int? MaximumTiles)
{
    /// <summary>
    /// Counts how often seeds or fingerprints have come to be computed in another way; what was written before there
    /// was a number has none.
    /// </summary>
    internal const int CurrentVersion = 2;

    /// <summary>
    /// How seeds and fingerprints were computed: folders of another version are not resumed, because their responses
    /// would be drawn from other seeds.
    /// </summary>
    public int Version { get; init; } = CurrentVersion;

    /// <summary>The rules that responses are scored by.</summary>
    public ScoringRules Scoring { get; init; }

    /// <summary>Whether responses to items with options were held to the letter of one of them.</summary>
    public bool HoldsChoices { get; init; }
}

/// <summary>JSON of evaluations: camel case, enumerations by name.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true,
    RespectNullableAnnotations = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(EvaluationResult))]
internal sealed partial class ResultJson : JsonSerializerContext
{
    /// <summary>Leaves what is not ASCII as it is, for the files are read by people and never put into a page.</summary>
    public static ResultJson Readable =>
        field ??= new(new JsonSerializerOptions(Default.Options!) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
}

/// <summary>The same, laid out for people.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, UseStringEnumConverter = true,
    WriteIndented = true)]
[JsonSerializable(typeof(EvaluationReport))]
[JsonSerializable(typeof(EvaluationSettings))]
internal sealed partial class ReportJson : JsonSerializerContext
{
    /// <inheritdoc cref="ResultJson.Readable"/>
    public static ReportJson Readable =>
        field ??= new(new JsonSerializerOptions(Default.Options!) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
}
