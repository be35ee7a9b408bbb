using System.Numerics.Tensors;
using Skylight.Checkpoints;
using Skylight.Execution;
using Skylight.Generation;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Quantization;

/// <summary>What the products of a layer read: means over all tokens, and some tokens whole.</summary>
internal sealed class InputStatistics(int width, int rows)
{
    private readonly double[] _sums = new double[width];
    private long _count;

    /// <summary>Tokens that are kept: [rows, width].</summary>
    public float[] Rows { get; } = new float[rows * width];

    /// <summary>The mean magnitude of each channel.</summary>
    public float[] Means() => [.. _sums.Select(sum => (float)(sum / Math.Max(1, _count)))];

    /// <summary>Takes the activations of a sequence.</summary>
    /// <param name="values">[tokens, width].</param>
    /// <param name="kept">Which tokens are kept, and at which row.</param>
    public void Add(ReadOnlySpan<float> values, IEnumerable<(int Token, int Row)> kept)
    {
        for (int start = 0; start < values.Length; start += width, _count++)
        {
            ReadOnlySpan<float> row = values.Slice(start, width);
            for (int channel = 0; channel < width; channel++)
                _sums[channel] += MathF.Abs(row[channel]);
        }

        foreach ((int token, int row) in kept)
            values.Slice(token * width, width).CopyTo(Rows.AsSpan(row * width));
    }
}

/// <summary>
/// Runs calibration sequences through the language model layer by layer: in memory are one layer, and the hidden states
/// between two layers.
/// </summary>
internal sealed class LayerActivations : IDisposable
{
    // Tokens on which errors are measured, taken evenly from all.
    private const int MostRows = 512;

    private readonly LanguageConfiguration _configuration;
    private readonly Device _device;
    private readonly ParameterSet _parameters = new();
    private readonly LanguageModel _layer;
    private readonly Workspace _workspace;
    private readonly Dictionary<int, Pass> _passes = [];
    private readonly List<float[]> _hidden = [];
    private readonly List<(int Token, int Row)>[] _kept;

    private LayerActivations(LanguageConfiguration configuration, Device device, IReadOnlyList<TokenSequence> sequences)
    {
        (_configuration, _device) = (configuration with { LayerCount = 1 }, device);
        _layer = new LanguageModel(_configuration, _parameters, DataType.Float32, DataType.Float32);
        _workspace = new Workspace(device);
        long tokens = sequences.Sum(sequence => (long)sequence.Tokens.Length);
        RowCount = (int)Math.Min(tokens, MostRows);
        _kept = [.. sequences.Select(_ => new List<(int, int)>())];
        long start = 0;
        int row = 0;
        for (int sequence = 0; sequence < sequences.Count; sequence++)
        {
            long end = start + sequences[sequence].Tokens.Length;
            for (; row < RowCount && row * tokens / RowCount < end; row++)
                _kept[sequence].Add(((int)(row * tokens / RowCount - start), row));
            start = end;
        }
    }

    /// <summary>Tokens of which activations are kept whole.</summary>
    public int RowCount { get; }

    /// <summary>Refuses sequences that a model cannot run on.</summary>
    /// <exception cref="ArgumentException">One is empty, too long, has a token that the model does not have, or does not fit
    /// its pictures.</exception>
    public static void Check(IReadOnlyList<TokenSequence> sequences, ModelConfiguration configuration)
    {
        LanguageConfiguration language = configuration.Language;
        for (int index = 0; index < sequences.Count; index++)
        {
            int[] tokens = sequences[index].Tokens;
            if (tokens.Length == 0 || tokens.Length > language.MaxPositions
                || tokens.Any(token => token < 0 || token >= language.VocabularySize))
                throw new ArgumentException(
                    $"Calibration sequence {index} has {tokens.Length} tokens{(tokens.Length > 0 ? $" up to {tokens.Max()}" : "")}; supported: 1 to {language.MaxPositions} tokens below {language.VocabularySize}.",
                    nameof(sequences));
            _ = FeaturePlace.Of(sequences[index], configuration, $"Calibration sequence {index}");
        }
    }

    /// <summary>Embeds the sequences.</summary>
    /// <param name="reader">The checkpoint.</param>
    /// <param name="keyMap">Of the model in its naming.</param>
    /// <param name="sequences">At least one.</param>
    /// <param name="device">Computes in float32.</param>
    /// <param name="cancellationToken">Checked between sequences.</param>
    public static LayerActivations Begin(CheckpointReader reader, KeyMap keyMap, IReadOnlyList<TokenSequence> sequences,
        Device device, CancellationToken cancellationToken)
    {
        LanguageConfiguration language = keyMap.Configuration.Language;
        var activations = new LayerActivations(language, device, sequences);
        try
        {
            using PictureFeatures? pictures = sequences.Any(sequence => sequence.Images.Count > 0)
                ? new PictureFeatures(reader, keyMap, device) : null;
            CheckpointTensor embedding = reader[keyMap["language.embedding.weight"].Pieces[0].TensorName];
            int width = language.HiddenSize;
            foreach (TokenSequence sequence in sequences)
            {
                cancellationToken.ThrowIfCancellationRequested();
                var hidden = new float[sequence.Tokens.Length * width];
                for (int token = 0; token < sequence.Tokens.Length; token++)
                    embedding.ReadFloat32((long)sequence.Tokens[token] * width, hidden.AsSpan(token * width, width));
                pictures?.Place(sequence, hidden, cancellationToken);
                activations._hidden.Add(hidden);
            }

            foreach (PersistentTensor parameter in activations._parameters.All)
            {
                if (parameter.Name.StartsWith(LayerWeights.Prefix(0), StringComparison.Ordinal))
                    device.Bind(parameter);
            }
        }
        catch
        {
            activations.Dispose();
            throw;
        }

        return activations;
    }

    /// <summary>Runs all sequences through the next layer.</summary>
    /// <param name="weights">The layer, as it is in the checkpoint.</param>
    /// <param name="measure">Whether statistics are wanted.</param>
    /// <param name="cancellationToken">Checked within; what was run then counts for nothing.</param>
    /// <returns>Inputs of qkv, attention's output, gate and up, down; empty where they are not wanted.</returns>
    /// <exception cref="ArithmeticException">An activation is not finite.</exception>
    public InputStatistics[] Advance(LayerWeights weights, bool measure, CancellationToken cancellationToken)
    {
        foreach ((string name, float[] values) in weights.All)
            PersistentTensors.Write(_device, _parameters[LayerWeights.Prefix(0) + name], values);
        InputStatistics[] statistics = !measure ? [] : [.. new[]
        {
            _configuration.HiddenSize, _configuration.QuerySize, _configuration.HiddenSize, _configuration.IntermediateSize,
        }.Select(width => new InputStatistics(width, RowCount))];
        for (int index = 0; index < _hidden.Count; index++)
        {
            int tokens = _hidden[index].Length / _configuration.HiddenSize;
            if (!_passes.TryGetValue(tokens, out Pass? pass))
                _passes.Add(tokens, pass = new Pass(_layer, _configuration, tokens, _workspace));
            _hidden[index] = pass.Run(_hidden[index], statistics, _kept[index], cancellationToken);
            if (!float.IsFinite(TensorPrimitives.MaxMagnitude<float>(_hidden[index])))
                throw new ArithmeticException(
                    $"Calibration sequence {index} makes activations that are not finite. The weights are damaged: look for " +
                    $"the tensor with 'skylight verify', or get the checkpoint again.");
        }

        return statistics;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _workspace.Dispose();
        foreach (PersistentTensor parameter in _parameters.All.Where(parameter => parameter.IsBound))
            parameter.Tensor.Memory.Dispose();
    }

    /// <summary>One layer over one sequence of a length.</summary>
    private sealed class Pass
    {
        private readonly Value _hidden, _positions, _starts;
        private readonly LayerValues _values;
        private readonly Executor _executor;
        private readonly int[] _order;

        public Pass(LanguageModel layer, LanguageConfiguration configuration, int tokens, Workspace workspace)
        {
            var graph = new Graph();
            _order = [.. Enumerable.Range(0, tokens)];
            _hidden = graph.Input("hidden", TensorType.Float32(tokens, configuration.HiddenSize));
            _positions = graph.Input("positions", TensorType.Int32(tokens));
            _starts = graph.Input("starts", TensorType.Int32(2));
            var attention = new Attention(configuration.HeadCount, configuration.KeyValueHeadCount,
                configuration.HeadDimension, Causal: true);
            _values = layer.Layer(graph, _hidden, layer.RotaryTable(graph, _positions), 0,
                (_, query, key, value) => graph.Add(attention, query, key, value, _starts));
            graph.Output("attention", _values.Attention);
            graph.Output("attended", _values.Attended);
            graph.Output("mlp", _values.Mlp);
            graph.Output("inner", _values.Inner);
            graph.Output("output", _values.Output);
            _executor = new Executor(Planner.Plan(graph, workspace.Device), workspace);
        }

        public float[] Run(float[] hidden, InputStatistics[] statistics, List<(int Token, int Row)> kept,
            CancellationToken cancellationToken)
        {
            _executor.Write<float>(_hidden, hidden);
            _executor.Write<int>(_positions, _order);
            _executor.Write<int>(_starts, [0, _order.Length]);
            _executor.Run(cancellationToken);
            Value[] inputs = [_values.Attention, _values.Attended, _values.Mlp, _values.Inner];
            for (int index = 0; index < statistics.Length; index++)
                statistics[index].Add(_executor.ReadFloats(inputs[index]), kept);
            return _executor.ReadFloats(_values.Output);
        }
    }

    /// <summary>Encoder and connector, whole in memory while pictures are embedded.</summary>
    private sealed class PictureFeatures : IDisposable
    {
        private readonly VisionLanguageModel _model;
        private readonly Workspace _workspace;
        private readonly Dictionary<(int Height, int Width), ImageEncodingStep> _steps = [];

        public PictureFeatures(CheckpointReader reader, KeyMap keyMap, Device device)
        {
            _model = new VisionLanguageModel(keyMap.Configuration, device, ModelCheckpoint.ParameterTypeOf(reader, device));
            _workspace = new Workspace(device);
            try
            {
                var transfer = new ParameterTransfer(device);
                foreach (PersistentTensor parameter in _model.Parameters.All.Where(
                    parameter => !parameter.Name.StartsWith("language.", StringComparison.Ordinal)))
                {
                    device.Bind(parameter);
                    parameter.MarkChanged();
                    transfer.Load(reader, keyMap[parameter.Name], parameter.Tensor, _ => { }, CancellationToken.None);
                }
            }
            catch
            {
                Dispose();
                throw;
            }
        }

        /// <summary>Puts the features of a sequence's pictures in place of its tokens' embeddings.</summary>
        public void Place(TokenSequence sequence, float[] hidden, CancellationToken cancellationToken)
        {
            if (sequence.Images.Count == 0)
                return;
            int width = _model.Configuration.Language.HiddenSize;
            ImageFeatures[] pictures = [.. sequence.Images.Select(tile => new ImageFeatures(tile, null))];
            foreach (ImageFeatures picture in pictures)
            {
                (int, int) size = (picture.Tile.Height, picture.Tile.Width);
                if (!_steps.TryGetValue(size, out ImageEncodingStep? step))
                    _steps.Add(size, step = new ImageEncodingStep(_model, _workspace,
                        new ImageEncodingShape(1, size.Item1, size.Item2)));
                step.Run([picture], cancellationToken);
            }

            FeaturePlace[] places = FeaturePlace.Of(sequence, _model.Configuration, "A calibration sequence");
            for (int token = 0; token < places.Length; token++)
            {
                if (places[token].Image >= 0)
                    pictures[places[token].Image].Rows.AsSpan(places[token].Row * width, width)
                        .CopyTo(hidden.AsSpan(token * width));
            }
        }

        public void Dispose()
        {
            _workspace.Dispose();
            _model.Dispose();
        }
    }
}
