using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using Skylight.Constraints;
using Skylight.Tensors;

namespace Skylight.Tests.Constraints;

/// <summary>
/// Random JSON schemas of all that is held, and random values that they allow, made from the schema and without the code
/// that is tested.
/// </summary>
internal sealed class RandomSchema(ulong seed)
{
    private static readonly string[] s_names = ["a", "b", "name", "ä", "with \"quotes\"", "d\\e"];
    private static readonly string[] s_texts = ["", "a", "abc", "äöü", "😀", "line\nbreak", "\"quoted\"", "a\\b", "漢字"];

    private CounterRandom _random = new(seed, 0x5C);

    /// <summary>A schema; one of three refers to itself.</summary>
    public JsonObject Schema()
    {
        JsonObject root = Object(2, null);
        if (_random.Next(3) == 0)
        {
            root["$defs"] = new JsonObject { ["node"] = Object(1, "#/$defs/node") };
            root["properties"]!["child"] = new JsonObject { ["$ref"] = "#/$defs/node" };
        }

        return root;
    }

    /// <summary>A value that a schema allows; null where none was found.</summary>
    /// <remarks>A value that is null is the text <c>null</c>.</remarks>
    public string? Value(JsonNode schema, JsonObject root, int depth = 0)
    {
        if (depth > 6)
            return null;
        if (schema is JsonValue)
            return "1";
        JsonObject rules = schema.AsObject();
        if (rules["$ref"] is { } reference)
            return Value(root["$defs"]![reference.ToString().Split('/')[^1]]!, root, depth + 1);
        if (rules["anyOf"] is JsonArray any)
            return Value(any[_random.Next(any.Count)]!, root, depth + 1);
        if (rules["oneOf"] is JsonArray one)
            return Value(one[_random.Next(one.Count)]!, root, depth + 1);
        if (rules["const"] is { } constant)
            return Spell(constant);
        if (rules["enum"] is JsonArray values)
            return Spell(values[_random.Next(values.Count)]);
        string type = rules["type"] is JsonArray types ? types[_random.Next(types.Count)]!.ToString()
            : rules["type"]!.ToString();
        return type switch
        {
            "null" => "null",
            "boolean" => _random.Next(2) == 0 ? "true" : "false",
            "string" => Text(rules) is { } text ? JsonForms.Quoted(text) : null,
            "integer" => Number(rules, isWhole: true),
            "number" => Number(rules, isWhole: false),
            "array" => List(rules, root, depth),
            _ => Members(rules, root, depth),
        };
    }

    private JsonObject Object(int depth, string? self)
    {
        var properties = new JsonObject();
        var required = new JsonArray();
        foreach (string name in s_names.Where(_ => _random.Next(2) == 0))
        {
            properties[name] = Any(depth - 1, self);
            if (_random.Next(2) == 0)
                required.Add(name);
        }

        var schema = new JsonObject { ["type"] = "object", ["properties"] = properties, ["required"] = required };
        switch (_random.Next(3))
        {
            case 0:
                schema["additionalProperties"] = false;
                break;
            case 1:
                schema["additionalProperties"] = Any(0, null);
                break;
        }

        if (_random.Next(5) == 0)
            schema["minProperties"] = 1 + _random.Next(2);
        if (_random.Next(5) == 0)
            schema["maxProperties"] = Math.Max(required.Count, 2) + _random.Next(2);
        return schema;
    }

    private JsonNode Any(int depth, string? self)
    {
        switch (_random.Next(depth > 0 ? 12 : 8))
        {
            case 0:
                return new JsonObject { ["type"] = _random.Next(2) == 0 ? "boolean" : "null" };
            case 1 or 2:
                return Strings();
            case 3:
                return Numbers("integer");
            case 4:
                return Numbers("number");
            case 5:
                return new JsonObject { ["enum"] = new JsonArray("a", "ä\n", 1, 2.5, true, null) };
            case 6:
                return new JsonObject { ["type"] = new JsonArray("integer", "null", "string"), ["maxLength"] = 3, ["minimum"] = -5 };
            case 7:
                return new JsonObject { ["const"] = new JsonObject { ["k"] = new JsonArray(1, "x") } };
            case 8 when self is not null:
                return new JsonObject { ["type"] = "array", ["items"] = new JsonObject { ["$ref"] = self } };
            case 8 or 9:
                return Array(depth);
            case 10:
                return new JsonObject { ["anyOf"] = new JsonArray(Any(depth - 1, self), Any(depth - 1, self)) };
            default:
                return _random.Next(2) == 0 ? Object(depth, self) : new JsonObject
                {
                    ["oneOf"] = new JsonArray(Tagged("x", Strings()), Tagged("y", Numbers("integer")),
                        new JsonObject { ["type"] = "null" }),
                };
        }
    }

    private static JsonObject Tagged(string tag, JsonObject value) => new()
    {
        ["type"] = "object",
        ["properties"] = new JsonObject { ["kind"] = new JsonObject { ["const"] = tag }, ["v"] = value },
        ["required"] = new JsonArray("kind"),
        ["additionalProperties"] = false,
    };

    private JsonObject Array(int depth)
    {
        var schema = new JsonObject { ["type"] = "array" };
        if (_random.Next(3) > 0)
            schema["items"] = Any(depth - 1, null);
        if (_random.Next(3) == 0)
            schema["prefixItems"] = new JsonArray(Any(0, null), Any(0, null));
        if (_random.Next(2) == 0)
            schema["minItems"] = _random.Next(3);
        if (_random.Next(2) == 0)
            schema["maxItems"] = 2 + _random.Next(3);
        return schema;
    }

    private JsonObject Strings()
    {
        var schema = new JsonObject { ["type"] = "string" };
        switch (_random.Next(6))
        {
            case 0:
                schema["minLength"] = _random.Next(3);
                schema["maxLength"] = 3 + _random.Next(4);
                break;
            case 1:
                schema["pattern"] = "^[a-c]{1,4}$";
                break;
            case 2:
                schema["pattern"] = "b";
                schema["maxLength"] = 5;
                break;
            case 3:
                schema["format"] = new[] { "date", "uuid", "ipv4", "date-time", "email" }[_random.Next(5)];
                break;
        }

        return schema;
    }

    private JsonObject Numbers(string type)
    {
        var schema = new JsonObject { ["type"] = type };
        decimal least = (_random.Next(400) - 200) / (type == "integer" ? 1m : 8m);
        if (_random.Next(2) == 0)
            schema[_random.Next(2) == 0 ? "minimum" : "exclusiveMinimum"] = least;
        if (_random.Next(2) == 0)
            schema[_random.Next(2) == 0 ? "maximum" : "exclusiveMaximum"] = least + 20 + _random.Next(900);
        if (_random.Next(3) == 0)
            schema["multipleOf"] = type == "integer" ? 1 + _random.Next(9) : 0.25m * (1 + _random.Next(3));
        return schema;
    }

    private string? Text(JsonObject rules)
    {
        string?[] candidates = rules["format"]?.ToString() switch
        {
            "date" => ["2024-02-29", "1999-12-31"],
            "uuid" => ["123e4567-e89b-12d3-a456-426614174000"],
            "ipv4" => ["127.0.0.1", "255.255.255.255"],
            "date-time" => ["2024-01-31T23:59:59Z", "2024-01-31T00:00:00.123+01:00"],
            "email" => ["a.b@example.org"],
            _ => rules["pattern"]?.ToString() switch
            {
                "b" => ["b", "abc", "äb😀", "bbbbb"],
                null => s_texts,
                _ => ["a", "abcc", "cb"],
            },
        };
        int least = (int?)rules["minLength"] ?? 0, most = (int?)rules["maxLength"] ?? 100;
        candidates = [.. candidates.Where(text => text!.EnumerateRunes().Count() is var length && length >= least
            && length <= most)];
        return candidates.Length == 0 ? null : candidates[_random.Next(candidates.Length)];
    }

    private string? Number(JsonObject rules, bool isWhole)
    {
        for (int attempt = 0; attempt < 200; attempt++)
        {
            decimal number = (_random.Next(40_000) - 20_000) / (isWhole ? 10 : 8m);
            number = isWhole ? decimal.Truncate(number / 8) : number / 4;
            if (rules["minimum"] is { } least && number < Decimal(least)
                || rules["exclusiveMinimum"] is { } above && number <= Decimal(above)
                || rules["maximum"] is { } most && number > Decimal(most)
                || rules["exclusiveMaximum"] is { } below && number >= Decimal(below)
                || rules["multipleOf"] is { } step && number % Decimal(step) != 0)
                continue;
            return number.ToString("0.##########", CultureInfo.InvariantCulture);
        }

        return null;
    }

    private static decimal Decimal(JsonNode number) => decimal.Parse(number.ToJsonString(), CultureInfo.InvariantCulture);

    private string? List(JsonObject rules, JsonObject root, int depth)
    {
        int least = (int?)rules["minItems"] ?? 0, most = (int?)rules["maxItems"] ?? 3;
        int count = least + _random.Next(Math.Max(0, most - least) + 1);
        var items = new List<string>();
        for (int item = 0; item < count; item++)
        {
            JsonNode schema = rules["prefixItems"] is JsonArray prefix && item < prefix.Count ? prefix[item]!
                : rules["items"] ?? JsonValue.Create(true);
            if (Value(schema, root, depth + 1) is not { } value)
                return item >= least ? $"[{string.Join(", ", items)}]" : null;
            items.Add(value);
        }

        return $"[{string.Join(", ", items)}]";
    }

    private string? Members(JsonObject rules, JsonObject root, int depth)
    {
        string[] required = [.. rules["required"]?.AsArray().Select(name => name!.ToString()) ?? []];
        int least = (int?)rules["minProperties"] ?? 0, most = (int?)rules["maxProperties"] ?? 100;
        var members = new List<string>();
        int left = required.Length;
        foreach ((string name, JsonNode? schema) in rules["properties"]?.AsObject() ?? [])
        {
            bool isRequired = required.Contains(name);
            if (!isRequired && (_random.Next(2) == 0 || members.Count + left >= most))
                continue;
            if (Value(schema!, root, depth + 1) is not { } value)
            {
                if (isRequired)
                    return null;
                continue;
            }

            left -= isRequired ? 1 : 0;
            members.Add($"{JsonForms.Quoted(name)}: {value}");
        }

        if (rules["additionalProperties"] is not JsonValue)
        {
            for (int other = 0; members.Count < Math.Min(most, least + _random.Next(2)); other++)
            {
                if (Value(rules["additionalProperties"] ?? JsonValue.Create(true), root, depth + 1) is not { } value)
                    return null;
                members.Add($"\"other{other}\": {value}");
            }
        }

        return members.Count < least || members.Count > most ? null : $"{{{string.Join(", ", members)}}}";
    }

    private static string Spell(JsonNode? value) => value switch
    {
        null => "null",
        JsonObject members => $"{{{string.Join(", ", members.Select(member => $"{JsonForms.Quoted(member.Key)}: {Spell(member.Value)}"))}}}",
        JsonArray items => $"[{string.Join(", ", items.Select(Spell))}]",
        _ => value.GetValueKind() == System.Text.Json.JsonValueKind.String ? JsonForms.Quoted(value.ToString())
            : value.ToJsonString(),
    };
}
