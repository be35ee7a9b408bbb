using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
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
    // What a core's cache holds of one part: rows are widened, rounded and packed one after the other.
    private const int PartBytes = 1 << 21;

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
        int part = Math.Max(PartBytes / checked(columns * sizeof(float)) / Device.RowBlock, 1) * Device.RowBlock;
        int most = checked(Math.Min(part, rows) * columns);
        bool isRounded = source.Type.DataType == DataType.BFloat16;
        // Reused: memory that is new for each part is cleared, and taken from the system, each time.
        float[] elements = GC.AllocateUninitializedArray<float>(most), scales = new float[most / columns * blocks];
        BFloat16[] stored = isRounded ? GC.AllocateUninitializedArray<BFloat16>(most) : [];
        sbyte[] codes = GC.AllocateUninitializedArray<sbyte>(most);
        for (int first = 0; first < rows; first += part)
        {
            int count = Math.Min(part, rows - first), length = count * columns;
            Tensor taken = device.Part(source.Tensor, first, count);
            device.Download(taken, isRounded ? MemoryMarshal.AsBytes(stored.AsSpan(0, length))
                : MemoryMarshal.AsBytes(elements.AsSpan(0, length)));
            Parallel.For(0, count, row =>
            {
                Span<float> values = elements.AsSpan(row * columns, columns);
                if (isRounded)
                    BFloat16.Widen(stored.AsSpan(row * columns, columns), values);
                RoundRow(values, format, codes.AsSpan(row * columns, columns), scales.AsSpan(row * blocks, blocks));
            });
            device.UploadCodes(device.Part(weight.Tensor, first, count), codes.AsSpan(0, length),
                scales.AsSpan(0, count * blocks), []);
        }

        return weight;
    }

    /// <summary>Rounds the blocks of a row.</summary>
    internal static void RoundRow(ReadOnlySpan<float> values, QuantizedFormat format, Span<sbyte> codes, Span<float> scales)
    {
        for (int block = 0; block < scales.Length; block++)
        {
            int start = block * format.BlockSize, size = Math.Min(format.BlockSize, values.Length - start);
            scales[block] = Round(values.Slice(start, size), format, codes.Slice(start, size));
        }
    }

    /// <summary>Rounds a block and gives its scale, a binary16 number.</summary>
    internal static float Round(ReadOnlySpan<float> block, QuantizedFormat format, Span<sbyte> codes)
    {
        float furthest = Furthest(block);
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
        int index = 0;
        // As the loop below, sixteen at a time: both round halves to even.
        for (; index <= block.Length - 16; index += 16)
        {
            ReadOnlySpan<float> from = block.Slice(index, 16);
            Vector128<short> left = Vector128.Narrow(Rounded(from, 0), Rounded(from, 4)),
                right = Vector128.Narrow(Rounded(from, 8), Rounded(from, 12));
            Vector128.Narrow(left, right).CopyTo(codes[index..]);
        }

        for (; index < block.Length; index++)
            codes[index] = (sbyte)Math.Clamp((int)MathF.Round(block[index] * inverse), low, high);
        return scale;

        Vector128<int> Rounded(ReadOnlySpan<float> from, int at) => Vector128.Clamp(
            Vector128.ConvertToInt32(Vector128.Round(Vector128.Create(from.Slice(at, 4)) * inverse)),
            Vector128.Create(low), Vector128.Create(high));
    }

    /// <summary>The number furthest from zero, the positive one of two; not a number if any is none.</summary>
    private static float Furthest(ReadOnlySpan<float> block)
    {
        if (block.Length % 8 != 0 || block.IsEmpty)
            return TensorPrimitives.MaxMagnitude(block);
        Vector256<float> highest = Vector256.Create(block), lowest = highest;
        for (int index = 8; index < block.Length; index += 8)
        {
            Vector256<float> values = Vector256.Create(block[index..]);
            (highest, lowest) = (Vector256.Max(highest, values), Vector256.Min(lowest, values));
        }

        Vector128<float> high = Vector128.Max(highest.GetLower(), highest.GetUpper()),
            low = Vector128.Min(lowest.GetLower(), lowest.GetUpper());
        float most = MathF.Max(MathF.Max(high[0], high[1]), MathF.Max(high[2], high[3])),
            least = MathF.Min(MathF.Min(low[0], low[1]), MathF.Min(low[2], low[3]));
        return most >= -least || float.IsNaN(most) ? most : least;
    }
}
