using Skylight.Chat;
using Skylight.Tensors;

namespace Skylight.Tests.Chat;

/// <summary>Calls of tools in an answer that comes in pieces, wherever it is cut.</summary>
public sealed class ToolCallReaderTests
{
    private const string Call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"x}\\\"]<tool_call>\", \"b\": [1, {}]}}\n</tool_call>";

    public static TheoryData<string, string, string, int> Answers => new()
    {
        { "Hello", "Hello", "", 0 },
        { "a < b <tool", "a < b <tool", "", 0 },
        { " Two \n\n lines \n", " Two \n\n lines \n", "", 0 },
        { Call, "", "f{\"a\": \"x}\\\"]<tool_call>\", \"b\": [1, {}]}", 0 },
        { "Let me see.\n" + Call + "\n", "Let me see.", "f{\"a\": \"x}\\\"]<tool_call>\", \"b\": [1, {}]}", 0 },
        { "<tool_call>{\"name\":\"g\",\"arguments\":{}}</tool_call>\n\n<tool_call>\n {\"name\" : \"f\", \"arguments\":\n{\"a\":1} }\n</tool_call>",
            "", "g{}|f{\"a\":1}", 0 },
        // In another order than the model learnt, and with a closing tag in a string.
        { "<tool_call>{\"arguments\": {\"a\": \"</tool_call>\"}, \"name\": \"f\"}</tool_call>", "",
            "f{\"a\": \"</tool_call>\"}", 0 },
        { "a\n<tool_call>{\"name\": \"h\", \"arguments\": {}}</tool_call> b",
            "a\n<tool_call>{\"name\": \"h\", \"arguments\": {}}</tool_call> b", "", 1 },
        { "<tool_call>{\"name\": \"f\", \"arguments\": \"{}\"}</tool_call>",
            "<tool_call>{\"name\": \"f\", \"arguments\": \"{}\"}</tool_call>", "", 1 },
        { "<tool_call>f(1)</tool_call>\n" + Call, "<tool_call>f(1)</tool_call>",
            "f{\"a\": \"x}\\\"]<tool_call>\", \"b\": [1, {}]}", 1 },
        { "<tool_call>\n{\"name\": \"f", "<tool_call>\n{\"name\": \"f", "", 1 },
        { "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1", "", "", 1 },
        { "<tool_call>\n{\"name\": \"f\", \"arguments\": {a}}\n</tool_call>.", ".", "", 1 },
        { "<tool_call>\n{\"name\": \"f\", \"arguments\": {}, \"id\": 3}\n</tool_call>", ", \"id\": 3}\n</tool_call>", "", 1 },
    };

    [Theory]
    [MemberData(nameof(Answers))]
    public void Calls_and_text_are_told_apart_wherever_the_answer_is_cut(string answer, string text, string calls, int broken)
    {
        var random = new CounterRandom(5, (ulong)answer.Length);
        for (int most = 1; most <= answer.Length + 1; most += 1 + most / 3)
        {
            var reader = new ToolCallReader(["f", "g"]);
            var collector = new ToolCallCollector();
            var read = new System.Text.StringBuilder();
            List<ToolCall> complete = [];
            int faults = 0;
            for (int at = 0; at <= answer.Length;)
            {
                int length = Math.Min(1 + random.Next(most), answer.Length - at);
                foreach (GenerationUpdate update in reader.Append(UpdateKind.Answer, answer.Substring(at, length),
                    isEnd: at + length == answer.Length))
                {
                    read.Append(update.Text);
                    faults += update.BrokenToolCall is null ? 0 : 1;
                    if (update.ToolCall is { } piece)
                        Assert.Equal("", update.Text);
                    if (collector.Add(update.ToolCall) is { } call)
                        complete.Add(call);
                }

                if (at + length == answer.Length)
                    break;
                at += length;
            }

            Assert.Equal(text, read.ToString());
            Assert.Equal(calls, string.Join('|', complete.Select(call => call.Name + call.Arguments)));
            Assert.Equal(broken, faults);
            Assert.Equal((complete.Count, broken), (reader.Count, reader.Broken));
            Assert.Equal(complete, collector.Complete);
            Assert.Equal(complete.Count, complete.Select(call => call.Id).Distinct().Count());
        }
    }

    [Fact]
    public void The_name_comes_first_and_arguments_as_they_are_written()
    {
        var reader = new ToolCallReader(["f"]);
        List<ToolCallUpdate> pieces = [];
        foreach (char character in "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 12}}\n</tool_call>")
            pieces.AddRange(reader.Append(UpdateKind.Answer, $"{character}").Select(update => update.ToolCall!));
        Assert.True(pieces[0] is { IsFirst: true, Name: "f", Arguments: "", Index: 0 });
        Assert.Equal("{\"a\": 12}".Length + 2, pieces.Count);
        Assert.Equal("{\"a\": 12}", string.Concat(pieces.Select(piece => piece.Arguments)));
        Assert.True(pieces[^1].IsComplete);
        Assert.Single(pieces.Select(piece => piece.Id).Distinct());
    }

    [Fact]
    public void Calls_in_thinking_are_none()
    {
        var reader = new ToolCallReader(["f"]);
        GenerationUpdate update = Assert.Single(reader.Append(UpdateKind.Thinking, Call));
        Assert.Equal((UpdateKind.Thinking, Call), (update.Kind, update.Text));
        Assert.Equal(0, reader.Count);
    }
}
