using Skylight.Cpu;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Tests.Execution;

/// <summary>
/// The CPU, with no more memory at once than it is told, at any moment; it tells how large the pieces were that it was
/// given.
/// </summary>
internal sealed class LimitedDevice : Device
{
    private readonly CpuDevice _cpu = new();

    /// <summary>The most bytes of one piece of memory.</summary>
    public long MostBytes { get; set; } = long.MaxValue;

    /// <summary>What plans are told that there is.</summary>
    public long PlannedBytes { get; set; } = long.MaxValue;

    public long LargestTransfer { get; private set; }

    public override string Name => "limited";

    public override long MemoryBytes => PlannedBytes;

    public override DataType ActivationType => _cpu.ActivationType;

    public override DataType KeyValueType(DataType parameterType) => _cpu.KeyValueType(parameterType);

    public override bool CanCache(DataType type) => _cpu.CanCache(type);

    public override bool HasKeysAsColumns => _cpu.HasKeysAsColumns;

    protected override DeviceMemory Reserve(long bytes) => bytes <= MostBytes
        ? _cpu.Allocate(bytes)
        : throw new OutOfDeviceMemoryException($"{Name}: {bytes} bytes cannot be reserved: {MostBytes} are free.");

    public override long StorageBytes(TensorType type) => _cpu.StorageBytes(type);

    public override void Upload(ReadOnlySpan<byte> rowMajor, Tensor destination)
    {
        LargestTransfer = Math.Max(LargestTransfer, rowMajor.Length);
        _cpu.Upload(rowMajor, destination);
    }

    public override void Download(Tensor source, Span<byte> rowMajor)
    {
        LargestTransfer = Math.Max(LargestTransfer, rowMajor.Length);
        _cpu.Download(source, rowMajor);
    }

    public override void Copy(Tensor source, Tensor destination) => _cpu.Copy(source, destination);

    public override void Clear(Tensor tensor) => _cpu.Clear(tensor);

    public override Kernel CreateKernel(Node node) => _cpu.CreateKernel(node);

    public override void Synchronize()
    {
    }

    protected override void Dispose(bool disposing) => _cpu.Dispose();
}
