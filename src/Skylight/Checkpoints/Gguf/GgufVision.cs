using System.Collections.Immutable;
using System.Globalization;
using Skylight.Models;

namespace Skylight.Checkpoints.Gguf;

/// <summary>The vision encoder and connector of an <c>mmproj-*.gguf</c>, from its metadata.</summary>
internal static class GgufVision
{
    /// <summary>What such a file calls itself.</summary>
    public const string Architecture = "clip";

    private const int LargestSize = 1 << 24, LargestImage = 1 << 14, MostLayers = 1024, MostTiles = 1024;
    private const string Prefix = "clip.vision.", Projector = "internvl";

    private static readonly GgufKeys s_keys = new(
        [
            "has_vision_encoder", "has_audio_encoder", "projector_type", "vision.projector_type", "use_gelu", "use_silu",
            "vision.image_size", "vision.patch_size", "vision.embedding_length", "vision.feed_forward_length",
            "vision.block_count", "vision.attention.head_count", "vision.attention.layer_norm_epsilon",
            "vision.projection_dim", "vision.image_mean", "vision.image_std", "vision.projector.scale_factor",
            "vision.preproc_min_tiles", "vision.preproc_max_tiles",
        ],
        [("has_text_encoder", [0]), ("has_llava_projector", [0, 1])]);

    /// <summary>A whole model of the encoder and of a language model.</summary>
    /// <param name="files">The encoder's file.</param>
    /// <param name="language">The language model.</param>
    /// <param name="languageFile">Its file, for errors.</param>
    /// <exception cref="CheckpointException">It is another encoder or of another model, or a key is missing or not
    /// supported.</exception>
    public static ModelConfiguration Configuration(GgufFiles files, LanguageConfiguration language, string languageFile)
    {
        GgufMetadata metadata = files.Metadata;
        string architecture = metadata.RequiredText("general.architecture");
        if (architecture != Architecture)
            throw metadata.Error("general.architecture", $"'{architecture}'",
                $"'{Architecture}', a vision encoder with projector (mmproj-*.gguf)");
        string projector = metadata.Text("clip.projector_type") ?? metadata.Text(Prefix + "projector_type")
            ?? metadata.RequiredText("clip.projector_type");
        if (projector != Projector)
            throw metadata.Error("clip.projector_type", $"'{projector}'",
                $"'{Projector}', the encoders of {ModelFamily.Supported}");
        s_keys.Check(metadata, "clip.");
        Demand(metadata, "clip.has_vision_encoder", true);
        Demand(metadata, "clip.has_audio_encoder", false);
        Demand(metadata, "clip.use_silu", false);
        Demand(metadata, "clip.use_gelu", true);
        if (metadata.Integer(Prefix + "projector.scale_factor") is { } factor and not 2)
            throw metadata.Error(Prefix + "projector.scale_factor", factor.ToString(CultureInfo.InvariantCulture), "2");
        if (metadata.Integer(Prefix + "projection_dim", 1, LargestSize) is { } width && width != language.HiddenSize)
            throw new CheckpointException(files.Path,
                $"makes features of {width} numbers ('{Prefix}projection_dim'), but {Path.GetFileName(languageFile)} takes " +
                $"{language.HiddenSize}: it is the vision encoder of another model. Give that of the same model.");
        int image = metadata.RequiredInteger(Prefix + "image_size", 1, LargestImage),
            patch = metadata.RequiredInteger(Prefix + "patch_size", 1, LargestImage);
        var vision = new VisionConfiguration
        {
            HiddenSize = metadata.RequiredInteger(Prefix + "embedding_length", 1, LargestSize),
            LayerCount = metadata.RequiredInteger(Prefix + "block_count", 1, MostLayers),
            HeadCount = metadata.RequiredInteger(Prefix + "attention.head_count", 1, LargestSize),
            IntermediateSize = metadata.RequiredInteger(Prefix + "feed_forward_length", 1, LargestSize),
            ImageHeight = image,
            ImageWidth = image,
            PatchHeight = patch,
            PatchWidth = patch,
            NormEpsilon = (float)metadata.RequiredPositive(Prefix + "attention.layer_norm_epsilon"),
            // The metadata does not say which of the two encoders it is; the tensors do.
            NormKind = files.Find("v.blk.0.ln1.bias") is null ? NormKind.RmsNorm : NormKind.LayerNorm,
            QueryKeyNorm = files.Find("v.blk.0.attn_q_norm.weight") is not null,
            QkvBias = files.Find("v.blk.0.attn_q.bias") is not null,
        };
        ConfigurationCheck.Divides(files.Path, Prefix, "embedding_length", vision.HiddenSize, "attention.head_count",
            vision.HeadCount);
        var tiles = new ImagePreprocessing();
        return new ModelConfiguration
        {
            Vision = vision,
            Language = language,
            Preprocessing = tiles with
            {
                MinimumTiles = metadata.Integer(Prefix + "preproc_min_tiles", 1, MostTiles) ?? tiles.MinimumTiles,
                MaximumTiles = metadata.Integer(Prefix + "preproc_max_tiles", 1, MostTiles) ?? tiles.MaximumTiles,
                Mean = Channels(metadata, "image_mean") ?? tiles.Mean,
                Deviation = Channels(metadata, "image_std") ?? tiles.Deviation,
            },
        }.Validate(files.Path, Prefix, "");
    }

    private static void Demand(GgufMetadata metadata, string key, bool supported)
    {
        if (metadata.Boolean(key) is { } found && found != supported)
            throw metadata.Error(key, found ? "true" : "false", supported ? "true" : "false");
    }

    private static ColorChannels? Channels(GgufMetadata metadata, string name)
    {
        ImmutableArray<double> values = metadata.Numbers(Prefix + name, 3);
        return values.IsDefault ? null : new ColorChannels(values[0], values[1], values[2]);
    }
}
