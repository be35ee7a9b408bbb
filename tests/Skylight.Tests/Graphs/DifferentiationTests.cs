using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Tests.Graphs;

public class DifferentiationTests
{
    private const int Columns = 8;

    [Fact]
    public void Gradients_of_a_value_that_is_read_twice_add_up()
    {
        var graph = new Graph();
        Value x = graph.Input("x", TensorType.Float32(3));
        // x² + 3x → 2x + 3
        Value loss = graph.Add(new Sum(),
            graph.Add(new Add(), graph.Add(new Multiply(), x, x), graph.Add(new Scale(3f), x)));
        graph.Output("gradient", graph.Differentiate(loss, [x], graph.Add(new One()), new Add())[x]);
        Assert.Equal([5f, -1f, 3f], Run(graph, [(x, [1f, -2f, 0f])])[0]);
    }

    [Fact]
    public void Frozen_parameters_get_no_nodes()
    {
        (Graph graph, Value loss, PersistentTensor[] weights) = Layers(4, recomputed: false);
        int forward = graph.Nodes.Count;
        // Only the last layer is trained: nothing of the other three may be differentiated.
        IReadOnlyDictionary<Value, Value> gradients = graph.Differentiate(loss, [graph.Persistent(weights[^1])],
            graph.Add(new One()), new Add());
        Assert.Equal([graph.Persistent(weights[^1])], gradients.Keys);
        IEnumerable<Node> backward = graph.Nodes.Skip(forward);
        Assert.Equal(1, backward.Count(node => node.Op is MatMulWeightGradient));
        Assert.DoesNotContain(backward, node => node.Op is MatMulInputGradient);
        Assert.Equal(1, backward.Count(node => node.Op is SiluBackward));
    }

    [Fact]
    public void What_the_loss_does_not_depend_on_is_absent()
    {
        var graph = new Graph();
        Value x = graph.Input("x", TensorType.Float32(3)), unused = graph.Input("unused", TensorType.Float32(3)),
            later = graph.Input("later", TensorType.Float32(1));
        Value loss = graph.Add(new Sum(), x);
        graph.Add(new Add(), loss, later);
        IReadOnlyDictionary<Value, Value> gradients = graph.Differentiate(loss, [x, unused, later],
            graph.Add(new One()), new Add());
        Assert.Equal([x], gradients.Keys);
        int nodes = graph.Nodes.Count;
        Assert.Empty(graph.Differentiate(loss, [unused], later, new Add()));
        Assert.Equal(nodes, graph.Nodes.Count);
    }

    [Fact]
    public void A_gradient_is_handed_over_once_and_as_soon_as_it_is_complete()
    {
        (Graph graph, Value loss, PersistentTensor[] weights) = Layers(4, recomputed: false);
        var handed = new List<(Value Weight, Value Gradient, int At)>();
        Value[] wanted = [.. weights.Select(graph.Persistent)];
        IReadOnlyDictionary<Value, Value> gradients = graph.Differentiate(
            loss, wanted, graph.Add(new One()), new Add(),
            (weight, gradient) => handed.Add((weight, gradient, graph.Nodes.Count)));
        Assert.Equal(wanted.Reverse(), handed.Select(one => one.Weight));
        Assert.All(handed, one => Assert.Same(gradients[one.Weight], one.Gradient));
        // Each before the nodes of the layers below it.
        Assert.Equal(handed.Select(one => one.At).Distinct().Order(), handed.Select(one => one.At));
    }

    [Fact]
    public void The_gradient_of_a_value_that_is_read_twice_is_handed_over_after_the_last_addition()
    {
        var graph = new Graph();
        Value x = graph.Input("x", TensorType.Float32(3));
        Value loss = graph.Add(new Sum(),
            graph.Add(new Add(), graph.Add(new Multiply(), x, x), graph.Add(new Scale(3f), x)));
        var handed = new List<Value>();
        IReadOnlyDictionary<Value, Value> gradients = graph.Differentiate(loss, [x], graph.Add(new One()), new Add(),
            (_, gradient) => handed.Add(gradient));
        Assert.Equal([gradients[x]], handed);
    }

    [Fact]
    public void Only_scalars_can_be_differentiated()
    {
        var graph = new Graph();
        Value x = graph.Input("x", TensorType.Float32(2));
        Value y = graph.Add(new Silu(), x);
        Assert.Contains("scalar", Assert.Throws<GraphException>(() => graph.Differentiate(y, [x], y, new Add()))
            .Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Recomputation_gives_the_same_bits_in_less_memory()
    {
        (float[][] kept, Plan keptPlan) = Train(recomputed: false);
        (float[][] recomputed, Plan recomputedPlan) = Train(recomputed: true);
        Assert.Equal(kept, recomputed);
        Assert.Contains(kept, gradient => gradient.Any(value => value != 0));
        Assert.True(recomputedPlan.PeakBytes < keptPlan.PeakBytes * 0.7,
            $"peak {recomputedPlan.PeakBytes} with recomputation, {keptPlan.PeakBytes} without");
        Assert.True(recomputedPlan.Steps.Count > keptPlan.Steps.Count);
    }

    private static (float[][] Gradients, Plan Plan) Train(bool recomputed)
    {
        (Graph graph, Value loss, PersistentTensor[] weights) = Layers(6, recomputed);
        Value[] wanted = [.. weights.Select(graph.Persistent)];
        IReadOnlyDictionary<Value, Value> gradients = graph.Differentiate(loss, wanted, graph.Add(new One()), new Add());
        for (int index = 0; index < wanted.Length; index++)
            graph.Output($"gradient{index}", gradients[wanted[index]]);
        graph.Output("loss", loss);
        using var device = new CpuDevice();
        for (int index = 0; index < weights.Length; index++)
        {
            device.Bind(weights[index]);
            device.Upload(System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(
                Ops.Numbers.Random(index, Columns * Columns)), weights[index].Tensor);
        }

        Plan plan = Planner.Plan(graph, device);
        using var workspace = new Workspace(device);
        var executor = new Executor(plan, workspace);
        executor.Write<float>(graph.Inputs[0], Ops.Numbers.Random(99, 512 * Columns));
        executor.Run();
        return ([.. graph.Outputs.Select(output => executor.Read<float>(output.Value))], plan);
    }

    /// <summary>Layers of a matrix product and a chain of activations, each marked for recomputation if wanted.</summary>
    private static (Graph Graph, Value Loss, PersistentTensor[] Weights) Layers(int count, bool recomputed)
    {
        var graph = new Graph();
        Value x = graph.Input("x", TensorType.Float32(512, Columns));
        var weights = new PersistentTensor[count];
        for (int layer = 0; layer < count; layer++)
        {
            weights[layer] = new PersistentTensor($"weight{layer}",
                new TensorType(DataType.Float32, new Shape(Columns, Columns), Storage.Weight));
            using IDisposable? region = recomputed ? graph.Recompute() : null;
            Value inner = graph.Add(new MatMul(), x, graph.Persistent(weights[layer]));
            x = graph.Add(new Add(), x, graph.Add(new Silu(), inner));
            if (layer == count - 1)
                continue;
            for (int repeat = 0; repeat < 3; repeat++)
                x = graph.Add(new Gelu(), graph.Add(new Scale(1.1f), x));
        }

        return (graph, graph.Add(new Sum(), graph.Add(new Multiply(), x, x)), weights);
    }

    private static float[][] Run(Graph graph, (Value Input, float[] Data)[] inputs)
    {
        using var device = new CpuDevice();
        using var workspace = new Workspace(device);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        foreach ((Value input, float[] data) in inputs)
            executor.Write<float>(input, data);
        executor.Run();
        return [.. graph.Outputs.Select(output => executor.Read<float>(output.Value))];
    }
}
