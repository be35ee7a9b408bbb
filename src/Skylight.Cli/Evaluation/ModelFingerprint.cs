using System.IO.Hashing;
using System.Text;
using Skylight.Checkpoints;
using Skylight.Hub;

namespace Skylight.Cli.Evaluation;

/// <summary>Tells checkpoints apart without reading all of them.</summary>
internal static class ModelFingerprint
{
    private const int Piece = 1 << 20, MostBytes = 1 << 29;

    /// <summary>
    /// A hash of the configurations, and of the length, beginning, middle and end of each file of weights.
    /// </summary>
    /// <param name="directory">The folder, or a GGUF file.</param>
    /// <param name="vision">The vision encoder of a GGUF file, where it was given.</param>
    public static string Of(string directory, string? vision = null)
    {
        var hash = new XxHash128();
        string[] whole = ["config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json"];
        foreach (string name in whole.Where(name => File.Exists(Path.Combine(directory, name))))
        {
            hash.Append(Encoding.UTF8.GetBytes(name));
            hash.Append(BoundedFile.Read(Path.Combine(directory, name), MostBytes));
        }

        var piece = new byte[Piece];
        foreach (string file in WeightsOf(directory, vision))
        {
            using FileStream stream = BoundedFile.Open(file, FileShare.Read);
            hash.Append(Encoding.UTF8.GetBytes(Path.GetFileName(file)));
            hash.Append(BitConverter.GetBytes(stream.Length));
            foreach (long position in (long[])[0, stream.Length / 2, Math.Max(0, stream.Length - Piece)])
            {
                stream.Position = position;
                int read = stream.ReadAtLeast(piece, Piece, throwOnEndOfStream: false);
                hash.Append(piece.AsSpan(0, read));
            }
        }

        return Convert.ToHexStringLower(hash.GetCurrentHash());
    }

    private static IEnumerable<string> WeightsOf(string directory, string? vision)
    {
        if (!ModelSource.IsGguf(directory))
            return Directory.EnumerateFiles(directory, "*.safetensors").Order(StringComparer.Ordinal);
        using CheckpointReader reader = CheckpointReader.Open(directory, vision);
        return reader.Files;
    }
}
