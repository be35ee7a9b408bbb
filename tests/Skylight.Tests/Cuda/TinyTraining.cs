using System.Runtime.InteropServices;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Tests.Cuda;

/// <summary>
/// Least squares with one bfloat16 weight, its float32 master and AdamW: what a training step does to memory, in five
/// nodes.
/// </summary>
internal sealed class TinyTraining
{
    private const int Inner = 24, Columns = 16;

    private readonly Device _device;
    private readonly Dictionary<int,
        (Executor Executor, Value X, Value NegativeTarget, Value Hyper, Value Scale, Value Residual)> _plans = [];

    public TinyTraining(Device device)
    {
        _device = device;
        Tensors = [Make("weight", DataType.BFloat16), Make("firstMoment"), Make("secondMoment"), Make("master")];
        float[] initial = Numbers(Columns * Inner, seed: 1);
        device.Upload(MemoryMarshal.AsBytes<BFloat16>(Array.ConvertAll(initial, x => (BFloat16)x)), Tensors[0].Tensor);
        device.Upload(MemoryMarshal.AsBytes<float>(initial), Tensors[3].Tensor);
    }

    /// <summary>Weight, moments and master.</summary>
    public PersistentTensor[] Tensors { get; }

    /// <summary>The bytes of weight, moments and master.</summary>
    public byte[][] State => [.. Tensors.Select(tensor =>
    {
        var bytes = new byte[tensor.Type.Bytes];
        _device.Download(tensor.Tensor, bytes);
        return bytes;
    })];

    /// <summary>The executor of steps with so many rows; null before the first.</summary>
    public Executor? ExecutorOf(int rows) => _plans.TryGetValue(rows, out var plan) ? plan.Executor : null;

    /// <summary>Does one step on rows that depend on its number, and returns the residuals before it.</summary>
    public float[] Step(Workspace workspace, int rows, int number)
    {
        if (!_plans.TryGetValue(rows, out var plan))
            _plans.Add(rows, plan = Plan(workspace, rows));
        plan.Executor.Write<BFloat16>(plan.X, Array.ConvertAll(Numbers(rows * Inner, number), x => (BFloat16)x));
        plan.Executor.Write<BFloat16>(plan.NegativeTarget,
            Array.ConvertAll(Numbers(rows * Columns, 1000 + number), x => (BFloat16)x));
        plan.Executor.Write<float>(plan.Hyper, [0.01f, 0.1f, 1 - MathF.Pow(0.9f, number), 1 - MathF.Pow(0.99f, number)]);
        plan.Executor.Write<float>(plan.Scale, [1]);
        plan.Executor.Run(TestContext.Current.CancellationToken);
        return plan.Executor.ReadFloats(plan.Residual);
    }

    private static float[] Numbers(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => 2 * random.NextSingle() - 1)];
    }

    private (Executor Executor, Value X, Value NegativeTarget, Value Hyper, Value Scale,
        Value Residual) Plan(Workspace workspace, int rows)
    {
        var graph = new Graph();
        Value x = graph.Input("x", new TensorType(DataType.BFloat16, new Shape(rows, Inner)));
        Value target = graph.Input("negativeTarget", new TensorType(DataType.BFloat16, new Shape(rows, Columns)));
        Value hyper = graph.Input("hyper", TensorType.Float32(4)), scale = graph.Input("scale", TensorType.Float32(1));
        Value[] state = [.. Tensors.Select(graph.Persistent)];
        Value residual = graph.Add(new Add(), graph.Add(new MatMul(), x, state[0]), target);
        Value gradient = graph.Add(new MatMulWeightGradient(), x, residual);
        graph.Output("residual", residual);
        graph.AddNode(new AdamW(0.9f, 0.99f, 1e-8f, HasMaster: true), state[0], gradient, state[1], state[2], hyper,
            scale, state[3]);
        return (new Executor(Planner.Plan(graph, _device), workspace), x, target, hyper, scale, residual);
    }

    private PersistentTensor Make(string name, DataType type = DataType.Float32)
    {
        var tensor = new PersistentTensor(name, new TensorType(type, new Shape(Columns, Inner), Storage.Weight));
        _device.Bind(tensor);
        return tensor;
    }
}
