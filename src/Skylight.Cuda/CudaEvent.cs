namespace Skylight.Cuda;

/// <summary>
/// A mark in the work of a device that knows when it was reached, by the card's own clock. It costs no synchronization.
/// </summary>
public sealed class CudaEvent : IDisposable
{
    private readonly CudaDevice _device;
    private readonly CudaEventHandle _handle;
    private bool _recorded;

    /// <summary>Makes a mark that is nowhere yet.</summary>
    public CudaEvent(CudaDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        device.MakeCurrent();
        _device = device;
        _handle = new CudaEventHandle(device.Stream.Context, timing: true);
    }

    /// <summary>Sets the mark behind all work queued so far; where it was before is forgotten.</summary>
    public void Record()
    {
        _device.MakeCurrent();
        _handle.Record(_device.Stream);
        _recorded = true;
    }

    /// <summary>Waits until the mark is reached.</summary>
    /// <exception cref="InvalidOperationException">It was not set.</exception>
    /// <exception cref="CudaException">Work before it failed.</exception>
    public void Synchronize()
    {
        CheckRecorded();
        _device.MakeCurrent();
        _handle.Synchronize();
    }

    /// <summary>
    /// The time from another mark of the same device to this one, after waiting for both. The card's clock ticks about
    /// twice in a microsecond. On the emulator it is always zero.
    /// </summary>
    /// <exception cref="InvalidOperationException">One of the two was not set.</exception>
    /// <exception cref="ArgumentException">The other mark is on another device.</exception>
    /// <exception cref="CudaException">Work before a mark failed.</exception>
    public TimeSpan Since(CudaEvent start)
    {
        ArgumentNullException.ThrowIfNull(start);
        if (start._device != _device)
            throw new ArgumentException(
                $"The marks are on two devices, {start._device.Name} and {_device.Name}, whose clocks differ.",
                nameof(start));
        start.Synchronize();
        Synchronize();
        return TimeSpan.FromMilliseconds((double)_handle.MillisecondsSince(start._handle));
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    private void CheckRecorded()
    {
        if (!_recorded)
            throw new InvalidOperationException($"The mark was not set: call {nameof(Record)} first.");
    }
}
