using Skylight.Models;
using Skylight.Ops;

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
