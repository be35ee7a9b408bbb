#region README: a host's own op
using System.Numerics.Tensors;
using Skylight.Cpu;
using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

/// <summary>x + factor · branch in one pass over memory.</summary>
public sealed record ScaledResidual(float Factor) : Op, ICpuKernel
{
    // Shapes and types, with errors that name the op and the operand.
    public override IReadOnlyList<TensorType> Infer(IReadOnlyList<TensorType> inputs)
    {
        new TypeCheck(this, inputs).Count(2).Activation(0, "x").Activation(1, "branch").SameShape(1, "branch", 0, "x");
        return [inputs[0]];
    }

    // The gradient appends nodes; what is frozen gets none.
    public override IReadOnlyList<Value?> Gradient(GradientContext context)
    {
        Value gradient = context.OutputGradient(0);
        return [gradient, context.Needs(1) ? context.Graph.Add(new Scale(Factor), gradient) : null];
    }

    public override OpCost Cost(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        new(Flops: 2.0 * inputs[0].Shape.ElementCount, Traffic(inputs, outputs));

    // Where x is not needed any more, the output takes over its memory.
    public override int InPlaceInput(int output) => 0;

    // The CPU kernel: vectors from TensorPrimitives, cores from ElementWise.
    public unsafe void Run(in CpuArguments arguments)
    {
        float* x = arguments.InputPointer(0), branch = arguments.InputPointer(1), sum = arguments.OutputPointer(0);
        float factor = Factor;
        ElementWise.For(arguments.InputFloat32(0).Length, (start, count) => TensorPrimitives.MultiplyAdd(
            new ReadOnlySpan<float>(branch + start, count), factor, new ReadOnlySpan<float>(x + start, count),
            new Span<float>(sum + start, count)));
    }
}

public static class ScaledResidualCuda
{
    // The CUDA kernel: the loop over packs of 16 bytes comes from kernels/common, the arithmetic is float whatever
    // ELEMENT is.
    private static readonly KernelSource _source = new("scaled_residual.cu", """
        #include "common/element_wise.cuh"

        extern "C" __global__ void scaled_residual(const ELEMENT* x, const ELEMENT* branch, ELEMENT* sum, long long count, float factor) {
            map_elements(x, branch, sum, count, [=](float left, float right) { return left + factor * right; });
        }
        """);

    // The binding: geometry, constants and arguments, from the types of the operands.
    public static CudaBindings Bindings { get; } = CudaBindings.Standard.With<ScaledResidual>((op, kernel) =>
    {
        TensorType sum = kernel.Outputs[0];
        long count = sum.Shape.ElementCount;
        const int Threads = 256;
        kernel.Launch(_source, "scaled_residual", CudaKernelBuilder.Blocks(count, Threads * 16 / sum.DataType.Size()),
            Threads)
            .Type("ELEMENT", sum.DataType).Input(0).Input(1).Output(0).Int64(count).Float32(op.Factor);
    });

    // The emulator. Without Libraries this is the first NVIDIA card.
    public static CudaDevice OpenEmulator() =>
        new(new CudaDeviceOptions { Bindings = Bindings, Libraries = CudaLibraries.LoadSimulated() });
}

public static class ScaledResidualSample
{
    // On new CpuDevice(), on ScaledResidualCuda.OpenEmulator(), on a GPU.
    public static (float[] Sum, float[] BranchGradient) Run(Device device, float[] x, float[] branch)
    {
        // The forward pass: a loss of the squared sum.
        var graph = new Graph();
        Value xValue = graph.Input("x", TensorType.Float32(x.Length)),
            branchValue = graph.Input("branch", TensorType.Float32(branch.Length));
        Value sum = graph.Add(new ScaledResidual(0.5f), xValue, branchValue);
        Value loss = graph.Add(new Sum(), graph.Add(new Multiply(), sum, sum));

        // The backward pass is more nodes of the same graph.
        IReadOnlyDictionary<Value, Value> gradients = graph.Differentiate(loss, [branchValue], graph.Add(new One()),
            new Add());
        graph.Output("sum", sum);
        graph.Output("branch_gradient", gradients[branchValue]);

        // Plan and run: nothing above knew the device.
        using var workspace = new Workspace(device);
        var executor = new Executor(Planner.Plan(graph, device), workspace);
        executor.Write<float>(xValue, x);
        executor.Write<float>(branchValue, branch);
        executor.Run();
        return (executor.Read<float>(sum), executor.Read<float>(gradients[branchValue]));
    }
}
#endregion
