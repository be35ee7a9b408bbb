using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Generation;

/// <summary>A request that an engine works on: what is done of its prompt, and its completions.</summary>
public sealed class RequestRun
{
    private readonly Completion?[] _completions;

    internal RequestRun(GenerationRequest request, SamplingOptions options, FeaturePlace[] places, Action<GeneratedToken>? onToken)
    {
        Request = request;
        Options = options;
        Places = places;
        OnToken = onToken;
        _completions = new Completion?[request.Count];
    }

    /// <summary>The request.</summary>
    public GenerationRequest Request { get; }

    /// <summary>How its tokens are chosen.</summary>
    public SamplingOptions Options { get; }

    /// <summary>Whether all completions are there.</summary>
    public bool IsFinished => _completions.All(completion => completion is not null);

    /// <summary>The completions; null where one is still being written.</summary>
    public IReadOnlyList<Completion?> Completions => _completions;

    /// <summary>The tokens of the prompt whose keys and values are in the cache.</summary>
    public int PrefilledTokens { get; internal set; }

    /// <summary>Whether the request has its pages; before that it waits.</summary>
    public bool IsAdmitted { get; internal set; }

    internal FeaturePlace[] Places { get; }

    internal Action<GeneratedToken>? OnToken { get; }

    /// <summary>The pages of the prompt, until its completions have taken them over.</summary>
    internal List<int> Pages { get; } = [];

    /// <summary>The features of its pictures, once the request is admitted.</summary>
    internal ImageFeatures[] Features { get; set; } = [];

    internal int PromptLength => Request.Prompt.Tokens.Length;

    /// <summary>The most pages the request can come to use.</summary>
    internal int WorstCasePages
    {
        get
        {
            int shared = PromptLength / PagedAttention.PageSize;
            return KeyValueCache.PagesFor(PromptLength) + Request.Count * (KeyValueCache.PagesFor(PromptLength + Options.MaxNewTokens) - shared);
        }
    }

    internal void Finish(SequenceRun sequence, FinishReason reason) =>
        _completions[sequence.Completion] = new Completion([.. sequence.Tokens], [.. sequence.LogProbabilities], [.. sequence.Entropies], reason);
}

/// <summary>A completion in the making.</summary>
internal sealed class SequenceRun(RequestRun run, int completion)
{
    public CounterRandom Random = new(run.Options.Seed, run.Request.Stream * 0x9E3779B97F4A7C15UL + (ulong)completion);

    public RequestRun Run { get; } = run;

    public int Completion { get; } = completion;

    /// <summary>The tokens whose keys and values are in the cache.</summary>
    public int Length { get; set; } = run.PromptLength;

    public List<int> Pages { get; } = [];

    public List<int> Tokens { get; } = [];

    public List<float> LogProbabilities { get; } = [];

    public List<float> Entropies { get; } = [];

    public FinishReason? Finished { get; set; }

    /// <summary>The pages it may still ask for.</summary>
    public int PagesToCome => KeyValueCache.PagesFor(Run.PromptLength + Run.Options.MaxNewTokens) - Pages.Count;
}
