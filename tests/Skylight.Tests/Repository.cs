namespace Skylight.Tests;

/// <summary>The checkout that the tests run from.</summary>
internal static class Repository
{
    private static readonly string[] NotSources = ["bin", "obj", ".git", ".vs", ".idea", "build", "artifacts",
        "TestResults", "node_modules"];

    /// <summary>The folder that holds Runtime.sln.</summary>
    public static string Root { get; } = Find();

    /// <summary>A path below the root.</summary>
    public static string PathOf(params string[] parts) => Path.Combine([Root, .. parts]);

    /// <summary>A path below the root, as it is written everywhere: with slashes.</summary>
    public static string Relative(string file) => Path.GetRelativePath(Root, file).Replace('\\', '/');

    /// <summary>All files below a folder that belong to the repository and not to a build or a run.</summary>
    public static IEnumerable<string> Files(string folder, string pattern = "*")
    {
        foreach (string file in Directory.EnumerateFiles(folder, pattern))
            yield return file;
        foreach (string child in Directory.EnumerateDirectories(folder))
        {
            string name = Path.GetFileName(child);
            if (NotSources.Contains(name) || name.StartsWith("demo-out", StringComparison.Ordinal))
                continue;
            foreach (string file in Files(child, pattern))
                yield return file;
        }
    }

    private static string Find()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Runtime.sln")))
                return folder.FullName;
        }

        throw new InvalidOperationException(
            $"No Runtime.sln above {AppContext.BaseDirectory}: run the tests from a checkout.");
    }
}
