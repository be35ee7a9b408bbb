using Skylight.Cuda.Interop;
using Skylight.Tests.Checkpoints;

namespace Skylight.Tests.Cuda;

/// <summary>The command in a folder of its own, as the tool's package has it: without the emulator beside it.</summary>
internal static class ProgramCopy
{
    /// <summary>Copies it, and gives the path of the program.</summary>
    public static string Make(TemporaryFolder folder)
    {
        string target = Directory.CreateDirectory(folder["program"]).FullName;
        foreach (string pattern in (string[])["*.dll", "Skylight.Cli.*.json"])
        {
            foreach (string file in Directory.EnumerateFiles(AppContext.BaseDirectory, pattern))
                File.Copy(file, Path.Combine(target, Path.GetFileName(file)));
        }

        Assert.False(File.Exists(Path.Combine(target, EmulatorBuild.FileName)));
        return Path.Combine(target, "Skylight.Cli.dll");
    }
}
