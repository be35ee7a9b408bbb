using System.Text.Json;
using Skylight.Chat;
using Skylight.Constraints;
using Skylight.Text;

namespace Skylight.Server;

/// <summary>What a request says of tools.</summary>
internal static class ToolFields
{
    private const int MostTools = 128, MostMessage = 400;

    /// <summary>Adds the tools of a request to its options.</summary>
    /// <exception cref="ApiException">A tool cannot be offered, or the one that must be called is not
    /// offered.</exception>
    public static GenerationOptions Read(JsonField root, GenerationOptions options) => Read(root, options, Nested);

    /// <summary>The same of a request for a response, where a function's name is not in an object of its own.</summary>
    /// <inheritdoc cref="Read(JsonField, GenerationOptions)"/>
    public static GenerationOptions ReadFlat(JsonField root, GenerationOptions options) => Read(root, options, Flat);

    /// <summary>Whether a text is a JSON object, as arguments are.</summary>
    public static bool IsObject(string text)
    {
        try
        {
            using JsonDocument document = JsonText.Parse(System.Text.Encoding.UTF8.GetBytes(text));
            return document.RootElement.ValueKind == JsonValueKind.Object;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    private static JsonField Nested(JsonField item, string place)
    {
        RequestFields.Check(item, place);
        JsonField function = item.Required("function");
        RequestFields.Check(function, place + "function.");
        return function;
    }

    private static JsonField Flat(JsonField item, string place)
    {
        ResponseFields.All.Check(item, place);
        return item;
    }

    private static GenerationOptions Read(JsonField root, GenerationOptions options,
        Func<JsonField, string, JsonField> functionOf)
    {
        ToolDefinition[] tools = root["tools"] is { } field ? ReadTools(field, functionOf) : [];
        ToolChoice choice = root["tool_choice"] is { } wanted ? ReadChoice(wanted, tools, functionOf) : ToolChoice.Auto;
        return options with
        {
            Tools = tools,
            ToolChoice = choice,
            ParallelToolCalls = root["parallel_tool_calls"]?.Boolean() ?? true,
        };
    }

    /// <summary>The calls of an earlier answer.</summary>
    /// <exception cref="ApiException">A call is not one of a function, or its arguments are not a JSON
    /// object.</exception>
    public static IEnumerable<ToolCallPart> Calls(JsonField calls) => calls.Items().Select(call =>
    {
        if (call["type"] is { } type && type.Text() != "function")
            throw type.Wrong("'function'");
        JsonField function = Nested(call, RequestFields.Calls), arguments = function.Required("arguments");
        string text = arguments.Text();
        if (!IsObject(text))
            throw arguments.Wrong("a JSON object in a string");
        return new ToolCallPart(new ToolCall(call["id"]?.Text() ?? "", function.Required("name").Text(), text));
    });

    private static ToolDefinition[] ReadTools(JsonField field, Func<JsonField, string, JsonField> functionOf)
    {
        JsonField[] items = [.. field.Items()];
        if (items.Length > MostTools)
            throw ApiException.BadRequest($"'{field.Path}' has {items.Length} tools; at most {MostTools} are allowed.",
                field.Path);
        var tools = new List<ToolDefinition>(items.Length);
        foreach (JsonField item in items)
        {
            JsonField type = item.Required("type");
            if (type.Text() != "function")
                throw type.Wrong("'function': the model calls functions alone");
            JsonField function = functionOf(item, RequestFields.Tools);
            JsonField name = function.Required("name");
            ToolDefinition tool = ReadTool(function, name);
            if (tools.FindIndex(other => other.Name == tool.Name) is var same and >= 0)
                throw ApiException.BadRequest(
                    $"'{name.Path}' is '{tool.Name}', as is that of '{field.Path}[{same}]': names must differ.", name.Path);
            tools.Add(tool);
        }

        return [.. tools];
    }

    private static ToolDefinition ReadTool(JsonField function, JsonField name)
    {
        JsonField? parameters = function["parameters"];
        if (parameters is { Kind: not JsonValueKind.Object } wrong)
            throw wrong.Wrong("a JSON schema: an object");
        string? description = function["description"]?.Text();
        bool isStrict = function["strict"]?.Boolean() ?? true;
        try
        {
            return new ToolDefinition(name.Text(), description, parameters?.RawText, isStrict);
        }
        catch (ConstraintException exception)
        {
            string path = $"{function.Path}.parameters", message = exception.Message.Length <= MostMessage
                ? exception.Message : exception.Message[..MostMessage] + "…";
            throw ApiException.BadRequest($"'{path}' cannot be held: {message}" + (isStrict
                ? " With 'strict': false the arguments are any JSON object, for you to check." : ""), path,
                "unsupported_form");
        }
        catch (ArgumentException)
        {
            throw name.Wrong($"a name of 1 to {ToolDefinition.MostNameCharacters} letters, digits, '_', '-' and '.'");
        }
    }

    private static ToolChoice ReadChoice(JsonField choice, ToolDefinition[] tools,
        Func<JsonField, string, JsonField> functionOf)
    {
        const string Expected = "'none', 'auto', 'required' or an object that names a function";
        if (choice.Kind == JsonValueKind.String)
        {
            return choice.Text() switch
            {
                "none" => ToolChoice.None,
                "auto" => ToolChoice.Auto,
                "required" when tools.Length == 0 =>
                    throw ApiException.BadRequest($"'{choice.Path}' is 'required', and there are no 'tools'.", choice.Path),
                "required" => ToolChoice.Required,
                _ => throw choice.Wrong(Expected),
            };
        }

        if (choice.Kind != JsonValueKind.Object)
            throw choice.Wrong(Expected);
        JsonField type = choice.Required("type");
        if (type.Text() != "function")
            throw type.Wrong("'function'");
        JsonField function = functionOf(choice, "tool_choice."), name = function.Required("name");
        if (tools.Any(tool => tool.Name == name.Text()))
            return ToolChoice.Named(name.Text());
        string offered = tools.Length == 0 ? "there are no 'tools'"
            : $"there are {string.Join(", ", tools.Take(10).Select(tool => $"'{tool.Name}'"))}";
        throw ApiException.BadRequest(
            $"'{name.Path}' is '{(name.Text().Length <= 40 ? name.Text() : name.Text()[..40] + "…")}', which is not " +
            $"offered; {offered}.", name.Path);
    }
}
