using System.Collections.Immutable;
using System.Globalization;
using Skylight.Models;

namespace Skylight.Checkpoints.Gguf;

/// <summary>The language model of a GGUF file, from its metadata.</summary>
internal static class GgufLanguage
{
    private const int LargestSize = 1 << 24, MostLayers = 1024;
    private const string Embedding = "token_embd.weight", Head = "output.weight";

    private static readonly GgufKeys s_keys = new(
        [
            "block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count",
            "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon",
            "rope.freq_base", "rope.dimension_count", "vocab_size", "rope.scaling.type", "rope.scaling.factor",
            "rope.scaling.original_context_length", "rope.scaling.finetuned", "rope.scaling.yarn_beta_fast",
            "rope.scaling.yarn_beta_slow",
            // Of embeddings of texts, and of how an early format laid tensors out.
            "pooling_type", "tensor_data_layout",
        ],
        [
            ("expert_count", [0]), ("expert_used_count", [0]), ("use_parallel_residual", [0, 1]), ("attention.causal", [1]),
            ("attention.sliding_window", [0]), ("rope.scale_linear", [1]), ("rope.scaling.attn_factor", [1]),
            ("rope.scaling.yarn_attn_factor", [1]), ("rope.scaling.yarn_ext_factor", [-1, 1]), ("logit_scale", [1]),
        ]);

    /// <summary>Reads the sizes.</summary>
    /// <exception cref="CheckpointException">It is another architecture, or a key is missing or not supported.</exception>
    public static LanguageConfiguration Configuration(GgufFiles files)
    {
        GgufMetadata metadata = files.Metadata;
        string architecture = metadata.RequiredText("general.architecture");
        if (architecture == GgufVision.Architecture)
            throw new CheckpointException(files.Path,
                "is a vision encoder (mmproj), not a language model. Give the language model's file, and this one with " +
                "--mmproj.");
        if (architecture is not ("qwen2" or "qwen3"))
            throw metadata.Error("general.architecture", $"'{architecture}'",
                $"'qwen2', 'qwen3', the language models of {ModelFamily.Supported}");
        if (metadata.Text("general.type") is { } type and not "model")
            throw metadata.Error("general.type", $"'{type}'", "'model'");
        string prefix = architecture + ".";
        s_keys.Check(metadata, prefix);
        int hidden = Size("embedding_length"), heads = Size("attention.head_count");
        int? keyLength = metadata.Integer(prefix + "attention.key_length", 1, LargestSize);
        if (keyLength is null)
            ConfigurationCheck.Divides(files.Path, prefix, "embedding_length", hidden, "attention.head_count", heads);
        int head = keyLength ?? hidden / heads;
        foreach (string key in (ReadOnlySpan<string>)["attention.value_length", "rope.dimension_count"])
        {
            if (metadata.Integer(prefix + key) is { } other && other != head)
                throw metadata.Error(prefix + key, other.ToString(CultureInfo.InvariantCulture),
                    $"{head}, the width of a head");
        }

        int keyValueHeads = metadata.Integer(prefix + "attention.head_count_kv", 1, LargestSize) ?? heads;
        ConfigurationCheck.Divides(files.Path, prefix, "attention.head_count", heads, "attention.head_count_kv", keyValueHeads);
        if (head % 2 != 0)
            throw new CheckpointException(files.Path,
                $"'{prefix}attention.key_length' (embedding_length / attention.head_count where absent) is {head}; supported: " +
                $"even numbers, because RoPE rotates two halves.");
        int positions = metadata.RequiredInteger(prefix + "context_length", 1);
        (RopeScaling? scaling, positions) = Scaling(metadata, prefix, positions);
        var configuration = new LanguageConfiguration
        {
            Kind = architecture == "qwen3" ? LanguageModelKind.Qwen3 : LanguageModelKind.Qwen2,
            HiddenSize = hidden,
            LayerCount = metadata.RequiredInteger(prefix + "block_count", 1, MostLayers),
            HeadCount = heads,
            KeyValueHeadCount = keyValueHeads,
            HeadDimension = head,
            IntermediateSize = Size("feed_forward_length"),
            VocabularySize = Vocabulary(files, prefix),
            RmsNormEpsilon = (float)metadata.RequiredPositive(prefix + "attention.layer_norm_rms_epsilon"),
            // llama.cpp's own, where the file says nothing.
            RopeTheta = metadata.Number(prefix + "rope.freq_base", "a positive number", number => number > 0) ?? 10000,
            RopeScaling = scaling,
            MaxPositions = positions,
            TieWordEmbeddings = files.Find(Head) is null,
        };
        configuration.Validate(files.Path, prefix);
        return configuration;

        int Size(string key) => metadata.RequiredInteger(prefix + key, 1, LargestSize);
    }

    /// <summary>The tokens that end a text.</summary>
    public static ImmutableArray<int> StopTokens(GgufMetadata metadata) =>
    [
        .. new[] { "eos", "eot" }.Select(name => metadata.Integer($"tokenizer.ggml.{name}_token_id", -1))
            .OfType<int>().Where(token => token >= 0).Distinct(),
    ];

    /// <summary>What the file proposes for sampling.</summary>
    public static GenerationDefaults Generation(GgufMetadata metadata)
    {
        const string Prefix = "general.sampling.", FromZero = "a number of 0 or more";
        double? temperature = metadata.Number(Prefix + "temp", FromZero, number => number >= 0);
        string[] read = ["temp", "top_k", "top_p", "min_p", "penalty_repeat"];
        return new GenerationDefaults
        {
            StopTokenIds = StopTokens(metadata),
            Sample = temperature is { } given ? given > 0 : null,
            Temperature = temperature,
            TopK = metadata.Integer(Prefix + "top_k"),
            TopP = metadata.Number(Prefix + "top_p", "a number above 0 and up to 1", number => number is > 0 and <= 1),
            MinP = metadata.Number(Prefix + "min_p", "a number from 0 to 1", number => number is >= 0 and <= 1),
            RepetitionPenalty = metadata.Number(Prefix + "penalty_repeat", "a positive number", number => number > 0),
            Ignored = [.. metadata.Keys.Where(key => key.StartsWith(Prefix, StringComparison.Ordinal)
                && !read.Contains(key[Prefix.Length..]))
                .Select(key => new IgnoredSetting(key[Prefix.Length..], metadata.Json(key)))],
        };
    }

    /// <summary>The chat template that the file brings.</summary>
    public static ChatTemplateFile? Template(GgufMetadata metadata)
    {
        const string Key = "tokenizer.chat_template";
        if (metadata.Text(Key) is not { } source)
            return null;
        var tokens = new Dictionary<string, string>(StringComparer.Ordinal);
        ImmutableArray<ReadOnlyMemory<byte>> texts = metadata.Texts("tokenizer.ggml.tokens");
        foreach (string name in (ReadOnlySpan<string>)["bos", "eos", "padding", "unknown"])
        {
            if (metadata.Integer($"tokenizer.ggml.{name}_token_id", -1) is { } id and >= 0 && !texts.IsDefault
                && id < texts.Length)
                tokens[name switch { "padding" => "pad_token", "unknown" => "unk_token", _ => name + "_token" }] =
                    System.Text.Encoding.UTF8.GetString(texts[id].Span);
        }

        return new ChatTemplateFile(metadata.File, source, tokens);
    }

    /// <summary>The rows of the embedding, of which metadata and tokenizer must say the same.</summary>
    private static int Vocabulary(GgufFiles files, string prefix)
    {
        if (files.Find(Embedding) is not { Shape: { Rank: 2 } shape })
            throw new CheckpointException(files.Path,
                $"is {(files.Find(Embedding) is null ? "missing" : "no matrix")}, so that the vocabulary is not known. The file " +
                $"is incomplete.", Embedding);
        int? said = files.Metadata.Integer(prefix + "vocab_size", 1, LargestSize);
        if (said is { } size && size != shape[0])
            throw new CheckpointException(files.Path,
                $"'{prefix}vocab_size' is {size}, but '{Embedding}' has {shape[0]} rows; supported: the same number.");
        int? tokens = files.Metadata.Count("tokenizer.ggml.tokens");
        return tokens is null || tokens == shape[0] ? shape[0] : throw new CheckpointException(files.Path,
            $"'tokenizer.ggml.tokens' has {tokens} tokens, but '{Embedding}' has {shape[0]} rows: the tokenizer is not " +
            $"this model's. Take the file as its author made it.");
    }

    private static (RopeScaling? Scaling, int Positions) Scaling(GgufMetadata metadata, string prefix, int positions)
    {
        string key = prefix + "rope.scaling.";
        string? type = metadata.Text(key + "type");
        double? factor = metadata.Number(key + "factor", "a number from 0 to 1024", number => number is >= 0 and <= 1024);
        if (type is not (null or "none" or "yarn"))
            throw metadata.Error(key + "type", $"'{type}'", "'none' and 'yarn'");
        if (type != "yarn")
            return factor is null or 0 or 1 || type == "none" ? (null, positions)
                : throw new CheckpointException(metadata.File,
                    $"'{key}factor' is {factor.Value.ToString("R", CultureInfo.InvariantCulture)} without '{key}type', which " +
                    $"llama.cpp takes for linear scaling; supported: a factor with the type 'yarn'.");
        int trained = metadata.Integer(key + "original_context_length", 1) ?? positions;
        if (factor is not >= 1)
            throw new CheckpointException(metadata.File,
                $"'{key}factor' is {factor?.ToString("R", CultureInfo.InvariantCulture) ?? "missing"}; supported with 'yarn': " +
                $"a number from 1 to 1024.");
        const string Positive = "a positive number";
        double fast = metadata.Number(key + "yarn_beta_fast", Positive, number => number > 0) ?? 32,
            slow = metadata.Number(key + "yarn_beta_slow", Positive, number => number > 0) ?? 1;
        if (fast < slow)
            throw new CheckpointException(metadata.File,
                $"'{key}yarn_beta_fast' is below '{key}yarn_beta_slow'; supported: the first is not below the second.");
        return (new RopeScaling(RopeScalingKind.Yarn, factor.Value, trained) { BetaFast = fast, BetaSlow = slow },
            (int)Math.Min(int.MaxValue, Math.Max(positions, Math.Round(factor.Value * trained))));
    }
}
