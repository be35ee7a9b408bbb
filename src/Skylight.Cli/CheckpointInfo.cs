using System.Text.Json.Serialization;
using Skylight.Chat;
using Skylight.Checkpoints;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Tensors;
using Skylight.Text;
using Skylight.Training;

namespace Skylight.Cli;

/// <summary>The size of a part of a model.</summary>
/// <param name="Name">Vision, connector, language, or embeddings and head.</param>
/// <param name="Parameters">Its weights.</param>
/// <param name="Bytes">What they take in the checkpoint's data type.</param>
/// <param name="StoredBytes">What they take on disk; null where the weights cannot be loaded.</param>
/// <param name="Forms">The forms of those that are quantised.</param>
internal sealed record ModuleInfo(string Name, long Parameters, long Bytes, long? StoredBytes, string[] Forms);

/// <summary>What lies on disk.</summary>
/// <param name="Naming">The naming of the tensors.</param>
/// <param name="DataTypes">Their element types.</param>
/// <param name="Files">The number of files.</param>
/// <param name="Bytes">The bytes of all tensors.</param>
/// <param name="Problem">Why the weights cannot be loaded; null if they can.</param>
internal sealed record WeightsInfo(string? Naming, string[] DataTypes, int Files, long Bytes, string? Problem);

/// <summary>How positions are encoded.</summary>
/// <param name="Theta">The base.</param>
/// <param name="MaxPositions">The longest sequence.</param>
/// <param name="Scaling">"default", "dynamic" or "yarn".</param>
/// <param name="Factor">Of the scaling.</param>
/// <param name="TrainedPositions">The positions from which it is there.</param>
internal sealed record RopeInfo(double Theta, int MaxPositions, string Scaling, double? Factor, int? TrainedPositions);

/// <summary>How pictures are cut.</summary>
/// <param name="TileHeight">Pixels.</param>
/// <param name="TileWidth">Pixels.</param>
/// <param name="TokensPerTile">After the pixel shuffle.</param>
/// <param name="IsTiled">Whether a picture may have several.</param>
/// <param name="MinimumTiles">The fewest.</param>
/// <param name="MaximumTiles">The most.</param>
/// <param name="HasThumbnail">Whether one of the whole follows.</param>
internal sealed record PictureInfo(int TileHeight, int TileWidth, int TokensPerTile, bool IsTiled, int MinimumTiles,
    int MaximumTiles, bool HasThumbnail);

/// <summary>A plan's outcome.</summary>
/// <param name="Task">What was planned.</param>
/// <param name="Parts">Bytes by what they are for.</param>
/// <param name="PeakBytes">The most at any moment.</param>
/// <param name="Fits">Whether the device has that much; null where its memory is not known.</param>
/// <param name="Problem">Why it could not be planned; null if it could.</param>
internal sealed record PlanInfo(string Task, Dictionary<string, long> Parts, long PeakBytes, bool? Fits, string? Problem);

/// <summary>All that <c>skylight info</c> says.</summary>
/// <param name="Directory">The folder.</param>
/// <param name="Architecture">The class.</param>
/// <param name="ModelType">As config.json has it.</param>
/// <param name="Vision">The vision encoder in words.</param>
/// <param name="Language">The language model in words.</param>
/// <param name="Modules">Sizes.</param>
/// <param name="Parameters">All weights.</param>
/// <param name="Bytes">What they take in the data type.</param>
/// <param name="DataType">Of the weights: as stored, else as config.json says.</param>
/// <param name="Weights">On disk.</param>
/// <param name="Rope">Positions.</param>
/// <param name="Pictures">Tiles.</param>
/// <param name="Template">Of the chat.</param>
/// <param name="StopTokenIds">As the files have them.</param>
/// <param name="ImageTokenId">As config.json has it.</param>
/// <param name="KeyValueBytesPerToken">On the device.</param>
/// <param name="Device">For which it was planned.</param>
/// <param name="DeviceBytes">What it has; null where that is not known.</param>
/// <param name="Plans">What tasks would need.</param>
/// <param name="Warnings">What the files ask for that is not done, a sentence each.</param>
internal sealed record CheckpointInfo(
    string Directory, string Architecture, string ModelType, string Vision, string Language, ModuleInfo[] Modules,
    long Parameters, long Bytes, string DataType, WeightsInfo Weights,
    RopeInfo Rope, PictureInfo Pictures, string? Template, int[] StopTokenIds, int? ImageTokenId,
    long KeyValueBytesPerToken, string Device, long? DeviceBytes, PlanInfo[] Plans, string[] Warnings)
{
    /// <summary>Collects the facts.</summary>
    /// <param name="directory">The folder; without weights in it that is said, and the rest follows from
    /// config.json. Or a GGUF file.</param>
    /// <param name="device">A device that says it has enough memory for any plan.</param>
    /// <param name="deviceBytes">What it has in truth; null where that is not known.</param>
    /// <param name="request">What is to be planned.</param>
    /// <param name="encoder">The vision encoder of a GGUF file, where it does not lie beside it.</param>
    public static CheckpointInfo Of(string directory, Device device, long? deviceBytes, InfoRequest request,
        string? encoder = null)
    {
        ModelConfiguration configuration = ModelConfiguration.Load(directory, encoder);
        (WeightsInfo weights, StoredType? stored, Dictionary<string, (long Bytes, string[] Forms)> onDisk) =
            ReadWeights(directory, encoder, configuration, device);
        StoredType type = stored ?? (configuration.WeightType is "float32" ? StoredType.Float32
            : configuration.WeightType is "float16" ? StoredType.Float16 : StoredType.BFloat16);
        DataType parameterType = device.ActivationType == Tensors.DataType.BFloat16
            || type == StoredType.BFloat16 ? Tensors.DataType.BFloat16 : Tensors.DataType.Float32;
        // Training makes numbers of quantised weights; answering leaves them as they are.
        using var trained = new VisionLanguageModel(configuration, device, parameterType);
        using VisionLanguageModel? loaded = stored is null ? null : ModelCheckpoint.Describe(directory, device, vision: encoder);
        VisionLanguageModel model = loaded ?? trained;
        ModuleInfo[] modules = [.. model.Parameters.All.GroupBy(parameter => ModuleOf(parameter.Name)).Select(group =>
            new ModuleInfo(group.Key, group.Where(parameter => parameter.Type.DataType != Tensors.DataType.Int32)
                    .Sum(parameter => parameter.Type.Shape.ElementCount),
                group.Sum(Bytes),
                onDisk.TryGetValue(group.Key, out (long Bytes, string[] Forms) found) ? found.Bytes : null, found.Forms ?? []))];
        LanguageConfiguration language = configuration.Language;
        VisionConfiguration vision = configuration.Vision;
        ImagePreprocessing pictures = configuration.Preprocessing;
        return new CheckpointInfo(
            directory, configuration.Architecture, configuration.ModelType,
            $"InternViT, {vision.LayerCount} layers of {vision.HiddenSize}, {vision.HeadCount} heads, MLP {vision.IntermediateSize}, {(vision.NormKind == NormKind.RmsNorm ? "RMSNorm" : "LayerNorm")}",
            $"{(language.Kind == LanguageModelKind.Qwen3 ? "Qwen3" : "Qwen2.5")}, {language.LayerCount} layers of {language.HiddenSize}, {language.HeadCount} heads on {language.KeyValueHeadCount} of keys and values{(language.HeadCount * language.HeadDimension == language.HiddenSize ? "" : $", {language.HeadDimension} wide")}, MLP {language.IntermediateSize}, vocabulary {language.VocabularySize}{(language.TieWordEmbeddings ? ", tied" : "")}",
            modules, model.Parameters.ElementCount, model.Parameters.All.Sum(Bytes), Name(type), weights,
            new RopeInfo(language.RopeTheta, language.MaxPositions, language.RopeScaling?.Name ?? "default",
                language.RopeScaling?.Factor, language.RopeScaling?.TrainedPositions),
            new PictureInfo(vision.ImageHeight, vision.ImageWidth, configuration.TokensPerTile, pictures.IsTiled,
                pictures.MinimumTiles, pictures.MaximumTiles, pictures.HasThumbnail),
            TemplateName(configuration), [.. configuration.StopTokenIds], configuration.ImageTokenId,
            KeyValueCache.BytesPerToken(model, request.KeyValueType), device.Name,
            deviceBytes, Plan(model, trained, deviceBytes, request), [.. configuration.Warnings]);

        long Bytes(PersistentTensor parameter) => parameter.Type.DataType.IsFloatingPoint()
            ? parameter.Type.Shape.ElementCount * type.Size() : parameter.Type.Bytes;
    }

    /// <summary>
    /// What the chat is written with; of a template that cannot be used, what config.json names: the chat itself says
    /// what is wrong with it.
    /// </summary>
    private static string? TemplateName(ModelConfiguration configuration)
    {
        try
        {
            ChatTemplate template = ConversationEncoder.TemplateOf(configuration);
            return template.Source is null ? configuration.Template : $"{template.Name} of the checkpoint";
        }
        catch (Exception exception) when (exception is CheckpointException or ArgumentException)
        {
            return configuration.Template;
        }
    }

    private static PlanInfo[] Plan(VisionLanguageModel model, VisionLanguageModel trained, long? deviceBytes,
        InfoRequest request)
    {
        ImagePreprocessing pictures = model.Configuration.Preprocessing;
        int most = pictures.IsTiled
            ? pictures.MaximumTiles + (pictures.HasThumbnail && pictures.MaximumTiles > 1 ? 1 : 0) : 1;
        int context = request.Context ?? model.Configuration.Language.MaxPositions,
            perTile = model.Configuration.TokensPerTile;
        int tiles = request.Tiles ?? Math.Min(most, (context - 1) / perTile);
        int trainingTiles = request.Tiles ?? Math.Min(most, request.TrainingTokens / 2 / perTile);
        int scored = Math.Max(1, (request.TrainingTokens - trainingTiles * perTile) / 2);
        return
        [
            Try($"inference: context {context}, batch {request.Batch}, {tiles} tiles", deviceBytes, () =>
            {
                GenerationEstimate estimate = GenerationEstimate.Of(model, context, request.Batch, tiles,
                    keyValueType: request.KeyValueType);
                return (estimate.PeakBytes,
                    new() { ["weights"] = estimate.WeightBytes, ["keyValueCache"] = estimate.CacheBytes,
                        ["prefill"] = estimate.PrefillBytes, ["decode"] = estimate.DecodeBytes });
            }),
            Try($"connector training: {request.TrainingTokens} tokens, {trainingTiles} tiles, {scored} scored, {(request.Recompute ? "layers recomputed" : "activations kept")}", deviceBytes, () =>
            {
                TrainingEstimate estimate = TrainingEstimate.Of(trained, TrainableModules.Connector,
                    request.TrainingTokens, trainingTiles, scored, request.Recompute);
                return (estimate.PeakBytes,
                    new() { ["weights"] = estimate.WeightBytes, ["gradientsAndOptimizer"] = estimate.StateBytes,
                        ["activations"] = estimate.ActivationBytes });
            }),
        ];
    }

    private static PlanInfo Try(string task, long? deviceBytes, Func<(long Peak, Dictionary<string, long> Parts)> plan)
    {
        try
        {
            (long peak, Dictionary<string, long> parts) = plan();
            return new PlanInfo(task, parts, peak, deviceBytes is null ? null : peak <= deviceBytes, null);
        }
        catch (Exception exception)
            when (exception is NotSupportedException or OutOfDeviceMemoryException or GraphException or OverflowException)
        {
            return new PlanInfo(task, [], 0, null, exception.Message);
        }
    }

    private static (WeightsInfo Weights, StoredType? Type, Dictionary<string, (long Bytes, string[] Forms)> Modules) ReadWeights(
        string directory, string? encoder, ModelConfiguration configuration, Device device)
    {
        try
        {
            using CheckpointReader reader = CheckpointReader.Open(directory, encoder);
            string[] names = [.. reader.Tensors.OrderBy(tensor => tensor.ElementType ?? (StoredType)int.MaxValue)
                .Select(tensor => tensor.ElementType is { } plain ? Name(plain) : tensor.TypeName).Distinct()];
            long bytes = reader.Tensors.Sum(tensor => tensor.StoredBytes);
            StoredType?[] types = [.. reader.Tensors.Select(tensor => tensor.ElementType).Distinct()];
            try
            {
                KeyMap keyMap = reader.MapOf(configuration);
                reader.Verify(keyMap);
                // As loading does: bfloat16 where all is, else what holds the widest.
                StoredType type = reader.IsQuantized ? ModelCheckpoint.ParameterTypeOf(directory, device, encoder).ToStored()
                    : types is [StoredType.BFloat16] or [StoredType.Float16] ? types[0]!.Value : StoredType.Float32;
                return (new WeightsInfo($"{keyMap.Naming}", names, reader.Files.Count, bytes, null), type,
                    keyMap.Entries.SelectMany(entry => entry.Pieces.Select(piece =>
                        (Module: ModuleOf(entry.ParameterName), Tensor: reader[piece.TensorName])))
                        .GroupBy(pair => pair.Module, pair => pair.Tensor).ToDictionary(group => group.Key, group =>
                            (group.Sum(tensor => tensor.StoredBytes), group.Where(tensor => tensor.ElementType is null)
                                .Select(tensor => tensor.TypeName).Distinct().Order(StringComparer.Ordinal).ToArray())));
            }
            catch (CheckpointException exception)
            {
                return (new WeightsInfo(null, names, reader.Files.Count, bytes, exception.Message), null, []);
            }
        }
        catch (CheckpointException exception)
        {
            return (new WeightsInfo(null, [], 0, 0, exception.Message), null, []);
        }
    }

    private static string ModuleOf(string parameter) => parameter switch
    {
        "language.embedding.weight" or "language.head.weight" => "embeddings and head",
        var name => name[..name.IndexOf('.', StringComparison.Ordinal)],
    };

    private static string Name(StoredType type) => type.ToString().ToLowerInvariant();
}

/// <summary>How the facts are written.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(CheckpointInfo))]
internal sealed partial class InfoJson : JsonSerializerContext;
