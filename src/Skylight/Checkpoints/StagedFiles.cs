using System.Text.Json;
using System.Text.Json.Nodes;

namespace Skylight.Checkpoints;

/// <summary>
/// A folder that is made over hours: in a hidden one beside it, unit by unit, with a note of what is done, so that whoever
/// was stopped goes on. The folder itself appears whole.
/// </summary>
internal sealed class StagedFiles : IDisposable
{
    private const string Note = ".unfinished.json";
    private const long MostBytes = 64 << 20;

    private readonly string _target;
    private readonly JsonObject _note;

    private StagedFiles(string target, string folder, JsonObject note, IReadOnlyList<PlannedFile> files)
    {
        (_target, Folder, _note) = (target, folder, note);
        Files = new PlacedFiles(folder, files);
    }

    /// <summary>Where files lie until all are there.</summary>
    public string Folder { get; }

    /// <summary>The files.</summary>
    public PlacedFiles Files { get; }

    /// <summary>Begins, or goes on.</summary>
    /// <param name="output">The folder to make; must be empty or not exist.</param>
    /// <param name="identity">What the result follows from: who goes on must have the same.</param>
    /// <param name="files">What is in it.</param>
    /// <param name="resume">Whether to go on with what was begun, if there is something.</param>
    /// <param name="freeBytes">The room on the disk of a folder.</param>
    /// <exception cref="CheckpointException">It is there, cannot be made, was begun otherwise, or the disk has too little
    /// room.</exception>
    public static StagedFiles Open(string output, IReadOnlyDictionary<string, string> identity,
        IReadOnlyList<PlannedFile> files, bool resume, Func<string, long> freeBytes)
    {
        string target = Path.TrimEndingDirectorySeparator(Path.GetFullPath(output));
        if (File.Exists(target))
            throw new CheckpointException(output, "is a file; give a folder that is empty or does not exist.");
        if (Directory.Exists(target) && Directory.EnumerateFileSystemEntries(target).Any())
            throw new CheckpointException(output, "is not empty. Give a folder that is empty or does not exist.");
        string folder = Path.Combine(Path.GetDirectoryName(target) ?? target, $".{Path.GetFileName(target)}.unfinished"),
            path = Path.Combine(folder, Note);
        try
        {
            if (Directory.Exists(folder) && File.Exists(path) && !resume)
                throw new CheckpointException(output,
                    $"was begun and not finished ({folder}). Go on with --resume, or remove that folder to begin anew.");
            JsonObject note;
            if (File.Exists(path))
            {
                note = Read(path);
                Compare(path, note, identity);
            }
            else
            {
                if (Directory.Exists(folder))
                    Directory.Delete(folder, recursive: true);
                CheckpointFolder.DemandRoom(output, files.Sum(file => file.Length), freeBytes);
                CheckpointWriter.CreateDirectory(folder);
                note = new JsonObject { ["identity"] = new JsonObject(), ["done"] = new JsonObject() };
                foreach ((string key, string value) in identity)
                    note["identity"]![key] = value;
            }

            var staged = new StagedFiles(target, folder, note, files);
            // Only what is opened, with its room reserved, can be gone on with.
            staged.Save();
            return staged;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(output,
                $"cannot be written: {exception.Message} Free space, or choose another folder.", innerException: exception);
        }
    }

    /// <summary>What was noted of a unit; null where it is not done.</summary>
    public string? Done(string unit) => _note["done"]![unit]?.GetValue<string>();

    /// <summary>Notes that a unit is done, once all that was written is on the disk.</summary>
    /// <param name="unit">Its name.</param>
    /// <param name="text">What is to be known of it later.</param>
    public void Finish(string unit, string text)
    {
        Files.Flush();
        _note["done"]![unit] = text;
        Save();
    }

    /// <summary>Puts the folder in its place.</summary>
    /// <exception cref="CheckpointException">It cannot be moved; it stays where it is.</exception>
    public void Publish()
    {
        Files.Dispose();
        try
        {
            if (Directory.Exists(_target))
                Directory.Delete(_target);
            Directory.Move(Folder, _target);
            File.Delete(Path.Combine(_target, Note));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(_target,
                $"cannot be put in place: {exception.Message} All of it lies in {Folder}; go on with --resume.",
                innerException: exception);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Files.Dispose();

    private void Save()
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
            _note.WriteTo(json);
        byte[] bytes = buffer.ToArray();
        AtomicFile.Write(Path.Combine(Folder, Note), bytes.Length, stream => stream.Write(bytes));
    }

    private static JsonObject Read(string path)
    {
        try
        {
            JsonObject? note = JsonObject.Create(JsonText.ParseElement(BoundedFile.Read(path, MostBytes)));
            if (note?["identity"] is JsonObject && note["done"] is JsonObject done
                && done.All(unit => unit.Value?.GetValueKind() == JsonValueKind.String))
                return note;
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            // The same as a note that says something else.
        }

        throw new CheckpointException(path, "is no note of what was done. Remove its folder and begin anew.");
    }

    private static void Compare(string path, JsonObject note, IReadOnlyDictionary<string, string> identity)
    {
        foreach ((string key, string value) in identity)
        {
            string? found = note["identity"]![key]?.ToString();
            if (found != value)
                throw new CheckpointException(path,
                    $"was begun with other settings: {key} was '{found}' and is '{value}'. Give the same, or remove its " +
                    $"folder to begin anew.");
        }
    }
}
