namespace Skylight.Cuda;

/// <summary>How a <see cref="CudaDevice"/> is made.</summary>
public sealed record CudaDeviceOptions
{
    /// <summary>Which card, counted from 0 among those that are visible.</summary>
    public int Ordinal { get; init; }

    /// <summary>
    /// The native libraries; null for those of CUDA, as <see cref="CudaLibraries.Load"/> finds them. For the emulator give
    /// <see cref="CudaLibraries.LoadSimulated"/>.
    /// </summary>
    public CudaLibraries? Libraries { get; init; }

    /// <summary>
    /// A context (<c>CUcontext</c>) that the host made or retained on the card of <see cref="Ordinal"/>; zero for the
    /// card's primary context, which the device retains and releases. The host's stays the host's: it must outlive the
    /// device and all its memory, and is never released.
    /// </summary>
    public nint Context { get; init; }

    /// <summary>
    /// A stream (<c>CUstream</c>) of that context, on which the device then queues everything, in order with what the
    /// host queues; zero for a stream of the device's own. The host's must outlive the device, and must not be captured
    /// by the host while the device is used.
    /// </summary>
    public nint Stream { get; init; }

    /// <summary>
    /// Whether the same numbers come out whatever the batch and whatever else runs. Without, products go to cuBLAS.
    /// </summary>
    public bool Deterministic { get; init; } = true;

    /// <summary>
    /// Where compiled kernels are kept; null for the folder of <c>SKYLIGHT_CACHE</c>, else the user's cache folder.
    /// Empty keeps them in memory only.
    /// </summary>
    public string? CacheFolder { get; init; }

    /// <summary>
    /// Whether a plan that runs again is recorded as a CUDA graph and from then on queued by one call. Without, every
    /// kernel is queued by itself, so that a profiler or <c>CUDA_LAUNCH_BLOCKING</c> shows the step.
    /// </summary>
    public bool CaptureGraphs { get; init; } = true;

    /// <summary>Which kernels compute which op.</summary>
    public CudaBindings Bindings { get; init; } = CudaBindings.Standard;

    /// <summary>The memory that plans may use in bytes; null for what is free on the card when the device is made.</summary>
    public long? MemoryBytes { get; init; }

    /// <summary>
    /// Whether kernels by <c>wgmma</c> are used on a card that has it (Hopper); null for what the environment variable
    /// <c>SKYLIGHT_WARPGROUPS</c> says (<c>on</c> or <c>off</c>), and without it for on unless a card is found to give an
    /// element other bits in one tile than in another. Rollouts equal training either way; the two give different bits.
    /// </summary>
    public bool? Warpgroups { get; init; }

    /// <summary>
    /// Whether kernels that can are started before the kernel before them has ended, on a card that can do it (Hopper and
    /// newer, a driver of CUDA 12.3 or newer); null for what the environment variable <c>SKYLIGHT_PROGRAMMATIC_LAUNCH</c> says
    /// (<c>on</c> or <c>off</c>), and without it for on. It changes no bit of a result.
    /// </summary>
    public bool? ProgrammaticLaunch { get; init; }

    /// <summary>
    /// Whether large products by <c>wgmma</c> are made by clusters of two blocks, on a card that has both (Hopper); null for
    /// what the environment variable <c>SKYLIGHT_CLUSTERS</c> says (<c>on</c> or <c>off</c>), and without it for on. It
    /// changes no bit of a result.
    /// </summary>
    public bool? Clusters { get; init; }
}
