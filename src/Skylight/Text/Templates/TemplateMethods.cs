using System.Collections.Frozen;
using System.Globalization;
using System.Text;

namespace Skylight.Text.Templates;

/// <summary>The methods of texts, lists and mappings that there are.</summary>
internal static class TemplateMethods
{
    public static object? Call(object? target, string method, TemplateCall call) => target switch
    {
        string text => OfText(Read(text, call), method, call),
        List<object?> list => OfList(list, method, call),
        Dictionary<string, object?> map => OfMap(map, method, call),
        _ => throw call.Error($"is no method of {TemplateValue.TypeName(target)}"),
    };

    private static object? OfText(string text, string method, TemplateCall call) => method switch
    {
        "strip" => Strip(text, call.Expect(1).Get(0, "chars") as string, left: true, right: true),
        "lstrip" => Strip(text, call.Expect(1).Get(0, "chars") as string, left: true, right: false),
        "rstrip" => Strip(text, call.Expect(1).Get(0, "chars") as string, left: false, right: true),
        "startswith" => Options(call).Any(option => text.StartsWith(option, StringComparison.Ordinal)),
        "endswith" => Options(call).Any(option => text.EndsWith(option, StringComparison.Ordinal)),
        "split" => Split(text, call.Expect(2, "sep", "maxsplit"), fromEnd: false),
        "rsplit" => Split(text, call.Expect(2, "sep", "maxsplit"), fromEnd: true),
        "splitlines" => text.Length == 0 ? [] : Split(text.EndsWith('\n') ? text[..^1] : text, "\n", -1, call),
        "replace" => Replace(text, call.Expect(3, "old", "new", "count")),
        "removeprefix" => text.StartsWith(call.Expect(1).Text(0, "prefix"), StringComparison.Ordinal)
            ? text[call.Text(0, "prefix").Length..] : text,
        "removesuffix" => text.EndsWith(call.Expect(1).Text(0, "suffix"), StringComparison.Ordinal)
            ? text[..^call.Text(0, "suffix").Length] : text,
        "lower" => text.ToLowerInvariant(),
        "upper" => text.ToUpperInvariant(),
        "capitalize" => Capitalize(text),
        "title" => Title(text),
        "join" => Join(text,
            [.. TemplateValue.Elements(call.Expect(1).Get(0, "iterable"), call.Run, call.Place)
                .Select(item => item as string ?? throw call.Error("joins texts only"))], call),
        "find" => (long)(text.IndexOf(call.Expect(1).Text(0, "sub"), StringComparison.Ordinal) is var at and >= 0
            ? new StringInfoLength(text[..at]).Value : -1),
        "count" => Count(text, call.Expect(1).Text(0, "sub")),
        "isdigit" => text.Length > 0 && text.All(char.IsDigit),
        "isspace" => text.Length > 0 && text.All(char.IsWhiteSpace),
        _ => throw call.Error("is no method of texts that is supported"),
    };

    private static object? OfList(List<object?> list, string method, TemplateCall call) => method switch
    {
        "index" => list.FindIndex(item => IsValue(item, call.Expect(1))) is var at
            and >= 0 ? (long)at : throw call.Error("finds no such element"),
        "count" => list.LongCount(item => IsValue(item, call.Expect(1))),
        _ => throw call.Error("is no method of lists that is supported: what a template is given does not change"),
    };

    private static object? OfMap(Dictionary<string, object?> map, string method, TemplateCall call) => method switch
    {
        "get" => call.Expect(2).Get(0, "key") is string key && map.TryGetValue(key, out object? value) ? value
            : call.Get(1, "default"),
        "items" => TemplateFilters.Items(map),
        "keys" => (List<object?>)[.. map.Keys],
        "values" => (List<object?>)[.. map.Values],
        _ => throw call.Error(map.ContainsKey(method) ? "is a member that cannot be called"
            : "is no method of mappings that is supported"),
    };

    private static bool IsValue(object? item, TemplateCall call) =>
        TemplateValue.AreEqual(item, call.Get(0, "value"), call.Run, call.Place);

    /// <summary>Counts the steps of a method of a text: all of them go through it.</summary>
    private static string Read(string text, TemplateCall call)
    {
        call.Run.Read(text, call.Place);
        return text;
    }

    /// <summary>Without characters at its ends; white space where none are named.</summary>
    public static string Strip(string text, string? characters, bool left, bool right)
    {
        if (characters is null)
            return left && right ? text.Trim() : left ? text.TrimStart() : text.TrimEnd();
        char[] set = characters.ToCharArray();
        // No characters at all would mean white space to .NET.
        return set.Length == 0 ? text : left && right ? text.Trim(set) : left ? text.TrimStart(set) : text.TrimEnd(set);
    }

    public static string Capitalize(string text) => text.Length == 0 ? text
        : char.ToUpperInvariant(text[0]) + text[1..].ToLowerInvariant();

    public static string Title(string text)
    {
        var result = new StringBuilder(text.Length);
        bool isInside = false;
        foreach (char character in text)
        {
            result.Append(isInside ? char.ToLowerInvariant(character) : char.ToUpperInvariant(character));
            isInside = char.IsLetter(character);
        }

        return result.ToString();
    }

    private static IEnumerable<string> Options(TemplateCall call) => call.Expect(1).Get(0, "prefix") switch
    {
        string text => [text],
        List<object?> => TemplateValue.Elements(call.Get(0, "prefix"), call.Run, call.Place)
            .Select(item => item as string ?? throw call.Error("takes texts")),
        _ => throw call.Error("takes a text, or several"),
    };

    private static List<object?> Split(string text, TemplateCall call, bool fromEnd)
    {
        int most = (int)Math.Clamp(TemplateValue.ToInteger(call.Get(1, "maxsplit", -1L))
            ?? throw call.Error("takes a whole number for 'maxsplit'"), -1, int.MaxValue - 1);
        if (call.Get(0, "sep") is not { } separator)
        {
            if (most >= 0)
                throw call.Error("is supported without a separator only where 'maxsplit' is not given");
            // One more than there may be is enough to be refused.
            return [.. text.Split((char[]?)null, TemplateRun.MostElements + 1, StringSplitOptions.RemoveEmptyEntries)];
        }

        if (separator is not string { Length: > 0 } mark)
            throw call.Error("takes a separator that is a text and not empty");
        if (most < 0 || !fromEnd)
            return Split(text, mark, most, call);
        List<object?> parts = [];
        int end = text.Length;
        for (int at; most-- > 0 && (at = text.AsSpan(0, end).LastIndexOf(mark)) >= 0; end = at)
        {
            TemplateRun.CheckCount(parts.Count + 2, call.Place);
            parts.Add(text[(at + mark.Length)..end]);
        }

        parts.Add(text[..end]);
        parts.Reverse();
        return parts;
    }

    private static List<object?> Split(string text, string mark, int most, TemplateCall call)
    {
        if (most is < 0 or >= TemplateRun.MostElements)
            TemplateRun.CheckCount(Count(text, mark) + 1, call.Place);
        return [.. most < 0 ? text.Split(mark) : text.Split(mark, most + 1)];
    }

    /// <summary>Texts with a separator between them.</summary>
    public static string Join(string separator, string[] texts, TemplateCall call)
    {
        TemplateRun.CheckLength(texts.Sum(text => (long)text.Length + separator.Length), call.Place);
        return string.Join(separator, texts);
    }

    /// <summary>A text with others for some of its parts.</summary>
    public static string Replace(string text, TemplateCall call)
    {
        string old = call.Text(0, "old"), replacement = call.Text(1, "new");
        long most = TemplateValue.ToInteger(call.Get(2, "count", -1L)) ?? -1;
        if (old.Length == 0)
            throw call.Error("cannot replace the empty text");
        if (replacement.Length > old.Length)
            TemplateRun.CheckLength(text.Length + Count(text, old) * (replacement.Length - (long)old.Length), call.Place);
        if (most < 0)
            return text.Replace(old, replacement, StringComparison.Ordinal);
        var result = new StringBuilder();
        int from = 0;
        for (int at; most-- > 0 && (at = text.IndexOf(old, from, StringComparison.Ordinal)) >= 0; from = at + old.Length)
            result.Append(text, from, at - from).Append(replacement);
        return result.Append(text, from, text.Length - from).ToString();
    }

    private static long Count(string text, string part)
    {
        long count = 0;
        for (int at = text.IndexOf(part, StringComparison.Ordinal); at >= 0 && part.Length > 0;
            at = text.IndexOf(part, at + part.Length, StringComparison.Ordinal))
            count++;
        return count;
    }

    private readonly record struct StringInfoLength(string Text)
    {
        public int Value => Text.EnumerateRunes().Count();
    }
}

/// <summary>The functions that there are.</summary>
internal static class TemplateFunctions
{
    private const int LongestRange = 100_000;

    public static FrozenDictionary<string, TemplateFunction> All { get; } = new Dictionary<string, TemplateFunction>
    {
        ["namespace"] = Namespace,
        ["dict"] = call =>
            new Dictionary<string, object?>(call.Expect(0, [.. call.Named.Keys]).Named, StringComparer.Ordinal),
        ["range"] = Range,
        ["raise_exception"] = call =>
            throw new TemplateException(call.Place,
                $"the template refuses this: {TemplateValue.Name(call.Expect(1).Get(0, "message"), call.Run, call.Place, 4096)}",
                isRefusal: true),
        ["strftime_now"] = call => Format(call.Run.Now, call.Expect(1).Text(0, "format"), call),
    }.ToFrozenDictionary(StringComparer.Ordinal);

    private static TemplateNamespace Namespace(TemplateCall call)
    {
        var space = new TemplateNamespace();
        call.Expect(1, [.. call.Named.Keys]);
        if (call.Positional is [Dictionary<string, object?> given])
        {
            foreach ((string name, object? value) in given)
                space[name] = value;
        }

        foreach ((string name, object? value) in call.Named)
            space[name] = value;
        return space;
    }

    private static List<object?> Range(TemplateCall call)
    {
        long[] bounds = [.. call.Expect(3)
            .Positional.Select(bound => TemplateValue.ToInteger(bound) ?? throw call.Error("takes whole numbers"))];
        if (bounds.Length == 0)
            throw call.Error("takes an end");
        (long start, long end, long step) = (bounds.Length > 1 ? bounds[0] : 0, bounds.Length > 1 ? bounds[1]
            : bounds[0], bounds.Length > 2 ? bounds[2] : 1);
        var numbers = new List<object?>();
        // Beyond 64 bits, where a step from the last number may lead.
        for (Int128 number = start; step > 0 ? number < end : step < 0 ? number > end
            : throw call.Error("cannot have a step of 0"); number += step)
        {
            if (numbers.Count == LongestRange)
                throw call.Error($"is longer than {LongestRange}");
            numbers.Add((long)number);
        }

        return numbers;
    }

    private static string Format(DateTimeOffset now, string format, TemplateCall call)
    {
        var result = new StringBuilder();
        for (int at = 0; at < format.Length; at++)
        {
            if (format[at] != '%' || at + 1 == format.Length)
            {
                result.Append(format[at]);
                continue;
            }

            char code = format[++at];
            bool isPlain = code == '-' && at + 1 < format.Length;
            if (isPlain)
                code = format[++at];
            string text = code switch
            {
                'Y' => now.Year.ToString("0000", CultureInfo.InvariantCulture),
                'y' => (now.Year % 100).ToString("00", CultureInfo.InvariantCulture),
                'm' => now.Month.ToString("00", CultureInfo.InvariantCulture),
                'd' => now.Day.ToString("00", CultureInfo.InvariantCulture),
                'H' => now.Hour.ToString("00", CultureInfo.InvariantCulture),
                'I' => ((now.Hour + 11) % 12 + 1).ToString("00", CultureInfo.InvariantCulture),
                'M' => now.Minute.ToString("00", CultureInfo.InvariantCulture),
                'S' => now.Second.ToString("00", CultureInfo.InvariantCulture),
                'p' => now.Hour < 12 ? "AM" : "PM",
                'j' => now.DayOfYear.ToString("000", CultureInfo.InvariantCulture),
                'B' => now.ToString("MMMM", CultureInfo.InvariantCulture),
                'b' => now.ToString("MMM", CultureInfo.InvariantCulture),
                'A' => now.ToString("dddd", CultureInfo.InvariantCulture),
                'a' => now.ToString("ddd", CultureInfo.InvariantCulture),
                'F' => now.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture),
                'T' => now.ToString("HH:mm:ss", CultureInfo.InvariantCulture),
                '%' => "%",
                _ => throw call.Error($"does not know '%{code}'"),
            };
            result.Append(isPlain && text.Length > 1 && char.IsDigit(text[0])
                ? text.TrimStart('0') is { Length: > 0 } trimmed ? trimmed : "0" : text);
        }

        return result.ToString();
    }
}
