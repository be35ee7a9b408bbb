using Silk.NET.Core.Contexts;
using Silk.NET.Core.Loader;
using Skylight.Cuda;
using Skylight.Tensors;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cuda;

/// <summary>Libraries, context, stream and memory of a host.</summary>
[Collection(EmulatorCollection.Name)]
public sealed class SharedContextTests
{
    private static string EmulatorFile => Path.Combine(AppContext.BaseDirectory, "libskylight_simt.so");

    [Fact]
    public void An_op_runs_on_context_stream_and_memory_of_a_host()
    {
        Emulator.Require();
        Emulator.ConfigureDefaults();
        var driver = new HostLibrary(EmulatorFile);
        float[] values = [3, -4, 0.5f, .. Enumerable.Range(0, 1000).Select(index => index * 0.25f)];
        Assert.Equal(values.Select(value => value * value),
            SharedContextSample.Square(driver, CudaLibraries.FromSimulated(driver), values));
        string page = File.ReadAllText(Repository.PathOf("docs", "cuda.md"));
        string source = File.ReadAllText(Repository.PathOf("tests", "Skylight.Tests", "Samples", "SharedContextSample.cs"));
        Assert.Contains(
            $"```csharp\n{source.Split("#region cuda.md: a context that is shared\n")[1].Split("#endregion")[0]}```\n",
            page, StringComparison.Ordinal);
    }

    [Fact]
    public void A_host_sees_context_stream_and_addresses()
    {
        using var host = new Emulator();
        using CudaDevice device = Open(0, host.Stream);
        Assert.Equal(host.Stream, device.StreamHandle);
        Emulator.Check(Emulator.cuDevicePrimaryCtxRetain(out nint context, 0));
        Assert.Equal(context, device.ContextHandle);
        using DeviceMemory memory = device.Allocate(1024);
        var tensor = new Tensor(memory, 256, TensorType.Float32(3));
        Assert.Equal(((CudaMemory)memory).Address + 256, device.GetAddress(tensor));

        // What the host queues on the stream comes behind what the device queued.
        device.Upload([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0], tensor);
        Emulator.Check(Emulator.cuMemsetD32Async(device.GetAddress(tensor) + 4, 7, 1, host.Stream));
        byte[] bytes = new byte[12];
        device.Download(tensor, bytes);
        Assert.Equal([1, 0, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0], bytes);
    }

    [Fact]
    public void What_a_host_gave_stays_the_hosts()
    {
        using var host = new Emulator();
        Emulator.Check(Emulator.cuDevicePrimaryCtxRetain(out nint context, 0));
        Emulator.Check(Emulator.cuMemAlloc_v2(out ulong address, 1024));
        CudaDevice device = Open(context, host.Stream);
        CudaMemory borrowed = device.Borrow(address, 1024);
        device.Clear(new Tensor(borrowed, 0, TensorType.Float32(256)));
        borrowed.Dispose();
        Assert.Throws<ObjectDisposedException>(() => borrowed.Address);
        device.Dispose();
        Assert.Throws<ObjectDisposedException>(() => device.StreamHandle);
        Assert.Throws<ObjectDisposedException>(() => device.ContextHandle);
        Assert.Throws<ObjectDisposedException>(() => device.Borrow(address, 1024));
        Emulator.Check(Emulator.cuCtxSetCurrent(context));
        Emulator.Check(Emulator.cuStreamSynchronize(host.Stream));
        Emulator.Check(Emulator.cuMemFree_v2(address));
    }

    [Fact]
    public void Any_thread_may_call()
    {
        using var host = new Emulator();
        Emulator.Check(Emulator.cuDevicePrimaryCtxRetain(out nint context, 0));
        using CudaDevice device = Open(context, host.Stream);
        byte[] bytes = new byte[4];
        var thread = new Thread(() =>
        {
            using DeviceMemory memory = device.Allocate(4);
            device.Upload([1, 2, 3, 4], new Tensor(memory, 0, TensorType.Float32(1)));
            device.Download(new Tensor(memory, 0, TensorType.Float32(1)), bytes);
        });
        thread.Start();
        thread.Join();
        Assert.Equal([1, 2, 3, 4], bytes);
    }

    [Fact]
    public void A_context_that_is_none_is_refused()
    {
        using var host = new Emulator();
        string message = Assert.Throws<CudaException>(() => Open(0x1230, 0)).Message;
        Assert.Contains("CudaDeviceOptions.Context is no context", message);
        Assert.Contains("CUDA_ERROR_INVALID_CONTEXT", message);
    }

    [Fact]
    public void A_stream_that_was_destroyed_is_refused()
    {
        using var host = new Emulator();
        Emulator.Check(Emulator.cuStreamCreate(out nint stream, 1));
        Emulator.Check(Emulator.cuStreamDestroy_v2(stream));
        Assert.Contains("CudaDeviceOptions.Stream is no stream, or was destroyed",
            Assert.Throws<CudaException>(() => Open(0, stream)).Message);

        Emulator.Check(Emulator.cuStreamCreate(out stream, 1));
        using CudaDevice device = Open(0, stream);
        Emulator.Check(Emulator.cuStreamDestroy_v2(stream));
        string message = Assert.Throws<CudaException>(() => device.Allocate(16)).Message;
        Assert.Contains("must not be destroyed while the device is open", message);
    }

    [Fact]
    public void Memory_that_kernels_cannot_use_is_refused()
    {
        using var host = new Emulator();
        using CudaDevice device = Open(0, host.Stream);
        Assert.Contains("multiple of 256", Assert.Throws<ArgumentException>(() => device.Borrow(0x1001, 16)).Message);
        Assert.Throws<ArgumentException>(() => device.Borrow(0, 16));
        Assert.Throws<ArgumentOutOfRangeException>(() => device.Borrow(0x1000, 0));
        using CudaDevice other = Open(0, 0);
        using DeviceMemory memory = other.Allocate(4);
        Assert.Contains("another CudaDevice",
            Assert.Throws<ArgumentException>(() => device.GetAddress(new Tensor(memory, 0, TensorType.Float32(1)))).Message);
    }

    [Fact]
    public void A_function_that_a_hosts_library_lacks_is_named()
    {
        Emulator.Require();
        var whole = new HostLibrary(EmulatorFile);
        string message = Assert.Throws<CudaException>(
            () => CudaLibraries.From(new Without(whole, "cuLaunchKernel"), whole)).Message;
        Assert.StartsWith("The host's Without has no function cuLaunchKernel", message);
        Assert.Contains("nvrtcVersion",
            Assert.Throws<CudaException>(() => CudaLibraries.From(whole, new Without(whole, "nvrtcVersion"))).Message);
        Assert.Contains("cuBLAS", Assert.Throws<CudaException>(() => CudaLibraries.From(whole, whole).Cublas).Message);
        Assert.Equal("The host's HostLibrary", CudaLibraries.From(whole, whole, whole).DriverPath);
    }

    private static CudaDevice Open(nint context, nint stream) =>
        new(new CudaDeviceOptions
        {
            Libraries = CudaLibraries.LoadSimulated(),
            CacheFolder = "",
            Context = context,
            Stream = stream,
        });

    private sealed class Without(INativeContext whole, string missing) : INativeContext
    {
        public nint GetProcAddress(string proc, int? slot = null) => TryGetProcAddress(proc, out nint address) ? address
            : throw new SymbolLoadingException(proc);

        public bool TryGetProcAddress(string proc, out nint addr, int? slot = null)
        {
            addr = 0;
            return proc != missing && whole.TryGetProcAddress(proc, out addr);
        }

        public void Dispose()
        {
        }
    }
}
