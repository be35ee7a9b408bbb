using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Tests.Execution;

public class ExecutorTests
{
    [Fact]
    public void Plans_share_a_workspace_one_after_the_other()
    {
        using var device = new CpuDevice();
        using var workspace = new Workspace(device);
        (Executor small, Value smallInput, Value smallOutput) = Doubling(device, workspace, 4);
        (Executor large, Value largeInput, Value largeOutput) = Doubling(device, workspace, 4000);
        for (int repeat = 0; repeat < 2; repeat++)
        {
            small.Write<float>(smallInput, [1f, 2f, 3f, 4f]);
            small.Run();
            Assert.Equal([2f, 4f, 6f, 8f], small.Read<float>(smallOutput));
            float[] ones = [.. Enumerable.Repeat(1f, 4000)];
            large.Write<float>(largeInput, ones);
            large.Run();
            Assert.All(large.Read<float>(largeOutput), value => Assert.Equal(2f, value));
        }

        Assert.Equal(large.Plan.ArenaBytes, workspace.Bytes);
    }

    [Fact]
    public void Small_inputs_and_constants_are_uploaded_as_one_before_every_run()
    {
        using var device = new RoundingDevice(DataType.Float32, groupedInputBytes: 100);
        using var workspace = new Workspace(device);
        var graph = new Graph();
        Value first = graph.Input("first", TensorType.Float32(5)),
            large = graph.Input("large", TensorType.Float32(30, 5)), second = graph.Input("second", TensorType.Float32(5));
        Value rows = graph.Constant("rows", [7, 3]), empty = graph.Input("empty", TensorType.Float32(0));
        graph.Output("sum", graph.Add(new Add(), first, second));
        graph.Output("rows", graph.Add(new GatherRows(), large, rows));
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        float[] table = [.. Enumerable.Range(0, 150).Select(index => (float)index)];
        for (int run = 1; run <= 3; run++)
        {
            int before = device.Uploads;
            executor.Write<float>(second, [run, run, run, run, run]);
            executor.Write<float>(large, table);
            executor.Write<float>(first, [1f, 2f, 3f, 4f, 5f]);
            executor.Write<float>(empty, []);
            executor.Run();
            Assert.InRange(device.Uploads - before, 2, 3); // the small ones, the large one, and perhaps nothing at all
            Assert.Equal([1f + run, 2f + run, 3f + run, 4f + run, 5f + run], executor.Read<float>(graph.OutputNamed("sum")));
            Assert.Equal([35f, 36f, 37f, 38f, 39f, 15f, 16f, 17f, 18f, 19f],
                executor.Read<float>(graph.OutputNamed("rows")));
        }

        executor.Write<float>(first, [9f, 8f, 7f, 6f, 5f]);
        Assert.Equal([9f, 8f, 7f, 6f, 5f], executor.Read<float>(first));
        Value foreign = new Graph().Input("foreign", TensorType.Float32(4));
        Assert.Contains("not computed by this plan",
            Assert.Throws<ArgumentException>(() => executor.Write<float>(foreign, [1f, 2f, 3f, 4f])).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Wrong_elements_are_refused()
    {
        using var device = new CpuDevice();
        using var workspace = new Workspace(device);
        (Executor executor, Value input, Value output) = Doubling(device, workspace, 4);
        Assert.Contains("has 4 elements, not 3",
            Assert.Throws<ArgumentException>(() => executor.Write<float>(input, [1f, 2f, 3f])).Message,
            StringComparison.Ordinal);
        Assert.Contains("cannot be accessed as Double",
            Assert.Throws<ArgumentException>(() => executor.Write<double>(input, [1, 2, 3, 4])).Message,
            StringComparison.Ordinal);
        Assert.Contains("is not an input",
            Assert.Throws<ArgumentException>(() => executor.Write<float>(output, [1f, 2f, 3f, 4f])).Message,
            StringComparison.Ordinal);
        Value foreign = new Graph().Input("foreign", TensorType.Float32(4));
        Assert.Contains("not computed by this plan",
            Assert.Throws<ArgumentException>(() => executor.Read<float>(foreign)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Plan_and_workspace_must_be_on_one_device()
    {
        using CpuDevice one = new(), other = new();
        using Workspace workspace = new(one), elsewhere = new(other);
        (Executor executor, _, _) = Doubling(one, workspace, 4);
        Assert.Throws<ArgumentException>(() => new Executor(executor.Plan, elsewhere));
    }

    [Fact]
    public void Cancellation_stops_between_steps()
    {
        using var device = new CpuDevice();
        using var workspace = new Workspace(device);
        (Executor executor, Value input, _) = Doubling(device, workspace, 4);
        executor.Write<float>(input, [1f, 2f, 3f, 4f]);
        Assert.Throws<OperationCanceledException>(() => executor.Run(new CancellationToken(canceled: true)));
    }

    [Fact]
    public void Devices_say_what_they_cannot_compute()
    {
        using var device = new CpuDevice();
        var graph = new Graph();
        graph.Output("y", graph.Add(new Unknown(), graph.Input("x", TensorType.Float32(4))));
        Assert.Contains("cpu has no kernel for Unknown",
            Assert.Throws<NotSupportedException>(() => Planner.Plan(graph, device)).Message, StringComparison.Ordinal);
        var half = new Graph();
        half.Output("y", half.Add(new Silu(), half.Input("x", new TensorType(DataType.BFloat16, new Shape(4)))));
        Assert.Contains("float32, but Silu has",
            Assert.Throws<NotSupportedException>(() => Planner.Plan(half, device)).Message, StringComparison.Ordinal);
    }

    private static (Executor Executor, Value Input, Value Output) Doubling(Device device, Workspace workspace, int count)
    {
        var graph = new Graph();
        Value x = graph.Input("x", TensorType.Float32(count)), y = graph.Add(new Scale(2f), x);
        graph.Output("y", y);
        return (new Executor(Planner.Plan(graph, device), workspace), x, y);
    }

    private sealed record Unknown : Op
    {
        public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs) => [inputs[0]];
    }
}
