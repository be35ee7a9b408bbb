using Skylight.Cuda.Interop;

namespace Skylight.Cuda;

/// <summary>
/// Compiles kernels with NVRTC. Needs neither a card nor a driver, and no CUDA toolkit: sources include only what is in
/// <c>kernels/</c>.
/// </summary>
public sealed class CudaCompiler
{
    private readonly Nvrtc _nvrtc;

    /// <summary>Loads NVRTC.</summary>
    /// <param name="libraryPath">The library; by default that of <c>SKYLIGHT_NVRTC</c>, else the newest that goes with
    /// the driver, or just the newest where there is none.</param>
    /// <exception cref="CudaException">It was not found; the error lists what was tried.</exception>
    public CudaCompiler(string? libraryPath = null)
        : this(new Nvrtc(new LibraryFunctions(CudaLibraryPaths.LoadNvrtc(libraryPath, CudaLibraryPaths.DriverVersion()))))
    {
    }

    internal CudaCompiler(Nvrtc nvrtc) => _nvrtc = nvrtc;

    /// <summary>NVRTC's version.</summary>
    public Version Version => _nvrtc.Version;

    /// <summary>Where NVRTC was found.</summary>
    public string LibraryPath => _nvrtc.Library.Path;

    /// <summary>Compiles a variant.</summary>
    /// <exception cref="KernelCompilationException">The source does not compile; the error holds the log with file and
    /// line.</exception>
    public CompiledKernels Compile(KernelVariant variant)
    {
        ArgumentNullException.ThrowIfNull(variant);
        (byte[]? image, string log) = _nvrtc.Compile(variant.Source, KernelSource.Headers, variant.Options, variant.IsPtx);
        return image is null ? throw new KernelCompilationException(variant, log) : new CompiledKernels(variant, image, log);
    }

    /// <summary>
    /// A typical card of an architecture, as this NVRTC compiles for it: to PTX of an older one where it does not know
    /// the card.
    /// </summary>
    /// <param name="architectureName">As for <see cref="CudaTarget.For"/>.</param>
    /// <exception cref="ArgumentException">There is no such architecture, or the kernels cannot run on it.</exception>
    /// <exception cref="CudaException">This NVRTC makes nothing that such a card could run.</exception>
    public CudaTarget TargetFor(string architectureName)
    {
        CudaTarget target = CudaTarget.For(architectureName);
        if (_nvrtc.SupportedArchitectures.Contains(target.Architecture))
            return target;
        CompiledForm form = CompiledForm.For(target.Architecture, _nvrtc, driver: null);
        return target with
        {
            ArchitectureName = form.ArchitectureName ?? throw new CudaException($"{architectureName}: {form.Problem}"),
        };
    }
}
