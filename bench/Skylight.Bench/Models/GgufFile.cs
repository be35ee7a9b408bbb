using System.Runtime.InteropServices;
using Skylight.Checkpoints;
using Skylight.Checkpoints.Gguf;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Bench.Models;

/// <summary>
/// Writes the language part of a model as a GGUF file, without a tokenizer, for llama.cpp. Matrices keep bfloat16, the rest
/// is float32.
/// </summary>
internal static class GgufFile
{
    /// <summary>Writes the file.</summary>
    public static void Write(string path, VisionLanguageModel model)
    {
        if (model.ParameterType != DataType.BFloat16 || model.IsQuantized)
            throw new NotSupportedException(
                $"Only bfloat16 models are written for llama.cpp, not {(model.IsQuantized ? "quantised" : $"{model.ParameterType}")} ones.");
        Dictionary<string, (KeyMapEntry Entry, KeyMapPiece Piece)> pieces = KeyMap
            .For(model.Configuration, CheckpointNaming.Gguf).Entries
            .Where(entry => entry.ParameterName.StartsWith("language.", StringComparison.Ordinal))
            .SelectMany(entry => entry.Pieces, (entry, piece) => (entry, piece))
            .ToDictionary(pair => pair.piece.TensorName, StringComparer.Ordinal);
        GgufBuilder builder = GgufMetadataToWrite.Language(model.Configuration, GgufType.BF16, "bench", path)
            .Text("tokenizer.ggml.model", "no_vocab");
        foreach ((string name, (KeyMapEntry entry, KeyMapPiece piece)) in pieces)
            builder.Tensor(name, IsMatrix(entry) ? GgufType.BF16 : GgufType.F32, piece.OnDiskShape.Dimensions);
        using FileStream stream = File.Create(path);
        builder.Plan(Path.GetFileName(path)).WriteTo(stream, (tensor, target) =>
            target.Write(Elements(model, pieces[tensor.Name].Entry, pieces[tensor.Name].Piece)));
    }

    private static bool IsMatrix(KeyMapEntry entry) => entry.Shape.Rank == 2;

    private static ReadOnlySpan<byte> Elements(VisionLanguageModel model, KeyMapEntry entry, KeyMapPiece piece)
    {
        PersistentTensor parameter = model.Parameters[entry.ParameterName];
        if (!IsMatrix(entry))
            return MemoryMarshal.AsBytes(piece.Of<float>(PersistentTensors.Read(model.Device, parameter)));
        var stored = new BFloat16[parameter.Type.Shape.ElementCount];
        model.Device.Download(parameter.Tensor, MemoryMarshal.AsBytes(stored.AsSpan()));
        return MemoryMarshal.AsBytes(piece.Of<BFloat16>(stored));
    }
}
