namespace Skylight.Hub;

/// <summary>A file of a repository.</summary>
/// <param name="Path">Its name in the repository, with slashes.</param>
/// <param name="Length">Its bytes.</param>
public sealed record HubFile(string Path, long Length)
{
    /// <summary>SHA-1 of a small file as git names it; empty where the hub did not say.</summary>
    internal string BlobId { get; init; } = "";

    /// <summary>SHA-256 of a large file; null for a small one.</summary>
    internal string? Sha256 { get; init; }

    /// <summary>
    /// The name of its content in the cache, of 40 or 64 digits; empty until the hub has been asked for it.
    /// </summary>
    internal string Hash => Sha256 ?? BlobId;

    /// <summary>Whether length and hash are known.</summary>
    internal bool IsDescribed => Length >= 0 && Hash.Length > 0;

    /// <summary>
    /// What keeps a name from being written into a folder, as the end of a sentence; null for a name that is harmless.
    /// </summary>
    internal static string? FaultOf(string path)
    {
        const int MostCharacters = 1024, MostPart = 240;
        if (path.Length is 0 or > MostCharacters)
            return $"has {path.Length} characters";
        if (path.Any(char.IsControl))
            return "holds control characters";
        if (path.Contains('\\', StringComparison.Ordinal) || path.Contains(':', StringComparison.Ordinal))
            return "holds '\\' or ':', which are parts of paths on Windows";
        string[] parts = path.Split('/');
        return parts.Any(part => part is "" or "." or ".." || part[^1] is '.' or ' ' || part.Length > MostPart)
            ? "leads out of the folder, or holds a part that cannot be a file's name everywhere" : null;
    }

    /// <summary>Whether a name would be read from outside of the folder that it is written into.</summary>
    internal static bool LeadsOut(string path) =>
        path.Length == 0 || path[0] is '/' or '\\' || (path.Length > 1 && path[1] == ':' && char.IsAsciiLetter(path[0]))
            || path.Split('/', '\\').Contains("..") || path.Contains('\0', StringComparison.Ordinal);
}
