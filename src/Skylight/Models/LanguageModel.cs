using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Models;

/// <summary>
/// Qwen2.5 or Qwen3: a decoder of pre-norm layers with RMSNorm, grouped-query attention with rotary positions
/// (half-split) and SwiGLU. Qwen2.5's queries, keys and values have biases; of Qwen3's every head of queries and keys
/// is normalised before it is rotated.
/// </summary>
public sealed class LanguageModel
{
    /// <summary>The table of embeddings, which is the head too where they are tied.</summary>
    internal const string EmbeddingName = "language.embedding.weight";

    private readonly LanguageConfiguration _configuration;
    private readonly ParameterSet _parameters;
    private readonly DataType _activationType;

    internal LanguageModel(LanguageConfiguration configuration, ParameterSet parameters, DataType dataType,
        DataType activationType)
    {
        _configuration = configuration;
        _activationType = activationType;
        _parameters = parameters;
        int hidden = configuration.HiddenSize,
            qkv = (configuration.HeadCount + 2 * configuration.KeyValueHeadCount) * configuration.HeadDimension;
        parameters.AddWeight(EmbeddingName, dataType, configuration.VocabularySize, hidden);
        for (int layer = 0; layer < configuration.LayerCount; layer++)
        {
            string prefix = $"language.layers.{layer}";
            parameters.Add(prefix + ".input_norm.weight", dataType, hidden);
            parameters.AddWeight(prefix + ".attention.qkv.weight", dataType, qkv, hidden);
            if (configuration.QkvBias)
                parameters.Add(prefix + ".attention.qkv.bias", dataType, qkv);
            if (configuration.QueryKeyNorm)
            {
                parameters.Add(prefix + ".attention.query_norm.weight", dataType, configuration.HeadDimension);
                parameters.Add(prefix + ".attention.key_norm.weight", dataType, configuration.HeadDimension);
            }

            parameters.AddWeight(prefix + ".attention.output.weight", dataType, hidden,
                configuration.HeadCount * configuration.HeadDimension);
            parameters.Add(prefix + ".output_norm.weight", dataType, hidden);
            parameters.AddWeight(prefix + ".mlp.gate_up.weight", dataType, 2 * configuration.IntermediateSize, hidden);
            parameters.AddWeight(prefix + ".mlp.down.weight", dataType, hidden, configuration.IntermediateSize);
        }

        parameters.Add("language.norm.weight", dataType, hidden);
        if (!configuration.TieWordEmbeddings)
            parameters.AddWeight("language.head.weight", dataType, configuration.VocabularySize, hidden);
    }

    /// <summary>
    /// How a layer attends: takes the layer's index, queries, keys and values, and gives the attention's output.
    /// </summary>
    public delegate Value AttentionBuilder(int layer, Value query, Value key, Value value);

    /// <summary>The head's weight [vocabulary, hidden]; the embedding's where they are tied.</summary>
    public Value HeadWeight(Graph graph) => Parameter(graph, HeadName);

    /// <summary>
    /// The logits of hidden states: [rows, hidden] → [rows, vocabulary], float32 whatever the hidden states are.
    /// </summary>
    public Value Logits(Graph graph, Value hidden)
    {
        ArgumentNullException.ThrowIfNull(graph);
        return Product(graph, hidden, HeadName, outputType: DataType.Float32);
    }

    /// <summary>Looks tokens up: int32 [tokens] → [tokens, hidden].</summary>
    public Value Embed(Graph graph, Value tokens)
    {
        ArgumentNullException.ThrowIfNull(graph);
        using IDisposable scope = graph.Scope("language.embedding");
        return graph.Add(new EmbeddingLookup(_activationType), Parameter(graph, EmbeddingName), tokens);
    }

    /// <summary>Runs all layers and the last norm.</summary>
    /// <param name="graph">Where to write.</param>
    /// <param name="embedded">[tokens, hidden].</param>
    /// <param name="positions">int32 [tokens]: the position of each token in its sequence.</param>
    /// <param name="attention">How the layers attend.</param>
    /// <param name="recompute">Whether the layers are recomputed in the backward pass.</param>
    /// <returns>[tokens, hidden], ready for the head.</returns>
    public Value Forward(Graph graph, Value embedded, Value positions, AttentionBuilder attention, bool recompute = false)
    {
        ArgumentNullException.ThrowIfNull(graph);
        ArgumentNullException.ThrowIfNull(attention);
        Value table = RotaryTable(graph, positions);
        Value hidden = embedded;
        for (int layer = 0; layer < _configuration.LayerCount; layer++)
        {
            using IDisposable scope = graph.Scope($"language.layers.{layer}");
            using IDisposable? region = recompute ? graph.Recompute() : null;
            hidden = Layer(graph, hidden, table, layer, attention).Output;
        }

        using IDisposable last = graph.Scope("language");
        return graph.Add(new RmsNorm(_configuration.RmsNormEpsilon), hidden, Parameter(graph, "language.norm.weight"));
    }

    /// <summary>The rotations of positions.</summary>
    internal Value RotaryTable(Graph graph, Value positions) =>
        graph.Add(RopeScaling.Table(_configuration.RopeScaling, _configuration.HeadDimension, _configuration.RopeTheta,
            _configuration.MaxPositions), positions);

    /// <summary>Runs one layer.</summary>
    internal LayerValues Layer(Graph graph, Value hidden, Value table, int layer, AttentionBuilder attention)
    {
        string prefix = $"language.layers.{layer}";
        int dimension = _configuration.HeadDimension, keyWidth = _configuration.KeyValueHeadCount * dimension;
        Value normalized = graph.Add(new RmsNorm(_configuration.RmsNormEpsilon), hidden,
            Parameter(graph, prefix + ".input_norm.weight"));
        Value qkv = Product(graph, normalized, prefix + ".attention.qkv.weight",
            _configuration.QkvBias ? prefix + ".attention.qkv.bias" : null);
        IReadOnlyList<Value> parts = graph.AddNode(
            new SplitColumns(_configuration.HeadCount * dimension, keyWidth, keyWidth), qkv);
        Value query = parts[0], key = parts[1];
        if (_configuration.QueryKeyNorm)
        {
            query = graph.Add(new RmsNorm(_configuration.RmsNormEpsilon, _configuration.HeadCount), query,
                Parameter(graph, prefix + ".attention.query_norm.weight"));
            key = graph.Add(new RmsNorm(_configuration.RmsNormEpsilon, _configuration.KeyValueHeadCount), key,
                Parameter(graph, prefix + ".attention.key_norm.weight"));
        }

        query = graph.Add(new RotaryEmbedding(dimension), query, table);
        key = graph.Add(new RotaryEmbedding(dimension), key, table);
        Value attended = attention(layer, query, key, parts[2]);
        hidden = graph.Add(new Add(), hidden, Product(graph, attended, prefix + ".attention.output.weight"));
        Value normalizedAgain = graph.Add(new RmsNorm(_configuration.RmsNormEpsilon), hidden,
            Parameter(graph, prefix + ".output_norm.weight"));
        Value gateUp = Product(graph, normalizedAgain, prefix + ".mlp.gate_up.weight");
        IReadOnlyList<Value> gateAndUp = graph.AddNode(
            new SplitColumns(_configuration.IntermediateSize, _configuration.IntermediateSize), gateUp);
        Value inner = graph.Add(new Multiply(), graph.Add(new Silu(), gateAndUp[0]), gateAndUp[1]);
        return new LayerValues(normalized, attended, normalizedAgain, inner,
            graph.Add(new Add(), hidden, Product(graph, inner, prefix + ".mlp.down.weight")));
    }

    private string HeadName => _configuration.TieWordEmbeddings ? EmbeddingName : "language.head.weight";

    private Value Product(Graph graph, Value x, string weight, string? bias = null, DataType? outputType = null) =>
        _parameters.Product(graph, x, weight, bias, outputType);

    private Value Parameter(Graph graph, string name) => graph.Persistent(_parameters[name]);
}

/// <summary>What the products of a layer read, and what the layer gives.</summary>
/// <param name="Attention">[tokens, hidden]: of queries, keys and values.</param>
/// <param name="Attended">[tokens, heads · width]: of the attention's output.</param>
/// <param name="Mlp">[tokens, hidden]: of gate and up.</param>
/// <param name="Inner">[tokens, intermediate]: of down.</param>
/// <param name="Output">[tokens, hidden]: of the next layer.</param>
internal sealed record LayerValues(Value Attention, Value Attended, Value Mlp, Value Inner, Value Output);
