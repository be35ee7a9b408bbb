using System.Numerics;
using Skylight.Cpu.Assembly;
using Skylight.Execution;
using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>
/// Pages of keys and values in bfloat16, in the order that <see cref="BFloat16Tile"/> reads: half the bytes of float32, and
/// nothing to do before a product.
/// </summary>
/// <remarks>
/// Keys: [pairs of dimensions][32 positions]. Values: blocks of 32 columns (the last one perhaps narrower), in each
/// [16 pairs of positions][columns]. A pair is 32 bits, the earlier one in the upper half. A head of odd width has a column
/// of zeros more. Positions that were not written hold anything.
/// </remarks>
internal static unsafe class BFloat16Pages
{
    private const int PageSize = KeyValuePages.Size, Pairs = PageSize / 2;
    private const int Chunk = BFloat16Tile.ChunkSteps, ChunkBytes = PageSize * 64, PairBytes = 4 * PageSize;

    /// <summary>Columns of a head.</summary>
    public static int Width(int dimension) => dimension + dimension % 2;

    /// <summary>Bytes of the keys, or of the values, of a page and head.</summary>
    public static nint Bytes(int dimension) => (nint)PageSize * sizeof(ushort) * Width(dimension);

    /// <summary>Packs positions from 0 on into a page; those after them become anything.</summary>
    /// <param name="source">[count][D] at a stride.</param>
    /// <param name="stride">Floats from a position to the next.</param>
    /// <param name="count">At most 32.</param>
    /// <param name="dimension">The width of a head.</param>
    /// <param name="page">Where they go.</param>
    public static void PackKeys(float* source, nint stride, int count, int dimension, byte* page)
    {
        if (!BFloat16Kernels.AreAvailable)
        {
            WriteKeys(source, stride, 0, count, dimension, page);
            return;
        }

        byte* rows = stackalloc byte[ChunkBytes], last = stackalloc byte[ChunkBytes];
        for (int d = 0; d < dimension; d += Chunk)
        {
            int columns = Math.Min(Chunk, dimension - d);
            BFloat16Kernels.PackRows(source + d, rows, stride * sizeof(float), columns / Chunk, columns % Chunk, count);
            byte* target = page + (nint)d * (PairBytes / 2);
            BFloat16Kernels.PackChunkAcross(rows, columns == Chunk ? target : last);
            if (columns < Chunk)
                Copy(last, target, Width(columns) * (PairBytes / 2));
        }
    }

    /// <inheritdoc cref="PackKeys"/>
    public static void PackValues(float* source, nint stride, int count, int dimension, byte* page)
    {
        if (!BFloat16Kernels.AreAvailable)
        {
            WriteValues(source, stride, 0, count, dimension, page);
            return;
        }

        byte* last = stackalloc byte[ChunkBytes];
        for (int d = 0; d < dimension; d += PageSize)
        {
            int columns = Math.Min(PageSize, dimension - d), width = Width(columns);
            byte* target = page + (nint)d * (PairBytes / 2);
            BFloat16Kernels.PackSteps(source + d, width == PageSize ? target : last, stride * sizeof(float), count / 2,
                count % 2, columns);
            for (int pair = 0; width < PageSize && pair < Pairs; pair++)
                Copy(last + pair * PairBytes, target + pair * width * sizeof(uint), width * sizeof(uint));
        }
    }

    /// <summary>Writes some positions, and nothing else of the page.</summary>
    public static void WriteKeys(float* source, nint stride, int offset, int count, int dimension, byte* page)
    {
        uint* rounded = stackalloc uint[PageSize];
        for (int index = 0; index < count; index++)
        {
            for (int d = 0; d < dimension; d += PageSize)
            {
                int columns = Math.Min(PageSize, dimension - d);
                RoundBlock(source + index * stride + d, rounded, columns);
                uint* target = (uint*)page + (nint)d / 2 * PageSize + offset + index;
                for (int column = 0; column < columns; column += 2, target += PageSize)
                    *target = rounded[column] | (rounded[column + 1] >> 16);
            }
        }
    }

    /// <inheritdoc cref="WriteKeys"/>
    public static void WriteValues(float* source, nint stride, int offset, int count, int dimension, byte* page)
    {
        uint* rounded = stackalloc uint[PageSize];
        for (int index = 0; index < count; index++)
        {
            for (int d = 0; d < dimension; d += PageSize)
            {
                int columns = Math.Min(PageSize, dimension - d), width = Width(columns);
                RoundBlock(source + index * stride + d, rounded, columns);
                ushort* target = Value(page, offset + index, d, dimension);
                for (int column = 0; column < width; column++)
                    target[2 * column] = (ushort)(rounded[column] >> 16);
            }
        }
    }

    /// <summary>32 numbers, of which those that do not exist are zero, as bfloat16 in the upper halves.</summary>
    private static void RoundBlock(float* source, uint* target, int columns)
    {
        new Span<uint>(target, PageSize).Clear();
        new ReadOnlySpan<float>(source, columns).CopyTo(new Span<float>(target, PageSize));
        Round((float*)target, PageSize);
    }

    /// <summary>The keys of a page as [D][32].</summary>
    public static void WidenKeys(byte* page, float* target, int dimension)
    {
        for (int d = 0; d < dimension; d++)
        {
            uint* pairs = (uint*)page + (nint)d / 2 * PageSize;
            for (int position = 0; position < PageSize; position++)
            {
                uint bits = d % 2 == 0 ? pairs[position] & 0xFFFF0000 : pairs[position] << 16;
                target[(nint)d * PageSize + position] = BitConverter.UInt32BitsToSingle(bits);
            }
        }
    }

    /// <summary>The values of a page as [32][D].</summary>
    public static void WidenValues(byte* page, float* target, int dimension)
    {
        for (int position = 0; position < PageSize; position++)
        {
            for (int d = 0; d < dimension; d++)
                target[(nint)position * dimension + d] =
                    BitConverter.UInt32BitsToSingle((uint)*Value(page, position, d, dimension) << 16);
        }
    }

    /// <summary>Rounds numbers to bfloat16 in place.</summary>
    public static void Round(float* numbers, int count)
    {
        int index = 0;
        for (; index <= count - Vector<uint>.Count; index += Vector<uint>.Count)
        {
            Vector<uint> bits = Vector.Load((uint*)numbers + index);
            Vector<uint> rounded = bits + new Vector<uint>(0x7FFF) + ((bits >> 16) & Vector<uint>.One);
            Vector<uint> isNumber = Vector.LessThanOrEqual(bits & new Vector<uint>(0x7FFFFFFF), new Vector<uint>(0x7F800000));
            rounded = Vector.ConditionalSelect(isNumber, rounded, bits | new Vector<uint>(0x00400000));
            (rounded & new Vector<uint>(0xFFFF0000)).Store((uint*)numbers + index);
        }

        for (; index < count; index++)
            numbers[index] = (BFloat16)numbers[index];
    }

    private static ushort* Value(byte* page, int position, int d, int dimension)
    {
        int block = d / PageSize * PageSize, width = Math.Min(PageSize, Width(dimension) - block);
        nint pair = (nint)block * Pairs + (nint)(position / 2) * width + (d - block);
        return (ushort*)page + 2 * pair + (position % 2 == 0 ? 1 : 0);
    }

    private static void Copy(byte* source, byte* target, int bytes) =>
        System.Runtime.CompilerServices.Unsafe.CopyBlockUnaligned(target, source, (uint)bytes);
}
