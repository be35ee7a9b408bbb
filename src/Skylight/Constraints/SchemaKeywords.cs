using System.Text.Json;

namespace Skylight.Constraints;

/// <summary>
/// Which keywords of JSON Schema are held, which say nothing of answers, and what to do in place of others.
/// </summary>
internal static class SchemaKeywords
{
    private static readonly HashSet<string> s_held =
    [
        "$ref", "allOf", "anyOf", "oneOf", "type", "enum", "const", "properties", "required", "additionalProperties",
        "minProperties", "maxProperties", "items", "prefixItems", "minItems", "maxItems", "uniqueItems", "pattern",
        "minLength", "maxLength", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    ];

    // They describe, or hold definitions that are looked at where something refers to them.
    private static readonly HashSet<string> s_silent =
    [
        "$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "example",
        "deprecated", "readOnly", "writeOnly", "contentEncoding", "contentMediaType", "discriminator",
    ];

    private static readonly Dictionary<string, string> s_instead = new()
    {
        ["nullable"] = "name \"null\" among the types",
        ["not"] = "say what is allowed in place of what is not",
        ["if"] = "write the cases as 'anyOf'",
        ["then"] = "write the cases as 'anyOf'",
        ["else"] = "write the cases as 'anyOf'",
        ["patternProperties"] = "'additionalProperties' holds for all other names",
        ["propertyNames"] = "name the properties in 'properties'",
        ["additionalItems"] = "'prefixItems' and 'items' are known",
        ["contains"] = "check it afterwards",
        ["unevaluatedProperties"] = "'additionalProperties' is known",
        ["unevaluatedItems"] = "'items' is known",
        ["$dynamicRef"] = "'$ref' is known",
        ["$anchor"] = "refer to it by its path, as in #/$defs/name",
        ["id"] = "'$id' is known",
        ["strict"] = "it stands beside the schema, not in it",
    };

    /// <summary>Refuses what is not held.</summary>
    /// <exception cref="ConstraintException">A keyword cannot be held; names it and its place.</exception>
    public static void Check(JsonElement schema, string path)
    {
        foreach (JsonProperty keyword in schema.EnumerateObject())
        {
            string name = keyword.Name;
            if (s_held.Contains(name) || s_silent.Contains(name) || name.StartsWith("x-", StringComparison.Ordinal))
                continue;
            string instead = s_instead.TryGetValue(name, out string? known) ? known
                : Text.NameDistance.Nearest(name, [.. s_held]) is { } near ? $"did you mean '{near}'?" : "leave it out";
            string shown = name.Length <= 60 ? name : name[..60] + "…";
            throw new ConstraintException($"{path}/{name}",
                $"{path}: the keyword '{shown}' cannot be held: {instead}{(instead[^1] == '?' ? "" : ".")}");
        }
    }
}
