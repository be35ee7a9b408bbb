using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Skylight.Cli;
using Skylight.Cli.Demo;
using Skylight.Cli.Demo.Digits;
using Skylight.Images;
using Skylight.Training.Rewards;

namespace Skylight.Tests.Cli.Demo;

/// <summary><c>skylight demo --write-data</c>.</summary>
[Collection(nameof(ConsoleOutput))]
public sealed class DemoDataTests
{
    private static readonly string[] s_files = ["arithmetic", "captions", "cold-start", "problems", "test", "validation"];
    private static readonly DemoDataSizes s_sizes = new(Captions: 40, Arithmetic: 60, ColdStart: 80, Problems: 50,
        Validation: 20, Test: 30);

    [Fact]
    public void Rows_say_what_the_pictures_show()
    {
        using var folder = new TemporaryFolder();
        // Every digit is a block of its split's and its own gray, so that a picture tells what it was made of.
        int pictures = DemoData.Write(folder["data"], new DigitDataset(Blocks(100), Blocks(200)), 3, s_sizes,
            CancellationToken.None);
        Assert.Equal([.. s_files.Select(name => $"{name}.jsonl").Append("pictures").Order(StringComparer.Ordinal)],
            Names(folder["data"]));
        var ids = new HashSet<string>();
        var shown = new HashSet<string>();
        foreach ((string file, int count) in (ReadOnlySpan<(string, int)>)[("captions", 40), ("arithmetic", 60),
            ("cold-start", 80), ("problems", 50), ("validation", 20), ("test", 30)])
        {
            JsonElement[] rows = Rows(folder["data"], file);
            Assert.Equal(count, rows.Length);
            foreach (JsonElement row in rows)
            {
                Assert.True(ids.Add(row.GetProperty("id").GetString()!));
                (int Left, int Right)? digits = null;
                if (row.TryGetProperty("images", out JsonElement images))
                {
                    string path = Assert.Single(images.EnumerateArray()).GetString()!;
                    shown.Add(Path.GetFileName(path));
                    digits = Read(Path.Combine(folder["data"], path), file == "test" ? 200 : 100);
                }

                Check(file, row, digits);
            }
        }

        Assert.Equal(shown.Order(StringComparer.Ordinal), Names(Path.Combine(folder["data"], "pictures")));
        Assert.Equal(shown.Count, pictures);
        // A quarter of the traces corrects itself.
        Assert.InRange(Rows(folder["data"], "cold-start")
            .Count(row => Said(row).Answer.Contains("Wait", StringComparison.Ordinal)), 8, 34);
    }

    [Fact]
    public void Rows_with_the_same_picture_share_its_file()
    {
        using var folder = new TemporaryFolder();
        // Ink in every corner: the digit cannot move, and there is one picture only.
        var pixels = new byte[DigitSet.Area];
        pixels[0] = pixels[^1] = 255;
        var digits = new DigitSet(pixels, [3]);
        Assert.Equal(1,
            DemoData.Write(folder["data"], new DigitDataset(digits, digits), 3, s_sizes, CancellationToken.None));
        Assert.Equal(["00001.png"], Names(Path.Combine(folder["data"], "pictures")));
    }

    [Fact]
    public void The_seed_decides_what_is_trained_on_and_nothing_else()
    {
        using var folder = new TemporaryFolder();
        DigitDataset digits = DigitDataset.Load(DigitDataset.FindBundled()!);
        Directory.CreateDirectory(folder["b"]);
        foreach ((string name, ulong seed) in (ReadOnlySpan<(string, ulong)>)[("a", 1), ("b", 1), ("c", 2)])
            DemoData.Write(folder[name], digits, seed, s_sizes, CancellationToken.None);
        Assert.Equal(Names(folder["a"]), Names(folder["b"]));
        foreach (string file in Directory.EnumerateFiles(folder["a"], "*", SearchOption.AllDirectories))
            Assert.Equal(File.ReadAllBytes(file),
                File.ReadAllBytes(Path.Combine(folder["b"], Path.GetRelativePath(folder["a"], file))));
        foreach (string file in s_files)
        {
            bool isFixed = file is "test" or "validation";
            Assert.Equal(isFixed, Seen(folder["a"], file).SequenceEqual(Seen(folder["c"], file)));
        }

        static IEnumerable<string> Seen(string data, string file) => Rows(data, file).Select(row =>
            (row.TryGetProperty("images", out JsonElement images)
                ? Convert.ToHexString(File.ReadAllBytes(Path.Combine(data, images[0].GetString()!))) : Said(row).Answer)
            + (row.TryGetProperty("answer", out JsonElement answer) ? answer.GetString() : ""));
    }

    [Fact]
    public async Task The_command_writes_and_refuses_what_it_would_not_use()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("8 captions, 6 rows of arithmetic",
            await Run("--write-data", folder["new/data"], "--tiny", "--seed", "5"), StringComparison.Ordinal);
        Assert.Equal(8, Rows(folder["new/data"], "problems").Length);
        Assert.Contains("is not empty",
            (await Assert.ThrowsAsync<IOException>(() => Run("--write-data", folder["new/data"], "--tiny"))).Message,
            StringComparison.Ordinal);
        folder.Write("file", "");
        Assert.Contains("is a file",
            (await Assert.ThrowsAsync<IOException>(() => Run("--write-data", folder["file"], "--tiny"))).Message,
            StringComparison.Ordinal);
        foreach (string[] other in (string[][])[["--out", "x"], ["--resume", "x"], ["--json"], ["--device", "cpu"]])
            Assert.Contains($"{other[0]} cannot be used with --write-data",
                (await Assert.ThrowsAsync<ArgumentException>(() => Run(["--write-data", folder["other"], .. other])))
                    .Message, StringComparison.Ordinal);
        Assert.Equal(new DemoDataSizes(6000, 3000, 128, 4000, 256, 1000), DemoDataSizes.Of(DemoPreset.Full));
        Assert.Equal(["file", "new"], folder.Names());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_fails_half_way_leaves_nothing(bool isThere)
    {
        using var folder = new TemporaryFolder();
        if (isThere)
            Directory.CreateDirectory(folder["data"]);
        using var cancelled = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => NewFolder.Write(folder["data"], staging =>
        {
            File.WriteAllText(Path.Combine(staging, "half"), "");
            Assert.Equal(isThere ? ["data"] : [Path.GetFileName(staging)], folder.Names());
            cancelled.Cancel();
            cancelled.Token.ThrowIfCancellationRequested();
        }));
        Assert.Equal(isThere ? ["data"] : [], folder.Names());
        if (isThere)
            Assert.Empty(Directory.EnumerateFileSystemEntries(folder["data"]));
    }

    private static void Check(string file, JsonElement row, (int Left, int Right)? digits)
    {
        string question, answer, response;
        if (file is "captions" or "arithmetic" or "cold-start")
        {
            (question, response) = Said(row);
            if (file == "captions")
            {
                Assert.Equal(("<image>digits?", $"{digits!.Value.Left} {digits.Value.Right}"), (question, response));
                return;
            }

            Match named = Regex.Match(response,
                @"^<think>\n(?:\d and \d\. Wait, )?(\d) and (\d)\. [^ ]+</think>\\boxed\{(\d+)\}$");
            Assert.True(named.Success, response);
            (int, int) named2 = (Number(named.Groups[1]), Number(named.Groups[2]));
            if (file == "cold-start")
            {
                Assert.StartsWith("<image>", question, StringComparison.Ordinal);
                question = question["<image>".Length..];
            }
            else
            {
                Assert.Equal($"{named2.Item1} and {named2.Item2}. ", question[..9]);
                question = question[9..];
                digits = named2;
            }

            Assert.Equal(digits, named2);
            answer = named.Groups[3].Value;
            Assert.True(new AnswerVerifier().Verify(response, answer)
                && ThinkFormatReward.IsWellFormed("", response, finished: true));
        }
        else
        {
            (question, answer) = (row.GetProperty("question").GetString()!, row.GetProperty("answer").GetString()!);
            Assert.Equal(question,
                Asked(Enum.Parse<DigitQuestion>(row.GetProperty("category").GetString()!, ignoreCase: true)));
        }

        DigitQuestion asked = DigitQuestions.All.ToArray().Single(known => Asked(known) == question);
        Assert.Equal(asked.Answer(digits!.Value.Left, digits.Value.Right).ToString(CultureInfo.InvariantCulture), answer);

        static string Asked(DigitQuestion known) => known.Ask();
        static int Number(Group group) => int.Parse(group.Value, CultureInfo.InvariantCulture);
    }

    private static (string Question, string Answer) Said(JsonElement row)
    {
        JsonElement[] messages = [.. row.GetProperty("messages").EnumerateArray()];
        Assert.Equal(["user", "assistant"], messages.Select(message => message.GetProperty("role").GetString()!));
        return (messages[0].GetProperty("content").GetString()!, messages[1].GetProperty("content").GetString()!);
    }

    private static (int Left, int Right) Read(string file, int offset)
    {
        RgbImage image = new PngDecoder().Decode(File.ReadAllBytes(file), ImageLimits.Default);
        Assert.Equal((56, 28), (image.Width, image.Height));
        int[] halves = new int[2];
        for (int pixel = 0; pixel < 56 * 28; pixel++)
            halves[pixel % 56 / 28] = Math.Max(halves[pixel % 56 / 28], image.Pixels[3 * pixel]);
        Assert.All(halves, ink => Assert.InRange(ink - offset, 0, 9));
        return (halves[0] - offset, halves[1] - offset);
    }

    private static DigitSet Blocks(int offset)
    {
        var images = new byte[10 * DigitSet.Area];
        for (int digit = 0; digit < 10; digit++)
        {
            for (int pixel = 0; pixel < 400; pixel++)
                images[(digit * DigitSet.Area) + ((4 + (pixel / 20)) * DigitSet.Side) + 4 + (pixel % 20)] = (byte)(
                    offset + digit);
        }

        return new DigitSet(images, [.. Enumerable.Range(0, 10).Select(digit => (byte)digit)]);
    }

    private static JsonElement[] Rows(string folder, string file) =>
        [.. File.ReadAllLines(Path.Combine(folder, $"{file}.jsonl")).Select(line => JsonDocument.Parse(line).RootElement)];

    private static string[] Names(string folder) =>
        [.. Directory.EnumerateFileSystemEntries(folder).Select(path => Path.GetFileName(path))
            .Order(StringComparer.Ordinal)];

    private static async Task<string> Run(params string[] arguments)
    {
        TextWriter before = Console.Out;
        using var output = new StringWriter();
        Console.SetOut(output);
        try
        {
            Assert.Equal(0, await DemoCommand.Create().Parse(arguments)
                .InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false }));
            return output.ToString();
        }
        finally
        {
            Console.SetOut(before);
        }
    }
}
