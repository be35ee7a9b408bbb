using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>The numbers of rows of a quantised weight, row-major.</summary>
/// <param name="Format">What they are.</param>
/// <param name="Inputs">Codes of a row.</param>
/// <param name="Codes">One a byte.</param>
/// <param name="Scales">[rows, blocks of the format].</param>
/// <param name="Minimums">The same; null where there are none.</param>
/// <param name="SuperScales">[rows, super-blocks, 1 or 2]; null where there are none.</param>
internal readonly record struct QuantizedNumbers(QuantizedFormat Format, int Inputs, nint Codes, nint Scales,
    nint Minimums, nint SuperScales);

/// <summary>Puts rows of codes and scales into the panels of a <see cref="QuantizedLayout"/>.</summary>
internal static unsafe class QuantizedPacking
{
    private const int Width = WeightPanels.Width;

    /// <summary>Packs rows, from one that begins a panel on.</summary>
    /// <param name="layout">The format's.</param>
    /// <param name="numbers">The rows.</param>
    /// <param name="rows">How many.</param>
    /// <param name="target">The panel of the first row.</param>
    public static void Pack(QuantizedLayout layout, QuantizedNumbers numbers, int rows, byte* target)
    {
        long panelBytes = layout.PanelBytes(numbers.Inputs);
        CpuParallel.For(WeightPanels.PanelCount(rows), panel => PackPanel(layout, numbers, panel * Width,
            Math.Min(Width, rows - panel * Width), target + panel * panelBytes));
    }

    private static void PackPanel(in QuantizedLayout layout, in QuantizedNumbers numbers, int firstRow, int rows, byte* panel)
    {
        int inputs = numbers.Inputs, blocks = layout.BlocksOf(inputs);
        // Bits are put together only where codes are packed in several goes.
        if (rows < Width || inputs % layout.Block != 0 || layout.HighBits > 0)
            new Span<byte>(panel, checked((int)layout.PanelBytes(inputs))).Clear();
        for (int block = 0; block < blocks; block++)
        {
            BlockPlace place = layout.PlaceOf(panel, block);
            int first = block * layout.Block, count = Math.Min(layout.Block, inputs - first);
            if (block % layout.GroupBlocks == 0)
                PackHead(layout, numbers, firstRow, rows, first, (byte*)place.Head);
            if (layout.HasMultiples)
                PackMultiples(layout, numbers, firstRow, rows, first, place);
            sbyte* from = (sbyte*)numbers.Codes + (long)firstRow * inputs + first;
            if (Sse2.IsSupported && rows == Width && count == layout.Block)
                PackCodes(layout, from, inputs, (byte*)place.Codes);
            else
                PackCodesOneByOne(layout, from, inputs, rows, count, (byte*)place.Codes);
        }
    }

    private static void PackHead(in QuantizedLayout layout, in QuantizedNumbers numbers, int firstRow, int rows, int first,
        byte* head)
    {
        QuantizedFormat format = numbers.Format;
        float* scales = stackalloc float[Width], offsets = stackalloc float[Width];
        int blocks = format.BlocksOf(numbers.Inputs), supers = format.SuperScalesOf(numbers.Inputs);
        for (int output = 0; output < Width; output++)
        {
            (scales[output], offsets[output]) = (0, 0);
            if (output >= rows)
                continue;
            long row = firstRow + output, place = row * blocks + first / format.BlockSize;
            if (layout.HasMultiples)
            {
                float* super = (float*)numbers.SuperScales
                    + row * supers + first / format.SuperBlockSize * (format.HasMinimum ? 2 : 1);
                scales[output] = super[0];
                if (format.HasMinimum)
                    offsets[output] = super[1];
                continue;
            }

            scales[output] = ((float*)numbers.Scales)[place];
            if (layout.HasMinimum)
                offsets[output] = ((float*)numbers.Minimums)[place];
            else if (layout.Offset == BlockOffset.Zero && scales[output] != 0)
                offsets[output] = Math.Clamp(MathF.Round(-((float*)numbers.Minimums)[place] / scales[output]), 0, 255);
        }

        if (layout.HasHalfScales)
            ToHalf(scales, (Half*)head);
        else
            new Span<float>(scales, Width).CopyTo(new Span<float>(head, Width));
        head += layout.ScaleBytes;
        if (layout.Offset == BlockOffset.HalfMinimum)
            ToHalf(offsets, (Half*)head);
        else if (layout.Offset == BlockOffset.Minimum)
            new Span<float>(offsets, Width).CopyTo(new Span<float>(head, Width));
        else if (layout.Offset == BlockOffset.Zero)
            for (int output = 0; output < Width; output++)
                head[output] = (byte)offsets[output];

        static void ToHalf(float* from, Half* to) =>
            TensorPrimitives.ConvertToHalf(new ReadOnlySpan<float>(from, Width), new Span<Half>(to, Width));
    }

    /// <summary>A scale is its super-block's times an integer, exactly: so dividing gives the integer back.</summary>
    private static void PackMultiples(in QuantizedLayout layout, in QuantizedNumbers numbers, int firstRow, int rows, int first,
        in BlockPlace place)
    {
        QuantizedFormat format = numbers.Format;
        int blocks = format.BlocksOf(numbers.Inputs), supers = format.SuperScalesOf(numbers.Inputs);
        sbyte* target = (sbyte*)place.Multiples;
        for (int output = 0; output < rows; output++)
        {
            long row = firstRow + output, at = row * blocks + first / format.BlockSize;
            float* super = (float*)numbers.SuperScales
                + row * supers + first / format.SuperBlockSize * (format.HasMinimum ? 2 : 1);
            target[output] = Multiple(((float*)numbers.Scales)[at], super[0]);
            if (layout.HasMinimum)
                target[Width + output] = Multiple(((float*)numbers.Minimums)[at], super[1]);
        }

        static sbyte Multiple(float number, float unit) => unit == 0 ? (sbyte)0 : (sbyte)(number / unit);
    }

    /// <summary>
    /// A block of 32 whole rows. Quads are numbers of 32 bits, so each 4 outputs × 4 quads are turned over; to add a bias is to
    /// change the highest bit of a code.
    /// </summary>
    private static void PackCodes(in QuantizedLayout layout, sbyte* from, nint stride, byte* target)
    {
        Vector128<byte> bias = Vector128.Create((byte)layout.Bias), nibble = Vector128.Create((byte)15),
            mask = Vector128.Create((byte)((1 << layout.Bits) - 1));
        Vector128<byte>* low = stackalloc Vector128<byte>[4], high = stackalloc Vector128<byte>[4];
        for (int firstQuad = 0; firstQuad < layout.Block / 4; firstQuad += 4)
        {
            for (int output = 0; output < 16; output += 4)
            {
                sbyte* lower = from + output * stride + firstQuad * 4;
                Transpose(lower, stride, low);
                Transpose(lower + 16 * stride, stride, high);
                for (int index = 0; index < 4; index++)
                {
                    int quad = firstQuad + index;
                    byte* to = target + quad * layout.QuadBytes + output * 4;
                    Vector128<byte> first = (low[index] ^ bias) & mask, second = (high[index] ^ bias) & mask;
                    if (layout.Bits == 8)
                    {
                        first.Store(to);
                        second.Store(to + 64);
                        continue;
                    }

                    ((first & nibble) | ((second & nibble).AsUInt16() << 4).AsByte()).Store(to);
                    if (layout.HighBits == 0)
                        continue;
                    (int at, int shift) = layout.HighOf(2 * quad);
                    // The bits of both halves of a quad lie in the same vector.
                    byte* rest = target + at + output * 4;
                    Vector128<ushort> bits = Above(first) << shift | Above(second) << (shift + layout.HighBits);
                    (Vector128.Load(rest) | bits.AsByte()).Store(rest);
                }
            }
        }

        // Bytes of at most six bits: what crosses into a neighbour is masked off.
        static Vector128<ushort> Above(Vector128<byte> codes) => (codes.AsUInt16() >>> 4) & Vector128.Create((ushort)0x0303);
    }

    /// <summary>result[q] has the quad q of four rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose(sbyte* source, nint stride, Vector128<byte>* result)
    {
        Vector128<uint> r0 = Vector128.Load(source).AsUInt32(), r1 = Vector128.Load(source + stride).AsUInt32(),
            r2 = Vector128.Load(source + 2 * stride).AsUInt32(), r3 = Vector128.Load(source + 3 * stride).AsUInt32();
        Vector128<ulong> a = Sse2.UnpackLow(r0, r1).AsUInt64(), b = Sse2.UnpackLow(r2, r3).AsUInt64(),
            c = Sse2.UnpackHigh(r0, r1).AsUInt64(), d = Sse2.UnpackHigh(r2, r3).AsUInt64();
        result[0] = Sse2.UnpackLow(a, b).AsByte();
        result[1] = Sse2.UnpackHigh(a, b).AsByte();
        result[2] = Sse2.UnpackLow(c, d).AsByte();
        result[3] = Sse2.UnpackHigh(c, d).AsByte();
    }

    /// <summary>What is no whole block of a whole panel, into memory that was cleared.</summary>
    private static void PackCodesOneByOne(in QuantizedLayout layout, sbyte* from, nint stride, int rows, int count, byte* target)
    {
        int mask = (1 << layout.Bits) - 1;
        for (int output = 0; output < rows; output++)
        {
            for (int input = 0; input < count; input++)
            {
                int code = (from[output * stride + input] ^ layout.Bias) & mask, quad = input / 4, half = output / 16,
                    within = output % 16 * 4 + input % 4;
                byte* to = target + quad * layout.QuadBytes + within;
                if (layout.Bits == 8)
                {
                    to[half * 64] = (byte)code;
                    continue;
                }

                *to |= (byte)((code & 15) << (half * 4));
                if (layout.HighBits == 0)
                    continue;
                (int at, int shift) = layout.HighOf(2 * quad + half);
                target[at + within] |= (byte)(code >> 4 << shift);
            }
        }
    }
}
