namespace Skylight.Cuda;

/// <summary>What there is of CUDA on this machine, as <see cref="CudaDevices.Find"/> found it.</summary>
/// <param name="Driver">The driver; its version is the newest CUDA that it supports.</param>
/// <param name="Nvrtc">The compiler of the kernels.</param>
/// <param name="Cublas">The library of matrix products, used outside of deterministic mode only.</param>
/// <param name="Cards">The cards that are visible, in the order of their numbers.</param>
/// <param name="Problem">Why no card can be used; null when one can.</param>
public sealed record CudaInstallation(CudaLibraryInfo Driver, CudaLibraryInfo Nvrtc, CudaLibraryInfo Cublas,
    IReadOnlyList<CudaCardInfo> Cards, string? Problem);

/// <summary>A native library that was looked for.</summary>
/// <param name="Path">The name or path that it was loaded by; null when it was not found.</param>
/// <param name="Version">Its version, where it tells one.</param>
/// <param name="Problem">Why it cannot be used, with all that was tried; null when it can.</param>
public sealed record CudaLibraryInfo(string? Path, Version? Version, string? Problem);

/// <summary>A card.</summary>
/// <param name="Ordinal">Its number among those that are visible, from 0.</param>
/// <param name="Name">Its own name.</param>
/// <param name="Architecture">What it is, for example <c>sm_90a</c>.</param>
/// <param name="CompiledFor">What NVRTC compiles its kernels for: <c>sm_90a</c>, machine code, or <c>compute_90</c>,
/// PTX that the driver translates; null where it cannot be used.</param>
/// <param name="MultiprocessorCount">Its multiprocessors.</param>
/// <param name="TotalBytes">Its memory.</param>
/// <param name="FreeBytes">What of it is free; null when that could not be asked.</param>
/// <param name="Problem">Why it cannot be used; null when it can.</param>
public sealed record CudaCardInfo(int Ordinal, string Name, string Architecture, string? CompiledFor,
    int MultiprocessorCount, long TotalBytes, long? FreeBytes, string? Problem);
