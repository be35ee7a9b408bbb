using System.Text;
using System.Text.Json;
using Skylight.Checkpoints;

namespace Skylight.Hub;

/// <summary>
/// The folder that models are kept in, laid out as Python's huggingface_hub does, so that each finds what the other has
/// downloaded: <c>models--OWNER--NAME</c> with
/// <c>blobs</c> (content by its hash), <c>snapshots/COMMIT</c> (links into them), <c>refs</c> (branches and tags, with
/// the commit that they were), <c>trees</c> (all files of a commit), and locks in <c>.locks</c> beside it. What Python
/// keeps in <c>.no_exist</c> is in <c>trees</c> too.
/// </summary>
internal sealed class HubCache(HubSettings settings)
{
    private const int MostCommitBytes = 256, MostRecordBytes = 64 << 20;

    private static readonly TimeSpan s_poll = TimeSpan.FromMilliseconds(100);

    /// <summary>The folder of a repository.</summary>
    public string Folder(RepositoryId id) => Path.Combine(settings.CacheDirectory, FolderName(id));

    /// <summary>The folder that a commit's files are seen in.</summary>
    public string Snapshot(RepositoryId id, string commit) => Path.Combine(Folder(id), "snapshots", commit);

    /// <summary>Where a content lies.</summary>
    public string Blob(RepositoryId id, HubFile file) => Path.Combine(Folder(id), "blobs", file.Hash);

    /// <summary>Where a file of a commit is seen.</summary>
    public string Pointer(RepositoryId id, string commit, HubFile file) =>
        Path.Combine([Snapshot(id, commit), .. file.Path.Split('/')]);

    /// <summary>The repository that a folder is a snapshot of, as people write it; null if it is none.</summary>
    public static string? RepositoryOf(string folder)
    {
        string full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        string? snapshots = Path.GetDirectoryName(full), repository = Path.GetDirectoryName(snapshots);
        if (!RepositoryId.IsCommit(Path.GetFileName(full)) || Path.GetFileName(snapshots) != "snapshots")
            return null;
        string[] parts = Path.GetFileName(repository ?? "").Split("--");
        return parts is ["models", { Length: > 0 } owner, { Length: > 0 } name] ? $"{owner}/{name}" : null;
    }

    /// <summary>The commit that a branch or tag was when it was last pulled; null if it never was.</summary>
    /// <exception cref="HubException">The cache is spoilt.</exception>
    public string? CommitOf(RepositoryId id, string revision)
    {
        if (RepositoryId.IsCommit(revision))
            return revision;
        string file = Reference(id, revision);
        if (!File.Exists(file))
            return null;
        string commit = Encoding.UTF8.GetString(Read(file, MostCommitBytes)).Trim();
        return RepositoryId.IsCommit(commit) ? commit : throw Spoilt(file, "holds no commit.");
    }

    /// <summary>Notes which commit a branch or tag is.</summary>
    public void WriteReference(RepositoryId id, string revision, string commit)
    {
        if (revision != commit && !(File.Exists(Reference(id, revision)) && CommitOfOrNull(id, revision) == commit))
            Write(Reference(id, revision), Encoding.ASCII.GetBytes(commit));
    }

    /// <summary>The files of a commit; null where they are not on record.</summary>
    /// <exception cref="HubException">The cache is spoilt.</exception>
    public HubListing? ReadListing(RepositoryId id, string commit)
    {
        string file = Record(id, commit);
        if (!File.Exists(file))
            return null;
        try
        {
            return HubListing.ParseRecord(commit, Read(file, MostRecordBytes));
        }
        catch (JsonException exception)
        {
            throw Spoilt(file, $"is no list of files: {exception.Message}", exception);
        }
    }

    /// <summary>Puts the files of a commit on record.</summary>
    public void WriteListing(RepositoryId id, HubListing listing)
    {
        if (!File.Exists(Record(id, listing.Commit)))
            Write(Record(id, listing.Commit), listing.ToRecord());
    }

    /// <summary>Forgets a record that cannot be read.</summary>
    public void DropListing(RepositoryId id, string commit) => Guard(Record(id, commit), File.Delete);

    /// <summary>Whether a file of a commit is there, whole.</summary>
    public bool Has(RepositoryId id, string commit, HubFile file) => IsWhole(Pointer(id, commit, file), file);

    /// <summary>Whether a file's content is there, whole, if perhaps not yet seen in the snapshot.</summary>
    public bool HasBlob(RepositoryId id, HubFile file) => IsWhole(Blob(id, file), file);

    /// <summary>
    /// Lets a content be seen in a snapshot: by a relative link, or where links are refused by the content itself.
    /// </summary>
    /// <param name="id">The repository.</param>
    /// <param name="commit">The commit.</param>
    /// <param name="file">The file.</param>
    /// <param name="isNew">Whether no other snapshot sees the content, so that it may be moved.</param>
    public void Show(RepositoryId id, string commit, HubFile file, bool isNew)
    {
        string pointer = Pointer(id, commit, file), blob = Blob(id, file), folder = Path.GetDirectoryName(pointer)!;
        Guard(pointer, _ =>
        {
            Directory.CreateDirectory(folder);
            string beside = Path.Combine(folder, $".{Guid.NewGuid():N}.tmp");
            try
            {
                settings.Options.CreateLink(beside, Path.GetRelativePath(folder, blob));
            }
            catch (Exception exception)
                when (exception is IOException or UnauthorizedAccessException or PlatformNotSupportedException)
            {
                // Windows without the right to make links, and file systems that have none.
                if (isNew)
                    File.Move(blob, beside, overwrite: true);
                else
                    File.Copy(blob, beside, overwrite: true);
            }

            try
            {
                File.Move(beside, pointer, overwrite: true);
            }
            catch
            {
                File.Delete(beside);
                throw;
            }
        });
    }

    /// <summary>Waits until no other program downloads the same content. Python takes the same lock.</summary>
    /// <param name="id">The repository.</param>
    /// <param name="file">The file.</param>
    /// <param name="waiting">Is told once that it waits.</param>
    /// <param name="cancellationToken">Stops the waiting.</param>
    public async Task<IDisposable> LockAsync(RepositoryId id, HubFile file, Action waiting,
        CancellationToken cancellationToken)
    {
        string path = Path.Combine(settings.CacheDirectory, ".locks", FolderName(id), file.Hash + ".lock");
        Guard(path, _ => Directory.CreateDirectory(Path.GetDirectoryName(path)!));
        for (bool told = false; ; told = true)
        {
            try
            {
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 1);
            }
            catch (IOException exception) when (IsTaken(exception))
            {
                if (!told)
                    waiting();
                await Task.Delay(s_poll, cancellationToken).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                throw CannotWrite(path, exception);
            }
        }
    }

    /// <summary>Refuses to begin what the disk cannot hold.</summary>
    /// <exception cref="HubException">Says what is missing and what there is.</exception>
    public void DemandRoom(RepositoryId id, long bytes)
    {
        if (CheckpointFolder.FreeBytes(settings.CacheDirectory, settings.Options.FreeBytes) is { } free && free < bytes)
            throw new HubException(HubFault.Disk,
                $"{id} needs {ByteText.Of(bytes)} more in '{settings.CacheDirectory}', where {ByteText.Of(free)} are " +
                $"free. Free space, or keep models on another disk with HF_HOME or HF_HUB_CACHE.");
    }

    /// <summary>The error for a file that the disk does not take.</summary>
    /// <param name="path">The file.</param>
    /// <param name="exception">What the system says, which may name the file again.</param>
    /// <param name="of">Of which file of which repository it is; empty where that is not known.</param>
    public static HubException CannotWrite(string path, Exception exception, string of = "") =>
        new(HubFault.Disk,
            $"{of}'{path}' cannot be written: " +
            $"{exception.Message.Replace($" : '{path}'", "", StringComparison.Ordinal).TrimEnd('.')}. Free " +
            $"space, or keep models elsewhere with HF_HOME or HF_HUB_CACHE; what has come so far stays.", exception);

    private static string FolderName(RepositoryId id) => $"models--{id.Owner}--{id.Name}";

    private string Reference(RepositoryId id, string revision) => Path.Combine([Folder(id), "refs", .. revision.Split('/')]);

    private string Record(RepositoryId id, string commit) => Path.Combine(Folder(id), "trees", commit + ".json");

    private string? CommitOfOrNull(RepositoryId id, string revision)
    {
        try
        {
            return CommitOf(id, revision);
        }
        catch (HubException)
        {
            return null;
        }
    }

    // A link whose content is gone is there to the system.
    private static bool IsWhole(string path, HubFile file)
    {
        try
        {
            return File.Exists(path) && BoundedFile.Length(path) == file.Length;
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static byte[] Read(string file, int mostBytes)
    {
        try
        {
            return BoundedFile.Read(file, mostBytes);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw Spoilt(file, $"cannot be read: {exception.Message}", exception);
        }
    }

    private static void Write(string file, byte[] content) => Guard(file, _ =>
    {
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        try
        {
            AtomicFile.Write(file, content.Length, stream => stream.Write(content));
        }
        catch (CheckpointException exception) when (exception.InnerException is { } inner)
        {
            throw CannotWrite(file, inner);
        }
    });

    private static void Guard(string path, Action<string> act)
    {
        try
        {
            act(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw CannotWrite(path, exception);
        }
    }

    private static HubException Spoilt(string file, string what, Exception? exception = null) =>
        new(HubFault.Disk, $"'{file}' of the cache {what} Remove it and pull the model again.", exception);

    // EAGAIN of Linux and macOS, and what Windows says of a file that is open elsewhere.
    private static bool IsTaken(IOException exception) =>
        exception.HResult is 11 or 35 or unchecked((int)0x80070020) or unchecked((int)0x80070021);
}
