using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>Checkpoints of random weights, for tests and measurements of a shape whose weights are not at hand.</summary>
public static class RandomCheckpoint
{
    /// <summary>
    /// Writes a checkpoint with the weights that <see cref="VisionLanguageModel.Initialize"/> gives a model, part by
    /// part: whatever its size, it needs some megabytes of memory. Numbers are drawn on all cores.
    /// </summary>
    /// <param name="directory">The folder; must be empty or not exist.</param>
    /// <param name="configuration">The model, such as <see cref="ModelFamily.Configuration"/> gives.</param>
    /// <param name="type">Float32 or BFloat16.</param>
    /// <param name="seed">The same seed gives the same weights on every machine.</param>
    /// <param name="options">Naming, sizes of shards, tokenizer files to copy, progress.</param>
    /// <param name="cancellationToken">Checked every few megabytes; nothing stays.</param>
    /// <exception cref="CheckpointException">The folder is not empty, cannot be written, or the disk has too little
    /// room.</exception>
    public static void Write(
        string directory, ModelConfiguration configuration, StoredType type, ulong seed,
        CheckpointWriterOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        ArgumentNullException.ThrowIfNull(configuration);
        if (File.Exists(directory))
            throw new CheckpointException(directory, "is a file; give a folder that is empty or does not exist.");
        if (Directory.Exists(directory) && Directory.EnumerateFileSystemEntries(directory).Any())
            throw new CheckpointException(directory, "is not empty. Give a folder that is empty or does not exist.");
        Dictionary<string, (PersistentTensor Parameter, ulong Stream)> parameters =
            VisionLanguageModel.DescribeParameters(configuration.Validate(), DataType.Float32).All
            .Select((parameter, index) => (parameter, (ulong)index))
            .ToDictionary(pair => pair.parameter.Name, StringComparer.Ordinal);
        CheckpointWriter.Write(
            directory, configuration, type,
            (entry, first, destination) =>
            {
                (PersistentTensor parameter, ulong stream) = parameters[entry.ParameterName];
                ParameterInitializer.Fill(parameter, configuration, seed, stream, first, destination);
            },
            options ?? new CheckpointWriterOptions(), cancellationToken);
    }
}
