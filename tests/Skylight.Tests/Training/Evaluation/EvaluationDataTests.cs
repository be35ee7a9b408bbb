using Skylight.Chat;
using Skylight.Tests.Checkpoints;
using Skylight.Text;
using Skylight.Training.Data;
using Skylight.Training.Evaluation;

namespace Skylight.Tests.Training.Evaluation;

public sealed class EvaluationDataTests
{
    [Fact]
    public void Items_of_all_forms_are_read()
    {
        using var folder = new TemporaryFolder();
        string picture = folder.Write("one.png", "x");
        IReadOnlyList<EvaluationItem> items = EvaluationData.Load(folder.Write("data.jsonl", $$"""
            {"id": "val_1", "question": "Which is <image 1>?", "options": ["a cat", "a dog"], "answer": "B", "images": ["one.png"], "category": "Art", "subfield": "ignored"}

            {"id": 2, "question": "How many?", "answer": ["3", 3.0, "three"], "image": "{{picture}}", "hint": "Count."}
            {"id": "3", "question": "Which?", "options": {"A": "left", "B": "right"}, "answer": "left"}
            {"id": "4", "question": "Is it?", "answer": true, "options": [], "category": null}
            """));
        Assert.Equal(["val_1", "2", "3", "4"], items.Select(item => item.Id));
        Assert.Equal(["a cat", "a dog"], items[0].Options);
        Assert.Equal(["B"], items[0].Answers);
        Assert.Equal(picture, Path.GetFullPath(items[0].Images.Single().Name));
        Assert.Equal("Art", items[0].Category);
        Assert.Equal(["3", "3.0", "three"], items[1].Answers);
        Assert.Equal(picture, items[1].Images.Single().Name);
        Assert.Equal("Count.", items[1].Hint);
        Assert.Equal(["A"], items[2].Answers);
        Assert.Equal(["true"], items[3].Answers);
        Assert.False(items[3].IsMultipleChoice);
    }

    [Theory]
    [InlineData("{\"id\": \"a\", \"question\"", "not a JSON object: byte 23: ")]
    [InlineData("{\"id\": \"a\", \"id\": \"b\", \"question\": \"q\", \"answer\": \"a\"}", "'id' is there twice")]
    [InlineData("[1]", "is a list")]
    [InlineData("{\"id\": \" \", \"question\": \"q\", \"answer\": \"a\"}", "empty 'id'")]
    [InlineData("{\"id\": \"a\", \"answer\": \"a\"}", "no 'question'")]
    [InlineData("{\"id\": \"a\", \"question\": \"q\"}", "no 'answer'")]
    [InlineData("{\"id\": \"a\", \"question\": \"q\", \"answer\": []}", "no 'answer'")]
    [InlineData("{\"id\": \"a\", \"question\": \"q\", \"answer\": \" \"}", "empty 'answer'")]
    [InlineData("{\"id\": \"a\", \"question\": {}, \"answer\": \"x\"}", "an object in 'question'")]
    [InlineData("{\"id\": \"a\", \"question\": \"q\", \"answer\": \"C\", \"options\": [\"x\", \"y\"]}", "A to B")]
    [InlineData("{\"id\": \"a\", \"question\": \"q\", \"answer\": \"x\", \"options\": [\"x\", \"x\"]}", "A to B")]
    [InlineData("{\"id\": \"a\", \"question\": \"q\", \"answer\": \"A\", \"options\": [\"x\", \" \"]}", "empty option")]
    [InlineData("{\"id\": \"a\", \"question\": \"q\", \"answer\": [\"A\", \"B\"], \"options\": [\"x\", \"y\"]}",
        "2 answers")]
    [InlineData("{\"id\": \"a\", \"question\": \"q\", \"answer\": \"A\", \"options\": {\"A\": \"x\", \"C\": \"y\"}}",
        "option 'C' where B would be next")]
    [InlineData("{\"id\": \"a\", \"question\": \"q\", \"answer\": \"1\", \"images\": [\"absent.png\"]}", "absent.png")]
    [InlineData("{\"id\": \"a\", \"question\": \"q\", \"answer\": \"1\", \"image\": \"p\", \"images\": [\"p\"]}", "both")]
    [InlineData("{\"id\": \"a\", \"question\": \"see <image 1>\", \"answer\": \"1\"}", "place <image 1>")]
    [InlineData("{\"id\": \"a\", \"question\": \"q\", \"Answer\": \"1\"}", "'Answer'")]
    [InlineData("{\"id\": \"ok\", \"question\": \"q\", \"answer\": \"1\"}", "'ok' is already that of line 1")]
    public void A_wrong_line_is_named_with_its_number(string line, string expected)
    {
        using var folder = new TemporaryFolder();
        string file = folder.Write("data.jsonl", $"{{\"id\": \"ok\", \"question\": \"q\", \"answer\": \"1\"}}\n\n{line}\n");
        string message = Assert.Throws<InvalidDataException>(() => EvaluationData.Load(file)).Message;
        Assert.Contains("line 3: ", message, StringComparison.Ordinal);
        Assert.Contains(expected, message, StringComparison.Ordinal);
        Assert.Contains("data.jsonl", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("\n")]
    [InlineData("\r\n")]
    public void Lines_end_as_on_any_system_and_a_byte_order_mark_is_passed_over(string end)
    {
        using var folder = new TemporaryFolder();
        string Line(int id) => $"{{\"id\": \"{id}\", \"question\": \"Où?\", \"answer\": \"a\"}}{end}";
        IReadOnlyList<EvaluationItem> items = EvaluationData.Load(
            folder.Write("data.jsonl", "\uFEFF" + Line(1) + end + Line(2)));
        Assert.Equal(["1", "2"], items.Select(item => item.Id));
        Assert.All(items, item => Assert.Equal("Où?", item.Question));
        Assert.Contains("line 4: ",
            Assert.Throws<InvalidDataException>(() =>
                EvaluationData.Load(folder.Write("data.jsonl", Line(1) + end + Line(2) + "{}" + end))).Message,
                    StringComparison.Ordinal);
    }

    [Fact]
    public void All_wrong_lines_are_named_at_once()
    {
        using var folder = new TemporaryFolder();
        string message = Assert.Throws<InvalidDataException>(() =>
            EvaluationData.Load(folder.Write("data.jsonl", string.Concat(Enumerable.Repeat("{}\n", 12))))).Message;
        Assert.Contains("line 1: ", message, StringComparison.Ordinal);
        Assert.Contains("line 10: ", message, StringComparison.Ordinal);
        Assert.DoesNotContain("line 11: ", message, StringComparison.Ordinal);
        Assert.Contains("2 more", message, StringComparison.Ordinal);
        Assert.Contains("no items",
            Assert.Throws<InvalidDataException>(() => EvaluationData.Load(folder.Write("empty.jsonl", "\n"))).Message,
            StringComparison.Ordinal);
        Assert.Contains("absent", Assert.Throws<FileNotFoundException>(() => EvaluationData.Load(folder["absent"]))
            .Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Rows_of_other_forms_are_asked_too_and_pictures_within_them_are_read_when_they_are_used()
    {
        IReadOnlyList<EvaluationItem> items = EvaluationData.Load(Golden.PathOf(Path.Combine("data", "mmmu.parquet")));
        Assert.Equal(["validation_Art_1", "validation_Math_2", "validation_Open_3"], items.Select(item => item.Id));
        Assert.Equal(["B", "A", "24/7"], items.Select(item => item.Answers[0]));
        Assert.Equal(264, (await items[1].Images[1].ReadAsync()).Length);
        Assert.Equal(2, MmmuPrompt.Write(items[1]).Parts.OfType<ImagePart>().Count() / 2);

        EvaluationItem conversation = EvaluationData.Load(Golden.PathOf(Path.Combine("data", "verl.parquet")))[0];
        Assert.Equal(("verl.parquet:1", "<image 1>What digit?", "3"),
            (conversation.Id, conversation.Question, conversation.Answers.Single()));
        Assert.Equal([ChatRole.User], conversation.Conversation!.Select(message => message.Role));
        Assert.IsType<ImagePart>(conversation.Conversation![0].Parts[0]);
        Assert.NotEqual(EvaluationData.Fingerprint([conversation]),
            EvaluationData.Fingerprint([conversation with { Conversation = null }]));

        using var folder = new TemporaryFolder();
        string file = folder.Write("data.jsonl",
            "{\"problem\": \"Q\", \"solution\": \"\\\\boxed{4}\", \"answer\": \"no\"}\n");
        Assert.Contains("'answer' and 'solution'",
            Assert.Throws<InvalidDataException>(() => EvaluationData.Load(file)).Message, StringComparison.Ordinal);
        Assert.Equal(["4"], EvaluationData.Load(file, ColumnMap.Parse(["answer=solution"])).Single().Answers);
    }

    [Fact]
    public void Everything_that_matters_changes_the_fingerprint()
    {
        var item = new EvaluationItem("1", "q", ["A"]) { Options = ["x", "yz"] };
        string before = EvaluationData.Fingerprint([item]);
        Assert.Equal(before, EvaluationData.Fingerprint([item with { }]));
        EvaluationItem[] others = [item with { Id = "2" }, item with { Question = "r" }, item with { Answers = ["B"] },
            item with { Options = ["xy", "z"] }, item with { Hint = "h" }];
        Assert.Equal(others.Length + 1,
            others.Select(other => EvaluationData.Fingerprint([other])).Append(before).Distinct().Count());
    }
}
