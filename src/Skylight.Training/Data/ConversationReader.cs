using Skylight.Chat;
using Skylight.Text;

namespace Skylight.Training.Data;

/// <summary>A turn before its pictures are put in.</summary>
/// <param name="Role">Who says it.</param>
/// <param name="Text">What is said, with <c>&lt;image&gt;</c> or <c>&lt;image k&gt;</c> where pictures stand.</param>
internal sealed record DraftTurn(ChatRole Role, string Text);

/// <summary>
/// Conversations: <c>role</c> and <c>content</c>, a text or parts, and ShareGPT's <c>from</c> and <c>value</c>.
/// </summary>
/// <param name="pictures">Reads the pictures that stand in parts.</param>
internal sealed class ConversationReader(PictureReader pictures)
{
    /// <summary>Pictures that stood in parts of messages read so far.</summary>
    public List<ExampleImage> Inline { get; } = [];

    /// <summary>Reads a list of messages.</summary>
    /// <exception cref="InvalidDataException">It is none, or has a role or a content that cannot be read.</exception>
    public List<DraftTurn> Read(DataValue value, string column)
    {
        IReadOnlyList<DataValue?> items = value switch
        {
            ListValue list => list.Items,
            StructValue => [value],
            _ => throw new InvalidDataException($"has {value.Kind} in '{column}', where a list of messages is expected."),
        };
        return [.. items.Select(item => item is StructValue message ? Turn(message, column)
            : throw new InvalidDataException(
                $"has {DataValue.Describe(item)} in '{column}', where a message is expected: an object with 'role' " +
                $"and 'content', or 'from' and 'value'."))];
    }

    private DraftTurn Turn(StructValue message, string column)
    {
        (string roleName, string contentName) = message["role"] is not null ? ("role", "content")
            : message["from"] is not null ? ("from", "value")
            : throw new InvalidDataException(
                $"has a message in '{column}' without 'role' (or 'from'); it has " +
                $"{string.Join(", ", message.Fields.Select(field => $"'{field.Key}'"))}.");
        string name = message[roleName] is TextValue text ? text.Text
            : throw new InvalidDataException(
                $"has {message[roleName]!.Kind} as the '{roleName}' of a message in '{column}', where a text is expected.");
        ChatRole role = name.ToLowerInvariant() switch
        {
            "system" or "developer" => ChatRole.System,
            "user" or "human" => ChatRole.User,
            "assistant" or "gpt" or "model" or "bot" => ChatRole.Assistant,
            _ => throw new InvalidDataException(
                $"has a message of '{name}' in '{column}'; supported are system, user (or human) and assistant (or gpt)."),
        };
        if (message["tool_calls"] is ListValue { Items.Count: > 0 })
            throw new InvalidDataException(
                $"has a message with 'tool_calls' in '{column}', which are not supported: write what is said as text.");
        string content = message[contentName] switch
        {
            TextValue plain => plain.Text,
            ListValue parts => string.Concat(parts.Items.Select(part => Part(part, column))),
            StructValue part => Part(part, column),
            var other =>
                throw new InvalidDataException(
                    $"has {DataValue.Describe(other)} as the '{contentName}' of a message of '{name}' in '{column}', " +
                    $"where a text or a list of parts is expected."),
        };
        if (role != ChatRole.User && ImagePlaces.IsIn(content))
            throw new InvalidDataException(
                $"has a place for a picture in a message of '{name}' in '{column}'; pictures come from the user only.");
        return new DraftTurn(role, content);
    }

    private string Part(DataValue? value, string column)
    {
        if (value is TextValue bare)
            return bare.Text;
        if (value is not StructValue part)
            throw new InvalidDataException(
                $"has {DataValue.Describe(value)} as a part of a message in '{column}', where an object with 'type' " +
                $"is expected.");
        switch ((part["type"] as TextValue)?.Text)
        {
            case "text" or "input_text" or "output_text":
                return part["text"] is ScalarValue text ? text.Text
                    : throw new InvalidDataException($"has a part of type text without 'text' in '{column}'.");
            case "image" or "image_url" or "input_image":
                DataValue? picture = part["image"] ?? part["image_url"] ?? part["url"] ?? part["path"] ?? part["base64"]
                    ?? part["data"]
                    ?? (part["bytes"] is null ? null : new StructValue([KeyValuePair.Create("bytes", part["bytes"])]));
                if (pictures.Read(picture, column) is { } image)
                    Inline.Add(image);
                return ImagePlaces.Next;
            case null:
                throw new InvalidDataException($"has a part without 'type' in '{column}'.");
            case var other:
                throw new InvalidDataException($"has a part of type '{other}' in '{column}'; supported are text and image.");
        }
    }
}
