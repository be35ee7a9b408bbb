using Skylight.Models;

namespace Skylight.Checkpoints.Gguf;

/// <summary>A whole model of a language model's GGUF file and of an encoder from elsewhere.</summary>
internal static class GgufModel
{
    /// <summary>The configuration of the whole.</summary>
    /// <exception cref="CheckpointException">A file cannot be read or is not supported, or the two do not belong
    /// together.</exception>
    public static ModelConfiguration Configuration(GgufSource source)
    {
        using GgufFiles files = GgufFiles.Open(source.Language);
        LanguageConfiguration language = GgufLanguage.Configuration(files);
        GenerationDefaults generation = GgufLanguage.Generation(files.Metadata);
        ModelConfiguration whole;
        if (source.HasBase)
        {
            whole = WithBase(source, language);
        }
        else
        {
            using GgufFiles vision = GgufFiles.Open(source.Vision);
            whole = GgufVision.Configuration(vision, language, source.Language);
        }

        return whole with
        {
            WeightType = null,
            Generation = generation,
            StopTokenIds = generation.StopTokenIds.IsEmpty ? whole.StopTokenIds : generation.StopTokenIds,
            ChatTemplate = GgufLanguage.Template(files.Metadata) ?? whole.ChatTemplate,
            Warnings = [.. generation.Ignored.Select(setting => setting.Describe(Path.GetFileName(source.Language)))],
        };
    }

    /// <summary>
    /// What a checkpoint folder says of everything but the language model, which must have the sizes of the folder's own:
    /// another has learnt to read other features.
    /// </summary>
    private static ModelConfiguration WithBase(GgufSource source, LanguageConfiguration language)
    {
        ModelConfiguration whole = ModelConfiguration.Load(source.Vision);
        LanguageConfiguration own = whole.Language;
        (string Name, int Found, int Expected)[] sizes =
        [
            ("hidden size", language.HiddenSize, own.HiddenSize), ("layers", language.LayerCount, own.LayerCount),
            ("heads", language.HeadCount, own.HeadCount),
            ("heads of keys and values", language.KeyValueHeadCount, own.KeyValueHeadCount),
            ("width of a head", language.HeadDimension, own.HeadDimension),
            ("intermediate size", language.IntermediateSize, own.IntermediateSize),
        ];
        string[] wrong = [.. sizes.Where(size => size.Found != size.Expected)
            .Select(size => $"{size.Name} {size.Found} and {size.Expected}")];
        if (language.Kind != own.Kind)
            wrong = [$"{language.Kind} and {own.Kind}", .. wrong];
        return wrong.Length == 0 ? whole with { Language = language }
            : throw new CheckpointException(source.Vision,
                $"is another model than {Path.GetFileName(source.Language)}: {string.Join(", ", wrong)}. Give the folder of the " +
                $"model that the file was made of.");
    }
}
