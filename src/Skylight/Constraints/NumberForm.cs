using System.Numerics;

namespace Skylight.Constraints;

/// <summary>
/// The numbers of a range as they are written: an automaton that compares digits with the bounds, and counts remainders,
/// while they come. Numbers with bounds are written without exponents.
/// </summary>
internal sealed class NumberForm
{
    private const int LargestStep = 100_000;

    private readonly NumberRange _range;
    private readonly string _path;
    private readonly int _modulus;
    private readonly int _places;
    private readonly int[] _shifts;
    private readonly Dictionary<Digits, int> _numbers = [];
    private readonly List<(Digits Digits, Interval Bounds)> _states = [];
    private readonly List<(int, Form, int)> _edges = [];

    private NumberForm(NumberRange range, string path)
    {
        (_range, _path, _modulus) = (range, path, 1);
        if (range.Step is { } step)
        {
            if (step.Mantissa > LargestStep || step.Scale > 9)
                throw new ConstraintException(path,
                    $"{path}: 'multipleOf' cannot be held for a step of more than {LargestStep} or of more than 9 " +
                    $"decimal places; leave it out, or check it afterwards.");
            (_modulus, _places) = ((int)step.Mantissa, step.Scale);
        }

        _shifts = [.. Enumerable.Range(0, _places + 1).Select(places => (int)(BigInteger.Pow(10, places) % _modulus))];
    }

    /// <summary>Makes the form.</summary>
    /// <exception cref="ConstraintException">It would be too large.</exception>
    public static Form Of(NumberRange range, string path) => range is { Least: null, Most: null, Step: null }
        ? range.IsWhole ? JsonForms.Integer : JsonForms.Number
        : new NumberForm(range, path).Build();

    /// <summary>A magnitude's bounds; null for none.</summary>
    private sealed record Interval(bool IsPossible, Bound? Least, Bound? Most);

    /// <summary>A bound, digit by digit.</summary>
    private sealed record Bound(string Whole, string Fraction, bool IsOut);

    private enum Part
    {
        Start,
        Sign,
        Zero,
        Whole,
        Point,
        Fraction,
    }

    /// <summary>What is known of the digits that came.</summary>
    /// <param name="Part">Where in the number they end.</param>
    /// <param name="IsNegative">Whether a minus stands before them.</param>
    /// <param name="Count">How many, as far as it matters.</param>
    /// <param name="Low">How they compare with as many digits of the lower bound.</param>
    /// <param name="High">The same of the upper bound.</param>
    /// <param name="Remainder">What is left of them when they are divided by the step.</param>
    private readonly record struct Digits(Part Part, bool IsNegative, int Count, int Low, int High, int Remainder);

    private Form Build()
    {
        Interval up = Bounds(isNegative: false), down = Bounds(isNegative: true);
        StateOf(new Digits(Part.Start, false, 0, 0, 0, 0), up);
        for (int state = 0; state < _states.Count; state++)
        {
            (Digits digits, Interval bounds) = _states[state];
            if (digits.Part == Part.Start && down.IsPossible)
                Add(state, '-', digits with { Part = Part.Sign, IsNegative = true }, down);
            if (digits.Part is Part.Start or Part.Sign && !bounds.IsPossible)
                continue;
            if (!_range.IsWhole && digits.Part is Part.Zero or Part.Whole && (_range.Step is null || _places > 0))
                Add(state, '.', AtPoint(digits, bounds), bounds);
            for (char digit = '0'; digit <= '9'; digit++)
            {
                if (Next(digits, bounds, digit) is { } next)
                    Add(state, digit, next, bounds);
            }
        }

        return new Form.Graph([.. _states.Select(state => Accepts(state.Digits, state.Bounds))], _edges);
    }

    /// <summary>The bounds of the magnitude for a sign.</summary>
    private Interval Bounds(bool isNegative)
    {
        (DecimalNumber? least, bool leastIsOut, DecimalNumber? most, bool mostIsOut) = isNegative
            ? (Negative(_range.Most), _range.MostIsOut, Negative(_range.Least), _range.LeastIsOut)
            : (_range.Least, _range.LeastIsOut, _range.Most, _range.MostIsOut);
        if (most is { Mantissa.Sign: < 0 } || (most is { Mantissa.IsZero: true } && (mostIsOut || isNegative)))
            return new Interval(false, null, null);
        // A lower bound below zero is none.
        return new Interval(true, least is { Mantissa.Sign: < 0 } ? null : BoundOf(least, leastIsOut),
            BoundOf(most, mostIsOut));

        static DecimalNumber? Negative(DecimalNumber? number) =>
            number is { } value ? value with { Mantissa = -value.Mantissa } : null;

        static Bound? BoundOf(DecimalNumber? number, bool isOut) =>
            number is { } value ? new Bound(value.Digits.Whole, value.Digits.Fraction, isOut) : null;
    }

    private Digits? Next(in Digits digits, Interval bounds, char digit)
    {
        int remainder = (int)((10L * digits.Remainder + digit - '0') % _modulus);
        switch (digits.Part)
        {
            case Part.Start or Part.Sign or Part.Whole:
                int most = Math.Max(bounds.Least?.Whole.Length ?? 0, bounds.Most?.Whole.Length ?? 0) + 1;
                return digits with
                {
                    Part = digits.Part != Part.Whole && digit == '0' ? Part.Zero : Part.Whole,
                    Count = Math.Min(digits.Count + 1, most),
                    Low = Compare(digits.Low, bounds.Least?.Whole, digits.Count, digit),
                    High = Compare(digits.High, bounds.Most?.Whole, digits.Count, digit),
                    Remainder = remainder,
                };
            case Part.Point or Part.Fraction:
                int longest = Math.Max(bounds.Least?.Fraction.Length ?? 0, bounds.Most?.Fraction.Length ?? 0);
                if (_range.Step is not null && digits.Count >= _places)
                    return null;
                return digits with
                {
                    Part = Part.Fraction,
                    Count = _range.Step is not null ? digits.Count + 1 : Math.Min(digits.Count + 1, longest),
                    Low = CompareFraction(digits.Low, bounds.Least?.Fraction, digits.Count, digit),
                    High = CompareFraction(digits.High, bounds.Most?.Fraction, digits.Count, digit),
                    Remainder = remainder,
                };
            default:
                return null;
        }
    }

    /// <summary>At the point, and at the end of a number without one, lengths decide first.</summary>
    private static Digits AtPoint(in Digits digits, Interval bounds) => digits with
    {
        Part = Part.Point,
        Count = 0,
        Low = AtEnd(digits.Low, bounds.Least, digits.Count),
        High = AtEnd(digits.High, bounds.Most, digits.Count),
    };

    private static int AtEnd(int compared, Bound? bound, int count) =>
        bound is null || count == bound.Whole.Length ? compared : count.CompareTo(bound.Whole.Length);

    private static int Compare(int compared, string? whole, int at, char digit) =>
        whole is null || at >= whole.Length ? 0 : compared != 0 ? compared : digit.CompareTo(whole[at]) is var sign
            ? Math.Sign(sign) : 0;

    private static int CompareFraction(int compared, string? fraction, int at, char digit) =>
        fraction is null || compared != 0 ? compared
            : Math.Sign(digit.CompareTo(at < fraction.Length ? fraction[at] : '0'));

    private bool Accepts(Digits digits, Interval bounds)
    {
        if (digits.Part is not (Part.Zero or Part.Whole or Part.Fraction))
            return false;
        int behind = digits.Part == Part.Fraction ? digits.Count : 0;
        if (_range.Step is not null && (long)digits.Remainder * _shifts[_places - behind] % _modulus != 0)
            return false;
        if (digits.Part != Part.Fraction)
            digits = AtPoint(digits, bounds);
        int low = Rest(digits.Low, bounds.Least, behind), high = Rest(digits.High, bounds.Most, behind);
        return (bounds.Least is null || (bounds.Least.IsOut ? low > 0 : low >= 0))
            && (bounds.Most is null || (bounds.Most.IsOut ? high < 0 : high <= 0));

        // A bound that has digits left is greater.
        static int Rest(int compared, Bound? bound, int behind) =>
            compared == 0 && bound is not null && bound.Fraction.Length > behind ? -1 : compared;
    }

    private void Add(int from, char character, Digits to, Interval bounds) =>
        _edges.Add((from, new Form.OneByte((byte)character, (byte)character), StateOf(to, bounds)));

    private int StateOf(Digits digits, Interval bounds)
    {
        if (!_numbers.TryGetValue(digits, out int number))
        {
            if (_states.Count >= ConstraintLimits.MostStates)
                throw new ConstraintException(_path, $"{_path}: the bounds and steps of the number need more than " +
                    $"{ConstraintLimits.MostStates} states; leave 'multipleOf' out, or check it afterwards.");
            _numbers.Add(digits, number = _states.Count);
            _states.Add((digits, bounds));
        }

        return number;
    }
}
