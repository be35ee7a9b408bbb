using System.Numerics;

namespace Skylight.Training.Answers;

internal enum MathKind
{
    Number,
    Variable,
    Add,
    Negate,
    Multiply,
    Divide,
    Power,
    Function,
    Percent,
    Degree,
    PlusMinus,

    /// <summary>
    /// A tuple, interval, set, union, matrix or plain list: <see cref="MathNode.Name"/> holds its brackets, or its
    /// word.
    /// </summary>
    List,

    /// <summary>
    /// Sides joined by the signs in <see cref="MathNode.Name"/>, one character each: = &lt; &gt; l (≤) g (≥) n (≠).
    /// </summary>
    Relation,
}

/// <summary>A part of an answer that was read as mathematics.</summary>
internal sealed record MathNode(MathKind Kind, string Name, double Value, params MathNode[] Parts)
{
    /// <summary>The unit behind it, of a whole answer alone.</summary>
    public AnswerUnit? Unit { get; init; }

    /// <summary>The digits of a number as they were written, for those that a <see cref="double"/> does not hold.</summary>
    public string Digits { get; init; } = "";

    public bool IsVariable => Kind == MathKind.Variable && Name.Length > 0;

    public static MathNode Of(MathKind kind, params MathNode[] parts) => new(kind, "", 0, parts);

    public bool Holds(MathKind kind) => Kind == kind || Parts.Any(part => part.Holds(kind));

    /// <summary>The names of its variables.</summary>
    public void AddVariables(ISet<string> names)
    {
        if (Kind == MathKind.Variable)
            names.Add(Name);
        foreach (MathNode part in Parts)
            part.AddVariables(names);
    }

    /// <summary>Its value with ± taken as + or −.</summary>
    public Complex Evaluate(IReadOnlyDictionary<string, Complex> variables, int sign = 1)
    {
        Complex First() => Parts[0].Evaluate(variables, sign);
        Complex Second() => Parts[1].Evaluate(variables, sign);
        return Kind switch
        {
            MathKind.Number => Value,
            MathKind.Variable => variables[Name],
            MathKind.Add => First() + Second(),
            MathKind.PlusMinus => sign * First(),
            MathKind.Negate => -First(),
            MathKind.Multiply => First() * Second(),
            MathKind.Divide => Second() is var divisor && divisor == Complex.Zero ? double.NaN : First() / divisor,
            MathKind.Power => Power(First(), Second()),
            MathKind.Percent => First() / 100,
            MathKind.Degree => First() * (Math.PI / 180),
            MathKind.Function => Call(Name, First(), Parts.Length > 1 ? Second() : null),
            _ => double.NaN,
        };
    }

    private static Complex Power(Complex value, Complex exponent)
    {
        if (exponent.Imaginary != 0 || exponent.Real != Math.Floor(exponent.Real) || Math.Abs(exponent.Real) > 64)
            return value.Imaginary == 0 && exponent.Imaginary == 0 && value.Real >= 0
                ? Math.Pow(value.Real, exponent.Real) : Complex.Pow(value, exponent);
        if (value.Imaginary == 0)
            return Math.Pow(value.Real, exponent.Real);
        Complex result = Complex.One;
        for (int step = 0; step < (int)Math.Abs(exponent.Real); step++)
            result *= value;
        return exponent.Real < 0 ? 1 / result : result;
    }

    private static Complex Call(string name, Complex value, Complex? other) => name switch
    {
        "sin" => Complex.Sin(value),
        "cos" => Complex.Cos(value),
        "tan" => Complex.Tan(value),
        "cot" => 1 / Complex.Tan(value),
        "sec" => 1 / Complex.Cos(value),
        "csc" => 1 / Complex.Sin(value),
        "arcsin" => Complex.Asin(value),
        "arccos" => Complex.Acos(value),
        "arctan" => Complex.Atan(value),
        "sinh" => Complex.Sinh(value),
        "cosh" => Complex.Cosh(value),
        "tanh" => Complex.Tanh(value),
        "exp" => Complex.Exp(value),
        "ln" => Complex.Log(value),
        "lg" => Complex.Log(value) / Math.Log(10),
        // Without a base: that of the natural logarithm or ten is the writer's; neither is taken for the other.
        "log" => Complex.Log(value) / (other is { } logBase ? Complex.Log(logBase) : 1.2345678),
        "sqrt" => value.Imaginary == 0 && value.Real >= 0 ? Math.Sqrt(value.Real) : Complex.Sqrt(value),
        "root" => other is { Imaginary: 0 } index && value.Imaginary == 0
            ? value.Real < 0 && index.Real % 2 == 1 ? -Math.Pow(-value.Real, 1 / index.Real)
                : index.Real == 3 ? Math.Cbrt(value.Real) : Power(value, 1 / index)
            : Power(value, 1 / (other ?? 2)),
        "abs" => Complex.Abs(value),
        "floor" => Math.Floor(value.Real),
        "ceil" => Math.Ceiling(value.Real),
        "binom" => other is { } chosen ? Binomial(value, chosen) : double.NaN,
        "factorial" => Factorial(value),
        _ => double.NaN,
    };

    private static Complex Factorial(Complex value)
    {
        if (value.Imaginary != 0 || value.Real < 0 || value.Real > 170 || value.Real != Math.Floor(value.Real))
            return double.NaN;
        double result = 1;
        for (int factor = 2; factor <= (int)value.Real; factor++)
            result *= factor;
        return result;
    }

    private static Complex Binomial(Complex all, Complex chosen)
    {
        if (chosen.Imaginary != 0 || chosen.Real < 0 || chosen.Real > 100 || chosen.Real != Math.Floor(chosen.Real))
            return double.NaN;
        Complex result = Complex.One;
        for (int step = 1; step <= (int)chosen.Real; step++)
            result = result * (all - chosen + step) / step;
        return result;
    }
}
