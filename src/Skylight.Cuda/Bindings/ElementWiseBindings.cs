using Skylight.Graphs;
using Skylight.Ops;
using Skylight.Tensors;

namespace Skylight.Cuda.Bindings;

/// <summary>
/// Ops that take every element for itself: see <c>kernels/element_wise.cu</c>, <c>kernels/activation.cu</c> and
/// <c>kernels/cast.cu</c>.
/// </summary>
internal static class ElementWiseBindings
{
    private const int Threads = 256;

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<Add>((_, kernel) => Launch(kernel, "element_wise.cu", "add").Input(0).Input(1).Output(0)
            .Int64(Elements(kernel)));
        bindings.Add<Multiply>((_, kernel) => Launch(kernel, "element_wise.cu", "multiply").Input(0).Input(1).Output(0)
            .Int64(Elements(kernel)));
        bindings.Add<Scale>((op, kernel) =>
            Launch(kernel, "element_wise.cu", "scale").Input(0).Output(0).Int64(Elements(kernel)).Float32(op.Factor));
        bindings.Add<Broadcast>(
            (_, kernel) => Launch(kernel, "element_wise.cu", "broadcast").Input(0).Output(0).Int64(Elements(kernel)));
        bindings.Add<One>((_, kernel) => Launch(kernel, "element_wise.cu", "fill").Output(0).Int64(Elements(kernel))
            .Float32(1));
        bindings.Add<Zeros>((_, kernel) => kernel.Clear(kernel.Output(0)));
        bindings.Add<Clear>((_, kernel) => kernel.Clear(kernel.Input(0)));
        AddActivation<Gelu, GeluBackward>(bindings, "gelu");
        AddActivation<Silu, SiluBackward>(bindings, "silu");
        bindings.Add<Cast>((op, kernel) => LaunchConversion(kernel, "cast", kernel.Inputs[0], op.Target).Input(0)
            .Output(0).Int64(Elements(kernel)));
        bindings.Add<Accumulate>(
            (_, kernel) => LaunchConversion(kernel, "accumulate", kernel.Inputs[1], kernel.Inputs[0].DataType)
            .Input(0).Input(1).Int64(kernel.Inputs[0].Shape.ElementCount));
    }

    /// <summary>Queues the activation of something, which may be the op's output, to that.</summary>
    public static void QueueActivation(CudaKernelBuilder kernel, string name, CudaOperand x) =>
        Launch(kernel, "activation.cu", name + "_forward").Pointer(x).Output(0).Int64(Elements(kernel));

    private static void AddActivation<TForward, TBackward>(CudaBindings.Builder bindings, string name)
        where TForward : Op
        where TBackward : Op
    {
        bindings.Add<TForward>((_, kernel) => QueueActivation(kernel, name, kernel.Input(0)));
        bindings.Add<TBackward>((_, kernel) => Launch(kernel, "activation.cu", name + "_backward").Input(0).Input(1)
            .Output(0).Int64(Elements(kernel)));
    }

    private static long Elements(CudaKernelBuilder kernel) => kernel.Outputs[0].Shape.ElementCount;

    /// <summary>A launch in which every thread has 16 bytes of the output.</summary>
    private static KernelLaunch Launch(CudaKernelBuilder kernel, string resource, string entryPoint)
    {
        int perThread = 16 / kernel.Outputs[0].DataType.Size();
        return kernel.Launch(resource, entryPoint, CudaKernelBuilder.Blocks(Elements(kernel), Threads * perThread), Threads)
            .Type("ELEMENT", kernel.Outputs[0].DataType);
    }

    /// <summary>A launch in which every thread has 8 elements.</summary>
    private static KernelLaunch LaunchConversion(CudaKernelBuilder kernel, string entryPoint, TensorType source,
        DataType target) =>
        kernel.Launch("cast.cu", entryPoint, CudaKernelBuilder.Blocks(source.Shape.ElementCount, Threads * 8), Threads)
            .Type("SOURCE", source.DataType).Type("TARGET", target);
}
