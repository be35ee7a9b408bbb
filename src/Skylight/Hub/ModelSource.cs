using System.Globalization;
using Skylight.Checkpoints;
using Skylight.Checkpoints.Gguf;

namespace Skylight.Hub;

/// <summary>A repository's files in the cache.</summary>
/// <param name="Repository">OWNER/NAME.</param>
/// <param name="Revision">The branch, tag or commit that was asked for.</param>
/// <param name="Commit">The commit that it is.</param>
/// <param name="Folder">Where the files are seen.</param>
/// <param name="Files">Those that were asked for; all are there and were checked.</param>
/// <param name="LeftOut">Those of the repository that were not.</param>
/// <param name="ReceivedBytes">What came over the network for it.</param>
public sealed record HubSnapshot(string Repository, string Revision, string Commit, string Folder,
    IReadOnlyList<HubFile> Files, IReadOnlyList<HubFile> LeftOut, long ReceivedBytes);

/// <summary>
/// Where a model is: wherever a checkpoint is named, a folder or a repository of the hub (OWNER/NAME, or
/// OWNER/NAME@REVISION) can be given, or a GGUF file. What is there always wins.
/// </summary>
/// <example>
/// <code>
/// string folder = await ModelSource.FolderAsync("OpenGVLab/InternVL3-1B", ModelParts.Checkpoint);
/// </code>
/// </example>
public static class ModelSource
{
    /// <summary>
    /// Finds a checkpoint's folder. A repository that was pulled before is used as it was then, without a look at the
    /// network; what is missing of it is pulled.
    /// </summary>
    /// <param name="model">A folder, a GGUF file, or OWNER/NAME, or OWNER/NAME@REVISION.</param>
    /// <param name="parts">What of it is needed.</param>
    /// <param name="options">Which hub and cache; as the environment says if null.</param>
    /// <param name="cancellationToken">Stops a download; what has come stays, and is gone on with.</param>
    /// <returns>The folder, or the GGUF file.</returns>
    /// <exception cref="CheckpointException">There is no such folder, and it is no name of a repository.</exception>
    /// <exception cref="HubException">The repository cannot be had.</exception>
    public static async Task<string> FolderAsync(string model, ModelParts parts = ModelParts.Checkpoint,
        HubOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(model);
        if (Directory.Exists(model))
            return model;
        if (File.Exists(model))
            return GgufSource.IsFileName(model) ? model : throw new CheckpointException(model,
                "is a file; give the folder that holds config.json and *.safetensors, a GGUF file (*.gguf), or a " +
                "repository of the hub.");
        if (!RepositoryId.TryParse(model, out RepositoryId? id, out string? revision))
            throw new CheckpointException(model,
                $"there is no such folder (a checkpoint is one with config.json and *.safetensors), and it is no " +
                $"repository of the hub: those are {RepositoryId.Form}.");
        HubSettings settings = HubSettings.Of(options ?? new HubOptions());
        var cache = new HubCache(settings);
        revision ??= RepositoryId.DefaultRevision;
        try
        {
            string? commit = cache.CommitOf(id, revision);
            // GGUF files were chosen by whoever pulled them; a repository has many of one model.
            if (commit is not null && GgufSource.IsFolder(cache.Snapshot(id, commit)))
                return cache.Snapshot(id, commit);
            HubListing? listing = commit is null ? null : ListingOf(cache, id, commit, settings.IsOffline);
            if (listing is { } known && FileSelection.Default($"{id}", known.Files, parts) is var wanted
                && wanted.All(file => file.IsDescribed && cache.Has(id, known.Commit, file)))
                return cache.Snapshot(id, known.Commit);
            if (settings.IsOffline)
                return OfflineFolder(cache, settings, id, revision, commit, listing, parts);
            // A commit that is here in part is completed, rather than replaced by what the branch is today.
            HubSnapshot snapshot = await PullAsync(settings, cache, id, commit ?? revision, revision, listing,
                files => FileSelection.Default($"{id}", files, parts), cancellationToken).ConfigureAwait(false);
            return snapshot.Folder;
        }
        catch (HubException exception) when (exception.Fault == HubFault.NotFound)
        {
            throw new HubException(exception.Fault, $"There is no folder '{model}', and {exception.Message}", exception);
        }
        catch (HubException exception) when (exception.Fault is HubFault.Unreachable or HubFault.Gated or HubFault.Token
            && cache.CommitOf(id, revision) is { } commit && Directory.Exists(cache.Snapshot(id, commit)))
        {
            throw new HubException(exception.Fault,
                $"{exception.Message} Some files of {id} are in the cache, but perhaps not all: HF_HUB_OFFLINE=1 " +
                $"takes them as they are.", exception);
        }
    }

    /// <summary>Brings a repository's files into the cache, as the hub has them now.</summary>
    /// <param name="repository">OWNER/NAME or OWNER/NAME@REVISION.</param>
    /// <param name="revision">A branch, tag or commit; main if null.</param>
    /// <param name="include">Which files: * stands for any characters, ? for one, [abc] for one of some. What a
    /// checkpoint needs if null or empty.</param>
    /// <param name="options">Which hub and cache; as the environment says if null.</param>
    /// <param name="cancellationToken">Stops it; what has come stays, and is gone on with.</param>
    /// <exception cref="HubException">It cannot be had.</exception>
    public static async Task<HubSnapshot> PullAsync(
        string repository, string? revision = null, IReadOnlyList<string>? include = null, HubOptions? options = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(repository);
        if (!RepositoryId.TryParse(repository, out RepositoryId? id, out string? own))
            throw new HubException(HubFault.Setting,
                $"'{repository}' is no repository of the hub: those are {RepositoryId.Form}.");
        if (own is not null && revision is not null && own != revision)
            throw new HubException(HubFault.Setting, $"Two revisions are given, '{own}' and '{revision}'. Give one.");
        revision ??= own ?? RepositoryId.DefaultRevision;
        if (RepositoryId.FaultOfRevision(revision) is { } fault)
            throw new HubException(HubFault.Setting, $"The revision '{revision}' is no branch, tag or commit: {fault}.");
        HubSettings settings = HubSettings.Of(options ?? new HubOptions());
        if (settings.IsOffline)
            throw new HubException(HubFault.Offline,
                $"{id} is not pulled, because the network is switched off (HF_HUB_OFFLINE). Unset it.");
        return await PullAsync(
            settings, new HubCache(settings), id, revision, revision, listing: null,
            files => include is { Count: > 0 } ? FileSelection.Of($"{id}", files, include)
                : FileSelection.Default($"{id}", files, ModelParts.Checkpoint), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Whether a text has the form of a repository's name: OWNER/NAME or OWNER/NAME@REVISION.</summary>
    /// <param name="model">Any text.</param>
    public static bool IsRepository(string model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return RepositoryId.TryParse(model, out _, out _);
    }

    /// <summary>Whether a model is given as GGUF: by a file's name, or by a folder that holds such files and no
    /// safetensors.</summary>
    /// <param name="model">A file, a folder or a repository.</param>
    public static bool IsGguf(string model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return GgufSource.IsGguf(model);
    }

    /// <summary>
    /// What a model is called: a repository's OWNER/NAME, also for its folder in the cache; else the folder's name.
    /// </summary>
    /// <param name="model">A folder or repository.</param>
    public static string NameOf(string model)
    {
        ArgumentException.ThrowIfNullOrEmpty(model);
        if (!Directory.Exists(model) && RepositoryId.TryParse(model, out RepositoryId? id, out _))
            return $"{id}";
        return HubCache.RepositoryOf(model) ?? (GgufSource.IsFileName(model) && !Directory.Exists(model)
            ? Path.GetFileNameWithoutExtension(model)
            : Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(model))));
    }

    private static HubListing? ListingOf(HubCache cache, RepositoryId id, string commit, bool isOffline)
    {
        try
        {
            return cache.ReadListing(id, commit);
        }
        catch (HubException) when (!isOffline)
        {
            // The hub has it.
            cache.DropListing(id, commit);
            return null;
        }
    }

    /// <summary>
    /// What there is without a network. Python before its version 1 keeps no record of a commit's files: what it has
    /// downloaded is taken as it is.
    /// </summary>
    private static string OfflineFolder(HubCache cache, HubSettings settings, RepositoryId id, string revision,
        string? commit, HubListing? listing, ModelParts parts)
    {
        string how = "Unset HF_HUB_OFFLINE, or pull it where there is a network and copy the cache.";
        string name = revision == RepositoryId.DefaultRevision ? $"{id}" : $"{id}@{revision}";
        if (commit is null || !Directory.Exists(cache.Snapshot(id, commit)))
            throw new HubException(HubFault.Offline,
                $"There is no folder '{name}', the cache '{settings.CacheDirectory}' does not have {name}, and the " +
                $"network is switched off (HF_HUB_OFFLINE). {how}");
        if (listing is null)
        {
            return File.Exists(Path.Combine(cache.Snapshot(id, commit), "config.json"))
                ? cache.Snapshot(id, commit)
                : throw new HubException(HubFault.Offline,
                    $"The cache '{settings.CacheDirectory}' has {name}, but without config.json, and the network is " +
                    $"switched off (HF_HUB_OFFLINE). {how}");
        }

        HubFile[] missing = [.. FileSelection.Default($"{id}", listing.Files, parts)
            .Where(file => !cache.Has(id, commit, file))];
        const int Most = 5;
        throw new HubException(
            HubFault.Offline,
            $"The cache '{settings.CacheDirectory}' has {name} only in part, and the network is switched off " +
            $"(HF_HUB_OFFLINE). Missing: " +
            $"{string.Join(", ", missing.Take(Most).Select(file => $"{file.Path} ({ByteText.Of(HubDownload.BytesOf(cache, id, file))} of {ByteText.Of(file.Length)} there)"))}{(missing.Length > Most ? $" and {missing.Length - Most} more" : "")}. {how}");
    }

    private static async Task<HubSnapshot> PullAsync(
        HubSettings settings, HubCache cache, RepositoryId id, string asked, string revision, HubListing? listing,
        Func<IReadOnlyList<HubFile>, List<HubFile>> select, CancellationToken cancellationToken)
    {
        using var client = new HubClient(settings);
        listing ??= await client.ListAsync(id, asked, cancellationToken).ConfigureAwait(false);
        if (RepositoryId.IsCommit(asked) && listing.Commit != asked)
            throw new HubException(HubFault.Untrusted,
                $"{settings.EndpointName} was asked for commit {asked} of {id}, and answers for {listing.Commit}. " +
                $"Pull again.");
        string commit = listing.Commit;
        List<HubFile> files = select(listing.Files);
        var parallel = new ParallelOptions
        {
            MaxDegreeOfParallelism = settings.Options.MaximumDownloads,
            CancellationToken = cancellationToken,
        };
        var described = new HubFile[files.Count];
        await Parallel.ForAsync(0, files.Count, parallel, async (index, token) =>
            described[index] = files[index].IsDescribed ? files[index]
                : await client.DescribeAsync(id, commit, files[index], token).ConfigureAwait(false)).ConfigureAwait(false);
        listing = listing with
        {
            Files = [.. listing.Files.Select(file => Array.Find(described, other => other.Path == file.Path) ?? file)],
        };
        if (listing.Files.All(file => file.IsDescribed))
            cache.WriteListing(id, listing);

        // Small files first: whether they may be had need not wait for gigabytes. Contents that two files share are
        // fetched once.
        HubFile[] missing = [.. described.Where(file => !cache.Has(id, commit, file)).OrderBy(file => file.Length)];
        HubFile[] contents = [.. missing.Where(file => !cache.HasBlob(id, file)).DistinctBy(file => file.Hash)];
        long there = contents.Sum(file => HubDownload.BytesOf(cache, id, file));
        cache.DemandRoom(id, contents.Sum(file => file.Length) - there);
        var meter = new DownloadMeter($"{id}", contents.Sum(file => file.Length), settings.Options.Progress);
        if (contents.Length > 0)
            settings.Options.Progress?.Report(new HubProgress($"{id}", null, 0, 0, 0, contents.Sum(file => file.Length),
                0, BeginningOf(settings, id, revision, contents, there)));
        await Parallel.ForEachAsync(missing, parallel,
            async (file, token) => await new HubDownload(client, cache, settings, meter, id, commit, file)
                .RunAsync(token).ConfigureAwait(false)).ConfigureAwait(false);

        // Last: until all is there, a branch is what it was when it was last whole.
        cache.WriteReference(id, revision, commit);
        return new HubSnapshot($"{id}", revision, commit, cache.Snapshot(id, commit), described,
            [.. listing.Files.Where(file => !Array.Exists(described, other => other.Path == file.Path))], meter.Received);
    }

    private static string BeginningOf(HubSettings settings, RepositoryId id, string revision, HubFile[] contents,
        long there) => string.Create(
        CultureInfo.InvariantCulture,
        $"Pulling {id}{(revision == RepositoryId.DefaultRevision ? "" : $"@{revision}")} from " +
        $"{settings.EndpointName}: {contents.Length} {(contents.Length == 1 ? "file" : "files")}, " +
        $"{ByteText.Of(contents.Sum(file => file.Length))}{(there > 0 ? $", of which {ByteText.Of(there)} are here" : "")}.");
}
