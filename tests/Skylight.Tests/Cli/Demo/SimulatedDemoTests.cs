using Skylight.Checkpoints;
using Skylight.Cli.Demo.Report;
using Skylight.Cpu;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Models;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cli.Demo;

/// <summary>The whole demo on the CUDA path: every phase, with its checkpoints and its rollouts, on the emulator.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class SimulatedDemoTests
{
    [Fact]
    public async Task Every_phase_runs_and_rollouts_are_scored_as_in_training_bit_for_bit()
    {
        Emulator.Require();
        Emulator.Configure("schedule", "forward");
        Emulator.Configure("async", "late");
        Emulator.Configure("checks", "on");
        using var folder = new TemporaryFolder();
        DemoResult result = (await TinyDemo.RunAsync(
            folder["demo"],
            openDevice: () => new CudaDevice(new CudaDeviceOptions { Libraries = CudaLibraries.LoadSimulated() }),
            settings: ["sampling.max_new_tokens=6", "pretraining:steps=1", "pretraining:batch=3", "cold-start:steps=1",
                "cold-start:batch=2", "grpo:steps=1", "frozen-connector:steps=1", "connector:batch=1"]))!;

        Assert.Equal(["pretrained", "cold_start", "grpo", "connector_only", "grpo_connector_frozen"],
            result.Phases.Select(phase => phase.Key));
        Assert.Single(result.Grpo);
        Assert.Equal(0, result.RolloutTrainMaxAbsLogprobDiff);
        Assert.Contains("\"preset\":\"tiny\"", result.ToJson(), StringComparison.Ordinal);

        // Each phase trained what it was to train.
        Dictionary<string, float[]> pretrained = Weights("pretraining"), coldStart = Weights("cold-start"),
            grpo = Weights("grpo"), connectorOnly = Weights("connector"), frozen = Weights("frozen-connector");
        Assert.All(coldStart.Keys.Where(name => name.EndsWith("proj.weight", StringComparison.Ordinal)),
            name => Assert.NotEqual(pretrained[name], coldStart[name]));
        string[] changed = [.. grpo.Keys.Where(name => !grpo[name].SequenceEqual(connectorOnly[name]))];
        Assert.Superset(new HashSet<string>(["connector.linear1.weight", "connector.linear2.weight"]), changed.ToHashSet());
        Assert.All(changed, name => Assert.StartsWith("connector.", name, StringComparison.Ordinal));
        Assert.All(coldStart.Keys.Where(name => name.StartsWith("connector.", StringComparison.Ordinal)),
            name => Assert.Equal(coldStart[name], frozen[name]));

        Dictionary<string, float[]> Weights(string run)
        {
            using var cpu = new CpuDevice();
            using VisionLanguageModel model = ModelCheckpoint.Load(folder[$"demo/runs/{run}"], cpu);
            return model.Parameters.All.ToDictionary(parameter => parameter.Name,
                parameter => PersistentTensors.Read(cpu, parameter));
        }
    }
}
