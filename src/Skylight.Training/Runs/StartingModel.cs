using Skylight.Checkpoints;
using Skylight.Hub;

namespace Skylight.Training.Runs;

/// <summary>The model that a run begins with.</summary>
internal static class StartingModel
{
    /// <summary>Its folder, as <see cref="ModelSource.FolderAsync"/> finds it.</summary>
    /// <exception cref="CheckpointException">It is GGUF, whose weights were rounded, and in whose likeness nothing is
    /// written.</exception>
    public static async Task<string> FolderAsync(string model, ModelParts parts, HubOptions? hub,
        CancellationToken cancellationToken)
    {
        string folder = await ModelSource.FolderAsync(model, parts, hub, cancellationToken).ConfigureAwait(false);
        return ModelSource.IsGguf(folder) ? throw new CheckpointException(folder,
            "is GGUF, with which no training begins. Give the safetensors checkpoint that it was made of.") : folder;
    }
}
