using Skylight.Constraints;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Generation;

/// <summary>A completion in the making.</summary>
internal sealed class SequenceRun(RequestRun run, int completion)
{
    private SortedSet<int>? _seen;
    // How often each token was written, where that changes logits.
    private readonly Dictionary<int, int>? _written =
        run.Options is { FrequencyPenalty: 0, PresencePenalty: 0 } ? null : [];
    private readonly ConstraintRun? _form = run.Request.Constraint is { } constraint ? new(constraint) : null;
    private readonly PromptLookup? _lookup = run.Options.SpeculativeTokens > 0
        ? new PromptLookup(TokensToRepeat(run), run.Options.SpeculativeTokens) : null;
    private readonly List<int> _guess = [];
    // How far the form has come behind each token of the guess.
    private readonly List<ConstraintRun> _guessedForms = [];
    private readonly ulong _stream = run.Request.Stream * 0x9E3779B97F4A7C15UL + (ulong)completion;

    public RequestRun Run { get; } = run;

    public int Completion { get; } = completion;

    /// <summary>The random number of the next token, or of one behind it: one for each token.</summary>
    public CounterRandom Random(int ahead) => new(Run.Options.Seed, _stream, (ulong)(Tokens.Count + ahead));

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
        _lookup?.Append(token);
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

    /// <summary>Whether its next tokens are guessed.</summary>
    public bool Guesses => _lookup is not null;

    /// <summary>The tokens that are guessed to come next; each is drawn as ever, and counts where it is the same.</summary>
    public IReadOnlyList<int> Guess => _guess;

    /// <summary>
    /// Guesses its next tokens: as far as they can come at all, and one fewer than it may still have, because another
    /// token is drawn behind each.
    /// </summary>
    /// <param name="most">The most tokens.</param>
    public void MakeGuess(int most)
    {
        _guess.Clear();
        _guessedForms.Clear();
        _lookup?.Guess(Math.Min(most, Run.Options.MaxOutputTokens - Tokens.Count - 1), _guess);
        ConstraintRun? form = _form;
        for (int index = 0; index < _guess.Count; index++)
        {
            int token = _guess[index];
            ConstraintRun? behind = form?.Behind(token);
            // Nothing comes behind a token that ends the completion.
            if (Run.Options.StopTokens.Contains(token)
                || (Run.Options.LogitBias.TryGetValue(token, out float bias) && float.IsNegativeInfinity(bias))
                || (form is not null && behind is null))
            {
                CutGuess(index);
                return;
            }

            form = behind;
            if (form is not null)
                _guessedForms.Add(form);
        }
    }

    /// <summary>Leaves no more than so many tokens of the guess.</summary>
    public void CutGuess(int most)
    {
        if (most < _guess.Count)
            _guess.RemoveRange(most, _guess.Count - most);
    }

    /// <summary>Takes note of how a guess went.</summary>
    /// <param name="accepted">How many of its tokens came true.</param>
    public void EndGuess(int accepted)
    {
        _lookup?.Learn(_guess.Count, accepted);
        _guess.Clear();
    }

    /// <summary>Writes which tokens may be drawn next.</summary>
    /// <param name="ahead">How many guessed tokens are taken for written.</param>
    /// <param name="words">A bit for each of the model's tokens.</param>
    public void WriteMask(int ahead, Span<uint> words) =>
        (ahead == 0 ? _form! : _guessedForms[ahead - 1]).Write(words, Run.Options.StopTokens);

    /// <summary>The logits to change before the next token is drawn, in ascending order of tokens.</summary>
    /// <param name="ahead">How many guessed tokens are taken for written.</param>
    public IEnumerable<(int Token, float Penalty, float Bias)> Adjustments(int ahead)
    {
        SamplingOptions options = Run.Options;
        bool mayEnd = Tokens.Count + ahead >= options.MinOutputTokens;
        if (options.RepetitionPenalty == 1f && _written is null && mayEnd)
            return options.LogitBias.OrderBy(pair => pair.Key).Select(pair => (pair.Key, 1f, pair.Value));
        if (options.RepetitionPenalty != 1f)
            _seen ??= [.. Run.Request.Prompt.Tokens, .. Tokens];
        int[] guessed = [.. _guess.Take(ahead)];
        var changed = new SortedSet<int>(options.LogitBias.Keys);
        changed.UnionWith(_seen ?? []);
        changed.UnionWith(_written?.Keys.AsEnumerable() ?? []);
        changed.UnionWith(_seen is null && _written is null ? [] : guessed);
        changed.UnionWith(mayEnd ? [] : options.StopTokens);
        return changed.Select(token => (
            token,
            _seen?.Contains(token) == true || (_seen is not null && guessed.Contains(token)) ? options.RepetitionPenalty : 1f,
            !mayEnd && options.StopTokens.Contains(token) ? float.NegativeInfinity
                : options.LogitBias.GetValueOrDefault(token) - PenaltyOf(token, guessed)));
    }

    /// <summary>What is taken from a token's logit for having been written.</summary>
    private float PenaltyOf(int token, int[] guessed)
    {
        int count = _written is null ? 0 : _written.GetValueOrDefault(token) + guessed.AsSpan().Count(token);
        return count == 0 ? 0 : Run.Options.FrequencyPenalty * count + Run.Options.PresencePenalty;
    }

    /// <summary>The prompt, with gaps where its pictures are: they are never written.</summary>
    private static IEnumerable<int> TokensToRepeat(RequestRun run) => run.Request.Prompt.Tokens
        .Select((token, position) => run.Places[position].Image >= 0 ? PromptLookup.Gap : token);
}
