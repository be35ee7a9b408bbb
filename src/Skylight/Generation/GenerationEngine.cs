using Skylight.Execution;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Generation;

/// <summary>A prompt to complete.</summary>
/// <param name="Prompt">Tokens and pictures.</param>
/// <param name="Count">How many completions to draw; the prompt is run once for all of them.</param>
/// <param name="Stream">Tells this prompt's random numbers from those of others.</param>
public sealed record GenerationRequest(TokenSequence Prompt, int Count = 1, ulong Stream = 0);

/// <summary>Why a completion ended.</summary>
public enum FinishReason
{
    /// <summary>A stop token was chosen.</summary>
    Stop,

    /// <summary>The most new tokens were reached.</summary>
    Length,
}

/// <summary>What a model wrote.</summary>
/// <param name="Tokens">The new tokens, the stop token included.</param>
/// <param name="LogProbabilities">Of each token in the distribution it was drawn from, before top-k and top-p; nats.</param>
/// <param name="Entropies">Of those distributions; nats.</param>
/// <param name="FinishReason">Why it ended.</param>
public sealed record Completion(int[] Tokens, float[] LogProbabilities, float[] Entropies, FinishReason FinishReason);

/// <summary>
/// Runs many completions of one model at once over a paged key-value cache: prompts join between decode steps as pages become
/// free, and leave when they are done. A completion's tokens and log-probabilities do not depend on what else runs.
/// Not safe for use by several threads at once.
/// </summary>
public sealed class GenerationEngine : IDisposable
{
    private const int MaximumSteps = 96;

    private readonly VisionLanguageModel _model;
    private readonly KeyValueCache _cache;
    private readonly Workspace _workspace;
    private readonly Dictionary<StepShape, GenerationStep> _steps = [];
    private readonly int _prefillTokens;

    /// <summary>Makes an engine.</summary>
    /// <param name="model">The model; its weights are read at every step, so that training them is seen at once.</param>
    /// <param name="cacheTokens">How many tokens the cache holds.</param>
    /// <param name="prefillTokens">How many prompt tokens are run together at most (a longer prompt runs alone).</param>
    public GenerationEngine(VisionLanguageModel model, int cacheTokens, int prefillTokens = 4096)
    {
        ArgumentNullException.ThrowIfNull(model);
        _model = model;
        _cache = new KeyValueCache(model.Configuration.Language, model.Device, KeyValueCache.PagesFor(cacheTokens));
        _workspace = new Workspace(model.Device);
        _prefillTokens = prefillTokens;
    }

    /// <summary>Called after every decode step with the number of completions that run and tokens made so far.</summary>
    public Action<int, long>? Progress { get; set; }

    /// <summary>The pages of the cache that nobody uses.</summary>
    internal int FreePages => _cache.FreePages;

    /// <summary>Completes prompts.</summary>
    /// <param name="requests">The prompts.</param>
    /// <param name="options">How tokens are chosen.</param>
    /// <param name="cancellationToken">Checked between steps; all pages are given back.</param>
    /// <returns>For each request its completions.</returns>
    /// <exception cref="ArgumentException">A prompt is empty, can never fit the cache, or is longer than the model's positions.</exception>
    public IReadOnlyList<Completion[]> Generate(IReadOnlyList<GenerationRequest> requests, SamplingOptions options, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(requests);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        foreach (GenerationRequest request in requests)
            CheckFits(request, options);

        var results = requests.Select(request => new Completion[request.Count]).ToArray();
        var waiting = new Queue<int>(Enumerable.Range(0, requests.Count));
        var running = new List<RunningSequence>();
        long tokens = 0;
        try
        {
            while (waiting.Count > 0 || running.Count > 0)
            {
                cancellationToken.ThrowIfCancellationRequested();
                if (Admit(requests, waiting, options, running) is { Count: > 0 } admitted)
                {
                    Prefill(requests, admitted, options, running, cancellationToken);
                    tokens += admitted.Sum(index => requests[index].Count);
                }
                else
                {
                    Decode(running, options, cancellationToken);
                    tokens += running.Count;
                }

                Retire(running, results);
                Progress?.Invoke(running.Count, tokens);
            }
        }
        finally
        {
            foreach (RunningSequence sequence in running)
                sequence.Release(_cache);
        }

        return results;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _cache.Dispose();
        _workspace.Dispose();
    }

    /// <summary>The most pages a request can come to use.</summary>
    private static int WorstCasePages(GenerationRequest request, SamplingOptions options)
    {
        int prompt = request.Prompt.Tokens.Length, shared = prompt / PagedAttention.PageSize;
        return KeyValueCache.PagesFor(prompt) + request.Count * (KeyValueCache.PagesFor(prompt + options.MaxNewTokens) - shared);
    }

    private void CheckFits(GenerationRequest request, SamplingOptions options)
    {
        int prompt = request.Prompt.Tokens.Length;
        if (prompt == 0)
            throw new ArgumentException("A prompt needs at least one token.");
        if (request.Count < 1)
            throw new ArgumentException($"A request needs at least one completion, not {request.Count}.");
        int positions = _model.Configuration.Language.MaxPositions;
        if (prompt + options.MaxNewTokens > positions)
            throw new ArgumentException($"A prompt of {prompt} tokens with up to {options.MaxNewTokens} new ones exceeds the model's {_model.Configuration.Language.DescribePositions()}.");
        int pages = WorstCasePages(request, options);
        if (pages > _cache.PageCount)
            throw new ArgumentException($"{request.Count} completions of {prompt} + {options.MaxNewTokens} tokens can need {pages} pages of {PagedAttention.PageSize} tokens, but the cache has {_cache.PageCount}.");
    }

    /// <summary>The waiting requests that fit now, up to the prefill limit, with pages for the worst case set aside.</summary>
    private List<int> Admit(IReadOnlyList<GenerationRequest> requests, Queue<int> waiting, SamplingOptions options, List<RunningSequence> running)
    {
        var admitted = new List<int>();
        int available = _cache.FreePages - running.Sum(sequence => sequence.PagesToCome);
        int tokens = 0;
        while (waiting.TryPeek(out int index))
        {
            GenerationRequest request = requests[index];
            int pages = WorstCasePages(request, options), length = request.Prompt.Tokens.Length;
            bool sameSize = admitted.Count == 0 || SameImageSize(requests[admitted[0]].Prompt, request.Prompt);
            if (pages > available || (admitted.Count > 0 && tokens + length > _prefillTokens) || !sameSize)
                break;
            available -= pages;
            tokens += length;
            admitted.Add(waiting.Dequeue());
        }

        return admitted;
    }

    private static bool SameImageSize(TokenSequence left, TokenSequence right) =>
        left.Images.Count == 0 || right.Images.Count == 0 || (left.Images[0].Height, left.Images[0].Width) == (right.Images[0].Height, right.Images[0].Width);

    private void Prefill(IReadOnlyList<GenerationRequest> requests, List<int> admitted, SamplingOptions options, List<RunningSequence> running, CancellationToken cancellationToken)
    {
        var batch = PackedBatch.Pack([.. admitted.Select(index => requests[index].Prompt)], _model.Configuration, tokenMultiple: 32);
        int[][] prompts = new int[admitted.Count][];
        int sequences = BucketOf(admitted.Count), width = BucketOf(admitted.Max(index => KeyValueCache.PagesFor(requests[index].Prompt.Tokens.Length)));
        var slots = new int[batch.Shape.Tokens];
        var table = new int[sequences * width];
        int[] starts = new int[sequences + 1], lengths = new int[sequences], lastRows = new int[sequences];
        Array.Fill(slots, -1);
        try
        {
            for (int row = 0; row < admitted.Count; row++)
            {
                int length = requests[admitted[row]].Prompt.Tokens.Length;
                prompts[row] = new int[KeyValueCache.PagesFor(length)];
                for (int page = 0; page < prompts[row].Length; page++)
                    table[row * width + page] = prompts[row][page] = _cache.Take();
                for (int position = 0; position < length; position++)
                    slots[batch.Starts[row] + position] = Slot(prompts[row], position);
                starts[row] = batch.Starts[row];
                lengths[row] = length;
                lastRows[row] = batch.Starts[row + 1] - 1;
            }

            Array.Fill(starts, batch.Starts[^1], admitted.Count, starts.Length - admitted.Count);
            var shape = new StepShape(batch.Shape.Tokens, sequences, width, batch.Shape.Images, batch.Shape.ImageHeight, batch.Shape.ImageWidth, options.ScoreTemperature);
            GenerationStep.Result result = Step(shape).Run(
                new GenerationStep.Inputs(batch.Tokens, batch.Positions, starts, lengths, slots, table, lastRows, batch.FeatureIndex, batch.Pixels), cancellationToken);
            for (int row = 0; row < admitted.Count; row++)
                Fork(requests[admitted[row]], admitted[row], prompts[row], row, result, options, running);
        }
        finally
        {
            // The completions hold the shared pages now (or nobody does, after an error).
            foreach (int page in prompts.Where(pages => pages is not null).SelectMany(pages => pages))
                _cache.Return(page);
        }
    }

    /// <summary>Starts a request's completions on the pages of its prompt: full pages are shared, the last partial one is copied.</summary>
    private void Fork(GenerationRequest request, int requestIndex, int[] promptPages, int row, in GenerationStep.Result result, SamplingOptions options, List<RunningSequence> running)
    {
        int length = request.Prompt.Tokens.Length, full = length / PagedAttention.PageSize;
        for (int completion = 0; completion < request.Count; completion++)
        {
            var sequence = new RunningSequence(requestIndex, completion, length, KeyValueCache.PagesFor(length + options.MaxNewTokens),
                new CounterRandom(options.Seed, StreamOf(request.Stream, completion)));
            running.Add(sequence);
            for (int page = 0; page < full; page++)
            {
                _cache.Share(promptPages[page]);
                sequence.Pages.Add(promptPages[page]);
            }

            if (promptPages.Length > full)
            {
                int copy = _cache.Take();
                sequence.Pages.Add(copy);
                _cache.Copy(promptPages[full], copy);
            }

            Choose(sequence, row, result, options);
        }
    }

    private void Decode(List<RunningSequence> running, SamplingOptions options, CancellationToken cancellationToken)
    {
        int count = running.Count, sequences = BucketOf(count);
        foreach (RunningSequence sequence in running)
        {
            if (sequence.Pages.Count < KeyValueCache.PagesFor(sequence.Length + 1))
                sequence.Pages.Add(_cache.Take());
        }

        int width = BucketOf(running.Max(sequence => sequence.Pages.Count));
        int[] tokens = new int[sequences], positions = new int[sequences], starts = new int[sequences + 1], lengths = new int[sequences];
        int[] slots = new int[sequences], table = new int[sequences * width], lastRows = new int[sequences];
        Array.Fill(slots, -1);
        for (int row = 0; row < count; row++)
        {
            RunningSequence sequence = running[row];
            tokens[row] = sequence.Tokens[^1];
            positions[row] = sequence.Length;
            slots[row] = Slot(sequence.Pages, sequence.Length);
            starts[row] = lastRows[row] = row;
            lengths[row] = ++sequence.Length;
            for (int page = 0; page < sequence.Pages.Count; page++)
                table[row * width + page] = sequence.Pages[page];
        }

        Array.Fill(starts, count, count, starts.Length - count);
        GenerationStep.Result result = Step(new StepShape(sequences, sequences, width, 0, 0, 0, options.ScoreTemperature)).Run(
            new GenerationStep.Inputs(tokens, positions, starts, lengths, slots, table, lastRows, [], []), cancellationToken);
        for (int row = 0; row < count; row++)
            Choose(running[row], row, result, options);
    }

    private void Choose(RunningSequence sequence, int row, in GenerationStep.Result result, SamplingOptions options)
    {
        int vocabulary = _model.Configuration.Language.VocabularySize;
        ReadOnlySpan<float> logits = result.Logits.AsSpan(row * vocabulary, vocabulary);
        int token = Sampler.Draw(logits, result.Maximum[row], options, sequence.Random.NextDouble());
        float score = options.ScoreTemperature == 1f ? logits[token] : logits[token] / options.ScoreTemperature;
        sequence.Tokens.Add(token);
        sequence.LogProbabilities.Add(score - result.Maximum[row] - result.LogSum[row]);
        sequence.Entropies.Add(result.Entropy[row]);
        if (options.StopTokens.Contains(token))
            sequence.Finished = FinishReason.Stop;
        else if (sequence.Tokens.Count >= options.MaxNewTokens)
            sequence.Finished = FinishReason.Length;
    }

    private void Retire(List<RunningSequence> running, Completion[][] results)
    {
        foreach (RunningSequence sequence in running)
        {
            if (sequence.Finished is not { } reason)
                continue;
            results[sequence.Request][sequence.Completion] = new Completion([.. sequence.Tokens], [.. sequence.LogProbabilities], [.. sequence.Entropies], reason);
            sequence.Release(_cache);
        }

        running.RemoveAll(sequence => sequence.Finished is not null);
    }

    private GenerationStep Step(StepShape shape)
    {
        if (_steps.TryGetValue(shape, out GenerationStep? step))
            return step;
        if (_steps.Count >= MaximumSteps)
            _steps.Clear();
        step = new GenerationStep(_model, _cache, _workspace, shape);
        _steps.Add(shape, step);
        return step;
    }

    /// <summary>Rounds up to 1, 2, 3, 4, 6, 8, 12, 16, 24 …, so that few plans serve all sizes.</summary>
    private static int BucketOf(int count)
    {
        int bucket = 1;
        while (bucket < count)
        {
            if (bucket + bucket / 2 >= count && bucket > 1)
                return bucket + bucket / 2;
            bucket *= 2;
        }

        return bucket;
    }

    private static int Slot(IReadOnlyList<int> pages, int position) =>
        pages[position / PagedAttention.PageSize] * PagedAttention.PageSize + position % PagedAttention.PageSize;

    private static ulong StreamOf(ulong request, int completion) => request * 0x9E3779B97F4A7C15UL + (ulong)completion;

    /// <summary>A completion in the making.</summary>
    private sealed class RunningSequence(int request, int completion, int length, int mostPages, CounterRandom random)
    {
        public CounterRandom Random = random;

        public int Request { get; } = request;

        public int Completion { get; } = completion;

        /// <summary>The tokens whose keys and values are in the cache.</summary>
        public int Length { get; set; } = length;

        public List<int> Pages { get; } = [];

        public List<int> Tokens { get; } = [];

        public List<float> LogProbabilities { get; } = [];

        public List<float> Entropies { get; } = [];

        public FinishReason? Finished { get; set; }

        public int PagesToCome => mostPages - Pages.Count;

        public void Release(KeyValueCache cache)
        {
            foreach (int page in Pages)
                cache.Return(page);
            Pages.Clear();
        }
    }
}
