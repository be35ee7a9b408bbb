using System.Text.Json;
using Microsoft.Extensions.AI;
using Skylight.Chat;
using Skylight.Constraints;

namespace Skylight.Extensions.AI;

/// <summary>Turns a host's tools, calls and results into the model's, and calls of the model into the host's.</summary>
internal static class ToolReader
{
    private const string Strict = "strict";

    /// <summary>What may be called.</summary>
    /// <exception cref="NotSupportedException">A tool is not a function; names it.</exception>
    /// <exception cref="ArgumentException">A function's name or schema cannot be used; names it.</exception>
    public static ToolDefinition[] Read(IList<AITool> tools) => [.. tools.Select((tool, index) => tool switch
    {
        null => throw new ArgumentException($"{nameof(ChatOptions.Tools)}[{index}] is null."),
        AIFunctionDeclaration function => Read(function, index),
        _ => throw new NotSupportedException(
            $"{nameof(ChatOptions.Tools)}[{index}], '{tool.Name}', is a {tool.GetType().Name}; the model calls functions " +
            $"({nameof(AIFunction)}, {nameof(AIFunctionDeclaration)}), which the host runs."),
    })];

    /// <summary>Whether tools are called; null where nothing is said.</summary>
    /// <exception cref="NotSupportedException">The mode is not known.</exception>
    public static ToolChoice? Read(ChatToolMode? mode) => mode switch
    {
        null => null,
        NoneChatToolMode => ToolChoice.None,
        AutoChatToolMode => ToolChoice.Auto,
        RequiredChatToolMode { RequiredFunctionName: { } name } => ToolChoice.Named(name),
        RequiredChatToolMode => ToolChoice.Required,
        _ => throw new NotSupportedException(
            $"{nameof(ChatOptions.ToolMode)} is a {mode.GetType().Name}, which is not known."),
    };

    /// <summary>A call of an earlier answer.</summary>
    public static ToolCallPart Read(FunctionCallContent call) => new(new ToolCall(call.CallId, call.Name,
        call.Arguments is null ? "{}"
            : JsonSerializer.Serialize(call.Arguments,
                AIJsonUtilities.DefaultOptions.GetTypeInfo(typeof(IDictionary<string, object?>)))));

    /// <summary>What a result holds: contents as they are, anything else as JSON.</summary>
    /// <param name="result">The result.</param>
    /// <param name="place">Where it is, for errors.</param>
    /// <exception cref="ArgumentException">It cannot be written as JSON.</exception>
    public static IEnumerable<AIContent> ContentsOf(FunctionResultContent result, string place)
    {
        switch (result.Result)
        {
            case null:
                return [new TextContent(result.Exception is { } fault ? $"Error: {fault.Message}" : "null")];
            case AIContent content:
                return [content];
            case IEnumerable<AIContent> contents:
                return contents;
            case string text:
                return [new TextContent(text)];
            case JsonElement { ValueKind: JsonValueKind.String } text:
                return [new TextContent(text.GetString())];
            case JsonElement json:
                return [new TextContent(json.GetRawText())];
            case { } other:
                try
                {
                    return [new TextContent(JsonSerializer.Serialize(other,
                        AIJsonUtilities.DefaultOptions.GetTypeInfo(other.GetType())))];
                }
                catch (NotSupportedException exception)
                {
                    throw new ArgumentException(
                        $"{place} holds a {nameof(FunctionResultContent)} of type {other.GetType().Name}, which cannot be " +
                        $"written as JSON: {exception.Message}", exception);
                }
        }
    }

    /// <summary>A call of the model.</summary>
    public static FunctionCallContent ContentOf(ToolCall call) => new(call.Id, call.Name,
        JsonText.ParseElement(System.Text.Encoding.UTF8.GetBytes(call.Arguments)).EnumerateObject()
            .ToDictionary(member => member.Name, member => (object?)member.Value, StringComparer.Ordinal));

    private static ToolDefinition Read(AIFunctionDeclaration function, int index)
    {
        try
        {
            bool isStrict = function.AdditionalProperties.TryGetValue(Strict, out object? strict) is false
                || strict is not (false or JsonElement { ValueKind: JsonValueKind.False });
            return new ToolDefinition(function.Name, function.Description is { Length: > 0 } text ? text : null,
                function.JsonSchema is { ValueKind: JsonValueKind.Object } schema ? schema.GetRawText() : null, isStrict);
        }
        catch (ConstraintException exception)
        {
            throw new ArgumentException(
                $"The schema of {nameof(ChatOptions.Tools)}[{index}], '{function.Name}', cannot be held: " +
                $"{exception.Message} With {nameof(AITool.AdditionalProperties)}[\"{Strict}\"] = false the arguments are " +
                $"any JSON object, for the function to check.", exception);
        }
    }
}
