using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>The one way from codes and scales to values: <c>scale · code (+ minimum)</c>, each rounded to float32.</summary>
internal static class Dequantizer
{
    /// <summary>Makes values of codes.</summary>
    /// <param name="format">What they are.</param>
    /// <param name="inputs">The width of a row.</param>
    /// <param name="codes">Whole rows.</param>
    /// <param name="scales">Of the blocks of each row.</param>
    /// <param name="minimums">As many where the format has them.</param>
    /// <param name="destination">As many as codes.</param>
    public static void ToFloat32(QuantizedFormat format, int inputs, ReadOnlySpan<sbyte> codes, ReadOnlySpan<float> scales,
        ReadOnlySpan<float> minimums, Span<float> destination)
    {
        for (int start = 0, block = 0; start < codes.Length; start += inputs)
        {
            for (int input = 0; input < inputs; input += format.BlockSize, block++)
            {
                int count = Math.Min(format.BlockSize, inputs - input);
                ReadOnlySpan<sbyte> part = codes.Slice(start + input, count);
                Span<float> values = destination.Slice(start + input, count);
                float minimum = format.HasMinimum ? minimums[block] : 0;
                switch (format.Codes)
                {
                    case CodeType.Float8E4M3:
                        Look(part, format.Codes.Values(), 0xFF, scales[block], values);
                        break;
                    case CodeType.NormalFloat4:
                        Look(part, format.Codes.Values(), 0xF, scales[block], values);
                        break;
                    default:
                        Scale(part, scales[block], values);
                        break;
                }

                if (format.HasMinimum)
                    TensorPrimitives.Add(values, minimum, values);
            }
        }
    }

    private static void Look(ReadOnlySpan<sbyte> codes, ReadOnlySpan<float> table, int mask, float scale, Span<float> values)
    {
        for (int i = 0; i < values.Length; i++)
            values[i] = scale * table[codes[i] & mask];
    }

    private static void Scale(ReadOnlySpan<sbyte> codes, float scale, Span<float> values)
    {
        int i = 0;
        var factor = new Vector<float>(scale);
        for (; i <= codes.Length - Vector<sbyte>.Count; i += Vector<sbyte>.Count)
        {
            Vector.Widen(new Vector<sbyte>(codes[i..]), out Vector<short> low, out Vector<short> high);
            Store(low, values[i..]);
            Store(high, values[(i + Vector<short>.Count)..]);
        }

        for (; i < codes.Length; i++)
            values[i] = scale * codes[i];

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        void Store(Vector<short> part, Span<float> target)
        {
            Vector.Widen(part, out Vector<int> low, out Vector<int> high);
            (Vector.ConvertToSingle(low) * factor).CopyTo(target);
            (Vector.ConvertToSingle(high) * factor).CopyTo(target[Vector<float>.Count..]);
        }
    }
}
