using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Skylight.Chat;
using Skylight.Server;
using Skylight.Tensors;
using Skylight.Text;

namespace Skylight.Tests.Server;

/// <summary>Every field of the one list does what the list says, and the documentation is the list.</summary>
public sealed class RequestFieldsTests(BadRequestTests.Shared shared) : IClassFixture<BadRequestTests.Shared>
{
    // Of these no value but the one that is so anyway is right, or what they say shows elsewhere.
    private static readonly string[] s_withoutTrace = ["model", "add_generation_prompt", "continue_final_message",
        RequestFields.Calls + "type"];

    private static readonly ChatRequestReader s_reader = new("tiny", 151674, new SkylightServerOptions());

    public static TheoryData<string> Names => [.. RequestFields.All.Select(known => known.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task A_field_does_what_the_list_says(string name)
    {
        RequestField field = RequestFields.All.Single(field => field.Name == name);
        JsonObject without = With(name, null), with = With(name, field.Example);
        if (field.Use == FieldUse.Refused)
        {
            ApiException refused = await Assert.ThrowsAsync<ApiException>(() => Read(with));
            Assert.Equal((400, "unsupported_parameter"), (refused.Status, refused.Code));
            Assert.Contains($"{name.Split('.')[^1]}' is not supported", refused.Message, StringComparison.Ordinal);
            Assert.EndsWith(name.Split('.')[^1], refused.Parameter, StringComparison.Ordinal);
            string before = Trace(await Read(without));
            foreach (string neutral in (string[])[.. field.Neutral, "null"])
                Assert.Equal(before, Trace(await Read(With(name, neutral))));
            return;
        }

        string trace = Trace(await Read(with));
        if (field.Use == FieldUse.Accepted)
        {
            Assert.Equal(Trace(await Read(without)), trace);
            return;
        }

        if (!s_withoutTrace.Contains(name))
            Assert.NotEqual(await TraceOrNothing(without), trace);
        // A used field is read, not looked past: what cannot be a value of it is refused, and the field is named.
        ApiException wrong = await Assert.ThrowsAsync<ApiException>(() => Read(With(name, "[{}]")));
        Assert.Equal(400, wrong.Status);
        Assert.Contains(name.Split('.')[^1].Replace("[]", "", StringComparison.Ordinal), wrong.Message,
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("repetition_penality", "1.1", "'repetition_penality'", "did you mean 'repetition_penalty'?")]
    [InlineData("temprature", "0", "'temprature'", "did you mean 'temperature'?")]
    [InlineData("quantum_state", "{}", "'quantum_state'", "leave it out")]
    [InlineData("stream_options.include_usages", "true", "'stream_options.include_usages'", "did you mean 'include_usage'?")]
    [InlineData("chat_template_kwargs.enable_thinkin", "true", "'chat_template_kwargs.enable_thinkin'",
        "did you mean 'enable_thinking'?")]
    [InlineData("messages[].contents", "1", "'messages[0].contents'", "did you mean 'content'?")]
    [InlineData("messages[].tool_calls[].functon", "{}", "'messages[0].tool_calls[0].functon'", "did you mean 'function'?")]
    [InlineData("messages[].tool_calls[].function.argument", "\"{}\"", "tool_calls[0].function.argument'",
        "did you mean 'arguments'?")]
    [InlineData("messages[].content[].image_url.details", "\"low\"", "image_url.details'", "did you mean 'detail'?")]
    public async Task An_unknown_field_is_refused_by_name(string name, string value, string named, string hint)
    {
        ApiException refused = await Assert.ThrowsAsync<ApiException>(() => Read(With(name, value)));
        Assert.Equal((400, "unknown_parameter"), (refused.Status, refused.Code));
        Assert.Contains(named, refused.Message, StringComparison.Ordinal);
        Assert.Contains(hint, refused.Message, StringComparison.Ordinal);
        // Nothing is said with null.
        await Read(With(name, "null"));
    }

    [Theory]
    [InlineData("""{"max_tokens":5,"max_completion_tokens":6}""", "send one of them")]
    [InlineData("""{"enable_thinking":true,"reasoning_effort":"none"}""", "contradict each other")]
    [InlineData("""{"thinking":{"type":"enabled"},"chat_template_kwargs":{"enable_thinking":false}}""",
        "contradict each other")]
    [InlineData("""{"thinking":{"type":"auto"}}""", "'enabled' or 'disabled'")]
    [InlineData("""{"thinking":{"type":"enabled","budget_tokens":5}}""", "'thinking.budget_tokens' is not supported")]
    [InlineData("""{"continue_final_message":true}""", "only a last message of the assistant can be continued")]
    [InlineData("""{"add_generation_prompt":false}""", "the answer begins a turn of its own")]
    [InlineData("""{"stop_token_ids":[151674]}""", "'stop_token_ids[0]' must be a whole number from 0 to 151673")]
    [InlineData("""{"min_tokens":-1}""", "'min_tokens'")]
    [InlineData("""{"response_format":{"type":"json_object"},"guided_choice":["a"]}""", "both give the answer a form")]
    [InlineData("""{"structured_outputs":{"regex":"a","choice":["a"]}}""", "both give the answer a form")]
    [InlineData("""{"response_format":{"type":"json_schema","json_schema":{"name":"a b","schema":{}}}}""",
        "'response_format.json_schema.name' must be a name")]
    [InlineData("""{"structured_outputs":{"jsn":{}}}""", "did you mean 'json'?")]
    public async Task What_contradicts_itself_is_refused(string fields, string expected)
    {
        JsonObject request = ServedModel.Request();
        request.Remove("max_tokens");
        foreach ((string name, JsonNode? value) in JsonNode.Parse(fields)!.AsObject())
            request[name] = value!.DeepClone();
        Assert.Contains(expected, (await Assert.ThrowsAsync<ApiException>(() => Read(request))).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_cheap_fields_change_answers_as_they_say()
    {
        ServedModel served = shared.Served;
        JsonElement whole = await served.AskAsync(Logged(ServedModel.LongRequest(8)));
        int[] tokens = [.. Tokens(whole)];
        JsonObject stopped = ServedModel.LongRequest(8);
        stopped["stop_token_ids"] = new JsonArray(tokens[3]);
        JsonElement ended = await served.AskAsync(stopped);
        Assert.Equal("stop", ended.GetProperty("choices")[0].GetProperty("finish_reason").GetString());
        Assert.Equal(Array.IndexOf(tokens, tokens[3]) + 1, CompletionTokens(ended));
        // The same token cannot come before there are six.
        stopped["min_tokens"] = 6;
        Assert.InRange(CompletionTokens(await served.AskAsync(stopped)), 6, 8);
        stopped["min_tokens"] = 9;
        using HttpResponseMessage tooMany = await served.PostAsync(stopped);
        await BadRequestTests.ErrorAsync(tooMany, 400);

        JsonObject eager = ServedModel.Request(tokens: 5);
        eager["logit_bias"] = new JsonObject { [$"{Tests.Text.TokenizerFixture.Real.StopTokenIds()[0]}"] = 100 };
        Assert.Equal(1, CompletionTokens(await served.AskAsync(eager)));
        eager["ignore_eos"] = true;
        Assert.Equal(5, CompletionTokens(await served.AskAsync(eager)));
        JsonElement hidden = await served.AskAsync(eager);
        eager["skip_special_tokens"] = false;
        Assert.True(ChatCompletionsTests.Content(await served.AskAsync(eager))
            .Length > ChatCompletionsTests.Content(hidden).Length);

        JsonObject banned = ServedModel.Request();
        banned["bad_words"] = new JsonArray("supercalifragilistic");
        using HttpResponseMessage word = await served.PostAsync(banned);
        Assert.Contains("cannot be banned",
            (await BadRequestTests.ErrorAsync(word, 400)).GetProperty("message").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_last_message_of_the_assistant_is_continued()
    {
        ServedModel served = shared.Served;
        JsonObject request = ServedModel.LongRequest(8);
        request["temperature"] = 0;
        JsonElement whole = await served.AskAsync(Logged(request));
        string[] pieces = [.. whole.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("content")
            .EnumerateArray().Select(token => token.GetProperty("token").GetString()!)];
        string begun = string.Concat(pieces.Take(4));
        int[] spelled = served.Model.Tokenizer.Encode(begun);
        request["messages"]!.AsArray().Add(new JsonObject { ["role"] = "assistant", ["content"] = begun });
        request["continue_final_message"] = true;
        request["add_generation_prompt"] = false;
        request["max_tokens"] = 4;
        JsonElement rest = await served.AskAsync(request);
        Assert.Equal(PromptTokens(whole) + spelled.Length, PromptTokens(rest));
        // What comes is what the model writes behind those very tokens.
        PreparedPrompt asked = await served.Model.PrepareAsync([Message.User("Describe.")],
            cancellationToken: TestContext.Current.CancellationToken);
        var continued = new PreparedPrompt(
            new Skylight.Models.TokenSequence([.. asked.Sequence.Tokens, .. spelled], []), 0, false);
        Dictionary<int, float> bias = served.Model.Tokenizer.StopTokenIds().ToDictionary(token => token, _ => -100f);
        var text = new StringBuilder();
        var options = new GenerationOptions { Temperature = 0, MaxOutputTokens = 4, LogitBias = bias };
        await foreach (GenerationUpdate update in served.Model.GenerateAsync(continued, options,
            TestContext.Current.CancellationToken))
            text.Append(update.Text);
        Assert.Equal(text.ToString(), ChatCompletionsTests.Content(rest));
        // With thinking on it is the think block that is continued, until it is closed.
        request["enable_thinking"] = true;
        Assert.Equal("", ChatCompletionsTests.Content(await served.AskAsync(request)));
        request["messages"]![1]!["reasoning_content"] = "Hm.";
        Assert.NotEqual("", ChatCompletionsTests.Content(await served.AskAsync(request)));
        request["continue_final_message"] = false;
        using HttpResponseMessage refused = await served.PostAsync(request);
        Assert.Contains("is continued", (await BadRequestTests.ErrorAsync(refused, 400)).GetProperty("message")
            .GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Thinking_and_tool_calls_of_messages_are_written_in_the_models_form()
    {
        const string Call = """{"id":"1","type":"function","function":{"name":"f","arguments":"{\"a\": 1}"}}""";
        ChatRequest read = await Read(JsonNode.Parse($$"""
            {"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":null,"tool_calls":[{{Call}},{{Call.Replace("\"1\"", "\"2\"")}}]},{"role":"tool","tool_call_id":"1","content":"x"},
             {"role":"tool","tool_call_id":"2","content":[{"type":"text","text":"y"}]},{"role":"assistant","content":"","reasoning_content":"Hm."}]}
            """)!.AsObject());
        const string Written = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";
        Assert.Equal(["Hi", "", "x", "y", "<think>\nHm."],
            read.Messages.Select(message => string.Concat(message.Parts.OfType<TextPart>().Select(part => part.Text))));
        Assert.Equal([("1", "f", """{"a": 1}"""), ("2", "f", """{"a": 1}""")], read.Messages[1].Parts.Cast<ToolCallPart>()
            .Select(part => (part.Call.Id, part.Call.Name, part.Call.Arguments)));
        Assert.Equal([null, null, "1", "2", null], read.Messages.Select(message => message.ToolCallId));
        PreparedPrompt prompt = await shared.Served.Model.PrepareAsync(read.Messages,
            cancellationToken: TestContext.Current.CancellationToken);
        string text = Tests.Text.TokenizerFixture.Real.Decode(prompt.Sequence.Tokens);
        Assert.Contains($"{Written}\n{Written}<|im_end|>\n<|im_start|>user\n<tool_response>\nx\n</tool_response>\n" +
            "<tool_response>\ny\n</tool_response><|im_end|>", text, StringComparison.Ordinal);
        JsonObject broken = JsonNode.Parse(
            $$"""{"messages":[{"role":"assistant","content":null,"tool_calls":[{{Call.Replace("\\\"a\\\": 1", "a")}}]},{"role":"user","content":"Hi"}]}""")!.AsObject();
        Assert.Contains("arguments' must be a JSON object in a string",
            (await Assert.ThrowsAsync<ApiException>(() => Read(broken))).Message, StringComparison.Ordinal);
        broken["messages"]![0]!.AsObject().Remove("tool_calls");
        Assert.Contains("'messages[0].content' is missing",
            (await Assert.ThrowsAsync<ApiException>(() => Read(broken))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("iVBORw0KGgo=")]
    [InlineData("iVBORw0KGgo")]
    [InlineData("iVBO\nRw0KGgo")]
    [InlineData("_-8")]
    [InlineData("_-8=")]
    [InlineData("%2f%2B8%3D")]
    public async Task Base64_may_be_urlsafe_and_without_padding(string text)
    {
        ChatRequest read = await Read(ServedModel.PictureRequest("data:image/png;base64," + text));
        Assert.Single(read.Messages[0].Parts.OfType<ImagePart>());
    }

    [Fact]
    public async Task A_compressed_body_is_refused()
    {
        using var content = new ByteArrayContent([0x1F, 0x8B, 8, 0]);
        content.Headers.ContentType = new("application/json");
        content.Headers.ContentEncoding.Add("gzip");
        using HttpResponseMessage response = await shared.Served.SendAsync(content);
        Assert.Contains("'gzip'", (await BadRequestTests.ErrorAsync(response, 415)).GetProperty("message").GetString(),
            StringComparison.Ordinal);
    }

    [Fact]
    public void The_documentation_is_the_list()
    {
        string text = File.ReadAllText(Repository.PathOf("docs", "serving.md")).ReplaceLineEndings("\n");
        foreach (string table in (string[])[RequestFields.Chat.ToMarkdown(), TextFields.OfTokenize,
            TextFields.Detokenize.ToMarkdown(), TextFields.Differences])
            Assert.True(text.Contains(table, StringComparison.Ordinal), "A table of docs/serving.md must be:\n" + table);
    }

    /// <summary>
    /// Values of known fields put in the place of others, and fields of their own: the server answers, or says in
    /// OpenAI's form what is wrong.
    /// </summary>
    [Fact]
    public async Task Whatever_the_fields_hold_the_server_answers_or_refuses()
    {
        const int Requests = 300;
        string[] values = [.. RequestFields.All.Select(field => field.Example), "null", "0", "-1", "1e400", "\"\"",
            "[]", "{}", "[null]", "true", "99999999999999999999"];
        string[] names = [.. RequestFields.All.Select(field => field.Name), "x", "messages[].x", "stream_options.x"];
        var random = new CounterRandom(0xF1E1D, 1);
        int refused = 0;
        for (int index = 0; index < Requests; index++)
        {
            JsonObject request = With(names[random.Next(names.Length)], values[random.Next(values.Length)]);
            string extra = names[random.Next(names.Length)];
            if (!extra.Contains('.'))
                request[extra] = JsonNode.Parse(values[random.Next(values.Length)]);
            request["max_tokens"] ??= 2;
            using HttpResponseMessage response = await shared.Served.PostAsync(request);
            if (response.IsSuccessStatusCode)
                continue;
            refused++;
            Assert.True((int)response.StatusCode is >= 400 and < 500, request.ToJsonString());
            JsonElement error = await BadRequestTests.ErrorAsync(response, (int)response.StatusCode);
            Assert.Equal("invalid_request_error", error.GetProperty("type").GetString());
            Assert.True(error.GetProperty("message").GetString() is { Length: > 10 });
        }

        Assert.InRange(refused, Requests / 4, Requests - 1);
        await shared.Served.AskAsync(ServedModel.Request(tokens: 2));
    }

    /// <summary>A request with a field in its place, or without it.</summary>
    private static JsonObject With(string name, string? value)
    {
        JsonObject request = name.StartsWith(RequestFields.Parts, StringComparison.Ordinal)
            ? ServedModel.PictureRequest("data:image/png;base64,iVBORw0KGgo=") : ServedModel.Request();
        request.Remove("max_tokens");
        JsonNode? node = value is null ? null : JsonNode.Parse(value);
        string member = name.Split('.')[^1];
        JsonObject place = request;
        if (name.StartsWith(RequestFields.Picture, StringComparison.Ordinal))
        {
            place = request["messages"]![0]!["content"]![0]!["image_url"]!.AsObject();
        }
        else if (name.StartsWith(RequestFields.Parts, StringComparison.Ordinal))
        {
            place = request["messages"]![0]!["content"]![member == "image_url" ? 0 : 1]!.AsObject();
        }
        else if (name.StartsWith(RequestFields.Calls, StringComparison.Ordinal))
        {
            request["messages"]![0] = JsonNode.Parse(
                """
                {"role": "assistant", "content": "Hi", "tool_calls": [{"id": "1", "type": "function",
                 "function": {"name": "f", "arguments": "{}"}}]}
                """);
            place = request["messages"]![0]!["tool_calls"]![0]!.AsObject();
            if (name.Contains("function.", StringComparison.Ordinal))
                place = place["function"]!.AsObject();
        }
        else if (name.StartsWith(RequestFields.Messages, StringComparison.Ordinal))
        {
            place = request["messages"]![0]!.AsObject();
            if (member is "reasoning_content" or "reasoning" or "tool_calls")
                place["role"] = "assistant";
            else if (member == "tool_call_id")
                place["role"] = "tool";
        }
        else if (name.StartsWith(RequestFields.Tools, StringComparison.Ordinal))
        {
            request["tools"] = JsonNode.Parse("""[{"type":"function","function":{"name":"f"}}]""");
            place = request["tools"]![0]!.AsObject();
            if (name.StartsWith(RequestFields.Functions, StringComparison.Ordinal))
                place = place["function"]!.AsObject();
        }
        else if (name.Contains('.'))
        {
            string parent = name.Split('.')[0];
            foreach (string outer in name.Split('.')[..^1])
                place[outer] = place = [];
            if (parent == "response_format")
                request[parent]!["type"] = name.Contains("json_schema", StringComparison.Ordinal) ? "json_schema" : "text";
            if (name.StartsWith("response_format.json_schema.", StringComparison.Ordinal))
                (place["name"], place["schema"]) = ("n", JsonNode.Parse("""{"type":"string"}"""));
            if (parent == "stream_options")
                request["stream"] = true;
            if (parent == "thinking")
                place["type"] = "disabled";
            if (parent == "tool_choice")
            {
                request["tool_choice"] = JsonNode.Parse("""{"type":"function","function":{"name":"f"}}""");
                place = name.Contains("function.", StringComparison.Ordinal)
                    ? request["tool_choice"]!["function"]!.AsObject() : request["tool_choice"]!.AsObject();
            }
        }
        else if (name == "top_logprobs")
        {
            request["logprobs"] = true;
        }
        else if (name == "stream_options")
        {
            request["stream"] = true;
        }

        if (name.StartsWith("tool_choice", StringComparison.Ordinal))
            request["tools"] = JsonNode.Parse("""[{"type":"function","function":{"name":"f"}}]""");
        if (value is null)
            place.Remove(member);
        else
            place[member] = node;
        if (value is null && name is "thinking.type")
            request.Remove("thinking");
        return request;
    }

    /// <summary>All that the server makes of a request.</summary>
    private static string Trace(ChatRequest request) => JsonSerializer.Serialize(new
    {
        request.Options,
        request.Count,
        request.Stream,
        request.IncludeUsage,
        Messages = request.Messages.Select(message =>
            new
            {
                message.Role,
                message.ToolCallId,
                Parts = message.Parts.Select(part => part switch
                {
                    TextPart text => text.Text,
                    ToolCallPart call => $"{call.Call}",
                    _ => "picture",
                }),
            }),
    });

    private static async Task<string> TraceOrNothing(JsonObject request)
    {
        try
        {
            return Trace(await Read(request));
        }
        catch (ApiException)
        {
            return "";
        }
    }

    private static async Task<ChatRequest> Read(JsonObject request) =>
        await s_reader.ReadAsync(Encoding.UTF8.GetBytes(request.ToJsonString()), default);

    private static JsonObject Logged(JsonObject request)
    {
        var copy = request.DeepClone().AsObject();
        copy["logprobs"] = true;
        return copy;
    }

    private static IEnumerable<int> Tokens(JsonElement answer) =>
        answer.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("content").EnumerateArray()
        .Select(token => Tests.Text.TokenizerFixture.Real.TokenId(token.GetProperty("token").GetString()!)
            ?? Tests.Text.TokenizerFixture.Real.Encode(token.GetProperty("token").GetString()!)[0]);

    private static int CompletionTokens(JsonElement answer) =>
        answer.GetProperty("usage").GetProperty("completion_tokens").GetInt32();

    private static int PromptTokens(JsonElement answer) =>
        answer.GetProperty("usage").GetProperty("prompt_tokens").GetInt32();
}
