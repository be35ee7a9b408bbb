using System.Text.Json;
using Skylight.Constraints;

namespace Skylight.Server;

/// <summary>The form that a request holds its answer to, in the spellings of OpenAI and of vLLM.</summary>
internal static class AnswerForm
{
    private const int MostChoices = 10_000, MostMessage = 400, MostName = 64;
    private const string Types = "'text', 'json_object' or 'json_schema'";

    /// <summary>Reads it.</summary>
    /// <param name="root">The request.</param>
    /// <returns>Null where any answer will do.</returns>
    /// <exception cref="ApiException">A form cannot be held, or there are several.</exception>
    public static Constraint? Read(JsonField root)
    {
        (string Path, Constraint Form)? first = null;
        foreach ((string path, Constraint form) in Forms(root))
        {
            if (first is { } other)
                throw ApiException.BadRequest($"'{other.Path}' and '{path}' both give the answer a form: send one of them.",
                    path);
            first = (path, form);
        }

        return first?.Form;
    }

    private static IEnumerable<(string Path, Constraint Form)> Forms(JsonField root)
    {
        if (root["response_format"] is { } format && ReadResponseFormat(format) is { } response)
            yield return (format.Path, response);
        if (root["text"]?["format"] is { } flat && ReadTextFormat(flat) is { } text)
            yield return (flat.Path, text);
        if (root["structured_outputs"] is { } outputs)
        {
            RequestFields.Check(outputs, "structured_outputs.");
            foreach ((string, Constraint) form in Forms(outputs, ""))
                yield return form;
        }

        foreach ((string, Constraint) form in Forms(root, "guided_"))
            yield return form;
    }

    private static IEnumerable<(string Path, Constraint Form)> Forms(JsonField place, string prefix)
    {
        if (place[prefix + "json"] is { } schema)
            yield return (schema.Path, Schema(schema));
        if (place[prefix + "json_object"] is { } isObject && isObject.Boolean())
            yield return (isObject.Path, Constraint.JsonObject());
        if (place[prefix + "regex"] is { } regex)
            yield return (regex.Path, Make(regex, () => Constraint.Regex(regex.Text())));
        if (place[prefix + "choice"] is { } choice)
            yield return (choice.Path, Choice(choice));
        if (place[prefix + "grammar"] is { } grammar)
            yield return (grammar.Path, Make(grammar, () => Constraint.Grammar(grammar.Text())));
    }

    private static Constraint? ReadResponseFormat(JsonField format)
    {
        JsonField type = format.Required("type");
        RequestFields.Check(format, "response_format.");
        switch (type.Text())
        {
            case "text":
                return null;
            case "json_object":
                return Constraint.JsonObject();
            case "json_schema":
                JsonField named = format.Required("json_schema");
                _ = named.Required("name");
                RequestFields.Check(named, "response_format.json_schema.");
                return NamedSchema(named);
            default:
                throw type.Wrong(Types);
        }
    }

    /// <summary>The form of a response: the same, with the schema beside its name.</summary>
    private static Constraint? ReadTextFormat(JsonField format)
    {
        JsonField type = format.Required("type");
        ResponseFields.All.Check(format, ResponseFields.Format);
        return type.Text() switch
        {
            "text" => null,
            "json_object" => Constraint.JsonObject(),
            "json_schema" => NamedSchema(format),
            _ => throw type.Wrong(Types),
        };
    }

    private static Constraint NamedSchema(JsonField named)
    {
        JsonField name = named.Required("name");
        if (name.Text() is not { Length: > 0 and <= MostName } text
            || text.Any(letter => !char.IsAsciiLetterOrDigit(letter) && letter is not ('_' or '-')))
            throw name.Wrong($"a name of 1 to {MostName} letters, digits, '_' and '-'");
        return Schema(named.Required("schema"));
    }

    /// <summary>A schema, or the text of one.</summary>
    private static Constraint Schema(JsonField field) => field.Kind switch
    {
        JsonValueKind.String => Make(field, () => Constraint.JsonSchema(field.Text())),
        JsonValueKind.Object => Make(field, () => Constraint.JsonSchema(field.RawText)),
        _ => throw field.Wrong("a JSON schema: an object, or a string that holds one"),
    };

    private static Constraint Choice(JsonField field)
    {
        string[] texts = [.. field.Items().Select(item => item.Text())];
        return texts.Length <= MostChoices ? Make(field, () => Constraint.Choice(texts))
            : throw ApiException.BadRequest($"'{field.Path}' has {texts.Length} texts; at most {MostChoices} are allowed.",
                field.Path);
    }

    private static Constraint Make(JsonField field, Func<Constraint> make)
    {
        try
        {
            return make();
        }
        catch (ConstraintException exception)
        {
            string message = exception.Message.Length <= MostMessage ? exception.Message
                : exception.Message[..MostMessage] + "…";
            throw ApiException.BadRequest($"'{field.Path}' cannot be held: {message}", field.Path, "unsupported_form");
        }
    }
}
