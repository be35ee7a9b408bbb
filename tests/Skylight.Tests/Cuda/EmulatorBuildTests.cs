using Skylight.Cuda.Interop;
using Skylight.Tests.Checkpoints;
using Skylight.Tests.Cli;

namespace Skylight.Tests.Cuda;

/// <summary>
/// The command where no emulator lies beside it. That it builds one, and what that computes, is a step of its own in CI
/// (<c>.ci/tool</c>): it takes minutes.
/// </summary>
public sealed class EmulatorBuildTests
{
    [Fact]
    public async Task Without_a_compiler_the_error_says_what_is_missing_and_nothing_stays_behind()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "the emulator is for Linux");
        using var folder = new TemporaryFolder();
        string program = ProgramCopy.Make(folder), tools = Directory.CreateDirectory(folder["tools"]).FullName;
        foreach (string tool in (string[])["sh", "dirname"])
            File.CreateSymbolicLink(Path.Combine(tools, tool),
                Path.Combine(File.Exists($"/usr/bin/{tool}") ? "/usr/bin" : "/bin", tool));
        (int code, string output, string error) = await RunAsync("devices");
        Assert.Equal(0, code);
        Assert.Contains("The CUDA emulator is not built yet: its first use compiles it", output, StringComparison.Ordinal);

        (code, _, error) = await RunAsync("kernels", "check", "--filter", "silu");
        Assert.Equal(1, code);
        Assert.Contains("There is no C++ compiler", error, StringComparison.Ordinal);
        Assert.Contains("The emulator is compiled now", error, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(folder["cache/simt"]));

        Task<(int Code, string Output, string Error)> RunAsync(params string[] arguments) =>
            SkylightProgram.RunAsync(SkylightProgram.Start(
            arguments, program, ("PATH", tools), ("SKYLIGHT_CACHE", folder["cache"]), ("SKYLIGHT_SIMT", ""), ("CXX", "")));
    }

    [Fact]
    public void All_sources_of_the_emulator_travel_in_the_assembly()
    {
        string root = Repository.PathOf("native", "simt");
        string[] files = [
            .. Repository.Files(root).Select(file => $"simt/{Path.GetRelativePath(root, file).Replace('\\', '/')}")
            .Where(name => !name.EndsWith(".targets", StringComparison.Ordinal)
                && !name.EndsWith("CMakeLists.txt", StringComparison.Ordinal)).Order(StringComparer.Ordinal)];
        Assert.Contains("simt/build.sh", files);
        Assert.Equal(files, typeof(EmulatorBuild).Assembly.GetManifestResourceNames()
            .Where(name => name.StartsWith("simt/", StringComparison.Ordinal)).Order(StringComparer.Ordinal));
    }
}
