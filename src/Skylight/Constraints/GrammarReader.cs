using System.Buffers;
using System.Globalization;
using System.Text;

namespace Skylight.Constraints;

/// <summary>Reads grammars in llama.cpp's notation, GBNF.</summary>
internal sealed class GrammarReader
{
    private const int MostDepth = 200;
    private const string Root = "root", What = "the grammar";

    private readonly string _text;
    private readonly Dictionary<string, Rule> _rules = [];
    private readonly Dictionary<string, int> _mentioned = [];
    private readonly HashSet<string> _written = [];
    private int _at;
    private int _depth;

    private GrammarReader(string text) => _text = text;

    /// <summary>Reads a grammar; an answer is what its rule <c>root</c> says.</summary>
    /// <exception cref="ConstraintException">It is broken; the message names the line.</exception>
    public static Form Read(string text)
    {
        var reader = new GrammarReader(text);
        reader.SkipSpace(newLines: true);
        while (!reader.IsAtEnd)
            reader.ReadRule();
        foreach ((string name, int at) in reader._mentioned)
        {
            if (!reader._written.Contains(name))
                throw reader.Error($"the rule '{name}' is used and not written", at);
        }

        return reader._written.Contains(Root) ? new Form.Call(reader._rules[Root])
            : throw reader.Error($"there is no rule '{Root}', with which an answer begins", 0);
    }

    private bool IsAtEnd => _at >= _text.Length;

    private char Current => IsAtEnd ? '\0' : _text[_at];

    private void ReadRule()
    {
        int start = _at;
        string name = Name();
        SkipSpace(newLines: false);
        if (!Take("::="))
            throw Error("'::=' is missing behind the name of a rule");
        SkipSpace(newLines: true);
        Rule rule = RuleOf(name);
        if (!_written.Add(name))
            throw Error($"the rule '{name}' is there twice", start);
        rule.Body = Alternatives(isNested: false);
        if (!IsAtEnd && Current is not ('\n' or '\r'))
            throw Error($"'{Current}' is not understood");
        SkipSpace(newLines: true);
    }

    private Form Alternatives(bool isNested)
    {
        if (++_depth > MostDepth)
            throw Error($"groups are nested more than {MostDepth} deep");
        List<Form> parts = [Sequence(isNested)];
        while (NextAlternative(isNested))
            parts.Add(Sequence(isNested));
        _depth--;
        return Form.Either(parts);
    }

    /// <summary>Whether a bar follows, which may stand at the beginning of the next line.</summary>
    private bool NextAlternative(bool isNested)
    {
        int before = _at;
        SkipSpace(newLines: true);
        if (!Take("|"))
        {
            _at = isNested ? _at : before;
            return false;
        }

        SkipSpace(newLines: true);
        return true;
    }

    private Form Sequence(bool isNested)
    {
        var parts = new List<Form>();
        while (true)
        {
            SkipSpace(newLines: isNested);
            Form? part = Part();
            if (part is null)
                return Form.Of(parts);
            parts.Add(Repeats(part, isNested));
        }
    }

    private Form? Part()
    {
        switch (Current)
        {
            case '"':
                return Literal();
            case '[':
                return Utf8Form.Of(Class());
            case '.':
                _at++;
                return Utf8Form.Of(CharacterSet.All);
            case '(':
                int start = _at++;
                Form inner = Alternatives(isNested: true);
                SkipSpace(newLines: true);
                return Take(")") ? inner : throw Error("a '(' is not closed", start);
            case var letter when IsNamePart(letter):
                int at = _at;
                string name = Name();
                _mentioned.TryAdd(name, at);
                return new Form.Call(RuleOf(name));
            default:
                return null;
        }
    }

    private Form Repeats(Form part, bool isNested)
    {
        while (true)
        {
            SkipSpace(newLines: isNested);
            (int Least, int? Most) times;
            switch (Current)
            {
                case '*':
                    times = (0, null);
                    break;
                case '+':
                    times = (1, null);
                    break;
                case '?':
                    times = (0, 1);
                    break;
                case '{':
                    times = Braces();
                    break;
                default:
                    return part;
            }

            _at++;
            part = new Form.Repeated(part, times.Least, times.Most);
        }
    }

    private (int, int?) Braces()
    {
        int start = _at, end = _text.IndexOf('}', _at);
        string[] numbers = end < 0 ? [] : _text[(_at + 1)..end].Split(',');
        if (numbers.Length is not (1 or 2))
            throw Error("a '{' must be followed by {n}, {n,} or {n,m}", start);
        int least = numbers.Length == 2 && numbers[0].Trim().Length == 0 ? 0 : Number(numbers[0]);
        int? most = numbers.Length == 1 ? least : numbers[1].Trim().Length == 0 ? null : Number(numbers[1]);
        if (most < least)
            throw Error($"it repeats from {least} to {most} times", start);
        _at = end;
        return (least, most);

        int Number(string digits) =>
            int.TryParse(digits.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number <= PatternParser.MostRepeats ? number
            : throw Error($"a number of repeats must be from 0 to {PatternParser.MostRepeats}", start);
    }

    private Form Literal()
    {
        int start = _at++;
        var text = new StringBuilder();
        while (Current != '"')
        {
            if (IsAtEnd || Current is '\n' or '\r')
                throw Error("a '\"' is not closed", start);
            text.Append(new Rune(Character()).ToString());
        }

        _at++;
        return Form.Text(text.ToString());
    }

    private CharacterSet Class()
    {
        int start = _at++;
        bool isNegated = Take("^");
        var ranges = new List<(int, int)>();
        while (Current != ']')
        {
            if (IsAtEnd || Current is '\n' or '\r')
                throw Error("a '[' is not closed", start);
            int first = Character(), last = first;
            if (Current == '-' && _at + 1 < _text.Length && _text[_at + 1] != ']')
            {
                _at++;
                last = Character();
                if (last < first)
                    throw Error("the end of a range is before its beginning", start);
            }

            ranges.Add((first, last));
        }

        _at++;
        var set = CharacterSet.Of(ranges);
        return isNegated ? set.Complement() : set;
    }

    private int Character()
    {
        int start = _at;
        if (!Take("\\"))
        {
            if (Rune.DecodeFromUtf16(_text.AsSpan(_at), out Rune rune, out int length) != OperationStatus.Done)
                throw Error("half of a surrogate pair is no character");
            _at += length;
            return rune.Value;
        }

        char kind = Current;
        _at++;
        switch (kind)
        {
            case 'n':
                return '\n';
            case 'r':
                return '\r';
            case 't':
                return '\t';
            case '\\' or '"' or '[' or ']' or '-' or '^':
                return kind;
            case 'x' or 'u' or 'U':
                int digits = kind == 'x' ? 2 : kind == 'u' ? 4 : 8;
                if (_at + digits > _text.Length || !int.TryParse(_text.AsSpan(_at, digits), NumberStyles.AllowHexSpecifier,
                    CultureInfo.InvariantCulture, out int code) || !Rune.IsValid(code))
                    throw Error($"'\\{kind}' needs {digits} hexadecimal digits of a character", start);
                _at += digits;
                return code;
            default:
                throw Error("this escape is not known; there are \\n \\r \\t \\\\ \\\" \\[ \\] \\x41 \\u0041 and " +
                    "\\U00000041", start);
        }
    }

    private Rule RuleOf(string name)
    {
        if (!_rules.TryGetValue(name, out Rule? rule))
            _rules.Add(name, rule = new Rule(name));
        return rule;
    }

    private string Name()
    {
        int start = _at;
        while (IsNamePart(Current))
            _at++;
        return _at > start ? _text[start.._at] : throw Error("the name of a rule is missing");
    }

    private static bool IsNamePart(char letter) => char.IsAsciiLetterOrDigit(letter) || letter is '-' or '_';

    private void SkipSpace(bool newLines)
    {
        while (!IsAtEnd)
        {
            if (Current is ' ' or '\t' || (newLines && Current is '\n' or '\r'))
                _at++;
            else if (Current == '#')
                _at = _text.IndexOf('\n', _at) is var end and >= 0 ? end : _text.Length;
            else
                return;
        }
    }

    private bool Take(string text)
    {
        if (!_text.AsSpan(_at).StartsWith(text, StringComparison.Ordinal))
            return false;
        _at += text.Length;
        return true;
    }

    private ConstraintException Error(string what, int? at = null)
    {
        int place = Math.Min(at ?? _at, _text.Length), line = 1 + _text.AsSpan(0, place).Count('\n');
        int column = place - (_text.LastIndexOf('\n', Math.Max(0, place - 1), Math.Max(0, place)) + 1) + 1;
        return new ConstraintException(What, $"{What}, line {line}, character {column}: {what}.");
    }
}
