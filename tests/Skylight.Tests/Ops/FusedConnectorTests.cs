using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Tests.Ops;

/// <summary>The fused connector against the five ops it replaces: the same bits forward, the same gradients.</summary>
public class FusedConnectorTests
{
    private const int GridHeight = 4;
    private const int GridWidth = 6;

    [Theory]
    [InlineData(DataType.Float32)]
    [InlineData(DataType.BFloat16)]
    public void Values_and_gradients_are_those_of_the_plain_ops(DataType weights)
    {
        (float[][] fused, Graph fusedGraph) = Run(weights, fuse: true);
        (float[][] plain, Graph plainGraph) = Run(weights, fuse: false);

        Assert.Contains(fusedGraph.Nodes, node => node.Op is FusedConnector);
        Assert.DoesNotContain(plainGraph.Nodes, node => node.Op is FusedConnector);
        Assert.Equal(plain.Length, fused.Length);
        for (int index = 0; index < plain.Length; index++)
        {
            Assert.Contains(plain[index], value => value != 0);
            Assert.Equal(plain[index], fused[index]);
        }
    }

    [Fact]
    public void Frozen_inputs_get_no_backward_nodes()
    {
        (_, Graph graph) = Run(DataType.Float32, fuse: true, onlySecondBias: true);
        Assert.DoesNotContain(graph.Nodes, node => node.Op is MatMulWeightGradient or MatMulInputGradient
            or GeluBackward or LayerNormBackward or PixelShuffleBackward);
    }

    private static (float[][] Results, Graph Graph) Run(DataType weights, bool fuse, bool onlySecondBias = false)
    {
        const int vision = 10, hidden = 36;
        Operand[] operands =
        [
            Operand.Normal(2 * (1 + GridHeight * GridWidth), vision), Operand.Normal(4 * vision), Operand.Normal(4 * vision),
            Operand.Weight(weights, hidden, 4 * vision), Operand.Normal(hidden),
            Operand.Weight(weights, hidden, hidden), Operand.Normal(hidden),
        ];
        using var device = new CpuDevice();
        using var workspace = new Workspace(device);
        var graph = new Graph();
        var tensors = new PersistentTensor[operands.Length];
        for (int index = 0; index < operands.Length; index++)
        {
            tensors[index] = new PersistentTensor($"operand{index}", operands[index].Type);
            device.Bind(tensors[index]);
            PersistentTensors.Write(device, tensors[index], (float[])operands[index].Fill(index + 1));
        }

        Value[] inputs = [.. tensors.Select(graph.Persistent)];
        Value normalized = graph.Add(new LayerNorm(1e-5f),
            graph.Add(new PixelShuffle(GridHeight, GridWidth), inputs[0]), inputs[1], inputs[2]);
        Value activated = graph.Add(new Gelu(), graph.Add(new MatMul(), normalized, inputs[3], inputs[4]));
        Value output = graph.Add(new MatMul(), activated, inputs[5], inputs[6]);
        Value loss = graph.Add(new Sum(), graph.Add(new Multiply(), output, output));
        graph.Output("output", output);
        if (fuse)
            Assert.Equal(1, graph.Fuse(FusionRules.All));
        Value[] wanted = onlySecondBias ? [inputs[6]] : inputs;
        IReadOnlyDictionary<Value, Value> gradients = graph.Differentiate(loss, wanted, graph.Add(new One()), new Add());
        foreach (Value value in wanted)
            graph.Output($"gradient {value.Name}", gradients[value]);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        executor.Run();
        return ([.. graph.Outputs.Select(result => executor.Read<float>(result.Value))], graph);
    }
}
