using System.Text;
using Skylight.Checkpoints;
using Skylight.Tensors;

namespace Skylight.Tests.Checkpoints.Quantized;

/// <summary>Quantised checkpoints that are not what they say.</summary>
public sealed class QuantizedFaultTests
{
    private const string Awq = """{"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": true, "version": "gemm"}""";
    private const string Gptq = """{"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": false}""";
    private const string NormalFloat = """{"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "nf4"}""";

    private const string Float8 = """
        {"quant_method": "compressed-tensors", "format": "float-quantized",
         "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}}}
        """;

    private static readonly float[] Table =
    [
        -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
        -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
        0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f,
    ];

    [Theory]
    [InlineData("awq", "x.scales", "no x.scales", "is missing, which the quantised weight x.weight needs")]
    [InlineData("awq", "x.qzeros", "no x.qzeros", "is missing")]
    [InlineData("awq", "x.scales", "x.scales [2,24]", "supported: [2, 16]")]
    [InlineData("awq", "x.scales", "x.scales [1,16]", "supported: [2, 16]")]
    [InlineData("awq", "x.qzeros", "x.qzeros [2,3]", "supported: [2, 2]")]
    [InlineData("awq", "x.qzeros", "x.qzeros F16 [2,2]", "holds F16; supported for AWQ 4-bit, group 32: I32")]
    [InlineData("awq", "x.qweight", "x.qweight F32 [64,2]", "holds F32")]
    [InlineData("awq", "x.qweight", "x.qweight [128]", "supported: a matrix")]
    [InlineData("awq", "x.qweight", "x.qweight [0,2]", "supported: a matrix")]
    [InlineData("awq", "x.qweight", "x.qweight [80,2]", "has 80 inputs, and 'group_size' in config.json is 32")]
    [InlineData("awq", "x.qweight", "x.g_idx [64]", "GPTQ's packing, but config.json says awq")]
    [InlineData("awq", "x.weight", "x.weight F32 [16,64]", "is also in model.safetensors")]
    [InlineData("gptq", "x.scales", "no x.scales", "is missing")]
    [InlineData("gptq", "x.qzeros", "no x.qzeros", "is missing")]
    [InlineData("gptq", "x.qzeros", "x.qzeros [2,16]", "supported: [2, 2]")]
    [InlineData("gptq", "x.scales", "x.scales [3,16]", "supported: [2, 16]")]
    [InlineData("gptq", "x.qweight", "x.qweight [8,12]", "a multiple of 8")]
    [InlineData("gptq", "x.g_idx", "x.g_idx [63]", "supported: [64]")]
    [InlineData("gptq", "x.g_idx", "x.g_idx F32 [64]", "holds F32")]
    [InlineData("gptq", "x.g_idx", "x.g_idx = 2", "is 2; supported: the groups 0 to 1")]
    [InlineData("gptq", "x.g_idx", "x.g_idx = -1", "is -1; supported: the groups 0 to 1")]
    [InlineData("fp8", "x.weight_scale", "no x.weight_scale", "is missing")]
    [InlineData("fp8", "x.weight_scale", "x.weight_scale BF16 [4,1]", "does not fit the weight [16, 64]")]
    [InlineData("fp8", "x.weight_scale", "x.weight_scale BF16 [1]", "does not fit the weight [16, 64]")]
    [InlineData("fp8", "x.weight_scale", "x.weight_scale [16,1]", "holds I32")]
    [InlineData("fp8", "x.weight", "x.weight F32 [16,64]", "holds F32; supported for FP8 E4M3, a scale an output: F8_E4M3")]
    [InlineData("nf4", "x.weight.absmax", "no x.weight.absmax", "is missing")]
    [InlineData("nf4", "x.weight.quant_map", "no x.weight.quant_map", "is missing")]
    [InlineData("nf4", "x.weight.quant_map", "x.weight.quant_map F32 [16]", "another table than that of NF4")]
    [InlineData("nf4", "x.weight.absmax", "x.weight.absmax F32 [15]", "has 15 elements; supported: 16")]
    [InlineData("nf4", "x.weight.nested_absmax", "x.weight.absmax U8 [16]", "is missing")]
    [InlineData("nf4", "x.weight", "x.weight U8 [100,1]", "has 100 bytes")]
    [InlineData("nf4", "x.weight.quant_state.bitsandbytes__nf4", "no x.weight.quant_state.bitsandbytes__nf4", "is missing")]
    [InlineData("nf4", "x.weight.quant_state.bitsandbytes__nf4", "x.weight.quant_state.bitsandbytes__nf4 U8 [5]", "not valid JSON")]
    public void Parts_that_do_not_fit_are_named(string form, string tensor, string damage, string expected)
    {
        using QuantizedFolder folder = Folder(form, out string config);
        string[] words = damage.Split(' ');
        if (words[0] == "no")
        {
            Assert.True(folder.Tensors.Remove(words[1]));
        }
        else if (words[1] == "=")
        {
            BitConverter.TryWriteBytes(folder.Tensors[words[0]].Bytes.AsSpan(40), int.Parse(words[2]));
        }
        else
        {
            string type = words.Length == 3 ? words[1] : words[0].EndsWith("scales", StringComparison.Ordinal) ? "F16" : "I32";
            int[] shape = System.Text.Json.JsonSerializer.Deserialize<int[]>(words[^1])!;
            int size = type switch { "I32" or "F32" => 4, "F16" or "BF16" => 2, _ => 1 };
            folder.Add(words[0], type, shape, new byte[shape.Aggregate(size, (product, extent) => product * extent)]);
        }

        CheckpointException error = Assert.Throws<CheckpointException>(() =>
            CheckpointReader.Open(folder.Write(config)).Dispose());
        Assert.Equal(tensor, error.Tensor);
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
        PlainWords.Check(error.Message);
    }

    [Theory]
    [InlineData("awq", "x.scales", 2, float.NaN, "its scale of output 5, block 1 is NaN")]
    [InlineData("gptq", "x.scales", 2, float.PositiveInfinity, "its scale of output 5, block 1 is Infinity")]
    [InlineData("nf4", "x.weight.absmax", 4, float.NaN, "its scale of output 5, block 0 is NaN")]
    public void A_scale_that_is_no_number_is_refused_when_it_is_read(string form, string tensor, int size, float number,
        string expected)
    {
        using QuantizedFolder folder = Folder(form, out string config);
        Span<byte> bytes = folder.Tensors[tensor].Bytes;
        if (size == 2)
            BitConverter.TryWriteBytes(bytes[(2 * (16 + 5))..], (Half)number);
        else
            BitConverter.TryWriteBytes(bytes[(4 * 5)..], number);
        using CheckpointReader reader = CheckpointReader.Open(folder.Write(config));
        CheckpointTensor weight = reader.Tensors.Single();
        weight.ReadFloat32(0, new float[5 * 64]);
        CheckpointException error = Assert.Throws<CheckpointException>(() => weight.ReadFloat32(0, new float[16 * 64]));
        Assert.Equal(tensor, error.Tensor);
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
        Assert.Throws<CheckpointException>(() => weight.ReadBFloat16(5 * 64, new BFloat16[64]));
    }

    [Fact]
    public void A_code_of_8_bit_floating_point_that_is_no_number_is_refused_when_it_is_read()
    {
        using QuantizedFolder folder = Folder("fp8", out string config);
        folder.Tensors["x.weight"].Bytes[5 * 64 + 7] = 0xFF;
        using CheckpointReader reader = CheckpointReader.Open(folder.Write(config));
        CheckpointException error = Assert.Throws<CheckpointException>(() =>
            reader.Tensors.Single().ReadFloat32(0, new float[16 * 64]));
        Assert.Contains("its code of output 5, input 7 stands for no number", error.Message, StringComparison.Ordinal);
        Assert.Equal("x.weight", error.Tensor);
    }

    [Theory]
    [InlineData("""{"bits": 4}""", "'quantization_config.quant_method' is missing")]
    [InlineData("""{"quant_method": "exl2"}""", "'exl2'; supported: awq")]
    [InlineData("""{"quant_method": "awq", "version": "gemv"}""", "'quantization_config.version' is 'gemv'; supported: 'gemm'")]
    [InlineData("""{"quant_method": "awq", "bits": 3}""", "'quantization_config.bits' is 3; supported for awq: 4")]
    [InlineData("""{"quant_method": "awq", "group_size": 0}""", "'quantization_config.group_size' is 0")]
    [InlineData("""{"quant_method": "awq", "group_size": -2}""", "'quantization_config.group_size' is -2")]
    [InlineData("""{"quant_method": "gptq", "bits": 2}""", "'quantization_config.bits' is 2; supported for gptq: 4 and 8")]
    [InlineData("""{"quant_method": "gptq", "checkpoint_format": "marlin"}""", "'marlin'; supported: 'gptq', 'gptq_v2'")]
    [InlineData("""{"quant_method": "gptq", "is_marlin_format": true}""", "is_marlin_format' is true")]
    [InlineData("""{"quant_method": "gptq", "pack_dtype": "int16"}""", "'int16'; supported: 'int32'")]
    [InlineData("""{"quant_method": "gptq", "dynamic": {"+:.*down": {"bits": 8}}}""", "dynamic' gives layers bits or groups of their own ('+:.*down')")]
    [InlineData("""{"quant_method": "fp8", "fmt": "e5m2"}""", "'e5m2'; supported: 'e4m3'")]
    [InlineData("""{"quant_method": "fp8", "weight_block_size": [128]}""", "has 1 numbers; supported: two")]
    [InlineData("""{"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {}}""", "'pack-quantized'; supported: 'float-quantized'")]
    [InlineData("""{"quant_method": "compressed-tensors", "config_groups": {}}""", "has no 'weights'")]
    [InlineData("""{"format": "float-quantized", "config_groups": {"a": {"weights": {"num_bits": 4, "type": "int"}}}}""", "'quantization_config.config_groups.a.weights' has 4 bits of type 'int'")]
    [InlineData("""{"format": "float-quantized", "config_groups": {"a": {"weights": {"symmetric": false}}}}""", "symmetric' is false")]
    [InlineData("""{"format": "float-quantized", "config_groups": {"a": {"weights": {"strategy": "token"}}}}""", "'token'; supported: 'tensor', 'channel', 'group', 'block'")]
    [InlineData("""{"format": "float-quantized", "config_groups": {"a": {"weights": {"strategy": "group"}}}}""", "group_size' is missing")]
    [InlineData("""{"format": "float-quantized", "config_groups": {"a": {"weights": {"strategy": "block"}}}}""", "block_structure' is no pair")]
    [InlineData("""{"format": "float-quantized", "transform_config": {"r1": 1}, "config_groups": {"a": {"weights": {}}}}""", "transform_config' is there")]
    [InlineData("""{"format": "float-quantized", "sparsity_config": {"format": "sparse-24-bitmask"}, "config_groups": {"a": {"weights": {}}}}""", "sparsity_config' is there")]
    [InlineData("""{"quant_method": "bitsandbytes", "load_in_8bit": true}""", "8-bit integers; supported for bitsandbytes")]
    [InlineData("""{"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "fp4"}""", "'fp4'; supported: 'nf4'")]
    [InlineData("""{"quant_method": "awq", "bits": "four"}""", "'quantization_config.bits' is \"four\"")]
    [InlineData("[]", "'quantization_config' is []; supported: an object")]
    public void A_configuration_of_another_form_is_refused_by_name(string quantization, string expected)
    {
        using QuantizedFolder folder = Folder("awq", out _);
        CheckpointException error = Assert.Throws<CheckpointException>(() =>
            CheckpointReader.Open(folder.Write(quantization)).Dispose());
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
        Assert.EndsWith("config.json", error.File, StringComparison.Ordinal);
        PlainWords.Check(error.Message);
    }

    [Fact]
    public void Tensors_of_another_form_than_the_configuration_says_are_found()
    {
        using QuantizedFolder awq = Folder("awq", out _), gptq = Folder("gptq", out _), plain = new();
        gptq.Tensors.Remove("x.g_idx");
        Assert.Contains("that is AWQ's packing, but config.json says gptq", Refusal(awq, Gptq), StringComparison.Ordinal);
        Assert.Contains("that is GPTQ's packing, but config.json says awq", Refusal(gptq, Awq), StringComparison.Ordinal);
        Assert.Contains("but no tensor is: none that ends in '.weight' holds F8_E4M3", Refusal(awq, Float8), StringComparison.Ordinal);
        Assert.Contains("but no tensor is", Refusal(plain.Floats("x.weight", [4, 4], i => i), Awq), StringComparison.Ordinal);

        static string Refusal(QuantizedFolder folder, string config) =>
            Assert.Throws<CheckpointException>(() => CheckpointReader.Open(folder.Write(config)).Dispose()).Message;
    }

    /// <summary>A weight [16, 64] in a form, whole.</summary>
    private static QuantizedFolder Folder(string form, out string config)
    {
        var folder = new QuantizedFolder();
        switch (form)
        {
            case "awq":
                config = Awq;
                return folder.Words("x.qweight", 64, 2, (_, _) => 0x12345678).Words("x.qzeros", 2, 2, (_, _) => 0x88888888)
                    .Halves("x.scales", 2, 16, (_, _) => 0.5f);
            case "gptq":
                config = Gptq;
                return folder.Words("x.qweight", 8, 16, (_, _) => 0x12345678).Words("x.qzeros", 2, 2, (_, _) => 0x77777777)
                    .Halves("x.scales", 2, 16, (_, _) => 0.5f)
                    .Add("x.g_idx", "I32", [64], [.. Enumerable.Range(0, 64).SelectMany(i => BitConverter.GetBytes(i / 32))]);
            case "fp8":
                config = Float8;
                return folder.Add("x.weight", "F8_E4M3", [16, 64], new byte[16 * 64])
                    .Add("x.weight_scale", "BF16", [16, 1], new byte[16 * 2]);
            default:
                config = NormalFloat;
                byte[] state = Encoding.UTF8.GetBytes("""{"quant_type": "nf4", "blocksize": 64, "shape": [16, 64]}""");
                return folder.Add("x.weight", "U8", [16 * 64 / 2, 1], new byte[16 * 64 / 2])
                    .Floats("x.weight.quant_map", [16], i => Table[i]).Floats("x.weight.absmax", [16], _ => 1)
                    .Add("x.weight.quant_state.bitsandbytes__nf4", "U8", [state.Length], state);
        }
    }
}
