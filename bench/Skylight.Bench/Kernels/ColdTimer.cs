using Skylight.Cuda;

namespace Skylight.Bench.Kernels;

/// <summary>
/// Times work on a card with a cold level-2 cache, which is overwritten before every timed run; while the card does
/// that, the host queues the rest, so that what is measured is the card's work and not the host's queueing.
/// </summary>
internal sealed unsafe class ColdTimer : IDisposable
{
    private const int AttributeLevel2Bytes = 38;
    private const long LeastClearedBytes = 256L << 20;

    private readonly CudaDevice _device;
    private readonly CudaTimer _timer;
    private readonly CudaMemory _cleared;

    /// <summary>Makes a timer.</summary>
    /// <param name="device">The device whose stream is timed.</param>
    /// <param name="ordinal">The device's number.</param>
    /// <exception cref="InvalidOperationException">It is the emulator.</exception>
    public ColdTimer(CudaDevice device, int ordinal)
    {
        if (device.Libraries.IsSimulated)
            throw new InvalidOperationException("Emulator time is never GPU time: the emulator is not timed.");
        _device = device;
        device.MakeCurrent();
        int card, bytes;
        device.Driver.Check(device.Driver.DeviceGet(&card, ordinal), "cuDeviceGet");
        device.Driver.Check(device.Driver.DeviceGetAttribute(&bytes, AttributeLevel2Bytes, card), "cuDeviceGetAttribute");
        Level2Bytes = bytes;
        _timer = new CudaTimer(device);
        _cleared = device.AllocateUninitialized(Math.Max(LeastClearedBytes, 4L * bytes));
    }

    /// <summary>The size of the card's level-2 cache in bytes.</summary>
    public int Level2Bytes { get; }

    /// <summary>The bytes written before every timed run.</summary>
    public long ClearedBytes => _cleared.Bytes;

    /// <summary>The time of what <paramref name="queue"/> queues, in seconds, from a cold cache.</summary>
    public double Seconds(Action queue)
    {
        _device.MakeCurrent();
        _device.Clear(_cleared.Address, _cleared.Bytes);
        return _timer.Measure(queue).TotalSeconds;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _cleared.Dispose();
        _timer.Dispose();
    }
}
