namespace Skylight.Training.Answers;

/// <summary>How a text names an option.</summary>
internal static class OptionRules
{
    private static readonly string[] s_prefixes = ["option", "choice", "answer", "选项", "选择", "选", "答案"];
    private static readonly HashSet<string> s_afterArticle = new(StringComparer.OrdinalIgnoreCase)
    {
        "is", "are", "and", "or", "because", "since", "as", "for", "but", "would", "seems", "matches", "fits", "not",
    };

    /// <summary>
    /// The letter that a text is, however it is decorated: (B), **B**, "B.", \text{B}, option B, "B: the second"; null
    /// if it is none.
    /// </summary>
    /// <param name="text">The text.</param>
    /// <param name="options">How many options there are: the first so many letters.</param>
    /// <param name="acceptsLowerCase">Whether b is B, which only a text that is marked as the answer should say.</param>
    public static char? LetterOf(string text, int options, bool acceptsLowerCase)
    {
        if (text.Length > AnswerText.MostCharacters)
            return null;
        string bare = Bare(AnswerText.Words(AnswerText.Clean(text)));
        foreach (string prefix in s_prefixes)
        {
            if (bare.StartsWith(prefix, StringComparison.OrdinalIgnoreCase) && bare.Length > prefix.Length)
                bare = Bare(bare[prefix.Length..].TrimStart(' ', ':', '：'));
        }

        if (bare.Length == 0)
            return null;
        // "(B) the second" and "B. the second", not "B the second" nor "B, C".
        char first = bare[0];
        int at = 1;
        if (first is '(' or '[' && bare.Length > 2 && bare[2] is ')' or ']')
            (first, at) = (bare[1], 3);
        else if (bare.Length > 1 && bare[1] is not ('.' or ':' or ')' or '：'))
            return null;
        else if (bare.Length > 1)
            at = 2;
        char letter = acceptsLowerCase ? char.ToUpperInvariant(first) : first;
        int place = letter - 'A';
        if (place < 0 || place >= Math.Min(options, 26) || (char.IsAsciiLetterLower(first) && bare.Length > 1 && at == 1))
            return null;
        string rest = bare[at..].Trim();
        // "B. C" or "(B)(C)" name two.
        return rest.Length is > 0 and < 32 && LetterOf(rest, options, acceptsLowerCase: false) is { } second
            && second != letter ? null : letter;
    }

    /// <summary>
    /// The only option whose letter stands in a text as a word; the article of a sentence ("A dog") and the pronoun I
    /// are none.
    /// </summary>
    /// <returns>The letter; null if no or several options are named, with how many.</returns>
    public static (char? Letter, int Found) Mentioned(string text, int options)
    {
        var found = new SortedSet<char>();
        for (int at = 0; at < text.Length; at++)
        {
            char letter = text[at];
            if (letter < 'A' || letter - 'A' >= Math.Min(options, 26) || (at > 0 && IsWord(text[at - 1]))
                || (at + 1 < text.Length && IsWord(text[at + 1])))
                continue;
            if ((letter is 'A' or 'I' && IsArticle(text, at)) || IsDenied(text, at))
                continue;
            found.Add(letter);
        }

        return (found.Count == 1 ? found.Min : null, found.Count);
    }

    // Chinese around a letter parts it; what joins it to a word or a formula does not: A-frame, A', U.S.A, x_A, A=3.
    private static bool IsWord(char character) => char.IsAsciiLetterOrDigit(character)
        || character is '_' or '-' or '\'' or '’' or '=' or '^' or '+' or '/'
        || (character > 127 && char.IsLetter(character) && character < 0x2E80);

    private static bool IsArticle(string text, int at)
    {
        if (at + 2 >= text.Length || !char.IsWhiteSpace(text[at + 1]) || !char.IsLetter(text[at + 2])
            || text[at + 2] > 0x2E80)
            return false;
        int end = at + 2;
        while (end < text.Length && char.IsLetter(text[end]))
            end++;
        string before = text[..at].TrimEnd(' ', '*', '(', ':', '`');
        string tail = before[Math.Max(0, before.Length - 8)..];
        if (text[at] == 'A'
            && s_prefixes.Any(prefix => tail.EndsWith(prefix, StringComparison.OrdinalIgnoreCase) && prefix is not "answer"))
            return false;
        return text[at] == 'I' || !s_afterArticle.Contains(text[(at + 2)..end]);
    }

    // "not A", "不是A"
    private static bool IsDenied(string text, int at)
    {
        ReadOnlySpan<char> before = text.AsSpan(0, at).TrimEnd(" *(`");
        return before.EndsWith("不是")
            || (before.EndsWith("not", StringComparison.OrdinalIgnoreCase)
                && (before.Length == 3 || !char.IsLetter(before[^4])));
    }

    private static string Bare(string text)
    {
        while (true)
        {
            string before = text;
            text = text.Trim()
                .Trim('"', '\'', '*', '`', '“', '”', '‘', '’', '「', '」', '【', '】', '«', '»', '_', ',', '!', '。').Trim();
            if (text.Length > 2 && ((text[0] == '(' && text[^1] == ')') || (text[0] == '[' && text[^1] == ']')
                || (text[0] == '{' && text[^1] == '}')) && text.Length == 3)
                text = text[1..^1];
            text = text.Length == 2 && text[1] is '.' or ':' or ')' ? text[..1] : text;
            if (text == before)
                return text;
        }
    }
}
