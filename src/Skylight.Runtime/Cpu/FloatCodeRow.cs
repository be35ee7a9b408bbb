using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>
/// One row times a weight of codes that are no integers, in float32: decoding on a processor without dot products of
/// bfloat16. Values meet the row as they are made; for more rows they are written first (<see cref="FloatCodeValues"/>).
/// </summary>
internal static unsafe class FloatCodeRow
{
    private const int Width = WeightPanels.Width, Chunk = FloatCodeLayout.Chunk;

    // What a thread reads in one go: long enough for the processor's prefetcher to follow.
    private const int StreamBytes = 128 << 10;

    /// <summary>Computes a product of one row on at most <paramref name="threads"/> threads.</summary>
    public static void Run(GemmOperands product, int threads)
    {
        int panels = WeightPanels.PanelCount(product.Columns),
            tasks = (int)Math.Clamp(panels * product.BStride / StreamBytes, Math.Min(4 * threads, panels), panels);
        CpuParallel.For(tasks, threads, task =>
        {
            float* sums = stackalloc float[Width];
            int end = (int)((long)panels * (task + 1) / tasks);
            for (int panel = (int)((long)panels * task / tasks); panel < end; panel++)
            {
                Multiply(product, (byte*)product.B + panel * product.BStride, sums);
                float* target = product.C + panel * product.CPanel,
                    bias = product.Bias == null ? null : product.Bias + panel * Width;
                for (int column = 0; column < product.ColumnsOf(panel); column++)
                    target[column] = bias == null ? sums[column] : sums[column] + bias[column];
            }
        });
    }

    private static void Multiply(in GemmOperands product, byte* panel, float* sums)
    {
        float* padded = stackalloc float[Chunk];
        FloatCodeLayout layout = product.Codes;
        new Span<float>(sums, Width).Clear();
        for (int start = 0; start < product.Steps; start += Chunk)
        {
            float* x = product.A + start;
            if (product.Steps - start < Chunk)
            {
                // Codes that pad a chunk stand for zero.
                var row = new Span<float>(padded, Chunk);
                row.Clear();
                new ReadOnlySpan<float>(x, product.Steps - start).CopyTo(row);
                x = padded;
            }

            byte* chunk = layout.ChunkAt(panel, start);
            float* scales = layout.ScalesAt(panel, start);
            if (layout.Codes == CodeType.Float8E4M3)
                AddPairs(x, chunk, scales, sums);
            else
                AddFours(x, (uint*)chunk, scales, sums);
        }
    }

    private static void AddPairs(float* x, byte* codes, float* scales, float* sums)
    {
        if (Avx512F.IsSupported)
        {
            Vector512<float> scale0 = Vector512.Load(scales), scale1 = Vector512.Load(scales + 16),
                sum0 = Vector512.Load(sums), sum1 = Vector512.Load(sums + 16);
            for (int input = 0; input < Chunk; input += 2, codes += 2 * Width)
            {
                Vector512<ulong> raw = Vector512.Load((ulong*)codes);
                bool isNormal = FloatCodeValues.HasOnlyNormal(raw);
                (Vector512<uint> words0, Vector512<uint> words1) = FloatCodeValues.Words(raw);
                Vector512<float> earlier = Vector512.Create(x[input]), later = Vector512.Create(x[input + 1]);
                sum0 = Add(earlier, FloatCodeValues.Float8(words0 << 16, isNormal) * scale0, sum0);
                sum1 = Add(earlier, FloatCodeValues.Float8(words1 << 16, isNormal) * scale1, sum1);
                sum0 = Add(later, FloatCodeValues.Float8(words0 << 24, isNormal) * scale0, sum0);
                sum1 = Add(later, FloatCodeValues.Float8(words1 << 24, isNormal) * scale1, sum1);
            }

            sum0.Store(sums);
            sum1.Store(sums + 16);
            return;
        }

        for (int output = 0; output < 16; output += 8)
        {
            Vector256<float> scale0 = Vector256.Load(scales + output), scale1 = Vector256.Load(scales + 16 + output),
                sum0 = Vector256.Load(sums + output), sum1 = Vector256.Load(sums + 16 + output);
            byte* at = codes + output * 4;
            for (int input = 0; input < Chunk; input += 2, at += 2 * Width)
            {
                Vector256<ulong> raw = Vector256.Load((ulong*)at);
                bool isNormal = FloatCodeValues.HasOnlyNormal(raw);
                (Vector256<uint> words0, Vector256<uint> words1) = FloatCodeValues.Words(raw);
                Vector256<float> earlier = Vector256.Create(x[input]), later = Vector256.Create(x[input + 1]);
                sum0 = Add(earlier, FloatCodeValues.Float8(words0 << 16, isNormal) * scale0, sum0);
                sum1 = Add(earlier, FloatCodeValues.Float8(words1 << 16, isNormal) * scale1, sum1);
                sum0 = Add(later, FloatCodeValues.Float8(words0 << 24, isNormal) * scale0, sum0);
                sum1 = Add(later, FloatCodeValues.Float8(words1 << 24, isNormal) * scale1, sum1);
            }

            sum0.Store(sums + output);
            sum1.Store(sums + 16 + output);
        }
    }

    private static void AddFours(float* x, uint* codes, float* scales, float* sums)
    {
        fixed (float* table = CodeType.NormalFloat4.Values())
        {
            if (Avx512F.IsSupported)
            {
                Vector512<float> values = Vector512.Load(table), scale0 = Vector512.Load(scales),
                    scale1 = Vector512.Load(scales + 16), sum0 = Vector512.Load(sums), sum1 = Vector512.Load(sums + 16);
                for (int input = 0; input < Chunk; input++)
                {
                    Vector512<int> words =
                        (Vector512.Load(codes + input / 4 * 16) >>> FloatCodeValues.ShiftOf(input)).AsInt32();
                    Vector512<float> row = Vector512.Create(x[input]);
                    sum0 = Add(row, Avx512F.PermuteVar16x32(values, words) * scale0, sum0);
                    sum1 = Add(row, Avx512F.PermuteVar16x32(values, words >>> 4) * scale1, sum1);
                }

                sum0.Store(sums);
                sum1.Store(sums + 16);
                return;
            }

            for (int output = 0; output < 16; output += 8)
            {
                Vector256<float> scale0 = Vector256.Load(scales + output), scale1 = Vector256.Load(scales + 16 + output),
                    sum0 = Vector256.Load(sums + output), sum1 = Vector256.Load(sums + 16 + output);
                for (int input = 0; input < Chunk; input++)
                {
                    Vector256<uint> words =
                        Vector256.Load(codes + input / 4 * 16 + output) >>> FloatCodeValues.ShiftOf(input);
                    Vector256<float> row = Vector256.Create(x[input]);
                    sum0 = Add(row, FloatCodeValues.Look(table, words) * scale0, sum0);
                    sum1 = Add(row, FloatCodeValues.Look(table, words >>> 4) * scale1, sum1);
                }

                sum0.Store(sums + output);
                sum1.Store(sums + 16 + output);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Add(Vector512<float> x, Vector512<float> value, Vector512<float> sum) =>
        Vector512.FusedMultiplyAdd(x, value, sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Add(Vector256<float> x, Vector256<float> value, Vector256<float> sum) =>
        Vector256.FusedMultiplyAdd(x, value, sum);
}
