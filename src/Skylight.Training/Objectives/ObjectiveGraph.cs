using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Training.Objectives;

/// <summary>
/// Where an <see cref="Objective"/> meets a graph: the rows that it is a sum over, one for each completion token of the
/// samples one after the other, and behind them padding. What it declares as inputs is filled from the samples at every run.
/// </summary>
public sealed class ObjectiveGraph
{
    private readonly int _rows;
    private readonly List<(Value Input, string Name, Func<TrainingSample, float[]?> Read)> _inputs = [];
    private (Value ClippedTokens, Value Kl, Value MaximumLogRatio)? _policy;
    private Value? _sequences;

    /// <summary>Appends an objective's loss to a graph.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="objective">What is minimised.</param>
    /// <param name="logProbabilities">Of the rows, float32 [rows].</param>
    /// <param name="entropies">Of the rows, float32 [rows].</param>
    /// <exception cref="ArgumentException">The loss is not one float32 number.</exception>
    internal ObjectiveGraph(Graph graph, Objective objective, Value logProbabilities, Value entropies)
    {
        _rows = (int)logProbabilities.Shape.ElementCount;
        Graph = graph;
        LogProbabilities = logProbabilities;
        Entropies = entropies;
        Weights = AddInput("weights", sample => sample.Weights);
        Loss = objective.AppendLoss(this);
        if (Loss.Type != TensorType.Float32(1))
        {
            throw new ArgumentException(
                $"The loss of {objective.GetType().Name} must be one number, {TensorType.Float32(1)}, not " +
                $"{Loss.Type}: sum it over the rows.", nameof(objective));
        }

        graph.Output("loss", Loss);
    }

    /// <summary>Takes the nodes of the loss.</summary>
    public Graph Graph { get; }

    /// <summary>
    /// The log-probability of each token under the model, at the objective's temperature; float32 [rows], nats.
    /// </summary>
    public Value LogProbabilities { get; }

    /// <summary>
    /// The entropy of the distribution that each token was scored in; float32 [rows], nats. It has a gradient too.
    /// </summary>
    public Value Entropies { get; }

    /// <summary>The weight of each token, <see cref="TrainingSample.Weights"/>; float32 [rows], 0 in padding.</summary>
    public Value Weights { get; }

    internal Value Loss { get; }

    /// <summary>Declares a number for each row.</summary>
    /// <param name="name">In listings and errors.</param>
    /// <param name="read">Gives the numbers of a sample, one for each of its completion tokens; null for zeros.</param>
    /// <returns>float32 [rows]; 0 in padding.</returns>
    public Value AddInput(string name, Func<TrainingSample, float[]?> read)
    {
        ArgumentNullException.ThrowIfNull(read);
        Value input = Graph.Input(name, TensorType.Float32(_rows));
        _inputs.Add((input, name, read));
        return input;
    }

    /// <summary>Declares to which sample each row belongs.</summary>
    /// <returns>int32 [rows]: numbers of the pass's samples from 0; −1 in padding.</returns>
    public Value AddSequences() => _sequences ??= Graph.Input("sequences", TensorType.Int32(_rows));

    /// <summary>Says what the policy loss found beside its value.</summary>
    internal void ReportPolicy(Value clippedTokens, Value kl, Value maximumLogRatio)
    {
        _policy = (clippedTokens, kl, maximumLogRatio);
        Graph.Output("clipped_tokens", clippedTokens);
        Graph.Output("kl", kl);
        Graph.Output("maximum_log_ratio", maximumLogRatio);
    }

    /// <summary>Fills the inputs.</summary>
    internal void Write(Executor executor, IReadOnlyList<TrainingSample> samples)
    {
        var rows = new float[_rows];
        foreach ((Value input, string name, Func<TrainingSample, float[]?> read) in _inputs)
        {
            Array.Clear(rows);
            int first = 0;
            foreach (TrainingSample sample in samples)
            {
                if (read(sample) is { } values)
                {
                    sample.CheckRows(values, name);
                    values.CopyTo(rows, first);
                }

                first += sample.CompletionLength;
            }

            executor.Write<float>(input, rows);
        }

        if (_sequences is null)
            return;
        int[] sequences = new int[_rows];
        Array.Fill(sequences, -1);
        int next = 0;
        for (int index = 0; index < samples.Count; index++)
        {
            Array.Fill(sequences, index, next, samples[index].CompletionLength);
            next += samples[index].CompletionLength;
        }

        executor.Write<int>(_sequences, sequences);
    }

    /// <summary>Reads the loss and what the policy loss found beside it.</summary>
    internal (float Loss, int ClippedTokens, float Kl, float MaximumLogRatio) Read(Executor executor)
    {
        float loss = executor.Read<float>(Loss)[0];
        return _policy is { } policy
            ? (loss, executor.Read<int>(policy.ClippedTokens)[0], executor.Read<float>(policy.Kl)[0],
                executor.Read<float>(policy.MaximumLogRatio)[0])
            : (loss, 0, 0, 0);
    }

    /// <summary>Cuts rows into those of each sample.</summary>
    internal static float[][] Split(float[] rows, IReadOnlyList<TrainingSample> samples)
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
