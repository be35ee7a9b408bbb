using Skylight.Cli.Verify;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Checkpoints;
using Skylight.Tests.Execution;

namespace Skylight.Tests.Cli.Verify;

/// <summary>Verification of a device that computes in bfloat16.</summary>
public sealed class RoundedVerificationTests
{
    [Theory]
    [InlineData("vit300m-style", true)]
    [InlineData("vit300m-style", false)]
    [InlineData("vit6b-style", true)]
    [InlineData("vit6b-style", false)]
    public void A_device_that_only_rounds_holds(string model, bool useFusion)
    {
        VerificationReport report = Verify(model, null, useFusion);
        foreach (ComparisonRow row in report.Rows)
            TestContext.Current.TestOutputHelper?.WriteLine($"{row.Group} {row.Tensors} {row.Error:E2} {row.Limit:E0} {row.Measure} {row.Worst} FAIL {string.Join(", ", row.Failures)}");
        Assert.All(report.Rows, row => Assert.True(row.Failures.Count == 0, $"{row.Group}: {row.Error} for {row.Limit}: {string.Join(", ", row.Failures)}; {row.Worst}"));
    }

    private static VerificationReport Verify(string model, Action<Op, float[]>? disturb = null, bool useFusion = true)
    {
        using var device = new RoundingDevice(DataType.BFloat16, disturb);
        return ModelVerification.Run(CheckpointFixture.Golden(model + "/hf"), CheckpointFixture.Golden(model + "/golden.safetensors"), device, useFusion: useFusion);
    }
}
