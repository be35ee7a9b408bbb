using Skylight.Checkpoints;
using Skylight.Generation;
using Skylight.Models;
using Skylight.Workloads;

namespace Skylight.Tests.Samples;

/// <summary>README's samples are these files, and they work.</summary>
public class ReadmeTests
{
    [Theory]
    [InlineData("ScaledResidualSample.cs", "a host's own op")]
    [InlineData("GenerationSample.cs", "generate")]
    public void Readme_shows_the_sample_as_it_is_compiled(string file, string region)
    {
        string source = ReadLines(Repository.PathOf("tests", "Skylight.Tests", "Samples", file));
        string start = $"#region README: {region}\n";
        Assert.Contains(start, source, StringComparison.Ordinal);
        string sample = source.Split(start)[1].Split("#endregion")[0];
        Assert.Contains($"```csharp\n{sample}```\n", ReadLines(Repository.PathOf("README.md")), StringComparison.Ordinal);
    }

    [Fact]
    public void A_hosts_own_op_computes_value_and_gradient()
    {
        float[] x = [1, -2, 3.5f], branch = [4, 6, -1];
        (float[] sum, float[] gradient) = ScaledResidualSample.Run(x, branch);
        Assert.Equal([3f, 1f, 3f], sum);
        // d(Σ s²)/d branch = 2·s·½ = s.
        Assert.Equal([3f, 1f, 3f], gradient);
    }

    [Fact]
    public void A_hosts_own_op_passes_the_gradient_check_of_the_house() =>
        Ops.GradientCheck.Check(new ScaledResidual(0.37f), [Operand.Normal(3, 5), Operand.Normal(3, 5)], [0]);

    [Fact]
    public void A_host_generates_from_a_checkpoint()
    {
        string golden = Path.Combine(Repository.Root, "..", "shared", "golden", "vit300m-style");
        if (!Directory.Exists(golden))
            Assert.Skip("needs ../shared/golden/vit300m-style");
        using SafetensorsFile dump = SafetensorsFile.Open(Path.Combine(golden, "golden.safetensors"));
        Skylight.Tensors.Shape pixels = dump["s0.pixel_values"].Shape;
        var picture = new ImageTile(dump.ReadFloat32("s0.pixel_values"), pixels[^2], pixels[^1]);

        Completion[] completions = GenerationSample.Complete(Path.Combine(golden, "hf"), dump.ReadInt32("s0.input_ids"), [picture]);

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
