using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;
using Tensor = Skylight.Tensors.Tensor;

namespace Skylight.Models;

/// <summary>
/// Rounds weights of products to <see cref="QuantizedFormat.Q8"/> or <see cref="QuantizedFormat.Q4"/>, as llama.cpp makes
/// Q8_0 and Q4_0: of each block of 32 inputs the number furthest from zero becomes ±127 or −8.
/// </summary>
internal static class WeightQuantizer
{
    private const int BlockBytes = 1 << 24;

    /// <summary>Makes the quantised form of a weight, part by part; the weight itself stays.</summary>
    /// <param name="device">Where it lives.</param>
    /// <param name="source">A bound matrix of float32 or bfloat16 in weight storage.</param>
    /// <param name="format">Q8 or Q4.</param>
    /// <returns>The quantised weight, bound.</returns>
    public static PersistentTensor Quantize(Device device, PersistentTensor source, QuantizedFormat format)
    {
        int rows = source.Type.Shape.Rows, columns = source.Type.Shape.Columns, blocks = format.BlocksOf(columns);
        var weight = new PersistentTensor(source.Name, TensorType.Quantized(format, source.Type.Shape));
        device.Bind(weight);
        int part = Math.Max(BlockBytes / checked(columns * sizeof(float)) / Device.RowBlock, 1) * Device.RowBlock;
        for (int first = 0; first < rows; first += part)
        {
            int count = Math.Min(part, rows - first);
            float[] elements = Read(device, device.Part(source.Tensor, first, count)), scales = new float[count * blocks];
            var codes = new sbyte[elements.Length];
            Parallel.For(0, count, row =>
            {
                for (int block = 0; block < blocks; block++)
                {
                    int start = row * columns + block * format.BlockSize,
                        length = Math.Min(format.BlockSize, columns - block * format.BlockSize);
                    scales[row * blocks + block] = Round(elements.AsSpan(start, length), format, codes.AsSpan(start, length));
                }
            });
            device.UploadCodes(device.Part(weight.Tensor, first, count), codes, scales, []);
        }

        return weight;
    }

    /// <summary>Rounds a block and gives its scale, a binary16 number.</summary>
    internal static float Round(ReadOnlySpan<float> block, QuantizedFormat format, Span<sbyte> codes)
    {
        float furthest = TensorPrimitives.MaxMagnitude(block);
        (float most, int low, int high) = format.Codes == CodeType.Int8 ? (127f, -127, 127) : (-8f, -8, 7);
        float scale = (float)(Half)(furthest / most);
        if (!float.IsFinite(scale))
            throw new ArgumentException($"A weight of {furthest} is beyond what a binary16 scale holds.", nameof(block));
        // Zeros, or numbers so small that the scale is none.
        if (scale == 0)
        {
            codes.Clear();
            return 0;
        }

        float inverse = 1 / scale;
        for (int index = 0; index < block.Length; index++)
            codes[index] = (sbyte)Math.Clamp((int)MathF.Round(block[index] * inverse), low, high);
        return scale;
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
        BFloat16.Widen(stored, elements);
        return elements;
    }
}
