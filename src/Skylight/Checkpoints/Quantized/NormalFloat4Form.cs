using System.Buffers;
using System.Runtime.InteropServices;
using System.Text.Json;
using Skylight.Tensors;

namespace Skylight.Checkpoints.Quantized;

/// <summary>
/// bitsandbytes' NF4: <c>weight</c> U8 [outputs · inputs / 2, 1], two codes a byte, the first in the upper bits; beside it
/// <c>weight.absmax</c> (a scale for each block of codes), <c>weight.quant_map</c> (the table) and
/// <c>weight.quant_state.bitsandbytes__nf4</c> (JSON: shape, block size). Nested, absmax are codes themselves, of
/// <c>weight.nested_quant_map</c>, scaled by <c>weight.nested_absmax</c> (bitsandbytes, <c>functional.py</c>,
/// <c>QuantState</c>).
/// </summary>
internal sealed class NormalFloat4Form : QuantizedForm
{
    private const string State = ".quant_state.bitsandbytes__nf4";

    private NormalFloat4Form()
    {
    }

    public override string Name => "bitsandbytes NF4";

    protected override string CodesSuffix => ".weight";

    protected override string CodesDescription => "packed NF4 codes (U8)";

    public static NormalFloat4Form Of(JsonSource config)
    {
        if (config.Boolean("load_in_8bit", false) || !config.Boolean("load_in_4bit", true))
            throw new CheckpointException(config.File,
                $"'{config.Path.TrimEnd('.')}' is of 8-bit integers; supported for bitsandbytes: 'load_in_4bit' with 'bnb_4bit_quant_type' nf4.");
        config.Demand("bnb_4bit_quant_type", config.Text("bnb_4bit_quant_type", "fp4"), "nf4");
        config.Demand("bnb_4bit_quant_storage", config.Text("bnb_4bit_quant_storage", "uint8"), "uint8");
        return new NormalFloat4Form();
    }

    protected override bool IsCodes(PlainTensor tensor, IReadOnlyDictionary<string, PlainTensor> stored) =>
        tensor.Entry.Type == StoredType.UInt8 || stored.ContainsKey(tensor.Name + ".absmax");

    protected override CheckpointTensor Make(PlainTensor codes, QuantizedParts parts)
    {
        parts.DemandType(codes, StoredType.UInt8);
        PlainTensor stateTensor = parts.Required(".weight" + State, StoredType.UInt8);
        JsonSource state = StateOf(stateTensor);
        state.Demand("quant_type", state.Text("quant_type", ""), "nf4");
        int[] shape = [.. state.Integers("shape", 1, QuantizedParts.MostExtent)];
        int block = state.Integer("blocksize", 64, 1);
        if (shape.Length != 2)
            throw new CheckpointException(stateTensor.File, $"its 'shape' has {shape.Length} extents; supported: two.",
                stateTensor.Name);
        (int outputs, int inputs) = (shape[0], shape[1]);
        long count = (long)outputs * inputs;
        if (inputs % block != 0 || inputs % 2 != 0)
            throw new CheckpointException(codes.File,
                $"has {inputs} inputs in blocks of {block}; supported for {Name}: inputs that are a multiple of the block and of 2.", codes.Name);
        if (codes.Entry.ByteCount != count / 2)
            throw new CheckpointException(codes.File,
                $"has {codes.Entry.ByteCount} bytes; by its quant_state, [{outputs}, {inputs}], it has {count / 2}.", codes.Name);
        PlainTensor map = parts.Required(".weight.quant_map", StoredType.Float32);
        parts.DemandShape(map, new Shape(16), "the table of codes");
        float[] table = map.Source.ReadFloat32(map.Name);
        if (!table.AsSpan().SequenceEqual(CodeType.NormalFloat4.Values()))
            throw new CheckpointException(map.File, "is another table than that of NF4; supported: that.", map.Name);

        PlainTensor absmax = parts.Required(".weight.absmax", StoredType.Float32, StoredType.UInt8);
        DemandCount(absmax, count / block);
        if (absmax.Entry.Type == StoredType.Float32)
            return new NormalFloat4Tensor(parts.WeightName, new Shape(outputs, inputs), block, codes, absmax, null,
                map.StoredBytes + stateTensor.StoredBytes);
        int nestedBlock = state.Integer("nested_blocksize", 256, 1);
        PlainTensor nested = parts.Required(".weight.nested_absmax", StoredType.Float32),
            nestedMap = parts.Required(".weight.nested_quant_map", StoredType.Float32);
        DemandCount(nested, (count / block + nestedBlock - 1) / nestedBlock);
        parts.DemandShape(nestedMap, new Shape(256), "the table of codes");
        var scaling = new Nested(nested.Source.ReadFloat32(nested.Name), nestedMap.Source.ReadFloat32(nestedMap.Name),
            nestedBlock, (float)state.Number("nested_offset", 0));
        return new NormalFloat4Tensor(parts.WeightName, new Shape(outputs, inputs), block, codes, absmax, scaling,
            map.StoredBytes + stateTensor.StoredBytes + nested.StoredBytes + nestedMap.StoredBytes);
    }

    private void DemandCount(PlainTensor part, long count)
    {
        if (part.Entry.ElementCount != count)
            throw new CheckpointException(part.File,
                $"has {part.Entry.ElementCount} elements; supported: {count}, one a block ({Name}).", part.Name);
    }

    private static JsonSource StateOf(PlainTensor tensor)
    {
        const int MostBytes = 1 << 20;
        if (tensor.Entry.ByteCount > MostBytes)
            throw new CheckpointException(tensor.File, $"has {tensor.Entry.ByteCount} bytes, too many for a quant_state.", tensor.Name);
        try
        {
            JsonElement element = JsonText.ParseElement(tensor.Source.Bytes(tensor.Name).ToArray());
            return element.ValueKind == JsonValueKind.Object ? new JsonSource(tensor.File, tensor.Name + ": ", element)
                : throw new CheckpointException(tensor.File, "must hold a JSON object.", tensor.Name);
        }
        catch (JsonException exception)
        {
            throw new CheckpointException(tensor.File, $"is not valid JSON: {exception.Message}", tensor.Name, exception);
        }
    }

    /// <summary>Scales that are quantised themselves.</summary>
    private sealed record Nested(float[] Scales, float[] Table, int BlockSize, float Offset);

    private sealed class NormalFloat4Tensor(string name, Shape shape, int block, PlainTensor codes, PlainTensor absmax,
        Nested? nested, long otherBytes) : QuantizedTensor(name, shape, codes.File)
    {
        public override long StoredBytes => codes.StoredBytes + absmax.StoredBytes + otherBytes;

        public override string TypeName =>
            FormattableString.Invariant($"NF4, block {block}{(nested is null ? "" : ", scales of 8 bits")}");

        public override QuantizedFormat? Format { get; } = new(CodeType.NormalFloat4, block, false);

        public override void ReadCodes(int firstRow, int rows, Span<sbyte> destination, Span<float> scales,
            Span<float> minimums, Span<float> superScales = default)
        {
            CheckSpans(firstRow, rows, destination, scales, minimums, superScales);
            byte[] packed = ArrayPool<byte>.Shared.Rent(Math.Max(destination.Length / 2, scales.Length));
            try
            {
                Span<byte> bytes = packed.AsSpan(0, destination.Length / 2);
                codes.Source.ReadBytes(codes.Entry, (long)firstRow * Inputs / 2, bytes);
                for (int i = 0; i < bytes.Length; i++)
                {
                    destination[2 * i] = (sbyte)(bytes[i] >> 4);
                    destination[2 * i + 1] = (sbyte)(bytes[i] & 0xF);
                }

                long first = (long)firstRow * (Inputs / block);
                if (nested is null)
                {
                    absmax.ReadFloat32(first, scales);
                }
                else
                {
                    bytes = packed.AsSpan(0, scales.Length);
                    absmax.Source.ReadBytes(absmax.Entry, first, bytes);
                    for (int i = 0; i < scales.Length; i++)
                        scales[i] = nested.Table[bytes[i]] * nested.Scales[(first + i) / nested.BlockSize] + nested.Offset;
                }
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(packed);
            }

            DemandFinite(scales, firstRow, Inputs / block, "scale", absmax.Name);
        }
    }
}
