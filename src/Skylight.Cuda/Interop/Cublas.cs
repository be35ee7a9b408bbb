using System.Runtime.InteropServices;

namespace Skylight.Cuda.Interop;

/// <summary>
/// The functions of cuBLAS that are used, by function pointers (see <see cref="Nvrtc"/> for why). Matrices are
/// column-major here.
/// </summary>
internal sealed unsafe class Cublas
{
    private readonly delegate* unmanaged<int, byte*> _statusString;

    public readonly delegate* unmanaged<nint*, int> Create;
    public readonly delegate* unmanaged<nint, int> Destroy;
    public readonly delegate* unmanaged<nint, nint, int> SetStream;
    public readonly delegate* unmanaged<nint, ulong, nuint, int> SetWorkspace;
    public readonly delegate* unmanaged<nint, int, int, int, int, int, float*, ulong, int, int, long, ulong, int, int,
        long, float*, ulong, int, int, long, int, int, int, int> GemmStridedBatched;

    /// <summary>Looks up the functions of a library.</summary>
    public Cublas(LibraryFunctions library)
    {
        Library = library;
        _statusString = (delegate* unmanaged<int, byte*>)library.Function("cublasGetStatusString");
        Create = (delegate* unmanaged<nint*, int>)library.Function("cublasCreate_v2");
        Destroy = (delegate* unmanaged<nint, int>)library.Function("cublasDestroy_v2");
        SetStream = (delegate* unmanaged<nint, nint, int>)library.Function("cublasSetStream_v2");
        SetWorkspace = (delegate* unmanaged<nint, ulong, nuint, int>)library.Function("cublasSetWorkspace_v2");
        GemmStridedBatched = (delegate* unmanaged<nint, int, int, int, int, int, float*, ulong, int, int, long, ulong,
            int, int, long, float*, ulong, int, int, long, int, int, int, int>)
            library.Function("cublasGemmStridedBatchedEx");
    }

    /// <summary>The library.</summary>
    public LibraryFunctions Library { get; }

    /// <summary>Its version; null where it does not tell (the emulator). Needs no card.</summary>
    public Version? Version
    {
        get
        {
            var property = (delegate* unmanaged<int, int*, int>)Library.OptionalFunction("cublasGetProperty");
            int major, minor, patch;
            return property is not null && property(0, &major) == 0 && property(1, &minor) == 0
                && property(2, &patch) == 0 ? new Version(major, minor, patch) : null;
        }
    }

    /// <summary>Throws when a call failed.</summary>
    public void Check(int status, string call)
    {
        if (status != 0)
            throw new CudaException(
                $"{call} of {Library.Path} failed with code {status}, " +
                $"{Marshal.PtrToStringUTF8((nint)_statusString(status))}.", status);
    }
}
