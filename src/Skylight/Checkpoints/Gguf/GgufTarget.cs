using Skylight.Checkpoints.Quantized;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Checkpoints.Gguf;

/// <summary>Which types the tensors of a pair of GGUF files have.</summary>
/// <param name="Layers">Of the matrices of the language model's layers.</param>
/// <param name="Embeddings">Of embedding and head.</param>
/// <param name="Vision">Of the matrices of encoder and connector.</param>
internal sealed record GgufTypesToWrite(GgufType Layers, GgufType Embeddings, GgufType Vision);

/// <summary>
/// A language model and an mmproj as llama.cpp's converter writes them: vectors, class and position embedding in F32, the
/// patch embedding in F16 (beside F32 and BF16 in F32: llama.cpp convolves with no others), and in F16 what has no whole
/// blocks.
/// </summary>
internal sealed class GgufTarget : QuantizedTarget
{
    private readonly Dictionary<string, GgufType> _types = new(StringComparer.Ordinal);
    private readonly List<string> _withoutBlocks = [];

    /// <summary>Lays the two files out.</summary>
    /// <param name="configuration">The model.</param>
    /// <param name="types">Of the tensors.</param>
    /// <param name="name">Of the model; in the names of the files and in what they say.</param>
    /// <param name="tokenizer">Adds the tokenizer.</param>
    /// <param name="source">Named in errors.</param>
    /// <exception cref="CheckpointException">The metadata cannot say what the model computes.</exception>
    public GgufTarget(ModelConfiguration configuration, GgufTypesToWrite types, string name, Action<GgufBuilder> tokenizer,
        string source)
    {
        KeyMap keyMap = KeyMap.For(configuration, CheckpointNaming.Gguf);
        var tensors = new List<TargetTensor>();
        GgufBuilder language = GgufMetadataToWrite.Language(configuration, types.Layers, name, source),
            vision = GgufMetadataToWrite.Vision(configuration, types.Vision, name, source);
        tokenizer(language);
        foreach (KeyMapEntry entry in keyMap.Entries)
        {
            bool isVision = !entry.ParameterName.StartsWith("language.", StringComparison.Ordinal);
            foreach (KeyMapPiece piece in entry.Pieces)
            {
                GgufType type = TypeOf(entry, piece, types);
                _types.Add(piece.TensorName, type);
                tensors.Add(new TargetTensor(entry, piece, type.Format(), type.Plain() ?? StoredType.UInt8, type.ToString()));
                (isVision ? vision : language).Tensor(piece.TensorName, type, ShapeOf(piece));
            }
        }

        Tensors = tensors;
        Files =
        [
            language.Plan($"{name}-{types.Layers}.gguf"), vision.Plan($"mmproj-{name}-{types.Vision}.gguf"),
        ];
    }

    public override IReadOnlyList<PlannedFile> Files { get; }

    public override IReadOnlyList<TargetTensor> Tensors { get; }

    /// <summary>Matrices that are F16 because their rows are no blocks of the type that was asked for.</summary>
    public IReadOnlyList<string> WithoutBlocks => _withoutBlocks;

    protected override void WriteRows(PlacedFiles files, TargetTensor tensor, int firstRow, RoundedRows rows)
    {
        GgufType type = _types[tensor.Piece.TensorName];
        int size = type.BlockSize(), bytes = type.BlockBytes(), rowBytes = rows.Blocks * bytes;
        var packed = new byte[rows.Rows * rowBytes];
        Parallel.For(0, rows.Rows, row =>
        {
            for (int block = 0; block < rows.Blocks; block++)
            {
                ReadOnlySpan<sbyte> codes = rows.Codes.AsSpan(row * rows.Inputs + block * size, size);
                GgufBlocks.Write(type, codes, rows.Scales[row * rows.Blocks + block],
                    packed.AsSpan(row * rowBytes + block * bytes, bytes));
            }
        });
        files.Write(tensor.Piece.TensorName, (long)firstRow * rowBytes, packed);
    }

    private GgufType TypeOf(KeyMapEntry entry, KeyMapPiece piece, GgufTypesToWrite types)
    {
        if (entry.Shape.Rank == 1 || entry.ParameterName == "vision.position_embedding")
            return GgufType.F32;
        if (piece.OnDiskShape.Rank > 2)
            return types.Vision is GgufType.F32 or GgufType.BF16 ? GgufType.F32 : GgufType.F16;
        GgufType type = entry.ParameterName switch
        {
            "language.embedding.weight" or "language.head.weight" => types.Embeddings,
            var name when name.StartsWith("language.", StringComparison.Ordinal) => types.Layers,
            _ => types.Vision,
        };
        if (piece.RowWidth % type.BlockSize() == 0)
            return type;
        _withoutBlocks.Add(piece.TensorName);
        return GgufType.F16;
    }

    private static int[] ShapeOf(KeyMapPiece piece) => piece.TensorName switch
    {
        "v.class_embd" => [1, 1, piece.RowCount],
        "v.position_embd.weight" => [1, piece.RowCount, piece.RowWidth],
        _ => [.. piece.OnDiskShape.Dimensions],
    };
}
