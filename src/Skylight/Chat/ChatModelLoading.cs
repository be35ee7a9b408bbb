using Skylight.Checkpoints;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Models;
using Skylight.Text;

namespace Skylight.Chat;

/// <summary>Loads models to talk to.</summary>
public static class ChatModelLoading
{
    extension(VisionLanguageModel)
    {
        /// <summary>Loads a downloaded checkpoint of the InternVL3 or Skywork-R1V3 family: weights, tokenizer, chat template and the way with pictures.</summary>
        /// <param name="directory">The folder with config.json, tokenizer.json and the safetensors files.</param>
        /// <param name="options">Where and how the model is served.</param>
        /// <param name="progress">The fraction of bytes read.</param>
        /// <param name="cancellationToken">Stops the loading; what was reserved is freed, a device that was passed stays open.</param>
        /// <exception cref="CheckpointException">The checkpoint is incomplete, corrupt, not downloaded, or of another architecture.</exception>
        /// <exception cref="TokenizerException">The tokenizer cannot be read, or does not belong to the model.</exception>
        /// <exception cref="OutOfDeviceMemoryException">The device has too little memory.</exception>
        public static Task<ChatModel> LoadAsync(
            string directory, ChatModelOptions? options = null, IProgress<float>? progress = null, CancellationToken cancellationToken = default)
        {
            ArgumentException.ThrowIfNullOrEmpty(directory);
            return Task.Run(() => Load(directory, options ?? new ChatModelOptions(), progress, cancellationToken), cancellationToken);
        }
    }

    private static ChatModel Load(string directory, ChatModelOptions options, IProgress<float>? progress, CancellationToken cancellationToken)
    {
        // The small files first: what is wrong with them need not wait for gigabytes.
        ModelConfiguration configuration = ModelConfiguration.Load(directory);
        ITokenizer tokenizer = options.Tokenizer ?? BytePairTokenizer.Load(directory, cancellationToken);
        tokenizer.EnsureFits(configuration.Language.VocabularySize, configuration.ImageTokenId);
        options = options with { Template = options.Template ?? ConversationEncoder.TemplateOf(configuration) };
        Device device = options.Device ?? new CpuDevice();
        VisionLanguageModel? model = null;
        try
        {
            model = ModelCheckpoint.Load(directory, device, options.ParameterType, tokenizer.RequiredTokenId(SpecialTokens.ImageContext), progress, cancellationToken);
            if (options.QuantizeWeights)
                model.Quantize(cancellationToken);
            return new ChatModel(Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(directory))), model, tokenizer, options);
        }
        catch
        {
            model?.Dispose();
            if (options.Device is null)
                device.Dispose();
            throw;
        }
    }
}
