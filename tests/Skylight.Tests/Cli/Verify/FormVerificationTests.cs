using Skylight.Checkpoints;
using Skylight.Cli.Verify;
using Skylight.Cpu;
using Skylight.Cuda;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Tests.Checkpoints.Quantized;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cli.Verify;

/// <summary>Quantised checkpoints against the logits of their dequantised weights.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class FormVerificationTests
{
    private static string Dump => Golden.PathOf("quant/golden.safetensors");

    [Theory]
    [InlineData("awq")]
    [InlineData("gptq")]
    [InlineData("fp8")]
    [InlineData("gguf.Q4_K_M")]
    public void Logits_are_reproduced_on_the_CPU(string form)
    {
        using var device = new CpuDevice(new CpuDeviceOptions { Compute = DataType.Float32 });
        VerificationReport report = ModelVerification.RunForm(CheckpointOf(form), Dump, form, BaseOf(form), device,
            cancellationToken: TestContext.Current.CancellationToken);
        ComparisonRow row = Assert.Single(report.Rows);
        Assert.Equal(("logits", 2, 1e-3), (row.Group, row.Tensors, row.Limit));
        // What is promised is wider than what float32 needs.
        Assert.True(report.Holds && row.Error < 1e-5, row.ToString());
    }

    [Theory]
    [InlineData("awq")]
    [InlineData("gptq")]
    [InlineData("fp8")]
    [InlineData("gguf.Q4_K_M")]
    public void Rounded_activations_have_a_bound_of_their_own(string form)
    {
        using var device = new CpuDevice(new CpuDeviceOptions { Compute = DataType.BFloat16 });
        VerificationReport report = ModelVerification.RunForm(CheckpointOf(form), Dump, form, BaseOf(form), device,
            cancellationToken: TestContext.Current.CancellationToken);
        ComparisonRow row = Assert.Single(report.Rows);
        // Not as exact as float32: activations were rounded indeed, to bytes or to bfloat16.
        Assert.True(report.Holds && row is { Limit: 3e-2, Error: > 1e-3 }, row.ToString());
    }

    [Fact]
    public void Codes_of_NF4_are_multiplied_in_both_ways()
    {
        using var files = new NormalFloat4Dump();
        foreach ((DataType compute, double least, double most) in
            ((DataType, double, double)[])[(DataType.Float32, 0, 1e-5), (DataType.BFloat16, 1e-4, 3e-2)])
        {
            using var device = new CpuDevice(new CpuDeviceOptions { Compute = compute });
            using (VisionLanguageModel model = ModelCheckpoint.Load(files.Checkpoint, device))
                // Queries, keys and values are one weight, gate and up too.
                Assert.Equal(8, model.Parameters.All.Count(parameter =>
                    parameter.Type.Format is { Codes: CodeType.NormalFloat4, BlockSize: 64 }));
            VerificationReport report = ModelVerification.RunForm(files.Checkpoint, files.Dump, "nf4", null, device,
                cancellationToken: TestContext.Current.CancellationToken);
            ComparisonRow row = Assert.Single(report.Rows);
            Assert.True(report.Holds && row.Tensors == 2 && row.Error >= least && row.Error < most, $"{compute}: {row}");
        }
    }

    [Theory]
    [InlineData("awq")]
    [InlineData("gptq")]
    [InlineData("fp8")]
    [InlineData("gguf.Q4_K_M")]
    public void Logits_are_reproduced_within_the_limits_of_bfloat16(string form)
    {
        Emulator.Require();
        using var device = new CudaDevice(new CudaDeviceOptions { Libraries = CudaLibraries.LoadSimulated() });
        VerificationReport report = ModelVerification.RunForm(CheckpointOf(form), Dump, form, BaseOf(form), device,
            cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal(["logits", "logits (dump)"], report.Rows.Select(row => row.Group));
        Assert.All(report.Rows, row => Assert.True(row.Failures.Count == 0 && row.Error > 1e-4, row.ToString()));
    }

    [Fact]
    public void Act_order_reproduces_the_logits_on_the_CPU()
    {
        using var folder = new ActOrderFolder(ActOrderFolder.ByInput);
        foreach ((DataType compute, double least, double most) in
            ((DataType, double, double)[])[(DataType.Float32, 0, 1e-5), (DataType.BFloat16, 1e-3, 3e-2)])
        {
            using var device = new CpuDevice(new CpuDeviceOptions { Compute = compute });
            VerificationReport report = ModelVerification.RunForm(folder.Path, Dump, "gptq", null, device,
                cancellationToken: TestContext.Current.CancellationToken);
            ComparisonRow row = Assert.Single(report.Rows);
            Assert.True(report.Holds && row.Tensors == 2 && row.Error >= least && row.Error < most, $"{compute}: {row}");
        }
    }

    [Fact]
    public void Act_order_reproduces_the_logits_within_the_limits_of_bfloat16()
    {
        Emulator.Require();
        using var folder = new ActOrderFolder(ActOrderFolder.ByInput);
        using var device = new CudaDevice(new CudaDeviceOptions { Libraries = CudaLibraries.LoadSimulated() });
        using (VisionLanguageModel model = ModelCheckpoint.Load(folder.Path, device))
            Assert.Equal(8, model.Parameters.All.Count(parameter => parameter.Type.Format is { HasInputOrder: true }));
        VerificationReport report = ModelVerification.RunForm(folder.Path, Dump, "gptq", null, device,
            cancellationToken: TestContext.Current.CancellationToken);
        Assert.Equal(["logits", "logits (dump)"], report.Rows.Select(row => row.Group));
        Assert.All(report.Rows, row => Assert.True(row.Failures.Count == 0 && row.Error > 1e-4, row.ToString()));
    }

    private static string CheckpointOf(string form) =>
        Golden.PathOf(form.StartsWith("gguf.", StringComparison.Ordinal) ? $"quant/model-{form[5..]}.gguf" : $"quant/{form}");

    private static string? BaseOf(string form) =>
        form.StartsWith("gguf.", StringComparison.Ordinal) ? Golden.PathOf("quant/float") : null;

    [Fact]
    public void Another_form_is_found()
    {
        using var device = new CpuDevice(new CpuDeviceOptions { Compute = DataType.Float32 });
        VerificationReport report = ModelVerification.RunForm(Golden.PathOf("quant/awq"), Dump, "fp8", null, device,
            cancellationToken: TestContext.Current.CancellationToken);
        Assert.False(report.Holds);
        Assert.Equal(["image", "text"], report.Rows.Single().Failures.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void A_dump_of_a_form_needs_a_checkpoint_that_fits()
    {
        using var device = new CpuDevice(new CpuDeviceOptions { Compute = DataType.Float32 });
        Assert.Throws<CheckpointException>(() => ModelVerification.RunForm(Golden.PathOf("quant/float"), Dump, "awq", null,
            device, cancellationToken: TestContext.Current.CancellationToken));
    }
}
