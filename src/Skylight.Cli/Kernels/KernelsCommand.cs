using System.CommandLine;

namespace Skylight.Cli.Kernels;

/// <summary><c>skylight kernels</c>: what concerns the CUDA kernels one by one.</summary>
internal static class KernelsCommand
{
    public static Command Create() =>
        new("kernels", "Check, compile and analyze the CUDA kernels one by one.")
        {
            CheckCommand.Create(), CompileCommand.Create(), AnalyzeCommand.Create(),
        };
}
