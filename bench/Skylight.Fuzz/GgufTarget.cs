using System.Buffers.Binary;
using System.Text;
using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Checkpoints.Gguf;
using Skylight.Text;

namespace Skylight.Fuzz;

/// <summary>
/// A GGUF file: header and metadata, the sizes of a language model and an encoder, the tokenizer, and every tensor read as
/// numbers.
/// </summary>
internal sealed class GgufTarget() : FileTarget("gguf", "model.gguf")
{
    private const int Vocabulary = 260;

    public override IReadOnlyList<byte[]> Seeds { get; } = [Language(), Vision()];

    public override IReadOnlyList<byte[]> Words { get; } =
        [.. new[]
        {
            "GGUF", "general.architecture", "general.alignment", "split.count", "split.no", "split.tensors.count", "qwen3",
            "clip", "token_embd.weight", "output.weight", "qwen2.rope.scaling.type", "yarn", "qwen2.vocab_size",
            "tokenizer.ggml.add_bos_token", "general.sampling.temp", "tokenizer.chat_template", "v.blk.0.ln1.bias",
        }.Select(Encoding.UTF8.GetBytes),
            .. Enum.GetValues<GgufType>().Select(type => BitConverter.GetBytes((int)type)),
            .. Enumerable.Range(0, 13).Select(BitConverter.GetBytes), BitConverter.GetBytes(ulong.MaxValue)];

    public override long AllocationLimit(int inputBytes) => (1 << 20) + (256L * inputBytes);

    public override bool IsDocumented(Exception exception) => exception is CheckpointException or TokenizerException;

    protected override void Read()
    {
        using GgufFiles files = GgufFiles.Open(FilePath);
        float[] values = new float[4096];
        foreach ((GgufFile file, GgufEntry entry) in files.Tensors)
        {
            CheckpointTensor tensor = GgufTensor.Of(file, entry);
            if (tensor.Shape.Columns <= values.Length)
                tensor.ReadFloat32(0, values.AsSpan(0, tensor.Shape.Columns));
        }

        if (files.Metadata.Text("general.architecture") == GgufVision.Architecture)
        {
            GgufVision.Configuration(files, new Models.LanguageConfiguration { HiddenSize = 8 }, "language.gguf");
            return;
        }

        GgufLanguage.Configuration(files);
        GgufLanguage.Generation(files.Metadata);
        GgufLanguage.Template(files.Metadata);
        BytePairTokenizer tokenizer = GgufTokenizer.Of(files.Metadata);
        tokenizer.Decode(tokenizer.Encode("ab <|im_end|> 你好", allowSpecial: true));
    }

    private static byte[] Language()
    {
        var file = new Writer();
        file.Text("general.architecture", "qwen2");
        foreach ((string key, int value) in ((string, int)[])[("block_count", 1), ("context_length", 64),
            ("embedding_length", 32), ("feed_forward_length", 32), ("attention.head_count", 2),
            ("attention.head_count_kv", 1)])
            file.Integer("qwen2." + key, value);
        file.Number("qwen2.rope.freq_base", 10000);
        file.Number("qwen2.attention.layer_norm_rms_epsilon", 1e-6f);
        file.Number("general.sampling.top_p", 0.9f);
        file.Text("tokenizer.ggml.model", "gpt2");
        file.Text("tokenizer.ggml.pre", "qwen2");
        file.Texts("tokenizer.ggml.tokens",
            [.. Enumerable.Range(0, 256).Select(value => $"{ByteAlphabet.CharacterOf((byte)value)}"), "ab", "<|im_end|>",
                "<tool>", "[PAD]"]);
        file.Integers("tokenizer.ggml.token_type", [.. Enumerable.Repeat(1, 257), 3, 4, 5]);
        file.Texts("tokenizer.ggml.merges", ["a b"]);
        file.Integer("tokenizer.ggml.eos_token_id", 257);
        file.Text("tokenizer.chat_template", "{{ messages }}");
        file.Tensor("token_embd.weight", GgufType.Q4_0, 32, Vocabulary);
        foreach (GgufType type in Enum.GetValues<GgufType>())
            file.Tensor($"blk.0.{type}.weight", type, 256, 2);
        return file.ToBytes();
    }

    private static byte[] Vision()
    {
        var file = new Writer();
        file.Text("general.architecture", "clip");
        file.Text("clip.projector_type", "internvl");
        foreach ((string key, int value) in ((string, int)[])[("projection_dim", 8), ("image_size", 28), ("patch_size", 7),
            ("embedding_length", 12), ("feed_forward_length", 16), ("block_count", 1), ("attention.head_count", 3),
            ("projector.scale_factor", 2), ("preproc_min_tiles", 1), ("preproc_max_tiles", 12)])
            file.Integer("clip.vision." + key, value);
        file.Number("clip.vision.attention.layer_norm_epsilon", 1e-6f);
        file.Tensor("v.blk.0.ln1.bias", GgufType.F32, 12);
        file.Tensor("v.blk.0.attn_q.bias", GgufType.F16, 12);
        return file.ToBytes();
    }

    /// <summary>Writes the two seeds.</summary>
    private sealed class Writer
    {
        private readonly MemoryStream _values = new(), _tensors = new(), _data = new();
        private int _valueCount, _tensorCount;

        public void Text(string key, string value) => Value(key, 8, Spelled(value));

        public void Integer(string key, int value) => Value(key, 4, BitConverter.GetBytes(value));

        public void Number(string key, float value) => Value(key, 6, BitConverter.GetBytes(value));

        public void Texts(string key, string[] values) => Value(key, 9,
            [.. BitConverter.GetBytes(8), .. BitConverter.GetBytes((long)values.Length), .. values.SelectMany(Spelled)]);

        public void Integers(string key, int[] values) => Value(key, 9,
            [.. BitConverter.GetBytes(5), .. BitConverter.GetBytes((long)values.Length),
                .. values.SelectMany(BitConverter.GetBytes)]);

        public void Tensor(string name, GgufType type, params int[] extents)
        {
            _tensorCount++;
            _tensors.Write([.. Spelled(name), .. BitConverter.GetBytes(extents.Length),
                .. extents.SelectMany(extent => BitConverter.GetBytes((long)extent)), .. BitConverter.GetBytes((int)type),
                .. BitConverter.GetBytes(_data.Length)]);
            long bytes = extents.Aggregate(1L, (product, extent) => product * extent) / type.BlockSize() * type.BlockBytes();
            _data.Write(new byte[(bytes + 31) / 32 * 32]);
        }

        public byte[] ToBytes()
        {
            byte[] header = [.. "GGUF"u8, .. BitConverter.GetBytes(3), .. BitConverter.GetBytes((long)_tensorCount),
                .. BitConverter.GetBytes((long)_valueCount), .. _values.ToArray(), .. _tensors.ToArray()];
            return [.. header, .. new byte[(32 - (header.Length % 32)) % 32], .. _data.ToArray()];
        }

        private void Value(string key, int type, byte[] value)
        {
            _valueCount++;
            _values.Write([.. Spelled(key), .. BitConverter.GetBytes(type), .. value]);
        }

        private static byte[] Spelled(string text)
        {
            byte[] bytes = new byte[8 + Encoding.UTF8.GetByteCount(text)];
            BinaryPrimitives.WriteInt64LittleEndian(bytes, bytes.Length - 8);
            Encoding.UTF8.GetBytes(text, bytes.AsSpan(8));
            return bytes;
        }
    }
}
