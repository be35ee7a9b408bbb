using Skylight.Cpu;
using Skylight.Cpu.Assembly;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Tests.Cpu;

/// <summary>Products with codes that are no integers: every block, every height of a tile, all ways to compute them.</summary>
public sealed unsafe class FloatCodeTests
{
    // A scale for all inputs of a shape below, blocks of the format, longer ones that are cut, and the smallest.
    private static readonly QuantizedFormat[] s_formats =
    [
        new(CodeType.Float8E4M3, 1120, HasMinimum: false), new(CodeType.Float8E4M3, 128, HasMinimum: false),
        new(CodeType.Float8E4M3, 320, HasMinimum: false), new(CodeType.NormalFloat4, 64, HasMinimum: false),
        new(CodeType.NormalFloat4, 1024, HasMinimum: false), new(CodeType.NormalFloat4, 32, HasMinimum: false),
    ];

    public static TheoryData<int> Formats => [.. Enumerable.Range(0, s_formats.Length)];

    [Theory]
    [InlineData(1120, 1120, 256)]
    [InlineData(896, 900, 224)]
    [InlineData(128, 1024, 128)]
    [InlineData(1024, 2048, 256)]
    [InlineData(320, 960, 160)]
    [InlineData(32, 64, 32)]
    [InlineData(4096, 100, 256)]
    public void Blocks_are_cut_where_the_format_has_longer_ones(int formatBlock, int inputs, int block)
    {
        var format = new QuantizedFormat(CodeType.NormalFloat4, formatBlock, HasMinimum: false);
        FloatCodeLayout layout = FloatCodeLayout.Of(TensorType.Quantized(format, new Shape(70, inputs)))!.Value;
        Assert.Equal(block, layout.Block);
        int blocks = (inputs + block - 1) / block, chunks = (inputs + 31) / 32;
        Assert.Equal(3 * (blocks * 128 + chunks * 512), layout.BytesOf(70));
    }

    [Fact]
    public void Other_formats_have_no_layout()
    {
        foreach (QuantizedFormat format in (QuantizedFormat[])[QuantizedFormat.Q8, new(CodeType.NormalFloat4, 16, false),
            new(CodeType.Float8E4M3, 88, false), new(CodeType.Float8E4M3, 64, HasMinimum: true)])
            Assert.False(FloatCodeLayout.Supports(format), $"{format}");
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void Codes_come_back_as_the_values_they_stand_for(int index)
    {
        float* panel = stackalloc float[WeightPanels.Width * 300];
        foreach ((int outputs, int inputs) in new[] { (1, 1), (33, 70), (64, 256), (40, 15), (70, 300) })
        {
            using var weight = new Weight(s_formats[index], outputs, inputs);
            var row = new float[inputs];
            for (int output = 0; output < outputs; output++)
            {
                weight.Layout.DequantizeRow(weight.Pointer, output, row);
                FloatCodeValues.Write(weight.Layout,
                    weight.Pointer + output / WeightPanels.Width * weight.Layout.PanelBytes, 0, inputs, true, panel);
                for (int input = 0; input < inputs; input++)
                {
                    Assert.Equal(weight.Values[output * inputs + input], row[input]);
                    Assert.Equal(row[input], panel[input * WeightPanels.Width + output % WeightPanels.Width]);
                }
            }
        }
    }

    [Fact]
    public void Every_code_of_8_bits_has_its_value()
    {
        var format = new QuantizedFormat(CodeType.Float8E4M3, 256, HasMinimum: false);
        var device = new CpuDevice();
        Tensor tensor = device.AllocateTensor(TensorType.Quantized(format, new Shape(1, 256)));
        // What stands for no number is refused where checkpoints are read.
        sbyte[] codes = [.. Enumerable.Range(0, 256).Select(code => (code & 0x7F) == 0x7F ? (sbyte)0 : (sbyte)(byte)code)];
        device.UploadCodes(tensor, codes, [1], []);
        FloatCodeLayout layout = FloatCodeLayout.Of(tensor.Type)!.Value;
        float* values = stackalloc float[256 * WeightPanels.Width];
        FloatCodeValues.Write(layout, (byte*)CpuMemory.Pointer(tensor), 0, 256, true, values);
        var x = new float[256];
        float[] y = new float[1], managed = new float[1];
        for (int code = 0; code < 256; code++)
        {
            float expected = CodeType.Float8E4M3.Values()[(byte)codes[code]];
            Assert.Equal(expected, values[code * WeightPanels.Width]);
            // One input alone gives one code's value.
            Array.Clear(x);
            x[code] = 1;
            fixed (float* px = x, py = y, pm = managed)
            {
                Gemm.MultiplyCodes(layout, (byte*)CpuMemory.Pointer(tensor), px, null, py, 1, 1, 1, DataType.BFloat16, 1);
                BFloat16Gemm.RunManaged(Operands(layout, (byte*)CpuMemory.Pointer(tensor), px, null, pm, 1, 1), 1);
            }

            Assert.Equal((expected, expected), (y[0], managed[0]));
        }

        tensor.Memory.Dispose();
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void In_float32_a_product_is_the_chain_over_the_values(int index)
    {
        foreach ((int M, int N, int K) in new[] { (1, 33, 70), (14, 40, 300), (3, 64, 17), (1, 130, 1100), (1, 1, 1) })
        {
            using var weight = new Weight(s_formats[index], N, K);
            float[] x = GemmReference.Random(M * K, 1), bias = GemmReference.Random(N, 2), expected = new float[M * N];
            GemmReference.Multiply((m, k) => x[m * K + k], (k, n) => weight.Values[n * K + k], expected, N, M, N, K, false, bias);
            GemmReference.AssertSameBits(expected, Run(weight, x, bias, M, DataType.Float32), $"{s_formats[index]} {M} {N} {K}");
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void In_bfloat16_a_product_is_the_chain_of_each_block_scaled(int index)
    {
        for (int M = 1; M <= 28; M++)
            Compare(M, 33 + M, 60 + 7 * M);
        Compare(1, 32, 1);
        if (!VectorWidthTests.IsNarrowed)
        {
            Compare(40, 70, 1100);
            Compare(270, 40, 530);
        }

        void Compare(int M, int N, int K)
        {
            using var weight = new Weight(s_formats[index], N, K);
            float[] x = GemmReference.Random(M * K, 1), bias = GemmReference.Random(N, 2),
                y = new float[M * N];
            string what = $"{s_formats[index]} {M} {N} {K}";
            fixed (float* px = x, pb = bias, py = y)
            {
                GemmOperands operands = Operands(weight.Layout, weight.Pointer, px, pb, py, M, N);
                foreach (BFloat16Instruction instruction in Enum.GetValues<BFloat16Instruction>())
                {
                    if (!BFloat16Kernels.Has(instruction) || !FloatCodeKernels.AreAvailable(weight.Layout.Codes))
                        continue;
                    BFloat16Gemm.Run(operands, 2, instruction);
                    GemmReference.AssertSameBits(Reference(weight, GemmReference.RoundToBFloat16(x), bias, M, instruction), y,
                        $"{instruction} {what}");
                }

                BFloat16Gemm.RunManaged(operands, 2);
                GemmReference.AssertSameBits(
                    Reference(weight, GemmReference.RoundToBFloat16(x), bias, M, BFloat16Instruction.DotProducts), y,
                    $"managed {what}");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void A_row_has_the_same_bits_alone_and_is_near_the_exact_product(int index)
    {
        const int M = 29, N = 40, K = 1100;
        using var weight = new Weight(s_formats[index], N, K);
        float[] x = GemmReference.Random(M * K, 1), bias = new float[N], rounded = Run(weight, x, bias, M, DataType.BFloat16),
            exact = Run(weight, x, bias, M, DataType.Float32);
        for (int row = 0; row < M; row++)
            GemmReference.AssertSameBits(rounded[(row * N)..((row + 1) * N)],
                Run(weight, x[(row * K)..((row + 1) * K)], bias, 1, DataType.BFloat16), $"row {row}");
        double norm = Math.Sqrt(exact.Sum(value => (double)value * value)),
            distance = Math.Sqrt(exact.Zip(rounded).Sum(pair => Math.Pow(pair.First - pair.Second, 2)));
        // 8 bits of mantissa, rounded: 2^-9 at most, of activations and of NF4's table.
        Assert.InRange(distance / norm, 1e-5, 0.004);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public void A_row_that_is_no_number_gives_none_and_others_are_unharmed(int index)
    {
        const int M = 3, N = 40, K = 64;
        using var weight = new Weight(s_formats[index], N, K);
        float[] x = GemmReference.Random(M * K, 1);
        x[K + 5] = float.NaN;
        foreach (DataType compute in (DataType[])[DataType.Float32, DataType.BFloat16])
        {
            float[] y = Run(weight, x, new float[N], M, compute);
            Assert.All(y[N..(2 * N)], value => Assert.True(float.IsNaN(value)));
            Assert.All(y[..N], value => Assert.True(float.IsFinite(value)));
            Assert.All(y[(2 * N)..], value => Assert.True(float.IsFinite(value)));
        }
    }

    [Fact]
    public void Where_the_processor_has_the_instructions_kernels_are_assembled()
    {
        if (!BFloat16Kernels.AreAvailable)
            Assert.Skip("The processor has no AVX512_BF16.");
        Assert.True(FloatCodeKernels.AreAvailable(CodeType.NormalFloat4));
        Assert.Equal(ProcessorFeatures.HasVbmi, FloatCodeKernels.AreAvailable(CodeType.Float8E4M3));
    }

    /// <summary>What the products are by their definition.</summary>
    private static float[] Reference(Weight weight, float[] x, float[] bias, int M, BFloat16Instruction instruction)
    {
        int N = weight.Outputs, K = weight.Inputs;
        var y = new float[M * N];
        float[] values = [.. weight.Elements.Type.Format!.Codes.Values().ToArray().Select(value => (float)(BFloat16)value)];
        int mask = values.Length - 1, blocks = weight.Elements.Type.Format.BlocksOf(K);
        for (int row = 0; row < M; row++)
        {
            for (int output = 0; output < N; output++)
            {
                float sum = 0;
                var block = new float[1];
                for (int start = 0; start < K; start += weight.Layout.Block)
                {
                    int first = start;
                    GemmReference.Chain chain = instruction == BFloat16Instruction.Matrices
                        ? GemmReference.MultiplyInChunks : GemmReference.Multiply;
                    chain((_, k) => x[row * K + first + k],
                        (k, _) => values[weight.Elements.Codes[output * K + first + k] & mask], block, 1, 1, 1,
                        Math.Min(weight.Layout.Block, K - start), false);
                    float scale = weight.Elements.Scales[output * blocks + start / weight.Elements.Type.Format.BlockSize];
                    sum = MathF.FusedMultiplyAdd(block[0], scale, sum);
                }

                y[row * N + output] = sum + bias[output];
            }
        }

        return y;
    }

    private static float[] Run(Weight weight, float[] x, float[] bias, int M, DataType compute)
    {
        var y = new float[M * weight.Outputs];
        fixed (float* px = x, py = y, pb = bias)
            Gemm.MultiplyCodes(weight.Layout, weight.Pointer, px, pb, py, weight.Outputs, M, weight.Outputs, compute, 2);
        return y;
    }

    private static GemmOperands Operands(FloatCodeLayout layout, byte* panels, float* x, float* bias, float* y, int M, int N) =>
        new()
        {
            A = x,
            ARow = layout.Inputs,
            AStep = 1,
            Layout = RightOperand.FloatCodePanels,
            B = panels,
            BStride = (nint)layout.PanelBytes,
            Codes = layout,
            C = y,
            CRow = N,
            CPanel = WeightPanels.Width,
            Bias = bias,
            Rows = M,
            Columns = N,
            Steps = layout.Inputs,
        };

    /// <summary>Random codes and scales of a format, on a device.</summary>
    private sealed class Weight : IDisposable
    {
        private readonly CpuDevice _device = new();
        private readonly Tensor _tensor;

        public Weight(QuantizedFormat format, int outputs, int inputs)
        {
            Elements = QuantizedElements.Random(format, new Shape(outputs, inputs), 7);
            Values = Elements.Values();
            _tensor = _device.AllocateTensor(Elements.Type);
            Elements.Upload(_device, _tensor);
        }

        public QuantizedElements Elements { get; }

        public float[] Values { get; }

        public int Outputs => Elements.Type.Shape.Rows;

        public int Inputs => Elements.Type.Shape.Columns;

        public FloatCodeLayout Layout => FloatCodeLayout.Of(_tensor.Type)!.Value;

        public byte* Pointer => (byte*)CpuMemory.Pointer(_tensor);

        public void Dispose()
        {
            _tensor.Memory.Dispose();
            _device.Dispose();
        }
    }
}
