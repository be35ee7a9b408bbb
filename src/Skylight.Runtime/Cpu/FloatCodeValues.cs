using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>
/// The numbers of some inputs of a panel of a <see cref="FloatCodeLayout"/>, for products that are computed in float32.
/// </summary>
internal static unsafe class FloatCodeValues
{
    private const int Width = WeightPanels.Width;
    private const int Together = 4;

    // As the product in bfloat16 sees them.
    private static readonly float[] s_rounded =
        [.. CodeType.NormalFloat4.Values().ToArray().Select(value => (float)(BFloat16)value)];

    /// <summary>The floats that <see cref="Write"/> writes for so many inputs.</summary>
    public static nint FloatsOf(int count) => (nint)(count + Together - 1) / Together * Together * Width;

    /// <summary>Writes them for all 32 outputs as [inputs, 32].</summary>
    /// <param name="layout">How the panel lies there.</param>
    /// <param name="panel">Its start.</param>
    /// <param name="first">The first input, a multiple of 4.</param>
    /// <param name="count">How many; what follows to a multiple of 4 is written too.</param>
    /// <param name="isScaled">
    /// scale · code, rounded; or what the code alone stands for, rounded to bfloat16.
    /// </param>
    /// <param name="target">Room for <see cref="FloatsOf"/>.</param>
    public static void Write(in FloatCodeLayout layout, byte* panel, int first, int count, bool isScaled, float* target)
    {
        float* ones = stackalloc float[Width];
        new Span<float>(ones, Width).Fill(1);
        fixed (float* exact = CodeType.NormalFloat4.Values(), rounded = s_rounded)
        {
            float* table = isScaled ? exact : rounded;
            // What shares scales and follows each other, piece by piece.
            for (int input = first, end = first + count, next; input < end; input = next)
            {
                next = Math.Min(end, (input / FloatCodeLayout.Chunk + 1) * FloatCodeLayout.Chunk);
                float* scales = isScaled ? layout.ScalesAt(panel, input) : ones;
                byte* chunk = layout.ChunkAt(panel, input);
                int within = input % FloatCodeLayout.Chunk, fours = (next - input + Together - 1) / Together;
                if (layout.Codes == CodeType.Float8E4M3)
                    target = WritePairs(chunk + within * Width, 2 * fours, scales, target);
                else
                    target = WriteFours((uint*)chunk + within * 4, fours, table, scales, target);
            }
        }
    }

    private static float* WritePairs(byte* codes, int pairs, float* scales, float* target)
    {
        for (int pair = 0; pair < pairs; pair++, codes += 2 * Width, target += 2 * Width)
        {
            if (Avx512F.IsSupported)
            {
                Vector512<ulong> raw = Vector512.Load((ulong*)codes);
                bool isNormal = HasOnlyNormal(raw);
                (Vector512<uint> first, Vector512<uint> second) = Words(raw);
                WriteWords(first, isNormal, scales, target);
                WriteWords(second, isNormal, scales + 16, target + 16);
                continue;
            }

            for (int output = 0; output < 16; output += 8)
            {
                Vector256<ulong> raw = Vector256.Load((ulong*)(codes + output * 4));
                bool isNormal = HasOnlyNormal(raw);
                (Vector256<uint> first, Vector256<uint> second) = Words(raw);
                WriteWords(first, isNormal, scales + output, target + output);
                WriteWords(second, isNormal, scales + 16 + output, target + 16 + output);
            }
        }

        return target;
    }

    /// <summary>Whether no code has an exponent of zero, as most of a weight have not.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool HasOnlyNormal(Vector512<ulong> codes) =>
        !Vector512.EqualsAny(codes.AsByte() & Vector512.Create((byte)0x78), Vector512<byte>.Zero);

    /// <inheritdoc cref="HasOnlyNormal(Vector512{ulong})"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool HasOnlyNormal(Vector256<ulong> codes) =>
        !Vector256.EqualsAny(codes.AsByte() & Vector256.Create((byte)0x78), Vector256<byte>.Zero);

    /// <summary>
    /// The codes of a pair of inputs of outputs 0–15 and of 16–31: the earlier input in the second byte, the later in
    /// the first.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (Vector512<uint> First, Vector512<uint> Second) Words(Vector512<ulong> raw)
    {
        Vector512<ulong> words = Avx512F.PermuteVar8x64(raw, Vector512.Create(0UL, 2, 4, 6, 1, 3, 5, 7));
        return (Avx512F.ConvertToVector512UInt32(words.GetLower().AsUInt16()),
            Avx512F.ConvertToVector512UInt32(words.GetUpper().AsUInt16()));
    }

    /// <summary>Of half of that: eight outputs from a multiple of eight on, and those that are 16 further.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (Vector256<uint> First, Vector256<uint> Second) Words(Vector256<ulong> raw)
    {
        Vector256<ushort> words = Vector256.Shuffle(raw, Vector256.Create(0UL, 2, 1, 3)).AsUInt16();
        return (Vector256.WidenLower(words), Vector256.WidenUpper(words));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void WriteWords(Vector512<uint> words, bool isNormal, float* scales, float* target)
    {
        Vector512<float> scale = Vector512.Load(scales), first = Float8(words << 16, isNormal),
            second = Float8(words << 24, isNormal);
        (first * scale).Store(target);
        (second * scale).Store(target + Width);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void WriteWords(Vector256<uint> words, bool isNormal, float* scales, float* target)
    {
        Vector256<float> scale = Vector256.Load(scales), first = Float8(words << 16, isNormal),
            second = Float8(words << 24, isNormal);
        (first * scale).Store(target);
        (second * scale).Store(target + Width);
    }

    /// <summary>
    /// What codes in the highest bytes stand for: they become the sign, exponent (120 lower) and mantissa of a float.
    /// Where the exponent is zero there is no leading one: what it stands for there, 2^-7 with the sign, is taken off
    /// and the rest doubled.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Float8(Vector512<uint> codes, bool isNormal)
    {
        Vector512<uint> bits = (codes.AsInt32() >> 4).AsUInt32() & Vector512.Create(0x87F00000u);
        Vector512<float> value = (bits + Vector512.Create(120u << 23)).AsSingle();
        if (isNormal)
            return value;
        Vector512<float> one = ((bits & Vector512.Create(0x80000000u)) | Vector512.Create(120u << 23)).AsSingle(),
            small = (value - one) + (value - one);
        return Vector512.ConditionalSelect(
            Vector512.Equals(bits & Vector512.Create(0x07800000u), Vector512<uint>.Zero).AsSingle(), small, value);
    }

    /// <inheritdoc cref="Float8(Vector512{uint}, bool)"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Float8(Vector256<uint> codes, bool isNormal)
    {
        Vector256<uint> bits = (codes.AsInt32() >> 4).AsUInt32() & Vector256.Create(0x87F00000u);
        Vector256<float> value = (bits + Vector256.Create(120u << 23)).AsSingle();
        if (isNormal)
            return value;
        Vector256<float> one = ((bits & Vector256.Create(0x80000000u)) | Vector256.Create(120u << 23)).AsSingle(),
            small = (value - one) + (value - one);
        return Vector256.ConditionalSelect(
            Vector256.Equals(bits & Vector256.Create(0x07800000u), Vector256<uint>.Zero).AsSingle(), small, value);
    }

    private static float* WriteFours(uint* codes, int fours, float* table, float* scales, float* target)
    {
        for (int four = 0; four < fours; four++, codes += 16, target += Together * Width)
        {
            for (int input = 0; input < Together; input++)
            {
                float* line = target + input * Width;
                int shift = ShiftOf(input);
                if (Avx512F.IsSupported)
                {
                    // Only four bits of an index count.
                    Vector512<float> values = Vector512.Load(table);
                    Vector512<uint> words = Vector512.Load(codes) >>> shift;
                    Vector512<float> first = Avx512F.PermuteVar16x32(values, words.AsInt32()),
                        second = Avx512F.PermuteVar16x32(values, (words >>> 4).AsInt32());
                    (first * Vector512.Load(scales)).Store(line);
                    (second * Vector512.Load(scales + 16)).Store(line + 16);
                    continue;
                }

                for (int output = 0; output < 16; output += 8)
                {
                    Vector256<uint> words = Vector256.Load(codes + output) >>> shift;
                    (Look(table, words) * Vector256.Load(scales + output)).Store(line + output);
                    (Look(table, words >>> 4) * Vector256.Load(scales + 16 + output)).Store(line + 16 + output);
                }
            }
        }

        return target;
    }

    /// <summary>Where the 4 bits of an input begin in a word: those of outputs 0–15; the others' follow.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int ShiftOf(int input) => (1 - input % 2) * 16 + input / 2 % 2 * 8;

    /// <summary>What the lowest 4 bits stand for by a table.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Look(float* table, Vector256<uint> codes)
    {
        if (Avx2.IsSupported)
        {
            // Three bits of an index count, the fourth says in which half of the table.
            Vector256<int> index = codes.AsInt32();
            return Avx.BlendVariable(Avx2.PermuteVar8x32(Vector256.Load(table), index),
                Avx2.PermuteVar8x32(Vector256.Load(table + 8), index), (index << 28).AsSingle());
        }

        float* values = stackalloc float[8];
        for (int lane = 0; lane < 8; lane++)
            values[lane] = table[codes.GetElement(lane) & 15];
        return Vector256.Load(values);
    }
}
