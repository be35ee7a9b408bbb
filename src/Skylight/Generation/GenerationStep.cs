using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Generation;

/// <summary>The extents on which a generation step depends.</summary>
/// <param name="Tokens">New tokens of all sequences together.</param>
/// <param name="Sequences">The number of sequences.</param>
/// <param name="Pages">The width of the page table.</param>
/// <param name="HasFeatures">Whether some of the tokens stand for image features.</param>
/// <param name="Temperature">At which log-probabilities and entropies are taken.</param>
internal readonly record struct StepShape(int Tokens, int Sequences, int Pages, bool HasFeatures, float Temperature);

/// <summary>
/// One run of the language model over new tokens, whose keys and values go to the cache: parts of prompts and decoding alike, side by side. Gives the
/// logits after the last new token of each sequence, with their statistics.
/// </summary>
internal sealed class GenerationStep
{
    private readonly Value _tokens;
    private readonly Value _positions;
    private readonly Value _starts;
    private readonly Value _lengths;
    private readonly Value _slots;
    private readonly Value _pageTable;
    private readonly Value _lastRows;
    private readonly Value? _featureIndex;
    private readonly Value? _features;
    private readonly Value _logits;
    private readonly Value _maximum;
    private readonly Value _logSum;
    private readonly Value _entropy;
    private readonly Executor _executor;

    public GenerationStep(VisionLanguageModel model, KeyValueCache cache, Workspace workspace, StepShape shape)
    {
        LanguageConfiguration language = model.Configuration.Language;
        var graph = new Graph();
        _tokens = graph.Input("tokens", TensorType.Int32(shape.Tokens));
        _positions = graph.Input("positions", TensorType.Int32(shape.Tokens));
        _starts = graph.Input("starts", TensorType.Int32(shape.Sequences + 1));
        _lengths = graph.Input("lengths", TensorType.Int32(shape.Sequences));
        _slots = graph.Input("slots", TensorType.Int32(shape.Tokens));
        _pageTable = graph.Input("page_table", TensorType.Int32(shape.Sequences, shape.Pages));
        _lastRows = graph.Input("last_rows", TensorType.Int32(shape.Sequences));
        Value embedded = model.Language.Embed(graph, _tokens);
        if (shape.HasFeatures)
        {
            _featureIndex = graph.Input("feature_index", TensorType.Int32(shape.Tokens));
            _features = graph.Input("features", new TensorType(model.Device.ActivationType, new Shape(shape.Tokens, language.HiddenSize)));
            embedded = graph.Add(new ScatterImageFeatures(), embedded, _features, _featureIndex);
        }

        var write = new KeyValueWrite(language.KeyValueHeadCount, language.HeadDimension);
        var attend = new PagedAttention(language.HeadCount, language.KeyValueHeadCount, language.HeadDimension);
        Value hidden = model.Language.Forward(graph, embedded, _positions, (layer, query, key, value) =>
        {
            Value keys = graph.Persistent(cache.Keys[layer]), values = graph.Persistent(cache.Values[layer]);
            graph.AddNode(write, key, value, keys, values, _slots);
            return graph.Add(attend, query, keys, values, _pageTable, _starts, _lengths);
        });
        _logits = model.Language.Logits(graph, graph.Add(new GatherRows(), hidden, _lastRows));
        IReadOnlyList<Value> statistics = graph.AddNode(new LogitStatistics(shape.Temperature), _logits);
        (_maximum, _logSum, _entropy) = (statistics[0], statistics[1], statistics[2]);
        graph.Output("logits", _logits);
        graph.Output("maximum", _maximum);
        graph.Output("log_sum", _logSum);
        graph.Output("entropy", _entropy);
        model.Fuse(graph);
        _executor = new Executor(Planner.Plan(graph, workspace.Device), workspace);
    }

    /// <summary>What is run.</summary>
    public Plan Plan => _executor.Plan;

    /// <summary>
    /// What a step reads. Padding rows have slot −1 and lie beyond the last start. Features [tokens, hidden] and their index are null without pictures.
    /// </summary>
    public readonly record struct Inputs(int[] Tokens, int[] Positions, int[] Starts, int[] Lengths, int[] Slots, int[] PageTable, int[] LastRows, int[]? FeatureIndex, float[]? Features);

    /// <summary>What a step gives: logits [sequences, vocabulary] and per sequence their maximum, log-sum and entropy.</summary>
    public readonly record struct Result(float[] Logits, float[] Maximum, float[] LogSum, float[] Entropy);

    public Result Run(in Inputs inputs, CancellationToken cancellationToken)
    {
        _executor.Write<int>(_tokens, inputs.Tokens);
        _executor.Write<int>(_positions, inputs.Positions);
        _executor.Write<int>(_starts, inputs.Starts);
        _executor.Write<int>(_lengths, inputs.Lengths);
        _executor.Write<int>(_slots, inputs.Slots);
        _executor.Write<int>(_pageTable, inputs.PageTable);
        _executor.Write<int>(_lastRows, inputs.LastRows);
        if (_featureIndex is not null && _features is not null)
        {
            _executor.Write<int>(_featureIndex, inputs.FeatureIndex);
            _executor.WriteFloats(_features, inputs.Features);
        }

        _executor.Run(cancellationToken);
        return new Result(_executor.Read<float>(_logits), _executor.Read<float>(_maximum), _executor.Read<float>(_logSum), _executor.Read<float>(_entropy));
    }
}
