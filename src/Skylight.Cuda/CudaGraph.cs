using Skylight.Cuda.Interop;
using Skylight.Execution;

namespace Skylight.Cuda;

/// <summary>
/// Recorded launches, clears, copies and products (a CUDA graph), with the memory that they refer to by address.
/// </summary>
internal sealed unsafe class CudaGraph : RecordedWork
{
    private readonly CudaDevice _device;
    private readonly CudaGraphHandle _handle;
    private readonly CudaMemory[] _memory;

    private CudaGraph(CudaDevice device, CudaGraphHandle handle, CudaMemory[] memory)
    {
        _device = device;
        _handle = handle;
        _memory = memory;
    }

    /// <summary>Records what an action queues on a device's stream, whose context is current.</summary>
    /// <param name="device">Where.</param>
    /// <param name="queue">Queues it.</param>
    /// <param name="memory">The memory that was used, filled while the action runs.</param>
    public static CudaGraph Record(CudaDevice device, Action queue, IReadOnlySet<CudaMemory> memory)
    {
        Driver driver = device.Driver;
        device.Stream.BeginCapture();
        int result;
        nint graph;
        try
        {
            queue();
        }
        catch (Exception exception)
        {
            // The stream must leave the capture, whatever came of it.
            (_, graph) = device.Stream.EndCapture();
            if (graph != 0)
                _ = driver.GraphDestroy(graph);
            throw new CudaException(Refusal(exception.Message), exception);
        }

        (result, graph) = device.Stream.EndCapture();
        if (result != 0)
        {
            CudaException error = driver.Error(result, "cuStreamEndCapture");
            throw new CudaException(Refusal(error.Message), error);
        }

        try
        {
            return new CudaGraph(device, new CudaGraphHandle(device.Stream.Context, graph), [.. memory]);
        }
        finally
        {
            _ = driver.GraphDestroy(graph);
        }
    }

    /// <inheritdoc/>
    public override void Replay()
    {
        _device.MakeCurrent();

        // A graph holds bare addresses, which may belong to somebody else by now.
        foreach (CudaMemory memory in _memory)
            _ = memory.Address;
        _handle.Launch(_device.Stream);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => _handle.Dispose();

    private static string Refusal(string why) =>
        $"The steps of a plan cannot be recorded as a CUDA graph: {why} With " +
        $"{nameof(CudaDeviceOptions)}.{nameof(CudaDeviceOptions.CaptureGraphs)} = false they are queued " +
        $"one by one.";
}
