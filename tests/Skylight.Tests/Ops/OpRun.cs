using System.Runtime.InteropServices;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;
using Skylight.Workloads;

namespace Skylight.Tests.Ops;

/// <summary>One op as a graph of its own on the CPU, run as often as wanted.</summary>
internal sealed class OpRun : IDisposable
{
    private readonly CpuDevice _device;
    private readonly Workspace _workspace;
    private readonly Executor _executor;
    private readonly Value[] _inputs;
    private readonly Value[] _outputs;

    /// <param name="op">What to run.</param>
    /// <param name="operands">On what; persistent ones become persistent tensors.</param>
    /// <param name="copyFirst">Computes a copy of every activation first, which dies in the op, so that the op works in
    /// place where it can.</param>
    /// <param name="compute">What products with bfloat16 weights compute with; null for the machine's choice.</param>
    public OpRun(Op op, IReadOnlyList<Operand> operands, bool copyFirst = false, DataType? compute = null)
    {
        _device = new CpuDevice(new CpuDeviceOptions { Compute = compute });
        Graph = new Graph();
        _inputs = Declare(Graph, operands, _device);
        Arguments = [.. _inputs.Select(value => copyFirst && value.Kind == ValueKind.Input
            && value.Type.DataType == DataType.Float32 ? Graph.Add(new Skylight.Ops.Scale(1f), value) : value)];
        _outputs = [.. Graph.AddNode(op, Arguments)];
        for (int index = 0; index < _outputs.Length; index++)
            Graph.Output($"output{index}", _outputs[index]);
        Plan = Planner.Plan(Graph, _device);
        _workspace = new Workspace(_device);
        _executor = new Executor(Plan, _workspace);
        Data = [.. operands.Select((operand, index) => operand.Fill(100 + index))];
    }

    public Graph Graph { get; }

    public Plan Plan { get; }

    /// <summary>What the op itself reads.</summary>
    public Value[] Arguments { get; }

    public IReadOnlyList<Value> Outputs => _outputs;

    /// <summary>The elements of the inputs; a test may change them between runs.</summary>
    public Array[] Data { get; }

    /// <summary>Runs a workload's op once and gives its float outputs.</summary>
    public static float[][] Floats(Op op, params Operand[] operands)
    {
        using var run = new OpRun(op, operands);
        return run.Floats();
    }

    /// <summary>Given float32 elements.</summary>
    public static Operand Given(float[] values, params int[] shape) =>
        new(TensorType.Float32(shape), _ => values.Clone() as Array ?? values);

    /// <summary>Fills the arena with a byte, as memory that was used before may hold anything.</summary>
    public void FillArena(byte garbage) => CpuMemory.Span<byte>(WholeArena()).Fill(garbage);

    public void Run()
    {
        for (int index = 0; index < _inputs.Length; index++)
            Write(_executor, _inputs[index], Data[index]);
        _executor.Run();
    }

    /// <summary>Runs, and gives the float outputs; of others, an empty array.</summary>
    public float[][] Floats()
    {
        Run();
        return [.. _outputs.Select(output => output.Type.DataType == DataType.Float32 ? _executor.Read<float>(output) : [])];
    }

    /// <summary>The memory of all outputs with any padding, then of the persistent inputs.</summary>
    public byte[][] Bits()
    {
        Tensor arena = WholeArena();
        IEnumerable<Tensor> outputs = _outputs.Select(
            output => new Tensor(arena.Memory, Plan.Slots[output].Offset, output.Type));
        IEnumerable<Tensor> state = _inputs.Where(input => input.Persistent is not null)
            .Select(input => input.Persistent!.Tensor);
        return [.. outputs.Concat(state).Select(tensor => CpuMemory.Span<byte>(tensor).ToArray())];
    }

    public void Dispose()
    {
        _workspace.Dispose();
        foreach (Value value in _inputs)
            value.Persistent?.Tensor.Memory.Dispose();
        _device.Dispose();
    }

    private Tensor WholeArena() =>
        new(_workspace.Reserve(Plan.ArenaBytes), 0, TensorType.Float32((int)(Plan.ArenaBytes / sizeof(float))));

    /// <summary>Declares operands in a graph: parameters as persistent tensors with memory, the rest as inputs.</summary>
    public static Value[] Declare(Graph graph, IReadOnlyList<Operand> operands, Device device)
    {
        var values = new Value[operands.Count];
        for (int index = 0; index < values.Length; index++)
        {
            TensorType type = operands[index].Type;
            if (operands[index].Persistent || type.Storage == Storage.Weight || type.DataType == DataType.BFloat16)
            {
                var parameter = new PersistentTensor($"parameter{index}", type);
                device.Bind(parameter);
                operands[index].Codes?.Invoke(100 + index).Upload(device, parameter.Tensor);
                values[index] = graph.Persistent(parameter);
            }
            else
            {
                values[index] = graph.Input($"input{index}", type);
            }
        }

        return values;
    }

    /// <summary>Writes the elements of a declared operand.</summary>
    public static void Write(Executor executor, Value input, Array data)
    {
        // Codes were written when the operand was declared.
        if (input.Type.Format is not null)
            return;
        if (input.Persistent is { } persistent)
            executor.Plan.Device.Upload(Bytes(data, input.Type.DataType), persistent.Tensor);
        else if (data is float[] floats)
            executor.Write<float>(input, floats);
        else
            executor.Write<int>(input, (int[])data);
    }

    private static ReadOnlySpan<byte> Bytes(Array data, DataType dataType) => (data, dataType) switch
    {
        (float[] values, DataType.BFloat16) =>
            MemoryMarshal.AsBytes<BFloat16>(Array.ConvertAll(values, value => (BFloat16)value)),
        (float[] values, _) => MemoryMarshal.AsBytes<float>(values),
        _ => MemoryMarshal.AsBytes<int>((int[])data),
    };
}
