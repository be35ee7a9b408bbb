using System.Runtime.InteropServices;
using Skylight.Cuda.Interop;

namespace Skylight.Cuda;

/// <summary>The primary context of a card, or a host's own: what modules, streams and memory belong to.</summary>
internal sealed unsafe class CudaContextHandle : SafeHandle
{
    private readonly int _device;
    private readonly bool _isRetained;

    /// <summary>Retains the primary context, or takes a host's, and makes it current.</summary>
    /// <param name="libraries">The driver.</param>
    /// <param name="device">The card, as the driver's functions name it.</param>
    /// <param name="foreign">The host's context, which stays the host's to release; zero for the primary one.</param>
    /// <exception cref="CudaException">The host's context is none, or belongs to another card.</exception>
    public CudaContextHandle(CudaLibraries libraries, int device, nint foreign)
        : base(0, ownsHandle: true)
    {
        Libraries = libraries;
        _device = device;
        if (foreign != 0)
        {
            SetHandle(foreign);
            CheckForeign();
            return;
        }

        nint context;
        _isRetained = true;
        Driver.Check(Driver.DevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
        SetHandle(context);
        MakeCurrent();
    }

    public override bool IsInvalid => handle == 0;

    /// <summary>The driver's own handle (<c>CUcontext</c>).</summary>
    public nint Value => handle;

    public CudaLibraries Libraries { get; }

    /// <summary>The card, as the driver's functions name it.</summary>
    public int Device => _device;

    public Driver Driver => Libraries.Driver;

    /// <summary>
    /// Makes the context current on the calling thread. Every use of the driver begins so: callers may come from any
    /// thread.
    /// </summary>
    public void MakeCurrent() => Driver.Check(Driver.CtxSetCurrent(handle), "cuCtxSetCurrent");

    /// <summary>As <see cref="MakeCurrent"/>, for giving back: what fails here has failed before.</summary>
    public void TryMakeCurrent() => _ = Driver.CtxSetCurrent(handle);

    protected override bool ReleaseHandle() => !_isRetained || Driver.DevicePrimaryCtxRelease(_device) == 0;

    private void CheckForeign()
    {
        int result = Driver.CtxSetCurrent(handle);
        int device = -1;
        if (result == 0)
            result = Driver.CtxGetDevice(&device);
        if (result != 0)
            throw Driver.Error(result,
                $"{nameof(CudaDeviceOptions)}.{nameof(CudaDeviceOptions.Context)} is no context of the driver that " +
                $"is in use: cuCtxSetCurrent");
        if (device != _device)
            throw new CudaException(
                $"{nameof(CudaDeviceOptions)}.{nameof(CudaDeviceOptions.Context)} belongs to card {device}, not to " +
                $"{_device}: give a context of that card, or its number as {nameof(CudaDeviceOptions.Ordinal)}.");
    }
}

/// <summary>Something that belongs to a context and keeps it alive. Making one needs the context to be current.</summary>
internal abstract class CudaHandle : SafeHandle
{
    protected CudaHandle(CudaContextHandle context)
        : base(0, ownsHandle: true)
    {
        Context = context;
    }

    public override bool IsInvalid => handle == 0;

    public CudaContextHandle Context { get; }

    public Driver Driver => Context.Driver;

    /// <summary>Takes over what a constructor has made.</summary>
    protected void Own(nint value)
    {
        bool added = false;
        Context.DangerousAddRef(ref added);
        SetHandle(value);
    }

    /// <summary>Gives the thing back; returns the driver's code.</summary>
    protected abstract int Destroy();

    protected sealed override bool ReleaseHandle()
    {
        Context.TryMakeCurrent();
        int result = Destroy();
        Context.DangerousRelease();
        return result == 0;
    }
}

/// <summary>
/// A queue of work, independent of the null stream, and the memory that is taken and given back in its order.
/// </summary>
internal sealed unsafe class CudaStreamHandle : CudaHandle
{
    private readonly Lock _freeing = new();
    private readonly List<ulong> _freedWhileCapturing = [];
    private readonly nint _pool;
    private readonly bool _isForeign;

    /// <summary>Makes a stream, or takes a host's.</summary>
    /// <param name="context">The context; current.</param>
    /// <param name="foreign">The host's stream, which stays the host's to destroy; zero for one of our own.</param>
    /// <exception cref="CudaException">The host's stream is none, or belongs to another context.</exception>
    public CudaStreamHandle(CudaContextHandle context, nint foreign)
        : base(context)
    {
        nint stream = foreign;
        _isForeign = foreign != 0;
        if (_isForeign)
            CheckForeign(foreign);
        else
            Driver.Check(Driver.StreamCreate(&stream, CudaNumbers.StreamNonBlocking), "cuStreamCreate");
        Own(stream);
        if (Driver.AttributeOf(context.Device, CudaNumbers.AttributeMemoryPools) == 0)
            return;
        nint pool;
        Driver.Check(Driver.DeviceGetDefaultMemPool(&pool, context.Device), "cuDeviceGetDefaultMemPool");
        _pool = pool;

        // Memory that was given back stays with the process: a plan that is bound anew does not wait for the operating
        // system.
        ulong keepAll = ulong.MaxValue;
        Driver.Check(Driver.MemPoolSetAttribute(pool, CudaNumbers.PoolReleaseThreshold, &keepAll), "cuMemPoolSetAttribute");
    }

    public nint Value => handle;

    /// <summary>
    /// Whether memory comes from the driver's pool, which keeps what is given back; a card without one (some virtual
    /// GPUs) reserves and frees plainly.
    /// </summary>
    public bool HasMemoryPool => _pool != 0;

    /// <summary>Whether what is queued goes into a graph instead of being done.</summary>
    public bool IsCapturing { get; private set; }

    /// <summary>Waits until all queued work is done. Errors of that work appear here.</summary>
    public void Synchronize()
    {
        Waits++;
        Driver.Check(Driver.StreamSynchronize(handle), "cuStreamSynchronize");
    }

    /// <summary>How often the host has waited.</summary>
    public long Waits { get; private set; }

    /// <summary>Begins to put what is queued into a graph.</summary>
    public void BeginCapture()
    {
        lock (_freeing)
        {
            // Calls that no graph can hold fail in the capturing thread only; other threads may go on with other devices.
            Driver.Check(Driver.StreamBeginCapture(handle, CudaNumbers.CaptureThreadLocal), "cuStreamBeginCapture");
            IsCapturing = true;
        }
    }

    /// <summary>Ends what <see cref="BeginCapture"/> began.</summary>
    /// <returns>The driver's code, and the graph: zero when something could not be captured.</returns>
    public (int Result, nint Graph) EndCapture()
    {
        lock (_freeing)
        {
            nint graph;
            int result = Driver.StreamEndCapture(handle, &graph);
            IsCapturing = false;
            foreach (ulong address in _freedWhileCapturing)
                FreeNow(address);
            _freedWhileCapturing.Clear();
            return (result, result == 0 ? graph : 0);
        }
    }

    /// <summary>
    /// Reserves memory for what is queued from now on. What was given back, and is in pieces too small, is first
    /// returned to the card where it is short.
    /// </summary>
    /// <returns>The driver's code.</returns>
    public int Allocate(long bytes, out ulong address)
    {
        int result = AllocateOnce(bytes, out address);
        if (result != CudaNumbers.OutOfMemory)
            return result;
        Synchronize();
        if (HasMemoryPool)
            Driver.Check(Driver.MemPoolTrimTo(_pool, 0), "cuMemPoolTrimTo");
        return AllocateOnce(bytes, out address);
    }

    /// <summary>
    /// Gives memory back once all queued work is done; may be called by the finalizer's thread at any time. During a
    /// capture it waits for the end: otherwise every replay would give the memory back.
    /// </summary>
    public void Free(ulong address)
    {
        lock (_freeing)
        {
            // What fails here has failed before: a lost device gives nothing back.
            if (IsCapturing)
                _freedWhileCapturing.Add(address);
            else
                FreeNow(address);
        }
    }

    private int AllocateOnce(long bytes, out ulong address)
    {
        ulong found;
        int result = HasMemoryPool ? Driver.MemAllocAsync(&found, (nuint)bytes, handle)
            : Driver.MemAlloc(&found, (nuint)bytes);
        address = result == 0 ? found : 0;
        return result;
    }

    private void FreeNow(ulong address)
    {
        if (HasMemoryPool)
        {
            _ = Driver.MemFreeAsync(address, handle);
            return;
        }

        // The plain call knows no order of work: what is queued may still use the memory.
        _ = Driver.StreamSynchronize(handle);
        _ = Driver.MemFree(address);
    }

    protected override int Destroy() => _isForeign ? 0 : Driver.StreamDestroy(handle);

    private void CheckForeign(nint stream)
    {
        nint context;
        int result = Driver.StreamGetCtx(stream, &context);
        if (result != 0)
            throw Driver.Error(result,
                $"{nameof(CudaDeviceOptions)}.{nameof(CudaDeviceOptions.Stream)} is no stream, or was destroyed: " +
                $"cuStreamGetCtx");
        if (context != Context.Value)
            throw new CudaException(
                $"{nameof(CudaDeviceOptions)}.{nameof(CudaDeviceOptions.Stream)} belongs to another context than the " +
                $"device: give that context as {nameof(CudaDeviceOptions.Context)}.");
    }
}

/// <summary>A mark in a stream, to be waited for; it takes no time.</summary>
internal sealed unsafe class CudaEventHandle : CudaHandle
{
    public CudaEventHandle(CudaContextHandle context, bool timing = false)
        : base(context)
    {
        nint mark;
        Driver.Check(Driver.EventCreate(&mark, timing ? (uint)CudaNumbers.EventDefault
            : CudaNumbers.EventDisableTiming), "cuEventCreate");
        Own(mark);
    }

    public void Record(CudaStreamHandle stream) => Driver.Check(Driver.EventRecord(handle, stream.Value), "cuEventRecord");

    /// <summary>Waits until the work before the mark is done; at once when it was never recorded.</summary>
    public void Synchronize() => Driver.Check(Driver.EventSynchronize(handle), "cuEventSynchronize");

    /// <summary>The milliseconds from another mark to this one, both done.</summary>
    public float MillisecondsSince(CudaEventHandle start)
    {
        float milliseconds;
        Driver.Check(Driver.EventElapsedTime(&milliseconds, start.handle, handle), "cuEventElapsedTime");
        return milliseconds;
    }

    protected override int Destroy() => Driver.EventDestroy(handle);
}

/// <summary>Memory of the host that the card reads and writes by itself.</summary>
internal sealed unsafe class PinnedMemory : CudaHandle
{
    public PinnedMemory(CudaContextHandle context, int bytes)
        : base(context)
    {
        void* pointer;
        Driver.Check(Driver.MemHostAlloc(&pointer, (nuint)bytes, 0), "cuMemHostAlloc");
        Own((nint)pointer);
        Bytes = bytes;
    }

    public int Bytes { get; }

    public byte* Pointer => (byte*)handle;

    protected override int Destroy() => Driver.MemFreeHost((void*)handle);
}

/// <summary>
/// Machine code on the card. PTX is translated to it by the driver, which keeps what it translated in a cache of its
/// own.
/// </summary>
internal sealed unsafe class CudaModuleHandle : CudaHandle
{
    private const int LogBytes = 4096;

    public CudaModuleHandle(CudaContextHandle context, CompiledKernels kernels)
        : base(context)
    {
        nint module;
        byte* log = stackalloc byte[LogBytes];
        *log = 0;
        int* options = stackalloc int[] { CudaNumbers.TranslationLog, CudaNumbers.TranslationLogBytes };

        // A number is given in place of a pointer to it.
        void** values = stackalloc void*[] { log, (void*)LogBytes };
        fixed (byte* image = kernels.Image.Span)
        {
            int result = Driver.ModuleLoadDataEx(&module, image, 2, options, values);
            if (result != 0)
            {
                string said = (Marshal.PtrToStringUTF8((nint)log) ?? "").Trim();
                throw Driver.Error(result,
                    $"cuModuleLoadDataEx for {kernels.Variant}{(said.Length > 0 ? $" ({said})" : "")}");
            }
        }

        Own(module);
    }

    /// <summary>A kernel by its name.</summary>
    public nint Function(string name, KernelVariant variant)
    {
        nint text = Marshal.StringToCoTaskMemUTF8(name);
        try
        {
            nint function;
            int result = Driver.ModuleGetFunction(&function, handle, (byte*)text);
            return result == 0 ? function : throw Driver.Error(result, $"cuModuleGetFunction for {name} in {variant}");
        }
        finally
        {
            Marshal.FreeCoTaskMem(text);
        }
    }

    protected override int Destroy() => Driver.ModuleUnload(handle);
}

/// <summary>Recorded work, ready to be launched.</summary>
internal sealed unsafe class CudaGraphHandle : CudaHandle
{
    /// <summary>Instantiates a graph.</summary>
    public CudaGraphHandle(CudaContextHandle context, nint graph)
        : base(context)
    {
        nint executable;
        Driver.Check(Driver.GraphInstantiate(&executable, graph, 0), "cuGraphInstantiate");
        Own(executable);
    }

    public void Launch(CudaStreamHandle stream) => Driver.Check(Driver.GraphLaunch(handle, stream.Value), "cuGraphLaunch");

    protected override int Destroy() => Driver.GraphExecDestroy(handle);
}
