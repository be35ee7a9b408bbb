using System.Text.Json;
using Skylight.Generation;

namespace Skylight.Training.Evaluation;

/// <summary>What an evaluation measured.</summary>
public sealed record EvaluationReport
{
    /// <summary>Entropy, in nats, above which a step counts for <see cref="ShareAboveThreshold"/>.</summary>
    public const double EntropyThreshold = Entropy.CriticalTokens.DefaultThreshold;

    /// <summary>What responses depended on.</summary>
    public required EvaluationSettings Settings { get; init; }

    /// <summary>The accuracy over the items with a response; <see cref="AccuracyInterval.Unknown"/> if all failed.</summary>
    public required AccuracyInterval Accuracy { get; init; }

    /// <summary>How <see cref="Accuracy"/>'s interval is made.</summary>
    public string IntervalMethod { get; init; } = AccuracyInterval.Method;

    /// <summary>Samples of an item.</summary>
    public required int Samples { get; init; }

    /// <summary>
    /// The accuracy of the first sample of all items, of the second, and so on; <see cref="Accuracy"/> is their mean.
    /// </summary>
    public required IReadOnlyList<double> SampleAccuracies { get; init; }

    /// <summary>The accuracy by category, in alphabetical order; empty if no item has one.</summary>
    public required IReadOnlyList<CategoryAccuracy> Categories { get; init; }

    /// <summary>What told the answers, with how many responses and how many right ones.</summary>
    public required IReadOnlyList<RuleCount> Rules { get; init; }

    /// <summary>
    /// The mean entropy of the steps that began a critical token ("Wait", "Alternatively", "Hmm") inside the think
    /// block, in nats; null if none did.
    /// </summary>
    public required double? MeanCriticalEntropy { get; init; }

    /// <summary>How many such steps there were.</summary>
    public required long CriticalTokens { get; init; }

    /// <summary>The mean entropy of all steps, in nats; null if there were none.</summary>
    public required double? MeanEntropy { get; init; }

    /// <summary>The share of steps with an entropy above <see cref="EntropyThreshold"/>; null if there were none.</summary>
    public required double? ShareAboveThreshold { get; init; }

    /// <summary>The mean tokens of a response.</summary>
    public required double MeanTokens { get; init; }

    /// <summary>The mean tokens of a think block.</summary>
    public required double MeanThinkingTokens { get; init; }

    /// <summary>The share of responses that reached the most tokens.</summary>
    public required double TruncatedShare { get; init; }

    /// <summary>The share of responses in which no answer was found.</summary>
    public required double UnansweredShare { get; init; }

    /// <summary>How many responses had a smaller budget than was asked for, because of the context.</summary>
    public required int ShortenedBudgets { get; init; }

    /// <summary>How many responses are wrong; those that failed are not among them.</summary>
    public required int Wrong { get; init; }

    /// <summary>How many responses failed: there is none, so that they are neither right nor wrong.</summary>
    public required int Failures { get; init; }

    /// <summary>The reasons of up to ten of them.</summary>
    public required IReadOnlyList<string> FailureReasons { get; init; }

    /// <summary>Where the model ran.</summary>
    public string Device { get; init; } = "";

    /// <summary>Seconds that this run took, those before it was resumed not counted.</summary>
    public double Seconds { get; init; }

    /// <summary>Tokens that it made for each of its seconds.</summary>
    public double TokensPerSecond { get; init; }

    /// <summary>Sums up.</summary>
    /// <param name="settings">What responses depended on.</param>
    /// <param name="items">The items.</param>
    /// <param name="results">The responses to them, in any order; as many to each item.</param>
    /// <param name="samples">How many to each.</param>
    public static EvaluationReport Of(EvaluationSettings settings, IReadOnlyList<EvaluationItem> items,
        IReadOnlyCollection<EvaluationResult> results, int samples)
    {
        ArgumentNullException.ThrowIfNull(settings);
        ArgumentNullException.ThrowIfNull(items);
        ArgumentNullException.ThrowIfNull(results);
        ILookup<string, EvaluationResult> byItem = results.ToLookup(result => result.Id, StringComparer.Ordinal);
        if (items.FirstOrDefault(item => byItem[item.Id].Count() != samples) is { } incomplete)
            throw new ArgumentException(
                $"The item '{incomplete.Id}' has {byItem[incomplete.Id].Count()} responses, not {samples}.",
                nameof(results));
        // A response that failed says nothing of the model: it is counted, and neither right nor wrong.
        EvaluationResult[] answered = [.. results.Where(result => result.Error is null)];
        long steps = answered.Sum(result => (long)result.CompletionTokens),
            critical = answered.Sum(result => result.Entropy.CriticalCount);
        return new EvaluationReport
        {
            Settings = settings,
            Accuracy = Measure(items),
            Samples = samples,
            SampleAccuracies = [.. answered.GroupBy(result => result.Sample).OrderBy(group => group.Key)
                .Select(group => group.Average(result => result.IsCorrect ? 1.0 : 0))],
            Categories = items.All(item => item.Category is null)
                ? []
                : [.. items.GroupBy(item => item.Category ?? "(none)", StringComparer.Ordinal).OrderBy(
                    group => group.Key, StringComparer.Ordinal).Select(group => Category(group.Key, [.. group]))],
            Rules = [.. answered.GroupBy(result => result.Rule).OrderBy(group => group.Key)
                .Select(group => new RuleCount(group.Key, group.Count(), group.Count(result => result.IsCorrect)))],
            MeanCriticalEntropy = critical == 0 ? null : answered.Sum(result => result.Entropy.CriticalSum) / critical,
            CriticalTokens = critical,
            MeanEntropy = steps == 0 ? null : answered.Sum(result => result.Entropy.Sum) / steps,
            ShareAboveThreshold = steps == 0 ? null : (double)answered.Sum(result => result.Entropy.AboveThreshold) / steps,
            MeanTokens = Mean(answered, result => result.CompletionTokens),
            MeanThinkingTokens = Mean(answered, result => result.ThinkingTokens),
            TruncatedShare = Share(result => result.FinishReason == FinishReason.Length),
            UnansweredShare = Share(result => result.Given is null),
            ShortenedBudgets = results.Count(result => result.Error is null
                && result.TokenBudget < settings.MaxOutputTokens),
            Wrong = answered.Count(result => !result.IsCorrect),
            Failures = results.Count(result => result.Error is not null),
            FailureReasons = [.. results.Where(result => result.Error is not null)
                .OrderBy(result => result.Id, StringComparer.Ordinal).ThenBy(result => result.Sample).Take(10)
                .Select(result => $"{result.Id}: {result.Error}")],
        };

        AccuracyInterval Measure(IEnumerable<EvaluationItem> some)
        {
            (int Right, int Samples)[] counts = [.. some
                .Select(item => (byItem[item.Id].Count(result => result.IsCorrect),
                    byItem[item.Id].Count(result => result.Error is null)))
                .Where(count => count.Item2 > 0)];
            return counts.Length > 0 ? AccuracyInterval.Of(counts) : AccuracyInterval.Unknown;
        }

        static double Mean(IEnumerable<EvaluationResult> some, Func<EvaluationResult, int> value) =>
            some.Select(result => (double)value(result)).DefaultIfEmpty().Average();

        CategoryAccuracy Category(string name, EvaluationItem[] some) =>
            new(name, Measure(some),
                Mean(some.SelectMany(item => byItem[item.Id]).Where(result => result.Error is null),
                    result => result.CompletionTokens));

        double Share(Func<EvaluationResult, bool> holds) => (double)answered.Count(holds) / Math.Max(1, answered.Length);
    }

    /// <summary>The report as JSON.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, ReportJson.Readable.EvaluationReport);
}

/// <summary>The accuracy in a category.</summary>
/// <param name="Name">The category.</param>
/// <param name="Accuracy">The accuracy.</param>
/// <param name="MeanTokens">The mean tokens of a response.</param>
public sealed record CategoryAccuracy(string Name, AccuracyInterval Accuracy, double MeanTokens);

/// <summary>How often a rule told the answer.</summary>
/// <param name="Rule">The rule.</param>
/// <param name="Responses">How many responses.</param>
/// <param name="Right">How many right ones of them.</param>
public sealed record RuleCount(AnswerRule Rule, int Responses, int Right);
