using System.IO.MemoryMappedFiles;
using Microsoft.Win32.SafeHandles;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>
/// A safetensors file, memory-mapped: opening costs the header only, and a tensor is paged in when it is read.
/// Any number of threads may read at once. The file must not be truncated while it is open (our own writers replace
/// files by renaming, which is safe).
/// </summary>
public sealed unsafe class SafetensorsFile : IDisposable
{
    // A multiple of every element size; spans hold at most 2³¹ − 1 bytes, tensors more.
    private const int ChunkBytes = 1 << 26;

    private readonly Dictionary<string, SafetensorsEntry> _byName;
    private readonly MemoryMappedFile _map;
    private readonly MemoryMappedViewAccessor _view;
    private readonly SafeFileHandle _handle;
    private byte* _start;

    private SafetensorsFile(string path, SafetensorsHeader header, MemoryMappedFile map, SafeFileHandle handle)
    {
        _handle = handle;
        Path = path;
        Entries = header.Entries;
        Metadata = header.Metadata;
        _byName = header.Entries.ToDictionary(entry => entry.Name, StringComparer.Ordinal);
        _map = map;
        _view = map.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _start);
    }

    /// <summary>Where the file lies.</summary>
    public string Path { get; }

    /// <summary>The tensors, in the order of their data.</summary>
    public IReadOnlyList<SafetensorsEntry> Entries { get; }

    /// <summary>The header's <c>__metadata__</c>; empty when there is none.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Opens a file and checks its whole header.</summary>
    /// <exception cref="CheckpointException">The file cannot be read, is no safetensors file, or its header contradicts
    /// itself or the file's size.</exception>
    public static SafetensorsFile Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        try
        {
            using FileStream stream = BoundedFile.Open(path, FileShare.Read | FileShare.Delete);
            SafetensorsHeader header = SafetensorsHeader.Read(path, stream, stream.Length);
            SafeFileHandle handle = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);
            MemoryMappedFile map = MemoryMappedFile.CreateFromFile(stream, null, 0, MemoryMappedFileAccess.Read,
                HandleInheritability.None, leaveOpen: false);
            try
            {
                return new SafetensorsFile(path, header, map, handle);
            }
            catch
            {
                map.Dispose();
                handle.Dispose();
                throw;
            }
        }
        catch (Exception exception)
            when (exception is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new CheckpointException(path, $"cannot be opened: {exception.Message}", innerException: exception);
        }
    }

    /// <summary>Whether the file holds a tensor of this name.</summary>
    public bool Contains(string name) => _byName.ContainsKey(name);

    /// <summary>The entry of a tensor.</summary>
    /// <exception cref="CheckpointException">There is no such tensor.</exception>
    public SafetensorsEntry this[string name] =>
        _byName.TryGetValue(name, out SafetensorsEntry? entry)
            ? entry
            : throw new CheckpointException(Path, $"is not among the {Entries.Count} tensors of this file.", name);

    /// <summary>
    /// The bytes of a tensor as stored, row-major, little-endian; not copied, valid until <see cref="Dispose"/>.
    /// </summary>
    /// <exception cref="CheckpointException">There is no such tensor, or it is larger than 2 GiB (then read it in
    /// parts).</exception>
    public ReadOnlySpan<byte> Bytes(string name)
    {
        SafetensorsEntry entry = this[name];
        if (entry.ByteCount > int.MaxValue)
            throw new CheckpointException(Path,
                $"its {entry.ByteCount} bytes are too many for one span; read it in parts.", name);
        return Bytes(entry, 0, (int)entry.ByteCount);
    }

    /// <summary>Reads consecutive elements of a floating-point tensor as float32.</summary>
    /// <param name="name">The tensor.</param>
    /// <param name="firstElement">Where to start, counted in elements, row-major.</param>
    /// <param name="destination">Its length says how many elements are read.</param>
    /// <exception cref="CheckpointException">There is no such tensor, or it does not hold floating-point
    /// numbers.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The elements asked for lie outside the tensor.</exception>
    public void ReadFloat32(string name, long firstElement, Span<float> destination)
    {
        SafetensorsEntry entry = Floating(name, "float32");
        CheckRange(entry, firstElement, destination.Length);
        int step = ChunkBytes / entry.Type.Size();
        for (int done = 0; done < destination.Length; done += step)
        {
            int count = Math.Min(step, destination.Length - done);
            StoredElements.ToFloat32(entry.Type, Elements(entry, firstElement + done, count),
                destination.Slice(done, count));
        }
    }

    /// <summary>Reads a whole floating-point tensor as float32.</summary>
    /// <inheritdoc cref="ReadFloat32(string, long, Span{float})"/>
    public void ReadFloat32(string name, Span<float> destination)
    {
        CheckWhole(this[name], destination.Length);
        ReadFloat32(name, 0, destination);
    }

    /// <summary>Reads a whole floating-point tensor as float32 into a new array.</summary>
    /// <exception cref="CheckpointException">There is no such tensor, or it does not hold floating-point
    /// numbers.</exception>
    public float[] ReadFloat32(string name)
    {
        float[] values = new float[this[name].ElementCount];
        ReadFloat32(name, 0, values);
        return values;
    }

    /// <summary>
    /// Reads consecutive elements of a floating-point tensor as bfloat16: the stored bits where it holds bfloat16, else
    /// rounded to nearest even.
    /// </summary>
    /// <inheritdoc cref="ReadFloat32(string, long, Span{float})"/>
    public void ReadBFloat16(string name, long firstElement, Span<BFloat16> destination)
    {
        SafetensorsEntry entry = Floating(name, "bfloat16");
        CheckRange(entry, firstElement, destination.Length);
        int step = ChunkBytes / entry.Type.Size();
        for (int done = 0; done < destination.Length; done += step)
        {
            int count = Math.Min(step, destination.Length - done);
            StoredElements.ToBFloat16(entry.Type, Elements(entry, firstElement + done, count),
                destination.Slice(done, count));
        }
    }

    /// <summary>Reads a whole integer tensor (I32, I64, U8 or BOOL) as int32.</summary>
    /// <exception cref="CheckpointException">There is no such tensor, it does not hold integers, or a value does not
    /// fit 32 bits.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The destination is not as long as the tensor.</exception>
    public void ReadInt32(string name, Span<int> destination)
    {
        SafetensorsEntry entry = this[name];
        if (!entry.Type.IsInteger())
            throw new CheckpointException(Path, $"holds {entry.Type.HeaderName()}, which cannot be read as int32.", name);
        CheckWhole(entry, destination.Length);
        int step = ChunkBytes / entry.Type.Size();
        for (int done = 0; done < destination.Length; done += step)
        {
            int count = Math.Min(step, destination.Length - done);
            int misfit = StoredElements.ToInt32(entry.Type, Elements(entry, done, count), destination.Slice(done, count));
            if (misfit >= 0)
                throw new CheckpointException(Path, $"element {done + misfit} does not fit 32 bits.", name);
        }
    }

    /// <summary>Reads a whole integer tensor as int32 into a new array.</summary>
    /// <inheritdoc cref="ReadInt32(string, Span{int})"/>
    public int[] ReadInt32(string name)
    {
        int[] values = new int[this[name].ElementCount];
        ReadInt32(name, values);
        return values;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_start is null)
            return;
        _start = null;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _map.Dispose();
        _handle.Dispose();
    }

    /// <summary>
    /// Reads consecutive elements into a buffer, without touching the map: loading a model must not leave its
    /// checkpoint's pages with the process. Any number of threads may read at once.
    /// </summary>
    /// <param name="entry">A floating-point tensor of this file.</param>
    /// <param name="firstElement">Where to start.</param>
    /// <param name="type">Float32, or BFloat16 (rounded to nearest even).</param>
    /// <param name="destination">A whole number of elements of that type.</param>
    internal void ReadElements(SafetensorsEntry entry, long firstElement, DataType type, Span<byte> destination) =>
        StoredBytes.ReadElements(_handle, Path, entry.Name, entry.Type,
            entry.ByteOffset + (firstElement * entry.Type.Size()), type, destination);

    /// <summary>Reads a part of a tensor's bytes as stored, without touching the map.</summary>
    internal void ReadBytes(SafetensorsEntry entry, long offset, Span<byte> destination) =>
        StoredBytes.Read(_handle, Path, entry.Name, entry.ByteOffset + offset, destination);

    /// <summary>A part of a tensor's bytes as stored.</summary>
    internal ReadOnlySpan<byte> Bytes(SafetensorsEntry entry, long offset, int length)
    {
        ObjectDisposedException.ThrowIf(_start is null, this);
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, entry.ByteCount - length);
        return new ReadOnlySpan<byte>(_start + entry.ByteOffset + offset, length);
    }

    private ReadOnlySpan<byte> Elements(SafetensorsEntry entry, long first, int count) =>
        Bytes(entry, first * entry.Type.Size(), count * entry.Type.Size());

    private SafetensorsEntry Floating(string name, string wanted)
    {
        SafetensorsEntry entry = this[name];
        if (!entry.Type.IsFloatingPoint())
            throw new CheckpointException(Path, $"holds {entry.Type.HeaderName()}, which cannot be read as {wanted}.", name);
        return entry;
    }

    private static void CheckWhole(SafetensorsEntry entry, int length)
    {
        if (length != entry.ElementCount)
            throw new ArgumentOutOfRangeException(nameof(length),
                $"Tensor '{entry.Name}' {entry.Shape} has {entry.ElementCount} elements, the destination {length}.");
    }

    private static void CheckRange(SafetensorsEntry entry, long first, int count)
    {
        if (first < 0 || first > entry.ElementCount - count)
            throw new ArgumentOutOfRangeException(nameof(first),
                $"Elements {first} to {first + count} were asked of tensor '{entry.Name}' {entry.Shape}, which has " +
                $"{entry.ElementCount}.");
    }
}
