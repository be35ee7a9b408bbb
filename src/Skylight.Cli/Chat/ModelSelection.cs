using System.CommandLine;
using System.Globalization;
using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Hub;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Text;

namespace Skylight.Cli.Chat;

/// <summary>The argument and options of the commands that load a model to talk to.</summary>
internal sealed class ModelSelection
{
    private readonly Argument<string> _model = new("model") { Description = ModelFolder.Description };
    private readonly Option<string> _device = DeviceOption.Create();
    private readonly Option<string?> _compute = DeviceOption.CreateCompute();
    private readonly Option<string?> _type =
        new("--dtype")
        {
            Description =
            "The data type of the weights in memory; by default the checkpoint's. q8 and q4 round the language " +
            "model's matrices to 8 or 4 bits: faster on the CPU, slightly other answers."
        };
    private readonly Option<int?> _context =
        new("--context")
        {
            Description =
            "The most tokens of a conversation, the answer included; by default what model and cache hold. More than the " +
            "model's positions, or than --cache-tokens, is refused."
        };
    private readonly Option<int?> _cache =
        new("--cache-tokens")
        {
            Description =
            "Tokens in the key-value cache, of all conversations together; by default a quarter of the memory that " +
            "the weights leave, at most 16384."
        };

    private readonly Option<string> _cacheType = KeyValueOption.Create();

    private readonly Option<string?> _template =
        new("--template")
        {
            Description =
            "The chat template; by default the checkpoint's own, where it writes anything else than the one built in " +
            "for its model."
        };

    private readonly Option<int> _speculate =
        new("--speculate")
        {
            Description =
            "Guess up to so many tokens behind the next one, from 0 to 15: those that followed where the last few stood " +
            "before. Answers are the same; what repeats itself comes faster."
        };

    private readonly Option<string?> _vision = ModelFolder.CreateVisionOption();

    public ModelSelection()
    {
        _type.AcceptOnlyFromAmong("bfloat16", "float32", "q8", "q4");
        _template.AcceptOnlyFromAmong([ConversationEncoder.BuiltIn, .. ChatTemplate.Names]);
    }

    public void AddTo(Command command)
    {
        command.Add(_model);
        foreach (Option option in (Option[])[_device, _compute, _type, _context, _cache, _cacheType, _template, _speculate,
            _vision])
            command.Add(option);
    }

    /// <summary>The checkpoint's folder or GGUF file, once the model is loaded.</summary>
    public string Folder { get; private set; } = "";

    /// <summary>The vision encoder of a GGUF file; null where it was not given.</summary>
    public string? Vision { get; private set; }

    /// <summary>Loads it, and says how far that is where standard error is a terminal.</summary>
    /// <param name="parse">What was given.</param>
    /// <param name="change">What a command changes of how it is served.</param>
    /// <param name="cancellationToken">Stops the loading.</param>
    public async Task<ChatModel> LoadAsync(ParseResult parse, Func<ChatModelOptions, ChatModelOptions>? change,
        CancellationToken cancellationToken)
    {
        string model = parse.GetRequiredValue(_model);
        int? context = Positive(parse, _context), cache = Positive(parse, _cache);
        Device device = DeviceOption.Open(parse.GetRequiredValue(_device), compute: parse.GetValue(_compute));
        try
        {
            Folder = await ModelFolder.FindAsync(model, ModelParts.Checkpoint, cancellationToken);
            Vision = parse.GetValue(_vision) is { } vision
                ? await ModelFolder.FindAsync(vision, ModelParts.Checkpoint, cancellationToken) : null;
            var options = new ChatModelOptions
            {
                Device = device,
                Vision = Vision,
                ParameterType = parse.GetValue(_type) switch
                {
                    "bfloat16" => DataType.BFloat16,
                    "float32" => DataType.Float32,
                    _ => null,
                },
                Quantization = parse.GetValue(_type) switch
                {
                    "q8" => QuantizedFormat.Q8,
                    "q4" => QuantizedFormat.Q4,
                    _ => null,
                },
                ContextTokens = context,
                CacheTokens = cache,
                KeyValueType = KeyValueOption.TypeOf(parse.GetRequiredValue(_cacheType)),
                SpeculativeTokens = Guesses(parse.GetValue(_speculate)),
                Hub = ModelFolder.Hub,
                Template = parse.GetValue(_template) is { } template
                    ? ConversationEncoder.TemplateOf(ModelConfiguration.Load(Folder, Vision), template) : null,
                ImageDecoders = Pictures.Decoders,
            };
            var progress = new ConsoleProgress("Loading", WeightBytes());
            ChatModel loaded = await ChatModel.LoadAsync(model, change?.Invoke(options) ?? options, progress,
                cancellationToken);
            foreach (string warning in loaded.Warnings)
                await Console.Error.WriteLineAsync($"skylight: {warning}");
            return loaded;
        }
        catch
        {
            device.Dispose();
            throw;
        }
    }

    private static int Guesses(int tokens) => tokens is >= 0 and <= SamplingOptions.MostSpeculativeTokens ? tokens
        : throw new ArgumentException(string.Create(CultureInfo.InvariantCulture,
            $"--speculate is {tokens}; give a number from 0 (none) to {SamplingOptions.MostSpeculativeTokens}."));

    private static int? Positive(ParseResult parse, Option<int?> option) => parse.GetValue(option) is not { } value
        ? null : value >= 1 ? value
        : throw new ArgumentException(string.Create(CultureInfo.InvariantCulture,
            $"{option.Name} is {value}; give a positive number of tokens."));

    private long WeightBytes()
    {
        if (!ModelSource.IsGguf(Folder))
            return Directory.EnumerateFiles(Folder, "*.safetensors").Sum(BoundedFile.Length);
        using CheckpointReader reader = CheckpointReader.Open(Folder, Vision);
        return reader.Tensors.Sum(tensor => tensor.StoredBytes);
    }
}
