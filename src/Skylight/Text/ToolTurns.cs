using System.Collections.Immutable;
using System.Text;
using System.Text.Json;
using Skylight.Text.Templates;

namespace Skylight.Text;

/// <summary>
/// Tools in the form of Qwen2.5's own chat template: what may be called behind the system message, calls between
/// <c>&lt;tool_call&gt;</c> tags, and what tools gave between <c>&lt;tool_response&gt;</c> tags in a turn of the user's.
/// </summary>
internal static class ToolTurns
{
    private const string Before =
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n" +
        "You are provided with function signatures within <tools></tools> XML tags:\n<tools>";

    private static readonly ChatPart[] s_behind =
    [
        new ChatText("\n</tools>\n\nFor each function call, return a json object with function name and arguments within "),
        new ChatTag(SpecialTokens.ToolCallStart), new ChatTag(SpecialTokens.ToolCallEnd),
        new ChatText(" XML tags:\n"), new ChatTag(SpecialTokens.ToolCallStart),
        new ChatText("\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n"),
        new ChatTag(SpecialTokens.ToolCallEnd),
    ];

    private static readonly Dictionary<string, object?> s_noNames = [];

    /// <summary>A system message that says what may be called.</summary>
    /// <param name="system">The message; its text may be empty.</param>
    /// <param name="tools">What may be called.</param>
    public static ChatTurn WithTools(ChatTurn system, IReadOnlyList<JsonElement> tools)
    {
        bool isEmpty = system.Parts.All(part => part is ChatText { Text: null or "" });
        var text = new StringBuilder(isEmpty ? "" : "\n\n").Append(Before);
        foreach (JsonElement tool in tools)
            text.Append('\n').Append(JsonOf(tool));
        return system with { Parts = [.. system.Parts, new ChatText(text.ToString()), .. s_behind] };
    }

    /// <summary>Turns without the role of tools: what they gave in a row is one turn of the user's.</summary>
    /// <exception cref="ArgumentException">The arguments of a call are not a JSON object.</exception>
    public static List<ChatTurn> Fold(IReadOnlyList<ChatTurn> turns)
    {
        var folded = new List<ChatTurn>(turns.Count);
        for (int index = 0; index < turns.Count; index++)
        {
            CheckCalls(turns[index], index);
            if (turns[index] is not { Role: ChatRole.Tool, Parts.IsDefault: false } turn)
            {
                folded.Add(turns[index]);
                continue;
            }

            bool follows = index > 0 && turns[index - 1] is { Role: ChatRole.Tool };
            ImmutableArray<ChatPart> result =
            [
                new ChatText(follows ? "\n" : ""), new ChatTag(SpecialTokens.ToolResponseStart), new ChatText("\n"),
                .. turn.Parts, new ChatText("\n"), new ChatTag(SpecialTokens.ToolResponseEnd),
            ];
            if (follows)
                folded[^1] = folded[^1] with { Parts = [.. folded[^1].Parts, .. result] };
            else
                folded.Add(new ChatTurn(ChatRole.User, result));
        }

        return folded;
    }

    /// <summary>What stands between the tags of a call: as Qwen's template writes it, however the arguments were
    /// spelled.</summary>
    public static string Spell(ChatToolCall call) =>
        $"\n{{\"name\": {JsonOf(call.Name)}, \"arguments\": {JsonOf(Parse(call.Arguments))}}}\n";

    private static void CheckCalls(ChatTurn? turn, int index)
    {
        if (turn is null || turn.Parts.IsDefault)
            return;
        foreach (ChatToolCall call in turn.Parts.OfType<ChatToolCall>())
        {
            if (turn.Role != ChatRole.Assistant)
                throw new ArgumentException(
                    $"Turn {index} of the chat calls a tool and has the role {turn.Role}; only the assistant calls tools.",
                    "turns");
            if (!IsObject(call.Arguments))
                throw new ArgumentException(
                    $"Turn {index} of the chat calls '{call.Name}' with arguments that are not a JSON object.", "turns");
        }
    }

    /// <summary>Whether a text is a JSON object.</summary>
    public static bool IsObject(string text)
    {
        try
        {
            return Parse(text).ValueKind == JsonValueKind.Object;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    /// <summary>JSON as templates' <c>tojson</c> writes it.</summary>
    public static string JsonOf(JsonElement value) => JsonOf(TemplateValue.FromJson(value));

    private static string JsonOf(object? value)
    {
        try
        {
            return TemplateValue.ToJson(value, null, new TemplateRun(s_noNames, default), new TemplatePlace(1, 1));
        }
        catch (TemplateException exception)
        {
            throw new ArgumentException(
                $"A tool, or the arguments of a call, cannot be written into the prompt: {exception.Message}", "turns",
                exception);
        }
    }

    private static JsonElement Parse(string json) => JsonText.ParseElement(Encoding.UTF8.GetBytes(json));
}
