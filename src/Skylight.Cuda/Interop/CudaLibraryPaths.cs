namespace Skylight.Cuda.Interop;

/// <summary>Where the libraries of CUDA are looked for.</summary>
internal static class CudaLibraryPaths
{
    /// <summary>Loads NVRTC.</summary>
    public static NativeLibraryFile LoadNvrtc(string? path = null) => NativeLibraryFile.Load(
        "NVRTC, the compiler of the kernels,",
        Candidates(path, "SKYLIGHT_NVRTC", ["libnvrtc.so.13", "libnvrtc.so.12"], ["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"]),
        "Install it from NVIDIA's packages (it comes with CUDA 12 or 13 and needs no GPU), or give its path in SKYLIGHT_NVRTC.");

    /// <summary>A path that was asked for is the only candidate: asking for one library never loads another.</summary>
    private static IEnumerable<string> Candidates(string? path, string variable, string[] linux, string[] windows)
    {
        path ??= Environment.GetEnvironmentVariable(variable);
        if (!string.IsNullOrEmpty(path))
            return [path];
        string[] names = OperatingSystem.IsWindows() ? windows : linux;
        return
        [
            .. names.Select(name => Path.Combine(AppContext.BaseDirectory, name)),
            .. names,
            .. ToolkitFolders().SelectMany(folder => names.Select(name => Path.Combine(folder, name))),
        ];
    }

    private static IEnumerable<string> ToolkitFolders()
    {
        string inside = OperatingSystem.IsWindows() ? "bin" : "lib64";
        foreach (string variable in (string[])["CUDA_HOME", "CUDA_PATH"])
        {
            if (Environment.GetEnvironmentVariable(variable) is { Length: > 0 } root)
                yield return Path.Combine(root, inside);
        }

        if (!OperatingSystem.IsWindows())
            yield return "/usr/local/cuda/lib64";
    }
}
