using System.Text;
using Skylight.Chat;
using Skylight.Cli.Train;
using Skylight.Cpu;
using Skylight.Training.Data;
using Skylight.Training.Evaluation;
using Skylight.Training.Rewards;
using Skylight.Training.Runs;

namespace Skylight.Tests.Training.Runs;

/// <summary>What goes wrong with a run is named, loses nothing, and can be put right.</summary>
public sealed class TrainingRunFaultTests(TrainingRunTests.Files files) : IClassFixture<TrainingRunTests.Files>
{
    private const string Grpo =
        "method: grpo\nlearning_rate: 1e-3\nsteps: 4\nbatch: 4\nprompt: {thinking: on}\nsampling: {group: 2, " +
        "max_new_tokens: 6}\nsamples: all\n";
    private const string Rewards = "rewards: [{name: answer}, {name: length, options: {shape: linear}}]\n";

    [Fact]
    public async Task The_list_of_bad_rows_is_that_of_an_uninterrupted_run()
    {
        using var folder = new TemporaryFolder();
        Recipe recipe = Read(folder, Grpo + Rewards + "bad_rows: 2\ncheckpoints: {save_state: 1}\n");
        Assert.Equal(2, (await RunAsync(recipe, folder["straight"])).BadRows);
        for (int sitting = 0; ; sitting++)
        {
            Assert.True(sitting < 10);
            using var cancellation = new CancellationTokenSource();
            try
            {
                Assert.Equal(2,
                    (await RunAsync(recipe, folder["cut"], sitting > 0, new Told(_ => cancellation.Cancel()),
                        cancellationToken: cancellation.Token)).BadRows);
                break;
            }
            catch (OperationCanceledException)
            {
                // What a kill would leave: rows, and files that are not finished, of after the last saved state.
                File.AppendAllText(folder["cut/bad-rows.jsonl"], "{\"file\":\"of a later step\",\"li");
                Directory.CreateDirectory(folder["cut/checkpoints/.step-000002.7.abc.tmp"]);
                File.WriteAllText(folder["cut/.report.html.7.abc.tmp"], "half");
            }
        }

        Assert.Equal(2, File.ReadAllLines(folder["straight/bad-rows.jsonl"]).Length);
        foreach (string name in (string[])["bad-rows.jsonl", "samples.jsonl", "model.safetensors"])
            Assert.Equal(File.ReadAllBytes(folder[$"straight/{name}"]), File.ReadAllBytes(folder[$"cut/{name}"]));
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder["cut"], "*.tmp", SearchOption.AllDirectories));
    }

    [Fact]
    public async Task A_run_that_met_too_many_bad_rows_goes_on_with_a_higher_limit()
    {
        using var folder = new TemporaryFolder();
        Recipe strict = Read(folder, Grpo + Rewards), patient = Read(folder, Grpo + Rewards + "bad_rows: 2\n");
        await Assert.ThrowsAsync<InvalidDataException>(() => RunAsync(strict, folder["run"]));
        await RunAsync(patient, folder["run"], resume: true);
        await RunAsync(patient, folder["straight"]);
        foreach (string name in (string[])["bad-rows.jsonl", "recipe.yaml", "samples.jsonl", "model.safetensors"])
            Assert.Equal(File.ReadAllBytes(folder[$"straight/{name}"]), File.ReadAllBytes(folder[$"run/{name}"]));
    }

    [Fact]
    public async Task A_reward_that_fails_loses_no_step()
    {
        using var folder = new TemporaryFolder();
        Recipe recipe = Read(folder, Grpo + "bad_rows: 2\nrewards: [{name: Own, assembly: own.dll}]\n");
        var notes = new Told(_ => { });
        string message = (await Assert.ThrowsAsync<RewardException>(
            () => RunAsync(recipe, folder["run"], false, notes, new Failing(from: 3)))).Message;
        Assert.Contains("sample 'problems-", message, StringComparison.Ordinal);
        Assert.Contains("the service is down", message, StringComparison.Ordinal);
        Assert.Contains(notes.Notes,
            note => note.Contains("Stopped after step 2, which is saved", StringComparison.Ordinal));
        await RunAsync(recipe, folder["run"], true, null, new Failing(from: int.MaxValue));
        await RunAsync(recipe, folder["straight"], false, null, new Failing(from: int.MaxValue));
        foreach (string name in (string[])["samples.jsonl", "model.safetensors"])
            Assert.Equal(File.ReadAllBytes(folder[$"straight/{name}"]), File.ReadAllBytes(folder[$"run/{name}"]));
    }

    [Fact]
    public async Task Data_of_another_size_is_refused()
    {
        using var folder = new TemporaryFolder();
        Recipe recipe = Read(folder, Grpo + Rewards + "bad_rows: 2\n");
        using var cancellation = new CancellationTokenSource();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() =>
            RunAsync(recipe, folder["run"], false, new Told(_ => cancellation.Cancel()),
                cancellationToken: cancellation.Token));
        File.AppendAllText(folder["problems.jsonl"], "{\"question\": \"sum?\", \"answer\": \"1\"}\n");
        string message = (
            await Assert.ThrowsAsync<RecipeException>(() => RunAsync(recipe, folder["run"], resume: true))).Message;
        Assert.Contains("was begun with 8 rows of data, and now there are 9", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{\"question\": \"LONG\", \"answer\": \"1\"}", "'EVAL', line 2: ", "the context has 512")]
    [InlineData(
        "{\"messages\": [{\"role\": \"user\", \"content\": \"LONG\"}, {\"role\": \"assistant\", \"content\": " +
        "\"<think>x</think>1\"}]}", "'EVAL', line 2: ", "the context has 512")]
    [InlineData("{\"question\": \"sum?\", \"answer\": \"1\", \"images\": [\"eval.jsonl\"]}", "'EVAL', line 2: ",
        "eval.jsonl")]
    [InlineData("{\"question\": \"sum?\", \"answer\": \"1\", \"images\": [\"absent.png\"]}", "'EVAL', line 2: ",
        "absent.png")]
    [InlineData("{\"question\": \"sum?\"}", "'EVAL', line 2: ", "neither an answer nor a response")]
    [InlineData("{\"question\": \"sum?\", \"answer\": \"1\", \"id\": \"first\"}", "'EVAL', line 2: ", "the id 'first'")]
    public async Task Rows_that_cannot_be_evaluated_are_named_before_anything_runs(string row, string place, string reason)
    {
        using var folder = new TemporaryFolder();
        string file = folder.Write("eval.jsonl", "{\"question\": \"sum?\", \"answer\": \"1\", \"id\": \"first\"}\n"
            + row.Replace("LONG", new string('7', 3000), StringComparison.Ordinal));
        string message = (await Assert.ThrowsAsync<InvalidDataException>(
            () => RunAsync(Read(folder, Grpo + Rewards + $"evaluation: {{data: '{file}'}}\n"), folder["run"]))).Message;
        Assert.Contains(place.Replace("EVAL", file, StringComparison.Ordinal), message, StringComparison.Ordinal);
        Assert.Contains(reason, message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder["run"]));
    }

    [Fact]
    public async Task An_evaluation_without_rows_is_refused()
    {
        using var folder = new TemporaryFolder();
        string file = folder.Write("eval.jsonl", "{\"question\": \"sum?\", \"answer\": \"1\", \"difficulty\": 1}");
        string message = (
            await Assert.ThrowsAsync<InvalidDataException>(() =>
                RunAsync(Read(folder, Grpo + Rewards
                    + $"evaluation: {{data: {{file: '{file}', difficulty: [2, 3]}}}}\n"), folder["run"]))).Message;
        Assert.Contains("no row is of the difficulties asked for", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{\"question\": \"<image>sum?\", \"answer\": \"1\", \"images\": [\"picture.png\"]}")]
    [InlineData(
        "{\"messages\": [{\"role\": \"user\", \"content\": \"<image>sum?\"}, {\"role\": \"assistant\", \"content\": " +
        "\"<think>x</think>1\"}], \"images\": [\"picture.png\"]}")]
    public async Task A_held_out_picture_that_vanishes_stops_the_run_and_is_named(string row)
    {
        using var folder = new TemporaryFolder();
        File.Copy(Directory.GetFiles(Path.Combine(files.Data, "pictures"))[0], folder["picture.png"]);
        string file = folder.Write("eval.jsonl", row);
        Recipe recipe = Read(folder,
            Grpo + Rewards + $"bad_rows: 2\nevaluation: {{data: '{file}', every: 2, max_new_tokens: 4}}\n");
        string message = (await Assert.ThrowsAsync<InvalidDataException>(
            () => RunAsync(recipe, folder["run"], false, new Told(_ => File.Delete(folder["picture.png"]))))).Message;
        Assert.Contains($"'{file}', line 1: ", message, StringComparison.Ordinal);
        Assert.Contains("picture.png", message, StringComparison.Ordinal);
        // Put right, it goes on.
        File.Copy(Directory.GetFiles(Path.Combine(files.Data, "pictures"))[0], folder["picture.png"]);
        Assert.Equal(4, (await RunAsync(recipe, folder["run"], resume: true)).Steps);
    }

    [Fact]
    public async Task Pictures_of_held_out_rows_are_not_kept_in_memory()
    {
        using var folder = new TemporaryFolder();
        byte[] picture = File.ReadAllBytes(Directory.GetFiles(Path.Combine(files.Data, "pictures"))[0]);
        string encoded = Convert.ToBase64String(picture);
        string file = folder.Write("eval.jsonl",
            $"{{\"messages\": [{{\"role\": \"user\", \"content\": \"<image>sum?\"}}, {{\"role\": \"assistant\", " +
            $"\"content\": \"1\"}}], \"images\": [\"data:image/png;base64,{encoded}\"]}}\n");
        ExampleFiles source = await ExampleFiles.OpenAsync(file);
        TrainingExample light = EvaluationData.Light(await source.ReadAsync(0), source, 0);
        Assert.Equal(picture, (await light.Images[0].ReadAsync()).ToArray());
        Assert.IsType<ImagePart>(light.Messages[0].Parts[0]);
        source.Dispose();
        // They are in the file alone.
        await Assert.ThrowsAnyAsync<Exception>(async () => await light.Images[0].ReadAsync());
    }

    [Theory]
    [InlineData("data: absent.jsonl\n" + Rewards, "absent.jsonl")]
    [InlineData("rewards: nope\n", "There is no reward 'nope'")]
    [InlineData(Rewards + "model: absent\n", "absent: there")]
    [InlineData(Rewards + "prompt: {max_sequence: 99999}\n", "'prompt.max_sequence' is 99999")]
    [InlineData(Rewards + "evaluation: {data: absent.jsonl}\n", "absent.jsonl")]
    [InlineData(Rewards + "name: foreign\n", "is not empty and holds no run")]
    public async Task What_is_wrong_with_a_later_recipe_is_found_before_the_first_one_runs(string second, string expected)
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder["out/foreign"]);
        File.WriteAllText(folder["out/foreign/notes.txt"], "mine");
        string data = second.StartsWith("data:", StringComparison.Ordinal) ? "" : $"data: '{Problems(folder)}'\n";
        string text = second.Contains("prompt:", StringComparison.Ordinal)
            ? Grpo.Replace("prompt: {thinking: on}\n", "", StringComparison.Ordinal) : Grpo;
        Recipe[] recipes = [Read(folder, Grpo + Rewards + $"name: first\nmodel: '{files.Model}'\n"),
            RecipeFile.Parse(text + data + second, "second.yaml")];
        Exception exception = await Assert.ThrowsAsync<RecipeException>(() =>
            TrainCommand.RunAllAsync(recipes, folder["out"], false, () => new CpuDevice(), new Told(_ => { }),
                CancellationToken.None));
        Assert.Contains(expected, exception.Message.Replace('\\', '/'), StringComparison.Ordinal);
        Assert.Equal([folder["out/foreign"]], Directory.GetFileSystemEntries(folder["out"]));
    }

    [Theory]
    [InlineData("sampling: {group: 2}\n", "up to 1024 tokens")]
    [InlineData("sampling: {group: 2, max_new_tokens: {0: 8, 3: 512}}\n", "up to 512 tokens")]
    public async Task Completions_that_leave_no_room_for_a_prompt_are_the_recipes_fault_and_not_that_of_rows(
        string sampling, string expected)
    {
        using var folder = new TemporaryFolder();
        string text = Grpo.Replace("sampling: {group: 2, max_new_tokens: 6}\n", sampling, StringComparison.Ordinal)
            + Rewards;
        string message = (await Assert.ThrowsAsync<RecipeException>(() => RunAsync(Read(folder, text), folder["run"])))
            .Message;
        Assert.Contains(expected, message, StringComparison.Ordinal);
        Assert.Contains("has 512: none is left for a prompt", message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_file_in_the_place_of_the_folder_is_refused()
    {
        using var folder = new TemporaryFolder();
        string message = (await Assert.ThrowsAsync<RecipeException>(
            () => RunAsync(Read(folder, Grpo + Rewards), folder["problems.jsonl"]))).Message;
        Assert.Contains("is a file; a run needs a folder", message, StringComparison.Ordinal);
    }

    /// <summary>Eight problems of which the third has no picture and the fifth no answer.</summary>
    private string Problems(TemporaryFolder folder)
    {
        string[] rows = [.. File.ReadLines(Path.Combine(files.Data, "problems.jsonl")).Take(8).Select(
            row => row.Replace("pictures/", files.Data.Replace('\\', '/') + "/pictures/", StringComparison.Ordinal))];
        rows[2] = rows[2].Replace("/pictures/", "/absent/", StringComparison.Ordinal);
        rows[4] = "{\"id\": \"none\", \"question\": \"sum?\"}";
        return folder.Write("problems.jsonl", string.Join('\n', rows) + "\n");
    }

    private Recipe Read(TemporaryFolder folder, string text) =>
        RecipeFile.Parse($"data: '{Problems(folder)}'\n{text}", "run.yaml");

    private async Task<RunResult> RunAsync(
        Recipe recipe, string folder, bool resume = false, IRunObserver? observer = null, IReward? own = null,
        CancellationToken cancellationToken = default)
    {
        var options = new TrainingRunOptions(new CpuDevice())
        {
            Resume = resume,
            Observer = observer,
            LoadReward = _ => own!,
        };
        await using TrainingRun run = await TrainingRun.OpenAsync(recipe, files.Model, folder, options, cancellationToken);
        return await run.RunAsync(cancellationToken);
    }

    /// <summary>A reward of a user's own whose service goes down.</summary>
    private sealed class Failing(int from) : IReward
    {
        private int _calls;

        public IReadOnlyList<string> Components { get; } = ["own"];

        public ValueTask<double[][]> ScoreAsync(IReadOnlyList<RewardRequest> requests,
            CancellationToken cancellationToken) => ++_calls >= from
            ? throw new InvalidOperationException("the service is down")
            : ValueTask.FromResult(requests.Select(
                request => new double[] { Encoding.UTF8.GetByteCount(request.Completion) % 3 }).ToArray());
    }

    private sealed class Told(Action<StepFigures> reported) : IRunObserver
    {
        public List<string> Notes { get; } = [];

        public void Begin(Recipe recipe, int step, int steps)
        {
        }

        public void Report(StepFigures figures, int steps) => reported(figures);

        public void Note(string text) => Notes.Add(text);

        public void End(RunResult result)
        {
        }
    }
}
