namespace Skylight.Checkpoints.Gguf;

/// <summary>Where a model is that llama.cpp's converter has written.</summary>
/// <param name="Language">The language model's file, or the first of several.</param>
/// <param name="Vision">An <c>mmproj-*.gguf</c>, or the folder of a checkpoint whose encoder and connector are taken.</param>
internal sealed record GgufSource(string Language, string Vision)
{
    public const string Ending = ".gguf";

    // In every name that llama.cpp's converter gives to a vision encoder.
    private const string Marker = "mmproj";

    /// <summary>Whether encoder and connector come from a checkpoint folder.</summary>
    public bool HasBase => Directory.Exists(Vision);

    /// <summary>Whether a path has the name of a GGUF file.</summary>
    public static bool IsFileName(string path) => path.EndsWith(Ending, StringComparison.OrdinalIgnoreCase);

    /// <summary>Whether a folder holds GGUF files, and no weights that would be taken before them.</summary>
    public static bool IsFolder(string directory) => Directory.Exists(directory)
        && !File.Exists(Path.Combine(directory, CheckpointReader.SingleName))
        && !File.Exists(Path.Combine(directory, CheckpointReader.IndexName)) && FilesOf(directory).Length > 0;

    /// <summary>Whether a model is given as GGUF: by a file's name, or by a folder of such files.</summary>
    public static bool IsGguf(string model) => IsFileName(model) && !Directory.Exists(model) || IsFolder(model);

    /// <summary>Finds the files of a model; null where it is no GGUF.</summary>
    /// <param name="model">A file, or a folder that holds one language model.</param>
    /// <param name="vision">The vision encoder's file or folder; where null, the one that lies beside the model.</param>
    /// <exception cref="CheckpointException">There is no such file, or which one is meant is not clear.</exception>
    /// <exception cref="ArgumentException">A vision encoder is given for a model that has one.</exception>
    public static GgufSource? Find(string model, string? vision)
    {
        if (!IsGguf(model))
            return vision is null ? null : throw new ArgumentException(
                $"'{model}' is not GGUF, so that it has an encoder and a connector of its own; '{vision}' is not needed. " +
                $"Leave it out (--mmproj, --base).", nameof(vision));
        string language = IsFolder(model) ? LanguageIn(model) : model;
        if (!File.Exists(language))
            throw new CheckpointException(language,
                $"is missing.{FileFaults.DescribeUnfinished(Path.GetDirectoryName(Path.GetFullPath(language))!)}");
        return new GgufSource(language, vision is null ? VisionBeside(language) : Checked(vision));
    }

    /// <summary>The one language model of a folder.</summary>
    public static string LanguageIn(string directory)
    {
        string[] files = [.. FilesOf(directory).Where(file => !IsVision(file))
            .Select(file => GgufFiles.FirstPart(file) is { } first && File.Exists(first) ? first : file)
            .Distinct(StringComparer.Ordinal)];
        return files.Length == 1 ? files[0] : throw new CheckpointException(directory, files.Length == 0
            ? $"holds no language model, only vision encoders: {Names(FilesOf(directory))}. Put the language model's " +
                $"{Ending} file beside it."
            : $"holds {files.Length} language models: {Names(files)}. Give the file of one of them.");
    }

    private static string VisionBeside(string language)
    {
        string folder = Path.GetDirectoryName(Path.GetFullPath(language))!;
        string[] files = [.. FilesOf(folder).Where(IsVision)];
        return files.Length == 1 ? files[0] : throw new CheckpointException(language, files.Length == 0
            ? $"is a language model alone, and no {Marker}-*{Ending} lies beside it. Give the vision encoder and connector of " +
                $"the same model: such a file (--mmproj FILE), or a folder of safetensors (--base DIR)."
            : $"has {files.Length} vision encoders beside it: {Names(files)}. Give one of them (--mmproj FILE).");
    }

    private static string Checked(string vision) => Directory.Exists(vision) || (File.Exists(vision) && IsFileName(vision))
        ? vision : throw new CheckpointException(vision, File.Exists(vision)
            ? $"is no {Ending} file; give the {Marker}-*{Ending} of the model, or a folder of safetensors."
            : $"there is no such file or folder; give the {Marker}-*{Ending} of the model, or a folder of safetensors.");

    private static bool IsVision(string file) =>
        Path.GetFileName(file).Contains(Marker, StringComparison.OrdinalIgnoreCase);

    // What cannot be listed is for whoever opens what is in it to say.
    private static string[] FilesOf(string directory)
    {
        try
        {
            return [.. Directory.EnumerateFiles(directory).Where(IsFileName).Order(StringComparer.Ordinal)];
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    private static string Names(string[] files)
    {
        const int Most = 8;
        return string.Join(", ", files.Take(Most).Select(file => Path.GetFileName(file)))
            + (files.Length > Most ? $" and {files.Length - Most} more" : "");
    }
}
