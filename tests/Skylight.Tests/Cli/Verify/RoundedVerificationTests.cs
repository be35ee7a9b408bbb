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
    [InlineData("qwen3-style", true)]
    [InlineData("qwen3-style", false)]
    public void A_device_that_only_rounds_holds(string model, bool useFusion)
    {
        VerificationReport report = Verify(model, null, useFusion);
        Assert.All(report.Rows,
            row => Assert.True(row.Failures.Count == 0,
                $"{row.Group}: {row.Error} for {row.Limit}: {string.Join(", ", row.Failures)}; {row.Worst}"));
        Assert.True(report.Holds);
        Assert.StartsWith("the CPU in float32 with the same weights rounded to bfloat16", report.Reference,
            StringComparison.Ordinal);
        Assert.Equal(
            new[]
            {
                "adamw.after2", "adamw.grad_norm", "adamw.loss", "connector.output", "connector.output (dump)",
                "grpo.advantages", "grpo.clipped_tokens", "grpo.loss", "grpo.mean_entropy", "logits", "logits (dump)",
                "rollout − training", "sft.grad", "sft.loss", "token_entropy", "token_logprob",
                "vit.embeddings", "vit.embeddings (dump)", "vit.last_hidden", "vit.last_hidden (dump)",
            }.Concat(CheckpointFixture.PolicyGradients(model)).Order(StringComparer.Ordinal),
            report.Rows.Select(row => row.Group).Order(StringComparer.Ordinal));

        // The device does round: nothing here is the float32 path under another name. And ratios are clipped: it is no
        // empty comparison.
        Assert.InRange(Row(report, "logits").Error, 1e-4, 2e-2);
        Assert.DoesNotContain(" 0 for 0", Row(report, "grpo.clipped_tokens").Worst, StringComparison.Ordinal);
        Assert.Equal(ErrorMeasure.LargestDifference, Row(report, "token_logprob").Measure);
        Assert.Equal(0, Row(report, "rollout − training").Limit);
    }

    [Fact]
    public void A_wrong_forward_op_is_found_and_nothing_before_it_is_blamed()
    {
        VerificationReport report = Verify("vit300m-style", (op, elements) => Multiply(op is Gelu, elements, 1.1f),
            useFusion: false);
        Assert.False(report.Holds);
        Assert.Empty(Row(report, "vit.embeddings").Failures);
        Assert.All((string[])["connector.output", "connector.output (dump)", "logits", "logits (dump)"],
            group => Assert.NotEmpty(Row(report, group).Failures));
    }

    [Fact]
    public void A_wrong_backward_op_is_found_and_the_forward_pass_is_not_blamed()
    {
        VerificationReport report = Verify("vit6b-style", (op, elements) => Multiply(op is SwiGluBackward, elements, 1.1f));
        Assert.All((string[])["logits", "token_logprob", "sft.loss", "grpo.clipped_tokens", "rollout − training"],
            group => Assert.Empty(Row(report, group).Failures));
        Assert.All((string[])["sft.grad", .. CheckpointFixture.PolicyGradients("vit6b-style")],
            group => Assert.NotEmpty(Row(report, group).Failures));
    }

    [Fact]
    public void A_rollout_that_differs_from_training_by_rounding_alone_is_found()
    {
        VerificationReport report = Verify("vit300m-style",
            (op, elements) => Multiply(op is PagedAttention, elements, 1.004f));
        Assert.Equal(["rollout − training"], report.Rows.Where(row => row.Failures.Count > 0).Select(row => row.Group));
    }

    [Fact]
    public void A_score_that_is_wrong_for_one_token_is_found()
    {
        VerificationReport report = Verify("vit6b-style", (op, elements) =>
        {
            if (op is VocabularyHead)
                elements[3] -= 0.1f;
        });
        Assert.Single(Row(report, "token_logprob").Failures);
        Assert.Empty(Row(report, "logits").Failures);
    }

    private static void Multiply(bool condition, float[] elements, float factor)
    {
        for (int index = 0; condition && index < elements.Length; index++)
            elements[index] *= factor;
    }

    private static ComparisonRow Row(VerificationReport report, string group) =>
        report.Rows.Single(row => row.Group == group);

    private static VerificationReport Verify(string model, Action<Op, float[]>? disturb = null, bool useFusion = true)
    {
        using var device = new RoundingDevice(DataType.BFloat16, disturb);
        return ModelVerification.Run(Golden.PathOf(model + "/hf"), Golden.PathOf(model + "/golden.safetensors"), device,
            useFusion: useFusion);
    }
}
