using System.Runtime.InteropServices;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Tests.Execution;

public class PlannerTests
{
    [Fact]
    public void Living_values_never_share_memory()
    {
        for (int seed = 0; seed < 300; seed++)
        {
            Graph graph = RandomGraph(seed, out _);
            using var device = new CpuDevice();
            Plan plan = Planner.Plan(graph, device);
            AssertNoOverlap(plan, seed);
        }
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(0)]
    [InlineData(200)]
    [InlineData(1 << 20)]
    public void Random_graphs_compute_what_they_say(int groupedInputBytes)
    {
        for (int seed = 0; seed < 100; seed++)
        {
            Graph graph = RandomGraph(seed, out List<Value> values);
            using Device device = groupedInputBytes < 0 ? new CpuDevice()
                : new RoundingDevice(DataType.Float32, groupedInputBytes);
            using var workspace = new Workspace(device);
            Plan plan = Planner.Plan(graph, device);
            var executor = new Executor(plan, workspace);
            // Whatever memory held before must not matter.
            byte[] other = new byte[plan.ArenaBytes];
            other.AsSpan().Fill(0xFF);
            device.Upload(other,
                new Tensor(workspace.Reserve(plan.ArenaBytes), 0, TensorType.Float32((int)(plan.ArenaBytes / 4))));
            var expected = new Dictionary<Value, float[]>();
            foreach (Value input in graph.Inputs)
            {
                expected[input] = Ops.Numbers.Random(seed + input.Id, (int)input.Shape.ElementCount);
                executor.Write<float>(input, expected[input]);
            }

            foreach (Node node in graph.Nodes)
                expected[node.Outputs[0]] = Evaluate(node, expected);
            executor.Run();
            foreach ((string name, Value output) in graph.Outputs)
                Assert.True(expected[output].AsSpan().SequenceEqual(executor.Read<float>(output)),
                    $"seed {seed}, {name}\n{graph.Print()}\n{plan.Describe()}");
            Assert.NotEmpty(values);
        }
    }

    [Fact]
    public void Results_take_over_memory_that_nothing_needs_any_more()
    {
        var graph = new Graph();
        Value x = graph.Input("x", TensorType.Float32(64));
        Value chain = graph.Add(new Scale(2f), x);
        for (int index = 0; index < 10; index++)
            chain = graph.Add(new Scale(2f), chain);
        graph.Output("y", chain);
        using var device = new CpuDevice();
        Plan plan = Planner.Plan(graph, device);
        // The input is the caller's; all the rest is one place.
        Assert.Equal(2 * 256, plan.ArenaBytes);
        Assert.Equal(2, plan.Slots.Values.Select(slot => slot.Offset).Distinct().Count());
    }

    [Fact]
    public void Memory_that_is_still_needed_is_not_taken_over()
    {
        var graph = new Graph();
        Value x = graph.Input("x", TensorType.Float32(16));
        Value a = graph.Add(new Scale(2f), x);
        Value b = graph.Add(new Scale(3f), a);
        graph.Output("a", a);
        graph.Output("sum", graph.Add(new Add(), b, a));
        graph.Output("square", graph.Add(new Multiply(), a, a));
        using var device = new CpuDevice();
        using var workspace = new Workspace(device);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        float[] ones = [.. Enumerable.Repeat(1f, 16)];
        executor.Write<float>(x, ones);
        executor.Run();
        Assert.All(executor.Read<float>(graph.OutputNamed("a")), value => Assert.Equal(2f, value));
        Assert.All(executor.Read<float>(graph.OutputNamed("sum")), value => Assert.Equal(8f, value));
        Assert.All(executor.Read<float>(graph.OutputNamed("square")), value => Assert.Equal(4f, value));
    }

    [Fact]
    public void Dead_nodes_are_dropped_but_changes_of_state_are_not()
    {
        var graph = new Graph();
        Value x = graph.Input("x", TensorType.Float32(4));
        graph.Add(new Silu(), graph.Add(new Gelu(), x));
        graph.Output("y", graph.Add(new Scale(2f), x));
        var state = new PersistentTensor("state", TensorType.Float32(4));
        graph.AddNode(new Accumulate(), graph.Persistent(state), x);
        using var device = new CpuDevice();
        device.Bind(state);
        Plan plan = Planner.Plan(graph, device);
        Assert.Equal(["Scale", "Accumulate"], plan.Steps.Select(step => step.Node.Op.Name));

        using var workspace = new Workspace(device);
        var executor = new Executor(plan, workspace);
        for (int run = 0; run < 2; run++)
        {
            executor.Write<float>(x, [1f, 2f, 3f, 4f]);
            executor.Run();
        }

        var total = new float[4];
        device.Download(state.Tensor, MemoryMarshal.AsBytes(total.AsSpan()));
        Assert.Equal([2f, 4f, 6f, 8f], total);
    }

    [Fact]
    public void Too_large_a_plan_is_refused_with_its_numbers_before_anything_is_allocated()
    {
        var graph = new Graph();
        // Far more than any machine has: allocating it would fail.
        Value x = graph.Input("x", TensorType.Float32(1 << 20, 1 << 20));
        graph.Output("y", graph.Add(new Silu(), x));
        using var device = new CpuDevice(memoryBytes: 8_000_000_000);
        string message = Assert.Throws<OutOfDeviceMemoryException>(() => Planner.Plan(graph, device)).Message;
        Assert.Contains("8796.09 GB at its peak", message, StringComparison.Ordinal);
        Assert.Contains("cpu has 8.00 GB", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Peak_counts_parameters_that_have_no_memory_yet()
    {
        var graph = new Graph();
        var weight = new PersistentTensor("weight", new TensorType(DataType.BFloat16, new Shape(33, 10), Storage.Weight));
        graph.Output("y", graph.Add(new MatMul(), graph.Input("x", TensorType.Float32(2, 10)), graph.Persistent(weight)));
        using var device = new CpuDevice();
        Plan plan = Planner.Plan(graph, device);
        Assert.Equal(64 * 10 * 2, plan.PersistentBytes);
        Assert.Equal(plan.ArenaBytes + plan.PersistentBytes, plan.PeakBytes);
        Assert.False(weight.IsBound);
    }

    [Fact]
    public void Describe_shows_steps_places_and_peak()
    {
        var graph = new Graph();
        Value x = graph.Input("x", TensorType.Float32(4, 16));
        using (graph.Scope("head"))
            graph.Output("y", graph.Add(new Sum(), graph.Add(new Scale(2f), x)));
        using var device = new CpuDevice();
        Plan plan = Planner.Plan(graph, device);
        string[] lines = plan.Describe().Split('\n');
        Assert.StartsWith("plan on cpu: 2 steps, peak", lines[0], StringComparison.Ordinal);
        Assert.Contains($"arena {plan.ArenaBytes}", lines[0], StringComparison.Ordinal);
        Assert.Contains("0  Scale", lines[1], StringComparison.Ordinal);
        Assert.Contains("%1@256+256 until 1", lines[1], StringComparison.Ordinal);
        Assert.Contains("Sum", lines[2], StringComparison.Ordinal);
        Assert.Contains("scratch@", lines[2], StringComparison.Ordinal);
        Assert.EndsWith("# head", lines[2], StringComparison.Ordinal);
    }

    /// <summary>
    /// Values that live at the same step lie apart, except that a result may take the place of an input that dies where
    /// it is made.
    /// </summary>
    private static void AssertNoOverlap(Plan plan, int seed)
    {
        (Value Value, ArenaSlot Slot)[] slots = [.. plan.Slots.Select(pair => (pair.Key, pair.Value))];
        for (int i = 0; i < slots.Length; i++)
        {
            (Value first, ArenaSlot a) = slots[i];
            Assert.True(a.Offset >= 0 && a.Offset + a.Bytes <= plan.ArenaBytes,
                $"seed {seed}: {first} is outside of the arena.");
            for (int j = i + 1; j < slots.Length; j++)
            {
                (Value second, ArenaSlot b) = slots[j];
                bool sameMemory = a.Offset < b.Offset + b.Bytes && b.Offset < a.Offset + a.Bytes;
                bool sameTime = a.FirstStep <= b.LastStep && b.FirstStep <= a.LastStep;
                if (sameMemory && sameTime)
                    Assert.True(TakesOver(first, a, second, b) || TakesOver(second, b, first, a),
                        $"seed {seed}: {first} and {second} share memory.\n{plan.Graph.Print()}\n{plan.Describe()}");
            }

            foreach ((PlanStep step, int index) in plan.Steps.Select((step, index) => (step, index)))
            {
                bool alive = a.FirstStep <= index && index <= a.LastStep;
                bool sameMemory = step.ScratchOffset >= 0 && a.Offset < step.ScratchOffset + step.Kernel.ScratchBytes
                    && step.ScratchOffset < a.Offset + a.Bytes;
                Assert.False(alive && sameMemory, $"seed {seed}: the temporary memory of step {index} overlaps {first}.");
            }
        }
    }

    private static bool TakesOver(Value host, ArenaSlot hostSlot, Value output, ArenaSlot outputSlot) =>
        hostSlot.LastStep == outputSlot.FirstStep && hostSlot.Offset == outputSlot.Offset
            && hostSlot.Bytes == outputSlot.Bytes
        && output.Producer!.Op.InPlaceInput(output.OutputIndex) is var input and >= 0
        && output.Producer.Inputs[input] == host;

    /// <summary>
    /// A random graph of ops with and without temporary memory, work in place, several sizes, and nodes that nothing
    /// needs.
    /// </summary>
    private static Graph RandomGraph(int seed, out List<Value> values)
    {
        var random = new Random(seed);
        var graph = new Graph();
        values = [];
        for (int index = 0; index < 3; index++)
            values.Add(graph.Input($"input{index}", TensorType.Float32(1 + random.Next(3), 8 * (1 + random.Next(6)))));
        int nodes = 3 + random.Next(25);
        for (int index = 0; index < nodes; index++)
        {
            Value x = values[random.Next(values.Count)];
            Value[] partners = [.. values.Where(value => value.Type == x.Type)];
            values.Add(random.Next(6) switch
            {
                0 => graph.Add(new Add(), x, partners[random.Next(partners.Length)]),
                1 => graph.Add(new Multiply(), x, partners[random.Next(partners.Length)]),
                2 => graph.Add(new Sum(), x),
                3 => graph.Add(new Broadcast(new Shape(2, 8 * (1 + random.Next(6)))), graph.Add(new Sum(), x)),
                _ => graph.Add(new Scale(0.5f + random.NextSingle()), x),
            });
        }

        for (int index = 0; index < 3; index++)
            graph.Output($"output{index}", values[random.Next(values.Count)]);
        return graph;
    }

    private static float[] Evaluate(Node node, Dictionary<Value, float[]> values)
    {
        float[] x = values[node.Inputs[0]];
        return node.Op switch
        {
            Add => [.. x.Zip(values[node.Inputs[1]], (a, b) => a + b)],
            Multiply => [.. x.Zip(values[node.Inputs[1]], (a, b) => a * b)],
            Scale scale => [.. x.Select(value => value * scale.Factor)],
            Broadcast broadcast => [.. Enumerable.Repeat(x[0], (int)broadcast.Shape.ElementCount)],
            _ => Ops.OpRun.Floats(node.Op, Ops.OpRun.Given(x, [.. node.Inputs[0].Shape.Dimensions]))[0],
        };
    }
}
