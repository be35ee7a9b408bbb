using System.Globalization;

namespace Skylight.Training.Answers;

/// <summary>
/// Reads a cleaned answer as mathematics, by recursive descent over its characters: time grows with the length, and
/// what is nested deeper than
/// <see cref="MostDepth"/> is no mathematics to it.
/// </summary>
internal sealed partial class MathParser
{
    private const int MostDepth = 48, MostMarks = 8;

    private readonly string _text;
    private readonly bool _readsUnits;
    private int _at;
    private int _depth;
    private int _inBrackets;

    private MathParser(string text, bool readsUnits) => (_text, _readsUnits) = (text, readsUnits);

    /// <summary>Reads an answer; null if it is none that is known here.</summary>
    /// <param name="cleaned">As <see cref="AnswerText.Clean"/> writes it.</param>
    public static MathNode? Read(string cleaned)
    {
        if (cleaned.Length is 0 or > AnswerText.MostCharacters || !HoldsMathematics(cleaned))
            return null;
        return new MathParser(cleaned, readsUnits: true).ReadAll() ?? new MathParser(cleaned, readsUnits: false).ReadAll();
    }

    // Words alone are no product of their letters: "dog" is not "god".
    private static bool HoldsMathematics(string text)
    {
        if (text.Any(character => char.IsAsciiDigit(character)
            || character is '+' or '=' or '<' or '>' or '^' or '/' or '*' or '|'))
            return true;
        for (int at = text.IndexOf('\\', StringComparison.Ordinal); at >= 0; at = text.IndexOf('\\', at + 1))
        {
            if (!AnswerText.TryCommand(text, at, out string command, out _) ? at + 1 < text.Length
                && text[at + 1] is '{' : !AnswerText.IsWordWrapper(command))
                return true;
        }

        // A single letter, or letters in brackets: (a, b).
        return text.Count(char.IsLetter) == 1 || (text[0] is '(' or '[' or '-' && !HasWord(text));
    }

    private static bool HasWord(string text)
    {
        for (int at = 1; at < text.Length; at++)
        {
            if (char.IsLetter(text[at]) && char.IsLetter(text[at - 1]))
                return true;
        }

        return false;
    }

    private MathNode? ReadAll()
    {
        MathNode? answer = ReadList();
        Skip();
        return answer is not null && _at == _text.Length ? answer : null;
    }

    /// <summary>Items between commas; one alone is itself. "and" and "or" part items too.</summary>
    private MathNode? ReadList()
    {
        if (!Enter())
            return null;
        var items = new List<MathNode>();
        do
        {
            if (ReadUnion() is not { } item)
                return null;
            items.Add(item);
        }
        while (TryTake(',') || TryTake(';') || TryWord("and") || TryWord("or"));
        _depth--;
        if (items is [{ } only])
            return only.Holds(MathKind.PlusMinus) && only.Kind != MathKind.List
                ? new MathNode(MathKind.List, "", 0, WithSign(only, false), WithSign(only, true)) : only;
        return new MathNode(MathKind.List, "", 0,
            [.. items.SelectMany(item => item.Holds(MathKind.PlusMinus)
                ? new[] { WithSign(item, false), WithSign(item, true) } : [item])]);
    }

    private static MathNode WithSign(MathNode node, bool negative)
    {
        MathNode[] parts = [.. node.Parts.Select(part => WithSign(part, negative))];
        return node.Kind != MathKind.PlusMinus ? node with { Parts = parts }
            : negative ? MathNode.Of(MathKind.Negate, parts) : parts[0];
    }

    private MathNode? ReadUnion()
    {
        if (ReadRelation() is not { } first)
            return null;
        var sets = new List<MathNode> { first };
        while (TryCommand("cup"))
        {
            if (ReadRelation() is not { } next)
                return null;
            sets.Add(next);
        }

        return sets.Count == 1 ? first : new MathNode(MathKind.List, "∪", 0, [.. sets]);
    }

    private MathNode? ReadRelation()
    {
        var sides = new List<MathNode>();
        string signs = "";
        Skip();
        // "≤ 5" says it of something that has no name.
        if (PeekSign() != '\0')
            sides.Add(new MathNode(MathKind.Variable, "", 0));
        else if (ReadQuantity() is { } first)
            sides.Add(first);
        else
            return null;
        while (PeekSign() is var sign && sign != '\0')
        {
            TakeSign();
            if (ReadQuantity() is not { } side)
                return null;
            sides.Add(side);
            signs += sign;
        }

        return sides.Count == 1 ? sides[0] : new MathNode(MathKind.Relation, signs, 0, [.. sides]);
    }

    private char PeekSign()
    {
        Skip();
        if (_at == _text.Length)
            return '\0';
        char character = _text[_at];
        bool withEquals = _at + 1 < _text.Length && _text[_at + 1] == '=';
        return character switch
        {
            '=' => '=',
            '≈' => '=',
            '<' => withEquals ? 'l' : '<',
            '>' => withEquals ? 'g' : '>',
            '!' when withEquals => 'n',
            '\\' => PeekCommand() switch { "le" => 'l', "ge" => 'g', "ne" => 'n', "approx" => '=', "in" => '∈', _ => '\0' },
            _ => '\0',
        };
    }

    private void TakeSign()
    {
        if (_text[_at] == '\\')
            _at += PeekCommand().Length + 1;
        else
            _at += _at + 1 < _text.Length && _text[_at] is '<' or '>' or '!' && _text[_at + 1] == '=' ? 2 : 1;
    }

    /// <summary>An expression with a unit before or behind it.</summary>
    private MathNode? ReadQuantity()
    {
        Skip();
        AnswerUnit? unit = null;
        bool isNegative = false;
        if (_readsUnits)
        {
            int start = _at;
            isNegative = TryTake('-');
            if (ReadCurrency() is { } currency)
                unit = AnswerUnit.Of([(currency, 1)]);
            else
                (_at, isNegative) = (start, false);
        }

        if (ReadSum() is not { } value)
            return null;
        if (isNegative)
            value = MathNode.Of(MathKind.Negate, value);
        if (value.Kind == MathKind.Degree)
        {
            Skip();
            int start = _at;
            string scale = ReadWrappedWords()
                ?? (_at < _text.Length && _text[_at] is 'C' or 'F' ? _text[_at++].ToString() : "");
            if (scale is not ("C" or "F") || (_at < _text.Length && char.IsLetter(_text[_at])))
                (scale, _at) = ("", start);
            return value.Parts[0] with { Unit = AnswerUnit.Of([("°" + scale, 1)]) };
        }

        if (_readsUnits && unit is null)
            unit = ReadUnit();
        return unit is null ? value : value with { Unit = unit };
    }

    private string? ReadCurrency()
    {
        Skip();
        if (TryCommand("dollar"))
            return "$";
        if (TryCommand("pounds"))
            return "£";
        if (_at < _text.Length && _text[_at] is '€' or '£' or '¥')
            return _text[_at++].ToString();
        return null;
    }

    /// <summary>Names of units, with powers, joined by a stroke, a dot or nothing.</summary>
    private AnswerUnit? ReadUnit()
    {
        var units = new List<(string, int)>();
        int sign = 1;
        while (true)
        {
            int start = _at;
            if (ReadCurrency() is { } currency)
            {
                units.Add((currency, sign));
            }
            else if (ReadUnitNames(units, sign))
            {
                // it added them
            }
            else
            {
                _at = start;
                break;
            }

            sign = 1;
            Skip();
            if (_at < _text.Length && _text[_at] == '/')
            {
                _at++;
                sign = -1;
            }
            else if (!TryCommand("times"))
            {
                TryWord("per", () => sign = -1);
            }
        }

        return units.Count == 0 ? null : AnswerUnit.Of(units);
    }

    private bool ReadUnitNames(List<(string, int)> units, int sign)
    {
        Skip();
        int start = _at;
        if (ReadWrappedWords() is { } words)
        {
            // "\text{ m/s}^2" has the power on the last; a word in brackets is a remark.
            string[] parts = words.Split(['/', ' ', '·', '.', '(', ')'],
                StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
            if (parts.Length == 0 || parts.Length > 8 || parts.Any(part => !char.IsLetter(part[0]))
                || parts is ["and" or "or"])
                return Back(start);
            int stroke = words.IndexOf('/', StringComparison.Ordinal), found = 0;
            for (int part = 0; part < parts.Length; part++)
            {
                found = words.IndexOf(parts[part], found, StringComparison.Ordinal) + parts[part].Length;
                (string name, int power) = SplitPower(parts[part]);
                if (part == parts.Length - 1)
                    power *= ReadUnitPower();
                if (name is not ("square" or "cubic" or "per"))
                    units.Add((name,
                        (part > 0 && stroke >= 0 && found > stroke || (part == 0 && sign < 0)
                            || (part > 0 && parts[part - 1] == "per") ? -1 : 1)
                        * power * (part > 0 ? parts[part - 1] switch { "square" => 2, "cubic" => 3, _ => 1 } : 1)));
            }

            return true;
        }

        int end = _at;
        while (end < _text.Length && char.IsLetter(_text[end]))
            end++;
        string run = _text[_at..end];
        if (run.Length == 0 || run is "and" or "or")
            return false;
        int multiple = 1;
        if (run is "square" or "cubic" or "sq" or "cu")
        {
            multiple = run[0] == 's' ? 2 : 3;
            _at = end;
            Skip();
            for (end = _at; end < _text.Length && char.IsLetter(_text[end]);)
                end++;
            run = _text[_at..end];
        }

        if (!AnswerUnit.IsKnown(run) && run.Length < 3)
            return Back(start);
        _at = end;
        units.Add((run, sign * multiple * ReadUnitPower()));
        return true;
    }

    private bool Back(int start)
    {
        _at = start;
        return false;
    }

    private static (string Name, int Power) SplitPower(string unit)
    {
        int caret = unit.IndexOf('^', StringComparison.Ordinal);
        string digits = caret < 0 ? "" : unit[(caret + 1)..].Trim('{', '}');
        return int.TryParse(digits, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int power)
            && Math.Abs(power) < 10 ? (unit[..caret], power) : (unit, 1);
    }

    private int ReadUnitPower()
    {
        int start = _at;
        Skip();
        if (!TryTake('^'))
        {
            _at = start;
            return 1;
        }

        bool braced = TryTake('{'), negative = TryTake('-');
        Skip();
        if (_at < _text.Length && char.IsAsciiDigit(_text[_at]))
        {
            int power = _text[_at++] - '0';
            if (!braced || TryTake('}'))
                return negative ? -power : power;
        }

        _at = start;
        return 1;
    }

    /// <summary>What a wrapper of words holds, or null with the place unchanged.</summary>
    private string? ReadWrappedWords()
    {
        Skip();
        int start = _at;
        string command = PeekCommand();
        if (command.Length == 0 || !AnswerText.IsWordWrapper(command))
            return null;
        _at += command.Length + 1;
        Skip();
        if (_at == _text.Length || _text[_at] != '{')
        {
            _at = start;
            return null;
        }

        int depth = 0;
        for (int end = _at; end < _text.Length; end++)
        {
            if (_text[end] == '{')
                depth++;
            else if (_text[end] == '}' && --depth == 0)
            {
                string words = _text[(_at + 1)..end].Trim();
                _at = end + 1;
                return words;
            }
        }

        _at = start;
        return null;
    }

    private void Skip()
    {
        while (_at < _text.Length && _text[_at] == ' ')
            _at++;
    }

    private bool Enter() => ++_depth <= MostDepth;

    private bool TryTake(char character)
    {
        Skip();
        if (_at == _text.Length || _text[_at] != character)
            return false;
        _at++;
        return true;
    }

    private string PeekCommand() => _at < _text.Length && _text[_at] == '\\'
        && AnswerText.TryCommand(_text, _at, out string command, out _) ? command : "";

    private bool TryCommand(string command)
    {
        Skip();
        if (PeekCommand() != command)
            return false;
        _at += command.Length + 1;
        return true;
    }

    /// <summary>A word of the text, plain or wrapped.</summary>
    private bool TryWord(string word, Action? then = null)
    {
        Skip();
        int start = _at, end = _at + word.Length;
        if (end <= _text.Length && string.CompareOrdinal(_text, _at, word, 0, word.Length) == 0
            && (end == _text.Length || !char.IsLetter(_text[end])))
        {
            _at = end;
            then?.Invoke();
            return true;
        }

        if (ReadWrappedWords() == word)
        {
            then?.Invoke();
            return true;
        }

        _at = start;
        return false;
    }
}
