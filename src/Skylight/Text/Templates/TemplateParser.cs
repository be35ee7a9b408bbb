using System.Globalization;

namespace Skylight.Text.Templates;

/// <summary>
/// Reads a template into statements. What it does not know is refused here, by name and place: nothing is found out
/// only while a chat is rendered that could be before.
/// </summary>
internal sealed class TemplateParser
{
    private const int MostDepth = 100, MostLength = 1 << 20, MostArguments = 255;

    private readonly List<TemplateToken> _tokens;
    private int _next, _depth, _loops;

    private TemplateParser(List<TemplateToken> tokens) => _tokens = tokens;

    private TemplateToken Current => _tokens[_next];

    public static List<TemplateStatement> Parse(string source)
    {
        if (source.Length > MostLength)
            throw new TemplateException(new TemplatePlace(1, 1), $"the template has more than {MostLength} characters.");
        var parser = new TemplateParser(TemplateLexer.Read(source));
        List<TemplateStatement> statements = parser.ParseBody([]);
        return parser.Current.Kind == TokenKind.End ? statements : throw parser.Unexpected("");
    }

    /// <summary>Statements up to a block that begins with one of some words; the word is next then.</summary>
    private List<TemplateStatement> ParseBody(ReadOnlySpan<string> ends)
    {
        using var _ = Deeper();
        var statements = new List<TemplateStatement>();
        while (Current.Kind != TokenKind.End)
        {
            TemplateToken token = Current;
            switch (token.Kind)
            {
                case TokenKind.Text:
                    _next++;
                    statements.Add(new TextStatement(token.Place, token.Text));
                    break;
                case TokenKind.OutputStart:
                    _next++;
                    statements.Add(new OutputStatement(token.Place, ParseExpression()));
                    Take(TokenKind.OutputEnd, "}}");
                    break;
                default:
                    _next++;
                    if (ends.Contains(Current.Text))
                        return statements;
                    statements.Add(ParseStatement());
                    break;
            }
        }

        return ends.IsEmpty ? statements : throw new TemplateException(Current.Place, $"'{ends[^1]}' is missing.");
    }

    private TemplateStatement ParseStatement()
    {
        TemplateToken word = TakeName("a statement");
        switch (word.Text)
        {
            case "if": return ParseIf(word.Place);
            case "for": return ParseFor(word.Place);
            case "set": return ParseSet(word.Place);
            case "macro": return ParseMacro(word.Place);
            case "generation":
                EndBlock();
                return new GroupStatement(word.Place, ParseUntil("endgeneration"));
            case "break" or "continue" when _loops > 0:
                EndBlock();
                return new FlowStatement(word.Place, word.Text == "break" ? TemplateFlow.Break : TemplateFlow.Continue);
            default:
                throw new TemplateException(word.Place,
                $"'{word.Text}' is not supported here; statements that are: if, for, set, macro, break, continue, " +
                $"raw, generation.");
        }
    }

    private List<TemplateStatement> ParseUntil(string end)
    {
        List<TemplateStatement> body = ParseBody([end]);
        _next++;
        EndBlock();
        return body;
    }

    private IfStatement ParseIf(TemplatePlace place)
    {
        var branches = new List<(TemplateExpression?, List<TemplateStatement>)>();
        TemplateExpression? condition = ParseExpression();
        while (true)
        {
            EndBlock();
            branches.Add((condition, condition is null ? ParseBody(["endif"]) : ParseBody(["elif", "else", "endif"])));
            string word = Current.Text;
            _next++;
            if (word == "endif")
            {
                EndBlock();
                return new IfStatement(place, branches);
            }

            condition = word == "elif" ? ParseExpression() : null;
        }
    }

    private ForStatement ParseFor(TemplatePlace place)
    {
        var targets = new List<string>();
        bool isParenthesized = TryTake("(");
        do
            targets.Add(TakeName("the name of the loop's elements").Text);
        while (TryTake(","));
        if (isParenthesized)
            Expect(")");
        if (!TryTakeName("in"))
            throw Unexpected("'in'");
        // A condition belongs to the loop, not to the list.
        TemplateExpression source = ParseOr();
        TemplateExpression? condition = TryTakeName("if") ? ParseExpression() : null;
        EndBlock();
        _loops++;
        List<TemplateStatement> body = ParseBody(["else", "endfor"]), otherwise = [];
        _loops--;
        bool hasElse = Current.Text == "else";
        _next++;
        EndBlock();
        if (hasElse)
            otherwise = ParseUntil("endfor");
        return new ForStatement(place, targets, source, condition, body, otherwise);
    }

    private TemplateStatement ParseSet(TemplatePlace place)
    {
        string name = TakeName("the name to set").Text;
        string? member = TryTake(".") ? TakeName("the member to set").Text : null;
        if (TryTake("="))
        {
            var statement = new SetStatement(place, name, member, ParseTuple());
            EndBlock();
            return statement;
        }

        if (member is not null)
            throw Unexpected("'='");
        EndBlock();
        return new SetBlockStatement(place, name, ParseUntil("endset"));
    }

    private MacroStatement ParseMacro(TemplatePlace place)
    {
        string name = TakeName("the name of the macro").Text;
        Expect("(");
        var parameters = new List<(string, TemplateExpression?)>();
        while (!TryTake(")"))
        {
            if (parameters.Count > 0)
                Expect(",");
            CheckArguments(parameters.Count);
            string parameter = TakeName("a parameter").Text;
            parameters.Add((parameter, TryTake("=") ? ParseExpression() : null));
        }

        EndBlock();
        int loops = _loops;
        _loops = 0;
        List<TemplateStatement> body = ParseUntil("endmacro");
        _loops = loops;
        return new MacroStatement(place, name, parameters, body);
    }

    /// <summary>An expression, or several with commas, which are a list.</summary>
    private TemplateExpression ParseTuple()
    {
        TemplateExpression first = ParseExpression();
        if (Current is not { Kind: TokenKind.Operator, Text: "," })
            return first;
        List<TemplateExpression> items = [first];
        while (TryTake(","))
            items.Add(ParseExpression());
        return new ListExpression(first.Place, items);
    }

    private TemplateExpression ParseExpression()
    {
        using var _ = Deeper();
        TemplateExpression value = ParseOr();
        while (Current is { Kind: TokenKind.Name, Text: "if" })
        {
            TemplatePlace place = Current.Place;
            _next++;
            TemplateExpression condition = ParseOr();
            value = new ConditionExpression(place, condition, value, TryTakeName("else") ? ParseExpression() : null);
        }

        return value;
    }

    private TemplateExpression ParseOr() => ParseLogic("or", () => ParseLogic("and", ParseNot));

    private TemplateExpression ParseLogic(string word, Func<TemplateExpression> operand)
    {
        TemplateExpression left = operand();
        while (Current.Kind == TokenKind.Name && Current.Text == word)
        {
            TemplatePlace place = Current.Place;
            _next++;
            left = new LogicExpression(place, left, operand(), word == "and");
        }

        return left;
    }

    private TemplateExpression ParseNot()
    {
        if (Current is not { Kind: TokenKind.Name, Text: "not" })
            return ParseComparison();
        using var _ = Deeper();
        TemplatePlace place = Current.Place;
        _next++;
        return new NotExpression(place, ParseNot());
    }

    private TemplateExpression ParseComparison()
    {
        TemplateExpression first = ParseSum();
        var rest = new List<(string, TemplateExpression)>();
        while (true)
        {
            TemplateToken token = Current;
            if (token.Kind == TokenKind.Operator && token.Text is "==" or "!=" or "<" or "<=" or ">" or ">="
                || token is { Kind: TokenKind.Name, Text: "in" })
            {
                _next++;
                rest.Add((token.Text, ParseSum()));
            }
            else if (token is { Kind: TokenKind.Name, Text: "not" }
                && _tokens[_next + 1] is { Kind: TokenKind.Name, Text: "in" })
            {
                _next += 2;
                rest.Add(("not in", ParseSum()));
            }
            else
            {
                return rest.Count == 0 ? first : new ComparisonExpression(first.Place, first, rest);
            }
        }
    }

    // From the loosest: Jinja binds '~' closer than '+'.
    private TemplateExpression ParseSum() =>
        ParseBinary(["+", "-"], () => ParseBinary(["~"], () => ParseBinary(["*", "/", "//", "%"], ParsePower)));

    private TemplateExpression ParsePower() => ParseBinary(["**"], () => ParseUnary(takesFilters: true));

    private TemplateExpression ParseBinary(string[] operations, Func<TemplateExpression> operand)
    {
        TemplateExpression left = operand();
        while (Current.Kind == TokenKind.Operator && operations.Contains(Current.Text))
        {
            TemplateToken operation = Current;
            _next++;
            left = new BinaryExpression(operation.Place, operation.Text, left, operand());
        }

        return left;
    }

    private TemplateExpression ParseUnary(bool takesFilters)
    {
        using var _ = Deeper();
        TemplateToken token = Current;
        TemplateExpression value;
        if (token is { Kind: TokenKind.Operator, Text: "-" or "+" })
        {
            _next++;
            value = new SignExpression(token.Place, ParseUnary(takesFilters: false), token.Text == "-");
        }
        else
        {
            value = ParsePrimary();
        }

        value = ParsePostfix(value);
        return takesFilters ? ParseFilters(value) : value;
    }

    private TemplateExpression ParsePrimary()
    {
        TemplateToken token = Current;
        _next++;
        switch (token.Kind)
        {
            case TokenKind.Name:
                return token.Text switch
                {
                    "true" or "True" => new Literal(token.Place, true),
                    "false" or "False" => new Literal(token.Place, false),
                    "none" or "None" => new Literal(token.Place, null),
                    "if" or "else" or "elif" or "in" or "is" or "and" or "or" or "not" =>
                        throw new TemplateException(token.Place, $"'{token.Text}' is not expected here."),
                    _ => new NameExpression(token.Place, token.Text),
                };
            case TokenKind.String:
                // Neighbours are one text, as in Python.
                int first = _next - 1;
                while (Current.Kind == TokenKind.String)
                    _next++;
                return new Literal(token.Place,
                    string.Concat(_tokens[first.._next].Select(neighbour => neighbour.Text)));
            case TokenKind.Number:
                if (long.TryParse(token.Text, NumberStyles.None, CultureInfo.InvariantCulture, out long whole))
                    return new Literal(token.Place, whole);
                return double.TryParse(token.Text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number)
                    ? new Literal(token.Place, number)
                    : throw new TemplateException(token.Place, $"'{token.Text}' is no number.");
            case TokenKind.Operator when token.Text == "(":
                if (TryTake(")"))
                    return new ListExpression(token.Place, []);
                TemplateExpression inner = ParseExpression();
                if (!TryTake(","))
                {
                    Expect(")");
                    return inner;
                }

                return new ListExpression(token.Place, [inner, .. ParseList(")")]);
            case TokenKind.Operator when token.Text == "[":
                return new ListExpression(token.Place, ParseList("]"));
            case TokenKind.Operator when token.Text == "{":
                return ParseMap(token.Place);
            default:
                _next--;
                throw Unexpected("an expression");
        }
    }

    private List<TemplateExpression> ParseList(string close)
    {
        var items = new List<TemplateExpression>();
        while (!TryTake(close))
        {
            items.Add(ParseExpression());
            if (!TryTake(","))
            {
                Expect(close);
                break;
            }
        }

        return items;
    }

    private MapExpression ParseMap(TemplatePlace place)
    {
        var members = new List<(TemplateExpression, TemplateExpression)>();
        while (!TryTake("}"))
        {
            TemplateExpression key = ParseExpression();
            Expect(":");
            members.Add((key, ParseExpression()));
            if (!TryTake(","))
            {
                Expect("}");
                break;
            }
        }

        return new MapExpression(place, members);
    }

    private TemplateExpression ParsePostfix(TemplateExpression value)
    {
        while (Current.Kind == TokenKind.Operator)
        {
            TemplatePlace place = Current.Place;
            if (TryTake("."))
            {
                TemplateToken name = Current;
                if (name.Kind is not (TokenKind.Name or TokenKind.Number))
                    throw Unexpected("the name of a member");
                _next++;
                object index = name.Kind == TokenKind.Number && long.TryParse(name.Text, NumberStyles.None,
                    CultureInfo.InvariantCulture, out long number) ? number : name.Text;
                value = new MemberExpression(place, value, new Literal(name.Place, index), isDotted: index is string);
            }
            else if (TryTake("["))
            {
                value = ParseSubscript(place, value);
            }
            else if (Current.Text == "(")
            {
                (List<TemplateExpression> positional, List<(string, TemplateExpression)> named) = ParseArguments();
                value = new CallExpression(place, value, positional, named);
            }
            else
            {
                break;
            }
        }

        return value;
    }

    private TemplateExpression ParseSubscript(TemplatePlace place, TemplateExpression value)
    {
        TemplateExpression?[] bounds = [null, null, null];
        int bound = 0;
        while (!TryTake("]"))
        {
            if (TryTake(":"))
            {
                if (++bound > 2)
                    throw Unexpected("']'");
            }
            else if (bounds[bound] is null)
            {
                bounds[bound] = ParseExpression();
            }
            else
            {
                throw Unexpected("']'");
            }
        }

        if (bound > 0)
            return new SliceExpression(place, value, bounds[0], bounds[1], bounds[2]);
        return new MemberExpression(place, value,
            bounds[0] ?? throw new TemplateException(place, "'[]' names no element."), isDotted: false);
    }

    private (List<TemplateExpression> Positional, List<(string Name, TemplateExpression Value)> Named) ParseArguments()
    {
        Expect("(");
        List<TemplateExpression> positional = [];
        List<(string Name, TemplateExpression Value)> named = [];
        while (!TryTake(")"))
        {
            if (positional.Count + named.Count > 0)
            {
                Expect(",");
                if (TryTake(")"))
                    break;
            }

            CheckArguments(positional.Count + named.Count);

            if (Current.Kind == TokenKind.Name && _tokens[_next + 1] is { Kind: TokenKind.Operator, Text: "=" })
            {
                string name = Current.Text;
                if (named.Exists(argument => argument.Name == name))
                    throw new TemplateException(Current.Place, $"'{name}' is given twice.");
                _next += 2;
                named.Add((name, ParseExpression()));
            }
            else
            {
                positional.Add(ParseExpression());
            }
        }

        return (positional, named);
    }

    private TemplateExpression ParseFilters(TemplateExpression value)
    {
        while (true)
        {
            if (TryTake("|"))
            {
                TemplateToken name = TakeName("the name of a filter");
                if (!TemplateFilters.All.TryGetValue(name.Text, out Func<object?, TemplateCall, object?>? filter))
                    throw new TemplateException(name.Place,
                        $"the filter '{name.Text}' is not supported; there are: " +
                        $"{string.Join(", ", TemplateFilters.All.Keys.Order(StringComparer.Ordinal))}.");
                (List<TemplateExpression> positional, List<(string, TemplateExpression)> named) = Current
                    is { Kind: TokenKind.Operator, Text: "(" } ? ParseArguments() : ([], []);
                value = new FilterExpression(name.Place, name.Text, filter, value, positional, named);
            }
            else if (TryTakeName("is"))
            {
                bool isNegated = TryTakeName("not");
                TemplateToken name = TakeName("the name of a test");
                if (!TemplateFilters.Tests.TryGetValue(name.Text, out (TemplateTest Test, bool TakesArgument) test))
                    throw new TemplateException(name.Place,
                        $"the test '{name.Text}' is not supported; there are: " +
                        $"{string.Join(", ", TemplateFilters.Tests.Keys.Order(StringComparer.Ordinal))}.");
                TemplateExpression? argument = test.TakesArgument ? ParsePostfix(ParsePrimary()) : null;
                value = new TestExpression(name.Place, test.Test, value, argument);
                value = isNegated ? new NotExpression(name.Place, value) : value;
            }
            else if (Current is { Kind: TokenKind.Operator, Text: "(" or "." or "[" })
            {
                value = ParsePostfix(value);
            }
            else
            {
                return value;
            }
        }
    }

    private void CheckArguments(int count)
    {
        if (count == MostArguments)
            throw new TemplateException(Current.Place, $"more than {MostArguments} arguments are not supported.");
    }

    private Depth Deeper()
    {
        if (++_depth > MostDepth)
            throw new TemplateException(Current.Place, $"the template is nested more than {MostDepth} deep.");
        TemplateRun.CheckStack(Current.Place);
        return new Depth(this);
    }

    private void EndBlock() => Take(TokenKind.BlockEnd, "%}");

    private void Take(TokenKind kind, string spelling)
    {
        if (Current.Kind != kind)
            throw Unexpected($"'{spelling}'");
        _next++;
    }

    private TemplateToken TakeName(string what)
    {
        if (Current.Kind != TokenKind.Name)
            throw Unexpected(what);
        return _tokens[_next++];
    }

    private bool TryTakeName(string word)
    {
        bool isThere = Current.Kind == TokenKind.Name && Current.Text == word;
        _next += isThere ? 1 : 0;
        return isThere;
    }

    private bool TryTake(string operation)
    {
        bool isThere = Current.Kind == TokenKind.Operator && Current.Text == operation;
        _next += isThere ? 1 : 0;
        return isThere;
    }

    private void Expect(string operation)
    {
        if (!TryTake(operation))
            throw Unexpected($"'{operation}'");
    }

    private TemplateException Unexpected(string wanted)
    {
        string found = Current.Kind switch
        {
            TokenKind.End => "the template ends",
            TokenKind.Text => "text begins",
            TokenKind.String => "a text stands",
            _ => $"'{Current.Text}' stands",
        };
        return new TemplateException(Current.Place, wanted.Length == 0 ? $"{found} where nothing more is expected."
            : $"{found} where {wanted} is expected.");
    }

    private readonly struct Depth(TemplateParser parser) : IDisposable
    {
        public void Dispose() => parser._depth--;
    }
}
