using Skylight.Cuda;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Cli;

/// <summary>A CUDA card that is not in this machine: plans for it have their true sizes, and nothing can run.</summary>
/// <param name="architecture">Such as sm_80 or sm_90a.</param>
internal sealed class AbsentCard(string architecture) : Device
{
    private readonly CudaTarget _target = CudaTarget.For(architecture);

    public override string Name => architecture;

    public override long MemoryBytes => long.MaxValue;

    public override DataType ActivationType => DataType.BFloat16;

    public override int Alignment => 256;

    protected override DeviceMemory Reserve(long bytes) => throw NotHere();

    public override long StorageBytes(TensorType type) => type.Bytes;

    public override void Upload(ReadOnlySpan<byte> rowMajor, Tensor destination) => throw NotHere();

    public override void Download(Tensor source, Span<byte> rowMajor) => throw NotHere();

    public override void Copy(Tensor source, Tensor destination) => throw NotHere();

    public override void Clear(Tensor tensor) => throw NotHere();

    public override Kernel CreateKernel(Node node)
    {
        ArgumentNullException.ThrowIfNull(node);
        return new PlannedKernel(CudaBindings.Standard.Describe(node.Op, node.InputTypes,
            [.. node.Outputs.Select(output => output.Type)], _target).ScratchBytes);
    }

    public override void Synchronize()
    {
        // Nothing is ever queued.
    }

    private static NotSupportedException NotHere() => new("This card is only planned for.");

    private sealed class PlannedKernel(long scratchBytes) : Kernel
    {
        public override long ScratchBytes => scratchBytes;

        public override void Run(in KernelArguments arguments) => throw NotHere();
    }
}
