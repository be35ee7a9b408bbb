using System.Buffers;
using System.Globalization;
using System.Text;

namespace Skylight.Constraints;

/// <summary>
/// Reads regular expressions in the syntax that ECMAScript, .NET and Python share. What no automaton of finitely many
/// states can follow (references to groups, looking around) is refused by name.
/// </summary>
internal sealed class PatternParser
{
    /// <summary>The largest number in braces.</summary>
    public const int MostRepeats = 100_000;

    private const int MostDepth = 200;

    private readonly string _pattern;
    private readonly string _path;
    private int _at;
    private int _depth;

    private PatternParser(string pattern, string path) => (_pattern, _path) = (pattern, path);

    /// <summary>Reads a pattern.</summary>
    /// <param name="pattern">The pattern.</param>
    /// <param name="path">Where it stands, for errors.</param>
    /// <exception cref="ConstraintException">It is broken, or asks for what cannot be held.</exception>
    public static PatternNode Parse(string pattern, string path)
    {
        var parser = new PatternParser(pattern, path);
        PatternNode node = parser.Alternatives();
        return parser._at == pattern.Length ? node : throw parser.Error("has a ')' that closes nothing");
    }

    private bool IsAtEnd => _at >= _pattern.Length;

    private char Current => _pattern[_at];

    private PatternNode Alternatives()
    {
        if (++_depth > MostDepth)
            throw Error($"has groups that are nested more than {MostDepth} deep");
        List<PatternNode> parts = [Sequence()];
        while (Take("|"))
            parts.Add(Sequence());
        _depth--;
        return parts.Count == 1 ? parts[0] : new PatternNode.Alternatives(parts);
    }

    private PatternNode Sequence()
    {
        var parts = new List<PatternNode>();
        while (!IsAtEnd && Current is not ('|' or ')'))
            parts.Add(Repeats(Atom()));
        return parts.Count == 1 ? parts[0] : new PatternNode.Sequence(parts);
    }

    private PatternNode Repeats(PatternNode part)
    {
        while (!IsAtEnd)
        {
            (int Least, int? Most)? times = Current switch
            {
                '*' => (0, null),
                '+' => (1, null),
                '?' => (0, 1),
                '{' => Braces(),
                _ => null,
            };
            if (times is not { } repeat)
                return part;
            _at++;
            if (Take("+"))
                throw Error("has a possessive quantifier, which cannot be held", _at - 1);
            // A lazy quantifier chooses among matches, and changes nothing of which texts match.
            Take("?");
            if (part is PatternNode.Begin or PatternNode.End)
                throw Error("repeats an anchor", _at - 1);
            part = new PatternNode.Repeated(part, repeat.Least, repeat.Most);
        }

        return part;
    }

    /// <summary>The numbers in braces, or null where the brace stands for itself; ends on the closing brace.</summary>
    private (int, int?)? Braces()
    {
        int end = _pattern.IndexOf('}', _at);
        string[] numbers = end < 0 ? [] : _pattern[(_at + 1)..end].Split(',');
        if (numbers.Length is not (1 or 2) || numbers[0].Length == 0
            || numbers.Any(number => number.Any(digit => !char.IsAsciiDigit(digit))))
            return null;
        int least = Number(numbers[0]);
        int? most = numbers.Length == 1 ? least : numbers[1].Length == 0 ? null : Number(numbers[1]);
        if (most < least)
            throw Error($"repeats from {least} to {most} times");
        _at = end;
        return (least, most);

        int Number(string digits) =>
            int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number <= MostRepeats
                ? number : throw Error($"repeats more than {MostRepeats} times");
    }

    private PatternNode Atom()
    {
        switch (Current)
        {
            case '^':
                _at++;
                return new PatternNode.Begin();
            case '$':
                _at++;
                return new PatternNode.End();
            case '.':
                _at++;
                return new PatternNode.One(CharacterSet.NoLineEnds);
            case '(':
                return Group();
            case '[':
                return new PatternNode.One(Class());
            case '*' or '+' or '?':
                throw Error($"repeats nothing with '{Current}'");
            case '\\':
                return Escape();
            default:
                return new PatternNode.One(CharacterSet.Of(Character()));
        }
    }

    private PatternNode Group()
    {
        int start = _at++;
        if (Take("?"))
        {
            if (Take("=") || Take("!"))
                throw Unsupported("looks ahead", start);
            if (Take("<=") || Take("<!"))
                throw Unsupported("looks behind", start);
            if (Take(">"))
                throw Unsupported("has an atomic group", start);
            if (Take("P<") || Take("<"))
            {
                int end = _pattern.IndexOf('>', _at);
                if (end < 0)
                    throw Error("has a group whose name does not end", start);
                _at = end + 1;
            }
            else if (!Take(":"))
            {
                throw Unsupported("has a group with options", start);
            }
        }

        PatternNode inner = Alternatives();
        return Take(")") ? inner : throw Error("has a '(' that is not closed", start);
    }

    private PatternNode Escape()
    {
        int start = _at;
        if (_at + 1 >= _pattern.Length)
            throw Error("ends in a backslash");
        switch (_pattern[_at + 1])
        {
            case 'A':
                _at += 2;
                return new PatternNode.Begin();
            case 'z' or 'Z':
                _at += 2;
                return new PatternNode.End();
            case 'b' or 'B':
                throw Unsupported("looks at the border of a word", start);
            case >= '1' and <= '9' or 'k':
                throw Unsupported("refers to a group", start);
            default:
                return new PatternNode.One(EscapedSet());
        }
    }

    /// <summary>What a backslash and what follows it stand for, inside of a class or outside.</summary>
    private CharacterSet EscapedSet()
    {
        int start = _at++;
        if (IsAtEnd)
            throw Error("ends in a backslash");
        char kind = Current;
        if (kind is 'p' or 'P')
        {
            _at++;
            int end = !IsAtEnd && Current == '{' ? _pattern.IndexOf('}', _at) : -1;
            string name = end < 0 ? "" : _pattern[(_at + 1)..end];
            CharacterSet set = CharacterSet.Category(name)
                ?? throw Error($"names '\\{kind}{{{name}}}'; general categories such as \\p{{L}} and \\p{{Nd}} are known", start);
            _at = end + 1;
            return kind == 'p' ? set : set.Complement();
        }

        CharacterSet? known = kind switch
        {
            'd' => CharacterSet.Digits,
            'D' => CharacterSet.Digits.Complement(),
            'w' => CharacterSet.Words,
            'W' => CharacterSet.Words.Complement(),
            's' => CharacterSet.Spaces,
            'S' => CharacterSet.Spaces.Complement(),
            'n' => CharacterSet.Of('\n'),
            'r' => CharacterSet.Of('\r'),
            't' => CharacterSet.Of('\t'),
            'f' => CharacterSet.Of('\f'),
            'v' => CharacterSet.Of('\v'),
            'a' => CharacterSet.Of('\a'),
            'e' => CharacterSet.Of(0x1B),
            '0' => CharacterSet.Of(0),
            _ => null,
        };
        if (known is not null)
        {
            _at++;
            return known;
        }

        if (kind is 'x' or 'u')
        {
            _at++;
            int code = Hexadecimal(kind == 'x' ? 2 : 4, start);
            // Half a pair is no character; with its other half it is.
            if (code <= 0xFFFF && char.IsHighSurrogate((char)code) && Take("\\u"))
                code = char.ConvertToUtf32((char)code, LowHalf(Hexadecimal(4, start), start));
            return code is >= 0xD800 and <= 0xDFFF ? throw Error("names half of a surrogate pair", start)
                : CharacterSet.Of(code);
        }

        if (char.IsAsciiLetterOrDigit(kind))
            throw Unsupported($"has '\\{kind}'", start);
        return CharacterSet.Of(Character());
    }

    private char LowHalf(int code, int start) => char.IsLowSurrogate((char)code) ? (char)code
        : throw Error("names half of a surrogate pair", start);

    private int Hexadecimal(int digits, int start)
    {
        bool isBraced = Take("{");
        int end = isBraced ? _pattern.IndexOf('}', _at) : _at + digits;
        if (end > _at && end <= _pattern.Length && end - _at <= 6
            && int.TryParse(_pattern.AsSpan(_at, end - _at), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture,
                out int code) && code <= 0x10FFFF)
        {
            _at = isBraced ? end + 1 : end;
            return code;
        }

        throw Error("has an escape whose digits are not hexadecimal", start);
    }

    private CharacterSet Class()
    {
        int start = _at++;
        bool isNegated = Take("^");
        var ranges = new List<(int, int)>();
        for (bool isFirst = true; ; isFirst = false)
        {
            if (IsAtEnd)
                throw Error("has a '[' that is not closed", start);
            if (Current == ']' && !isFirst)
                break;
            // In ECMAScript [] is nothing and [^] everything; elsewhere the bracket stands for itself.
            if (Current == ']')
                throw Error("has a class that begins with ']': write \\] for the bracket", start);
            if (_pattern.AsSpan(_at).StartsWith("[:", StringComparison.Ordinal))
                throw Unsupported("has a named class", _at);
            if (Current == '-' && _pattern.AsSpan(_at).StartsWith("-[", StringComparison.Ordinal) && ranges.Count > 0)
                throw Unsupported("subtracts a class", _at);
            (int? single, CharacterSet item) = Item();
            if (single is { } first && _at + 1 < _pattern.Length && Current == '-' && _pattern[_at + 1] != ']')
            {
                _at++;
                if (Item().Single is not { } last)
                    throw Error("has a range that ends in a class", start);
                if (last < first)
                    throw Error("has a range whose end is before its beginning", start);
                ranges.Add((first, last));
            }
            else
            {
                ranges.AddRange(item.Ranges);
            }
        }

        _at++;
        var set = CharacterSet.Of(ranges);
        return isNegated ? set.Complement() : set;
    }

    private (int? Single, CharacterSet Set) Item()
    {
        if (IsAtEnd)
            throw Error("has a '[' that is not closed");
        CharacterSet set;
        if (Current != '\\')
            set = CharacterSet.Of(Character());
        else if (_at + 1 < _pattern.Length && _pattern[_at + 1] == 'b')
            (_at, set) = (_at + 2, CharacterSet.Of('\b'));
        else
            set = EscapedSet();
        return (set.Ranges is [var (first, last)] && first == last ? first : null, set);
    }

    /// <summary>A character that stands for itself; two units of UTF-16 may make one.</summary>
    private int Character()
    {
        if (Rune.DecodeFromUtf16(_pattern.AsSpan(_at), out Rune rune, out int length) != OperationStatus.Done)
            throw Error("holds half of a surrogate pair");
        _at += length;
        return rune.Value;
    }

    private bool Take(string text)
    {
        if (!_pattern.AsSpan(_at).StartsWith(text, StringComparison.Ordinal))
            return false;
        _at += text.Length;
        return true;
    }

    private ConstraintException Unsupported(string what, int at) =>
        Error($"{what}, which cannot be held; write it without", at);

    private ConstraintException Error(string what, int? at = null) => new(_path,
        $"{_path}: the pattern '{Shortened(_pattern)}' {what} (character {(at ?? _at) + 1}).");

    private static string Shortened(string text) => text.Length <= 80 ? text : text[..80] + "…";
}
