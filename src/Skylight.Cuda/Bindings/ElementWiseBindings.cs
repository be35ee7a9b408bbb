using Skylight.Ops;

namespace Skylight.Cuda.Bindings;

/// <summary>Sums, products and copies of elements; see <c>kernels/element_wise.cu</c>.</summary>
internal static class ElementWiseBindings
{
    private const int Threads = 256;

    /// <summary>Adds the family.</summary>
    public static void Add(CudaBindings.Builder bindings)
    {
        bindings.Add<Add>((_, kernel) => Launch(kernel, "add").Input(0).Input(1).Output(0).Int64(Elements(kernel)));
        bindings.Add<Scale>((op, kernel) => Launch(kernel, "scale").Input(0).Output(0).Int64(Elements(kernel)).Float32(op.Factor));
    }

    private static long Elements(CudaKernelBuilder kernel) => kernel.Outputs[0].Shape.ElementCount;

    /// <summary>A launch in which every thread has 16 bytes of the output.</summary>
    private static KernelLaunch Launch(CudaKernelBuilder kernel, string entryPoint)
    {
        int perThread = 16 / Tensors.DataTypes.Size(kernel.Outputs[0].DataType);
        return kernel.Launch("element_wise.cu", entryPoint, CudaKernelBuilder.Blocks(Elements(kernel), Threads * perThread), Threads)
            .Type("ELEMENT", kernel.Outputs[0].DataType);
    }
}
