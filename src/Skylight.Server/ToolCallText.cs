using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Skylight.Server;

/// <summary>
/// Tool calls of earlier answers and their results in the form of Qwen's template, the language model's:
/// <c>&lt;tool_call&gt;</c> in the assistant's turn, <c>&lt;tool_response&gt;</c> in one of the user's.
/// </summary>
internal static class ToolCallText
{
    /// <summary>An answer with its calls.</summary>
    /// <param name="text">What it says beside them; may be empty.</param>
    /// <param name="calls">OpenAI's <c>tool_calls</c>.</param>
    /// <exception cref="ApiException">A call is not one of a function, or its arguments are not JSON.</exception>
    public static string WithCalls(string text, JsonField calls)
    {
        string[] written = [.. calls.Items().Select(Call)];
        return text.Length == 0 ? string.Join('\n', written) : $"{text}\n{string.Join('\n', written)}";
    }

    /// <summary>What a tool gave.</summary>
    public static string Result(string text) => $"<tool_response>\n{text}\n</tool_response>";

    private static string Call(JsonField call)
    {
        if (call["type"] is { } type && type.Text() != "function")
            throw type.Wrong("'function'");
        JsonField function = call.Required("function"), arguments = function.Required("arguments");
        string text = arguments.Text();
        try
        {
            JsonText.Parse(Encoding.UTF8.GetBytes(text)).Dispose();
        }
        catch (JsonException)
        {
            throw arguments.Wrong("JSON in a string");
        }

        string name = JsonEncodedText.Encode(function.Required("name").Text(),
            JavaScriptEncoder.UnsafeRelaxedJsonEscaping).ToString();
        return $"<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {text}}}\n</tool_call>";
    }
}
