namespace Skylight.Cpu;

/// <summary>How a <see cref="CpuDevice"/> is made.</summary>
public sealed record CpuDeviceOptions
{
    /// <summary>The memory that plans may use in bytes; null for what the process may use.</summary>
    public long? MemoryBytes { get; init; }

    /// <summary>
    /// The most threads that a kernel of this device runs on, the caller's included, from 1 to 1024; null for one for
    /// each processor that the process may use. Threads are shared by all devices of the process. Results do not depend
    /// on their number.
    /// </summary>
    public int? Threads { get; init; }
}
