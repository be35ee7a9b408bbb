using Skylight.Chat;
using Skylight.Tests.Checkpoints;
using Skylight.Training.Data;

namespace Skylight.Tests.Training.Data;

/// <summary>
/// Files that other writers made (tests/golden/data), in the schemas of data sets as people download them.
/// </summary>
public sealed class ParquetTests
{
    public static TheoryData<string> Geometry =>
        ["geo3k-snappy.parquet", "geo3k-zstd-pages.parquet", "geo3k-gzip-plain.parquet", "geo3k-brotli-delta.parquet"];

    [Theory]
    [MemberData(nameof(Geometry))]
    public async Task Lists_of_picture_structs_are_read_whatever_the_codec_the_encoding_and_the_row_groups(string name)
    {
        using ExampleFiles files = await ExampleFiles.OpenAsync(PathOf(name),
            new ExampleOptions { Needs = ExampleNeeds.Answer });
        TrainingExample[] rows = await AllAsync(files);
        Assert.Equal(["[image]Find $x$.", "[image][image]Find y.", "1+1?", "2+3?", "See [image] and [image]: z?"],
            rows.Select(Show));
        Assert.Equal(["3", "4", "2", "5", "é 你好"], rows.Select(row => row.Answers.Single()));
        Assert.Equal([1, 2, 0, 0, 2], rows.Select(row => row.Images.Count));
        byte[] picture = File.ReadAllBytes(Repository.PathOf("tests", "Skylight.Tests", "Images", "samples", "gray16.png"));
        foreach (ExampleImage image in rows.SelectMany(row => row.Images))
            Assert.Equal(picture, (await image.ReadAsync()).ToArray());
        Assert.Equal($"{name}:5", rows[4].Id);
        Assert.Equal([$"a.png in {name}:1", $"picture 1 of {name}:2", $"b.png in {name}:2"],
            rows.SelectMany(row => row.Images).Take(3).Select(image => image.Name));
        Assert.Equal(["3", null, "-7", "1", "2"], rows.Select(row => row.Columns.GetValueOrDefault("n")));
        Assert.Equal(["0.25", null, "1", "0.5", "3E-09"], rows.Select(row => row.Columns.GetValueOrDefault("ratio")));
        Assert.Equal(["true", "false", null, "true", "true"], rows.Select(row => row.Columns.GetValueOrDefault("flag")));
        Assert.Equal(["1", null, "-1", "0", "7"], rows.Select(row => row.Columns.GetValueOrDefault("small")));
        Assert.Equal(["0.5", null, "-2", "0", "0.001"], rows.Select(row => row.Columns.GetValueOrDefault("half")));
        Assert.Equal(["12.50", null, "-0.05", "0.00", "0.07"], rows.Select(row => row.Columns.GetValueOrDefault("price")));
        Assert.Equal("2023-11-14T22:13:20", rows[0].Columns["when"]);
        Assert.Equal("1969-12-31T23:59:59.999999", rows[4].Columns["when"]);
    }

    [Fact]
    public async Task Options_that_Python_wrote_and_numbered_picture_columns_are_those_of_MMMU()
    {
        using ExampleFiles files = await ExampleFiles.OpenAsync(PathOf("mmmu.parquet"),
            new ExampleOptions { Needs = ExampleNeeds.Answer });
        TrainingExample[] rows = await AllAsync(files);
        Assert.Equal(["validation_Art_1", "validation_Math_2", "validation_Open_3"], rows.Select(row => row.Id));
        Assert.Equal(["Monet", "Manet's", "Degas"], rows[0].Options);
        Assert.Equal(["B"], rows[0].Answers);
        Assert.Equal(
            "Question: Who painted [image]?\nOptions:\nA. Monet\nB. Manet's\nC. Degas\nPlease select the correct " +
            "answer from the options above. \n", Show(rows[0]));
        // The second picture is spoken of first; the third is not spoken of.
        Assert.Equal("Which of <image 1> and <image 2>?", rows[1].Question);
        Assert.Equal(["<image 2>", "<image 1>"], rows[1].Options);
        Assert.Equal(2, rows[1].Images.Count);
        Assert.Equal(["24/7", "3.43"], rows[2].Answers);
        Assert.Empty(rows[2].Options);
    }

    [Fact]
    public async Task Conversations_of_parts_take_their_pictures_from_the_column()
    {
        using ExampleFiles files = await ExampleFiles.OpenAsync(PathOf("trl.parquet"),
            new ExampleOptions { Needs = ExampleNeeds.Response });
        TrainingExample[] rows = await AllAsync(files);
        Assert.Equal("System: Be brief.|User: [image]What is it?|Assistant: A digit.", ShowAll(rows[0]));
        Assert.Equal("User: Compare.[image][image]|Assistant: Both are digits.", ShowAll(rows[1]));
        Assert.Equal(2, rows[0].Prompt.Count);
    }

    [Fact]
    public async Task Verls_nested_ground_truth_is_the_answer()
    {
        using ExampleFiles files = await ExampleFiles.OpenAsync(PathOf("verl.parquet"),
            new ExampleOptions { Needs = ExampleNeeds.Answer });
        TrainingExample[] rows = await AllAsync(files);
        Assert.Equal(["User: [image]What digit?", "User: Two and two?"], rows.Select(ShowAll));
        Assert.Equal(["3", "4"], rows.Select(row => row.Answers.Single()));
        Assert.Equal("x", rows[1].Columns["data_source"]);
    }

    [Fact]
    public async Task Nested_lists_keep_their_nulls_and_their_emptiness()
    {
        using ExampleFiles files = await ExampleFiles.OpenAsync(PathOf("lists.parquet"));
        TrainingExample[] rows = await AllAsync(files);
        Assert.Equal(["[[1,2],null,[],[3]]", "[]", null, "[[null,4]]"],
            rows.Select(row => row.Columns.GetValueOrDefault("a")));
    }

    [Fact]
    public async Task Another_writers_files_are_read_and_a_column_of_a_kind_that_is_not_supported_does_no_harm()
    {
        using ExampleFiles lists = await ExampleFiles.OpenAsync(PathOf("duckdb-lz4.parquet"));
        TrainingExample[] rows = await AllAsync(lists);
        Assert.Equal(["0", "1"], rows[0].Answers);
        Assert.Equal("[[4],[],null]", rows[4].Columns["nest"]);

        using ExampleFiles files = await ExampleFiles.OpenAsync(PathOf("duckdb-v2.parquet"));
        TrainingExample first = await files.ReadAsync(0);
        Assert.Equal("User: How many [image]?", ShowAll(first));
        Assert.Equal("4", first.Answers.Single());
        Assert.Equal("4", first.Columns["n"]);
        Assert.Equal("[{\"key\":\"k\",\"value\":\"v\"}]", first.Columns["extra"]);
        Assert.Equal([1, 2], (await first.Images.Single().ReadAsync()).ToArray());
        Assert.Empty((await files.ReadAsync(1)).Answers);
        BadRowException bad = await Assert.ThrowsAsync<BadRowException>(async () => await files.ReadAsync(2));
        Assert.Equal(("row", 3L), (bad.Row.Unit, bad.Row.Row));
        Assert.Contains("no 'question'", bad.Message, StringComparison.Ordinal);

        using ExampleFiles named = await ExampleFiles.OpenAsync(PathOf("duckdb-v2.parquet"),
            new ExampleOptions { Columns = ColumnMap.Parse(["answer=price"]) });
        bad = await Assert.ThrowsAsync<BadRowException>(async () => await named.ReadAsync(0));
        Assert.Contains("cannot be read", bad.Message, StringComparison.Ordinal);
        Assert.Contains("'price'", bad.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Row_groups_are_read_once_in_an_epoch_and_few_are_kept()
    {
        using ExampleFiles files = await ExampleFiles.OpenAsync(PathOf("duckdb-groups.parquet"));
        Assert.Equal([2048L, 452L], files.GroupRows);
        var schedule = new ExampleSchedule([new WeightedSource(files)], seed: 1);
        var seen = new HashSet<string>();
        for (long index = 0; index < 2500; index++)
        {
            TrainingExample example = await schedule.ReadAsync(index);
            Assert.Equal(example.Answers.Single(),
                (2 * int.Parse(example.Id, System.Globalization.CultureInfo.InvariantCulture))
                    .ToString(System.Globalization.CultureInfo.InvariantCulture));
            seen.Add(example.Id);
        }

        Assert.Equal(2500, seen.Count);
        Assert.Equal(2, files.GroupsRead);
    }

    [Fact]
    public async Task A_text_that_is_not_UTF8_is_a_bad_row_and_one_with_a_replacement_character_is_not()
    {
        using ExampleFiles files = await ExampleFiles.OpenAsync(PathOf("not-utf8.parquet"));
        Assert.Contains("row 1: has a text in 'question' that is not UTF-8",
            (await Assert.ThrowsAsync<BadRowException>(async () => await files.ReadAsync(0))).Message,
            StringComparison.Ordinal);
        Assert.Equal("fine \uFFFD", (await files.ReadAsync(1)).Question);
    }

    [Fact]
    public async Task A_damaged_file_is_refused_or_its_rows_are_bad_ones_with_the_column_named()
    {
        using var folder = new TemporaryFolder();
        byte[] bytes = File.ReadAllBytes(PathOf("geo3k-gzip-plain.parquet"));
        string cut = folder.Write("cut.parquet", bytes[..^20]);
        Assert.Contains("cut off", (await Assert.ThrowsAsync<InvalidDataException>(() => ExampleFiles.OpenAsync(cut)))
            .Message, StringComparison.Ordinal);
        // The first page of the pictures.
        byte[] spoilt = [.. bytes];
        spoilt.AsSpan(4, 40).Fill(0xEE);
        using ExampleFiles files = await ExampleFiles.OpenAsync(folder.Write("spoilt.parquet", spoilt));
        string message = (await Assert.ThrowsAsync<BadRowException>(async () => await files.ReadAsync(4))).Message;
        Assert.Contains("spoilt.parquet', row 5: is in row group 1", message, StringComparison.Ordinal);
        Assert.Contains("images/list/element/bytes", message, StringComparison.Ordinal);
    }

    private static string PathOf(string name) => Golden.PathOf(Path.Combine("data", name));

    internal static async Task<TrainingExample[]> AllAsync(IExampleSource source)
    {
        var rows = new TrainingExample[source.Count];
        for (int row = 0; row < rows.Length; row++)
            rows[row] = await source.ReadAsync(row);
        return rows;
    }

    internal static string Show(TrainingExample example) => string.Concat(example.Messages[^1].Parts.Select(Show));

    internal static string ShowAll(TrainingExample example) =>
        string.Join("|", example.Messages.Select(message => $"{message.Role}: {string.Concat(message.Parts.Select(Show))}"));

    private static string Show(MessagePart part) => part is TextPart text ? text.Text : "[image]";

    /// <summary>
    /// Found by fuzzing: a Snappy block that claims a gigabyte, and a structure behind which the library counts
    /// fields wrong.
    /// </summary>
    [Theory]
    [InlineData("claims-a-gigabyte.parquet", "claims to hold")]
    [InlineData("strange-part.parquet", "has a part that Parquet does not have")]
    public void What_claims_more_than_there_is_takes_no_memory(string file, string message)
    {
        string path = PathOf(file);
        // Of this thread: others test other things meanwhile.
        long before = GC.GetAllocatedBytesForCurrentThread();
        Exception refused = Assert.ThrowsAny<Exception>(() =>
        {
            using ExampleFiles files = ExampleFiles.OpenAsync(path).GetAwaiter().GetResult();
            for (long row = 0; row < files.Count; row++)
                files.ReadAsync(row).AsTask().GetAwaiter().GetResult();
        });
        Assert.True(refused is InvalidDataException or BadRowException, refused.ToString());
        Assert.Contains(message, refused.Message, StringComparison.Ordinal);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 64 << 20);
    }

    /// <summary>A structure that is not known may stand at the end, as that of a newer writer does, and nowhere else.</summary>
    [Fact]
    public void Behind_a_structure_that_is_not_known_nothing_may_follow()
    {
        var shape = new ThriftShape((1, ThriftShape.Type.Int32), (6, ThriftShape.Type.Int32));
        // Field 5, a structure with a number in it; then the end, or field 6.
        byte[] strange = [0x5C, 0x15, 0x02, 0x00];
        Check([.. strange, 0x00]);
        Assert.Throws<InvalidDataException>(() => Check([.. strange, 0x15, 0x02, 0x00]));

        void Check(byte[] bytes)
        {
            var reader = new CompactThrift(bytes);
            shape.Check(ref reader);
        }
    }
}
