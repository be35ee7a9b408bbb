using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Skylight.Chat;
using Skylight.Generation;
using Skylight.Server;
using Skylight.Tests.Text;

namespace Skylight.Tests.Server;

/// <summary>The items of a response and their events, whatever order a model's pieces come in.</summary>
public sealed class ResponseItemsTests
{
    private static readonly JsonElement s_nothing = JsonDocument.Parse("{}").RootElement;

    [Fact]
    public void Pieces_of_a_kind_are_an_item_and_each_that_begins_ends()
    {
        List<ResponseEvent> events = [];
        var items = new ResponseItems(TokenizerFixture.Real, false, events.Add);
        foreach (GenerationUpdate update in (GenerationUpdate[])[
            new(UpdateKind.Thinking, "Hm"), new(UpdateKind.Thinking, "."), new(UpdateKind.Answer, "Let me"),
            new(UpdateKind.Answer, " see."), Call("a", "", first: true), Call("a", "{}"), Call("a", "", last: true),
            Call("b", "", first: true), Call("b", "{\"x\""),
            new(UpdateKind.Answer, "") { BrokenToolCall = "cut" }, new(UpdateKind.Answer, "End")])
            items.Add(update);
        items.End(FinishReason.Stop);
        Assert.Equal([("reasoning", "completed"), ("message", "completed"), ("function_call", "completed"),
            ("function_call", "incomplete"), ("message", "completed")], items.Done.Select(item => (item.Type, item.Status)));
        Assert.Equal(["Hm.", "Let me see.", "{}", "{\"x\"", "End"],
            items.Done.Select(item => item.Arguments ?? item.Content![0].Text));
        Assert.Equal(5, items.Done.Select(item => item.Id).Distinct().Count());
        Assert.Equal([0, 1, 2, 3, 4], events.Where(told => told.Type == "response.output_item.added").Select(told => told.OutputIndex!.Value));
        Assert.Equal(items.Done, events.Where(told => told.Type == "response.output_item.done").Select(told => told.Item!));
        Assert.Equal("call_a", Assert.Single(events, told => told.Type == "response.function_call_arguments.done") is { } done
            ? items.Done[done.OutputIndex!.Value].CallId : "");
        // Between the first and the last event of an item there are none of another.
        Assert.Equal(events.Select(told => told.OutputIndex), events.Select(told => told.OutputIndex).Order());
    }

    [Theory]
    [InlineData(FinishReason.Stop, "reasoning completed, message completed")]
    [InlineData(FinishReason.Length, "reasoning incomplete")]
    public void Who_says_nothing_has_said_so_unless_it_was_cut_off(FinishReason end, string expected)
    {
        var items = new ResponseItems(TokenizerFixture.Real, false, _ => { });
        items.Add(new GenerationUpdate(UpdateKind.Thinking, "Hm"));
        items.End(end);
        Assert.Equal(expected, string.Join(", ", items.Done.Select(item => $"{item.Type} {item.Status}")));
    }

    [Fact]
    public async Task What_fails_in_the_middle_is_said_in_an_event_and_not_kept()
    {
        var store = new ResponseStore(10, 1 << 20);
        var answers = new ResponseCollector("resp_1", "tiny", TokenizerFixture.Real, store);
        answers.Start(new ResponseRequest([], new GenerationOptions(), true, [Message.User("x")], 10)
        {
            Text = s_nothing,
            ToolChoice = s_nothing,
            Store = true,
        });
        var context = new DefaultHttpContext();
        using var body = new MemoryStream();
        context.Response.Body = body;
        var stream = new EventStream(context.Response);
        answers.Open(stream);
        var update = new GenerationUpdate(UpdateKind.Answer, "Hel");
        answers.Add(0, update);
        Assert.True(answers.Write(stream, 0, update));
        answers.Fail(stream, ApiException.Draining());
        await stream.FlushAsync(TestContext.Current.CancellationToken);
        string[] events = Encoding.UTF8.GetString(body.ToArray()).Split("\n\n", StringSplitOptions.RemoveEmptyEntries);
        JsonElement last = JsonDocument.Parse(events[^1].Split("data: ")[1]).RootElement;
        Assert.Equal(("response.failed", events.Length - 1), (last.GetProperty("type").GetString(), last.GetProperty("sequence_number").GetInt32()));
        JsonElement response = last.GetProperty("response");
        Assert.Equal(("failed", "draining"), (response.GetProperty("status").GetString(),
            response.GetProperty("error").GetProperty("code").GetString()));
        Assert.Null(store.Find("resp_1"));
    }

    private static GenerationUpdate Call(string id, string arguments, bool first = false, bool last = false) =>
        new(UpdateKind.Answer, "") { ToolCall = new ToolCallUpdate(0, $"call_{id}", "f", arguments, first, last) };
}
