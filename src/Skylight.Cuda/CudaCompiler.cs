using Skylight.Cuda.Interop;

namespace Skylight.Cuda;

/// <summary>Compiles kernels with NVRTC. Needs neither a card nor a driver, and no CUDA toolkit: sources include only what is in <c>kernels/</c>.</summary>
public sealed class CudaCompiler
{
    private readonly Nvrtc _nvrtc;

    /// <summary>Loads NVRTC.</summary>
    /// <param name="libraryPath">The library; by default that of <c>SKYLIGHT_NVRTC</c>, else the newest that the system finds.</param>
    /// <exception cref="CudaException">It was not found; the error lists what was tried.</exception>
    public CudaCompiler(string? libraryPath = null)
        : this(new Nvrtc(CudaLibraryPaths.LoadNvrtc(libraryPath)))
    {
    }

    internal CudaCompiler(Nvrtc nvrtc) => _nvrtc = nvrtc;

    /// <summary>NVRTC's version.</summary>
    public Version Version => _nvrtc.Version;

    /// <summary>Where NVRTC was found.</summary>
    public string LibraryPath => _nvrtc.Library.Path;

    /// <summary>Compiles a variant.</summary>
    /// <exception cref="KernelCompilationException">The source does not compile; the error holds the log with file and line.</exception>
    public CompiledKernels Compile(KernelVariant variant)
    {
        ArgumentNullException.ThrowIfNull(variant);
        (byte[]? cubin, string log) = _nvrtc.Compile(variant.Source, KernelSource.Headers, variant.Options);
        return cubin is null ? throw new KernelCompilationException(variant, log) : new CompiledKernels(variant, cubin, log);
    }
}
