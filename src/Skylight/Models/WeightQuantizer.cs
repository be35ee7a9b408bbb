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
    /// <summary>Grows with every change of how numbers are rounded: weights kept by another version are not used.</summary>
    public const int Version = 1;

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
        float furthest = Vector256.IsHardwareAccelerated && block.Length == 32 ? FurthestOf32(block) : Furthest(block);
        (float most, int low, int high) = format.Codes == CodeType.Int8 ? (127f, -127, 127) : (-8f, -8, 7);
        float scale = ToHalf(furthest / most);
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
        // As the loop below, thirty-two at a time: both round halves to even.
        for (; index <= block.Length - 32; index += 32)
        {
            ReadOnlySpan<float> from = block.Slice(index, 32);
            Vector256<short> left = Vector256.Narrow(Rounded(from, 0), Rounded(from, 8)),
                right = Vector256.Narrow(Rounded(from, 16), Rounded(from, 24));
            Vector256.Narrow(left, right).CopyTo(codes[index..]);
        }

        for (; index < block.Length; index++)
            codes[index] = (sbyte)Math.Clamp((int)MathF.Round(block[index] * inverse), low, high);
        return scale;

        // No number is far beyond the codes, because the scale is of the one furthest from zero: any conversion will do.
        Vector256<int> Rounded(ReadOnlySpan<float> from, int at) => Vector256.Min(Vector256.Max(
            Vector256.ConvertToInt32Native(Vector256.Round(Vector256.Create(from.Slice(at, 8)) * inverse)),
            Vector256.Create(low)), Vector256.Create(high));
    }

    /// <summary>The number furthest from zero, the positive one of two; not a number if any is none.</summary>
    private static float Furthest(ReadOnlySpan<float> block) => TensorPrimitives.MaxMagnitude(block);

    private static float FurthestOf32(ReadOnlySpan<float> block)
    {
        Vector256<float> a = Vector256.Create(block), b = Vector256.Create(block[8..]), c = Vector256.Create(block[16..]),
            d = Vector256.Create(block[24..]);
        // What is no number is lost among those that are; the sum of all, each times zero, has it still.
        Vector256<float> zeros = (a + b) * 0f + (c + d) * 0f;
        if (!Vector256.EqualsAll(zeros, Vector256<float>.Zero))
            return Furthest(block);
        Vector256<float> highest = Vector256.MaxNative(Vector256.MaxNative(a, b), Vector256.MaxNative(c, d)),
            lowest = Vector256.MinNative(Vector256.MinNative(a, b), Vector256.MinNative(c, d));
        float most = Across(highest.GetLower(), highest.GetUpper(), isLowest: false),
            least = Across(lowest.GetLower(), lowest.GetUpper(), isLowest: true);
        return most >= -least ? most : least;
    }

    private static float Across(Vector128<float> left, Vector128<float> right, bool isLowest)
    {
        Vector128<float> one = Further(left, right);
        one = Further(one, Vector128.Shuffle(one, Vector128.Create(2, 3, 0, 1)));
        return Further(one, Vector128.Shuffle(one, Vector128.Create(1, 0, 3, 2))).ToScalar();

        Vector128<float> Further(Vector128<float> a, Vector128<float> b) =>
            isLowest ? Vector128.MinNative(a, b) : Vector128.MaxNative(a, b);
    }

    /// <summary>Rounds to binary16, quickly where the result is an ordinary number.</summary>
    private static float ToHalf(float value)
    {
        const float Least = 6.103515625e-05f, Most = 65504;
        float magnitude = MathF.Abs(value);
        if (!(magnitude >= Least && magnitude <= Most))
            return (float)(Half)value;
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return BitConverter.UInt32BitsToSingle((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFFu);
    }
}
