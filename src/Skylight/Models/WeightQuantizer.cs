using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;
using Tensor = Skylight.Tensors.Tensor;

namespace Skylight.Models;

/// <summary>
/// Rounds the weights of products to signed bytes with one scale for each output: q = round(w / s), to even, with s =
/// max |w| / 127 over the output's row. Activations stay as they are.
/// </summary>
internal static class WeightQuantizer
{
    private const int BlockBytes = 1 << 24;

    /// <summary>What is added to a weight's name for its scales.</summary>
    public const string ScaleSuffix = ".scale";

    /// <summary>Makes the int8 form of a weight, block by block; the weight itself stays.</summary>
    /// <param name="device">Where it lives.</param>
    /// <param name="source">A bound matrix of float32 or bfloat16 in weight storage.</param>
    /// <returns>The weight and its scales, bound.</returns>
    public static (PersistentTensor Weight, PersistentTensor Scales) Quantize(Device device, PersistentTensor source)
    {
        int rows = source.Type.Shape.Rows, columns = source.Type.Shape.Columns;
        var weight = new PersistentTensor(source.Name, new TensorType(DataType.Int8, source.Type.Shape, Storage.Weight));
        var scales = new PersistentTensor(source.Name + ScaleSuffix, TensorType.Float32(rows));
        device.Bind(weight);
        device.Bind(scales);
        int block = Math.Max(BlockBytes / checked(columns * sizeof(float)) / Device.RowBlock, 1) * Device.RowBlock;
        var scale = new float[rows];
        for (int first = 0; first < rows; first += block)
        {
            int count = Math.Min(block, rows - first), start = first;
            float[] elements = Read(device, device.Part(source.Tensor, first, count));
            var rounded = new sbyte[elements.Length];
            Parallel.For(0, count,
                row => scale[start + row] = Round(elements.AsSpan(row * columns, columns),
                    rounded.AsSpan(row * columns, columns)));
            device.Upload(MemoryMarshal.AsBytes(rounded.AsSpan()), device.Part(weight.Tensor, first, count));
        }

        device.Upload(MemoryMarshal.AsBytes(scale.AsSpan()), scales.Tensor);
        return (weight, scales);
    }

    private static float Round(ReadOnlySpan<float> row, Span<sbyte> rounded)
    {
        float scale = Math.Abs(TensorPrimitives.MaxMagnitude(row)) / 127;
        // A row of zeros, or one so small that its scale is none: the bytes are zeros.
        float inverse = float.IsNormal(scale) ? 1 / scale : 0;
        for (int column = 0; column < row.Length; column++)
            rounded[column] = (sbyte)Math.Clamp(MathF.Round(row[column] * inverse), -127f, 127f);
        return inverse == 0 ? 0 : scale;
    }

    private static float[] Read(Device device, Tensor part)
    {
        var elements = new float[part.Type.Shape.ElementCount];
        if (part.Type.DataType == DataType.Float32)
        {
            device.Download(part, MemoryMarshal.AsBytes(elements.AsSpan()));
            return elements;
        }

        var stored = new BFloat16[elements.Length];
        device.Download(part, MemoryMarshal.AsBytes(stored.AsSpan()));
        for (int index = 0; index < elements.Length; index++)
            elements[index] = stored[index];
        return elements;
    }
}
