using System.Runtime.Intrinsics.X86;
using Skylight.Tensors;

namespace Skylight.Checkpoints.Quantized;

/// <summary>
/// AWQ in the packing of its GEMM kernels: <c>qweight</c> I32 [inputs, outputs / 8], <c>qzeros</c> I32 [groups, outputs / 8],
/// <c>scales</c> [groups, outputs]. The nibbles of a word, from the lowest, are the outputs 0, 2, 4, 6, 1, 3, 5, 7 of eight
/// (AutoAWQ, <c>awq/modules/linear/gemm.py</c>, <c>order_map</c>).
/// </summary>
internal sealed class AwqForm : QuantizedForm
{
    private readonly int _groupSize;
    private readonly bool _hasZeros;

    private AwqForm(int groupSize, bool hasZeros) => (_groupSize, _hasZeros) = (groupSize, hasZeros);

    public override string Name => NameOf(_groupSize);

    protected override string CodesSuffix => ".qweight";

    protected override string CodesDescription => "packed 4-bit codes";

    public static AwqForm Of(JsonSource config)
    {
        string version = config.Text("version", "gemm");
        config.Demand("version", version.ToLowerInvariant(), "gemm");
        int bits = config.OptionalInteger("bits") ?? config.Integer("w_bit", 4);
        if (bits != 4)
            throw new CheckpointException(config.File, $"'{config.Path}bits' is {bits}; supported for awq: 4.");
        return new AwqForm(GroupSizeOf(config), config.Boolean("zero_point", true));
    }

    /// <summary>The inputs that share a scale; −1: all.</summary>
    internal static int GroupSizeOf(JsonSource config)
    {
        string field = config.Has("group_size") ? "group_size" : "q_group_size";
        int size = config.Integer(field, 128, -1);
        return size != 0 ? size
            : throw new CheckpointException(config.File,
                $"'{config.Path}{field}' is 0; supported: a positive number, or -1 for one group of all inputs.");
    }

    protected override CheckpointTensor Make(PlainTensor codes, QuantizedParts parts)
    {
        parts.DemandType(codes, StoredType.Int32);
        parts.DemandMatrix(codes);
        PlainTensor scales = parts.Required(".scales", StoredType.Float16, StoredType.BFloat16, StoredType.Float32);
        if (parts.Has(".g_idx") || (scales.Shape.Rank == 2 && scales.Shape[1] == codes.Shape[1]))
            throw new CheckpointException(codes.File,
                $"is {codes.Shape} beside scales of {scales.Shape}{(parts.Has(".g_idx") ? " and a g_idx" : "")}: that is " +
                $"GPTQ's packing, but config.json says awq. Correct quant_method there, or get the checkpoint again.", codes.Name);
        int inputs = codes.Shape[0], outputs = checked(codes.Shape[1] * 8), size = _groupSize < 0 ? inputs : _groupSize;
        // Without zeros the last word of an input may have nibbles to spare, as an embedding's has whose rows are no eights;
        // AutoAWQ has no such weights.
        if (!_hasZeros && scales.Shape.Rank == 2 && scales.Shape[1] < outputs && scales.Shape[1] > outputs - 8)
            outputs = scales.Shape[1];
        if (inputs % size != 0)
            throw new CheckpointException(codes.File,
                $"has {inputs} inputs, and 'group_size' in config.json is {size}; supported for awq: groups that the " +
                $"inputs are a multiple of.", codes.Name);
        int groups = inputs / size;
        parts.DemandShape(scales, new Shape(groups, outputs), $"[groups, outputs] of qweight {codes.Shape} in groups of {size}");
        PlainTensor? zeros = _hasZeros ? parts.Required(".qzeros", StoredType.Int32)
            : parts.Optional(".qzeros", StoredType.Int32);
        if (zeros is not null)
            parts.DemandShape(zeros, new Shape(groups, codes.Shape[1]), $"[groups, outputs / 8] of qweight {codes.Shape}");
        return new AwqTensor(parts.WeightName, new Shape(outputs, inputs), size, codes, scales, zeros,
            NameOf(_groupSize), !_hasZeros, parts.Words);
    }

    private static string NameOf(int groupSize) =>
        groupSize < 0 ? "AWQ 4-bit, a group an output" : FormattableString.Invariant($"AWQ 4-bit, group {groupSize}");

    private sealed class AwqTensor(string name, Shape shape, int groupSize, PlainTensor codes, PlainTensor scales,
        PlainTensor? zeros, string typeName, bool maySymmetric, PackedWords packed)
        : IntegerTensor(name, shape, 4, groupSize, codes, scales, zeros, maySymmetric, packed)
    {
        private const int Pack = AwqWords.Outputs;

        // Inputs whose words are taken together; their lines stay in the first cache for all outputs of a part.
        private const int Tile = 64;

        public override string TypeName => typeName;

        protected override void UnpackCodes(ReadOnlySpan<uint> words, int firstRow, int rows, Span<sbyte> codes)
        {
            int inputs = Inputs, rowWords = (Shape[0] + Pack - 1) / Pack, first = firstRow / Pack,
                end = (firstRow + rows + Pack - 1) / Pack, offset = CodeOffset;
            // Words all of whose outputs are wanted.
            int whole = Sse2.IsSupported && firstRow % Pack == 0
                ? first + rows / Pack / AwqWords.Words * AwqWords.Words : first;
            Span<uint> column = stackalloc uint[Tile];
            for (int input = 0; input < inputs; input += Tile)
            {
                int count = Math.Min(Tile, inputs - input), done = whole > first ? count / AwqWords.Inputs * AwqWords.Inputs : 0;
                for (int word = first; word < whole; word += AwqWords.Words)
                    for (int start = input; start < input + done; start += AwqWords.Inputs)
                        AwqWords.Unpack(words[(start * rowWords + word)..], rowWords, offset,
                            codes[((word * Pack - firstRow) * inputs + start)..], inputs);
                for (int word = done == count ? whole : first; word < end; word++)
                {
                    for (int i = 0, at = input * rowWords + word; i < count; i++, at += rowWords)
                        column[i] = words[at];
                    for (int nibble = 0; nibble < Pack; nibble++)
                    {
                        int row = word * Pack + AwqWords.Order[nibble] - firstRow;
                        if ((uint)row < (uint)rows)
                            TakeNibbles(column[..count], 4 * nibble, offset, codes.Slice(row * inputs + input, count));
                    }
                }
            }
        }

        protected override void UnpackZeros(ReadOnlySpan<uint> words, int firstRow, Span<int> zeros)
        {
            for (int word = firstRow / Pack; word * Pack < firstRow + zeros.Length; word++)
            {
                for (int nibble = 0; nibble < Pack; nibble++)
                {
                    int row = word * Pack + AwqWords.Order[nibble] - firstRow;
                    if ((uint)row < (uint)zeros.Length)
                        zeros[row] = (int)(words[word] >> (4 * nibble) & 0xF);
                }
            }
        }
    }
}
