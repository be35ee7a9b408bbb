using System.Buffers;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>
/// A quantised weight <c>[outputs, inputs]</c>. Whatever its form, values are made of what
/// <see cref="CheckpointTensor.ReadCodes"/> gives, by <see cref="Dequantizer"/>.
/// </summary>
internal abstract class QuantizedTensor(string name, Shape shape, string file) : CheckpointTensor(name, shape, file)
{
    // Values that are made at one time: codes, scales and values stay within a core's cache.
    private const int ScratchElements = 1 << 18;

    public override bool IsFloatingPoint => true;

    /// <summary>The width of a row.</summary>
    protected int Inputs => Shape.Columns;

    public override void ReadFloat32(long firstElement, Span<float> destination)
    {
        int first = RowOf(firstElement, destination.Length), rows = destination.Length / Math.Max(1, Inputs);
        int step = RowsAtOnce;
        for (int done = 0; done < rows; done += step)
        {
            int count = Math.Min(step, rows - done);
            ReadRows(first + done, count, destination.Slice(done * Inputs, count * Inputs));
        }
    }

    public override void ReadBFloat16(long firstElement, Span<BFloat16> destination)
    {
        int first = RowOf(firstElement, destination.Length), rows = destination.Length / Math.Max(1, Inputs);
        int step = RowsAtOnce;
        float[] values = ArrayPool<float>.Shared.Rent(Math.Min(step, rows) * Inputs);
        try
        {
            for (int done = 0; done < rows; done += step)
            {
                int count = Math.Min(step, rows - done);
                Span<float> part = values.AsSpan(0, count * Inputs);
                ReadRows(first + done, count, part);
                StoredElements.Round(part, destination[(done * Inputs)..]);
            }
        }
        finally
        {
            ArrayPool<float>.Shared.Return(values);
        }
    }

    /// <summary>Makes the values of some rows.</summary>
    protected virtual void ReadRows(int firstRow, int rows, Span<float> destination)
    {
        QuantizedFormat format = Format
            ?? throw new NotSupportedException($"Tensor '{Name}' ({TypeName}) has no format and reads no rows.");
        int blocks = rows * format.BlocksOf(Inputs), minimumCount = format.HasMinimum ? blocks : 0;
        sbyte[] codes = ArrayPool<sbyte>.Shared.Rent(rows * Inputs);
        float[] numbers = ArrayPool<float>.Shared.Rent(blocks + minimumCount);
        try
        {
            Span<float> scales = numbers.AsSpan(0, blocks), minimums = numbers.AsSpan(blocks, minimumCount);
            ReadCodes(firstRow, rows, codes.AsSpan(0, rows * Inputs), scales, minimums);
            Dequantizer.ToFloat32(format, Inputs, codes.AsSpan(0, rows * Inputs), scales, minimums, destination);
        }
        finally
        {
            ArrayPool<sbyte>.Shared.Return(codes);
            ArrayPool<float>.Shared.Return(numbers);
        }
    }

    /// <summary>Refuses a scale or minimum that is no number, which would make a whole block of values no numbers.</summary>
    /// <param name="numbers">Those of the blocks of some rows.</param>
    /// <param name="firstRow">The first row.</param>
    /// <param name="blocksOfRow">Blocks of a row.</param>
    /// <param name="what">What they are.</param>
    /// <param name="tensor">The tensor on disk that holds them.</param>
    protected void DemandFinite(ReadOnlySpan<float> numbers, int firstRow, int blocksOfRow, string what, string tensor)
    {
        for (int i = 0; i < numbers.Length; i++)
        {
            if (!float.IsFinite(numbers[i]))
                throw new CheckpointException(File,
                    FormattableString.Invariant($"its {what} of output {firstRow + i / blocksOfRow}, block {i % blocksOfRow} is {numbers[i]}. The file is damaged, or the quantisation went wrong: get the checkpoint again."),
                    tensor);
        }
    }

    /// <summary>Refuses rows outside of the weight, and spans that are not as long as they must be.</summary>
    protected void CheckSpans(int firstRow, int rows, ReadOnlySpan<sbyte> codes, ReadOnlySpan<float> scales,
        ReadOnlySpan<float> minimums, ReadOnlySpan<float> superScales = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(firstRow);
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(firstRow, Shape.Rows - rows);
        QuantizedFormat format = Format!;
        int blocks = rows * format.BlocksOf(Inputs);
        int supers = superScales.IsEmpty ? 0 : rows * format.SuperScalesOf(Inputs);
        if (codes.Length != rows * Inputs || scales.Length != blocks || minimums.Length != (format.HasMinimum ? blocks : 0)
            || superScales.Length != supers)
            throw new ArgumentException(
                $"{rows} rows of tensor '{Name}' ({TypeName}, {Shape}) have {rows * Inputs} codes, {blocks} scales, " +
                $"{(format.HasMinimum ? blocks : 0)} minimums and {supers} scales of super-blocks; the spans hold " +
                $"{codes.Length}, {scales.Length}, {minimums.Length} and {superScales.Length}.");
    }

    // Forms that pack outputs together are read in whole packs.
    private int RowsAtOnce => Math.Max(64, ScratchElements / Math.Max(1, Inputs) / 64 * 64);

    private int RowOf(long firstElement, int count)
    {
        if (Inputs > 0 && (firstElement % Inputs != 0 || count % Inputs != 0))
            throw new ArgumentException(
                $"Elements {firstElement} to {firstElement + count} of tensor '{Name}' {Shape} are no whole rows; a " +
                $"quantised weight is read in whole rows.");
        ArgumentOutOfRangeException.ThrowIfNegative(firstElement);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(firstElement, Shape.ElementCount - count);
        return Inputs == 0 ? 0 : (int)(firstElement / Inputs);
    }
}
