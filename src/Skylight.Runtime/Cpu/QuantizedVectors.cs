using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Skylight.Cpu;

/// <summary>
/// The tile of products with quantised weights on dot products of 256 bits (AVX-VNNI), which processors without AVX-512 have:
/// up to 4 rows of activations in bytes and the 32 outputs of a panel. Integers are exact and what is done with them is what
/// the assembled tile does, so the bits are the same.
/// </summary>
internal static unsafe class QuantizedVectors
{
    /// <summary>The most rows of a tile.</summary>
    public const int MaxRows = 4;

    private const int Width = WeightPanels.Width, Lanes = 8, LaneBytes = 32, HalfOutputs = 16, HalfBytes = 64;

    /// <summary>Whether the processor has the instructions.</summary>
    public static bool AreAvailable => AvxVnni.IsSupported && Fma.IsSupported;

    /// <summary>Adds the products of some blocks of a panel to the sums of a tile's rows.</summary>
    /// <param name="layout">The weight's layout.</param>
    /// <param name="codes">The rows' codes, [block][row][inputs of a block].</param>
    /// <param name="infos">What belongs to them, [block][row].</param>
    /// <param name="weight">Where a group of the panel begins.</param>
    /// <param name="sums">[rows, 32], contiguous.</param>
    /// <param name="blocks">How many blocks.</param>
    /// <param name="rows">How many rows.</param>
    public static void Tile(in QuantizedLayout layout, sbyte* codes, ActivationBlock* infos, byte* weight, float* sums,
        int blocks, int rows)
    {
        float* scales = stackalloc float[Width], added = stackalloc float[Width];
        nint head = 0;
        for (int block = 0; block < blocks; block++, codes += rows * layout.Block, infos += rows)
        {
            BlockPlace place = layout.PlaceOf(weight, block);
            if (place.Head != head || layout.HasMultiples)
                ReadNumbers(layout, place, scales, added);
            head = place.Head;
            for (int part = 0; part < Width / Lanes; part++)
            {
                Vector256<float> scale = Vector256.Load(scales + part * Lanes), offset = Vector256.Load(added + part * Lanes);
                if (rows == MaxRows)
                {
                    FourRows(layout, place, part, codes, infos, scale, offset, sums + part * Lanes);
                    continue;
                }

                for (int row = 0; row < rows; row++)
                    OneRow(layout, place, part, codes + row * layout.Block, infos[row], scale, offset,
                        sums + row * Width + part * Lanes);
            }
        }
    }

    private static void FourRows(in QuantizedLayout layout, in BlockPlace place, int part, sbyte* codes, ActivationBlock* infos,
        Vector256<float> scale, Vector256<float> offset, float* sums)
    {
        Vector256<int> first = Vector256.Create(infos[0].Start), second = Vector256.Create(infos[1].Start),
            third = Vector256.Create(infos[2].Start), fourth = Vector256.Create(infos[3].Start);
        int size = layout.Block;
        for (int quad = 0; quad < size / 4; quad++)
        {
            Vector256<byte> weight = Codes(layout, place, quad, part);
            sbyte* a = codes + quad * 4;
            first = AvxVnni.MultiplyWideningAndAdd(first, weight, Quad(a));
            second = AvxVnni.MultiplyWideningAndAdd(second, weight, Quad(a + size));
            third = AvxVnni.MultiplyWideningAndAdd(third, weight, Quad(a + 2 * size));
            fourth = AvxVnni.MultiplyWideningAndAdd(fourth, weight, Quad(a + 3 * size));
        }

        Add(layout, first, infos[0], scale, offset, sums);
        Add(layout, second, infos[1], scale, offset, sums + Width);
        Add(layout, third, infos[2], scale, offset, sums + 2 * Width);
        Add(layout, fourth, infos[3], scale, offset, sums + 3 * Width);
    }

    private static void OneRow(in QuantizedLayout layout, in BlockPlace place, int part, sbyte* codes, in ActivationBlock info,
        Vector256<float> scale, Vector256<float> offset, float* sums)
    {
        // A row alone waits for its own sum: odd quads have one of their own, which integers allow.
        Vector256<int> even = Vector256.Create(info.Start), odd = Vector256<int>.Zero;
        for (int quad = 0; quad < layout.Block / 4; quad += 2)
        {
            even = AvxVnni.MultiplyWideningAndAdd(even, Codes(layout, place, quad, part), Quad(codes + quad * 4));
            odd = AvxVnni.MultiplyWideningAndAdd(odd, Codes(layout, place, quad + 1, part), Quad(codes + quad * 4 + 4));
        }

        Add(layout, even + odd, info, scale, offset, sums);
    }

    /// <summary>The four inputs of a quad, for every output.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<sbyte> Quad(sbyte* codes) => Vector256.Create(*(int*)codes).AsSByte();

    /// <summary>The unsigned codes of a quad of inputs of eight outputs.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<byte> Codes(in QuantizedLayout layout, in BlockPlace place, int quad, int part)
    {
        int half = part / 2, within = part % 2 * LaneBytes;
        byte* codes = (byte*)place.Codes + quad * layout.QuadBytes + within;
        if (layout.Bits == 8)
            return Vector256.Load(codes + half * HalfBytes);
        Vector256<uint> low = (Vector256.Load((uint*)codes) >>> (half * 4)) & Vector256.Create(0x0F0F0F0Fu);
        if (layout.HighBits == 0)
            return low.AsByte();
        (int at, int shift) = layout.HighOf(2 * quad + half);
        Vector256<uint> high = (Vector256.Load((uint*)(place.Codes + at + within)) >>> shift)
            & Vector256.Create(layout.HighBits == 1 ? 0x01010101u : 0x03030303u);
        return (low | (high << 4)).AsByte();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(in QuantizedLayout layout, Vector256<int> integers, in ActivationBlock info,
        Vector256<float> scale, Vector256<float> offset, float* sums)
    {
        Vector256<float> value = Vector256.ConvertToSingle(integers), sum = Vector256.Load(sums);
        if (layout.Offset == BlockOffset.Zero)
            value = Fma.MultiplyAddNegated(offset, Vector256.Create(info.Sum), value);
        sum = Fma.MultiplyAdd(value, scale * Vector256.Create(info.Scale), sum);
        if (layout.HasMinimum)
            sum = Fma.MultiplyAdd(offset, Vector256.Create(info.ScaledSum), sum);
        sum.Store(sums);
    }

    /// <summary>A block's scales, and its zeros or minimums, if any.</summary>
    private static void ReadNumbers(in QuantizedLayout layout, in BlockPlace place, float* scales, float* added)
    {
        var scale = new Span<float>(scales, Width);
        var offset = new Span<float>(added, Width);
        byte* behind = (byte*)place.Head + layout.ScaleBytes;
        if (layout.HasHalfScales)
            TensorPrimitives.ConvertToSingle(new ReadOnlySpan<Half>((void*)place.Head, Width), scale);
        else
            new ReadOnlySpan<float>((void*)place.Head, Width).CopyTo(scale);
        switch (layout.Offset)
        {
            case BlockOffset.Zero:
                TensorPrimitives.ConvertTruncating(new ReadOnlySpan<byte>(behind, Width), offset);
                break;
            case BlockOffset.HalfMinimum:
                TensorPrimitives.ConvertToSingle(new ReadOnlySpan<Half>(behind, Width), offset);
                break;
            case BlockOffset.Minimum:
                new ReadOnlySpan<float>(behind, Width).CopyTo(offset);
                break;
        }

        if (!layout.HasMultiples)
            return;
        Multiply((sbyte*)place.Multiples, scale);
        if (layout.Offset == BlockOffset.HalfMinimum)
            Multiply((sbyte*)place.Multiples + Width, offset);

        static void Multiply(sbyte* integers, Span<float> units)
        {
            for (int output = 0; output < Width; output++)
                units[output] *= integers[output];
        }
    }
}
