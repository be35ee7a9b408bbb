using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace Skylight.Text;

/// <summary>Cuts text by a regular expression; what lies between two matches is a piece too.</summary>
internal sealed class RegexPieces
{
    // For every general category, a character of one UTF-16 unit that has it.
    private static readonly char[] StandIns = MakeStandIns();

    // So that an expression that backtracks without end is an error and no hang.
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(60);

    private readonly Regex _regex;

    /// <exception cref="ArgumentException">The expression is not valid.</exception>
    public RegexPieces(string pattern) => _regex = new Regex(pattern, RegexOptions.CultureInvariant, Longest);

    /// <summary>Where the pieces of a text end, in order.</summary>
    /// <param name="text">Text without lone surrogates.</param>
    /// <exception cref="RegexMatchTimeoutException">The expression takes too long.</exception>
    public List<int> Ends(ReadOnlySpan<char> text)
    {
        var ends = new List<int>();
        if (text.IndexOfAnyInRange('\uD800', '\uDFFF') < 0)
        {
            Cut(text, ends);
            return ends;
        }

        // .NET matches UTF-16 units and the file means characters: cut a text in which every character is one unit.
        char[] units = new char[text.Length];
        int[] places = new int[text.Length + 1];
        int count = 0;
        for (int position = 0; position < text.Length; count++)
        {
            places[count] = position;
            Rune.DecodeFromUtf16(text[position..], out Rune character, out int length);
            units[count] = character.IsBmp ? (char)character.Value : StandIns[(int)Rune.GetUnicodeCategory(character)];
            position += length;
        }

        places[count] = text.Length;
        Cut(units.AsSpan(0, count), ends);
        for (int i = 0; i < ends.Count; i++)
            ends[i] = places[ends[i]];
        return ends;
    }

    private void Cut(ReadOnlySpan<char> text, List<int> ends)
    {
        int end = 0;
        foreach (ValueMatch match in _regex.EnumerateMatches(text))
        {
            if (match.Length == 0)
                continue;
            if (match.Index > end)
                ends.Add(match.Index);
            end = match.Index + match.Length;
            ends.Add(end);
        }

        if (end < text.Length)
            ends.Add(text.Length);
    }

    private static char[] MakeStandIns()
    {
        char[] standIns = new char[(int)UnicodeCategory.OtherNotAssigned + 1];
        for (int character = 0xFFFF; character > 0; character--)
            standIns[(int)CharUnicodeInfo.GetUnicodeCategory((char)character)] = (char)character;

        // No ASCII: an expression may name those.
        for (int character = 0xFFFF; character >= 0x80; character--)
            standIns[(int)CharUnicodeInfo.GetUnicodeCategory((char)character)] = (char)character;
        return standIns;
    }
}
