using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Bench.Models;

/// <summary>
/// Writes the language part of a model as a GGUF file (version 3) of the architecture 'qwen2', without a tokenizer, for
/// llama.cpp. Matrices keep bfloat16 or are rounded as <see cref="VisionLanguageModel.Quantize"/> does, the rest is
/// float32. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
/// </summary>
internal sealed class GgufFile
{
    private const int Alignment = 32;
    private const uint TypeUInt32 = 4, TypeFloat32 = 6, TypeString = 8, TensorFloat32 = 0, TensorBFloat16 = 30,
        TensorQ4 = 2, TensorQ8 = 8;

    private readonly VisionLanguageModel _model;
    private readonly QuantizedFormat? _format;
    private readonly List<(string Name, PersistentTensor Parameter, int FirstRow, int Rows)> _tensors = [];

    private GgufFile(VisionLanguageModel model, QuantizedFormat? format)
    {
        _model = model;
        _format = format;
        LanguageConfiguration language = model.Configuration.Language;
        if (language.Kind != LanguageModelKind.Qwen2)
            throw new NotSupportedException(
                $"Only models with Qwen2.5 are written for llama.cpp, not those with {language.Kind}.");
        int query = language.HeadCount * language.HeadDimension,
            key = language.KeyValueHeadCount * language.HeadDimension, inner = language.IntermediateSize;
        Add("token_embd.weight", "embedding.weight", 0, language.VocabularySize);
        Add("output_norm.weight", "norm.weight", 0, 0);
        if (!language.TieWordEmbeddings)
            Add("output.weight", "head.weight", 0, language.VocabularySize);
        for (int layer = 0; layer < language.LayerCount; layer++)
        {
            string source = $"layers.{layer}.", target = $"blk.{layer}.";
            Add(target + "attn_norm.weight", source + "input_norm.weight", 0, 0);
            Add(target + "ffn_norm.weight", source + "output_norm.weight", 0, 0);
            foreach (string part in new[] { "weight", "bias" })
            {
                Add(target + "attn_q." + part, source + "attention.qkv." + part, 0, query);
                Add(target + "attn_k." + part, source + "attention.qkv." + part, query, key);
                Add(target + "attn_v." + part, source + "attention.qkv." + part, query + key, key);
            }

            Add(target + "attn_output.weight", source + "attention.output.weight", 0, language.HiddenSize);
            Add(target + "ffn_gate.weight", source + "mlp.gate_up.weight", 0, inner);
            Add(target + "ffn_up.weight", source + "mlp.gate_up.weight", inner, inner);
            Add(target + "ffn_down.weight", source + "mlp.down.weight", 0, language.HiddenSize);
        }
    }

    /// <summary>Writes the file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="model">With bfloat16 parameters; they stay.</param>
    /// <param name="format">What the matrices but the embedding are rounded to: Q8 (which is Q8_0), Q4 (Q4_0), or null
    /// for nothing.</param>
    public static void Write(string path, VisionLanguageModel model, QuantizedFormat? format)
    {
        if (model.ParameterType != DataType.BFloat16 || model.IsQuantized)
            throw new NotSupportedException(
                $"Only bfloat16 models are written for llama.cpp, not {(model.IsQuantized ? "quantised" : $"{model.ParameterType}")} ones.");
        var file = new GgufFile(model, format);
        using FileStream stream = File.Create(path);
        using var writer = new BinaryWriter(stream);
        file.WriteHeader(writer);
        foreach ((_, PersistentTensor parameter, int firstRow, int rows) in file._tensors)
        {
            Pad(writer);
            writer.Write(file.Elements(parameter, firstRow, rows));
        }
    }

    private static void Pad(BinaryWriter writer)
    {
        while (writer.BaseStream.Position % Alignment != 0)
            writer.Write((byte)0);
    }

    private static bool IsMatrix(PersistentTensor parameter) => parameter.Type.Shape.Rank == 2;

    /// <summary>What a parameter is rounded to; null for those that stay.</summary>
    private QuantizedFormat? FormatOf(PersistentTensor parameter) =>
        IsMatrix(parameter) && parameter.Name != "language.embedding.weight" ? _format : null;

    private (uint Type, long Bytes) TypeOf(PersistentTensor parameter, int rows)
    {
        if (!IsMatrix(parameter))
            return (TensorFloat32, rows * 4L);
        long columns = parameter.Type.Shape.Columns;
        if (FormatOf(parameter) is not { } format)
            return (TensorBFloat16, rows * columns * 2);
        if (columns % format.BlockSize != 0)
            throw new NotSupportedException(
                $"{parameter.Name} has rows of {columns} values, which GGUF holds in blocks of {format.BlockSize} only.");
        return (format == QuantizedFormat.Q8 ? TensorQ8 : TensorQ4, rows * columns / format.BlockSize * BlockBytes(format));
    }

    /// <summary>A binary16 scale and the codes.</summary>
    private static int BlockBytes(QuantizedFormat format) => 2 + (format.BlockSize * format.CodeBits / 8);

    /// <summary>Rows of a parameter; all of a vector where no number is given.</summary>
    private void Add(string name, string parameterName, int firstRow, int rows)
    {
        PersistentTensor parameter = _model.Parameters["language." + parameterName];
        _tensors.Add((name, parameter, firstRow, rows == 0 ? parameter.Type.Shape[0] : rows));
    }

    private void WriteHeader(BinaryWriter writer)
    {
        LanguageConfiguration language = _model.Configuration.Language;
        (string Name, object Value)[] fields =
        [
            ("general.architecture", "qwen2"), ("qwen2.block_count", (uint)language.LayerCount),
            ("qwen2.context_length", (uint)language.MaxPositions),
            ("qwen2.embedding_length", (uint)language.HiddenSize),
            ("qwen2.feed_forward_length", (uint)language.IntermediateSize),
            ("qwen2.attention.head_count", (uint)language.HeadCount),
            ("qwen2.attention.head_count_kv", (uint)language.KeyValueHeadCount),
            ("qwen2.attention.layer_norm_rms_epsilon", (float)language.RmsNormEpsilon),
            ("qwen2.rope.freq_base", (float)language.RopeTheta),
            ("qwen2.vocab_size", (uint)language.VocabularySize), ("tokenizer.ggml.model", "no_vocab"),
        ];
        writer.Write("GGUF"u8);
        writer.Write(3u);
        writer.Write((ulong)_tensors.Count);
        writer.Write((ulong)fields.Length);
        foreach ((string name, object value) in fields)
        {
            WriteText(writer, name);
            switch (value)
            {
                case uint number:
                    writer.Write(TypeUInt32);
                    writer.Write(number);
                    break;
                case float number:
                    writer.Write(TypeFloat32);
                    writer.Write(number);
                    break;
                default:
                    writer.Write(TypeString);
                    WriteText(writer, (string)value);
                    break;
            }
        }

        ulong offset = 0;
        foreach ((string name, PersistentTensor parameter, _, int rows) in _tensors)
        {
            bool matrix = IsMatrix(parameter);
            WriteText(writer, name);
            writer.Write(matrix ? 2u : 1u);
            if (matrix)
                writer.Write((ulong)parameter.Type.Shape.Columns);
            writer.Write((ulong)rows);
            (uint type, long bytes) = TypeOf(parameter, rows);
            writer.Write(type);
            writer.Write(offset);
            offset += ((ulong)bytes + Alignment - 1) / Alignment * Alignment;
        }
    }

    private static void WriteText(BinaryWriter writer, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        writer.Write((ulong)bytes.Length);
        writer.Write(bytes);
    }

    private ReadOnlySpan<byte> Elements(PersistentTensor parameter, int firstRow, int rows)
    {
        if (!IsMatrix(parameter))
            return MemoryMarshal.AsBytes(PersistentTensors.Read(_model.Device, parameter).AsSpan(firstRow, rows));
        int columns = parameter.Type.Shape.Columns;
        var stored = new BFloat16[parameter.Type.Shape.ElementCount];
        _model.Device.Download(parameter.Tensor, MemoryMarshal.AsBytes(stored.AsSpan()));
        if (FormatOf(parameter) is not { } format)
            return MemoryMarshal.AsBytes(stored.AsSpan(firstRow * columns, rows * columns));
        int rowBytes = columns / format.BlockSize * BlockBytes(format);
        byte[] blocks = new byte[rows * rowBytes];
        Parallel.For(0, rows, row =>
        {
            float[] values = new float[columns];
            BFloat16.Widen(stored.AsSpan((firstRow + row) * columns, columns), values);
            WriteBlocks(values, format, blocks.AsSpan(row * rowBytes, rowBytes));
        });
        return blocks;
    }

    /// <summary>Q8_0: the codes one after the other. Q4_0: eight added, the first half low, the second half high.</summary>
    private static void WriteBlocks(ReadOnlySpan<float> values, QuantizedFormat format, Span<byte> target)
    {
        Span<sbyte> codes = stackalloc sbyte[format.BlockSize];
        for (; !values.IsEmpty; values = values[format.BlockSize..], target = target[BlockBytes(format)..])
        {
            float scale = WeightQuantizer.Round(values[..format.BlockSize], format, codes);
            BinaryPrimitives.WriteHalfLittleEndian(target, (Half)scale);
            if (format.CodeBits == 8)
            {
                MemoryMarshal.AsBytes(codes).CopyTo(target[2..]);
                continue;
            }

            int half = format.BlockSize / 2;
            for (int index = 0; index < half; index++)
                target[2 + index] = (byte)((codes[index] + 8) | ((codes[half + index] + 8) << 4));
        }
    }
}
