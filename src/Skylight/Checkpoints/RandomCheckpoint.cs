using Skylight.Checkpoints.Quantized;
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
        DemandNew(directory, configuration);
        CheckpointWriter.Write(directory, configuration, type, Weights(configuration, seed),
            options ?? new CheckpointWriterOptions(), cancellationToken);
    }

    /// <summary>
    /// Writes the same weights rounded to 4 bits, in AWQ's packing with groups of 128 inputs (64 or 32 where the sizes ask
    /// for it) and without zero points: all matrices of encoder, connector, embedding, layers and head, which AutoAWQ
    /// itself would not read. In memory is the packed form of one matrix.
    /// </summary>
    /// <inheritdoc cref="Write"/>
    public static void WriteQuantized(string directory, ModelConfiguration configuration, ulong seed,
        CheckpointWriterOptions? options = null, CancellationToken cancellationToken = default)
    {
        DemandNew(directory, configuration);
        options ??= new CheckpointWriterOptions();
        AwqTarget target = Target(directory, configuration, options);
        CheckpointFolder.DemandRoom(directory, target.Bytes, options.FreeBytes);
        ReadParameterPart read = Weights(configuration, seed);
        long total = target.Tensors.Sum(tensor => (long)tensor.Piece.RowCount * tensor.Piece.RowWidth), done = 0;
        CheckpointFolder.Replace(directory, staging =>
        {
            CheckpointWriter.WriteTexts(staging, configuration, options,
                json => CheckpointCompanions.Configuration(System.Text.Encoding.UTF8.GetBytes(json), StoredType.BFloat16,
                    target.Configuration()));
            using var files = new PlacedFiles(staging, target.Files);
            foreach (TargetTensor tensor in target.Tensors)
                target.Write(files, tensor, directory, (entry, first, destination) =>
                {
                    read(entry, first, destination);
                    options.Progress?.Report((float)((done += destination.Length) / (double)total));
                }, cancellationToken);
            files.Flush();
            target.WriteIndex(staging);
        });
    }

    /// <summary>The bytes of the files that <see cref="WriteQuantized"/> writes.</summary>
    /// <inheritdoc cref="WriteQuantized"/>
    public static long QuantizedBytes(ModelConfiguration configuration, CheckpointWriterOptions? options = null) =>
        Target("", configuration, options ?? new CheckpointWriterOptions()).Bytes;

    internal static AwqTarget Target(string directory, ModelConfiguration configuration, CheckpointWriterOptions options)
    {
        HashSet<string> weights = [.. VisionLanguageModel.DescribeParameters(configuration.Validate(), DataType.Float32).All
            .Where(parameter => parameter.Type.Storage == Storage.Weight).Select(parameter => parameter.Name)];
        return new AwqTarget(KeyMap.For(configuration, options.Naming), weights.Contains, isSymmetric: true,
            options.MaximumShardBytes, directory);
    }

    private static void DemandNew(string directory, ModelConfiguration configuration)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        ArgumentNullException.ThrowIfNull(configuration);
        if (File.Exists(directory))
            throw new CheckpointException(directory, "is a file; give a folder that is empty or does not exist.");
        if (Directory.Exists(directory) && Directory.EnumerateFileSystemEntries(directory).Any())
            throw new CheckpointException(directory, "is not empty. Give a folder that is empty or does not exist.");
    }

    private static ReadParameterPart Weights(ModelConfiguration configuration, ulong seed)
    {
        Dictionary<string, (PersistentTensor Parameter, ulong Stream)> parameters =
            VisionLanguageModel.DescribeParameters(configuration.Validate(), DataType.Float32).All
            .Select((parameter, index) => (parameter, (ulong)index))
            .ToDictionary(pair => pair.parameter.Name, StringComparer.Ordinal);
        return (entry, first, destination) =>
        {
            (PersistentTensor parameter, ulong stream) = parameters[entry.ParameterName];
            ParameterInitializer.Fill(parameter, configuration, seed, stream, first, destination);
        };
    }
}
