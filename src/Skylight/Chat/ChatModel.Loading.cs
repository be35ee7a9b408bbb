using Skylight.Checkpoints;
using Skylight.Checkpoints.Gguf;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Hub;
using Skylight.Models;
using Skylight.Text;

namespace Skylight.Chat;

public sealed partial class ChatModel
{
    /// <summary>
    /// Loads a checkpoint of the InternVL3 or Skywork-R1V3 family: weights, tokenizer, chat template and the way
    /// with pictures. A repository of the hub that is not in the cache is downloaded first
    /// (<see cref="ModelSource.FolderAsync"/>; <see cref="ChatModelOptions.Hub"/> says from where and hears how far
    /// it is).
    /// </summary>
    /// <param name="model">The folder with config.json, tokenizer.json and the safetensors files, or a repository
    /// of the hub: OWNER/NAME or OWNER/NAME@REVISION. Or a GGUF file, or a folder with one of a language model
    /// (<see cref="ChatModelOptions.Vision"/>).</param>
    /// <param name="options">Where and how the model is served.</param>
    /// <param name="progress">The fraction of bytes read.</param>
    /// <param name="cancellationToken">Stops the loading; what was reserved is freed, a device that was passed
    /// stays open.</param>
    /// <exception cref="HubException">The repository cannot be had.</exception>
    /// <exception cref="CheckpointException">The checkpoint is incomplete, corrupt, not downloaded, or of another
    /// architecture.</exception>
    /// <exception cref="TokenizerException">The tokenizer cannot be read, or does not belong to the model.</exception>
    /// <exception cref="OutOfDeviceMemoryException">The device has too little memory.</exception>
    /// <example>
    /// <code>
    /// await using ChatModel model = await ChatModel.LoadAsync("OpenGVLab/InternVL3-1B");
    /// ChatAnswer answer = await model.CompleteAsync([Message.User("What is this?", ImagePart.FromFile("cat.jpg"))]);
    /// Console.WriteLine(answer.Answer);
    /// </code>
    /// </example>
    public static async Task<ChatModel> LoadAsync(
        string model, ChatModelOptions? options = null, IProgress<float>? progress = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(model);
        options ??= new ChatModelOptions();
        string name = ModelSource.NameOf(model);
        string directory = await ModelSource.FolderAsync(model, ModelParts.Checkpoint, options.Hub,
            cancellationToken).ConfigureAwait(false);
        if (options.Vision is { } vision)
            options = options with
            {
                Vision = await ModelSource.FolderAsync(vision, ModelParts.Checkpoint, options.Hub, cancellationToken)
                    .ConfigureAwait(false),
            };
        return await Task.Run(() => Open(directory, name, options, progress, cancellationToken), cancellationToken)
            .ConfigureAwait(false);
    }

    private static ChatModel Open(string directory, string name, ChatModelOptions options, IProgress<float>? progress,
        CancellationToken cancellationToken)
    {
        ModelConfiguration configuration = ModelConfiguration.Load(directory, options.Vision);
        CheckContext(options.Validate(), configuration.Language);
        Device device = options.Device ?? new CpuDevice();
        VisionLanguageModel? model = null;
        try
        {
            (ITokenizer tokenizer, model) = Read(directory, configuration, device, options, progress, cancellationToken);
            options = options with { Template = options.Template ?? ConversationEncoder.TemplateOf(configuration) };
            return new ChatModel(name, model, tokenizer, options);
        }
        catch
        {
            model?.Dispose();
            if (options.Device is null)
                device.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Reads tokenizer and weights side by side: the tokenizer is one core's work. What is wrong with it need not wait for
    /// gigabytes, and stops the weights.
    /// </summary>
    private static (ITokenizer Tokenizer, VisionLanguageModel Model) Read(string directory, ModelConfiguration configuration,
        Device device, ChatModelOptions options, IProgress<float>? progress, CancellationToken cancellationToken)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task<VisionLanguageModel> loading = Task.Run(() => ModelCheckpoint.Load(directory, device, options.ParameterType, null,
            progress, stop.Token, options.Vision, options.Quantization), CancellationToken.None);
        ITokenizer tokenizer;
        int imageToken;
        try
        {
            tokenizer = options.Tokenizer ?? (GgufSource.Find(directory, options.Vision) is { } gguf
                ? GgufTokenizer.Load(gguf.Language, cancellationToken) : BytePairTokenizer.Load(directory, cancellationToken));
            tokenizer.EnsureFits(configuration.Language.VocabularySize, configuration.ImageTokenId);
            imageToken = tokenizer.RequiredTokenId(SpecialTokens.ImageContext);
        }
        catch
        {
            stop.Cancel();
            ((IAsyncResult)loading).AsyncWaitHandle.WaitOne();
            if (loading.IsCompletedSuccessfully)
                loading.Result.Dispose();
            // Looked at, so that it is not reported as one that nobody saw.
            _ = loading.Exception;
            throw;
        }

        VisionLanguageModel model = loading.GetAwaiter().GetResult();
        model.Configuration = configuration with { ImageTokenId = configuration.ImageTokenId ?? imageToken };
        return (tokenizer, model);
    }
}
