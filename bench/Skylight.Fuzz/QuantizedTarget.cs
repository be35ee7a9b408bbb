using System.Buffers.Binary;
using System.Text;
using Skylight.Checkpoints;
using Skylight.Tensors;

namespace Skylight.Fuzz;

/// <summary>
/// Quantised weights: how they are quantised, as config.json says, a byte of 0, and the safetensors file; every weight is
/// read as numbers and as codes.
/// </summary>
internal sealed class QuantizedTarget : FileTarget
{
    private const int Outputs = 16, Inputs = 64, Groups = 2;

    public QuantizedTarget()
        : base("quantised", "input")
    {
        byte[] codes = [.. Enumerable.Range(0, Outputs * Inputs).Select(i => (byte)(i * 7 % 120))];
        float[] table = new float[16];
        CodeType.NormalFloat4.Values().CopyTo(table);
        byte[] state = "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"shape\": [16, 64], \"nested_blocksize\": 8, \"nested_offset\": 0.5}"u8.ToArray();
        int[] words = [.. Enumerable.Range(0, Outputs * Inputs / 8).Select(i => i * 0x01234567)];
        int[] actOrder = [.. Enumerable.Range(0, Inputs).Select(i => i * 5 % Groups)];
        TensorToWrite scales = TensorToWrite.Float32("x.scales", new Shape(Groups, Outputs), new float[Groups * Outputs]),
            zeros = TensorToWrite.Int32("x.qzeros", new Shape(Groups, Outputs / 8), new int[Groups * Outputs / 8]),
            packed = TensorToWrite.Int32("x.qweight", new Shape(Inputs / 8, Outputs), words),
            nf4 = TensorToWrite.UInt8("x.weight", new Shape(Outputs * Inputs / 2, 1), codes.AsMemory(0, Outputs * Inputs / 2)),
            map = TensorToWrite.Float32("x.weight.quant_map", new Shape(16), table),
            nf4State = TensorToWrite.UInt8("x.weight.quant_state.bitsandbytes__nf4", new Shape(state.Length), state);
        Seeds =
        [
            Seed("\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 32, \"zero_point\": true, \"version\": \"gemm\"",
                TensorToWrite.Int32("x.qweight", new Shape(Inputs, Outputs / 8), words), scales, zeros),
            Seed("\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32, \"sym\": true, \"checkpoint_format\": \"gptq_v2\"", packed,
                scales, zeros),
            Seed("\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32, \"desc_act\": true", packed, scales, zeros,
                TensorToWrite.Int32("x.g_idx", new Shape(Inputs), actOrder)),
            Seed("\"format\": \"float-quantized\", \"config_groups\": {\"g\": {\"weights\": {\"num_bits\": 8, \"type\": \"float\", \"strategy\": \"channel\"}}}",
                new TensorToWrite("x.weight", StoredType.Float8E4M3, new Shape(Outputs, Inputs), stream => stream.Write(codes)),
                TensorToWrite.Float32("x.weight_scale", new Shape(Outputs, 1), new float[Outputs])),
            Seed("\"quant_method\": \"fp8\", \"weight_block_size\": [8, 32]",
                new TensorToWrite("x.weight", StoredType.Float8E4M3, new Shape(Outputs, Inputs), stream => stream.Write(codes)),
                TensorToWrite.Float32("x.weight_scale_inv", new Shape(2, 2), new float[4])),
            Seed("\"quant_method\": \"bitsandbytes\", \"bnb_4bit_quant_type\": \"nf4\"", nf4, map, nf4State,
                TensorToWrite.UInt8("x.weight.absmax", new Shape(16), codes.AsMemory(0, 16)),
                TensorToWrite.Float32("x.weight.nested_absmax", new Shape(2), new float[2]),
                TensorToWrite.Float32("x.weight.nested_quant_map", new Shape(256), new float[256])),
        ];
    }

    public override IReadOnlyList<byte[]> Seeds { get; }

    public override IReadOnlyList<byte[]> Words =>
        FuzzTargets.WordsOf(Seeds.Select(seed => seed.AsSpan(0, seed.AsSpan().IndexOf((byte)0)).ToArray()));

    public override long AllocationLimit(int inputBytes) => (1 << 20) + (64L * inputBytes);

    public override bool IsDocumented(Exception exception) => exception is CheckpointException;

    /// <summary>Makes the header as long as it says, most of the time.</summary>
    public override void Repair(byte[] input, Random random)
    {
        int start = input.AsSpan().IndexOf((byte)0) + 1, end = input.AsSpan().LastIndexOf("]}}"u8) + 3;
        if (start > 0 && end > start + 8 && random.Next(4) != 0)
            BinaryPrimitives.WriteInt64LittleEndian(input.AsSpan(start), end - start - 8);
    }

    protected override void Read()
    {
        byte[] input = File.ReadAllBytes(FilePath);
        int end = Math.Max(0, input.AsSpan().IndexOf((byte)0));
        File.WriteAllBytes(Path.Combine(Folder, "config.json"), input[..end]);
        File.WriteAllBytes(Path.Combine(Folder, "model.safetensors"), input[Math.Min(end + 1, input.Length)..]);
        using CheckpointReader reader = CheckpointReader.Open(Folder);
        foreach (CheckpointTensor tensor in reader.Tensors.Where(tensor => tensor.IsFloatingPoint))
        {
            tensor.ReadFloat32(0, new float[tensor.Shape.ElementCount]);
            if (tensor.Format is not { } format)
                continue;
            (int rows, int inputs) = (tensor.Shape.Rows, tensor.Shape.Columns);
            int blocks = rows * format.BlocksOf(inputs);
            tensor.ReadCodes(0, rows, new sbyte[rows * inputs], new float[blocks], new float[format.HasMinimum ? blocks : 0]);
        }
    }

    private byte[] Seed(string quantization, params ReadOnlySpan<TensorToWrite> tensors)
    {
        string file = Path.Combine(Folder, "seed.safetensors");
        SafetensorsWriter.Write(file, tensors.ToArray());
        byte[] seed = [.. Encoding.UTF8.GetBytes($"{{\"quantization_config\": {{{quantization}}}}}"), 0, .. File.ReadAllBytes(file)];
        File.Delete(file);
        return seed;
    }
}
