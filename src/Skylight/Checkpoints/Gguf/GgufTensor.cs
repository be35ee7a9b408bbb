using System.Buffers;
using System.Runtime.InteropServices;
using Skylight.Tensors;

namespace Skylight.Checkpoints.Gguf;

/// <summary>Tensors of GGUF files as a model sees them.</summary>
internal static class GgufTensor
{
    /// <summary>The tensor of an entry.</summary>
    /// <exception cref="CheckpointException">It is a vector of a quantised type.</exception>
    public static CheckpointTensor Of(GgufFile file, GgufEntry entry)
    {
        if (entry.Type.Plain() is { } plain)
            return new Elements(file, entry, plain);
        return entry.Shape.Rank > 1 ? new Blocks(file, entry) : throw new CheckpointException(file.Path,
            $"is a vector of {entry.Type}; supported: vectors of F32, F16 and BF16. The file was not made by llama.cpp.",
            entry.Name);
    }

    /// <summary>Unquantised elements.</summary>
    private sealed class Elements(GgufFile file, GgufEntry entry, StoredType type)
        : CheckpointTensor(entry.Name, entry.Shape, file.Path)
    {
        public override long StoredBytes => entry.ByteCount;

        public override string TypeName => type.HeaderName();

        public override bool IsFloatingPoint => true;

        public override StoredType? ElementType => type;

        public override void ReadFloat32(long firstElement, Span<float> destination) =>
            file.ReadElements(entry, type, firstElement, DataType.Float32, MemoryMarshal.AsBytes(destination));

        public override void ReadBFloat16(long firstElement, Span<BFloat16> destination) =>
            file.ReadElements(entry, type, firstElement, DataType.BFloat16, MemoryMarshal.AsBytes(destination));
    }

    /// <summary>Blocks of codes with scales.</summary>
    private sealed class Blocks(GgufFile file, GgufEntry entry) : QuantizedTensor(entry.Name, entry.Shape, file.Path)
    {
        // Of the file, read at one time; with its codes it stays within a core's cache.
        private const int PartBytes = 1 << 17;

        public override long StoredBytes => entry.ByteCount;

        public override string TypeName => entry.Type.ToString();

        public override QuantizedFormat? Format { get; } = entry.Type.Format();

        public override void ReadCodes(int firstRow, int rows, Span<sbyte> codes, Span<float> scales, Span<float> minimums,
            Span<float> superScales = default)
        {
            CheckSpans(firstRow, rows, codes, scales, minimums, superScales);
            QuantizedFormat format = Format!;
            int rowBytes = Inputs / entry.Type.BlockSize() * entry.Type.BlockBytes(), blocks = format.BlocksOf(Inputs),
                supers = superScales.IsEmpty ? 0 : format.SuperScalesOf(Inputs);
            int step = Math.Max(1, PartBytes / rowBytes);
            byte[] stored = ArrayPool<byte>.Shared.Rent(Math.Min(step, Math.Max(1, rows)) * rowBytes);
            try
            {
                for (int done = 0; done < rows; done += step)
                {
                    int count = Math.Min(step, rows - done);
                    Span<byte> bytes = stored.AsSpan(0, count * rowBytes);
                    file.Read(entry, (long)(firstRow + done) * rowBytes, bytes);
                    Span<float> scale = scales.Slice(done * blocks, count * blocks),
                        minimum = format.HasMinimum ? minimums.Slice(done * blocks, count * blocks) : [];
                    GgufBlocks.Decode(entry.Type, bytes, codes.Slice(done * Inputs, count * Inputs), scale, minimum,
                        superScales.Slice(done * supers, count * supers));
                    DemandFinite(scale, firstRow + done, blocks, "scale", Name);
                    DemandFinite(minimum, firstRow + done, blocks, "minimum", Name);
                }
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(stored);
            }
        }
    }
}
