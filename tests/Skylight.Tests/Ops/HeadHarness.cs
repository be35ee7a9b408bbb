using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Tests.Ops;

/// <summary>
/// What an op is given: its type, and its elements row-major (float[] is rounded where the type is bfloat16).
/// </summary>
internal sealed record Given(TensorType Type, Array Elements, bool IsState = false)
{
    public static Given Rows(float[] elements, params int[] shape) =>
        new(TensorType.Float32(shape.Length == 0 ? [elements.Length] : shape), elements);

    public static Given Ids(params int[] elements) => new(TensorType.Int32(elements.Length), elements);

    public static Given Weight(float[] elements, int outputs, int inputs, bool half = false) =>
        new(new TensorType(half ? DataType.BFloat16 : DataType.Float32, new Shape(outputs, inputs), Storage.Weight),
            elements, IsState: true);

    public Given AsState() => this with { IsState = true };
}

/// <summary>Runs graphs of a few nodes on the CPU.</summary>
internal sealed class HeadHarness : IDisposable
{
    private readonly CpuDevice _device = new();
    private readonly Workspace _workspace;
    private readonly List<(Value Value, Given Given)> _inputs = [];

    public HeadHarness() => _workspace = new Workspace(_device);

    public Graph Graph { get; } = new();

    public static Array[] Run(Op op, params Given[] inputs)
    {
        using var harness = new HeadHarness();
        IReadOnlyList<Value> outputs = harness.Graph.AddNode(op, [.. inputs.Select(harness.Add)]);
        return harness.Run([.. outputs]);
    }

    public static float[][] Floats(Op op, params Given[] inputs) => [.. Run(op, inputs).OfType<float[]>()];

    public Value Add(Given given)
    {
        string name = $"input{_inputs.Count}";
        Value value = given.IsState ? Graph.Persistent(new PersistentTensor(name, given.Type))
            : Graph.Input(name, given.Type);
        _inputs.Add((value, given));
        return value;
    }

    public Value One() => Graph.Add(new One());

    /// <summary>Runs once and reads values, state among them.</summary>
    public Array[] Run(params Value[] values)
    {
        for (int index = 0; index < values.Length; index++)
        {
            if (values[index].Kind == ValueKind.Computed)
                Graph.Output($"output{Graph.Outputs.Count}", values[index]);
        }

        var executor = new Executor(Planner.Plan(Graph, _device), _workspace);
        foreach (Value persistent in Graph.PersistentValues)
            _device.Bind(persistent.Persistent!);
        foreach ((Value value, Given given) in _inputs)
            Write(executor, value, given.Elements);
        executor.Run();
        return [.. values.Select(value => Read(executor, value))];
    }

    public void Dispose()
    {
        _workspace.Dispose();
        _device.Dispose();
    }

    private void Write(Executor executor, Value value, Array elements)
    {
        ReadOnlySpan<byte> bytes = (value.Type.DataType, elements) switch
        {
            (DataType.Int32, int[] ids) => System.Runtime.InteropServices.MemoryMarshal.AsBytes<int>(ids),
            (DataType.Float32, float[] floats) => System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(floats),
            (_, float[] floats) =>
                System.Runtime.InteropServices.MemoryMarshal.AsBytes<BFloat16>(
                    Array.ConvertAll(floats, element => (BFloat16)element)),
            _ => throw new InvalidOperationException(),
        };
        if (value.Persistent is { IsBound: true } persistent)
            _device.Upload(bytes, persistent.Tensor);
        else if (value.Persistent is not null)
            return; // no node reads it
        else if (elements is int[] ids)
            executor.Write<int>(value, ids);
        else
            executor.Write<float>(value, (float[])elements);
    }

    private static Array Read(Executor executor, Value value) => value.Type.DataType switch
    {
        DataType.Int32 => executor.Read<int>(value),
        DataType.Float32 => executor.Read<float>(value),
        _ => Array.ConvertAll(executor.Read<BFloat16>(value), element => (float)element),
    };
}
