using System.Numerics;
using System.Numerics.Tensors;
using Skylight.Execution;

namespace Skylight.Cpu;

/// <summary>
/// Pages of keys and values in bytes: blocks of 32 positions and 32 numbers of the head's width, in each 32 scales, one for
/// each position, then the codes, [32 steps of a product][32 columns]. Keys have dimensions as steps and positions as columns,
/// values positions as steps and dimensions as columns, so that a block of either is expanded alike. Keys are transformed
/// (<see cref="WalshHadamard"/>) before they are rounded, and queries before they are multiplied: models have keys with a few
/// numbers far beyond the others, which would take all steps of their blocks, and so they are spread over the head.
/// </summary>
/// <remarks>
/// Positions that were not written hold anything. A scale is bfloat16, which has float32's range, and rounded up, so that no
/// code is beyond ±127. It is a multiple of 2⁻¹³³; numbers that are smaller become zero.
/// </remarks>
internal static unsafe class Int8Pages
{
    /// <summary>Numbers that share a scale.</summary>
    public const int BlockSize = KeyValuePages.BlockSize;

    /// <summary>Bytes of a block, its scales included.</summary>
    public const int BlockBytes = ScaleBytes + PageSize * BlockSize;

    private const int PageSize = KeyValuePages.Size, ScaleBytes = PageSize * sizeof(ushort), MostCode = 127;
    private const ushort NotANumber = 0x7FC0;

    /// <summary>Writes some positions, and nothing else of the page.</summary>
    /// <param name="source">[count][D] at a stride.</param>
    /// <param name="stride">Floats from a position to the next.</param>
    /// <param name="offset">The first position's place in the page.</param>
    /// <param name="count">Positions.</param>
    /// <param name="dimension">The width of a head; whole blocks.</param>
    /// <param name="page">The page.</param>
    public static void WriteKeys(float* source, nint stride, int offset, int count, int dimension, byte* page)
    {
        sbyte* codes = stackalloc sbyte[BlockSize];
        float* key = stackalloc float[dimension];
        for (int index = 0; index < count; index++)
        {
            // The factor of the transform, a power of two, beforehand: so nothing overflows.
            TensorPrimitives.Multiply(new ReadOnlySpan<float>(source + index * stride, dimension),
                1f / WalshHadamard.Size(dimension), new Span<float>(key, dimension));
            WalshHadamard.Transform(key, dimension);
            byte* block = page;
            for (int d = 0; d < dimension; d += BlockSize, block += BlockBytes)
            {
                ((ushort*)block)[offset + index] = Round(key + d, codes);
                sbyte* target = (sbyte*)block + ScaleBytes + offset + index;
                for (int step = 0; step < BlockSize; step++)
                    target[step * PageSize] = codes[step];
            }
        }
    }

    /// <inheritdoc cref="WriteKeys"/>
    public static void WriteValues(float* source, nint stride, int offset, int count, int dimension, byte* page)
    {
        for (int index = 0; index < count; index++)
        {
            byte* block = page;
            for (int d = 0; d < dimension; d += BlockSize, block += BlockBytes)
                ((ushort*)block)[offset + index] = Round(source + index * stride + d,
                    (sbyte*)block + ScaleBytes + (offset + index) * BlockSize);
        }
    }

    /// <summary>The scales of a block as float32.</summary>
    public static void WidenScales(byte* block, float* target)
    {
        for (int position = 0; position < PageSize; position += Vector<ushort>.Count)
        {
            Vector.Widen(Vector.Load((ushort*)block + position), out Vector<uint> low, out Vector<uint> high);
            (low << 16).Store((uint*)target + position);
            (high << 16).Store((uint*)target + position + Vector<uint>.Count);
        }
    }

    /// <summary>The codes of a block as float32, [32][32].</summary>
    public static void WidenCodes(byte* block, float* target)
    {
        var codes = (sbyte*)block + ScaleBytes;
        for (int index = 0; index < PageSize * BlockSize; index += Vector<sbyte>.Count, target += Vector<sbyte>.Count)
        {
            Vector.Widen(Vector.Load(codes + index), out Vector<short> low, out Vector<short> high);
            Widen(low, target);
            Widen(high, target + Vector<short>.Count);
        }
    }

    private static void Widen(Vector<short> codes, float* target)
    {
        Vector.Widen(codes, out Vector<int> low, out Vector<int> high);
        Vector.ConvertToSingle(low).Store(target);
        Vector.ConvertToSingle(high).Store(target + Vector<int>.Count);
    }

    /// <summary>
    /// Makes codes of 32 numbers. Where one of them is not finite the scale is NaN, so that whoever reads any of them finds out.
    /// </summary>
    /// <returns>The scale.</returns>
    private static ushort Round(float* source, sbyte* codes)
    {
        var greatest = Vector<uint>.Zero;
        for (int index = 0; index < BlockSize; index += Vector<uint>.Count)
            greatest = Vector.Max(greatest, Vector.Load((uint*)source + index) & new Vector<uint>(0x7FFFFFFF));
        uint magnitude = 0;
        for (int lane = 0; lane < Vector<uint>.Count; lane++)
            magnitude = Math.Max(magnitude, greatest[lane]);
        uint bits = BitConverter.SingleToUInt32Bits(BitConverter.UInt32BitsToSingle(magnitude) / MostCode) + 0xFFFF;
        ushort scale = magnitude >= 0x7F800000 ? NotANumber : (ushort)(bits >> 16);
        if (scale is 0 or NotANumber)
        {
            new Span<sbyte>(codes, BlockSize).Clear();
            return scale;
        }

        var divisor = new Vector<float>(BitConverter.UInt32BitsToSingle((uint)scale << 16));
        int* whole = stackalloc int[BlockSize];
        for (int index = 0; index < BlockSize; index += Vector<float>.Count)
            Vector.ConvertToInt32(Vector.Round(Vector.Load(source + index) / divisor)).Store(whole + index);
        for (int index = 0; index < BlockSize; index++)
            codes[index] = (sbyte)whole[index];
        return scale;
    }
}
