namespace Skylight.Cuda;

/// <summary>
/// Measures how long a card works: the time between two marks on the device's stream. Without other work in between,
/// what the host does to queue is hidden as far as the card is kept busy. On the emulator every time is zero: what it
/// takes says nothing about a GPU.
/// </summary>
public sealed class CudaTimer : IDisposable
{
    private readonly CudaEvent _start;
    private readonly CudaEvent _stop;

    /// <summary>Makes a timer for a device.</summary>
    public CudaTimer(CudaDevice device)
    {
        _start = new CudaEvent(device);
        _stop = new CudaEvent(device);
    }

    /// <summary>Begins behind all work queued so far.</summary>
    public void Start() => _start.Record();

    /// <summary>Ends behind all work queued so far, and waits for it.</summary>
    /// <returns>How long the card took for what was queued since <see cref="Start"/>.</returns>
    /// <exception cref="InvalidOperationException">The timer was not started.</exception>
    /// <exception cref="CudaException">Work failed.</exception>
    public TimeSpan Stop()
    {
        _stop.Record();
        return _stop.Since(_start);
    }

    /// <summary>Measures what an action queues.</summary>
    public TimeSpan Measure(Action queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        Start();
        queue();
        return Stop();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _start.Dispose();
        _stop.Dispose();
    }
}
