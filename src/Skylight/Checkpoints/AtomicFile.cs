namespace Skylight.Checkpoints;

/// <summary>
/// Writes a file so that at every moment either the old one or the complete new one is there: into a temporary file
/// beside it, flushed to the disk, then renamed over it. Whatever goes wrong, the temporary file is removed.
/// </summary>
public static class AtomicFile
{
    /// <summary>Writes <paramref name="path"/>.</summary>
    /// <param name="path">The file to write or replace.</param>
    /// <param name="length">The bytes that will come, so that a full disk is known before the work; 0 when unknown.</param>
    /// <param name="write">Writes the content.</param>
    /// <exception cref="CheckpointException">The system refused; names the file.</exception>
    public static void Write(string path, long length, Action<Stream> write) => Write(path, length, write, Open);

    /// <summary>The same with the way in which the temporary file is opened: a test's way in.</summary>
    internal static void Write(string path, long length, Action<Stream> write, Func<string, long, Stream>? open)
    {
        string full = Path.GetFullPath(path);
        string temporary = Path.Combine(Path.GetDirectoryName(full)!,
            $".{Path.GetFileName(full)}.{Environment.ProcessId}.{Guid.NewGuid():N}.tmp");
        try
        {
            using (Stream stream = (open ?? Open)(temporary, length))
            {
                write(stream);
                if (stream is FileStream file)
                    file.Flush(flushToDisk: true);
                else
                    stream.Flush();
            }

            File.Move(temporary, full, overwrite: true);
        }
        catch (Exception exception)
        {
            Remove(temporary);
            if (exception is IOException or UnauthorizedAccessException)
                throw new CheckpointException(path,
                    $"cannot be written: {exception.Message} Free space or choose another folder; what was there " +
                    $"before is unchanged.", innerException: exception);
            throw;
        }
    }

    private static FileStream Open(string path, long length) => new(path, new FileStreamOptions
    {
        Mode = FileMode.CreateNew,
        Access = FileAccess.Write,
        Share = FileShare.None,
        BufferSize = 1 << 16,
        PreallocationSize = length,
    });

    private static void Remove(string temporary)
    {
        try
        {
            File.Delete(temporary);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // The first error is the one to report.
        }
    }
}
