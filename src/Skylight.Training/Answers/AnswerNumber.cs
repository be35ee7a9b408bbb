using System.Numerics;

namespace Skylight.Training.Answers;

/// <summary>An answer that is a number, for rewards that allow a tolerance.</summary>
/// <param name="Value">The number; of a percentage its value, 0.5 for 50 %.</param>
/// <param name="Unit">What it counts; null if that is not said.</param>
/// <param name="IsPercent">Whether it was written as a percentage.</param>
internal sealed record AnswerNumber(double Value, AnswerUnit? Unit, bool IsPercent)
{
    /// <summary>
    /// Reads what an answer writes as a number, also as a fraction, power or formula without variables; null if it is
    /// none.
    /// </summary>
    public static AnswerNumber? Read(string answer)
    {
        if (MathParser.Read(AnswerText.Clean(AnswerChecker.Unbox(answer))) is not { } whole)
            return null;
        MathNode node = MathComparer.Named(whole);
        var names = new HashSet<string>(StringComparer.Ordinal);
        node.AddVariables(names);
        if (names.Count > 0 || node.Holds(MathKind.PlusMinus) || node.Holds(MathKind.Relation))
            return null;
        Complex value = node.Evaluate(new Dictionary<string, Complex>());
        return Complex.IsFinite(value) && value.Imaginary == 0
            ? new AnswerNumber(value.Real, node.Unit ?? whole.Unit, node.Kind == MathKind.Percent) : null;
    }

    /// <summary>
    /// Whether it is as close to the expected number as is allowed; units are converted where both have one.
    /// </summary>
    /// <param name="expected">What is right.</param>
    /// <param name="relative">The fraction of the expected number that it may be off.</param>
    /// <param name="absolute">What it may be off whatever the number; in the expected number's unit.</param>
    public bool IsCloseTo(AnswerNumber expected, double relative, double absolute)
    {
        double factor = 1;
        if (Unit is { } one && expected.Unit is { } two)
        {
            if (one.Dimension != two.Dimension)
                return false;
            factor = one.Factor / two.Factor;
        }

        // As for the checker, 50 % is 0.5 and also 50.
        return IsClose(factor * Value, expected.Value)
            || (IsPercent != expected.IsPercent
                && IsClose(factor * Value * (IsPercent ? 100 : 1), expected.Value * (expected.IsPercent ? 100 : 1)));

        bool IsClose(double given, double key) => Math.Abs(given - key) <= Math.Max(absolute, relative * Math.Abs(key))
            + 1e-12 * Math.Max(Math.Abs(given), Math.Abs(key));
    }
}
