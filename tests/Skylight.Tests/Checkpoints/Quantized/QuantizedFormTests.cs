using Skylight.Checkpoints;
using Skylight.Tensors;

namespace Skylight.Tests.Checkpoints.Quantized;

/// <summary>Every form's packing against a formula: values, rows from anywhere, and codes with scales.</summary>
public sealed class QuantizedFormTests
{
    private static readonly int[] AwqOrder = [0, 2, 4, 6, 1, 3, 5, 7];

    [Theory]
    [InlineData(40, 96, 32, true, true)]
    [InlineData(16, 64, -1, true, true)]
    [InlineData(24, 200, 40, true, true)]
    [InlineData(8, 64, 64, false, true)]
    [InlineData(24, 96, 48, false, false)]
    public void Awq(int outputs, int inputs, int group, bool zeroPoint, bool hasZeros)
    {
        int size = group < 0 ? inputs : group, groups = inputs / size;
        uint Zero(int g, int o) => zeroPoint ? (uint)(g * 5 + o * 3) % 16 : 8;
        using var folder = new QuantizedFolder();
        folder.Words("x.qweight", inputs, outputs / 8, (input, word) => Pack(4, n => Code(word * 8 + AwqOrder[n], input)))
            .Halves("x.scales", groups, outputs, Scale);
        if (hasZeros)
            folder.Words("x.qzeros", groups, outputs / 8, (g, word) => Pack(4, n => Zero(g, word * 8 + AwqOrder[n])));
        using CheckpointReader reader = CheckpointReader.Open(folder.Write(
            $$"""{"quant_method": "awq", "bits": 4, "group_size": {{group}}, "zero_point": {{(zeroPoint ? "true" : "false")}}, "version": "GEMM"}"""));
        CheckpointTensor tensor = Check(reader, outputs, inputs,
            (output, input) => ((int)Code(output, input) - (int)Zero(input / size, output)) * Scale(input / size, output));
        Assert.Equal(
            new QuantizedFormat(zeroPoint ? CodeType.UInt4 : CodeType.Int4, size, zeroPoint)
            {
                HasHalfScales = true,
                HasZeroPoints = zeroPoint,
            }, tensor.Format);
        Assert.Equal(folder.Tensors.Values.Sum(part => part.Bytes.Length), tensor.StoredBytes);
        Assert.StartsWith("AWQ 4-bit", tensor.TypeName, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(4, 40, 96, 32, false, true, "")]
    [InlineData(4, 40, 96, 32, false, false, "")]
    [InlineData(4, 16, 64, -1, false, true, "")]
    [InlineData(4, 16, 80, 32, false, true, "")]
    [InlineData(4, 16, 64, 32, true, true, "")]
    [InlineData(4, 16, 64, 16, false, true, ", act-order")]
    [InlineData(4, 16, 64, 16, true, false, ", act-order")]
    [InlineData(4, 16, 80, 32, false, true, ", act-order")]
    [InlineData(4, 16, 80, 32, true, true, ", act-order in unequal groups")]
    [InlineData(8, 20, 96, 32, false, true, "")]
    [InlineData(8, 20, 96, 32, true, true, "")]
    [InlineData(8, 20, 64, 32, false, false, ", act-order")]
    [InlineData(8, 20, 64, 32, false, false, ", act-order in unequal groups")]
    public void Gptq(int bits, int outputs, int inputs, int group, bool symmetric, bool first, string order)
    {
        int size = group < 0 ? inputs : group, groups = (inputs + size - 1) / size, pack = 32 / bits;
        bool isOrdered = order == ", act-order", hasFormat = isOrdered || order.Length == 0;
        // A zero of 0 borrows from its neighbours in the first version, which taking one off the whole word does.
        uint Zero(int g, int o) => symmetric ? 1u << (bits - 1) : (uint)(g * 5 + o * 3) % (bits == 4 ? 16u : 250u);
        // Of unequal groups the first lacks an input that the last has beside its own.
        int GroupOf(int input) => isOrdered ? input * 7 % inputs / size : !hasFormat && input == 0 ? groups - 1 : input / size;
        uint one = !first ? 0 : bits == 4 ? 0x11111111u : 0x01010101u;
        using var folder = new QuantizedFolder();
        folder.Words("x.qweight", inputs / pack, outputs, (word, output) => Pack(bits, n => Code(output, word * pack + n, bits)))
            .Halves("x.scales", groups, outputs, Scale)
            .Words("x.qzeros", groups, outputs / pack, (g, word) => Pack(bits, n => Zero(g, word * pack + n)) - one)
            .Add("x.g_idx", "I32", [inputs], [.. Enumerable.Range(0, inputs).SelectMany(input => BitConverter.GetBytes(GroupOf(input)))]);
        using CheckpointReader reader = CheckpointReader.Open(folder.Write(
            $$"""{"quant_method": "gptq", "bits": {{bits}}, "group_size": {{group}}, "sym": {{(symmetric ? "true" : "false")}}, "desc_act": {{(order.Length > 0 ? "true" : "false")}}, "checkpoint_format": "{{(first ? "gptq" : "gptq_v2")}}", "dynamic": { } }"""));
        CheckpointTensor tensor = Check(reader, outputs, inputs, (output, input) =>
            ((int)Code(output, input, bits) - (int)Zero(GroupOf(input), output)) * Scale(GroupOf(input), output));
        Assert.Equal(!hasFormat ? null : new QuantizedFormat(
            bits == 8 ? CodeType.Int8 : symmetric ? CodeType.Int4 : CodeType.UInt4, size, !symmetric)
        {
            HasHalfScales = true,
            HasZeroPoints = bits == 4 && !symmetric,
            HasInputOrder = isOrdered,
        }, tensor.Format);
        Assert.EndsWith((group < 0 ? "a group an output" : $"group {group}") + order, tensor.TypeName, StringComparison.Ordinal);
        Assert.Equal(isOrdered ? Enumerable.Range(0, inputs).OrderBy(GroupOf) : [], tensor.InputOrder.ToArray());
        if (!hasFormat)
            Assert.Throws<NotSupportedException>(() => tensor.ReadCodes(0, 1, new sbyte[inputs], new float[groups], []));
    }

    [Fact]
    public void Gptq_without_an_index_of_groups_has_them_in_order_and_biases_of_zeros_are_passed_over()
    {
        using var folder = new QuantizedFolder();
        folder.Words("x.qweight", 8, 16, (word, output) => Pack(4, n => Code(output, word * 8 + n)))
            .Halves("x.scales", 2, 16, Scale).Words("x.qzeros", 2, 2, (_, _) => 0x77777777u);
        using CheckpointReader reader = CheckpointReader.Open(folder.Write("""{"quant_method": "gptq", "bits": 4, "group_size": 32}"""));
        Check(reader, 16, 64, (output, input) => ((int)Code(output, input) - 8) * Scale(input / 32, output));
    }

    [Theory]
    [InlineData("tensor", "[]")]
    [InlineData("tensor", "[1]")]
    [InlineData("channel", "[20,1]")]
    [InlineData("channel", "[20]")]
    [InlineData("group", "[20,3]")]
    [InlineData("block", "[3,2]")]
    [InlineData("fp8-block", "[3,2]")]
    [InlineData("fp8-tensor", "[]")]
    public void Float8(string strategy, string shape)
    {
        const int Outputs = 20, Inputs = 96;
        int[] extents = System.Text.Json.JsonSerializer.Deserialize<int[]>(shape)!;
        string kind = strategy.Split('-')[^1];
        (int rows, int columns) = kind switch { "tensor" => (Outputs, Inputs), "channel" => (1, Inputs), "group" => (1, 32), _ => (8, 64) };
        int width = (Inputs + columns - 1) / columns;
        float ScaleAt(int index) => (1 + index % 7) * 0.0078125f;
        // All 256 codes but the two that are no numbers.
        byte CodeAt(int index) => (index * 37 & 0x7F) == 0x7F ? (byte)0 : (byte)(index * 37);
        using var folder = new QuantizedFolder();
        folder.Add("x.weight", "F8_E4M3", [Outputs, Inputs], [.. Enumerable.Range(0, Outputs * Inputs).Select(CodeAt)])
            .Floats(strategy == "fp8-block" ? "x.weight_scale_inv" : "x.weight_scale", extents, ScaleAt)
            .Floats("x.input_scale", [1], _ => 3);
        using CheckpointReader reader = CheckpointReader.Open(folder.Write(strategy switch
        {
            "fp8-block" => """{"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [8, 64]}""",
            "fp8-tensor" => """{"quant_method": "fp8", "activation_scheme": "static"}""",
            _ => $$"""
                {"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"], "sparsity_config": {"format": "dense"}, "transform_config": {}, "config_groups": {"group_0": {"targets": ["Linear"],
                "weights": {"num_bits": 8, "type": "float", "strategy": "{{kind}}", "group_size": {{(kind == "group" ? "32" : "null")}}, "block_structure": {{(kind == "block" ? "[8, 64]" : "null")}}, "symmetric": true},
                "input_activations": {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": false} } } }
                """,
        }));
        CheckpointTensor tensor = Check(reader, Outputs, Inputs, (output, input) =>
            Float8Value(CodeAt(output * Inputs + input)) * ScaleAt(output / rows * width + input / columns));
        Assert.Equal(new QuantizedFormat(CodeType.Float8E4M3, columns, false), tensor.Format);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void NormalFloat4(bool nested)
    {
        const int Outputs = 12, Inputs = 192, Blocks = Outputs * Inputs / 64;
        float[] table =
        [
            -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
            -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
            0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f,
            1.0f,
        ];
        float NestedTable(int i) => (i - 128) / 128f;
        float AbsMax(int block) => nested ? NestedTable(block * 5 % 256) * (1 + block / 8) + 0.25f : 0.5f + block * 0.125f;
        using var folder = new QuantizedFolder();
        folder.Add("x.weight", "U8", [Outputs * Inputs / 2, 1], [.. Enumerable.Range(0, Outputs * Inputs / 2).Select(i =>
                (byte)(Code(2 * i / Inputs, 2 * i % Inputs) << 4 | Code((2 * i + 1) / Inputs, (2 * i + 1) % Inputs)))])
            .Floats("x.weight.quant_map", [16], i => table[i])
            .Add("x.weight.quant_state.bitsandbytes__nf4", "U8", [0], []);
        byte[] state = System.Text.Encoding.UTF8.GetBytes(
            """{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [12, 192], "nested_blocksize": 8, "nested_dtype": "float32", "nested_offset": 0.25}""");
        folder.Add("x.weight.quant_state.bitsandbytes__nf4", "U8", [state.Length], state);
        if (nested)
            folder.Add("x.weight.absmax", "U8", [Blocks], [.. Enumerable.Range(0, Blocks).Select(block => (byte)(block * 5 % 256))])
                .Floats("x.weight.nested_absmax", [(Blocks + 7) / 8], i => 1 + i).Floats("x.weight.nested_quant_map", [256], NestedTable);
        else
            folder.Floats("x.weight.absmax", [Blocks], AbsMax);
        using CheckpointReader reader = CheckpointReader.Open(folder.Write(
            """{"quant_method": "bitsandbytes", "load_in_4bit": true, "load_in_8bit": false, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": true}"""));
        CheckpointTensor tensor = Check(reader, Outputs, Inputs, (output, input) =>
            table[Code(output, input)] * AbsMax((output * Inputs + input) / 64));
        Assert.Equal(new QuantizedFormat(CodeType.NormalFloat4, 64, false), tensor.Format);
        Assert.Equal(folder.Tensors.Values.Sum(part => part.Bytes.Length), tensor.StoredBytes);
    }

    private static uint Code(int output, int input, int bits = 4) =>
        (uint)(output * 11 + input * 7 + output * input) % (1u << bits);

    private static float Scale(int group, int output) => (float)(Half)((1 + (group * 3 + output) % 13) * 0.0123f);

    private static uint Pack(int bits, Func<int, uint> code) =>
        (uint)Enumerable.Range(0, 32 / bits).Sum(n => (long)code(n) << (bits * n));

    private static float Float8Value(byte code)
    {
        int exponent = code >> 3 & 15;
        double magnitude = exponent == 0 ? (code & 7) / 8.0 * Math.Pow(2, -6)
            : (1 + (code & 7) / 8.0) * Math.Pow(2, exponent - 7);
        return (float)(code < 128 ? magnitude : -magnitude);
    }

    /// <summary>Holds a weight to a formula: whole, rows from anywhere, rounded, and by its codes and scales.</summary>
    private static CheckpointTensor Check(CheckpointReader reader, int outputs, int inputs, Func<int, int, float> value)
    {
        CheckpointTensor tensor = Assert.Single(reader.Tensors);
        Assert.Equal(("x.weight", new Shape(outputs, inputs), true, null),
            (tensor.Name, tensor.Shape, tensor.IsFloatingPoint, tensor.ElementType));
        Assert.True(reader.IsQuantized);
        float[] expected = [.. Enumerable.Range(0, outputs * inputs).Select(i => value(i / inputs, i % inputs))];
        foreach ((int first, int rows) in ((int, int)[])[(0, outputs), (3, 2), (outputs - 1, 1), (1, outputs - 2)])
        {
            float[] found = new float[rows * inputs];
            tensor.ReadFloat32((long)first * inputs, found);
            Assert.Equal(expected[(first * inputs)..((first + rows) * inputs)], found);
            var rounded = new BFloat16[found.Length];
            tensor.ReadBFloat16((long)first * inputs, rounded);
            Assert.Equal(found.Select(number => ((BFloat16)number).Bits), rounded.Select(number => number.Bits));
            if (tensor.Format is not { } format)
                continue;
            int blocks = format.BlocksOf(inputs);
            var codes = new sbyte[found.Length];
            float[] scales = new float[rows * blocks], minimums = new float[format.HasMinimum ? rows * blocks : 0];
            tensor.ReadCodes(first, rows, codes, scales, minimums);
            ReadOnlyMemory<int> order = tensor.InputOrder;
            float[] asCodes = order.IsEmpty ? found
                : [.. found.Select((_, i) => found[i / inputs * inputs + order.Span[i % inputs]])];
            if (format.Codes is CodeType.Int4 or CodeType.UInt4 or CodeType.Int8)
                Assert.Equal(asCodes, codes.Select((code, i) => scales[i / inputs * blocks + i % inputs / format.BlockSize] * code
                    + (format.HasMinimum ? minimums[i / inputs * blocks + i % inputs / format.BlockSize] : 0)));
            Assert.All(codes, code => Assert.InRange(code, format.Codes switch
            {
                CodeType.Int4 => -8,
                CodeType.UInt4 or CodeType.NormalFloat4 => 0,
                _ => sbyte.MinValue,
            }, format.Codes switch { CodeType.Int4 => 7, CodeType.UInt4 or CodeType.NormalFloat4 => 15, _ => sbyte.MaxValue }));
        }

        Assert.Throws<ArgumentException>(() => tensor.ReadFloat32(1, new float[inputs]));
        Assert.Throws<ArgumentException>(() => tensor.ReadFloat32(0, new float[inputs - 1]));
        Assert.Throws<ArgumentOutOfRangeException>(() => tensor.ReadFloat32((long)outputs * inputs, new float[inputs]));
        return tensor;
    }
}
