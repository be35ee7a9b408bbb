using Microsoft.Win32.SafeHandles;
using Skylight.Tensors;

namespace Skylight.Checkpoints.Gguf;

/// <summary>
/// One GGUF file: opening costs the header only, tensors are read when asked for. Any number of threads may read at
/// once.
/// </summary>
internal sealed class GgufFile : IDisposable
{
    private readonly SafeFileHandle _handle;

    private GgufFile(string path, GgufHeader header, SafeFileHandle handle)
    {
        _handle = handle;
        Path = path;
        Metadata = header.Metadata;
        Entries = header.Entries;
    }

    /// <summary>Where the file lies.</summary>
    public string Path { get; }

    /// <summary>What it says of its model.</summary>
    public GgufMetadata Metadata { get; }

    /// <summary>The tensors, in the order of their data.</summary>
    public IReadOnlyList<GgufEntry> Entries { get; }

    /// <summary>Opens a file and checks its whole header.</summary>
    /// <exception cref="CheckpointException">The file cannot be read, is no GGUF file, or its header contradicts itself or
    /// the file's size.</exception>
    public static GgufFile Open(string path)
    {
        try
        {
            GgufHeader header;
            using (FileStream stream = BoundedFile.Open(path, FileShare.Read | FileShare.Delete))
                header = GgufHeader.Read(path, stream, stream.Length);
            return new GgufFile(path, header,
                File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete));
        }
        catch (Exception exception)
            when (exception is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new CheckpointException(path, $"cannot be opened: {exception.Message}", innerException: exception);
        }
    }

    /// <summary>Reads bytes of a tensor as stored.</summary>
    /// <param name="entry">A tensor of this file.</param>
    /// <param name="offset">The first byte, from the tensor's beginning.</param>
    /// <param name="destination">Its length says how many.</param>
    public void Read(GgufEntry entry, long offset, Span<byte> destination)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, entry.ByteCount - destination.Length);
        StoredBytes.Read(_handle, Path, entry.Name, entry.ByteOffset + offset, destination);
    }

    /// <summary>Reads consecutive elements of an unquantised tensor, rounded if need be.</summary>
    /// <param name="entry">A tensor of this file.</param>
    /// <param name="stored">What its elements are.</param>
    /// <param name="firstElement">Where to start.</param>
    /// <param name="type">Float32 or BFloat16.</param>
    /// <param name="destination">A whole number of elements of that type.</param>
    public void ReadElements(GgufEntry entry, StoredType stored, long firstElement, DataType type, Span<byte> destination)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(firstElement);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(firstElement,
            entry.Shape.ElementCount - (destination.Length / type.Size()));
        StoredBytes.ReadElements(_handle, Path, entry.Name, stored, entry.ByteOffset + (firstElement * stored.Size()), type,
            destination);
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();
}
