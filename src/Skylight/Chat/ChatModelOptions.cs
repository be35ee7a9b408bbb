using Skylight.Checkpoints;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Hub;
using Skylight.Images;
using Skylight.Tensors;
using Skylight.Text;

namespace Skylight.Chat;

/// <summary>How a model is loaded and served.</summary>
/// <example>
/// <code>
/// var options = new ChatModelOptions { Device = Device.Parse("cpu"), CacheTokens = 8192, Quantization = QuantizedFormat.Q8 };
/// await using ChatModel model = await ChatModel.LoadAsync("InternVL3-1B", options);
/// </code>
/// </example>
public sealed record ChatModelOptions
{
    /// <summary>
    /// Where the model lives; closed together with it, unless <see cref="LeaveDeviceOpen"/> says otherwise. The CPU if
    /// null.
    /// </summary>
    public Device? Device { get; init; }

    /// <summary>Whether the device stays open when the model is closed, because others use it too.</summary>
    public bool LeaveDeviceOpen { get; init; }

    /// <summary>
    /// The data type of the weights in memory. If null that of the checkpoint: weights that it has quantised stay so, where
    /// the device multiplies their format; a type makes them numbers.
    /// </summary>
    public DataType? ParameterType { get; init; }

    /// <summary>
    /// What the language model's matrices are rounded to once they are loaded: <see cref="QuantizedFormat.Q8"/>,
    /// <see cref="QuantizedFormat.Q4"/>, or null for nothing (<see cref="Models.VisionLanguageModel.Quantize"/>): faster
    /// decoding and less memory, for slightly other probabilities. Devices that multiply no such weights refuse it.
    /// </summary>
    public QuantizedFormat? Quantization { get; init; }

    /// <summary>
    /// Where weights that were rounded while they were read are kept, so that the next start need not round them again;
    /// as the environment says if null (<see cref="WeightCacheOptions.FromEnvironment"/>).
    /// </summary>
    public WeightCacheOptions? WeightCache { get; init; }

    /// <summary>
    /// The tokens that the key-value cache holds for all requests together. By default a quarter of the memory that the
    /// weights leave, at most 16,384 tokens, and no fewer than <see cref="ContextTokens"/>.
    /// </summary>
    public int? CacheTokens { get; init; }

    /// <summary>
    /// The data type of the key-value cache. If null what the device has for the model: bfloat16 where it computes in it.
    /// <see cref="DataType.Int8"/>, on the CPU, holds nearly twice the tokens of bfloat16 in the same memory, for
    /// slightly other probabilities, and is read faster where the processor has AMX. A model that is trained by its
    /// probabilities (GRPO) cannot have it.
    /// </summary>
    public DataType? KeyValueType { get; init; }

    /// <summary>
    /// The most tokens of one request, prompt and answer; by default the model's positions or the cache, whichever is
    /// less. More than one of these is refused, not shortened.
    /// </summary>
    public int? ContextTokens { get; init; }

    /// <summary>Prompt tokens that are run together at most.</summary>
    public int PrefillTokens { get; init; } = 1024;

    /// <summary>
    /// Prompt tokens that are run together at most while other answers are being written, which wait for them.
    /// </summary>
    public int PrefillTokensBesideDecoding { get; init; } = 128;

    /// <summary>
    /// Bytes of image features that are kept, so that a picture is encoded once for all turns of a conversation.
    /// </summary>
    public long ImageCacheBytes { get; init; } = 256L << 20;

    /// <summary>
    /// Whether what the key-value cache holds is kept while there is room, so that a prompt that begins like an earlier
    /// one is read only from where they differ: the next turn of a conversation, or a system message that all share.
    /// The answers are the same, on a card in deterministic mode. Whoever measures how long a first token takes can
    /// tell whether somebody has sent the same beginning before: switch it off where that must not be.
    /// </summary>
    public bool CachePrefixes { get; init; } = true;

    /// <summary>
    /// How many tokens of an answer are guessed at most behind the next one, where a request says nothing; 0, the
    /// default, for none (<see cref="GenerationOptions.SpeculativeTokens"/>).
    /// </summary>
    public int SpeculativeTokens { get; init; }

    /// <summary>The most requests at once, those that wait included.</summary>
    public int MaximumRequests { get; init; } = 1024;

    /// <summary>The most pictures of one request.</summary>
    public int MaximumImages { get; init; } = 64;

    /// <summary>
    /// From where a model that is named by its repository comes, and where it is kept; as the environment says if null.
    /// </summary>
    public HubOptions? Hub { get; init; }

    /// <summary>
    /// For a model that is a GGUF file: its vision encoder and connector, an <c>mmproj-*.gguf</c>, or a folder of
    /// safetensors (or its repository) whose own are taken. If null, the one <c>mmproj-*.gguf</c> that lies beside the model.
    /// </summary>
    public string? Vision { get; init; }

    /// <summary>The tokenizer; by default the checkpoint's <c>tokenizer.json</c>, or what its GGUF file holds.</summary>
    public ITokenizer? Tokenizer { get; init; }

    /// <summary>
    /// The chat template; by default the one that belongs to the checkpoint
    /// (<see cref="ConversationEncoder.TemplateOf"/>).
    /// </summary>
    public ChatTemplate? Template { get; init; }

    /// <summary>How large pictures may be.</summary>
    public ImageLimits ImageLimits { get; init; } = ImageLimits.Default;

    /// <summary>What decodes pictures.</summary>
    public ImageDecoders ImageDecoders { get; init; } = ImageDecoders.Standard;

    /// <summary>Checks the numbers.</summary>
    internal ChatModelOptions Validate()
    {
        foreach ((string name, long? value) in ((string, long?)[])[
            (nameof(CacheTokens), CacheTokens), (nameof(ContextTokens), ContextTokens),
            (nameof(PrefillTokens), PrefillTokens),
            (nameof(PrefillTokensBesideDecoding), PrefillTokensBesideDecoding), (nameof(MaximumRequests), MaximumRequests)])
        {
            if (value < 1)
                throw new ArgumentException($"{name} is {value}; it must be at least 1.");
        }

        if (SpeculativeTokens is < 0 or > SamplingOptions.MostSpeculativeTokens)
            throw new ArgumentException(
                $"{nameof(SpeculativeTokens)} is {SpeculativeTokens}; it must be from 0 (none) to " +
                $"{SamplingOptions.MostSpeculativeTokens}.");
        return MaximumImages >= 0 && ImageCacheBytes >= 0 ? this
            : throw new ArgumentException($"{nameof(MaximumImages)} and {nameof(ImageCacheBytes)} cannot be negative.");
    }
}
