using System.Buffers;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>A matrix of numbers seen as codes: its rows are rounded when they are read.</summary>
/// <param name="source">The numbers.</param>
/// <param name="shape">[outputs, inputs], however many axes they have on disk.</param>
/// <param name="format"><see cref="QuantizedFormat.Q8"/> or <see cref="QuantizedFormat.Q4"/>.</param>
internal sealed class RoundedTensor(CheckpointTensor source, Shape shape, QuantizedFormat format)
    : QuantizedTensor(source.Name, shape, source.File)
{
    // Of float32, so that a row is rounded where it was read to.
    private const int PartElements = 1 << 17;

    public override long StoredBytes => source.StoredBytes;

    public override string TypeName => $"{source.TypeName}, rounded to {format.CodeBits} bits";

    public override QuantizedFormat? Format => format;

    public override void ReadCodes(int firstRow, int rows, Span<sbyte> codes, Span<float> scales, Span<float> minimums,
        Span<float> superScales = default)
    {
        CheckSpans(firstRow, rows, codes, scales, minimums, superScales);
        int step = Math.Max(8, PartElements / Math.Max(1, Inputs) / 8 * 8), blocks = format.BlocksOf(Inputs);
        float[] values = ArrayPool<float>.Shared.Rent(Math.Min(step, rows) * Inputs);
        try
        {
            for (int done = 0; done < rows; done += step)
            {
                int count = Math.Min(step, rows - done);
                Span<float> part = values.AsSpan(0, count * Inputs);
                source.ReadFloat32((long)(firstRow + done) * Inputs, part);
                for (int row = 0; row < count; row++)
                    WeightQuantizer.RoundRow(part.Slice(row * Inputs, Inputs), format,
                        codes.Slice((done + row) * Inputs, Inputs), scales.Slice((done + row) * blocks, blocks));
            }
        }
        catch (ArgumentException exception)
        {
            throw new CheckpointException(File, $"cannot be quantised: {exception.Message}", Name);
        }
        finally
        {
            ArrayPool<float>.Shared.Return(values);
        }
    }
}
