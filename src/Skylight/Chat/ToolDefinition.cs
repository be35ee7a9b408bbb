using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Skylight.Constraints;

namespace Skylight.Chat;

/// <summary>
/// A tool that a model may call: its name, what it does and what it takes. The program runs it and says in the next
/// request what it gave (<see cref="Message.ToolResult"/>).
/// </summary>
/// <example>
/// <code>
/// var zoom = new ToolDefinition("zoom", "Enlarges a part of the picture.", """
///     {"type": "object", "properties": {"left": {"type": "integer"}, "top": {"type": "integer"}}, "required": ["left", "top"]}
///     """);
/// </code>
/// </example>
public sealed class ToolDefinition
{
    /// <summary>The most characters of a name.</summary>
    public const int MostNameCharacters = 64;

    private const string NoParameters = """{"type": "object", "properties": {}}""";

    private static readonly JsonWriterOptions s_json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Makes a tool.</summary>
    /// <param name="name">1 to 64 letters, digits, '_', '-' and '.'.</param>
    /// <param name="description">What it does; the model reads it.</param>
    /// <param name="parameters">A JSON schema of an object; null for a tool that takes nothing.</param>
    /// <param name="isStrict">Whether calls must be held to the schema. If not, a schema that cannot be held
    /// (docs/structured.md says what can) leaves the arguments any JSON object, and what they hold is for the program to
    /// check.</param>
    /// <exception cref="ArgumentException">The name cannot be used.</exception>
    /// <exception cref="ConstraintException">The parameters are no JSON schema of an object, or cannot be held.</exception>
    public ToolDefinition(string name, string? description = null, string? parameters = null, bool isStrict = true)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        if (name.Length > MostNameCharacters
            || !name.All(character => char.IsAsciiLetterOrDigit(character) || character is '_' or '-' or '.'))
            throw new ArgumentException(
                $"The tool's name '{(name.Length <= MostNameCharacters ? name : name[..MostNameCharacters] + "…")}' cannot " +
                $"be used: it must have 1 to {MostNameCharacters} letters, digits, '_', '-' and '.'.", nameof(name));
        (Name, Description, IsStrict) = (name, description, isStrict);
        Parameters = Parse(parameters ?? NoParameters);
        // "Takes nothing" is what the program meant; to a schema any other member would be as good.
        Arguments = parameters is null ? Constraint.Text("{}") : FormOf(Parameters, isStrict);
        Signature = SignatureOf(this);
    }

    /// <summary>What it is called by.</summary>
    public string Name { get; }

    /// <summary>What it does.</summary>
    public string? Description { get; }

    /// <summary>A JSON schema of its arguments, an object.</summary>
    public JsonElement Parameters { get; }

    /// <summary>Whether arguments must be held to the schema.</summary>
    public bool IsStrict { get; }

    /// <summary>The form of its arguments.</summary>
    internal Constraint Arguments { get; }

    /// <summary>What templates get of it: OpenAI's object.</summary>
    internal JsonElement Signature { get; }

    private static JsonElement Parse(string parameters)
    {
        try
        {
            return JsonText.ParseElement(Encoding.UTF8.GetBytes(parameters)) is { ValueKind: JsonValueKind.Object } schema
                ? schema : throw new ConstraintException("The parameters must be a JSON schema: an object.");
        }
        catch (JsonException exception)
        {
            throw new ConstraintException($"The parameters are not valid JSON: {exception.Message}", exception);
        }
    }

    private static Constraint FormOf(JsonElement schema, bool isStrict)
    {
        if (schema.TryGetProperty("type", out JsonElement type)
            && !(type.ValueKind == JsonValueKind.String && type.ValueEquals("object")))
            throw new ConstraintException(
                "#/type: the parameters must be a schema of an object, with \"type\": \"object\".");
        try
        {
            // Many leave the type out; arguments are an object all the same.
            return type.ValueKind != JsonValueKind.Undefined ? Constraint.JsonSchema(schema)
                : Constraint.JsonSchema(Write(writer =>
                {
                    writer.WriteStartObject();
                    writer.WriteString("type", "object");
                    foreach (JsonProperty member in schema.EnumerateObject())
                        member.WriteTo(writer);
                    writer.WriteEndObject();
                }));
        }
        catch (ConstraintException) when (!isStrict)
        {
            return Constraint.JsonObject();
        }
    }

    private static JsonElement SignatureOf(ToolDefinition tool) => JsonText.ParseElement(Encoding.UTF8.GetBytes(
        Write(writer =>
        {
            writer.WriteStartObject();
            writer.WriteString("type", "function");
            writer.WriteStartObject("function");
            writer.WriteString("name", tool.Name);
            if (tool.Description is not null)
                writer.WriteString("description", tool.Description);
            writer.WritePropertyName("parameters");
            tool.Parameters.WriteTo(writer);
            writer.WriteEndObject();
            writer.WriteEndObject();
        })));

    private static string Write(Action<Utf8JsonWriter> write)
    {
        var bytes = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(bytes, s_json))
            write(writer);
        return Encoding.UTF8.GetString(bytes.WrittenSpan);
    }
}
