using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Skylight.Checkpoints.Quantized;

/// <summary>Takes words of AWQ's packing apart: eight outputs of an input, in AutoAWQ's order.</summary>
internal static unsafe class AwqWords
{
    /// <summary>Outputs in a word.</summary>
    public const int Outputs = 8;

    /// <summary>What is taken at one time: words side by side, and inputs.</summary>
    public const int Words = 4, Inputs = 16;

    /// <summary>Which output of eight is in a nibble of a word.</summary>
    public static ReadOnlySpan<byte> Order => [0, 2, 4, 6, 1, 3, 5, 7];

    /// <summary>Takes four words of sixteen inputs apart: the codes of 32 outputs.</summary>
    /// <param name="words">The first word of the first input.</param>
    /// <param name="rowWords">Words of an input.</param>
    /// <param name="offset">What is taken off each code.</param>
    /// <param name="codes">The first code of the first output.</param>
    /// <param name="inputs">Codes of an output.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Unpack(ReadOnlySpan<uint> words, int rowWords, int offset, Span<sbyte> codes, int inputs)
    {
        // Both ends are looked at, so that nothing between them has to be.
        _ = words[(Inputs - 1) * rowWords + Words - 1];
        _ = codes[(Words * Outputs - 1) * inputs + Inputs - 1];
        Vector128<byte>* low = stackalloc Vector128<byte>[Inputs], high = stackalloc Vector128<byte>[Inputs];
        Vector128<byte> nibble = Vector128.Create((byte)15), less = Vector128.Create((byte)offset);
        fixed (uint* from = words)
        fixed (sbyte* to = codes)
        {
            for (int input = 0; input < Inputs; input++)
            {
                Vector128<byte> packed = Vector128.Load(from + (nint)input * rowWords).AsByte();
                low[input] = (packed & nibble) - less;
                high[input] = ((packed.AsUInt16() >>> 4).AsByte() & nibble) - less;
            }

            // The lower nibbles of a word's bytes are its outputs 0, 4, 1, 5; the upper ones each two further.
            Transpose(low, (byte*)to, inputs);
            Transpose(high, (byte*)to + 2 * (nint)inputs, inputs);
        }
    }

    /// <summary>
    /// Turns 16 × 16 bytes over: four times, the first half of the rows is laced with the second. Of the result each four rows
    /// go to the rows 0, 4, 1 and 5 of eight.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Transpose(Vector128<byte>* rows, byte* target, nint stride)
    {
        Vector128<byte> a0 = rows[0], a1 = rows[1], a2 = rows[2], a3 = rows[3];
        Vector128<byte> a4 = rows[4], a5 = rows[5], a6 = rows[6], a7 = rows[7];
        Vector128<byte> a8 = rows[8], a9 = rows[9], a10 = rows[10], a11 = rows[11];
        Vector128<byte> a12 = rows[12], a13 = rows[13], a14 = rows[14], a15 = rows[15];
        Vector128<byte> b0 = Sse2.UnpackLow(a0, a8), b1 = Sse2.UnpackHigh(a0, a8);
        Vector128<byte> b2 = Sse2.UnpackLow(a1, a9), b3 = Sse2.UnpackHigh(a1, a9);
        Vector128<byte> b4 = Sse2.UnpackLow(a2, a10), b5 = Sse2.UnpackHigh(a2, a10);
        Vector128<byte> b6 = Sse2.UnpackLow(a3, a11), b7 = Sse2.UnpackHigh(a3, a11);
        Vector128<byte> b8 = Sse2.UnpackLow(a4, a12), b9 = Sse2.UnpackHigh(a4, a12);
        Vector128<byte> b10 = Sse2.UnpackLow(a5, a13), b11 = Sse2.UnpackHigh(a5, a13);
        Vector128<byte> b12 = Sse2.UnpackLow(a6, a14), b13 = Sse2.UnpackHigh(a6, a14);
        Vector128<byte> b14 = Sse2.UnpackLow(a7, a15), b15 = Sse2.UnpackHigh(a7, a15);
        Vector128<byte> c0 = Sse2.UnpackLow(b0, b8), c1 = Sse2.UnpackHigh(b0, b8);
        Vector128<byte> c2 = Sse2.UnpackLow(b1, b9), c3 = Sse2.UnpackHigh(b1, b9);
        Vector128<byte> c4 = Sse2.UnpackLow(b2, b10), c5 = Sse2.UnpackHigh(b2, b10);
        Vector128<byte> c6 = Sse2.UnpackLow(b3, b11), c7 = Sse2.UnpackHigh(b3, b11);
        Vector128<byte> c8 = Sse2.UnpackLow(b4, b12), c9 = Sse2.UnpackHigh(b4, b12);
        Vector128<byte> c10 = Sse2.UnpackLow(b5, b13), c11 = Sse2.UnpackHigh(b5, b13);
        Vector128<byte> c12 = Sse2.UnpackLow(b6, b14), c13 = Sse2.UnpackHigh(b6, b14);
        Vector128<byte> c14 = Sse2.UnpackLow(b7, b15), c15 = Sse2.UnpackHigh(b7, b15);
        Vector128<byte> d0 = Sse2.UnpackLow(c0, c8), d1 = Sse2.UnpackHigh(c0, c8);
        Vector128<byte> d2 = Sse2.UnpackLow(c1, c9), d3 = Sse2.UnpackHigh(c1, c9);
        Vector128<byte> d4 = Sse2.UnpackLow(c2, c10), d5 = Sse2.UnpackHigh(c2, c10);
        Vector128<byte> d6 = Sse2.UnpackLow(c3, c11), d7 = Sse2.UnpackHigh(c3, c11);
        Vector128<byte> d8 = Sse2.UnpackLow(c4, c12), d9 = Sse2.UnpackHigh(c4, c12);
        Vector128<byte> d10 = Sse2.UnpackLow(c5, c13), d11 = Sse2.UnpackHigh(c5, c13);
        Vector128<byte> d12 = Sse2.UnpackLow(c6, c14), d13 = Sse2.UnpackHigh(c6, c14);
        Vector128<byte> d14 = Sse2.UnpackLow(c7, c15), d15 = Sse2.UnpackHigh(c7, c15);
        Vector128<byte> e0 = Sse2.UnpackLow(d0, d8), e1 = Sse2.UnpackHigh(d0, d8);
        Vector128<byte> e2 = Sse2.UnpackLow(d1, d9), e3 = Sse2.UnpackHigh(d1, d9);
        Vector128<byte> e4 = Sse2.UnpackLow(d2, d10), e5 = Sse2.UnpackHigh(d2, d10);
        Vector128<byte> e6 = Sse2.UnpackLow(d3, d11), e7 = Sse2.UnpackHigh(d3, d11);
        Vector128<byte> e8 = Sse2.UnpackLow(d4, d12), e9 = Sse2.UnpackHigh(d4, d12);
        Vector128<byte> e10 = Sse2.UnpackLow(d5, d13), e11 = Sse2.UnpackHigh(d5, d13);
        Vector128<byte> e12 = Sse2.UnpackLow(d6, d14), e13 = Sse2.UnpackHigh(d6, d14);
        Vector128<byte> e14 = Sse2.UnpackLow(d7, d15), e15 = Sse2.UnpackHigh(d7, d15);
        e0.Store(target);
        e1.Store(target + 4 * stride);
        e2.Store(target + stride);
        e3.Store(target + 5 * stride);
        e4.Store(target + 8 * stride);
        e5.Store(target + 12 * stride);
        e6.Store(target + 9 * stride);
        e7.Store(target + 13 * stride);
        e8.Store(target + 16 * stride);
        e9.Store(target + 20 * stride);
        e10.Store(target + 17 * stride);
        e11.Store(target + 21 * stride);
        e12.Store(target + 24 * stride);
        e13.Store(target + 28 * stride);
        e14.Store(target + 25 * stride);
        e15.Store(target + 29 * stride);
    }
}
