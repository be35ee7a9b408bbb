namespace Skylight.Tensors;

/// <summary>A block of memory that a device owns.</summary>
public abstract class DeviceMemory : IDisposable
{
    private Action<long>? _given;

    /// <summary>The size of the block in bytes.</summary>
    public abstract long Bytes { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        Interlocked.Exchange(ref _given, null)?.Invoke(Bytes);
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Has somebody told, once, when the memory is given back, and how many bytes.</summary>
    internal void WhenGivenBack(Action<long> told) => _given += told;

    /// <summary>Gives the memory back; called once or more.</summary>
    protected abstract void Dispose(bool disposing);
}

/// <summary>A typed view of device memory. It does not own the memory.</summary>
public sealed class Tensor
{
    /// <summary>Makes a view.</summary>
    /// <param name="memory">The block that holds the elements.</param>
    /// <param name="byteOffset">Where the first element lies.</param>
    /// <param name="type">What the elements are.</param>
    public Tensor(DeviceMemory memory, long byteOffset, TensorType type)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentOutOfRangeException.ThrowIfNegative(byteOffset);
        Memory = memory;
        ByteOffset = byteOffset;
        Type = type;
    }

    /// <summary>The block that holds the elements.</summary>
    public DeviceMemory Memory { get; }

    /// <summary>Where the first element lies, in bytes from the start of the block.</summary>
    public long ByteOffset { get; }

    /// <summary>What the elements are.</summary>
    public TensorType Type { get; }

    /// <summary>The extents.</summary>
    public Shape Shape => Type.Shape;

    /// <inheritdoc/>
    public override string ToString() => Type.ToString();
}
