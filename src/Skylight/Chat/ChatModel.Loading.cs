using Skylight.Checkpoints;
using Skylight.Checkpoints.Gguf;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Generation;
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
    /// <exception cref="NotSupportedException">The device multiplies no weights, or keeps no keys and values, of a type that is
    /// asked for.</exception>
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
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        // One core's work, which nothing else needs before the end: begun before anything is read.
        Task<ITokenizer> tokenizer = Task.Run(() => TokenizerOf(directory, options, stop.Token), CancellationToken.None);
        Device? device = options.Device;
        VisionLanguageModel? model = null;
        try
        {
            ModelConfiguration configuration = ModelConfiguration.Load(directory, options.Vision);
            CheckContext(options.Validate(), configuration.Language);
            device ??= new CpuDevice();
            // Before gigabytes are read.
            if (options.KeyValueType is { } type)
                KeyValueCache.Check(device, configuration, type);
            model = Read(directory, configuration, device, tokenizer, options, progress, stop);
            options = options with { Template = options.Template ?? ConversationEncoder.TemplateOf(configuration) };
            return new ChatModel(name, model, tokenizer.GetAwaiter().GetResult(), options);
        }
        catch
        {
            stop.Cancel();
            Await(tokenizer);
            model?.Dispose();
            if (options.Device is null)
                device?.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Reads the weights beside the tokenizer. What is wrong with the tokenizer need not wait for gigabytes, and stops the
    /// weights.
    /// </summary>
    private static VisionLanguageModel Read(string directory, ModelConfiguration configuration, Device device,
        Task<ITokenizer> reading, ChatModelOptions options, IProgress<float>? progress, CancellationTokenSource stop)
    {
        Task<VisionLanguageModel> loading = Task.Run(() => ModelCheckpoint.Load(directory, device, options.ParameterType, null,
            progress, stop.Token, options.Vision, options.Quantization,
            options.WeightCache ?? WeightCacheOptions.FromEnvironment()), CancellationToken.None);
        int imageToken;
        try
        {
            ITokenizer tokenizer = reading.GetAwaiter().GetResult();
            tokenizer.EnsureFits(configuration.Language.VocabularySize, configuration.ImageTokenId);
            imageToken = tokenizer.RequiredTokenId(SpecialTokens.ImageContext);
        }
        catch
        {
            stop.Cancel();
            Await(loading);
            if (loading.IsCompletedSuccessfully)
                loading.Result.Dispose();
            throw;
        }

        VisionLanguageModel model = loading.GetAwaiter().GetResult();
        model.Configuration = configuration with { ImageTokenId = configuration.ImageTokenId ?? imageToken };
        return model;
    }

    private static ITokenizer TokenizerOf(string directory, ChatModelOptions options, CancellationToken cancellationToken) =>
        options.Tokenizer ?? (GgufSource.Find(directory, options.Vision) is { } gguf
            ? GgufTokenizer.Load(gguf.Language, cancellationToken) : BytePairTokenizer.Load(directory, cancellationToken));

    /// <summary>Waits for what another error has stopped.</summary>
    private static void Await(Task task)
    {
        ((IAsyncResult)task).AsyncWaitHandle.WaitOne();
        // Looked at, so that it is not reported as one that nobody saw.
        _ = task.Exception;
    }
}
