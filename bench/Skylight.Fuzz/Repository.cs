namespace Skylight.Fuzz;

/// <summary>The checkout, whose samples are the first inputs.</summary>
internal static class Repository
{
    /// <summary>A path below the folder that holds Runtime.sln.</summary>
    public static string PathOf(params string[] parts)
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Runtime.sln")))
                return Path.Combine([folder.FullName, .. parts]);
        }

        throw new InvalidOperationException($"No Runtime.sln above {AppContext.BaseDirectory}: run it from a checkout.");
    }
}
