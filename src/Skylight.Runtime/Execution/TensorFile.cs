using Skylight.Tensors;

namespace Skylight.Execution;

/// <summary>
/// A mapped file of tensors in the order in which a device stores them (<see cref="Device.StoredOrder"/>): they are in
/// memory when they are used, without a copy, and processes that map the same file share that memory.
/// </summary>
public abstract class TensorFile : IDisposable
{
    /// <summary>
    /// Tensors of as many bytes or more begin at a multiple of this in the file, and what follows them too: they are mapped
    /// by whole pages, which are of 64 KiB at most. Smaller ones begin at a multiple of 64.
    /// </summary>
    public const int Alignment = 1 << 16;

    /// <summary>The bytes of the file.</summary>
    public abstract long Length { get; }

    /// <summary>Bytes of the file, valid until it is disposed or a tensor there was taken.</summary>
    /// <param name="offset">The first byte.</param>
    /// <param name="count">How many.</param>
    /// <exception cref="ArgumentOutOfRangeException">They lie outside of the file.</exception>
    public abstract ReadOnlySpan<byte> Bytes(long offset, int count);

    /// <summary>
    /// Takes a tensor out: it has memory of its own, that outlives the file and is given back alone. What is written to it
    /// does not reach the file.
    /// </summary>
    /// <param name="offset">Where it begins.</param>
    /// <param name="type">What it is.</param>
    /// <exception cref="ArgumentException">It does not begin where it may.</exception>
    /// <exception cref="ArgumentOutOfRangeException">It reaches out of the file.</exception>
    /// <exception cref="OutOfDeviceMemoryException">There is no memory for a copy of a small one.</exception>
    public abstract Tensor Take(long offset, TensorType type);

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives back what was not taken.</summary>
    protected abstract void Dispose(bool disposing);
}
