using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Workloads;

/// <summary>
/// A workload written into a graph of its own: forward, or with the gradients of its differentiable inputs.
/// </summary>
public sealed class WorkloadGraph
{
    private WorkloadGraph(Workload workload, Graph graph, IReadOnlyList<Value> inputs)
    {
        Workload = workload;
        Graph = graph;
        Inputs = inputs;
    }

    /// <summary>What is computed.</summary>
    public Workload Workload { get; }

    /// <summary>The nodes.</summary>
    public Graph Graph { get; }

    /// <summary>The operands, in the op's order; persistent ones have no memory yet.</summary>
    public IReadOnlyList<Value> Inputs { get; }

    /// <summary>Inputs besides the op's own: the random weights with which outputs are summed to a loss.</summary>
    public IReadOnlyList<Value> Weights { get; private init; } = [];

    /// <summary>The outputs, or the gradients, with their names.</summary>
    public IReadOnlyList<(string Name, Value Value)> Results { get; private init; } = [];

    /// <summary>The op alone.</summary>
    public static WorkloadGraph Forward(Workload workload)
    {
        ArgumentNullException.ThrowIfNull(workload);
        (Graph graph, Value[] inputs, IReadOnlyList<Value> outputs) = Declare(workload);
        return Finish(new WorkloadGraph(workload, graph,
            inputs)
        { Results = [.. outputs.Select((output, index) => ($"output {index}", output))] });
    }

    /// <summary>
    /// The op and the gradients of its differentiable inputs: of the first output and the other activations, weighted
    /// and summed. Null where the op has no gradient.
    /// </summary>
    public static WorkloadGraph? Gradients(Workload workload)
    {
        ArgumentNullException.ThrowIfNull(workload);
        int[] differentiable = [.. Enumerable.Range(0, workload.Inputs.Count)
            .Where(index => workload.Inputs[index].Differentiable)];
        (Graph graph, Value[] inputs, IReadOnlyList<Value> outputs) = Declare(workload);
        if (differentiable.Length == 0 || outputs.Count == 0 || !outputs[0].Type.DataType.IsFloatingPoint())
            return null;
        Workload half = workload.ForActivations(DataType.BFloat16);
        IReadOnlyList<TensorType> halfOutputs = half.Op.Infer([.. half.Inputs.Select(input => input.Type)]);
        int[] chosen = [.. Enumerable.Range(0, outputs.Count)
            .Where(index => index == 0 || halfOutputs[index].DataType == DataType.BFloat16)];
        if (chosen.Any(index => outputs[index].Type.Storage == Storage.Weight))
            return null;
        Value[] weights = [.. chosen.Select(index => graph.Input($"weight{index}", outputs[index].Type))];
        Value loss = chosen.Select((output, index) =>
            graph.Add(new Sum(), graph.Add(new Multiply(), outputs[output], weights[index])))
                .Aggregate((left, right) => graph.Add(new Add(), left, right));
        IReadOnlyDictionary<Value, Value> gradients;
        try
        {
            gradients = graph.Differentiate(loss, [.. differentiable.Select(index => inputs[index])],
                graph.Add(new One()), new Add());
        }
        catch (GraphException)
        {
            return null;
        }

        (string, Value)[] results = [.. differentiable.Where(index => gradients.ContainsKey(inputs[index]))
            .Select(index => ($"gradient of input {index}", gradients[inputs[index]]))];
        return results.Length == 0 ? null
            : Finish(new WorkloadGraph(workload, graph, inputs) { Weights = weights, Results = results });
    }

    private static WorkloadGraph Finish(WorkloadGraph graph)
    {
        for (int index = 0; index < graph.Results.Count; index++)
            graph.Graph.Output($"result{index}", graph.Results[index].Value);
        return graph;
    }

    private static (Graph Graph, Value[] Inputs, IReadOnlyList<Value> Outputs) Declare(Workload workload)
    {
        var graph = new Graph();
        Value[] inputs = [.. workload.Inputs.Select((operand, index) => operand.Persistent
            ? graph.Persistent(new PersistentTensor($"parameter{index}", operand.Type))
            : graph.Input($"input{index}", operand.Type))];
        return (graph, inputs, graph.AddNode(workload.Op, inputs));
    }
}
