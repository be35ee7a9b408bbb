using Skylight.Checkpoints;
using Skylight.Cli.Verify;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Models;
using Skylight.Tests.Checkpoints;

namespace Skylight.Tests.Cli.Verify;

public sealed class ModelVerificationTests
{
    public static TheoryData<string, bool> Checkpoints => new(
        from directory in CheckpointFixture.GoldenDirectories
        from fusion in (bool[])[true, false]
        select (directory, fusion));

    [Theory]
    [MemberData(nameof(Checkpoints))]
    public void Everything_in_the_dump_is_reproduced(string directory, bool useFusion)
    {
        using var device = new CpuDevice();
        VerificationReport report = ModelVerification.Run(Golden.PathOf(directory), Dump(directory), device,
            useFusion: useFusion);
        IReadOnlyList<ComparisonRow> rows = report.Rows;
        Assert.Equal("the dump", report.Reference);
        Assert.True(report.Holds);
        Assert.All(rows,
            row => Assert.True(row.Failures.Count == 0,
                $"{row.Group}: {row.Error} for {row.Limit}: {string.Join(", ", row.Failures)}; {row.Worst}"));
        Assert.Equal(
            new[]
            {
                "adamw.after2", "adamw.grad_norm", "adamw.loss", "connector.output", "greedy_24", "grpo.advantages",
                "grpo.clipped_tokens", "grpo.loss", "grpo.mean_entropy", "logits", "rollout − training", "sft.grad",
                "sft.loss", "token_entropy", "token_logprob", "vit.embeddings", "vit.last_hidden",
            }.Concat(CheckpointFixture.PolicyGradients(Path.GetDirectoryName(directory)!)).Order(StringComparer.Ordinal),
            rows.Select(row => row.Group).Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("connector.linear1.bias", "vit.embeddings,vit.last_hidden",
        "connector.output,logits,token_logprob,sft.loss,sft.grad,grpo.loss")]
    [InlineData("language.norm.weight", "vit.embeddings,vit.last_hidden,connector.output",
        "logits,token_logprob,token_entropy,sft.loss,sft.grad,adamw.after2")]
    [InlineData("vision.patch_embedding.bias", "grpo.advantages",
        "vit.embeddings,vit.last_hidden,connector.output,logits,token_logprob")]
    public void One_wrong_weight_is_found_and_no_group_before_it_is_blamed(string parameter, string holding, string failing)
    {
        const string Directory = "vit300m-style/hf";
        using var device = new CpuDevice();
        using var folder = new TemporaryFolder();
        using (VisionLanguageModel model = ModelCheckpoint.Load(Golden.PathOf(Directory), device))
        {
            float[] values = PersistentTensors.Read(device, model.Parameters[parameter]);
            values[1] += 0.05f;
            PersistentTensors.Write(device, model.Parameters[parameter], values);
            ModelCheckpoint.Save(model, folder["wrong"]);
        }

        Dictionary<string, ComparisonRow> rows = ModelVerification.Run(folder["wrong"], Dump(Directory), device)
            .Rows.ToDictionary(row => row.Group);
        Assert.All(holding.Split(','), group => Assert.Empty(rows[group].Failures));
        Assert.All(failing.Split(','), group => Assert.NotEmpty(rows[group].Failures));
    }

    [Fact]
    public void A_dump_of_another_model_is_refused_by_name()
    {
        using var device = new CpuDevice();
        Exception exception = Assert.ThrowsAny<Exception>(() => ModelVerification.Run(Golden.PathOf("vit300m-style/hf"),
            Golden.PathOf("vit6b-style/golden.safetensors"), device));
        Assert.True(exception is InvalidDataException or CheckpointException or ArgumentException, exception.ToString());
    }

    private static string Dump(string directory) =>
        Golden.PathOf(Path.Combine(Path.GetDirectoryName(directory)!, "golden.safetensors"));
}
