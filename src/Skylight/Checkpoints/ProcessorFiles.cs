using System.Text;
using System.Text.Json;
using Skylight.Models;

namespace Skylight.Checkpoints;

/// <summary>
/// What transformers wants to know of pictures beside a checkpoint in its naming; config.json of that form does not say
/// it.
/// </summary>
public static class ProcessorFiles
{
    private const string ProcessorClass = "InternVLProcessor";

    /// <summary>
    /// The files by name: <c>preprocessor_config.json</c> (size of a tile, fewest and most tiles, colours) and
    /// <c>processor_config.json</c> (tokens of a tile). transformers always adds a thumbnail to several tiles; a model
    /// that is used without one it cannot be told.
    /// </summary>
    /// <param name="configuration">The model.</param>
    public static IReadOnlyList<KeyValuePair<string, string>> Of(ModelConfiguration configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        return
        [
            KeyValuePair.Create("preprocessor_config.json", Json(json => WritePreprocessor(json, configuration))),
            KeyValuePair.Create("processor_config.json", Json(json =>
            {
                json.WriteNumber("image_seq_length", configuration.TokensPerTile);
                json.WriteString("processor_class", ProcessorClass);
            })),
        ];
    }

    private static void WritePreprocessor(Utf8JsonWriter json, ModelConfiguration configuration)
    {
        ImagePreprocessing preprocessing = configuration.Preprocessing;
        json.WriteString("image_processor_type", "GotOcr2ImageProcessorFast");
        json.WriteString("processor_class", ProcessorClass);
        json.WriteBoolean("crop_to_patches", preprocessing.IsTiled);
        json.WriteNumber("min_patches", preprocessing.IsTiled ? preprocessing.MinimumTiles : 1);
        json.WriteNumber("max_patches", preprocessing.IsTiled ? preprocessing.MaximumTiles : 1);
        json.WriteBoolean("do_convert_rgb", true);
        json.WriteBoolean("do_resize", true);
        json.WriteStartObject("size");
        json.WriteNumber("height", configuration.Vision.ImageHeight);
        json.WriteNumber("width", configuration.Vision.ImageWidth);
        json.WriteEndObject();
        json.WriteNumber("resample", 3);
        json.WriteBoolean("do_rescale", true);
        json.WriteNumber("rescale_factor", 1.0 / 255);
        json.WriteBoolean("do_normalize", true);
        WriteChannels(json, "image_mean", preprocessing.Mean);
        WriteChannels(json, "image_std", preprocessing.Deviation);
    }

    private static void WriteChannels(Utf8JsonWriter json, string field, ColorChannels channels)
    {
        json.WriteStartArray(field);
        json.WriteNumberValue(channels.Red);
        json.WriteNumberValue(channels.Green);
        json.WriteNumberValue(channels.Blue);
        json.WriteEndArray();
    }

    private static string Json(Action<Utf8JsonWriter> write)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.ToArray());
    }
}
