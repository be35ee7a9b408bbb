using Skylight.Cli.Kernels;
using Skylight.Cuda;
using Skylight.Workloads;

namespace Skylight.Tests.Cuda;

/// <summary>
/// Registers, spills, stack and shared memory of every kernel, as NVRTC reports them, against
/// <c>kernels/budget.json</c>.
/// </summary>
public sealed class KernelBudgetTests
{
    private static readonly KernelFigures _figures = new("a.cu x", "sm_80", 40, 0, 0, 1024, 256);

    [Fact]
    public void Every_kernel_keeps_to_the_table_and_none_spills()
    {
        CudaCompiler compiler;
        try
        {
            compiler = new CudaCompiler();
        }
        catch (CudaException exception) when (Environment.GetEnvironmentVariable("CI") != "true")
        {
            Assert.Skip(exception.Message);
            return;
        }

        // Another compiler gives other figures; the table is that of this one.
        Assert.SkipUnless(compiler.Version is { Major: 12, Minor: 4 },
            $"The table holds the figures of NVRTC 12.4, this is {compiler.Version}.");
        var unsupported = new List<string>();
        List<KernelUse> uses = [.. new[] { "sm_80", "sm_90a" }.SelectMany(
            architecture => KernelInventory.Collect(Catalog.All, CudaTarget.For(architecture), unsupported))];
        IReadOnlyList<KernelFigures> measured = KernelBudget.Measure(compiler, uses, null,
            TestContext.Current.CancellationToken);
        Assert.Empty(unsupported);
        Assert.DoesNotContain(measured, figures => figures.SpillBytes > 0);
        Assert.Empty(KernelBudget.Compare(measured, KernelBudget.Read(Repository.PathOf("kernels", "budget.json"))));
    }

    [Fact]
    public void What_is_worse_or_unknown_is_found()
    {
        Assert.Empty(KernelBudget.Compare([_figures], [_figures]));
        Assert.Empty(KernelBudget.Compare([_figures with { Registers = 39 }], [_figures]));
        Assert.Contains("41 registers",
            Assert.Single(KernelBudget.Compare([_figures with { Registers = 41 }], [_figures])), StringComparison.Ordinal);
        Assert.Contains("8 spilled bytes",
            Assert.Single(KernelBudget.Compare([_figures with { SpillBytes = 8 }], [_figures])), StringComparison.Ordinal);
        Assert.Contains("not in the table",
            Assert.Single(KernelBudget.Compare([_figures with { Architecture = "sm_90a" }], [_figures])),
            StringComparison.Ordinal);
    }
}
