using System.Buffers;
using System.Buffers.Binary;
using System.Text.Json;

namespace Skylight.Checkpoints;

/// <summary>Writes safetensors files, atomically: the file is there completely or the old one is untouched.</summary>
public static class SafetensorsWriter
{
    /// <summary>
    /// Writes a file. Tensors are asked for their bytes one after the other; nothing is held in memory here.
    /// </summary>
    /// <param name="path">The file to write or replace; its folder must exist.</param>
    /// <param name="tensors">
    /// The tensors, with distinct names. They are written in this order, those with larger elements first, so that
    /// every tensor lies aligned to its element size.
    /// </param>
    /// <param name="metadata">Strings for the header's <c>__metadata__</c>; <c>{"format": "pt"}</c>, which other
    /// readers expect, when null.</param>
    /// <param name="cancellationToken">Stops between two pieces; the temporary file is removed and the old file
    /// stays.</param>
    /// <exception cref="CheckpointException">The file cannot be written: no such folder, no permission, disk
    /// full.</exception>
    /// <exception cref="ArgumentException">Two tensors have one name, or a tensor wrote more or fewer bytes than its
    /// shape takes.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public static void Write(
        string path,
        IReadOnlyList<TensorToWrite> tensors,
        IReadOnlyDictionary<string, string>? metadata = null,
        CancellationToken cancellationToken = default) =>
        Write(path, tensors, metadata, open: null, cancellationToken);

    internal static void Write(
        string path,
        IReadOnlyList<TensorToWrite> tensors,
        IReadOnlyDictionary<string, string>? metadata,
        Func<string, long, Stream>? open,
        CancellationToken cancellationToken)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(tensors);
        TensorToWrite[] ordered = Ordered(tensors);
        byte[] header = Header(ordered, metadata ?? Metadata);
        long length = header.Length + ordered.Sum(tensor => tensor.ByteCount);

        AtomicFile.Write(path, length, stream =>
        {
            stream.Write(header);
            foreach (TensorToWrite tensor in ordered)
            {
                using var bounded = new BoundedStream(stream, tensor, cancellationToken);
                tensor.Write(bounded);
                bounded.CheckComplete();
            }

            cancellationToken.ThrowIfCancellationRequested();
        }, open);
    }

    /// <summary>What other readers expect of a header.</summary>
    internal static IReadOnlyDictionary<string, string> Metadata { get; } =
        new Dictionary<string, string> { ["format"] = "pt" };

    /// <summary>The order in which every tensor lies aligned to its element size.</summary>
    internal static TensorToWrite[] Ordered(IReadOnlyList<TensorToWrite> tensors) =>
        [.. tensors.OrderByDescending(tensor => tensor.Type.Size())];

    internal static byte[] Header(TensorToWrite[] tensors, IReadOnlyDictionary<string, string> metadata)
    {
        var names = new HashSet<string>(StringComparer.Ordinal) { "__metadata__" };
        var buffer = new ArrayBufferWriter<byte>();
        buffer.GetSpan(8)[..8].Clear();
        buffer.Advance(8);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteStartObject("__metadata__");
            foreach ((string key, string value) in metadata)
                json.WriteString(key, value);
            json.WriteEndObject();

            long offset = 0;
            foreach (TensorToWrite tensor in tensors)
            {
                if (!names.Add(tensor.Name))
                    throw new ArgumentException($"Two tensors are named '{tensor.Name}', or the name is reserved.",
                        nameof(tensors));
                json.WriteStartObject(tensor.Name);
                json.WriteString("dtype", tensor.Type.HeaderName());
                json.WriteStartArray("shape");
                foreach (int extent in tensor.Shape.Dimensions)
                    json.WriteNumberValue(extent);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += tensor.ByteCount);
                json.WriteEndArray();
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        // Spaces up to a multiple of 8 keep the data aligned.
        while (buffer.WrittenCount % 8 != 0)
        {
            buffer.GetSpan(1)[0] = (byte)' ';
            buffer.Advance(1);
        }

        byte[] header = buffer.WrittenSpan.ToArray();
        if (header.Length - 8 > SafetensorsHeader.LargestHeader)
            throw new ArgumentException(
                $"The header would take {header.Length - 8} bytes; the format allows {SafetensorsHeader.LargestHeader}.", nameof(tensors));
        BinaryPrimitives.WriteInt64LittleEndian(header, header.Length - 8);
        return header;
    }

    /// <summary>
    /// What a tensor's callback sees: it can write its own bytes, no more and no fewer, and not close the file.
    /// </summary>
    private sealed class BoundedStream(Stream inner, TensorToWrite tensor, CancellationToken cancellationToken) : Stream
    {
        private long _written;

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => _written;

        public override long Position { get => _written; set => throw new NotSupportedException(); }

        public override void Write(ReadOnlySpan<byte> buffer)
        {
            cancellationToken.ThrowIfCancellationRequested();
            _written += buffer.Length;
            if (_written > tensor.ByteCount)
                throw new ArgumentException(
                    $"Tensor '{tensor.Name}' {tensor.Shape} takes {tensor.ByteCount} bytes, but more were written.");
            inner.Write(buffer);
        }

        public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

        public void CheckComplete()
        {
            if (_written != tensor.ByteCount)
                throw new ArgumentException(
                    $"Tensor '{tensor.Name}' {tensor.Shape} takes {tensor.ByteCount} bytes, but only {_written} " +
                    $"were written.");
        }

        public override void Flush()
        {
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
