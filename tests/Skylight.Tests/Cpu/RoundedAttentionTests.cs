using Skylight.Cpu;
using Skylight.Cpu.Assembly;
using Skylight.Tensors;
using Skylight.Tests.Ops;

namespace Skylight.Tests.Cpu;

/// <summary>
/// Attention in bfloat16 by the processor's own dot products gives the bits of the managed loops over rounded operands, there
/// and back, for every height of a tile; by products of matrices it gives the same but for roundings.
/// </summary>
public sealed unsafe class RoundedAttentionTests
{
    public static TheoryData<int, int, int, bool> Shapes
    {
        get
        {
            var shapes = new TheoryData<int, int, int, bool>();
            for (int tokens = 1; tokens <= 37; tokens++)
                shapes.Add(1, 2 + tokens, tokens, tokens % 2 == 0);
            foreach (int dimension in new[] { 1, 5, 16, 31, 32, 33, 64, 72, 128, 130 })
                shapes.Add(3, dimension, 77, dimension % 2 == 0);
            shapes.Add(7, 64, 301, true);
            shapes.Add(16, 128, 65, true);
            return shapes;
        }
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Dot_products_and_managed_loops_give_the_same_bits(int group, int dimension, int tokens, bool causal)
    {
        if (!BFloat16Kernels.Has(BFloat16Instruction.DotProducts))
            return;
        float[][] assembled = Run(BFloat16Instruction.DotProducts, group, dimension, tokens, causal),
            managed = Run(null, group, dimension, tokens, causal);
        for (int index = 0; index < Names.Length; index++)
            AttentionHarness.AssertSameBits(managed[index], assembled[index], Names[index]);
    }

    /// <summary>Another order of sums: a score that lies between two bfloat16 may be rounded to the other.</summary>
    [Theory]
    [MemberData(nameof(Shapes))]
    public void Products_of_matrices_differ_by_roundings_only(int group, int dimension, int tokens, bool causal)
    {
        if (!BFloat16Kernels.Has(BFloat16Instruction.Matrices))
            return;
        float[][] matrices = Run(BFloat16Instruction.Matrices, group, dimension, tokens, causal),
            managed = Run(null, group, dimension, tokens, causal);
        for (int index = 0; index < Names.Length; index++)
        {
            double scale = Math.Sqrt(managed[index].Average(value => (double)value * value)) + 1e-3;
            for (int element = 0; element < managed[index].Length; element++)
                Assert.InRange(Math.Abs(managed[index][element] - matrices[index][element]) / scale, 0, 0.02);
        }
    }

    private static readonly string[] Names = ["out", "logSumExp", "dq", "dk", "dv"];

    private static float[][] Run(BFloat16Instruction? instruction, int group, int dimension, int tokens, bool causal)
    {
        var random = new Random(tokens * 1000 + dimension);
        float[] q = AttentionHarness.Random(random, tokens * group * dimension, 2),
            k = AttentionHarness.Random(random, tokens * dimension, 2), v = AttentionHarness.Random(random, tokens * dimension),
            outputGradient = AttentionHarness.Random(random, q.Length);
        float[] output = new float[q.Length], logSumExp = new float[tokens * group], dq = new float[q.Length],
            dk = new float[k.Length], dv = new float[v.Length];
        fixed (float* pq = q, pk = k, pv = v, pg = outputGradient, po = output, pl = logSumExp, pdq = dq, pdk = dk, pdv = dv)
        {
            var queries = new AttentionCore.Queries
            {
                Query = pq,
                Output = po,
                LogSumExp = pl,
                RowStride = group * dimension,
                LogSumExpStride = group,
                Rows = tokens,
                Group = group,
                HeadDimension = dimension,
                Visible = causal ? 1 : tokens,
                Causal = causal,
            };
            AttentionCore.Forward(queries, AttentionCore.Pack(pk, pv, dimension, tokens, dimension, rounds: true),
                instruction);
            AttentionCore.Backward(
                new AttentionCore.Gradient
                {
                    Forward = queries,
                    OutputGradient = pg,
                    QueryGradient = pdq,
                    Keys = pk,
                    Values = pv,
                    KeyGradient = pdk,
                    ValueGradient = pdv,
                    Stride = dimension,
                    Count = tokens,
                    Rounds = true,
                },
                instruction);
        }

        return [output, logSumExp, dq, dk, dv];
    }

    [Fact]
    public void Rounding_in_place_is_the_conversion()
    {
        var random = new Random(3);
        float[] numbers =
        [
            .. Enumerable.Range(0, 1003).Select(_ => BitConverter.Int32BitsToSingle(random.Next(int.MinValue, int.MaxValue))),
            0f, -0f, float.NaN, float.PositiveInfinity, float.NegativeInfinity, float.MaxValue, 1.00390625f, 1.01171875f,
        ];
        float[] expected = [.. numbers.Select(number => (float)(BFloat16)number)];
        fixed (float* pointer = numbers)
            BFloat16Pages.Round(pointer, numbers.Length);
        AttentionHarness.AssertSameBits(expected, numbers, "rounded");
    }

    /// <summary>A page that is packed whole and one that is written token by token are the same.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(31)]
    [InlineData(32)]
    [InlineData(50)]
    [InlineData(64)]
    [InlineData(128)]
    public void Pages_have_one_order_however_they_are_filled(int dimension)
    {
        const int Page = AttentionCore.PageSize;
        float[] rows = AttentionHarness.Random(new Random(1), Page * dimension);
        var pages = new byte[4][];
        for (int index = 0; index < pages.Length; index++)
            pages[index] = new byte[BFloat16Pages.Bytes(dimension)];
        fixed (float* source = rows)
        fixed (byte* packedKeys = pages[0], packedValues = pages[1], keys = pages[2], values = pages[3])
        {
            BFloat16Pages.PackKeys(source, dimension, Page, dimension, packedKeys);
            BFloat16Pages.PackValues(source, dimension, Page, dimension, packedValues);
            for (int token = Page - 1; token >= 0; token--)
            {
                BFloat16Pages.WriteKeys(source + token * dimension, dimension, token, 1, dimension, keys);
                BFloat16Pages.WriteValues(source + token * dimension, dimension, token, 1, dimension, values);
            }

            float[] wideKeys = new float[rows.Length], wideValues = new float[rows.Length];
            fixed (float* pk = wideKeys, pv = wideValues)
            {
                BFloat16Pages.WidenKeys(keys, pk, dimension);
                BFloat16Pages.WidenValues(values, pv, dimension);
            }

            for (int token = 0; token < Page; token++)
            {
                for (int d = 0; d < dimension; d++)
                {
                    float expected = (BFloat16)rows[token * dimension + d];
                    Assert.Equal(expected, wideKeys[d * Page + token]);
                    Assert.Equal(expected, wideValues[token * dimension + d]);
                }
            }
        }

        Assert.Equal(pages[2], pages[0]);
        Assert.Equal(pages[3], pages[1]);
    }
}
