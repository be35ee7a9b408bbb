using System.Buffers.Binary;
using System.Text;

namespace Skylight.Checkpoints.Gguf;

/// <summary>
/// Says what a GGUF file (version 3) holds, and where: metadata first, then tensors, each at a multiple of 32 bytes
/// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
/// </summary>
internal sealed class GgufBuilder
{
    private const int Alignment = 32;
    private const uint Version = 3;

    private readonly List<(string Key, GgufValueType Type, byte[] Value)> _values = [];
    private readonly List<(string Name, GgufType Type, int[] Shape, long Bytes)> _tensors = [];

    public GgufBuilder Text(string key, string value) => Add(key, GgufValueType.Text, Spell(Encoding.UTF8.GetBytes(value)));

    public GgufBuilder Integer(string key, int value) => Add(key, GgufValueType.UInt32, BitConverter.GetBytes((uint)value));

    public GgufBuilder Number(string key, double value) =>
        Add(key, GgufValueType.Float32, BitConverter.GetBytes((float)value));

    public GgufBuilder Flag(string key, bool value) => Add(key, GgufValueType.Boolean, [(byte)(value ? 1 : 0)]);

    public GgufBuilder Texts(string key, IReadOnlyList<byte[]> values) =>
        List(key, GgufValueType.Text, values.Count, stream =>
        {
            foreach (byte[] value in values)
                stream.Write(Spell(value));
        });

    public GgufBuilder Integers(string key, IReadOnlyList<int> values) =>
        List(key, GgufValueType.Int32, values.Count, stream =>
        {
            foreach (int value in values)
                stream.Write(BitConverter.GetBytes(value));
        });

    public GgufBuilder Numbers(string key, params double[] values) =>
        List(key, GgufValueType.Float32, values.Length, stream =>
        {
            foreach (double value in values)
                stream.Write(BitConverter.GetBytes((float)value));
        });

    /// <summary>Adds a tensor.</summary>
    /// <param name="name">llama.cpp's name.</param>
    /// <param name="type">Of its elements.</param>
    /// <param name="shape">Its extents, the slowest first; the last one a multiple of the type's block.</param>
    public GgufBuilder Tensor(string name, GgufType type, params ReadOnlySpan<int> shape)
    {
        long elements = 1;
        foreach (int extent in shape)
            elements *= extent;
        if (shape.Length is 0 or > 4 || shape[^1] % type.BlockSize() != 0)
            throw new ArgumentException(
                $"'{name}' [{string.Join(", ", shape.ToArray())}] cannot be {type}: its rows are no blocks of {type.BlockSize()}.",
                nameof(shape));
        _tensors.Add((name, type, shape.ToArray(), elements / type.BlockSize() * type.BlockBytes()));
        return this;
    }

    /// <summary>Lays the file out.</summary>
    public PlannedFile Plan(string fileName)
    {
        using var stream = new MemoryStream();
        using var writer = new BinaryWriter(stream);
        writer.Write("GGUF"u8);
        writer.Write(Version);
        writer.Write((ulong)_tensors.Count);
        writer.Write((ulong)_values.Count);
        foreach ((string key, GgufValueType type, byte[] value) in _values)
        {
            writer.Write(Spell(Encoding.UTF8.GetBytes(key)));
            writer.Write((uint)type);
            writer.Write(value);
        }

        long offset = 0;
        var offsets = new List<long>(_tensors.Count);
        foreach ((string name, GgufType type, int[] shape, long bytes) in _tensors)
        {
            writer.Write(Spell(Encoding.UTF8.GetBytes(name)));
            writer.Write((uint)shape.Length);
            for (int axis = shape.Length - 1; axis >= 0; axis--)
                writer.Write((ulong)shape[axis]);
            writer.Write((uint)type);
            writer.Write((ulong)offset);
            offsets.Add(offset);
            offset = Aligned(offset + bytes);
        }

        long start = Aligned(stream.Length);
        writer.Write(new byte[start - stream.Length]);
        return new PlannedFile(fileName, stream.ToArray(),
            [.. _tensors.Select((tensor, index) => new PlannedTensor(tensor.Name, start + offsets[index], tensor.Bytes))],
            start + offset);
    }

    private static long Aligned(long offset) => (offset + Alignment - 1) / Alignment * Alignment;

    private static byte[] Spell(byte[] text)
    {
        var spelled = new byte[8 + text.Length];
        BinaryPrimitives.WriteInt64LittleEndian(spelled, text.Length);
        text.CopyTo(spelled, 8);
        return spelled;
    }

    private GgufBuilder List(string key, GgufValueType type, int count, Action<Stream> write)
    {
        using var stream = new MemoryStream();
        stream.Write(BitConverter.GetBytes((uint)type));
        stream.Write(BitConverter.GetBytes((long)count));
        write(stream);
        return Add(key, GgufValueType.Array, stream.ToArray());
    }

    private GgufBuilder Add(string key, GgufValueType type, byte[] value)
    {
        _values.Add((key, type, value));
        return this;
    }
}
