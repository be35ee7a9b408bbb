namespace Skylight.Constraints;

/// <summary>The formats of strings that are held, each as a pattern of the whole text, and those of numbers.</summary>
internal static class SchemaFormats
{
    private const string Year = @"(000[1-9]|00[1-9]\d|0[1-9]\d\d|[1-9]\d{3})";
    private const string LeapYear = @"(\d\d(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)";
    private const string Date =
        $@"({Year}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))|{LeapYear}-02-29)";

    private const string Clock = @"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?";
    private const string Offset = @"(Z|[+-]([01]\d|2[0-3]):[0-5]\d)";
    private const string Byte = @"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)";
    // So that no name has more than the 253 characters that are allowed.
    private const string Label = "[A-Za-z0-9]([A-Za-z0-9-]{0,38}[A-Za-z0-9])?";
    private const string Host = $@"{Label}(\.{Label}){{0,5}}";
    private const string Mailbox = "[A-Za-z0-9_%+-]";
    private const string Hex = "[0-9A-Fa-f]{1,4}";
    private const string Encoded = "%[0-9A-Fa-f]{2}";

    private static readonly Dictionary<string, string> s_patterns = new()
    {
        ["date"] = Date,
        ["time"] = Clock + Offset,
        ["date-time"] = $"{Date}T{Clock}{Offset}",
        ["duration"] =
            @"P(\d+W|(\d+Y(\d+M(\d+D)?)?|\d+M(\d+D)?|\d+D)(T(\d+H(\d+M(\d+S)?)?|\d+M(\d+S)?|\d+S))?|T(\d+H(\d+M(\d+S)?)?|\d+M(\d+S)?|\d+S))",
        ["uuid"] = "[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
        // No more than 64 characters before the sign, and a name of at least two labels behind it.
        ["email"] = $@"({Mailbox}{{1,64}}|{Mailbox}(\.?{Mailbox}){{0,31}})@{Label}(\.{Label}){{0,3}}\.[A-Za-z]{{2,24}}",
        ["hostname"] = Host,
        ["ipv4"] = $@"{Byte}(\.{Byte}){{3}}",
        ["ipv6"] =
            $"(({Hex}:){{7}}{Hex}|({Hex}:){{1,7}}:|({Hex}:){{1,6}}:{Hex}|({Hex}:){{1,5}}(:{Hex}){{1,2}}|({Hex}:){{1,4}}(:{Hex}){{1,3}}|({Hex}:){{1,3}}(:{Hex}){{1,4}}|({Hex}:){{1,2}}(:{Hex}){{1,5}}|{Hex}:(:{Hex}){{1,6}}|:((:{Hex}){{1,7}}|:))",
        ["uri"] =
            $@"[A-Za-z][A-Za-z0-9+.-]*:(//([A-Za-z0-9._~!$&'()*+,;=:-]|{Encoded})*(:\d+)?(/([A-Za-z0-9._~!$&'()*+,;=:@-]|{Encoded})*)*|/?([A-Za-z0-9._~!$&'()*+,;=:@-]|{Encoded})+(/([A-Za-z0-9._~!$&'()*+,;=:@-]|{Encoded})*)*)(\?([A-Za-z0-9._~!$&'()*+,;=:@/?-]|{Encoded})*)?(#([A-Za-z0-9._~!$&'()*+,;=:@/?-]|{Encoded})*)?",
        ["byte"] = "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
    };

    // Of numbers these say what every number is already, or give bounds.
    private static readonly Dictionary<string, (decimal Least, decimal Most)?> s_numbers = new()
    {
        ["float"] = null,
        ["double"] = null,
        ["decimal"] = null,
        ["int8"] = (sbyte.MinValue, sbyte.MaxValue),
        ["int16"] = (short.MinValue, short.MaxValue),
        ["int32"] = (int.MinValue, int.MaxValue),
        ["int64"] = (long.MinValue, long.MaxValue),
        ["uint8"] = (byte.MinValue, byte.MaxValue),
        ["uint16"] = (ushort.MinValue, ushort.MaxValue),
        ["uint32"] = (uint.MinValue, uint.MaxValue),
        ["uint64"] = (ulong.MinValue, ulong.MaxValue),
    };

    /// <summary>The names of what is held, for docs and errors.</summary>
    public static IEnumerable<string> Names => s_patterns.Keys.Concat(s_numbers.Keys);

    /// <summary>The pattern of a format; null where it says nothing of strings.</summary>
    /// <exception cref="ConstraintException">The format is not known.</exception>
    public static string? PatternOf(SchemaPlace format)
    {
        if (s_patterns.TryGetValue(format.Text(), out string? pattern))
            return pattern;
        return s_numbers.ContainsKey(format.Text()) ? null : throw Unknown(format);
    }

    /// <summary>The numbers of a range that a format allows.</summary>
    /// <exception cref="ConstraintException">The format is not known.</exception>
    public static NumberRange Narrow(NumberRange range, SchemaPlace format)
    {
        if (!s_numbers.TryGetValue(format.Text(), out (decimal Least, decimal Most)? bounds))
            return s_patterns.ContainsKey(format.Text()) ? range : throw Unknown(format);
        if (bounds is not { } known)
            return range;
        DecimalNumber least = new(new System.Numerics.BigInteger(known.Least), 0),
            most = new(new System.Numerics.BigInteger(known.Most), 0);
        if (range.Least is not { } low || low.CompareTo(least) < 0)
            range = range with { Least = least, LeastIsOut = false };
        return range.Most is { } high && high.CompareTo(most) <= 0 ? range
            : range with { Most = most, MostIsOut = false };
    }

    private static ConstraintException Unknown(SchemaPlace format) =>
        new(format.Path, $"{format.Path}: this format cannot be held. Known are {string.Join(", ", Names)}; write a " +
            "'pattern', or leave it out.");
}
