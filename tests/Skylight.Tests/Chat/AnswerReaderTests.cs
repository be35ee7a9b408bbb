using Skylight.Chat;

namespace Skylight.Tests.Chat;

public sealed class AnswerReaderTests
{
    [Theory]
    [InlineData(true, "I add.\nTwo.\n</think>\n\nIt is 2.", "I add.\nTwo.", "It is 2.")]
    [InlineData(true, "never ends\n\n", "never ends\n\n", "")]
    [InlineData(true, "</think>At once", "", "At once")]
    [InlineData(true, "a </thin b", "a </thin b", "")]
    [InlineData(true, "a</think>b</think>c", "a", "b</think>c")]
    [InlineData(true, "a</think>", "a", "")]
    [InlineData(false, "Plain <think> text", "", "Plain <think> text")]
    [InlineData(false, "<think>\nwhy\n</think>\nso", "why", "so")]
    [InlineData(false, "\n<think>why</think>so", "why", "so")]
    [InlineData(false, "<thin", "", "<thin")]
    [InlineData(false, "  lead", "", "  lead")]
    [InlineData(false, "", "", "")]
    [InlineData(true, "<think>\nwhy\n</think>\n\nso", "why", "so")]
    [InlineData(true, "\n <think>\n<think>why</think>so", "why", "so")]
    [InlineData(true, "one <think>two</think>three", "one two", "three")]
    [InlineData(true, "<think>", "", "")]
    [InlineData(true, "a</think>\n\n</think>b", "a", "b")]
    [InlineData(true, "a</think>\n<think>\nb\n</think>\nc", "ab", "c")]
    [InlineData(false, "</think>\n\nso", "", "so")]
    [InlineData(false, "\n</think>so", "", "so")]
    [InlineData(false, "why\n</think>\nso", "", "why\n\nso")]
    [InlineData(false, "a</think>b</think>c", "", "abc")]
    [InlineData(false, "</think>", "", "")]
    [InlineData(false, "Write <think>why</think> so.</think>", "", "Write <think>why</think> so.")]
    [InlineData(true, "a</think>Write <think>why</think> so.", "a", "Write <think>why</think> so.")]
    public void Thinking_and_answer_are_told_apart_however_the_text_is_cut(bool isThinking, string text, string thinking, string answer)
    {
        foreach (int length in (int[])[1, 2, 3, 7, 1000])
            Assert.Equal((thinking, answer, false), Read(isThinking, text, length));
    }

    [Theory]
    [InlineData("one END two", new[] { "END" }, "one ")]
    [InlineData("one EN two", new[] { "END" }, "one EN two")]
    [InlineData("abcd", new[] { "cd", "bc" }, "a")]
    [InlineData("ab", new[] { "abc" }, "ab")]
    [InlineData("aab", new[] { "ab" }, "a")]
    [InlineData("<think>END</think>x END", new[] { "END" }, "x ")]
    [InlineData("x</think> END", new[] { "</think>" }, "x")]
    [InlineData("\n</think> END", new[] { "</think>" }, "\n")]
    public void Stop_texts_end_the_answer_but_not_the_thinking(string text, string[] stops, string answer)
    {
        foreach (int length in (int[])[1, 2, 1000])
        {
            (string _, string actual, bool stopped) = Read(false, text, length, stops);
            Assert.Equal(answer, actual);
            Assert.Equal(answer.Length < text.Length && !text.EndsWith(answer, StringComparison.Ordinal), stopped);
        }
    }

    [Fact]
    public void What_is_certain_is_not_held_back()
    {
        var reader = new AnswerReader(true, []);
        Assert.Equal([(UpdateKind.Thinking, "So it is")], reader.Append("So it is"));
        Assert.Equal([], reader.Append("\n"));
        Assert.Equal([(UpdateKind.Thinking, "\nand")], reader.Append("and"));
        Assert.Equal([], reader.Append("\n</thi"));
        Assert.Equal([(UpdateKind.Answer, "x")], reader.Append("nk>\nx"));
    }

    private static (string Thinking, string Answer, bool Stopped) Read(bool isThinking, string text, int length, params string[] stops)
    {
        var reader = new AnswerReader(isThinking, stops);
        string thinking = "", answer = "";
        for (int start = 0; start < text.Length; start += length)
            Take(reader.Append(text[start..Math.Min(text.Length, start + length)]));
        Take(reader.Append("", isEnd: true));
        return (thinking, answer, reader.IsStopped);

        void Take(List<(UpdateKind Kind, string Text)> pieces)
        {
            foreach ((UpdateKind kind, string piece) in pieces)
            {
                Assert.NotEqual("", piece);
                _ = kind == UpdateKind.Thinking ? thinking += piece : answer += piece;
            }
        }
    }
}
