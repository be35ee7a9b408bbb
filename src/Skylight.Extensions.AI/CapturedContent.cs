using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Skylight.Chat;

namespace Skylight.Extensions.AI;

/// <summary>
/// Messages as JSON of the semantic conventions, for hosts that asked for them. Of pictures there is only that they
/// were there.
/// </summary>
internal static class CapturedContent
{
    private static readonly JsonWriterOptions _options = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static string Input(IReadOnlyList<Message> messages) => Write(writer =>
    {
        foreach (Message message in messages)
        {
            Begin(writer, message.Role.ToString().ToLowerInvariant());
            foreach (MessagePart part in message.Parts)
            {
                if (part is TextPart text)
                    WritePart(writer, "text", text.Text);
                else if (part is ToolCallPart call)
                    WriteCall(writer, call.Call);
                else
                    WritePicture(writer);
            }

            writer.WriteEndArray();
            writer.WriteEndObject();
        }
    });

    public static string Output(string thinking, string answer, IReadOnlyList<ToolCall> calls,
        string? finishReason) => Write(writer =>
    {
        Begin(writer, "assistant");
        if (thinking.Length > 0)
            WritePart(writer, "reasoning", thinking);
        if (answer.Length > 0)
            WritePart(writer, "text", answer);
        foreach (ToolCall call in calls)
            WriteCall(writer, call);
        writer.WriteEndArray();
        if (finishReason is not null)
            writer.WriteString("finish_reason", finishReason);
        writer.WriteEndObject();
    });

    private static string Write(Action<Utf8JsonWriter> write)
    {
        var bytes = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(bytes, _options))
        {
            writer.WriteStartArray();
            write(writer);
            writer.WriteEndArray();
        }

        return Encoding.UTF8.GetString(bytes.WrittenSpan);
    }

    private static void Begin(Utf8JsonWriter writer, string role)
    {
        writer.WriteStartObject();
        writer.WriteString("role", role);
        writer.WriteStartArray("parts");
    }

    private static void WritePart(Utf8JsonWriter writer, string type, string content)
    {
        writer.WriteStartObject();
        writer.WriteString("type", type);
        writer.WriteString("content", content);
        writer.WriteEndObject();
    }

    private static void WriteCall(Utf8JsonWriter writer, ToolCall call)
    {
        writer.WriteStartObject();
        writer.WriteString("type", "tool_call");
        writer.WriteString("id", call.Id);
        writer.WriteString("name", call.Name);
        // One that was cut off is no JSON.
        writer.WriteString("arguments", call.Arguments);
        writer.WriteEndObject();
    }

    private static void WritePicture(Utf8JsonWriter writer)
    {
        writer.WriteStartObject();
        writer.WriteString("type", "blob");
        writer.WriteString("modality", "image");
        writer.WriteEndObject();
    }
}
