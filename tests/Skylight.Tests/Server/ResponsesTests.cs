using System.Text.Json;
using System.Text.Json.Nodes;
using Skylight.Chat;
using Skylight.Server;
using Skylight.Tests.Chat;
using Skylight.Tests.Extensions;
using Skylight.Tests.Text;
using Skylight.Text;

namespace Skylight.Tests.Server;

/// <summary><c>/v1/responses</c>: items, events, what is kept, and what is refused.</summary>
public sealed class ResponsesTests(ResponsesTests.Shared shared) : IClassFixture<ResponsesTests.Shared>
{
    private const string Path = "/v1/responses";

    [Fact]
    public async Task A_text_whole_and_in_events_is_the_same()
    {
        JsonObject request = Request();
        request["include"] = new JsonArray("message.output_text.logprobs");
        request["top_logprobs"] = 2;
        JsonElement whole = await AskAsync(request);
        Assert.Equal(("response", "incomplete"), (Text(whole, "object"), Text(whole, "status")));
        Assert.Equal("max_output_tokens", Text(whole.GetProperty("incomplete_details"), "reason"));
        Assert.StartsWith("resp_", Text(whole, "id"), StringComparison.Ordinal);
        JsonElement item = Assert.Single(whole.GetProperty("output").EnumerateArray());
        Assert.Equal(("message", "assistant", "incomplete"), (Text(item, "type"), Text(item, "role"), Text(item, "status")));
        JsonElement part = Assert.Single(item.GetProperty("content").EnumerateArray());
        string text = Text(part, "text");
        Assert.NotEmpty(text);
        JsonElement[] tokens = [.. part.GetProperty("logprobs").EnumerateArray()];
        Assert.Equal(8, tokens.Length);
        Assert.All(tokens, token => Assert.Equal(2, token.GetProperty("top_logprobs").GetArrayLength()));
        JsonElement usage = whole.GetProperty("usage");
        Assert.Equal(8, usage.GetProperty("output_tokens").GetInt32());
        Assert.Equal(0, usage.GetProperty("output_tokens_details").GetProperty("reasoning_tokens").GetInt32());
        Assert.Equal(usage.GetProperty("total_tokens").GetInt32(), usage.GetProperty("input_tokens").GetInt32() + 8);

        JsonElement[] events = await StreamAsync(request);
        Assert.Equal([.. Enumerable.Range(0, events.Length)],
            events.Select(told => told.GetProperty("sequence_number").GetInt32()));
        string[] types = [.. events.Select(told => Text(told, "type"))];
        Assert.Equal(["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"],
            types[..4]);
        Assert.Equal(["response.output_text.done", "response.content_part.done", "response.output_item.done",
            "response.incomplete"], types[^4..]);
        Assert.All(types[4..^4], type => Assert.Equal("response.output_text.delta", type));
        Assert.Equal(text, string.Concat(events[4..^4].Select(told => Text(told, "delta"))));
        Assert.Equal(tokens.Select(token => token.GetRawText()), events[4..^4]
            .SelectMany(told => told.GetProperty("logprobs").EnumerateArray()).Select(token => token.GetRawText()));
        Assert.Equal(0, events[0].GetProperty("response").GetProperty("output").GetArrayLength());
        JsonElement last = events[^1].GetProperty("response");
        Assert.Equal(part.GetRawText(), last.GetProperty("output")[0].GetProperty("content")[0].GetRawText());
        string id = Text(events[2].GetProperty("item"), "id");
        Assert.All(events[3..^2], told => Assert.Equal(id, Text(told, "item_id")));
        Assert.Equal(Text(last, "id"), Text(events[0].GetProperty("response"), "id"));
        Assert.True(usage.GetProperty("input_tokens").GetInt32()
            > last.GetProperty("usage").GetProperty("input_tokens_details").GetProperty("cached_tokens").GetInt32());
    }

    [Fact]
    public async Task Thinking_is_an_item_of_its_own()
    {
        await using ServedModel served = await ServedModel.StartAsync(
            model: ExtensionModel.Create("tiny", new ExtensionModel.ThinkEndingTokenizer()));
        JsonObject request = Request();
        (request["reasoning"], request["max_output_tokens"]) = (new JsonObject { ["effort"] = "low" }, 60);
        request["structured_outputs"] = new JsonObject { ["choice"] = new JsonArray("yes", "no") };
        JsonElement whole = await AskAsync(request, served);
        JsonElement[] items = [.. whole.GetProperty("output").EnumerateArray()];
        Assert.Equal(["reasoning", "message"], items.Select(item => Text(item, "type")));
        Assert.Equal("completed", Text(whole, "status"));
        string thinking = Text(items[0].GetProperty("content")[0], "text"), text = Text(items[1].GetProperty("content")[0], "text");
        Assert.Equal(("reasoning_text", 0), (Text(items[0].GetProperty("content")[0], "type"),
            items[0].GetProperty("summary").GetArrayLength()));
        Assert.NotEmpty(thinking);
        Assert.Contains(text, (string[])["yes", "no"]);
        Assert.InRange(whole.GetProperty("usage").GetProperty("output_tokens_details").GetProperty("reasoning_tokens")
            .GetInt32(), 1, 59);
        JsonElement[] events = await StreamAsync(request, served);
        Assert.Equal(thinking, Deltas(events, "response.reasoning_text.delta"));
        Assert.Equal(text, Deltas(events, "response.output_text.delta"));
        Assert.Equal([0, 1], events.Where(told => Text(told, "type") == "response.output_item.added")
            .Select(told => told.GetProperty("output_index").GetInt32()));
        // Effort none: no thinking. What was thought may be sent back.
        request["reasoning"] = new JsonObject { ["effort"] = "none" };
        request["input"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = "Is it?" },
            JsonNode.Parse(items[0].GetRawText()), JsonNode.Parse(items[1].GetRawText()),
            new JsonObject { ["role"] = "user", ["content"] = "Really?" });
        whole = await AskAsync(request, served);
        Assert.Equal("message", Text(Assert.Single(whole.GetProperty("output").EnumerateArray()), "type"));
    }

    [Fact]
    public async Task A_conversation_goes_on_where_it_was_kept()
    {
        JsonObject first = Request("My name is Ada.");
        first["instructions"] = "Be brief.";
        JsonElement one = await AskAsync(first);
        string answer = Text(one.GetProperty("output")[0].GetProperty("content")[0], "text");
        JsonObject second = Request("What is my name?"), spelled = Request();
        second["previous_response_id"] = Text(one, "id");
        second["metadata"] = new JsonObject { ["turn"] = "2" };
        spelled["input"] = new JsonArray(Said("user", "My name is Ada."), Said("assistant", answer),
            Said("user", "What is my name?"));
        JsonElement two = await AskAsync(second), whole = await AskAsync(spelled);
        Assert.Equal(Text(one, "id"), Text(two, "previous_response_id"));
        Assert.Equal("2", Text(two.GetProperty("metadata"), "turn"));
        // The instructions were not taken over.
        Assert.Equal(InputTokens(whole), InputTokens(two));
        Assert.Equal(Output(whole), Output(two));
        spelled["instructions"] = "Be brief.";
        second["instructions"] = "Be brief.";
        Assert.Equal(InputTokens(await AskAsync(spelled)), InputTokens(await AskAsync(second)));

        // Got as it was sent, and forgotten.
        string id = Text(two, "id");
        (int status, string got) = await shared.Served.SendAsync(HttpMethod.Get, $"{Path}/{id}");
        Assert.Equal((200, two.GetRawText()), (status, got));
        (status, got) = await shared.Served.SendAsync(HttpMethod.Get, $"{Path}/{id}?stream=true");
        Assert.Equal(400, status);
        (status, got) = await shared.Served.SendAsync(HttpMethod.Delete, $"{Path}/{Text(one, "id")}");
        Assert.Equal((200, true), (status, JsonDocument.Parse(got).RootElement.GetProperty("deleted").GetBoolean()));
        await RefusedAsync(second, 404, "no such response is kept", "previous_response_id");
        foreach (HttpMethod method in (HttpMethod[])[HttpMethod.Get, HttpMethod.Delete])
            Assert.Equal(404, (await shared.Served.SendAsync(method, $"{Path}/{Text(one, "id")}")).Status);
        // What went on from it keeps the whole conversation.
        JsonObject third = Request("Sure?");
        third["previous_response_id"] = id;
        Assert.True(InputTokens(await AskAsync(third)) > InputTokens(two));
        JsonObject unkept = Request();
        unkept["store"] = false;
        JsonElement gone = await AskAsync(unkept);
        Assert.False(gone.GetProperty("store").GetBoolean());
        Assert.Equal(404, (await shared.Served.SendAsync(HttpMethod.Get, $"{Path}/{Text(gone, "id")}")).Status);
    }

    [Fact]
    public async Task Calls_come_as_items_and_what_they_gave_is_read_with_its_pictures()
    {
        await using ServedModel served = await ServedModel.StartAsync(model: ScriptedToolModel.Create());
        JsonObject request = Request("What is before the camera?");
        (request["model"], request["temperature"], request["max_output_tokens"]) = ("scripted", 0, 60);
        request["tools"] = JsonNode.Parse("""
            [{"type": "function", "name": "camera", "description": "Takes a picture.", "parameters": {"type": "object",
              "properties": {"side": {"enum": ["left", "right"]}}, "required": ["side"], "additionalProperties": false}}]
            """);
        JsonElement asked = await AskAsync(request, served);
        JsonElement call = Assert.Single(asked.GetProperty("output").EnumerateArray());
        Assert.Equal(("function_call", "completed", "camera"), (Text(call, "type"), Text(call, "status"), Text(call, "name")));
        Assert.Contains(JsonDocument.Parse(Text(call, "arguments")).RootElement.GetProperty("side").GetString(),
            (string[])["left", "right"]);
        JsonElement[] events = await StreamAsync(request, served);
        Assert.Equal(Text(call, "arguments"), Deltas(events, "response.function_call_arguments.delta"));
        JsonElement done = events.Single(told => Text(told, "type") == "response.function_call_arguments.done");
        Assert.Equal((Text(call, "arguments"), "camera"), (Text(done, "arguments"), Text(done, "name")));
        Assert.Equal("response.completed", Text(events[^1], "type"));

        JsonObject result = new()
        {
            ["type"] = "function_call_output",
            ["call_id"] = Text(call, "call_id"),
            ["output"] = new JsonArray(new JsonObject { ["type"] = "input_text", ["text"] = "Here." },
                new JsonObject { ["type"] = "input_image", ["detail"] = "low", ["image_url"] = ServedModel.DataUrl("cat.png") }),
        };
        JsonObject kept = request.DeepClone().AsObject(), sent = request.DeepClone().AsObject();
        kept["previous_response_id"] = Text(asked, "id");
        kept["input"] = new JsonArray(result.DeepClone());
        sent["input"] = new JsonArray(Said("user", "What is before the camera?"), JsonNode.Parse(call.GetRawText()), result);
        foreach (JsonObject next in (JsonObject[])[kept, sent])
        {
            JsonElement answer = await AskAsync(next, served);
            Assert.Equal(ScriptedToolModel.Answer, Text(Assert.Single(answer.GetProperty("output").EnumerateArray())
                .GetProperty("content")[0], "text"));
            Assert.Equal(ExtensionModel.TokensPerTile, answer.GetProperty("usage").GetProperty("input_tokens_details")
                .GetProperty("image_tokens").GetInt32());
        }

        // A result of a call that was not made, and a call without its result.
        result["call_id"] = "call_other";
        Assert.Contains("no call of that id", await RefusedAsync(sent, 400, "call_other", "input", served), StringComparison.Ordinal);
        sent["input"]!.AsArray().RemoveAt(2);
        await RefusedAsync(sent, 400, "calls tools: what they gave must follow it", "input", served);
    }

    [Fact]
    public async Task A_call_that_is_cut_off_is_incomplete_and_cannot_be_answered()
    {
        await using ServedModel served = await ServedModel.StartAsync(model: ScriptedToolModel.Create());
        JsonObject request = Request("Look.");
        (request["model"], request["temperature"], request["max_output_tokens"]) = ("scripted", 0, 30);
        request["tools"] = JsonNode.Parse("""
            [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {"word": {"enum":
              ["Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenverordnung"]}}, "required": ["word"], "additionalProperties": false}}]
            """);
        JsonElement[] events = await StreamAsync(request, served);
        Assert.Equal("response.incomplete", Text(events[^1], "type"));
        JsonElement call = Assert.Single(events[^1].GetProperty("response").GetProperty("output").EnumerateArray());
        Assert.Equal(("function_call", "incomplete"), (Text(call, "type"), Text(call, "status")));
        Assert.NotEmpty(Text(call, "arguments"));
        Assert.DoesNotContain(events, told => Text(told, "type") == "response.function_call_arguments.done");
        JsonObject next = request.DeepClone().AsObject();
        next["previous_response_id"] = Text(events[^1].GetProperty("response"), "id");
        next["input"] = new JsonArray(new JsonObject
        {
            ["type"] = "function_call_output",
            ["call_id"] = Text(call, "call_id"),
            ["output"] = "1",
        });
        await RefusedAsync(next, 400, "no call of that id", "input", served);
    }

    [Theory]
    [InlineData("""{"format":{"type":"json_schema","name":"n","schema":{"type":"object","properties":{"a":{"enum":[1,2]}},"required":["a"],"additionalProperties":false}}}""",
        """^\{\s*"a":\s?[12]\s*\}$""")]
    [InlineData("""{"format":{"type":"json_schema","name":"n","schema":"{\"const\":true}"}}""", "^true$")]
    public async Task A_form_is_held(string text, string expected)
    {
        JsonObject request = Request(tokens: 80);
        request["text"] = JsonNode.Parse(text);
        JsonElement whole = await AskAsync(request);
        Assert.Equal("completed", Text(whole, "status"));
        Assert.Matches(expected, Text(whole.GetProperty("output")[0].GetProperty("content")[0], "text"));
        Assert.Equal(JsonNode.Parse(text)!.ToJsonString(), JsonNode.Parse(whole.GetProperty("text").GetRawText())!.ToJsonString());
    }

    [Theory]
    [InlineData("""{"background":true}""", 400, "'background' is not supported", "background")]
    [InlineData("""{"conversation":"c"}""", 400, "'previous_response_id' is there", "conversation")]
    [InlineData("""{"truncation":"auto"}""", 400, "prompts are never cut", "truncation")]
    [InlineData("""{"previous_response_id":"resp_x"}""", 404, "Send the whole conversation", "previous_response_id")]
    [InlineData("""{"previous_response_id":7}""", 400, "must be a string", "previous_response_id")]
    [InlineData("""{"input":null}""", 400, "'input' is missing", "input")]
    [InlineData("""{"input":[]}""", 400, "'input' holds nothing", "input")]
    [InlineData("""{"input":""}""", 400, "'input' is empty", "input")]
    [InlineData("""{"input":[{"role":"user","content":""}]}""", 400, "'input' is empty", "input")]
    [InlineData("""{"input":7}""", 400, "a text or a list of items", "input")]
    [InlineData("""{"input":[7]}""", 400, "'input[0]' must be an object", "input[0]")]
    [InlineData("""{"input":[{"role":"user"}]}""", 400, "'input[0].content' is missing", "input[0].content")]
    [InlineData("""{"input":[{"role":"boss","content":"a"}]}""", 400, "'assistant'", "input[0].role")]
    [InlineData("""{"input":[{"type":"item_reference","id":"a"}]}""", 400, "items are not kept", "input[0].type")]
    [InlineData("""{"input":[{"type":"web_search_call","id":"a"}]}""", 400, "'web_search_call'", "input[0].type")]
    [InlineData("""{"input":[{"role":"user","content":[{"type":"input_file","file_id":"f"}]}]}""",
        400, "'input[0].content[0].file_id' is not supported", "input[0].content[0].file_id")]
    [InlineData("""{"input":[{"role":"user","content":[{"type":"input_image","file_id":"f"}]}]}""",
        400, "as a data URL in 'image_url'", "input[0].content[0].file_id")]
    [InlineData("""{"input":[{"role":"user","content":[{"type":"input_image"}]}]}""",
        400, "image_url' is missing", "input[0].content[0].image_url")]
    [InlineData("""{"input":[{"role":"user","content":[{"type":"input_image","image_url":"https://example.com/a.png"}]}]}""",
        400, "fetches nothing", "input[0].content[0].image_url")]
    [InlineData("""{"input":[{"role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,iVBORw0KGgo="}]}]}""",
        400, "input[0].content[0]", "input")]
    [InlineData("""{"input":[{"role":"system","content":[{"type":"input_image","image_url":"data:image/png;base64,iVBORw0KGgo="}]}]}""",
        400, "the model takes no others", "input[0].content[0]")]
    [InlineData("""{"input":[{"type":"function_call","call_id":"a","name":"f","arguments":"[]"}]}""",
        400, "a JSON object in a string", "input[0].arguments")]
    [InlineData("""{"input":[{"type":"reasoning","encrypted_content":"x"}]}""",
        400, "this server encrypts nothing", "input[0].encrypted_content")]
    [InlineData("""{"input":[{"type":"function_call_output","call_id":"a","output":"1"}]}""",
        400, "no call of that id", "input")]
    [InlineData("""{"include":["file_search_call.results"]}""", 400, "'message.output_text.logprobs' or", "include[0]")]
    [InlineData("""{"tools":[{"type":"web_search"}]}""", 400, "'function'", "tools[0].type")]
    [InlineData("""{"tools":[{"type":"function","function":{"name":"f"}}]}""",
        400, "'tools[0].function'", "tools[0].function")]
    [InlineData("""{"tools":[{"type":"function","name":"f"}],"tool_choice":{"type":"function","name":"g"}}""",
        400, "not offered", "tool_choice.name")]
    [InlineData("""{"tools":[{"type":"function","name":"f","parameters":{"type":"object","properties":{"a":{"not":{}}}}}]}""",
        400, "#/properties/a", "tools[0].parameters")]
    [InlineData("""{"text":{"format":{"type":"json_object"}},"guided_regex":"a"}""",
        400, "both give the answer a form", "guided_regex")]
    [InlineData("""{"text":{"format":{"type":"json_schema","name":"n","schema":{"not":{}}}}}""",
        400, "cannot be held", "text.format.schema")]
    [InlineData("""{"reasoning":{"effort":"low"},"enable_thinking":false}""",
        400, "contradict each other", "reasoning.effort")]
    [InlineData("""{"metadata":{"a":7}}""", 400, "'metadata.a'", "metadata.a")]
    [InlineData("""{"stream_options":{"include_obfuscation":true}}""", 400, "needs 'stream'", "stream_options")]
    [InlineData("""{"max_tokens":5}""", 400, "'max_output_tokens' is there", "max_tokens")]
    [InlineData("""{"max_output_token":5}""", 400, "did you mean 'max_output_tokens'?", "max_output_token")]
    [InlineData("""{"max_output_tokens":100000}""", 400, "exceeds the context", null)]
    public async Task Bad_requests_name_what_is_wrong(string fields, int status, string expected, string? parameter)
    {
        JsonObject request = Request();
        foreach ((string name, JsonNode? value) in JsonNode.Parse(fields)!.AsObject())
            request[name] = value?.DeepClone();
        await RefusedAsync(request, status, expected, parameter);
    }

    [Fact]
    public async Task Where_nothing_is_kept_nothing_is_promised()
    {
        await using ServedModel served = await ServedModel.StartAsync(new SkylightServerOptions { MaximumStoredResponses = 0 });
        JsonElement whole = await AskAsync(Request(), served);
        Assert.False(whole.GetProperty("store").GetBoolean());
        JsonObject stored = Request();
        stored["store"] = true;
        await RefusedAsync(stored, 400, "keeps no responses", "store", served);
        // One that is larger than all that may be kept says so as well.
        await using ServedModel small = await ServedModel.StartAsync(new SkylightServerOptions { MaximumStoredBytes = 1000 });
        Assert.False((await AskAsync(stored, small)).GetProperty("store").GetBoolean());
    }

    [Fact]
    public async Task Who_leaves_in_the_middle_of_a_call_harms_nobody()
    {
        JsonObject leaving = Request("Call.", 7000);
        leaving["tools"] = JsonNode.Parse("""
            [{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {"text": {"type": "string", "minLength": 5000}},
              "required": ["text"], "additionalProperties": false}}]
            """);
        (leaving["tool_choice"], leaving["stream"]) = ("required", true);
        JsonObject other = Request();
        string alone = Output(await AskAsync(other));
        Task<JsonElement> beside;
        using (var content = new StringContent(leaving.ToJsonString(), System.Text.Encoding.UTF8, "application/json"))
        using (var message = new HttpRequestMessage(HttpMethod.Post, Path) { Content = content })
        using (HttpResponseMessage response = await shared.Served.Client.SendAsync(message,
            HttpCompletionOption.ResponseHeadersRead))
        {
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync());
            int deltas = 0;
            while (deltas < 3)
                deltas += (await reader.ReadLineAsync())!.StartsWith("event: response.function_call_arguments.delta", StringComparison.Ordinal) ? 1 : 0;
            beside = AskAsync(other);
        }

        Assert.Equal(alone, Output(await beside));
        await shared.Served.BecomesIdleAsync();
        Assert.Equal(alone, Output(await AskAsync(other)));
    }

    private static string Text(JsonElement element, string name) =>
        element.TryGetProperty(name, out JsonElement value) ? value.GetString() ?? "" : "";

    private static string Deltas(JsonElement[] events, string type) =>
        string.Concat(events.Where(told => Text(told, "type") == type).Select(told => Text(told, "delta")));

    private static int InputTokens(JsonElement response) =>
        response.GetProperty("usage").GetProperty("input_tokens").GetInt32();

    private static string Output(JsonElement response) =>
        Text(response.GetProperty("output")[0].GetProperty("content")[0], "text");

    private static JsonObject Said(string role, string text) => new() { ["role"] = role, ["content"] = text };

    private static JsonObject Request(string text = "Describe.", int tokens = 8)
    {
        // Those that would end the text are as good as banned.
        var bias = new JsonObject();
        foreach (int token in TokenizerFixture.Real.StopTokenIds())
            bias[$"{token}"] = -100;
        return new JsonObject
        {
            ["model"] = "tiny",
            ["input"] = text,
            ["temperature"] = 1,
            ["seed"] = 7,
            ["max_output_tokens"] = tokens,
            ["logit_bias"] = bias,
        };
    }

    private async Task<JsonElement> AskAsync(JsonObject request, ServedModel? served = null)
    {
        (int status, string body) = await (served ?? shared.Served).SendAsync(HttpMethod.Post, Path, request);
        Assert.True(status == 200, body);
        return JsonDocument.Parse(body).RootElement;
    }

    private async Task<JsonElement[]> StreamAsync(JsonObject request, ServedModel? served = null)
    {
        JsonObject streamed = request.DeepClone().AsObject();
        streamed["stream"] = true;
        (int status, string body) = await (served ?? shared.Served).SendAsync(HttpMethod.Post, Path, streamed);
        Assert.True(status == 200, body);
        return [.. body[..^2].Split("\n\n").Select(told =>
        {
            string[] lines = told.Split('\n');
            Assert.Equal(2, lines.Length);
            JsonElement data = JsonDocument.Parse(lines[1]["data: ".Length..]).RootElement;
            Assert.Equal("event: " + Text(data, "type"), lines[0]);
            return data;
        })];
    }

    private async Task<string> RefusedAsync(JsonObject request, int status, string expected, string? parameter,
        ServedModel? served = null)
    {
        (int got, string body) = await (served ?? shared.Served).SendAsync(HttpMethod.Post, Path, request);
        Assert.True(got == status, $"{got}: {body}");
        JsonElement error = JsonDocument.Parse(body).RootElement.GetProperty("error");
        Assert.Contains(expected, Text(error, "message"), StringComparison.Ordinal);
        Assert.Equal(parameter, error.GetProperty("param").GetString());
        return Text(error, "message");
    }

    /// <summary>One server for all.</summary>
    public sealed class Shared : IAsyncLifetime
    {
        internal ServedModel Served { get; private set; } = null!;

        public async ValueTask InitializeAsync() => Served = await ServedModel.StartAsync();

        public ValueTask DisposeAsync() => Served.DisposeAsync();
    }
}
