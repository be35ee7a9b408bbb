using System.Globalization;
using System.Numerics;
using System.Text;
using System.Text.Json;

namespace Skylight.Text.Templates;

/// <summary>
/// A name, member or element that is not there: it prints nothing, is false and has no elements; all else is an error.
/// </summary>
internal sealed record Missing(string What);

/// <summary>Something that can be called.</summary>
internal delegate object? TemplateFunction(TemplateCall call);

/// <summary>What stands behind <c>is</c>: asks something of a value, some with an argument.</summary>
internal delegate bool TemplateTest(object? value, object? argument, TemplateRun run, TemplatePlace place);

/// <summary>The arguments of a call.</summary>
internal sealed class TemplateCall(TemplateRun run, TemplatePlace place, string name, List<object?> positional,
    Dictionary<string, object?> named)
{
    public TemplateRun Run => run;

    public TemplatePlace Place => place;

    public List<object?> Positional => positional;

    public Dictionary<string, object?> Named => named;

    /// <summary>An argument by place or name.</summary>
    public object? Get(int index, string parameter, object? otherwise = null) =>
        index >= 0 && index < positional.Count ? positional[index] : named.TryGetValue(parameter, out object? value)
            ? value : otherwise;

    public string Text(int index, string parameter, string? otherwise = null) =>
        Get(index, parameter, otherwise) as string ?? throw Error($"takes text for '{parameter}'");

    /// <summary>Refuses arguments that nobody looks at.</summary>
    public TemplateCall Expect(int most, params ReadOnlySpan<string> parameters)
    {
        if (positional.Count > most)
            throw Error($"takes at most {most} arguments");
        foreach (string given in named.Keys)
        {
            if (!parameters.Contains(given))
                throw Error($"takes no argument '{given}'");
        }

        return this;
    }

    public TemplateException Error(string message) => new(place, $"'{name}' {message}.");
}

/// <summary>
/// Values and what Python does with them: null, bool, long, double, string, <see cref="List{T}"/>,
/// <see cref="Dictionary{TKey, TValue}"/>, <see cref="Missing"/>, <see cref="TemplateFunction"/>.
/// </summary>
internal static class TemplateValue
{
    private const int MostDepth = 64;

    public static bool IsTrue(object? value) => value switch
    {
        null or Missing or false or 0L or 0.0 or "" => false,
        List<object?> list => list.Count > 0,
        Dictionary<string, object?> map => map.Count > 0,
        _ => true,
    };

    public static bool IsNumber(object? value) => value is long or double or bool;

    public static string TypeName(object? value) => value switch
    {
        null => "none",
        Missing => "undefined",
        bool => "a boolean",
        long or double => "a number",
        string => "text",
        List<object?> => "a list",
        Dictionary<string, object?> => "a mapping",
        _ => "a function",
    };

    /// <summary>As <c>str()</c> writes it.</summary>
    public static string Print(object? value, TemplateRun run, TemplatePlace place)
    {
        switch (value)
        {
            case null: return "None";
            case Missing: return "";
            case string text:
                run.Read(text, place);
                return text;
            default: return Represent(value, run, place);
        }
    }

    /// <summary>A value as messages name it: printed, and cut where it is long.</summary>
    public static string Name(object? value, TemplateRun run, TemplatePlace place, int most = 80) =>
        Print(value, run, place) is var text && text.Length > most ? $"{text.AsSpan(0, most)}…" : text;

    private static string Represent(object? value, TemplateRun run, TemplatePlace place)
    {
        var text = new StringBuilder();
        Write(value, 0);
        return text.ToString();

        void Write(object? item, int depth)
        {
            // Lists may hold each other, and themselves.
            run.Step(place);
            if (depth > MostDepth)
                throw new TemplateException(place, "something too deep is written.");
            switch (item)
            {
                case List<object?> list:
                    WriteMany('[', ']', list, element => Write(element, depth + 1));
                    break;
                case Dictionary<string, object?> map:
                    WriteMany('{', '}', map, pair =>
                    {
                        Write(pair.Key, depth + 1);
                        text.Append(": ");
                        Write(pair.Value, depth + 1);
                    });
                    break;
                default:
                    string one = RepresentOne(item);
                    run.Read(one, place);
                    text.Append(one);
                    TemplateRun.CheckLength(text.Length, place);
                    break;
            }
        }

        void WriteMany<T>(char open, char close, IReadOnlyCollection<T> items, Action<T> write)
        {
            text.Append(open);
            int index = 0;
            foreach (T item in items)
            {
                if (index++ > 0)
                    text.Append(", ");
                write(item);
            }

            text.Append(close);
        }
    }

    private static string RepresentOne(object? value)
    {
        switch (value)
        {
            case null: return "None";
            case Missing: return "Undefined";
            case bool flag: return flag ? "True" : "False";
            case long number: return number.ToString(CultureInfo.InvariantCulture);
            case double number: return Float(number);
            case string text:
                string quote = text.Contains('\'') && !text.Contains('"') ? "\"" : "'";
                return quote + text.Replace("\\", "\\\\", StringComparison.Ordinal)
                    .Replace("\n", "\\n", StringComparison.Ordinal).Replace("\r", "\\r", StringComparison.Ordinal)
                    .Replace("\t", "\\t", StringComparison.Ordinal).Replace(quote == "'" ? "'" : "\0",
                        quote == "'" ? "\\'" : "\0", StringComparison.Ordinal) + quote;
            default: return "<function>";
        }
    }

    private static string Float(double number)
    {
        if (double.IsNaN(number) || double.IsInfinity(number))
            return double.IsNaN(number) ? "nan" : number > 0 ? "inf" : "-inf";
        string text = number.ToString("R", CultureInfo.InvariantCulture).ToLowerInvariant();
        return text.Contains('e') || text.Contains('.') ? text : text + ".0";
    }

    public static bool AreEqual(object? left, object? right, TemplateRun run, TemplatePlace place, int depth = 0)
    {
        run.Step(place);
        if (depth > MostDepth)
            throw new TemplateException(place, "something too deep is compared.");
        if (IsNumber(left) && IsNumber(right))
            return ToDouble(left) == ToDouble(right);
        return (left, right) switch
        {
            (null, null) => true,
            (Missing, Missing) => true,
            (string a, string b) => a.Length == b.Length && IsSameText(a, b),
            (List<object?> a, List<object?> b) => a.Count == b.Count
                && a.Zip(b).All(pair => AreEqual(pair.First, pair.Second, run, place, depth + 1)),
            (Dictionary<string, object?> a, Dictionary<string, object?> b) => a.Count == b.Count
                && a.All(pair => b.TryGetValue(pair.Key, out object? other)
                    && AreEqual(pair.Value, other, run, place, depth + 1)),
            _ => ReferenceEquals(left, right),
        };

        bool IsSameText(string a, string b)
        {
            run.Read(a, place);
            return a == b;
        }
    }

    public static double ToDouble(object? value) =>
        value switch { bool flag => flag ? 1 : 0, long number => number, double number => number, _ => double.NaN };

    public static long? ToInteger(object? value) =>
        value switch { bool flag => flag ? 1 : 0, long number => number, _ => null };

    /// <summary>Compares two numbers or two texts.</summary>
    public static int Compare(object? left, object? right, TemplateRun run, TemplatePlace place)
    {
        if (IsNumber(left) && IsNumber(right))
            return ToDouble(left).CompareTo(ToDouble(right));
        if (left is string a && right is string b)
        {
            run.Step(place, Math.Min(a.Length, b.Length) / 8);
            return CompareText(a, b);
        }

        throw new TemplateException(place, $"{TypeName(left)} and {TypeName(right)} cannot be compared.");
    }

    // By code points, as Python does; UTF-16 puts surrogates before U+E000.
    private static int CompareText(string left, string right)
    {
        StringRuneEnumerator a = left.EnumerateRunes().GetEnumerator(), b = right.EnumerateRunes().GetEnumerator();
        while (true)
        {
            bool hasLeft = a.MoveNext(), hasRight = b.MoveNext();
            if (!hasLeft || !hasRight)
                return hasLeft.CompareTo(hasRight);
            int order = a.Current.CompareTo(b.Current);
            if (order != 0)
                return order;
        }
    }

    public static bool Contains(object? container, object? item, TemplateRun run, TemplatePlace place) => container switch
    {
        string when item is string part => Print(container, run, place).Contains(part, StringComparison.Ordinal),
        List<object?> list => list.Exists(element => AreEqual(element, item, run, place)),
        Dictionary<string, object?> map => item is string key && map.ContainsKey(key),
        Missing => false,
        _ => throw new TemplateException(place, $"'in' cannot look for {TypeName(item)} in {TypeName(container)}."),
    };

    public static object? Calculate(string operation, object? left, object? right, TemplateRun run, TemplatePlace place)
    {
        if (operation == "~")
            return Print(left, run, place) + Print(right, run, place);
        switch (operation, left, right)
        {
            case ("+", string a, string b): return a + b;
            case ("+", List<object?> a, List<object?> b): return (List<object?>)[.. a, .. b];
            case ("*", string text, long count):
                TemplateRun.CheckLength(text.Length * (long)Math.Clamp(count, 0, int.MaxValue), place);
                return text.Length == 0 || count <= 0 ? ""
                    : new StringBuilder(text.Length * (int)count).Insert(0, text, (int)count).ToString();
        }

        if (ToInteger(left) is { } x && ToInteger(right) is { } y)
        {
            if (operation is "/" or "//" or "%" && y == 0)
                throw new TemplateException(place, "a number is divided by zero.");
            try
            {
                checked
                {
                    switch (operation)
                    {
                        case "+": return x + y;
                        case "-": return x - y;
                        case "*": return x * y;
                        case "/": return (double)x / y;
                        case "//": return (long)Math.Floor((decimal)x / y);
                        case "%": return x - y * (long)Math.Floor((decimal)x / y);
                        // Of what is beyond 64 bits at 64 it is no matter how far.
                        case "**" when y >= 0: return (long)BigInteger.Pow(x, (int)Math.Min(y, 64 + y % 2));
                    }
                }
            }
            catch (OverflowException)
            {
                throw new TemplateException(place, "a number is beyond 64 bits.");
            }
        }

        if (IsNumber(left) && IsNumber(right))
        {
            double a = ToDouble(left), b = ToDouble(right);
            if (operation is "/" or "//" or "%" && b == 0)
                throw new TemplateException(place, "a number is divided by zero.");
            return operation switch
            {
                "+" => a + b,
                "-" => a - b,
                "*" => a * b,
                "/" => a / b,
                "//" => Math.Floor(a / b),
                "%" => a - b * Math.Floor(a / b),
                _ => Math.Pow(a, b),
            };
        }

        string what = left is Missing missing ? $"{missing.What} is undefined, and '{operation}' needs it"
            : right is Missing other ? $"{other.What} is undefined, and '{operation}' needs it"
            : $"'{operation}' does not work on {TypeName(left)} and {TypeName(right)}";
        throw new TemplateException(place, what + ".");
    }

    /// <summary>The elements of a value: of a list, of a mapping its names, of a text its characters.</summary>
    public static List<object?> Elements(object? value, TemplateRun run, TemplatePlace place)
    {
        // Of a text each character becomes one of its own.
        run.Step(place, value is string { Length: var length } ? length : Count(value, run, place)
            ?? throw new TemplateException(place, $"{TypeName(value)} has no elements to go through."));
        return value switch
        {
            List<object?> list => list,
            Dictionary<string, object?> map => [.. map.Keys],
            string text => [.. text.EnumerateRunes().Select(rune => rune.ToString())],
            _ => [],
        };
    }

    /// <summary>How many elements a value has; null where it can have none.</summary>
    public static long? Count(object? value, TemplateRun run, TemplatePlace place)
    {
        switch (value)
        {
            case List<object?> list: return list.Count;
            case Dictionary<string, object?> map: return map.Count;
            case Missing: return 0;
            case string text:
                run.Read(text, place);
                return text.EnumerateRunes().Count();
            default: return null;
        }
    }

    /// <summary>An element by its number or name; <see cref="Missing"/> where there is none.</summary>
    public static object? Element(object? container, object? index, TemplateRun run, TemplatePlace place)
    {
        switch (container)
        {
            case Dictionary<string, object?> map:
                return index is string key && map.TryGetValue(key, out object? value) ? value
                    : new Missing($"'{Name(index, run, place)}'");
            case List<object?> list when ToInteger(index) is { } number:
                number = number < 0 ? number + list.Count : number;
                return number >= 0 && number < list.Count ? list[(int)number] : new Missing($"element {Name(index, run, place)}");
            case string text when ToInteger(index) is not null:
                return Element(Elements(text, run, place), index, run, place);
            case Missing missing:
                throw new TemplateException(place, $"{missing.What} is undefined, so it has no '{Name(index, run, place)}'.");
            default:
                return new Missing($"'{Name(index, run, place)}'");
        }
    }

    /// <summary>As Python cuts: <c>[start:stop:step]</c>.</summary>
    public static object? Slice(object? container, object? start, object? stop, object? step, TemplateRun run,
        TemplatePlace place)
    {
        List<object?> list = container is string or List<object?> ? Elements(container, run, place)
            : throw new TemplateException(place, $"{TypeName(container)} cannot be cut.");
        foreach (object? bound in (object?[])[start, stop, step])
        {
            if (bound is not null && ToInteger(bound) is null)
                throw new TemplateException(place, $"a slice is bounded by whole numbers, not by {TypeName(bound)}.");
        }

        // A longer step than the list leads out of it as well.
        long by = Math.Clamp(ToInteger(step) ?? 1, -int.MaxValue, int.MaxValue), count = list.Count;
        if (by == 0)
            throw new TemplateException(place, "a slice cannot have a step of 0.");
        long first = Bound(ToInteger(start), by > 0 ? 0 : count - 1), end = Bound(ToInteger(stop), by > 0 ? count : -1);
        if (stop is null && by < 0)
            end = -1;
        var result = new List<object?>();
        for (long at = first; by > 0 ? at < end : at > end; at += by)
            result.Add(list[(int)at]);
        return container is string ? string.Concat(result) : result;

        long Bound(long? value, long otherwise)
        {
            if (value is not { } given)
                return otherwise;
            given = given < 0 ? given + count : given;
            return by > 0 ? Math.Clamp(given, 0, count) : Math.Clamp(given, -1, count - 1);
        }
    }

    /// <summary>A value as transformers' <c>tojson</c> writes it: nothing but what JSON demands is escaped.</summary>
    public static string ToJson(object? value, int? indentation, TemplateRun run, TemplatePlace place)
    {
        var text = new StringBuilder();
        Write(value, 0);
        return text.ToString();

        void Write(object? item, int depth)
        {
            run.Step(place);
            TemplateRun.CheckLength(text.Length, place);
            if (depth > MostDepth)
                throw new TemplateException(place, "'tojson' is given something too deep.");
            switch (item)
            {
                case null: text.Append("null"); break;
                case bool flag: text.Append(flag ? "true" : "false"); break;
                case long or double:
                    text.Append(RepresentOne(item) switch
                    {
                        "nan" => "NaN",
                        "inf" => "Infinity",
                        "-inf" => "-Infinity",
                        var number => number,
                    }); break;
                case string characters: WriteText(characters); break;
                case List<object?> list: WriteMany('[', ']', list, element => Write(element, depth + 1), depth); break;
                case Dictionary<string, object?> map:
                    WriteMany('{', '}', map, pair =>
                    {
                        WriteText(pair.Key);
                        text.Append(": ");
                        Write(pair.Value, depth + 1);
                    }, depth);
                    break;
                default: throw new TemplateException(place, $"'tojson' cannot write {TypeName(item)}.");
            }
        }

        void WriteMany<T>(char open, char close, IReadOnlyCollection<T> items, Action<T> write, int depth)
        {
            text.Append(open);
            int index = 0;
            foreach (T item in items)
            {
                if (index++ > 0)
                    text.Append(indentation is null ? ", " : ",");
                Break(depth + 1);
                write(item);
            }

            if (items.Count > 0)
                Break(depth);
            text.Append(close);
        }

        void Break(int depth)
        {
            if (indentation is { } spaces)
                text.Append('\n').Append(' ', spaces * depth);
        }

        void WriteText(string characters)
        {
            run.Read(characters, place);
            TemplateRun.CheckLength(text.Length + (long)characters.Length, place);
            text.Append('"');
            foreach (char character in characters)
            {
                _ = character switch
                {
                    '"' => text.Append("\\\""),
                    '\\' => text.Append("\\\\"),
                    '\n' => text.Append("\\n"),
                    '\r' => text.Append("\\r"),
                    '\t' => text.Append("\\t"),
                    '\b' => text.Append("\\b"),
                    '\f' => text.Append("\\f"),
                    < ' ' => text.Append(CultureInfo.InvariantCulture, $"\\u{(int)character:x4}"),
                    _ => text.Append(character),
                };
            }

            text.Append('"');
        }
    }

    /// <summary>A value of JSON.</summary>
    public static object? FromJson(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.String => element.GetString(),
        // Cast, or both would be the one type that holds both.
        JsonValueKind.Number => element.TryGetInt64(out long whole) ? (object)whole : element.GetDouble(),
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        JsonValueKind.Array => (List<object?>)[.. element.EnumerateArray().Select(FromJson)],
        JsonValueKind.Object => element.EnumerateObject()
            .ToDictionary(member => member.Name, member => FromJson(member.Value), StringComparer.Ordinal),
        _ => null,
    };
}
