using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Skylight.Chat;
using Skylight.Server;

namespace Skylight.Tests.Server;

/// <summary>Every field of a request for a response does what the list says, and the documentation is the list.</summary>
public sealed class ResponseFieldsTests
{
    private const string Kept = "resp_0";

    // What they say shows elsewhere, or is so anyway.
    private static readonly string[] s_withoutTrace = ["model", "stream_options", "input[].type"];

    public static TheoryData<string> Names => [.. ResponseFields.All.Fields.Select(known => known.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task A_field_does_what_the_list_says(string name)
    {
        RequestField field = ResponseFields.All.Fields.Single(field => field.Name == name);
        if (field.Use == FieldUse.Refused)
        {
            ApiException refused = await Assert.ThrowsAsync<ApiException>(() => ReadAsync(With(name, field.Example)));
            Assert.Equal((400, "unsupported_parameter"), (refused.Status, refused.Code));
            Assert.EndsWith(name.Split('.')[^1], refused.Parameter, StringComparison.Ordinal);
            string before = await TraceAsync(With(name, null));
            foreach (string neutral in (string[])[.. field.Neutral, "null"])
                Assert.Equal(before, await TraceAsync(With(name, neutral)));
            return;
        }

        string trace = await TraceAsync(With(name, field.Example));
        if (field.Also is { } also)
            await TraceAsync(With(name, also));
        if (field.Use == FieldUse.Accepted)
        {
            Assert.Equal(await TraceAsync(With(name, null)), trace);
            return;
        }

        if (!s_withoutTrace.Contains(name))
            Assert.NotEqual(await TraceOrRefusalAsync(With(name, null)), trace);
        // Not looked past: what cannot be a value of it is refused, and the field is named.
        ApiException wrong = await Assert.ThrowsAsync<ApiException>(() => ReadAsync(With(name, "[{}]")));
        Assert.Equal(400, wrong.Status);
        Assert.Contains(name.Split('.')[^1].Replace("[]", "", StringComparison.Ordinal), wrong.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_documentation_is_the_list()
    {
        string text = File.ReadAllText(Repository.PathOf("docs", "serving.md")).ReplaceLineEndings("\n");
        Assert.True(text.Contains(ResponseFields.Differences, StringComparison.Ordinal),
            "A table of docs/serving.md must be:\n" + ResponseFields.Differences);
    }

    /// <summary>A request in which a field has a value, and all that it needs around it.</summary>
    private static JsonObject With(string name, string? value)
    {
        JsonNode? node = value is null ? null : JsonNode.Parse(value);
        JsonObject request = new()
        {
            ["input"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = "Hi!" }),
        };
        if (name.StartsWith("tool_choice", StringComparison.Ordinal) || name.StartsWith("tools[]", StringComparison.Ordinal))
            request["tools"] = JsonNode.Parse("""[{"type":"function","name":"f"}]""");
        if (name.StartsWith("stream_options", StringComparison.Ordinal))
            request["stream"] = true;
        JsonObject place = request;
        if (name.StartsWith("input[].", StringComparison.Ordinal))
            (place, name) = (ItemOf(request, ref name), name.Split('.')[^1]);
        else if (name.Split('.') is [.. var above, var last] && above.Length > 0)
        {
            foreach (string step in above)
                place = step == "tools[]" ? request["tools"]![0]!.AsObject() : Child(place, step);
            name = last;
        }

        if (value is null)
            place.Remove(name);
        else
            place[name] = node;
        return request;

        static JsonObject Child(JsonObject place, string name) => (place[name] ??= name switch
        {
            "format" => JsonNode.Parse("""{"type":"json_schema","name":"x","schema":{"type":"integer"}}"""),
            "tool_choice" => JsonNode.Parse("""{"type":"function","name":"f"}"""),
            "structured_outputs" => new JsonObject(),
            "thinking" => JsonNode.Parse("""{"type":"disabled"}"""),
            _ => new JsonObject(),
        })!.AsObject();
    }

    /// <summary>An item, or a part of one, that may have the field.</summary>
    private static JsonObject ItemOf(JsonObject request, ref string name)
    {
        JsonArray items = request["input"]!.AsArray();
        string own = name["input[].".Length..];
        string added = own switch
        {
            "arguments" or "name" => """[{"type":"function_call","call_id":"k","name":"g","arguments":"{\"a\":1}"},{"type":"function_call_output","call_id":"k","output":"r"}]""",
            "call_id" or "output" => """[{"type":"function_call_output","call_id":"k","output":"r"}]""",
            "summary" or "encrypted_content" => """[{"type":"reasoning","summary":[{"type":"summary_text","text":"Why."}]},{"role":"user","content":"a"}]""",
            _ when own.StartsWith("summary[]", StringComparison.Ordinal) =>
                """[{"type":"reasoning","summary":[{"type":"summary_text","text":"Why."}]},{"role":"user","content":"a"}]""",
            _ when own.StartsWith("output[]", StringComparison.Ordinal) =>
                """[{"type":"function_call_output","call_id":"k","output":[{"type":"input_text","text":"r"}]}]""",
            _ when own.StartsWith("content[]", StringComparison.Ordinal) =>
                """[{"role":"user","content":[{"type":"input_text","text":"r"}]}]""",
            _ => """[{"role":"assistant","content":"r"},{"role":"user","content":"a"}]""",
        };
        int first = items.Count;
        foreach (JsonNode? item in JsonNode.Parse(added)!.AsArray())
            items.Add(item!.DeepClone());
        JsonObject place = items[first]!.AsObject();
        foreach (string list in (string[])["content[]", "output[]", "summary[]"])
        {
            if (!own.StartsWith(list + ".", StringComparison.Ordinal))
                continue;
            place = place[list[..^2]]!.AsArray()[0]!.AsObject();
            if (own.EndsWith("image_url", StringComparison.Ordinal) || own.EndsWith("detail", StringComparison.Ordinal))
            {
                place["type"] = "input_image";
                place["image_url"] = "data:image/png;base64,AAAA";
                place.Remove("text");
            }
        }

        return place;
    }

    private static async Task<ResponseRequest> ReadAsync(JsonObject request)
    {
        var store = new ResponseStore(10, 1 << 20);
        store.TryAdd(new StoredResponse(Kept, [], [new StoredTurn([Message.User("before")], 10)]));
        return await new ResponseRequestReader(new ChatRequestReader("tiny", 151674, new SkylightServerOptions()), store)
            .ReadAsync(Encoding.UTF8.GetBytes(request.ToJsonString()), default);
    }

    private static async Task<string> TraceOrRefusalAsync(JsonObject request)
    {
        try
        {
            return await TraceAsync(request);
        }
        catch (ApiException refused)
        {
            return refused.Message;
        }
    }

    private static async Task<string> TraceAsync(JsonObject request)
    {
        ResponseRequest read = await ReadAsync(request);
        GenerationOptions options = read.Options;
        string messages = string.Join('|', read.Messages.Select(message => $"{message.Role} {message.ToolCallId} " +
            string.Concat(message.Parts.Select(part => part switch
            {
                TextPart text => text.Text,
                ToolCallPart call => $"{call.Call}",
                _ => $"picture {read.InputBytes}",
            }))));
        string lists = string.Join(';', options.StopSequences) + string.Join(';', options.StopTokenIds)
            + string.Join(';', options.BannedWords) + string.Join(';', options.LogitBias ?? new Dictionary<int, float>())
            + string.Join(';', options.Tools.Select(tool => $"{tool.Name} {tool.Description} {tool.Parameters} {tool.IsStrict}"))
            + options.Constraint?.Key;
        return $"{messages} {options with { StopSequences = [], StopTokenIds = [], BannedWords = [], LogitBias = null, Tools = [], Constraint = null }} " +
            $"{lists} {read.Stream} {read.Previous?.Id} {read.Instructions} {read.Store} {string.Join(';', read.Metadata)}";
    }
}
