using Skylight.Tensors;

namespace Skylight.Graphs;

/// <summary>Where a value comes from.</summary>
public enum ValueKind
{
    /// <summary>Given anew by the caller at every run.</summary>
    Input,

    /// <summary>A tensor that lives on the device between runs: a parameter, optimizer state, a key-value cache.</summary>
    Persistent,

    /// <summary>Computed by a node.</summary>
    Computed,
}

/// <summary>A tensor in a graph: the edge between nodes.</summary>
public sealed class Value
{
    internal Value(Graph graph, int id, ValueKind kind, string name, TensorType type, Node? producer = null,
        int outputIndex = 0, PersistentTensor? persistent = null)
    {
        Graph = graph;
        Id = id;
        Kind = kind;
        Name = name;
        Type = type;
        Producer = producer;
        OutputIndex = outputIndex;
        Persistent = persistent;
    }

    /// <summary>The graph this value belongs to.</summary>
    public Graph Graph { get; }

    /// <summary>A number unique in the graph, in order of creation.</summary>
    public int Id { get; }

    /// <summary>Where the value comes from.</summary>
    public ValueKind Kind { get; }

    /// <summary>The name in listings and errors.</summary>
    public string Name { get; internal set; }

    /// <summary>Element type, shape and storage.</summary>
    public TensorType Type { get; }

    /// <summary>The extents.</summary>
    public Shape Shape => Type.Shape;

    /// <summary>The node that computes it; null for inputs and persistent tensors.</summary>
    public Node? Producer { get; internal set; }

    /// <summary>Which output of <see cref="Producer"/> it is.</summary>
    public int OutputIndex { get; internal set; }

    /// <summary>The persistent tensor behind it; null for others.</summary>
    public PersistentTensor? Persistent { get; }

    /// <inheritdoc/>
    public override string ToString() => $"%{Id} {Name}: {Type}";
}

/// <summary>One use of an op in a graph.</summary>
public sealed class Node
{
    internal Node(int index, Op op, Value[] inputs, int recomputeScope, string scopeName)
    {
        Index = index;
        Op = op;
        Inputs = inputs;
        RecomputeScope = recomputeScope;
        ScopeName = scopeName;
    }

    /// <summary>The position in the graph; nodes run in this order.</summary>
    public int Index { get; internal set; }

    /// <summary>What is computed.</summary>
    public Op Op { get; }

    /// <summary>What it reads.</summary>
    public IReadOnlyList<Value> Inputs { get; internal set; }

    /// <summary>What it makes.</summary>
    public IReadOnlyList<Value> Outputs { get; internal set; } = [];

    /// <summary>The recomputation scope the node was made in; −1 for none. See <see cref="Graph.Recompute"/>.</summary>
    public int RecomputeScope { get; }

    /// <summary>The name of the module the node was made in, for listings.</summary>
    public string ScopeName { get; }

    /// <summary>The types of <see cref="Inputs"/>.</summary>
    public TensorType[] InputTypes => [.. Inputs.Select(value => value.Type)];

    /// <summary>The types of <see cref="Outputs"/>.</summary>
    public TensorType[] OutputTypes => [.. Outputs.Select(value => value.Type)];

    /// <summary>What the node costs.</summary>
    public OpCost Cost => Op.Cost(InputTypes, OutputTypes);
}
