using System.Text.Json;
using System.Text.Json.Nodes;
using Skylight.Server;

namespace Skylight.Tests.Server;

/// <summary>What a kept response was made of, page by page; and that it cannot be cancelled.</summary>
public sealed class InputItemsTests(ResponsesTests.Shared shared) : IClassFixture<ResponsesTests.Shared>
{
    private const string Path = "/v1/responses";

    [Fact]
    public async Task The_conversation_that_a_response_answers_is_listed_by_pages()
    {
        string picture = ServedModel.DataUrl("cat.png");
        JsonObject first = Request(new JsonArray(
            new JsonObject { ["role"] = "system", ["content"] = "Be brief." },
            new JsonObject
            {
                ["role"] = "user",
                ["content"] = new JsonArray(new JsonObject { ["type"] = "input_text", ["text"] = "Look." },
                    new JsonObject { ["type"] = "input_image", ["image_url"] = picture, ["detail"] = "low" }),
            }));
        JsonElement one = await AskAsync(first);
        JsonObject second = Request(JsonNode.Parse(
            """
            [{"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
             {"type": "function_call", "call_id": "c", "name": "zoom", "arguments": "{\"x\": 1}"},
             {"type": "function_call_output", "call_id": "c", "output": "Here."}, {"role": "user", "content": "And now?"}]
            """)!);
        second["previous_response_id"] = Text(one, "id");
        JsonElement two = await AskAsync(second);

        JsonElement all = await ListAsync(two, "?order=asc&limit=100");
        Assert.Equal(("list", false), (Text(all, "object"), all.GetProperty("has_more").GetBoolean()));
        JsonElement[] items = [.. all.GetProperty("data").EnumerateArray()];
        Assert.Equal(["message system", "message user", "message assistant", "reasoning ", "function_call ",
            "function_call_output ", "message user"], items.Select(item => $"{Text(item, "type")} {Text(item, "role")}"));
        Assert.Equal(items.Length, items.Select(item => Text(item, "id")).Distinct().Count());
        Assert.Equal((Text(items[0], "id"), Text(items[^1], "id")), (Text(all, "first_id"), Text(all, "last_id")));
        // The answer before is the item that was sent, and its own answer is no input.
        Assert.Equal(Text(one.GetProperty("output")[0], "id"), Text(items[2], "id"));
        Assert.Equal(Part(one.GetProperty("output")[0], 0, "text"), Part(items[2], 0, "text"));
        Assert.DoesNotContain(Text(two.GetProperty("output")[0], "id"), all.GetRawText(), StringComparison.Ordinal);
        Assert.Equal(("input_text", "Look."), (Part(items[1], 0, "type"), Part(items[1], 0, "text")));
        Assert.Equal(("input_image", "low", ""), (Part(items[1], 1, "type"), Part(items[1], 1, "detail"),
            Part(items[1], 1, "image_url")));
        Assert.Equal("Hm.", Part(items[3], 0, "text"));
        Assert.Equal(("c", "zoom", "{\"x\": 1}"), (Text(items[4], "call_id"), Text(items[4], "name"), Text(items[4], "arguments")));
        Assert.Equal(("c", "Here."), (Text(items[5], "call_id"), Text(items[5], "output")));
        JsonElement shown = await ListAsync(one, "?order=asc&include[]=message.input_image.image_url");
        Assert.Equal(picture, Part(shown.GetProperty("data")[1], 1, "image_url"));

        // By pages, the last item first.
        var paged = new List<string>();
        for (string after = ""; ;)
        {
            JsonElement page = await ListAsync(two, $"?limit=3{after}");
            paged.AddRange(page.GetProperty("data").EnumerateArray().Select(item => Text(item, "id")));
            Assert.Equal(paged.Count < items.Length, page.GetProperty("has_more").GetBoolean());
            if (!page.GetProperty("has_more").GetBoolean())
                break;
            after = $"&after={Text(page, "last_id")}";
        }

        Assert.Equal(items.Reverse().Select(item => Text(item, "id")), paged);
        Assert.Equal(paged, (await ListAsync(two, "")).GetProperty("data").EnumerateArray().Select(item => Text(item, "id")));

        // What is listed may be sent: the same conversation is read.
        JsonObject again = Request(JsonNode.Parse(shown.GetProperty("data").GetRawText())!);
        Assert.Equal(one.GetProperty("usage").GetProperty("input_tokens").GetInt32(),
            (await AskAsync(again)).GetProperty("usage").GetProperty("input_tokens").GetInt32());
    }

    [Theory]
    [InlineData("?limit=0", "from 1 to 100", "limit")]
    [InlineData("?limit=x", "from 1 to 100", "limit")]
    [InlineData("?order=up", "'asc' or 'desc'", "order")]
    [InlineData("?after=msg_x", "of no item", "after")]
    [InlineData("?include=a", "'message.input_image.image_url'", "include")]
    [InlineData("?before=a", "'after'", null)]
    public async Task Bad_parameters_are_named(string query, string expected, string? parameter)
    {
        JsonElement one = await AskAsync(Request("Hi"));
        await RefusedAsync(HttpMethod.Get, $"{Text(one, "id")}/input_items{query}", 400, expected, parameter);
    }

    [Fact]
    public async Task What_is_not_kept_is_not_there_and_nothing_can_be_cancelled()
    {
        JsonElement one = await AskAsync(Request("Hi"));
        await RefusedAsync(HttpMethod.Post, $"{Text(one, "id")}/cancel", 400, "Cannot cancel a synchronous response", "id");
        await RefusedAsync(HttpMethod.Post, "resp_x/cancel", 404, "no such response", "id");
        await RefusedAsync(HttpMethod.Get, "resp_x/input_items", 404, "no such response", "id");
    }

    private static JsonObject Request(JsonNode input) => new()
    {
        ["model"] = "tiny",
        ["input"] = input,
        ["max_output_tokens"] = 4,
        ["seed"] = 7,
    };

    private async Task<JsonElement> AskAsync(JsonObject request)
    {
        (int status, string body) = await shared.Served.SendAsync(HttpMethod.Post, Path, request);
        Assert.True(status == 200, body);
        return JsonDocument.Parse(body).RootElement;
    }

    private async Task<JsonElement> ListAsync(JsonElement response, string query)
    {
        (int status, string body) = await shared.Served.SendAsync(HttpMethod.Get,
            $"{Path}/{Text(response, "id")}/input_items{query}");
        Assert.True(status == 200, body);
        return JsonDocument.Parse(body).RootElement;
    }

    private async Task RefusedAsync(HttpMethod method, string path, int status, string expected, string? parameter)
    {
        (int got, string body) = await shared.Served.SendAsync(method, $"{Path}/{path}");
        Assert.True(got == status, $"{got}: {body}");
        JsonElement error = JsonDocument.Parse(body).RootElement.GetProperty("error");
        Assert.Contains(expected, Text(error, "message"), StringComparison.Ordinal);
        Assert.Equal(parameter, error.GetProperty("param").GetString());
    }

    private static string Part(JsonElement item, int part, string name) => Text(item.GetProperty("content")[part], name);

    private static string Text(JsonElement element, string name) =>
        element.TryGetProperty(name, out JsonElement value) ? value.GetString() ?? "" : "";
}
