using System.Text.Json;
using System.Text.Json.Nodes;
using Skylight.Checkpoints.Gguf;
using Skylight.Checkpoints.Quantized;

namespace Skylight.Checkpoints;

/// <summary>What lies beside the weights of a checkpoint, for one that is written in its likeness.</summary>
internal static class CheckpointCompanions
{
    private const string ConfigurationName = "config.json";
    private const int MostBytes = 256 << 20;

    // Tokenizers, templates, processors, the code that auto_map names, and the licence; a model card would speak of
    // other weights.
    private static readonly string[] s_endings = [".json", ".txt", ".jinja", ".model", ".py"];

    /// <summary>The naming of a checkpoint's tensors.</summary>
    /// <exception cref="CheckpointException">It cannot be read.</exception>
    public static CheckpointNaming NamingOf(string directory)
    {
        if (GgufSource.IsGguf(directory))
            throw new CheckpointException(directory,
                "is GGUF, in whose likeness no checkpoint is written. Give the safetensors folder that it was made of.");
        using CheckpointReader reader = CheckpointReader.Open(directory);
        return reader.DetectNaming();
    }

    /// <summary>Copies all but weights, their index and the configuration.</summary>
    /// <exception cref="CheckpointException">A file cannot be read.</exception>
    public static void Copy(string source, string target)
    {
        foreach (string file in Directory.EnumerateFiles(source).Order(StringComparer.Ordinal))
        {
            string name = Path.GetFileName(file);
            // What says how weights are quantised would speak of other weights.
            if (name.StartsWith('.') || name is ConfigurationName or "quantize_config.json" or "quantization_config.json"
                || name.EndsWith(".index.json", StringComparison.Ordinal))
                continue;
            if (!s_endings.Contains(Path.GetExtension(name)) && !name.StartsWith("LICENSE", StringComparison.Ordinal)
                && !name.StartsWith("NOTICE", StringComparison.Ordinal))
                continue;
            FileFaults.Check(file);
            if (BoundedFile.Length(file) > MostBytes)
                throw new CheckpointException(file,
                    $"has more than {MostBytes >> 20} MB, which no file beside the weights has. Move it away, or " +
                    $"give another folder.");
            File.Copy(file, Path.Combine(target, name));
        }
    }

    /// <summary>The configuration of a checkpoint, with another type of weights where it names one.</summary>
    /// <param name="source">The checkpoint.</param>
    /// <param name="type">Of weights that are not quantised.</param>
    /// <param name="quantization">How the others are; null where there are none.</param>
    /// <exception cref="CheckpointException">It cannot be read.</exception>
    public static string Configuration(string source, StoredType type, JsonObject? quantization = null)
    {
        string file = Path.Combine(source, ConfigurationName);
        try
        {
            return Configuration(BoundedFile.Read(file, MostBytes), type, quantization);
        }
        catch (Exception exception) when (exception is JsonException or IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(file, $"cannot be read: {exception.Message}", innerException: exception);
        }
    }

    /// <summary>The same of a text.</summary>
    /// <exception cref="JsonException">It is no object.</exception>
    public static string Configuration(ReadOnlyMemory<byte> text, StoredType type, JsonObject? quantization)
    {
        JsonElement element = JsonText.ParseElement(text);
        JsonObject root = element.ValueKind == JsonValueKind.Object ? JsonObject.Create(element)!
            : throw new JsonException("it is no object.");
        string name = type == StoredType.Float32 ? "float32" : "bfloat16";
        foreach (string field in (ReadOnlySpan<string>)["dtype", "torch_dtype"])
        {
            if (root.ContainsKey(field))
                root[field] = name;
        }

        // The weights that are written are plain ones, whatever was loaded.
        foreach (JsonObject part in (JsonObject[])
            [root, .. root.Select(member => member.Value).OfType<JsonObject>()])
        {
            foreach (string field in QuantizedForm.Fields)
                part.Remove(field);
        }

        if (quantization is not null)
            root[QuantizedForm.Fields[0]] = quantization;
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer,
            new JsonWriterOptions
            {
                Indented = true,
                Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
            }))
            root.WriteTo(json);
        return System.Text.Encoding.UTF8.GetString(buffer.ToArray());
    }
}
