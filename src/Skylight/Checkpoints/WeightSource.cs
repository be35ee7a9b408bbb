using System.Globalization;
using Skylight.Models;

namespace Skylight.Checkpoints;

/// <summary>
/// What names the content of a checkpoint's files without reading gigabytes. A file of the hub's cache is its hash; another
/// one is where it lies, how long it is, when it was written, and a sample of it: its beginning, which has the header, and
/// pieces from all over, because a copy may keep the time of what it was copied from.
/// </summary>
internal static class WeightSource
{
    private const int BeginningBytes = 1 << 20, PieceBytes = 1 << 16, Pieces = 16;

    /// <summary>A line for each file of a checkpoint that weights follow from.</summary>
    /// <exception cref="IOException">One cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">One may not be read.</exception>
    public static IEnumerable<string> Lines(CheckpointReader reader) =>
        reader.Files.Concat(Settings(reader.Directory)).Select(LineOf);

    // What says how stored numbers are to be understood.
    private static IEnumerable<string> Settings(string directory) => ((string[])["config.json", "quantize_config.json"])
        .Select(name => Path.Combine(directory, name)).Where(File.Exists);

    private static string LineOf(string path)
    {
        string target = Path.GetFullPath(File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path);
        using FileStream stream = BoundedFile.Open(target);
        long length = stream.Length;
        return IsBlob(target)
            ? string.Create(CultureInfo.InvariantCulture, $"blob {Path.GetFileName(target)} {length}")
            : string.Create(CultureInfo.InvariantCulture,
                $"file {target} {length} {File.GetLastWriteTimeUtc(target).Ticks} {Sample(stream, length)}");
    }

    /// <summary>
    /// Whether it is a content in the hub's cache, whose name is its hash (git's SHA-1, SHA-256 of large files).
    /// </summary>
    private static bool IsBlob(string path) => Path.GetFileName(Path.GetDirectoryName(path)) == "blobs"
        && Path.GetFileName(path) is { Length: 40 or 64 } name && name.All(char.IsAsciiHexDigitLower);

    private static ContentHash Sample(FileStream stream, long length)
    {
        byte[] bytes = new byte[BeginningBytes + Pieces * PieceBytes];
        int count = Read(0, BeginningBytes, 0);
        for (int piece = 1; piece <= Pieces; piece++)
            count += Read(Math.Max(0, length - PieceBytes) / Pieces * piece, PieceBytes, count);
        return WeightLayout.Hash(bytes.AsSpan(0, count));

        int Read(long from, int most, int to)
        {
            stream.Position = from;
            return stream.ReadAtLeast(bytes.AsSpan(to, most), most, throwOnEndOfStream: false);
        }
    }
}
