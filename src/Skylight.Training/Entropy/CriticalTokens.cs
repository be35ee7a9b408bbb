using System.Collections.Frozen;
using System.Globalization;
using System.Text;
using Skylight.Text;
using Skylight.Training.Rewards;

namespace Skylight.Training.Entropy;

/// <summary>
/// The entropy of critical reasoning tokens (Skywork-R1V3): how undecided the model was at the steps where it wrote the
/// first token of a word such as "Wait" inside its think block. A model that truly reasons is undecided there; one that
/// recites is not.
/// </summary>
/// <remarks>
/// A vocabulary may spell a word with one token (" Wait"), with several, or with one for each character, where "W"
/// alone says little. So a first token only nominates a place; it counts if the text from there on reads the whole
/// word, with no letter or digit directly before or after it. White space before a word is not part of it: of " ",
/// "Wait" the second is the first token.
/// </remarks>
public sealed class CriticalTokens
{
    /// <summary>The words that are watched unless others are given.</summary>
    public static IReadOnlyList<string> DefaultWords { get; } = ["Wait", "Alternatively", "Hmm"];

    /// <summary>
    /// The threshold unless another is given, in nats: the Skywork-R1V3 report's number, whose unit it does not state.
    /// </summary>
    public const double DefaultThreshold = 6.8;

    private readonly ITokenizer _tokenizer;
    private readonly string[] _spellings;
    private readonly FrozenSet<int> _firstTokens;
    private readonly int? _openToken;
    private readonly int? _closeToken;

    /// <summary>Finds the first tokens of the words in a vocabulary.</summary>
    /// <param name="tokenizer">The vocabulary; spellings that it cannot express are left out.</param>
    /// <param name="words">The words; <see cref="DefaultWords"/> if null. Each is watched as given, in lower, upper and
    /// title case.</param>
    /// <param name="threshold">Entropy, in nats, above which a step counts for
    /// <see cref="CriticalTokenEntropy.ShareAboveThreshold"/>.</param>
    /// <exception cref="ArgumentException">A word is empty or starts or ends with white space.</exception>
    public CriticalTokens(ITokenizer tokenizer, IReadOnlyList<string>? words = null, double threshold = DefaultThreshold)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);

        _tokenizer = tokenizer;
        _spellings = [.. (words ?? DefaultWords).SelectMany(Spellings).Distinct(StringComparer.Ordinal)];
        _firstTokens = _spellings.SelectMany(FirstTokensOf).ToFrozenSet();
        _openToken = tokenizer.TokenId(ThinkBlock.Open);
        _closeToken = tokenizer.TokenId(ThinkBlock.Close);
        Threshold = threshold;
    }

    /// <summary>
    /// Entropy, in nats, above which a step counts for <see cref="CriticalTokenEntropy.ShareAboveThreshold"/>.
    /// </summary>
    public double Threshold { get; }

    /// <summary>The tokens with which a watched word can begin.</summary>
    public IReadOnlySet<int> FirstTokens => _firstTokens;

    /// <summary>Whether a prompt ends inside an open think block, so that its completion starts by reasoning.</summary>
    /// <param name="prompt">The prompt's tokens. Where it is a chat, only its last turn is looked at: what a question
    /// says of think blocks opens none.</param>
    public bool EndsInsideThink(ReadOnlySpan<int> prompt)
    {
        if (_tokenizer.TokenId(SpecialTokens.TurnStart) is { } turn)
            prompt = prompt[(prompt.LastIndexOf(turn) + 1)..];
        string text = Spell(prompt, out int[] starts);
        return LastMark(prompt, text, starts, _openToken, ThinkBlock.Open) > LastMark(prompt, text, starts, _closeToken,
            ThinkBlock.Close);
    }

    /// <summary>Measures one completion.</summary>
    /// <param name="tokens">The tokens of the completion, in order.</param>
    /// <param name="entropies">For each token the entropy, in nats, of the distribution that it was drawn from.</param>
    /// <param name="startsInsideThink">
    /// Whether the prompt ended inside an open think block (<see cref="EndsInsideThink"/>); if not, the block starts at
    /// the completion's own <c>&lt;think&gt;</c>.
    /// </param>
    /// <exception cref="ArgumentException">There is not one entropy for each token.</exception>
    public CriticalTokenEntropy Measure(ReadOnlySpan<int> tokens, ReadOnlySpan<float> entropies, bool startsInsideThink)
    {
        if (tokens.Length != entropies.Length)
            throw new ArgumentException(
                $"There must be one entropy for each of the {tokens.Length} tokens, but there are {entropies.Length}.",
                nameof(entropies));

        double entropySum = 0;
        long aboveThreshold = 0;
        foreach (float entropy in entropies)
        {
            entropySum += entropy;
            if (entropy > Threshold)
                aboveThreshold++;
        }

        double criticalSum = 0;
        long criticalCount = 0;
        foreach (int position in Find(tokens, startsInsideThink))
        {
            criticalSum += entropies[position];
            criticalCount++;
        }

        return new CriticalTokenEntropy(criticalSum, criticalCount, entropySum, aboveThreshold, tokens.Length);
    }

    /// <summary>
    /// The positions, in order, of the tokens that begin a watched word inside the think block of a completion.
    /// </summary>
    /// <param name="tokens">The tokens of the completion, in order.</param>
    /// <param name="startsInsideThink">As for <see cref="Measure"/>.</param>
    public IReadOnlyList<int> Find(ReadOnlySpan<int> tokens, bool startsInsideThink)
    {
        bool nominated = false;
        foreach (int token in tokens)
            nominated |= _firstTokens.Contains(token);
        if (!nominated)
            return [];

        string text = Spell(tokens, out int[] starts);
        (int blockStart, int blockEnd) = FindThinkBlock(tokens, text, starts, startsInsideThink);

        var found = new List<int>();
        for (int position = 0; position < tokens.Length; position++)
        {
            if (_firstTokens.Contains(tokens[position])
                && starts[position] >= blockStart
                && BeginsWord(text, starts[position], starts[position + 1], blockEnd))
            {
                found.Add(position);
            }
        }

        return found;
    }

    private static IEnumerable<string> Spellings(string word)
    {
        if (string.IsNullOrWhiteSpace(word) || word.Trim().Length != word.Length)
            throw new ArgumentException($"A critical word cannot be empty or have white space around it: \"{word}\".",
                nameof(word));

        CultureInfo culture = CultureInfo.InvariantCulture;
        return [word, word.ToLowerInvariant(), word.ToUpperInvariant(),
            culture.TextInfo.ToTitleCase(word.ToLowerInvariant())];
    }

    private IEnumerable<int> FirstTokensOf(string spelling)
    {
        foreach (string variant in (string[])[spelling, " " + spelling, "\n" + spelling, "\n\n" + spelling])
        {
            if (!_tokenizer.CanEncode(variant))
                continue;
            foreach (int token in _tokenizer.Encode(variant))
            {
                if (!string.IsNullOrWhiteSpace(_tokenizer.Decode([token])))
                {
                    yield return token;
                    break;
                }
            }
        }
    }

    /// <summary>The text token by token; token i spells [starts[i], starts[i + 1]).</summary>
    private string Spell(ReadOnlySpan<int> tokens, out int[] starts)
    {
        var text = new StringBuilder();
        starts = new int[tokens.Length + 1];
        for (int position = 0; position < tokens.Length; position++)
        {
            text.Append(_tokenizer.Decode(tokens.Slice(position, 1)));
            starts[position + 1] = text.Length;
        }

        return text.ToString();
    }

    /// <summary>
    /// Where the reasoning starts and ends in the text; the marks may be tokens of their own or spelled out.
    /// </summary>
    private (int Start, int End) FindThinkBlock(ReadOnlySpan<int> tokens, string text, int[] starts, bool startsInsideThink)
    {
        int start = 0;
        if (!startsInsideThink)
        {
            int open = FindMark(tokens, text, starts, _openToken, ThinkBlock.Open, 0);
            if (open < 0)
                return (text.Length, text.Length);
            start = open;
        }

        int close = FindMark(tokens, text, starts, _closeToken, ThinkBlock.Close, start);
        return (start, close < 0 ? text.Length : close);
    }

    private static int FindMark(ReadOnlySpan<int> tokens, string text, int[] starts, int? markToken, string mark, int from)
    {
        int spelled = text.IndexOf(mark, from, StringComparison.Ordinal);
        if (markToken is not int id)
            return spelled;

        // A tokenizer may decode its special tokens to nothing, so the token is looked for as well as its spelling.
        for (int position = 0; position < tokens.Length; position++)
        {
            if (tokens[position] == id && starts[position] >= from)
                return spelled < 0 ? starts[position] : Math.Min(spelled, starts[position]);
        }

        return spelled;
    }

    /// <summary>The last token that is, or begins, a mark; −1 if there is none.</summary>
    private static int LastMark(ReadOnlySpan<int> tokens, string text, int[] starts, int? markToken, string mark)
    {
        int spelled = text.LastIndexOf(mark, StringComparison.Ordinal);
        // By tokens, not by characters: several that decode to nothing stand in one place.
        int position = spelled < 0 ? -1 : Array.FindLastIndex(starts, tokens.Length - 1, start => start <= spelled);
        return markToken is { } id ? Math.Max(position, tokens.LastIndexOf(id)) : position;
    }

    private bool BeginsWord(string text, int tokenStart, int tokenEnd, int blockEnd)
    {
        int wordStart = tokenStart;
        while (wordStart < tokenEnd && char.IsWhiteSpace(text[wordStart]))
            wordStart++;
        if (wordStart == tokenEnd || (wordStart > 0 && char.IsLetterOrDigit(text[wordStart - 1])))
            return false;

        foreach (string spelling in _spellings)
        {
            int wordEnd = wordStart + spelling.Length;
            if (wordEnd <= blockEnd
                && string.CompareOrdinal(text, wordStart, spelling, 0, spelling.Length) == 0
                && (wordEnd == text.Length || !char.IsLetterOrDigit(text[wordEnd])))
            {
                return true;
            }
        }

        return false;
    }
}
