using System.Reflection;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Schema;
using System.Text.Json.Serialization.Metadata;
using Skylight.Text;

namespace Skylight.Server;

/// <summary>
/// The description of the server in OpenAPI 3.1: paths from <see cref="ServerRoutes"/>, requests from the lists of fields
/// that requests are checked by, answers from the types that are written.
/// </summary>
internal static class OpenApiDocument
{
    private const string Json = "application/json", Error = "Error";

    private static readonly JsonWriterOptions s_writing =
        new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, Indented = true };

    /// <summary>Writes it.</summary>
    /// <param name="needsKey">Whether requests need a key.</param>
    public static byte[] Write(bool needsKey)
    {
        var schemas = new JsonObject { [Error] = SchemaOf(ServerJson.Compact.ErrorBody) };
        var paths = new JsonObject();
        foreach (ServerRoute route in ServerRoutes.All)
        {
            string path = route.Path.Replace("{**id}", "{id}", StringComparison.Ordinal);
            if (paths[path] is not JsonObject operations)
                paths[path] = operations = [];
            operations[route.Method.ToLowerInvariant()] = Operation(route, path, schemas, needsKey);
        }

        var components = new JsonObject { ["schemas"] = schemas };
        if (needsKey)
            components["securitySchemes"] = new JsonObject
            {
                ["key"] = new JsonObject { ["type"] = "http", ["scheme"] = "bearer" },
            };
        var document = new JsonObject
        {
            ["openapi"] = "3.1.0",
            ["info"] = new JsonObject
            {
                ["title"] = "Skylight",
                ["version"] = typeof(OpenApiDocument).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()
                    ?.InformationalVersion ?? "0",
                ["description"] = "A vision-language model behind OpenAI's protocol. A field that is not described here is " +
                    "refused by name, or known to change nothing.",
            },
            ["paths"] = paths,
            ["components"] = components,
        };
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer, s_writing))
            document.WriteTo(writer);
        return buffer.ToArray();
    }

    private static JsonObject Operation(ServerRoute route, string path, JsonObject schemas, bool needsKey)
    {
        string name = string.Concat((route.Method.ToLowerInvariant() + path).Split('/', '_', '.', '{', '}')
            .Where(part => part.Length > 0)
            .Select((part, index) => index == 0 ? part : char.ToUpperInvariant(part[0]) + part[1..]));
        var operation = new JsonObject { ["operationId"] = name, ["summary"] = route.Summary };
        if (needsKey && !route.IsOpen)
            operation["security"] = new JsonArray(new JsonObject { ["key"] = new JsonArray() });
        if (path.Contains('{'))
            operation["parameters"] = new JsonArray(new JsonObject
            {
                ["name"] = "id",
                ["in"] = "path",
                ["required"] = true,
                ["schema"] = new JsonObject { ["type"] = "string" },
            });
        if (route.Fields is { } fields)
        {
            schemas[name + "Request"] = FieldSchema.Of(fields);
            operation["requestBody"] = new JsonObject { ["required"] = true, ["content"] = Content(Json, name + "Request") };
        }

        var responses = new JsonObject();
        if (!route.IsRefusal)
            responses["200"] = Success(route, name, schemas);
        responses["default"] = new JsonObject { ["description"] = "What is wrong", ["content"] = Content(Json, Error) };
        operation["responses"] = responses;
        return operation;
    }

    private static JsonObject Success(ServerRoute route, string name, JsonObject schemas)
    {
        var content = new JsonObject();
        if (route.Answer is { } answer)
        {
            schemas[name + "Answer"] = SchemaOf(answer);
            content = Content(Json, name + "Answer");
        }

        if (route.Piece is { } piece)
        {
            schemas[name + "Piece"] = SchemaOf(piece);
            content["text/event-stream"] = Content("", name + "Piece")[""]!.DeepClone();
        }

        return new JsonObject { ["description"] = route.Summary, ["content"] = content };
    }

    private static JsonObject Content(string type, string schema) => new()
    {
        [type] = new JsonObject { ["schema"] = new JsonObject { ["$ref"] = $"#/components/schemas/{schema}" } },
    };

    private static JsonNode SchemaOf(JsonTypeInfo type) => type.GetJsonSchemaAsNode(new JsonSchemaExporterOptions
    {
        TreatNullObliviousAsNonNullable = true,
        TransformSchemaNode = (context, schema) =>
        {
            // Any JSON. As true, which means the same, not every reader takes it.
            if (schema is JsonValue)
                return new JsonObject();
            // What is null may be left out.
            if (schema is JsonObject described && described["required"] is JsonArray required)
                required.RemoveAll(name => context.TypeInfo.Properties
                    .Any(property => property.Name == name!.GetValue<string>() && property.IsGetNullable));
            return schema;
        },
    });
}

/// <summary>The schema of requests, from the list of their fields.</summary>
internal static class FieldSchema
{
    /// <summary>Makes it.</summary>
    public static JsonObject Of(FieldList fields) => Object(fields.Fields, "");

    /// <summary>The kinds of values that a used field takes, as JSON schema calls them.</summary>
    public static IReadOnlyList<string> TypesOf(RequestField field, IReadOnlyList<RequestField> all)
    {
        var types = new List<string> { TypeOf(field.Example) };
        if (field.Also is { } also)
            types.Add(TypeOf(also));
        if (all.Any(other => other.Name.StartsWith(field.Name + ".", StringComparison.Ordinal)))
            types.Add("object");
        if (all.Any(other => other.Name.StartsWith(field.Name + "[]", StringComparison.Ordinal)))
            types.Add("array");
        return [.. types.Distinct()];
    }

    private static JsonObject Object(IReadOnlyList<RequestField> all, string place)
    {
        var properties = new JsonObject();
        foreach (RequestField field in all.Where(field => field.Use != FieldUse.Refused
            && field.Name.StartsWith(place, StringComparison.Ordinal) && !field.Name[place.Length..].Contains('.')))
            properties[field.Name[place.Length..]] = Schema(field, all);
        return new JsonObject { ["type"] = "object", ["properties"] = properties };
    }

    private static JsonObject Schema(RequestField field, IReadOnlyList<RequestField> all)
    {
        var schema = new JsonObject { ["description"] = field.Meaning };
        if (field.Use == FieldUse.Used)
        {
            IReadOnlyList<string> types = TypesOf(field, all);
            schema["type"] = types.Count == 1 ? types[0] : new JsonArray([.. types.Select(type => JsonValue.Create(type))]);
            string inside = field.Name + ".", items = field.Name + "[].";
            if (all.Any(other => other.Name.StartsWith(inside, StringComparison.Ordinal)))
                schema["properties"] = Object(all, inside)["properties"]!.DeepClone();
            if (types.Contains("array"))
                schema["items"] = all.Any(other => other.Name.StartsWith(items, StringComparison.Ordinal))
                    ? Object(all, items) : new JsonObject();
        }

        schema["examples"] = new JsonArray(NodeOf(field.Example));
        return schema;
    }

    private static JsonElement Read(string json) => JsonText.ParseElement(Encoding.UTF8.GetBytes(json));

    private static JsonNode? NodeOf(string json)
    {
        JsonElement value = Read(json);
        return value.ValueKind switch
        {
            JsonValueKind.Object => JsonObject.Create(value),
            JsonValueKind.Array => JsonArray.Create(value),
            _ => JsonValue.Create(value),
        };
    }

    private static string TypeOf(string json)
    {
        JsonElement value = Read(json);
        return value.ValueKind switch
        {
            JsonValueKind.String => "string",
            JsonValueKind.Number => value.TryGetInt64(out _) ? "integer" : "number",
            JsonValueKind.True or JsonValueKind.False => "boolean",
            JsonValueKind.Array => "array",
            _ => "object",
        };
    }
}
