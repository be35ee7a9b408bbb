using System.Text.Json;
using System.Text.Unicode;

namespace Skylight.Checkpoints;

/// <summary>
/// The guard before System.Text.Json: JSON may parse and still hold strings that cannot be read (half a surrogate pair, bytes of another
/// encoding), which System.Text.Json reports only when the string is asked for, and then as an <see cref="InvalidOperationException"/>.
/// </summary>
public static class JsonText
{
    /// <summary>Parses JSON of which every string can be read.</summary>
    /// <param name="utf8">JSON in UTF-8.</param>
    /// <param name="options">Options of the parser.</param>
    /// <exception cref="JsonException">It is not JSON in UTF-8, or a name or string in it is not Unicode text.</exception>
    public static JsonDocument Parse(ReadOnlyMemory<byte> utf8, JsonDocumentOptions options = default)
    {
        Check(utf8.Span, options.MaxDepth);
        return JsonDocument.Parse(utf8, options);
    }

    /// <summary>Checks that something is JSON of which every string can be read.</summary>
    /// <param name="utf8">JSON in UTF-8.</param>
    /// <param name="maxDepth">How deep objects and lists may be nested; 0 for 64.</param>
    /// <exception cref="JsonException">It is not JSON in UTF-8, or a name or string in it is not Unicode text.</exception>
    public static void Check(ReadOnlySpan<byte> utf8, int maxDepth = 0)
    {
        if (!Utf8.IsValid(utf8))
            throw new JsonException("its bytes are not UTF-8; save it in UTF-8.");
        var reader = new Utf8JsonReader(utf8, new JsonReaderOptions { MaxDepth = maxDepth });
        while (reader.Read())
        {
            if (!reader.ValueIsEscaped || reader.TokenType is not (JsonTokenType.String or JsonTokenType.PropertyName))
                continue;
            try
            {
                _ = reader.GetString();
            }
            catch (InvalidOperationException exception)
            {
                string what = reader.TokenType == JsonTokenType.String ? "a text" : "a field's name";
                throw new JsonException(
                    $"{what} at byte {reader.TokenStartIndex + 1} holds half of a surrogate pair (\\ud800 to \\udfff without its other half), which is no character; write both halves, or leave it out.",
                    exception);
            }
        }
    }
}
