using System.Runtime.InteropServices;
using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>Native memory, aligned to at least 64 bytes and filled with zeros; in large pages where there are such.</summary>
public sealed unsafe class CpuMemory : DeviceMemory
{
    // Below, a mapping of its own would cost more than what the C library keeps.
    private const long MappedFrom = 2 << 20;

    private readonly long _bytes;
    private readonly bool _isMapped;
    private byte* _pointer;

    internal CpuMemory(long bytes)
    {
        _bytes = bytes;
        nuint alignment = HugePages.AlignmentFor(bytes);
        if (bytes >= MappedFrom)
            _pointer = MappedMemory.TryAllocate(bytes, alignment);
        _isMapped = _pointer is not null;
        if (!_isMapped)
            _pointer = (byte*)NativeMemory.AlignedAlloc((nuint)bytes, alignment);
        HugePages.Request(_pointer, bytes);
        // Also where the system gives zeros: memory that is not there is found missing here, and not within a step.
        NativeMemory.Clear(_pointer, (nuint)bytes);
    }

    /// <summary>Frees memory that was never disposed.</summary>
    ~CpuMemory() => Dispose(disposing: false);

    /// <inheritdoc/>
    public override long Bytes => _bytes;

    /// <summary>The first element of a tensor in CPU memory.</summary>
    /// <exception cref="ArgumentException">The tensor is on another device.</exception>
    public static void* Pointer(Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (tensor.Memory is not CpuMemory memory)
            throw new ArgumentException($"{tensor} is in {tensor.Memory.GetType().Name}, not in CPU memory.", nameof(tensor));
        ObjectDisposedException.ThrowIf(memory._pointer is null, memory);
        return memory._pointer + tensor.ByteOffset;
    }

    /// <summary>The stored elements of a tensor in CPU memory, with padding.</summary>
    public static Span<T> Span<T>(Tensor tensor)
        where T : unmanaged
    {
        void* pointer = Pointer(tensor);
        return new Span<T>(pointer, checked((int)(CpuDevice.StorageElements(tensor.Type) * tensor.Type.DataType.Size() / sizeof(T))));
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (!_isMapped)
            NativeMemory.AlignedFree(_pointer);
        else if (_pointer is not null)
            MappedMemory.Free(_pointer, _bytes);
        _pointer = null;
    }
}
