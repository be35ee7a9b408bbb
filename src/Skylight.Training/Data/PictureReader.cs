using Skylight.Images;

namespace Skylight.Training.Data;

/// <summary>Pictures of a row: paths, bytes, base64, data URLs, and the structs of Hugging Face's image columns.</summary>
/// <param name="folder">What paths are relative to.</param>
/// <param name="rowName">What errors call the row.</param>
internal sealed class PictureReader(string folder, string rowName)
{
    // What base64 of PNG, JPEG, WebP, GIF, TIFF (two orders of bytes) and BMP files begins with. A path to a picture is
    // never as long.
    private static readonly string[] s_beginnings = ["iVBORw0KGgo", "/9j/", "UklGR", "R0lGOD", "SUkqA", "TU0AK", "Qk0",
        "Qk1", "Qk2", "Qk3"];
    private const int ShortestPicture = 40, LongestPath = 4096;

    private int _count;

    /// <summary>The pictures of a column: one, or a list.</summary>
    public IReadOnlyList<ExampleImage> ReadAll(DataValue? value, string column) => value switch
    {
        null => [],
        ListValue list =>
            [.. list.Items.Select(item => Read(item, column)
                ?? throw new InvalidDataException($"has null among the pictures of '{column}'; take it out."))],
        // A struct whose members are all null is how some writers say that there is no picture.
        _ => Read(value, column) is { } image ? [image] : [],
    };

    /// <summary>One picture; null where there is none.</summary>
    /// <exception cref="InvalidDataException">It is not there, or nothing that a picture could be.</exception>
    public ExampleImage? Read(DataValue? value, string column)
    {
        switch (value)
        {
            case null:
                return null;
            case BytesValue bytes:
                return Embedded(bytes.Bytes, null);
            case TextValue text:
                return FromText(text.Text, column);
            case StructValue fields:
                string? path = fields["path"] is TextValue name && name.Text.Length > 0 ? name.Text : null;
                if (fields["bytes"] is BytesValue content)
                    return Embedded(content.Bytes, path);
                if (fields["bytes"] is TextValue encoded)
                    return Decoded(encoded.Text, path, column);
                if (fields["bytes"] is not null)
                    throw new InvalidDataException(
                        $"has {fields["bytes"]!.Kind} as the 'bytes' of a picture in '{column}', where bytes or " +
                        $"base64 are expected.");
                if (path is not null)
                    return FromText(path, column);
                if ((fields["image"] ?? fields["url"] ?? fields["base64"]) is { } inner)
                    return Read(inner, column);
                if (fields.Fields.All(field => field.Value is null))
                    return null;
                throw new InvalidDataException(
                    $"has an object in '{column}' with " +
                    $"{string.Join(", ", fields.Fields.Select(field => $"'{field.Key}'"))}; a picture has " +
                    $"'bytes' or 'path'.");
            default:
                throw new InvalidDataException(
                    $"has {value.Kind} in '{column}', where a picture is expected: a path, base64, or an object with " +
                    $"'bytes' or 'path'.");
        }
    }

    private ExampleImage FromText(string text, string column)
    {
        string trimmed = text.Trim();
        if (trimmed.Length == 0)
            throw new InvalidDataException($"has an empty text in '{column}', where a picture is expected.");
        if (trimmed.StartsWith("data:", StringComparison.OrdinalIgnoreCase))
        {
            int comma = trimmed.IndexOf(',', StringComparison.Ordinal);
            if (comma < 0 || !trimmed.AsSpan(0, comma).EndsWith(";base64", StringComparison.OrdinalIgnoreCase))
                throw new InvalidDataException(
                    $"has a data URL in '{column}' that is not base64: write data:image/png;base64,….");
            return Decoded(trimmed[(comma + 1)..], null, column);
        }

        if (trimmed.StartsWith("http://", StringComparison.OrdinalIgnoreCase)
            || trimmed.StartsWith("https://", StringComparison.OrdinalIgnoreCase))
            throw new InvalidDataException(
                $"has the address '{Shown(trimmed)}' as a picture in '{column}'; nothing is fetched while a model is " +
                $"trained: download it and write its path.");
        bool isBase64 = trimmed.Length >= ShortestPicture
            && s_beginnings.Any(beginning => trimmed.StartsWith(beginning, StringComparison.Ordinal));
        if ((isBase64 || trimmed.Length > LongestPath) && ImageBase64.TryDecode(trimmed, out byte[]? bytes))
            return Embedded(bytes, null);
        if (trimmed.Length > LongestPath || trimmed.Contains('\0', StringComparison.Ordinal))
            throw new InvalidDataException(
                $"has a text of {trimmed.Length:N0} characters in '{column}' that is neither a path nor base64.");
        string path = trimmed.StartsWith("file://", StringComparison.Ordinal)
            ? Uri.UnescapeDataString(trimmed["file://".Length..]) : trimmed;
        string full = Path.Combine(folder, path);
        if (File.Exists(full))
            return ExampleImage.FromFile(full);
        throw new InvalidDataException(Directory.Exists(full) ? $"the picture '{Shown(full)}' is a folder."
            : $"there is no picture '{Shown(full)}'.");
    }

    private ExampleImage Decoded(string encoded, string? path, string column) =>
        ImageBase64.TryDecode(encoded, out byte[]? bytes)
        ? Embedded(bytes, path) : throw new InvalidDataException($"has a picture in '{column}' that is not base64.");

    private ExampleImage Embedded(ReadOnlyMemory<byte> bytes, string? path)
    {
        _count++;
        if (bytes.Length == 0)
            throw new InvalidDataException($"has a picture without bytes{(path is null ? "" : $", '{Shown(path)}'")}.");
        return ExampleImage.FromBytes(bytes, path is null ? $"picture {_count} of {rowName}"
            : $"{Shown(path)} in {rowName}");
    }

    private static string Shown(string text) => text.Length <= 200 ? text : text[..200] + "…";
}
