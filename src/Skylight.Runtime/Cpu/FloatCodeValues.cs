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
            for (int input = first; input < first + count; input += Together, target += Together * Width)
            {
                float* scales = isScaled ? layout.ScalesAt(panel, input) : ones;
                byte* chunk = layout.ChunkAt(panel, input);
                int within = input % FloatCodeLayout.Chunk;
                if (layout.Codes == CodeType.Float8E4M3)
                {
                    WritePair(chunk + within * Width, scales, target);
                    WritePair(chunk + (within + 2) * Width, scales, target + 2 * Width);
                }
                else
                {
                    WriteFour((uint*)chunk + within * 4, table, scales, target);
                }
            }
        }
    }

    private static void WritePair(byte* codes, float* scales, float* target)
    {
        for (int eight = 0; eight < 2; eight++, codes += 32)
        {
            Vector128<ulong> one = Vector128.Load((ulong*)codes), two = Vector128.Load((ulong*)codes + 2);
            for (int half = 0; half < 2; half++)
            {
                Vector128<ushort> words = Vector128.Create(one.GetElement(half), two.GetElement(half)).AsUInt16();
                Vector256<uint> both = Vector256.Create(Vector128.WidenLower(words), Vector128.WidenUpper(words));
                int output = half * 16 + eight * 8;
                Vector256<float> scale = Vector256.Load(scales + output);
                (Float8(both >>> 8) * scale).Store(target + output);
                (Float8(both & Vector256.Create(0xFFu)) * scale).Store(target + Width + output);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Float8(Vector256<uint> codes)
    {
        // Exponents are 120 lower; where there is none, the number is its mantissa times 2^-9.
        Vector256<uint> magnitude = codes & Vector256.Create(0x7Fu);
        Vector256<float> small = Vector256.ConvertToSingle(magnitude.AsInt32()) * Vector256.Create(1f / 512),
            normal = ((magnitude << 20) + Vector256.Create(120u << 23)).AsSingle();
        Vector256<uint> isSmall = Vector256.LessThan(magnitude.AsInt32(), Vector256.Create(8)).AsUInt32();
        Vector256<uint> value = Vector256.ConditionalSelect(isSmall, small.AsUInt32(), normal.AsUInt32());
        return (value | ((codes & Vector256.Create(0x80u)) << 24)).AsSingle();
    }

    private static void WriteFour(uint* codes, float* table, float* scales, float* target)
    {
        for (int eight = 0; eight < 2; eight++)
        {
            Vector256<uint> words = Vector256.Load(codes + eight * 8);
            for (int half = 0; half < 2; half++)
            {
                int output = half * 16 + eight * 8;
                Vector256<float> scale = Vector256.Load(scales + output);
                for (int input = 0; input < Together; input++)
                {
                    int shift = (1 - input % 2) * 16 + input / 2 * 8 + half * 4;
                    (Look(table, (words >>> shift) & Vector256.Create(15u)) * scale).Store(target + input * Width + output);
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Look(float* table, Vector256<uint> codes)
    {
        if (Avx2.IsSupported)
        {
            Vector256<int> index = codes.AsInt32();
            return Vector256.ConditionalSelect(Vector256.GreaterThan(index, Vector256.Create(7)).AsSingle(),
                Avx2.PermuteVar8x32(Vector256.Load(table + 8), index), Avx2.PermuteVar8x32(Vector256.Load(table), index));
        }

        float* values = stackalloc float[8];
        for (int lane = 0; lane < 8; lane++)
            values[lane] = table[codes.GetElement(lane)];
        return Vector256.Load(values);
    }
}
