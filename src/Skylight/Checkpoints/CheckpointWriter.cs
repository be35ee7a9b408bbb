using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>Writes a model as a checkpoint folder that <see cref="CheckpointReader"/> and other programs read.</summary>
public static class CheckpointWriter
{
    // Elements on their way to disk at one time.
    private const int ChunkElements = 1 << 22;

    /// <summary>
    /// Writes <c>model.safetensors</c> and <c>config.json</c>. Parameters are asked for whole, one after the other, so that
    /// beside the model only its largest parameter is in memory.
    /// </summary>
    /// <param name="directory">The folder; made where it does not exist.</param>
    /// <param name="configuration">The model.</param>
    /// <param name="naming">The names on disk.</param>
    /// <param name="type">Float32, or BFloat16 (rounded to nearest even).</param>
    /// <param name="readParameter">Fills the span with a parameter, row-major.</param>
    /// <param name="cancellationToken">Stops between two tensors; what was there before stays.</param>
    /// <exception cref="CheckpointException">A file cannot be written, or the configuration contradicts itself.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static void Write(
        string directory,
        ModelConfiguration configuration,
        CheckpointNaming naming,
        StoredType type,
        ReadParameter readParameter,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(readParameter);
        var current = new CurrentParameter(readParameter);
        Write(directory, configuration, type, current.Read, new CheckpointWriterOptions { Naming = naming },
            cancellationToken);
    }

    /// <summary>
    /// Writes a checkpoint: safetensors (with an index where there are several), <c>config.json</c>,
    /// <c>generation_config.json</c> where the configuration has such values, and the tokenizer files asked for. A new
    /// folder appears complete or not at all; in one that exists files are replaced by complete ones after all have
    /// been written, the configuration last. Parameters are asked for in parts, in the order of the model.
    /// </summary>
    /// <param name="directory">The folder; made where it does not exist.</param>
    /// <param name="configuration">The model.</param>
    /// <param name="type">Float32, or BFloat16 (rounded to nearest even).</param>
    /// <param name="readParameter">Fills the span with some elements of a parameter.</param>
    /// <param name="options">Naming, sizes of shards, files to copy, progress.</param>
    /// <param name="cancellationToken">Stops within a tensor; what was there before stays.</param>
    /// <exception cref="CheckpointException">A file cannot be written, the disk has too little room, or the
    /// configuration contradicts itself.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static void Write(
        string directory,
        ModelConfiguration configuration,
        StoredType type,
        ReadParameterPart readParameter,
        CheckpointWriterOptions options,
        CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        ArgumentNullException.ThrowIfNull(readParameter);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaximumShardBytes, 1, nameof(options));
        if (type is not (StoredType.Float32 or StoredType.BFloat16))
            throw new ArgumentOutOfRangeException(nameof(type), type, "A model is written as Float32 or BFloat16.");
        if (options.Naming == CheckpointNaming.Gguf)
            throw new ArgumentException("Safetensors are not written in llama.cpp's naming.", nameof(options));

        // What the file said is no longer so.
        if (configuration.WeightType is not null)
            configuration = configuration with { WeightType = type == StoredType.Float32 ? "float32" : "bfloat16" };
        KeyMap keyMap = KeyMap.For(configuration, options.Like is { } like ? CheckpointCompanions.NamingOf(like)
            : options.Naming);
        long total = keyMap.Entries.Sum(entry => entry.Shape.ElementCount) * type.Size(), done = 0;
        CheckpointFolder.DemandRoom(directory, total, options.FreeBytes);
        TensorToWrite[] tensors = [.. keyMap.Entries.SelectMany(entry => entry.Pieces.Select(piece =>
            new TensorToWrite(piece.TensorName, type, piece.OnDiskShape,
                stream => WritePiece(stream, type, entry, piece, readParameter, count =>
                options.Progress?.Report((float)((done += count * type.Size()) / (double)total))))))];
        CheckpointFolder.Replace(directory, staging =>
        {
            // First, because what is wrong with them need not wait for gigabytes.
            if (options.Like is { } model)
                CheckpointCompanions.Copy(model, staging);
            else
                WriteTexts(staging, configuration, options, json => json);
            List<List<TensorToWrite>> shards = Shards(tensors, options.MaximumShardBytes);
            WriteShards(staging, shards, CheckpointFolder.ShardNames(directory, shards.Count), total, options.Open,
                cancellationToken);
            if (options.Like is { } origin)
                WriteText(staging, "config.json", CheckpointCompanions.Configuration(origin, type), options.Open);
        });
    }

    /// <summary>Writes what lies beside the weights of a new configuration.</summary>
    /// <param name="staging">The folder.</param>
    /// <param name="configuration">The model.</param>
    /// <param name="options">Naming, and files to copy or to write.</param>
    /// <param name="change">Makes config.json of what the model says.</param>
    internal static void WriteTexts(string staging, ModelConfiguration configuration, CheckpointWriterOptions options,
        Func<string, string> change)
    {
        if (options.CopyFrom is { } source)
            CheckpointFolder.CopyTextFiles(source, staging);
        foreach ((string name, string text) in options.TextFiles.Where(
            file => !File.Exists(Path.Combine(staging, file.Key))))
            WriteText(staging, name, text, options.Open);
        if (configuration.Generation != GenerationDefaults.None)
            WriteText(staging, GenerationDefaults.FileName, configuration.Generation.ToJson(), options.Open);
        WriteText(staging, "config.json", change(options.Naming == CheckpointNaming.Original
            ? configuration.ToOriginalJson() : configuration.ToJson()), options.Open);
    }

    /// <summary>Tensors in their order, as many to a file as fit.</summary>
    internal static List<List<TensorToWrite>> Shards(IEnumerable<TensorToWrite> tensors, long most)
    {
        List<List<TensorToWrite>> shards = [[]];
        long bytes = 0;
        foreach (TensorToWrite tensor in tensors)
        {
            if (bytes > 0 && bytes + tensor.ByteCount > most)
            {
                shards.Add([]);
                bytes = 0;
            }

            shards[^1].Add(tensor);
            bytes += tensor.ByteCount;
        }

        return shards;
    }

    private static void WriteShards(
        string directory, List<List<TensorToWrite>> shards, Func<int, string> names, long totalBytes,
        Func<string, long, Stream>? open, CancellationToken cancellationToken)
    {
        if (shards.Count == 1)
        {
            SafetensorsWriter.Write(Path.Combine(directory, CheckpointReader.SingleName), shards[0], metadata: null,
                open, cancellationToken);
            return;
        }

        for (int shard = 0; shard < shards.Count; shard++)
            SafetensorsWriter.Write(Path.Combine(directory, names(shard)), shards[shard], metadata: null, open,
                cancellationToken);
        byte[] json = Index(shards.SelectMany((tensors, shard) => tensors.Select(tensor => (tensor.Name, names(shard)))),
            totalBytes);
        AtomicFile.Write(Path.Combine(directory, CheckpointReader.IndexName), json.Length, stream => stream.Write(json),
            open);
    }

    /// <summary>The index of several files.</summary>
    /// <param name="places">The tensors, each with the file that holds it.</param>
    /// <param name="totalBytes">Of all tensors.</param>
    internal static byte[] Index(IEnumerable<(string Tensor, string File)> places, long totalBytes)
    {
        using var buffer = new MemoryStream();
        using (var index = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            index.WriteStartObject();
            index.WriteStartObject("metadata");
            index.WriteNumber("total_size", totalBytes);
            index.WriteEndObject();
            index.WriteStartObject("weight_map");
            foreach ((string tensor, string file) in places)
                index.WriteString(tensor, file);
            index.WriteEndObject();
            index.WriteEndObject();
        }

        return buffer.ToArray();
    }

    internal static void WriteText(string directory, string name, string text, Func<string, long, Stream>? open)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text + "\n");
        AtomicFile.Write(Path.Combine(directory, name), bytes.Length, stream => stream.Write(bytes), open);
    }

    internal static void CreateDirectory(string directory)
    {
        try
        {
            Directory.CreateDirectory(directory);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new CheckpointException(directory, $"cannot be made: {exception.Message} Choose another folder.",
                innerException: exception);
        }
    }

    private static void WritePiece(Stream stream, StoredType type, KeyMapEntry entry, KeyMapPiece piece,
        ReadParameterPart readParameter, Action<int> written)
    {
        long start = (long)piece.RowOffset * piece.RowWidth, end = start + (long)piece.RowCount * piece.RowWidth;
        float[] values = ArrayPool<float>.Shared.Rent((int)Math.Min(end - start, ChunkElements));
        BFloat16[] rounded = type == StoredType.BFloat16 ? ArrayPool<BFloat16>.Shared.Rent(values.Length) : [];
        try
        {
            for (long element = start; element < end; element += ChunkElements)
            {
                Span<float> part = values.AsSpan(0, (int)Math.Min(ChunkElements, end - element));
                readParameter(entry, element, part);
                if (type == StoredType.BFloat16)
                {
                    StoredElements.Round(part, rounded);
                    TensorToWrite.WriteElements<BFloat16>(stream, rounded.AsSpan(0, part.Length));
                }
                else
                {
                    TensorToWrite.WriteElements<float>(stream, part);
                }

                written(part.Length);
            }
        }
        finally
        {
            ArrayPool<float>.Shared.Return(values);
            if (rounded.Length > 0)
                ArrayPool<BFloat16>.Shared.Return(rounded);
        }
    }

    /// <summary>Holds one parameter whole, for who can only give it so: its parts are written one after the other.</summary>
    private sealed class CurrentParameter(ReadParameter readParameter)
    {
        private float[] _values = [];
        private KeyMapEntry? _entry;

        public void Read(KeyMapEntry entry, long firstElement, Span<float> destination)
        {
            if (_entry != entry)
            {
                if (_values.Length < entry.Shape.ElementCount)
                    _values = new float[entry.Shape.ElementCount];
                readParameter(entry, _values.AsSpan(0, (int)entry.Shape.ElementCount));
                _entry = entry;
            }

            _values.AsSpan((int)firstElement, destination.Length).CopyTo(destination);
        }
    }
}

/// <summary>How a checkpoint is written.</summary>
public sealed record CheckpointWriterOptions
{
    /// <summary>The names on disk, and the form of config.json that goes with them.</summary>
    public CheckpointNaming Naming { get; init; } = CheckpointNaming.HuggingFace;

    /// <summary>
    /// The most bytes of tensors in one file; a single tensor may be larger. A model that fits one file has no index.
    /// </summary>
    public long MaximumShardBytes { get; init; } = 5_000_000_000;

    /// <summary>
    /// A folder whose tokenizer, chat template and preprocessor files are copied, or one such file (of another name, it
    /// is a tokenizer.json); null for none.
    /// </summary>
    public string? CopyFrom { get; init; }

    /// <summary>
    /// The checkpoint that the model was loaded from: the new one is written in its naming, with its config.json (but
    /// for the type of the weights) and all that lies beside its weights, the code of its repository included, so that
    /// every program that reads the one reads the other. Null for a new configuration.
    /// </summary>
    public string? Like { get; init; }

    /// <summary>
    /// Files to write beside the weights, by name; one that <see cref="CopyFrom"/> brings goes before that of its name
    /// here.
    /// </summary>
    public IReadOnlyList<KeyValuePair<string, string>> TextFiles { get; init; } = [];

    /// <summary>The fraction of bytes written.</summary>
    public IProgress<float>? Progress { get; init; }

    /// <summary>How files are opened: a test's way in.</summary>
    internal Func<string, long, Stream>? Open { get; init; }

    /// <summary>The room on the disk of a folder: a test's way in.</summary>
    internal Func<string, long> FreeBytes { get; init; } = folder => new DriveInfo(folder).AvailableFreeSpace;
}

/// <summary>Fills a span with a parameter's elements, row-major.</summary>
/// <param name="entry">Which parameter.</param>
/// <param name="destination">As many elements as its shape has.</param>
public delegate void ReadParameter(KeyMapEntry entry, Span<float> destination);

/// <summary>Fills a span with consecutive elements of a parameter, row-major.</summary>
/// <param name="entry">Which parameter.</param>
/// <param name="firstElement">Where to start.</param>
/// <param name="destination">As many elements as are wanted.</param>
public delegate void ReadParameterPart(KeyMapEntry entry, long firstElement, Span<float> destination);
