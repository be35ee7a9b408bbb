using System.Runtime.InteropServices;
using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Tests.Ops;

/// <summary>One op on the CPU: arrays in, arrays out; persistent inputs keep their memory between runs.</summary>
internal sealed class AttentionHarness : IDisposable
{
    private readonly CpuDevice _device = new();
    private readonly Workspace _workspace;
    private readonly Executor _executor;
    private readonly Value[] _inputs;
    private readonly IReadOnlyList<Value> _outputs;

    public AttentionHarness(Op op, TensorType[] types, params PersistentTensor?[] persistent)
    {
        var graph = new Graph();
        _inputs = new Value[types.Length];
        for (int index = 0; index < types.Length; index++)
        {
            _inputs[index] = index < persistent.Length && persistent[index] is { } tensor
                ? graph.Persistent(tensor)
                : graph.Input($"input {index}", types[index]);
        }

        _outputs = graph.AddNode(op, _inputs);
        foreach (Value output in _outputs)
            graph.Output($"output {output.OutputIndex}", output);
        _workspace = new Workspace(_device);
        _executor = new Executor(Planner.Plan(graph, _device), _workspace);
    }

    /// <summary>Runs once; null for persistent inputs.</summary>
    public float[][] Run(params Array?[] inputs)
    {
        for (int index = 0; index < inputs.Length; index++)
        {
            if (inputs[index] is float[] floats)
                _executor.Write<float>(_inputs[index], floats);
            else if (inputs[index] is int[] integers)
                _executor.Write<int>(_inputs[index], integers);
        }

        _executor.Run();
        return [.. _outputs.Select(_executor.Read<float>)];
    }

    public void Dispose()
    {
        _workspace.Dispose();
        _device.Dispose();
    }

    /// <summary>A persistent tensor with memory that holds one value everywhere.</summary>
    public static PersistentTensor Filled(string name, DataType type, float value, params int[] shape)
    {
        var tensor = new PersistentTensor(name, new TensorType(type, new Shape(shape)));
        using var device = new CpuDevice();
        device.Bind(tensor);
        if (type == DataType.BFloat16)
            CpuMemory.Span<BFloat16>(tensor.Tensor).Fill((BFloat16)value);
        else if (type == DataType.Int8)
            // A scale of such bytes is NaN.
            CpuMemory.Span<byte>(tensor.Tensor).Fill(0xFF);
        else
            CpuMemory.Span<float>(tensor.Tensor).Fill(value);
        return tensor;
    }

    public static float[] Random(Random random, int count, double deviation = 1)
    {
        var values = new float[count];
        for (int index = 0; index < count; index++)
            values[index] = (float)(deviation * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()))
                * Math.Cos(2 * Math.PI * random.NextDouble()));
        return values;
    }

    public static void AssertSameBits(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        if (!MemoryMarshal.AsBytes(expected).SequenceEqual(MemoryMarshal.AsBytes(actual)))
        {
            for (int index = 0; index < expected.Length; index++)
            {
                if (BitConverter.SingleToInt32Bits(expected[index]) != BitConverter.SingleToInt32Bits(actual[index]))
                    Assert.Fail($"{what}: element {index} is {actual[index]:R}, not {expected[index]:R}");
            }
        }
    }

    public static void AssertClose(double[] expected, float[] actual, double tolerance, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        double scale = Math.Max(1, expected.Select(Math.Abs).Max());
        for (int index = 0; index < expected.Length; index++)
        {
            if (!(Math.Abs(expected[index] - actual[index]) <= tolerance * scale))
                Assert.Fail($"{what}: element {index} is {actual[index]:R}, not {expected[index]:R}");
        }
    }
}
