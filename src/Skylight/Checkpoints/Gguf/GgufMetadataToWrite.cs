using System.Globalization;
using Skylight.Models;

namespace Skylight.Checkpoints.Gguf;

/// <summary>What a pair of files says of its model; the reverse of <see cref="GgufLanguage"/> and <see cref="GgufVision"/>.</summary>
internal static class GgufMetadataToWrite
{
    // llama.cpp's numbers of what most of a file is (llama_ftype), and the version of its block types.
    private const int BlocksVersion = 2;

    /// <summary>The architecture of a language model.</summary>
    public static string ArchitectureOf(LanguageConfiguration language) =>
        language.Kind == LanguageModelKind.Qwen3 ? "qwen3" : "qwen2";

    /// <summary>Of a language model, without its tokenizer.</summary>
    /// <exception cref="CheckpointException">The metadata cannot say what the model computes.</exception>
    public static GgufBuilder Language(ModelConfiguration configuration, GgufType type, string name, string source)
    {
        LanguageConfiguration language = configuration.Language;
        string prefix = ArchitectureOf(language) + ".";
        RopeScaling? scaling = language.RopeScaling;
        // Dynamic scaling changes nothing up to the trained length, and llama.cpp has none.
        int positions = scaling is { Kind: RopeScalingKind.Dynamic } ? scaling.TrainedPositions : language.MaxPositions;
        GgufBuilder builder = Head(new GgufBuilder(), ArchitectureOf(language), "model", name, type)
            .Integer(prefix + "block_count", language.LayerCount)
            .Integer(prefix + "context_length", positions)
            .Integer(prefix + "embedding_length", language.HiddenSize)
            .Integer(prefix + "feed_forward_length", language.IntermediateSize)
            .Integer(prefix + "attention.head_count", language.HeadCount)
            .Integer(prefix + "attention.head_count_kv", language.KeyValueHeadCount)
            .Integer(prefix + "attention.key_length", language.HeadDimension)
            .Integer(prefix + "attention.value_length", language.HeadDimension)
            .Number(prefix + "attention.layer_norm_rms_epsilon", language.RmsNormEpsilon)
            .Number(prefix + "rope.freq_base", language.RopeTheta)
            .Integer(prefix + "vocab_size", language.VocabularySize);
        if (scaling is { Kind: RopeScalingKind.Yarn })
        {
            var plain = new RopeScaling(RopeScalingKind.Yarn, scaling.Factor, scaling.TrainedPositions)
            {
                BetaFast = scaling.BetaFast,
                BetaSlow = scaling.BetaSlow,
            };
            if (scaling != plain)
                throw new CheckpointException(source,
                    "has a YaRN scaling with 'attention_factor', 'mscale' or 'truncate', which GGUF's metadata do not have. " +
                    "Take the format awq.");
            builder.Text(prefix + "rope.scaling.type", "yarn").Number(prefix + "rope.scaling.factor", scaling.Factor)
                .Integer(prefix + "rope.scaling.original_context_length", scaling.TrainedPositions)
                .Number(prefix + "rope.scaling.yarn_beta_fast", scaling.BetaFast)
                .Number(prefix + "rope.scaling.yarn_beta_slow", scaling.BetaSlow);
        }

        GenerationDefaults generation = configuration.Generation;
        if (generation.Temperature is { } temperature)
            builder.Number("general.sampling.temp", temperature);
        if (generation.TopK is { } topK)
            builder.Integer("general.sampling.top_k", topK);
        if (generation.TopP is { } topP)
            builder.Number("general.sampling.top_p", topP);
        if (generation.MinP is { } minP)
            builder.Number("general.sampling.min_p", minP);
        if (generation.RepetitionPenalty is { } penalty)
            builder.Number("general.sampling.penalty_repeat", penalty);
        return builder;
    }

    /// <summary>Of encoder and connector.</summary>
    /// <exception cref="CheckpointException">The metadata cannot say what the model computes.</exception>
    public static GgufBuilder Vision(ModelConfiguration configuration, GgufType type, string name, string source)
    {
        VisionConfiguration vision = configuration.Vision;
        ImagePreprocessing pictures = configuration.Preprocessing;
        if (vision.ImageHeight != vision.ImageWidth || vision.PatchHeight != vision.PatchWidth || vision.ChannelCount != 3)
            throw new CheckpointException(source, string.Create(CultureInfo.InvariantCulture,
                $"has tiles of {vision.ImageHeight}×{vision.ImageWidth} with patches of {vision.PatchHeight}×{vision.PatchWidth} and {vision.ChannelCount} channels; GGUF's metadata have squares of 3 channels only. Take the format awq."));
        return Head(new GgufBuilder(), GgufVision.Architecture, "mmproj", name, type)
            .Flag("clip.has_vision_encoder", true).Text("clip.projector_type", "internvl").Flag("clip.use_gelu", true)
            .Integer("clip.vision.projection_dim", configuration.Language.HiddenSize)
            .Integer("clip.vision.image_size", vision.ImageHeight)
            .Integer("clip.vision.patch_size", vision.PatchHeight)
            .Integer("clip.vision.embedding_length", vision.HiddenSize)
            .Integer("clip.vision.feed_forward_length", vision.IntermediateSize)
            .Integer("clip.vision.block_count", vision.LayerCount)
            .Integer("clip.vision.attention.head_count", vision.HeadCount)
            .Number("clip.vision.attention.layer_norm_epsilon", vision.NormEpsilon)
            .Integer("clip.vision.projector.scale_factor", 2)
            .Integer("clip.vision.preproc_min_tiles", pictures.MinimumTiles)
            .Integer("clip.vision.preproc_max_tiles", pictures.MaximumTiles)
            .Numbers("clip.vision.image_mean", pictures.Mean.Red, pictures.Mean.Green, pictures.Mean.Blue)
            .Numbers("clip.vision.image_std", pictures.Deviation.Red, pictures.Deviation.Green, pictures.Deviation.Blue);
    }

    private static GgufBuilder Head(GgufBuilder builder, string architecture, string kind, string name, GgufType type) =>
        builder.Text("general.architecture", architecture).Text("general.type", kind).Text("general.name", name)
            .Integer("general.file_type", type switch
            {
                GgufType.Q4_0 => 2,
                GgufType.Q8_0 => 7,
                GgufType.F32 => 0,
                GgufType.F16 => 1,
                GgufType.BF16 => 32,
                _ => throw new ArgumentOutOfRangeException(nameof(type), type, "Not a type that is written."),
            })
            .Integer("general.quantization_version", BlocksVersion);
}
