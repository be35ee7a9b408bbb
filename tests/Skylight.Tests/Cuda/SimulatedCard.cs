using System.Globalization;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;
using Skylight.Tests.Simt;

namespace Skylight.Tests.Cuda;

/// <summary>
/// A <see cref="CudaDevice"/> on the emulator with a kernel cache of its own, for one test. Tests that use it are in
/// <see cref="EmulatorCollection"/>.
/// </summary>
internal sealed class SimulatedCard : IDisposable
{
    private readonly bool _hasOwnCapability;

    /// <summary>
    /// Makes the device, of a compute capability (80 has no warpgroups); skips the calling test where the emulator was not built.
    /// </summary>
    public SimulatedCard(CudaBindings? bindings = null, bool deterministic = true, string? cacheFolder = null,
        long? memoryBytes = null, bool captureGraphs = true, string rounding = "same",
        int? capability = null)
    {
        Emulator.Require();
        Emulator.Configure("schedule", "forward");
        Emulator.Configure("async", "late");
        Emulator.Configure("checks", "on");
        Emulator.Configure("rounding", rounding);
        if (capability is { } given)
            Emulator.Configure("capability", given.ToString(CultureInfo.InvariantCulture));
        _hasOwnCapability = capability is not null;
        Device = new CudaDevice(new CudaDeviceOptions
        {
            Libraries = CudaLibraries.LoadSimulated(),
            Bindings = bindings ?? CudaBindings.Standard,
            Deterministic = deterministic,
            CacheFolder = cacheFolder ?? "",
            MemoryBytes = memoryBytes,
            CaptureGraphs = captureGraphs,
        });
        Workspace = new Workspace(Device);
    }

    public CudaDevice Device { get; }

    public Workspace Workspace { get; }

    /// <summary>Makes an executor for one op on inputs of some types.</summary>
    public (Executor Executor, Value[] Inputs, IReadOnlyList<Value> Outputs) Prepare(Op op, params TensorType[] types)
    {
        var graph = new Graph();
        Value[] inputs = [.. types.Select((type, index) => graph.Input($"input{index}", type))];
        IReadOnlyList<Value> outputs = graph.AddNode(op, inputs);
        for (int index = 0; index < outputs.Count; index++)
            graph.Output($"output{index}", outputs[index]);
        return (new Executor(Planner.Plan(graph, Device), Workspace), inputs, outputs);
    }

    public void Dispose()
    {
        Workspace.Dispose();
        Device.Dispose();
        Emulator.Configure("rounding", "same");
        if (_hasOwnCapability)
            Emulator.Configure("capability", "90");
    }
}

/// <summary>An op of a test: what it computes is said by the binding that the test gives it.</summary>
/// <param name="Result">The type of its output; null for that of its first input.</param>
internal sealed record HostOp(TensorType? Result = null) : Op
{
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs) => [Result ?? inputs[0]];
}
