#region cuda.md: a context that is shared
using System.Runtime.InteropServices;
using Silk.NET.Core.Contexts;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

/// <summary>A host's own way to a library: here a path.</summary>
public sealed class HostLibrary(string path) : INativeContext
{
    private readonly nint _handle = NativeLibrary.Load(path);

    public nint GetProcAddress(string proc, int? slot = null) => NativeLibrary.GetExport(_handle, proc);

    public bool TryGetProcAddress(string proc, out nint addr, int? slot = null) =>
        NativeLibrary.TryGetExport(_handle, proc, out addr);

    public void Dispose() => NativeLibrary.Free(_handle);
}

public static unsafe class SharedContextSample
{
    /// <summary>
    /// Squares numbers with an op of Skylight, on context, stream and memory of a host that knows the driver only.
    /// </summary>
    public static float[] Square(INativeContext driver, CudaLibraries libraries, float[] values)
    {
        // The host: context, stream and memory. With ManagedCuda these are PrimaryContext.Context.Pointer,
        // CudaStream.Stream.Pointer and CudaDeviceVariable<float>.DevicePointer.Pointer.
        nint context, stream;
        ulong memory;
        nuint bytes = (nuint)(sizeof(float) * values.Length);
        Check(((delegate* unmanaged<uint, int>)driver.GetProcAddress("cuInit"))(0));
        Check(((delegate* unmanaged<nint*, int, int>)driver.GetProcAddress("cuDevicePrimaryCtxRetain"))(&context, 0));
        Check(((delegate* unmanaged<nint, int>)driver.GetProcAddress("cuCtxSetCurrent"))(context));
        Check(((delegate* unmanaged<nint*, uint, int>)driver.GetProcAddress("cuStreamCreate"))(&stream, 1));
        Check(((delegate* unmanaged<ulong*, nuint, int>)driver.GetProcAddress("cuMemAlloc_v2"))(&memory, bytes));
        fixed (float* first = values)
            Check(((delegate* unmanaged<ulong, void*, nuint, nint, int>)driver.GetProcAddress("cuMemcpyHtoDAsync_v2"))(
                memory, first, bytes, stream));

        // Skylight: the same context and stream, so that its work comes behind the copy, and the same memory. Nothing
        // is copied.
        using (var device = new CudaDevice(
            new CudaDeviceOptions { Libraries = libraries, Context = context, Stream = stream }))
        using (CudaMemory borrowed = device.Borrow(memory, (long)bytes))
        {
            var numbers = new Tensor(borrowed, 0, TensorType.Float32(values.Length));
            var graph = new Graph();
            Value input = graph.Input("numbers", numbers.Type), square = graph.Add(new Multiply(), input, input);
            device.CreateKernel(square.Producer!).Run(new KernelArguments([numbers, numbers], [numbers], null));
        }

        // The host again: its copy comes behind the kernel. Context, stream and memory are still its own.
        float[] squares = new float[values.Length];
        fixed (float* first = squares)
            Check(((delegate* unmanaged<void*, ulong, nuint, nint, int>)driver.GetProcAddress("cuMemcpyDtoHAsync_v2"))(
                first, memory, bytes, stream));
        Check(((delegate* unmanaged<nint, int>)driver.GetProcAddress("cuStreamSynchronize"))(stream));
        Check(((delegate* unmanaged<ulong, int>)driver.GetProcAddress("cuMemFree_v2"))(memory));
        Check(((delegate* unmanaged<nint, int>)driver.GetProcAddress("cuStreamDestroy_v2"))(stream));
        Check(((delegate* unmanaged<int, int>)driver.GetProcAddress("cuDevicePrimaryCtxRelease_v2"))(0));
        return squares;
    }

    private static void Check(int result)
    {
        if (result != 0)
            throw new InvalidOperationException($"A call of the driver failed with code {result}.");
    }
}
#endregion
