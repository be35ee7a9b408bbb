using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Tests.Ops;

/// <summary>Every fused op against the graph it replaces: values and gradients.</summary>
public class FusionTests
{
    private const int Tokens = 6;
    private const int Hidden = 20;

    [Fact]
    public void Add_and_rms_norm() => AssertFused(nameof(AddRmsNorm), 1, (graph, inputs) =>
    {
        Value sum = graph.Add(new Add(), inputs[0], inputs[1]);
        Value normalized = graph.Add(new RmsNorm(1e-5f), sum, inputs[2]);
        return [graph.Add(new Silu(), sum), normalized];
    }, [Tokens, Hidden], [Tokens, Hidden], [Hidden]);

    [Fact]
    public void Add_and_layer_norm() => AssertFused(nameof(AddLayerNorm), 1, (graph, inputs) =>
    {
        Value sum = graph.Add(new Add(), inputs[0], inputs[1]);
        Value normalized = graph.Add(new LayerNorm(1e-5f), sum, inputs[2], inputs[3]);
        return [normalized, graph.Add(new Silu(), sum)];
    }, [Tokens, Hidden], [Tokens, Hidden], [Hidden], [Hidden]);

    [Fact]
    public void Norm_whose_sum_is_read_by_nothing_else() => AssertFused(nameof(AddRmsNorm), 1, (graph, inputs) =>
        [graph.Add(new RmsNorm(1e-5f), graph.Add(new Add(), inputs[0], inputs[1]), inputs[2])], [Tokens, Hidden],
        [Tokens, Hidden], [Hidden]);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Gated_activation(bool upFirst) => AssertFused(nameof(SwiGlu), 1, (graph, inputs) =>
    {
        IReadOnlyList<Value> halves = graph.AddNode(new SplitColumns(Hidden / 2, Hidden / 2), inputs[0]);
        Value activated = graph.Add(new Silu(), halves[0]);
        return [upFirst ? graph.Add(new Multiply(), halves[1], activated) : graph.Add(new Multiply(), activated, halves[1])];
    }, [Tokens, Hidden]);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Query_key_value_split_and_rotation(bool keyFirst) =>
        AssertFused(nameof(QkvSplitRotary), 1, (graph, inputs) =>
    {
        IReadOnlyList<Value> pieces = graph.AddNode(new SplitColumns(12, 6, 6), inputs[0]);
        Value table = graph.Add(new RotaryTable(6, 100f), graph.Constant("positions", [0, 1, 2, 3, 4, 5]));
        Value[] rotated = new Value[2];
        foreach (int index in keyFirst ? new[] { 1, 0 } : [0, 1])
            rotated[index] = graph.Add(new RotaryEmbedding(6), pieces[index], table);
        return [rotated[0], rotated[1], graph.Add(new Silu(), pieces[2])];
    }, [Tokens, 24]);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Query_key_value_split_norm_of_heads_and_rotation(bool keyFirst) =>
        AssertFused(nameof(QkvSplitNormRotary), 1, (graph, inputs) =>
    {
        Value[] rotated = NormedRotations(graph, inputs, 12, 1e-5f, keyFirst, out Value value);
        return [rotated[0], rotated[1], graph.Add(new Silu(), value)];
    }, [Tokens, 24], [6], [6]);

    [Fact]
    public void Heads_that_are_normed_otherwise_are_not_fused()
    {
        // One norm over all heads of a query; another epsilon for keys; the normed query is read by another node; only
        // keys are normed.
        AssertFused(nameof(QkvSplitNormRotary), 0,
            (graph, inputs) => [.. NormedRotations(graph, inputs, 12, 1e-5f, false, out Value value, groups: 1), value],
            [Tokens, 24], [12], [6]);
        AssertFused(nameof(QkvSplitNormRotary), 0, (graph, inputs) =>
            [.. NormedRotations(graph, inputs, 12, 1e-3f, false, out Value value), value], [Tokens, 24], [6], [6]);
        AssertFused(nameof(QkvSplitNormRotary), 0, (graph, inputs) =>
        {
            Value[] rotated = NormedRotations(graph, inputs, 12, 1e-5f, false, out Value value);
            return [.. rotated, value, graph.Add(new Silu(), rotated[0].Producer!.Inputs[0])];
        }, [Tokens, 24], [6], [6]);
        AssertFused(nameof(QkvSplitNormRotary), 0, (graph, inputs) =>
        {
            IReadOnlyList<Value> pieces = graph.AddNode(new SplitColumns(12, 6, 6), inputs[0]);
            Value table = graph.Add(new RotaryTable(6, 100f), graph.Constant("positions", [0, 1, 2, 3, 4, 5]));
            Value key = graph.Add(new RotaryEmbedding(6), graph.Add(new RmsNorm(1e-5f), pieces[1], inputs[1]), table);
            return [graph.Add(new RotaryEmbedding(6), pieces[0], table), key, pieces[2]];
        }, [Tokens, 24], [6]);
    }

    /// <summary>Two heads of queries and one of keys and values.</summary>
    private static Value[] NormedRotations(Graph graph, Value[] inputs, int queryWidth, float queryEpsilon,
        bool keyFirst, out Value value, int groups = 2)
    {
        IReadOnlyList<Value> pieces = graph.AddNode(new SplitColumns(queryWidth, 6, 6), inputs[0]);
        Value table = graph.Add(new RotaryTable(6, 100f), graph.Constant("positions", [0, 1, 2, 3, 4, 5]));
        Value[] rotated = [graph.Add(new RmsNorm(queryEpsilon, groups), pieces[0], inputs[1]),
            graph.Add(new RmsNorm(1e-5f), pieces[1], inputs[2])];
        foreach (int index in keyFirst ? new[] { 1, 0 } : [0, 1])
            rotated[index] = graph.Add(new RotaryEmbedding(6), rotated[index], table);
        value = pieces[2];
        return rotated;
    }

    [Fact]
    public void Nothing_is_fused_where_the_order_or_another_reader_forbids_it()
    {
        // The sum is read before the norm.
        AssertFused(nameof(AddRmsNorm), 0, (graph, inputs) =>
        {
            Value sum = graph.Add(new Add(), inputs[0], inputs[1]);
            Value early = graph.Add(new Silu(), sum);
            return [graph.Add(new RmsNorm(1e-5f), sum, inputs[2]), early];
        }, [Tokens, Hidden], [Tokens, Hidden], [Hidden]);
        // The gate is read by another node, and by the caller.
        AssertFused(nameof(SwiGlu), 0, (graph, inputs) =>
        {
            IReadOnlyList<Value> halves = graph.AddNode(new SplitColumns(Hidden / 2, Hidden / 2), inputs[0]);
            return [graph.Add(new Multiply(), graph.Add(new Silu(), halves[0]), halves[1]),
                graph.Add(new Scale(2f), halves[0])];
        }, [Tokens, Hidden]);
        AssertFused(nameof(SwiGlu), 0, (graph, inputs) =>
        {
            IReadOnlyList<Value> halves = graph.AddNode(new SplitColumns(Hidden / 2, Hidden / 2), inputs[0]);
            return [graph.Add(new Multiply(), graph.Add(new Silu(), halves[0]), halves[1]), halves[1]];
        }, [Tokens, Hidden]);
        // The halves are the wrong way round: up is activated.
        AssertFused(nameof(SwiGlu), 0, (graph, inputs) =>
        {
            IReadOnlyList<Value> halves = graph.AddNode(new SplitColumns(Hidden / 2, Hidden / 2), inputs[0]);
            return [graph.Add(new Multiply(), graph.Add(new Silu(), halves[1]), halves[0])];
        }, [Tokens, Hidden]);
        // Two tables.
        AssertFused(nameof(QkvSplitRotary), 0, (graph, inputs) =>
        {
            IReadOnlyList<Value> pieces = graph.AddNode(new SplitColumns(12, 6, 6), inputs[0]);
            Value positions = graph.Constant("positions", [0, 1, 2, 3, 4, 5]);
            Value query = graph.Add(new RotaryEmbedding(6), pieces[0], graph.Add(new RotaryTable(6, 100f), positions));
            Value key = graph.Add(new RotaryEmbedding(6), pieces[1], graph.Add(new RotaryTable(6, 200f), positions));
            return [query, key, pieces[2]];
        }, [Tokens, 24]);
    }

    [Theory]
    [InlineData(ProductActivation.Gelu)]
    [InlineData(ProductActivation.SwiGlu)]
    public void A_product_and_its_activation_are_one_op_where_nothing_else_reads_the_product(ProductActivation activation)
    {
        foreach (bool isDifferentiated in (bool[])[false, true])
        {
            float[][] results = [.. new[] { false, true }.Select(fuse =>
            {
                var graph = new Graph();
                Value x = graph.Input("x", TensorType.Float32(Tokens, Hidden)),
                    weight = graph.Input("weight", new TensorType(DataType.Float32, new Shape(34, Hidden), Storage.Weight)),
                    bias = graph.Input("bias", TensorType.Float32(34)),
                    product = graph.Add(new MatMul(), x, weight, bias),
                    y = graph.Add(activation == ProductActivation.Gelu ? new Gelu() : new SwiGlu(), product);
                graph.Output("y", y);
                // The backward pass reads the product.
                if (isDifferentiated)
                    graph.Output("dx", graph.Differentiate(graph.Add(new Sum(), y), [x], graph.Add(new One()), new Add())[x]);
                if (fuse)
                    Assert.Equal(isDifferentiated ? 0 : 1, graph.Fuse(FusionRules.AfterDifferentiation));
                Assert.Equal(fuse && !isDifferentiated, graph.Nodes.Any(node => node.Op is MatMulActivation));
                using var device = new CpuDevice();
                using var workspace = new Workspace(device);
                var executor = new Executor(Planner.Plan(graph, device), workspace);
                foreach (Value input in (Value[])[x, weight, bias])
                    executor.Write<float>(input, Numbers.Random(input == x ? 1 : 2, (int)input.Shape.ElementCount));
                executor.Run(TestContext.Current.CancellationToken);
                return executor.Read<float>(graph.OutputNamed("y"));
            })];
            Assert.Equal(results[0], results[1]);
        }
    }

    [Theory]
    [InlineData("nobody else", true)]
    [InlineData("output", false)]
    [InlineData("reader", false)]
    // The activation is of the unrounded product.
    [InlineData("type", false)]
    public void A_product_that_others_see_or_that_has_another_type_is_kept(string other, bool isFused)
    {
        foreach (Op activation in (Op[])[new Gelu(), new SwiGlu()])
        {
            var graph = new Graph();
            Value x = graph.Input("x", new TensorType(DataType.BFloat16, new Shape(3, 8))),
                weight = graph.Input("weight", new TensorType(DataType.BFloat16, new Shape(4, 8), Storage.Weight)),
                product = graph.Add(new MatMul(other == "type" ? DataType.Float32 : null), x, weight);
            if (other == "output")
                graph.Output("product", product);
            if (other == "reader")
                graph.Output("other", graph.Add(new Silu(), product));
            graph.Output("y", graph.Add(activation, product));
            Assert.Equal(isFused ? 1 : 0, graph.Fuse(FusionRules.AfterDifferentiation));
            Assert.Equal(isFused, graph.Nodes.Any(node => node.Op is MatMulActivation));
        }
    }

    /// <summary>Runs a graph and its fused twin, forward and backward.</summary>
    private static void AssertFused(string fusedOp, int expectedCount, Func<Graph, Value[], Value[]> build,
        params int[][] shapes)
    {
        (float[][] plain, Graph plainGraph) = Run(build, shapes, fuse: false);
        (float[][] fused, Graph fusedGraph) = Run(build, shapes, fuse: true);
        Assert.DoesNotContain(plainGraph.Nodes, node => node.Op.Name == fusedOp);
        Assert.Equal(expectedCount, fusedGraph.Nodes.Count(node => node.Op.Name == fusedOp));
        Assert.Equal(plain.Length, fused.Length);
        for (int index = 0; index < plain.Length; index++)
            Numbers.AssertClose([.. plain[index].Select(value => (double)value)], fused[index], 2e-6);
    }

    private static (float[][] Results, Graph Graph) Run(Func<Graph, Value[], Value[]> build, int[][] shapes, bool fuse)
    {
        var graph = new Graph();
        Value[] inputs = [.. shapes.Select((shape, index) => graph.Input($"input{index}", TensorType.Float32(shape)))];
        Value[] outputs = build(graph, inputs);
        for (int index = 0; index < outputs.Length; index++)
            graph.Output($"output{index}", outputs[index]);
        if (fuse)
            graph.Fuse(FusionRules.All);
        outputs = [.. Enumerable.Range(0, outputs.Length).Select(index => graph.OutputNamed($"output{index}"))];

        // The square of each output, so that gradients differ from element to element.
        Value[] terms = [.. outputs.Select(output => graph.Add(new Sum(), graph.Add(new Multiply(), output, output)))];
        Value loss = terms.Aggregate((left, right) => graph.Add(new Add(), left, right));
        IReadOnlyDictionary<Value, Value> gradients = graph.Differentiate(loss, inputs, graph.Add(new One()), new Add());
        Assert.Equal(inputs.Length, gradients.Count);
        for (int index = 0; index < inputs.Length; index++)
            graph.Output($"gradient{index}", gradients[inputs[index]]);

        using var device = new CpuDevice();
        using var workspace = new Workspace(device);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        for (int index = 0; index < inputs.Length; index++)
            executor.Write<float>(inputs[index], Numbers.Random(10 + index, (int)inputs[index].Shape.ElementCount));
        executor.Run();
        return ([.. graph.Outputs.Select(output => executor.Read<float>(output.Value))], graph);
    }
}
