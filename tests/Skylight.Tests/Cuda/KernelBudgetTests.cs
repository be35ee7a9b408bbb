using Skylight.Cli.Kernels;
using Skylight.Cuda;
using Skylight.Workloads;

namespace Skylight.Tests.Cuda;

/// <summary>
/// Registers, spills, stack and shared memory of every kernel, as NVRTC reports them, against <c>kernels/budget.json</c>, and
/// what its machine code for Hopper keeps busy against <c>kernels/machine-code.json</c>.
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
        Disassembler? disassembler = FindDisassembler();
        var refused = new List<string>();
        IReadOnlyList<(KernelFigures Figures, KernelAnalysis? Analysis)> measured = KernelBudget.Compile(compiler, uses, null,
            (compiled, figures) =>
            {
                bool isRead = disassembler is not null && compiled.Variant.ArchitectureName == "sm_90a";
                IReadOnlyList<MachineFunction> code = isRead ? disassembler!.Read(compiled.Image.Span) : [];
                lock (refused)
                    refused.AddRange(AnalyzeCommand.RefusedPlans(compiled.Log));
                return figures.Select(use =>
                    (use.Figures, isRead ? KernelAnalysis.Of(use.Figures, use.Use.EntryPoint, code) : null));
            }, TestContext.Current.CancellationToken);
        Assert.Empty(unsupported);
        Assert.Empty(refused);
        Assert.DoesNotContain(measured, kernel => kernel.Figures.SpillBytes > 0);
        Assert.Empty(KernelBudget.Compare([.. measured.Select(kernel => kernel.Figures)],
            KernelBudget.Read(Repository.PathOf("kernels", "budget.json"))));
        KernelAnalysis[] analyses = [.. measured.Select(kernel => kernel.Analysis).OfType<KernelAnalysis>()];
        IReadOnlyList<KernelAnalysis> table = KernelBudget.ReadAnalyses(Repository.PathOf("kernels", "machine-code.json"));
        Assert.Empty(KernelAnalysis.Compare(analyses, table));
        // Better is other, too: the table is of the kernels as they are, so that two states' tables say what has changed.
        if (analyses.Length > 0)
            Assert.Empty(KernelAnalysis.Differences(analyses, table));
        else
            TestContext.Current.AddWarning("nvdisasm is not here (.ci/install unpacks it): machine code was not read.");
    }

    private static Disassembler? FindDisassembler()
    {
        string unpacked = Repository.PathOf("build", "cuda", "nvdisasm", "usr", "bin", "nvdisasm");
        try
        {
            return Disassembler.Find(File.Exists(unpacked) ? unpacked : null);
        }
        catch (FileNotFoundException)
        {
            return null;
        }
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
