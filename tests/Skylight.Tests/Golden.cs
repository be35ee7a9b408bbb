using System.IO.Compression;

namespace Skylight.Tests;

/// <summary>What <c>tests/golden</c> holds; what is stored compressed is unpacked beside the test program, once.</summary>
internal static class Golden
{
    private static readonly Lock Unpacking = new();

    /// <summary>
    /// A file or folder of <c>tests/golden</c>, by its name without <c>.gz</c>. A folder is returned as it is stored.
    /// </summary>
    public static string PathOf(string name)
    {
        string stored = Repository.PathOf("tests", "golden", name), packed = stored + ".gz";
        if (!File.Exists(packed))
            return Path.Exists(stored) ? stored : throw new FileNotFoundException($"tests/golden has no {name}.", stored);

        string unpacked = Path.Combine(AppContext.BaseDirectory, "golden", name);
        lock (Unpacking)
        {
            if (!File.Exists(unpacked) || File.GetLastWriteTimeUtc(unpacked) < File.GetLastWriteTimeUtc(packed))
                Unpack(packed, unpacked);
        }

        return unpacked;
    }

    // Written beside and renamed: another test process may be doing the same.
    private static void Unpack(string packed, string unpacked)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(unpacked)!);
        string beside = $"{unpacked}.{Environment.ProcessId}";
        using (var source = new GZipStream(File.OpenRead(packed), CompressionMode.Decompress))
        using (FileStream target = File.Create(beside))
            source.CopyTo(target);
        File.Move(beside, unpacked, overwrite: true);
    }
}
