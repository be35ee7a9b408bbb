using System.Collections.Immutable;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>
/// The one table behind <see cref="KeyMap"/>. A row says: our name, the rows and columns of the parameter, its name in
/// the original naming, in transformers' and in llama.cpp's. <c>#</c> stands for the layer; <c>{q,k,v}</c> for tensors one below
/// the other.
/// </summary>
internal static class KeyTable
{
    private enum Part
    {
        Vision,
        Connector,
        Language,
        Head,
    }

    /// <summary>What stands before a part's names: ours, then each naming's.</summary>
    private static readonly Dictionary<Part,
        (string Ours, string Original, string HuggingFace, string Nested, string Gguf)> s_prefixes = new()
        {
            [Part.Vision] = ("vision.", "vision_model.", "vision_tower.", "model.vision_tower.",
                "v."),
            [Part.Connector] = ("connector.", "mlp1.", "multi_modal_projector.", "model.multi_modal_projector.",
                "mm.model.mlp."),
            [Part.Language] = ("language.", "language_model.model.", "language_model.model.", "model.language_model.",
                ""),
            [Part.Head] = ("language.head.", "language_model.lm_head.", "language_model.lm_head.", "lm_head.", "output."),
        };

    /// <summary>The prefixes that tell the namings apart.</summary>
    public static ImmutableArray<(CheckpointNaming Naming, string Prefix)> TellingPrefixes { get; } =
        [.. Enum.GetValues<CheckpointNaming>().Select(naming => (naming, Prefix(Part.Vision, naming)))];

    /// <summary>Whether a name is that of a tensor of the encoder or the connector.</summary>
    public static bool IsVision(string tensorName, CheckpointNaming naming) =>
        tensorName.StartsWith(Prefix(Part.Vision, naming), StringComparison.Ordinal)
        || tensorName.StartsWith(Prefix(Part.Connector, naming), StringComparison.Ordinal);

    /// <summary>The module that a tensor lies in, as other programs name one that is not quantised.</summary>
    public static string ModuleOf(string tensorName, CheckpointNaming naming)
    {
        foreach (Part part in (ReadOnlySpan<Part>)[Part.Vision, Part.Connector, Part.Head])
        {
            if (tensorName.StartsWith(Prefix(part, naming), StringComparison.Ordinal))
                return Prefix(part, naming).TrimEnd('.');
        }

        return tensorName[..tensorName.LastIndexOf('.')];
    }

    public static string HeadName(CheckpointNaming naming) => Prefix(Part.Head, naming) + "weight";

    public static ImmutableArray<KeyMapEntry> Expand(ModelConfiguration configuration, CheckpointNaming naming,
        CheckpointNaming visionNaming)
    {
        var entries = ImmutableArray.CreateBuilder<KeyMapEntry>();
        Row[] rows = [.. Rows(configuration).Where(row => row.Present)];
        for (int start = 0; start < rows.Length;)
        {
            // Neighbouring per-layer rows are repeated together, so that entries run in the order of the model.
            int end = start + 1;
            while (end < rows.Length && rows[end].Part == rows[start].Part && rows[end].PerLayer && rows[start].PerLayer)
                end++;
            int layers = !rows[start].PerLayer ? 1 : rows[start].Part == Part.Vision ? configuration.Vision.LayerCount
                : configuration.Language.LayerCount;
            for (int layer = 0; layer < layers; layer++)
            {
                for (int row = start; row < end; row++)
                    entries.Add(rows[row].ToEntry(
                        rows[row].Part is Part.Vision or Part.Connector ? visionNaming : naming, layer));
            }

            start = end;
        }

        return entries.ToImmutable();
    }

    private static IEnumerable<Row> Rows(ModelConfiguration configuration)
    {
        VisionConfiguration vision = configuration.Vision;
        LanguageConfiguration language = configuration.Language;
        int h = vision.HiddenSize, f = vision.IntermediateSize;
        bool normBias = vision.NormKind == NormKind.LayerNorm;
        return
        [
            new(Part.Vision, "class_embedding", [h], 0, "embeddings.class_embedding",
                "embeddings.cls_token", "class_embd") { OnDisk = new Shape(1, 1, h) },
            new(Part.Vision, "position_embedding", [1 + vision.PatchCount], h, "embeddings.position_embedding",
                "embeddings.position_embeddings", "position_embd.weight") { OnDisk = new Shape(1, 1 + vision.PatchCount, h) },
            new(Part.Vision, "patch_embedding.weight", [h], vision.PatchElements, "embeddings.patch_embedding.weight",
                "embeddings.patch_embeddings.projection.weight", "patch_embd.weight")
                { OnDisk = new Shape(h, vision.ChannelCount, vision.PatchHeight, vision.PatchWidth) },
            new(Part.Vision, "patch_embedding.bias", [h], 0, "embeddings.patch_embedding.bias",
                "embeddings.patch_embeddings.projection.bias", "patch_embd.bias"),
            new(Part.Vision, "layers.#.norm1.weight", [h], 0, "encoder.layers.#.norm1.weight",
                "encoder.layer.#.layernorm_before.weight", "blk.#.ln1.weight"),
            new(Part.Vision, "layers.#.norm1.bias", [h], 0, "encoder.layers.#.norm1.bias",
                "encoder.layer.#.layernorm_before.bias", "blk.#.ln1.bias") { Present = normBias },
            new(Part.Vision, "layers.#.attention.qkv.weight", [h, h, h], h, "encoder.layers.#.attn.qkv.weight",
                "encoder.layer.#.attention.{q,k,v}_proj.weight", "blk.#.attn_{q,k,v}.weight"),
            new(Part.Vision, "layers.#.attention.qkv.bias", [h, h, h], 0, "encoder.layers.#.attn.qkv.bias",
                "encoder.layer.#.attention.{q,k,v}_proj.bias", "blk.#.attn_{q,k,v}.bias") { Present = vision.QkvBias },
            new(Part.Vision, "layers.#.attention.query_norm.weight", [h], 0, "encoder.layers.#.attn.q_norm.weight",
                "encoder.layer.#.attention.q_norm.weight", "blk.#.attn_q_norm.weight") { Present = vision.QueryKeyNorm },
            new(Part.Vision, "layers.#.attention.key_norm.weight", [h], 0, "encoder.layers.#.attn.k_norm.weight",
                "encoder.layer.#.attention.k_norm.weight", "blk.#.attn_k_norm.weight") { Present = vision.QueryKeyNorm },
            new(Part.Vision, "layers.#.attention.output.weight", [h], h, "encoder.layers.#.attn.proj.weight",
                "encoder.layer.#.attention.projection_layer.weight", "blk.#.attn_out.weight"),
            new(Part.Vision, "layers.#.attention.output.bias", [h], 0, "encoder.layers.#.attn.proj.bias",
                "encoder.layer.#.attention.projection_layer.bias", "blk.#.attn_out.bias"),
            new(Part.Vision, "layers.#.scale1", [h], 0, "encoder.layers.#.ls1", "encoder.layer.#.lambda_1", "blk.#.ls1.weight"),
            new(Part.Vision, "layers.#.norm2.weight", [h], 0, "encoder.layers.#.norm2.weight",
                "encoder.layer.#.layernorm_after.weight", "blk.#.ln2.weight"),
            new(Part.Vision, "layers.#.norm2.bias", [h], 0, "encoder.layers.#.norm2.bias",
                "encoder.layer.#.layernorm_after.bias", "blk.#.ln2.bias") { Present = normBias },
            new(Part.Vision, "layers.#.mlp.fc1.weight", [f], h, "encoder.layers.#.mlp.fc1.weight",
                "encoder.layer.#.mlp.fc1.weight", "blk.#.ffn_up.weight"),
            new(Part.Vision, "layers.#.mlp.fc1.bias", [f], 0, "encoder.layers.#.mlp.fc1.bias",
                "encoder.layer.#.mlp.fc1.bias", "blk.#.ffn_up.bias"),
            new(Part.Vision, "layers.#.mlp.fc2.weight", [h], f, "encoder.layers.#.mlp.fc2.weight",
                "encoder.layer.#.mlp.fc2.weight", "blk.#.ffn_down.weight"),
            new(Part.Vision, "layers.#.mlp.fc2.bias", [h], 0, "encoder.layers.#.mlp.fc2.bias",
                "encoder.layer.#.mlp.fc2.bias", "blk.#.ffn_down.bias"),
            new(Part.Vision, "layers.#.scale2", [h], 0, "encoder.layers.#.ls2", "encoder.layer.#.lambda_2", "blk.#.ls2.weight"),

            new(Part.Connector, "norm.weight", [configuration.ConnectorInputSize], 0, "0.weight", "layer_norm.weight", "0.weight"),
            new(Part.Connector, "norm.bias", [configuration.ConnectorInputSize], 0, "0.bias", "layer_norm.bias", "0.bias"),
            new(Part.Connector, "linear1.weight", [language.HiddenSize], configuration.ConnectorInputSize, "1.weight",
                "linear_1.weight", "1.weight"),
            new(Part.Connector, "linear1.bias", [language.HiddenSize], 0, "1.bias", "linear_1.bias", "1.bias"),
            new(Part.Connector, "linear2.weight", [language.HiddenSize], language.HiddenSize, "3.weight", "linear_2.weight", "3.weight"),
            new(Part.Connector, "linear2.bias", [language.HiddenSize], 0, "3.bias", "linear_2.bias", "3.bias"),

            Language("embedding.weight", [language.VocabularySize], language.HiddenSize, "embed_tokens.weight", "token_embd.weight"),
            Language("layers.#.input_norm.weight", [language.HiddenSize], 0, "layers.#.input_layernorm.weight", "blk.#.attn_norm.weight"),
            Language("layers.#.attention.qkv.weight",
                [language.QuerySize, language.KeyValueSize, language.KeyValueSize], language.HiddenSize,
                "layers.#.self_attn.{q,k,v}_proj.weight", "blk.#.attn_{q,k,v}.weight"),
            Language("layers.#.attention.qkv.bias", [language.QuerySize, language.KeyValueSize, language.KeyValueSize],
                0, "layers.#.self_attn.{q,k,v}_proj.bias", "blk.#.attn_{q,k,v}.bias") with { Present = language.QkvBias },
            Language("layers.#.attention.query_norm.weight", [language.HeadDimension], 0,
                "layers.#.self_attn.q_norm.weight", "blk.#.attn_q_norm.weight") with { Present = language.QueryKeyNorm },
            Language("layers.#.attention.key_norm.weight", [language.HeadDimension], 0,
                "layers.#.self_attn.k_norm.weight", "blk.#.attn_k_norm.weight") with { Present = language.QueryKeyNorm },
            Language("layers.#.attention.output.weight", [language.HiddenSize], language.QuerySize,
                "layers.#.self_attn.o_proj.weight", "blk.#.attn_output.weight"),
            Language("layers.#.output_norm.weight", [language.HiddenSize], 0, "layers.#.post_attention_layernorm.weight", "blk.#.ffn_norm.weight"),
            Language("layers.#.mlp.gate_up.weight", [language.IntermediateSize, language.IntermediateSize],
                language.HiddenSize, "layers.#.mlp.{gate,up}_proj.weight", "blk.#.ffn_{gate,up}.weight"),
            Language("layers.#.mlp.down.weight", [language.HiddenSize], language.IntermediateSize,
                "layers.#.mlp.down_proj.weight", "blk.#.ffn_down.weight"),
            Language("norm.weight", [language.HiddenSize], 0, "norm.weight", "output_norm.weight"),
            new(Part.Head, "weight", [language.VocabularySize], language.HiddenSize, "weight",
                "weight", "weight") { Present = !language.TieWordEmbeddings },
        ];

        // Safetensors namings call the language model's tensors alike, but for the prefix.
        static Row Language(string ours, int[] rows, int columns, string onDisk, string gguf) =>
            new(Part.Language, ours, rows, columns, onDisk, onDisk, gguf);
    }

    private static string Prefix(Part part, CheckpointNaming naming) => naming switch
    {
        CheckpointNaming.Original => s_prefixes[part].Original,
        CheckpointNaming.HuggingFace => s_prefixes[part].HuggingFace,
        CheckpointNaming.HuggingFaceNested => s_prefixes[part].Nested,
        CheckpointNaming.Gguf => s_prefixes[part].Gguf,
        _ => throw new ArgumentOutOfRangeException(nameof(naming), naming, "Unknown naming."),
    };

    /// <summary>One row of the table.</summary>
    /// <param name="Part">Whose parameter it is.</param>
    /// <param name="Name">Our name.</param>
    /// <param name="Blocks">The rows of each block that some naming keeps apart.</param>
    /// <param name="Columns">The width of a row; 0 for a vector.</param>
    /// <param name="Original">The name, or names, in the original naming.</param>
    /// <param name="HuggingFace">The name, or names, in transformers' naming.</param>
    /// <param name="Gguf">The name, or names, in llama.cpp's naming.</param>
    private sealed record Row(Part Part, string Name, int[] Blocks, int Columns, string Original, string HuggingFace,
        string Gguf)
    {
        public bool Present { get; init; } = true;

        /// <summary>The extents on disk where they are more than rows and columns.</summary>
        public Shape? OnDisk { get; init; }

        public bool PerLayer => Name.Contains('#');

        public KeyMapEntry ToEntry(CheckpointNaming naming, int layer)
        {
            string pattern = Prefix(Part, naming) + naming switch
            {
                CheckpointNaming.Original => Original,
                CheckpointNaming.Gguf => Gguf,
                _ => HuggingFace,
            };
            string[] names = [.. Alternatives(AtLayer(pattern, layer))];
            // One tensor holds all blocks, or each block has its own.
            int[] rows = names.Length == 1 ? [Blocks.Sum()] : Blocks;

            var pieces = ImmutableArray.CreateBuilder<KeyMapPiece>(names.Length);
            int offset = 0;
            for (int i = 0; i < names.Length; i++)
            {
                pieces.Add(new KeyMapPiece(names[i], offset, rows[i], Math.Max(1, Columns),
                    OnDiskIn(naming) ?? ShapeOf(rows[i])));
                offset += rows[i];
            }

            return new KeyMapEntry(AtLayer(s_prefixes[Part].Ours + Name, layer), ShapeOf(Blocks.Sum()),
                pieces.MoveToImmutable());
        }

        // GGUF's shapes are without leading ones (GgufHeader).
        private Shape? OnDiskIn(CheckpointNaming naming) => naming == CheckpointNaming.Gguf && OnDisk is { } shape
            && shape[0] == 1 ? null : OnDisk;

        private Shape ShapeOf(int rows) => Columns == 0 ? new Shape(rows) : new Shape(rows, Columns);

        private static string AtLayer(string pattern, int layer) =>
            pattern.Replace("#", layer.ToString(System.Globalization.CultureInfo.InvariantCulture),
                StringComparison.Ordinal);

        private static IEnumerable<string> Alternatives(string pattern)
        {
            int open = pattern.IndexOf('{');
            if (open < 0)
                return [pattern];
            int close = pattern.IndexOf('}');
            return pattern[(open + 1)..close].Split(',')
                .Select(alternative => pattern[..open] + alternative + pattern[(close + 1)..]);
        }
    }
}
