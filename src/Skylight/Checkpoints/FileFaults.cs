namespace Skylight.Checkpoints;

/// <summary>What goes wrong with files between a model's home and this machine, and what to do about it.</summary>
public static class FileFaults
{
    private const int LongestPointer = 1024;

    /// <summary>
    /// Refuses a file that is missing, empty or a git-lfs pointer, for readers that know nothing of checkpoints, such
    /// as that of tokenizer.json.
    /// </summary>
    /// <param name="path">The file.</param>
    /// <exception cref="CheckpointException">Says which of these it is and what to do.</exception>
    public static void Check(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        if (!File.Exists(path))
            throw new CheckpointException(path,
                "is missing." + DescribeUnfinished(Path.GetDirectoryName(Path.GetFullPath(path))!));
        try
        {
            using FileStream stream = BoundedFile.Open(path);
            Span<byte> start = stackalloc byte[LongestPointer];
            start = start[..stream.ReadAtLeast(start, start.Length, throwOnEndOfStream: false)];
            RefuseEmptyOrPointer(path, start, start.Length);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(path, $"cannot be read: {exception.Message}", innerException: exception);
        }
    }

    internal static void RefuseEmptyOrPointer(string file, ReadOnlySpan<byte> start, long length)
    {
        if (length == 0)
            throw new CheckpointException(file, "the file is empty. Copy or download it again.");
        if (start.StartsWith("version https://git-lfs"u8))
            throw new CheckpointException(file,
                $"this is a git-lfs pointer, not the data{PointedSize(start)}. Run `git lfs pull` in the repository " +
                $"that it came from.");
    }

    /// <summary>
    /// A sentence about downloads that were not finished, with a space before it; empty when there are none.
    /// </summary>
    internal static string DescribeUnfinished(string directory)
    {
        string[] unfinished = [.. Unfinished(directory)
            .Select(file => $"{Path.GetRelativePath(directory, file)} ({BoundedFile.Length(file)} bytes)")
            .Order(StringComparer.Ordinal)];
        return unfinished.Length == 0
            ? ""
            : $" A download was not finished: " +
                $"{string.Join(", ", unfinished.Take(5))}{(unfinished.Length > 5 ? $" and {unfinished.Length - 5} more" : "")}. Start it again; it goes on where it broke off.";
    }

    /// <summary>
    /// Where the usual downloaders keep what they have not finished: beside the files and in a cache folder below.
    /// </summary>
    private static IEnumerable<string> Unfinished(string directory)
    {
        // In the hub's cache a folder of links lies beside one of contents.
        string? snapshots = Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(directory)));
        string[] contents = Path.GetFileName(snapshots) == "snapshots"
            ? [Path.Combine(Path.GetDirectoryName(snapshots)!, "blobs")] : [];
        foreach (string folder in (string[])[directory, Path.Combine(directory, ".cache", "huggingface", "download"),
            .. contents])
        {
            if (!Directory.Exists(folder))
                continue;
            foreach (string file in Directory.EnumerateFiles(folder))
            {
                if (Path.GetExtension(file) is ".incomplete" or ".part" or ".aria2" or ".crdownload")
                    yield return file;
            }
        }
    }

    private static string PointedSize(ReadOnlySpan<byte> pointer)
    {
        int at = pointer.IndexOf("\nsize "u8);
        if (at < 0)
            return "";
        ReadOnlySpan<byte> digits = pointer[(at + 6)..];
        int end = digits.IndexOfAnyExceptInRange((byte)'0', (byte)'9');
        return end == 0 ? "" : $" of {System.Text.Encoding.ASCII.GetString(end < 0 ? digits : digits[..end])} bytes";
    }
}
