using System.Globalization;
using System.Text;

namespace Skylight.Training.Reports;

/// <summary>
/// Text and numbers as they go into the report, which is well-formed XML and so also valid for strict readers.
/// </summary>
public static class Markup
{
    /// <summary>Text for element content or a quoted attribute; characters that XML cannot hold become U+FFFD.</summary>
    public static string Escape(string text)
    {
        var result = new StringBuilder(text.Length);
        for (int position = 0; position < text.Length; position++)
        {
            char character = text[position];
            if (char.IsHighSurrogate(character) && position + 1 < text.Length && char.IsLowSurrogate(text[position + 1]))
                result.Append(character).Append(text[++position]);
            else
                result.Append(EscapeOne(character));
        }

        return result.ToString();
    }

    /// <summary>A share as percent: <c>52.4 %</c>.</summary>
    public static string Percent(double share, int decimals = 1) => Number(100 * share, decimals) + "\u202f%";

    /// <summary>A number with a fixed count of decimals and groups of thousands; a dash if there is none.</summary>
    public static string Number(double? value, int decimals = 0) =>
        value is double number && double.IsFinite(number)
            ? number.ToString("N" + decimals, CultureInfo.InvariantCulture).Replace("-", "−", StringComparison.Ordinal)
            : "–";

    /// <summary>A coordinate: short, and never in another culture's notation.</summary>
    public static string Coordinate(double value) => value.ToString("0.##", CultureInfo.InvariantCulture);

    /// <summary>A duration: <c>48 s</c>, <c>5 min 12 s</c>.</summary>
    public static string Duration(double seconds)
    {
        long whole = (long)Math.Round(seconds);
        return whole < 60 ? $"{whole}\u00a0s" : $"{whole / 60}\u00a0min\u00a0{whole % 60:00}\u00a0s";
    }

    private static string EscapeOne(char character) => character switch
    {
        '<' => "&lt;",
        '>' => "&gt;",
        '&' => "&amp;",
        '"' => "&quot;",
        '\'' => "&#39;",
        '\t' or '\n' or '\r' => character.ToString(),
        < ' ' or '\uFFFE' or '\uFFFF' => "\uFFFD",
        _ when char.IsSurrogate(character) => "\uFFFD",
        _ => character.ToString(),
    };
}
