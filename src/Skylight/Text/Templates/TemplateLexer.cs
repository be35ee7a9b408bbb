using System.Globalization;
using System.Text;

namespace Skylight.Text.Templates;

internal enum TokenKind
{
    Text,
    BlockStart,
    BlockEnd,
    OutputStart,
    OutputEnd,
    Name,
    String,
    Number,
    Operator,
    End,
}

/// <summary>A piece of a template.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Text">Its text; a string's is what it says.</param>
/// <param name="Place">Where it begins.</param>
internal readonly record struct TemplateToken(TokenKind Kind, string Text, TemplatePlace Place);

/// <summary>
/// Cuts a template as Jinja does with the settings of transformers: <c>trim_blocks</c> (a line break behind a block is
/// left out), <c>lstrip_blocks</c> (so are blanks between the beginning of a line and a block), and no line break at
/// the end. A minus beside a mark takes all white space on that side, a plus keeps it.
/// </summary>
internal sealed class TemplateLexer
{
    // The longer ones first.
    private static readonly string[] s_operators =
        ["**", "//", "==", "!=", "<=", ">=", "(", ")", "[", "]", "{", "}", ".", ",", ":", "|", "+", "-", "*", "/", "%",
            "~", "<", ">", "="];

    private readonly string _source;
    private readonly List<TemplateToken> _tokens = [];
    private readonly List<int> _lineStarts = [0];

    private TemplateLexer(string source)
    {
        // As Jinja: line breaks of all kinds are one kind, and one at the end is left out.
        source = source.Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\r', '\n');
        _source = source.EndsWith('\n') ? source[..^1] : source;
        for (int index = 0; index < _source.Length; index++)
        {
            if (_source[index] == '\n')
                _lineStarts.Add(index + 1);
        }
    }

    public static List<TemplateToken> Read(string source)
    {
        var lexer = new TemplateLexer(source);
        lexer.Read();
        return lexer._tokens;
    }

    private void Read()
    {
        int position = 0;
        bool stripsLeft = false, trimsBreak = false;
        while (true)
        {
            int mark = NextMark(position);
            string text = _source[position..(mark < 0 ? _source.Length : mark)];
            int textStart = position;
            if (stripsLeft)
            {
                textStart += text.Length - text.TrimStart().Length;
                text = text.TrimStart();
            }
            else if (trimsBreak && text.StartsWith('\n'))
            {
                textStart++;
                text = text[1..];
            }

            if (mark < 0)
            {
                AddText(text, textStart);
                _tokens.Add(new(TokenKind.End, "", PlaceOf(_source.Length)));
                return;
            }

            char kind = _source[mark + 1];
            char sign = mark + 2 < _source.Length ? _source[mark + 2] : ' ';
            if (sign == '-')
                text = text.TrimEnd();
            else if (kind != '{' && sign != '+' && text.Length == mark - textStart)
                text = WithoutIndentation(text, textStart);
            AddText(text, textStart);
            int inner = mark + (sign is '-' or '+' ? 3 : 2);
            (position, stripsLeft, trimsBreak) = kind switch
            {
                '#' => ReadComment(mark, inner),
                '{' => ReadCode(mark, inner, "}}", TokenKind.OutputStart, TokenKind.OutputEnd),
                _ => ReadRaw(mark, inner) ?? ReadCode(mark, inner, "%}", TokenKind.BlockStart, TokenKind.BlockEnd),
            };
        }
    }

    private int NextMark(int position)
    {
        for (int at = _source.IndexOf('{', position); at >= 0 && at + 1 < _source.Length; at = _source.IndexOf('{', at + 1))
        {
            if (_source[at + 1] is '{' or '%' or '#')
                return at;
        }

        return -1;
    }

    /// <summary>Blanks between the beginning of a line and a block are left out.</summary>
    private string WithoutIndentation(string text, int textStart)
    {
        int end = text.Length;
        while (end > 0 && text[end - 1] is ' ' or '\t' or '\v' or '\f')
            end--;
        bool isLineStart = end > 0 ? text[end - 1] == '\n' : textStart == 0 || _source[textStart - 1] == '\n';
        return isLineStart ? text[..end] : text;
    }

    private void AddText(string text, int start)
    {
        if (text.Length > 0)
            _tokens.Add(new(TokenKind.Text, text, PlaceOf(start)));
    }

    private (int Position, bool StripsLeft, bool TrimsBreak) ReadComment(int mark, int inner)
    {
        int end = _source.IndexOf("#}", inner, StringComparison.Ordinal);
        if (end < 0)
            throw new TemplateException(PlaceOf(mark), "a comment is not closed by '#}'.");
        char sign = end > inner ? _source[end - 1] : ' ';
        return (end + 2, sign == '-', sign != '+');
    }

    private (int Position, bool StripsLeft, bool TrimsBreak)? ReadRaw(int mark, int inner)
    {
        int at = SkipBlanks(inner);
        if (!_source.AsSpan(at).StartsWith("raw") || !EndsBlock(at + 3, out int start, out bool strips))
            return null;
        for (int open = _source.IndexOf("{%", start, StringComparison.Ordinal); open >= 0;
            open = _source.IndexOf("{%", open + 2, StringComparison.Ordinal))
        {
            int name = SkipBlanks(open + 2 + (open + 2 < _source.Length && _source[open + 2] is '-' or '+' ? 1 : 0));
            if (!_source.AsSpan(name).StartsWith("endraw") || !EndsBlock(name + 6, out int end, out bool stripsAfter))
                continue;
            string text = _source[start..open];
            text = strips ? text.TrimStart() : text;
            text = _source[open + 2] == '-' ? text.TrimEnd() : _source[open + 2] == '+' ? text
                : WithoutIndentation(text, open - text.Length);
            AddText(text, start);
            return (end, stripsAfter, true);
        }

        throw new TemplateException(PlaceOf(mark), "'raw' is not closed by 'endraw'.");
    }

    private bool EndsBlock(int at, out int end, out bool strips)
    {
        at = SkipBlanks(at);
        strips = at < _source.Length && _source[at] == '-';
        at += at < _source.Length && _source[at] is '-' or '+' ? 1 : 0;
        end = at + 2;
        return _source.AsSpan(Math.Min(at, _source.Length)).StartsWith("%}");
    }

    private int SkipBlanks(int at)
    {
        while (at < _source.Length && char.IsWhiteSpace(_source[at]))
            at++;
        return at;
    }

    private (int Position, bool StripsLeft, bool TrimsBreak) ReadCode(int mark, int position, string close,
        TokenKind startKind, TokenKind endKind)
    {
        _tokens.Add(new(startKind, _source[mark..(mark + 2)], PlaceOf(mark)));
        var open = new Stack<char>();
        while (true)
        {
            position = SkipBlanks(position);
            if (position >= _source.Length)
                throw new TemplateException(PlaceOf(mark), $"'{_source[mark..(mark + 2)]}' is not closed by '{close}'.");
            ReadOnlySpan<char> rest = _source.AsSpan(position);
            bool isSigned = rest[0] is '-' or '+' && rest[1..].StartsWith(close);
            if (open.Count == 0 && (isSigned || rest.StartsWith(close)))
            {
                _tokens.Add(new(endKind, close, PlaceOf(position)));
                char sign = isSigned ? rest[0] : ' ';
                return (position + close.Length + (isSigned ? 1 : 0), sign == '-',
                    endKind == TokenKind.BlockEnd && sign != '+');
            }

            position = ReadToken(position, open);
        }
    }

    private int ReadToken(int position, Stack<char> open)
    {
        TemplatePlace place = PlaceOf(position);
        char first = _source[position];
        int end = position + 1;
        if (first is '\'' or '"')
        {
            end = ReadString(position, out string text);
            _tokens.Add(new(TokenKind.String, text, place));
        }
        else if (char.IsAsciiDigit(first))
        {
            while (end < _source.Length && (char.IsAsciiLetterOrDigit(_source[end]) || _source[end] == '_'
                || _source[end] == '.' && end + 1 < _source.Length && char.IsAsciiDigit(_source[end + 1])))
                end++;
            _tokens.Add(new(TokenKind.Number, _source[position..end].Replace("_", "", StringComparison.Ordinal), place));
        }
        else if (char.IsLetter(first) || first == '_')
        {
            while (end < _source.Length && (char.IsLetterOrDigit(_source[end]) || _source[end] == '_'))
                end++;
            _tokens.Add(new(TokenKind.Name, _source[position..end], place));
        }
        else
        {
            string found = s_operators.FirstOrDefault(name => _source.AsSpan(position).StartsWith(name))
                ?? throw new TemplateException(place, $"'{first}' is not expected here.");
            if (found is "(" or "[" or "{")
                open.Push(found[0]);
            else if (found is ")" or "]" or "}"
                && (open.Count == 0 || (open.Pop(), found[0]) is not (('(', ')') or ('[', ']') or ('{', '}'))))
                throw new TemplateException(place, $"'{found}' closes nothing.");
            _tokens.Add(new(TokenKind.Operator, found, place));
            end = position + found.Length;
        }

        return end;
    }

    private int ReadString(int position, out string text)
    {
        var result = new StringBuilder();
        char quote = _source[position];
        for (int at = position + 1; at < _source.Length; at++)
        {
            char next = _source[at];
            if (next == quote)
            {
                text = result.ToString();
                return at + 1;
            }

            if (next != '\\' || at + 1 >= _source.Length)
            {
                result.Append(next);
                continue;
            }

            next = _source[++at];
            int digits = next switch { 'x' => 2, 'u' => 4, 'U' => 8, _ => 0 };
            if (digits > 0)
            {
                if (at + digits >= _source.Length
                    || !int.TryParse(_source.AsSpan(at + 1, digits), NumberStyles.AllowHexSpecifier,
                        CultureInfo.InvariantCulture, out int code)
                    || code is < 0 or > 0x10FFFF or (>= 0xD800 and < 0xE000))
                    throw new TemplateException(PlaceOf(at - 1), "an escape in a string is not a character.");
                result.Append(char.ConvertFromUtf32(code));
                at += digits;
                continue;
            }

            if (next == '\n')
                continue;
            char plain = next switch
            {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' => '\b',
                'f' => '\f',
                'v' => '\v',
                'a' => '\a',
                '0' => '\0',
                _ => next,
            };
            // Python keeps the backslash of an escape that there is none of.
            if (plain == next && next is not ('\\' or '\'' or '"'))
                result.Append('\\');
            result.Append(plain);
        }

        throw new TemplateException(PlaceOf(position), "a string is not closed.");
    }

    private TemplatePlace PlaceOf(int position)
    {
        int line = _lineStarts.BinarySearch(position);
        line = line >= 0 ? line : ~line - 1;
        return new TemplatePlace(line + 1, position - _lineStarts[line] + 1);
    }
}
