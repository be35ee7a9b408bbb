using System.Globalization;
using System.Text;
using System.Text.Json;
using Skylight.Execution;
using Skylight.Graphs;

namespace Skylight.Checkpoints;

/// <summary>
/// All that a training run needs to go on: named tensors in <c>state.safetensors</c> and a JSON text in
/// <c>state.json</c>, in one folder. The folder appears complete or not at all: it is written as <c>NAME.tmp</c> and
/// renamed; one that it replaces is <c>NAME.old</c> for that moment and deleted after. One process at a time may save
/// below one root.
/// </summary>
public sealed class TrainingCheckpoint : IDisposable
{
    private const string TensorsName = "state.safetensors";
    private const string JsonName = "state.json";
    private const string Unfinished = ".tmp";
    private const string Replaced = ".old";

    // Far more than steps, seeds, counters and what a run reports of itself.
    private const int MostJsonBytes = 256 << 20;

    private static readonly UTF8Encoding _strictUtf8 = new(encoderShouldEmitUTF8Identifier: false,
        throwOnInvalidBytes: true);

    private TrainingCheckpoint(string directory, SafetensorsFile tensors, string stateJson)
    {
        Directory = directory;
        Tensors = tensors;
        StateJson = stateJson;
    }

    /// <summary>The folder that was read.</summary>
    public string Directory { get; }

    /// <summary>The tensors.</summary>
    public SafetensorsFile Tensors { get; }

    /// <summary>The JSON text as it was saved.</summary>
    public string StateJson { get; }

    /// <summary>Saves a checkpoint. Until it is complete on the disk, the one that was in this folder stays.</summary>
    /// <param name="directory">The folder, such as <c>checkpoints/step-000100</c>; its parent is made where it does not
    /// exist.</param>
    /// <param name="tensors">The tensors; asked for their bytes one after the other.</param>
    /// <param name="stateJson">Valid JSON: step, seeds, counters.</param>
    /// <param name="cancellationToken">Stops between two pieces; what was there before stays.</param>
    /// <exception cref="CheckpointException">It cannot be written: no permission, disk full.</exception>
    /// <exception cref="ArgumentException"><paramref name="stateJson"/> is not JSON, the folder's name ends in .tmp or
    /// .old, or a tensor is not what it says.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static void Save(string directory, IReadOnlyList<TensorToWrite> tensors, string stateJson,
        CancellationToken cancellationToken = default) =>
        Save(directory, tensors, stateJson, open: null, cancellationToken);

    /// <summary>The same with the way in which files are opened: a test's way in.</summary>
    internal static void Save(
        string directory, IReadOnlyList<TensorToWrite> tensors, string stateJson, Func<string, long, Stream>? open,
        CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        ArgumentNullException.ThrowIfNull(stateJson);
        string target = Path.TrimEndingDirectorySeparator(Path.GetFullPath(directory));
        if (target.EndsWith(Unfinished, StringComparison.Ordinal) || target.EndsWith(Replaced, StringComparison.Ordinal))
            throw new ArgumentException(
                $"A checkpoint's folder cannot end in {Unfinished} or {Replaced}: '{directory}'.", nameof(directory));
        byte[] json = ToJson(stateJson);

        string unfinished = target + Unfinished;
        try
        {
            FinishReplacement(target);
            DeleteIfThere(unfinished);
            CheckpointWriter.CreateDirectory(unfinished);
            SafetensorsWriter.Write(Path.Combine(unfinished, TensorsName), tensors, metadata: null, open, cancellationToken);
            AtomicFile.Write(Path.Combine(unfinished, JsonName), json.Length, stream => stream.Write(json), open);
            Replace(unfinished, target);
        }
        catch (Exception exception)
        {
            TryDelete(unfinished);
            if (exception is IOException or UnauthorizedAccessException)
                throw new CheckpointException(directory,
                    $"cannot be saved: {exception.Message} Free space or choose another folder; earlier checkpoints " +
                    $"are unchanged.", innerException: exception);
            throw;
        }
    }

    /// <summary>Opens a checkpoint.</summary>
    /// <param name="directory">The folder that was given to
    /// <see cref="Save(string, IReadOnlyList{TensorToWrite}, string, CancellationToken)"/>.</param>
    /// <exception cref="CheckpointException">It is not there, incomplete or corrupt.</exception>
    public static TrainingCheckpoint Load(string directory)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        string folder = Path.TrimEndingDirectorySeparator(directory);
        // A crash between the two renames of a replacement leaves only the old one; it is complete.
        if (!System.IO.Directory.Exists(folder) && System.IO.Directory.Exists(folder + Replaced))
            folder += Replaced;
        if (!System.IO.Directory.Exists(folder))
            throw new CheckpointException(directory, "there is no such checkpoint.");

        string jsonFile = Path.Combine(folder, JsonName);
        SafetensorsFile tensors = SafetensorsFile.Open(Path.Combine(folder, TensorsName));
        try
        {
            byte[] json = BoundedFile.Read(jsonFile, MostJsonBytes);
            JsonText.Parse(json).Dispose();
            return new TrainingCheckpoint(folder, tensors, Encoding.UTF8.GetString(Utf8Text.WithoutMark(json).Span));
        }
        catch (Exception exception)
        {
            tensors.Dispose();
            if (exception is JsonException)
                throw new CheckpointException(jsonFile,
                    $"is not valid JSON: {exception.Message} Resume from an earlier checkpoint.", innerException: exception);
            if (exception is IOException or UnauthorizedAccessException)
                throw new CheckpointException(jsonFile,
                    $"cannot be read: {exception.Message} Resume from an earlier checkpoint.", innerException: exception);
            throw;
        }
    }

    /// <summary>
    /// The latest complete checkpoint directly below a folder, or null. The latest is the one whose name ends in the
    /// largest number (<c>step-100</c> comes after <c>step-20</c>); incomplete and damaged ones are passed over.
    /// </summary>
    /// <returns>A folder for <see cref="Load"/>.</returns>
    /// <exception cref="CheckpointException">The folder cannot be listed.</exception>
    public static string? LatestIn(string root)
    {
        ArgumentException.ThrowIfNullOrEmpty(root);
        if (!System.IO.Directory.Exists(root))
            return null;
        try
        {
            return System.IO.Directory.EnumerateDirectories(root)
                .Where(folder => !folder.EndsWith(Unfinished, StringComparison.Ordinal))
                .Select(folder => folder.EndsWith(Replaced, StringComparison.Ordinal) ? folder[..^Replaced.Length] : folder)
                .Distinct(StringComparer.Ordinal)
                .OrderByDescending(folder => TrailingNumber(Path.GetFileName(folder)))
                .ThenByDescending(folder => Path.GetFileName(folder), StringComparer.Ordinal)
                .FirstOrDefault(IsComplete);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(root, $"cannot be listed: {exception.Message}", innerException: exception);
        }
    }

    /// <summary>Reads a parameter, moment or master by its name, part after part.</summary>
    /// <param name="device">Where its memory is.</param>
    /// <param name="tensor">The tensor.</param>
    /// <exception cref="CheckpointException">There is no such tensor, it holds no floating-point numbers, or it has
    /// another shape.</exception>
    public void ReadInto(Device device, PersistentTensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (Tensors[tensor.Name].Shape != tensor.Type.Shape)
            throw new CheckpointException(Tensors.Path,
                $"has the shape {Tensors[tensor.Name].Shape}, but the run has {tensor.Type.Shape}. Resume with the " +
                $"model the run was started with.", tensor.Name);
        PersistentTensors.WriteParts(device, tensor, (first, part) => Tensors.ReadFloat32(tensor.Name, first, part));
    }

    /// <inheritdoc/>
    public void Dispose() => Tensors.Dispose();

    private static bool IsComplete(string folder)
    {
        try
        {
            using TrainingCheckpoint checkpoint = Load(folder);
            return true;
        }
        catch (CheckpointException)
        {
            return false;
        }
    }

    /// <summary>A full rename of a folder over another does not exist, so the replaced one steps aside first.</summary>
    private static void Replace(string unfinished, string target)
    {
        if (System.IO.Directory.Exists(target))
            System.IO.Directory.Move(target, target + Replaced);
        try
        {
            System.IO.Directory.Move(unfinished, target);
        }
        catch
        {
            FinishReplacement(target);
            throw;
        }

        TryDelete(target + Replaced);
    }

    /// <summary>
    /// After a crash within <see cref="Replace"/>: puts the old one back if the new one never arrived, else clears it
    /// away.
    /// </summary>
    private static void FinishReplacement(string target)
    {
        string replaced = target + Replaced;
        if (!System.IO.Directory.Exists(replaced))
            return;
        if (System.IO.Directory.Exists(target))
            System.IO.Directory.Delete(replaced, recursive: true);
        else
            System.IO.Directory.Move(replaced, target);
    }

    private static void DeleteIfThere(string directory)
    {
        if (System.IO.Directory.Exists(directory))
            System.IO.Directory.Delete(directory, recursive: true);
    }

    private static void TryDelete(string directory)
    {
        try
        {
            DeleteIfThere(directory);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // Left over, but never taken for a checkpoint; the next save to this name clears it.
        }
    }

    private static byte[] ToJson(string stateJson)
    {
        try
        {
            byte[] json = _strictUtf8.GetBytes(stateJson);
            JsonText.Parse(json).Dispose();
            return json;
        }
        catch (Exception exception) when (exception is JsonException or EncoderFallbackException)
        {
            string reason = exception is JsonException ? exception.Message : "it holds half of a surrogate pair.";
            throw new ArgumentException($"The state is not valid JSON: {reason}", nameof(stateJson), exception);
        }
    }

    private static decimal TrailingNumber(string name)
    {
        int start = name.Length;
        while (start > 0 && char.IsAsciiDigit(name[start - 1]) && name.Length - start < 18)
            start--;
        return start == name.Length ? -1
            : decimal.Parse(name.AsSpan(start), NumberStyles.None, CultureInfo.InvariantCulture);
    }
}
