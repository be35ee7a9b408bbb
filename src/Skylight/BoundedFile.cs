namespace Skylight;

/// <summary>Reads whole files up to a limit. It holds for the bytes read: a device, a pipe or a file that grows may say that it has none.</summary>
internal static class BoundedFile
{
    private const int FirstBytes = 64 << 10;

    /// <summary>Reads a file to its end.</summary>
    /// <param name="path">The file.</param>
    /// <param name="mostBytes">The most bytes that it may have.</param>
    /// <returns>Its bytes; null if there are more.</returns>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static byte[]? Read(string path, long mostBytes)
    {
        using FileStream stream = Open(path, FileOptions.SequentialScan);
        byte[] bytes = new byte[FirstSize(stream, mostBytes)];
        int count = 0;
        while (true)
        {
            int read = stream.ReadAtLeast(bytes.AsSpan(count), bytes.Length - count, throwOnEndOfStream: false);
            count += read;
            if (count > mostBytes)
                return null;
            if (count < bytes.Length)
                return bytes[..count];
            Array.Resize(ref bytes, NextSize(count, mostBytes));
        }
    }

    /// <summary>Reads a file to its end without holding up the caller.</summary>
    /// <inheritdoc cref="Read"/>
    public static async Task<byte[]?> ReadAsync(string path, long mostBytes, CancellationToken cancellationToken)
    {
        await using FileStream stream = Open(path, FileOptions.SequentialScan | FileOptions.Asynchronous);
        byte[] bytes = new byte[FirstSize(stream, mostBytes)];
        int count = 0;
        while (true)
        {
            count += await stream.ReadAtLeastAsync(bytes.AsMemory(count), bytes.Length - count, throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false);
            if (count > mostBytes)
                return null;
            if (count < bytes.Length)
                return bytes[..count];
            Array.Resize(ref bytes, NextSize(count, mostBytes));
        }
    }

    private static FileStream Open(string path, FileOptions options) =>
        new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0, options);

    /// <summary>One byte more than the file says it has, so that its end is seen; never more than one beyond the limit.</summary>
    private static int FirstSize(FileStream stream, long mostBytes)
    {
        long said = stream.CanSeek ? stream.Length : 0;
        return (int)Math.Min(Math.Min(mostBytes, Array.MaxLength - 1), said > 0 ? said : FirstBytes) + 1;
    }

    private static int NextSize(int size, long mostBytes) => (int)Math.Min(Math.Min(mostBytes, Array.MaxLength - 1) + 1, 2L * size);
}
