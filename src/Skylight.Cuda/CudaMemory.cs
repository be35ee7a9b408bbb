using Skylight.Tensors;

namespace Skylight.Cuda;

/// <summary>Memory of a card, taken and given back in the order of the device's stream, or borrowed from the host.</summary>
public sealed class CudaMemory : DeviceMemory
{
    private readonly CudaStreamHandle _stream;
    private readonly bool _isBorrowed;
    private ulong _address;

    internal CudaMemory(CudaStreamHandle stream, ulong address, long bytes, bool isBorrowed = false)
    {
        _isBorrowed = isBorrowed;
        _stream = stream;
        _address = address;
        Bytes = bytes;
        bool added = false;
        stream.DangerousAddRef(ref added);
    }

    /// <summary>Frees memory that was never disposed.</summary>
    ~CudaMemory() => Dispose(disposing: false);

    /// <inheritdoc/>
    public override long Bytes { get; }

    /// <summary>The address on the card, for a host's own calls of the driver.</summary>
    /// <exception cref="ObjectDisposedException">It was given back.</exception>
    public ulong Address
    {
        get
        {
            ObjectDisposedException.ThrowIf(_address == 0, this);
            return _address;
        }
    }

    /// <summary>The address of a tensor's first element.</summary>
    /// <exception cref="ArgumentException">The tensor is on another device.</exception>
    internal static ulong AddressOf(Tensor tensor, CudaStreamHandle stream)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (tensor.Memory is not CudaMemory memory)
            throw new ArgumentException($"{tensor} is in {tensor.Memory.GetType().Name}, not in memory of this card.",
                nameof(tensor));
        if (memory._stream != stream)
            throw new ArgumentException($"{tensor} is in memory of another {nameof(CudaDevice)}.", nameof(tensor));
        return memory.Address + (ulong)tensor.ByteOffset;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        ulong address = Interlocked.Exchange(ref _address, 0);
        if (address == 0)
            return;
        if (!_isBorrowed)
        {
            _stream.Context.TryMakeCurrent();
            _stream.Free(address);
        }

        _stream.DangerousRelease();
    }
}
