namespace Skylight;

/// <summary>Where things are kept that can be made again: compiled kernels, packed weights.</summary>
public static class CacheFolder
{
    /// <summary>
    /// A folder in that of the environment variable <c>SKYLIGHT_CACHE</c>, else in one for the user
    /// (<c>$XDG_CACHE_HOME/skylight</c>, <c>~/.cache/skylight</c>, on Windows the local application data). It need not exist.
    /// </summary>
    /// <param name="name">What is kept there.</param>
    public static string Of(string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        string? root = Environment.GetEnvironmentVariable("SKYLIGHT_CACHE");
        if (!string.IsNullOrEmpty(root))
            return Path.Combine(root, name);
        if (OperatingSystem.IsWindows())
            root = Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData);
        else if (Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } cache)
            root = cache;
        else
            root = Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache");
        return Path.Combine(root, "skylight", name);
    }
}
