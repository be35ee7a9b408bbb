using System.Globalization;
using System.Text;

namespace Skylight.Training.Answers;

internal sealed partial class MathParser
{
    private static readonly HashSet<string> s_functions = new(StringComparer.Ordinal)
    {
        "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "exp", "ln",
        "lg", "log",
    };

    private static readonly HashSet<string> s_names = new(StringComparer.Ordinal)
    {
        "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
        "xi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi",
        "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega", "ell", "hbar",
        "infty", "emptyset",
    };

    private MathNode? ReadSum()
    {
        if (!Enter())
            return null;
        MathNode? sum = null;
        while (true)
        {
            Skip();
            MathKind kind;
            if (TryTake('+'))
                kind = MathKind.Add;
            else if (TryTake('-'))
                kind = MathKind.Negate;
            else if (TryCommand("pm"))
                kind = MathKind.PlusMinus;
            else if (sum is null)
                kind = MathKind.Add;
            else
                break;
            if (ReadProduct() is not { } term)
                return null;
            if (kind != MathKind.Add)
                term = MathNode.Of(kind, term);
            sum = sum is null ? term : MathNode.Of(MathKind.Add, sum, term);
        }

        _depth--;
        return sum;
    }

    private MathNode? ReadProduct()
    {
        if (ReadPower() is not { } product)
            return null;
        bool isConstant = IsConstant(product);
        while (true)
        {
            int start = _at;
            bool divides = false, isWritten = TryTake('*') || TryCommand("times");
            if (!isWritten)
                isWritten = divides = TryTake('/');
            if (!isWritten && !BeginsFactor(isConstant))
            {
                _at = start;
                return product;
            }

            if (isWritten && _at < _text.Length && TryTake('-'))
            {
                if (ReadPower() is not { } negative)
                    return null;
                product = MathNode.Of(divides ? MathKind.Divide : MathKind.Multiply, product,
                    MathNode.Of(MathKind.Negate, negative));
                continue;
            }

            bool isNumber = product is { Kind: MathKind.Number, Digits: not "" }
                && !product.Digits.Contains('.', StringComparison.Ordinal);
            bool beginsFraction = PeekCommand() == "frac";
            bool isApart = _text[_at - 1] == ' ';
            if (ReadPower() is not { } factor)
                return null;
            isConstant &= IsConstant(factor);
            if (!isWritten && isNumber && factor.Kind == MathKind.Number)
            {
                // "1 1/2" is a mixed number, other numbers side by side are nothing that is known.
                if (!TryTake('/') || ReadPower() is not { Kind: MathKind.Number } divisor || !isApart)
                    return null;
                product = MathNode.Of(MathKind.Add, product, MathNode.Of(MathKind.Divide, factor, divisor));
            }
            else if (!isWritten && isNumber && beginsFraction
                && factor is { Kind: MathKind.Divide, Parts: [{ Kind: MathKind.Number }, { Kind: MathKind.Number }] })
            {
                product = MathNode.Of(MathKind.Add, product, factor);
            }
            else
            {
                product = MathNode.Of(divides ? MathKind.Divide : MathKind.Multiply, product, factor);
            }
        }
    }

    /// <summary>Whether a factor follows without a sign; what may be the unit of a number is none.</summary>
    private bool BeginsFactor(bool followsConstant)
    {
        int start = _at;
        Skip();
        if (_at == _text.Length)
            return false;
        char character = _text[_at];
        if (char.IsLetter(character) || character == '\\')
        {
            if (TryWord("and") || TryWord("or"))
                return Back(start);
            if (_readsUnits && _inBrackets == 0 && followsConstant && IsUnitAhead(isApart: _text[_at - 1] == ' '))
                return false;
        }

        if (character == '\\')
        {
            string command = PeekCommand();
            return command is "frac" or "sqrt" or "pi" or "binom" or "lfloor" or "lceil"
                || s_functions.Contains(command) || s_names.Contains(command) || AnswerText.IsWrapper(command);
        }

        // A bracket goes on; "|" would close as well as open.
        return char.IsLetterOrDigit(character) || character is '(' or '{' or '.' || (character == '[' && _inBrackets > 0);
    }

    private static bool IsConstant(MathNode node) => !node.Holds(MathKind.Variable) && !node.Holds(MathKind.List);

    /// <summary>
    /// One letter right behind a number is a variable (5m); apart from it, or several, it may be a unit (5 m, 5cm).
    /// </summary>
    private bool IsUnitAhead(bool isApart)
    {
        int start = _at;
        try
        {
            if (PeekCommand() is "dollar" or "pounds" || ReadWrappedWords() is not null)
                return true;
            int end = _at;
            while (end < _text.Length && char.IsLetter(_text[end]))
                end++;
            string run = _text[_at..end];
            return run.Length > 0 && !s_functions.Contains(run) && run != "sqrt" && run != "pi"
                && (AnswerUnit.IsKnown(run) ? isApart || run.Length > 1 || !char.IsAscii(run[0])
                    : isApart && run.Length > 2);
        }
        finally
        {
            _at = start;
        }
    }

    private MathNode? ReadPower()
    {
        if (!Enter())
            return null;
        MathNode? value = ReadAtom();
        for (int marks = 0; value is not null && marks < MostMarks; marks++)
        {
            Skip();
            if (TryTake('%'))
            {
                value = MathNode.Of(MathKind.Percent, value);
            }
            else if (TryCommand("degree"))
            {
                value = MathNode.Of(MathKind.Degree, value);
            }
            else if (_at < _text.Length && _text[_at] == '!' && (_at + 1 == _text.Length || _text[_at + 1] != '='))
            {
                _at++;
                value = new MathNode(MathKind.Function, "factorial", 0, value);
            }
            else if (TryTake('^'))
            {
                value = ReadCircle() ? MathNode.Of(MathKind.Degree, value) : ReadArgument() is { } exponent
                    ? MathNode.Of(MathKind.Power, value, exponent) : null;
            }
            else
            {
                break;
            }
        }

        _depth--;
        return value;
    }

    private bool ReadCircle()
    {
        int start = _at;
        bool braced = TryTake('{');
        return (TryCommand("circ") && (!braced || TryTake('}'))) || Back(start);
    }

    /// <summary>
    /// An argument as TeX takes it: a group, a command, or one character; of a plain power all its digits.
    /// </summary>
    private MathNode? ReadArgument(bool wholeNumber = true)
    {
        Skip();
        if (_at == _text.Length)
            return null;
        if (_text[_at] == '{')
            return ReadGroup();
        if (_text[_at] == '-')
        {
            _at++;
            return ReadArgument() is { } value ? MathNode.Of(MathKind.Negate, value) : null;
        }

        if (char.IsAsciiDigit(_text[_at]) && !wholeNumber)
            return Number(_text[_at++].ToString());
        return ReadAtom();
    }

    private MathNode? ReadGroup()
    {
        if (!TryTake('{') || ReadInside() is not { } inside || !TryTake('}'))
            return null;
        return inside;
    }

    private MathNode? ReadInside()
    {
        _inBrackets++;
        MathNode? inside = ReadList();
        _inBrackets--;
        return inside;
    }

    private MathNode? ReadAtom()
    {
        Skip();
        if (_at == _text.Length || !Enter())
            return null;
        char character = _text[_at];
        MathNode? atom = character switch
        {
            '{' => ReadGroup(),
            '(' or '[' => ReadBrackets(),
            '|' => ReadAbsolute(),
            '\\' => ReadCommand(),
            _ when char.IsAsciiDigit(character) || character == '.' => ReadNumber(),
            _ when char.IsLetter(character) => ReadLetters(),
            _ => null,
        };
        _depth--;
        return atom;
    }

    private MathNode? ReadBrackets()
    {
        char open = _text[_at++];
        if (ReadInside() is not { } inside)
            return null;
        Skip();
        if (_at == _text.Length || _text[_at] is not (')' or ']'))
            return null;
        char close = _text[_at++];
        bool isList = inside is { Kind: MathKind.List, Name: "" };
        if (!isList)
            return open == '(' && close == ')' ? inside : open == '[' && close == ']' ? inside with { } : null;
        return inside with { Name = $"{open}{close}" };
    }

    private MathNode? ReadAbsolute()
    {
        _at++;
        return ReadInside() is { } inside && TryTake('|') ? new MathNode(MathKind.Function, "abs", 0, inside) : null;
    }

    private MathNode? ReadCommand()
    {
        if (_at + 1 < _text.Length && _text[_at + 1] == '{')
        {
            _at += 2;
            Skip();
            if (_at + 1 < _text.Length && _text[_at] == '\\' && _text[_at + 1] == '}')
            {
                _at += 2;
                return new MathNode(MathKind.List, "{}", 0);
            }

            if (ReadInside() is not { } inside)
                return null;
            Skip();
            if (_at + 1 >= _text.Length || _text[_at] != '\\' || _text[_at + 1] != '}')
                return null;
            _at += 2;
            return inside is { Kind: MathKind.List, Name: "" } ? inside with { Name = "{}" }
                : new MathNode(MathKind.List, "{}", 0, inside);
        }

        string command = PeekCommand();
        if (AnswerText.IsWordWrapper(command))
        {
            // A name in a formula; its letters are not factors.
            return ReadWrappedWords() is { Length: > 0 } words
                ? int.TryParse(words, NumberStyles.None, CultureInfo.InvariantCulture, out _) ? Number(words)
                : WithIndex(words)
                : null;
        }

        _at += command.Length + 1;
        switch (command)
        {
            case "frac":
                return ReadArgument(wholeNumber: false) is { } top && ReadArgument(wholeNumber: false) is { } bottom
                    ? MathNode.Of(MathKind.Divide, top, bottom) : null;
            case "binom":
                return ReadArgument(wholeNumber: false) is { } all && ReadArgument(wholeNumber: false) is { } chosen
                    ? new MathNode(MathKind.Function, "binom", 0, all, chosen) : null;
            case "sqrt":
                MathNode? index = null;
                if (TryTake('['))
                {
                    index = ReadInside();
                    if (index is null || !TryTake(']'))
                        return null;
                }

                return ReadArgument() is not { } root ? null
                    : index is null ? new MathNode(MathKind.Function, "sqrt", 0, root)
                    : new MathNode(MathKind.Function, "root", 0, root, index);
            case "pi":
                return new MathNode(MathKind.Number, "", Math.PI);
            case "emptyset":
                return new MathNode(MathKind.List, "{}", 0);
            case "langle":
                return ReadInside() is { } vector && TryCommand("rangle") ? vector with { Name = "()" } : null;
            case "lfloor":
                return ReadInside() is { } floor && TryCommand("rfloor")
                    ? new MathNode(MathKind.Function, "floor", 0, floor) : null;
            case "lceil":
                return ReadInside() is { } ceiling && TryCommand("rceil")
                    ? new MathNode(MathKind.Function, "ceil", 0, ceiling) : null;
            case "lvert" or "vert":
                return ReadInside() is { } absolute && (TryCommand("rvert") || TryCommand("vert"))
                    ? new MathNode(MathKind.Function, "abs", 0, absolute) : null;
            case "begin":
                return ReadMatrix();
            case "mathbb":
                return TryTake('{') && _at < _text.Length && char.IsLetter(_text[_at])
                    && new MathNode(MathKind.Variable, $"mathbb {_text[_at++]}", 0) is var set && TryTake('}') ? set : null;
        }

        if (AnswerText.IsWrapper(command))
            return ReadArgument();
        if (s_functions.Contains(command))
            return ReadFunction(command);
        return s_names.Contains(command) ? WithIndex(@"\" + command) : null;
    }

    private MathNode? ReadFunction(string name)
    {
        MathNode? exponent = null, index = null;
        if (TryTake('_') && (index = ReadArgument(wholeNumber: false)) is null)
            return null;
        if (TryTake('^') && (exponent = ReadArgument()) is null)
            return null;
        Skip();
        // An argument without brackets is a product of numbers and names: sin 2x, but not what a further function or
        // bracket follows.
        if (ReadPower() is not { } argument)
            return null;
        while (_at < _text.Length && (char.IsLetterOrDigit(_text[_at]) || PeekCommand() is "pi"
            || s_names.Contains(PeekCommand())) && argument.Kind != MathKind.List && _text[_at - 1] != ')')
        {
            if (_readsUnits && _inBrackets == 0 && IsUnitAhead(isApart: false))
                break;
            if (ReadPower() is not { } factor)
                return null;
            argument = MathNode.Of(MathKind.Multiply, argument, factor);
        }

        MathNode[] arguments = index is null ? [argument] : [argument, index];
        bool isInverse = exponent is { Kind: MathKind.Negate, Parts: [{ Kind: MathKind.Number, Value: 1 }] }
            && name is "sin" or "cos" or "tan";
        var call = new MathNode(MathKind.Function, isInverse && exponent is { Kind: MathKind.Negate } ? "arc" + name
            : name, 0, arguments);
        return exponent is null || call.Name != name ? call : MathNode.Of(MathKind.Power, call, exponent);
    }

    private MathNode? ReadMatrix()
    {
        if (!TryTake('{'))
            return null;
        int end = _text.IndexOf('}', _at);
        string name = end < 0 ? "" : _text[_at..end].Trim();
        if (name is not ("pmatrix" or "bmatrix" or "matrix" or "vmatrix" or "array" or "smallmatrix"))
            return null;
        _at = end + 1;
        if (name == "array" && TryTake('{'))
        {
            end = _text.IndexOf('}', _at);
            if (end < 0)
                return null;
            _at = end + 1;
        }

        var rows = new List<MathNode>();
        var row = new List<MathNode>();
        while (true)
        {
            if (ReadInside() is not { } cell)
                return null;
            row.Add(cell);
            if (TryTake('&'))
                continue;
            Skip();
            bool breaks = _at + 1 < _text.Length && _text[_at] == '\\' && _text[_at + 1] == '\\';
            _at += breaks ? 2 : 0;
            rows.Add(new MathNode(MathKind.List, "row", 0, [.. row]));
            row.Clear();
            if (TryCommand("end"))
                return TryTake('{') && string.CompareOrdinal(_text, _at, name + "}", 0, name.Length + 1) == 0
                    && (_at += name.Length + 1) > 0
                    ? new MathNode(MathKind.List, name == "vmatrix" ? "determinant" : "matrix", 0, [.. rows]) : null;
            if (!breaks)
                return null;
        }
    }

    private MathNode? ReadNumber()
    {
        var digits = new StringBuilder();
        int start = _at;
        bool hasPoint = false;
        while (_at < _text.Length)
        {
            char character = _text[_at];
            if (char.IsAsciiDigit(character))
            {
                digits.Append(character);
                _at++;
            }
            else if (character == '.' && !hasPoint && _at + 1 < _text.Length && char.IsAsciiDigit(_text[_at + 1]))
            {
                hasPoint = true;
                digits.Append('.');
                _at++;
            }
            else if (!hasPoint && ThousandsAt(digits.Length, _at > start) is var skip && skip > 0)
            {
                _at += skip;
            }
            else
            {
                break;
            }
        }

        if (digits.Length == 0)
            return null;
        // 1.5e3, but not 2e (twice e) nor 2e^3.
        if (_at + 1 < _text.Length && _text[_at] is 'e' or 'E')
        {
            int end = _at + 1;
            if (end < _text.Length && _text[end] is '+' or '-')
                end++;
            int first = end;
            while (end < _text.Length && char.IsAsciiDigit(_text[end]))
                end++;
            if (end > first && end - first < 5)
            {
                double value = double.Parse(digits + _text[_at..end], CultureInfo.InvariantCulture);
                _at = end;
                return new MathNode(MathKind.Number, "", value);
            }
        }

        // The base of a number is no factor: 101_2.
        if (_at < _text.Length && _text[_at] == '_')
            return WithIndex(digits.ToString());
        return Number(digits.ToString());
    }

    /// <summary>
    /// The characters of a separator of thousands: three digits and no more follow it. Within brackets a comma parts
    /// items.
    /// </summary>
    private int ThousandsAt(int before, bool follows)
    {
        if (!follows || before == 0 || (before > 3 && before % 3 != 0 && !IsGrouped(before)))
            return 0;
        int skip = _text[_at] switch
        {
            ',' when _inBrackets == 0 => 1,
            ' ' => 1,
            '{' when _at + 2 < _text.Length && _text[_at + 1] == ',' && _text[_at + 2] == '}' => 3,
            _ => 0,
        };
        if (skip == 0 || !IsGrouped(before))
            return 0;
        int end = _at + skip;
        int digits = 0;
        while (end + digits < _text.Length && char.IsAsciiDigit(_text[end + digits]))
            digits++;
        return digits == 3 && (skip != 1 || _text[_at] == ',' || end + 3 == _text.Length || _text[end + 3] != '/')
            ? skip : 0;
    }

    // Digits before a separator are at most three, or came in groups themselves.
    private bool IsGrouped(int before) => before <= 3 || !char.IsAsciiDigit(_text[_at - 4]);

    private static MathNode Number(string digits) =>
        new(MathKind.Number, "",
            double.Parse(digits, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture))
        { Digits = digits };

    /// <summary>Letters: a function or a name that is spelled, else a factor each.</summary>
    private MathNode? ReadLetters()
    {
        int end = _at;
        while (end < _text.Length && char.IsLetter(_text[end]))
            end++;
        string run = _text[_at..end];
        if (s_functions.Contains(run))
        {
            _at = end;
            return ReadFunction(run);
        }

        if (run is "sqrt" or "pi" or "inf" or "infinity")
        {
            _at = end;
            return run switch
            {
                "pi" => new MathNode(MathKind.Number, "", Math.PI),
                "sqrt" => ReadArgument() is { } root ? new MathNode(MathKind.Function, "sqrt", 0, root) : null,
                _ => new MathNode(MathKind.Variable, @"\infty", 0),
            };
        }

        if (run.Length > 3 && !run.All(char.IsUpper))
        {
            _at = end;
            return WithIndex(run);
        }

        _at++;
        return WithIndex(run[..1]);
    }

    /// <summary>A name with its index: x_1 and x_{1} are the same, and not x.</summary>
    private MathNode? WithIndex(string name)
    {
        if (_at < _text.Length && _text[_at] == '_')
        {
            _at++;
            Skip();
            int start = _at;
            if (_at < _text.Length && _text[_at] == '{')
            {
                int close = _text.IndexOf('}', _at);
                if (close < 0)
                    return null;
                _at = close + 1;
                name += "_" + _text[(start + 1)..close].Trim();
            }
            else if (_at < _text.Length && char.IsLetterOrDigit(_text[_at]))
            {
                name += "_" + _text[_at++];
            }
            else
            {
                return null;
            }
        }

        return name switch
        {
            "e" => new MathNode(MathKind.Number, "", Math.E),
            "θ" => new MathNode(MathKind.Variable, @"\theta", 0),
            "α" => new MathNode(MathKind.Variable, @"\alpha", 0),
            "β" => new MathNode(MathKind.Variable, @"\beta", 0),
            "λ" => new MathNode(MathKind.Variable, @"\lambda", 0),
            _ => new MathNode(MathKind.Variable, name, 0),
        };
    }
}
