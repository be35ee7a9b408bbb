using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Tests.Models;

/// <summary>
/// A random model that runs in microseconds, with prompts for it: text, and pictures of 28×28 pixels, which are 4
/// tokens each.
/// </summary>
internal static class TinyModel
{
    public const int ImageToken = 39;

    public const int StopToken = 38;

    public const int TokensPerImage = 4;

    public static ModelConfiguration Configuration { get; } = new ModelConfiguration
    {
        Vision = new VisionConfiguration
        {
            HiddenSize = 16,
            LayerCount = 2,
            HeadCount = 2,
            IntermediateSize = 24,
            ImageHeight = 28,
            ImageWidth = 28,
            PatchHeight = 7,
            PatchWidth = 7,
            ChannelCount = 1,
        },
        Language = new LanguageConfiguration
        {
            HiddenSize = 32,
            LayerCount = 2,
            HeadCount = 4,
            KeyValueHeadCount = 2,
            HeadDimension = 8,
            IntermediateSize = 40,
            VocabularySize = 40,
            MaxPositions = 256,
        },
        ImageTokenId = ImageToken,
        StopTokenIds = [StopToken],
    }.Validate();

    public static VisionLanguageModel Create(DataType? parameterType = null, bool useFusion = true, ulong seed = 5,
        Device? device = null, int? maxPositions = null, LanguageModelKind kind = LanguageModelKind.Qwen2,
        bool tied = false, RopeScaling? scaling = null, int? headDimension = null)
    {
        ModelConfiguration configuration = Configuration with
        {
            Language = Configuration.Language with
            {
                MaxPositions = maxPositions ?? Configuration.Language.MaxPositions,
                Kind = kind,
                TieWordEmbeddings = tied,
                RopeScaling = scaling,
                // Qwen3 has heads of a width of its own; half of this one is no multiple of a vector.
                HeadDimension = headDimension
                    ?? (kind == LanguageModelKind.Qwen3 ? 12 : Configuration.Language.HeadDimension),
            },
        };
        var model = new VisionLanguageModel(configuration, device ?? new CpuDevice(),
            parameterType)
        { UseFusion = useFusion };
        model.Initialize(seed);
        string[] spread = tied ? ["language.embedding.weight"] : ["language.embedding.weight", "language.head.weight"];
        // Norms that do something; they begin as ones.
        foreach (string name in spread.Concat(model.Parameters.All.Select(parameter => parameter.Name)
            .Where(name => name.EndsWith("query_norm.weight", StringComparison.Ordinal)
                || name.EndsWith("key_norm.weight", StringComparison.Ordinal))))
        {
            // Far from uniform, so that an error in the context shows in the distribution.
            float[] values = PersistentTensors.Read(model.Device, model.Parameters[name]);
            float[] scaled = name.EndsWith("norm.weight", StringComparison.Ordinal)
                ? [.. values.Select((value, index) => value * (0.5f + index * 0.125f))]
                : [.. values.Select(value => value * (name.Contains("embedding", StringComparison.Ordinal) ? 30 : 2))];
            PersistentTensors.Write(model.Device, model.Parameters[name], scaled);
        }

        return model;
    }

    public static ImageTile Picture(ulong seed, int height = 28, int width = 28)
    {
        var random = new CounterRandom(seed, 0x1A6E);
        var pixels = new float[height * width];
        for (int index = 0; index < pixels.Length; index++)
            pixels[index] = 2 * random.NextSingle() - 1;
        return new ImageTile(pixels, height, width);
    }

    /// <summary>Random text without image places.</summary>
    public static int[] Text(ulong seed, int length)
    {
        var random = new CounterRandom(seed, 0x7E87);
        var tokens = new int[length];
        for (int index = 0; index < length; index++)
            tokens[index] = random.Next(StopToken);
        return tokens;
    }

    /// <summary>A token, the pictures' places, and text up to the length.</summary>
    public static TokenSequence Prompt(ulong seed, int length, params ReadOnlySpan<ImageTile> images)
    {
        int[] tokens = Text(seed, length);
        Array.Fill(tokens, ImageToken, 1, images.Length * TokensPerImage);
        return new TokenSequence(tokens, images.ToArray());
    }

    /// <summary>All parameters as one list of floats.</summary>
    public static float[] Weights(VisionLanguageModel model) =>
        [.. model.Parameters.All.SelectMany(parameter => PersistentTensors.Read(model.Device, parameter))];
}
