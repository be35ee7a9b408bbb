using System.Diagnostics;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Bench.Models;

/// <summary>Another device whose kernels add up how long they ran, by op and the shape of the weight they read.</summary>
internal sealed class TimedDevice(Device inner) : Device
{
    private readonly Dictionary<string, OpTime> _times = [];

    /// <inheritdoc/>
    public override string Name => inner.Name;

    /// <inheritdoc/>
    public override long MemoryBytes => inner.MemoryBytes;

    /// <inheritdoc/>
    public override DataType ActivationType => inner.ActivationType;

    /// <inheritdoc/>
    public override int Alignment => inner.Alignment;

    /// <inheritdoc/>
    public override bool HasKeysAsColumns => inner.HasKeysAsColumns;

    /// <summary>What ran since <see cref="Clear"/>, longest first.</summary>
    public IReadOnlyList<OpTime> Times => [.. _times.Values.Where(time => time.Calls > 0).OrderByDescending(time => time.Ticks)];

    /// <summary>Forgets the times.</summary>
    public void Clear()
    {
        foreach (OpTime time in _times.Values)
            time.Clear();
    }

    /// <inheritdoc/>
    public override DeviceMemory Allocate(long bytes) => inner.Allocate(bytes);

    /// <inheritdoc/>
    public override long StorageBytes(TensorType type) => inner.StorageBytes(type);

    /// <inheritdoc/>
    public override void Upload(ReadOnlySpan<byte> rowMajor, Tensor destination) => inner.Upload(rowMajor, destination);

    /// <inheritdoc/>
    public override void Download(Tensor source, Span<byte> rowMajor) => inner.Download(source, rowMajor);

    /// <inheritdoc/>
    public override void Copy(Tensor source, Tensor destination) => inner.Copy(source, destination);

    /// <inheritdoc/>
    public override void Clear(Tensor tensor) => inner.Clear(tensor);

    /// <inheritdoc/>
    public override void Synchronize() => inner.Synchronize();

    /// <inheritdoc/>
    public override Kernel CreateKernel(Node node)
    {
        Value? weight = node.Inputs.FirstOrDefault(input => input.Type.Storage == Storage.Weight);
        string name = weight is null ? node.Op.Name : $"{node.Op.Name} {weight.Type.DataType} {weight.Shape}";
        if (!_times.TryGetValue(name, out OpTime? time))
            _times.Add(name, time = new OpTime(name));
        return new TimedKernel(inner.CreateKernel(node), time, node.Cost);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            inner.Dispose();
    }

    private sealed class TimedKernel(Kernel inner, OpTime time, OpCost cost) : Kernel
    {
        public override long ScratchBytes => inner.ScratchBytes;

        public override void Run(in KernelArguments arguments)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Run(arguments);
            time.Add(Stopwatch.GetTimestamp() - start, cost);
        }
    }
}

/// <summary>The runs of an op.</summary>
internal sealed class OpTime(string name)
{
    public string Name { get; } = name;

    public long Ticks { get; private set; }

    public int Calls { get; private set; }

    public double Flops { get; private set; }

    public double Bytes { get; private set; }

    public double Seconds => (double)Ticks / Stopwatch.Frequency;

    public void Add(long ticks, OpCost cost)
    {
        Ticks += ticks;
        Calls++;
        Flops += cost.Flops;
        Bytes += cost.Bytes;
    }

    public OpTime Copy() => (OpTime)MemberwiseClone();

    public void Clear() => (Ticks, Calls, Flops, Bytes) = (0, 0, 0, 0);
}
