using Skylight.Tensors;

namespace Skylight.Graphs;

/// <summary>What an op needs to append its backward nodes.</summary>
public sealed class GradientContext
{
    private readonly bool[] _needed;

    internal GradientContext(Graph graph, IReadOnlyList<Value> inputs, IReadOnlyList<Value> outputs,
        IReadOnlyList<Value?> outputGradients, bool[] needed)
    {
        Graph = graph;
        Inputs = inputs;
        Outputs = outputs;
        OutputGradients = outputGradients;
        _needed = needed;
    }

    /// <summary>The graph to append to.</summary>
    public Graph Graph { get; }

    /// <summary>The inputs of the node (recomputed ones where the region is marked so).</summary>
    public IReadOnlyList<Value> Inputs { get; }

    /// <summary>The outputs of the node (recomputed ones where the region is marked so).</summary>
    public IReadOnlyList<Value> Outputs { get; }

    /// <summary>The gradients of the outputs; null where nothing depends on the output.</summary>
    public IReadOnlyList<Value?> OutputGradients { get; }

    /// <summary>The gradient of an output.</summary>
    /// <exception cref="GraphException">Nothing depends on that output.</exception>
    public Value OutputGradient(int output) =>
        OutputGradients[output] ?? throw new GraphException(
            $"Output {output} of the node has no gradient: nothing that is differentiated depends on it.");

    /// <summary>Whether the gradient of an input is wanted.</summary>
    public bool Needs(int input) => _needed[input];

    /// <summary>As many nulls as there are inputs, to be filled in.</summary>
    public Value?[] NoGradients() => new Value?[Inputs.Count];
}

/// <summary>Reverse-mode differentiation: appends backward nodes to a graph.</summary>
public static class Differentiation
{
    /// <summary>
    /// Appends the nodes that compute the gradients of a scalar. Nodes on which no wanted gradient depends are never
    /// made, so frozen parameters cost nothing. Regions marked by <see cref="Graph.Recompute"/> are computed again.
    /// </summary>
    /// <param name="graph">The graph; it grows.</param>
    /// <param name="loss">A float32 value of one element.</param>
    /// <param name="withRespectTo">The values whose gradients are wanted.</param>
    /// <param name="lossGradient">The gradient of the loss itself: a float32 value of one element.</param>
    /// <param name="sum">An op that adds two values of one type, used where a value is read several times.</param>
    /// <param name="complete">
    /// Called with each wanted value and its gradient as soon as nothing is added to it any more; may append nodes.
    /// What it does with the gradient there need not keep it until the end of the backward pass.
    /// </param>
    /// <returns>The gradients, by value. A value on which the loss does not depend is absent.</returns>
    public static IReadOnlyDictionary<Value, Value> Differentiate(
        this Graph graph, Value loss, IReadOnlyCollection<Value> withRespectTo, Value lossGradient, Op sum,
        Action<Value, Value>? complete = null)
    {
        ArgumentNullException.ThrowIfNull(graph);
        ArgumentNullException.ThrowIfNull(loss);
        ArgumentNullException.ThrowIfNull(lossGradient);
        if (loss.Type.DataType != DataType.Float32 || loss.Shape.ElementCount != 1)
            throw new GraphException($"Only a float32 scalar can be differentiated, not {loss}.");

        HashSet<Value> active = ActiveValues(graph, withRespectTo);
        var gradients = new Dictionary<Value, Value>();
        if (!active.Contains(loss))
            return gradients;
        gradients[loss] = lossGradient;
        var recomputation = new Recomputation(graph);
        int forwardCount = loss.Producer!.Index + 1;
        ILookup<int, Value> completedAt = FirstReaders(graph, withRespectTo, forwardCount);
        for (int index = forwardCount - 1; index >= 0; index--)
        {
            Node node = graph.NodeList[index];
            if (node.Outputs.Any(gradients.ContainsKey) && node.Inputs.Any(active.Contains))
                Append(node);
            foreach (Value value in completedAt[index])
            {
                if (gradients.TryGetValue(value, out Value? gradient))
                    complete?.Invoke(value, gradient);
            }
        }

        return withRespectTo.Where(gradients.ContainsKey).ToDictionary(value => value, value => gradients[value]);

        void Append(Node node)
        {
            recomputation.Enter(node, forwardCount);
            var context = new GradientContext(
                graph,
                [.. node.Inputs.Select(recomputation.Map)],
                [.. node.Outputs.Select(recomputation.Map)],
                [.. node.Outputs.Select(output => gradients.GetValueOrDefault(output))],
                [.. node.Inputs.Select(active.Contains)]);
            IReadOnlyList<Value?> inputGradients = node.Op.Gradient(context);
            for (int input = 0; input < node.Inputs.Count; input++)
            {
                if (inputGradients[input] is not { } gradient || !active.Contains(node.Inputs[input]))
                    continue;
                Value value = node.Inputs[input];
                if (gradient.Shape != value.Shape)
                    throw new GraphException(
                        $"{node.Op.Name}: the gradient of input {input} is {gradient.Type}, but the input is {value.Type}.");
                // What flows on has the type of its activation; what arrives at a parameter or an input may be float32
                // whatever that is.
                if (gradient.Type.DataType != value.Type.DataType && value.Kind == ValueKind.Computed)
                    throw new GraphException(
                        $"{node.Op.Name}: the gradient of input {input} is {gradient.Type}, but the input is " +
                        $"{value.Type}. Cast the gradient.");
                gradients[value] = gradients.TryGetValue(value, out Value? existing)
                    ? graph.Add(sum, existing, gradient) : gradient;
            }
        }
    }

    /// <summary>
    /// The values by the first node that reads them: the last that adds to their gradient, because nodes are taken
    /// backwards.
    /// </summary>
    private static ILookup<int, Value> FirstReaders(Graph graph, IReadOnlyCollection<Value> values, int nodeCount)
    {
        var first = new Dictionary<Value, int>();
        for (int index = 0; index < nodeCount; index++)
        {
            foreach (Value input in graph.NodeList[index].Inputs)
                first.TryAdd(input, index);
        }

        return values.Where(first.ContainsKey).ToLookup(value => first[value]);
    }

    /// <summary>The values that depend on something wanted: only through them do gradients flow.</summary>
    private static HashSet<Value> ActiveValues(Graph graph, IReadOnlyCollection<Value> withRespectTo)
    {
        var active = new HashSet<Value>(withRespectTo);
        foreach (Node node in graph.NodeList)
        {
            if (!node.Inputs.Any(active.Contains))
                continue;
            foreach (Value output in node.Outputs)
            {
                if (output.Type.DataType.IsFloatingPoint())
                    active.Add(output);
            }
        }

        return active;
    }

    /// <summary>Clones the nodes of marked regions when the backward pass first reaches them.</summary>
    private sealed class Recomputation(Graph graph)
    {
        private readonly Dictionary<Value, Value> _map = [];
        private readonly HashSet<int> _done = [];

        public Value Map(Value value) => _map.GetValueOrDefault(value, value);

        public void Enter(Node node, int forwardCount)
        {
            if (node.RecomputeScope < 0 || !_done.Add(node.RecomputeScope))
                return;
            for (int index = 0; index < forwardCount; index++)
            {
                Node original = graph.NodeList[index];
                if (original.RecomputeScope != node.RecomputeScope || original.Op.MutatedInputs.Count > 0)
                    continue;
                IReadOnlyList<Value> clones = graph.AddNode(original.Op, [.. original.Inputs.Select(Map)]);
                for (int output = 0; output < clones.Count; output++)
                    _map[original.Outputs[output]] = clones[output];
            }
        }
    }
}
