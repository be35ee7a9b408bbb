using System.Globalization;

namespace Skylight.Checkpoints;

/// <summary>Makes or replaces a checkpoint folder, and what lies beside the weights in it.</summary>
internal static class CheckpointFolder
{
    /// <summary>What a chat needs beside the weights; a missing one is passed over.</summary>
    private static readonly string[] s_textFiles =
    [
        "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json",
        "special_tokens_map.json",
        "chat_template.jinja", "chat_template.json", "preprocessor_config.json", "processor_config.json",
        "generation_config.json",
    ];

    /// <summary>Refuses to begin what the disk cannot hold.</summary>
    /// <param name="directory">The folder to be written; need not exist.</param>
    /// <param name="bytes">What will be written.</param>
    /// <param name="freeBytes">The room on the disk of a folder.</param>
    public static void DemandRoom(string directory, long bytes, Func<string, long> freeBytes)
    {
        if (FreeBytes(directory, freeBytes) is { } free && free < bytes)
            throw new CheckpointException(directory,
                $"{Size(bytes)} would be written, but the disk has {Size(free)} free. Free space or choose another folder.");

        static string Size(long bytes) =>
            string.Create(CultureInfo.InvariantCulture,
                $"{(bytes >= 1e8 ? bytes / 1e9 : bytes / 1e6):F2} {(bytes >= 1e8 ? "GB" : "MB")}");
    }

    /// <summary>
    /// The room on the disk of a folder, which need not exist; null where a file system does not say, so that the write
    /// itself will tell.
    /// </summary>
    public static long? FreeBytes(string directory, Func<string, long> freeBytes)
    {
        string folder = Path.GetFullPath(directory);
        while (!Directory.Exists(folder) && Path.GetDirectoryName(folder) is { } parent)
            folder = parent;
        try
        {
            return freeBytes(folder);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return null;
        }
    }

    /// <summary>
    /// Fills a temporary folder and then puts it, or its files, in place. Whatever goes wrong before that, nothing has
    /// changed.
    /// </summary>
    public static void Replace(string directory, Action<string> write)
    {
        string target = Path.TrimEndingDirectorySeparator(Path.GetFullPath(directory));
        bool exists = Directory.Exists(target);
        // Beside a new folder, within one that is there: that may be all that we may write to, and is on the same disk.
        string name = $".{Path.GetFileName(target)}.{Environment.ProcessId}.{Guid.NewGuid():N}.tmp";
        string staging = Path.Combine(exists ? target : Path.GetDirectoryName(target) ?? target, name);
        string[] parents = [.. MissingParents(staging)];
        CheckpointWriter.CreateDirectory(staging);
        try
        {
            write(staging);
            if (exists)
                MoveFiles(staging, target);
            else
                Directory.Move(staging, target);
        }
        catch (Exception exception)
        {
            TryDelete(staging);
            foreach (string parent in parents)
                TryDelete(parent, recursive: false);
            if (exception is IOException or UnauthorizedAccessException)
                throw new CheckpointException(directory,
                    $"cannot be written: {exception.Message} Free space or choose another folder.",
                    innerException: exception);
            throw;
        }

        TryDelete(staging);
    }

    /// <summary>Copies tokenizer, template and preprocessor files.</summary>
    public static void CopyTextFiles(string source, string target)
    {
        if (File.Exists(source))
        {
            FileFaults.Check(source);
            string own = Path.GetFileName(source);
            // A tokenizer may be called anything where it comes from; here it is looked for under one name.
            File.Copy(source, Path.Combine(target, s_textFiles.Contains(own) ? own : "tokenizer.json"));
            return;
        }

        if (!Directory.Exists(source))
            throw new CheckpointException(source, "there is no such file or folder to copy a tokenizer from.");
        foreach (string name in s_textFiles)
        {
            string file = Path.Combine(source, name);
            if (!File.Exists(file))
                continue;
            FileFaults.Check(file);
            File.Copy(file, Path.Combine(target, name));
        }
    }

    /// <summary>
    /// A name for shards that none of a folder has: those of an earlier save stay until the new index is in place, so
    /// that it never names shards of two saves.
    /// </summary>
    /// <param name="directory">The folder to be written; need not exist.</param>
    /// <param name="count">How many shards there are.</param>
    /// <returns>The name of a shard, counted from 0.</returns>
    public static Func<int, string> ShardNames(string directory, int count)
    {
        for (int save = 1; ; save++)
        {
            string end = save == 1 ? ".safetensors" : string.Create(CultureInfo.InvariantCulture, $"-{save}.safetensors");
            string Name(int shard) =>
                string.Create(CultureInfo.InvariantCulture, $"model-{shard + 1:D5}-of-{count:D5}{end}");
            if (!Enumerable.Range(0, count).Any(shard => File.Exists(Path.Combine(directory, Name(shard)))))
                return Name;
        }
    }

    /// <summary>
    /// What the weights do not need, then shards, then the one file that makes the weights others (the index, or they
    /// themselves), the configuration last; then weights of an earlier save are removed. At any moment the folder has
    /// the weights of one save. What is new when it fails is removed.
    /// </summary>
    private static void MoveFiles(string staging, string target)
    {
        string[] names = [.. Directory.EnumerateFiles(staging).Select(file => Path.GetFileName(file)).OrderBy(Rank)
            .ThenBy(name => name, StringComparer.Ordinal)];
        string[] added = [.. names.Where(name => !File.Exists(Path.Combine(target, name)))];
        try
        {
            foreach (string name in names)
                File.Move(Path.Combine(staging, name), Path.Combine(target, name), overwrite: true);
        }
        catch
        {
            foreach (string name in added.Where(name => !File.Exists(Path.Combine(staging, name))))
                File.Delete(Path.Combine(target, name));
            throw;
        }

        foreach (string old in Directory.EnumerateFiles(target)
            .Where(file => IsWeights(Path.GetFileName(file)) && !names.Contains(Path.GetFileName(file))).ToArray())
            File.Delete(old);
    }

    private static int Rank(string name) => name switch
    {
        "config.json" => 3,
        CheckpointReader.SingleName or CheckpointReader.IndexName => 2,
        _ => IsWeights(name) ? 1 : 0,
    };

    private static bool IsWeights(string name) =>
        name is CheckpointReader.SingleName or CheckpointReader.IndexName
        || (name.StartsWith("model-", StringComparison.Ordinal) && name.Contains("-of-", StringComparison.Ordinal)
            && name.EndsWith(".safetensors", StringComparison.Ordinal));

    /// <summary>The folders in which another will lie and that are not there yet, the innermost first.</summary>
    private static IEnumerable<string> MissingParents(string directory)
    {
        for (string? parent = Path.GetDirectoryName(directory); parent is not null && !Directory.Exists(parent);
            parent = Path.GetDirectoryName(parent))
            yield return parent;
    }

    private static void TryDelete(string directory, bool recursive = true)
    {
        try
        {
            if (Directory.Exists(directory))
                Directory.Delete(directory, recursive);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // The first error is the one to report; the name is hidden and never taken for a checkpoint.
        }
    }
}
