using System.Buffers;
using System.Text;

namespace Skylight.Text;

/// <summary>
/// Unicode normalization form C, and the repair of lone surrogates. <see cref="string.Normalize()"/> does nothing in
/// invariant globalization, so this holds its own tables. See Unicode Standard Annex 15.
/// </summary>
internal static class CanonicalComposition
{
    private const int HangulSyllables = 0xAC00, HangulLeading = 0x1100, HangulVowels = 0x1161, HangulTrailing = 0x11A7;
    private const int VowelCount = 21, TrailingCount = 28, SyllableCount = 19 * VowelCount * TrailingCount;

    // All below is its own composed form, whatever follows.
    private const char FirstOfInterest = '\u0300';

    private static readonly Dictionary<int, (int First, int Second)> Decompositions = [];
    private static readonly Dictionary<(int First, int Second), int> Compositions = [];
    private static readonly Dictionary<int, byte> Classes = [];

    // Characters that may change or be joined with what is before them; the rest begin a new segment.
    private static readonly ulong[] Unstable = new ulong[0x10000 / 64];
    private static readonly HashSet<int> UnstableSupplementary = [];

    static CanonicalComposition()
    {
        ReadOnlySpan<int> data = CanonicalData.Compositions;
        for (int i = 0; i < data.Length; i += 3)
        {
            Decompositions.Add(data[i], (data[i + 1], data[i + 2]));
            Compositions.Add((data[i + 1], data[i + 2]), data[i]);
            MarkUnstable(data[i + 2]);
        }

        data = CanonicalData.Exclusions;
        for (int i = 0; i < data.Length; i += 3)
        {
            Decompositions.Add(data[i], (data[i + 1], data[i + 2]));
            MarkUnstable(data[i]);
        }

        data = CanonicalData.Singletons;
        for (int i = 0; i < data.Length; i += 2)
        {
            Decompositions.Add(data[i], (data[i + 1], 0));
            MarkUnstable(data[i]);
        }

        data = CanonicalData.CombiningClasses;
        for (int i = 0; i < data.Length; i += 3)
        {
            for (int character = data[i]; character <= data[i + 1]; character++)
            {
                Classes.Add(character, (byte)data[i + 2]);
                MarkUnstable(character);
            }
        }

        for (int character = HangulVowels; character < HangulVowels + VowelCount; character++)
            MarkUnstable(character);
        for (int character = HangulTrailing + 1; character < HangulTrailing + TrailingCount; character++)
            MarkUnstable(character);
        for (int character = 0xD800; character < 0xE000; character++)
            MarkUnstable(character);
    }

    /// <summary>
    /// The text with every lone surrogate as U+FFFD and, if asked for, in form C; null if that is the text as it is.
    /// </summary>
    public static string? Apply(ReadOnlySpan<char> text, bool compose)
    {
        int position = NextUnstable(text, 0, compose);
        if (position < 0)
            return null;

        var result = new ArrayBufferWriter<char>(text.Length + 16);
        List<int> segment = [], decomposed = [];
        int copied = 0;
        bool changed = false;
        while (position >= 0)
        {
            int start = compose ? StartOfSegment(text, copied, position) : position;
            segment.Clear();
            int end = start;
            do
            {
                Rune.DecodeFromUtf16(text[end..], out Rune character, out int length);
                segment.Add(character.Value);
                end += length;
            }
            while (end < text.Length && (end <= position || (compose && IsUnstable(text, end))));

            if (compose)
                Compose(segment, decomposed);
            result.Write(text[copied..start]);
            int before = result.WrittenCount;
            foreach (int character in segment)
                Append(result, character);
            changed |= !result.WrittenSpan[before..].SequenceEqual(text[start..end]);
            copied = end;
            position = NextUnstable(text, end, compose);
        }

        if (!changed)
            return null;
        result.Write(text[copied..]);
        return result.WrittenSpan.ToString();
    }

    private static void Append(ArrayBufferWriter<char> result, int character)
    {
        Span<char> room = result.GetSpan(2);
        result.Advance(new Rune(character).EncodeToUtf16(room));
    }

    private static int NextUnstable(ReadOnlySpan<char> text, int from, bool compose)
    {
        while (from < text.Length)
        {
            int offset = compose
                ? text[from..].IndexOfAnyExceptInRange('\0', (char)(FirstOfInterest - 1))
                : text[from..].IndexOfAnyInRange('\uD800', '\uDFFF');
            if (offset < 0)
                return -1;
            from += offset;

            // Stay in this loop while the text is of another script: one look-up a character.
            for (; from < text.Length && text[from] >= FirstOfInterest; from++)
            {
                char unit = text[from];
                if ((Unstable[unit >> 6] & (1UL << unit)) == 0)
                    continue;
                if (!char.IsSurrogate(unit))
                {
                    if (compose)
                        return from;
                    continue;
                }

                if (!char.IsHighSurrogate(unit) || from + 1 == text.Length || !char.IsLowSurrogate(text[from + 1]))
                    return from;
                if (compose && UnstableSupplementary.Contains(char.ConvertToUtf32(unit, text[from + 1])))
                    return from;
                from++;
            }
        }

        return -1;
    }

    private static bool IsUnstable(ReadOnlySpan<char> text, int position)
    {
        char unit = text[position];
        if ((Unstable[unit >> 6] & (1UL << unit)) == 0)
            return false;
        return !char.IsHighSurrogate(unit) || position + 1 == text.Length || !char.IsLowSurrogate(text[position + 1])
            || UnstableSupplementary.Contains(char.ConvertToUtf32(unit, text[position + 1]));
    }

    /// <summary>The stable character before, which what follows may be joined with.</summary>
    private static int StartOfSegment(ReadOnlySpan<char> text, int least, int position)
    {
        if (position == least)
            return position;
        return position - least >= 2 && char.IsLowSurrogate(text[position - 1]) ? position - 2 : position - 1;
    }

    private static void Compose(List<int> segment, List<int> decomposed)
    {
        decomposed.Clear();
        foreach (int character in segment)
            Decompose(character, decomposed);
        Order(decomposed);

        segment.Clear();
        int starter = -1, lastClass = -1;
        foreach (int character in decomposed)
        {
            int combiningClass = Classes.GetValueOrDefault(character);

            // A mark of the same or a higher class between the starter and this one keeps them apart.
            if (starter >= 0 && lastClass < combiningClass && Join(segment[starter], character) is int joined and >= 0)
            {
                segment[starter] = joined;
                continue;
            }

            if (combiningClass == 0)
            {
                starter = segment.Count;
                lastClass = -1;
            }
            else
            {
                lastClass = combiningClass;
            }

            segment.Add(character);
        }
    }

    private static void Decompose(int character, List<int> result)
    {
        if ((uint)(character - HangulSyllables) < SyllableCount)
        {
            int index = character - HangulSyllables;
            result.Add(HangulLeading + index / (VowelCount * TrailingCount));
            result.Add(HangulVowels + index % (VowelCount * TrailingCount) / TrailingCount);
            if (index % TrailingCount != 0)
                result.Add(HangulTrailing + index % TrailingCount);
        }
        else if (Decompositions.TryGetValue(character, out (int First, int Second) parts))
        {
            Decompose(parts.First, result);
            if (parts.Second != 0)
                Decompose(parts.Second, result);
        }
        else
        {
            result.Add(character);
        }
    }

    /// <summary>Puts every run of marks into the order of their classes, those of one class as they were.</summary>
    private static void Order(List<int> characters)
    {
        for (int start = 0; start < characters.Count; start++)
        {
            int end = start;
            bool ordered = true;
            for (int last = 0; end < characters.Count && Classes.TryGetValue(characters[end], out byte combiningClass);
                end++)
            {
                ordered &= combiningClass >= last;
                last = combiningClass;
            }

            if (!ordered)
            {
                int[] run = [.. characters.Skip(start).Take(end - start).OrderBy(character => Classes[character])];
                for (int i = 0; i < run.Length; i++)
                    characters[start + i] = run[i];
            }

            start = end;
        }
    }

    private static int Join(int first, int second)
    {
        if ((uint)(first - HangulLeading) < 19 && (uint)(second - HangulVowels) < VowelCount)
            return HangulSyllables + ((first - HangulLeading) * VowelCount + second - HangulVowels) * TrailingCount;
        if ((uint)(first - HangulSyllables) < SyllableCount && (first - HangulSyllables) % TrailingCount == 0
            && (uint)(second - HangulTrailing - 1) < TrailingCount - 1)
            return first + second - HangulTrailing;
        return Compositions.GetValueOrDefault((first, second), -1);
    }

    private static void MarkUnstable(int character)
    {
        if (character < 0x10000)
            Unstable[character >> 6] |= 1UL << character;
        else
            UnstableSupplementary.Add(character);
    }
}
