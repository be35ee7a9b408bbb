namespace Skylight.Training.Rewards;

/// <summary>How a <see cref="ModelVerifier"/> asks.</summary>
public sealed record ModelVerifierOptions
{
    /// <summary>
    /// Whether the rule is asked first and what it accepts is right, as in the paper; else the model alone decides.
    /// </summary>
    public bool UseRule { get; init; } = true;

    /// <summary>Whether a right answer counts even if the completion never ended.</summary>
    public bool RewardUnfinished { get; init; }

    /// <summary>Responses that the model judges at once.</summary>
    public int MaximumRequests { get; init; } = 16;

    /// <summary>
    /// What the model sees of a longer response: its last characters, where the final answer stands. A response that
    /// rambles would be longer than the model's context.
    /// </summary>
    public int MaximumCharacters { get; init; } = 8000;

    /// <summary>Verdicts that are kept; 0 for none.</summary>
    public int CacheEntries { get; init; } = 100_000;
}

/// <summary>
/// The accuracy reward of Skywork-R1V3: 1 if the rule or a model says that the answer is right. The model is asked only
/// where the rule says no, and once for equal responses. A reply that is neither yes nor no is a fault of its sample,
/// as is a model that cannot be asked.
/// </summary>
public sealed class ModelVerifier : IFaultingReward, IAsyncDisposable
{
    private readonly IVerifierModel _model;
    private readonly ModelVerifierOptions _options;
    private readonly VerdictCache _cache;
    private readonly SemaphoreSlim _places;
    private readonly Lock _lock = new();
    private VerifierUsage _usage = new(0, 0, 0, 0, 0, 0, 0);

    /// <summary>Makes a verifier.</summary>
    /// <param name="model">The model; disposed with the verifier.</param>
    /// <param name="options">How it is asked.</param>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    public ModelVerifier(IVerifierModel model, ModelVerifierOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        options ??= new ModelVerifierOptions();
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaximumRequests, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaximumCharacters, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(options.CacheEntries);
        (_model, _options, _cache, _places) = (model, options, new VerdictCache(options.CacheEntries),
            new SemaphoreSlim(options.MaximumRequests));
    }

    /// <inheritdoc/>
    public IReadOnlyList<string> Components { get; } = ["verifier"];

    /// <summary>What was done so far.</summary>
    public VerifierUsage Usage
    {
        get
        {
            lock (_lock)
                return _usage;
        }
    }

    /// <inheritdoc/>
    public async ValueTask<double[][]> ScoreAsync(IReadOnlyList<RewardRequest> requests,
        CancellationToken cancellationToken) =>
        RewardRow.AllOrThrow(Components[0], requests, await ((IFaultingReward)this)
            .ScoreEachAsync(requests, stopAtFault: true, cancellationToken).ConfigureAwait(false));

    async ValueTask<RewardRow[]> IFaultingReward.ScoreEachAsync(IReadOnlyList<RewardRequest> requests, bool stopAtFault,
        CancellationToken cancellationToken)
    {
        var rows = new RewardRow[requests.Count];
        var open = new Dictionary<UInt128, Question>();
        for (int sample = 0; sample < rows.Length; sample++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (Settle(requests[sample]) is { } known)
            {
                rows[sample] = known;
                if (stopAtFault && known.Fault is not null)
                    return rows;
                continue;
            }

            Question question = Question.Of(requests[sample], _options.MaximumCharacters);
            UInt128 key = VerdictCache.KeyOf(question.Text, question.Answers, question.Response);
            if (_cache.TryGet(key, out bool isCorrect))
            {
                rows[sample] = RewardRow.Of(isCorrect ? 1 : 0);
                Count(new VerifierUsage(0, 1, 0, 0, 0, 0, 0));
                continue;
            }

            if (!open.TryAdd(key, question))
                question = open[key];
            question.Samples.Add(sample);
        }

        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        await Task.WhenAll(open.Select(pair => AnswerAsync(pair.Key, pair.Value, rows, stopAtFault, stop)))
            .ConfigureAwait(false);
        cancellationToken.ThrowIfCancellationRequested();
        return rows;
    }

    /// <summary>Loads a model that lives in this process; one behind an endpoint has nothing to load.</summary>
    internal Task OpenAsync(CancellationToken cancellationToken) =>
        (_model as ChatModelVerifier)?.OpenAsync(cancellationToken) ?? Task.CompletedTask;

    /// <summary>Disposes the model.</summary>
    public ValueTask DisposeAsync() => RewardSet.DisposeAsync(_model);

    /// <summary>What is certain without the model; null if it must be asked.</summary>
    private RewardRow? Settle(RewardRequest request)
    {
        try
        {
            IReadOnlyList<string> keys = AnswerKey.Of(request);
            if (!request.Finished && !_options.RewardUnfinished)
                return RewardRow.Of(0);
            if (_options.UseRule && AnswerKey.Accepts(request, keys, needsMark: true))
            {
                Count(new VerifierUsage(1, 0, 0, 0, 0, 0, 0));
                return RewardRow.Of(1);
            }

            return ThinkBlock.Answer(request.Turn).IsWhiteSpace() ? RewardRow.Of(0) : null;
        }
        catch (Exception exception)
        {
            return RewardRow.Failed(exception);
        }
    }

    private async Task AnswerAsync(UInt128 key, Question question, RewardRow[] rows, bool stopAtFault,
        CancellationTokenSource stop)
    {
        RewardRow row;
        try
        {
            await _places.WaitAsync(stop.Token).ConfigureAwait(false);
            try
            {
                row = await AskAsync(key, question, stop.Token).ConfigureAwait(false);
            }
            finally
            {
                _places.Release();
            }
        }
        catch (Exception) when (stop.IsCancellationRequested)
        {
            // By the caller, who sees it; or by a fault of another sample, whose row says so: what fails on top of that
            // is no news.
            return;
        }

        foreach (int sample in question.Samples)
            rows[sample] = row;
        if (stopAtFault && row.Fault is not null)
            await stop.CancelAsync().ConfigureAwait(false);
    }

    private async Task<RewardRow> AskAsync(UInt128 key, Question question, CancellationToken cancellationToken)
    {
        int samples = question.Samples.Count;
        try
        {
            VerifierVerdict verdict = await _model.JudgeAsync(question.Text, question.Answers, question.Response,
                cancellationToken).ConfigureAwait(false);
            bool isFault = verdict.IsCorrect is null;
            Count(new VerifierUsage(0, isFault ? 0 : samples - 1, isFault ? 0 : 1, isFault ? samples : 0,
                verdict.Requests, verdict.PromptTokens, verdict.CompletionTokens));
            if (verdict.IsCorrect is not { } isCorrect)
                return RewardRow.Failed(
                    $"the verifier model says neither yes nor no but '{AnswerKey.Shortened(verdict.Text)}'.");
            _cache.Add(key, isCorrect);
            return RewardRow.Of(isCorrect ? 1 : 0);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            Count(new VerifierUsage(0, 0, 0, samples, (exception as VerifierException)?.Requests ?? 1, 0, 0));
            return RewardRow.Failed(exception);
        }
    }

    private void Count(VerifierUsage more)
    {
        lock (_lock)
            _usage += more;
    }

    /// <summary>What the model sees, and for which samples.</summary>
    private sealed record Question(string Text, string[] Answers, string Response)
    {
        public List<int> Samples { get; } = [];

        public static Question Of(RewardRequest request, int mostCharacters)
        {
            string response = ThinkBlock.Answer(request.Turn).Trim().ToString();
            if (response.Length > mostCharacters)
            {
                int start = response.Length - mostCharacters;
                response = "[…] " + response[(char.IsLowSurrogate(response[start]) ? start + 1 : start)..];
            }

            if (request.Options.Count == 0)
                return new Question(request.Question, [.. request.Answers], response);
            string[] options = [.. request.Options.Select((option, index) => $"{(char)('A' + index)}. {option.Trim()}")];
            return new Question($"{request.Question}\n{string.Join('\n', options)}",
                [.. AnswerKey.Of(request).Select(letter => options[letter[0] - 'A'])], response);
        }
    }
}
