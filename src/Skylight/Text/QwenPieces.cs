using System.Globalization;

namespace Skylight.Text;

/// <summary>Cuts text as the regular expression of Qwen2's tokenizers does, without a regular expression engine.</summary>
internal static class QwenPieces
{
    /// <summary>The expression that this stands for.</summary>
    public const string Pattern =
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private const byte Other = 0, Letter = 1, Number = 2, Space = 3, HighSurrogate = 4;

    private static readonly byte[] Kinds = MakeKinds();

    /// <summary>Where the piece that begins at <paramref name="start"/> ends.</summary>
    /// <param name="text">Text without lone surrogates.</param>
    /// <param name="start">Where a piece begins; before the end of the text.</param>
    public static int End(ReadOnlySpan<char> text, int start)
    {
        char first = text[start];
        byte kind = KindAt(text, start, out int length);
        int next = start + length;
        if (kind == Letter)
            return EndOfLetters(text, next);
        if (kind == Number)
            return next;
        if (first == '\'' && Contraction(text[next..]) is int contraction and > 0)
            return next + contraction;

        byte following = next < text.Length ? KindAt(text, next, out int followingLength) : Number;
        if (following == Letter && first is not ('\r' or '\n'))
            return EndOfLetters(text, next);
        if (kind == Other)
            return EndOfOthers(text, next);
        if (first == ' ' && following == Other && next < text.Length)
            return EndOfOthers(text, next);
        return EndOfSpace(text, start);
    }

    private static int EndOfLetters(ReadOnlySpan<char> text, int position)
    {
        ReadOnlySpan<byte> kinds = Kinds;
        while (position < text.Length)
        {
            byte kind = kinds[text[position]];
            if (kind == Letter)
                position++;
            else if (kind == HighSurrogate && KindAt(text, position, out _) == Letter)
                position += 2;
            else
                break;
        }

        return position;
    }

    private static int EndOfOthers(ReadOnlySpan<char> text, int position)
    {
        while (position < text.Length && KindAt(text, position, out int length) == Other)
            position += length;
        while (position < text.Length && text[position] is '\r' or '\n')
            position++;
        return position;
    }

    private static int EndOfSpace(ReadOnlySpan<char> text, int start)
    {
        int end = start, afterLine = -1;
        for (; end < text.Length && Kinds[text[end]] == Space; end++)
        {
            if (text[end] is '\r' or '\n')
                afterLine = end + 1;
        }

        if (afterLine >= 0)
            return afterLine;

        // The last space goes with what follows it.
        return end == text.Length || end == start + 1 ? end : end - 1;
    }

    private static int Contraction(ReadOnlySpan<char> text)
    {
        if (text.IsEmpty)
            return 0;
        char second = text.Length > 1 ? (char)(text[1] | 0x20) : '\0';
        return (char)(text[0] | 0x20) switch
        {
            's' or 't' or 'm' or 'd' => text[0] < 0x80 ? 1 : 0,
            'r' or 'v' when second == 'e' && text[0] < 0x80 && text[1] < 0x80 => 2,
            'l' when second == 'l' && text[0] < 0x80 && text[1] < 0x80 => 2,

            // LATIN SMALL LETTER LONG S is an s where case does not matter.
            _ when text[0] == '\u017F' => 1,
            _ => 0,
        };
    }

    private static byte KindAt(ReadOnlySpan<char> text, int position, out int length)
    {
        byte kind = Kinds[text[position]];
        if (kind != HighSurrogate)
        {
            length = 1;
            return kind;
        }

        length = 2;
        return KindOf(CharUnicodeInfo.GetUnicodeCategory(char.ConvertToUtf32(text[position], text[position + 1])));
    }

    private static byte KindOf(UnicodeCategory category) => category switch
    {
        UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter
            or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter => Letter,
        UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => Number,
        _ => Other,
    };

    private static byte[] MakeKinds()
    {
        byte[] kinds = new byte[0x10000];
        for (int character = 0; character < kinds.Length; character++)
        {
            kinds[character] = char.IsWhiteSpace((char)character) ? Space
                : char.IsHighSurrogate((char)character) ? HighSurrogate
                : KindOf(CharUnicodeInfo.GetUnicodeCategory((char)character));
        }

        return kinds;
    }
}
