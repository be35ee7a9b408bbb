using System.Collections.Concurrent;
using Skylight.Cpu;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Tests.Execution;

/// <summary>Devices by their names, and the processor's with few threads.</summary>
public class DeviceNamesTests
{
    [Fact]
    public void The_processor_is_known_by_its_name()
    {
        using Device device = Device.Parse("cpu");
        Assert.IsType<CpuDevice>(device);
        Assert.Contains("the processor is 'cpu'", Assert.Throws<ArgumentException>(() => Device.Parse("cpu:1")).Message,
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("gpu", "There is no device 'gpu'. This program knows: cpu")]
    [InlineData("CPU", "There is no device 'CPU'")]
    public void What_is_not_there_is_named_with_what_is(string name, string message) =>
        Assert.Contains(message, Assert.Throws<ArgumentException>(() => Device.Parse(name)).Message,
            StringComparison.Ordinal);

    [Fact]
    public void Cards_are_known_once_they_are_registered()
    {
        CudaDevices.Register();
        foreach (string wrong in (string[])["cuda:", "cuda:x", "cuda:-1", "cuda:1e3"])
            Assert.Contains($"'{wrong}'", Assert.Throws<ArgumentException>(() => Device.Parse(wrong)).Message,
                StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => Device.Register("cuda:0", _ => new CpuDevice()));
    }

    [Fact]
    public void A_device_of_one_thread_computes_on_the_callers()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new CpuDevice(new CpuDeviceOptions { Threads = 0 }));
        Assert.Throws<ArgumentOutOfRangeException>(() => new CpuDevice(new CpuDeviceOptions { MemoryBytes = -1 }));
        Assert.Equal([Environment.CurrentManagedThreadId], ThreadsOf(new CpuDeviceOptions { Threads = 1 }));
        // The limit is the device's and not the thread's.
        int most = CpuParallel.ThreadCount;
        Assert.InRange(ThreadsOf(new CpuDeviceOptions { Threads = 2 }).Count, 1, Math.Min(2, most));
        Assert.Equal(most, CpuParallel.ThreadCount);
    }

    private static HashSet<int> ThreadsOf(CpuDeviceOptions options)
    {
        var threads = new ConcurrentBag<int>();
        var graph = new Graph();
        Value input = graph.Input("x", TensorType.Float32(8));
        graph.Output("y", graph.Add(new ThreadReporter(threads), input));
        using var device = new CpuDevice(options);
        using var workspace = new Workspace(device);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        executor.Write<float>(input, new float[8]);
        executor.Run();
        return [.. threads];
    }

    private sealed record ThreadReporter(ConcurrentBag<int> Threads) : Op, ICpuKernel
    {
        public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs) => inputs;

        public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) => new(0, 0);

        public void Run(in CpuArguments arguments) => CpuParallel.For(64, _ =>
        {
            Threads.Add(Environment.CurrentManagedThreadId);
            Thread.SpinWait(20_000);
        });
    }
}
