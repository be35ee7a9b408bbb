using System.Runtime.InteropServices;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;
using Skylight.Tests.Execution;
using Skylight.Workloads;

namespace Skylight.Tests.Ops;

/// <summary>
/// What every op makes of bfloat16 activations: which operands may be bfloat16, what stays float32, and what is
/// refused.
/// </summary>
public sealed class BFloat16OpTests
{
    public static TheoryData<string> Tiny =>
        [.. Catalog.All.Where(workload => workload.Tiny).Select(workload => workload.Name)];

    public static TheoryData<string> Differentiable =>
        [.. Catalog.All.Where(workload => workload.Tiny && WorkloadGraph.Gradients(workload) is not null)
            .Select(workload => workload.Name)];

    [Fact]
    public void Every_workload_has_a_form_for_either_activation_type_and_back()
    {
        foreach (Workload workload in Catalog.All)
        {
            Workload half = workload.ForActivations(DataType.BFloat16), back = half.ForActivations(DataType.Float32);
            half.Op.Infer([.. half.Inputs.Select(input => input.Type)]);
            IReadOnlyList<TensorType> outputs = back.Op.Infer([.. back.Inputs.Select(input => input.Type)]);
            Assert.Equal(workload.Name, half.Name);
            Assert.DoesNotContain(outputs, output => output.DataType == DataType.BFloat16);
        }
    }

    [Theory]
    [InlineData("add/tiny", "bf16 bf16 -> bf16")]
    [InlineData("sum/tiny", "bf16 -> f32")]
    [InlineData("broadcast/tiny", "f32 -> bf16")]
    [InlineData("zeros/tiny", "-> bf16")]
    [InlineData("cast/tiny", "bf16 -> f32")]
    [InlineData("cast/tiny-to-activations", "f32 -> bf16")]
    [InlineData("swiglu/tiny", "bf16 -> bf16")]
    [InlineData("concatenate_columns/tiny", "bf16 bf16 bf16 -> bf16")]
    [InlineData("matmul/tiny", "bf16 bf16 bf16 -> bf16")]
    [InlineData("matmul/tiny-logits", "bf16 bf16 -> f32")]
    [InlineData("matmul_weight_gradient/qwen2.5-0.5b-down-1k", "bf16 bf16 -> f32")]
    [InlineData("column_sum/qwen2.5-0.5b-1k", "bf16 -> f32")]
    [InlineData("batched_matmul/tiny", "bf16 bf16 -> bf16")]
    [InlineData("add_rms_norm/tiny", "bf16 bf16 bf16 -> bf16 bf16")]
    [InlineData("add_layer_norm/tiny", "bf16 bf16 bf16 bf16 -> bf16 bf16")]
    [InlineData("embedding_lookup/tiny-weight", "bf16 i32 -> bf16")]
    [InlineData("embedding_gradient/demo-16k", "i32 bf16 -> f32")]
    [InlineData("rotary_table/tiny", "i32 -> f32")]
    [InlineData("qkv_split_rotary/tiny", "bf16 f32 -> bf16 bf16 bf16")]
    [InlineData("interpolate_positions/tiny-up", "bf16 -> f32")]
    [InlineData("add_class_token/tiny", "bf16 bf16 bf16 -> bf16")]
    [InlineData("connector/tiny", "bf16 bf16 bf16 bf16 bf16 bf16 bf16 -> bf16")]
    [InlineData("attention/tiny-causal", "bf16 bf16 bf16 i32 -> bf16 f32")]
    [InlineData("attention_backward/tiny", "bf16 bf16 bf16 bf16 f32 bf16 i32 -> bf16 bf16 bf16")]
    [InlineData("key_value_write/tiny", "bf16 bf16 bf16 bf16 i32 ->")]
    [InlineData("paged_attention/tiny", "bf16 bf16 bf16 i32 i32 i32 -> bf16")]
    [InlineData("vocabulary_head/tiny", "bf16 bf16 i32 -> f32 f32 f32 f32 f32")]
    [InlineData("vocabulary_head_backward/demo-8k", "bf16 bf16 i32 f32 f32 f32 -> bf16 f32")]
    [InlineData("log_probabilities/tiny", "f32 i32 -> f32 f32 f32 f32 f32")]
    [InlineData("logit_statistics/tiny", "f32 -> f32 f32 f32")]
    [InlineData("cross_entropy/tiny", "f32 f32 -> f32")]
    [InlineData("policy_loss/tiny", "f32 f32 f32 f32 f32 -> f32 i32 f32 f32")]
    [InlineData("adamw/tiny", "f32 f32 f32 f32 f32 f32 ->")]
    [InlineData("adamw/tiny-bf16", "bf16 f32 f32 f32 f32 f32 f32 ->")]
    [InlineData("gradient_norm/tiny", "f32 f32 -> f32 f32 i32")]
    [InlineData("accumulate/tiny", "f32 bf16 ->")]
    public void Types_are_as_listed(string name, string expected)
    {
        Workload workload = Half(name);
        TensorType[] inputs = [.. workload.Inputs.Select(input => input.Type)];
        IEnumerable<string> words = inputs.Select(Short).Append("->").Concat(workload.Op.Infer(inputs).Select(Short));
        Assert.Equal(expected, string.Join(' ', words));

        static string Short(TensorType type) => type.ToString()[..type.ToString().IndexOf('[', StringComparison.Ordinal)];
    }

    [Theory]
    [MemberData(nameof(Tiny))]
    public void Rounded_inputs_are_the_same_numbers_for_both_devices_and_results_are_close(string name)
    {
        using var rounding = new RoundingDevice();
        foreach (ParityRow row in DeviceParity.CheckForward(Catalog.All.First(workload => workload.Name == name), rounding))
            Assert.InRange(row.Error, 0, 4e-3);
    }

    [Theory]
    [MemberData(nameof(Differentiable))]
    public void Gradients_flow_in_the_type_of_activations_and_end_in_float32(string name)
    {
        WorkloadGraph graph = WorkloadGraph.Gradients(Half(name))!;
        foreach ((string label, Value gradient) in graph.Results)
        {
            int input = int.Parse(label.AsSpan(label.LastIndexOf(' ') + 1),
                System.Globalization.CultureInfo.InvariantCulture);
            Operand operand = graph.Workload.Inputs[input];
            TensorType full = operand.Type with { DataType = DataType.Float32 };
            Assert.True(gradient.Type == full || (gradient.Type == operand.Type && !operand.Persistent),
                $"The gradient of {operand.Type} is {gradient.Type}.");
        }

        using var rounding = new RoundingDevice();
        foreach (ParityRow row in DeviceParity.CheckGradients(Catalog.All.First(workload => workload.Name == name),
            rounding))
            Assert.InRange(row.Error, 0, 2e-2);
    }

    [Fact]
    public void Activations_and_weights_that_do_not_fit_together_are_refused()
    {
        TensorType half = Bf16(4, 6), full = TensorType.Float32(4, 6),
            weight = new(DataType.Float32, new Shape(6, 6), Storage.Weight);
        Refused("must have the data type of input 0 (residual)", new AddRmsNorm(1e-6f), half, full, TensorType.Float32(6));
        Refused("must have the data type of input 0 (x)", new RmsNormBackward(1e-6f), half, TensorType.Float32(6), full);
        Refused("must have the data type of input 0 (x)", new RmsNormBackward(1e-6f), half, TensorType.Float32(6), half,
            full);
        Refused("must have the data type of input 0 (x)", new GeluBackward(), full, half);
        Refused("give the model bfloat16 parameters", new MatMul(), half, weight);
        Refused("give the model bfloat16 parameters", new MatMulInputGradient(), half, weight);
        Refused("give the model bfloat16 parameters", new VocabularyHead(), half, weight, TensorType.Int32(4));
        Refused("the output can be float32 or have the data type of x, not BFloat16", new MatMul(DataType.BFloat16),
            full, weight);
        Refused("must have the data type of input 0 (x)", new MatMulWeightGradient(), half, full);
        Refused("input 0 (logits) must be Float32", new LogProbabilities(), half, TensorType.Int32(4));
        Refused("input 0 (logits) must be Float32", new LogitStatistics(), half);
        Refused("input 0 (logProbability) must be Float32", new CrossEntropy(), Bf16(4), TensorType.Float32(4));
        Refused("must have the data type of input 0 (q)", new Attention(2, 1, 3, true), half, TensorType.Float32(4, 3),
            Bf16(4, 3), TensorType.Int32(2));
        Refused("input 1 (table) must be Float32", new RotaryEmbedding(6), half, half);
        var pages = TensorType.Float32(2, 1, 32 * 3);
        Refused("must have the data type of input 0 (k)", new KeyValueWrite(1, 3), Bf16(4, 3), Bf16(4, 3), pages, pages,
            TensorType.Int32(4));
        Refused("must have the data type of input 0 (q)", new PagedAttention(2, 1, 3), half, pages, pages,
            TensorType.Int32(1, 1), TensorType.Int32(2), TensorType.Int32(1));
        Refused("Embeddings cannot be Int32", new EmbeddingLookup(DataType.Int32), weight, TensorType.Int32(4));
        Refused("the target must be", new Cast(DataType.Int32), half);
        Refused("one shape and storage", new Accumulate(), full, Bf16(6, 4));

        static void Refused(string expected, Op op, params TensorType[] types)
        {
            string message = Assert.Throws<GraphException>(() => op.Infer(types)).Message;
            Assert.StartsWith(op.Name, message, StringComparison.Ordinal);
            Assert.Contains(expected, message, StringComparison.OrdinalIgnoreCase);
        }
    }

    [Fact]
    public void The_cpu_refuses_bfloat16_activations_and_does_not_misread_bfloat16_parameters()
    {
        using var device = new CpuDevice();
        var graph = new Graph();
        graph.Output("y", graph.Add(new Cast(DataType.BFloat16), graph.Input("x", TensorType.Float32(3))));
        Assert.Contains("activations in float32",
            Assert.Throws<NotSupportedException>(() => Planner.Plan(graph, device)).Message, StringComparison.Ordinal);

        var parameter = new PersistentTensor("parameter", Bf16(4, 6));
        device.Bind(parameter);
        graph = new Graph();
        graph.Output("y", graph.Add(new ColumnSum(), graph.Persistent(parameter)));
        using var workspace = new Workspace(device);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        Assert.Contains("Cast the parameter", Assert.Throws<NotSupportedException>(() => executor.Run()).Message,
            StringComparison.Ordinal);
        parameter.Tensor.Memory.Dispose();
    }

    [Fact]
    public void An_output_never_takes_the_memory_of_an_input_with_elements_of_another_size()
    {
        // Both tensors round up to 64 bytes.
        var graph = new Graph();
        Value x = graph.Add(new Scale(2), graph.Input("x", TensorType.Float32(5)));
        Value y = graph.Add(new InPlaceCast(), x);
        graph.Output("y", y);
        using var device = new RoundingDevice();
        Plan plan = Planner.Plan(graph, device);
        Assert.NotEqual(plan.Slots[x].Offset, plan.Slots[y].Offset);
    }

    [Fact]
    public void A_gradient_of_another_type_than_its_activation_is_refused()
    {
        var graph = new Graph();
        Value x = graph.Input("x", Bf16(5));
        Value loss = graph.Add(new Sum(), graph.Add(new WrongGradient(), graph.Add(new Scale(2), x)));
        string message = Assert.Throws<GraphException>(
            () => graph.Differentiate(loss, [x], graph.Add(new One()), new Add())).Message;
        Assert.Contains("WrongGradient: the gradient of input 0 is f32[5], but the input is bf16[5]", message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Float32_logits_of_bfloat16_activations_give_gradients_of_bfloat16_and_float32()
    {
        var graph = new Graph();
        Value x = graph.Input("x", Bf16(4, 6)),
            weight = graph.Persistent(
                new PersistentTensor("weight", new TensorType(DataType.BFloat16, new Shape(9, 6), Storage.Weight)));
        Value bias = graph.Persistent(new PersistentTensor("bias", Bf16(9)));
        Value logits = graph.Add(new MatMul(DataType.Float32), x, weight, bias);
        Value loss = graph.Add(new Sum(),
            graph.Add(new LogProbabilities(), logits, graph.Input("targets", TensorType.Int32(4))));
        IReadOnlyDictionary<Value, Value> gradients = graph.Differentiate(loss, [x, weight, bias], graph.Add(new One()),
            new Add());
        Assert.Equal(Bf16(4, 6), gradients[x].Type);
        Assert.Equal(weight.Type with { DataType = DataType.Float32 }, gradients[weight].Type);
        Assert.Equal(TensorType.Float32(9), gradients[bias].Type);
        Assert.Single(graph.Nodes, node => node.Op is Cast);
    }

    [Fact]
    public void Executor_reads_either_type_as_float32()
    {
        var graph = new Graph();
        Value x = graph.Input("x", TensorType.Float32(3)), y = graph.Add(new Cast(DataType.BFloat16), x);
        graph.Output("x", x);
        graph.Output("y", y);
        Value ids = graph.Constant("ids", [1, 2]);
        graph.Output("ids", ids);
        using var device = new RoundingDevice();
        using var workspace = new Workspace(device);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        executor.Write<float>(x, [1f, 1.001f, -3.14159f]);
        executor.Run();
        Assert.Equal([1f, 1.001f, -3.14159f], executor.ReadFloats(x));
        Assert.Equal([1f, 1f, -3.140625f], executor.ReadFloats(y));
        Assert.Throws<ArgumentException>(() => executor.ReadFloats(ids));
    }

    private static TensorType Bf16(params ReadOnlySpan<int> shape) => new(DataType.BFloat16, new Shape(shape));

    private static Workload Half(string name) =>
        Catalog.All.First(workload => workload.Name == name).ForActivations(DataType.BFloat16);

    private sealed record InPlaceCast : Op, ICpuKernel
    {
        public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs) =>
            [inputs[0] with { DataType = DataType.BFloat16 }];

        public override int InPlaceInput(int output) => 0;

        public void Run(in CpuArguments arguments) => arguments.InputFloat32(0).CopyTo(arguments.OutputFloat32(0));
    }

    private sealed record WrongGradient : Op
    {
        public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs) => [inputs[0]];

        public override IReadOnlyList<Value?> Gradient(GradientContext context) =>
            [Cast.To(context.Graph, context.OutputGradient(0), DataType.Float32)];
    }
}
