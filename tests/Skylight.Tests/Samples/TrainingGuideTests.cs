using System.Diagnostics;
using System.Text.Json;
using System.Text.RegularExpressions;
using Skylight.Cli.Train;
using Skylight.Cpu;
using Skylight.Images;
using Skylight.Tests.Cli;
using Skylight.Training.Runs;

namespace Skylight.Tests.Samples;

/// <summary>docs/training.md says what happens when its commands are run.</summary>
public sealed class TrainingGuideTests(TrainingGuide guide) : IClassFixture<TrainingGuide>
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public void Every_command_of_the_walk_works_and_the_checkpoint_is_better()
    {
        Assert.Equal(6, TrainingGuide.Commands.Length);
        Assert.All(guide.Results,
            result => Assert.True(result.Value.Code == 0, $"{result.Key}: {result.Value.Output}{result.Value.Error}"));
        string run = guide.Results[TrainingGuide.Commands[1]].Output;
        Assert.Contains("4/4", run, StringComparison.Ordinal);
        Assert.Contains("Checkpoint of step 2", run, StringComparison.Ordinal);
        IReadOnlyList<StepFigures> figures = RunLog.ReadMetrics(guide["run/cold-start/metrics.jsonl"], 1 << 20);
        Assert.Equal(0, figures[0]["accuracy"]);
        Assert.True(figures[^1]["accuracy"] >= 0.25, $"{figures[^1]["accuracy"]}");
        Assert.Contains(RunLog.ReadMetrics(guide["run/grpo/metrics.jsonl"], 1 << 20),
            step => step["active_groups"] > 0 && step["optimizer_steps"] == 1);
        Assert.Contains("fits", guide.Results[TrainingGuide.Commands[0]].Output, StringComparison.Ordinal);
    }

    [Fact]
    public void An_evaluation_by_command_has_the_accuracy_that_the_run_measured()
    {
        using JsonDocument report = JsonDocument.Parse(File.ReadAllText(guide["eval-out/report.json"]));
        Match measured = Regex.Match(guide.Results[TrainingGuide.Commands[1]].Output,
            @"4 steps in \d+ s, held-out accuracy ([\d.]+) %");
        Assert.True(measured.Success);
        Assert.Contains($"accuracy {measured.Groups[1].Value} %", guide.Results[TrainingGuide.Commands[3]].Output,
            StringComparison.Ordinal);
        Assert.Contains("boxed", guide.Results[TrainingGuide.Commands[4]].Output
            + guide.Results[TrainingGuide.Commands[5]].Output, StringComparison.Ordinal);
    }

    [Fact]
    public void The_folder_holds_what_the_table_lists_and_nothing_else()
    {
        string[] listed = [.. TrainingGuide.Walk.Rows().Skip(1).Select(row => row[0].Trim('`'))];
        string[] checkpoint = [.. Directory.EnumerateFileSystemEntries(guide["InternVL3-1B"])
            .Select(entry => Path.GetFileName(entry))];
        string[] there = [.. Directory.EnumerateFileSystemEntries(guide["run/grpo"])
            .Select(entry => Path.GetFileName(entry))];
        Assert.Equal(checkpoint.Concat(listed).Except(["bad-rows.jsonl"]).Order(StringComparer.Ordinal),
            there.Order(StringComparer.Ordinal));
        Assert.Contains("bad-rows.jsonl", listed);
        Assert.Equal(["step-000002", "step-000004"],
            Directory.EnumerateDirectories(guide["run/grpo/checkpoints"]).Select(Path.GetFileName).Order());
    }

    [Fact]
    public void What_is_measured_and_shown_is_described()
    {
        string described = TrainingGuide.Page.Section("## What is measured").Text;
        foreach (string run in (string[])["run/cold-start", "run/grpo"])
        {
            foreach (string line in File.ReadAllLines(guide[$"{run}/metrics.jsonl"]))
            {
                using JsonDocument json = JsonDocument.Parse(line);
                foreach (JsonProperty member in json.RootElement.EnumerateObject())
                    Assert.Contains(
                        $"`{(member.Name.StartsWith("reward/", StringComparison.Ordinal) ? "reward/COMPONENT" : member.Name)}`", described, StringComparison.Ordinal);
            }
        }

        string columns = string.Concat(TrainingGuide.Page.Section("## The live view").Rows().Select(row => row[0]));
        Assert.All(RunDisplay.Columns, column => Assert.Contains($"`{column.Shown}`", columns, StringComparison.Ordinal));
        Assert.Equal(RunDisplay.Columns.Count, columns.Count(character => character == '`') / 2);
    }

    [Theory]
    [InlineData(0, 32e9)]
    [InlineData(1, 16e9)]
    public async Task The_plans_are_those_of_the_page(int block, double bytes)
    {
        using var folder = new TemporaryFolder();
        folder.Write("InternVL3-1B/config.json", File.ReadAllBytes(Golden.PathOf("configs/internvl3-1b.json")));
        File.Copy(Golden.PathOf("tokenizer/tokenizer.json"), folder["InternVL3-1B/tokenizer.json"]);
        // The page's row with pictures of 4:3, each of which gives six tiles and a thumbnail.
        string row = TrainingGuide.Walk.Blocks("json").Single() + "\n";
        folder.Write("train.jsonl", string.Concat(Enumerable.Repeat(row, 1000)));
        folder.Write("held-out.jsonl", row);
        folder.Write("pictures/0001.png", PngEncoder.EncodeGray(new byte[64 * 48], 64, 48));
        using var device = new CpuDevice(new CpuDeviceOptions
        {
            MemoryBytes = long.MaxValue,
            // The page's machine has the instruction: keys and values are bfloat16.
            Compute = Skylight.Tensors.DataType.BFloat16,
        });
        string text = "";
        foreach ((string file, _) in TrainingGuide.Walk.Recipes())
        {
            Recipe recipe = RecipeFile.Load(guide[file], [$"data_folder='{folder.Path}'"]);
            RunPlan plan = await RunPlan.OfAsync(recipe, folder["InternVL3-1B"], device, (long)bytes,
                cancellationToken: Token);
            text += TrainOutput.Text(plan, device).ReplaceLineEndings("\n");
            if (!plan.Fits)
                break;
        }

        string shown = TrainingGuide.Walk.Blocks("text")[block] + "\n";
        Assert.True(text == shown, $"The page must show:\n{text}");
    }

    [Fact]
    public async Task Json_has_the_members_of_the_page()
    {
        string[] shown = TrainingGuide.Page.Section("## JSON").Blocks("json");
        foreach ((string command, string sample) in ((string, string)[])[(TrainingGuide.Commands[0], shown[0]),
            (TrainingGuide.Commands[2], shown[1])])
        {
            (int code, string output, string error) = await guide.RunAsync([.. TrainingGuide.Small(command), "--json"]);
            Assert.True(code == 0, error);
            Assert.Equal(Members(sample), Members(output.TrimEnd().Split('\n')[^1]));
        }

        static string[] Members(string json)
        {
            using JsonDocument document = JsonDocument.Parse(json);
            return [.. Names(document.RootElement, "").Distinct()];
        }

        static IEnumerable<string> Names(JsonElement element, string path) => element.ValueKind switch
        {
            JsonValueKind.Object => element.EnumerateObject()
                .SelectMany(member => Names(member.Value, $"{path}.{member.Name}").Prepend($"{path}.{member.Name}")),
            JsonValueKind.Array => element.EnumerateArray().SelectMany(item => Names(item, path + "[]")),
            _ => [],
        };
    }

    [Fact]
    public async Task Interrupted_and_resumed_is_the_same_run()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows has no such signals to send.");
        string[] Cut(string command) => [.. TrainingGuide.Small(command).Select(word => word == "run" ? "cut" : word)];
        using (Process process = SkylightProgram.StartIn(guide.Path, Cut(TrainingGuide.Commands[1])))
        {
            Task<string> output = process.StandardOutput.ReadToEndAsync(Token),
                error = process.StandardError.ReadToEndAsync(Token);
            for (int attempt = 0; !HasBegun(); attempt++)
            {
                Assert.False(process.HasExited || attempt > 30_000, process.HasExited ? await output + await error
                    : "It does not begin.");
                await Task.Delay(10, Token);
            }

            using (Process kill = Process.Start("kill", ["-INT", $"{process.Id}"]))
                await kill.WaitForExitAsync(Token);
            await SkylightProgram.EndsAsync(process);
            Assert.True(process.ExitCode == 130, await output + await error);
            Assert.Contains("Go on with the same command and --resume", await output, StringComparison.Ordinal);
        }

        Assert.False(Directory.Exists(guide["cut/grpo"]));
        (int code, _, string failure) = await guide.RunAsync(Cut(TrainingGuide.Commands[2]));
        Assert.True(code == 0, failure);
        foreach (string name in (string[])["cold-start/model.safetensors", "grpo/model.safetensors",
            "grpo/samples.jsonl", "grpo/recipe.yaml"])
            Assert.Equal(File.ReadAllBytes(guide[$"run/{name}"]), File.ReadAllBytes(guide[$"cut/{name}"]));

        bool HasBegun() => File.Exists(guide["cut/cold-start/metrics.jsonl"])
            && new FileInfo(guide["cut/cold-start/metrics.jsonl"]).Length > 200;
    }

    [Fact]
    public async Task A_run_that_diverged_is_gone_on_with_from_a_checkpoint()
    {
        (int code, _, string error) = await GrpoAsync("wild",
            ["learning_rate=1e30", "model=run/cold-start", "evaluation.items=2"]);
        Assert.Equal(1, code);
        Assert.Matches("ptimizer step 1.*not finite.*lower learning rate", error);
        Assert.False(Directory.Exists(guide["wild/checkpoints"]));
        string shown = TrainingGuide.Page.Section("### Not finite").Blocks("text").Single()
            .Replace("step-000020", "step-000002", StringComparison.Ordinal);
        string[] settings = [.. TrainingGuide.Words(shown),
            .. Settings(
                ["prompt.max_sequence=512", "batch=4", "sampling.max_new_tokens=64", "steps=1", "evaluation.items=1"])];
        (code, _, error) = await guide.RunAsync(settings);
        Assert.True(code == 0, error);
        Assert.True(File.Exists(guide["again/model.safetensors"]));
    }

    [Fact]
    public async Task An_endpoint_that_is_down_follows_the_recipe()
    {
        string[] down = ["model=run/cold-start", "steps=1", "evaluation.items=1",
            "rewards.0={name: verifier, weight: 0.8, options: {endpoint: 'http://127.0.0.1:9/v1', model: judge, " +
            "retries: 0, use_rule: false}}"];
        (int code, _, string error) = await GrpoAsync("down", down);
        Assert.Equal(1, code);
        Assert.Matches(
            "^skylight: Reward 'verifier', sample '.*jsonl:[0-9]+': the verifier endpoint 127.0.0.1:9 cannot be reached", error);
        (code, _, error) = await GrpoAsync("zero", [.. down, "reward_faults=zero"]);
        Assert.True(code == 0, error);
        Assert.True(RunLog.ReadMetrics(guide["zero/metrics.jsonl"], 1 << 20)
            .Single(step => step.Kind == FigureKind.Step)["reward_faults"] > 0);
    }

    [Fact]
    public async Task Bad_rows_stop_a_run_or_are_passed_over_and_listed()
    {
        string[] rows = await File.ReadAllLinesAsync(guide["train.jsonl"], Token);
        await File.WriteAllLinesAsync(guide["spoilt.jsonl"],
            [.. rows[..8], rows[8].Replace("pictures/", "absent/", StringComparison.Ordinal)], Token);
        string[] settings = ["model=run/cold-start", "steps=2", "data=spoilt.jsonl", "evaluation.items=1"];
        (int code, _, string error) = await GrpoAsync("spoilt", settings);
        Assert.Equal(1, code);
        Assert.Contains("'spoilt.jsonl', line 9", error, StringComparison.Ordinal);
        (code, string output, error) = await GrpoAsync("passed", [.. settings, "bad_rows=100"]);
        Assert.True(code == 0, error);
        Assert.Contains("of at most 100 rows cannot be used so far", output, StringComparison.Ordinal);
        Assert.Contains("\"line\":9", await File.ReadAllTextAsync(guide["passed/bad-rows.jsonl"], Token),
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_program_of_the_page_trains()
    {
        string program = await File.ReadAllTextAsync(Repository.PathOf("docs", "samples", "TrainingHost", "Program.cs"),
            Token);
        Assert.Equal(program.ReplaceLineEndings("\n").TrimEnd('\n'), TrainingGuide.Page.Blocks("csharp").Single());
        (int code, string output, string error) = await guide.RunAsync(["run/cold-start", ".", "host"],
            assembly: "TrainingHost.dll");
        Assert.True(code == 0, output + error);
        Assert.Matches(
            "(?s)from-code: 2 steps.*step 2 of 2: reward .*, brevity .*supervised: loss .*grpo at 1.2: .* differ by " +
            "0\n.*grpo at 0.9: .* differ by 0\n", output.ReplaceLineEndings("\n"));
        (code, output, error) = await guide.RunAsync(
            ["generate", "host/by-hand", "--prompt", "What is 3 + 4?", "--max-tokens", "4"]);
        Assert.True(code == 0, output + error);
        Assert.Contains("seed: 7", await File.ReadAllTextAsync(guide["host/by-recipe/recipe.yaml"], Token),
            StringComparison.Ordinal);
    }

    private Task<(int Code, string Output, string Error)> GrpoAsync(string output, string[] settings) => guide.RunAsync(
        ["train", "grpo.yaml", "--output", output,
            .. Settings(["prompt.max_sequence=512", "batch=4", "sampling.max_new_tokens=64", "sampling.group=4",
                "checkpoints.every=1", .. settings])]);

    private static IEnumerable<string> Settings(IEnumerable<string> settings) =>
        settings.SelectMany(setting => (string[])["--set", setting]);
}
