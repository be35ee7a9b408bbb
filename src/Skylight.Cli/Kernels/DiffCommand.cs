using System.CommandLine;

namespace Skylight.Cli.Kernels;

/// <summary><c>skylight kernels diff</c>: how the machine code of two states of the kernels differs, by their tables.</summary>
internal static class DiffCommand
{
    public static Command Create()
    {
        var before = new Argument<string>("before") { Description = "A table, as kernels analyze --json prints it." };
        var after = new Argument<string>("after")
        {
            Description = "The table of the other state.",
            DefaultValueFactory = _ => Path.Combine("kernels", "machine-code.json"),
        };
        var command = new Command("diff",
            "Print which kernels are new, gone or other in a second table of kernels analyze, and how the instructions of their " +
            "main loops differ. Compiles nothing.")
        { before, after };
        command.SetAction(parse => Run(parse.GetRequiredValue(before), parse.GetRequiredValue(after)));
        return command;
    }

    private static int Run(string before, string after)
    {
        IReadOnlyList<KernelAnalysis> then = KernelBudget.ReadAnalyses(before), now = KernelBudget.ReadAnalyses(after);
        string[] differences = [.. KernelAnalysis.Differences(now, then)];
        foreach (string difference in differences)
            Console.WriteLine(difference);
        Console.WriteLine($"{differences.Length} differences; {now.Count} kernels.");
        return 0;
    }
}
