using Skylight.Constraints;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Generation;

/// <summary>A request that an engine works on: what is done of its prompt, and its completions.</summary>
public sealed class RequestRun
{
    private readonly Completion?[] _completions;

    internal RequestRun(GenerationRequest request, SamplingOptions options, FeaturePlace[] places,
        Action<GeneratedToken>? onToken)
    {
        Request = request;
        Options = options;
        Places = places;
        OnToken = onToken;
        _completions = new Completion?[request.Count];
        Sequences = [.. Enumerable.Range(0, request.Count).Select(completion => new SequenceRun(this, completion))];
    }

    /// <summary>The request.</summary>
    public GenerationRequest Request { get; }

    /// <summary>How its tokens are chosen.</summary>
    public SamplingOptions Options { get; }

    /// <summary>Whether all completions are there, or will never be.</summary>
    public bool IsFinished => Failure is not null || _completions.All(completion => completion is not null);

    /// <summary>
    /// What ended the request before its completions were there, and no other request; null while nothing has.
    /// </summary>
    public Exception? Failure { get; internal set; }

    /// <summary>The completions; null where one is still being written, or was when the request failed.</summary>
    public IReadOnlyList<Completion?> Completions => _completions;

    /// <summary>The tokens of the prompt whose keys and values are in the cache.</summary>
    public int PrefilledTokens { get; internal set; }

    /// <summary>
    /// The tokens of the prompt whose keys and values were found in the cache when the request was admitted.
    /// </summary>
    public int CachedTokens { get; internal set; }

    /// <summary>Whether the request has its pages; before that it waits.</summary>
    public bool IsAdmitted { get; internal set; }

    /// <summary>Whether the engine works on it no more, whatever the reason.</summary>
    internal bool HasLeft { get; set; }

    internal FeaturePlace[] Places { get; }

    internal Action<GeneratedToken>? OnToken { get; }

    /// <summary>The pages of the prompt, until its completions have taken them over.</summary>
    internal List<int> Pages { get; } = [];

    /// <summary>The name of what comes before the prompt's first page, where pages are kept.</summary>
    internal PrefixKey? Root { get; private set; }

    /// <summary>The names of the prompt's full pages, where pages are kept.</summary>
    internal PrefixKey[] PageNames { get; private set; } = [];

    /// <summary>
    /// The features of its pictures, once the request is admitted; null for those that stand before
    /// <see cref="CachedTokens"/>.
    /// </summary>
    internal ImageFeatures?[] Features { get; set; } = [];

    /// <summary>The completions, which begin when the prompt has been read.</summary>
    internal SequenceRun[] Sequences { get; }

    internal int PromptLength => Request.Prompt.Tokens.Length;

    /// <summary>The most pages the request can come to use.</summary>
    internal int WorstCasePages
    {
        get
        {
            int shared = PromptLength / PagedAttention.PageSize;
            return shared + Request.Count * (KeyValueCache.PagesFor(PromptLength + Options.MaxOutputTokens) - shared);
        }
    }

    /// <summary>Names the full pages of the prompt.</summary>
    /// <param name="root">The name of what comes before the first.</param>
    internal void NamePages(PrefixKey root)
    {
        const int Size = PagedAttention.PageSize;
        Root = root;
        PageNames = new PrefixKey[PromptLength / Size];
        for (int page = 0; page < PageNames.Length; page++)
            PageNames[page] = root = root.Next(Request.Prompt.Tokens.AsSpan(page * Size, Size),
                Places.AsSpan(page * Size, Size), Request.Prompt.Images);
        foreach (SequenceRun sequence in Sequences)
            sequence.LastName = root;
    }

    internal void Finish(SequenceRun sequence, FinishReason reason) =>
        _completions[sequence.Completion] = new Completion([.. sequence.Tokens], [.. sequence.LogProbabilities],
            [.. sequence.Entropies], reason)
        { TopTokens = [.. sequence.TopTokens] };
}

/// <summary>A completion in the making.</summary>
internal sealed class SequenceRun(RequestRun run, int completion)
{
    private SortedSet<int>? _seen;
    // How often each token was written, where that changes logits.
    private readonly Dictionary<int, int>? _written =
        run.Options is { FrequencyPenalty: 0, PresencePenalty: 0 } ? null : [];
    private readonly ConstraintRun? _form = run.Request.Constraint is { } constraint ? new(constraint) : null;
    private CounterRandom _random = new(run.Options.Seed, run.Request.Stream * 0x9E3779B97F4A7C15UL + (ulong)completion);

    public RequestRun Run { get; } = run;

    public int Completion { get; } = completion;

    /// <summary>Its random numbers: one for each token.</summary>
    public CounterRandom Random => _random;

    /// <summary>The tokens whose keys and values are in the cache.</summary>
    public int Length { get; set; } = run.Request.Prompt.Tokens.Length;

    public List<int> Pages { get; } = [];

    public List<int> Tokens { get; } = [];

    public List<float> LogProbabilities { get; } = [];

    public List<float> Entropies { get; } = [];

    /// <summary>The most likely tokens at each of them, where they are wanted.</summary>
    public List<IReadOnlyList<LikelyToken>> TopTokens { get; } = [];

    public FinishReason? Finished { get; private set; }

    /// <summary>The pages it may still ask for.</summary>
    public int PagesToCome => KeyValueCache.PagesFor(Run.PromptLength + Run.Options.MaxOutputTokens) - Pages.Count;

    /// <summary>The name of the last page that it has filled, where pages are kept.</summary>
    public PrefixKey LastName { get; set; }

    /// <summary>The name of the page that it has just filled.</summary>
    public PrefixKey NameNextPage()
    {
        Span<int> tokens = stackalloc int[PagedAttention.PageSize];
        Span<FeaturePlace> places = stackalloc FeaturePlace[PagedAttention.PageSize];
        for (int index = 0; index < tokens.Length; index++)
        {
            int position = Length - tokens.Length + index;
            (tokens[index], places[index]) = position < Run.PromptLength
                ? (Run.Request.Prompt.Tokens[position], Run.Places[position])
                : (Tokens[position - Run.PromptLength], FeaturePlace.Text);
        }

        return LastName = LastName.Next(tokens, places, Run.Request.Prompt.Images);
    }

    /// <summary>Takes a token that was drawn for it, and finds out whether it is the last one.</summary>
    public void Accept(int token, float logProbability, float entropy, IReadOnlyList<LikelyToken> topTokens)
    {
        _random.NextUInt64();
        _seen?.Add(token);
        if (_written is not null)
            _written[token] = _written.GetValueOrDefault(token) + 1;
        if (Run.Options.TopLogProbabilityCount > 0)
            TopTokens.Add(topTokens);
        Tokens.Add(token);
        LogProbabilities.Add(logProbability);
        Entropies.Add(entropy);
        if (Run.Options.StopTokens.Contains(token))
            Finished = FinishReason.Stop;
        else if (Tokens.Count >= Run.Options.MaxOutputTokens)
            Finished = FinishReason.Length;
    }

    /// <summary>Whether it has a form.</summary>
    public bool HasForm => _form is not null;

    /// <summary>Takes a token into the form, and finds out what may follow.</summary>
    /// <exception cref="ConstraintException">The token does not fit, or nothing may follow.</exception>
    public void AcceptForm(int token)
    {
        _form?.Accept(token);
        if (_form is { IsStuck: true })
            throw new ConstraintException(
                $"The vocabulary has no token with which the answer could go on in its form after {Tokens.Count} tokens.");
    }

    /// <summary>Writes which tokens may be drawn next.</summary>
    /// <param name="words">A bit for each of the model's tokens.</param>
    public void WriteMask(Span<uint> words) => _form!.Write(words, Run.Options.StopTokens);

    /// <summary>The logits to change before the next token is drawn, in ascending order of tokens.</summary>
    public IEnumerable<(int Token, float Penalty, float Bias)> Adjustments()
    {
        SamplingOptions options = Run.Options;
        bool mayEnd = Tokens.Count >= options.MinOutputTokens;
        if (options.RepetitionPenalty == 1f && _written is null && mayEnd)
            return options.LogitBias.OrderBy(pair => pair.Key).Select(pair => (pair.Key, 1f, pair.Value));
        if (options.RepetitionPenalty != 1f)
            _seen ??= [.. Run.Request.Prompt.Tokens, .. Tokens];
        var changed = new SortedSet<int>(options.LogitBias.Keys);
        changed.UnionWith(_seen ?? []);
        changed.UnionWith(_written?.Keys.AsEnumerable() ?? []);
        changed.UnionWith(mayEnd ? [] : options.StopTokens);
        return changed.Select(token => (
            token,
            _seen?.Contains(token) == true ? options.RepetitionPenalty : 1f,
            !mayEnd && options.StopTokens.Contains(token) ? float.NegativeInfinity
                : options.LogitBias.GetValueOrDefault(token) - PenaltyOf(token)));
    }

    /// <summary>What is taken from a token's logit for having been written.</summary>
    private float PenaltyOf(int token) => _written?.TryGetValue(token, out int count) == true
        ? Run.Options.FrequencyPenalty * count + Run.Options.PresencePenalty : 0;
}
