using System.Runtime.InteropServices;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>A tensor of a safetensors file, element by element.</summary>
internal sealed class PlainTensor(SafetensorsFile source, SafetensorsEntry entry)
    : CheckpointTensor(entry.Name, entry.Shape, source.Path)
{
    /// <summary>The file.</summary>
    public SafetensorsFile Source => source;

    /// <summary>Where in it.</summary>
    public SafetensorsEntry Entry => entry;

    public override long StoredBytes => entry.ByteCount;

    public override string TypeName => entry.Type.HeaderName();

    public override bool IsFloatingPoint => entry.Type.IsFloatingPoint();

    public override StoredType? ElementType => entry.Type;

    public override void ReadFloat32(long firstElement, Span<float> destination) =>
        Read(firstElement, destination.Length, DataType.Float32, MemoryMarshal.AsBytes(destination));

    public override void ReadBFloat16(long firstElement, Span<BFloat16> destination) =>
        Read(firstElement, destination.Length, DataType.BFloat16, MemoryMarshal.AsBytes(destination));

    private void Read(long firstElement, int count, DataType type, Span<byte> destination)
    {
        if (!IsFloatingPoint)
            throw new CheckpointException(File, $"holds {TypeName}, which cannot be read as floating-point numbers.", Name);
        ArgumentOutOfRangeException.ThrowIfNegative(firstElement);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(firstElement, entry.ElementCount - count);
        source.ReadElements(entry, firstElement, type, destination);
    }

    internal override bool IsSameAs(CheckpointTensor other)
    {
        if (other is not PlainTensor plain)
            return base.IsSameAs(other);
        bool same = entry.Type == plain.Entry.Type && entry.Shape == plain.Entry.Shape;
        const int Chunk = 1 << 24;
        for (long done = 0; same && done < entry.ByteCount; done += Chunk)
        {
            int count = (int)Math.Min(Chunk, entry.ByteCount - done);
            same = source.Bytes(entry, done, count).SequenceEqual(plain.Source.Bytes(plain.Entry, done, count));
        }

        return same;
    }
}
