using System.Globalization;
using System.Numerics;
using System.Text.Json;

namespace Skylight.Constraints;

/// <summary>A decimal number of any size: mantissa · 10^−scale. Bounds of a schema are exact in it.</summary>
internal readonly record struct DecimalNumber(BigInteger Mantissa, int Scale) : IComparable<DecimalNumber>
{
    private const int MostDigits = 400;

    /// <summary>Reads a number of JSON; null if it has more digits than are held.</summary>
    public static DecimalNumber? Parse(JsonElement number)
    {
        string text = number.GetRawText();
        int exponentAt = text.AsSpan().IndexOfAny('e', 'E');
        string digits = exponentAt < 0 ? text : text[..exponentAt];
        if (digits.Length > MostDigits)
            return null;
        int exponent = 0;
        if (exponentAt >= 0 && (!int.TryParse(text.AsSpan(exponentAt + 1), NumberStyles.AllowLeadingSign,
            CultureInfo.InvariantCulture, out exponent) || Math.Abs(exponent) > MostDigits))
            return null;
        int point = digits.IndexOf('.');
        int scale = (point < 0 ? 0 : digits.Length - point - 1) - exponent;
        var mantissa = BigInteger.Parse(digits.Replace(".", "", StringComparison.Ordinal), CultureInfo.InvariantCulture);
        if (scale < 0)
            (mantissa, scale) = (mantissa * BigInteger.Pow(10, -scale), 0);
        while (scale > 0 && mantissa % 10 == 0)
            (mantissa, scale) = (mantissa / 10, scale - 1);
        return new DecimalNumber(mantissa, scale);
    }

    /// <summary>The digits before and behind the point, without a sign; no zeros at either end but a single 0 before
    /// the point.</summary>
    public (string Whole, string Fraction) Digits
    {
        get
        {
            string digits = BigInteger.Abs(Mantissa).ToString(CultureInfo.InvariantCulture).PadLeft(Scale + 1, '0');
            return (digits[..^Scale], digits[^Scale..].TrimEnd('0'));
        }
    }

    /// <summary>The mantissa at a larger scale.</summary>
    public BigInteger At(int scale) => Mantissa * BigInteger.Pow(10, scale - Scale);

    public int CompareTo(DecimalNumber other)
    {
        int scale = Math.Max(Scale, other.Scale);
        return At(scale).CompareTo(other.At(scale));
    }

    /// <summary>Whether the number is a whole multiple of another.</summary>
    public bool IsMultipleOf(DecimalNumber other)
    {
        int scale = Math.Max(Scale, other.Scale);
        return At(scale) % other.At(scale) == 0;
    }

    /// <summary>The least number that is a multiple of both.</summary>
    public static DecimalNumber LeastCommonMultiple(DecimalNumber one, DecimalNumber other)
    {
        int scale = Math.Max(one.Scale, other.Scale);
        BigInteger a = one.At(scale), b = other.At(scale);
        return new DecimalNumber(a / BigInteger.GreatestCommonDivisor(a, b) * b, scale);
    }
}

/// <summary>Which numbers may be written.</summary>
/// <param name="IsWhole">Whether they are whole.</param>
/// <param name="Least">The least; null for none.</param>
/// <param name="LeastIsOut">Whether the least itself may not.</param>
/// <param name="Most">The greatest; null for none.</param>
/// <param name="MostIsOut">Whether the greatest itself may not.</param>
/// <param name="Step">What they are multiples of; null for anything.</param>
internal sealed record NumberRange(bool IsWhole, DecimalNumber? Least = null, bool LeastIsOut = false,
    DecimalNumber? Most = null, bool MostIsOut = false, DecimalNumber? Step = null)
{
    /// <summary>Whether a number is one of them.</summary>
    public bool Contains(DecimalNumber number) => (!IsWhole || number.Scale == 0)
        && (Least is not { } least || number.CompareTo(least) is var low && (LeastIsOut ? low > 0 : low >= 0))
        && (Most is not { } most || number.CompareTo(most) is var high && (MostIsOut ? high < 0 : high <= 0))
        && (Step is not { } step || number.IsMultipleOf(step));
}
