using Microsoft.Win32.SafeHandles;

namespace Skylight.Checkpoints;

/// <summary>A tensor's place in a file that is to be written.</summary>
/// <param name="Name">The name on disk.</param>
/// <param name="Offset">Where its data begin in the file.</param>
/// <param name="Bytes">How many there are.</param>
internal readonly record struct PlannedTensor(string Name, long Offset, long Bytes);

/// <summary>
/// A file of tensors whose header is known before any of its data: data may then be written in any order, and a write that
/// was stopped can go on.
/// </summary>
/// <param name="Name">The file's name.</param>
/// <param name="Header">Its first bytes.</param>
/// <param name="Tensors">What follows, in the order of the data.</param>
/// <param name="Length">Its bytes.</param>
internal sealed record PlannedFile(string Name, byte[] Header, IReadOnlyList<PlannedTensor> Tensors, long Length)
{
    /// <summary>A safetensors file.</summary>
    public static PlannedFile Safetensors(string name, IReadOnlyList<TensorToWrite> tensors)
    {
        TensorToWrite[] ordered = SafetensorsWriter.Ordered(tensors);
        byte[] header = SafetensorsWriter.Header(ordered, SafetensorsWriter.Metadata);
        var places = new List<PlannedTensor>(ordered.Length);
        long offset = header.Length;
        foreach (TensorToWrite tensor in ordered)
        {
            places.Add(new PlannedTensor(tensor.Name, offset, tensor.ByteCount));
            offset += tensor.ByteCount;
        }

        return new PlannedFile(name, header, places, offset);
    }

    /// <summary>Writes the file from its beginning to its end.</summary>
    /// <param name="stream">Where to.</param>
    /// <param name="write">Writes a tensor's bytes, all of them.</param>
    public void WriteTo(Stream stream, Action<PlannedTensor, Stream> write)
    {
        stream.Write(Header);
        foreach (PlannedTensor tensor in Tensors)
        {
            Pad(tensor.Offset);
            write(tensor, stream);
        }

        Pad(Length);

        void Pad(long offset) => stream.Write(new byte[checked((int)(offset - stream.Position))]);
    }
}

/// <summary>Files of a folder that are written tensor by tensor, in any order.</summary>
internal sealed class PlacedFiles : IDisposable
{
    private readonly Dictionary<string, (SafeFileHandle Handle, PlannedTensor Tensor)> _tensors =
        new(StringComparer.Ordinal);

    private readonly List<SafeFileHandle> _handles = [];

    /// <summary>Opens files, with their whole size reserved on the disk, or those that were begun.</summary>
    /// <param name="folder">Where they lie.</param>
    /// <param name="files">What they are.</param>
    /// <exception cref="IOException">One cannot be made, or is in use.</exception>
    /// <exception cref="CheckpointException">One that was begun is another.</exception>
    public PlacedFiles(string folder, IEnumerable<PlannedFile> files)
    {
        try
        {
            foreach (PlannedFile file in files)
                Open(Path.Combine(folder, file.Name), file);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Writes a part of a tensor.</summary>
    public void Write(string tensor, long offset, ReadOnlySpan<byte> bytes)
    {
        (SafeFileHandle handle, PlannedTensor place) = _tensors[tensor];
        if (offset < 0 || offset + bytes.Length > place.Bytes)
            throw new ArgumentException(
                $"Tensor '{tensor}' takes {place.Bytes} bytes; {bytes.Length} were written at {offset}.", nameof(bytes));
        RandomAccess.Write(handle, bytes, place.Offset + offset);
    }

    /// <summary>Waits until everything is on the disk.</summary>
    public void Flush()
    {
        foreach (SafeFileHandle handle in _handles)
            RandomAccess.FlushToDisk(handle);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (SafeFileHandle handle in _handles)
            handle.Dispose();
    }

    private void Open(string path, PlannedFile file)
    {
        bool exists = File.Exists(path);
        SafeFileHandle handle = File.OpenHandle(path,
            exists ? FileMode.Open : FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, FileOptions.None,
            exists ? 0 : file.Length);
        _handles.Add(handle);
        if (exists)
        {
            var header = new byte[file.Header.Length];
            if (RandomAccess.GetLength(handle) != file.Length || RandomAccess.Read(handle, header, 0) != header.Length
                || !header.AsSpan().SequenceEqual(file.Header))
                throw new CheckpointException(path, "was not begun with these settings. Remove its folder and begin anew.");
        }
        else
        {
            RandomAccess.SetLength(handle, file.Length);
            RandomAccess.Write(handle, file.Header, 0);
        }

        foreach (PlannedTensor tensor in file.Tensors)
            _tensors.Add(tensor.Name, (handle, tensor));
    }
}
