using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Skylight.Cpu;

/// <summary>
/// The order in which a weight W [N outputs, K inputs] lies in memory on the CPU: panels of 32 outputs, each a
/// row-major K × 32 matrix, so that matrix–matrix and matrix–vector products both read it front to back.
/// Element (n, k) is at ((n / 32)·K + k)·32 + n mod 32; the last panel is padded with zeros.
/// </summary>
internal static unsafe class WeightPanels
{
    /// <summary>Outputs per panel.</summary>
    public const int Width = 32;

    /// <summary>The number of panels of a weight with this many outputs.</summary>
    public static int PanelCount(int outputs) => (outputs + Width - 1) / Width;

    /// <summary>The number of elements that a weight takes, padding included.</summary>
    public static long ElementCount(int outputs, int inputs) => (long)PanelCount(outputs) * Width * inputs;

    /// <summary>Where element (output, input) lies.</summary>
    public static long IndexOf(int output, int input, int inputs) =>
        ((long)(output / Width) * inputs + input) * Width + output % Width;

    /// <summary>Reorders a row-major [outputs, inputs] matrix of float32 into panels.</summary>
    public static void Pack(float* source, float* panels, int outputs, int inputs) =>
        CpuParallel.For(PanelCount(outputs), panel =>
        {
            float* from = source + (nint)panel * Width * inputs;
            float* to = panels + (nint)panel * Width * inputs;
            int valid = Math.Min(Width, outputs - panel * Width);
            PackTransposed(from, inputs, valid, inputs, to);
        });

    /// <summary>Reorders a row-major [outputs, inputs] matrix of bfloat16 bits into panels.</summary>
    public static void Pack(ushort* source, ushort* panels, int outputs, int inputs) =>
        CpuParallel.For(PanelCount(outputs), panel =>
        {
            ushort* from = source + (nint)panel * Width * inputs;
            ushort* to = panels + (nint)panel * Width * inputs;
            int valid = Math.Min(Width, outputs - panel * Width), start = 0;
            if (Sse2.IsSupported && valid == Width)
            {
                for (; start <= inputs - 8; start += 8)
                    for (int n = 0; n < Width; n += 8)
                        Transpose8(from + (nint)n * inputs + start, inputs, to + (nint)start * Width + n, Width);
            }

            for (; start < inputs; start += Width)
            {
                int end = Math.Min(inputs, start + Width);
                for (int n = 0; n < Width; n++)
                    for (int k = start; k < end; k++)
                        to[(nint)k * Width + n] = n < valid ? from[(nint)n * inputs + k] : (ushort)0;
            }
        });

    /// <summary>Restores a row-major [outputs, inputs] matrix of float32 from panels.</summary>
    public static void Unpack(float* panels, float* target, int outputs, int inputs) =>
        CpuParallel.For(PanelCount(outputs), panel => Unpack<float>(panels, target, outputs, inputs, panel));

    /// <summary>Restores a row-major [outputs, inputs] matrix of bfloat16 bits from panels.</summary>
    public static void Unpack(ushort* panels, ushort* target, int outputs, int inputs) =>
        CpuParallel.For(PanelCount(outputs), panel =>
        {
            int whole = Sse2.IsSupported && outputs - panel * Width >= Width ? inputs & ~7 : 0;
            ushort* from = panels + (nint)panel * Width * inputs;
            ushort* to = target + (nint)panel * Width * inputs;
            for (int k = 0; k < whole; k += 8)
                for (int n = 0; n < Width; n += 8)
                    Transpose8(from + (nint)k * Width + n, Width, to + (nint)n * inputs + k, inputs);
            Unpack(panels, target, outputs, inputs, panel, whole);
        });

    private static void Unpack<T>(T* panels, T* target, int outputs, int inputs, int panel, int first = 0)
        where T : unmanaged
    {
        T* from = panels + (nint)panel * Width * inputs;
        T* to = target + (nint)panel * Width * inputs;
        int valid = Math.Min(Width, outputs - panel * Width);
        for (int start = first; start < inputs; start += Width)
        {
            int end = Math.Min(inputs, start + Width);
            for (int n = 0; n < valid; n++)
                for (int k = start; k < end; k++)
                    to[(nint)n * inputs + k] = from[(nint)k * Width + n];
        }
    }

    /// <summary>
    /// target[k, n] = source[n, k] for n &lt; <paramref name="rows"/> ≤ 32 and k &lt; <paramref name="columns"/>;
    /// zero for the other n. The target's rows are 32 wide.
    /// </summary>
    public static void PackTransposed(float* source, nint sourceStride, int rows, int columns, float* target)
    {
        int wholeRows = Avx.IsSupported ? rows & ~7 : 0;
        int wholeColumns = columns & ~7;
        for (int k = 0; k < wholeColumns; k += 8)
            for (int n = 0; n < wholeRows; n += 8)
                Transpose8(source + n * sourceStride + k, sourceStride, target + (nint)k * Width + n);
        for (int k = 0; k < columns; k++)
        {
            float* row = target + (nint)k * Width;
            for (int n = k < wholeColumns ? wholeRows : 0; n < rows; n++)
                row[n] = source[n * sourceStride + k];
            for (int n = rows; n < Width; n++)
                row[n] = 0;
        }
    }

    /// <summary>Transposes an 8 × 8 block of 16-bit elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose8(ushort* source, nint stride, ushort* target, nint targetStride)
    {
        Vector128<ushort> r0 = Vector128.Load(source), r1 = Vector128.Load(source + stride);
        Vector128<ushort> r2 = Vector128.Load(source + 2 * stride), r3 = Vector128.Load(source + 3 * stride);
        Vector128<ushort> r4 = Vector128.Load(source + 4 * stride), r5 = Vector128.Load(source + 5 * stride);
        Vector128<ushort> r6 = Vector128.Load(source + 6 * stride), r7 = Vector128.Load(source + 7 * stride);
        Vector128<uint> a0 = Sse2.UnpackLow(r0, r1).AsUInt32(), a1 = Sse2.UnpackHigh(r0, r1).AsUInt32();
        Vector128<uint> a2 = Sse2.UnpackLow(r2, r3).AsUInt32(), a3 = Sse2.UnpackHigh(r2, r3).AsUInt32();
        Vector128<uint> a4 = Sse2.UnpackLow(r4, r5).AsUInt32(), a5 = Sse2.UnpackHigh(r4, r5).AsUInt32();
        Vector128<uint> a6 = Sse2.UnpackLow(r6, r7).AsUInt32(), a7 = Sse2.UnpackHigh(r6, r7).AsUInt32();
        Vector128<ulong> b0 = Sse2.UnpackLow(a0, a2).AsUInt64(), b1 = Sse2.UnpackHigh(a0, a2).AsUInt64();
        Vector128<ulong> b2 = Sse2.UnpackLow(a1, a3).AsUInt64(), b3 = Sse2.UnpackHigh(a1, a3).AsUInt64();
        Vector128<ulong> b4 = Sse2.UnpackLow(a4, a6).AsUInt64(), b5 = Sse2.UnpackHigh(a4, a6).AsUInt64();
        Vector128<ulong> b6 = Sse2.UnpackLow(a5, a7).AsUInt64(), b7 = Sse2.UnpackHigh(a5, a7).AsUInt64();
        Sse2.UnpackLow(b0, b4).AsUInt16().Store(target);
        Sse2.UnpackHigh(b0, b4).AsUInt16().Store(target + targetStride);
        Sse2.UnpackLow(b1, b5).AsUInt16().Store(target + 2 * targetStride);
        Sse2.UnpackHigh(b1, b5).AsUInt16().Store(target + 3 * targetStride);
        Sse2.UnpackLow(b2, b6).AsUInt16().Store(target + 4 * targetStride);
        Sse2.UnpackHigh(b2, b6).AsUInt16().Store(target + 5 * targetStride);
        Sse2.UnpackLow(b3, b7).AsUInt16().Store(target + 6 * targetStride);
        Sse2.UnpackHigh(b3, b7).AsUInt16().Store(target + 7 * targetStride);
    }

    /// <summary>Transposes an 8 × 8 block into rows of 32 floats.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose8(float* source, nint stride, float* target)
    {
        Vector256<float> r0 = Vector256.Load(source), r1 = Vector256.Load(source + stride);
        Vector256<float> r2 = Vector256.Load(source + 2 * stride), r3 = Vector256.Load(source + 3 * stride);
        Vector256<float> r4 = Vector256.Load(source + 4 * stride), r5 = Vector256.Load(source + 5 * stride);
        Vector256<float> r6 = Vector256.Load(source + 6 * stride), r7 = Vector256.Load(source + 7 * stride);
        Vector256<float> t0 = Avx.UnpackLow(r0, r1), t1 = Avx.UnpackHigh(r0, r1);
        Vector256<float> t2 = Avx.UnpackLow(r2, r3), t3 = Avx.UnpackHigh(r2, r3);
        Vector256<float> t4 = Avx.UnpackLow(r4, r5), t5 = Avx.UnpackHigh(r4, r5);
        Vector256<float> t6 = Avx.UnpackLow(r6, r7), t7 = Avx.UnpackHigh(r6, r7);
        r0 = Avx.Shuffle(t0, t2, 0x44);
        r1 = Avx.Shuffle(t0, t2, 0xEE);
        r2 = Avx.Shuffle(t1, t3, 0x44);
        r3 = Avx.Shuffle(t1, t3, 0xEE);
        r4 = Avx.Shuffle(t4, t6, 0x44);
        r5 = Avx.Shuffle(t4, t6, 0xEE);
        r6 = Avx.Shuffle(t5, t7, 0x44);
        r7 = Avx.Shuffle(t5, t7, 0xEE);
        Avx.Permute2x128(r0, r4, 0x20).Store(target);
        Avx.Permute2x128(r1, r5, 0x20).Store(target + Width);
        Avx.Permute2x128(r2, r6, 0x20).Store(target + 2 * Width);
        Avx.Permute2x128(r3, r7, 0x20).Store(target + 3 * Width);
        Avx.Permute2x128(r0, r4, 0x31).Store(target + 4 * Width);
        Avx.Permute2x128(r1, r5, 0x31).Store(target + 5 * Width);
        Avx.Permute2x128(r2, r6, 0x31).Store(target + 6 * Width);
        Avx.Permute2x128(r3, r7, 0x31).Store(target + 7 * Width);
    }
}
