using Skylight.Cli.Verify;
using Skylight.Cuda;
using Skylight.Tests.Checkpoints;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cli.Verify;

/// <summary>
/// Whole models on the CUDA path: forward, backward, GRPO and AdamW through the real kernels and bindings, on the
/// emulator.
/// </summary>
[Collection(EmulatorCollection.Name)]
public sealed class SimulatedVerificationTests
{
    [Theory]
    [InlineData("vit300m-style/hf", true)]
    [InlineData("vit6b-style/hf", true)]
    [InlineData("qwen3-style/hf", true)]
    [InlineData("qwen3-style/hf", false)]
    [InlineData("qwen3-style/original", true)]
    [InlineData("qwen3-style/original", false)]
    public void The_dump_is_reproduced_within_the_limits_of_bfloat16(string model, bool useFusion)
    {
        Emulator.Require();
        string checkpoint = Golden.PathOf(model),
            dump = Golden.PathOf(Path.Combine(Path.GetDirectoryName(model)!, "golden.safetensors"));
        Emulator.Configure("schedule", "forward");
        Emulator.Configure("async", "late");
        Emulator.Configure("checks", "on");
        using var device = new CudaDevice(new CudaDeviceOptions { Libraries = CudaLibraries.LoadSimulated() });
        VerificationReport report = ModelVerification.Run(checkpoint, dump, device, useFusion: useFusion,
            cancellationToken: TestContext.Current.CancellationToken);
        Assert.All(report.Rows,
            row => Assert.True(row.Failures.Count == 0,
                $"{row.Group}: {row.Error} for {row.Limit}: {string.Join(", ", row.Failures)}; {row.Worst}"));
        Assert.True(report.Holds);
        // Nothing was left out, and the device does round.
        Assert.Superset(
            new HashSet<string>(["vit.last_hidden", "connector.output", "logits (dump)", "token_logprob", "sft.grad",
                "grpo.sequence_mean.grad", "adamw.after2", "rollout − training"]),
            report.Rows.Select(row => row.Group).ToHashSet());
        Assert.InRange(report.Rows.Single(row => row.Group == "logits").Error, 1e-4, 2e-2);
        Assert.Equal(0, report.Rows.Single(row => row.Group == "rollout − training").Limit);
    }
}
