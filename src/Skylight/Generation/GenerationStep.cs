using System.Runtime.InteropServices;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Generation;

/// <summary>The extents on which a generation step depends.</summary>
/// <param name="Tokens">New tokens of all sequences together.</param>
/// <param name="Sequences">The number of sequences.</param>
/// <param name="Draws">The number of tokens that are drawn.</param>
/// <param name="Pages">The width of the page table.</param>
/// <param name="HasFeatures">Whether some of the tokens stand for image features.</param>
/// <param name="Adjustments">How many logits are changed before tokens are drawn.</param>
/// <param name="Masks">How many masks say which tokens may be drawn.</param>
/// <param name="TopTokens">How many of the most likely tokens are given beside each that is drawn.</param>
internal readonly record struct StepShape(int Tokens, int Sequences, int Draws, int Pages, bool HasFeatures,
    int Adjustments, int Masks = 0, int TopTokens = 0);

/// <summary>
/// One run of the language model over new tokens, whose keys and values go to the cache: parts of prompts and decoding
/// alike, side by side. Draws tokens after the last new ones: one for each completion, several after a prompt that has
/// several.
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
    private readonly Value _temperature;
    private readonly Value _topK;
    private readonly Value _topP;
    private readonly Value _minP;
    private readonly Value _random;
    private readonly (Value Starts, Value Tokens, Value Penalty, Value Bias)? _adjustments;
    private readonly (Value Rows, Value Masks)? _masks;
    // The drawn tokens, their log-probabilities, entropies, and where they are wanted the most likely tokens and theirs.
    private readonly Value[] _results;
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
        _lastRows = graph.Input("last_rows", TensorType.Int32(shape.Draws));
        Value embedded = model.Language.Embed(graph, _tokens);
        if (shape.HasFeatures)
        {
            _featureIndex = graph.Input("feature_index", TensorType.Int32(shape.Tokens));
            _features = graph.Input("features",
                new TensorType(model.Device.ActivationType, new Shape(shape.Tokens, language.HiddenSize)));
            embedded = graph.Add(new ScatterImageFeatures(), embedded, _features, _featureIndex);
        }

        var write = new KeyValueWrite(language.KeyValueHeadCount, language.HeadDimension);
        var attend = new PagedAttention(language.HeadCount, language.KeyValueHeadCount, language.HeadDimension);
        Value plan = graph.Add(new PagedAttentionPlan(shape.Tokens,
            language.HeadCount / language.KeyValueHeadCount, language.KeyValueHeadCount), _pageTable, _starts, _lengths);
        Value hidden = model.Language.Forward(graph, embedded, _positions, (layer, query, key, value) =>
        {
            Value keys = graph.Persistent(cache.Keys[layer]), values = graph.Persistent(cache.Values[layer]);
            graph.AddNode(write, key, value, keys, values, _slots);
            return graph.Add(attend, query, keys, values, _pageTable, _starts, _lengths, plan);
        });
        Value logits = model.Language.Logits(graph, graph.Add(new GatherRows(), hidden, _lastRows));
        if (shape.Adjustments > 0)
        {
            var adjustments = (
                Starts: graph.Input("adjustment_starts", TensorType.Int32(shape.Draws + 1)),
                Tokens: graph.Input("adjusted_tokens", TensorType.Int32(shape.Adjustments)),
                Penalty: graph.Input("penalty", TensorType.Float32(shape.Adjustments)),
                Bias: graph.Input("bias", TensorType.Float32(shape.Adjustments)));
            logits = graph.Add(new AdjustLogits(), logits, adjustments.Starts, adjustments.Tokens, adjustments.Penalty,
                adjustments.Bias);
            _adjustments = adjustments;
        }

        if (shape.Masks > 0)
        {
            var masks = (
                Rows: graph.Input("mask_rows", TensorType.Int32(shape.Draws)),
                Masks: graph.Input("masks",
                    TensorType.Int32(shape.Masks, MaskLogits.WordsOf(model.Configuration.Language.VocabularySize))));
            logits = graph.Add(new MaskLogits(), logits, masks.Rows, masks.Masks);
            _masks = masks;
        }

        _temperature = graph.Input("temperature", TensorType.Float32(shape.Draws));
        _topK = graph.Input("top_k", TensorType.Int32(shape.Draws));
        _topP = graph.Input("top_p", TensorType.Float32(shape.Draws));
        _minP = graph.Input("min_p", TensorType.Float32(shape.Draws));
        _random = graph.Input("random", TensorType.Int32(shape.Draws, SampleTokens.RandomWords));
        _results = [.. graph.AddNode(new SampleTokens(shape.TopTokens), logits, _temperature, _topK, _topP, _minP, _random)];
        string[] names = ["drawn", "log_probability", "entropy", "top_tokens", "top_log_probabilities"];
        for (int result = 0; result < _results.Length; result++)
            graph.Output(names[result], _results[result]);
        model.Fuse(graph);
        model.FuseForward(graph);
        _executor = new Executor(Planner.Plan(graph, workspace.Device), workspace);
    }

    /// <summary>What is run.</summary>
    public Plan Plan => _executor.Plan;

    /// <summary>Whether the next run replays what was recorded, if no memory is bound anew before it.</summary>
    public bool IsRecorded => _executor.IsRecorded;

    /// <summary>
    /// What a step reads. Padding rows have slot −1 and lie beyond the last start. Features [tokens, hidden] and their
    /// index are null without pictures.
    /// </summary>
    public readonly record struct Inputs(
        int[] Tokens, int[] Positions, int[] Starts, int[] Lengths, int[] Slots, int[] PageTable, int[] LastRows,
        int[]? FeatureIndex, float[]? Features, SamplingInputs Sampling);

    /// <summary>
    /// What a step gives for each token that is drawn; the most likely tokens, as many for each, are empty where they are
    /// not wanted.
    /// </summary>
    public readonly record struct Result(int[] Tokens, float[] LogProbabilities, float[] Entropies, int[] TopTokens,
        float[] TopLogProbabilities)
    {
        /// <summary>The most likely tokens where one was drawn; those that are banned are not among them.</summary>
        /// <param name="draw">Which of the tokens that are drawn.</param>
        /// <param name="count">How many are wanted.</param>
        public IReadOnlyList<LikelyToken> TopTokensOf(int draw, int count)
        {
            int given = TopTokens.Length / Tokens.Length;
            var tokens = new List<LikelyToken>(count);
            for (int index = draw * given; index < draw * given + Math.Min(count, given); index++)
            {
                if (float.IsFinite(TopLogProbabilities[index]))
                    tokens.Add(new LikelyToken(TopTokens[index], TopLogProbabilities[index]));
            }

            return tokens;
        }
    }

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

        SamplingInputs sampling = inputs.Sampling;
        _executor.Write<float>(_temperature, sampling.Temperature);
        _executor.Write<int>(_topK, sampling.TopK);
        _executor.Write<float>(_topP, sampling.TopP);
        _executor.Write<float>(_minP, sampling.MinP);
        _executor.Write<int>(_random, sampling.Random);
        if (_adjustments is { } adjustments)
        {
            _executor.Write<int>(adjustments.Starts, sampling.AdjustmentStarts);
            _executor.Write<int>(adjustments.Tokens, sampling.AdjustedTokens);
            _executor.Write<float>(adjustments.Penalty, sampling.Penalty);
            _executor.Write<float>(adjustments.Bias, sampling.Bias);
        }

        if (_masks is { } masks)
        {
            _executor.Write<int>(masks.Rows, sampling.MaskRows);
            _executor.Write<int>(masks.Masks, sampling.Masks);
        }

        _executor.Run(cancellationToken);
        // All are of 4 bytes.
        ReadOnlySpan<int> results = MemoryMarshal.Cast<byte, int>(_executor.ReadTogether(_results));
        int draws = _results[0].Shape[0], likely = (results.Length - 3 * draws) / 2;
        return new Result(results[..draws].ToArray(), Floats(results.Slice(draws, draws)),
            Floats(results.Slice(2 * draws, draws)), results.Slice(3 * draws, likely).ToArray(), Floats(results[^likely..]));

        static float[] Floats(ReadOnlySpan<int> words) => MemoryMarshal.Cast<int, float>(words).ToArray();
    }
}
