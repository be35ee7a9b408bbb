using System.Runtime.InteropServices;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>
/// One tensor on its way to disk. Its bytes are asked for when its turn comes, so that a big model needs no second copy
/// in memory.
/// </summary>
/// <param name="Name">The name on disk.</param>
/// <param name="Type">The element type on disk.</param>
/// <param name="Shape">The extents on disk.</param>
/// <param name="Write">Writes all elements, row-major, little-endian: exactly <see cref="ByteCount"/> bytes, in as many
/// pieces as it likes.</param>
public sealed record TensorToWrite(string Name, StoredType Type, Shape Shape, Action<Stream> Write)
{
    private const int ChunkElements = 1 << 18;

    /// <summary>The bytes of all elements.</summary>
    public long ByteCount => Shape.ElementCount * Type.Size();

    /// <summary>A float32 tensor from memory that stays as it is until written.</summary>
    /// <exception cref="ArgumentException">The values do not fill the shape.</exception>
    public static TensorToWrite Float32(string name, Shape shape, ReadOnlyMemory<float> values) =>
        From(name, StoredType.Float32, shape, values);

    /// <summary>A bfloat16 tensor from memory that stays as it is until written.</summary>
    /// <exception cref="ArgumentException">The values do not fill the shape.</exception>
    public static TensorToWrite BFloat16(string name, Shape shape, ReadOnlyMemory<BFloat16> values) =>
        From(name, StoredType.BFloat16, shape, values);

    /// <summary>An int32 tensor from memory that stays as it is until written.</summary>
    /// <exception cref="ArgumentException">The values do not fill the shape.</exception>
    public static TensorToWrite Int32(string name, Shape shape, ReadOnlyMemory<int> values) =>
        From(name, StoredType.Int32, shape, values);

    /// <summary>A byte tensor from memory that stays as it is until written.</summary>
    /// <exception cref="ArgumentException">The values do not fill the shape.</exception>
    public static TensorToWrite UInt8(string name, Shape shape, ReadOnlyMemory<byte> values) =>
        From(name, StoredType.UInt8, shape, values);

    /// <summary>
    /// A parameter, moment or master as float32 under its own name, read from its device part after part when its turn
    /// comes.
    /// </summary>
    /// <param name="device">Where its memory is.</param>
    /// <param name="tensor">The tensor; it stays as it is until written.</param>
    public static TensorToWrite Float32(Device device, PersistentTensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        return new TensorToWrite(tensor.Name, StoredType.Float32, tensor.Type.Shape,
            stream => PersistentTensors.ReadParts(device, tensor, (_, part) =>
        {
            WriteElements(stream, part);
            return true;
        }));
    }

    /// <summary>A tensor of a device's type, from its bytes in memory that stay as they are until written.</summary>
    /// <exception cref="ArgumentException">The bytes do not fill the type, or the type is not row-major.</exception>
    public static TensorToWrite FromBytes(string name, TensorType type, ReadOnlyMemory<byte> bytes)
    {
        if (type.Storage != Storage.RowMajor)
            throw new ArgumentException(
                $"Tensor '{name}' ({type}) must be downloaded in row-major order before it is written.", nameof(type));
        if (bytes.Length != type.Bytes)
            throw new ArgumentException(
                $"Tensor '{name}' ({type}) takes {type.Bytes} bytes, {bytes.Length} were given.", nameof(bytes));
        return new TensorToWrite(name, type.DataType.ToStored(), type.Shape, stream => stream.Write(bytes.Span));
    }

    private static TensorToWrite From<T>(string name, StoredType type, Shape shape, ReadOnlyMemory<T> values)
        where T : unmanaged
    {
        if (values.Length != shape.ElementCount)
            throw new ArgumentException(
                $"Tensor '{name}' {shape} takes {shape.ElementCount} values, {values.Length} were given.", nameof(values));
        return new TensorToWrite(name, type, shape, stream => WriteElements(stream, values.Span));
    }

    /// <summary>Writes elements in chunks: the bytes of a large array may not fit one span.</summary>
    internal static void WriteElements<T>(Stream stream, ReadOnlySpan<T> values)
        where T : unmanaged
    {
        for (int done = 0; done < values.Length; done += ChunkElements)
            stream.Write(MemoryMarshal.AsBytes(values.Slice(done, Math.Min(ChunkElements, values.Length - done))));
    }
}
