using System.Globalization;
using System.Text.Json;
using System.Xml.Linq;
using Skylight.Chat;
using Skylight.Cli.Demo.Report;
using Skylight.Cli.Evaluation;
using Skylight.Generation;
using Skylight.Images;
using Skylight.Tests.Chat;
using Skylight.Tests.Checkpoints;
using Skylight.Training.Data;
using Skylight.Training.Evaluation;
using Skylight.Training.Reports;

namespace Skylight.Tests.Training.Evaluation;

/// <summary>
/// Whole evaluations of the tiny model, whose weights are random: what it says means nothing, but it says the same
/// again.
/// </summary>
public sealed class EvaluatorTests
{
    private static readonly EvaluationOptions s_options = new()
    {
        Samples = 2,
        MaxOutputTokens = 12,
        Seed = 3,
        Concurrency = 4,
        MaximumTiles = 1
    };

    [Fact]
    public async Task A_resumed_evaluation_equals_an_uninterrupted_one()
    {
        using var folder = new TemporaryFolder();
        IReadOnlyList<EvaluationItem> items = Items(folder);
        await using ChatModel model = TinyChatModel.Create(thinking: true);
        var evaluator = new Evaluator(model, s_options);
        EvaluationSettings settings = evaluator.SettingsFor(items, "f");
        (EvaluationReport whole, IReadOnlyList<EvaluationResult> results) = await evaluator.RunAsync(items, settings,
            cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal(items.Count * 2, results.Count);
        Assert.All(results,
            result => Assert.True(result is { Error: null, CompletionTokens: > 0, PromptTokens: > 0, Entropy.Sum: > 0 },
                $"{result}"));
        Assert.NotEqual(results[0].Thinking, results[1].Thinking);

        string path = folder["out"];
        using (var first = EvaluationFolder.Open(path, settings, resume: false))
        {
            using var stop = new CancellationTokenSource();
            var progress = new Watcher(value =>
            {
                if (value.Done >= 3)
                    stop.Cancel();
            });
            // Stopped by hand after the first items; then the program "dies" within a line.
            await evaluator.RunAsync([.. items.Take(2)], settings, first, progress, stop.Token)
                .ContinueWith(_ => { }, TaskScheduler.Default);
        }

        int complete = File.ReadAllLines(Path.Combine(path, "results.jsonl")).Length;
        Assert.InRange(complete, 1, 4);
        await File.AppendAllTextAsync(Path.Combine(path, "results.jsonl"), "{\"id\":\"i1\",\"sam",
            TestContext.Current.CancellationToken);
        using var second = EvaluationFolder.Open(path, settings, resume: true);
        Assert.Equal(complete, second.Before.Count);
        var counts = new List<EvaluationProgress>();
        (EvaluationReport resumed, IReadOnlyList<EvaluationResult> again) = await new Evaluator(model,
            s_options with { Concurrency = 1 })
            .RunAsync(items, settings, second, new Watcher(counts.Add), TestContext.Current.CancellationToken);
        Assert.Equal(results.Select(Timeless), again.Select(Timeless));
        Assert.Equal(Timeless(whole), Timeless(resumed));
        Assert.Equal((results.Count, results.Count), (counts[^1].Done, counts[^1].Total));
        Assert.Equal(again.Skip(complete).Sum(result => result.CompletionTokens), counts[^1].Tokens);
        second.Dispose();
        Assert.Equal(results.Count, File.ReadAllLines(Path.Combine(path, "results.jsonl")).Length);
    }

    [Fact]
    public async Task Other_settings_are_refused_and_named()
    {
        using var folder = new TemporaryFolder();
        IReadOnlyList<EvaluationItem> items = Items(folder);
        await using ChatModel model = TinyChatModel.Create();
        EvaluationSettings settings = new Evaluator(model, s_options).SettingsFor(items);
        EvaluationFolder.Open(folder["out"], settings, resume: false).Dispose();
        Assert.Contains("--resume",
            Assert.Throws<InvalidDataException>(() => EvaluationFolder.Open(folder["out"], settings, resume: false))
                .Message, StringComparison.Ordinal);
        (EvaluationSettings Other, string Name)[] others =
        [
            (settings with { Seed = 4 }, "seed: 3, not 4"), (settings with { Temperature = 0.5f }, "temperature"),
            (settings with { ModelFingerprint = "g" }, "modelFingerprint"),
            (settings with { Data = EvaluationData.Fingerprint([.. items.Skip(1)]) }, "data"),
            (settings with { MaximumTiles = null }, "maximumTiles: 1, not none"),
            (settings with { Version = 1 }, "another version of Skylight (version 2 of the settings, this is 1)"),
        ];
        foreach ((EvaluationSettings other, string name) in others)
            Assert.Contains(name,
                Assert.Throws<InvalidDataException>(() => EvaluationFolder.Open(folder["out"], other, resume: true))
                    .Message, StringComparison.Ordinal);

        // As folders of the time before there was a version are.
        string settingsFile = Path.Combine(folder["out"], "settings.json"),
            written = await File.ReadAllTextAsync(settingsFile, TestContext.Current.CancellationToken);
        string unnumbered = string.Join('\n',
            written.Split('\n').Where(line => !line.Contains("\"version\"", StringComparison.Ordinal)));
        Assert.NotEqual(written, unnumbered);
        await File.WriteAllTextAsync(settingsFile, unnumbered, TestContext.Current.CancellationToken);
        Assert.Contains("another version of Skylight",
            Assert.Throws<InvalidDataException>(() => EvaluationFolder.Open(folder["out"], settings, resume: true))
                .Message, StringComparison.Ordinal);
        await File.WriteAllTextAsync(settingsFile, written, TestContext.Current.CancellationToken);

        EvaluationFolder.Open(folder["out"], settings, resume: true).Dispose();
        await File.WriteAllTextAsync(Path.Combine(folder["out"], "results.jsonl"),
            "{\"id\":\"a\",\"sample\":0}\nnonsense\n", TestContext.Current.CancellationToken);
        Assert.Contains("line 2",
            Assert.Throws<InvalidDataException>(() => EvaluationFolder.Open(folder["out"], settings, resume: true))
                .Message, StringComparison.Ordinal);
        await File.WriteAllTextAsync(settingsFile, "", TestContext.Current.CancellationToken);
        Assert.Contains("settings.json",
            Assert.Throws<InvalidDataException>(() => EvaluationFolder.Open(folder["out"], settings, resume: true))
                .Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_cannot_be_asked_is_counted_apart_and_is_tried_again()
    {
        using var folder = new TemporaryFolder();
        IReadOnlyList<EvaluationItem> items = Items(folder);
        byte[] picture = await File.ReadAllBytesAsync(folder["one.png"], TestContext.Current.CancellationToken);
        folder.Write("one.png", [.. picture[..40], .. new byte[picture.Length - 40]]);
        await using ChatModel model = TinyChatModel.Create();
        var evaluator = new Evaluator(model, s_options with { Samples = 1 });
        EvaluationSettings settings = evaluator.SettingsFor(items);
        using (var output = EvaluationFolder.Open(folder["out"], settings, resume: false))
        {
            (EvaluationReport report, IReadOnlyList<EvaluationResult> results) = await evaluator.RunAsync(items,
                settings, output, cancellationToken: TestContext.Current.CancellationToken);
            Assert.Equal(items.Count(item => item.Images.Count > 0), report.Failures);
            Assert.Equal(results.Count(result => result is { Error: null, IsCorrect: false }), report.Wrong);
            Assert.Equal(results.Count - report.Failures, report.Accuracy.Samples);
            Assert.Contains("one.png", report.FailureReasons[0], StringComparison.Ordinal);
            Assert.All(results.Where(result => result.Error is not null), result => Assert.False(result.IsCorrect));
            string page = EvalPage.Render(report, items, results);
            Assert.Contains("What went wrong", page, StringComparison.Ordinal);
        }

        folder.Write("one.png", picture);
        using var resumed = EvaluationFolder.Open(folder["out"], settings, resume: true);
        (EvaluationReport mended, _) = await evaluator.RunAsync(items, settings, resumed,
            cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal(0, mended.Failures);
    }

    [Fact]
    public async Task A_budget_that_the_context_cannot_hold_is_cut_and_counted()
    {
        using var folder = new TemporaryFolder();
        EvaluationItem[] items = [new EvaluationItem("short", "Hm?", ["x"]),
            new EvaluationItem("long", string.Concat(Enumerable.Repeat("word ", 100)), ["x"])];
        await using ChatModel model = TinyChatModel.Create(new ChatModelOptions { CacheTokens = 256, ContextTokens = 160 });
        var evaluator = new Evaluator(model, s_options with { Samples = 1, MaxOutputTokens = 60 });
        (EvaluationReport report, IReadOnlyList<EvaluationResult> results) = await evaluator.RunAsync(items,
            evaluator.SettingsFor(items), cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal(60, results[0].TokenBudget);
        Assert.Equal(160, results[1].TokenBudget + results[1].PromptTokens);
        Assert.InRange(results[1].CompletionTokens, 1, results[1].TokenBudget);
        Assert.Equal(1, report.ShortenedBudgets);
    }

    [Fact]
    public async Task What_is_wrong_for_all_items_ends_the_run_and_what_is_too_long_only_fails_itself()
    {
        EvaluationItem[] items = [new EvaluationItem("short", "Hm?", ["x"]),
            new EvaluationItem("long", string.Concat(Enumerable.Repeat("word ", 300)), ["x"])];
        await using ChatModel model = TinyChatModel.Create(new ChatModelOptions { CacheTokens = 256, ContextTokens = 160 });
        var evaluator = new Evaluator(model, s_options with { Samples = 1 });
        (EvaluationReport report, IReadOnlyList<EvaluationResult> results) = await evaluator.RunAsync(items,
            evaluator.SettingsFor(items), cancellationToken: TestContext.Current.CancellationToken);
        Assert.Null(results[0].Error);
        Assert.Contains("160", results[1].Error, StringComparison.Ordinal);
        Assert.DoesNotContain("(Parameter", results[1].Error, StringComparison.Ordinal);
        Assert.Equal((1, 0), (report.Failures, report.ShortenedBudgets));

        (EvaluationReport failed, _) = await evaluator.RunAsync(items[1..], evaluator.SettingsFor(items),
            cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal((1, 0, AccuracyInterval.Unknown), (failed.Failures, failed.Wrong, failed.Accuracy));

        // Before the first item, and before there is a folder.
        ArgumentException refused = Assert.Throws<ArgumentException>(
            () => new Evaluator(model, s_options with { BannedWords = ["Waaaaaaait"] }));
        Assert.Contains("Waaaaaaait", refused.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => new Evaluator(model, s_options with { BannedWords = [" "] }));
    }

    [Fact]
    public async Task The_model_is_right_where_the_answer_is_what_it_says()
    {
        using var folder = new TemporaryFolder();
        EvaluationItem[] asked = [.. Items(folder).Where(item => !item.IsMultipleChoice)];
        await using ChatModel model = TinyChatModel.Create();
        EvaluationOptions greedy = s_options with { Temperature = 0, Samples = 1 };
        IReadOnlyList<EvaluationResult> said = (await Run(asked)).Results;
        EvaluationItem[] items = [.. asked.Zip(said, (item, result) => item with { Answers = [result.Answer.Trim()] }),
            new EvaluationItem("wrong", "Hm?", ["what it never says"])];
        (EvaluationReport report, IReadOnlyList<EvaluationResult> results) = await Run(items);
        Assert.All(results.SkipLast(1), result => Assert.True(result.IsCorrect, $"{result}"));
        Assert.Equal((double)asked.Length / items.Length, report.Accuracy.Mean, 12);
        Assert.Equal(said.Sum(result => result.CompletionTokens),
            results.SkipLast(1).Sum(result => result.CompletionTokens));
        Assert.Equal(results.Average(result => result.CompletionTokens), report.MeanTokens, 12);

        async Task<(EvaluationReport Report, IReadOnlyList<EvaluationResult> Results)> Run(
            IReadOnlyList<EvaluationItem> some)
        {
            var evaluator = new Evaluator(model, greedy);
            return await evaluator.RunAsync(some, evaluator.SettingsFor(some),
                cancellationToken: TestContext.Current.CancellationToken);
        }
    }

    [Fact]
    public void The_report_sums_up()
    {
        EvaluationItem[] items = [new("a", "q", ["1"]) { Category = "x & y" },
            new("b", "q", ["1"]) { Category = "x & y" }, new("c", "<q>", ["1"])];
        EvaluationResult[] results =
        [
            Result("a", 0, true, FinishReason.Stop, 10, new EntropySums(2, 1, 5, 1)),
            Result("a", 1, false, FinishReason.Length, 30, new EntropySums(4, 2, 10, 0)),
            Result("b", 0, true, FinishReason.Stop, 10, new EntropySums(0, 0, 5, 0)),
            Result("b", 1, true, FinishReason.Stop, 10, new EntropySums(0, 0, 5, 0)),
            Result("c", 0, false, FinishReason.Stop, 10, new EntropySums(0, 0, 5, 0)),
            Result("c", 1, false, FinishReason.Stop, 10, new EntropySums(0, 0, 5, 0)),
        ];
        var settings = new EvaluationSettings("<m>", "f", "d", 1, 1, 1, 1, 30, 100, PromptStyle.Direct,
            ThinkingMode.Default, "", null);
        EvaluationReport report = EvaluationReport.Of(settings, items, results, 2);
        Assert.Equal(0.5, report.Accuracy.Mean, 12);
        Assert.Equal([2.0 / 3, 1.0 / 3], report.SampleAccuracies.Select(accuracy => Math.Round(accuracy, 12))
            .Select(accuracy => accuracy > 0.5 ? 2.0 / 3 : 1.0 / 3));
        Assert.Equal(["(none)", "x & y"], report.Categories.Select(category => category.Name));
        Assert.Equal(0.75, report.Categories[1].Accuracy.Mean, 12);
        Assert.Equal(2.0, report.MeanCriticalEntropy!.Value, 12);
        Assert.Equal(35.0 / 80, report.MeanEntropy!.Value, 12);
        Assert.Equal(1.0 / 80, report.ShareAboveThreshold!.Value, 12);
        Assert.Equal(1.0 / 6, report.TruncatedShare, 12);
        Assert.Equal(80.0 / 6, report.MeanTokens, 12);
        Assert.Equal([new RuleCount(AnswerRule.None, 3, 0), new RuleCount(AnswerRule.Boxed, 3, 3)], report.Rules);
        using JsonDocument json = JsonDocument.Parse(report.ToJson());
        Assert.Equal("Boxed", json.RootElement.GetProperty("rules")[1].GetProperty("rule").GetString());
        Assert.Throws<ArgumentException>(() => EvaluationReport.Of(settings, items, results[1..], 2));

        XDocument page = XDocument.Parse(EvalPage.Render(report, items, results));
        string text = page.Root!.Value;
        Assert.Contains($"<m> answers {Markup.Percent(0.5)} of 3 questions", text, StringComparison.Ordinal);
        Assert.Contains("x & y", text, StringComparison.Ordinal);
        Assert.DoesNotContain(page.Descendants(), element => element.Name.LocalName is "script" or "link");
        Assert.All(page.Descendants().Attributes("src"),
            source => Assert.StartsWith("data:image/", source.Value, StringComparison.Ordinal));

        static EvaluationResult Result(string id, int sample, bool right, FinishReason end, int tokens,
            EntropySums entropy) => new(id, sample)
            {
                IsCorrect = right,
                Given = right ? "1" : null,
                Rule = right ? AnswerRule.Boxed : AnswerRule.None,
                FinishReason = end,
                Answer = right ? @"\boxed{1} \0" : "<b>",
                Thinking = "Wait, \u0001 what?",
                CompletionTokens = tokens,
                TokenBudget = 30,
                Entropy = entropy,
            };
    }

    [Fact]
    public void Seeds_differ_by_item_and_sample()
    {
        ulong[] seeds = [Evaluator.SeedOf(1, "a", 0), Evaluator.SeedOf(1, "a", 1), Evaluator.SeedOf(1, "b", 0),
            Evaluator.SeedOf(2, "a", 0), Evaluator.SeedOf(1, "0\na", 0)];
        Assert.Equal(seeds.Length, seeds.Distinct().Count());
        // The same in every build, or a resumed run would go on with others: change them with
        // EvaluationSettings.CurrentVersion only.
        Assert.Equal(5317712996757560242ul, seeds[0]);
    }

    private static List<EvaluationItem> Items(TemporaryFolder folder)
    {
        var picture = TinyChatModel.Picture(2);
        var gray = new byte[picture.Width * picture.Height];
        for (int pixel = 0; pixel < gray.Length; pixel++)
            gray[pixel] = (byte)(pixel * 7);
        string file = folder.Write("one.png", PngEncoder.EncodeGray(gray, picture.Width, picture.Height));
        return
        [
            new EvaluationItem("i0", "What is 2 + 2?", ["4", "four"]) { Category = "Sums" },
            new EvaluationItem("i1", "Which is it?", ["B"])
            {
                Options = ["a cat", "a dog"], Images = [ExampleImage.FromFile(file)], Category = "Art",
            },
            new EvaluationItem("i2", "See <image 1>. Why?", ["because"]) { Images = [ExampleImage.FromFile(file)] },
            new EvaluationItem("i3", "Which?", ["A"]) { Options = ["left", "right"], Category = "Art" },
        ];
    }

    private static EvaluationResult Timeless(EvaluationResult result) => result with { Seconds = 0 };

    private static string Timeless(EvaluationReport report) =>
        (report with { Seconds = 0, TokensPerSecond = 0 }).ToJson().ToString(CultureInfo.InvariantCulture);

    private sealed class Watcher(Action<EvaluationProgress> see) : IProgress<EvaluationProgress>
    {
        public void Report(EvaluationProgress value) => see(value);
    }
}
