using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Models;

/// <summary>
/// The bridge between seeing and speaking (<c>mlp1</c>): pixel shuffle of 2×2 patches into one token, LayerNorm,
/// Linear, exact GELU, Linear.
/// </summary>
public sealed class Connector
{
    private readonly ModelConfiguration _configuration;
    private readonly ParameterSet _parameters;

    internal Connector(ModelConfiguration configuration, ParameterSet parameters, DataType dataType)
    {
        _configuration = configuration;
        _parameters = parameters;
        int input = 4 * configuration.Vision.HiddenSize, output = configuration.Language.HiddenSize;
        parameters.Add("connector.norm.weight", dataType, input);
        parameters.Add("connector.norm.bias", dataType, input);
        parameters.AddWeight("connector.linear1.weight", dataType, output, input);
        parameters.Add("connector.linear1.bias", dataType, output);
        parameters.AddWeight("connector.linear2.weight", dataType, output, output);
        parameters.Add("connector.linear2.bias", dataType, output);
    }

    /// <summary>Makes image features for the language model.</summary>
    /// <param name="graph">Where to write.</param>
    /// <param name="hidden">The vision encoder's last hidden states, class tokens included: [images · (1 + patches),
    /// hidden].</param>
    /// <param name="gridHeight">Patches from top to bottom; even.</param>
    /// <param name="gridWidth">Patches from left to right; even.</param>
    /// <returns>[images · patches / 4, hidden size of the language model].</returns>
    public Value Forward(Graph graph, Value hidden, int gridHeight, int gridWidth)
    {
        ArgumentNullException.ThrowIfNull(graph);
        using IDisposable scope = graph.Scope("connector");
        Value shuffled = graph.Add(new PixelShuffle(gridHeight, gridWidth), hidden);
        Value normalized = graph.Add(new LayerNorm(_configuration.ConnectorEpsilon), shuffled,
            Parameter(graph, "connector.norm.weight"), Parameter(graph, "connector.norm.bias"));
        Value inner = _parameters.Product(graph, normalized, "connector.linear1.weight",
            "connector.linear1.bias");
        return _parameters.Product(graph, graph.Add(new Gelu(), inner), "connector.linear2.weight",
            "connector.linear2.bias");
    }

    private Value Parameter(Graph graph, string name) => graph.Persistent(_parameters[name]);
}
