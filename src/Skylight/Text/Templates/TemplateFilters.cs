using System.Collections.Frozen;
using System.Globalization;

namespace Skylight.Text.Templates;

/// <summary>The filters and tests that there are.</summary>
internal static class TemplateFilters
{
    private const int MostIndentation = 256;

    public static FrozenDictionary<string, Func<object?, TemplateCall, object?>> All { get; } = new Dictionary<string,
        Func<object?, TemplateCall, object?>>
    {
        ["trim"] = (value, call) =>
            TemplateMethods.Strip(Text(value, call), call.Expect(1, "chars").Get(0, "chars") as string, left: true, right: true),
        ["length"] = (value, call) => Length(value, call.Expect(0)),
        ["count"] = (value, call) => Length(value, call.Expect(0)),
        ["tojson"] = (value, call) =>
            TemplateValue.ToJson(value,
                JsonIndentation(call.Expect(1, "indent", "ensure_ascii", "separators", "sort_keys")), call.Run, call.Place),
        ["default"] = (value, call) => Default(value, call),
        ["d"] = (value, call) => Default(value, call),
        ["join"] = (value, call) => Join(value, call.Expect(2, "d", "attribute")),
        ["lower"] = (value, call) => Text(value, call).ToLowerInvariant(),
        ["upper"] = (value, call) => Text(value, call).ToUpperInvariant(),
        ["capitalize"] = (value, call) => TemplateMethods.Capitalize(Text(value, call)),
        ["title"] = (value, call) => TemplateMethods.Title(Text(value, call)),
        ["replace"] = (value, call) => TemplateMethods.Replace(Text(value, call), call.Expect(3, "old", "new", "count")),
        ["first"] = (value, call) => (value as List<object?> ?? TemplateValue.Elements(value, call.Run, call.Place))
            is [var first, ..] ? first : new Missing("the first element of nothing"),
        ["last"] = (value, call) => (value as List<object?> ?? TemplateValue.Elements(value, call.Run, call.Place))
            is [.., var last] ? last : new Missing("the last element of nothing"),
        ["list"] = (value, call) => TemplateValue.Elements(value, call.Run, call.Place).ToList(),
        ["reverse"] = (value, call) => value is string text
            ? string.Concat(TemplateValue.Elements(text, call.Run, call.Place).AsEnumerable().Reverse())
            : TemplateValue.Elements(value, call.Run, call.Place).AsEnumerable().Reverse().ToList(),
        ["string"] = (value, call) => Text(value, call),
        ["safe"] = (value, call) => value,
        ["int"] = (value, call) => ToInt(value, call),
        ["float"] = (value, call) => value is string text
            ? double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) ? number
            : call.Get(0, "default", 0.0)
            : TemplateValue.IsNumber(value) ? TemplateValue.ToDouble(value) : call.Get(0, "default", 0.0),
        ["abs"] = (value, call) => value is long whole
            ? (object)(whole == long.MinValue ? throw call.Error("gives a number beyond 64 bits") : Math.Abs(whole))
            : value is double number ? Math.Abs(number) : throw call.Error("takes a number"),
        ["items"] = (value, call) => value is Missing ? new List<object?>()
            : Items(value as Dictionary<string, object?> ?? throw call.Error("takes a mapping")),
        ["dictsort"] = (value, call) =>
            Items(value as Dictionary<string, object?> ?? throw call.Error("takes a mapping")).OrderBy(
                pair => ((string)((List<object?>)pair!)[0]!).ToLowerInvariant(), StringComparer.Ordinal).ToList(),
        ["map"] = Map,
        ["select"] = (value, call) => Select(value, call, byMember: false, wanted: true),
        ["reject"] = (value, call) => Select(value, call, byMember: false, wanted: false),
        ["selectattr"] = (value, call) => Select(value, call, byMember: true, wanted: true),
        ["rejectattr"] = (value, call) => Select(value, call, byMember: true, wanted: false),
        ["unique"] = (value, call) =>
            TemplateValue.Elements(value, call.Run, call.Place).Aggregate(new List<object?>(), (kept, item) =>
        {
            if (!kept.Exists(other => TemplateValue.AreEqual(other, item, call.Run, call.Place)))
                kept.Add(item);
            return kept;
        }),
        ["indent"] = Indent,
    }.ToFrozenDictionary(StringComparer.Ordinal);

    public static FrozenDictionary<string,
        (TemplateTest Test, bool TakesArgument)> Tests
    { get; } =
        new Dictionary<string, (TemplateTest, bool)>
        {
            ["defined"] = ((value, _, _, _) => value is not Missing, false),
            ["undefined"] = ((value, _, _, _) => value is Missing, false),
            ["none"] = ((value, _, _, _) => value is null, false),
            ["string"] = ((value, _, _, _) => value is string, false),
            ["mapping"] = ((value, _, _, _) => value is Dictionary<string, object?>, false),
            ["iterable"] = ((value, _, _, _) => value is string or List<object?> or Dictionary<string, object?> or Missing,
                false),
            ["sequence"] = ((value, _, _, _) => value is string or List<object?> or Dictionary<string, object?> or Missing,
                false),
            ["number"] = ((value, _, _, _) => TemplateValue.IsNumber(value), false),
            ["integer"] = ((value, _, _, _) => value is long, false),
            ["float"] = ((value, _, _, _) => value is double, false),
            ["boolean"] = ((value, _, _, _) => value is bool, false),
            ["true"] = ((value, _, _, _) => value is true, false),
            ["false"] = ((value, _, _, _) => value is false, false),
            ["callable"] = ((value, _, _, _) => value is TemplateFunction, false),
            ["odd"] = ((value, _, run, place) => Whole(value, place) % 2 != 0, false),
            ["even"] = ((value, _, run, place) => Whole(value, place) % 2 == 0, false),
            ["divisibleby"] = ((value, by, run, place) => Whole(by, place) is not 0 and var divisor
                && (divisor == -1 || Whole(value, place) % divisor == 0), true),
            ["eq"] = ((value, other, run, place) => TemplateValue.AreEqual(value, other, run, place), true),
            ["equalto"] = ((value, other, run, place) => TemplateValue.AreEqual(value, other, run, place), true),
            ["ne"] = ((value, other, run, place) => !TemplateValue.AreEqual(value, other, run, place), true),
            ["in"] = ((value, container, run, place) => TemplateValue.Contains(container, value, run, place), true),
        }.ToFrozenDictionary(StringComparer.Ordinal);

    /// <summary>Pairs of a mapping.</summary>
    public static List<object?> Items(Dictionary<string, object?> map) =>
        [.. map.Select(pair => (object?)(List<object?>)[pair.Key, pair.Value])];

    private static string Text(object? value, TemplateCall call) => TemplateValue.Print(value, call.Run, call.Place);

    private static long Whole(object? value, TemplatePlace place) => TemplateValue.ToInteger(value)
        ?? throw new TemplateException(place, $"a whole number is needed, not {TemplateValue.TypeName(value)}.");

    private static int? JsonIndentation(TemplateCall call)
    {
        // json.dumps' other settings would change the text.
        if (call.Get(-1, "separators") is not null || TemplateValue.IsTrue(call.Get(-1, "sort_keys"))
            || TemplateValue.IsTrue(call.Get(-1, "ensure_ascii")))
            throw call.Error("is supported with 'indent' alone");
        return call.Get(0, "indent") switch
        {
            null => null,
            long and >= 0 and <= MostIndentation and var spaces => (int)spaces,
            _ => throw call.Error($"takes a whole number from 0 to {MostIndentation} for 'indent'"),
        };
    }

    private static long Length(object? value, TemplateCall call) =>
        TemplateValue.Count(value, call.Run, call.Place) ?? throw call.Error($"takes something with elements, not {TemplateValue.TypeName(value)}");

    private static object? Default(object? value, TemplateCall call)
    {
        call.Expect(2, "default_value", "boolean");
        bool replaces = value is Missing || TemplateValue.IsTrue(call.Get(1, "boolean", false))
            && !TemplateValue.IsTrue(value);
        return replaces ? call.Get(0, "default_value", "") : value;
    }

    private static string Join(object? value, TemplateCall call)
    {
        IEnumerable<object?> items = TemplateValue.Elements(value, call.Run, call.Place);
        if (call.Get(1, "attribute") is { } attribute)
            items = items.Select(item => TemplateValue.Element(item, attribute, call.Run, call.Place));
        return TemplateMethods.Join(Text(call.Get(0, "d", ""), call),
            [.. items.Select(item => Text(item, call))], call);
    }

    private static object? ToInt(object? value, TemplateCall call) => value switch
    {
        string text when long.TryParse(text.Trim(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture,
            out long number) => number,
        string text when double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number)
            && Math.Abs(number) < 9e15 => (long)number,
        double number when Math.Abs(number) < 9e15 => (long)number,
        long or bool => TemplateValue.ToInteger(value),
        _ => call.Get(0, "default", 0L),
    };

    private static object? Map(object? value, TemplateCall call)
    {
        List<object?> items = TemplateValue.Elements(value, call.Run, call.Place);
        if (call.Get(-1, "attribute") is { } attribute)
        {
            return items.Select(item => TemplateValue.Element(item, attribute, call.Run, call.Place) is Missing
                && call.Named.TryGetValue("default", out object? otherwise)
                ? otherwise : TemplateValue.Element(item, attribute, call.Run, call.Place)).ToList();
        }

        string name = call.Text(0, "filter");
        if (!All.TryGetValue(name, out Func<object?, TemplateCall, object?>? filter))
            throw call.Error($"does not know the filter '{name}'");
        return items.Select(item =>
            filter(item, new TemplateCall(call.Run, call.Place, name, [.. call.Positional.Skip(1)], call.Named))).ToList();
    }

    private static object? Select(object? value, TemplateCall call, bool byMember, bool wanted)
    {
        int first = byMember ? 1 : 0;
        object? member = byMember ? call.Get(0, "attribute") ?? throw call.Error("needs the name of a member") : null;
        Func<object?, bool> test = TemplateValue.IsTrue;
        if (call.Positional.Count > first)
        {
            string name = call.Text(first, "test");
            if (!Tests.TryGetValue(name, out (TemplateTest Test, bool TakesArgument) known))
                throw call.Error($"does not know the test '{name}'");
            object? argument = call.Get(first + 1, "argument");
            test = item => known.Test(item, argument, call.Run, call.Place);
        }

        return TemplateValue.Elements(value, call.Run, call.Place)
            .Where(item => test(byMember ? TemplateValue.Element(item, member, call.Run, call.Place) : item) == wanted).ToList();
    }

    private static object? Indent(object? value, TemplateCall call)
    {
        call.Expect(3, "width", "first", "blank");
        object? width = call.Get(0, "width", 4L);
        string spaces = width as string ?? new string(' ', (int)Math.Clamp(Whole(width, call.Place), 0, MostIndentation));
        string text = Text(value, call);
        TemplateRun.CheckLength(text.Length * (1L + spaces.Length), call.Place);
        TemplateRun.CheckCount(text.AsSpan().Count('\n'), call.Place);
        bool first = TemplateValue.IsTrue(call.Get(1, "first", false)),
            blank = TemplateValue.IsTrue(call.Get(2, "blank", false));
        return string.Join('\n', text.Split('\n')
            .Select((line, index) => (index == 0 ? first : blank || line.Length > 0) ? spaces + line : line));
    }
}
