using System.Text;
using System.Text.Json;
using Skylight.Text;

namespace Skylight.Server;

/// <summary>What becomes of a field of a request.</summary>
internal enum FieldUse
{
    /// <summary>It does what it says.</summary>
    Used,

    /// <summary>It is taken and changes nothing: no answer depends on it.</summary>
    Accepted,

    /// <summary>
    /// It would change the answer and is not there: refused by name, unless its value is one that changes nothing.
    /// </summary>
    Refused,
}

/// <summary>A field that clients send.</summary>
/// <param name="Name">Its name, behind what it is in: <c>stream_options.include_usage</c>.</param>
/// <param name="Use">What becomes of it.</param>
/// <param name="Meaning">What it does here; of a refused one, what to do instead.</param>
/// <param name="Example">A value of it in JSON: a usable one, or one that is refused.</param>
/// <param name="Neutral">Values in JSON of a refused one that change nothing; null is one always.</param>
internal sealed record RequestField(string Name, FieldUse Use, string Meaning, string Example, params string[] Neutral)
{
    /// <summary>A usable value of another kind, where there is one.</summary>
    public string? Also { get; init; }

    private readonly JsonElement[] _neutral = [
        .. Neutral.Select(value => JsonText.ParseElement(Encoding.UTF8.GetBytes(value)))];

    /// <summary>Whether a value changes nothing.</summary>
    public bool IsNeutral(JsonField value) => _neutral.Any(value.IsEqualTo);
}

/// <summary>The fields that requests to an endpoint may have.</summary>
/// <param name="fields">The fields; names do not come twice.</param>
internal sealed class FieldList(IReadOnlyList<RequestField> fields)
{
    private readonly Dictionary<string, RequestField> _byName = fields.ToDictionary(field => field.Name);

    /// <summary>The fields.</summary>
    public IReadOnlyList<RequestField> Fields => fields;

    /// <summary>Checks the members of an object: each must be known, and none may ask for what is not there.</summary>
    /// <param name="value">The object.</param>
    /// <param name="place">What the names begin with: empty, <c>stream_options.</c>, <c>messages[].</c> and so on.</param>
    /// <exception cref="ApiException">A member is unknown, or is not supported; names it.</exception>
    public void Check(JsonField value, string place)
    {
        foreach ((string name, JsonField member) in value.Members())
        {
            if (member.Kind == JsonValueKind.Null)
                continue;
            if (!_byName.TryGetValue(place + name, out RequestField? field))
                throw Unknown(member, name, place);
            if (field.Use != FieldUse.Refused || field.IsNeutral(member))
                continue;
            string neutral = field.Neutral.Length == 0 ? "" : $" ({string.Join(" or ", field.Neutral)} is taken)";
            throw ApiException.BadRequest($"'{member.Path}' is not supported: {field.Meaning}. Leave it out{neutral}.",
                member.Path, "unsupported_parameter");
        }
    }

    /// <summary>The table of docs/serving.md.</summary>
    public string ToMarkdown() => string.Join('\n', (string[])
    [
        "| Field | | |", "| --- | --- | --- |",
        .. fields.Select(field =>
            $"| `{field.Name}` | " +
            $"{(field.Use == FieldUse.Accepted ? "no effect" : field.Use.ToString().ToLowerInvariant())} | " +
            $"{field.Meaning}{Taken(field)} |"),
    ]);

    private static string Taken(RequestField field) => field.Neutral.Length == 0 ? ""
        : $"; taken: {string.Join(", ", field.Neutral.Select(value => $"`{value}`"))}";

    private ApiException Unknown(JsonField member, string name, string place)
    {
        const int MostShown = 40;
        string? near = NameDistance.Nearest(name, fields
            .Where(field => field.Use == FieldUse.Used && field.Name.StartsWith(place, StringComparison.Ordinal))
            .Select(field => field.Name[place.Length..]).Where(known => !known.Contains('.')));
        string path = member.Path.Length <= 2 * MostShown ? member.Path : member.Path[..(2 * MostShown)] + "…";
        return ApiException.BadRequest(
            $"'{path}' is not a field that this server knows, and nothing is dropped silently: " +
            $"{(near is null ? "leave it out." : $"did you mean '{near}'?")}", path, "unknown_parameter");
    }
}
