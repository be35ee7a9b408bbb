using System.Collections.Frozen;
using System.Globalization;

namespace Skylight.Training.Answers;

/// <summary>A unit: a factor, and powers of what it measures ("m^1 s^-2").</summary>
/// <param name="Factor">How many base units it is.</param>
/// <param name="Dimension">The powers of the base units, in alphabetical order.</param>
internal sealed record AnswerUnit(double Factor, string Dimension)
{
    private static readonly FrozenDictionary<string, (double Factor, string Dimension)> s_known = Known();

    /// <summary>Whether a symbol or name is that of a unit; case counts.</summary>
    public static bool IsKnown(string name) => s_known.ContainsKey(name) || IsKnownWord(name);

    /// <summary>A product of powers of units; a name that is not known measures itself ("apples").</summary>
    public static AnswerUnit Of(IEnumerable<(string Name, int Power)> units)
    {
        double factor = 1;
        var powers = new SortedDictionary<string, int>(StringComparer.Ordinal);
        foreach ((string name, int power) in units)
        {
            (double one, string dimension) = Find(name);
            factor *= Math.Pow(one, power);
            foreach (string part in dimension.Split(' '))
            {
                int caret = part.IndexOf('^', StringComparison.Ordinal);
                string basis = caret < 0 ? part : part[..caret];
                powers[basis] = powers.GetValueOrDefault(basis)
                    + power * (caret < 0 ? 1 : int.Parse(part[(caret + 1)..], CultureInfo.InvariantCulture));
            }
        }

        return new AnswerUnit(factor,
            string.Join(' ', powers.Where(pair => pair.Value != 0)
                .Select(pair => string.Create(CultureInfo.InvariantCulture, $"{pair.Key}^{pair.Value}"))));
    }

    private static bool IsKnownWord(string name) => name.Length > 2
        && s_known.ContainsKey(Singular(name.ToLowerInvariant()));

    private static (double Factor, string Dimension) Find(string name)
    {
        if (s_known.TryGetValue(name, out (double, string) known))
            return known;
        string word = Singular(name.ToLowerInvariant());
        return s_known.TryGetValue(word, out known) ? known : (1, $"'{word}'");
    }

    private static string Singular(string word) => word is "feet" ? "foot" : word is "inches" ? "inch"
        : word.Length > 3 && word[^1] == 's' && word[^2] != 's' ? word[..^1] : word;

    private static FrozenDictionary<string, (double Factor, string Dimension)> Known()
    {
        var known = new Dictionary<string, (double, string)>(StringComparer.Ordinal);
        (string Symbol, string Word, double Factor, string Dimension)[] scaled =
        [
            ("m", "meter", 1, "m"), ("g", "gram", 1e-3, "kg"), ("s", "second", 1, "s"), ("A", "ampere", 1, "A"),
            ("K", "kelvin", 1, "K"), ("mol", "mole", 1, "mol"),
            ("N", "newton", 1, "kg m s^-2"), ("J", "joule", 1, "kg m^2 s^-2"), ("W", "watt", 1, "kg m^2 s^-3"),
            ("Pa", "pascal", 1, "kg m^-1 s^-2"),
            ("V", "volt", 1, "A^-1 kg m^2 s^-3"), ("Ω", "ohm", 1, "A^-2 kg m^2 s^-3"),
            ("F", "farad", 1, "A^2 kg^-1 m^-2 s^4"), ("C", "coulomb", 1, "A s"),
            ("T", "tesla", 1, "A^-1 kg s^-2"), ("H", "henry", 1, "A^-2 kg m^2 s^-2"), ("Hz", "hertz", 1, "s^-1"),
            ("L", "liter", 1e-3, "m^3"), ("l", "litre", 1e-3, "m^3"),
            ("eV", "electronvolt", 1.602176634e-19, "kg m^2 s^-2"), ("M", "molar", 1e3, "m^-3 mol"),
            ("cal", "calorie", 4.184, "kg m^2 s^-2"), ("B", "byte", 1, "byte"),
        ];
        (string Symbol, string Word, double Factor)[] prefixes =
        [
            ("", "", 1), ("k", "kilo", 1e3), ("M", "mega", 1e6), ("G", "giga", 1e9), ("T", "tera", 1e12),
            ("d", "deci", 1e-1), ("c", "centi", 1e-2), ("m", "milli", 1e-3),
            ("μ", "micro", 1e-6), ("n", "nano", 1e-9), ("p", "pico", 1e-12),
        ];
        foreach ((string symbol, string word, double factor, string dimension) in scaled)
        {
            foreach ((string prefix, string prefixWord, double scale) in prefixes)
            {
                known.TryAdd(prefix + symbol, (scale * factor, dimension));
                known.TryAdd(prefixWord + word, (scale * factor, dimension));
            }
        }

        known["metre"] = known["m"];
        known["kilometre"] = known["km"];
        known["centimetre"] = known["cm"];
        known["millimetre"] = known["mm"];
        (string Name, double Factor, string Dimension)[] others =
        [
            ("min", 60, "s"), ("minute", 60, "s"), ("h", 3600, "s"), ("hr", 3600, "s"), ("hour", 3600, "s"),
            ("day", 86400, "s"), ("week", 604800, "s"), ("month", 1, "month"),
            ("year", 1, "year"), ("sec", 1, "s"), ("in", 0.0254, "m"), ("inch", 0.0254, "m"), ("ft", 0.3048, "m"),
            ("foot", 0.3048, "m"), ("yd", 0.9144, "m"), ("yard", 0.9144, "m"),
            ("mi", 1609.344, "m"), ("mile", 1609.344, "m"), ("mph", 0.44704, "m s^-1"), ("lb", 0.45359237, "kg"),
            ("pound", 0.45359237, "kg"), ("oz", 0.028349523125, "kg"),
            ("ton", 1000, "kg"), ("tonne", 1000, "kg"), ("atm", 101325, "kg m^-1 s^-2"), ("bar", 1e5, "kg m^-1 s^-2"),
            ("rad", 1, "rad"), ("radian", 1, "rad"), ("deg", 1, "°"),
            ("degree", 1, "°"), ("°", 1, "°"), ("°C", 1, "°C"), ("°F", 1, "°F"), ("$", 1, "$"), ("dollar", 1, "$"),
            ("USD", 1, "$"), ("cent", 0.01, "$"), ("€", 1, "€"), ("EUR", 1, "€"),
            ("euro", 1, "€"), ("£", 1, "£"), ("¥", 1, "¥"), ("元", 1, "¥"), ("米", 1, "m"), ("厘米", 0.01, "m"),
            ("千米", 1000, "m"), ("秒", 1, "s"), ("度", 1, "°"), ("unit", 1, "unit"),
        ];
        foreach ((string name, double factor, string dimension) in others)
            known[name] = (factor, dimension);
        return known.ToFrozenDictionary(StringComparer.Ordinal);
    }
}
