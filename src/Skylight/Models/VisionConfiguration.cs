using System.Collections.Immutable;
using System.Text.Json;
using Skylight.Checkpoints;

namespace Skylight.Models;

/// <summary>Which normalisation the vision encoder uses.</summary>
public enum NormKind
{
    /// <summary>LayerNorm with weight and bias (InternViT-300M).</summary>
    LayerNorm,

    /// <summary>RMSNorm with weight only (InternViT-6B).</summary>
    RmsNorm,
}

/// <summary>The sizes and choices of an InternViT vision encoder. The defaults are those of InternViT-300M-448px.</summary>
public sealed record VisionConfiguration
{
    private const int LargestSize = 1 << 24;
    private const int LargestImage = 1 << 14;

    private static readonly string[] s_read =
    [
        "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "image_size", "patch_size",
        "num_channels", "norm_type", "layer_norm_eps", "layer_scale_init_value",
        "hidden_act",
    ];

    // A mixture of experts that the published files describe and switch off, and what is the outer configuration's.
    private static readonly string[] s_idle =
    [
        "capacity_factor", "eval_capacity_factor", "laux_allreduce", "moe_coeff_ratio", "moe_intermediate_size",
        "moe_output_scale", "noisy_gate_policy", "num_experts", "num_routed_experts",
        "num_shared_experts", "shared_expert_intermediate_size", "use_residual", "use_rts", "use_weighted_residual",
        "tie_word_embeddings", "use_fa3",
    ];

    private static readonly (string, string)[] s_single = [("use_moe", "false"), ("mlp_bias", "true"),
        ("partial_rotary_factor", "1")];

    private static readonly ConfigurationMembers s_originalMembers = new(
        [.. s_read, "qk_normalization", "qkv_bias", "use_qk_norm", "attention_bias"], s_idle,
        [.. s_single, ("use_absolute_position_embeddings", "true"), ("use_mask_token", "false"),
            ("use_mean_pooling", "true")]);

    private static readonly ConfigurationMembers s_huggingFaceMembers = new(
        [.. s_read, "use_qk_norm", "attention_bias", "qk_normalization", "qkv_bias", "use_absolute_position_embeddings",
            "use_mask_token", "use_mean_pooling"], s_idle, s_single);

    /// <summary>The width of a patch's hidden state.</summary>
    public int HiddenSize { get; init; } = 1024;

    /// <summary>The number of transformer layers.</summary>
    public int LayerCount { get; init; } = 24;

    /// <summary>The number of attention heads.</summary>
    public int HeadCount { get; init; } = 16;

    /// <summary>The width between the two linear layers of the MLP.</summary>
    public int IntermediateSize { get; init; } = 4096;

    /// <summary>The height in pixels of an image tile, for which the position embedding was made.</summary>
    public int ImageHeight { get; init; } = 448;

    /// <summary>The width in pixels of an image tile.</summary>
    public int ImageWidth { get; init; } = 448;

    /// <summary>The height of a patch in pixels.</summary>
    public int PatchHeight { get; init; } = 14;

    /// <summary>The width of a patch in pixels.</summary>
    public int PatchWidth { get; init; } = 14;

    /// <summary>The colour channels of an image.</summary>
    public int ChannelCount { get; init; } = 3;

    /// <summary>The normalisation in front of attention and MLP.</summary>
    public NormKind NormKind { get; init; } = NormKind.LayerNorm;

    /// <summary>The epsilon of all norms in the encoder.</summary>
    public float NormEpsilon { get; init; } = 1e-6f;

    /// <summary>
    /// Whether queries and keys pass an RMSNorm over the full hidden width before they are split into heads.
    /// </summary>
    public bool QueryKeyNorm { get; init; }

    /// <summary>Whether the query, key and value projections have a bias.</summary>
    public bool QkvBias { get; init; } = true;

    /// <summary>What the layer scales start with in a model that is initialized at random.</summary>
    public float LayerScaleInitial { get; init; } = 0.1f;

    /// <summary>The width of one attention head.</summary>
    public int HeadDimension => HiddenSize / HeadCount;

    /// <summary>Patches from top to bottom.</summary>
    public int GridHeight => ImageHeight / PatchHeight;

    /// <summary>Patches from left to right.</summary>
    public int GridWidth => ImageWidth / PatchWidth;

    /// <summary>Patches of a tile.</summary>
    public int PatchCount => GridHeight * GridWidth;

    /// <summary>Numbers in a patch: channels × height × width.</summary>
    public int PatchElements => ChannelCount * PatchHeight * PatchWidth;

    /// <summary>Reads InternVisionModel's <c>vision_config</c> (of InternVLChatModel).</summary>
    internal static VisionConfiguration ParseOriginal(JsonSource json)
    {
        json.Demand("model_type", json.Text("model_type", "intern_vit_6b"), "intern_vit_6b");
        json.Demand("hidden_act", json.Text("hidden_act", "gelu"), "gelu");
        VisionConfiguration configuration = ParseSizes(json, new VisionConfiguration
        {
            // What the configuration class takes for a field that the file leaves out.
            HiddenSize = 3200,
            LayerCount = 48,
            HeadCount = 25,
            IntermediateSize = 12800,
            ImageHeight = 224,
            ImageWidth = 224,
            NormKind = ParseNorm(json, "rms_norm"),
            QueryKeyNorm = json.Boolean("qk_normalization", true),
            QkvBias = json.Boolean("qkv_bias", false),
            LayerScaleInitial = (float)json.Number("layer_scale_init_value", 0.1),
        });
        configuration.CheckMembers(json, s_originalMembers, ("use_qk_norm", configuration.QueryKeyNorm),
            ("attention_bias", configuration.QkvBias));
        return configuration;
    }

    /// <summary>Reads transformers' InternVLVisionConfig.</summary>
    internal static VisionConfiguration ParseHuggingFace(JsonSource json)
    {
        json.Demand("model_type", json.Text("model_type", "internvl_vision"), "internvl_vision");
        json.Demand("hidden_act", json.Text("hidden_act", "gelu"), "gelu");
        json.Demand("use_absolute_position_embeddings", json.Boolean("use_absolute_position_embeddings", true), true);
        json.Demand("use_mask_token", json.Boolean("use_mask_token", false), false);
        // With mean pooling the class has no norm after the last layer, as in the original encoder.
        json.Demand("use_mean_pooling", json.Boolean("use_mean_pooling", true), true);
        VisionConfiguration configuration = ParseSizes(json, new VisionConfiguration
        {
            NormKind = ParseNorm(json, "layer_norm"),
            QueryKeyNorm = json.Boolean("use_qk_norm", false),
            QkvBias = json.Boolean("attention_bias", false),
            LayerScaleInitial = (float)json.Number("layer_scale_init_value", 0.1),
        });
        configuration.CheckMembers(json, s_huggingFaceMembers, ("qk_normalization", configuration.QueryKeyNorm),
            ("qkv_bias", configuration.QkvBias));
        return configuration;
    }

    /// <summary>Refuses sizes that contradict each other.</summary>
    /// <param name="file">Named in the error.</param>
    /// <param name="path">How the file names this part, such as "vision_config.".</param>
    /// <param name="shuffleFactor">How many patches in each direction the pixel shuffle joins.</param>
    internal void Validate(string file, string path, int shuffleFactor)
    {
        ConfigurationCheck.Positive(file, path, LargestSize,
            ("hidden_size", HiddenSize), ("num_hidden_layers", LayerCount), ("num_attention_heads", HeadCount),
            ("intermediate_size", IntermediateSize));
        ConfigurationCheck.Positive(file, path, LargestImage,
            ("image_size", ImageHeight), ("image_size", ImageWidth), ("patch_size", PatchHeight),
            ("patch_size", PatchWidth), ("num_channels", ChannelCount));
        ConfigurationCheck.LayerCount(file, path, LayerCount);
        ConfigurationCheck.Divides(file, path, "hidden_size", HiddenSize, "num_attention_heads", HeadCount);
        ConfigurationCheck.Divides(file, path, "image_size", ImageHeight, "patch_size", PatchHeight);
        ConfigurationCheck.Divides(file, path, "image_size", ImageWidth, "patch_size", PatchWidth);
        if ((long)ChannelCount * PatchHeight * PatchWidth > LargestSize)
            throw new CheckpointException(file,
                $"'{path}patch_size' is [{PatchHeight}, {PatchWidth}] with {ChannelCount} channels; supported: at " +
                $"most {LargestSize} numbers in a patch.");
        if (GridHeight % shuffleFactor != 0 || GridWidth % shuffleFactor != 0)
        {
            throw new CheckpointException(file,
                $"'{path}image_size' [{ImageHeight}, {ImageWidth}] with '{path}patch_size' [{PatchHeight}, {PatchWidth}] "
                + $"gives a grid of {GridHeight}×{GridWidth} patches; supported: grids that the pixel shuffle's " +
                    $"factor {shuffleFactor} divides.");
        }

        ConfigurationCheck.Epsilon(file, $"{path}layer_norm_eps", NormEpsilon);
        if (!float.IsFinite(LayerScaleInitial))
            throw new CheckpointException(file,
                $"'{path}layer_scale_init_value' is {LayerScaleInitial}; supported: a finite number.");
    }

    internal void WriteJson(Utf8JsonWriter json)
    {
        json.WriteString("model_type", "internvl_vision");
        WriteSizes(json);
        json.WriteBoolean("use_qk_norm", QueryKeyNorm);
        json.WriteBoolean("attention_bias", QkvBias);
        json.WriteBoolean("use_absolute_position_embeddings", true);
        json.WriteBoolean("use_mask_token", false);
        json.WriteBoolean("use_mean_pooling", true);
    }

    internal void WriteOriginalJson(Utf8JsonWriter json)
    {
        json.WriteString("model_type", "intern_vit_6b");
        WriteSizes(json);
        json.WriteBoolean("qk_normalization", QueryKeyNorm);
        json.WriteBoolean("qkv_bias", QkvBias);
    }

    private void WriteSizes(Utf8JsonWriter json)
    {
        json.WriteNumber("hidden_size", HiddenSize);
        json.WriteNumber("num_hidden_layers", LayerCount);
        json.WriteNumber("num_attention_heads", HeadCount);
        json.WriteNumber("intermediate_size", IntermediateSize);
        WritePair(json, "image_size", ImageHeight, ImageWidth);
        WritePair(json, "patch_size", PatchHeight, PatchWidth);
        json.WriteNumber("num_channels", ChannelCount);
        json.WriteString("norm_type", NormKind == NormKind.LayerNorm ? "layer_norm" : "rms_norm");
        json.WriteNumber("layer_norm_eps", NormEpsilon);
        json.WriteNumber("layer_scale_init_value", LayerScaleInitial);
        json.WriteString("hidden_act", "gelu");
    }

    /// <summary>Refuses what is not known, and switches in the other form's name that say something else.</summary>
    private void CheckMembers(JsonSource json, ConfigurationMembers members,
        params ReadOnlySpan<(string Name, bool Value)> switches)
    {
        foreach ((string name, bool value) in switches)
            json.Demand(name, json.Boolean(name, value), value);
        members.Check(
            json, ("rms_norm_eps", NormEpsilon), ("num_key_value_heads", HeadCount),
            ("head_dim", HeadCount > 0 ? HiddenSize / HeadCount : 0));
    }

    private static VisionConfiguration ParseSizes(JsonSource json, VisionConfiguration defaults)
    {
        (int imageHeight, int imageWidth) = ParsePair(json, "image_size", defaults.ImageHeight, LargestImage);
        (int patchHeight, int patchWidth) = ParsePair(json, "patch_size", defaults.PatchHeight, LargestImage);
        return defaults with
        {
            HiddenSize = json.Integer("hidden_size", defaults.HiddenSize, 1, LargestSize),
            LayerCount = json.Integer("num_hidden_layers", defaults.LayerCount, 1, LargestSize),
            HeadCount = json.Integer("num_attention_heads", defaults.HeadCount, 1, LargestSize),
            IntermediateSize = json.Integer("intermediate_size", defaults.IntermediateSize, 1, LargestSize),
            ImageHeight = imageHeight,
            ImageWidth = imageWidth,
            PatchHeight = patchHeight,
            PatchWidth = patchWidth,
            ChannelCount = json.Integer("num_channels", defaults.ChannelCount, 1, LargestImage),
            NormEpsilon = (float)json.Positive("layer_norm_eps", defaults.NormEpsilon),
        };
    }

    private static (int Height, int Width) ParsePair(JsonSource json, string field, int otherwise, int most)
    {
        ImmutableArray<int> values = json.Integers(field, 1, most);
        return values.Length switch
        {
            0 when !json.Has(field) => (otherwise, otherwise),
            1 => (values[0], values[0]),
            2 => (values[0], values[1]),
            _ => throw new CheckpointException(json.File,
                $"'{json.Path}{field}' has {values.Length} numbers; supported: one, or height and width."),
        };
    }

    private static NormKind ParseNorm(JsonSource json, string otherwise)
    {
        string norm = json.Text("norm_type", otherwise);
        json.Demand("norm_type", norm, "layer_norm", "rms_norm");
        return norm == "layer_norm" ? NormKind.LayerNorm : NormKind.RmsNorm;
    }

    private static void WritePair(Utf8JsonWriter json, string field, int height, int width)
    {
        // The original classes know squares only, and transformers reads a number as both.
        if (height == width)
        {
            json.WriteNumber(field, height);
            return;
        }

        json.WriteStartArray(field);
        json.WriteNumberValue(height);
        json.WriteNumberValue(width);
        json.WriteEndArray();
    }
}
