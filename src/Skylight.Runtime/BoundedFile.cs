using System.Globalization;

namespace Skylight;

/// <summary>
/// The one way to read files that others made: what is no file is refused before it is opened, and limits hold for the
/// bytes read, because a device, a pipe, a file of the kernel or one that grows may say that it has none.
/// </summary>
public static class BoundedFile
{
    private const int FirstBytes = 64 << 10;

    /// <summary>Opens a file for reading, unbuffered.</summary>
    /// <param name="path">The file.</param>
    /// <param name="share">What others may do to it meanwhile.</param>
    /// <param name="options">How it is going to be read.</param>
    /// <exception cref="IOException">It cannot be opened, or is a folder or a named pipe.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be read.</exception>
    public static FileStream Open(string path, FileShare share = FileShare.ReadWrite | FileShare.Delete,
        FileOptions options = FileOptions.None)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (Directory.Exists(path))
            throw new IOException($"'{path}' is a folder; a file is needed.");
        // Opening would wait for a writer, perhaps for ever.
        if (FileKind.IsNamedPipe(path))
            throw new IOException($"'{path}' is a named pipe; a file is needed.");
        return new FileStream(path, FileMode.Open, FileAccess.Read, share, bufferSize: 0, options);
    }

    /// <summary>
    /// The bytes that a file says it has; for a link those of what it leads to, where the system's own answer would be
    /// the link's.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <exception cref="IOException">It is not there, or cannot be asked.</exception>
    public static long Length(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        return ((FileInfo?)File.ResolveLinkTarget(path, returnFinalTarget: true) ?? new FileInfo(path)).Length;
    }

    /// <summary>Reads a file to its end.</summary>
    /// <param name="path">The file.</param>
    /// <param name="mostBytes">The most bytes that it may have.</param>
    /// <returns>Its bytes.</returns>
    /// <exception cref="FileTooLargeException">It has more.</exception>
    /// <exception cref="IOException">It cannot be read, or is a folder or a named pipe.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be read.</exception>
    public static byte[] Read(string path, long mostBytes)
    {
        using FileStream stream = Open(path, options: FileOptions.SequentialScan);
        return ReadToEnd(stream, path, mostBytes);
    }

    /// <summary>Reads what is left of a stream.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="name">What it is called in errors.</param>
    /// <param name="mostBytes">The most bytes that it may have.</param>
    /// <exception cref="FileTooLargeException">It has more.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static byte[] ReadToEnd(Stream stream, string name, long mostBytes)
    {
        ArgumentNullException.ThrowIfNull(stream);
        byte[] bytes = new byte[FirstSize(stream, mostBytes)];
        int count = 0;
        while (true)
        {
            count += stream.ReadAtLeast(bytes.AsSpan(count), bytes.Length - count, throwOnEndOfStream: false);
            if (count > mostBytes)
                throw new FileTooLargeException(name, mostBytes);
            if (count < bytes.Length)
                return bytes[..count];
            Array.Resize(ref bytes, NextSize(count, mostBytes));
        }
    }

    /// <summary>Reads a file to its end without holding up the caller.</summary>
    /// <param name="path">The file.</param>
    /// <param name="mostBytes">The most bytes that it may have.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <inheritdoc cref="Read"/>
    public static async Task<byte[]> ReadAsync(string path, long mostBytes, CancellationToken cancellationToken)
    {
        await using FileStream stream = Open(path, options: FileOptions.SequentialScan | FileOptions.Asynchronous);
        byte[] bytes = new byte[FirstSize(stream, mostBytes)];
        int count = 0;
        while (true)
        {
            count += await stream.ReadAtLeastAsync(bytes.AsMemory(count), bytes.Length - count,
                throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false);
            if (count > mostBytes)
                throw new FileTooLargeException(path, mostBytes);
            if (count < bytes.Length)
                return bytes[..count];
            Array.Resize(ref bytes, NextSize(count, mostBytes));
        }
    }

    /// <summary>
    /// One byte more than the file says it has, so that its end is seen; never more than one beyond the limit.
    /// </summary>
    private static int FirstSize(Stream stream, long mostBytes)
    {
        long said = stream.CanSeek ? stream.Length - stream.Position : 0;
        return (int)Math.Min(Math.Min(mostBytes, Array.MaxLength - 1), said > 0 ? said : FirstBytes) + 1;
    }

    private static int NextSize(int size, long mostBytes) =>
        (int)Math.Min(Math.Min(mostBytes, Array.MaxLength - 1) + 1, 2L * size);
}

/// <summary>A file has more bytes than its reader takes.</summary>
public sealed class FileTooLargeException : IOException
{
    /// <summary>Makes the error.</summary>
    /// <param name="name">The file.</param>
    /// <param name="mostBytes">The most bytes that are taken.</param>
    public FileTooLargeException(string name, long mostBytes)
        : base(string.Create(CultureInfo.InvariantCulture,
            $"'{name}' has more than the {mostBytes:N0} bytes that are supported."))
    {
    }

    /// <summary>Makes the error.</summary>
    public FileTooLargeException(string message)
        : base(message)
    {
    }

    /// <summary>Makes the error.</summary>
    public FileTooLargeException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Makes the error.</summary>
    public FileTooLargeException()
    {
    }
}
