using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Skylight.Server;

namespace Skylight.Tests.Server;

/// <summary>
/// What bad requests get: a status and a message that names the field. The server answers the next request as if
/// nothing had been.
/// </summary>
public sealed class BadRequestTests(BadRequestTests.Shared shared) : IClassFixture<BadRequestTests.Shared>
{
    private const string Messages = "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]";

    [Theory]
    [InlineData("", 400, "not valid JSON")]
    [InlineData("{\"messages\": [}", 400, "line 1, byte 15")]
    [InlineData("{\n \"messages\": tru\n}", 400, "line 2")]
    [InlineData("{" + Messages + ",\"temperature\":0,\"temperature\":1}", 400, "'temperature'")]
    [InlineData("{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\",\"content\":\"Ho\"}]}", 400, "'content'")]
    [InlineData("[]", 400, "must be a JSON object")]
    [InlineData("\"text\"", 400, "must be a JSON object")]
    [InlineData("{}", 400, "'messages' is missing")]
    [InlineData("{\"messages\":\"Hi\"}", 400, "'messages' must be an array, not the string 'Hi'")]
    [InlineData("{\"messages\":[]}", 400, "'messages' is empty")]
    [InlineData("{\"messages\":[7]}", 400, "'messages[0]' must be an object, not 7")]
    [InlineData("{\"messages\":[{\"content\":\"Hi\"}]}", 400, "'messages[0].role' is missing")]
    [InlineData("{\"messages\":[{\"role\":\"boss\",\"content\":\"Hi\"}]}", 400, "'messages[0].role'")]
    [InlineData("{\"messages\":[{\"role\":\"function\",\"content\":\"Hi\",\"name\":\"f\"}]}", 400, "with the role 'tool'")]
    [InlineData("{\"messages\":[{\"role\":\"user\"}]}", 400, "'messages[0].content' is missing")]
    [InlineData("{\"messages\":[{\"role\":\"user\",\"content\":{}}]}", 400, "a string or an array of parts")]
    [InlineData("{\"messages\":[{\"role\":\"user\",\"content\":[\"Hi\"]}]}", 400,
        "'messages[0].content[0]' must be an object")]
    [InlineData("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\"}]}]}", 400, "'input_audio'")]
    [InlineData("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}", 400,
        "'messages[0].content[0].text' is missing")]
    [InlineData("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}", 400, "image_url' is missing")]
    [InlineData(
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://example.com/a.png\"}}]}]}", 400, "fetches nothing")]
    [InlineData(
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"file:///etc/passwd\"}}]}]}", 400, "neither a data URL")]
    [InlineData(
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"cat.png\"}}]}]}", 400, "neither a data URL")]
    [InlineData(
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,@@@@\"}}]}]}", 400, "not valid base64")]
    [InlineData(
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,\"}}]}]}", 400, "without content")]
    [InlineData(
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png,abc\"}}]}]}", 400, "not in base64")]
    [InlineData(
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:text/html;base64,AAAA\"}}]}]}", 400, "'text/html'")]
    [InlineData(
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64\"}}]}]}", 400, "without a comma")]
    [InlineData(
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAAAAAAA\"}}]}]}", 400, "cannot be decoded")]
    [InlineData(
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAAA\",\"detail\":\"fine\"}}]}]}", 400, "detail' must be 'low'")]
    [InlineData(
        "{\"messages\":[{\"role\":\"system\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAAA\"}}]}]}", 400, "from the user and from tools only")]
    [InlineData("{\"messages\":[{\"role\":\"user\",\"content\":\"\\ud800\"}]}", 400, "half of a surrogate pair")]
    [InlineData(
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":\\\"\\\\ud800\\\"}\"}}]},{\"role\":\"user\",\"content\":\"Hi\"}]}", 400, "a JSON object in a string")]
    [InlineData("{" + Messages + ",\"model\":\"gpt-4o\"}", 404, "no model 'gpt-4o' here. This server has: tiny")]
    [InlineData("{" + Messages + ",\"model\":3}", 400, "'model' must be a string, not 3")]
    [InlineData("{" + Messages + ",\"temperature\":-1}", 400, "'temperature' must be a number of 0 or more, not -1")]
    [InlineData("{" + Messages + ",\"temperature\":\"hot\"}", 400, "'temperature'")]
    [InlineData("{" + Messages + ",\"temperature\":1e400}", 400, "'temperature'")]
    [InlineData("{" + Messages + ",\"top_p\":0}", 400, "'top_p' must be above 0")]
    [InlineData("{" + Messages + ",\"top_p\":1.5}", 400, "'top_p' must be a number from 0 to 1, not 1.5")]
    [InlineData("{" + Messages + ",\"min_p\":2}", 400, "'min_p'")]
    [InlineData("{" + Messages + ",\"top_k\":1.5}", 400, "'top_k'")]
    [InlineData("{" + Messages + ",\"seed\":1.5}", 400, "'seed' must be a whole number")]
    [InlineData("{" + Messages + ",\"max_tokens\":0}", 400, "'max_tokens'")]
    [InlineData("{" + Messages + ",\"max_completion_tokens\":100000000}", 400, "exceeds the context of")]
    [InlineData("{" + Messages + ",\"n\":0}", 400, "'n' must be a whole number from 1 to 8")]
    [InlineData("{" + Messages + ",\"n\":9}", 400, "'n'")]
    [InlineData("{" + Messages + ",\"stop\":\"\"}", 400, "'stop' must be a text that is not empty")]
    [InlineData("{" + Messages + ",\"stop\":[1]}", 400, "'stop[0]' must be a string")]
    [InlineData("{" + Messages + ",\"stop\":7}", 400, "'stop'")]
    [InlineData("{" + Messages + ",\"stream\":\"yes\"}", 400, "'stream' must be true or false")]
    [InlineData("{" + Messages + ",\"stream_options\":{}}", 400, "needs 'stream'")]
    [InlineData("{" + Messages + ",\"stream\":true,\"temperature\":-1}", 400, "'temperature'")]
    [InlineData("{" + Messages + ",\"stream\":true,\"max_tokens\":100000000}", 400, "exceeds the context of")]
    [InlineData("{" + Messages + ",\"logprobs\":2}", 400, "'logprobs' must be true or false")]
    [InlineData("{" + Messages + ",\"logprobs\":true,\"top_logprobs\":21}", 400, "'top_logprobs' must be a whole number from 0 to 20")]
    [InlineData("{" + Messages + ",\"top_logprobs\":3}", 400, "'top_logprobs' needs 'logprobs'")]
    [InlineData("{" + Messages + ",\"logit_bias\":{\"cat\":1}}", 400, "'cat'")]
    [InlineData("{" + Messages + ",\"logit_bias\":{\"1\":1000}}", 400, "'logit_bias.1'")]
    [InlineData("{" + Messages + ",\"tools\":[{\"type\":\"function\"}]}", 400, "'tools[0].function' is missing")]
    [InlineData("{" + Messages + ",\"tools\":[{\"type\":\"custom\"}]}", 400, "'tools[0].type' must be 'function'")]
    [InlineData("{" + Messages + ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a b\"}}]}", 400,
        "'tools[0].function.name' must be a name")]
    [InlineData("{" + Messages + ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}},{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}", 400,
        "names must differ")]
    [InlineData("{" + Messages + ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"string\"}}}]}", 400,
        "'tools[0].function.parameters' cannot be held")]
    [InlineData("{" + Messages + ",\"tool_choice\":\"required\"}", 400, "there are no 'tools'")]
    [InlineData("{" + Messages + ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}}", 400,
        "'tool_choice.function.name' is 'f', which is not offered")]
    [InlineData("{" + Messages + ",\"functions\":[{\"name\":\"f\"}]}", 400, "'tools' is there")]
    [InlineData("{" + Messages + ",\"response_format\":{\"type\":\"json_schema\"}}", 400,
        "'response_format.json_schema' is missing")]
    [InlineData("{" + Messages + ",\"response_format\":{\"type\":\"xml\"}}", 400, "'text', 'json_object' or 'json_schema'")]
    [InlineData("{" + Messages + ",\"response_format\":{\"type\":\"json_object\",\"schema\":{}}}", 400,
        "put it into 'json_schema'")]
    [InlineData("{" + Messages + ",\"guided_regex\":\"a+\",\"guided_json\":{}}", 400, "both give the answer a form")]
    [InlineData("{" + Messages + ",\"guided_json\":{\"type\":\"object\",\"properties\":{\"a\":{\"minimun\":1}}}}", 400,
        "#/properties/a: the keyword 'minimun' cannot be held: did you mean 'minimum'?")]
    [InlineData("{" + Messages + ",\"structured_outputs\":{\"regex\":\"(\"}}", 400, "'structured_outputs.regex' cannot be held")]
    [InlineData("{" + Messages + ",\"guided_grammar\":\"root ::= root\"}", 400, "never ends")]
    [InlineData("{" + Messages + ",\"guided_choice\":[]}", 400, "at least one text")]
    [InlineData("{" + Messages + ",\"guided_choice\":[\"a\"],\"min_tokens\":3}", 400, "cannot be made to have at least 3")]
    [InlineData("{" + Messages + ",\"guided_choice\":[\"a\"],\"ignore_eos\":true}", 400, "cannot be ignored")]
    [InlineData("{" + Messages + ",\"frequency_penalty\":2.5}", 400, "'frequency_penalty' must be a number from -2 to 2, not 2.5")]
    [InlineData("{" + Messages + ",\"presence_penalty\":\"much\"}", 400, "'presence_penalty'")]
    [InlineData("{" + Messages + ",\"repetition_penalty\":0}", 400, "'repetition_penalty'")]
    [InlineData("{" + Messages + ",\"modalities\":[\"audio\"]}", 400, "'modalities' is not supported")]
    [InlineData("{" + Messages + ",\"reasoning_effort\":\"much\"}", 400, "'reasoning_effort'")]
    [InlineData("{" + Messages + ",\"chat_template_kwargs\":{\"enable_thinking\":1}}", 400,
        "'chat_template_kwargs.enable_thinking'")]
    public async Task A_bad_request_hears_what_is_wrong(string body, int status, string expected)
    {
        ServedModel served = shared.Served;
        using HttpResponseMessage response = await served.PostAsync(body);
        JsonElement error = await ErrorAsync(response, status);
        Assert.Contains(expected, error.GetProperty("message").GetString(), StringComparison.Ordinal);
        PlainWords.Check(error.GetProperty("message").GetString()!);
        Assert.Equal(expected.StartsWith("exceeds the context", StringComparison.Ordinal),
            error.GetProperty("code").GetString() == "context_length_exceeded");
        Assert.Equal("invalid_request_error", error.GetProperty("type").GetString());
        Assert.True(error.TryGetProperty("param", out _) && error.TryGetProperty("code", out _));
        await served.AskAsync(ServedModel.Request(tokens: 2));
    }

    public static TheoryData<string> Damages => [.. DamagedJson.Kinds];

    [Theory]
    [MemberData(nameof(Damages))]
    public async Task A_damaged_body_hears_so_in_plain_words(string kind)
    {
        using var body = new ByteArrayContent(DamagedJson.Damage(kind, "{" + Messages + "}"));
        body.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        using HttpResponseMessage response = await shared.Served.SendAsync(body);
        string message = (await ErrorAsync(response, 400)).GetProperty("message").GetString()!;
        Assert.StartsWith(kind is "a list" or "null" or "a number" ? "The body must be a JSON object."
            : "The body is not valid JSON: ", message, StringComparison.Ordinal);
        PlainWords.Check(message);
    }

    [Fact]
    public async Task Deep_nesting_long_prompts_and_broken_text_are_refused_in_time()
    {
        ServedModel served = shared.Served;
        using HttpResponseMessage deep = await served.PostAsync(
            "{\"messages\":" + new string('[', 100_000) + new string(']', 100_000) + "}");
        Assert.Contains("depth", (await ErrorAsync(deep, 400)).GetProperty("message").GetString(), StringComparison.Ordinal);
        using HttpResponseMessage @long = await served.PostAsync(
            ServedModel.Request(string.Concat(Enumerable.Repeat("word ", 20_000))));
        JsonElement tooLong = await ErrorAsync(@long, 400);
        Assert.Contains("and the context has 8192", tooLong.GetProperty("message").GetString(), StringComparison.Ordinal);
        Assert.Equal("context_length_exceeded", tooLong.GetProperty("code").GetString());
        using var bytes = new ByteArrayContent(
            [.. "{\"messages\":[{\"role\":\"user\",\"content\":\""u8, 0xFF, 0xC0, .. "\"}]}"u8]);
        bytes.Headers.ContentType = new MediaTypeHeaderValue("application/json");
        using HttpResponseMessage broken = await served.SendAsync(bytes);
        await ErrorAsync(broken, 400);
        using HttpResponseMessage megabytes = await served.PostAsync(ServedModel.Request(new string('a', 20_000_000)));
        Assert.Contains("20,000,000 bytes of text",
            (await ErrorAsync(megabytes, 400)).GetProperty("message").GetString(), StringComparison.Ordinal);
        using HttpResponseMessage picture = await served.PostAsync(ServedModel.PictureRequest("data:image/png;base64,bm8="));
        Assert.StartsWith("messages[0].content[0]: ",
            (await ErrorAsync(picture, 400)).GetProperty("message").GetString(), StringComparison.Ordinal);
        await served.AskAsync(ServedModel.Request(tokens: 2));
    }

    [Theory]
    [InlineData(1, 1, 200)]
    [InlineData(20000, 20000, 400)]
    public async Task A_picture_may_be_tiny_but_not_immense(int width, int height, int status)
    {
        byte[] png = PngHeaderOf(width, height);
        using HttpResponseMessage response = await shared.Served.PostAsync(
            ServedModel.PictureRequest($"data:image/png;base64,{Convert.ToBase64String(png)}"));
        if (status == 200)
            Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync());
        else
            Assert.Contains("20,000×20,000", (await ErrorAsync(response, status)).GetProperty("message").GetString(),
                StringComparison.Ordinal);
    }

    [Fact]
    public async Task Only_JSON_is_read()
    {
        using var form = new StringContent("{" + Messages + "}", Encoding.UTF8, "text/plain");
        using HttpResponseMessage text = await shared.Served.SendAsync(form);
        Assert.Contains("application/json, not 'text/plain",
            (await ErrorAsync(text, 415)).GetProperty("message").GetString(), StringComparison.Ordinal);
        using var bare = new ByteArrayContent(Encoding.UTF8.GetBytes("{" + Messages + "}"));
        using HttpResponseMessage missing = await shared.Served.SendAsync(bare);
        await ErrorAsync(missing, 415);
    }

    [Fact]
    public async Task Other_addresses_and_methods_are_told_apart()
    {
        using HttpResponseMessage nothing = await shared.Served.Client.PostAsync("/v1/completion", null);
        Assert.Contains("POST /v1/chat/completions",
            (await ErrorAsync(nothing, 404)).GetProperty("message").GetString(), StringComparison.Ordinal);
        using HttpResponseMessage get = await shared.Served.Client.GetAsync("/v1/chat/completions");
        await ErrorAsync(get, 405);
        Assert.Equal("POST", get.Content.Headers.Allow.Single());
        using HttpResponseMessage model = await shared.Served.Client.GetAsync("/v1/models/other");
        await ErrorAsync(model, 404);
    }

    [Fact]
    public async Task A_body_beyond_the_limit_is_refused_whether_its_length_is_told_or_not()
    {
        await using ServedModel served = await ServedModel.StartAsync(
            new SkylightServerOptions { MaximumBodyBytes = 10_000 });
        string body = ServedModel.Request(new string('x', 20_000)).ToJsonString();
        using HttpResponseMessage told = await served.PostAsync(body);
        Assert.Contains("10,000", (await ErrorAsync(told, 413)).GetProperty("message").GetString(),
            StringComparison.Ordinal);
        using var chunked = new UnknownLength(Encoding.UTF8.GetBytes(body));
        using HttpResponseMessage untold = await served.SendAsync(chunked);
        await ErrorAsync(untold, 413);
        await served.AskAsync(ServedModel.Request(tokens: 2));
    }

    [Fact]
    public async Task A_body_that_breaks_off_harms_nobody()
    {
        ServedModel served = shared.Served;
        using (var socket = new TcpClient())
        {
            await socket.ConnectAsync(served.Address.Host, served.Address.Port);
            await socket.GetStream()
                .WriteAsync(
                    "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{\"messages\":"u8.ToArray());
        }

        await served.AskAsync(ServedModel.Request(tokens: 2));
        await served.BecomesIdleAsync();
    }

    [Fact]
    public void Options_of_no_use_are_refused()
    {
        Assert.Throws<ArgumentException>(() => new SkylightServerOptions { MaximumBodyBytes = 0 }.Validate());
        Assert.Throws<ArgumentException>(() => new SkylightServerOptions { MaximumChoices = 0 }.Validate());
        Assert.Throws<ArgumentException>(() => new SkylightServerOptions { ModelName = "" }.Validate());
        Assert.Throws<ArgumentException>(() => new SkylightServerOptions { ApiKeys = ["key", " "] }.Validate());
    }

    internal static async Task<JsonElement> ErrorAsync(HttpResponseMessage response, int status)
    {
        string text = await response.Content.ReadAsStringAsync();
        Assert.True((int)response.StatusCode == status, $"{(int)response.StatusCode}: {text}");
        Assert.Equal("application/json", response.Content.Headers.ContentType!.MediaType);
        return JsonDocument.Parse(text).RootElement.GetProperty("error");
    }

    /// <summary>A gray picture; of an immense one the first rows, which must not be looked at.</summary>
    private static byte[] PngHeaderOf(int width, int height) => Images.PngWriter.File(
        ("IHDR", Images.PngWriter.Header(width, height, 8, 0)),
        ("IDAT", Images.PngWriter.Compress(new byte[(width + 1) * Math.Min(height, 8)])), ("IEND", []));

    /// <summary>The server of this class.</summary>
    public sealed class Shared : IAsyncLifetime
    {
        internal ServedModel Served { get; private set; } = null!;

        public async ValueTask InitializeAsync() => Served = await ServedModel.StartAsync();

        public ValueTask DisposeAsync() => Served.DisposeAsync();
    }

    private sealed class UnknownLength(byte[] body) : HttpContent
    {
        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
            await stream.WriteAsync(body);

        protected override bool TryComputeLength(out long length)
        {
            Headers.ContentType = new MediaTypeHeaderValue("application/json");
            length = 0;
            return false;
        }
    }
}
