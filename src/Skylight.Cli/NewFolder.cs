namespace Skylight.Cli;

/// <summary>Makes a folder of results that is there whole or not at all.</summary>
internal static class NewFolder
{
    /// <summary>
    /// Fills a hidden folder and then puts it, or where the folder is there already what is in it, in place.
    /// </summary>
    /// <param name="directory">Must be empty or not exist.</param>
    /// <param name="fill">Writes into the folder that it is given. If it fails, nothing stays.</param>
    /// <exception cref="IOException">The folder is not empty, is a file, or cannot be written.</exception>
    public static void Write(string directory, Action<string> fill)
    {
        string target = Path.TrimEndingDirectorySeparator(Path.GetFullPath(directory));
        if (File.Exists(target))
            throw new IOException($"'{directory}' is a file. Give a folder that is empty or does not exist.");
        bool exists = Directory.Exists(target);
        if (exists && Directory.EnumerateFileSystemEntries(target).Any())
            throw new IOException($"The folder '{directory}' is not empty. Give one that is empty or does not exist.");
        // Beside a new folder, within one that is there: that may be all that we may write to.
        string staging = Path.Combine(exists ? target : Path.GetDirectoryName(target) ?? target,
            $".{Path.GetFileName(target)}.{Guid.NewGuid():N}.tmp");
        string[] parents = [.. MissingParents(staging)];
        var moved = new List<string>();
        try
        {
            Directory.CreateDirectory(staging);
            fill(staging);
            if (exists)
                MoveContents(staging, target, moved);
            else
                Directory.Move(staging, target);
        }
        catch (Exception exception)
        {
            foreach (string path in moved)
                TryDelete(path);
            TryDelete(staging);
            foreach (string parent in parents)
                TryDelete(parent, recursive: false);
            if (exception is IOException or UnauthorizedAccessException)
                throw new IOException(
                    $"The folder '{directory}' cannot be written: {exception.Message} Free space or choose another.",
                    exception);
            throw;
        }

        TryDelete(staging);
    }

    private static void MoveContents(string staging, string target, List<string> moved)
    {
        // Folders before the files that name what is in them.
        foreach (string entry in Directory.EnumerateFileSystemEntries(staging).OrderByDescending(Directory.Exists)
            .ThenBy(path => path, StringComparer.Ordinal).ToArray())
        {
            string place = Path.Combine(target, Path.GetFileName(entry));
            Directory.Move(entry, place);
            moved.Add(place);
        }
    }

    private static IEnumerable<string> MissingParents(string directory)
    {
        for (string? parent = Path.GetDirectoryName(directory); parent is not null && !Directory.Exists(parent);
            parent = Path.GetDirectoryName(parent))
            yield return parent;
    }

    private static void TryDelete(string path, bool recursive = true)
    {
        try
        {
            if (Directory.Exists(path))
                Directory.Delete(path, recursive);
            else
                File.Delete(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // The first error is the one to report.
        }
    }
}
