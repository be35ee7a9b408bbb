using System.CommandLine;
using System.Globalization;
using Skylight.Cuda;
using Skylight.Workloads;
using Spectre.Console;

namespace Skylight.Cli.Kernels;

/// <summary><c>skylight kernels compile</c>: NVRTC for every variant that the workloads need, without a card.</summary>
internal static class CompileCommand
{
    private static readonly string[] _defaultArchitectures = ["sm_80", "sm_90a"];

    public static Command Create()
    {
        var architectures =
            new Option<string[]>("--arch")
            {
                Description = "An architecture such as sm_80 or sm_90a; may be repeated.",
                DefaultValueFactory = _ => _defaultArchitectures,
                AllowMultipleArgumentsPerToken = true,
            };
        var filter = new Option<string?>("--filter") { Description = "Only workloads whose name contains this." };
        var json = new Option<bool>("--json")
        {
            Description = "Print the figures as JSON, as kernels/budget.json holds them.",
        };
        var budget =
            new Option<string?>("--budget") { Description = "Compare with this table; exit code 1 if a kernel is worse." };
        var command = new Command("compile",
            "Compile every kernel with NVRTC and report registers, spills, stack, shared memory, and how many blocks " +
            "a multiprocessor can hold. Needs no GPU.") { architectures, filter, json, budget };
        command.SetCancellableAction((parse, cancellationToken) => Run(
            parse.GetRequiredValue(architectures), parse.GetValue(filter), parse.GetValue(json), parse.GetValue(budget),
            cancellationToken));
        return command;
    }

    private static int Run(string[] architectures, string? filter, bool json, string? budget,
        CancellationToken cancellationToken)
    {
        IReadOnlyList<KernelFigures>? table = budget is null ? null : KernelBudget.Read(budget);
        IReadOnlyList<Workload> workloads = CheckCommand.Select(filter);
        var compiler = new CudaCompiler();
        var unsupported = new List<string>();
        List<CudaTarget> targets = [.. architectures.Distinct().Select(compiler.TargetFor)];
        List<KernelUse> uses = [.. targets.SelectMany(target => KernelInventory.Collect(workloads, target, unsupported))];
        int done = 0;
        IReadOnlyList<KernelFigures> figures = KernelBudget.Measure(
            compiler, uses,
            variant => Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{Interlocked.Increment(ref done),4}  {variant}")), cancellationToken);
        if (json)
            Console.Write(KernelBudget.Format(figures));
        else
            Print(figures, compiler);
        foreach (CudaTarget target in targets.Where(target => target.UsesPtx))
        {
            Console.Error.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"sm_{target.Architecture}: compiled to PTX of {target.ArchitectureName}, because NVRTC {compiler.Version} does not know it; the driver makes the machine code, so there are no figures."));
        }

        foreach (string message in unsupported)
            Console.Error.WriteLine(message);
        IReadOnlyList<string> faults = table is null ? [] : KernelBudget.Compare(figures, table);
        foreach (string fault in faults)
            Console.Error.WriteLine($"worse: {fault}");
        return unsupported.Count == 0 && faults.Count == 0 ? 0 : 1;
    }

    private static void Print(IReadOnlyList<KernelFigures> figures, CudaCompiler compiler)
    {
        var table = new Table().Border(TableBorder.Simple).AddColumns("kernel", "architecture", "threads", "registers",
            "spilled bytes", "stack", "shared bytes", "blocks", "occupancy");
        for (int column = 2; column < 9; column++)
            table.Columns[column].RightAligned();
        foreach (KernelFigures row in figures)
            table.AddRow(Markup.Escape(row.Kernel), row.Architecture, $"{row.Threads}", $"{row.Registers}",
                row.SpillBytes == 0 ? "0" : $"[red]{row.SpillBytes}[/]", $"{row.StackBytes}", $"{row.SharedBytes}",
                $"{row.Blocks}", $"{row.OccupancyPercent} %");
        AnsiConsole.Write(table);
        AnsiConsole.MarkupLineInterpolated(
            $"{figures.Count} kernels, {figures.Count(row => row.SpillBytes > 0)} with spills; NVRTC {compiler.Version.ToString()} at {compiler.LibraryPath}");
    }
}
