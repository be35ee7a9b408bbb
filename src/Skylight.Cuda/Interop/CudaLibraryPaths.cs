namespace Skylight.Cuda.Interop;

/// <summary>Where the libraries of CUDA are looked for.</summary>
internal static class CudaLibraryPaths
{
    /// <summary>Loads the driver. It comes with the graphics driver only, so no toolkit folder is searched (those hold a stub without a card behind it).</summary>
    public static NativeLibraryFile LoadDriver(string? path = null) => NativeLibraryFile.Load(
        "The CUDA driver",
        Asked(path, "SKYLIGHT_CUDA_DRIVER") ?? [OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1"],
        "It is part of NVIDIA's graphics driver: install that (525 or newer), give the container access to it, or give its path in SKYLIGHT_CUDA_DRIVER.");

    /// <summary>Loads NVRTC.</summary>
    public static NativeLibraryFile LoadNvrtc(string? path = null) => NativeLibraryFile.Load(
        "NVRTC, the compiler of the kernels,",
        Asked(path, "SKYLIGHT_NVRTC") ?? Toolkit(["libnvrtc.so.13", "libnvrtc.so.12"], ["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"]),
        "Install it from NVIDIA's packages (it comes with CUDA 12 or 13 and needs no GPU), or give its path in SKYLIGHT_NVRTC.");

    /// <summary>Loads cuBLAS.</summary>
    public static NativeLibraryFile LoadCublas(string? path = null) => NativeLibraryFile.Load(
        "cuBLAS, which multiplies matrices outside of deterministic mode,",
        Asked(path, "SKYLIGHT_CUBLAS") ?? Toolkit(["libcublas.so.13", "libcublas.so.12"], ["cublas64_13.dll", "cublas64_12.dll"]),
        "Install it from NVIDIA's packages (it comes with CUDA 12 or 13), give its path in SKYLIGHT_CUBLAS, or use deterministic mode, which does without.");

    /// <summary>Loads the emulator, which stands in for all three.</summary>
    public static NativeLibraryFile LoadEmulator(string? path = null) => NativeLibraryFile.Load(
        "The CUDA emulator",
        Asked(path, "SKYLIGHT_SIMT") ?? [Path.Combine(AppContext.BaseDirectory, "libskylight_simt.so"), "libskylight_simt.so"],
        "It is built from native/simt beside the managed code, on Linux and where there is a C++ compiler; or give its path in SKYLIGHT_SIMT.");

    /// <summary>A path that was asked for is the only candidate: asking for one library never loads another.</summary>
    private static string[]? Asked(string? path, string variable)
    {
        path ??= Environment.GetEnvironmentVariable(variable);
        return string.IsNullOrEmpty(path) ? null : [path];
    }

    private static IEnumerable<string> Toolkit(string[] linux, string[] windows)
    {
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
