using System.Collections.Frozen;
using System.Numerics.Tensors;
using System.Runtime.ExceptionServices;
using Skylight.Execution;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Generation;

/// <summary>
/// Runs many completions of one model at once over a paged key-value cache. Requests join and leave between steps: a
/// step runs one token of every completion in progress together with the next part of the prompts that are being read.
/// A completion's tokens and log-probabilities do not depend on what else runs, nor on how its prompt was cut. Not safe
/// for use by several threads at once;
/// <see cref="GenerationService"/> is.
/// </summary>
/// <example>
/// <code>
/// using var engine = new GenerationEngine(model, cacheTokens: 2048);
/// var sampling = new SamplingOptions { MaxOutputTokens = 64, StopTokens = model.Configuration.StopTokenIds, Seed = 1 };
/// Completion completion = engine.Generate([new GenerationRequest(new TokenSequence(tokens))], sampling)[0][0];
/// </code>
/// </example>
public sealed class GenerationEngine : IDisposable
{
    /// <summary>How many prompt tokens are run together unless another number is given.</summary>
    internal const int DefaultPrefillTokens = 4096;

    private const int MostPatchesOfEncoding = 4096;

    private readonly VisionLanguageModel _model;
    private readonly KeyValueCache _cache;
    private readonly Workspace _workspace;
    private readonly PlanCache<StepShape, GenerationStep> _steps;
    private readonly PlanCache<ImageEncodingShape, ImageEncodingStep> _encodings;
    private readonly ImageFeatureStore _features;
    private readonly bool _cachesPrefixes;
    private readonly int _prefillTokens;
    private readonly LinkedList<RequestRun> _waiting = [];
    private readonly List<RequestRun> _reading = [];
    private readonly List<SequenceRun> _writing = [];
    private long _weightsVersion;

    /// <summary>Makes an engine.</summary>
    /// <param name="model">The model; its weights are read at every step, so that training them is seen at once.</param>
    /// <param name="cacheTokens">How many tokens the cache holds.</param>
    /// <param name="prefillTokens">How many prompt tokens are run together at most; longer prompts are run in parts.</param>
    /// <param name="imageCacheBytes">How many bytes of image features are kept for later requests that hold the same
    /// picture. 0, the default, where the model is trained between requests: what is kept is forgotten at the first
    /// step after the weights have changed.</param>
    /// <param name="cachePrefixes">Whether pages that nobody uses any more are kept while there is room, so that a
    /// prompt that begins like an earlier one, the next turn of a conversation say, is read only from where they
    /// differ. Not where the model is trained between requests, either.</param>
    /// <param name="keyValueType">The data type of the cache: <see cref="DataType.Int8"/> takes little more than half the
    /// memory of bfloat16, for slightly other probabilities. What the device has for the model if null, and only so may
    /// completions be trained on by their probabilities.</param>
    /// <exception cref="NotSupportedException">The device keeps no such caches, or the model's heads do not fit.</exception>
    public GenerationEngine(VisionLanguageModel model, int cacheTokens, int prefillTokens = DefaultPrefillTokens,
        long imageCacheBytes = 0, bool cachePrefixes = false, DataType? keyValueType = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentOutOfRangeException.ThrowIfLessThan(prefillTokens, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(imageCacheBytes);
        _model = model;
        _cache = new KeyValueCache(model, KeyValueCache.PagesFor(cacheTokens), keyValueType);
        _workspace = new Workspace(model.Device);
        _steps = new PlanCache<StepShape, GenerationStep>(shape => new GenerationStep(model, _cache, _workspace, shape));
        _encodings = new PlanCache<ImageEncodingShape,
            ImageEncodingStep>(shape => new ImageEncodingStep(model, _workspace, shape));
        _features = new ImageFeatureStore(imageCacheBytes);
        _prefillTokens = prefillTokens;
        _cachesPrefixes = cachePrefixes;
        _weightsVersion = model.Parameters.Version;
    }

    /// <summary>
    /// Called after every step with the number of completions that run and the tokens that <see cref="Generate"/> has
    /// made so far.
    /// </summary>
    public Action<int, long>? Progress { get; set; }

    /// <summary>
    /// How many prompt tokens are run together at most while completions are being written, which wait for them.
    /// </summary>
    public int PrefillTokensBesideDecoding { get; init; } = int.MaxValue;

    /// <summary>Where the model lives.</summary>
    internal Device Device => _model.Device;

    /// <summary>Whether a request is waiting or running.</summary>
    public bool HasWork => _waiting.Count + _reading.Count + _writing.Count > 0;

    /// <summary>Requests that wait for pages.</summary>
    public int WaitingRequests => _waiting.Count;

    /// <summary>Requests whose prompt is being read.</summary>
    public int ReadingRequests => _reading.Count;

    /// <summary>Completions that are being written.</summary>
    public int WritingSequences => _writing.Count;

    /// <summary>The data type of the cache.</summary>
    public DataType KeyValueType => _cache.Type;

    /// <summary>The pages of the cache.</summary>
    public int PageCount => _cache.PageCount;

    /// <summary>The pages of the cache that nobody uses, those included that are kept for prompts to come.</summary>
    public int FreePages => _cache.FreePages;

    /// <summary>The pages of the cache that nobody uses and that are kept for prompts to come.</summary>
    public int KeptPages => _cache.KeptPages;

    /// <summary>The bytes of image features that are kept for later requests.</summary>
    public long ImageCacheBytes => _features.KeptBytes;

    /// <summary>Pictures encoded since the engine was made; those found again are not counted.</summary>
    public long EncodedImages { get; private set; }

    /// <summary>Tokens that were guessed since the engine was made (<see cref="SamplingOptions.SpeculativeTokens"/>).</summary>
    public long GuessedTokens { get; private set; }

    /// <summary>Those of them that were right: each saved its completion a pass.</summary>
    public long AcceptedTokens { get; private set; }

    /// <summary>The plans of steps.</summary>
    internal PlanCache<StepShape, GenerationStep> Plans => _steps;

    /// <summary>
    /// Puts a request into the queue; requests are admitted in this order, when the pages of their worst case are free.
    /// </summary>
    /// <param name="request">The prompt.</param>
    /// <param name="options">How its tokens are chosen.</param>
    /// <param name="onToken">Called within <see cref="Step"/> with every new token. What it throws fails the request,
    /// and no other.</param>
    /// <exception cref="ArgumentException">The prompt is empty, does not fit its pictures, can never fit the cache, or
    /// is longer than the model's positions; or no answer can have the form that is asked for.</exception>
    public RequestRun Add(GenerationRequest request, SamplingOptions options, Action<GeneratedToken>? onToken = null)
    {
        ArgumentNullException.ThrowIfNull(request);
        ArgumentNullException.ThrowIfNull(options);
        // The caller's lists may change while the request runs: what is not valid any more would fail everybody's step.
        request = request with
        {
            Prompt = request.Prompt with { Tokens = [.. request.Prompt.Tokens], Images = [.. request.Prompt.Images] },
        };
        options = options with { StopTokens = [.. options.StopTokens], LogitBias = options.LogitBias.ToFrozenDictionary() };
        options.Validate();
        RequestRun run = Check(request, options, onToken);
        _waiting.AddLast(run);
        return run;
    }

    /// <summary>
    /// Ends a request, wherever it is; its pages are free at once. Nothing happens if it has ended already.
    /// </summary>
    public void Remove(RequestRun run)
    {
        ArgumentNullException.ThrowIfNull(run);
        run.HasLeft = true;
        _waiting.Remove(run);
        if (_reading.Remove(run))
            EndReading(run);
        foreach (SequenceRun sequence in _writing.Where(sequence => sequence.Run == run))
            Release(sequence.Pages);
        _writing.RemoveAll(sequence => sequence.Run == run);
    }

    /// <summary>
    /// Admits what fits, encodes some pictures if a prompt waits for them, and runs the model once. Returns at once if
    /// there is nothing to do. What goes wrong with one request, features or logits that are not finite or a callback
    /// that throws, ends that request with a <see cref="RequestRun.Failure"/>.
    /// </summary>
    /// <param name="cancellationToken">Stops within the step. The requests are then where they were before it, and the
    /// step may be run again.</param>
    public void Step(CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        ForgetWhatIsStale();
        Admit();
        EncodeImages(cancellationToken);
        if (StepBatch.Compose(_model.Configuration, _cache, _writing, _reading, Budget) is not { } batch)
            return;
        GenerationStep.Result result = _steps.Get(batch.Shape).Run(batch.Inputs, cancellationToken);
        int next = 0;
        foreach (StepRow row in batch.Rows)
        {
            // Of a completion the first: whether the guess behind it came true shows when its tokens are taken.
            int lowest = TensorPrimitives.Min<int>(result.Tokens.AsSpan(next, row.Sequence is null ? row.DrawCount : 1));
            next += row.DrawCount;
            if (lowest < 0)
                Fail(row.Run, LogitsNotFiniteException.After(row, lowest == SampleTokens.NothingToDraw));
            else if (row.Sequence is null && !row.Run.HasLeft)
                Advance(row);
        }

        next = 0;
        foreach (StepRow row in batch.Rows)
        {
            if (row.Sequence is not null)
                TakeDrawn(row, result, next);
            for (int draw = next; row.Sequence is null && draw < next + row.DrawCount; draw++)
            {
                if (batch.Drawing[draw].Sequence is { Run.HasLeft: false } sequence)
                    Accept(sequence, result, draw, 0, 0);
            }

            next += row.DrawCount;
        }

        _writing.RemoveAll(sequence => sequence.Finished is not null);
    }

    /// <summary>Completes prompts.</summary>
    /// <param name="requests">The prompts.</param>
    /// <param name="options">How tokens are chosen.</param>
    /// <param name="cancellationToken">Stops within a step; all pages are given back.</param>
    /// <returns>For each request its completions.</returns>
    /// <exception cref="ArgumentException">A prompt is empty, can never fit the cache, or is longer than the model's
    /// positions.</exception>
    /// <exception cref="LogitsNotFiniteException">Logits are not finite; the message names the request.</exception>
    /// <exception cref="ImageFeaturesNotFiniteException">So are the features of a picture; likewise.</exception>
    public IReadOnlyList<Completion[]> Generate(IReadOnlyList<GenerationRequest> requests, SamplingOptions options,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(requests);
        long tokens = 0;
        var runs = new List<RequestRun>(requests.Count);
        try
        {
            foreach (GenerationRequest request in requests)
                runs.Add(Add(request, options, _ => tokens++));
            while (runs.Exists(run => !run.IsFinished))
            {
                Step(cancellationToken);
                for (int index = 0; index < runs.Count; index++)
                    ThrowFailure(runs[index], index);
                Progress?.Invoke(_writing.Count, tokens);
            }
        }
        finally
        {
            foreach (RequestRun run in runs)
                Remove(run);
        }

        return [.. runs.Select(run => run.Completions.Select(completion => completion!).ToArray())];
    }

    /// <summary>
    /// Forgets the image features and the pages that are kept. Not needed where weights have changed: the engine sees
    /// at its next step that a parameter has another <see cref="Graphs.PersistentTensor.Version"/>, and forgets by itself.
    /// </summary>
    public void Forget()
    {
        _features.Clear();
        _cache.Forget();
    }

    /// <summary>How many pictures of a size are encoded together at most.</summary>
    internal static int ImagesPerEncoding(ModelConfiguration configuration, int height, int width) =>
        Math.Max(1, MostPatchesOfEncoding / Math.Max(1,
            height / configuration.Vision.PatchHeight * (width / configuration.Vision.PatchWidth)));

    /// <inheritdoc/>
    public void Dispose()
    {
        _cache.Dispose();
        _workspace.Dispose();
    }

    /// <summary>The prompt tokens that may join the next pass.</summary>
    private int Budget => _writing.Count > 0 ? Math.Min(_prefillTokens, PrefillTokensBesideDecoding) : _prefillTokens;

    private RequestRun Check(GenerationRequest request, SamplingOptions options, Action<GeneratedToken>? onToken)
    {
        int prompt = request.Prompt.Tokens.Length;
        if (prompt == 0)
            throw new ArgumentException("A prompt needs at least one token.");
        if (request.Count < 1)
            throw new ArgumentException($"A request needs at least one completion, not {request.Count}.");
        int positions = _model.Configuration.Language.MaxPositions;
        if ((long)prompt + options.MaxOutputTokens > positions)
            throw new ArgumentException(
                $"A prompt of {prompt} tokens with up to {options.MaxOutputTokens} new ones exceeds the model's " +
                $"{_model.Configuration.Language.DescribePositions()}.");
        int vocabulary = _model.Configuration.Language.VocabularySize;
        foreach (int token in options.LogitBias.Keys.Where(token => (uint)token >= (uint)vocabulary))
            throw new ArgumentException($"The bias names token {token}, which is outside the vocabulary of {vocabulary}.");
        foreach (int token in options.StopTokens.Where(token => (uint)token >= (uint)vocabulary))
            throw new ArgumentException(
                $"Token {token}, which is to end the answer, is outside the vocabulary of {vocabulary}.");
        int channels = _model.Configuration.Vision.ChannelCount;
        if (request.Prompt.Images.FirstOrDefault(tile => tile.Channels != channels) is { } other)
            throw new ArgumentException(
                $"A picture of the prompt has {other.Channels} colour planes; the model's vision encoder takes {channels}.");
        CheckConstraint(request, options, vocabulary);
        var run = new RequestRun(request, options, FeaturePlace.Of(request.Prompt, _model.Configuration, "The prompt"),
            onToken);
        if (run.WorstCasePages > _cache.PageCount)
            throw new ArgumentException(
                $"{request.Count} completions of {prompt} + {options.MaxOutputTokens} tokens can need " +
                $"{run.WorstCasePages} pages of {PagedAttention.PageSize} tokens, but the cache has " +
                $"{_cache.PageCount}.");
        return run;
    }

    private static void CheckConstraint(GenerationRequest request, SamplingOptions options, int vocabulary)
    {
        if (request.Constraint is not { } constraint)
            return;
        if (constraint.VocabularySize > vocabulary)
            throw new ArgumentException(
                $"The form of the answer is made for a vocabulary of {constraint.VocabularySize} tokens, and the model's " +
                $"has {vocabulary}.");
        if (options.StopTokens.Count == 0)
            throw new ArgumentException("An answer of a form needs a token that ends it; there is none.");
        if (options.MinOutputTokens > 0)
            throw new ArgumentException(
                $"An answer of a form ends where it has it, and cannot be made to have at least {options.MinOutputTokens} " +
                $"tokens.");
    }

    /// <summary>What is kept was computed from the weights as they were.</summary>
    private void ForgetWhatIsStale()
    {
        long version = _model.Parameters.Version;
        if (version == _weightsVersion)
            return;
        _weightsVersion = version;
        Forget();
    }

    /// <summary>Admits the waiting requests that fit now, with pages for the worst case set aside.</summary>
    private void Admit()
    {
        int available = _cache.FreePages - _writing.Sum(sequence => sequence.PagesToCome)
            - _reading.Sum(run => run.WorstCasePages - run.Pages.Count);
        while (_waiting.First is { } first && first.Value.WorstCasePages <= available)
        {
            RequestRun run = first.Value;
            _waiting.RemoveFirst();
            available -= run.WorstCasePages;
            if (_cachesPrefixes)
                FindPrefix(run);
            while (run.Pages.Count < KeyValueCache.PagesFor(run.PromptLength))
                run.Pages.Add(_cache.Take());
            run.Features = new ImageFeatures?[run.Request.Prompt.Images.Count];
            foreach (FeaturePlace place in run.Places.AsSpan(run.PrefilledTokens))
            {
                if (place.Image >= 0)
                    run.Features[place.Image] ??= _features.Take(run.Request.Prompt.Images[place.Image]);
            }

            run.IsAdmitted = true;
            _reading.Add(run);
        }
    }

    /// <summary>
    /// Gives a prompt the pages that hold its beginning already. Its last token is run in any case: the first new token
    /// is drawn after it.
    /// </summary>
    private void FindPrefix(RequestRun run)
    {
        run.NamePages(_cache.Root);
        int most = (run.PromptLength - 1) / PagedAttention.PageSize;
        while (run.Pages.Count < most && _cache.TryShare(run.PageNames[run.Pages.Count], out int page))
            run.Pages.Add(page);
        run.PrefilledTokens = run.CachedTokens = run.Pages.Count * PagedAttention.PageSize;
    }

    /// <summary>Encodes some of the pictures for which prompts wait, in the order of the requests.</summary>
    private void EncodeImages(CancellationToken cancellationToken)
    {
        List<ImageFeatures> pictures = [];
        foreach (ImageFeatures picture in _reading.SelectMany(run => run.Features).OfType<ImageFeatures>()
            .Where(picture => picture.Rows is null).Distinct())
        {
            ImageTile tile = picture.Tile;
            // While completions are being written, they wait for no more than one picture.
            int most = _writing.Count > 0 && PrefillTokensBesideDecoding < int.MaxValue ? 1
                : ImagesPerEncoding(_model.Configuration, tile.Height, tile.Width);
            if (pictures.Count == most
                || (pictures.Count > 0 && (tile.Height, tile.Width) != (pictures[0].Tile.Height, pictures[0].Tile.Width)))
                break;
            pictures.Add(picture);
        }

        if (pictures.Count == 0)
            return;
        Encode(pictures, cancellationToken);
    }

    /// <summary>Encodes pictures; those that cannot be encoded fail the requests that hold them.</summary>
    private void Encode(IReadOnlyList<ImageFeatures> pictures, CancellationToken cancellationToken)
    {
        try
        {
            _encodings.Get(new ImageEncodingShape(pictures.Count, pictures[0].Tile.Height, pictures[0].Tile.Width))
                .Run(pictures, cancellationToken);
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            // Which of them it is shows when each is encoded alone.
            if (pictures.Count > 1)
            {
                foreach (ImageFeatures picture in pictures)
                    Encode([picture], cancellationToken);
                return;
            }

            foreach (RequestRun run in UsersOf(pictures[0]))
                Fail(run, exception);
            return;
        }

        EncodedImages += pictures.Count;
        foreach (ImageFeatures picture in pictures)
        {
            if (picture.AreFinite)
            {
                _features.Keep(picture);
                continue;
            }

            foreach (RequestRun run in UsersOf(picture))
                Fail(run, ImageFeaturesNotFiniteException.Of(run, picture));
        }
    }

    private RequestRun[] UsersOf(ImageFeatures picture) => [.. _reading.Where(run => run.Features.Contains(picture))];

    private void Fail(RequestRun run, Exception exception)
    {
        run.Failure ??= exception;
        Remove(run);
    }

    private static void ThrowFailure(RequestRun run, int index)
    {
        switch (run.Failure)
        {
            case null:
                return;
            case LogitsNotFiniteException logits:
                throw new LogitsNotFiniteException($"Request {index}: {logits.Message}", logits);
            case ImageFeaturesNotFiniteException features:
                throw new ImageFeaturesNotFiniteException($"Request {index}: {features.Message}", features);
            default:
                ExceptionDispatchInfo.Throw(run.Failure);
                return;
        }
    }

    /// <summary>Whether others may find what a request writes: not when the weights have changed since it began.</summary>
    private bool NamesPages(RequestRun run) => _cachesPrefixes && run.Root == _cache.Root;

    /// <summary>
    /// Gives a completion the token that was drawn for it, and those behind it as far as its guess was what was drawn:
    /// one after the other, as if each had come by a pass of its own.
    /// </summary>
    /// <param name="row">The completion.</param>
    /// <param name="result">What the pass gave.</param>
    /// <param name="first">Its first draw.</param>
    private void TakeDrawn(in StepRow row, in GenerationStep.Result result, int first)
    {
        SequenceRun sequence = row.Sequence!;
        int[] guess = [.. sequence.Guess];
        int accepted = result.Tokens.AsSpan(first, guess.Length).CommonPrefixLength(guess);
        for (int ahead = 0; ahead <= accepted && !sequence.Run.HasLeft && sequence.Finished is null; ahead++)
        {
            int token = result.Tokens[first + ahead];
            if (token < 0)
            {
                Fail(sequence.Run, LogitsNotFiniteException.After(row, token == SampleTokens.NothingToDraw));
                break;
            }

            Advance(sequence);
            Accept(sequence, result, first + ahead, ahead == 0 ? guess.Length : 0, ahead == 0 ? accepted : 0);
        }

        GuessedTokens += guess.Length;
        AcceptedTokens += accepted;
        sequence.EndGuess(accepted);
        // Pages that hold nothing but what was guessed wrongly. One that has ended has none.
        for (int pages = KeyValueCache.PagesFor(sequence.Length); sequence.Pages.Count > pages;)
        {
            _cache.Return(sequence.Pages[^1]);
            sequence.Pages.RemoveAt(sequence.Pages.Count - 1);
        }
    }

    /// <summary>Takes note of the keys and values that a pass has written of a completion's last token.</summary>
    private void Advance(SequenceRun sequence)
    {
        sequence.Length++;
        if (NamesPages(sequence.Run) && sequence.Length % PagedAttention.PageSize == 0)
            _cache.Name(sequence.Pages[sequence.Length / PagedAttention.PageSize - 1], sequence.NameNextPage());
    }

    /// <summary>Takes note of the keys and values that a pass has written of a prompt.</summary>
    private void Advance(in StepRow row)
    {
        int filled = row.Run.PrefilledTokens / PagedAttention.PageSize;
        row.Run.PrefilledTokens += row.Count;
        for (int page = filled; NamesPages(row.Run) && page < row.Run.PrefilledTokens / PagedAttention.PageSize; page++)
            _cache.Name(row.Run.Pages[page], row.Run.PageNames[page]);
        if (!row.IsLast)
            return;
        _reading.Remove(row.Run);
        Fork(row.Run);
        EndReading(row.Run);
    }

    /// <summary>
    /// Starts a request's completions on the pages of its prompt: full pages are shared; the last, partial one is
    /// copied, and goes to the last completion.
    /// </summary>
    private void Fork(RequestRun run)
    {
        int full = run.PromptLength / PagedAttention.PageSize;
        foreach (SequenceRun sequence in run.Sequences)
        {
            _writing.Add(sequence);
            for (int page = 0; page < full; page++)
            {
                _cache.Share(run.Pages[page]);
                sequence.Pages.Add(run.Pages[page]);
            }

            if (run.Pages.Count == full)
                continue;
            if (sequence == run.Sequences[^1])
            {
                sequence.Pages.Add(run.Pages[full]);
                run.Pages.RemoveAt(full);
            }
            else
            {
                int copy = _cache.Take();
                sequence.Pages.Add(copy);
                _cache.Copy(run.Pages[full], copy);
            }
        }
    }

    private void Accept(SequenceRun sequence, in GenerationStep.Result result, int draw, int guessed, int accepted)
    {
        (int token, float logProbability, float entropy) =
            (result.Tokens[draw], result.LogProbabilities[draw], result.Entropies[draw]);
        int count = sequence.Run.Options.TopLogProbabilityCount;
        IReadOnlyList<LikelyToken> topTokens = count == 0 ? [] : result.TopTokensOf(draw, count);
        sequence.Accept(token, logProbability, entropy, topTokens);
        if (sequence.Finished is { } reason)
        {
            sequence.Run.Finish(sequence, reason);
            Release(sequence.Pages);
        }

        try
        {
            if (sequence.Finished is null)
                sequence.AcceptForm(token);
            sequence.Run.OnToken?.Invoke(new GeneratedToken(sequence.Completion, token, logProbability, entropy,
                sequence.Finished, sequence.Run.CachedTokens)
            {
                TopTokens = topTokens,
                GuessedTokens = guessed,
                AcceptedTokens = accepted,
            });
        }
        catch (Exception exception)
        {
            Fail(sequence.Run, exception);
        }
    }

    /// <summary>Lets go of a prompt's pages and pictures; its completions hold the pages they share.</summary>
    private void EndReading(RequestRun run)
    {
        Release(run.Pages);
        foreach (ImageFeatures features in run.Features.OfType<ImageFeatures>())
            _features.Return(features);
        run.Features = [];
    }

    /// <summary>
    /// From the end: of pages that are kept, the last is worth nothing without the first, which therefore goes last.
    /// </summary>
    private void Release(List<int> pages)
    {
        for (int index = pages.Count - 1; index >= 0; index--)
            _cache.Return(pages[index]);
        pages.Clear();
    }
}
