using System.CommandLine;

namespace Skylight.Cli.Kernels;

/// <summary><c>skylight kernels</c>: what concerns the CUDA kernels one by one.</summary>
internal static class KernelsCommand
{
    public static Command Create() =>
        new("kernels", "Check, compile and analyze the CUDA kernels one by one, and compare bits of whole answers.")
        {
            CheckCommand.Create(), BitsCommand.Create(), CompileCommand.Create(), AnalyzeCommand.Create(),
            DiffCommand.Create(),
        };
}
