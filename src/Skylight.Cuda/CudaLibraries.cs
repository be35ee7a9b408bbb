using Silk.NET.Core.Contexts;
using Skylight.Cuda.Interop;

namespace Skylight.Cuda;

/// <summary>
/// The native libraries that a device works with: driver, NVRTC and cuBLAS, or the emulator in place of all three. A
/// process may use both. Libraries stay loaded until the process ends.
/// </summary>
public sealed class CudaLibraries
{
    private readonly Lazy<Cublas> _cublas;

    private CudaLibraries(Driver driver, INativeContext nvrtc, Func<INativeContext> cublas, Emulator? emulator)
    {
        Emulator = emulator;
        Driver = driver;
        Nvrtc = new Nvrtc(new LibraryFunctions(nvrtc));
        _cublas = new Lazy<Cublas>(() => new Cublas(new LibraryFunctions(cublas())));
    }

    /// <summary>Whether this is the emulator: kernels run on the CPU, checked, and no time means anything.</summary>
    public bool IsSimulated => Emulator is not null;

    /// <summary>Where the driver was found; of a host's own context its type.</summary>
    public string DriverPath => Driver.Library.Path;

    /// <summary>Where NVRTC was found; of a host's own context its type.</summary>
    public string NvrtcPath => Nvrtc.Library.Path;

    /// <summary>NVRTC's version.</summary>
    public Version NvrtcVersion => Nvrtc.Version;

    internal Driver Driver { get; }

    internal Nvrtc Nvrtc { get; }

    /// <summary>Loaded when first used: deterministic mode does without.</summary>
    internal Cublas Cublas => _cublas.Value;

    internal Emulator? Emulator { get; }

    /// <summary>Loads the libraries of CUDA.</summary>
    /// <param name="driver">The driver's library; by default that of <c>SKYLIGHT_CUDA_DRIVER</c>, else the system's.</param>
    /// <param name="nvrtc">NVRTC; by default that of <c>SKYLIGHT_NVRTC</c>, else the newest that goes with the
    /// driver.</param>
    /// <param name="cublas">cuBLAS, loaded when first used; by default that of <c>SKYLIGHT_CUBLAS</c>, else the newest
    /// that goes with the driver.</param>
    /// <exception cref="CudaException">The driver or NVRTC was not found; the error lists what was tried.</exception>
    public static CudaLibraries Load(string? driver = null, string? nvrtc = null, string? cublas = null)
    {
        var loaded = new Driver(new LibraryFunctions(CudaLibraryPaths.LoadDriver(driver)), emulator: null);
        Version? version = loaded.Version;
        return new CudaLibraries(loaded, CudaLibraryPaths.LoadNvrtc(nvrtc, version),
            () => CudaLibraryPaths.LoadCublas(cublas, version), emulator: null);
    }

    /// <summary>Takes the libraries of CUDA from a host that finds them itself. Nothing else is looked for.</summary>
    /// <param name="driver">The driver. Contexts are not disposed, and must give functions as long as a device is
    /// open.</param>
    /// <param name="nvrtc">NVRTC.</param>
    /// <param name="cublas">cuBLAS; null where every device is deterministic, which does without.</param>
    /// <exception cref="CudaException">A function is missing; the error names it.</exception>
    public static CudaLibraries From(INativeContext driver, INativeContext nvrtc, INativeContext? cublas = null)
    {
        ArgumentNullException.ThrowIfNull(driver);
        ArgumentNullException.ThrowIfNull(nvrtc);
        return new CudaLibraries(
            new Driver(new LibraryFunctions(driver), emulator: null), nvrtc,
            () => cublas
                ?? throw new CudaException(
                    "cuBLAS, which multiplies matrices outside of deterministic mode, was not given to " +
                    "CudaLibraries.From: give it, or use deterministic mode."),
            emulator: null);
    }

    /// <summary>Takes the emulator from a host that finds it itself.</summary>
    /// <param name="emulator">The emulator, in place of all three libraries; as in <see cref="From"/>.</param>
    /// <exception cref="CudaException">A function is missing; the error names it.</exception>
    public static CudaLibraries FromSimulated(INativeContext emulator)
    {
        ArgumentNullException.ThrowIfNull(emulator);
        var functions = new LibraryFunctions(emulator);
        var own = new Emulator(functions);
        return new CudaLibraries(new Driver(functions, own), emulator, () => emulator, own);
    }

    /// <summary>
    /// Loads the emulator. It compiles kernels with the system's C++ compiler and runs them on the CPU, finding races
    /// and bad accesses.
    /// </summary>
    /// <param name="path">
    /// The library; by default that of <c>SKYLIGHT_SIMT</c>, else <c>libskylight_simt.so</c> beside the program. Where
    /// there is none, it is built from the sources that travel in this assembly, once, with the system's C++ compiler,
    /// into the folder of <c>SKYLIGHT_CACHE</c> or the user's cache folder.
    /// </param>
    /// <param name="building">Called before it is built, which can take minutes.</param>
    /// <exception cref="CudaException">It was not found; the error lists what was tried. Or it cannot be built; the
    /// error says what is missing.</exception>
    public static CudaLibraries LoadSimulated(string? path = null, Action? building = null)
    {
        return FromSimulated(CudaLibraryPaths.LoadEmulator(path, () =>
        {
            building?.Invoke();
            return EmulatorBuild.Run();
        }));
    }
}
