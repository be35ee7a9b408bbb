using Skylight.Tests.Checkpoints;
using Skylight.Tests.Cli;

namespace Skylight.Tests.Cuda;

/// <summary>
/// NVRTC in a folder of its own, off the loader's path. Each case runs the command in a process whose loader finds
/// neither the system's NVRTC nor its builtins by name: files that are no libraries stand before them, which the loader
/// refuses instead of looking further.
/// </summary>
public sealed class NvrtcFolderTests
{
    [Theory]
    [InlineData("SKYLIGHT_NVRTC")]
    [InlineData("beside the program")]
    [InlineData("CUDA_HOME")]
    [InlineData("a Python wheel")]
    public async Task Kernels_compile_wherever_NVRTC_lies(string place)
    {
        using var folder = new TemporaryFolder();
        (int code, string output, string error) = await CompileAsync(folder, place, withBuiltins: true);
        Assert.True(code == 0, error);
        Assert.Contains("\"registers\":", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_the_builtins_in_its_folder_NVRTC_finds_none()
    {
        // What the other cases would show if the builtins were not loaded from NVRTC's folder.
        using var folder = new TemporaryFolder();
        (int code, _, string error) = await CompileAsync(folder, "SKYLIGHT_NVRTC", withBuiltins: false);
        Assert.Equal(1, code);
        Assert.Contains("skylight: nvrtcCompileProgram", error, StringComparison.Ordinal);
        Assert.Contains("failed to open libnvrtc-builtins", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_system_s_NVRTC_is_hidden_from_these_tests()
    {
        using var folder = new TemporaryFolder();
        (int code, _, string error) = await CompileAsync(folder, "nowhere", withBuiltins: true);
        Assert.Equal(1, code);
        Assert.Contains("NVRTC, the compiler of the kernels, was not found", error, StringComparison.Ordinal);
    }

    private static Task<(int Code, string Output, string Error)> CompileAsync(TemporaryFolder folder, string place,
        bool withBuiltins)
    {
        (string nvrtc, string builtins) = RealNvrtc.Files();
        string name = Path.GetFileName(nvrtc)[.."libnvrtc.so.12".Length],
            hidden = Directory.CreateDirectory(folder["hidden"]).FullName;
        foreach (string file in (string[])["libnvrtc.so.12", "libnvrtc.so.13", Path.GetFileName(builtins)])
            File.WriteAllText(Path.Combine(hidden, file), new string('x', 4096));
        string program = place == "beside the program" ? ProgramCopy.Make(folder) : "Skylight.Cli.dll";
        string own = Directory.CreateDirectory(place switch
        {
            "beside the program" => Path.GetDirectoryName(program)!,
            "CUDA_HOME" => folder["toolkit/lib64"],
            "a Python wheel" => folder["site-packages/nvidia/cuda_nvrtc/lib"],
            _ => folder["nvrtc"],
        }).FullName;
        File.Copy(nvrtc, Path.Combine(own, name));
        if (withBuiltins)
            File.Copy(builtins, Path.Combine(own, Path.GetFileName(builtins)));
        string asked = place is "SKYLIGHT_NVRTC" or "a Python wheel" ? Path.Combine(own, name) : "",
            home = place == "CUDA_HOME" ? folder["toolkit"] : "";
        return SkylightProgram.RunAsync(SkylightProgram.Start(
            ["kernels", "compile", "--filter", "silu", "--arch", "sm_80", "--json"], program,
            ("LD_LIBRARY_PATH", hidden), ("SKYLIGHT_NVRTC", asked), ("CUDA_HOME", home), ("CUDA_PATH", "")));
    }
}
