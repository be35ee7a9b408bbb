using System.Text.Encodings.Web;
using System.Text.Json;

namespace Skylight.Cli.Demo;

/// <summary>A row of a JSONL file, begun with its id; disposed, it is ended with a line feed.</summary>
internal sealed class DemoDataRow : IDisposable
{
    private readonly Stream _file;
    private readonly Utf8JsonWriter _json;

    public DemoDataRow(Stream file, string id)
    {
        _file = file;
        _json = new Utf8JsonWriter(file, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
        _json.WriteStartObject();
        _json.WriteString("id", id);
    }

    /// <summary>
    /// A question and an answer to learn from, as messages; the picture stands where the question says
    /// <c>&lt;image&gt;</c>.
    /// </summary>
    public void Conversation(string question, string answer, string? picture)
    {
        _json.WriteStartArray("messages");
        Message("user", picture is null ? question : "<image>" + question);
        Message("assistant", answer);
        _json.WriteEndArray();
        if (picture is not null)
            Images(picture);
    }

    /// <summary>A question about a picture and what is right.</summary>
    public void Problem(string question, string answer, string picture, string category)
    {
        _json.WriteString("question", question);
        _json.WriteString("answer", answer);
        Images(picture);
        _json.WriteString("category", category);
    }

    public void Dispose()
    {
        _json.WriteEndObject();
        _json.Dispose();
        _file.WriteByte((byte)'\n');
    }

    private void Message(string role, string content)
    {
        _json.WriteStartObject();
        _json.WriteString("role", role);
        _json.WriteString("content", content);
        _json.WriteEndObject();
    }

    private void Images(string picture)
    {
        _json.WriteStartArray("images");
        _json.WriteStringValue(picture);
        _json.WriteEndArray();
    }
}
