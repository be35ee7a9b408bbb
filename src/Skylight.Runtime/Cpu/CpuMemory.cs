using System.Runtime.InteropServices;
using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>
/// Native memory, aligned to at least 64 bytes and filled with zeros. Pieces of a megabyte or more are the system's
/// again as soon as they are disposed; they lie in large pages where there are such.
/// </summary>
public sealed unsafe class CpuMemory : DeviceMemory
{
    private readonly long _bytes;
    private byte* _pointer;

    internal CpuMemory(long bytes)
    {
        _bytes = bytes;
        if (MappedMemory.IsFor(bytes))
            _pointer = MappedMemory.Map(bytes);
        else
        {
            _pointer = (byte*)NativeMemory.AlignedAlloc((nuint)bytes, 64);
            NativeMemory.Clear(_pointer, (nuint)bytes);
        }
    }

    /// <summary>Takes over a part of a mapping, of a megabyte or more.</summary>
    internal CpuMemory(byte* mapped, long bytes)
    {
        System.Diagnostics.Debug.Assert(MappedMemory.IsFor(bytes), "Smaller memory is of the heap.");
        _pointer = mapped;
        _bytes = bytes;
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
            throw new ArgumentException($"{tensor} is in {tensor.Memory.GetType().Name}, not in CPU memory.",
                nameof(tensor));
        ObjectDisposedException.ThrowIf(memory._pointer is null, memory);
        return memory._pointer + tensor.ByteOffset;
    }

    /// <summary>The stored elements of a tensor in CPU memory, with padding.</summary>
    public static Span<T> Span<T>(Tensor tensor)
        where T : unmanaged
    {
        void* pointer = Pointer(tensor);
        return new Span<T>(pointer, checked((int)(BytesOf(tensor) / sizeof(T))));
    }

    /// <summary>The stored elements of a tensor that is not quantised, with padding.</summary>
    internal static long ElementCount(TensorType type) => CpuDevice.BytesOf(type) / type.DataType.Size();

    /// <summary>Fills a tensor with zeros, padding included; one whose bytes are too many for a span, too.</summary>
    public static void Clear(Tensor tensor) => NativeMemory.Clear(Pointer(tensor), (nuint)BytesOf(tensor));

    /// <summary>Copies the stored elements of a tensor to another of the same type, likewise.</summary>
    internal static void Copy(Tensor source, Tensor destination) =>
        NativeMemory.Copy(Pointer(source), Pointer(destination), (nuint)BytesOf(source));

    private static long BytesOf(Tensor tensor) => CpuDevice.BytesOf(tensor.Type);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (_pointer is null)
            return;
        if (MappedMemory.IsFor(_bytes))
            MappedMemory.Unmap(_pointer, _bytes);
        else
            NativeMemory.AlignedFree(_pointer);
        _pointer = null;
    }
}
