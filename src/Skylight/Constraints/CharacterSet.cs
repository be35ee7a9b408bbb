using System.Collections.Concurrent;
using System.Globalization;

namespace Skylight.Constraints;

/// <summary>A set of characters (Unicode scalar values): ranges that ascend and do not touch.</summary>
internal sealed class CharacterSet : IEquatable<CharacterSet>
{
    private const int Largest = 0x10FFFF, FirstSurrogate = 0xD800, LastSurrogate = 0xDFFF;

    private static readonly ConcurrentDictionary<string, CharacterSet> s_categories = new(StringComparer.Ordinal);

    private CharacterSet((int First, int Last)[] ranges) => Ranges = ranges;

    public static CharacterSet Empty { get; } = new([]);

    public static CharacterSet All { get; } = Of((0, Largest));

    /// <summary>Digits as ECMAScript has them: those of ASCII.</summary>
    public static CharacterSet Digits { get; } = Of(('0', '9'));

    /// <summary>Characters of words as ECMAScript has them: those of ASCII.</summary>
    public static CharacterSet Words { get; } = Of(('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z'));

    /// <summary>White space and line ends as ECMAScript has them.</summary>
    public static CharacterSet Spaces { get; } = Of(('\t', '\r'), (' ', ' '), (0xA0, 0xA0), (0x1680, 0x1680),
        (0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF));

    /// <summary>What a dot matches: no line ends.</summary>
    public static CharacterSet NoLineEnds { get; } = Of(('\n', '\n'), ('\r', '\r'), (0x2028, 0x2029)).Complement();

    public (int First, int Last)[] Ranges { get; }

    public bool IsEmpty => Ranges.Length == 0;

    /// <summary>Makes a set of ranges in any order, which may overlap; surrogates are no characters.</summary>
    public static CharacterSet Of(params IEnumerable<(int First, int Last)> ranges)
    {
        var merged = new List<(int First, int Last)>();
        foreach ((int first, int last) in ranges.SelectMany(WithoutSurrogates).OrderBy(range => range.First))
        {
            if (merged.Count > 0 && first <= merged[^1].Last + 1)
                merged[^1] = (merged[^1].First, Math.Max(merged[^1].Last, last));
            else
                merged.Add((first, last));
        }

        return new CharacterSet([.. merged]);
    }

    public static CharacterSet Of(int character) => Of((character, character));

    /// <summary>
    /// The characters of a general category, such as <c>L</c> or <c>Lu</c>; null if there is none of that name.
    /// </summary>
    public static CharacterSet? Category(string name)
    {
        if (s_categories.TryGetValue(name, out CharacterSet? known))
            return known;
        string[] codes = ["Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Zs", "Zl", "Zp", "Cc", "Cf",
            "Cs", "Co", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Cn"];
        bool[] wanted = [.. codes.Select(code => name.Length is 1 or 2 && code.StartsWith(name, StringComparison.Ordinal))];
        if (!wanted.Contains(true))
            return null;
        return s_categories.GetOrAdd(name, Of(Enumerable.Range(0, Largest + 1)
            .Where(character => wanted[(int)CharUnicodeInfo.GetUnicodeCategory(character)])
            .Select(character => (character, character))));
    }

    public bool Contains(int character)
    {
        int low = 0, high = Ranges.Length - 1;
        while (low <= high)
        {
            int middle = (low + high) / 2;
            if (character < Ranges[middle].First)
                high = middle - 1;
            else if (character > Ranges[middle].Last)
                low = middle + 1;
            else
                return true;
        }

        return false;
    }

    public CharacterSet Union(CharacterSet other) => Of(Ranges.Concat(other.Ranges));

    public CharacterSet Complement()
    {
        var ranges = new List<(int, int)>();
        int next = 0;
        foreach ((int first, int last) in Ranges)
        {
            if (first > next)
                ranges.Add((next, first - 1));
            next = last + 1;
        }

        if (next <= Largest)
            ranges.Add((next, Largest));
        return Of(ranges);
    }

    public CharacterSet Intersect(CharacterSet other)
    {
        if (ReferenceEquals(this, other) || ReferenceEquals(other, All))
            return this;
        var ranges = new List<(int, int)>();
        for (int own = 0, their = 0; own < Ranges.Length && their < other.Ranges.Length;)
        {
            int first = Math.Max(Ranges[own].First, other.Ranges[their].First);
            int last = Math.Min(Ranges[own].Last, other.Ranges[their].Last);
            if (first <= last)
                ranges.Add((first, last));
            if (Ranges[own].Last < other.Ranges[their].Last)
                own++;
            else
                their++;
        }

        return new CharacterSet([.. ranges]);
    }

    public CharacterSet Without(CharacterSet other) => Intersect(other.Complement());

    public bool Equals(CharacterSet? other) => other is not null && Ranges.AsSpan().SequenceEqual(other.Ranges);

    public override bool Equals(object? obj) => Equals(obj as CharacterSet);

    public override int GetHashCode()
    {
        var hash = new HashCode();
        foreach ((int first, int last) in Ranges)
            hash.Add(HashCode.Combine(first, last));
        return hash.ToHashCode();
    }

    private static IEnumerable<(int First, int Last)> WithoutSurrogates((int First, int Last) range)
    {
        if (range.Last < FirstSurrogate || range.First > LastSurrogate)
            return [range];
        return new[] { (range.First, FirstSurrogate - 1), (LastSurrogate + 1, range.Last) }
            .Where(part => part.Item1 <= part.Item2);
    }
}
