using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Workloads;

namespace Skylight.Bench.Kernels;

/// <summary>A workload planned on a device with its operands filled: one side of a comparison.</summary>
internal sealed class KernelArm : IDisposable
{
    private readonly CudaDevice _device;
    private readonly ColdTimer? _timer;
    private readonly PersistentTensor[] _operands;
    private readonly Workspace _workspace;
    private readonly Executor _executor;
    private readonly List<double> _seconds = [];

    /// <summary>Plans the workload and fills its operands; without a timer it can be run, not timed.</summary>
    /// <exception cref="OutOfDeviceMemoryException">It does not fit.</exception>
    /// <exception cref="NotSupportedException">The device has no kernel for it.</exception>
    public KernelArm(string name, CudaDevice device, ColdTimer? timer, Workload workload)
    {
        Name = name;
        _device = device;
        _timer = timer;
        // All operands are persistent, so that no output takes the place of an input: every run then reads the same numbers.
        _operands = [.. workload.Inputs.Select((operand, index) => new PersistentTensor($"operand{index}", operand.Type))];
        _workspace = new Workspace(device);
        var graph = new Graph();
        IReadOnlyList<Value> outputs = graph.AddNode(workload.Op, [.. _operands.Select(graph.Persistent)]);
        for (int index = 0; index < outputs.Count; index++)
            graph.Output($"output{index}", outputs[index]);
        Cost = graph.Nodes[0].Cost;
        try
        {
            Plan plan = Planner.Plan(graph, device);
            MemoryBytes = plan.PeakBytes;
            for (int index = 0; index < _operands.Length; index++)
            {
                device.Bind(_operands[index]);
                OperandFill.Write(device, workload, index, _operands[index].Tensor);
            }

            _executor = new Executor(plan, _workspace);
        }
        catch
        {
            Free();
            throw;
        }
    }

    /// <summary>In results.</summary>
    public string Name { get; }

    /// <summary>What the op must compute and move at least.</summary>
    public OpCost Cost { get; }

    /// <summary>Operands, outputs and temporary memory.</summary>
    public long MemoryBytes { get; }

    /// <summary>The times so far, in seconds.</summary>
    public IReadOnlyList<double> Times => _seconds;

    /// <summary>Compiles, loads and runs until the clocks are up. Bad indices appear here.</summary>
    public void WarmUp()
    {
        for (int run = 0; run < 5; run++)
            _executor.Run();
        _device.Synchronize();
    }

    /// <summary>Queues one run.</summary>
    public void Run() => _executor.Run();

    /// <summary>Times one run, from a cold cache.</summary>
    public void Time() =>
        _seconds.Add((_timer ?? throw new InvalidOperationException($"{Name} has no timer.")).Seconds(Run));

    /// <inheritdoc/>
    public void Dispose()
    {
        Free();
        _device.Synchronize();
    }

    private void Free()
    {
        foreach (PersistentTensor operand in _operands.Where(operand => operand.IsBound))
            operand.Tensor.Memory.Dispose();
        _workspace.Dispose();
    }
}
