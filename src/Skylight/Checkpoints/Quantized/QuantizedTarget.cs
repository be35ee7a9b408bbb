using System.Buffers;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Skylight.Tensors;

namespace Skylight.Checkpoints.Quantized;

/// <summary>A tensor of a checkpoint that is to be written.</summary>
/// <param name="Entry">The parameter that it is a part of.</param>
/// <param name="Piece">Which rows.</param>
/// <param name="Format">Of its codes; null where it is plain.</param>
/// <param name="Plain">The type of a plain one's elements.</param>
/// <param name="TypeName">The form, in words.</param>
internal sealed record TargetTensor(KeyMapEntry Entry, KeyMapPiece Piece, QuantizedFormat? Format, StoredType Plain,
    string TypeName);

/// <summary>
/// A checkpoint with quantised weights on its way to disk: which files and tensors it is made of, all known beforehand, and
/// how rows get into them. One weight is written at a time.
/// </summary>
internal abstract class QuantizedTarget
{
    // Values that are read and rounded at one time.
    private const int PartElements = 1 << 22;

    // Rows that lie together in a packed word, and those that a thread takes.
    private const int RowMultiple = 128;

    /// <summary>The files.</summary>
    public abstract IReadOnlyList<PlannedFile> Files { get; }

    /// <summary>The tensors, in the order of the model.</summary>
    public abstract IReadOnlyList<TargetTensor> Tensors { get; }

    /// <summary>The bytes of all files.</summary>
    public long Bytes => Files.Sum(file => file.Length);

    /// <summary>Writes a tensor.</summary>
    /// <param name="files">Where to.</param>
    /// <param name="tensor">Which; all its rows are written.</param>
    /// <param name="source">Named in errors.</param>
    /// <param name="read">Gives the parameter's values.</param>
    /// <param name="cancellationToken">Checked every few megabytes.</param>
    /// <param name="measure">Whether the error is wanted.</param>
    /// <returns>The relative error of the values: √(Σ(v′ − v)² / Σv²); 0 where it is not wanted.</returns>
    /// <exception cref="CheckpointException">A value cannot be stored so.</exception>
    public double Write(PlacedFiles files, TargetTensor tensor, string source, ReadParameterPart read,
        CancellationToken cancellationToken, bool measure = false)
    {
        KeyMapPiece piece = tensor.Piece;
        int width = piece.RowWidth, step = Math.Max(1, PartElements / width / RowMultiple) * RowMultiple;
        step = (int)Math.Min(step, (piece.RowCount + RowMultiple - 1L) / RowMultiple * RowMultiple);
        float[] values = ArrayPool<float>.Shared.Rent(checked(Math.Min(step, piece.RowCount) * width));
        RoundedRows? rounded = tensor.Format is { } format
            ? new RoundedRows(format, width, Math.Min(step, piece.RowCount)) : null;
        double error = 0, norm = 0;
        try
        {
            for (int first = 0; first < piece.RowCount; first += step)
            {
                cancellationToken.ThrowIfCancellationRequested();
                int rows = Math.Min(step, piece.RowCount - first);
                Memory<float> part = values.AsMemory(0, rows * width);
                read(tensor.Entry, (long)(piece.RowOffset + first) * width, part.Span);
                if (rounded is null)
                {
                    float[] stored = WritePlain(files, tensor, source, (long)first * width, part.Span);
                    if (measure)
                        (error, norm) = (error + Square(TensorPrimitives.Distance(part.Span, stored)),
                            norm + Square(TensorPrimitives.Norm(part.Span)));
                    continue;
                }

                rounded.Round(part, source, piece.TensorName);
                WriteRows(files, tensor, first, rounded);
                if (!measure)
                    continue;
                (double ownError, double ownNorm) = rounded.SquaredError(part);
                (error, norm) = (error + ownError, norm + ownNorm);
            }

            if (rounded is not null)
                EndRows(files, tensor);
            return norm > 0 ? Math.Sqrt(error / norm) : 0;
        }
        finally
        {
            ArrayPool<float>.Shared.Return(values);
        }
    }

    /// <summary>Writes rounded rows, or keeps them.</summary>
    protected abstract void WriteRows(PlacedFiles files, TargetTensor tensor, int firstRow, RoundedRows rows);

    /// <summary>Writes what was kept of a tensor's rows.</summary>
    protected virtual void EndRows(PlacedFiles files, TargetTensor tensor)
    {
    }

    private static double Square(double value) => value * value;

    /// <summary>Writes plain elements, and says which values they are then.</summary>
    private static float[] WritePlain(PlacedFiles files, TargetTensor tensor, string source, long firstElement,
        ReadOnlySpan<float> values)
    {
        long offset = firstElement * tensor.Plain.Size();
        var stored = new float[values.Length];
        switch (tensor.Plain)
        {
            case StoredType.Float32:
                values.CopyTo(stored);
                files.Write(tensor.Piece.TensorName, offset, MemoryMarshal.AsBytes(values));
                break;
            case StoredType.BFloat16:
                var rounded = new BFloat16[values.Length];
                StoredElements.Round(values, rounded);
                BFloat16.Widen(rounded, stored);
                files.Write(tensor.Piece.TensorName, offset, MemoryMarshal.AsBytes<BFloat16>(rounded));
                break;
            default:
                var halves = new Half[values.Length];
                TensorPrimitives.ConvertToHalf(values, halves);
                TensorPrimitives.ConvertToSingle(halves, stored);
                if (!float.IsFinite(TensorPrimitives.MaxMagnitude<float>(stored)))
                    throw new CheckpointException(source,
                        "has a value that is not finite, or beyond what binary16 holds (65504). Give another type.",
                        tensor.Piece.TensorName);
                files.Write(tensor.Piece.TensorName, offset, MemoryMarshal.AsBytes<Half>(halves));
                break;
        }

        return stored;
    }
}
