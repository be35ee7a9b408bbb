using System.Collections.Immutable;
using Skylight.Checkpoints;
using Skylight.Checkpoints.Gguf;
using Skylight.Checkpoints.Quantized;

namespace Skylight.Models;

/// <summary>
/// A vision-language model of the InternVL3 / InternVL3.5 / Skywork-R1V3 family: InternViT, pixel shuffle, MLP
/// connector, Qwen2.5 or Qwen3.
/// </summary>
public sealed record ModelConfiguration
{
    internal const string FileName = "config.json";

    private static readonly string[] s_read =
    [
        "vision_config", "downsample_ratio", "tie_word_embeddings", "dynamic_image_size", "min_dynamic_patch",
        "max_dynamic_patch", "use_thumbnail", "image_mean", "image_std", "template",
        "system_message", "image_token_id", "img_context_token_id",
    ];

    // Of training, and of videos.
    private static readonly string[] s_idle = ["grad_checkpoint", "loss_reduction", "loss_reduction_all_gather",
        "video_token_id", "video_token_index"];

    private static readonly (string, string)[] s_single =
        [("use_backbone_lora", "0|false"), ("use_llm_lora", "0|false"), ("multimodal_projector_bias", "true"),
            ("use_moe", "false")];

    // What one form has no field for may stand there under the other's name.
    private static readonly ConfigurationMembers s_originalMembers = new(
        [.. s_read, "llm_config", "ps_version", "select_layer", "pad2square"], s_idle,
        [.. s_single, ("projector_hidden_act", "\"gelu\""), ("vision_feature_layer", "-1"),
            ("vision_feature_select_strategy", "\"default\"")]);

    private static readonly ConfigurationMembers s_huggingFaceMembers = new(
        [.. s_read, "text_config", "projector_hidden_act", "vision_feature_layer", "vision_feature_select_strategy"], s_idle,
        [.. s_single, ("ps_version", "\"v2\""), ("select_layer", "-1"), ("pad2square", "false")]);

    /// <summary>The vision encoder.</summary>
    public required VisionConfiguration Vision { get; init; }

    /// <summary>The language model.</summary>
    public required LanguageConfiguration Language { get; init; }

    /// <summary>
    /// How many patches in each direction the pixel shuffle joins into one token; 1 / <c>downsample_ratio</c>.
    /// </summary>
    public int ShuffleFactor { get; init; } = 2;

    /// <summary>The epsilon of the connector's LayerNorm, which no configuration file states.</summary>
    public float ConnectorEpsilon { get; init; } = 1e-5f;

    /// <summary>
    /// The token whose embedding rows image features overwrite; null in original configurations, where the tokenizer
    /// knows it by name.
    /// </summary>
    public int? ImageTokenId { get; init; }

    /// <summary>
    /// The tokens that end a text, as far as config.json and generation_config.json say; may be empty. The small
    /// InternVL3 models state a wrong one, so a chat program adds the tokenizer's <c>&lt;|im_end|&gt;</c>.
    /// </summary>
    public ImmutableArray<int> StopTokenIds { get; init; } = [];

    /// <summary>
    /// The class that the configuration names, such as "InternVLChatModel" or "InternVLForConditionalGeneration".
    /// </summary>
    public string Architecture { get; init; } = "InternVLForConditionalGeneration";

    /// <summary>
    /// The <c>model_type</c> that the checkpoint came with: "internvl_chat", "skywork_chat" or "internvl".
    /// </summary>
    public string ModelType { get; init; } = "internvl";

    /// <summary>
    /// The data type of the weights as config.json names it (<c>dtype</c>, formerly <c>torch_dtype</c>), such as
    /// "bfloat16"; null where it does not.
    /// </summary>
    public string? WeightType { get; init; }

    /// <summary>How a picture becomes tiles.</summary>
    public ImagePreprocessing Preprocessing { get; init; } = new();

    /// <summary>The name of the chat template, such as "internvl2_5"; null where config.json names none.</summary>
    public string? Template { get; init; }

    /// <summary>The system message; null where config.json has none, and the template's own applies.</summary>
    public string? SystemMessage { get; init; }

    /// <summary>
    /// The chat template that the checkpoint brings; null where it brings none. No part of what the configuration is.
    /// </summary>
    public ChatTemplateFile? ChatTemplate { get; init; }

    /// <summary>What generation_config.json proposes.</summary>
    public GenerationDefaults Generation { get; init; } = GenerationDefaults.None;

    /// <summary>
    /// What the checkpoint's files ask for that is not done and changes answers, a sentence each; no part of what the
    /// configuration is.
    /// </summary>
    public ImmutableArray<string> Warnings { get; init; } = [];

    /// <summary>Tokens of one image tile after the pixel shuffle.</summary>
    public int TokensPerTile => Vision.PatchCount / (ShuffleFactor * ShuffleFactor);

    /// <summary>Tokens of a picture of any size after the pixel shuffle.</summary>
    /// <exception cref="ArgumentException">The size is no multiple of the patches that one token joins.</exception>
    public int TokensPerImage(int height, int width)
    {
        int tokenHeight = Vision.PatchHeight * ShuffleFactor, tokenWidth = Vision.PatchWidth * ShuffleFactor;
        if (height % tokenHeight != 0 || width % tokenWidth != 0)
            throw new ArgumentException(
                $"A picture of {height}×{width} pixels cannot be cut into tokens of {tokenHeight}×{tokenWidth} pixels.");
        return height / tokenHeight * (width / tokenWidth);
    }

    /// <summary>The width of a shuffled token, which enters the connector.</summary>
    public int ConnectorInputSize => Vision.HiddenSize * ShuffleFactor * ShuffleFactor;

    /// <summary>
    /// Reads <c>config.json</c> of InternVLChatModel, SkyworkR1VChatModel or transformers' InternVL, and the stop tokens of
    /// <c>generation_config.json</c> where there is one.
    /// </summary>
    /// <param name="directory">The checkpoint's folder; or a GGUF file, or a folder with one of a language model, whose
    /// metadata are read.</param>
    /// <param name="vision">For GGUF: the vision encoder (<see cref="CheckpointReader.Open"/>).</param>
    /// <exception cref="CheckpointException">The file is missing, is not JSON, or asks for something that is not
    /// supported; names file, field, what was found and what is supported.</exception>
    /// <exception cref="ArgumentException">A vision encoder is given for a model that is not GGUF.</exception>
    public static ModelConfiguration Load(string directory, string? vision = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        if (GgufSource.Find(directory, vision) is { } source)
            return GgufModel.Configuration(source);
        string file = Path.Combine(directory, FileName);
        if (!File.Exists(file))
            throw new CheckpointException(file,
                $"is missing. A checkpoint is a folder with config.json and *.safetensors.{FileFaults.DescribeUnfinished(directory)}");
        return Parse(JsonSource.Load(file), GenerationDefaults.Load(directory),
            LoadPreprocessor(directory)) with
        { ChatTemplate = ChatTemplateFile.Load(directory) };
    }

    /// <summary>
    /// Refuses sizes that contradict each other. <see cref="Load"/> has done so; call it for a configuration made by a
    /// program.
    /// </summary>
    /// <exception cref="CheckpointException">Names the field as config.json would.</exception>
    public ModelConfiguration Validate() => Validate("configuration", "vision_config.", "text_config.");

    /// <summary>
    /// The configuration as transformers' InternVL writes it; <see cref="Load"/> reads it back to an equal record.
    /// </summary>
    public string ToJson() => ModelConfigurationJson.Write(this, original: false);

    /// <summary>
    /// The configuration in the form of InternVLChatModel; <see cref="Load"/> reads it back to an equal record.
    /// </summary>
    public string ToOriginalJson() => ModelConfigurationJson.Write(this, original: true);

    /// <inheritdoc/>
    public bool Equals(ModelConfiguration? other) =>
        other is not null && Vision == other.Vision && Language == other.Language && ShuffleFactor == other.ShuffleFactor
        && ConnectorEpsilon == other.ConnectorEpsilon && ImageTokenId == other.ImageTokenId
        && Architecture == other.Architecture
        && ModelType == other.ModelType && WeightType == other.WeightType && Preprocessing == other.Preprocessing
        && Template == other.Template && SystemMessage == other.SystemMessage
        && Generation == other.Generation && StopTokenIds.AsSpan().SequenceEqual(other.StopTokenIds.AsSpan());

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Vision, Language, ImageTokenId, Architecture);

    private static ModelConfiguration Parse(JsonSource json, GenerationDefaults generation, JsonSource? preprocessor)
    {
        string modelType = json.Text("model_type")
            ?? throw new CheckpointException(json.File,
                $"'model_type' is missing; supported: 'internvl_chat', 'skywork_chat', 'internvl', the types of {ModelFamily.Supported}.");
        if (modelType is not ("internvl_chat" or "skywork_chat" or "internvl"))
        {
            string architectures = string.Join(", ", json.Texts("architectures").Select(name => $"'{name}'"));
            throw new CheckpointException(json.File,
                $"'model_type' is '{modelType}'{(architectures.Length > 0 ? $" ({architectures})" : "")}; supported: 'internvl_chat', 'skywork_chat', 'internvl', the types of {ModelFamily.Supported}.");
        }

        string languageField = modelType == "internvl" ? "text_config" : "llm_config", languagePath = $"{languageField}.";
        // What it says of weights concerns only who reads them; what is not supported is refused here already.
        QuantizedForm? form = QuantizedForm.Parse(json);
        ModelConfiguration configuration = modelType == "internvl" ? ParseHuggingFace(json, preprocessor)
            : ParseOriginal(json, preprocessor);
        configuration = configuration with
        {
            // What it was before this library wrote it in the other form.
            ModelType = json.Text(ModelConfigurationJson.OriginField, modelType),
            StopTokenIds = ParseStopTokens(json, json.Object(languageField), generation),
            WeightType = json.Text("dtype") ?? json.Text("torch_dtype") ?? json.Object(languageField)?.Text("torch_dtype"),
            Template = json.Text("template"),
            SystemMessage = json.Text("system_message"),
            Generation = generation,
            Warnings = ParseWarnings(json, json.RequiredObject(languageField), generation)
                .AddRange(form?.Warnings ?? []),
        };
        configuration.Validate(json.File, "vision_config.", languagePath);
        configuration.CheckMembers(json, languageField);
        return configuration;
    }

    /// <summary>The image processor's own file, or its part of the processor's.</summary>
    private static JsonSource? LoadPreprocessor(string directory)
    {
        string file = Path.Combine(directory, "preprocessor_config.json");
        if (File.Exists(file))
            return JsonSource.Load(file);
        file = Path.Combine(directory, "processor_config.json");
        return File.Exists(file) ? JsonSource.Load(file).Object("image_processor") : null;
    }

    private static ModelConfiguration ParseOriginal(JsonSource json, JsonSource? preprocessor)
    {
        // The class's default is "v1", the older token order.
        json.Demand("ps_version", json.Text("ps_version", "v1"), "v2");
        DemandNumber(json, "select_layer", json.Integer("select_layer", -1, int.MinValue), -1);
        VisionConfiguration vision = VisionConfiguration.ParseOriginal(json.RequiredObject("vision_config"));
        if (json.OptionalInteger("force_image_size", 1) is { } tile
            && (tile != vision.ImageHeight || tile != vision.ImageWidth))
            throw new CheckpointException(json.File,
                $"'force_image_size' is {tile}; supported: the same as 'vision_config.image_size' ([{vision.ImageHeight}, {vision.ImageWidth}]).");
        return new ModelConfiguration
        {
            Vision = vision,
            Language = LanguageConfiguration.Parse(json.RequiredObject("llm_config"),
                json.Boolean("tie_word_embeddings", false)),
            ShuffleFactor = ParseShuffleFactor(json),
            ImageTokenId = AgreedImageToken(json, json.OptionalInteger(ModelConfigurationJson.OriginalImageTokenField),
                json.OptionalInteger("image_token_id")),
            Preprocessing = ImagePreprocessing.ParseOriginal(json, preprocessor),
            Architecture = ParseArchitecture(json, "InternVLChatModel", "SkyworkR1VChatModel",
                "InternVLForConditionalGeneration"),
        };
    }

    private static ModelConfiguration ParseHuggingFace(JsonSource json, JsonSource? preprocessor)
    {
        json.Demand("projector_hidden_act", json.Text("projector_hidden_act", "gelu"), "gelu");
        json.Demand("vision_feature_select_strategy", json.Text("vision_feature_select_strategy", "default"), "default");
        DemandNumber(json, "vision_feature_layer", json.Integer("vision_feature_layer", -1, int.MinValue), -1);
        LanguageConfiguration language = LanguageConfiguration.Parse(json.RequiredObject("text_config"),
            json.Boolean("tie_word_embeddings", false));
        var configuration = new ModelConfiguration
        {
            Vision = VisionConfiguration.ParseHuggingFace(json.RequiredObject("vision_config")),
            Language = language,
            ShuffleFactor = ParseShuffleFactor(json),
            ImageTokenId = ParseImageToken(json, language),
            Architecture = ParseArchitecture(json, "InternVLForConditionalGeneration", "InternVLChatModel",
                "SkyworkR1VChatModel"),
        };
        configuration.Vision.Validate(json.File, "vision_config.", configuration.ShuffleFactor);
        configuration = configuration with
        {
            Preprocessing = ImagePreprocessing.ParseHuggingFace(json, preprocessor, configuration.Vision,
                configuration.TokensPerTile),
        };
        if (json.OptionalInteger("image_seq_length", 1) is { } tokens && tokens != configuration.TokensPerTile)
            throw new CheckpointException(json.File,
                $"'image_seq_length' is {tokens}, but image and patch size make {configuration.TokensPerTile} tokens of a tile; supported: the same number.");
        return configuration;
    }

    /// <summary>Refuses what is not known of the outer object; some files say sizes again there.</summary>
    private void CheckMembers(JsonSource json, string languageField)
    {
        (languageField == "text_config" ? s_huggingFaceMembers : s_originalMembers).Check(
            json, ("hidden_size", Language.HiddenSize), ("num_hidden_layers", Language.LayerCount),
            ("num_attention_heads", Language.HeadCount),
            ("num_key_value_heads", Language.KeyValueHeadCount), ("intermediate_size", Language.IntermediateSize),
            ("vocab_size", Language.VocabularySize),
            ("max_position_embeddings", Language.MaxPositions), ("force_image_size", Vision.ImageHeight),
            ("image_seq_length", TokensPerTile), ("num_image_token", TokensPerTile));
    }

    internal ModelConfiguration Validate(string file, string visionPath, string languagePath)
    {
        if (ShuffleFactor != 2)
            throw new CheckpointException(file, $"'downsample_ratio' is 1/{ShuffleFactor}; supported: 0.5.");
        Vision.Validate(file, visionPath, ShuffleFactor);
        Language.Validate(file, languagePath);
        ConfigurationCheck.Epsilon(file, "connector epsilon", ConnectorEpsilon);
        Preprocessing.Validate(file);
        if (ImageTokenId is { } id && (id < 0 || id >= Language.VocabularySize))
            throw new CheckpointException(file,
                $"'image_token_id' is {id}; supported: an id below '{languagePath}vocab_size' ({Language.VocabularySize}).");
        return this;
    }

    private static int ParseShuffleFactor(JsonSource json)
    {
        double ratio = json.Positive("downsample_ratio", 0.5);
        if (ratio != 0.5)
            throw new CheckpointException(json.File,
                FormattableString.Invariant($"'downsample_ratio' is {ratio}; supported: 0.5."));
        return 2;
    }

    private static int? ParseImageToken(JsonSource json, LanguageConfiguration language)
    {
        int? original = json.OptionalInteger(ModelConfigurationJson.OriginalImageTokenField);
        // An explicit null is our own way of writing that it is unknown.
        if (original is not null || json.Element.TryGetProperty("image_token_id", out _))
            return AgreedImageToken(json, original, json.OptionalInteger("image_token_id"));
        const int ClassDefault = 151667;
        return ClassDefault < language.VocabularySize ? ClassDefault : null;
    }

    private static int? AgreedImageToken(JsonSource json, int? original, int? huggingFace) => original is null
        || huggingFace is null || original == huggingFace
        ? original ?? huggingFace
        : throw new CheckpointException(json.File,
            $"'{ModelConfigurationJson.OriginalImageTokenField}' is {original} and 'image_token_id' is {huggingFace}; supported: one of them, or the same in both.");

    private static string ParseArchitecture(JsonSource json, params ReadOnlySpan<string> supported)
    {
        ImmutableArray<string> architectures = json.Texts("architectures");
        foreach (string architecture in architectures)
            json.Demand("architectures", architecture, supported);
        return architectures.IsEmpty ? supported[0] : architectures[0];
    }

    /// <summary>
    /// The generation configuration decides; without it, the outer configuration; without that, the language model's.
    /// </summary>
    private static ImmutableArray<int> ParseStopTokens(JsonSource json, JsonSource? language, GenerationDefaults generation)
    {
        if (!generation.StopTokenIds.IsEmpty)
            return generation.StopTokenIds;
        foreach (JsonSource? source in (ReadOnlySpan<JsonSource?>)[json, language])
        {
            if (source is { } found && GenerationDefaults.ParseStopTokens(found) is { IsEmpty: false } ids)
                return ids;
        }

        return [];
    }

    /// <summary>
    /// As in transformers, what the model's own configuration says of generation counts only where
    /// generation_config.json says nothing.
    /// </summary>
    private static ImmutableArray<string> ParseWarnings(JsonSource json, JsonSource language,
        GenerationDefaults generation) =>
    [
        .. generation.Ignored.Select(setting => setting.Describe(GenerationDefaults.FileName)),
        .. generation != GenerationDefaults.None ? []
            : GenerationMembers.IgnoredLegacy(json).Concat(GenerationMembers.IgnoredLegacy(language))
            .Select(setting => setting.Describe(FileName)),
    ];

    private static void DemandNumber(JsonSource json, string field, int found, int supported)
    {
        if (found != supported)
            throw new CheckpointException(json.File, $"'{json.Path}{field}' is {found}; supported: {supported}.");
    }
}
