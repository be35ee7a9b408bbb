using System.Runtime.Intrinsics;

namespace Skylight.Cpu;

/// <summary>
/// The Walsh–Hadamard transform, without a factor: sums and differences of numbers at strides from half of them down to one.
/// It is its own inverse up to the factor <see cref="Size"/>, so products of two transformed vectors are those of the vectors
/// times that; and what is large in one number is spread over all.
/// </summary>
internal static unsafe class WalshHadamard
{
    /// <summary>Numbers that are transformed together: the largest power of two that divides a width.</summary>
    public static int Size(int width) => width & -width;

    /// <summary>Transforms a row in place, part by part of <see cref="Size"/>.</summary>
    /// <param name="row">The row.</param>
    /// <param name="width">A multiple of 4.</param>
    public static void Transform(float* row, int width)
    {
        int size = Size(width);
        for (int part = 0; part < width; part += size)
            TransformPart(row + part, size);
    }

    private static void TransformPart(float* part, int size)
    {
        int lanes = Vector128<float>.Count;
        for (int stride = size / 2; stride >= lanes; stride /= 2)
        {
            for (int first = 0; first < size; first += 2 * stride)
            {
                for (int index = first; index < first + stride; index += lanes)
                {
                    Vector128<float> left = Vector128.Load(part + index), right = Vector128.Load(part + index + stride);
                    (left + right).Store(part + index);
                    (left - right).Store(part + index + stride);
                }
            }
        }

        // Differences as sums with the other sign, which have the same bits.
        Vector128<float> two = Vector128.Create(0f, 0f, -0f, -0f), one = Vector128.Create(0f, -0f, 0f, -0f);
        for (int index = 0; index < size; index += lanes)
        {
            Vector128<float> numbers = Vector128.Load(part + index);
            numbers = Vector128.Shuffle(numbers, Vector128.Create(0, 1, 0, 1))
                + (Vector128.Shuffle(numbers, Vector128.Create(2, 3, 2, 3)) ^ two);
            numbers = Vector128.Shuffle(numbers, Vector128.Create(0, 0, 2, 2))
                + (Vector128.Shuffle(numbers, Vector128.Create(1, 1, 3, 3)) ^ one);
            numbers.Store(part + index);
        }
    }
}
