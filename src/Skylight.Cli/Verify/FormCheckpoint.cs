using Skylight.Checkpoints;
using Skylight.Execution;
using Skylight.Hub;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Cli.Verify;

/// <summary>Loads a quantised checkpoint, whatever files it is made of.</summary>
internal static class FormCheckpoint
{
    /// <summary>Loads it.</summary>
    /// <param name="checkpoint">The checkpoint's folder or repository, or a file that holds the language model.</param>
    /// <param name="baseCheckpoint">Whose vision encoder and connector belong to a file that has none; else null.</param>
    /// <param name="device">Where the model is to live.</param>
    /// <param name="type">The type of the weights in memory; null for what the device wants.</param>
    /// <param name="imageTokenId">The token of image features, of the configuration.</param>
    /// <param name="cancellationToken">Checked while it is read.</param>
    public static VisionLanguageModel Load(string checkpoint, string? baseCheckpoint, Device device, DataType? type,
        Func<ModelConfiguration, int> imageTokenId, CancellationToken cancellationToken)
    {
        string model = ModelFolder.FindAsync(checkpoint, ModelParts.Checkpoint, cancellationToken).GetAwaiter().GetResult();
        string? vision = baseCheckpoint is null ? null
            : ModelFolder.FindAsync(baseCheckpoint, ModelParts.Checkpoint, cancellationToken).GetAwaiter().GetResult();
        return ModelCheckpoint.Load(model, device, type, imageTokenId(ModelConfiguration.Load(model, vision)),
            cancellationToken: cancellationToken, vision: vision);
    }
}
