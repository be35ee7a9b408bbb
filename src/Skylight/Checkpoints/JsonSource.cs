using System.Collections.Immutable;
using System.Text.Json;

namespace Skylight.Checkpoints;

/// <summary>
/// A JSON object of a file, read field by field; an error names the file, the field's full path, what was found and
/// what is supported.
/// </summary>
/// <param name="File">The file.</param>
/// <param name="Path">Where in the file: "" or "vision_config.".</param>
/// <param name="Element">The object.</param>
internal readonly record struct JsonSource(string File, string Path, JsonElement Element)
{
    /// <summary>Far more than any configuration has.</summary>
    private const int MostBytes = 64 << 20;

    /// <summary>Reads a file that must hold a JSON object.</summary>
    public static JsonSource Load(string file)
    {
        try
        {
            byte[] bytes = BoundedFile.Read(file, MostBytes);
            FileFaults.RefuseEmptyOrPointer(file, bytes, bytes.Length);
            using JsonDocument document = JsonText.Parse(bytes);
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new CheckpointException(file, "must hold a JSON object.");
            return new JsonSource(file, "", document.RootElement.Clone());
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(file, $"cannot be read: {exception.Message}", innerException: exception);
        }
        catch (JsonException exception)
        {
            throw new CheckpointException(file, $"is not valid JSON: {exception.Message}", innerException: exception);
        }
    }

    /// <summary>Whether the field is there and not null.</summary>
    public bool Has(string field) => Get(field) is not null;

    /// <summary>A nested object; null when absent.</summary>
    public JsonSource? Object(string field)
    {
        if (Get(field) is not { } value)
            return null;
        if (value.ValueKind != JsonValueKind.Object)
            throw Error(field, value, "an object");
        return new JsonSource(File, $"{Path}{field}.", value);
    }

    /// <summary>A nested object that must be there.</summary>
    public JsonSource RequiredObject(string field) =>
        Object(field) ?? throw new CheckpointException(File, $"'{Path}{field}' is missing.");

    public int Integer(string field, int otherwise, int least = 0, int most = int.MaxValue) =>
        OptionalInteger(field, least, most) ?? otherwise;

    public int? OptionalInteger(string field, int least = 0, int most = int.MaxValue) =>
        Get(field) is { } value ? ToInteger(field, value, least, most) : null;

    /// <summary>One number or a list of numbers; empty when absent.</summary>
    public ImmutableArray<int> Integers(string field, int least = 0, int most = int.MaxValue)
    {
        if (Get(field) is not { } value)
            return [];
        if (value.ValueKind != JsonValueKind.Array)
            return [ToInteger(field, value, least, most)];
        var values = ImmutableArray.CreateBuilder<int>();
        foreach (JsonElement element in value.EnumerateArray())
            values.Add(ToInteger(field, element, least, most));
        return values.ToImmutable();
    }

    /// <summary>A positive, finite number.</summary>
    public double Positive(string field, double otherwise) =>
        Number(field, otherwise, "a positive number", number => number > 0);

    /// <summary>A finite number.</summary>
    public double Number(string field, double otherwise) => Number(field, otherwise, "a number", _ => true);

    /// <summary>A finite number that fits; null when absent.</summary>
    public double? OptionalNumber(string field, string supported, Func<double, bool> fits) => Has(field)
        ? Number(field, 0, supported, fits) : null;

    /// <summary>One finite number or a list of them; empty when absent.</summary>
    public ImmutableArray<double> Numbers(string field)
    {
        if (Get(field) is not { } value)
            return [];
        var values = ImmutableArray.CreateBuilder<double>();
        foreach (JsonElement element in value.ValueKind == JsonValueKind.Array ? [.. value.EnumerateArray()]
            : (JsonElement[])[value])
        {
            if (element.ValueKind != JsonValueKind.Number || !element.TryGetDouble(out double number)
                || !double.IsFinite(number))
                throw Error(field, element, "a number");
            values.Add(number);
        }

        return values.ToImmutable();
    }

    private double Number(string field, double otherwise, string supported, Func<double, bool> fits)
    {
        if (Get(field) is not { } value)
            return otherwise;
        if (value.ValueKind != JsonValueKind.Number || !value.TryGetDouble(out double number)
            || !double.IsFinite(number) || !fits(number))
            throw Error(field, value, supported);
        return number;
    }

    public bool Boolean(string field, bool otherwise) => Boolean(field) ?? otherwise;

    public bool? Boolean(string field) => Get(field) is not { } value
        ? null
        : value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean()
        : throw Error(field, value, "true or false");

    public string Text(string field, string otherwise) => Text(field) ?? otherwise;

    public string? Text(string field) => Get(field) is not { } value
        ? null
        : value.ValueKind == JsonValueKind.String ? value.GetString() : throw Error(field, value, "a string");

    /// <summary>A list of strings; empty when absent.</summary>
    public ImmutableArray<string> Texts(string field)
    {
        if (Get(field) is not { } value)
            return [];
        if (value.ValueKind != JsonValueKind.Array)
            throw Error(field, value, "a list of strings");
        var texts = ImmutableArray.CreateBuilder<string>();
        foreach (JsonElement element in value.EnumerateArray())
            texts.Add(element.ValueKind == JsonValueKind.String ? element.GetString()!
                : throw Error(field, element, "a string"));
        return texts.ToImmutable();
    }

    /// <summary>Refuses any value of a field but the supported ones.</summary>
    public void Demand(string field, string found, params ReadOnlySpan<string> supported)
    {
        if (!supported.Contains(found))
            throw new CheckpointException(File,
                $"'{Path}{field}' is '{found}'; supported: " +
                $"{string.Join(", ", supported.ToArray().Select(text => $"'{text}'"))}.");
    }

    /// <summary>Refuses a switch that is not set as we need it.</summary>
    public void Demand(string field, bool found, bool supported)
    {
        if (found != supported)
            throw new CheckpointException(File,
                $"'{Path}{field}' is {(found ? "true" : "false")}; supported: {(supported ? "true" : "false")}.");
    }

    private JsonElement? Get(string field) =>
        Element.TryGetProperty(field, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private int ToInteger(string field, JsonElement value, int least, int most) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) && number >= least && number <= most
            ? number
            : throw Error(field, value, $"a whole number from {least} to {most}");

    private CheckpointException Error(string field, JsonElement value, string supported)
    {
        string text = value.GetRawText();
        return new CheckpointException(File,
            $"'{Path}{field}' is {(text.Length <= 80 ? text : text[..80] + "…")}; supported: {supported}.");
    }
}
