using System.Buffers;
using System.Globalization;
using System.Text;

namespace Skylight.Text;

/// <summary>Finds added tokens in text: the leftmost, and of those that begin there the longest.</summary>
internal sealed class AddedTokenMatcher
{
    private readonly SearchValues<char> _first;
    private readonly Dictionary<char, List<Spelling>> _byFirst = [];

    /// <summary>Makes a matcher.</summary>
    /// <param name="tokens">The tokens, each with the spelling that is looked for.</param>
    public AddedTokenMatcher(IEnumerable<(string Content, AddedToken Token)> tokens)
    {
        foreach ((string content, AddedToken token) in tokens)
        {
            if (!_byFirst.TryGetValue(content[0], out List<Spelling>? spellings))
                _byFirst.Add(content[0], spellings = []);
            // The longest first.
            int place = spellings.FindIndex(spelling => spelling.Content.Length < content.Length);
            spellings.Insert(place < 0 ? spellings.Count : place, new Spelling(content, token));
        }

        _first = SearchValues.Create([.. _byFirst.Keys]);
    }

    /// <summary>Whether there is nothing to find.</summary>
    public bool IsEmpty => _byFirst.Count == 0;

    /// <summary>Finds the next token.</summary>
    /// <param name="text">The text.</param>
    /// <param name="from">Where to begin; nothing before is taken.</param>
    /// <param name="start">Where the match begins, with the white space that it takes.</param>
    /// <param name="end">Where the match ends, with the white space that it takes.</param>
    /// <returns>The token, or null if there is none.</returns>
    public AddedToken? Next(ReadOnlySpan<char> text, int from, out int start, out int end)
    {
        for (int position = from; position < text.Length; position++)
        {
            int offset = text[position..].IndexOfAny(_first);
            if (offset < 0)
                break;
            position += offset;
            foreach ((string content, AddedToken token) in _byFirst[text[position]])
            {
                if (!text[position..].StartsWith(content, StringComparison.Ordinal))
                    continue;
                start = position;
                end = position + content.Length;
                if (token.SingleWord && ((start > 0 && IsWord(text[..start], last: true))
                    || (end < text.Length && IsWord(text[end..], last: false))))
                {
                    // What was refused is not searched again.
                    position = end - 1;
                    break;
                }

                while (token.StripLeft && start > from && char.IsWhiteSpace(text[start - 1]))
                    start--;
                while (token.StripRight && end < text.Length && char.IsWhiteSpace(text[end]))
                    end++;
                return token;
            }
        }

        start = end = text.Length;
        return null;
    }

    private static bool IsWord(ReadOnlySpan<char> text, bool last)
    {
        Rune character;
        if (last)
            Rune.DecodeLastFromUtf16(text, out character, out _);
        else
            Rune.DecodeFromUtf16(text, out character, out _);
        return Rune.GetUnicodeCategory(character) is UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter
            or UnicodeCategory.TitlecaseLetter or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter
            or UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark
            or UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.ConnectorPunctuation;
    }

    // No value type: lists of such are compiled only when a program runs, at every start.
    private sealed record Spelling(string Content, AddedToken Token);
}
