using System.Collections.Concurrent;
using System.Diagnostics;
using System.IO.Hashing;
using System.Text;
using Skylight.Chat;
using Skylight.Constraints;
using Skylight.Images;
using Skylight.Training.Data;
using Skylight.Training.Entropy;

namespace Skylight.Training.Evaluation;

/// <summary>How far an evaluation is.</summary>
/// <param name="Done">Responses that are there, those from before it was resumed included.</param>
/// <param name="Total">All responses.</param>
/// <param name="Right">How many of those that are there are right.</param>
/// <param name="Tokens">Tokens made by this run.</param>
/// <param name="Elapsed">Since this run began.</param>
/// <param name="Remaining">What is left at the speed so far; null before the first response.</param>
public sealed record EvaluationProgress(int Done, int Total, int Right, long Tokens, TimeSpan Elapsed, TimeSpan? Remaining)
{
    /// <summary>How many of those that are there failed: they are neither right nor wrong.</summary>
    public int Failed { get; init; }

    /// <summary>Tokens for each second of this run.</summary>
    public double TokensPerSecond => Elapsed > TimeSpan.Zero ? Tokens / Elapsed.TotalSeconds : 0;
}

/// <summary>
/// Puts questions to a model, several at once, and scores its responses. Each response follows from the seed, the item
/// and the sample's number, so that a run that was stopped and resumed gives the same as one that was not.
/// </summary>
public sealed class Evaluator
{
    private const int MostTilesOfAnItem = 64;

    private readonly ChatModel _model;
    private readonly EvaluationOptions _options;
    private readonly CriticalTokens _criticalTokens;

    /// <summary>Makes one.</summary>
    /// <param name="model">The model; stays open.</param>
    /// <param name="options">How it is asked.</param>
    /// <exception cref="ArgumentException">An option is out of its range, or the model refuses it for every
    /// item.</exception>
    public Evaluator(ChatModel model, EvaluationOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        (_model, _options) = (model, options ?? new EvaluationOptions());
        _options.Validate();
        model.CheckOptions(CommonOptions());
        _criticalTokens = new CriticalTokens(model.Tokenizer, threshold: EvaluationReport.EntropyThreshold);
    }

    /// <summary>What responses depend on.</summary>
    /// <param name="items">All items, also those that will not be asked.</param>
    /// <param name="modelFingerprint">Tells the model from others of its name; may be empty.</param>
    public EvaluationSettings SettingsFor(IReadOnlyList<EvaluationItem> items, string modelFingerprint = "") => new(
        _model.Name, modelFingerprint, EvaluationData.Fingerprint(items), _options.Seed, _options.Temperature,
        _options.TopP, _options.RepetitionPenalty, _options.MaxOutputTokens,
        _model.ContextTokens, _options.Prompt, _options.Thinking, string.Join(", ", _options.BannedWords),
        _options.MaximumTiles)
    {
        Scoring = _options.Scoring,
        HoldsChoices = _options.HoldsChoices,
    };

    /// <summary>Asks everything that is not in the folder yet, and reports.</summary>
    /// <param name="items">The items to ask.</param>
    /// <param name="settings">From <see cref="SettingsFor"/>.</param>
    /// <param name="folder">Where responses are kept; null to keep them in memory alone.</param>
    /// <param name="progress">Told a few times each second, from any thread.</param>
    /// <param name="cancellationToken">Stops; responses that are complete are in the folder.</param>
    /// <returns>The report, and all responses by item and sample.</returns>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public async Task<(EvaluationReport Report, IReadOnlyList<EvaluationResult> Results)> RunAsync(
        IReadOnlyList<EvaluationItem> items, EvaluationSettings settings, EvaluationFolder? folder = null,
        IProgress<EvaluationProgress>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(items);
        ArgumentNullException.ThrowIfNull(settings);
        if (items.Count == 0)
            throw new ArgumentException("There are no items to ask.", nameof(items));
        HashSet<string> asked = [.. items.Select(item => item.Id)];
        var results = new ConcurrentDictionary<(string Id, int Sample), EvaluationResult>();
        // A response that failed is tried again: the picture may be there now.
        foreach (EvaluationResult result in folder?.Before.Where(result => result.Error is null
            && asked.Contains(result.Id) && result.Sample < _options.Samples) ?? [])
            results[(result.Id, result.Sample)] = result;
        (EvaluationItem Item,
            int Sample)[] pending = [.. items.SelectMany(item => Enumerable.Range(0, _options.Samples)
                .Select(sample => (item, sample))).Where(pair => !results.ContainsKey((pair.item.Id, pair.sample)))];
        var meter = new Meter(pending.Length, items.Count * _options.Samples, results.Count,
            results.Values.Count(result => result.IsCorrect), progress);
        var parallel = new ParallelOptions
        {
            MaxDegreeOfParallelism = _options.Concurrency,
            CancellationToken = cancellationToken,
        };
        await Parallel.ForEachAsync(pending, parallel, async (pair, token) =>
        {
            EvaluationResult result = await AskAsync(pair.Item, pair.Sample, meter, token).ConfigureAwait(false);
            folder?.Append(result);
            results[(result.Id, result.Sample)] = result;
            meter.Finish(result);
        }).ConfigureAwait(false);
        EvaluationResult[] ordered = [.. items.SelectMany(
            item => Enumerable.Range(0, _options.Samples).Select(sample => results[(item.Id, sample)]))];
        EvaluationProgress end = meter.Now();
        EvaluationReport report = EvaluationReport.Of(settings, items, ordered, _options.Samples);
        return (report with
        {
            Device = _model.Model.Device.Name,
            Seconds = end.Elapsed.TotalSeconds,
            TokensPerSecond = end.TokensPerSecond,
        }, ordered);
    }

    /// <summary>The most tiles of each picture of an item that has several.</summary>
    internal static int MaximumTilesOf(int most, int images) =>
        Math.Min(most, Math.Max(1, MostTilesOfAnItem / Math.Max(1, images)));

    /// <summary>The seed of a response.</summary>
    internal static ulong SeedOf(ulong seed, string id, int sample) =>
        XxHash64.HashToUInt64(Encoding.UTF8.GetBytes($"{seed}\n{sample}\n{id}"));

    /// <summary>What all responses are made with.</summary>
    private GenerationOptions CommonOptions() => new()
    {
        Temperature = _options.Temperature,
        TopP = _options.TopP,
        TopK = 0,
        MinP = 0,
        MinOutputTokens = 0,
        RepetitionPenalty = _options.RepetitionPenalty,
        BannedWords = _options.BannedWords,
        Thinking = _options.Thinking,
        ReportTokens = true,
    };

    private static Constraint LettersOf(EvaluationItem item) =>
        Constraint.Choice([.. item.Options.Select((_, option) => EvaluationItem.Letter(option).ToString())]);

    private async Task<EvaluationResult> AskAsync(EvaluationItem item, int sample, Meter meter,
        CancellationToken cancellationToken)
    {
        var result = new EvaluationResult(item.Id, sample);
        long start = Stopwatch.GetTimestamp();
        int most = _model.Model.Configuration.Preprocessing.MaximumTiles;
        GenerationOptions options = CommonOptions() with
        {
            MaximumTiles = MaximumTilesOf(_options.MaximumTiles ?? most, item.Images.Count),
            Seed = SeedOf(_options.Seed, item.Id, sample),
            Constraint = _options.HoldsChoices && item.IsMultipleChoice ? LettersOf(item) : null,
        };
        bool isPrepared = false;
        try
        {
            IReadOnlyList<Message> messages = item.Conversation
                ?? [.. item.SystemPrompt is null ? Array.Empty<Message>() : [Message.System(item.SystemPrompt)],
                    MmmuPrompt.Write(item, _options.Prompt)];
            // How long the prompt is tells what the context leaves for the response.
            PreparedPrompt prompt = await _model.PrepareAsync(messages, options, cancellationToken).ConfigureAwait(false);
            isPrepared = true;
            int budget = Math.Min(_options.MaxOutputTokens, _model.ContextTokens - prompt.Sequence.Tokens.Length);
            ChatAnswer answer = await AnswerAsync(messages, options with { MaxOutputTokens = budget }, meter,
                cancellationToken).ConfigureAwait(false);
            AnswerScore score = AnswerScoring.Score(item, answer.Answer, _options.Scoring);
            CriticalTokenEntropy entropy = _criticalTokens.Measure(
                [.. answer.Tokens.Select(token => token.Token)], [.. answer.Tokens.Select(token => token.Entropy)],
                prompt.OpensThinking);
            return result with
            {
                IsCorrect = score.IsCorrect,
                Given = score.Given,
                Rule = score.Rule,
                FinishReason = answer.FinishReason,
                Thinking = answer.Thinking,
                Answer = answer.Answer,
                PromptTokens = answer.Usage.PromptTokens,
                CompletionTokens = answer.Usage.CompletionTokens,
                ThinkingTokens = answer.Usage.ThinkingTokens,
                TokenBudget = budget,
                Entropy = EntropySums.Of(entropy),
                Seconds = Stopwatch.GetElapsedTime(start).TotalSeconds,
            };
        }
        catch (Exception exception)
            when (exception is ImageException or InvalidDataException or BadRowException or IOException
                or UnauthorizedAccessException || (exception is ArgumentException && !isPrepared))
        {
            // A fault of this item. What is refused once its prompt is there is refused for all.
            return result with
            {
                Error = PlainMessages.Of(exception),
                Seconds = Stopwatch.GetElapsedTime(start).TotalSeconds,
            };
        }
    }

    private async Task<ChatAnswer> AnswerAsync(IReadOnlyList<Message> messages, GenerationOptions options, Meter meter,
        CancellationToken cancellationToken)
    {
        StringBuilder thinking = new(), answer = new();
        var tokens = new List<TokenDetail>();
        GenerationUpdate? last = null;
        await foreach (
            GenerationUpdate update in _model.GenerateAsync(messages, options, cancellationToken).ConfigureAwait(false))
        {
            (update.Kind == UpdateKind.Thinking ? thinking : answer).Append(update.Text);
            tokens.AddRange(update.Tokens);
            meter.Add(update.Tokens.Count);
            last = update;
        }

        return new ChatAnswer(thinking.ToString(), answer.ToString(), tokens, last!.FinishReason!.Value, last.Usage!);
    }

    /// <summary>Counts, and reports not too often.</summary>
    private sealed class Meter(int pending, int total, int done, int right, IProgress<EvaluationProgress>? progress)
    {
        private static readonly TimeSpan s_interval = TimeSpan.FromSeconds(0.25);

        private readonly Lock _gate = new();
        private readonly long _start = Stopwatch.GetTimestamp();
        private long _reported = Stopwatch.GetTimestamp();
        private int _finished;
        private int _right = right;
        private int _failed;
        private long _tokens;

        public void Add(int tokens)
        {
            lock (_gate)
            {
                _tokens += tokens;
                Report(always: false);
            }
        }

        public void Finish(EvaluationResult result)
        {
            lock (_gate)
            {
                _finished++;
                _right += result.IsCorrect ? 1 : 0;
                _failed += result.Error is null ? 0 : 1;
                Report(always: _finished == pending);
            }
        }

        public EvaluationProgress Now()
        {
            lock (_gate)
            {
                TimeSpan elapsed = Stopwatch.GetElapsedTime(_start);
                return new EvaluationProgress(done + _finished, total, _right, _tokens, elapsed, _finished == 0 ? null
                    : elapsed / _finished * (pending - _finished))
                { Failed = _failed };
            }
        }

        private void Report(bool always)
        {
            if (progress is null || (!always && Stopwatch.GetElapsedTime(_reported) < s_interval))
                return;
            _reported = Stopwatch.GetTimestamp();
            progress.Report(Now());
        }
    }
}
