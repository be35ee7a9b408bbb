using System.Buffers;
using System.Globalization;
using System.Runtime.InteropServices;
using Skylight.Tensors;

namespace Skylight.Checkpoints.Quantized;

/// <summary>
/// GPTQ: <c>qweight</c> I32 [inputs · bits / 32, outputs], consecutive inputs in a word from its lowest bits; <c>qzeros</c>
/// I32 [groups, outputs · bits / 32], consecutive outputs in a word; <c>scales</c> [groups, outputs]; <c>g_idx</c> I32
/// [inputs], the group of each input. The first version stores zeros less one, taken off whole words, so that adding one to
/// each field of a word gives them back (GPTQModel, <c>gptqmodel/utils/model.py</c>, <c>convert_gptq_v1_to_v2_format</c>).
/// </summary>
internal sealed class GptqForm : QuantizedForm
{
    private readonly int _bits;
    private readonly int _groupSize;
    private readonly bool _isSymmetric;
    private readonly bool _lessOne;

    private GptqForm(int bits, int groupSize, bool isSymmetric, bool lessOne) =>
        (_bits, _groupSize, _isSymmetric, _lessOne) = (bits, groupSize, isSymmetric, lessOne);

    public override string Name => string.Create(CultureInfo.InvariantCulture,
        $"GPTQ {_bits}-bit, {(_groupSize < 0 ? "a group an output" : $"group {_groupSize}")}");

    protected override string CodesSuffix => ".qweight";

    protected override string CodesDescription => "packed codes";

    public static GptqForm Of(JsonSource config)
    {
        if (config.Object("dynamic") is { } dynamic && dynamic.Element.EnumerateObject().Any())
            throw new CheckpointException(config.File,
                $"'{config.Path}dynamic' gives layers bits or groups of their own ('{dynamic.Element.EnumerateObject().First().Name}'); supported for gptq: the same for all layers.");
        if (config.Text("pack_dtype") is { } words)
            config.Demand("pack_dtype", words, "int32");
        config.Demand("is_marlin_format", config.Boolean("is_marlin_format", false), false);
        string format = config.Text("checkpoint_format", "gptq");
        config.Demand("checkpoint_format", format, "gptq", "gptq_v2");
        int bits = config.Integer("bits", 4);
        if (bits is not (4 or 8))
            throw new CheckpointException(config.File, $"'{config.Path}bits' is {bits}; supported for gptq: 4 and 8.");
        return new GptqForm(bits, AwqForm.GroupSizeOf(config), config.Boolean("sym", false), format == "gptq");
    }

    protected override CheckpointTensor Make(PlainTensor codes, QuantizedParts parts)
    {
        parts.DemandType(codes, StoredType.Int32);
        parts.DemandMatrix(codes);
        PlainTensor scales = parts.Required(".scales", StoredType.Float16, StoredType.BFloat16, StoredType.Float32);
        int pack = 32 / _bits;
        if (scales.Shape.Rank == 2 && scales.Shape[1] == codes.Shape[1] * (long)pack)
            throw new CheckpointException(codes.File,
                $"is {codes.Shape} beside scales of {scales.Shape}: that is AWQ's packing, but config.json says gptq. " +
                $"Correct quant_method there, or get the checkpoint again.", codes.Name);
        int inputs = checked(codes.Shape[0] * pack), outputs = codes.Shape[1];
        if (outputs % pack != 0)
            throw new CheckpointException(codes.File,
                $"has {outputs} outputs; supported for gptq with {_bits} bits: a multiple of {pack}.", codes.Name);
        int size = _groupSize < 0 ? inputs : _groupSize, groups = (inputs + size - 1) / size;
        parts.DemandShape(scales, new Shape(groups, outputs), $"[groups, outputs] of qweight {codes.Shape} in groups of {size}");
        PlainTensor zeros = parts.Required(".qzeros", StoredType.Int32);
        parts.DemandShape(zeros, new Shape(groups, outputs / pack), $"[groups, outputs · bits / 32] of qweight {codes.Shape}");
        int[]? groupOf = parts.Optional(".g_idx", StoredType.Int32, StoredType.Int64) is { } index
            ? ReadGroups(index, parts, inputs, groups, size) : null;
        int[]? order = groupOf is null ? null : OrderByGroup(groupOf, groups, size);
        return new GptqTensor(parts.WeightName, new Shape(outputs, inputs), _bits, size, codes, scales, zeros, groupOf, order,
            Name + (groupOf is null ? "" : order is null ? ", act-order in unequal groups" : ", act-order"), _isSymmetric,
            _lessOne, parts.Words);
    }

    /// <summary>The group of each input; null where each has that of its place.</summary>
    private static int[]? ReadGroups(PlainTensor index, QuantizedParts parts, int inputs, int groups, int size)
    {
        parts.DemandShape(index, new Shape(inputs), "the group of each input");
        int[] groupOf = index.Source.ReadInt32(index.Name);
        bool isPlain = true;
        for (int input = 0; input < inputs; input++)
        {
            if (groupOf[input] < 0 || groupOf[input] >= groups)
                throw new CheckpointException(index.File,
                    $"element {input} is {groupOf[input]}; supported: the groups 0 to {groups - 1}.", index.Name);
            isPlain &= groupOf[input] == input / size;
        }

        return isPlain ? null : groupOf;
    }

    /// <summary>
    /// The inputs group by group, in each ascending; null where a group has more or fewer inputs than its blocks would.
    /// </summary>
    private static int[]? OrderByGroup(ReadOnlySpan<int> groupOf, int groups, int size)
    {
        int[] order = new int[groupOf.Length], taken = new int[groups];
        for (int input = 0; input < groupOf.Length; input++)
        {
            int group = groupOf[input], within = taken[group]++, place = group * size + within;
            // As many places as inputs: where no group has too many, none has too few.
            if (within >= size || place >= order.Length)
                return null;
            order[place] = input;
        }

        return order;
    }

    private sealed class GptqTensor(string name, Shape shape, int bits, int groupSize, PlainTensor codes,
        PlainTensor scales, PlainTensor zeros, int[]? groupOf, int[]? order, string typeName, bool maySymmetric, bool lessOne,
        PackedWords packedWords)
        : IntegerTensor(name, shape, bits, groupSize, codes, scales, zeros, maySymmetric, packedWords)
    {
        private readonly int _bits = bits;

        // Words of each output that are taken together; see AWQ's.
        private const int Tile = 8;

        private int Pack => 32 / _bits;

        public override string TypeName => typeName;

        // Unequal groups are no blocks, in whichever order.
        public override QuantizedFormat? Format => groupOf is null ? ValueFormat
            : order is null ? null : ValueFormat with { HasInputOrder = true };

        public override ReadOnlyMemory<int> InputOrder => order;

        public override void ReadCodes(int firstRow, int rows, Span<sbyte> codes, Span<float> scales, Span<float> minimums,
            Span<float> superScales = default)
        {
            if (Format is null)
                throw new NotSupportedException($"Tensor '{Name}' ({TypeName}) has no format.");
            base.ReadCodes(firstRow, rows, codes, scales, minimums, superScales);
            if (order is null)
                return;
            sbyte[] stored = ArrayPool<sbyte>.Shared.Rent(Inputs);
            for (int row = 0; row < rows; row++)
            {
                Span<sbyte> ordered = codes.Slice(row * Inputs, Inputs);
                ordered.CopyTo(stored);
                for (int place = 0; place < ordered.Length; place++)
                    ordered[place] = stored[order[place]];
            }

            ArrayPool<sbyte>.Shared.Return(stored);
        }

        protected override void ReadRows(int firstRow, int rows, Span<float> destination)
        {
            if (groupOf is null)
            {
                base.ReadRows(firstRow, rows, destination);
                return;
            }

            bool hasMinimum = ValueFormat.HasMinimum;
            int blocks = rows * Groups;
            sbyte[] codes = ArrayPool<sbyte>.Shared.Rent(rows * Inputs);
            float[] numbers = ArrayPool<float>.Shared.Rent(2 * blocks);
            try
            {
                Span<float> scales = numbers.AsSpan(0, blocks), minimums = numbers.AsSpan(blocks, blocks);
                minimums.Clear();
                Unpack(firstRow, rows, codes.AsSpan(0, rows * Inputs), scales, hasMinimum ? minimums : []);
                for (int row = 0; row < rows; row++)
                {
                    ReadOnlySpan<float> scale = scales.Slice(row * Groups, Groups),
                        minimum = minimums.Slice(row * Groups, Groups);
                    ReadOnlySpan<sbyte> code = codes.AsSpan(row * Inputs, Inputs);
                    Span<float> values = destination.Slice(row * Inputs, Inputs);
                    for (int input = 0; input < values.Length; input++)
                        values[input] = scale[groupOf[input]] * code[input] + minimum[groupOf[input]];
                }
            }
            finally
            {
                ArrayPool<sbyte>.Shared.Return(codes);
                ArrayPool<float>.Shared.Return(numbers);
            }
        }

        protected override void UnpackCodes(ReadOnlySpan<uint> words, int firstRow, int rows, Span<sbyte> codes)
        {
            int outputs = Shape[0], rowWords = Inputs / Pack;
            Span<byte> bytes = MemoryMarshal.AsBytes(codes);
            ulong less = 0x0101010101010101ul * (uint)CodeOffset;
            for (int start = 0; start < rowWords; start += Tile)
            {
                int end = Math.Min(rowWords, start + Tile);
                for (int row = 0; row < rows; row++)
                {
                    for (int word = start; word < end; word++)
                    {
                        uint packed = words[word * outputs + firstRow + row];
                        Span<byte> target = bytes.Slice(row * Inputs + word * Pack, Pack);
                        if (_bits == 8)
                            MemoryMarshal.Write(target, packed ^ 0x80808080u);
                        else
                            MemoryMarshal.Write(target, Less(Spread(packed), less));
                    }
                }
            }
        }

        protected override void UnpackZeros(ReadOnlySpan<uint> words, int firstRow, Span<int> zeros)
        {
            uint one = !lessOne ? 0 : _bits == 4 ? 0x11111111u : 0x01010101u, mask = (1u << _bits) - 1;
            for (int i = 0; i < zeros.Length; i++)
                zeros[i] = (int)((words[(firstRow + i) / Pack] + one) >> ((firstRow + i) % Pack * _bits) & mask);
        }

        /// <summary>Eight nibbles as eight bytes.</summary>
        private static ulong Spread(uint packed)
        {
            ulong bytes = packed;
            bytes = (bytes | (bytes << 16)) & 0x0000FFFF0000FFFFul;
            bytes = (bytes | (bytes << 8)) & 0x00FF00FF00FF00FFul;
            return (bytes | (bytes << 4)) & 0x0F0F0F0F0F0F0F0Ful;
        }

        /// <summary>Takes a number below 128 off each byte, none of which borrows from its neighbour.</summary>
        private static ulong Less(ulong bytes, ulong less) =>
            ((bytes | 0x8080808080808080ul) - less) ^ 0x8080808080808080ul;
    }
}
