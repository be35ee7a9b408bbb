using System.ClientModel;
using System.ClientModel.Primitives;
using System.Text.Json;
using System.Text.Json.Nodes;
using OpenAI;
using OpenAI.Chat;

namespace Skylight.Tests.Server;

/// <summary>Answers of a form over HTTP, in every spelling, by hand and by OpenAI's client.</summary>
public sealed class StructuredAnswerTests(BadRequestTests.Shared shared) : IClassFixture<BadRequestTests.Shared>
{
    private const string Schema = """
        {"type": "object", "properties": {"kind": {"enum": ["cat", "dog"]}, "count": {"type": "integer", "minimum": 0, "maximum": 20},
         "note": {"type": "string", "maxLength": 8}}, "required": ["kind", "count", "note"], "additionalProperties": false}
        """;

    [Theory]
    [InlineData("response_format", """{"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": SCHEMA}}""")]
    [InlineData("guided_json", "SCHEMA")]
    [InlineData("structured_outputs", """{"json": SCHEMA}""")]
    public async Task A_schema_is_held(string field, string value)
    {
        for (int seed = 0; seed < 3; seed++)
        {
            JsonObject request = Request(field, value.Replace("SCHEMA", Schema, StringComparison.Ordinal), 200, seed);
            JsonElement choice = (await shared.Served.AskAsync(request)).GetProperty("choices")[0];
            Assert.Equal("stop", choice.GetProperty("finish_reason").GetString());
            JsonElement answer = JsonDocument.Parse(choice.GetProperty("message").GetProperty("content").GetString()!).RootElement;
            Assert.Equal(["kind", "count", "note"], answer.EnumerateObject().Select(member => member.Name));
            Assert.Contains(answer.GetProperty("kind").GetString(), (string[])["cat", "dog"]);
            Assert.InRange(answer.GetProperty("count").GetInt32(), 0, 20);
        }
    }

    [Theory]
    [InlineData("guided_choice", """["yes", "no"]""", "^(yes|no)$")]
    [InlineData("guided_regex", "\"[0-9]{3}-[0-9]{2}\"", "^[0-9]{3}-[0-9]{2}$")]
    [InlineData("guided_grammar", "\"root ::= [xy] [xy] | \\\"zz\\\"\"", "^([xy]{2}|zz)$")]
    [InlineData("structured_outputs", """{"choice": ["yes", "no"]}""", "^(yes|no)$")]
    [InlineData("structured_outputs", """{"regex": "a{2}"}""", "^aa$")]
    [InlineData("structured_outputs", """{"grammar": "root ::= \"(\" root \")\" | \"x\"{2}"}""", @"^[(]*(xx?[)]*)?$")]
    [InlineData("response_format", """{"type": "json_schema", "json_schema": {"name": "n", "schema": {"const": 1.50}}}""", @"^1\.50$")]
    public async Task Other_forms_are_held(string field, string value, string expected)
    {
        JsonObject request = Request(field, value, 60, 1);
        string whole = ChatCompletionsTests.Content(await shared.Served.AskAsync(request));
        Assert.Matches(expected, whole);
        List<JsonElement> pieces = await shared.Served.StreamAsync(request);
        Assert.Equal(whole, string.Concat(pieces.SelectMany(piece => piece.GetProperty("choices").EnumerateArray())
            .Select(choice => choice.GetProperty("delta").TryGetProperty("content", out JsonElement text) ? text.GetString() : "")));
    }

    [Fact]
    public async Task Others_beside_it_answer_as_they_would_alone()
    {
        JsonObject plain = ServedModel.LongRequest(12);
        plain["seed"] = 5;
        string alone = ChatCompletionsTests.Content(await shared.Served.AskAsync(plain.DeepClone()));
        Task<JsonElement>[] together = [.. Enumerable.Range(0, 6).Select(index => shared.Served.AskAsync(index % 2 == 0
            ? plain.DeepClone() : Request("guided_json", Schema, 200, index)))];
        JsonElement[] answers = await Task.WhenAll(together);
        for (int index = 0; index < answers.Length; index += 2)
            Assert.Equal(alone, ChatCompletionsTests.Content(answers[index]));
    }

    [Fact]
    public async Task A_cut_off_answer_has_the_reason_length_and_several_answers_differ()
    {
        JsonObject request = Request("guided_json", """{"type": "string", "minLength": 300}""", 6, 1);
        JsonElement cut = (await shared.Served.AskAsync(request)).GetProperty("choices")[0];
        Assert.Equal("length", cut.GetProperty("finish_reason").GetString());
        JsonObject several = Request("guided_regex", "\"[a-z]{12}\"", 40, 1);
        several["n"] = 3;
        string?[] texts = [.. (await shared.Served.AskAsync(several)).GetProperty("choices").EnumerateArray()
            .Select(choice => choice.GetProperty("message").GetProperty("content").GetString())];
        Assert.All(texts, text => Assert.Matches("^[a-z]{12}$", text));
        Assert.True(texts.Distinct().Count() > 1);
    }

    [Fact]
    public async Task OpenAIs_client_gets_what_it_asks_for()
    {
        ChatClient client = new OpenAIClient(new ApiKeyCredential("none"), new OpenAIClientOptions
        {
            Endpoint = new Uri(shared.Served.Address, "v1"),
            RetryPolicy = new ClientRetryPolicy(0),
        }).GetChatClient("tiny");
        var options = new ChatCompletionOptions
        {
            Temperature = 1,
            MaxOutputTokenCount = 200,
            ResponseFormat = OpenAI.Chat.ChatResponseFormat.CreateJsonSchemaFormat("shape", BinaryData.FromString(Schema),
                "What it is.", jsonSchemaIsStrict: true),
        };
        OpenAI.Chat.ChatCompletion answer = await client.CompleteChatAsync([new UserChatMessage("What is it?")], options,
            TestContext.Current.CancellationToken);
        Assert.Equal(3, JsonDocument.Parse(answer.Content[0].Text).RootElement.EnumerateObject().Count());
    }

    private static JsonObject Request(string field, string value, int tokens, int seed)
    {
        JsonObject request = ServedModel.Request(tokens: tokens);
        request["temperature"] = 1;
        request["seed"] = seed;
        request[field] = JsonNode.Parse(value);
        return request;
    }
}
