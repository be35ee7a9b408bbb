using System.Text;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>Writes a model as a checkpoint folder that <see cref="CheckpointReader"/> and other programs read.</summary>
public static class CheckpointWriter
{
    /// <summary>
    /// Writes <c>model.safetensors</c>, then <c>config.json</c>, each atomically. Parameters are asked for one after the other, so that
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
        ArgumentException.ThrowIfNullOrEmpty(directory);
        ArgumentNullException.ThrowIfNull(readParameter);
        if (type is not (StoredType.Float32 or StoredType.BFloat16))
            throw new ArgumentOutOfRangeException(nameof(type), type, "A model is written as Float32 or BFloat16.");

        KeyMap keyMap = KeyMap.For(configuration, naming);
        CreateDirectory(directory);
        var current = new CurrentParameter(keyMap, readParameter);
        TensorToWrite[] tensors = [.. keyMap.Entries.SelectMany(entry => entry.Pieces.Select(piece =>
            new TensorToWrite(piece.TensorName, type, piece.OnDiskShape, stream => WritePiece(stream, type, piece.Of(current.Get(entry))))))];
        SafetensorsWriter.Write(Path.Combine(directory, "model.safetensors"), tensors, cancellationToken: cancellationToken);

        byte[] json = Encoding.UTF8.GetBytes(configuration.ToJson() + "\n");
        AtomicFile.Write(Path.Combine(directory, "config.json"), json.Length, stream => stream.Write(json));
    }

    internal static void CreateDirectory(string directory)
    {
        try
        {
            Directory.CreateDirectory(directory);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new CheckpointException(directory, $"cannot be made: {exception.Message} Choose another folder.", innerException: exception);
        }
    }

    private static void WritePiece(Stream stream, StoredType type, ReadOnlySpan<float> values)
    {
        if (type == StoredType.Float32)
        {
            TensorToWrite.WriteElements(stream, values);
            return;
        }

        BFloat16[] rounded = new BFloat16[Math.Min(values.Length, 1 << 18)];
        for (int done = 0; done < values.Length; done += rounded.Length)
        {
            int count = Math.Min(rounded.Length, values.Length - done);
            for (int i = 0; i < count; i++)
                rounded[i] = (BFloat16)values[done + i];
            TensorToWrite.WriteElements<BFloat16>(stream, rounded.AsSpan(0, count));
        }
    }

    /// <summary>Holds one parameter: its pieces are written one after the other.</summary>
    private sealed class CurrentParameter(KeyMap keyMap, ReadParameter readParameter)
    {
        private readonly float[] _buffer = new float[keyMap.Entries.Max(entry => entry.Shape.ElementCount)];
        private KeyMapEntry? _entry;

        public ReadOnlySpan<float> Get(KeyMapEntry entry)
        {
            Span<float> values = _buffer.AsSpan(0, (int)entry.Shape.ElementCount);
            if (_entry != entry)
            {
                readParameter(entry, values);
                _entry = entry;
            }

            return values;
        }
    }
}

/// <summary>Fills a span with a parameter's elements, row-major.</summary>
/// <param name="entry">Which parameter.</param>
/// <param name="destination">As many elements as its shape has.</param>
public delegate void ReadParameter(KeyMapEntry entry, Span<float> destination);
