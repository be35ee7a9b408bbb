using System.Text;
using Skylight.Checkpoints;
using Skylight.Cli.Demo;
using Skylight.Cli.Demo.Digits;
using Skylight.Cpu;
using Skylight.Models;
using Skylight.Training.Runs;

namespace Skylight.Tests.Training.Runs;

/// <summary>Whole runs of every method on the demo's model and a little of its data.</summary>
public sealed class TrainingRunTests : IClassFixture<TrainingRunTests.Files>
{
    private const string Supervised =
        "method: sft\nlearning_rate: 1e-3\nsteps: 6\nbatch: 8\ndata: cold-start.jsonl\nprompt: {thinking: " +
        "on}\nevaluation: {data: test.jsonl, every: 4, items: 6, max_new_tokens: 16}\ncheckpoints: {every: 2, " +
        "keep: 1, save_state: 2}\nsampling: {max_new_tokens: 16}\n";
    private const string Grpo =
        "method: grpo\nlearning_rate: 1e-3\nsteps: 4\nbatch: 4\ndata: problems.jsonl\nprompt: {thinking: " +
        "on}\nsampling: {group: 4, max_new_tokens: 8, temperature: [1.2, 0.9]}\n"
        + "rewards: [{name: length, weight: 1, options: {shape: linear}}, {name: format, weight: 0.1}]\ngrpo: {loss: " +
            "dapo, resample: 1, keep_surplus: 1, mini_batches: 2}\ncheckpoints: {save_state: 1}\nsamples: all\n";
    private const string Rejection =
        "method: rejection\nlearning_rate: {connector: 1e-3}\nsteps: 3\nbatch: 4\ndata: problems.jsonl\nprompt: " +
        "{thinking: on}\nsampling: {group: 3, max_new_tokens: 8}\nrewards: [{name: regex, options: {pattern: " +
        "\"\\\\d\"}}]\ncheckpoints: {save_state: 1}\n";

    private readonly Files _files;

    public TrainingRunTests(Files files) => _files = files;

    public static TheoryData<string> Recipes => [Supervised, Grpo, Rejection];

    [Theory]
    [MemberData(nameof(Recipes))]
    public async Task Interrupted_and_resumed_equals_uninterrupted(string text)
    {
        using var folder = new TemporaryFolder();
        Recipe recipe = Read(text);
        RunResult straight = await RunAsync(recipe, folder["straight"]);
        Assert.Equal(recipe.Schedule.Steps, straight.Steps);
        // Cancelled at every report in turn: in the middle of everything that is between two of them.
        bool isComplete = false;
        for (int sitting = 0; !isComplete; sitting++)
        {
            Assert.True(sitting < 40);
            using var cancellation = new CancellationTokenSource();
            try
            {
                await RunAsync(recipe, folder["cut"], Directory.Exists(folder["cut/state"]),
                    new Canceller(cancellation, reports: 1 + sitting % 2), cancellation.Token);
                isComplete = true;
            }
            catch (OperationCanceledException)
            {
            }
        }

        foreach (string name in (string[])["model.safetensors", "config.json", "samples.jsonl", "recipe.yaml"])
            Assert.Equal(File.ReadAllBytes(folder[$"straight/{name}"]), File.ReadAllBytes(folder[$"cut/{name}"]));
        IReadOnlyList<StepFigures> one = RunLog.ReadMetrics(folder["straight/metrics.jsonl"], 1 << 20),
            other = RunLog.ReadMetrics(folder["cut/metrics.jsonl"], 1 << 20);
        Assert.Equal(one.Select(Timeless), other.Select(Timeless));
        Assert.Equal(Names(folder["straight"]), Names(folder["cut"]));
        // A run that has ended says what came of it, and does nothing.
        RunResult again = await RunAsync(recipe, folder["cut"], resume: true);
        Assert.Equal((straight.Steps, straight.Accuracy), (again.Steps, again.Accuracy));

        static string Timeless(StepFigures figures) =>
            $"{figures.Kind} {figures.Step}: " +
            $"{string.Join(", ", figures.Values.Where(value => !StepFigures.IsTime(value.Name)))}";
    }

    [Fact]
    public async Task The_result_is_a_checkpoint_like_the_one_before_with_logs_and_a_page()
    {
        using var folder = new TemporaryFolder();
        await RunAsync(Read(Supervised), folder["run"]);
        Assert.Equal(Directory.GetFiles(_files.Model).Select(Path.GetFileName).Append("bad-rows.jsonl")
            .Except(["bad-rows.jsonl"])
            .Concat(["events.out.tfevents.skylight", "metrics.jsonl", "recipe.yaml", "report.html", "samples.jsonl"])
            .Order(StringComparer.Ordinal),
            Directory.GetFiles(folder["run"]).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        foreach (string name in (string[])["config.json", "tokenizer.json", "tokenizer_config.json",
            "preprocessor_config.json", "chat_template.jinja"])
            Assert.Equal(Encoding.UTF8.GetString(File.ReadAllBytes(Path.Combine(_files.Model, name))).Trim(),
                File.ReadAllText(folder[$"run/{name}"]).Trim());
        using SafetensorsFile before = SafetensorsFile.Open(Path.Combine(_files.Model, "model.safetensors")),
            after = SafetensorsFile.Open(folder["run/model.safetensors"]);
        Assert.Equal(before.Entries.Select(entry => (entry.Name, entry.Type, entry.Shape)),
            after.Entries.Select(entry => (entry.Name, entry.Type, entry.Shape)));
        // The last one, and the best, which may be another.
        string?[] kept = [.. Directory.GetDirectories(folder["run/checkpoints"]).Select(Path.GetFileName)];
        Assert.Contains("step-000006", kept);
        Assert.InRange(kept.Length, 1, 2);
        string page = File.ReadAllText(folder["run/report.html"]);
        System.Xml.Linq.XDocument.Parse(page.Replace("<!DOCTYPE html>", ""));
        Assert.Contains("Held-out accuracy", page, StringComparison.Ordinal);
        IReadOnlyList<StepFigures> figures = RunLog.ReadMetrics(folder["run/metrics.jsonl"], 1 << 20);
        Assert.Equal([0, 4, 6],
            figures.Where(step => step.Kind == FigureKind.Evaluation && step.Step % 2 == 0
                && (step.Step % 4 == 0 || step.Step == 6)).Select(step => step.Step).Distinct());
        double[] losses = [.. figures.Where(step => step.Kind == FigureKind.Step).Select(step => step["loss"]!.Value)];
        Assert.True(losses[^1] < losses[0] - 0.2, string.Join(" ", losses));
    }

    [Fact]
    public async Task Rollout_and_training_agree_to_the_bit_and_rewards_rise()
    {
        using var folder = new TemporaryFolder();
        RunResult result = await RunAsync(Read(Grpo), folder["run"]);
        Assert.Equal(0, result.LogProbabilityDifference);
        IReadOnlyList<StepFigures> steps = RunLog.ReadMetrics(folder["run/metrics.jsonl"], 1 << 20);
        Assert.All(steps, step => Assert.NotNull(step["reward/length"]));
        Assert.All(steps, step => Assert.NotNull(step["reward/format"]));
        Assert.Equal(4 * 4 * 4, RunLog.ReadSamples(folder["run/samples.jsonl"], 1 << 20).Count);
    }

    [Fact]
    public async Task Bad_rows_are_listed_and_stop_a_run_that_allows_none()
    {
        using var folder = new TemporaryFolder();
        string[] rows = File.ReadAllLines(Path.Combine(_files.Data, "problems.jsonl"));
        string Row(int index) =>
            rows[index].Replace("pictures/", _files.Data.Replace('\\', '/') + "/pictures/", StringComparison.Ordinal);
        folder.Write("data.jsonl",
            string.Join('\n',
                [Row(0), rows[1].Replace("pictures/", "absent/", StringComparison.Ordinal), Row(2),
                    "{\"question\": \"no answer\"}", Row(3)]));
        string text = Grpo.Replace("problems.jsonl", folder["data.jsonl"].Replace('\\', '/'), StringComparison.Ordinal)
            .Replace("name: length, weight: 1, options: {shape: linear}", "name: answer", StringComparison.Ordinal);
        string message = (await Assert.ThrowsAsync<InvalidDataException>(
            () => RunAsync(RecipeFile.Parse(text, "run.yaml"), folder["none"]))).Message;
        Assert.Contains("none is allowed", message, StringComparison.Ordinal);
        RunResult result = await RunAsync(RecipeFile.Parse(text + "bad_rows: 2\n", "run.yaml"), folder["some"]);
        Assert.Equal(2, result.BadRows);
        string listed = File.ReadAllText(folder["some/bad-rows.jsonl"]);
        Assert.Contains("\"line\":2", listed, StringComparison.Ordinal);
        Assert.Contains("\"line\":4", listed, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("patience: 2\n", "none of its rows has a response to learn from")]
    [InlineData("", "none of the rows of its evaluation data has an answer")]
    public async Task An_evaluation_must_have_what_checkpoints_are_compared_by(string more, string expected)
    {
        using var folder = new TemporaryFolder();
        string row = more.Length > 0 ? "{\"question\": \"sum?\", \"answer\": \"1\"}"
            : "{\"messages\": [{\"role\": \"user\", \"content\": \"sum?\"}, {\"role\": \"assistant\", \"content\": " +
                "\"<think>\\nx\\n</think>\\n\\n1\"}]}";
        string text = Supervised.Replace("test.jsonl", $"'{folder.Write("held-out.jsonl", row)}'",
            StringComparison.Ordinal).Replace("keep: 1", "keep: 1, result: best", StringComparison.Ordinal);
        string message = (
            await Assert.ThrowsAsync<InvalidDataException>(() => RunAsync(Read(text + more), folder["run"]))).Message;
        Assert.Contains(expected, message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder["run"]));
    }

    [Fact]
    public async Task Supervised_tuning_has_the_loss_and_the_accuracy_of_rows_with_responses_and_answers()
    {
        using var folder = new TemporaryFolder();
        string row =
            "{\"messages\": [{\"role\": \"user\", \"content\": \"sum?\"}, {\"role\": \"assistant\", \"content\": " +
            "\"<think>\\nx\\n</think>\\n\\n1\"}], \"answer\": \"1\"}";
        await RunAsync(
            Read(Supervised.Replace("test.jsonl", $"'{folder.Write("held-out.jsonl", row)}'",
                StringComparison.Ordinal)), folder["run"]);
        StepFigures last = RunLog.ReadMetrics(folder["run/metrics.jsonl"], 1 << 20)
            .Last(figures => figures.Kind == FigureKind.Evaluation);
        Assert.True(last["loss"] > 0 && last["accuracy"] is not null);
    }

    [Theory]
    [InlineData(Supervised)]
    [InlineData(Grpo)]
    [InlineData(Rejection)]
    public async Task What_is_not_finite_is_named_and_never_saved(string text)
    {
        using var folder = new TemporaryFolder();
        // Some parameters become infinite in the first step that moves anything.
        string wild = text.Replace("1e-3", "3e38", StringComparison.Ordinal)
            .Replace("\\\\d", ".", StringComparison.Ordinal) + "optimizer: {max_gradient_norm: 0}\n";
        string message = (await Assert.ThrowsAsync<Skylight.Training.TrainingDivergedException>(
            () => RunAsync(Read(wild), folder["run"]))).Message;
        Assert.Matches("ptimizer step [12]: .*'(vision|connector|language)[^']*'", message);
        Assert.Contains("resume from the last checkpoint", message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder["run/checkpoints"]));
        Assert.False(File.Exists(folder["run/model.safetensors"]));
    }

    [Fact]
    public async Task Each_source_has_its_own_range_of_difficulty()
    {
        using var folder = new TemporaryFolder();
        string[] Rows(string name) =>
            [.. Enumerable.Range(0, 10)
                .Select(index =>
                    $"{{\"id\": \"{name}{index}\", \"question\": \"sum?\", \"answer\": \"1\", \"difficulty\": {index}}}")];
        folder.Write("a.jsonl",
            string.Join('\n', [.. Rows("a"), "{\"id\": \"a?\", \"question\": \"sum?\", \"answer\": \"1\"}"]));
        folder.Write("b.jsonl", string.Join('\n', Rows("b")));
        string data =
            $"[{{file: '{folder["a.jsonl"]}', difficulty: [2, 4]}}, {{file: '{folder["b.jsonl"]}', difficulty: [6, 9]}}]";
        await RunAsync(RecipeFile.Parse(Grpo.Replace("problems.jsonl", data, StringComparison.Ordinal), "run.yaml"),
            folder["run"]);
        string[] ids = [.. RunLog.ReadSamples(folder["run/samples.jsonl"], 1 << 20).Select(sample => sample.Id).Distinct()];
        Assert.Contains(ids, id => id[0] == 'a');
        Assert.Contains(ids, id => id[0] == 'b');
        Assert.All(ids, id => Assert.Contains(id, (string[])["a2", "a3", "a4", "b6", "b7", "b8", "b9"]));
        string twice = Grpo.Replace("problems.jsonl", $"['{folder["a.jsonl"]}', '{folder["a.jsonl"]}']",
            StringComparison.Ordinal);
        Assert.Contains("twice",
            (await Assert.ThrowsAsync<RecipeException>(() =>
                RunAsync(RecipeFile.Parse(twice, "run.yaml"), folder["twice"]))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_folder_with_another_run_is_refused()
    {
        using var folder = new TemporaryFolder();
        Recipe recipe = Read(Rejection);
        await RunAsync(recipe, folder["run"]);
        Assert.Contains("--resume", (await Assert.ThrowsAsync<RecipeException>(() => RunAsync(recipe, folder["run"])))
            .Message, StringComparison.Ordinal);
        string message = (await Assert.ThrowsAsync<RecipeException>(
            () => RunAsync(Read(Rejection.Replace("batch: 4", "batch: 5")), folder["run"], resume: true))).Message;
        Assert.Contains("'batch: 4' then, 'batch: 5' now", message, StringComparison.Ordinal);
        folder.Write("other", "x");
        Directory.CreateDirectory(folder["full"]);
        File.WriteAllText(folder["full/notes.txt"], "mine");
        Assert.Contains("is not empty and holds no run",
            (await Assert.ThrowsAsync<RecipeException>(() => RunAsync(recipe, folder["full"]))).Message,
            StringComparison.Ordinal);
        // Nothing is left behind by what was wrong before.
        await Assert.ThrowsAnyAsync<Exception>(
            () => RunAsync(Read(Rejection.Replace("problems.jsonl", "absent.jsonl")), folder["new"]));
        Assert.False(Directory.Exists(folder["new"]));
    }

    private Recipe Read(string text) => RecipeFile.Parse($"data_folder: '{_files.Data}'\n{text}", "run.yaml");

    private async Task<RunResult> RunAsync(Recipe recipe, string folder, bool resume = false,
        IRunObserver? observer = null, CancellationToken cancellationToken = default)
    {
        await using TrainingRun run = await TrainingRun.OpenAsync(recipe, _files.Model, folder,
            new TrainingRunOptions(new CpuDevice()) { Resume = resume, Observer = observer }, cancellationToken);
        return await run.RunAsync(cancellationToken);
    }

    private static IEnumerable<string> Names(string folder) =>
        Directory.EnumerateFileSystemEntries(folder, "*", SearchOption.AllDirectories)
            .Select(entry => Path.GetRelativePath(folder, entry)).Order(StringComparer.Ordinal);

    private sealed class Canceller(CancellationTokenSource cancellation, int reports) : IRunObserver
    {
        private int _left = reports;

        public void Begin(Recipe recipe, int step, int steps)
        {
        }

        public void Report(StepFigures figures, int steps)
        {
            if (--_left == 0)
                cancellation.Cancel();
        }

        public void Note(string text)
        {
        }

        public void End(RunResult result)
        {
        }
    }

    /// <summary>The demo's model and some of its data, made once.</summary>
    public sealed class Files : IDisposable
    {
        private readonly TemporaryFolder _folder = new();

        public Files()
        {
            Assert.Equal(0, Skylight.Cli.SkylightCommand.Create().Parse(["init", Model, "--like", "demo"]).Invoke());
            DemoData.Write(Data, DigitDataset.Load(DigitDataset.FindBundled()!), 1,
                new DemoDataSizes(Captions: 10, Arithmetic: 10, ColdStart: 24, Problems: 24, Validation: 4, Test: 12),
                CancellationToken.None);
        }

        public string Model => _folder["model"];

        public string Data => _folder["data"];

        public void Dispose() => _folder.Dispose();
    }
}
