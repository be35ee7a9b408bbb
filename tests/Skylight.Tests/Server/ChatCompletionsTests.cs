using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Skylight.Text;

namespace Skylight.Tests.Server;

/// <summary>What good requests get, looked at byte by byte and not through a client that forgives.</summary>
public sealed class ChatCompletionsTests
{
    [Fact]
    public async Task An_answer_has_the_fields_of_a_chat_completion()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        JsonElement answer = await served.AskAsync(ServedModel.LongRequest(12));
        Assert.Equal("chat.completion", answer.GetProperty("object").GetString());
        Assert.Equal("tiny", answer.GetProperty("model").GetString());
        Assert.StartsWith("chatcmpl-", answer.GetProperty("id").GetString(), StringComparison.Ordinal);
        Assert.InRange(DateTimeOffset.FromUnixTimeSeconds(answer.GetProperty("created").GetInt64()),
            DateTimeOffset.UtcNow.AddMinutes(-5), DateTimeOffset.UtcNow.AddMinutes(5));
        JsonElement choice = Assert.Single(answer.GetProperty("choices").EnumerateArray());
        Assert.Equal(0, choice.GetProperty("index").GetInt32());
        Assert.Equal("length", choice.GetProperty("finish_reason").GetString());
        Assert.Equal(JsonValueKind.Null, choice.GetProperty("logprobs").ValueKind);
        JsonElement message = choice.GetProperty("message");
        Assert.Equal("assistant", message.GetProperty("role").GetString());
        Assert.True(Content(answer).Length > 10);
        Assert.False(message.TryGetProperty("reasoning_content", out _));
        JsonElement usage = answer.GetProperty("usage");
        Assert.Equal(12, usage.GetProperty("completion_tokens").GetInt32());
        Assert.Equal(usage.GetProperty("prompt_tokens").GetInt32() + 12, usage.GetProperty("total_tokens").GetInt32());
        Assert.Equal(0, usage.GetProperty("prompt_tokens_details").GetProperty("image_tokens").GetInt32());
    }

    [Fact]
    public async Task A_stream_is_the_answer_in_pieces()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        JsonElement whole = await served.AskAsync(ServedModel.Request());
        JsonObject request = ServedModel.Request();
        request["stream_options"] = new JsonObject { ["include_usage"] = true };
        List<JsonElement> events = await served.StreamAsync(request);
        Assert.All(events, chunk => Assert.Equal("chat.completion.chunk", chunk.GetProperty("object").GetString()));
        Assert.Single(events.Select(chunk => chunk.GetProperty("id").GetString()).Distinct());
        Assert.Equal("assistant", Delta(events[0]).GetProperty("role").GetString());
        Assert.Equal(Content(whole), string.Concat(events.SelectMany(chunk => Deltas(chunk, "content"))));
        Assert.True(events.Count > 4);
        JsonElement last = events[^2];
        Assert.Equal(whole.GetProperty("choices")[0].GetProperty("finish_reason").GetString(),
            last.GetProperty("choices")[0].GetProperty("finish_reason").GetString());
        Assert.All(events[..^2], chunk =>
            Assert.Equal(JsonValueKind.Null, chunk.GetProperty("choices")[0].GetProperty("finish_reason").ValueKind));
        Assert.Equal(0, events[^1].GetProperty("choices").GetArrayLength());
        // The second time, the prompt's first page is still in the cache.
        Assert.Equal(whole.GetProperty("usage").GetRawText().Replace("\"cached_tokens\":0", "\"cached_tokens\":32",
            StringComparison.Ordinal), events[^1].GetProperty("usage").GetRawText());

        List<JsonElement> without = await served.StreamAsync(ServedModel.Request());
        Assert.Equal(events.Count - 1, without.Count);
        Assert.All(without, chunk => Assert.False(chunk.TryGetProperty("usage", out _)));
    }

    [Fact]
    public async Task Thinking_has_a_field_of_its_own_and_can_be_switched()
    {
        await using ServedModel served = await ServedModel.StartAsync(thinking: true);
        JsonElement thought = await served.AskAsync(ServedModel.LongRequest(10));
        Assert.Equal("", Content(thought));
        string reasoning = thought.GetProperty("choices")[0].GetProperty("message").GetProperty("reasoning_content")
            .GetString()!;
        Assert.True(reasoning.Length > 5);
        Assert.Equal(10, thought.GetProperty("usage").GetProperty("completion_tokens_details")
            .GetProperty("reasoning_tokens").GetInt32());
        List<JsonElement> events = await served.StreamAsync(ServedModel.LongRequest(10));
        Assert.Equal(reasoning, string.Concat(events.SelectMany(chunk => Deltas(chunk, "reasoning_content"))));

        foreach ((string field, JsonNode value) in new (string, JsonNode)[]
        {
            ("chat_template_kwargs", new JsonObject { ["enable_thinking"] = false }), ("reasoning_effort", "none"),
        })
        {
            JsonObject request = ServedModel.LongRequest(10);
            request[field] = value;
            JsonElement plain = await served.AskAsync(request);
            Assert.False(plain.GetProperty("choices")[0].GetProperty("message")
                .TryGetProperty("reasoning_content", out _), field);
            Assert.True(Content(plain).Length > 5);
        }

        JsonObject on = ServedModel.LongRequest(10);
        on["reasoning_effort"] = "medium";
        Assert.Equal("", Content(await served.AskAsync(on)));
    }

    [Fact]
    public async Task Several_answers_come_from_several_draws()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        JsonElement one = await served.AskAsync(ServedModel.Request());
        JsonObject request = ServedModel.Request();
        request["n"] = 3;
        JsonElement answer = await served.AskAsync(request);
        JsonElement[] choices = [.. answer.GetProperty("choices").EnumerateArray()];
        Assert.Equal([0, 1, 2], choices.Select(choice => choice.GetProperty("index").GetInt32()));
        string[] texts = [.. choices.Select(choice => choice.GetProperty("message").GetProperty("content").GetString()!)];
        Assert.Equal(3, texts.Distinct().Count());
        Assert.Equal(Content(one), texts[0]);
        Assert.Equal(one.GetProperty("usage").GetProperty("prompt_tokens").GetInt32(),
            answer.GetProperty("usage").GetProperty("prompt_tokens").GetInt32());

        List<JsonElement> events = await served.StreamAsync(request);
        for (int index = 0; index < 3; index++)
        {
            JsonElement[] own = [.. events.Select(chunk => chunk.GetProperty("choices")[0])
                .Where(choice => choice.GetProperty("index").GetInt32() == index)];
            Assert.Equal(texts[index],
                string.Concat(own.SelectMany(choice => choice.GetProperty("delta")
                    .TryGetProperty("content", out JsonElement text) ? new[] { text.GetString()! } : [])));
            Assert.Equal("assistant", own[0].GetProperty("delta").GetProperty("role").GetString());
            Assert.Equal(1, own.Count(choice => choice.GetProperty("finish_reason").ValueKind == JsonValueKind.String));
        }
    }

    [Fact]
    public async Task Stops_and_biases_and_log_probabilities_do_what_they_say()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        JsonObject request = ServedModel.LongRequest(16);
        request["logprobs"] = true;
        JsonElement answer = await served.AskAsync(request);
        string text = Content(answer);
        JsonElement[] tokens = [.. answer.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("content")
            .EnumerateArray()];
        Assert.Equal(16, tokens.Length);
        Assert.All(tokens, token => Assert.True(token.GetProperty("logprob").GetSingle() <= 0));
        byte[] bytes = [.. tokens.SelectMany(
            token => token.GetProperty("bytes").EnumerateArray().Select(value => value.GetByte()))];
        Assert.Equal(text, Encoding.UTF8.GetString(bytes));
        List<JsonElement> events = await served.StreamAsync(request);
        Assert.Equal(
            tokens.Select(token => token.GetProperty("logprob").GetSingle()),
            events.Where(chunk => chunk.GetProperty("choices")[0].GetProperty("logprobs").ValueKind == JsonValueKind.Object)
                .SelectMany(chunk => chunk.GetProperty("choices")[0].GetProperty("logprobs").GetProperty("content")
                    .EnumerateArray()).Select(token => token.GetProperty("logprob").GetSingle()));

        string stop = tokens[8].GetProperty("token").GetString()!;
        JsonObject stopped = ServedModel.LongRequest(16);
        stopped["stop"] = stop;
        JsonElement cut = await served.AskAsync(stopped);
        Assert.Equal(text[..text.IndexOf(stop, StringComparison.Ordinal)], Content(cut));
        Assert.Equal("stop", cut.GetProperty("choices")[0].GetProperty("finish_reason").GetString());
        stopped["stop"] = new JsonArray("nothing like it", stop);
        Assert.Equal(Content(cut), Content(await served.AskAsync(stopped)));

        int first = Tests.Text.TokenizerFixture.Real.Encode(text)[0];
        JsonObject biased = ServedModel.LongRequest(16);
        biased["logit_bias"]![$"{first}"] = -100;
        Assert.NotEqual(tokens[0].GetProperty("token").GetString(),
            (await FirstToken(served, biased)).GetProperty("token").GetString());
        biased["logit_bias"]!["9707"] = 100;
        Assert.Equal("Hello", (await FirstToken(served, biased)).GetProperty("token").GetString());
    }

    [Fact]
    public async Task A_picture_is_seen_and_detail_decides_on_its_tiles()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        string cat = ServedModel.DataUrl("cat.png"), wide = ServedModel.DataUrl("bar-chart-wide.png");
        JsonElement ofCat = await served.AskAsync(ServedModel.PictureRequest(cat)),
            ofWide = await served.AskAsync(ServedModel.PictureRequest(wide));
        Assert.NotEqual(Content(ofCat), Content(ofWide));
        Assert.True(ImageTokens(ofWide) > 256 && ImageTokens(ofWide) % 256 == 0);
        Assert.Equal(256, ImageTokens(await served.AskAsync(ServedModel.PictureRequest(wide, "low"))));
        JsonObject three = ServedModel.PictureRequest(wide, "high");
        three["max_tiles"] = 3;
        Assert.InRange(ImageTokens(await served.AskAsync(three)), 512, 1024);
        // Type and padding are what clients get wrong most; the content decides.
        Assert.Equal(Content(ofCat),
            Content(await served.AskAsync(ServedModel.PictureRequest(
                cat.Replace("image/png", "image/jpeg", StringComparison.Ordinal).TrimEnd('=')))));
    }

    [Fact]
    public async Task Streams_at_the_same_time_are_those_of_one_after_the_other()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        JsonObject[] requests = [.. Enumerable.Range(0, 6)
            .Select(index => index == 3 ? ServedModel.PictureRequest(ServedModel.DataUrl("cat.png"), "low")
                : ServedModel.Request($"Question {index}", 8 + index))];
        var alone = new List<string>();
        foreach (JsonObject request in requests)
            alone.Add(Content(await served.AskAsync(request)));
        List<JsonElement>[] together = await Task.WhenAll(requests.Select(served.StreamAsync));
        Assert.Equal(alone, together.Select(events => string.Concat(events.SelectMany(chunk => Deltas(chunk, "content")))));
        await served.BecomesIdleAsync();
    }

    [Fact]
    public async Task Conversations_and_harmless_fields_are_taken_as_clients_send_them()
    {
        await using ServedModel served = await ServedModel.StartAsync();
        var request = JsonNode.Parse("""
            {"model": "tiny", "temperature": 0, "max_completion_tokens": 4, "user": "u", "store": false, "metadata": {"a": 1}, "service_tier": "auto", "tools": [], "top_k": -1, "min_p": 0.01,
             "repetition_penalty": 1.1, "frequency_penalty": 0, "response_format": {"type": "text"}, "stop": null, "logit_bias": null, "stream_options": null, "parallel_tool_calls": true, "modalities": ["text"],
             "messages": [{"role": "developer", "content": "Be brief.", "name": "x"}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": [{"type": "text", "text": "Hello"}], "reasoning_content": "It greets.", "refusal": null, "tool_calls": []},
                          {"role": "user", "content": [{"type": "text", "text": "And now? 你好 🙂"}]}]}
            """)!;
        JsonElement answer = await served.AskAsync(request);
        Assert.InRange(answer.GetProperty("usage").GetProperty("completion_tokens").GetInt32(), 1, 4);
        Assert.Equal(Content(answer), Content(await served.AskAsync(request)));
        int[] prompt = served.Model.Template.Apply(
            served.Model.Tokenizer,
            [ChatTurn.System("Be brief."), ChatTurn.User("Hi"), ChatTurn.Assistant("Hello"),
                ChatTurn.User("And now? 你好 🙂")]).Tokens;
        Assert.Equal(prompt.Length, answer.GetProperty("usage").GetProperty("prompt_tokens").GetInt32());
    }

    internal static string Content(JsonElement answer) =>
        answer.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString()!;

    private static int ImageTokens(JsonElement answer) =>
        answer.GetProperty("usage").GetProperty("prompt_tokens_details").GetProperty("image_tokens").GetInt32();

    private static JsonElement Delta(JsonElement chunk) => chunk.GetProperty("choices")[0].GetProperty("delta");

    private static string[] Deltas(JsonElement chunk, string field) =>
        chunk.GetProperty("choices").GetArrayLength() > 0 && Delta(chunk).TryGetProperty(field, out JsonElement text)
            ? [text.GetString()!] : [];

    private static async Task<JsonElement> FirstToken(ServedModel served, JsonObject request)
    {
        request["logprobs"] = true;
        return (await served.AskAsync(request)).GetProperty("choices")[0].GetProperty("logprobs").GetProperty("content")[0];
    }
}
