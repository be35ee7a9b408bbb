using System.Text;
using Skylight.Chat;
using Skylight.Images;
using Skylight.Tests.Checkpoints;
using Skylight.Training.Data;

namespace Skylight.Tests.Training.Data;

public sealed class ExampleFilesTests
{
    private static readonly byte[] s_png = PngEncoder.EncodeGray([0, 255], 2, 1);

    [Theory]
    // ms-swift
    [InlineData(
        """{"messages": [{"role": "user", "content": "<image>What <image>?"}, {"role": "assistant", "content": "A cat."}], "images": ["a.png", "b.png"]}""", "User: [a.png]What [b.png]?|Assistant: A cat.")]
    [InlineData(
        """{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "<image>Q"}, {"role": "assistant", "content": "A"}, {"role": "user", "content": "and <image>"}], "images": [{"path": "a.png", "bytes": null}, "b.png"]}""", "System: S|User: [a.png]Q|Assistant: A|User: and [b.png]")]
    [InlineData("""{"system": "S", "query": "<image>Q", "response": "A", "images": "a.png"}""",
        "System: S|User: [a.png]Q|Assistant: A")]
    // TRL
    [InlineData(
        """{"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Q"}]}], "images": ["a.png"]}""", "User: [a.png]Q")]
    [InlineData(
        """{"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}, {"type": "image", "image": "a.png"}]}]}""", "User: Q[a.png]")]
    [InlineData(
        """{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}, {"type": "text", "text": "Q"}]}]}""", "User: [a.png]Q")]
    [InlineData(
        """{"prompt": [{"role": "user", "content": "Q"}], "completion": [{"role": "assistant", "content": "A"}], "image": "a.png"}""", "User: [a.png]Q|Assistant: A")]
    [InlineData("""{"prompt": "Q", "completion": "A"}""", "User: Q|Assistant: A")]
    // InternVL, ShareGPT
    [InlineData(
        """{"id": 0, "image": "a.png", "conversations": [{"from": "human", "value": "<image>\nQ"}, {"from": "gpt", "value": "A"}]}""", "User: [a.png]\nQ|Assistant: A")]
    [InlineData(
        """{"image": ["a.png", "b.png"], "conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "Image-1: <image>\nImage-2: <image>\nQ"}, {"from": "gpt", "value": "A"}], "width_list": [2, 2]}""", "System: S|User: Image-1: [a.png]\nImage-2: [b.png]\nQ|Assistant: A")]
    [InlineData("""{"image": "a.png", "conversations": [{"from": "human", "value": "Q"}]}""", "User: [a.png]Q")]
    // Questions
    [InlineData("""{"problem": "<image>Q", "solution": "s", "images": ["a.png"]}""", "User: [a.png]Q")]
    [InlineData("""{"question": "Q", "answer": 3, "image": "a.png"}""", "User: [a.png]Q")]
    [InlineData(
        """{"image": {"bytes": null, "path": "a.png"}, "problem": "Q", "solution": "<answer>1</answer>", "original_question": "O", "original_answer": "1"}""", "User: [a.png]Q")]
    [InlineData("""{"question": "Q", "hint": "", "answer": "3"}""", "User: Q")]
    [InlineData("""{"question": "Q", "hint": "H", "answer": "3"}""", "User: Hint: H\nQuestion: Q\n")]
    [InlineData("""{"question": "Which of <image2> or <image1>?", "answer": "3", "images": ["a.png", "b.png"]}""",
        "User: Which of [b.png] or [a.png]?")]
    public async Task A_row_of_each_form_is_the_conversation_that_it_means(string line, string expected)
    {
        using var folder = new TemporaryFolder();
        TrainingExample example = await OneAsync(folder, line);
        Assert.Equal(expected,
            string.Join("|",
                example.Messages.Select(message =>
                    $"{message.Role}: " +
                    $"{string.Concat(message.Parts.Select(part => part is TextPart text ? text.Text : $"[{Path.GetFileName(((ImagePart)part).Name)}]"))}")));
    }

    [Theory]
    [InlineData("answer", "7", "7")]
    [InlineData("solution", "We add. So \\\\boxed{7}", "7")]
    [InlineData("solution", "<think>x</think><answer> 7 </answer>", "7")]
    [InlineData("solution", "<answer>$\\\\boxed{7}$</answer>", "7")]
    [InlineData("answer", "3 + 4 = 7\\n#### 7", "7")]
    [InlineData("answer", "['24/7', '3.43']", "24/7|3.43")]
    [InlineData("answer", "[1, 2]", "[1, 2]")]
    [InlineData("ground_truth", "the red one", "the red one")]
    public async Task The_answer_of_a_worked_solution_is_found(string column, string text, string expected)
    {
        using var folder = new TemporaryFolder();
        Assert.Equal(expected,
            string.Join('|', (await OneAsync(folder, $$"""{"problem": "Q", "{{column}}": "{{text}}"}""")).Answers));
    }

    [Theory]
    [InlineData("""{"prompt": "Q", "chosen": "good", "rejected": "bad", "images": ["a.png"]}""")]
    [InlineData("""{"question": "Q", "chosen": "good", "rejected": "bad", "image": "a.png"}""")]
    [InlineData(
        """{"prompt": [{"role": "user", "content": "Q"}], "chosen": [{"role": "assistant", "content": "good"}], "rejected": [{"role": "assistant", "content": "bad"}], "images": ["a.png"]}""")]
    [InlineData(
        """{"chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "good"}], "rejected": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "bad"}], "images": ["a.png"]}""")]
    [InlineData(
        """{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "good"}], "rejected_response": "bad", "images": ["a.png"]}""")]
    public async Task Pairs_of_answers_are_read_in_every_form(string line)
    {
        using var folder = new TemporaryFolder();
        TrainingExample example = await OneAsync(folder, line, new ExampleOptions { Needs = ExampleNeeds.Preference });
        Assert.Equal(("good", "bad"), (example.Chosen, example.Rejected));
        Assert.Equal("User: [image]Q", ParquetTests.ShowAll(example));
    }

    [Fact]
    public async Task Pictures_may_stand_in_the_row_itself()
    {
        using var folder = new TemporaryFolder();
        string base64 = Convert.ToBase64String(s_png);
        string jpeg = Convert.ToBase64String(
            File.ReadAllBytes(Repository.PathOf("tests", "Skylight.Tests", "Images", "samples", "exif-rotated.jpg")));
        TrainingExample example = await OneAsync(folder,
            $$"""{"question": "Q", "images": ["{{base64}}", "data:image/png;base64,{{base64}}", {"bytes": "{{base64}}", "path": "x.png"}, "{{jpeg}}"]}""");
        Assert.Equal(4, example.Images.Count);
        foreach (ExampleImage image in example.Images.Take(3))
            Assert.Equal(s_png, (await image.ReadAsync()).ToArray());
        Assert.Equal("x.png in data.jsonl:1", example.Images[2].Name);
        Assert.Equal(s_png.Length, example.Images[0].Length);
    }

    [Theory]
    [InlineData("""{"question": "Q", "problem": "P", "answer": "1"}""", "'question' and 'problem'")]
    [InlineData("""{"question": "Q", "answer": "1", "solution": "2"}""", "'answer' and 'solution'")]
    [InlineData("""{"messages": [{"role": "user", "content": "Q"}], "conversations": [], "answer": "1"}""",
        "'messages' and 'conversations'")]
    [InlineData("""{"question": "Q", "image": "a.png", "image_1": "a.png", "answer": "1"}""", "both 'image' and 'image_1'")]
    [InlineData("""{"text": "Q", "answer": "1"}""", "its columns are text, answer")]
    [InlineData("""{"question": "Q", "extra": 1}""", "no 'answer'")]
    [InlineData("""{"question": "Q", "answer": null}""", "no 'answer'")]
    [InlineData("""{"question": "<image> and <image>", "images": ["a.png"], "answer": "1"}""",
        "2 places <image>, but 1 picture")]
    [InlineData("""{"question": "<image>", "images": ["a.png", "b.png"], "answer": "1"}""",
        "1 place <image>, but 2 pictures")]
    [InlineData("""{"question": "<image>", "answer": "1"}""", "1 place <image>, but 0 pictures")]
    [InlineData("""{"question": "<image> <image 2>", "images": ["a.png", "b.png"], "answer": "1"}""", "both forms")]
    [InlineData("""{"question": "<image 3>", "image_1": "a.png", "image_3": null, "answer": "1"}""",
        "no picture of that number")]
    [InlineData("""{"question": "Q", "images": ["none.png"], "answer": "1"}""", "there is no picture")]
    [InlineData("""{"question": "Q", "images": ["a.png", null], "answer": "1"}""", "null among the pictures")]
    [InlineData("""{"question": "Q", "images": [7], "answer": "1"}""", "'7' in 'images'")]
    [InlineData("""{"question": "Q", "images": [{"file": "a.png"}], "answer": "1"}""", "'file'")]
    [InlineData("""{"question": "Q", "images": ["https://example.org/a.png"], "answer": "1"}""", "download it")]
    [InlineData("""{"question": "Q", "images": ["data:image/png,abc"], "answer": "1"}""", "not base64")]
    [InlineData("""{"question": "Q", "images": {"bytes": "%%%"}, "answer": "1"}""", "not base64")]
    [InlineData("""{"messages": [{"role": "tool", "content": "Q"}], "answer": "1"}""", "'tool'")]
    [InlineData("""{"messages": [{"role": "user"}], "answer": "1"}""", "null as the 'content'")]
    [InlineData("""{"messages": [{"content": "Q"}], "answer": "1"}""", "without 'role'")]
    [InlineData("""{"messages": "Q", "answer": "1"}""", "a text in 'messages'")]
    [InlineData("""{"messages": [], "answer": "1"}""", "no turn of the user")]
    [InlineData("""{"messages": [{"role": "assistant", "content": "<image>"}], "images": ["a.png"], "answer": "1"}""",
        "from the user only")]
    [InlineData("""{"messages": [{"role": "user", "content": [{"type": "audio"}]}], "answer": "1"}""", "'audio'")]
    [InlineData(
        """{"messages": [{"role": "user", "content": [{"type": "image", "image": "a.png"}]}], "images": ["b.png"], "answer": "1"}""", "both in a column and within")]
    [InlineData("""{"query": "Q", "history": [["a", "b"]], "answer": "1"}""", "'history'")]
    [InlineData("""{"question": "Q", "options": "one or two", "answer": "A"}""", "no list")]
    [InlineData("""{"question": "Q", "Options": ["x", "y"], "answer": "A"}""", "'Options'")]
    [InlineData("""{"question": "Q", "difficulty": "hard", "answer": "A"}""", "'hard' in 'difficulty'")]
    [InlineData("""{"question": "\ud83d", "answer": "A"}""", "surrogate")]
    [InlineData("""{"question": "Q", "answer": "A", "answer": "B"}""", "answer")]
    [InlineData("""{"question": "Q" """, "not a JSON object")]
    [InlineData("7", "a row is a JSON object")]
    public async Task A_row_that_cannot_be_used_says_why_and_where(string line, string expected)
    {
        using var folder = new TemporaryFolder();
        Pictures(folder);
        string file = folder.Write("data.jsonl", $"{{\"question\": \"Q\", \"answer\": \"1\"}}\n\n \n{line}\n");
        using ExampleFiles files = await ExampleFiles.OpenAsync(file, new ExampleOptions { Needs = ExampleNeeds.Answer });
        Assert.Equal(2, files.Count);
        BadRowException bad = await Assert.ThrowsAsync<BadRowException>(async () => await files.ReadAsync(1));
        Assert.Equal(new BadRow(file, 4, "line", bad.Row.Reason), bad.Row);
        Assert.Contains(expected, bad.Row.Reason, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(ExampleNeeds.Response, """{"question": "Q"}""", "no answer of the assistant")]
    [InlineData(ExampleNeeds.Response, """{"question": "Q", "response": " "}""", "an empty answer of the assistant")]
    [InlineData(ExampleNeeds.Response,
        """{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], "response": "B"}""",
        "both at the end")]
    [InlineData(ExampleNeeds.Preference, """{"prompt": "Q", "chosen": "A"}""", "no 'rejected'")]
    [InlineData(ExampleNeeds.Preference,
        """{"prompt": "Q", "chosen": [{"role": "user", "content": "A"}], "rejected": "B"}""", "does not end with an answer")]
    [InlineData(ExampleNeeds.Preference,
        """{"chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], "rejected": [{"role": "user", "content": "P"}, {"role": "assistant", "content": "B"}]}""", "does not begin as its prompt")]
    public async Task What_a_method_needs_must_be_there(ExampleNeeds needs, string line, string expected)
    {
        using var folder = new TemporaryFolder();
        BadRowException bad = await Assert.ThrowsAsync<BadRowException>(
            () => OneAsync(folder, line, new ExampleOptions { Needs = needs }));
        Assert.Contains(expected, bad.Row.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_question_to_learn_from_takes_the_answer_as_it_is_written()
    {
        using var folder = new TemporaryFolder();
        TrainingExample example = await OneAsync(folder, """{"problem": "Q", "solution": "So \\boxed{7}."}""",
            new ExampleOptions { Needs = ExampleNeeds.Response });
        Assert.Equal("User: Q|Assistant: So \\boxed{7}.", ParquetTests.ShowAll(example));
        Assert.Equal("User: Q",
            string.Join("|", example.Prompt.Select(message => $"{message.Role}: {((TextPart)message.Parts[0]).Text}")));
    }

    [Fact]
    public async Task Columns_are_mapped_and_the_others_kept_as_text()
    {
        using var folder = new TemporaryFolder();
        const string line =
            """{"problem": "P", "text": "Q", "answer": "no", "meta": {"gold": 3}, "level": 2.5, "pic_1": null, "pic_2": "a.png", "tags": ["x", {"y": null}], "empty": null, "note": "n"}""";
        var options = new ExampleOptions
        {
            Columns = ColumnMap.Parse(["question=text,answer=meta.gold", "difficulty=level", "images=pic_*"]),
        };
        TrainingExample example = await OneAsync(folder, line, options);
        Assert.Equal("Q", example.Question);
        Assert.Equal(["3"], example.Answers);
        Assert.Equal(2.5, example.Difficulty);
        Assert.Equal("a.png", Path.GetFileName(example.Images.Single().Name));
        Assert.Equal("P", example.Columns["problem"]);
        Assert.Equal("no", example.Columns["answer"]);
        Assert.Equal("n", example.Columns["note"]);
        Assert.Equal("""["x",{"y":null}]""", example.Columns["tags"]);
        Assert.False(example.Columns.ContainsKey("empty"));
        BadRowException bad = await Assert.ThrowsAsync<BadRowException>(
            () => OneAsync(folder, line, new ExampleOptions { Columns = ColumnMap.Parse(["question=absent"]) }));
        Assert.Contains("no column 'absent'", bad.Message, StringComparison.Ordinal);
        Assert.Contains("no part 'colour'",
            Assert.Throws<ArgumentException>(() => ColumnMap.Parse(["colour=x"])).Message, StringComparison.Ordinal);
        Assert.Contains("answer=solution", Assert.Throws<ArgumentException>(() => ColumnMap.Parse(["x"])).Message,
            StringComparison.Ordinal);
        Assert.Contains("Two columns",
            Assert.Throws<ArgumentException>(() => ColumnMap.Parse(["question=x", "messages=y"])).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task Files_folders_and_patterns_are_found_and_pictures_beside_each()
    {
        using var folder = new TemporaryFolder();
        foreach (string inner in (string[])["a", "b/deep", "empty"])
            Directory.CreateDirectory(folder[inner]);
        folder.Write("a/one.jsonl", "{\"question\": \"1\", \"image\": \"p.png\"}\n");
        folder.Write("a/p.png", s_png);
        folder.Write("b/deep/one.jsonl", "\uFEFF{\"question\": \"2\"}\r\n\r\n{\"question\": \"3\"}");
        folder.Write("b/two.jsonl", "{\"question\": \"4\"}");
        folder.Write("b/readme.txt", "no data");
        Assert.Equal("1,2,3,4", await QuestionsAsync(folder["**/*.jsonl"]));
        Assert.Equal("4", await QuestionsAsync(folder["b"]));
        Assert.Equal("1,2,3", await QuestionsAsync(folder["a/one.jsonl"], folder["b/deep/*"]));
        Assert.Equal("4", await QuestionsAsync(folder["?/two.jsonl"]));
        using (ExampleFiles files = await ExampleFiles.OpenAsync([folder["a/one.jsonl"], folder["b/deep/one.jsonl"]]))
        {
            // Two files of one name have ids that differ.
            Assert.Equal([$"{folder["a/one.jsonl"]}:1", $"{folder["b/deep/one.jsonl"]}:1",
                $"{folder["b/deep/one.jsonl"]}:3"], (await ParquetTests.AllAsync(files)).Select(row => row.Id));
        }

        Assert.Contains("no data file that fits",
            (await Assert.ThrowsAsync<FileNotFoundException>(() => ExampleFiles.OpenAsync(folder["*.jsonl"]))).Message,
            StringComparison.Ordinal);
        Assert.Contains("no .jsonl",
            (await Assert.ThrowsAsync<FileNotFoundException>(() => ExampleFiles.OpenAsync(folder["empty"]))).Message,
            StringComparison.Ordinal);
        Assert.Contains("named twice",
            (await Assert.ThrowsAsync<ArgumentException>(
                () => ExampleFiles.OpenAsync([folder["b"], folder["b/two.jsonl"]]))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("[{\"question\": \"Q\"}]", "jq -c")]
    [InlineData("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git lfs pull")]
    [InlineData("PK\u0003\u0004", "unpack")]
    [InlineData("ARROW1\0\0", "Parquet")]
    [InlineData("PAR1", "cut off")]
    [InlineData("", "no items")]
    [InlineData(" \n\n", "no items")]
    public async Task A_file_that_is_neither_says_what_it_is(string content, string expected)
    {
        using var folder = new TemporaryFolder();
        string message = (await Assert.ThrowsAsync<InvalidDataException>(
            () => ExampleFiles.OpenAsync(folder.Write("data.jsonl", content)))).Message;
        Assert.Contains(expected, message, StringComparison.Ordinal);
        Assert.Contains("data.jsonl", message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Rows_that_are_not_UTF8_are_bad_and_the_others_are_not()
    {
        using var folder = new TemporaryFolder();
        byte[] line = Encoding.UTF8.GetBytes("{\"question\": \"Q\"}\n");
        using ExampleFiles files = await ExampleFiles.OpenAsync(
            folder.Write("data.jsonl", [.. "{\"question\": \""u8, 0xE9, .. "\"}\n"u8, .. line]));
        Assert.Contains("UTF-8", (await Assert.ThrowsAsync<BadRowException>(async () => await files.ReadAsync(0)))
            .Message, StringComparison.Ordinal);
        Assert.Equal("Q", (await files.ReadAsync(1)).Question);
    }

    [Fact]
    public async Task Bad_rows_are_counted_once_listed_and_end_a_run_beyond_their_limit()
    {
        using var folder = new TemporaryFolder();
        Pictures(folder);
        folder.Write("broken.png", s_png[..20]);
        string file = folder.Write("data.jsonl",
            "{\"question\": \"1\"}\n{\"question\": 2, \"image\": \"none.png\"}\n{\"question\": \"3\", \"image\": " +
            "\"broken.png\"}\n{}\n{\"question\": \"5\", \"image\": \"a.png\"}\n");
        using ExampleFiles files = await ExampleFiles.OpenAsync(file);
        string list = folder["out/bad-rows.jsonl"];
        using (var bad = new BadRows(limit: 2, list))
        {
            var schedule = new ExampleSchedule([new WeightedSource(files)], seed: 3);
            var ids = new List<string>();
            long index = 0;
            while (ids.Count < 6)
            {
                (TrainingExample example, index) = await schedule.NextAsync(index, bad);
                ids.Add(example.Question!);
            }

            Assert.Equal(2, bad.Count);
            Assert.Equal(["1", "3", "5"], ids.Distinct().Order(StringComparer.Ordinal));
            Assert.Equal([2L, 4L], bad.Rows.Select(row => row.Row).Order());
            bad.Add(await files.ReadAsync(0), "is over the context");
            Assert.Contains("line 1: is over the context",
                Assert.Throws<InvalidDataException>(bad.ThrowIfOverLimit).Message, StringComparison.Ordinal);
        }

        Assert.Equal(3, File.ReadAllLines(list).Length);
        Assert.Contains("\"line\":1,\"reason\":\"is over the context\"", File.ReadAllText(list), StringComparison.Ordinal);
        long length;
        using (var resumed = new BadRows(limit: 3, list, new FileInfo(list).Length))
        {
            Assert.Equal((3, 3), (resumed.Count, resumed.Rows.Count));
            resumed.Add(resumed.Rows[0]);
            length = resumed.Length;
            resumed.Add(await files.ReadAsync(4), "is of a step that was not saved");
            Assert.Throws<InvalidDataException>(resumed.ThrowIfOverLimit);
        }

        using (var resumed = new BadRows(limit: 3, list, length))
            Assert.Equal(3, resumed.Count);
        Assert.Equal(3, File.ReadAllLines(list).Length);
        Assert.Contains("was changed since", Assert.Throws<IOException>(() => new BadRows(1, list, length + 1)).Message,
            StringComparison.Ordinal);
        File.WriteAllText(list, "{\"file\": 3}\n");
        Assert.Contains("no list of bad rows",
            Assert.Throws<InvalidDataException>(() => new BadRows(1, list, 5)).Message, StringComparison.Ordinal);
        // One that begins anew takes nothing over.
        using (var anew = new BadRows(limit: 3, list))
            Assert.False(File.Exists(list));
        using var none = new BadRows();
        var strict = new ExampleSchedule([new WeightedSource(files)], seed: 3, shuffle: false);
        await strict.NextAsync(0, none);
        Assert.Contains("line 2",
            (await Assert.ThrowsAsync<InvalidDataException>(async () => await strict.NextAsync(1, none))).Message,
            StringComparison.Ordinal);
        using var all = new BadRows();
        Assert.Equal(2, await ExampleCheck.RunAsync(files, all, decodePictures: true));
        Assert.Equal([2L, 3L, 4L], all.Rows.Select(row => row.Row));
        Assert.Contains("broken.png", all.Rows[1].Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_written_is_read_again()
    {
        using var folder = new TemporaryFolder();
        using (var writer = new ExampleWriter(folder["set"], "train"))
        {
            writer.Add("Which \"digit\"? é", ["3"], [new RgbImage(2, 1, [1, 2, 3, 250, 251, 252])],
                new Dictionary<string, string> { ["category"] = "digits", ["response"] = "It is 3." });
            writer.Add("Two?", ["2", "two"], []);
            writer.Add("Both?", ["x"], [new RgbImage(1, 1, [0, 0, 0]), new RgbImage(1, 1, [9, 9, 9])]);
            Assert.Throws<ArgumentException>(
                () => writer.Add("Q", ["x"], [], new Dictionary<string, string> { ["answer"] = "y" }));
        }

        using ExampleFiles files = await ExampleFiles.OpenAsync(folder["set"],
            new ExampleOptions { Needs = ExampleNeeds.Answer | ExampleNeeds.Response });
        TrainingExample[] rows = await ParquetTests.AllAsync(files);
        Assert.Equal("User: [image]Which \"digit\"? é|Assistant: It is 3.", ParquetTests.ShowAll(rows[0]));
        Assert.Equal("digits", rows[0].Category);
        Assert.Equal(["2", "two"], rows[1].Answers);
        Assert.Equal([1, 2, 3, 250, 251, 252], ImageDecoders.Standard.Decode(await rows[0].Images[0].ReadAsync()).Pixels);
        Assert.Equal([9, 9, 9], ImageDecoders.Standard.Decode(await rows[2].Images[1].ReadAsync()).Pixels);
    }

    private static void Pictures(TemporaryFolder folder)
    {
        folder.Write("a.png", s_png);
        folder.Write("b.png", s_png);
    }

    private static async Task<TrainingExample> OneAsync(TemporaryFolder folder, string line, ExampleOptions? options = null)
    {
        Pictures(folder);
        using ExampleFiles files = await ExampleFiles.OpenAsync(folder.Write("data.jsonl", line), options);
        return await files.ReadAsync(0);
    }

    private static async Task<string> QuestionsAsync(params string[] paths)
    {
        using ExampleFiles files = await ExampleFiles.OpenAsync(paths);
        return string.Join(',', (await ParquetTests.AllAsync(files)).Select(row => row.Question));
    }
}
