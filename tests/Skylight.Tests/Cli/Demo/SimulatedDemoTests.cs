using Skylight.Checkpoints;
using Skylight.Cli.Demo;
using Skylight.Cli.Demo.Report;
using Skylight.Cpu;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Models;
using Skylight.Tests.Checkpoints;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cli.Demo;

/// <summary>The whole demo on the CUDA path: every phase, with its checkpoints and its rollouts, on the emulator.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class SimulatedDemoTests
{
    [Fact]
    public void Every_phase_runs_and_rollouts_are_scored_as_in_training_bit_for_bit()
    {
        Emulator.Require();
        Emulator.Configure("schedule", "forward");
        Emulator.Configure("async", "late");
        Emulator.Configure("checks", "on");
        using var folder = new TemporaryFolder();
        DemoSettings settings = TinyDemo.Shortest with { MaxNewTokens = 6, PretrainingCaptions = 2, PretrainingProblems = 1, ColdStartTraces = 2, ColdStartBatch = 2, ConnectorOnlyBatch = 1, GroupSize = 2 };
        DemoResult result;
        using (var device = new CudaDevice(new CudaDeviceOptions { Libraries = CudaLibraries.LoadSimulated() }))
        using (var run = new DemoRun(settings, TinyDemo.Digits, device, folder.Path, new ScriptedDisplay(), new DemoState { Seed = 7, Preset = DemoPreset.Tiny }))
        {
            run.Run(TestContext.Current.CancellationToken);
            result = run.Result("demo");
        }

        Assert.StartsWith("simt:0 (", result.Device, StringComparison.Ordinal);
        Assert.Equal(["pretrained", "cold_start", "grpo", "connector_only", "grpo_connector_frozen"], result.Phases.Select(phase => phase.Key));
        Assert.Single(result.Grpo);
        Assert.Equal(0, result.RolloutTrainMaxAbsLogprobDiff);
        Assert.Contains("\"preset\":\"tiny\"", result.ToJson(), StringComparison.Ordinal);

        // Each phase trained what it was to train.
        Dictionary<string, float[]> pretrained = Weights("pretrained"), coldStart = Weights("cold_start"), chosen = Weights("grpo-0001"), connectorOnly = Weights("connector_only"), frozen = Weights("grpo_connector_frozen");
        Assert.All(coldStart.Keys.Where(name => name.EndsWith("proj.weight", StringComparison.Ordinal)), name => Assert.NotEqual(pretrained[name], coldStart[name]));
        // One small step is less than half a unit in the last place of a bfloat16 near 1, where the norm's weights are.
        string[] changed = [.. chosen.Keys.Where(name => !chosen[name].SequenceEqual(connectorOnly[name]))];
        Assert.Superset(new HashSet<string>(["connector.linear1.weight", "connector.linear2.weight"]), changed.ToHashSet());
        Assert.All(changed, name => Assert.StartsWith("connector.", name, StringComparison.Ordinal));
        Assert.All(coldStart.Keys.Where(name => name.StartsWith("connector.", StringComparison.Ordinal)), name => Assert.Equal(coldStart[name], frozen[name]));

        Dictionary<string, float[]> Weights(string checkpoint)
        {
            using var cpu = new CpuDevice();
            using VisionLanguageModel model = ModelCheckpoint.Load(Path.Combine(folder.Path, "checkpoints", checkpoint), cpu);
            return model.Parameters.All.ToDictionary(parameter => parameter.Name, parameter => PersistentTensors.Read(cpu, parameter));
        }
    }
}
