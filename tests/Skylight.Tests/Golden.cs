using System.IO.Compression;

namespace Skylight.Tests;

/// <summary>
/// What <c>tests/golden</c> holds; what is stored compressed is unpacked beside the test program, once, and folders whose
/// tensors are stored elsewhere are put together there.
/// </summary>
internal static class Golden
{
    private static readonly Lock Unpacking = new();

    /// <summary>
    /// A file or folder of <c>tests/golden</c>, by its name without <c>.gz</c>. A folder is returned as it is stored.
    /// </summary>
    public static string PathOf(string name)
    {
        string stored = Repository.PathOf("tests", "golden", name),
            built = Path.Combine(AppContext.BaseDirectory, "golden", name);
        // The four bytes of each number apart, which compresses numbers better.
        string packed = stored + ".gz", planes = stored + ".planes.gz";
        if (File.Exists(packed) || File.Exists(planes))
        {
            bool isPlanes = !File.Exists(packed);
            Build(isPlanes ? planes : packed, built, beside => Unpack(isPlanes ? planes : packed, isPlanes, beside));
            return built;
        }

        if (GoldenFolders.Recipe(name) is { } recipe)
        {
            Build(stored, built, beside => recipe(stored, beside));
            return built;
        }

        return Path.Exists(stored) ? stored : throw new FileNotFoundException($"tests/golden has no {name}.", stored);
    }

    // Written beside and renamed: another test process may be doing the same.
    private static void Build(string source, string target, Action<string> build)
    {
        lock (Unpacking)
        {
            DateTime age = new[] { source, typeof(Golden).Assembly.Location }.Max(File.GetLastWriteTimeUtc);
            if (Path.Exists(target) && File.GetLastWriteTimeUtc(target) >= age)
                return;
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            string beside = $"{target}.{Environment.ProcessId}";
            build(beside);
            if (File.Exists(beside))
            {
                File.Move(beside, target, overwrite: true);
                return;
            }

            if (Directory.Exists(target))
                Directory.Delete(target, recursive: true);
            Directory.Move(beside, target);
        }
    }

    private static void Unpack(string packed, bool isPlanes, string target)
    {
        using var source = new GZipStream(File.OpenRead(packed), CompressionMode.Decompress);
        using FileStream unpacked = File.Create(target);
        if (!isPlanes)
        {
            source.CopyTo(unpacked);
            return;
        }

        using var memory = new MemoryStream();
        source.CopyTo(memory);
        byte[] planes = memory.ToArray(), numbers = new byte[planes.Length];
        int count = planes.Length / 4;
        for (int i = 0; i < numbers.Length; i++)
            numbers[i] = planes[i % 4 * count + i / 4];
        unpacked.Write(numbers);
    }
}
