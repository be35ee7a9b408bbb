using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Models;

/// <summary>The values of a forward pass over packed sequences.</summary>
/// <param name="Tokens">Input: int32 [tokens].</param>
/// <param name="Positions">Input: int32 [tokens].</param>
/// <param name="Starts">Input: int32 [sequences + 1].</param>
/// <param name="FeatureIndex">Input: int32 [tokens]; null without pictures.</param>
/// <param name="Pixels">Input: [images, channels, height, width]; null without pictures.</param>
/// <param name="VisionEmbeddings">[images · (1 + patches), vision hidden]; null without pictures.</param>
/// <param name="VisionHidden">The last layer's output, class tokens included; null without pictures.</param>
/// <param name="Features">The connector's output [images · features, hidden]; null without pictures.</param>
/// <param name="Hidden">[tokens, hidden], after the last norm.</param>
/// <remarks>Pixels are float32; the values from the embeddings on have the activation type of the model's device.</remarks>
public sealed record PackedForward(
    Value Tokens, Value Positions, Value Starts, Value? FeatureIndex, Value? Pixels, Value? VisionEmbeddings,
    Value? VisionHidden, Value? Features, Value Hidden)
{
    /// <summary>Writes a batch into the inputs.</summary>
    public void Write(Executor executor, PackedBatch batch)
    {
        ArgumentNullException.ThrowIfNull(executor);
        ArgumentNullException.ThrowIfNull(batch);
        executor.Write<int>(Tokens, batch.Tokens);
        executor.Write<int>(Positions, batch.Positions);
        executor.Write<int>(Starts, batch.Starts);
        if (FeatureIndex is not null && Pixels is not null)
        {
            executor.Write<int>(FeatureIndex, batch.FeatureIndex);
            executor.Write<float>(Pixels, batch.Pixels);
        }
    }
}

/// <summary>
/// A vision-language model: InternViT, pixel shuffle and connector, Qwen2.5 or Qwen3. It owns the one copy of the
/// weights on a device, and writes its forward pass into graphs.
/// </summary>
public sealed class VisionLanguageModel : IDisposable
{
    /// <summary>Describes a model; its parameters have no memory until <see cref="Allocate"/>.</summary>
    /// <param name="configuration">Sizes and styles.</param>
    /// <param name="device">Where it lives.</param>
    /// <param name="parameterType">float32 or bfloat16; by default that of the device's activations. A device that
    /// computes in bfloat16 takes bfloat16 parameters only; their training keeps float32 masters.</param>
    /// <exception cref="ArgumentException">The parameters cannot have that type on the device.</exception>
    public VisionLanguageModel(ModelConfiguration configuration, Device device, DataType? parameterType = null)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        ArgumentNullException.ThrowIfNull(device);
        ParameterType = CheckParameterType(parameterType ?? device.ActivationType, device);
        Configuration = configuration;
        Device = device;
        Vision = new VisionEncoder(configuration.Vision, Parameters, ParameterType, device.ActivationType)
        {
            RoundsAttention = RoundsAttention,
        };
        Connector = new Connector(configuration, Parameters, ParameterType);
        Language = new LanguageModel(configuration.Language, Parameters, ParameterType, device.ActivationType);
    }

    /// <summary>Sizes and styles.</summary>
    public ModelConfiguration Configuration { get; internal set; }

    /// <summary>Where the model lives.</summary>
    public Device Device { get; }

    /// <summary>The data type of the parameters.</summary>
    public DataType ParameterType { get; }

    /// <summary>
    /// Whether attention rounds float32 operands of its products to bfloat16, in training, prefill and decoding alike.
    /// </summary>
    internal bool RoundsAttention =>
        Device.ActivationType == DataType.Float32 && Device.KeyValueType(ParameterType) == DataType.BFloat16;

    /// <summary>The weights.</summary>
    public ParameterSet Parameters { get; } = new();

    /// <summary>InternViT.</summary>
    public VisionEncoder Vision { get; }

    /// <summary>The bridge to the language model.</summary>
    public Connector Connector { get; }

    /// <summary>Qwen2.5 or Qwen3.</summary>
    public LanguageModel Language { get; }

    /// <summary>Whether graphs use fused ops; a test turns it off to prove that nothing changes but speed.</summary>
    public bool UseFusion { get; set; } = true;

    /// <summary>Gives all parameters memory, filled with zeros.</summary>
    public void Allocate()
    {
        foreach (PersistentTensor parameter in Parameters.All)
            Device.Bind(parameter);
    }

    /// <summary>
    /// Gives all parameters memory and random values: normal weights with standard deviation 1/√inputs, residual
    /// outputs smaller by √(2·layers); norms 1, biases 0, layer scale as configured.
    /// </summary>
    /// <param name="seed">The same seed gives the same weights on every machine.</param>
    public void Initialize(ulong seed)
    {
        Allocate();
        for (int index = 0; index < Parameters.All.Count; index++)
        {
            PersistentTensor parameter = Parameters.All[index];
            PersistentTensors.Write(Device, parameter,
                ParameterInitializer.Values(parameter, Configuration, seed, (ulong)index));
        }
    }

    /// <summary>
    /// Whether weights are quantised, as its checkpoint has them or by <see cref="Quantize"/>: the model then serves inference
    /// only.
    /// </summary>
    public bool IsQuantized => Parameters.All.Any(parameter => parameter.Type.Format is not null);

    /// <summary>
    /// Rounds the matrices of the language model to 8 or 4 bits and frees what they took before: decoding, which reads all of
    /// them for every token, then reads half or a quarter of the bytes of bfloat16. The vision encoder, the connector and the
    /// embedding stay as they are. To be called before anything is planned with the model.
    /// </summary>
    /// <param name="format"><see cref="QuantizedFormat.Q8"/> or <see cref="QuantizedFormat.Q4"/>.</param>
    /// <param name="cancellationToken">Checked between matrices; the model then has some of either kind and works.</param>
    /// <exception cref="NotSupportedException">The device multiplies no such weights.</exception>
    public void Quantize(QuantizedFormat format, CancellationToken cancellationToken = default)
    {
        foreach (PersistentTensor parameter in QuantizableMatrices(format))
        {
            cancellationToken.ThrowIfCancellationRequested();
            Parameters.Replace(parameter, WeightQuantizer.Quantize(Device, parameter, format));
        }
    }

    /// <summary>The matrices that <see cref="Quantize"/> rounds, or that are rounded when they are loaded.</summary>
    /// <exception cref="NotSupportedException">The device multiplies no such weights.</exception>
    internal PersistentTensor[] QuantizableMatrices(QuantizedFormat format)
    {
        ArgumentNullException.ThrowIfNull(format);
        if (format != QuantizedFormat.Q8 && format != QuantizedFormat.Q4)
            throw new ArgumentException($"Weights are rounded to Q8 or Q4, not to {format}.", nameof(format));
        if (!Device.Multiplies(format))
            throw new NotSupportedException($"{Device.Name} multiplies no weights of {format.CodeBits} bits; the CPU does.");
        return [.. Parameters.All.Where(parameter => parameter.Name.StartsWith("language.", StringComparison.Ordinal)
            && parameter.Name != LanguageModel.EmbeddingName && parameter.Type.Storage == Storage.Weight
            && parameter.Type.Format is null)];
    }

    /// <summary>Writes the image part of the forward pass.</summary>
    /// <param name="graph">Where to write.</param>
    /// <param name="pixels">[images, channels, height, width], normalised.</param>
    /// <param name="recompute">Whether the layers are recomputed in the backward pass.</param>
    /// <returns>Embeddings and last hidden states of the encoder, and the features for the language model.</returns>
    public (Value Embeddings, Value Hidden, Value Features) EncodeImages(Graph graph, Value pixels, bool recompute = false)
    {
        ArgumentNullException.ThrowIfNull(graph);
        ArgumentNullException.ThrowIfNull(pixels);
        Value embeddings = Vision.Embed(graph, pixels);
        Value hidden = Vision.Forward(graph, embeddings, pixels.Shape[0], recompute);
        int gridHeight = pixels.Shape[2] / Configuration.Vision.PatchHeight,
            gridWidth = pixels.Shape[3] / Configuration.Vision.PatchWidth;
        return (embeddings, hidden, Connector.Forward(graph, hidden, gridHeight, gridWidth));
    }

    /// <summary>Writes the forward pass over packed sequences, as training runs it, up to the last norm.</summary>
    /// <param name="graph">Where to write.</param>
    /// <param name="shape">The batch's extents.</param>
    /// <param name="recompute">Whether the layers are recomputed in the backward pass.</param>
    public PackedForward Forward(Graph graph, PackedShape shape, bool recompute = false)
    {
        ArgumentNullException.ThrowIfNull(graph);
        Value tokens = graph.Input("tokens", TensorType.Int32(shape.Tokens));
        Value positions = graph.Input("positions", TensorType.Int32(shape.Tokens));
        Value starts = graph.Input("starts", TensorType.Int32(shape.Sequences + 1));
        Value embedded = Language.Embed(graph, tokens);
        Value? featureIndex = null, pixels = null, visionEmbeddings = null, visionHidden = null, features = null;
        if (shape.Images > 0)
        {
            featureIndex = graph.Input("feature_index", TensorType.Int32(shape.Tokens));
            pixels = graph.Input("pixels",
                TensorType.Float32(shape.Images, Configuration.Vision.ChannelCount, shape.ImageHeight, shape.ImageWidth));
            (visionEmbeddings, visionHidden, features) = EncodeImages(graph, pixels, recompute);
            embedded = graph.Add(new ScatterImageFeatures(), embedded, features, featureIndex);
        }

        LanguageConfiguration language = Configuration.Language;
        var attention = new Attention(language.HeadCount, language.KeyValueHeadCount, language.HeadDimension, Causal: true)
        {
            RoundsOperands = RoundsAttention,
        };
        Value hidden = Language.Forward(graph, embedded, positions,
            (_, query, key, value) => graph.Add(attention, query, key, value, starts), recompute);
        return new PackedForward(tokens, positions, starts, featureIndex, pixels, visionEmbeddings, visionHidden,
            features, hidden);
    }

    /// <summary>Applies the fusion rules, if <see cref="UseFusion"/> says so. To be called before differentiation.</summary>
    public void Fuse(Graph graph)
    {
        if (UseFusion)
            graph.Fuse(FusionRules.All);
    }

    /// <summary>
    /// Applies the fusion rules of ops that have no gradient, if <see cref="UseFusion"/> says so. To be called after
    /// <see cref="Fuse"/> and after differentiation, where there is one.
    /// </summary>
    public void FuseForward(Graph graph)
    {
        if (UseFusion)
            graph.Fuse(FusionRules.AfterDifferentiation);
    }

    /// <summary>The parameters of a model that lives nowhere: names, types and order.</summary>
    internal static ParameterSet DescribeParameters(ModelConfiguration configuration, DataType parameterType)
    {
        var parameters = new ParameterSet();
        _ = new VisionEncoder(configuration.Vision, parameters, parameterType, parameterType);
        _ = new Connector(configuration, parameters, parameterType);
        _ = new LanguageModel(configuration.Language, parameters, parameterType, parameterType);
        return parameters;
    }

    /// <summary>Checks before anything is loaded that a device can compute with parameters of a type.</summary>
    /// <returns>The type.</returns>
    internal static DataType CheckParameterType(DataType parameterType, Device device)
    {
        if (!parameterType.IsFloatingPoint())
            throw new ArgumentException(
                $"Parameters cannot be {parameterType}: choose {DataType.Float32} or {DataType.BFloat16}.",
                nameof(parameterType));
        if (device.ActivationType == DataType.BFloat16 && parameterType != DataType.BFloat16)
            throw new ArgumentException(
                $"{device.Name} computes in bfloat16 and cannot multiply by {parameterType} parameters. Leave the " +
                $"parameter type out, or ask for {DataType.BFloat16}: training keeps float32 masters of them.",
                nameof(parameterType));
        return parameterType;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (PersistentTensor parameter in Parameters.All)
        {
            if (parameter.IsBound)
                parameter.Tensor.Memory.Dispose();
        }
    }
}
