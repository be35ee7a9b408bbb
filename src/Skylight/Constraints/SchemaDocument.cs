using System.Globalization;
using System.Text.Json;

namespace Skylight.Constraints;

/// <summary>A schema within a document, and the pointer that leads there.</summary>
/// <param name="Value">An object, true or false.</param>
/// <param name="Path">As in <c>#/properties/a</c>.</param>
internal readonly record struct SchemaPlace(JsonElement Value, string Path)
{
    /// <summary>A keyword's value; null if it is not there.</summary>
    public SchemaPlace? this[string keyword] => Value.ValueKind == JsonValueKind.Object
        && Value.TryGetProperty(keyword, out JsonElement value) ? new SchemaPlace(value, $"{Path}/{Escape(keyword)}") : null;

    /// <summary>An item of a list of schemas.</summary>
    public IEnumerable<SchemaPlace> Items()
    {
        if (Value.ValueKind != JsonValueKind.Array)
            throw Wrong("a list");
        string path = Path;
        return Value.EnumerateArray().Select((item, index) =>
            new SchemaPlace(item, string.Create(CultureInfo.InvariantCulture, $"{path}/{index}")));
    }

    /// <summary>The members of an object of schemas.</summary>
    public IEnumerable<(string Name, SchemaPlace Place)> Members()
    {
        if (Value.ValueKind != JsonValueKind.Object)
            throw Wrong("an object");
        string path = Path;
        return Value.EnumerateObject().Select(member =>
            (member.Name, new SchemaPlace(member.Value, $"{path}/{Escape(member.Name)}")));
    }

    public string Text() => Value.ValueKind == JsonValueKind.String ? Value.GetString()! : throw Wrong("a string");

    public bool Boolean() => Value.ValueKind is JsonValueKind.True or JsonValueKind.False ? Value.GetBoolean()
        : throw Wrong("true or false");

    /// <summary>A number of things, which may be written as 2.0.</summary>
    public int Count()
    {
        if (Value.ValueKind != JsonValueKind.Number
            || DecimalNumber.Parse(Value) is not { Scale: 0, Mantissa.Sign: >= 0 } count)
            throw Wrong("a whole number of 0 or more");
        return count.Mantissa <= PatternParser.MostRepeats ? (int)count.Mantissa
            : throw new ConstraintException(Path, $"{Path}: {count.Mantissa} is too large to be held; " +
                $"{PatternParser.MostRepeats} is the most.");
    }

    public DecimalNumber Number() => Value.ValueKind != JsonValueKind.Number ? throw Wrong("a number")
        : DecimalNumber.Parse(Value) ?? throw new ConstraintException(Path, $"{Path}: the number has too many digits.");

    public ConstraintException Wrong(string expected) =>
        new(Path, $"{Path} must be {expected}, not {Describe(Value)}.");

    private static string Describe(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "a list",
        JsonValueKind.String => "a string",
        _ => value.GetRawText() is { Length: > 40 } text ? text[..40] + "…" : value.GetRawText(),
    };

    private static string Escape(string name) => name.Replace("~", "~0", StringComparison.Ordinal)
        .Replace("/", "~1", StringComparison.Ordinal);
}

/// <summary>A schema with its definitions.</summary>
internal sealed class SchemaDocument(JsonElement root)
{
    public SchemaPlace Root { get; } = new(root, "#");

    /// <summary>What a reference points to.</summary>
    /// <exception cref="ConstraintException">It is outside of the document, or nothing is there.</exception>
    public SchemaPlace Resolve(SchemaPlace reference)
    {
        string pointer = reference.Text();
        if (!pointer.StartsWith('#') || pointer.Length > 1 && pointer[1] != '/')
            throw new ConstraintException(reference.Path, $"{reference.Path}: '{Shortened(pointer)}' is not within the " +
                "schema; only references such as #/$defs/name are known.");
        SchemaPlace place = Root;
        foreach (string part in pointer.Split('/').Skip(1))
        {
            string name = Uri.UnescapeDataString(part).Replace("~1", "/", StringComparison.Ordinal)
                .Replace("~0", "~", StringComparison.Ordinal);
            place = Part(place, name) ?? throw new ConstraintException(reference.Path,
                $"{reference.Path}: there is nothing at '{Shortened(pointer)}' in the schema.");
        }

        return place;
    }

    private static SchemaPlace? Part(SchemaPlace place, string name)
    {
        if (place.Value.ValueKind != JsonValueKind.Array)
            return place[name];
        return int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out int index)
            && index < place.Value.GetArrayLength() ? new SchemaPlace(place.Value[index], $"{place.Path}/{name}") : null;
    }

    private static string Shortened(string text) => text.Length <= 80 ? text : text[..80] + "…";
}
