using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Models;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Training.Objectives;

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
    private readonly ObjectiveGraph _objective;

    public TrainingPass(VisionLanguageModel model, Key key, IReadOnlyList<TrainedParameter> trained,
        Workspace workspace, bool recompute)
    {
        _key = key;
        var graph = new Graph();
        _forward = model.Forward(graph, key.Shape, recompute && key.Backward);

        // Only completion tokens are scored: their rows are gathered before the costly head.
        _rows = graph.Input("rows", TensorType.Int32(key.Rows));
        _targets = graph.Input("targets", TensorType.Int32(key.Rows));
        Value scored = graph.Add(new GatherRows(), _forward.Hidden, _rows);
        Value logits = model.Language.Logits(graph, scored);
        IReadOnlyList<Value> head = graph.AddNode(new LogProbabilities(key.Objective.Temperature), logits, _targets);
        _objective = new ObjectiveGraph(graph, key.Objective, head[0], head[1]);
        graph.Output("log_probability", _objective.LogProbabilities);
        graph.Output("entropy", _objective.Entropies);
        model.Fuse(graph);
        if (key.Backward)
            AppendBackward(graph, trained);
        model.FuseForward(graph);
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
        Array.Fill(targets, -1);
        int next = 0;
        for (int index = 0; index < samples.Count; index++)
        {
            TrainingSample sample = samples[index];
            for (int token = 0; token < sample.CompletionLength; token++, next++)
            {
                rows[next] = batch.Starts[index] + sample.CompletionStart + token - 1;
                targets[next] = sample.Sequence.Tokens[sample.CompletionStart + token];
            }
        }

        _executor.Write<int>(_rows, rows);
        _executor.Write<int>(_targets, targets);
        _objective.Write(_executor, samples);
        _executor.Run(cancellationToken);
        (float loss, int clippedTokens, float kl, float maximumLogRatio) = _objective.Read(_executor);
        return new BatchResult(
            loss,
            ObjectiveGraph.Split(_executor.Read<float>(_objective.LogProbabilities), samples),
            ObjectiveGraph.Split(_executor.Read<float>(_objective.Entropies), samples),
            clippedTokens, kl, maximumLogRatio);
    }

    private void AppendBackward(Graph graph, IReadOnlyList<TrainedParameter> trained)
    {
        // Parameters that this pass does not read (the vision encoder's, when there are no pictures) have no gradient.
        HashSet<PersistentTensor> read = [.. graph.PersistentValues.Select(value => value.Persistent!)];
        TrainedParameter[] reached = [.. trained.Where(parameter => read.Contains(parameter.Parameter))];
        Value one = graph.Add(new One());
        Dictionary<Value, TrainedParameter> byValue = reached.ToDictionary(
            parameter => graph.Persistent(parameter.Parameter));
        // At once, not at the end: else all gradients would live in the arena beside those that they are added to.
        graph.Differentiate(
            _objective.Loss, byValue.Keys, one, new Add(),
            (parameter, gradient) =>
                graph.AddNode(new Accumulate(), graph.Persistent(byValue[parameter].Gradient), gradient));
    }
}
