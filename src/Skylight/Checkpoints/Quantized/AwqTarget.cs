using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Skylight.Tensors;

namespace Skylight.Checkpoints.Quantized;

/// <summary>
/// Safetensors with weights in AutoAWQ's GEMM packing (<see cref="AwqForm"/>); what is not quantised is bfloat16.
/// </summary>
internal sealed class AwqTarget : QuantizedTarget
{
    private const int Pack = 8;

    private static readonly int[] s_groups = [128, 64, 32];

    private readonly KeyMap _keyMap;
    private readonly long _totalBytes;
    private readonly bool _isSymmetric;
    private uint[] _words = [], _zeros = [];
    private Half[] _scales = [];

    /// <summary>Lays a checkpoint out.</summary>
    /// <param name="keyMap">The model, in the naming of the result.</param>
    /// <param name="quantizes">Which parameters' matrices are quantised; of those the ones that have other axes on disk are
    /// not.</param>
    /// <param name="isSymmetric">Without zeros: a byte less for each block in memory.</param>
    /// <param name="mostShardBytes">The most bytes in one file.</param>
    /// <param name="source">Named in errors.</param>
    /// <exception cref="CheckpointException">A matrix has no groups.</exception>
    public AwqTarget(KeyMap keyMap, Func<string, bool> quantizes, bool isSymmetric, long mostShardBytes, string source)
    {
        (_keyMap, _isSymmetric) = (keyMap, isSymmetric);
        (KeyMapEntry Entry, KeyMapPiece Piece, bool Quantizes)[] pieces =
            [.. keyMap.Entries.SelectMany(entry => entry.Pieces.Select(piece => (entry, piece,
                piece.OnDiskShape.Rank == 2 && piece.TensorName.EndsWith(".weight", StringComparison.Ordinal)
                && quantizes(entry.ParameterName))))];
        GroupSize = GroupOf([.. pieces.Where(piece => piece.Quantizes).Select(piece => piece.Piece)], isSymmetric, source);
        var format = new QuantizedFormat(isSymmetric ? CodeType.Int4 : CodeType.UInt4, GroupSize, !isSymmetric)
        {
            HasHalfScales = true,
            HasZeroPoints = !isSymmetric,
        };
        Tensors = [.. pieces.Select(piece => piece.Quantizes
            ? new TargetTensor(piece.Entry, piece.Piece, format, StoredType.Int32, $"AWQ 4-bit, group {GroupSize}")
            : new TargetTensor(piece.Entry, piece.Piece, null, StoredType.BFloat16, "BF16"))];
        List<List<TensorToWrite>> shards = CheckpointWriter.Shards(Tensors.SelectMany(OnDisk), mostShardBytes);
        _totalBytes = shards.Sum(shard => shard.Sum(tensor => tensor.ByteCount));
        Files = [.. shards.Select((shard, index) => PlannedFile.Safetensors(shards.Count == 1 ? CheckpointReader.SingleName
            : FormattableString.Invariant($"model-{index + 1:D5}-of-{shards.Count:D5}.safetensors"), shard))];
    }

    /// <summary>Inputs that share a scale: the largest of 128, 64 and 32 that all weights have.</summary>
    public int GroupSize { get; }

    public override IReadOnlyList<PlannedFile> Files { get; }

    public override IReadOnlyList<TargetTensor> Tensors { get; }

    /// <summary>What config.json says of it.</summary>
    public JsonObject Configuration()
    {
        var modules = new JsonArray();
        // By the beginning of their names, as other programs have it.
        foreach (string name in Tensors.Where(tensor => tensor.Format is null && tensor.Piece.OnDiskShape.Rank > 1)
            .Select(tensor => KeyTable.ModuleOf(tensor.Piece.TensorName, _keyMap.Naming)).Distinct())
            modules.Add((JsonNode?)name);
        return new JsonObject
        {
            ["quant_method"] = "awq",
            ["bits"] = 4,
            ["group_size"] = GroupSize,
            ["zero_point"] = !_isSymmetric,
            ["version"] = "gemm",
            ["modules_to_not_convert"] = modules,
        };
    }

    /// <summary>Writes the index where there are several files.</summary>
    public void WriteIndex(string folder)
    {
        if (Files.Count > 1)
            File.WriteAllBytes(Path.Combine(folder, CheckpointReader.IndexName), CheckpointWriter.Index(
                Files.SelectMany(file => file.Tensors.Select(tensor => (tensor.Name, file.Name))), _totalBytes));
    }

    protected override void WriteRows(PlacedFiles files, TargetTensor tensor, int firstRow, RoundedRows rows)
    {
        int outputs = tensor.Piece.RowCount, inputs = rows.Inputs, groups = rows.Blocks, rowWords = WordsOf(outputs);
        if (firstRow == 0)
        {
            _words = new uint[(long)inputs * rowWords];
            _zeros = new uint[groups * rowWords];
            _scales = new Half[groups * outputs];
        }

        // Sixteen words of an input lie in one line of a cache.
        const int WordsAtOnce = 16;
        int words = WordsOf(rows.Rows);
        Parallel.For(0, (words + WordsAtOnce - 1) / WordsAtOnce, part =>
        {
            for (int word = part * WordsAtOnce; word < Math.Min(words, (part + 1) * WordsAtOnce); word++)
                PackWord(rows, word, firstRow / Pack + word, outputs);
        });
    }

    protected override void EndRows(PlacedFiles files, TargetTensor tensor)
    {
        string module = ModuleOf(tensor.Piece);
        WriteAll<uint>(".qweight", _words);
        if (!_isSymmetric)
            WriteAll<uint>(".qzeros", _zeros);
        WriteAll<Half>(".scales", _scales);
        (_words, _zeros, _scales) = ([], [], []);

        // The bytes of a large weight are too many for one span.
        void WriteAll<T>(string suffix, ReadOnlySpan<T> elements)
            where T : unmanaged
        {
            const int Part = 1 << 22;
            int size = System.Runtime.CompilerServices.Unsafe.SizeOf<T>();
            for (int done = 0; done < elements.Length; done += Part)
                files.Write(module + suffix, (long)done * size,
                    MemoryMarshal.AsBytes(elements.Slice(done, Math.Min(Part, elements.Length - done))));
        }
    }

    private void PackWord(RoundedRows rows, int word, int targetWord, int outputs)
    {
        int inputs = rows.Inputs, groups = rows.Blocks, offset = _isSymmetric ? 8 : 0, rowWords = WordsOf(outputs);
        for (int nibble = 0; nibble < Pack; nibble++)
        {
            int output = AwqWords.Order[nibble], row = word * Pack + output, shift = 4 * nibble;
            if (row >= rows.Rows)
                continue;
            ReadOnlySpan<sbyte> codes = rows.Codes.AsSpan(row * inputs, inputs);
            long at = targetWord;
            for (int input = 0; input < inputs; input++, at += rowWords)
                _words[at] |= (uint)(codes[input] + offset) << shift;
            for (int group = 0; group < groups; group++)
            {
                float scale = rows.Scales[row * groups + group];
                _scales[group * outputs + targetWord * Pack + output] = (Half)scale;
                if (!_isSymmetric && scale != 0)
                    _zeros[group * rowWords + targetWord] |=
                        (uint)MathF.Round(-rows.Minimums[row * groups + group] / scale) << shift;
            }
        }
    }

    private static int WordsOf(int outputs) => (outputs + Pack - 1) / Pack;

    private static string ModuleOf(KeyMapPiece piece) => piece.TensorName[..^".weight".Length];

    private IEnumerable<TensorToWrite> OnDisk(TargetTensor tensor)
    {
        KeyMapPiece piece = tensor.Piece;
        if (tensor.Format is null)
            return [Planned(piece.TensorName, StoredType.BFloat16, piece.OnDiskShape)];
        string module = ModuleOf(piece);
        int groups = piece.RowWidth / GroupSize, words = WordsOf(piece.RowCount);
        TensorToWrite codes = Planned(module + ".qweight", StoredType.Int32, new Shape(piece.RowWidth, words)),
            scales = Planned(module + ".scales", StoredType.Float16, new Shape(groups, piece.RowCount));
        return _isSymmetric ? [codes, scales]
            : [codes, Planned(module + ".qzeros", StoredType.Int32, new Shape(groups, words)), scales];

        static TensorToWrite Planned(string name, StoredType type, Shape shape) => new(name, type, shape, _ => { });
    }

    private static int GroupOf(KeyMapPiece[] pieces, bool isSymmetric, string source)
    {
        // Without zeros words may have nibbles to spare.
        if (!isSymmetric && pieces.FirstOrDefault(piece => piece.RowCount % Pack != 0) is { } odd)
            throw new CheckpointException(source,
                $"has {odd.RowCount} outputs; AWQ packs multiples of {Pack}. Take the format gguf.", odd.TensorName);
        foreach (int size in s_groups)
        {
            if (pieces.All(piece => piece.RowWidth % size == 0))
                return size;
        }

        KeyMapPiece wrong = pieces.First(piece => piece.RowWidth % s_groups[^1] != 0);
        throw new CheckpointException(source,
            $"has {wrong.RowWidth} inputs; AWQ needs a multiple of {s_groups[^1]}, the smallest group. Take the format gguf.",
            wrong.TensorName);
    }
}
