using System.Diagnostics;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Bench.Models;

/// <summary>Another device whose kernels know the shortest time that they took: disturbances only ever add.</summary>
internal sealed class TimedDevice(Device inner) : Device
{
    private readonly List<TimedKernel> _kernels = [];
    private long _ticks;

    /// <summary>The seconds in kernels since <see cref="Clear()"/>.</summary>
    public double KernelSeconds => (double)_ticks / Stopwatch.Frequency;

    /// <summary>
    /// The shortest times of the kernels that ran since <see cref="Clear()"/>, added up by op and by the shape of the
    /// weight they read; longest first.
    /// </summary>
    public OpTime[] Times =>
    [
        .. _kernels.Where(kernel => kernel.ShortestTicks < long.MaxValue).GroupBy(kernel => kernel.OpName)
        .Select(group => new OpTime(
            group.Key, group.Count(), (double)group.Sum(kernel => kernel.ShortestTicks) / Stopwatch.Frequency,
            group.Sum(kernel => kernel.Cost.Flops), group.Sum(kernel => kernel.Cost.Bytes)))
            .OrderByDescending(time => time.Seconds),
    ];

    /// <summary>Whether kernels are timed.</summary>
    public bool IsTiming { get; set; } = true;

    /// <summary>Forgets the times.</summary>
    public void Clear()
    {
        _ticks = 0;
        foreach (TimedKernel kernel in _kernels)
            kernel.ShortestTicks = long.MaxValue;
    }

    /// <inheritdoc/>
    public override string Name => inner.Name;

    /// <inheritdoc/>
    public override long MemoryBytes => inner.MemoryBytes;

    /// <inheritdoc/>
    public override DataType ActivationType => inner.ActivationType;

    /// <inheritdoc/>
    public override DataType KeyValueType(DataType parameterType) => inner.KeyValueType(parameterType);

    /// <inheritdoc/>
    public override bool CanCache(DataType type) => inner.CanCache(type);

    /// <inheritdoc/>
    public override int Alignment => inner.Alignment;

    /// <inheritdoc/>
    public override int GroupedInputBytes => inner.GroupedInputBytes;

    /// <inheritdoc/>
    public override bool HasKeysAsColumns => inner.HasKeysAsColumns;

    /// <inheritdoc/>
    protected override DeviceMemory Reserve(long bytes) => inner.Allocate(bytes);

    /// <inheritdoc/>
    public override long StorageBytes(TensorType type) => inner.StorageBytes(type);

    /// <inheritdoc/>
    public override bool Multiplies(QuantizedFormat format) => inner.Multiplies(format);

    public override bool UploadsFromManyThreads => inner.UploadsFromManyThreads;

    public override void UploadCodes(Tensor destination, ReadOnlySpan<sbyte> codes, ReadOnlySpan<float> scales,
        ReadOnlySpan<float> minimums, ReadOnlySpan<float> superScales = default) =>
        inner.UploadCodes(destination, codes, scales, minimums, superScales);

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
        var kernel = new TimedKernel(this, inner.CreateKernel(node), name, node.Cost);
        _kernels.Add(kernel);
        return kernel;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            inner.Dispose();
    }

    private sealed class TimedKernel(TimedDevice device, Kernel inner, string opName, OpCost cost) : Kernel
    {
        public string OpName => opName;

        public OpCost Cost => cost;

        public long ShortestTicks { get; set; } = long.MaxValue;

        public override long ScratchBytes => inner.ScratchBytes;

        public override void Run(in KernelArguments arguments)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Run(arguments);
            long ticks = Stopwatch.GetTimestamp() - start;
            if (!device.IsTiming)
                return;
            device._ticks += ticks;
            ShortestTicks = Math.Min(ShortestTicks, ticks);
        }
    }
}

/// <summary>The kernels of an op in one pass.</summary>
/// <param name="Name">The op, and the weight it reads.</param>
/// <param name="Calls">Kernels.</param>
/// <param name="Seconds">Their shortest times together.</param>
/// <param name="Flops">Floating-point operations.</param>
/// <param name="Bytes">The fewest bytes that must move.</param>
internal sealed record OpTime(string Name, int Calls, double Seconds, double Flops, double Bytes);
