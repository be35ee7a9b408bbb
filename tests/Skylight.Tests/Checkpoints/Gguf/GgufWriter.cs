using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Skylight.Checkpoints;
using Skylight.Checkpoints.Gguf;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Tests.Checkpoints.Gguf;

/// <summary>Writes GGUF files, honest ones and others.</summary>
internal sealed class GgufWriter
{
    private readonly List<(string Key, GgufValueType Type, byte[] Value)> _values = [];
    private readonly List<(string Name, long[] Extents, uint Type, byte[] Data)> _tensors = [];

    /// <summary>What the file says.</summary>
    public uint Version { get; init; } = 3;

    /// <summary>As which tensors are laid out.</summary>
    public int Alignment { get; init; } = 32;

    /// <summary>What is claimed in place of the true counts.</summary>
    public ulong? ClaimedKeys { get; init; }

    /// <inheritdoc cref="ClaimedKeys"/>
    public ulong? ClaimedTensors { get; init; }

    /// <summary>Changes the offsets that are written.</summary>
    public Func<string, ulong, ulong> Offset { get; init; } = (_, offset) => offset;

    public GgufWriter Text(string key, string value) => Add(key, GgufValueType.Text, Spell(Encoding.UTF8.GetBytes(value)));

    public GgufWriter Integer(string key, uint value) => Add(key, GgufValueType.UInt32, BitConverter.GetBytes(value));

    public GgufWriter Number(string key, float value) => Add(key, GgufValueType.Float32, BitConverter.GetBytes(value));

    public GgufWriter Flag(string key, bool value) => Add(key, GgufValueType.Boolean, [(byte)(value ? 1 : 0)]);

    public GgufWriter Texts(string key, IEnumerable<byte[]> values) =>
        List(key, GgufValueType.Text, [.. values.Select(Spell)]);

    public GgufWriter Integers(string key, IEnumerable<int> values) =>
        List(key, GgufValueType.Int32, [.. values.Select(value => BitConverter.GetBytes(value))]);

    public GgufWriter Numbers(string key, params double[] values) =>
        List(key, GgufValueType.Float32, [.. values.Select(value => BitConverter.GetBytes((float)value))]);

    /// <summary>Adds a value by its bytes.</summary>
    public GgufWriter Add(string key, GgufValueType type, byte[] value)
    {
        _values.Add((key, type, value));
        return this;
    }

    /// <summary>Takes a key out.</summary>
    public GgufWriter Without(string key)
    {
        _values.RemoveAll(value => value.Key == key);
        return this;
    }

    /// <summary>Adds a tensor; the slowest extent comes first.</summary>
    public GgufWriter Tensor(string name, GgufType type, byte[] data, params long[] shape) =>
        Tensor(name, (uint)type, data, shape);

    /// <inheritdoc cref="Tensor(string, GgufType, byte[], long[])"/>
    public GgufWriter Tensor(string name, uint type, byte[] data, params long[] shape)
    {
        _tensors.Add((name, [.. shape.Reverse()], type, data));
        return this;
    }

    public GgufWriter Floats(string name, float[] values, params long[] shape) =>
        Tensor(name, GgufType.F32, MemoryMarshal.AsBytes<float>(values).ToArray(), shape);

    /// <summary>The file.</summary>
    public byte[] ToBytes()
    {
        using var stream = new MemoryStream();
        using var writer = new BinaryWriter(stream);
        writer.Write("GGUF"u8);
        writer.Write(Version);
        writer.Write(ClaimedTensors ?? (ulong)_tensors.Count);
        writer.Write(ClaimedKeys ?? (ulong)_values.Count);
        foreach ((string key, GgufValueType type, byte[] value) in _values)
        {
            writer.Write(Spell(Encoding.UTF8.GetBytes(key)));
            writer.Write((uint)type);
            writer.Write(value);
        }

        ulong offset = 0;
        foreach ((string name, long[] extents, uint type, byte[] data) in _tensors)
        {
            writer.Write(Spell(Encoding.UTF8.GetBytes(name)));
            writer.Write(extents.Length);
            foreach (long extent in extents)
                writer.Write(extent);
            writer.Write(type);
            writer.Write(Offset(name, offset));
            offset += (ulong)((data.Length + Alignment - 1) / Alignment * Alignment);
        }

        foreach ((_, _, _, byte[] data) in _tensors)
        {
            writer.Write(new byte[(Alignment - (stream.Position % Alignment)) % Alignment]);
            writer.Write(data);
        }

        return stream.ToArray();
    }

    /// <summary>A text or list as it stands in a file.</summary>
    public static byte[] Spell(byte[] text)
    {
        byte[] spelled = new byte[8 + text.Length];
        BinaryPrimitives.WriteInt64LittleEndian(spelled, text.Length);
        text.CopyTo(spelled, 8);
        return spelled;
    }

    private GgufWriter List(string key, GgufValueType type, byte[][] elements)
    {
        byte[] head = new byte[12];
        BinaryPrimitives.WriteUInt32LittleEndian(head, (uint)type);
        BinaryPrimitives.WriteInt64LittleEndian(head.AsSpan(4), elements.Length);
        return Add(key, GgufValueType.Array, [.. head, .. elements.SelectMany(element => element)]);
    }
}

/// <summary>Models as pairs of GGUF files, as llama.cpp's converter writes them.</summary>
internal static class GgufFixture
{
    /// <summary>A model whose tiles are squares, which is all that the metadata can say.</summary>
    public static ModelConfiguration Small(bool tied = false, NormKind norm = NormKind.LayerNorm,
        LanguageModelKind kind = LanguageModelKind.Qwen2)
    {
        ModelConfiguration small = CheckpointFixture.Small(tied, norm, kind);
        return small with { Vision = small.Vision with { ImageWidth = 28, ChannelCount = 3 }, ImageTokenId = null };
    }

    /// <summary>The metadata of a language model.</summary>
    public static GgufWriter Language(ModelConfiguration configuration, GgufWriter? into = null)
    {
        LanguageConfiguration language = configuration.Language;
        string name = language.Kind == LanguageModelKind.Qwen3 ? "qwen3" : "qwen2";
        return (into ?? new GgufWriter()).Text("general.architecture", name).Text("general.name", "small")
            .Integer($"{name}.block_count", (uint)language.LayerCount)
            .Integer($"{name}.context_length", (uint)language.MaxPositions)
            .Integer($"{name}.embedding_length", (uint)language.HiddenSize)
            .Integer($"{name}.feed_forward_length", (uint)language.IntermediateSize)
            .Integer($"{name}.attention.head_count", (uint)language.HeadCount)
            .Integer($"{name}.attention.head_count_kv", (uint)language.KeyValueHeadCount)
            .Integer($"{name}.attention.key_length", (uint)language.HeadDimension)
            .Integer($"{name}.attention.value_length", (uint)language.HeadDimension)
            .Number($"{name}.attention.layer_norm_rms_epsilon", language.RmsNormEpsilon)
            .Number($"{name}.rope.freq_base", (float)language.RopeTheta)
            .Integer("tokenizer.ggml.eos_token_id", 3).Integer("tokenizer.ggml.eot_token_id", 5);
    }

    /// <summary>The metadata of a vision encoder.</summary>
    public static GgufWriter Vision(ModelConfiguration configuration, GgufWriter? into = null)
    {
        VisionConfiguration vision = configuration.Vision;
        ImagePreprocessing pictures = configuration.Preprocessing;
        return (into ?? new GgufWriter()).Text("general.architecture", "clip").Text("general.type", "mmproj")
            .Flag("clip.has_vision_encoder", true).Text("clip.projector_type", "internvl").Flag("clip.use_gelu", true)
            .Integer("clip.vision.projection_dim", (uint)configuration.Language.HiddenSize)
            .Integer("clip.vision.image_size", (uint)vision.ImageHeight)
            .Integer("clip.vision.patch_size", (uint)vision.PatchHeight)
            .Integer("clip.vision.embedding_length", (uint)vision.HiddenSize)
            .Integer("clip.vision.feed_forward_length", (uint)vision.IntermediateSize)
            .Integer("clip.vision.block_count", (uint)vision.LayerCount)
            .Integer("clip.vision.attention.head_count", (uint)vision.HeadCount)
            .Number("clip.vision.attention.layer_norm_epsilon", vision.NormEpsilon)
            .Integer("clip.vision.projector.scale_factor", 2)
            .Numbers("clip.vision.image_mean", pictures.Mean.Red, pictures.Mean.Green, pictures.Mean.Blue)
            .Numbers("clip.vision.image_std", pictures.Deviation.Red, pictures.Deviation.Green, pictures.Deviation.Blue);
    }

    /// <summary>Adds a model's tensors of a part, bfloat16 where they are matrices and it is asked for.</summary>
    public static GgufWriter WithTensors(this GgufWriter writer, CheckpointReader weights, ModelConfiguration configuration,
        bool vision, bool bfloat16 = false)
    {
        KeyMap source = weights.MapOf(configuration);
        foreach (KeyMapEntry entry in KeyMap.For(configuration, CheckpointNaming.Gguf).Entries
            .Where(entry => entry.ParameterName.StartsWith("language.", StringComparison.Ordinal) != vision))
        {
            float[] values = new float[entry.Shape.ElementCount];
            weights.ReadParameter(source[entry.ParameterName], values);
            foreach (KeyMapPiece piece in entry.Pieces)
            {
                float[] part = piece.Of<float>(values).ToArray();
                long[] shape = piece.TensorName switch
                {
                    // As the converter writes them.
                    "v.class_embd" => [1, 1, part.Length],
                    "v.position_embd.weight" => [1, piece.OnDiskShape[0], piece.OnDiskShape[1]],
                    _ => [.. Enumerable.Range(0, piece.OnDiskShape.Rank).Select(axis => (long)piece.OnDiskShape[axis])],
                };
                if (bfloat16 && shape.Length > 1)
                    writer.Tensor(piece.TensorName, GgufType.BF16,
                        MemoryMarshal.AsBytes<BFloat16>([.. part.Select(value => (BFloat16)value)]).ToArray(), shape);
                else
                    writer.Floats(piece.TensorName, part, shape);
            }
        }

        return writer;
    }

    /// <summary>
    /// Writes a random model as safetensors (<c>base</c>) and as a pair (<c>model.gguf</c>, <c>mmproj.gguf</c>).
    /// </summary>
    public static void WritePair(TemporaryFolder folder, ModelConfiguration configuration,
        Func<GgufWriter, GgufWriter>? language = null, Func<GgufWriter, GgufWriter>? vision = null,
        StoredType type = StoredType.Float32)
    {
        RandomCheckpoint.Write(folder["base"], configuration, type, 7);
        using CheckpointReader reader = CheckpointReader.Open(folder["base"]);
        bool rounded = type == StoredType.BFloat16;
        GgufWriter own = Language(configuration), clip = Vision(configuration);
        folder.Write("model.gguf", (language?.Invoke(own) ?? own)
            .WithTensors(reader, configuration, vision: false, rounded).ToBytes());
        folder.Write("mmproj.gguf", (vision?.Invoke(clip) ?? clip)
            .WithTensors(reader, configuration, vision: true, rounded).ToBytes());
    }
}
