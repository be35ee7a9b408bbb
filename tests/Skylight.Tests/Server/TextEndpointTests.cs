using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Skylight.Chat;
using Skylight.Server;

namespace Skylight.Tests.Server;

/// <summary>The endpoints beside chat completions, what is told of tokens, and who may ask from a browser.</summary>
public sealed class TextEndpointTests
{
    [Fact]
    public async Task Likely_tokens_entropies_and_thinking_are_told_with_each_token()
    {
        await using ServedModel served = await ServedModel.StartAsync(thinking: true);
        JsonObject request = ServedModel.LongRequest(6);
        JsonElement plain = await served.AskAsync(request);
        (request["logprobs"], request["top_logprobs"]) = (true, 3);
        JsonElement answer = await served.AskAsync(request);
        Assert.Equal(ChatCompletionsTests.Content(plain), ChatCompletionsTests.Content(answer));
        JsonElement[] tokens = [.. answer.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("content")
            .EnumerateArray()];
        Assert.Equal(6, tokens.Length);
        foreach (JsonElement token in tokens)
        {
            Assert.True(token.GetProperty("reasoning").GetBoolean());
            Assert.InRange(token.GetProperty("entropy").GetSingle(), 0, 12);
            float[] top = [.. token.GetProperty("top_logprobs").EnumerateArray()
                .Select(likely => likely.GetProperty("logprob").GetSingle())];
            Assert.Equal(3, top.Length);
            Assert.Equal(top.OrderDescending(), top);
        }

        List<JsonElement> events = await served.StreamAsync(request);
        Assert.Equal(tokens.Select(token => token.GetRawText()),
            events.Select(chunk => chunk.GetProperty("choices")[0].GetProperty("logprobs"))
                .Where(told => told.ValueKind == JsonValueKind.Object)
                .SelectMany(told => told.GetProperty("content").EnumerateArray()).Select(token => token.GetRawText()));
    }

    [Fact]
    public async Task A_prompt_goes_on_as_text_whether_it_is_given_as_text_or_as_tokens()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        int[] tokens = served.Model.Tokenizer.Encode("Once upon a time");
        JsonObject ofText = Prompt("Once upon a time"), ofTokens = Prompt(new JsonArray([.. tokens.Select(Number)]));
        JsonElement text = await AskAsync(served, "/v1/completions", ofText);
        Assert.Equal("text_completion", text.GetProperty("object").GetString());
        Assert.Equal(Texts(text), Texts(await AskAsync(served, "/v1/completions", ofTokens)));
        Assert.Equal((tokens.Length, 8), (text.GetProperty("usage").GetProperty("prompt_tokens").GetInt32(),
            text.GetProperty("usage").GetProperty("completion_tokens").GetInt32()));

        JsonObject several = Prompt(new JsonArray("Once upon a time", "Two"));
        (several["n"], several["echo"]) = (2, true);
        JsonElement all = await AskAsync(served, "/v1/completions", several);
        string[] texts = Texts(all);
        Assert.Equal(4, texts.Length);
        Assert.Equal("Once upon a time" + Texts(text)[0], texts[0]);
        Assert.All(texts[2..], each => Assert.StartsWith("Two", each, StringComparison.Ordinal));
        several["stream"] = true;
        string stream = await (await PostAsync(served, "/v1/completions", several)).Content.ReadAsStringAsync();
        JsonElement[] pieces = [.. stream.Split("\n\n").Where(line => line.StartsWith("data: {", StringComparison.Ordinal))
            .Select(line => JsonDocument.Parse(line["data: ".Length..]).RootElement.GetProperty("choices")[0])];
        Assert.EndsWith("data: [DONE]\n\n", stream, StringComparison.Ordinal);
        for (int choice = 0; choice < 4; choice++)
            Assert.Equal(texts[choice], string.Concat(pieces.Where(piece => piece.GetProperty("index").GetInt32() == choice)
                .Select(piece => piece.GetProperty("text").GetString())));
    }

    [Fact]
    public async Task Log_probabilities_of_texts_have_the_older_form()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        JsonObject request = Prompt("Once");
        request["logprobs"] = 2;
        JsonElement choice = (await AskAsync(served, "/v1/completions", request)).GetProperty("choices")[0],
            told = choice.GetProperty("logprobs");
        foreach (string name in (string[])["tokens", "token_logprobs", "top_logprobs", "text_offset"])
            Assert.Equal(8, told.GetProperty(name).GetArrayLength());
        Assert.Equal(0, told.GetProperty("text_offset")[0].GetInt32());
        Assert.All(told.GetProperty("top_logprobs").EnumerateArray(),
            top => Assert.InRange(top.EnumerateObject().Count(), 1, 2));
        request["logprobs"] = 0;
        Assert.Equal(JsonValueKind.Null, (await AskAsync(served, "/v1/completions", request)).GetProperty("choices")[0]
            .GetProperty("logprobs").GetProperty("top_logprobs").ValueKind);
    }

    [Fact]
    public async Task Tokens_come_from_text_and_conversations_and_go_back()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        const string Text = "Hello, 你好 🙂<|im_end|>";
        JsonElement tokenized = await AskAsync(served, "/tokenize",
            new JsonObject { ["prompt"] = Text, ["return_token_strs"] = true });
        int[] tokens = [.. tokenized.GetProperty("tokens").EnumerateArray().Select(token => token.GetInt32())];
        Assert.Equal(served.Model.Tokenizer.Encode(Text, allowSpecial: true), tokens);
        Assert.Equal((tokens.Length, served.Model.ContextTokens), (tokenized.GetProperty("count").GetInt32(),
            tokenized.GetProperty("max_model_len").GetInt32()));
        Assert.Equal(tokens.Length, tokenized.GetProperty("token_strs").GetArrayLength());
        Assert.Equal(Text, (await AskAsync(served, "/detokenize",
            new JsonObject { ["tokens"] = new JsonArray([.. tokens.Select(Number)]) })).GetProperty("prompt").GetString());
        JsonObject chat = ServedModel.Request();
        JsonElement ofChat = await AskAsync(served, "/tokenize", new JsonObject { ["messages"] = chat["messages"]!.DeepClone() });
        Assert.Equal((await served.AskAsync(chat)).GetProperty("usage").GetProperty("prompt_tokens").GetInt32(),
            ofChat.GetProperty("count").GetInt32());
    }

    [Fact]
    public async Task The_tokens_of_a_picture_are_counted_and_go_back()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        JsonObject chat = ServedModel.PictureRequest(ServedModel.DataUrl("cat.png"), "low");
        JsonElement usage = (await served.AskAsync(chat)).GetProperty("usage");
        JsonElement tokenized = await AskAsync(served, "/tokenize",
            new JsonObject { ["messages"] = chat["messages"]!.DeepClone() });
        int[] tokens = [.. tokenized.GetProperty("tokens").EnumerateArray().Select(token => token.GetInt32())];
        int image = served.Model.Model.Configuration.ImageTokenId!.Value;
        Assert.Equal(usage.GetProperty("prompt_tokens").GetInt32(), tokens.Length);
        Assert.Equal(usage.GetProperty("prompt_tokens_details").GetProperty("image_tokens").GetInt32(),
            tokens.Count(token => token == image));
        string text = (await AskAsync(served, "/detokenize",
            new JsonObject { ["tokens"] = new JsonArray([.. tokens.Select(Number)]) })).GetProperty("prompt").GetString()!;
        Assert.Equal(tokens, served.Model.Tokenizer.Encode(text, allowSpecial: true));
        Assert.Contains("What is this?", text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Guesses_change_no_answer_and_are_counted()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        JsonObject request = ServedModel.LongRequest(60);
        // The text repeats itself sooner or later, whatever the model.
        (request["temperature"], request["logprobs"], request["frequency_penalty"]) = (0, true, -2);
        JsonElement plain = await served.AskAsync(request);
        Assert.False(Details(plain).TryGetProperty("accepted_prediction_tokens", out _));
        request["prompt_lookup_num_tokens"] = 8;
        JsonElement guessed = await served.AskAsync(request);
        Assert.Equal(plain.GetProperty("choices").GetRawText(), guessed.GetProperty("choices").GetRawText());
        int accepted = Details(guessed).GetProperty("accepted_prediction_tokens").GetInt32();
        Assert.InRange(accepted, 1, 59);
        JsonObject text = Prompt("one two one two one two");
        (text["temperature"], text["max_tokens"], text["frequency_penalty"]) = (0, 60, -2);
        JsonElement before = await AskAsync(served, "/v1/completions", text);
        text["prompt_lookup_num_tokens"] = 15;
        JsonElement after = await AskAsync(served, "/v1/completions", text);
        Assert.Equal(Texts(before), Texts(after));
        accepted += Details(after).GetProperty("accepted_prediction_tokens").GetInt32();
        string metrics = await served.Client.GetStringAsync("/metrics");
        Assert.Contains($"\nskylight_accepted_tokens_total {accepted}\n", metrics, StringComparison.Ordinal);
        Assert.Contains("\nskylight_guessed_tokens_total ", metrics, StringComparison.Ordinal);

        // By default, where the model was loaded so; a request can switch it off.
        await using ServedModel guessing = await ServedModel.StartAsync(
            modelOptions: new Skylight.Chat.ChatModelOptions { CacheTokens = 8192, SpeculativeTokens = 8 });
        request.Remove("prompt_lookup_num_tokens");
        Assert.Equal(Details(guessed).GetRawText(), Details(await guessing.AskAsync(request)).GetRawText());
        request["prompt_lookup_num_tokens"] = 0;
        Assert.Equal(Details(plain).GetRawText(), Details(await guessing.AskAsync(request)).GetRawText());

        static JsonElement Details(JsonElement answer) =>
            answer.GetProperty("usage").GetProperty("completion_tokens_details");
    }

    [Fact]
    public async Task A_stop_text_in_the_middle_of_a_guess_ends_the_answer_there()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        JsonObject request = ServedModel.LongRequest(60);
        (request["temperature"], request["frequency_penalty"]) = (0, -2);
        string whole = ChatCompletionsTests.Content(await served.AskAsync(request));
        foreach (int place in (int[])[whole.Length / 2, whole.Length - 4])
        {
            request["stop"] = whole[place..(place + 3)];
            request.Remove("prompt_lookup_num_tokens");
            JsonElement plain = await served.AskAsync(request);
            request["prompt_lookup_num_tokens"] = 15;
            JsonElement guessed = await served.AskAsync(request);
            Assert.Equal(plain.GetProperty("choices").GetRawText(), guessed.GetProperty("choices").GetRawText());
            Assert.Equal(plain.GetProperty("usage").GetProperty("completion_tokens").GetInt32(),
                guessed.GetProperty("usage").GetProperty("completion_tokens").GetInt32());
        }

        await served.BecomesIdleAsync();
    }

    [Fact]
    public async Task A_page_of_a_named_origin_asks_as_a_browser_does()
    {
        await using ServedModel served = await ServedModel.StartAsync(
            new SkylightServerOptions { CorsOrigins = ["https://example.com", "http://localhost:5173"] });
        foreach ((string origin, bool may) in new[]
        {
            ("https://example.com", true), ("http://localhost:5173", true), ("https://example.com.evil.example", false),
            ("http://example.com", false), ("null", false),
        })
        {
            using var asks = new HttpRequestMessage(HttpMethod.Post, "/v1/completions")
            {
                Content = new StringContent("""{"prompt":"a","max_tokens":2}""", Encoding.UTF8, "application/json"),
            };
            asks.Headers.Add("Origin", origin);
            using HttpResponseMessage response = await served.Client.SendAsync(asks);
            // It is the browser that keeps the answer from the page.
            Assert.Equal(200, (int)response.StatusCode);
            Assert.Equal(may ? [origin] : [], Told(response, "Access-Control-Allow-Origin"));
            Assert.Equal(["Origin"], response.Headers.Vary);
            // No page asks with somebody's cookies or certificates.
            Assert.Empty(Told(response, "Access-Control-Allow-Credentials"));
        }

        using var preflight = new HttpRequestMessage(HttpMethod.Options, "/tokenize");
        preflight.Headers.Add("Origin", "https://example.com");
        preflight.Headers.Add("Access-Control-Request-Method", "POST");
        using HttpResponseMessage told = await served.Client.SendAsync(preflight);
        Assert.Equal(["GET, POST, DELETE"], Told(told, "Access-Control-Allow-Methods"));
        Assert.Equal(["authorization, content-type"], Told(told, "Access-Control-Allow-Headers"));
        Assert.Empty(Told(told, "Access-Control-Allow-Credentials"));

        await using ServedModel open = await ServedModel.StartAsync(new SkylightServerOptions { CorsOrigins = ["*"] });
        using var any = new HttpRequestMessage(HttpMethod.Get, "/v1/models");
        any.Headers.Add("Origin", "https://other.example");
        using HttpResponseMessage all = await open.Client.SendAsync(any);
        Assert.Equal(["*"], Told(all, "Access-Control-Allow-Origin"));

        static string[] Told(HttpResponseMessage response, string name) =>
            response.Headers.TryGetValues(name, out IEnumerable<string>? values) ? [.. values] : [];
    }

    [Theory]
    [InlineData("/v1/completions", "{}", "'prompt' is missing")]
    [InlineData("/v1/completions", """{"prompt":[]}""", "a text, a list of texts")]
    [InlineData("/v1/completions", """{"prompt":""}""", "at least one token")]
    [InlineData("/v1/completions", """{"prompt":[151674]}""", "there are those from 0 to")]
    [InlineData("/v1/completions", """{"prompt":[1,"a"]}""", "'prompt[1]'")]
    [InlineData("/v1/completions", """{"prompt":"<IMG_CONTEXT>"}""", "stands for a picture")]
    [InlineData("/v1/completions", """{"prompt":"a","suffix":"b"}""", "'suffix' is not supported")]
    [InlineData("/v1/completions", """{"prompt":"a","best_of":3}""", "'best_of' is not supported")]
    [InlineData("/v1/completions", """{"prompt":"a","echo":true,"logprobs":1}""", "'echo' with 'logprobs'")]
    [InlineData("/v1/completions", """{"prompt":"a","logprobs":true}""", "'logprobs' must be a whole number")]
    [InlineData("/v1/completions", """{"prompt":"a","messages":[]}""", "takes messages")]
    [InlineData("/v1/completions", """{"prompt":"a","max_tokens":100000000}""", "exceeds the context")]
    [InlineData("/v1/completions", """{"prompt":"a","promt":1}""", "did you mean 'prompt'?")]
    [InlineData("/tokenize", """{"prompt":"a","messages":[]}""", "send one of them")]
    [InlineData("/tokenize", """{"prompt":"a","max_tiles":2}""", "'max_tiles' needs 'messages'")]
    [InlineData("/detokenize", """{"tokens":[-1]}""", "'tokens[0]' must be a whole number from 0")]
    [InlineData("/v1/embeddings", """{"input":"a"}""", "makes no embeddings")]
    public async Task What_cannot_be_is_refused_with_what_is_wrong(string path, string body, string expected)
    {
        await using ServedModel served = await ServedModel.StartAsync();
        using HttpResponseMessage response = await PostAsync(served, path, JsonNode.Parse(body)!);
        string message = (await BadRequestTests.ErrorAsync(response, 400)).GetProperty("message").GetString()!;
        Assert.Contains(expected, message, StringComparison.Ordinal);
        PlainWords.Check(message);
    }

    /// <summary>To try again later would change nothing.</summary>
    [Theory]
    [InlineData("/v1/completions", """{"prompt":["a","b","c"],"n":2,"max_tokens":1}""", "asks for 6 answers")]
    [InlineData("/v1/chat/completions", """{"messages":[{"role":"user","content":"a"}],"n":5,"max_tokens":1}""",
        "asks for 5 answers")]
    public async Task More_answers_than_are_written_at_once_are_refused(string path, string body, string expected)
    {
        await using ServedModel served = await ServedModel.StartAsync(
            modelOptions: new ChatModelOptions { MaximumRequests = 4 });
        using HttpResponseMessage response = await served.Client.PostAsync(path,
            new StringContent(body, Encoding.UTF8, "application/json"));
        Assert.Contains(expected, (await BadRequestTests.ErrorAsync(response, 400)).GetProperty("message").GetString()!,
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task All_of_them_need_the_key_and_pages_only_of_named_origins_may_ask()
    {
        await using ServedModel served = await ServedModel.StartAsync(
            new SkylightServerOptions { ApiKeys = ["secret"], CorsOrigins = ["https://example.com"] });
        foreach (ServerRoute route in ServerRoutes.All.Where(route => !route.IsOpen))
        {
            using var request = new HttpRequestMessage(new HttpMethod(route.Method), route.Path.Replace("{**id}", "tiny",
                StringComparison.Ordinal));
            request.Headers.Add("Origin", "https://example.com");
            if (route.Method == "POST")
                request.Content = new StringContent("{}", Encoding.UTF8, "application/json");
            using HttpResponseMessage response = await served.Client.SendAsync(request);
            await BadRequestTests.ErrorAsync(response, 401);
            // A page can read what is wrong.
            Assert.Equal("https://example.com", response.Headers.GetValues("Access-Control-Allow-Origin").Single());
        }

        foreach ((string origin, int status) in new[] { ("https://example.com", 204), ("https://other.example", 403) })
        {
            using var preflight = new HttpRequestMessage(HttpMethod.Options, "/v1/chat/completions");
            preflight.Headers.Add("Origin", origin);
            preflight.Headers.Add("Access-Control-Request-Headers", "authorization,x-stainless-os");
            using HttpResponseMessage response = await served.Client.SendAsync(preflight);
            Assert.Equal(status, (int)response.StatusCode);
            Assert.Equal(status == 204, response.Headers.Contains("Access-Control-Allow-Origin"));
        }

        await using ServedModel closed = await ServedModel.StartAsync();
        using var asked = new HttpRequestMessage(HttpMethod.Get, "/health");
        asked.Headers.Add("Origin", "https://example.com");
        using HttpResponseMessage untold = await closed.Client.SendAsync(asked);
        Assert.False(untold.Headers.Contains("Access-Control-Allow-Origin"));
    }

    [Theory]
    [InlineData("example.com")]
    [InlineData("https://example.com/")]
    [InlineData("https://example.com/path")]
    [InlineData("ftp://example.com")]
    public async Task An_origin_that_is_none_is_refused(string origin)
    {
        var options = new SkylightServerOptions { CorsOrigins = [origin] };
        Assert.Contains("is not the origin of a page",
            (await Assert.ThrowsAsync<ArgumentException>(() => ServedModel.StartAsync(options))).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_description_has_every_endpoint_and_all_it_refers_to()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        var document = JsonNode.Parse(await served.Client.GetStringAsync("/openapi.json"))!.AsObject();
        Assert.Equal("3.1.0", document["openapi"]!.GetValue<string>());
        foreach (ServerRoute route in ServerRoutes.All)
        {
            JsonObject operation = document["paths"]![route.Path.Replace("{**id}", "{id}", StringComparison.Ordinal)]!
                [route.Method.ToLowerInvariant()]!.AsObject();
            Assert.NotEmpty(operation["responses"]!.AsObject());
            Assert.Equal(route.Fields is not null, operation.ContainsKey("requestBody"));
        }

        const string Start = "#/components/schemas/";
        string text = document.ToJsonString();
        foreach (string name in text.Split(Start)[1..].Select(rest => rest[..rest.IndexOf('"')]))
            Assert.NotNull(document["components"]!["schemas"]![name]);
        JsonObject fields = document["components"]!["schemas"]!["postV1ChatCompletionsRequest"]!["properties"]!.AsObject();
        foreach (RequestField field in RequestFields.All.Where(field => !field.Name.Contains('.')))
            Assert.Equal(field.Use != FieldUse.Refused, fields.ContainsKey(field.Name));
        Assert.Equal("number", fields["temperature"]!["type"]!.GetValue<string>());
        Assert.NotNull(fields["messages"]!["items"]!["properties"]!["content"]!["items"]!["properties"]!["image_url"]);
    }

    private static JsonNode Number(int number) => JsonValue.Create(number);

    private static JsonObject Prompt(JsonNode prompt)
    {
        JsonObject request = ServedModel.LongRequest(8);
        request.Remove("messages");
        request["prompt"] = prompt;
        return request;
    }

    private static string[] Texts(JsonElement answer) =>
        [.. answer.GetProperty("choices").EnumerateArray().Select(choice => choice.GetProperty("text").GetString()!)];

    private static Task<HttpResponseMessage> PostAsync(ServedModel served, string path, JsonNode body)
    {
        var content = new ByteArrayContent(Encoding.UTF8.GetBytes(body.ToJsonString()));
        content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        return served.Client.PostAsync(path, content);
    }

    private static async Task<JsonElement> AskAsync(ServedModel served, string path, JsonNode body)
    {
        using HttpResponseMessage response = await PostAsync(served, path, body);
        string text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, text);
        return JsonDocument.Parse(text).RootElement;
    }
}
