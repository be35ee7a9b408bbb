using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Skylight;

/// <summary>
/// The one way into System.Text.Json. It lets through what can be read to the last name and string, and refuses the
/// rest with one exception whose message is for people: bytes that are not UTF-8, half a surrogate pair (which
/// System.Text.Json reports only when the string is asked for, as an
/// <see cref="InvalidOperationException"/>), a member that comes twice, an object or list too deep, what is cut off,
/// empty, or of another kind than it should be.
/// </summary>
public static class JsonText
{
    /// <summary>How deep objects and lists may be nested where nothing else is said.</summary>
    public const int MostDepth = 64;

    // What is quoted from a text that may have megabytes.
    private const int MostReason = 160;

    /// <summary>Parses JSON of which every string can be read.</summary>
    /// <param name="utf8">JSON in UTF-8, with or without a byte order mark.</param>
    /// <param name="maxDepth">How deep objects and lists may be nested.</param>
    /// <exception cref="JsonException">It is not such JSON; the message ends a sentence that names the file.</exception>
    public static JsonDocument Parse(ReadOnlyMemory<byte> utf8, int maxDepth = MostDepth)
    {
        utf8 = Utf8Text.WithoutMark(utf8);
        CheckText(utf8.Span, maxDepth);
        try
        {
            JsonDocument document = JsonDocument.Parse(utf8, new JsonDocumentOptions { MaxDepth = maxDepth });
            try
            {
                JsonMembers.CheckUnique(document.RootElement);
                return document;
            }
            catch
            {
                document.Dispose();
                throw;
            }
        }
        catch (JsonException exception)
        {
            throw Plain(exception);
        }
    }

    /// <summary>Parses a text that becomes no more than one element.</summary>
    /// <inheritdoc cref="Parse"/>
    public static JsonElement ParseElement(ReadOnlyMemory<byte> utf8, int maxDepth = MostDepth)
    {
        using JsonDocument document = Parse(utf8, maxDepth);
        return document.RootElement.Clone();
    }

    /// <summary>Reads a value of a type of ours.</summary>
    /// <param name="utf8">JSON in UTF-8, with or without a byte order mark.</param>
    /// <param name="type">How it is written; from a context that respects required constructor parameters and nullable
    /// annotations.</param>
    /// <exception cref="JsonException">It is not such JSON, or not such a value; the message ends a sentence that names
    /// the file.</exception>
    public static T Deserialize<T>(ReadOnlyMemory<byte> utf8, JsonTypeInfo<T> type)
        where T : class
    {
        using JsonDocument document = Parse(utf8);
        // No list of ours holds one, and annotations of what is in lists are not looked at.
        if (HasNullInList(document.RootElement))
            throw new JsonException("a list in it holds null.");
        try
        {
            return document.Deserialize(type) ?? throw new JsonException("it is null.");
        }
        catch (JsonException exception) when (exception.Path is not null)
        {
            throw Misfit(exception);
        }
    }

    /// <summary>
    /// A reader of JSON of which every string can be read, for files too large for a document. <see cref="Plain"/>
    /// makes its errors readable.
    /// </summary>
    /// <exception cref="JsonException">The text is not Unicode.</exception>
    internal static Utf8JsonReader Reader(ReadOnlyMemory<byte> utf8)
    {
        utf8 = Utf8Text.WithoutMark(utf8);
        CheckText(utf8.Span, MostDepth);
        return new Utf8JsonReader(utf8.Span, new JsonReaderOptions { MaxDepth = MostDepth });
    }

    /// <summary>The value on which a reader of ours stands.</summary>
    /// <exception cref="JsonException">It is broken, or a member comes twice.</exception>
    internal static JsonElement ParseValue(ref Utf8JsonReader reader)
    {
        var value = JsonElement.ParseValue(ref reader);
        JsonMembers.CheckUnique(value);
        return value;
    }

    /// <summary>
    /// The error as people read it: lines and bytes counted from 1, nothing of options or types, and no megabytes
    /// quoted.
    /// </summary>
    internal static JsonException Plain(JsonException exception)
    {
        if (exception.InnerException is JsonException)
            return exception;
        const string Twice = "Duplicate property '";
        string reason = exception.Message;
        if (reason.StartsWith(Twice, StringComparison.Ordinal) && reason.LastIndexOf('\'') is var quote
            && quote > Twice.Length)
            reason = $"'{reason[Twice.Length..quote]}' is there twice.";
        int end = reason.IndexOf(" LineNumber:", StringComparison.Ordinal);
        reason = (end < 0 ? reason : reason[..end]).Replace(" Change the reader options.", "", StringComparison.Ordinal);
        reason = reason.Length <= MostReason ? reason : reason[..MostReason] + "…";
        // A name that comes twice has no place.
        string place = exception.LineNumber is { } line ? $"line {line + 1}, byte {exception.BytePositionInLine + 1}: " : "";
        return new JsonException(place + reason, null, exception.LineNumber, exception.BytePositionInLine, exception);
    }

    /// <summary>What is wrong with a line of a file, without the number that the line has within itself.</summary>
    public static string WithinLine(JsonException exception)
    {
        ArgumentNullException.ThrowIfNull(exception);
        const string Only = "line 1, ";
        int at = exception.Message.IndexOf(Only, StringComparison.Ordinal);
        return at < 0 ? exception.Message : exception.Message.Remove(at, Only.Length);
    }

    private static void CheckText(ReadOnlySpan<byte> utf8, int maxDepth)
    {
        if (utf8.IndexOfAnyExcept(" \t\r\n"u8) < 0)
            throw new JsonException("it is empty.");
        if (Utf8Text.Fault(utf8) is { } fault)
            throw new JsonException(fault);
        // Where no surrogate is written as an escape there is no half of one, and most texts need not be read twice.
        if (utf8.IndexOf("\\ud"u8) >= 0 || utf8.IndexOf("\\uD"u8) >= 0)
            CheckSurrogates(utf8, maxDepth);
    }

    private static void CheckSurrogates(ReadOnlySpan<byte> utf8, int maxDepth)
    {
        var reader = new Utf8JsonReader(utf8, new JsonReaderOptions { MaxDepth = maxDepth });
        try
        {
            while (reader.Read())
            {
                if (reader.ValueIsEscaped && reader.TokenType is JsonTokenType.String or JsonTokenType.PropertyName)
                    _ = reader.GetString();
            }
        }
        catch (JsonException exception)
        {
            throw Plain(exception);
        }
        catch (InvalidOperationException exception)
        {
            string what = reader.TokenType == JsonTokenType.String ? "a text" : "a field's name";
            throw new JsonException(
                $"{what} at byte {reader.TokenStartIndex + 1} holds half of a surrogate pair (\\ud800 to \\udfff " +
                $"without its other half), which is no character; write both halves, or leave it out.",
                exception);
        }
    }

    /// <summary>What the serializer says, without the names of our types.</summary>
    private static JsonException Misfit(JsonException exception)
    {
        const string Missing = "properties including: ";
        string place = exception.Path is { Length: > 2 } path ? $"'{path[2..]}'" : "it";
        int at = exception.Message.IndexOf(Missing, StringComparison.Ordinal);
        string names = at < 0 ? "" : exception.Message[(at + Missing.Length)..];
        int end = names.IndexOf(". ", StringComparison.Ordinal);
        string message = at >= 0 ? $"{place} lacks {(end < 0 ? names.TrimEnd('.') : names[..end])}."
            : $"{place} is of another kind than it should be, or out of range.";
        return new JsonException(message, exception.Path, exception.LineNumber, exception.BytePositionInLine, exception);
    }

    private static bool HasNullInList(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Array =>
            element.EnumerateArray().Any(item => item.ValueKind == JsonValueKind.Null || HasNullInList(item)),
        JsonValueKind.Object => element.EnumerateObject().Any(member => HasNullInList(member.Value)),
        _ => false,
    };
}
