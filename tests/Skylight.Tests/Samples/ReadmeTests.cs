using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Tests.Simt;
using Skylight.Workloads;

namespace Skylight.Tests.Samples;

/// <summary>The samples of README, of docs and of the packages' pages are these files, and they work.</summary>
[Collection(EmulatorCollection.Name)]
public class ReadmeTests
{
    [Theory]
    [InlineData("ScaledResidualSample.cs", "a host's own op", "docs/ops.md")]
    [InlineData("ChatClientSample.cs", "IChatClient", "src/Skylight.Extensions.AI/README.md")]
    [InlineData("GenerationSample.cs", "generate", "docs/library.md")]
    [InlineData("StructuredSample.cs", "structured", "docs/structured.md")]
    [InlineData("ToolSample.cs", "tools", "docs/tools.md")]
    [InlineData("ChatSample.cs", "chat", "README.md")]
    [InlineData("ChatSample.cs", "chat", "src/Skylight/README.md")]
    public void The_page_shows_the_sample_as_it_is_compiled(string file, string region, string page)
    {
        string source = ReadLines(Repository.PathOf("tests", "Skylight.Tests", "Samples", file));
        string start = $"#region README: {region}\n";
        Assert.Contains(start, source, StringComparison.Ordinal);
        string sample = source.Split(start)[1].Split("#endregion")[0];
        Assert.Contains($"```csharp\n{sample}```\n", ReadLines(Repository.PathOf(page.Split('/'))),
            StringComparison.Ordinal);
    }

    [Fact]
    public void Readme_is_short_and_every_sample_in_it_is_compiled()
    {
        string readme = ReadLines(Repository.PathOf("README.md"));
        Assert.InRange(readme.Length, 3000, 8000);
        // The sample above is the only one, as elsewhere those of the list are.
        Assert.Equal(2, readme.Split("```csharp").Length);
        foreach (string page in (string[])["docs/ops.md", "docs/library.md", "docs/structured.md", "docs/tools.md", "src/Skylight/README.md",
            "src/Skylight.Extensions.AI/README.md"])
            Assert.Equal(2, ReadLines(Repository.PathOf(page.Split('/'))).Split("```csharp").Length);
    }

    [Theory]
    [InlineData("cpu")]
    [InlineData("simt")]
    public void A_hosts_own_op_computes_value_and_gradient(string deviceName)
    {
        // Beyond the first block of the kernel, and with a last pack that is incomplete.
        float[] x = [1, -2, 3.5f, .. Enumerable.Range(0, 1200).Select(index => index * 0.25f)];
        float[] branch = [4, 6, -1, .. Enumerable.Range(0, 1200).Select(index => 300f - index)];
        if (deviceName == "simt")
            Emulator.Require();
        using Device device = deviceName == "simt" ? ScaledResidualCuda.OpenEmulator() : new CpuDevice();
        (float[] sum, float[] gradient) = ScaledResidualSample.Run(device, x, branch);
        float[] expected = [3, 1, 3, .. Enumerable.Range(0, 1200).Select(index => index * 0.25f + 0.5f * (300f - index))];
        Assert.Equal(expected, sum);
        // d(Σ s²)/d branch = 2·s·½ = s.
        Assert.Equal(expected, gradient);
    }

    [Theory]
    [InlineData(3, 5)]
    [InlineData(9, 251)]
    public void A_hosts_own_op_agrees_between_cuda_in_bfloat16_and_the_cpu(int rows, int columns)
    {
        Emulator.Require();
        using CudaDevice device = ScaledResidualCuda.OpenEmulator();
        var workload = new Workload("scaled-residual", new ScaledResidual(0.37f),
            [Operand.Normal(rows, columns), Operand.Normal(rows, columns)], Tiny: true);
        ParityRow[] checks = [.. DeviceParity.CheckForward(workload, device),
            .. DeviceParity.CheckGradients(workload, device)];
        // The output, and the gradients of both inputs.
        Assert.True(checks.Length >= 3);
        Assert.All(checks, check => Assert.True(check.Passed, $"{check.Quantity}: {check.Error} of {check.Tolerance}"));
    }

    [Fact]
    public void A_hosts_own_op_passes_the_gradient_check_of_the_house() =>
        Ops.GradientCheck.Check(new ScaledResidual(0.37f), [Operand.Normal(3, 5), Operand.Normal(3, 5)], [0]);

    [Fact]
    public void A_host_generates_from_a_checkpoint()
    {
        using SafetensorsFile dump = SafetensorsFile.Open(Golden.PathOf("vit300m-style/golden.safetensors"));
        Skylight.Tensors.Shape pixels = dump["s0.pixel_values"].Shape;
        var picture = new ImageTile(dump.ReadFloat32("s0.pixel_values"), pixels[^2], pixels[^1]);

        Completion[] completions = GenerationSample.Complete(Golden.PathOf("vit300m-style/hf"),
            dump.ReadInt32("s0.input_ids"), [picture]);

        Assert.Equal(4, completions.Length);
        Assert.All(completions, completion =>
        {
            Assert.InRange(completion.Tokens.Length, 1, 64);
            Assert.All(completion.LogProbabilities, value => Assert.True(value <= 0));
            Assert.All(completion.Entropies, value => Assert.True(value >= 0));
        });
        Assert.NotEqual(completions[0].Tokens, completions[1].Tokens);
    }

    private static string ReadLines(string path) => File.ReadAllText(path).ReplaceLineEndings("\n");
}
