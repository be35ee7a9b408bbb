using System.CommandLine;
using System.Globalization;
using Skylight.Cuda;
using Skylight.Workloads;
using Spectre.Console;

namespace Skylight.Cli.Kernels;

/// <summary>
/// <c>skylight kernels analyze</c>: what each kernel's main loop keeps busy, from its machine code, without a card.
/// </summary>
internal static class AnalyzeCommand
{
    public static Command Create()
    {
        var architectures =
            new Option<string[]>("--arch")
            {
                Description = "An architecture such as sm_80 or sm_90a; may be repeated.",
                DefaultValueFactory = _ => ["sm_90a"],
                AllowMultipleArgumentsPerToken = true,
            };
        var filter = new Option<string?>("--filter") { Description = "Only workloads whose name contains this." };
        var json = new Option<bool>("--json")
        {
            Description = "Print the figures as JSON, as kernels/machine-code.json holds them.",
        };
        var table = new Option<string?>("--table")
        {
            Description = "Compare with this table, and print how instructions differ; exit code 1 if a kernel is worse.",
        };
        var disassembler = new Option<string?>("--disassembler")
        {
            Description = $"The path of nvdisasm; else {Disassembler.Variable}, PATH, and a CUDA toolkit's folder.",
        };
        var command = new Command("analyze",
            "Compile every kernel with NVRTC, disassemble it, and report for one pass of its main loop how long tensor cores, " +
            "shared memory, instruction slots and arithmetic are busy: a ceiling, never a time. Needs no GPU.")
        { architectures, filter, json, table, disassembler };
        command.SetCancellableAction((parse, cancellationToken) => Run(
            parse.GetRequiredValue(architectures), parse.GetValue(filter), parse.GetValue(json), parse.GetValue(table),
            parse.GetValue(disassembler), cancellationToken));
        return command;
    }

    /// <summary>Analyzes all kernels in use; PTX has no machine code and is refused.</summary>
    /// <param name="compiler">NVRTC.</param>
    /// <param name="disassembler">nvdisasm.</param>
    /// <param name="uses">What to compile.</param>
    /// <param name="faults">Receives what the compiler says against a kernel's plan.</param>
    /// <param name="progress">Told each variant before it is compiled.</param>
    /// <param name="cancellationToken">Stops between two variants.</param>
    public static IReadOnlyList<KernelAnalysis> Measure(CudaCompiler compiler, Disassembler disassembler,
        IReadOnlyList<KernelUse> uses, ICollection<string> faults, Action<KernelVariant>? progress,
        CancellationToken cancellationToken) =>
        KernelBudget.Compile(compiler, uses, progress, (compiled, figures) =>
        {
            IReadOnlyList<MachineFunction> code = disassembler.Read(compiled.Image.Span);
            lock (faults)
            {
                foreach (string line in RefusedPlans(compiled.Log))
                    faults.Add($"{compiled.Variant}: {line}");
            }

            return figures.Select(use => KernelAnalysis.Of(use.Figures, use.Use.EntryPoint, code));
        }, cancellationToken);

    /// <summary>Lines in which the assembler says that it does not do what a kernel for Hopper is planned by.</summary>
    internal static IEnumerable<string> RefusedPlans(string log) => log.Split('\n').Select(line => line.Trim())
        .Where(line => (line.Contains("wgmma", StringComparison.Ordinal) && line.Contains("serialized", StringComparison.Ordinal))
            || (line.Contains("setmaxnreg", StringComparison.Ordinal) && line.Contains("ignored", StringComparison.Ordinal)));

    private static int Run(string[] architectures, string? filter, bool json, string? tablePath, string? disassemblerPath,
        CancellationToken cancellationToken)
    {
        IReadOnlyList<KernelAnalysis>? table = tablePath is null ? null : KernelBudget.ReadAnalyses(tablePath);
        IReadOnlyList<Workload> workloads = CheckCommand.Select(filter);
        var compiler = new CudaCompiler();
        List<CudaTarget> targets = [.. architectures.Distinct().Select(compiler.TargetFor)];
        if (targets.FirstOrDefault(target => target.UsesPtx) is { } unknown)
            throw new CudaException(
                $"NVRTC {compiler.Version} makes no machine code for sm_{unknown.Architecture}, so there is none to read; " +
                $"name an architecture that it knows.");
        var disassembler = Disassembler.Find(disassemblerPath);
        List<string> unsupported = [], faults = [];
        List<KernelUse> uses = [.. targets.SelectMany(target => KernelInventory.Collect(workloads, target, unsupported))];
        int done = 0;
        IReadOnlyList<KernelAnalysis> analyses = Measure(compiler, disassembler, uses, faults,
            variant => Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{Interlocked.Increment(ref done),4}  {variant}")), cancellationToken);
        if (json)
            Console.Write(KernelBudget.Format(analyses));
        else
            Print(analyses, disassembler);
        if (table is not null)
        {
            faults.AddRange(KernelAnalysis.Compare(analyses, table));
            // Of what was left out by a filter, nothing can be said.
            HashSet<(string, string)> measured = [.. analyses.Select(row => (row.Kernel, row.Architecture))];
            foreach (string difference in KernelAnalysis.Differences(analyses,
                [.. table.Where(row => measured.Contains((row.Kernel, row.Architecture)))]))
                Console.Error.WriteLine($"changed: {difference}");
        }

        foreach (string message in unsupported)
            Console.Error.WriteLine(message);
        foreach (string fault in faults)
            Console.Error.WriteLine($"worse: {fault}");
        return unsupported.Count == 0 && faults.Count == 0 ? 0 : 1;
    }

    private static void Print(IReadOnlyList<KernelAnalysis> analyses, Disassembler disassembler)
    {
        var table = new Table().Border(TableBorder.Simple).AddColumns("kernel", "architecture", "registers", "loop", "products",
            "tensor", "shared", "issue", "float", "special", "integer", "bound", "tensor share");
        for (int column = 2; column < 13; column++)
        {
            if (column is not (4 or 11))
                table.Columns[column].RightAligned();
        }

        foreach (KernelAnalysis row in analyses)
        {
            table.AddRow(Markup.Escape(row.Kernel), row.Architecture, $"{row.Registers}", $"{row.LoopInstructions}", row.Products,
                Cycles(row.Tensor), Cycles(row.Shared), Cycles(row.Issue), Cycles(row.Float), Cycles(row.Special),
                Cycles(row.Integer), row.Bound, row.Products.Length == 0 ? "" : $"{row.TensorSharePercent} %");
        }

        AnsiConsole.Write(table);
        AnsiConsole.MarkupLineInterpolated(
            $"{analyses.Count} kernels, by {disassembler.Path}. Cycles of a multiprocessor for one pass of one warp");
        AnsiConsole.WriteLine("through the main loop (loop: its instructions, 0 where there is none): a ceiling by the widths of its units, no time.");
        static string Cycles(double cycles) => cycles.ToString("0.##", CultureInfo.InvariantCulture);
    }
}
