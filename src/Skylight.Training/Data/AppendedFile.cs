namespace Skylight.Training.Data;

/// <summary>
/// A file that a run writes at its end. The saved state names its length, and a resumed run cuts off what a run that
/// was killed wrote after that, so that interrupted and resumed equals uninterrupted.
/// </summary>
internal sealed class AppendedFile : IDisposable
{
    private readonly FileStream _stream;

    /// <summary>Opens a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="length">Its length in the saved state; 0 begins it anew.</param>
    /// <exception cref="IOException">It is shorter than the saved state says, or cannot be written.</exception>
    public AppendedFile(string path, long length)
    {
        _stream = new FileStream(path, FileMode.OpenOrCreate, FileAccess.Write, FileShare.Read);
        if (_stream.Length < length)
        {
            long found = _stream.Length;
            _stream.Dispose();
            throw new IOException(
                $"'{path}' has {found} bytes, but the saved state of the run was made when it had {length}. It was " +
                $"changed since; put it back, or start a new run in another folder.");
        }

        _stream.SetLength(length);
        _stream.Position = length;
    }

    /// <summary>Bytes written so far; all of them are in the file.</summary>
    public long Length => _stream.Position;

    /// <summary>Appends bytes, all or none.</summary>
    public void Append(ReadOnlySpan<byte> bytes)
    {
        long before = _stream.Position;
        try
        {
            _stream.Write(bytes);
            _stream.Flush();
        }
        catch
        {
            _stream.SetLength(before);
            _stream.Position = before;
            throw;
        }
    }

    public void Dispose() => _stream.Dispose();
}
