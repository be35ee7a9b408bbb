using Skylight.Chat;

namespace Skylight.Tests.Chat;

public sealed class AnswerReaderTests
{
    [Theory]
    [InlineData(true, "I add.\nTwo.\n</think>\n\nIt is 2.", "I add.\nTwo.", "It is 2.")]
    [InlineData(true, "never ends\n\n", "never ends\n\n", "")]
    [InlineData(true, "</think>At once", "", "At once")]
    [InlineData(true, "a </thin b", "a </thin b", "")]
    [InlineData(true, "a</think>b</think>c", "a", "bc")]
    [InlineData(true, "a</think>", "a", "")]
    [InlineData(false, "Plain <think> text", " text", "Plain ")]
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
    [InlineData(false, "Write <think>why</think> so.</think>", "why", "Write  so.")]
    [InlineData(true, "a</think>Write <think>why</think> so.", "awhy", "Write  so.")]
    [InlineData(false, "It is <think>\nsure?\n</think>\n\n2.", "sure?", "It is 2.")]
    [InlineData(false, "One.\n\n<think>\na\n</think>\n\nTwo.\n<think>b</think></think>\nThree.", "ab",
        "One.\n\nTwo.\nThree.")]
    [InlineData(false, "a<think>b<think>c</think>d</think>e", "bc", "ade")]
    [InlineData(false, "a</thi</think>nk>b", "", "ab")]
    [InlineData(true, "a<th<think>ink>b</think>c", "ab", "c")]
    [InlineData(false, "a < b <thin </think", "", "a < b <thin </think")]
    public void Thinking_and_answer_are_told_apart_however_the_text_is_cut(bool isThinking, string text,
        string thinking, string answer)
    {
        foreach (int length in (int[])[1, 2, 3, 7, 1000])
            Assert.Equal((thinking, answer, false),
                Read(isThinking, [.. text.Chunk(length).Select(part => new string(part))]));
        for (int first = 0; first <= text.Length; first++)
        {
            for (int second = first; second <= text.Length; second++)
                Assert.Equal((thinking, answer, false),
                    Read(isThinking, [text[..first], text[first..second], text[second..]]));
        }
    }

    /// <summary>In an answer of a form tags are text, wherever its think block has ended.</summary>
    [Theory]
    [InlineData(true, "why\n</think>\n\n{\"a\":\"</think><think>\"}", "why", "{\"a\":\"</think><think>\"}")]
    [InlineData(false, "{\"a\":\"</think>x<think>\"}", "", "{\"a\":\"</think>x<think>\"}")]
    [InlineData(false, "<think>why</think>\n</think>", "why", "</think>")]
    [InlineData(false, "</think>a", "", "</think>a")]
    [InlineData(true, "a <think> b", "a  b", "")]
    public void Tags_in_an_answer_of_a_form_are_text(bool isThinking, string text, string thinking, string answer)
    {
        foreach (int length in (int[])[1, 2, 3, 7, 1000])
        {
            var reader = new AnswerReader(isThinking, ["END"], hasForm: true);
            (UpdateKind Kind, string Text)[] pieces = [.. text.Chunk(length).Append([]).SelectMany((part, index) =>
                reader.Append(new string(part), isEnd: index == (text.Length + length - 1) / length))];
            Assert.Equal((thinking, answer), (Of(UpdateKind.Thinking), Of(UpdateKind.Answer)));

            string Of(UpdateKind kind) =>
                string.Concat(pieces.Where(piece => piece.Kind == kind).Select(piece => piece.Text));
        }
    }

    [Theory]
    [InlineData("END, END", 3, "END, ")]
    [InlineData("END, END", 2, "")]
    [InlineData("END, END", 8, "END, END")]
    [InlineData("ENDEND", 4, "END")]
    [InlineData("EEND", 3, "E")]
    [InlineData("<think>END</think>END", 20, "")]
    [InlineData("a</think>ENDb", 11, "a")]
    [InlineData("a</think>ENDb", 12, "aENDb")]
    [InlineData("EN</think>D", 5, "")]
    public void No_stop_text_ends_in_what_comes_before_the_fewest_tokens(string text, int before, string answer)
    {
        for (int length = 1; length <= before; length++)
        {
            var reader = new AnswerReader(false, ["END"]);
            string actual = "";
            for (int start = 0; start < text.Length;)
            {
                int end = Math.Min(start < before ? before : text.Length, start + length);
                foreach ((UpdateKind kind, string piece) in reader.Append(text[start..end], mayStop: start >= before))
                    actual += kind == UpdateKind.Answer ? piece : "";
                start = end;
            }

            foreach ((UpdateKind _, string piece) in reader.Append("", isEnd: true))
                actual += piece;
            Assert.Equal((answer, answer != text.Replace("</think>", "", StringComparison.Ordinal)),
                (actual, reader.IsStopped));
        }
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
            (string _, string actual, bool stopped) = Read(false,
                [.. text.Chunk(length).Select(part => new string(part))], stops);
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

    private static (string Thinking, string Answer, bool Stopped) Read(bool isThinking, string[] parts,
        params string[] stops)
    {
        var reader = new AnswerReader(isThinking, stops);
        string thinking = "", answer = "";
        foreach (string part in parts)
            Take(reader.Append(part));
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
