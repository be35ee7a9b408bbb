using Skylight.Cli.Verify;

namespace Skylight.Tests.Cli.Verify;

public sealed class ComparisonTableTests
{
    [Fact]
    public void The_worst_tensor_and_element_are_named()
    {
        var table = new ComparisonTable();
        table.Add("x", "good", [1, 2], [1, 2], 1e-5);
        table.Add("x", "bad", [3, 4.5f], [3, 4], 1e-5);
        ComparisonRow row = Assert.Single(table.Rows());
        Assert.Equal(0.1, row.Error, 1e-6);
        Assert.Equal(["bad"], row.Failures);
        Assert.Equal("bad[1]: 4.5 for 4", row.Worst);
    }

    [Fact]
    public void NaN_never_holds()
    {
        var table = new ComparisonTable();
        table.Add("x", "nan", [1, float.NaN, 3], [1, 2, 3], 1e-5);
        table.Add("x", "good", [1], [1], 1e-5);
        Assert.Equal(["nan"], Assert.Single(table.Rows()).Failures);
        Assert.StartsWith("nan[1]", table.Rows()[0].Worst, StringComparison.Ordinal);
    }

    [Fact]
    public void A_vanishing_gradient_is_compared_with_the_largest_one()
    {
        var table = new ComparisonTable();
        table.Add("sft.grad", "large", [1f], [1f], 1e-4);
        table.Add("sft.grad", "noise", [3e-9f], [1e-9f], 1e-4);
        Assert.Empty(Assert.Single(table.Rows()).Failures);
        table.Add("sft.grad", "wrong", [2e-6f], [1e-9f], 1e-4);
        Assert.Equal(["wrong"], Assert.Single(table.Rows()).Failures);

        // Only gradients may vanish.
        var values = new ComparisonTable();
        values.Add("logits", "large", [1f], [1f], 1e-5);
        values.Add("logits", "small", [3e-9f], [1e-9f], 1e-5);
        Assert.Equal(["small"], Assert.Single(values.Rows()).Failures);
    }

    [Fact]
    public void Where_rounding_is_coarse_a_small_gradient_is_allowed_noise_but_may_not_be_missing()
    {
        var table = new ComparisonTable(gradientFloor: 1e-3);
        table.Add("sft.grad", "large", [1.04f], [1f], 5e-2);
        table.Add("sft.grad", "cancelled", [1e-5f], [1e-10f], 5e-2);
        table.Add("sft.grad", "noisy", [1.06e-4f], [1e-4f], 5e-2);
        Assert.Empty(Assert.Single(table.Rows()).Failures);
        table.Add("sft.grad", "missing", [0f], [1e-4f], 5e-2);
        table.Add("sft.grad", "wrong", [1.1e-2f], [1e-2f], 5e-2);
        Assert.Equal(["missing", "wrong"], Assert.Single(table.Rows()).Failures);
    }

    [Fact]
    public void Absolute_differences_are_those_of_single_elements()
    {
        var table = new ComparisonTable();
        table.AddAbsolute("token_logprob", "good", [-100.04f, -1f], [-100f, -1f], 0.05);
        table.AddAbsolute("token_logprob", "bad", [-100f, -1f], [-100f, -1.06f], 0.05);
        table.AddAbsolute("token_logprob", "nan", [-1f, float.NaN], [-1f, -2f], 0.05);
        ComparisonRow row = Assert.Single(table.Rows());
        Assert.Equal(["bad", "nan"], row.Failures);
        Assert.Equal(ErrorMeasure.LargestDifference, row.Measure);
        Assert.True(double.IsNaN(row.Error));
        Assert.StartsWith("nan[1]", row.Worst, StringComparison.Ordinal);

        var equal = new ComparisonTable();
        equal.AddAbsolute("rollout", "same", [-0.5f], [-0.5f], 0);
        Assert.Empty(Assert.Single(equal.Rows()).Failures);
        equal.AddAbsolute("rollout", "other", [-0.5f], [MathF.BitDecrement(-0.5f)], 0);
        Assert.Equal(["other"], Assert.Single(equal.Rows()).Failures);
    }

    [Fact]
    public void Another_number_of_elements_is_another_model() =>
        Assert.Contains("belongs to another model",
            Assert.Throws<InvalidDataException>(() => new ComparisonTable().Add("x", "y", [1], [1, 2], 0)).Message,
            StringComparison.Ordinal);
}
