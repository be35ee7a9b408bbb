namespace Skylight.Graphs;

/// <summary>A rule that replaces a small pattern of nodes by one fused op which computes the same.</summary>
public abstract class FusionRule
{
    /// <summary>The name in listings and errors.</summary>
    public abstract string Name { get; }

    /// <summary>Looks for the pattern whose last node this is.</summary>
    /// <param name="node">The candidate for the last node of the pattern.</param>
    /// <param name="uses">Who reads each value.</param>
    /// <returns>What to replace by what; null where the pattern does not match.</returns>
    public abstract FusionMatch? Match(Node node, ValueUses uses);
}

/// <summary>A pattern that was found.</summary>
/// <param name="Removed">The nodes that go.</param>
/// <param name="Op">The fused op that comes in their place.</param>
/// <param name="Inputs">What it reads.</param>
/// <param name="Outputs">The values of the removed nodes that it now makes, in the order of its outputs.</param>
public sealed record FusionMatch(IReadOnlyList<Node> Removed, Op Op, IReadOnlyList<Value> Inputs,
    IReadOnlyList<Value> Outputs);

/// <summary>Who reads each value of a graph.</summary>
public sealed class ValueUses
{
    private readonly Dictionary<Value, List<Node>> _readers = [];
    private readonly HashSet<Value> _outputs;

    internal ValueUses(Graph graph)
    {
        _outputs = [.. graph.Outputs.Select(output => output.Value)];
        foreach (Node node in graph.Nodes)
        {
            foreach (Value input in node.Inputs)
            {
                if (!_readers.TryGetValue(input, out List<Node>? readers))
                    _readers.Add(input, readers = []);
                readers.Add(node);
            }
        }
    }

    /// <summary>The nodes that read a value.</summary>
    public IReadOnlyList<Node> Readers(Value value) => _readers.TryGetValue(value, out List<Node>? readers) ? readers : [];

    /// <summary>Whether one node alone reads the value and the caller does not.</summary>
    public bool OnlyReadBy(Value value, Node reader) => !_outputs.Contains(value)
        && Readers(value).All(node => node == reader);
}

/// <summary>Applies fusion rules to a graph.</summary>
public static class Fusion
{
    /// <summary>
    /// Replaces every pattern that a rule finds. Rules of ops with a gradient belong after the forward pass is written and
    /// before <see cref="Differentiation.Differentiate"/>, so that the fused op's own gradient is used; those of ops without
    /// one belong after it.
    /// </summary>
    /// <returns>How many patterns were replaced.</returns>
    public static int Fuse(this Graph graph, IReadOnlyList<FusionRule> rules)
    {
        ArgumentNullException.ThrowIfNull(graph);
        int replaced = 0;
        foreach (FusionRule rule in rules)
        {
            var uses = new ValueUses(graph);
            for (int index = 0; index < graph.NodeList.Count; index++)
            {
                if (rule.Match(graph.NodeList[index], uses) is not { } match)
                    continue;
                if (match.Removed.Any(node => node.RecomputeScope != match.Removed[0].RecomputeScope))
                    continue;
                graph.ReplaceNodes(match.Removed, match.Op, match.Inputs, match.Outputs);
                uses = new ValueUses(graph);
                replaced++;
                index = Math.Max(-1, index - match.Removed.Count);
            }
        }

        return replaced;
    }
}
