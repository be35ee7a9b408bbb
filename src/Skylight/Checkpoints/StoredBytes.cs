using Microsoft.Win32.SafeHandles;

namespace Skylight.Checkpoints;

/// <summary>Reads parts of files that hold tensors.</summary>
internal static class StoredBytes
{
    /// <summary>Fills a buffer.</summary>
    /// <param name="handle">The file, open.</param>
    /// <param name="file">Its name, for errors.</param>
    /// <param name="tensor">What is read, for errors.</param>
    /// <param name="offset">The first byte.</param>
    /// <param name="destination">Its length says how many.</param>
    /// <exception cref="CheckpointException">The file cannot be read, or became shorter.</exception>
    public static void Read(SafeFileHandle handle, string file, string tensor, long offset, Span<byte> destination)
    {
        try
        {
            for (int done = 0; done < destination.Length;)
            {
                int read = RandomAccess.Read(handle, destination[done..], offset + done);
                if (read == 0)
                    throw new CheckpointException(file,
                        "the file became shorter while it was read. Copy or download it again.", tensor);
                done += read;
            }
        }
        catch (IOException exception)
        {
            throw new CheckpointException(file, $"cannot be read: {exception.Message}", tensor, exception);
        }
    }
}
