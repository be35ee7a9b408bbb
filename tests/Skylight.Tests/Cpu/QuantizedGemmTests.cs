using Skylight.Checkpoints.Gguf;
using Skylight.Cpu;
using Skylight.Cpu.Assembly;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Tests.Cpu;

/// <summary>Products with quantised weights: every layout, every height of a tile, both ways to compute them.</summary>
public sealed unsafe class QuantizedGemmTests
{
    private static readonly QuantizedFormat[] s_formats =
    [
        QuantizedFormat.Q8, QuantizedFormat.Q4,
        new(CodeType.Int8, 16, HasMinimum: false), new(CodeType.Int4, 16, HasMinimum: false),
        new(CodeType.UInt4, 32, HasMinimum: true), new(CodeType.UInt4, 16, HasMinimum: true),
        new(CodeType.Int8, 32, HasMinimum: true), new(CodeType.Int8, 32, HasMinimum: false),
        new(CodeType.UInt4, 128, HasMinimum: true) { HasHalfScales = true, HasZeroPoints = true },
        new(CodeType.Int8, 64, HasMinimum: true) { HasHalfScales = true, HasZeroPoints = true },
        // Groups of several blocks, whole and cut; codes with bits that lie apart; scales that are multiples of others.
        new(CodeType.Int4, 128, HasMinimum: false) { HasHalfScales = true },
        new(CodeType.Int4, 96, HasMinimum: false) { HasHalfScales = true }, new(CodeType.Int8, 1024, HasMinimum: true),
        new(CodeType.UInt4, 32, HasMinimum: true) { HasHalfScales = true, HasHalfMinimums = true },
        new(CodeType.Int5, 32, HasMinimum: false) { HasHalfScales = true },
        new(CodeType.UInt5, 32, HasMinimum: true) { HasHalfScales = true, HasHalfMinimums = true },
        new(CodeType.UInt4, 32, HasMinimum: true) { SuperBlockSize = 256 },
        new(CodeType.UInt5, 32, HasMinimum: true) { SuperBlockSize = 256 },
        new(CodeType.Int6, 16, HasMinimum: false) { SuperBlockSize = 256 },
        new(CodeType.Int4, 16, HasMinimum: false) { SuperBlockSize = 256 },
        new(CodeType.UInt4, 16, HasMinimum: true) { SuperBlockSize = 256 },
        new(CodeType.Int8, 32, HasMinimum: false) { SuperBlockSize = 256 },
    ];

    private static QuantizedInstruction Here => QuantizedKernels.AreAvailable
        ? QuantizedInstruction.DotProducts : QuantizedInstruction.Managed;

    public static TheoryData<int> Formats => [.. Enumerable.Range(0, s_formats.Length)];

    [Theory]
    [MemberData(nameof(Formats))]
    public void Codes_come_back_as_the_values_they_stand_for(int index)
    {
        float* panel = stackalloc float[WeightPanels.Width * 256];
        foreach ((int outputs, int inputs) in new[] { (1, 1), (33, 70), (64, 256), (40, 15) })
        {
            using var weight = new Weight(s_formats[index], outputs, inputs);
            var row = new float[inputs];
            for (int output = 0; output < outputs; output++)
            {
                weight.Layout.DequantizeRow(weight.Pointer, output, inputs, row);
                weight.Layout.Dequantize(
                    weight.Pointer + output / WeightPanels.Width * weight.Layout.PanelBytes(inputs), 0, inputs, panel);
                for (int input = 0; input < inputs; input++)
                {
                    Assert.Equal(weight.Value(output, input), row[input]);
                    Assert.Equal(row[input], panel[input * WeightPanels.Width + output % WeightPanels.Width]);
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void In_float32_a_product_is_the_chain_over_the_values(int index)
    {
        foreach ((int M, int N, int K) in new[] { (1, 33, 70), (14, 40, 300), (3, 64, 17) })
        {
            using var weight = new Weight(s_formats[index], N, K);
            float[] x = GemmReference.Random(M * K, 1), bias = GemmReference.Random(N, 2), expected = new float[M * N];
            GemmReference.Multiply((m, k) => x[m * K + k], (k, n) => weight.Value(n, k), expected, N, M, N, K, false, bias);
            GemmReference.AssertSameBits(expected, Run(weight, x, bias, M, null), $"{s_formats[index]} {M} {N} {K}");
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void Assembled_and_managed_kernels_have_the_same_bits(int index)
    {
        if (!QuantizedGemm.HasDotProducts)
            Assert.Skip("The processor has neither AVX512_VNNI nor AVX-VNNI.");
        for (int M = 1; M <= 18; M++)
            Compare(M, 33 + M, 60 + 7 * M);
        Compare(1, 32, 1);
        Compare(40, 70, 1100);
        Compare(270, 40, 530);

        void Compare(int M, int N, int K)
        {
            using var weight = new Weight(s_formats[index], N, K);
            float[] x = GemmReference.Random(M * K, 1), bias = GemmReference.Random(N, 2);
            float[] managed = Run(weight, x, bias, M, QuantizedInstruction.Managed);
            if (QuantizedKernels.AreAvailable)
                GemmReference.AssertSameBits(managed, Run(weight, x, bias, M, QuantizedInstruction.DotProducts),
                    $"{s_formats[index]} {M} {N} {K}");
            if (QuantizedVectors.AreAvailable)
                GemmReference.AssertSameBits(managed, Run(weight, x, bias, M, QuantizedInstruction.Vectors),
                    $"vectors {s_formats[index]} {M} {N} {K}");
            if (QuantizedKernels.HasMatrices)
                GemmReference.AssertSameBits(managed, Run(weight, x, bias, M, QuantizedInstruction.Matrices),
                    $"matrices {s_formats[index]} {M} {N} {K}");
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void A_row_has_the_same_bits_alone_and_is_near_the_exact_product(int index)
    {
        const int M = 9, N = 40, K = 1100;
        using var weight = new Weight(s_formats[index], N, K);
        float[] x = GemmReference.Random(M * K, 1), bias = new float[N], rounded = Run(weight, x, bias, M, Here),
            exact = Run(weight, x, bias, M, null);
        for (int row = 0; row < M; row++)
            GemmReference.AssertSameBits(rounded[(row * N)..((row + 1) * N)],
                Run(weight, x[(row * K)..((row + 1) * K)], bias, 1, Here), $"row {row}");
        double norm = Math.Sqrt(exact.Sum(value => (double)value * value)),
            distance = Math.Sqrt(exact.Zip(rounded).Sum(pair => Math.Pow(pair.First - pair.Second, 2)));
        // 8 bits with a scale for each block: half a step of 1/127 of the block's largest number, over √3.
        Assert.InRange(distance / norm, 1e-5, 0.02);
    }

    [Fact]
    public void A_row_that_is_no_number_gives_none_and_others_are_unharmed()
    {
        const int M = 3, N = 40, K = 64;
        using var weight = new Weight(QuantizedFormat.Q4, N, K);
        float[] x = GemmReference.Random(M * K, 1);
        x[K + 5] = float.NaN;
        foreach (QuantizedInstruction? instruction in (QuantizedInstruction?[])[QuantizedInstruction.Managed, Here, null])
        {
            float[] y = Run(weight, x, new float[N], M, instruction);
            Assert.All(y[N..(2 * N)], value => Assert.True(float.IsNaN(value)));
            Assert.All(y[..N], value => Assert.True(float.IsFinite(value)));
            Assert.All(y[(2 * N)..], value => Assert.True(float.IsFinite(value)));
        }
    }

    [Theory]
    [InlineData(32, 32)]
    [InlineData(32, 9)]
    [InlineData(16, 16)]
    [InlineData(16, 1)]
    public void Activations_are_rounded_to_nearest_even(int block, int count)
    {
        sbyte* codes = stackalloc sbyte[block];
        for (int seed = 0; seed < 50; seed++)
        {
            float[] x = GemmReference.Random(count, seed);
            // A tie, where there is room for one.
            if (count > 4)
                (x[0], x[1], x[2]) = (127, 2.5f, -0.5f);
            float largest = x.Max(Math.Abs), inverse = 127f / largest;
            int[] expected = Array.ConvertAll(x, value => (int)MathF.Round(value * inverse));
            ActivationBlock info;
            fixed (float* px = x)
                info = QuantizedActivations.Round(px, count, block, 8, codes);
            for (int index = 0; index < block; index++)
                Assert.Equal(index < count ? expected[index] : 0, codes[index]);
            int sum = expected.Sum();
            Assert.Equal((largest / 127f, -8 * sum, largest / 127f * sum, (float)sum),
                (info.Scale, info.Start, info.ScaledSum, info.Sum));
        }

        float[] faults = new float[count];
        foreach (float fault in (float[])[float.NaN, float.NegativeInfinity])
        {
            faults[^1] = fault;
            fixed (float* px = faults)
                Assert.True(float.IsNaN(QuantizedActivations.Round(px, count, block, 8, codes).Scale));
        }

        faults[^1] = float.Epsilon;
        fixed (float* px = faults)
            Assert.Equal(default, QuantizedActivations.Round(px, count, block, 8, codes));
    }

    [Fact]
    public void Formats_without_integer_codes_have_no_layout()
    {
        Assert.Null(QuantizedLayout.Of(new QuantizedFormat(CodeType.NormalFloat4, 64, HasMinimum: false)));
        Assert.Null(QuantizedLayout.Of(new QuantizedFormat(CodeType.Float8E4M3, 256, HasMinimum: false)));
        Assert.Null(QuantizedLayout.Of(new QuantizedFormat(CodeType.Int4, 24, HasMinimum: false)));
        Assert.Null(QuantizedLayout.Of(new QuantizedFormat(CodeType.Int4, 32, HasMinimum: false) { SuperBlockSize = 96 }));
    }

    /// <summary>Bits of a weight in a format's panels, of sizes that need no padding.</summary>
    [Fact]
    public void A_weight_takes_in_memory_what_its_format_does_on_disk()
    {
        foreach ((QuantizedFormat format, double bits) in ((QuantizedFormat, double)[])
        [
            (QuantizedFormat.Q4, 4.5), (QuantizedFormat.Q8, 8.5), (GgufType.Q4_1.Format()!, 5), (GgufType.Q5_0.Format()!, 5.5),
            (GgufType.Q5_1.Format()!, 6), (GgufType.Q6_K.Format()!, 6.5625),
            // 4.5 and 5.5 on disk, where the integers have 6 bits.
            (GgufType.Q4_K.Format()!, 4.625), (GgufType.Q5_K.Format()!, 5.625),
            // 2.625, 3.4375 and 4.25.
            (GgufType.Q2_K.Format()!, 5.125), (GgufType.Q3_K.Format()!, 4.5625), (GgufType.IQ4_XS.Format()!, 8.3125),
            (new(CodeType.Int4, 128, false) { HasHalfScales = true }, 4.125),
            // 4.15625, where zeros have 4 bits.
            (new(CodeType.UInt4, 128, true) { HasHalfScales = true, HasZeroPoints = true }, 4.1875),
        ])
        {
            var shape = new Shape(96, 5120);
            Assert.Equal(bits, QuantizedLayout.Of(format)!.Value.BytesOf(shape) * 8.0 / shape.ElementCount);
            Assert.Equal(format.BytesOf(shape), QuantizedLayout.Of(format)!.Value.BytesOf(shape));
        }
    }

    /// <param name="weight">The weight.</param>
    /// <param name="x">Activations.</param>
    /// <param name="bias">The bias.</param>
    /// <param name="M">Their rows.</param>
    /// <param name="instruction">Which kernels; null for float32.</param>
    private static float[] Run(Weight weight, float[] x, float[] bias, int M, QuantizedInstruction? instruction)
    {
        int N = weight.Outputs, K = weight.Inputs;
        var y = new float[M * N];
        fixed (float* px = x, py = y, pb = bias)
        {
            var product = new QuantizedProduct
            {
                X = px,
                XRow = K,
                Panels = weight.Pointer,
                Layout = weight.Layout,
                Bias = pb,
                Y = py,
                YRow = N,
                Rows = M,
                Columns = N,
                Steps = K,
            };
            if (instruction is { } kernels)
                QuantizedGemm.Run(product, 2, kernels);
            else
                QuantizedGemm.RunFloat32(product, 2);
        }

        return y;
    }

    /// <summary>Random codes and scales of a format, on a device.</summary>
    private sealed class Weight : IDisposable
    {
        private readonly CpuDevice _device = new();
        private readonly QuantizedElements _elements;
        private readonly Tensor _tensor;
        private float[]? _values;

        public Weight(QuantizedFormat format, int outputs, int inputs)
        {
            (Outputs, Inputs) = (outputs, inputs);
            _elements = QuantizedElements.Random(format, new Shape(outputs, inputs), 7);
            _tensor = _device.AllocateTensor(_elements.Type);
            _elements.Upload(_device, _tensor);
        }

        public int Outputs { get; }

        public int Inputs { get; }

        public QuantizedLayout Layout => QuantizedLayout.Of(_tensor.Type);

        public byte* Pointer => (byte*)CpuMemory.Pointer(_tensor);

        public float Value(int output, int input) => (_values ??= _elements.Values())[output * Inputs + input];

        public void Dispose()
        {
            _tensor.Memory.Dispose();
            _device.Dispose();
        }
    }
}
