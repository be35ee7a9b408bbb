using System.Globalization;
using System.Text.Json;
using Skylight.Checkpoints;

namespace Skylight.Models;

/// <summary>The language models that there are.</summary>
public enum LanguageModelKind
{
    /// <summary>Qwen2 and Qwen2.5: biases for queries, keys and values.</summary>
    Qwen2,

    /// <summary>
    /// Qwen3, the dense models: no biases, an RMSNorm over each head of queries and keys before it is rotated, and
    /// heads as wide as it says.
    /// </summary>
    Qwen3,
}

/// <summary>
/// The sizes of a Qwen2.5 or Qwen3 language model. The defaults are those of transformers' Qwen2Config and Qwen3Config.
/// </summary>
public sealed record LanguageConfiguration
{
    private const int LargestSize = 1 << 24;

    private static readonly ConfigurationMembers s_qwen2Members = Members(hasBias: "true", hasQueryKeyNorm: "false"),
        s_qwen3Members = Members(hasBias: "false", hasQueryKeyNorm: "true");

    private static ConfigurationMembers Members(string hasBias, string hasQueryKeyNorm) => new(
        [
            "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
            "intermediate_size", "vocab_size", "rms_norm_eps", "rope_theta", "rope_scaling",
            "rope_parameters", "max_position_embeddings", "tie_word_embeddings", "hidden_act", "use_sliding_window",
            "layer_types",
        ],
        // Of windows that are not used; and of how a model of experts is spread over machines, which dense models of
        // InternVL3.5 say, too.
        ["sliding_window", "max_window_layers", "debug", "ep_size", "micro_forward", "skip_checkpoint", "use_deepep"],
        // Qwen2's attention has biases for queries, keys and values and none after it, Qwen3's none at all, like their
        // MLP; and nothing is scaled, clipped or normed but by the RMSNorms.
        [
            ("attention_bias", hasBias), ("qkv_bias", hasBias), ("attention_out_bias", "false"), ("o_bias", "false"),
            ("mlp_bias", "false"), ("lm_head_bias", "false"),
            ("hidden_activation", "\"silu\""), ("norm_type", "\"rms_norm\"|\"rmsnorm\""), ("logit_scale", "1"),
            ("logits_scaling", "1"), ("embedding_multiplier", "1"),
            ("residual_multiplier", "1"), ("partial_rotary_factor", "1"), ("rotary_pct", "1"),
            ("rope_interleaved", "false"), ("use_mrope", "false"), ("use_qk_norm", hasQueryKeyNorm),
            ("qk_norm", hasQueryKeyNorm), ("qk_layernorm", hasQueryKeyNorm), ("qk_normalization", hasQueryKeyNorm),
            ("use_moe", "false"), ("use_dynamic_ntk", "false"), ("use_logn_attn", "false"),
        ]);

    /// <summary>Which language model it is.</summary>
    public LanguageModelKind Kind { get; init; }

    /// <summary>Whether queries, keys and values have a bias.</summary>
    public bool QkvBias => Kind == LanguageModelKind.Qwen2;

    /// <summary>Whether each head of queries and keys passes an RMSNorm, before it is rotated.</summary>
    public bool QueryKeyNorm => Kind == LanguageModelKind.Qwen3;

    /// <summary>The width of a token's hidden state.</summary>
    public int HiddenSize { get; init; } = 4096;

    /// <summary>The number of transformer layers.</summary>
    public int LayerCount { get; init; } = 32;

    /// <summary>The number of query heads.</summary>
    public int HeadCount { get; init; } = 32;

    /// <summary>
    /// The number of key and value heads; each serves <see cref="HeadCount"/> / <see cref="KeyValueHeadCount"/> query
    /// heads.
    /// </summary>
    public int KeyValueHeadCount { get; init; } = 32;

    /// <summary>The width of one head; even, because RoPE rotates its two halves.</summary>
    public int HeadDimension { get; init; } = 128;

    /// <summary>The width of gate and up.</summary>
    public int IntermediateSize { get; init; } = 22016;

    /// <summary>The number of token ids, which is the rows of the embedding.</summary>
    public int VocabularySize { get; init; } = 151936;

    /// <summary>The epsilon of all norms.</summary>
    public float RmsNormEpsilon { get; init; } = 1e-6f;

    /// <summary>The base of the rotary frequencies.</summary>
    public double RopeTheta { get; init; } = 10000;

    /// <summary>
    /// The longest sequence, in tokens: <c>max_position_embeddings</c>, and with YaRN at least its factor times the
    /// trained positions. What <see cref="RopeScaling"/> does is computed for this length, once for all sequences.
    /// </summary>
    public int MaxPositions { get; init; } = 32768;

    /// <summary>How positions beyond the trained ones are reached; null where they are not.</summary>
    public RopeScaling? RopeScaling { get; init; }

    /// <summary>Whether the vocabulary head is the embedding matrix.</summary>
    public bool TieWordEmbeddings { get; init; }

    /// <summary>
    /// What ends at <see cref="MaxPositions"/>, for the error of a longer prompt: "32768 positions", and how more are
    /// configured.
    /// </summary>
    public string DescribePositions()
    {
        string positions = string.Create(CultureInfo.InvariantCulture, $"{MaxPositions} positions");
        if (RopeScaling is not { } scaling)
            return positions;
        // Dynamic scaling has no length of its own.
        string more = MaxPositions <= scaling.TrainedPositions ? string.Create(
            CultureInfo.InvariantCulture,
            $"; for more, raise 'max_position_embeddings' in config.json and name the trained " +
            $"{scaling.TrainedPositions} as 'original_max_position_embeddings' beside the factor") : "";
        return $"{positions} ({scaling.Describe(MaxPositions)}{more})";
    }

    /// <summary>The width of all query heads together.</summary>
    public int QuerySize => HeadCount * HeadDimension;

    /// <summary>The width of all key heads (or value heads) together.</summary>
    public int KeyValueSize => KeyValueHeadCount * HeadDimension;

    /// <summary>Reads a Qwen2Config or Qwen3Config, with the field names of transformers 4 or 5.</summary>
    /// <param name="json">The <c>llm_config</c> or <c>text_config</c>.</param>
    /// <param name="tieWordEmbeddings">What the outer configuration says, for when this one says nothing.</param>
    internal static LanguageConfiguration Parse(JsonSource json, bool tieWordEmbeddings)
    {
        LanguageModelKind kind = ParseKind(json);
        json.Demand("hidden_act", json.Text("hidden_act", "silu"), "silu");
        json.Demand("use_sliding_window", json.Boolean("use_sliding_window", false), false);
        foreach (string layerType in json.Texts("layer_types"))
            json.Demand("layer_types", layerType, "full_attention");

        var defaults = new LanguageConfiguration();
        int maxPositions = json.Integer("max_position_embeddings", defaults.MaxPositions, 1);
        RopeParameters rope = RopeParameters.Parse(json, defaults.RopeTheta, maxPositions);
        int hiddenSize = json.Integer("hidden_size", defaults.HiddenSize, 1, LargestSize);
        int headCount = json.Integer("num_attention_heads", defaults.HeadCount, 1, LargestSize);
        int? headDimension = json.OptionalInteger("head_dim", 1, LargestSize);
        // Qwen3's class has a width of its own where the file has none, Qwen2's divides.
        if (headDimension is null && kind == LanguageModelKind.Qwen3)
            headDimension = defaults.HeadDimension;
        if (headDimension is null)
            ConfigurationCheck.Divides(json.File, json.Path, "hidden_size", hiddenSize, "num_attention_heads", headCount);
        var configuration = new LanguageConfiguration
        {
            Kind = kind,
            HiddenSize = hiddenSize,
            LayerCount = json.Integer("num_hidden_layers", defaults.LayerCount, 1, LargestSize),
            HeadCount = headCount,
            // The class's own default is 32 heads, and an explicit null means as many as there are query heads.
            KeyValueHeadCount = json.Integer("num_key_value_heads",
                json.Element.TryGetProperty("num_key_value_heads", out _) ? headCount : defaults.KeyValueHeadCount, 1,
                LargestSize),
            HeadDimension = headDimension ?? hiddenSize / headCount,
            IntermediateSize = json.Integer("intermediate_size", defaults.IntermediateSize, 1, LargestSize),
            VocabularySize = json.Integer("vocab_size", defaults.VocabularySize, 1, LargestSize),
            RmsNormEpsilon = (float)json.Positive("rms_norm_eps", defaults.RmsNormEpsilon),
            RopeTheta = rope.Theta,
            RopeScaling = rope.Scaling,
            MaxPositions = rope.Positions,
            TieWordEmbeddings = json.Boolean("tie_word_embeddings", tieWordEmbeddings),
        };
        (kind == LanguageModelKind.Qwen3 ? s_qwen3Members : s_qwen2Members).Check(
            json, ("layer_norm_eps", configuration.RmsNormEpsilon), ("norm_eps", configuration.RmsNormEpsilon),
            ("query_pre_attn_scalar", configuration.HeadDimension),
            ("attention_multiplier", 1 / Math.Sqrt(configuration.HeadDimension)));
        return configuration;
    }

    /// <summary>Refuses sizes that contradict each other.</summary>
    /// <param name="file">Named in the error.</param>
    /// <param name="path">How the file names this part, such as "text_config.".</param>
    internal void Validate(string file, string path)
    {
        ConfigurationCheck.Positive(file, path, LargestSize,
            ("hidden_size", HiddenSize), ("num_hidden_layers", LayerCount), ("num_attention_heads", HeadCount),
            ("num_key_value_heads", KeyValueHeadCount),
            ("head_dim", HeadDimension), ("intermediate_size", IntermediateSize), ("vocab_size", VocabularySize));
        ConfigurationCheck.Positive(file, path, int.MaxValue, ("max_position_embeddings", MaxPositions));
        ConfigurationCheck.LayerCount(file, path, LayerCount);
        ConfigurationCheck.Divides(file, path, "num_attention_heads", HeadCount, "num_key_value_heads", KeyValueHeadCount);
        if ((long)HeadCount * HeadDimension > LargestSize)
            throw new CheckpointException(file,
                $"'{path}num_attention_heads' {HeadCount} × head dimension {HeadDimension} is too wide; supported: " +
                $"at most {LargestSize}.");
        if (HeadDimension % 2 != 0)
            throw new CheckpointException(file,
                $"'{path}head_dim' (hidden_size / num_attention_heads where absent) is {HeadDimension}; supported: " +
                $"even numbers, because RoPE rotates two halves.");
        ConfigurationCheck.Epsilon(file, $"{path}rms_norm_eps", RmsNormEpsilon);
        if (!double.IsFinite(RopeTheta) || RopeTheta <= 0)
            throw new CheckpointException(file, $"'{path}rope_theta' is {RopeTheta}; supported: a positive number.");
        if (RopeScaling is { Kind: RopeScalingKind.Yarn } && RopeTheta <= 1)
            throw new CheckpointException(file,
                $"'{path}rope_theta' is {RopeTheta}; supported: a number above 1, because YaRN takes its logarithm.");
        if (RopeScaling is { Kind: RopeScalingKind.Dynamic } && HeadDimension <= 2)
            throw new CheckpointException(file,
                $"'{path}head_dim' is {HeadDimension}; supported with dynamic scaling: 4 or more.");
    }

    internal void WriteJson(Utf8JsonWriter json)
    {
        json.WriteString("model_type", Kind == LanguageModelKind.Qwen3 ? "qwen3" : "qwen2");
        json.WriteNumber("hidden_size", HiddenSize);
        json.WriteNumber("num_hidden_layers", LayerCount);
        json.WriteNumber("num_attention_heads", HeadCount);
        json.WriteNumber("num_key_value_heads", KeyValueHeadCount);
        if (HeadDimension * HeadCount != HiddenSize || Kind == LanguageModelKind.Qwen3)
            json.WriteNumber("head_dim", HeadDimension);
        if (Kind == LanguageModelKind.Qwen3)
            json.WriteBoolean("attention_bias", false);
        json.WriteNumber("intermediate_size", IntermediateSize);
        json.WriteNumber("vocab_size", VocabularySize);
        json.WriteNumber("rms_norm_eps", RmsNormEpsilon);
        // Both spellings, so that transformers 4 and 5 read the same numbers.
        json.WriteNumber("rope_theta", RopeTheta);
        if (RopeScaling is { } scaling)
        {
            json.WriteStartObject("rope_scaling");
            json.WriteString("rope_type", scaling.Name);
            json.WriteString("type", scaling.Name);
            scaling.WriteJson(json);
            json.WriteEndObject();
        }

        json.WriteStartObject("rope_parameters");
        json.WriteString("rope_type", RopeScaling?.Name ?? "default");
        RopeScaling?.WriteJson(json);
        json.WriteNumber("rope_theta", RopeTheta);
        json.WriteEndObject();
        json.WriteNumber("max_position_embeddings", MaxPositions);
        json.WriteBoolean("tie_word_embeddings", TieWordEmbeddings);
        json.WriteString("hidden_act", "silu");
        json.WriteBoolean("use_sliding_window", false);
    }

    private static LanguageModelKind ParseKind(JsonSource json)
    {
        // The architecture is the name that people know, so it is named first.
        string? named = null;
        foreach (string architecture in json.Texts("architectures"))
        {
            DemandFamily(json, "architectures", architecture, "Qwen2ForCausalLM", "Qwen2Model", "Qwen3ForCausalLM",
                "Qwen3Model");
            string of = architecture.StartsWith("Qwen3", StringComparison.Ordinal) ? "qwen3" : "qwen2";
            if (named is not null && named != of)
                throw new CheckpointException(json.File,
                    $"'{json.Path}architectures' names classes of {named} and of {of}; supported: one of them.");
            named = of;
        }

        string modelType = json.Text("model_type", named ?? "qwen2");
        DemandFamily(json, "model_type", modelType, "qwen2", "qwen3");
        if (named is not null && named != modelType)
            throw new CheckpointException(json.File,
                $"'{json.Path}model_type' is '{modelType}' and '{json.Path}architectures' names a class of " +
                $"'{named}'; supported: the same in both.");
        return modelType == "qwen3" ? LanguageModelKind.Qwen3 : LanguageModelKind.Qwen2;
    }

    private static void DemandFamily(JsonSource json, string field, string found, params ReadOnlySpan<string> supported)
    {
        if (!supported.Contains(found))
        {
            throw new CheckpointException(json.File,
                $"'{json.Path}{field}' is '{found}'; supported: " +
                $"{string.Join(", ", supported.ToArray().Select(text => $"'{text}'"))}, "
                + $"the language models of {ModelFamily.Supported}.");
        }
    }
}
