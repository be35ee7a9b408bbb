namespace Skylight.Hub;

/// <summary>
/// Where models come from and where they are kept. What is not set follows the environment, as Python's huggingface_hub
/// reads it: HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME, HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, XDG_CACHE_HOME,
/// HF_HUB_OFFLINE, HF_HUB_DISABLE_IMPLICIT_TOKEN.
/// </summary>
public sealed record HubOptions
{
    /// <summary>The hub; HF_ENDPOINT, else huggingface.co, if null.</summary>
    public Uri? Endpoint { get; init; }

    /// <summary>
    /// Proves who asks; HF_TOKEN, else the file that <c>hf auth login</c> writes, if null; an empty text sends none. It
    /// is sent to the endpoint only: no redirect to another host, port or scheme takes it along.
    /// </summary>
    public string? Token { get; init; }

    /// <summary>
    /// The folder that models are kept in, shared with Python; HF_HUB_CACHE, else HF_HOME/hub, else
    /// ~/.cache/huggingface/hub, if null.
    /// </summary>
    public string? CacheDirectory { get; init; }

    /// <summary>Whether only the cache is looked at; HF_HUB_OFFLINE if null.</summary>
    public bool? Offline { get; init; }

    /// <summary>How long a server may say nothing before it is asked again.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>The most files that are downloaded at once.</summary>
    public int MaximumDownloads { get; init; } = 4;

    /// <summary>
    /// What speaks HTTP; it stays the caller's. Its handler should not follow redirects itself
    /// (<see cref="HttpClientHandler.AllowAutoRedirect"/>), and its own timeout should be infinite. One that is made
    /// and closed for each use if null.
    /// </summary>
    public HttpClient? HttpClient { get; init; }

    /// <summary>Hears how far a download is, from any thread, one report at a time.</summary>
    public IProgress<HubProgress>? Progress { get; init; }

    /// <summary>Reads an environment variable: a test's way in.</summary>
    internal Func<string, string?> Variable { get; init; } = Environment.GetEnvironmentVariable;

    /// <summary>The room on the disk of a folder: a test's way in.</summary>
    internal Func<string, long> FreeBytes { get; init; } = folder => new DriveInfo(folder).AvailableFreeSpace;

    /// <summary>Waits between two tries: a test's way in.</summary>
    internal Func<TimeSpan, CancellationToken, Task> WaitAsync { get; init; } = Task.Delay;

    /// <summary>Makes a link (path, target): a test's way in.</summary>
    internal Action<string, string> CreateLink { get; init; } = (path, target) => File.CreateSymbolicLink(path, target);
}

/// <summary>How far a download is.</summary>
/// <param name="Repository">Of which repository.</param>
/// <param name="File">The file that this report is of; null for one that waits or begins.</param>
/// <param name="FileBytes">What there is of it.</param>
/// <param name="FileLength">All of it.</param>
/// <param name="Bytes">What there is of all files that were missing, earlier attempts included.</param>
/// <param name="Length">All of them.</param>
/// <param name="BytesPerSecond">How fast bytes have come since the download began.</param>
/// <param name="Note">Something to be told: that a server or another program is waited for; null for nothing.</param>
public sealed record HubProgress(string Repository, string? File, long FileBytes, long FileLength, long Bytes,
    long Length, double BytesPerSecond, string? Note = null)
{
    /// <summary>Whether the file of this report is complete and checked.</summary>
    public bool IsFileComplete { get; init; }
}
