using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Training;

/// <summary>The graph of one forward (and backward) pass over packed samples, planned for one shape.</summary>
internal sealed class TrainingPass
{
    /// <summary>Numbers of tokens and rows are padded to multiples of this, so that fewer plans are needed.</summary>
    public const int TokenMultiple = 128;

    private readonly Key _key;
    private readonly PackedForward _forward;
    private readonly Executor _executor;
    private readonly Value _rows;
    private readonly Value _targets;
    private readonly Value _weights;
    private readonly Value? _old;
    private readonly Value? _reference;
    private readonly Value? _advantages;
    private readonly Value _loss;
    private readonly Value _logProbability;
    private readonly Value _entropy;
    private readonly IReadOnlyList<Value>? _policy;

    public TrainingPass(VisionLanguageModel model, Key key, IReadOnlyList<TrainedParameter> trained, Workspace workspace, bool recompute)
    {
        _key = key;
        var graph = new Graph();
        _forward = model.Forward(graph, key.Shape, recompute && key.Backward);

        // Only completion tokens are scored: their rows are gathered before the costly head.
        _rows = graph.Input("rows", TensorType.Int32(key.Rows));
        _targets = graph.Input("targets", TensorType.Int32(key.Rows));
        _weights = graph.Input("weights", TensorType.Float32(key.Rows));
        Value scored = graph.Add(new GatherRows(), _forward.Hidden, _rows);
        Value logits = model.Language.Logits(graph, scored);
        IReadOnlyList<Value> head = graph.AddNode(new LogProbabilities(key.Objective.Temperature), logits, _targets);
        (_logProbability, _entropy) = (head[0], head[1]);
        if (key.Objective is PolicyObjective policy)
        {
            _old = graph.Input("old_log_probabilities", TensorType.Float32(key.Rows));
            _reference = graph.Input("reference_log_probabilities", TensorType.Float32(key.Rows));
            _advantages = graph.Input("advantages", TensorType.Float32(key.Rows));
            _policy = graph.AddNode(new PolicyLoss(policy.ClipLow, policy.ClipHigh, policy.Kl, policy.Beta), _logProbability, _old, _reference, _advantages, _weights);
            _loss = _policy[0];
            graph.Output("clipped_tokens", _policy[1]);
            graph.Output("kl", _policy[2]);
            graph.Output("maximum_log_ratio", _policy[3]);
        }
        else
        {
            _loss = graph.Add(new CrossEntropy(), _logProbability, _weights);
        }

        graph.Output("loss", _loss);
        graph.Output("log_probability", _logProbability);
        graph.Output("entropy", _entropy);
        model.Fuse(graph);
        if (key.Backward)
            AppendBackward(graph, trained);
        _executor = new Executor(Planner.Plan(graph, workspace.Device), workspace);
    }

    /// <summary>What is run.</summary>
    public Plan Plan => _executor.Plan;

    /// <summary>Reserves the memory that a run needs.</summary>
    /// <exception cref="OutOfDeviceMemoryException">The device has not as much.</exception>
    public void Reserve() => _executor.Reserve();

    /// <summary>What a pass depends on.</summary>
    /// <param name="Shape">The packed batch.</param>
    /// <param name="Rows">Scored tokens, padded.</param>
    /// <param name="Objective">What is minimised.</param>
    /// <param name="Backward">Whether gradients are added up.</param>
    public readonly record struct Key(PackedShape Shape, int Rows, Objective Objective, bool Backward);

    /// <summary>The number of scored rows, padded.</summary>
    public static int RowsFor(IReadOnlyList<TrainingSample> samples) =>
        (samples.Sum(sample => sample.CompletionLength) + TokenMultiple - 1) / TokenMultiple * TokenMultiple;

    public BatchResult Run(IReadOnlyList<TrainingSample> samples, PackedBatch batch, CancellationToken cancellationToken)
    {
        _forward.Write(_executor, batch);
        int[] rows = new int[_key.Rows], targets = new int[_key.Rows];
        float[] weights = new float[_key.Rows], old = new float[_key.Rows], reference = new float[_key.Rows], advantages = new float[_key.Rows];
        Array.Fill(targets, -1);
        int next = 0;
        for (int index = 0; index < samples.Count; index++)
        {
            TrainingSample sample = samples[index];
            for (int token = 0; token < sample.CompletionLength; token++, next++)
            {
                rows[next] = batch.Starts[index] + sample.CompletionStart + token - 1;
                targets[next] = sample.Sequence.Tokens[sample.CompletionStart + token];
                advantages[next] = sample.Advantage;
            }

            int first = next - sample.CompletionLength;
            sample.Weights.CopyTo(weights, first);
            sample.OldLogProbabilities?.CopyTo(old, first);
            sample.ReferenceLogProbabilities?.CopyTo(reference, first);
        }

        _executor.Write<int>(_rows, rows);
        _executor.Write<int>(_targets, targets);
        _executor.Write<float>(_weights, weights);
        if (_old is not null && _reference is not null && _advantages is not null)
        {
            _executor.Write<float>(_old, old);
            _executor.Write<float>(_reference, reference);
            _executor.Write<float>(_advantages, advantages);
        }

        _executor.Run(cancellationToken);
        return new BatchResult(
            _executor.Read<float>(_loss)[0],
            Split(_executor.Read<float>(_logProbability), samples),
            Split(_executor.Read<float>(_entropy), samples),
            _policy is null ? 0 : _executor.Read<int>(_policy[1])[0],
            _policy is null ? 0 : _executor.Read<float>(_policy[2])[0],
            _policy is null ? 0 : _executor.Read<float>(_policy[3])[0]);
    }

    private void AppendBackward(Graph graph, IReadOnlyList<TrainedParameter> trained)
    {
        // Parameters that this pass does not read (the vision encoder's, when there are no pictures) have no gradient.
        HashSet<PersistentTensor> read = [.. graph.PersistentValues.Select(value => value.Persistent!)];
        TrainedParameter[] reached = [.. trained.Where(parameter => read.Contains(parameter.Parameter))];
        Value one = graph.Add(new One());
        Dictionary<Value, TrainedParameter> byValue = reached.ToDictionary(parameter => graph.Persistent(parameter.Parameter));
        // At once, not at the end: else all gradients would live in the arena beside those that they are added to.
        graph.Differentiate(
            _loss, byValue.Keys, one, new Add(),
            (parameter, gradient) => graph.AddNode(new Accumulate(), graph.Persistent(byValue[parameter].Gradient), gradient));
    }

    private static float[][] Split(float[] rows, IReadOnlyList<TrainingSample> samples)
    {
        var parts = new float[samples.Count][];
        int next = 0;
        for (int index = 0; index < samples.Count; index++)
        {
            parts[index] = rows[next..(next + samples[index].CompletionLength)];
            next += samples[index].CompletionLength;
        }

        return parts;
    }
}
