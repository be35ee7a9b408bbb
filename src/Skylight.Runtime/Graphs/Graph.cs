using System.Globalization;
using System.Text;
using Skylight.Tensors;

namespace Skylight.Graphs;

/// <summary>
/// A computation on tensors of known shapes: a list of nodes in the order in which they run. A model writes its forward
/// pass into a graph; <see cref="Differentiation"/> appends the backward pass; a planner turns the whole into steps.
/// </summary>
public sealed class Graph
{
    private readonly List<Value> _inputs = [];
    private readonly List<(string Name, Value Value)> _outputs = [];
    private readonly Dictionary<PersistentTensor, Value> _persistent = [];
    private readonly Dictionary<Value, int[]> _constants = [];
    private readonly List<string> _scopes = [];
    private int _nextValue;
    private int _nextRecomputeScope;
    private int _recomputeScope = -1;

    /// <summary>The nodes in the order in which they run.</summary>
    public IReadOnlyList<Node> Nodes => NodeList;

    internal List<Node> NodeList { get; private set; } = [];

    /// <summary>What is written before every run: what the caller gives, and <see cref="Constants"/>.</summary>
    public IReadOnlyList<Value> Inputs => _inputs;

    /// <summary>
    /// Those of <see cref="Inputs"/> whose elements are part of the graph: an executor writes them itself.
    /// </summary>
    public IReadOnlyDictionary<Value, int[]> Constants => _constants;

    /// <summary>What the caller can read after a run.</summary>
    public IReadOnlyList<(string Name, Value Value)> Outputs => _outputs;

    /// <summary>The persistent tensors that the graph reads or changes.</summary>
    public IReadOnlyCollection<Value> PersistentValues => _persistent.Values;

    /// <summary>Declares a value that the caller gives at every run.</summary>
    public Value Input(string name, TensorType type)
    {
        var value = new Value(this, _nextValue++, ValueKind.Input, name, type);
        _inputs.Add(value);
        return value;
    }

    /// <summary>Declares int32 data that is part of the graph itself, such as where fixed-size sequences start.</summary>
    public Value Constant(string name, int[] elements)
    {
        ArgumentNullException.ThrowIfNull(elements);
        Value value = Input(name, TensorType.Int32(elements.Length));
        _constants.Add(value, [.. elements]);
        return value;
    }

    /// <summary>Refers to a tensor that lives on the device. The same tensor always gives the same value.</summary>
    public Value Persistent(PersistentTensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (!_persistent.TryGetValue(tensor, out Value? value))
        {
            value = new Value(this, _nextValue++, ValueKind.Persistent, tensor.Name, tensor.Type, persistent: tensor);
            _persistent.Add(tensor, value);
        }

        return value;
    }

    /// <summary>Appends a node.</summary>
    /// <param name="op">What to compute.</param>
    /// <param name="inputs">What it reads; values of this graph.</param>
    /// <returns>The outputs of the node.</returns>
    /// <exception cref="GraphException">The op cannot work on these inputs.</exception>
    public IReadOnlyList<Value> AddNode(Op op, params ReadOnlySpan<Value> inputs)
    {
        ArgumentNullException.ThrowIfNull(op);
        Value[] inputArray = inputs.ToArray();
        foreach (Value input in inputArray)
        {
            if (input is null)
                throw new GraphException($"{op.Name}: an input is null.");
            if (input.Graph != this)
                throw new GraphException($"{op.Name}: input {input} belongs to another graph.");
        }

        IReadOnlyList<TensorType> outputTypes = op.Infer([.. inputArray.Select(value => value.Type)]);
        foreach (int mutated in op.MutatedInputs)
        {
            if (inputArray[mutated].Kind != ValueKind.Persistent)
                throw new GraphException(
                    $"{op.Name}: it changes input {mutated} ({inputArray[mutated]}), so that must be a persistent tensor.");
        }

        var node = new Node(NodeList.Count, op, inputArray, _recomputeScope, string.Join('.', _scopes));
        var outputs = new Value[outputTypes.Count];
        for (int index = 0; index < outputs.Length; index++)
            outputs[index] = new Value(this, _nextValue++, ValueKind.Computed, op.Name, outputTypes[index], node, index);
        node.Outputs = outputs;
        NodeList.Add(node);
        return outputs;
    }

    /// <summary>Appends a node with one output.</summary>
    /// <returns>That output.</returns>
    /// <exception cref="GraphException">The op cannot work on these inputs.</exception>
    public Value Add(Op op, params ReadOnlySpan<Value> inputs) => AddNode(op, inputs)[0];

    /// <summary>Names a value that the caller wants to read after a run.</summary>
    public void Output(string name, Value value)
    {
        ArgumentNullException.ThrowIfNull(value);
        if (value.Graph != this)
            throw new GraphException($"Output '{name}': {value} belongs to another graph.");
        if (_outputs.Any(output => output.Name == name))
            throw new GraphException($"Output '{name}' is declared twice.");
        _outputs.Add((name, value));
    }

    /// <summary>The output of a name.</summary>
    /// <exception cref="GraphException">There is none.</exception>
    public Value OutputNamed(string name)
    {
        foreach ((string outputName, Value value) in _outputs)
        {
            if (outputName == name)
                return value;
        }

        throw new GraphException(
            $"The graph has no output '{name}'. It has: {string.Join(", ", _outputs.Select(output => output.Name))}.");
    }

    /// <summary>Names the module whose nodes follow, until disposed; for listings only.</summary>
    public IDisposable Scope(string name)
    {
        _scopes.Add(name);
        return new Restore(() => _scopes.RemoveAt(_scopes.Count - 1));
    }

    /// <summary>
    /// Marks the nodes that follow, until disposed, to be recomputed in the backward pass: only what enters the region is
    /// kept, everything inside is computed again (activation checkpointing). Bits do not change, memory and time do.
    /// </summary>
    public IDisposable Recompute()
    {
        if (_recomputeScope >= 0)
            throw new GraphException("Recomputation regions cannot be nested.");
        _recomputeScope = _nextRecomputeScope++;
        return new Restore(() => _recomputeScope = -1);
    }

    /// <summary>Replaces every use of a value in later nodes and in the outputs.</summary>
    internal void ReplaceUses(Value old, Value replacement, int fromNode)
    {
        for (int index = fromNode; index < NodeList.Count; index++)
        {
            Node node = NodeList[index];
            if (node.Inputs.Contains(old))
                node.Inputs = [.. node.Inputs.Select(input => input == old ? replacement : input)];
        }

        for (int index = 0; index < _outputs.Count; index++)
        {
            if (_outputs[index].Value == old)
                _outputs[index] = (_outputs[index].Name, replacement);
        }
    }

    /// <summary>Replaces nodes by one new node that stands where the last of them stood.</summary>
    internal void ReplaceNodes(IReadOnlyCollection<Node> removed, Op op, IReadOnlyList<Value> inputs,
        IReadOnlyList<Value> outputs)
    {
        Node last = removed.MaxBy(node => node.Index)!;
        var fused = new Node(last.Index, op, [.. inputs], last.RecomputeScope, last.ScopeName) { Outputs = [.. outputs] };
        for (int index = 0; index < outputs.Count; index++)
        {
            outputs[index].Producer = fused;
            outputs[index].OutputIndex = index;
            outputs[index].Name = op.Name;
        }

        NodeList[last.Index] = fused;
        NodeList.RemoveAll(node => node != fused && removed.Contains(node));
        for (int index = 0; index < NodeList.Count; index++)
            NodeList[index].Index = index;
    }

    /// <summary>The total cost of all nodes.</summary>
    public OpCost Cost()
    {
        var total = new OpCost();
        foreach (Node node in NodeList)
            total += node.Cost;
        return total;
    }

    /// <summary>A readable listing: inputs, nodes with their types, outputs.</summary>
    public string Print()
    {
        var text = new StringBuilder();
        foreach (Value input in _inputs)
            text.Append(CultureInfo.InvariantCulture, $"input      {input}\n");
        foreach (Value persistent in _persistent.Values)
            text.Append(CultureInfo.InvariantCulture, $"persistent {persistent}\n");
        foreach (Node node in NodeList)
        {
            string results = string.Join(", ", node.Outputs.Select(output => $"%{output.Id}: {output.Type}"));
            string arguments = string.Join(", ", node.Inputs.Select(input => $"%{input.Id}"));
            string scope = node.ScopeName.Length > 0 ? $"  # {node.ScopeName}" : "";
            text.Append(CultureInfo.InvariantCulture,
                $"{(results.Length > 0 ? results + " = " : "")}{node.Op.Name}({arguments}){scope}\n");
        }

        foreach ((string name, Value value) in _outputs)
            text.Append(CultureInfo.InvariantCulture, $"output     {name} = %{value.Id}\n");
        return text.ToString();
    }

    private sealed class Restore(Action action) : IDisposable
    {
        private Action? _action = action;

        public void Dispose()
        {
            _action?.Invoke();
            _action = null;
        }
    }
}
