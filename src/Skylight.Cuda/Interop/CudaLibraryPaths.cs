namespace Skylight.Cuda.Interop;

/// <summary>Where the libraries of CUDA are looked for.</summary>
internal static class CudaLibraryPaths
{
    /// <summary>The versions of CUDA whose libraries are used, the newest first.</summary>
    private static readonly int[] Majors = [13, 12];

    /// <summary>
    /// Loads the driver. It comes with the graphics driver only, so no toolkit folder is searched (those hold a stub
    /// without a card behind it).
    /// </summary>
    public static NativeLibraryContext LoadDriver(string? path = null) => NativeLibraryContext.Load(
        "The CUDA driver",
        Asked(path, "SKYLIGHT_CUDA_DRIVER") ?? [OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1"],
        "It is part of NVIDIA's graphics driver: install that (525 or newer), give the container access to it, or " +
        "give its path in SKYLIGHT_CUDA_DRIVER.");

    /// <summary>The newest CUDA that the installed driver supports; null where there is none.</summary>
    public static Version? DriverVersion()
    {
        try
        {
            return new Driver(new LibraryFunctions(LoadDriver()), emulator: null).Version;
        }
        catch (CudaException)
        {
            return null;
        }
    }

    /// <summary>Loads NVRTC.</summary>
    /// <param name="path">A path that was asked for.</param>
    /// <param name="driver">The newest CUDA that the driver supports; null where there is no driver.</param>
    public static NativeLibraryContext LoadNvrtc(string? path, Version? driver) => NativeLibraryContext.Load(
        "NVRTC, the compiler of the kernels,",
        Asked(path, "SKYLIGHT_NVRTC") ?? Toolkit(major => OperatingSystem.IsWindows() ? $"nvrtc64_{major}0_0.dll"
            : $"libnvrtc.so.{major}", driver),
        "Install it from NVIDIA's packages (it comes with CUDA 12 or 13 and needs no GPU), or give its path in " +
        "SKYLIGHT_NVRTC.");

    /// <summary>Loads cuBLAS.</summary>
    /// <param name="path">A path that was asked for.</param>
    /// <param name="driver">The newest CUDA that the driver supports; null where there is no driver.</param>
    public static NativeLibraryContext LoadCublas(string? path, Version? driver) => NativeLibraryContext.Load(
        "cuBLAS, which multiplies matrices outside of deterministic mode,",
        Asked(path, "SKYLIGHT_CUBLAS") ?? Toolkit(major => OperatingSystem.IsWindows() ? $"cublas64_{major}.dll"
            : $"libcublas.so.{major}", driver),
        "Install it from NVIDIA's packages (it comes with CUDA 12 or 13), give its path in SKYLIGHT_CUBLAS, or use " +
        "deterministic mode, which does without.");

    /// <summary>Loads the emulator, which stands in for all three.</summary>
    /// <param name="path">A path that was asked for.</param>
    /// <param name="build">Builds it where it is not found, and gives the path; null where it is not to be built.</param>
    public static NativeLibraryContext LoadEmulator(string? path = null, Func<string>? build = null)
    {
        const string What = "The CUDA emulator";
        if (Asked(path, "SKYLIGHT_SIMT") is { } asked)
            return NativeLibraryContext.Load(What, asked,
                "Give the path of libskylight_simt.so in SKYLIGHT_SIMT, or none for the one that comes with Skylight.");
        if (!OperatingSystem.IsLinux())
            throw new CudaException($"{What} runs on Linux only.");
        try
        {
            return NativeLibraryContext.Load(
                What, [Path.Combine(AppContext.BaseDirectory, EmulatorBuild.FileName), EmulatorBuild.FileName,
                    EmulatorBuild.LibraryPath], "");
        }
        catch (CudaException) when (build is not null)
        {
            return NativeLibraryContext.Load(What, [build()],
                "Delete the file, so that it is built anew, or give another one in SKYLIGHT_SIMT.");
        }
        catch (CudaException exception)
        {
            throw new CudaException(
                $"{What} is not built yet: its first use compiles it with the system's C++ compiler, which can take " +
                $"minutes, and keeps it in {EmulatorBuild.Folder}.", exception);
        }
    }

    /// <summary>A path that was asked for is the only candidate: asking for one library never loads another.</summary>
    private static string[]? Asked(string? path, string variable)
    {
        path ??= Environment.GetEnvironmentVariable(variable);
        return string.IsNullOrEmpty(path) ? null : [path];
    }

    /// <summary>
    /// Where a library of the toolkit may lie, the best first: those that are not of a later CUDA than the driver's (of
    /// any, where there is no driver), in each place the newest first; then the later ones, whose code the driver may
    /// refuse.
    /// </summary>
    /// <param name="name">The library's file name for a major version.</param>
    /// <param name="driver">The newest CUDA that the driver supports.</param>
    internal static IReadOnlyList<string> Toolkit(Func<int, string> name, Version? driver) =>
    [
        .. InAllPlaces(name, Majors.Where(major => driver is null || major <= driver.Major)),
        .. InAllPlaces(name, Majors.Where(major => driver is not null && major > driver.Major)),
    ];

    private static IEnumerable<string> InAllPlaces(Func<int, string> name, IEnumerable<int> majors)
    {
        string[] names = [.. majors.Select(name)];
        return
        [
            .. names.Select(file => Path.Combine(AppContext.BaseDirectory, file)),
            .. names,
            .. ToolkitFolders().SelectMany(folder => names.Select(file => Path.Combine(folder, file))),
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
