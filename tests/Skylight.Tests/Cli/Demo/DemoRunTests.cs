using System.Text.Json;
using Skylight.Checkpoints;
using Skylight.Cli.Demo;
using Skylight.Cli.Demo.Report;
using Skylight.Training;
using Skylight.Training.Runs;

namespace Skylight.Tests.Cli.Demo;

public sealed class DemoRunTests
{
    private static readonly string[] s_runs = ["cold-start", "connector", "frozen-connector", "grpo", "pretraining"];

    [Fact]
    public async Task An_interrupted_and_resumed_run_equals_an_uninterrupted_one_bit_for_bit()
    {
        using TemporaryFolder straight = new(), interrupted = new();
        DemoResult expected = (await TinyDemo.RunAsync(straight["demo"]))!;

        // Stopped again and again: within a phase, before and after its last step, before its test and after it, at
        // evaluations and checkpoints.
        DemoResult? actual = null;
        int sittings = 0;
        for (; actual is null; sittings++)
        {
            Assert.True(sittings < 40);
            actual = await TinyDemo.RunAsync(interrupted["demo"], user: new ScriptedUser(1 + sittings % 3));
        }

        Assert.InRange(sittings, 10, 40);
        string[] files = Files(straight["demo"]);
        Assert.Equal(files, Files(interrupted["demo"]));
        foreach (string file in files)
            Assert.True(File.ReadAllBytes(Path.Combine(straight["demo"], file)).AsSpan()
                .SequenceEqual(File.ReadAllBytes(Path.Combine(interrupted["demo"], file))), file);
        Assert.Equal(s_runs, Directory.GetDirectories(straight["demo/runs"]).Select(path => Path.GetFileName(path))
            .Order(StringComparer.Ordinal));
        Assert.Equal(expected.Phases.Select(phase => phase with { Seconds = 0 }),
            actual.Phases.Select(phase => phase with { Seconds = 0 }));
        Assert.Equal(expected.Grpo.Select(step => step with { TokensPerSecond = 0 }),
            actual.Grpo.Select(step => step with { TokensPerSecond = 0 }));
        Assert.Equal(expected.FrozenConnector.Select(step => step with { TokensPerSecond = 0 }),
            actual.FrozenConnector.Select(step => step with { TokensPerSecond = 0 }));
        Assert.Equal(expected.Checkpoints, actual.Checkpoints);
        Assert.Equal(expected.Examples.Select(example => (example.Before, example.After)),
            actual.Examples.Select(example => (example.Before, example.After)));

        // Not vacuous: some completions earned more than others, so that GRPO had something to learn from, and every
        // phase has changed its model.
        Assert.Equal((2, 2), (expected.Grpo.Count, expected.FrozenConnector.Count));
        Assert.Contains(expected.Grpo, step => step.Reward is > 0.01 and < 0.99);
        Assert.Equal(5,
            s_runs.Select(run => Convert.ToHexString(File.ReadAllBytes(straight[$"demo/runs/{run}/model.safetensors"])))
                .Distinct().Count());
        Assert.Equal([1, 2], expected.Checkpoints.Select(checkpoint => checkpoint.Step));
        Assert.Single(expected.Checkpoints, checkpoint => checkpoint.Chosen);
        Assert.Equal(4, expected.Examples.Count);
        Assert.Equal(0, expected.RolloutTrainMaxAbsLogprobDiff);
        Assert.All(expected.Phases, phase => Assert.True(File.Exists(Path.Combine(straight["demo"], phase.Report!))));
    }

    [Fact]
    public async Task The_result_has_the_documented_keys_and_another_seed_is_another_run()
    {
        using var folder = new TemporaryFolder();
        DemoResult result = (await TinyDemo.RunAsync(folder["first"], seed: 1))!;
        await TinyDemo.RunAsync(folder["second"], seed: 2);
        Assert.NotEqual(File.ReadAllBytes(folder["first/runs/grpo/model.safetensors"]),
            File.ReadAllBytes(folder["second/runs/grpo/model.safetensors"]));
        string json = result.ToJson();
        Assert.DoesNotContain('\n', json);
        using JsonDocument document = JsonDocument.Parse(json);
        foreach (string key in (string[])["pretrained", "cold_start", "grpo", "connector_only", "grpo_connector_frozen"])
            Assert.InRange(document.RootElement.GetProperty(key).GetDouble(), 0, 1);
        Assert.Equal(0, document.RootElement.GetProperty("rollout_train_max_abs_logprob_diff").GetDouble());
        Assert.True(document.RootElement.GetProperty("seconds").GetDouble() > 0);
        Assert.Equal(1, document.RootElement.GetProperty("seed").GetInt32());
        Assert.Equal(("tiny", false),
            (document.RootElement.GetProperty("preset").GetString(),
                document.RootElement.GetProperty("quick").GetBoolean()));
    }

    [Fact]
    public async Task A_run_that_diverges_keeps_what_ended_before()
    {
        using var folder = new TemporaryFolder();
        string message = (await Assert.ThrowsAsync<TrainingDivergedException>(
            () => TinyDemo.RunAsync(folder["demo"], settings: "cold-start:learning_rate=1.0e+30"))).Message;
        Assert.Contains("Optimizer step", message, StringComparison.Ordinal);
        Assert.Equal(["pretrained"], DemoFolder.Open(folder["demo"]).State.Tests.Select(test => test.Phase));
        using TrainingCheckpoint checkpoint = TrainingCheckpoint.Load(folder["demo/runs/cold-start/state"]);
        Assert.All(checkpoint.Tensors.Entries, entry =>
            Assert.All(checkpoint.Tensors.ReadFloat32(entry.Name), value => Assert.True(float.IsFinite(value))));
    }

    [Theory]
    [InlineData("Full", 700, 400, 20)]
    [InlineData("Quick", 350, 240, 30)]
    [InlineData("Tiny", 3, 2, 1)]
    public void The_recipes_of_the_repository_are_run_with_what_the_preset_says(string presetName, int pretraining,
        int grpo, int every)
    {
        using var folder = new TemporaryFolder();
        DemoPreset preset = Enum.Parse<DemoPreset>(presetName);
        IReadOnlyList<Recipe> recipes = DemoPhases.Recipes(
            DemoFolder.Create(folder["it's"], new DemoState { Seed = 9, Preset = preset }), []);
        string[] files = [.. Directory.GetFiles(Repository.PathOf("recipes", "demo"), "*.yaml")
            .Order(StringComparer.Ordinal)];
        Assert.Equal(files.Select(file => RecipeFile.Load(file).Name), recipes.Select(recipe => recipe.Name));
        Assert.Equal(DemoPhases.All.Select(phase => phase.Recipe), recipes.Select(recipe => recipe.Name));
        Assert.Equal((pretraining, grpo, grpo),
            (recipes[0].Schedule.Steps, recipes[2].Schedule.Steps, recipes[4].Schedule.Steps));
        Assert.Equal((every, every), (recipes[2].Checkpoints.Every, recipes[2].Evaluation!.Every));
        Assert.Equal(folder["it's/model"], recipes[0].Model);
        Assert.All(recipes,
            recipe => Assert.Equal((9ul, true),
                (recipe.Seed,
                    recipe.Data.All(data => data.File.StartsWith(folder["it's/data"], StringComparison.Ordinal)))));
        Assert.All(recipes, recipe => Assert.Equal(recipe.Name == "grpo", recipe.Evaluation is not null));
        Assert.All(recipes,
            recipe => Assert.Equal(DemoPhases.MaximumNewTokens(preset), recipe.Sampling.MaximumNewTokens[^1].Tokens));
    }

    /// <summary>All that does not hold times or paths.</summary>
    private static string[] Files(string demo) =>
    [
        .. Directory.EnumerateFiles(demo, "*", SearchOption.AllDirectories).Select(file => Path.GetRelativePath(demo, file))
            .Where(file => Path.GetExtension(file) is ".safetensors" or ".png" || Path.GetFileName(file)
                is "config.json" or "samples.jsonl" or "test.jsonl" or "problems.jsonl").Order(StringComparer.Ordinal),
    ];
}
