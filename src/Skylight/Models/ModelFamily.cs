using System.Collections.Immutable;

namespace Skylight.Models;

/// <summary>
/// The shapes of the published models, for checkpoints of random weights and for planning without weights. The sizes
/// are those of the models' public configurations: InternViT-300M or -6B with Qwen2.5 and a vocabulary of 151674
/// tokens, or with Qwen3 and its 151936. Head and embedding are not tied: the sizes that InternVL3.5's cards state are
/// those of two matrices.
/// </summary>
public static class ModelFamily
{
    private static readonly VisionConfiguration s_small = new();

    private static readonly VisionConfiguration s_large = new()
    {
        HiddenSize = 3200,
        LayerCount = 45,
        HeadCount = 25,
        IntermediateSize = 12800,
        NormKind = NormKind.RmsNorm,
        QueryKeyNorm = true,
        QkvBias = false,
    };

    /// <summary>The name of the demo's model.</summary>
    public const string Demo = "demo";

    private static readonly ImmutableArray<(string Name, ModelConfiguration Configuration)> s_members =
    [
        ("internvl3-1b", Member(s_small, 896, 24, 14, 2, 4864)),
        ("internvl3-2b", Member(s_small, 1536, 28, 12, 2, 8960)),
        ("internvl3-8b", Member(s_small, 3584, 28, 28, 4, 18944)),
        ("internvl3-14b", Member(s_small, 5120, 48, 40, 8, 13824)),
        ("internvl3-38b", Member(s_large, 5120, 64, 40, 8, 27648)),
        ("skywork-r1v3-38b",
            Member(s_large, 5120, 64, 40, 8, 27648) with
            {
                ModelType = "skywork_chat", Architecture = "SkyworkR1VChatModel",
            }),
        ("internvl3.5-1b", Member35(s_small, 1024, 28, 16, 3072)),
        ("internvl3.5-2b", Member35(s_small, 2048, 28, 16, 6144)),
        ("internvl3.5-4b", Member35(s_small, 2560, 36, 32, 9728)),
        ("internvl3.5-8b", Member35(s_small, 4096, 36, 32, 12288)),
        ("internvl3.5-14b", Member35(s_small, 5120, 40, 40, 17408)),
        ("internvl3.5-38b", Member35(s_large, 5120, 64, 64, 25600)),
        ("tiny", Member(new VisionConfiguration
        {
            HiddenSize = 64, LayerCount = 2, HeadCount = 4, IntermediateSize = 128,
        }, 64, 2, 4, 2, 128)),
        (Demo, DemoModel()),
    ];

    /// <summary>
    /// The names that <see cref="Configuration"/> takes: published models; "tiny", which has few and narrow layers but
    /// real tiles and the real vocabulary; and "demo", which learns to read and add two handwritten digits in minutes:
    /// tiles of 28×28 pixels, and a small vocabulary of its own.
    /// </summary>
    public static ImmutableArray<string> Names { get; } = [.. s_members.Select(member => member.Name)];

    /// <summary>The models that can be loaded, for an error that names what was found.</summary>
    internal static string Supported =>
        "InternVL3 (1B, 2B, 8B, 14B, 38B, 78B; not 9B, which is built on InternLM3), InternVL3.5 (1B, 2B, 4B, 8B, " +
        "14B, 38B; not those with experts) and Skywork-R1V3: "
        + "InternViT with Qwen2.5 or a dense Qwen3";

    /// <summary>The shape of a member.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <exception cref="ArgumentException">There is none of that name; the error lists them.</exception>
    public static ModelConfiguration Configuration(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        foreach ((string known, ModelConfiguration configuration) in s_members)
        {
            if (string.Equals(known, name, StringComparison.OrdinalIgnoreCase))
                return configuration;
        }

        throw new ArgumentException($"No model is named '{name}'. There are: {string.Join(", ", Names)}.", nameof(name));
    }

    private static ModelConfiguration Member(VisionConfiguration vision, int hidden, int layers, int heads,
        int keyValueHeads, int intermediate) => new ModelConfiguration
        {
            Vision = vision,
            Language = new LanguageConfiguration
            {
                HiddenSize = hidden,
                LayerCount = layers,
                HeadCount = heads,
                KeyValueHeadCount = keyValueHeads,
                HeadDimension = hidden / heads,
                IntermediateSize = intermediate,
                VocabularySize = 151674,
                RopeTheta = 1e6,
                MaxPositions = 32768,
                RopeScaling = new RopeScaling(RopeScalingKind.Dynamic, 2, 32768),
            },
            // <IMG_CONTEXT> and <|im_end|> of the family's tokenizer.
            ImageTokenId = 151667,
            StopTokenIds = [151645],
            ModelType = "internvl_chat",
            WeightType = "bfloat16",
            Architecture = "InternVLChatModel",
            Template = "internvl2_5",
        };

    /// <summary>
    /// A member with Qwen3, whose tokenizer has other numbers for the family's tokens, and which was trained for all of
    /// its positions.
    /// </summary>
    private static ModelConfiguration Member35(VisionConfiguration vision, int hidden, int layers, int heads,
        int intermediate)
    {
        ModelConfiguration member = Member(vision, hidden, layers, heads, 8, intermediate);
        return member with
        {
            Language = member.Language with
            {
                Kind = LanguageModelKind.Qwen3,
                HeadDimension = 128,
                VocabularySize = 151936,
                MaxPositions = 40960,
                RopeScaling = null,
            },
            ImageTokenId = 151671,
        };
    }

    /// <summary>In transformers' form: no system message, which would be longer than the demo's texts.</summary>
    private static ModelConfiguration DemoModel() => new()
    {
        Vision = new VisionConfiguration
        {
            HiddenSize = 64,
            LayerCount = 3,
            HeadCount = 4,
            IntermediateSize = 256,
            ImageHeight = 28,
            ImageWidth = 28,
            PatchHeight = 7,
            PatchWidth = 7,
        },
        Language = new LanguageConfiguration
        {
            HiddenSize = 128,
            LayerCount = 3,
            HeadCount = 4,
            KeyValueHeadCount = 2,
            HeadDimension = 32,
            IntermediateSize = 384,
            VocabularySize = 313,
            RopeTheta = 10000,
            MaxPositions = 512,
        },
        // <IMG_CONTEXT>, <|im_end|> and <|endoftext|> of its tokenizer.
        ImageTokenId = 309,
        StopTokenIds = [306],
        Generation = new GenerationDefaults { StopTokenIds = [306], PaddingTokenId = 304 },
        // A digit to a tile, and MNIST's mean and deviation.
        Preprocessing = new ImagePreprocessing
        {
            MaximumTiles = 2,
            Mean = new ColorChannels(0.1307, 0.1307, 0.1307),
            Deviation = new ColorChannels(0.3081, 0.3081, 0.3081),
        },
        ModelType = "internvl",
        WeightType = "float32",
        Architecture = "InternVLForConditionalGeneration",
    };
}
