using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Models;

/// <summary>
/// InternViT: patches of an image → hidden states. Pre-norm transformer with layer scale; LayerNorm and qkv bias (300M
/// style) or RMSNorm with query/key RMSNorm over the full width (6B style). No norm after the last layer.
/// </summary>
public sealed class VisionEncoder
{
    private readonly VisionConfiguration _configuration;
    private readonly ParameterSet _parameters;
    private readonly DataType _activationType;

    internal VisionEncoder(VisionConfiguration configuration, ParameterSet parameters, DataType dataType,
        DataType activationType)
    {
        _configuration = configuration;
        _activationType = activationType;
        _parameters = parameters;
        int hidden = configuration.HiddenSize;
        int patch = configuration.ChannelCount * configuration.PatchHeight * configuration.PatchWidth;
        parameters.Add("vision.class_embedding", dataType, hidden);
        parameters.Add("vision.position_embedding", dataType, 1 + configuration.GridHeight * configuration.GridWidth,
            hidden);
        parameters.AddWeight("vision.patch_embedding.weight", dataType, hidden, patch);
        parameters.Add("vision.patch_embedding.bias", dataType, hidden);
        for (int layer = 0; layer < configuration.LayerCount; layer++)
        {
            string prefix = $"vision.layers.{layer}";
            AddNorm(prefix + ".norm1", dataType);
            parameters.AddWeight(prefix + ".attention.qkv.weight", dataType, 3 * hidden, hidden);
            if (configuration.QkvBias)
                parameters.Add(prefix + ".attention.qkv.bias", dataType, 3 * hidden);
            if (configuration.QueryKeyNorm)
            {
                parameters.Add(prefix + ".attention.query_norm.weight", dataType, hidden);
                parameters.Add(prefix + ".attention.key_norm.weight", dataType, hidden);
            }

            parameters.AddWeight(prefix + ".attention.output.weight", dataType, hidden, hidden);
            parameters.Add(prefix + ".attention.output.bias", dataType, hidden);
            parameters.Add(prefix + ".scale1", dataType, hidden);
            AddNorm(prefix + ".norm2", dataType);
            parameters.AddWeight(prefix + ".mlp.fc1.weight", dataType, configuration.IntermediateSize, hidden);
            parameters.Add(prefix + ".mlp.fc1.bias", dataType, configuration.IntermediateSize);
            parameters.AddWeight(prefix + ".mlp.fc2.weight", dataType, hidden, configuration.IntermediateSize);
            parameters.Add(prefix + ".mlp.fc2.bias", dataType, hidden);
            parameters.Add(prefix + ".scale2", dataType, hidden);
        }
    }

    /// <summary>Whether attention rounds the operands of its products to bfloat16.</summary>
    internal bool RoundsAttention { get; init; }

    /// <summary>Cuts images into patches and embeds them.</summary>
    /// <param name="graph">Where to write.</param>
    /// <param name="pixels">[images, channels, height, width], normalised, float32 or already activations; height and
    /// width multiples of the patch. Another size than the configured one interpolates the position embedding.</param>
    /// <returns>[images · (1 + patches), hidden]; each image's class token comes first.</returns>
    public Value Embed(Graph graph, Value pixels)
    {
        ArgumentNullException.ThrowIfNull(graph);
        ArgumentNullException.ThrowIfNull(pixels);
        using IDisposable scope = graph.Scope("vision.embeddings");
        int gridHeight = pixels.Shape[2] / _configuration.PatchHeight,
            gridWidth = pixels.Shape[3] / _configuration.PatchWidth;
        Value patches = graph.Add(new PatchGather(_configuration.PatchHeight, _configuration.PatchWidth),
            Cast.To(graph, pixels, _activationType));
        Value embedded = _parameters.Product(graph, patches, "vision.patch_embedding.weight",
            "vision.patch_embedding.bias");
        Value positions = Parameter(graph, "vision.position_embedding");
        if (gridHeight != _configuration.GridHeight || gridWidth != _configuration.GridWidth)
            positions = graph.Add(new InterpolatePositions(_configuration.GridHeight, _configuration.GridWidth,
                gridHeight, gridWidth), positions);
        return graph.Add(new AddClassTokenAndPositions(), embedded, Parameter(graph, "vision.class_embedding"), positions);
    }

    /// <summary>Runs all layers.</summary>
    /// <param name="graph">Where to write.</param>
    /// <param name="embedded">From <see cref="Embed"/>.</param>
    /// <param name="imageCount">The number of images.</param>
    /// <param name="recompute">Whether the layers are recomputed in the backward pass.</param>
    /// <returns>[images · (1 + patches), hidden].</returns>
    public Value Forward(Graph graph, Value embedded, int imageCount, bool recompute = false)
    {
        ArgumentNullException.ThrowIfNull(graph);
        ArgumentNullException.ThrowIfNull(embedded);
        int tokens = embedded.Shape.Rows / imageCount;
        Value starts = graph.Constant("vision.starts",
            [.. Enumerable.Range(0, imageCount + 1).Select(image => image * tokens)]);
        Value hidden = embedded;
        for (int layer = 0; layer < _configuration.LayerCount; layer++)
        {
            using IDisposable scope = graph.Scope($"vision.layers.{layer}");
            using IDisposable? region = recompute ? graph.Recompute() : null;
            hidden = Layer(graph, hidden, starts, $"vision.layers.{layer}");
        }

        return hidden;
    }

    private Value Layer(Graph graph, Value hidden, Value starts, string prefix)
    {
        int size = _configuration.HiddenSize, heads = _configuration.HeadCount;
        Value normalized = Norm(graph, hidden, prefix + ".norm1");
        Value qkv = _parameters.Product(graph, normalized, prefix + ".attention.qkv.weight",
            _configuration.QkvBias ? prefix + ".attention.qkv.bias" : null);
        IReadOnlyList<Value> parts = graph.AddNode(new SplitColumns(size, size, size), qkv);
        Value query = parts[0], key = parts[1];
        if (_configuration.QueryKeyNorm)
        {
            query = graph.Add(new RmsNorm(_configuration.NormEpsilon), query,
                Parameter(graph, prefix + ".attention.query_norm.weight"));
            key = graph.Add(new RmsNorm(_configuration.NormEpsilon), key,
                Parameter(graph, prefix + ".attention.key_norm.weight"));
        }

        var attend = new Attention(heads, heads, size / heads, Causal: false) { RoundsOperands = RoundsAttention };
        Value attention = graph.Add(attend, query, key, parts[2], starts);
        Value projected = _parameters.Product(graph, attention, prefix + ".attention.output.weight",
            prefix + ".attention.output.bias");
        hidden = graph.Add(new Add(), hidden, graph.Add(new LayerScale(), projected, Parameter(graph, prefix + ".scale1")));
        normalized = Norm(graph, hidden, prefix + ".norm2");
        Value inner = _parameters.Product(graph, normalized, prefix + ".mlp.fc1.weight",
            prefix + ".mlp.fc1.bias");
        Value outer = _parameters.Product(graph, graph.Add(new Gelu(), inner), prefix + ".mlp.fc2.weight",
            prefix + ".mlp.fc2.bias");
        return graph.Add(new Add(), hidden, graph.Add(new LayerScale(), outer, Parameter(graph, prefix + ".scale2")));
    }

    private Value Norm(Graph graph, Value x, string prefix) => _configuration.NormKind == NormKind.RmsNorm
        ? graph.Add(new RmsNorm(_configuration.NormEpsilon), x, Parameter(graph, prefix + ".weight"))
        : graph.Add(new LayerNorm(_configuration.NormEpsilon), x, Parameter(graph, prefix + ".weight"),
            Parameter(graph, prefix + ".bias"));

    private void AddNorm(string prefix, DataType dataType)
    {
        _parameters.Add(prefix + ".weight", dataType, _configuration.HiddenSize);
        if (_configuration.NormKind == NormKind.LayerNorm)
            _parameters.Add(prefix + ".bias", dataType, _configuration.HiddenSize);
    }

    private Value Parameter(Graph graph, string name) => graph.Persistent(_parameters[name]);
}
