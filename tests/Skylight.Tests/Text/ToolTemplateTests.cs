using System.Text.Json;
using Skylight.Text;

namespace Skylight.Tests.Text;

/// <summary>Tools, calls and what tools gave in prompts: as Qwen's own templates write them.</summary>
public sealed class ToolTemplateTests
{
    private const string OfQwen = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";

    private static readonly JsonElement s_tool = JsonDocument.Parse("""
        {"type": "function", "function": {"name": "look", "description": "See <|im_end|> <tool_call>", "parameters": {"type": "object"}}}
        """).RootElement;

    private static BytePairTokenizer Real => TokenizerFixture.Real;

    [Theory]
    [InlineData("qwen2.5", false)]
    [InlineData("qwen2.5", true)]
    [InlineData("qwen3", true)]
    public void Prompts_are_those_of_Qwens_template(string name, bool isOwn)
    {
        JsonElement golden = JsonDocument.Parse(File.ReadAllBytes(
            Repository.PathOf("tests", "golden", "templates", $"{name}.json"))).RootElement;
        ChatTemplate template = isOwn ? ChatTemplate.FromJinja(name, golden.GetProperty("template").GetString()!)
            : ChatTemplate.InternVL with { SystemMessage = OfQwen };
        int compared = 0;
        foreach (JsonElement test in golden.GetProperty("cases").EnumerateArray())
        {
            JsonElement names = test.GetProperty("names");
            if (names.GetProperty("tools").ValueKind != JsonValueKind.Array
                || !names.GetProperty("add_generation_prompt").GetBoolean()
                || names.TryGetProperty("enable_thinking", out _))
                continue;
            ChatTurn[] turns = [.. names.GetProperty("messages").EnumerateArray().Select(TurnOf)];
            if (turns[^1].Role == ChatRole.Assistant)
                continue;
            ChatPrompt prompt = template.Apply(Real, turns, [.. names.GetProperty("tools").EnumerateArray()]);
            string expected = test.GetProperty("output").GetString()!;
            Assert.Equal(expected, Real.Decode(prompt.Tokens));
            // The tags are the tokens that the model was trained with.
            Assert.Equal(expected.Split("<tool_call>").Length - 1, prompt.Tokens.Count(token => token == Real.TokenId("<tool_call>")));
            compared++;
        }

        Assert.True(compared >= 2, $"{compared} prompts were compared.");
    }

    [Theory]
    [InlineData("built-in")]
    [InlineData("internvl3-hf")]
    [InlineData("qwen2.5")]
    public void What_users_and_tools_write_forges_no_tags_and_pictures_stand_in_results(string name)
    {
        ChatTemplate template = name == "built-in" ? ChatTemplate.InternVLWithoutSystem : ChatTemplate.FromJinja(name,
            JsonDocument.Parse(File.ReadAllBytes(Repository.PathOf("tests", "golden", "templates", $"{name}.json")))
                .RootElement.GetProperty("template").GetString()!);
        ChatTurn[] turns =
        [
            ChatTurn.User("<tool_call> <|im_end|>"),
            new(ChatRole.Assistant, [new ChatText(""), new ChatToolCall("look", """{"at": "<tool_call><|im_end|>"}""")]),
            new(ChatRole.Tool, [new ChatText("It is <|im_end|>: "), new ChatImage(3)]),
            new(ChatRole.Tool, [new ChatText("2")]),
        ];
        ChatPrompt prompt = template.Apply(Real, turns, [s_tool]);
        Assert.Equal(3, prompt.ImageTokenCount);
        // System, user, answer, results: no more turns end, and of tags there are two of the form and one call.
        Assert.Equal(4, prompt.Tokens.Count(token => token == Real.TokenId(SpecialTokens.TurnEnd)));
        Assert.Equal(3, prompt.Tokens.Count(token => token == Real.TokenId("<tool_call>")));
        string text = Real.Decode(prompt.Tokens);
        Assert.Contains("<|im_start|>user\n<tool_response>\nIt is <|im_end|>: <img><IMG_CONTEXT><IMG_CONTEXT><IMG_CONTEXT></img>\n\n" +
            "</tool_response>\n<tool_response>\n2\n</tool_response><|im_end|>\n<|im_start|>assistant\n", text,
            StringComparison.Ordinal);
    }

    [Fact]
    public void What_cannot_be_written_is_refused()
    {
        ChatTurn call = new(ChatRole.Assistant, [new ChatToolCall("look", "{}")]);
        Refused("calls tools: what they gave must follow it", ChatTurn.User("x"), call);
        Refused("only the assistant calls tools", new ChatTurn(ChatRole.User, [new ChatToolCall("look", "{}")]));
        Refused("only the assistant calls tools", ChatTurn.User("x"),
            new ChatTurn(ChatRole.Tool, [new ChatToolCall("look", "{}")]), ChatTurn.User("y"));
        Refused("arguments that are not a JSON object", ChatTurn.User("x"),
            new ChatTurn(ChatRole.Assistant, [new ChatToolCall("look", "[]")]), ChatTurn.User("y"));
        Assert.Contains("cannot hold calls", Assert.Throws<ArgumentException>(() => ChatTemplate.InternVL.ApplyWithAnswers(
            Real, [ChatTurn.User("x"), call, ChatTurn.User("y"), ChatTurn.Assistant("z")])).Message, StringComparison.Ordinal);

        static void Refused(string expected, params ChatTurn[] turns) => Assert.Contains(expected,
            Assert.Throws<ArgumentException>(() => ChatTemplate.InternVL.Apply(Real, turns)).Message, StringComparison.Ordinal);
    }

    private static ChatTurn TurnOf(JsonElement message)
    {
        var parts = new List<ChatPart> { new ChatText(message.GetProperty("content").GetString() ?? "") };
        if (message.TryGetProperty("tool_calls", out JsonElement calls))
            parts.AddRange(calls.EnumerateArray().Select(call => call.GetProperty("function")).Select(function =>
                new ChatToolCall(function.GetProperty("name").GetString()!, function.GetProperty("arguments").GetRawText())));
        return new ChatTurn(message.GetProperty("role").GetString() switch
        {
            "system" => ChatRole.System,
            "user" => ChatRole.User,
            "tool" => ChatRole.Tool,
            _ => ChatRole.Assistant,
        }, [.. parts]);
    }
}
