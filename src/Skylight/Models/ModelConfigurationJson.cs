using System.Collections.Immutable;
using System.Text;
using System.Text.Json;

namespace Skylight.Models;

/// <summary>
/// Writes <c>config.json</c> in both forms. What a form has no field for is written under the other form's name, which
/// other programs pass over.
/// </summary>
internal static class ModelConfigurationJson
{
    /// <summary>The model type that a checkpoint had before it was saved in the other form.</summary>
    public const string OriginField = "skylight_model_type";

    /// <summary>How the original model's code calls the image token once the tokenizer has told it.</summary>
    public const string OriginalImageTokenField = "img_context_token_id";

    public static string Write(ModelConfiguration configuration, bool original)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteStartArray("architectures");
            json.WriteStringValue(configuration.Architecture);
            json.WriteEndArray();
            string modelType = !original ? "internvl" : configuration.ModelType == "skywork_chat" ? "skywork_chat"
                : "internvl_chat";
            json.WriteString("model_type", modelType);
            if (modelType != configuration.ModelType)
                json.WriteString(OriginField, configuration.ModelType);
            if (configuration.WeightType is { } weightType)
            {
                // Both spellings, as transformers 4 and 5 read them.
                json.WriteString("dtype", weightType);
                json.WriteString("torch_dtype", weightType);
            }

            json.WriteNumber("downsample_ratio", 1.0 / configuration.ShuffleFactor);
            json.WriteBoolean("tie_word_embeddings", configuration.Language.TieWordEmbeddings);
            if (!configuration.StopTokenIds.IsDefaultOrEmpty)
                WriteIds(json, "eos_token_id", configuration.StopTokenIds);
            WritePreprocessing(json, configuration);
            if (original)
                WriteOriginal(json, configuration);
            else
                WriteHuggingFace(json, configuration);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.ToArray());
    }

    public static void WriteIds(Utf8JsonWriter json, string field, ImmutableArray<int> ids)
    {
        if (ids.Length == 1)
        {
            json.WriteNumber(field, ids[0]);
            return;
        }

        json.WriteStartArray(field);
        foreach (int id in ids)
            json.WriteNumberValue(id);
        json.WriteEndArray();
    }

    private static void WritePreprocessing(Utf8JsonWriter json, ModelConfiguration configuration)
    {
        ImagePreprocessing preprocessing = configuration.Preprocessing;
        if (configuration.Vision.ImageHeight == configuration.Vision.ImageWidth)
            json.WriteNumber("force_image_size", configuration.Vision.ImageHeight);
        json.WriteBoolean("dynamic_image_size", preprocessing.IsTiled);
        json.WriteNumber("min_dynamic_patch", preprocessing.MinimumTiles);
        json.WriteNumber("max_dynamic_patch", preprocessing.MaximumTiles);
        json.WriteBoolean("use_thumbnail", preprocessing.HasThumbnail);
        var defaults = new ImagePreprocessing();
        if (preprocessing.Mean != defaults.Mean)
            WriteChannels(json, "image_mean", preprocessing.Mean);
        if (preprocessing.Deviation != defaults.Deviation)
            WriteChannels(json, "image_std", preprocessing.Deviation);
        if (configuration.Template is { } template)
            json.WriteString("template", template);
        if (configuration.SystemMessage is { } message)
            json.WriteString("system_message", message);
    }

    private static void WriteOriginal(Utf8JsonWriter json, ModelConfiguration configuration)
    {
        json.WriteString("ps_version", "v2");
        json.WriteNumber("select_layer", -1);
        json.WriteBoolean("pad2square", false);
        if (configuration.ImageTokenId is { } imageToken)
            json.WriteNumber(OriginalImageTokenField, imageToken);
        json.WriteStartObject("vision_config");
        configuration.Vision.WriteOriginalJson(json);
        json.WriteEndObject();
        json.WriteStartObject("llm_config");
        json.WriteStartArray("architectures");
        json.WriteStringValue(configuration.Language.Kind == LanguageModelKind.Qwen3 ? "Qwen3ForCausalLM"
            : "Qwen2ForCausalLM");
        json.WriteEndArray();
        configuration.Language.WriteJson(json);
        json.WriteEndObject();
    }

    private static void WriteHuggingFace(Utf8JsonWriter json, ModelConfiguration configuration)
    {
        json.WriteNumber("image_seq_length", configuration.TokensPerTile);
        if (configuration.ImageTokenId is { } imageToken)
            json.WriteNumber("image_token_id", imageToken);
        else
            json.WriteNull("image_token_id");
        json.WriteString("projector_hidden_act", "gelu");
        json.WriteNumber("vision_feature_layer", -1);
        json.WriteString("vision_feature_select_strategy", "default");
        json.WriteStartObject("vision_config");
        configuration.Vision.WriteJson(json);
        json.WriteEndObject();
        json.WriteStartObject("text_config");
        configuration.Language.WriteJson(json);
        json.WriteEndObject();
    }

    private static void WriteChannels(Utf8JsonWriter json, string field, ColorChannels channels)
    {
        json.WriteStartArray(field);
        json.WriteNumberValue(channels.Red);
        json.WriteNumberValue(channels.Green);
        json.WriteNumberValue(channels.Blue);
        json.WriteEndArray();
    }
}
