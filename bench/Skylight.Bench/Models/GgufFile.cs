using System.Runtime.InteropServices;
using Skylight.Checkpoints;
using Skylight.Checkpoints.Gguf;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Bench.Models;

/// <summary>
/// Writes a model as GGUF files, without a tokenizer, for llama.cpp. Matrices of the language part keep bfloat16 or are
/// rounded as <see cref="VisionLanguageModel.Quantize"/> does; those of encoder and connector keep it; the rest is float32.
/// </summary>
internal static class GgufFile
{
    /// <summary>Writes the language part.</summary>
    /// <param name="path">The file.</param>
    /// <param name="model">With bfloat16 parameters; they stay.</param>
    /// <param name="format">What the matrices but the embedding are rounded to: Q8 (which is Q8_0), Q4 (Q4_0), or null
    /// for nothing.</param>
    public static void Write(string path, VisionLanguageModel model, QuantizedFormat? format)
    {
        if (model.ParameterType != DataType.BFloat16 || model.IsQuantized)
            throw new NotSupportedException(
                $"Only bfloat16 models are written for llama.cpp, not {(model.IsQuantized ? "quantised" : $"{model.ParameterType}")} ones.");
        Write(path, model, format, isLanguage: true,
            GgufMetadataToWrite.Language(model.Configuration, TypeOf(format), "bench", path)
                .Text("tokenizer.ggml.model", "no_vocab"));
    }

    /// <summary>Writes encoder and connector.</summary>
    public static void WriteVision(string path, VisionLanguageModel model) => Write(path, model, null, isLanguage: false,
        GgufMetadataToWrite.Vision(model.Configuration, GgufType.BF16, "bench", path));

    private static void Write(string path, VisionLanguageModel model, QuantizedFormat? format, bool isLanguage,
        GgufBuilder builder)
    {
        Dictionary<string, (KeyMapEntry Entry, KeyMapPiece Piece)> pieces = KeyMap
            .For(model.Configuration, CheckpointNaming.Gguf).Entries
            .Where(entry => entry.ParameterName.StartsWith("language.", StringComparison.Ordinal) == isLanguage)
            .SelectMany(entry => entry.Pieces, (entry, piece) => (entry, piece))
            .ToDictionary(pair => pair.piece.TensorName, StringComparer.Ordinal);
        foreach ((string name, (KeyMapEntry entry, KeyMapPiece piece)) in pieces)
            builder.Tensor(name, IsMatrix(entry) ? TypeOf(FormatOf(entry, format)) : GgufType.F32,
                [.. piece.OnDiskShape.Dimensions]);
        using FileStream stream = File.Create(path);
        builder.Plan(Path.GetFileName(path)).WriteTo(stream, (tensor, target) =>
            target.Write(Elements(model, pieces[tensor.Name].Entry, pieces[tensor.Name].Piece, format)));
    }

    private static bool IsMatrix(KeyMapEntry entry) => entry.Shape.Rank == 2 && entry.ParameterName != "vision.position_embedding";

    private static GgufType TypeOf(QuantizedFormat? format) => format is null ? GgufType.BF16
        : format == QuantizedFormat.Q8 ? GgufType.Q8_0 : GgufType.Q4_0;

    /// <summary>What a matrix is rounded to; null for those that stay.</summary>
    private static QuantizedFormat? FormatOf(KeyMapEntry entry, QuantizedFormat? format) =>
        entry.ParameterName == "language.embedding.weight" ? null : format;

    private static ReadOnlySpan<byte> Elements(VisionLanguageModel model, KeyMapEntry entry, KeyMapPiece piece,
        QuantizedFormat? format)
    {
        PersistentTensor parameter = model.Parameters[entry.ParameterName];
        if (!IsMatrix(entry))
            return MemoryMarshal.AsBytes(piece.Of<float>(PersistentTensors.Read(model.Device, parameter)));
        var stored = new BFloat16[parameter.Type.Shape.ElementCount];
        model.Device.Download(parameter.Tensor, MemoryMarshal.AsBytes(stored.AsSpan()));
        if (FormatOf(entry, format) is not { } rounded)
            return MemoryMarshal.AsBytes(piece.Of<BFloat16>(stored));
        GgufType type = TypeOf(rounded);
        int columns = piece.RowWidth, size = rounded.BlockSize, bytes = type.BlockBytes(), rowBytes = columns / size * bytes;
        var blocks = new byte[piece.RowCount * rowBytes];
        Parallel.For(0, piece.RowCount, row =>
        {
            var values = new float[columns];
            var codes = new sbyte[size];
            BFloat16.Widen(stored.AsSpan((piece.RowOffset + row) * columns, columns), values);
            for (int block = 0; block < columns / size; block++)
                GgufBlocks.Write(type, codes, WeightQuantizer.Round(values.AsSpan(block * size, size), rounded, codes),
                    blocks.AsSpan(row * rowBytes + block * bytes, bytes));
        });
        return blocks;
    }
}
