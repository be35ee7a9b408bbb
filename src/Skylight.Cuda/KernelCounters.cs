namespace Skylight.Cuda;

/// <summary>
/// Integers in a device's memory by which the blocks of a launch tell each other how far they are
/// (<see cref="KernelLaunch.Counters"/>). They are zeros between launches: kernels find zeros and leave zeros, so that no
/// launch has to be preceded by one that clears them, and all share the same, because kernels of the device's one stream
/// use them one after the other: one that starts early only behind its wait.
/// </summary>
internal sealed class KernelCounters(CudaDevice device) : IDisposable
{
    /// <summary>The bytes of all integers that a kernel may use.</summary>
    public const int Bytes = 64;

    private CudaMemory? _memory;

    /// <summary>The address; the memory is made when a kernel first needs it.</summary>
    public ulong Address
    {
        get
        {
            if (_memory is null)
            {
                _memory = device.AllocateUninitialized(Bytes);
                device.Clear(_memory.Address, _memory.Bytes);
            }

            return _memory.Address;
        }
    }

    public void Dispose() => _memory?.Dispose();
}
