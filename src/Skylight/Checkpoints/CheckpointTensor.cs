using System.Buffers;
using System.Runtime.InteropServices;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>
/// A tensor of a checkpoint as a model sees it, whatever form it is stored in: plain elements, or the codes and scales of
/// a quantised weight, which may be several tensors on disk. Any number of threads may read at once, until the reader
/// that gave it is disposed.
/// </summary>
public abstract class CheckpointTensor
{
    /// <summary>Only this library knows forms.</summary>
    private protected CheckpointTensor(string name, Shape shape, string file)
    {
        Name = name;
        Shape = shape;
        File = file;
    }

    /// <summary>The name in the checkpoint's naming; of a quantised weight that of the weight, such as
    /// <c>….q_proj.weight</c>.</summary>
    public string Name { get; }

    /// <summary>The extents of the values; of a quantised weight <c>[outputs, inputs]</c>.</summary>
    public Shape Shape { get; }

    /// <summary>The file that holds it, or the codes of it.</summary>
    public string File { get; }

    /// <summary>What it takes on disk: of a quantised weight with scales, zeros and the like.</summary>
    public abstract long StoredBytes { get; }

    /// <summary>The form, in words: "BF16", "AWQ 4-bit, group 128".</summary>
    public abstract string TypeName { get; }

    /// <summary>Whether values can be read as floating-point numbers; those of a quantised weight can.</summary>
    public abstract bool IsFloatingPoint { get; }

    /// <summary>The element type of a plain tensor; null for a quantised weight.</summary>
    public virtual StoredType? ElementType => null;

    /// <summary>How a quantised weight's codes are to be understood; null for a plain tensor, and for a form that can
    /// only be read as floats.</summary>
    public virtual QuantizedFormat? Format => null;

    /// <summary>
    /// The inputs of a quantised weight as its codes have them, where its <see cref="Format"/> has an order of its own
    /// (<see cref="QuantizedFormat.HasInputOrder"/>): code i of a row belongs to input <c>InputOrder[i]</c>. Empty where codes
    /// are in the order of the inputs.
    /// </summary>
    public virtual ReadOnlyMemory<int> InputOrder => default;

    /// <summary>Reads consecutive values, rounded to float32 if need be.</summary>
    /// <param name="firstElement">Where to start, row-major; of a quantised weight the beginning of a row.</param>
    /// <param name="destination">Its length says how many are read; of a quantised weight whole rows.</param>
    /// <exception cref="CheckpointException">The file cannot be read, or holds no numbers there.</exception>
    public abstract void ReadFloat32(long firstElement, Span<float> destination);

    /// <summary>Reads consecutive values as bfloat16: the stored bits where it holds bfloat16, else rounded to nearest
    /// even.</summary>
    /// <inheritdoc cref="ReadFloat32"/>
    public abstract void ReadBFloat16(long firstElement, Span<BFloat16> destination);

    /// <summary>
    /// Reads the codes of some rows of a quantised weight that has a <see cref="Format"/>, with the scales (and minimums,
    /// where the format has them) of their blocks.
    /// </summary>
    /// <param name="firstRow">The first output.</param>
    /// <param name="rows">How many outputs.</param>
    /// <param name="codes">Rows × inputs in <see cref="InputOrder"/>, one code a byte (floating-point codes: their bits).</param>
    /// <param name="scales">Rows × blocks of a row.</param>
    /// <param name="minimums">As many; empty where the format has none.</param>
    /// <param name="superScales">Rows × super-blocks of a row × 1 or, with minimums, 2: what scales and minimums are multiples
    /// of. Empty where the format has none, or nobody wants them.</param>
    /// <exception cref="CheckpointException">The file cannot be read, or a scale is not finite.</exception>
    /// <exception cref="NotSupportedException">The tensor has no format.</exception>
    public virtual void ReadCodes(int firstRow, int rows, Span<sbyte> codes, Span<float> scales, Span<float> minimums,
        Span<float> superScales = default) =>
        throw new NotSupportedException($"Tensor '{Name}' ({TypeName}) is not stored as codes.");

    /// <inheritdoc/>
    public override string ToString() => $"{Name}: {TypeName} {Shape}";

    /// <summary>Reads what all parts of the tensor need, before many threads read those.</summary>
    internal virtual void Prepare()
    {
    }

    /// <summary>Reads values into a buffer of a type that we compute with.</summary>
    internal void ReadAs(long firstElement, DataType type, Span<byte> destination)
    {
        if (type == DataType.BFloat16)
            ReadBFloat16(firstElement, MemoryMarshal.Cast<byte, BFloat16>(destination));
        else
            ReadFloat32(firstElement, MemoryMarshal.Cast<byte, float>(destination));
    }

    /// <summary>Whether another tensor has the same shape and, bit for bit, the same values in the same form.</summary>
    internal virtual bool IsSameAs(CheckpointTensor other)
    {
        if (other.TypeName != TypeName || other.Shape != Shape)
            return false;
        long width = Shape.Columns, step = Math.Max(1, (1 << 20) / Math.Max(1, width)) * width;
        float[] left = ArrayPool<float>.Shared.Rent((int)step), right = ArrayPool<float>.Shared.Rent((int)step);
        try
        {
            for (long done = 0; done < Shape.ElementCount; done += step)
            {
                int count = (int)Math.Min(step, Shape.ElementCount - done);
                ReadFloat32(done, left.AsSpan(0, count));
                other.ReadFloat32(done, right.AsSpan(0, count));
                if (!MemoryMarshal.AsBytes(left.AsSpan(0, count)).SequenceEqual(MemoryMarshal.AsBytes(right.AsSpan(0, count))))
                    return false;
            }

            return true;
        }
        finally
        {
            ArrayPool<float>.Shared.Return(left);
            ArrayPool<float>.Shared.Return(right);
        }
    }
}
