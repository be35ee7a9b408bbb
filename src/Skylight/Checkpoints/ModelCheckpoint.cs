using System.Globalization;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>Loads and saves whole models.</summary>
/// <example>
/// <code>
/// using VisionLanguageModel model = ModelCheckpoint.Load("InternVL3-1B", new CpuDevice());
/// ModelCheckpoint.Save(model, "tuned", new CheckpointWriterOptions { Like = "InternVL3-1B" });
/// </code>
/// </example>
public static class ModelCheckpoint
{
    /// <summary>
    /// Loads a model from a checkpoint folder in any of the namings, or from a GGUF file. All names and shapes are checked before
    /// memory is reserved; then weights stream through a buffer of some megabytes, so that host memory holds nothing
    /// but the model.
    /// </summary>
    /// <param name="directory">The folder with config.json and the safetensors files; or a GGUF file, or a folder with one
    /// of a language model.</param>
    /// <param name="device">Where the model is to live.</param>
    /// <param name="parameterType">The data type of the weights in memory; by default that of the checkpoint (quantised weights
    /// stay so, where the device multiplies their format; float16
    /// becomes float32; quantised weights become float32 where all others are, else bfloat16), and on a device that computes
    /// in bfloat16 always bfloat16, to which others are rounded.</param>
    /// <param name="imageTokenId">The token that stands for image features, where config.json does not say (the
    /// tokenizer's <c>&lt;IMG_CONTEXT&gt;</c>).</param>
    /// <param name="progress">The fraction of bytes read.</param>
    /// <param name="cancellationToken">Checked every few megabytes.</param>
    /// <param name="vision">For GGUF: the vision encoder (<see cref="CheckpointReader.Open"/>).</param>
    /// <param name="quantization">What the language model's matrices that would be numbers are rounded to while they are read
    /// (<see cref="VisionLanguageModel.Quantize"/>): <see cref="QuantizedFormat.Q8"/>, <see cref="QuantizedFormat.Q4"/>, or null
    /// for nothing. The numbers are never in memory together.</param>
    /// <param name="weightCache">Where packed weights are kept for the next time; nowhere if null.</param>
    /// <exception cref="CheckpointException">The checkpoint is incomplete, corrupt or of another architecture.</exception>
    /// <exception cref="ArgumentException">The device cannot compute with weights of the type asked for.</exception>
    /// <exception cref="NotSupportedException">The device multiplies no weights that are quantised so.</exception>
    /// <exception cref="OutOfDeviceMemoryException">They take more than the device has; the error says what takes how
    /// much.</exception>
    public static VisionLanguageModel Load(
        string directory, Device device, DataType? parameterType = null, int? imageTokenId = null,
        IProgress<float>? progress = null, CancellationToken cancellationToken = default, string? vision = null,
        QuantizedFormat? quantization = null, WeightCacheOptions? weightCache = null)
    {
        ArgumentNullException.ThrowIfNull(device);
        ModelConfiguration configuration = ModelConfiguration.Load(directory, vision);
        using CheckpointReader reader = CheckpointReader.Open(directory, vision);
        return Load(configuration with { ImageTokenId = configuration.ImageTokenId ?? imageTokenId }, reader, device,
            parameterType, progress, cancellationToken, quantization, weightCache);
    }

    /// <summary>The same of a configuration and of tensors from wherever they come.</summary>
    internal static VisionLanguageModel Load(
        ModelConfiguration configuration, CheckpointReader reader, Device device, DataType? parameterType = null,
        IProgress<float>? progress = null, CancellationToken cancellationToken = default,
        QuantizedFormat? quantization = null, WeightCacheOptions? weightCache = null)
    {
        KeyMap keyMap = reader.MapOf(configuration);
        VisionLanguageModel model = Describe(configuration, reader, keyMap, device, parameterType, quantization);
        DemandRoom(reader.Directory, model);
        WeightCache? cache = weightCache is null ? null : new WeightCache(weightCache);
        if (cache?.Keeps(model, quantization) != true)
            cache = null;
        WeightLayout? layout = cache?.LayoutOf(reader, model,
            [.. QuantizedParameters.EntriesOf(keyMap, model.Parameters).Select(entry => model.Parameters[entry.ParameterName])],
            quantization);
        if (layout is not null && cache!.TryLoad(layout, device, progress, cancellationToken))
            return model;

        try
        {
            foreach (PersistentTensor parameter in model.Parameters.All)
            {
                cancellationToken.ThrowIfCancellationRequested();
                device.Bind(parameter);
            }

            using WeightWriter? writer = layout is null ? null : cache!.Begin(layout, device);
            Read(reader, keyMap, model, progress, cancellationToken, parameter => writer?.Add(parameter));
            if (writer is not null)
                cache!.Finish(layout!, writer);
        }
        catch
        {
            model.Dispose();
            throw;
        }

        return model;
    }

    /// <summary>
    /// The model that <see cref="Load(string, Device, DataType?, int?, IProgress{float}?, CancellationToken, string?, QuantizedFormat?, WeightCacheOptions?)"/> would
    /// make, without memory: to plan with. Only the headers of the files are read.
    /// </summary>
    /// <inheritdoc cref="Load(string, Device, DataType?, int?, IProgress{float}?, CancellationToken, string?, QuantizedFormat?, WeightCacheOptions?)"/>
    public static VisionLanguageModel Describe(string directory, Device device, DataType? parameterType = null,
        string? vision = null, QuantizedFormat? quantization = null)
    {
        ArgumentNullException.ThrowIfNull(device);
        ModelConfiguration configuration = ModelConfiguration.Load(directory, vision);
        using CheckpointReader reader = CheckpointReader.Open(directory, vision);
        return Describe(configuration, reader, reader.MapOf(configuration), device, parameterType, quantization);
    }

    /// <summary>Refuses weights that the device cannot hold before the system ends the process for them.</summary>
    private static void DemandRoom(string directory, VisionLanguageModel model)
    {
        Device device = model.Device;
        long bytes = model.Parameters.All.Sum(parameter => device.StorageBytes(parameter.Type));
        if (bytes <= device.MemoryBytes)
            return;
        IEnumerable<string> modules = model.Parameters.All.GroupBy(parameter =>
            parameter.Name is "language.embedding.weight" or "language.head.weight" ? "embedding and head"
                : parameter.Name[..parameter.Name.IndexOf('.', StringComparison.Ordinal)])
            .Select(group => $"{group.Key} {Size(group.Sum(parameter => device.StorageBytes(parameter.Type)))}");
        throw new OutOfDeviceMemoryException(
            $"{directory}: the weights take {Size(bytes)} in memory ({string.Join(", ", modules)}), but {device.Name} has " +
            $"{Size(device.MemoryBytes)}. Round the language model's matrices while they are read (--dtype q8 or q4), where " +
            $"they are numbers; or take a checkpoint with fewer bits, or another device.");

        static string Size(long bytes) => bytes < 10_000_000
            ? string.Create(CultureInfo.InvariantCulture, $"{bytes:N0} bytes")
            : string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e9:F2} GB");
    }

    private static VisionLanguageModel Describe(ModelConfiguration configuration, CheckpointReader reader, KeyMap keyMap,
        Device device, DataType? parameterType, QuantizedFormat? quantization)
    {
        reader.Verify(keyMap);
        var model = new VisionLanguageModel(configuration, device, parameterType ?? ParameterTypeOf(reader, device));
        if (parameterType is null)
            QuantizedParameters.ApplyStored(model, reader, keyMap);
        if (quantization is not null)
            QuantizedParameters.ApplyRounding(model, quantization);
        return model;
    }

    /// <summary>The data type that the weights of a checkpoint have in memory, unless another is asked for.</summary>
    /// <param name="directory">The folder; only the headers of its files are read.</param>
    /// <param name="device">Where the model would live.</param>
    /// <param name="vision">For GGUF: the vision encoder (<see cref="CheckpointReader.Open"/>).</param>
    /// <exception cref="CheckpointException">There are no weights, or their headers cannot be read.</exception>
    public static DataType ParameterTypeOf(string directory, Device device, string? vision = null)
    {
        ArgumentNullException.ThrowIfNull(device);
        using CheckpointReader reader = CheckpointReader.Open(directory, vision);
        return ParameterTypeOf(reader, device);
    }

    /// <summary>
    /// Plain weights are float32 unless all are bfloat16 (of GGUF: all matrices, because vectors are float32 in every such
    /// file). Of quantised ones those that were left as they were decide:
    /// float32 only where all of them are, since values of 4 or 8 bits gain little by it and memory doubles.
    /// </summary>
    internal static DataType ParameterTypeOf(CheckpointReader reader, Device device)
    {
        if (device.ActivationType == DataType.BFloat16)
            return DataType.BFloat16;
        IEnumerable<CheckpointTensor> tensors = reader.Tensors.Where(tensor => !reader.IsGguf || tensor.Shape.Rank > 1);
        bool isFloat32 = reader.IsQuantized
            ? tensors.All(tensor => tensor.ElementType is null or StoredType.Float32)
            : tensors.Any(tensor => tensor.ElementType != StoredType.BFloat16);
        return isFloat32 ? DataType.Float32 : DataType.BFloat16;
    }

    /// <summary>Reads a checkpoint's weights into a model of the same configuration, whose parameters have memory.</summary>
    /// <param name="model">The model; changed only once the whole checkpoint was found to fit it.</param>
    /// <param name="directory">The folder.</param>
    /// <exception cref="CheckpointException">The checkpoint is incomplete, corrupt or of other sizes.</exception>
    public static void ReadInto(VisionLanguageModel model, string directory)
    {
        ArgumentNullException.ThrowIfNull(model);
        using CheckpointReader reader = CheckpointReader.Open(directory);
        KeyMap keyMap = reader.MapOf(model.Configuration);
        reader.Verify(keyMap);
        QuantizedParameters.DemandOrders(reader, keyMap, model.Parameters);
        Read(reader, keyMap, model, null, CancellationToken.None, _ => { });
    }

    /// <summary>Saves a model as a checkpoint folder in the on-disk naming of transformers.</summary>
    /// <param name="model">The model.</param>
    /// <param name="directory">The folder; made where it does not exist.</param>
    /// <param name="cancellationToken">Checked between tensors.</param>
    /// <exception cref="CheckpointException">It cannot be written; what was there before stays.</exception>
    public static void Save(VisionLanguageModel model, string directory, CancellationToken cancellationToken = default) =>
        Save(model, directory, new CheckpointWriterOptions(), cancellationToken);

    /// <summary>Saves a model as a checkpoint folder.</summary>
    /// <param name="model">The model.</param>
    /// <param name="directory">The folder; made where it does not exist.</param>
    /// <param name="options">Naming, sizes of shards, tokenizer files to copy, progress.</param>
    /// <param name="cancellationToken">Checked within tensors too.</param>
    /// <exception cref="CheckpointException">It cannot be written; what was there before stays.</exception>
    public static void Save(VisionLanguageModel model, string directory, CheckpointWriterOptions options,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        if (model.IsQuantized)
            throw new CheckpointException(directory,
                "cannot be written: the model's weights are quantised for inference. Save the model before, " +
                "or copy the checkpoint it was loaded from.");
        StoredType type = model.ParameterType == DataType.BFloat16 ? StoredType.BFloat16 : StoredType.Float32;
        var transfer = new ParameterTransfer(model.Device);
        CheckpointWriter.Write(
            directory, model.Configuration, type,
            (entry, first, destination) => transfer.Save(model.Parameters[entry.ParameterName].Tensor, first,
                destination), options, cancellationToken);
    }

    private static void Read(CheckpointReader reader, KeyMap keyMap, VisionLanguageModel model,
        IProgress<float>? progress, CancellationToken cancellationToken, Action<PersistentTensor> isRead)
    {
        var transfer = new ParameterTransfer(model.Device);
        long total = model.Parameters.All.Sum(parameter => parameter.Type.Bytes), done = 0;
        foreach (KeyMapEntry entry in QuantizedParameters.EntriesOf(keyMap, model.Parameters))
        {
            PersistentTensor parameter = model.Parameters[entry.ParameterName];
            parameter.MarkChanged();
            transfer.Load(reader, entry, parameter.Tensor,
                bytes => progress?.Report((float)((done += bytes) / (double)total)), cancellationToken);
            isRead(parameter);
        }
    }
}
