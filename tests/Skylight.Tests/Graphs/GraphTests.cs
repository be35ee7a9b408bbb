using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Tests.Graphs;

public class GraphTests
{
    private static readonly TensorType Type = TensorType.Float32(2, 3);

    [Fact]
    public void Values_of_another_graph_are_refused()
    {
        Graph one = new(), other = new();
        Value mine = one.Input("mine", Type), foreign = other.Input("foreign", Type);
        Assert.Contains("Add: input %0 foreign: f32[2, 3] belongs to another graph",
            Error(() => one.Add(new Add(), mine, foreign)), StringComparison.Ordinal);
        Assert.Contains("another graph", Error(() => one.Output("y", foreign)), StringComparison.Ordinal);
        Assert.Empty(one.Nodes);
    }

    [Fact]
    public void Null_inputs_are_refused() =>
        Assert.Contains("Silu: an input is null", Error(() => new Graph().Add(new Silu(), (Value)null!)),
            StringComparison.Ordinal);

    [Fact]
    public void Errors_show_what_was_found()
    {
        var graph = new Graph();
        string message = Error(
            () => graph.Add(new Add(), graph.Input("a", Type), graph.Input("b", TensorType.Float32(3, 2))));
        Assert.Contains("Add: both inputs must be of one type", message, StringComparison.Ordinal);
        Assert.Contains("f32[2, 3], f32[3, 2]", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Output_names_are_unique_and_found()
    {
        var graph = new Graph();
        Value x = graph.Input("x", Type);
        graph.Output("y", x);
        Assert.Same(x, graph.OutputNamed("y"));
        Assert.Contains("'y' is declared twice", Error(() => graph.Output("y", x)), StringComparison.Ordinal);
        Assert.Contains("no output 'z'. It has: y", Error(() => graph.OutputNamed("z")), StringComparison.Ordinal);
    }

    [Fact]
    public void A_persistent_tensor_is_one_value()
    {
        var graph = new Graph();
        var weight = new PersistentTensor("weight", Type);
        Assert.Same(graph.Persistent(weight), graph.Persistent(weight));
        Assert.Contains("'weight' (f32[2, 3]) has no memory",
            Assert.Throws<InvalidOperationException>(() => weight.Tensor).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Only_persistent_tensors_can_be_changed()
    {
        var graph = new Graph();
        Value x = graph.Input("x", Type);
        Assert.Contains("Clear: it changes input 0", Error(() => graph.AddNode(new Clear(), x)), StringComparison.Ordinal);
    }

    [Fact]
    public void Recompute_regions_do_not_nest()
    {
        var graph = new Graph();
        using IDisposable region = graph.Recompute();
        Assert.Contains("nested", Error(() => graph.Recompute()), StringComparison.Ordinal);
    }

    [Fact]
    public void Print_lists_everything()
    {
        var graph = new Graph();
        Value x = graph.Input("tokens", Type),
            weight = graph.Persistent(new PersistentTensor("norm.weight", TensorType.Float32(3)));
        using (graph.Scope("layer"))
        using (graph.Scope("norm"))
            graph.Output("result", graph.Add(new RmsNorm(1e-6f), x, weight));
        Assert.Equal(
            """
            input      %0 tokens: f32[2, 3]
            persistent %1 norm.weight: f32[3]
            %2: f32[2, 3] = RmsNorm(%0, %1)  # layer.norm
            output     result = %2

            """,
            graph.Print());
    }

    [Fact]
    public void Cost_is_the_sum_over_nodes()
    {
        var graph = new Graph();
        Value x = graph.Input("x", Type);
        graph.Add(new Add(), graph.Add(new Add(), x, x), x);
        Assert.Equal(new OpCost(12, 2 * 3 * 24), graph.Cost());
    }

    private static string Error(Action action) => Assert.Throws<GraphException>(action).Message;
}
