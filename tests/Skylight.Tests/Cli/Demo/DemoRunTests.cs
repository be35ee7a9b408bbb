using System.Text.Json;
using Skylight.Checkpoints;
using Skylight.Cli.Demo;
using Skylight.Cli.Demo.Report;
using Skylight.Cpu;
using Skylight.Tests.Checkpoints;
using Skylight.Training;

namespace Skylight.Tests.Cli.Demo;

public sealed class DemoRunTests
{
    private static readonly string[] s_checkpoints = ["pretrained", "cold_start", "grpo-0002", "grpo-0004", "grpo", "connector_only", "grpo_connector_frozen"];

    [Fact]
    public void An_interrupted_and_resumed_run_equals_an_uninterrupted_one_bit_for_bit()
    {
        using TemporaryFolder straight = new(), interrupted = new();
        DemoResult expected = RunOn(straight.Path, new DemoState { Seed = 7, Preset = DemoPreset.Tiny }, new ScriptedDisplay())!;

        // The steps of all phases are 3 + 28 + 4 + 2 + 4. Cancelled within a phase, at the end of one (before its test), after a GRPO
        // step whose checkpoint is due (33), at the last one (35), and in the phases that start from saved checkpoints.
        var stops = new Queue<int>([2, 3, 20, 32, 33, 35, 36, 37, 39]);
        DemoResult? actual = null;
        int done = 0, sittings = 0;
        while (actual is null)
        {
            Assert.InRange(++sittings, 1, 20);
            int before = done;
            var display = new ScriptedDisplay(steps =>
            {
                done = before + steps;
                return stops.TryPeek(out int stop) && done == stop;
            });
            actual = RunOn(interrupted.Path, sittings == 1 ? new DemoState { Seed = 7, Preset = DemoPreset.Tiny } : Saved(interrupted.Path), display);
            if (actual is null)
                stops.Dequeue();
        }

        Assert.Equal(10, sittings);
        foreach (string checkpoint in s_checkpoints)
            Assert.True(Weights(straight.Path, checkpoint).SequenceEqual(Weights(interrupted.Path, checkpoint)), checkpoint);
        Assert.Equal(expected.Phases.Select(phase => phase with { Seconds = 0 }), actual.Phases.Select(phase => phase with { Seconds = 0 }));
        Assert.Equal(expected.Grpo.Select(step => step with { TokensPerSecond = 0 }), actual.Grpo.Select(step => step with { TokensPerSecond = 0 }));
        Assert.Equal(expected.FrozenConnector.Select(step => step with { TokensPerSecond = 0 }), actual.FrozenConnector.Select(step => step with { TokensPerSecond = 0 }));
        Assert.Equal(expected.Checkpoints, actual.Checkpoints);
        Assert.Equal(expected.Examples.Select(example => (example.Before, example.After)), actual.Examples.Select(example => (example.Before, example.After)));

        // Not vacuous: some rollouts were rewarded and some not, so that GRPO had something to learn from.
        Assert.Contains(expected.Grpo, step => step.Reward is > 0.01 and < 0.99);
        Assert.Equal([2, 4], expected.Checkpoints.Select(checkpoint => checkpoint.Step));
        Assert.Single(expected.Checkpoints, checkpoint => checkpoint.Chosen);
        Assert.Equal(0, expected.RolloutTrainMaxAbsLogprobDiff);
    }

    [Fact]
    public void Another_seed_is_another_run()
    {
        using TemporaryFolder first = new(), second = new();
        RunOn(first.Path, new DemoState { Seed = 1 }, new ScriptedDisplay(), TinyDemo.Shortest with { Seed = 1 });
        RunOn(second.Path, new DemoState { Seed = 2 }, new ScriptedDisplay(), TinyDemo.Shortest with { Seed = 2 });
        Assert.False(Weights(first.Path, "grpo").SequenceEqual(Weights(second.Path, "grpo")));
    }

    [Fact]
    public void A_run_that_diverges_keeps_the_last_good_state()
    {
        using var folder = new TemporaryFolder();
        DemoSettings settings = TinyDemo.Shortest with { ColdStart = new LearningRateSchedule(1e30f, 30) };
        string message = Assert.Throws<TrainingDivergedException>(() => RunOn(folder.Path, new DemoState { Seed = 7 }, new ScriptedDisplay(), settings)).Message;
        Assert.Contains("Optimizer step", message, StringComparison.Ordinal);
        DemoState state = Saved(folder.Path);
        Assert.Equal((1, 0), (state.Phase, state.Step));
        using TrainingCheckpoint checkpoint = TrainingCheckpoint.Load(DemoRun.StatePath(folder.Path));
        Assert.All(checkpoint.Tensors.Entries, entry => Assert.All(checkpoint.Tensors.ReadFloat32(entry.Name), value => Assert.InRange(value, -100f, 100f)));
    }

    [Fact]
    public void The_result_has_the_documented_keys()
    {
        using var folder = new TemporaryFolder();
        DemoResult result = RunOn(folder.Path, new DemoState { Seed = 7 }, new ScriptedDisplay(), TinyDemo.Shortest)!;
        string json = result.ToJson();
        Assert.DoesNotContain('\n', json);
        using JsonDocument document = JsonDocument.Parse(json);
        foreach (string key in (string[])["pretrained", "cold_start", "grpo", "connector_only", "grpo_connector_frozen"])
            Assert.InRange(document.RootElement.GetProperty(key).GetDouble(), 0, 1);
        Assert.Equal(0, document.RootElement.GetProperty("rollout_train_max_abs_logprob_diff").GetDouble());
        Assert.True(document.RootElement.GetProperty("seconds").GetDouble() > 0);
        Assert.Equal(7, document.RootElement.GetProperty("seed").GetInt32());
    }

    /// <summary>Runs until the end, or until the display's user stops it: then null.</summary>
    private static DemoResult? RunOn(string folder, DemoState state, ScriptedDisplay display, DemoSettings? settings = null)
    {
        using var device = new CpuDevice();
        using var run = new DemoRun(settings ?? TinyDemo.Settings, TinyDemo.Digits, device, folder, display, state);
        try
        {
            run.Run(display.Cancellation.Token);
            return run.Result("demo");
        }
        catch (OperationCanceledException)
        {
            return null;
        }
    }

    private static DemoState Saved(string folder)
    {
        using TrainingCheckpoint checkpoint = TrainingCheckpoint.Load(DemoRun.StatePath(folder));
        return DemoState.FromJson(checkpoint.StateJson);
    }

    private static byte[] Weights(string folder, string checkpoint) =>
        File.ReadAllBytes(Assert.Single(Directory.GetFiles(Path.Combine(folder, "checkpoints", checkpoint), "*.safetensors")));
}
