using System.Text.Json;

namespace Skylight.Server;

/// <summary>A value of a request and where it is, so that errors can say so.</summary>
/// <param name="element">The value.</param>
/// <param name="path">Where it is, such as <c>messages[2].content</c>.</param>
internal readonly struct JsonField(JsonElement element, string path)
{
    public string Path => path;

    public JsonValueKind Kind => element.ValueKind;

    /// <summary>A member of an object; null if it is not there or is null.</summary>
    public JsonField? this[string name] =>
        Expect(JsonValueKind.Object, "an object").TryGetProperty(name, out JsonElement value)
            && value.ValueKind != JsonValueKind.Null
            ? new JsonField(value, path.Length == 0 ? name : $"{path}.{name}") : null;

    /// <summary>A member of an object that must be there.</summary>
    public JsonField Required(string name) =>
        this[name] ?? throw ApiException.BadRequest($"'{(path.Length == 0 ? name : $"{path}.{name}")}' is missing.",
            path.Length == 0 ? name : $"{path}.{name}");

    /// <summary>The value as it was sent.</summary>
    public string RawText => element.GetRawText();

    public string Text() => Expect(JsonValueKind.String, "a string").GetString()!;

    public bool Boolean() => element.ValueKind is JsonValueKind.True or JsonValueKind.False ? element.GetBoolean()
        : throw Wrong("true or false");

    public int Integer(int least, int most) =>
        element.ValueKind == JsonValueKind.Number && element.TryGetInt32(out int value) && value >= least
            && value <= most ? value : throw Wrong($"a whole number from {least} to {most}");

    public float Number(float least, float most) =>
        element.ValueKind == JsonValueKind.Number && element.TryGetSingle(out float value) && value >= least && value <= most
            ? value : throw Wrong(most >= float.MaxValue ? FormattableString.Invariant($"a number of {least} or more")
                : FormattableString.Invariant($"a number from {least} to {most}"));

    /// <summary>A seed: any whole number of 64 bits, with or without a sign.</summary>
    public ulong Seed()
    {
        if (element.ValueKind == JsonValueKind.Number && element.TryGetInt64(out long signed))
            return unchecked((ulong)signed);
        return element.ValueKind == JsonValueKind.Number && element.TryGetUInt64(out ulong value) ? value
            : throw Wrong("a whole number of 64 bits");
    }

    public IEnumerable<JsonField> Items()
    {
        string place = path;
        return Expect(JsonValueKind.Array, "an array").EnumerateArray()
            .Select((item, index) => new JsonField(item, $"{place}[{index}]"));
    }

    public IEnumerable<(string Name, JsonField Value)> Members()
    {
        string place = path;
        return Expect(JsonValueKind.Object, "an object").EnumerateObject()
            .Select(member =>
                (member.Name, new JsonField(member.Value, place.Length == 0 ? member.Name : $"{place}.{member.Name}")));
    }

    /// <summary>
    /// Whether the value is another one: numbers by what they are worth, objects whatever the order of their members.
    /// </summary>
    public bool IsEqualTo(JsonElement other) => JsonElement.DeepEquals(element, other);

    public int Count => element.ValueKind == JsonValueKind.Array ? element.GetArrayLength() : 0;

    /// <summary>An error that says what the value should be.</summary>
    public ApiException Wrong(string expected)
    {
        string found = element.ValueKind switch
        {
            JsonValueKind.Object => "an object",
            JsonValueKind.Array => "an array",
            JsonValueKind.String => $"the string '{Shortened(element.GetString()!)}'",
            JsonValueKind.Null => "null",
            _ => Shortened(element.GetRawText()),
        };
        return ApiException.BadRequest($"'{path}' must be {expected}, not {found}.", path);
    }

    private static string Shortened(string text) => text.Length <= 40 ? text : text[..40] + "…";

    private JsonElement Expect(JsonValueKind kind, string name) => element.ValueKind == kind ? element : throw Wrong(name);
}
