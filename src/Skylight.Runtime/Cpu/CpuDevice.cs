using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Runtime.CompilerServices;
using Microsoft.Win32.SafeHandles;
using Skylight.Cpu.Assembly;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>
/// The CPU: managed code on all cores, no native dependency. Activations are float32, weights float32 or bfloat16, sums
/// float32. It is the reference that other devices are compared with.
/// </summary>
/// <example>
/// <code>
/// using var device = new CpuDevice(new CpuDeviceOptions { Threads = 4 });
/// </code>
/// </example>
public sealed class CpuDevice : Device
{
    private static int s_hasWarned;

    private readonly long _memoryBytes;
    private readonly int _threads;
    private readonly bool _roundsActivations;

    /// <summary>
    /// Makes a device. Where the machine has wider vectors than this program uses, the first one of a process says so
    /// in one line on the error stream (<see cref="CpuVectors.Warning"/>).
    /// </summary>
    /// <param name="memoryBytes">What plans may use; by default what the process may use.</param>
    public CpuDevice(long? memoryBytes = null)
        : this(new CpuDeviceOptions { MemoryBytes = memoryBytes })
    {
    }

    /// <inheritdoc cref="CpuDevice(long?)"/>
    /// <param name="options">Memory, threads and what products compute with.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is a negative number of bytes, not from 1 to 1024 threads, or
    /// another type to compute with.</exception>
    public CpuDevice(CpuDeviceOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (options.MemoryBytes is { } bytes)
            ArgumentOutOfRangeException.ThrowIfNegative(bytes, nameof(options));
        if (options.Threads is { } threads)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1, nameof(options));
            ArgumentOutOfRangeException.ThrowIfGreaterThan(threads, 1024, nameof(options));
            _threads = threads;
        }

        if (options.Compute is not (null or DataType.Float32 or DataType.BFloat16))
            throw new ArgumentOutOfRangeException(nameof(options), options.Compute, "Compute is Float32 or BFloat16.");
        (Compute, _roundsActivations) = ComputePolicy.Of(options.Compute, BFloat16Kernels.AreAvailable,
            QuantizedGemm.HasDotProducts);
        _memoryBytes = options.MemoryBytes ?? GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        if (CpuVectors.Warning is { } warning && Interlocked.Exchange(ref s_hasWarned, 1) == 0)
            Console.Error.WriteLine($"Skylight: {warning}");
    }

    /// <inheritdoc/>
    public override string Name => "cpu";

    /// <inheritdoc/>
    public override long MemoryBytes => _memoryBytes;

    /// <inheritdoc/>
    public override DataType ActivationType => DataType.Float32;

    /// <summary>
    /// What products with bfloat16 weights round their operands to, see <see cref="CpuDeviceOptions.Compute"/>.
    /// </summary>
    public DataType Compute { get; }

    /// <summary>bfloat16 for bfloat16 parameters where it computes with those; else float32.</summary>
    /// <inheritdoc/>
    public override DataType KeyValueType(DataType parameterType) =>
        parameterType == DataType.BFloat16 ? Compute : DataType.Float32;

    /// <summary>float32, bfloat16 and <see cref="DataType.Int8"/>, whatever the parameters are.</summary>
    /// <inheritdoc/>
    public override bool CanCache(DataType type) => type is DataType.Float32 or DataType.BFloat16 or DataType.Int8;

    /// <inheritdoc/>
    public override bool HasKeysAsColumns => true;

    /// <inheritdoc/>
    protected override DeviceMemory Reserve(long bytes)
    {
        try
        {
            return new CpuMemory(Math.Max(bytes, 1));
        }
        catch (OutOfMemoryException exception)
        {
            throw new OutOfDeviceMemoryException(string.Create(CultureInfo.InvariantCulture,
                $"{Name}: {bytes:N0} bytes cannot be reserved."), exception);
        }
    }

    /// <inheritdoc/>
    public override long StorageBytes(TensorType type) => BytesOf(type);

    /// <inheritdoc/>
    public override bool Multiplies(QuantizedFormat format)
    {
        ArgumentNullException.ThrowIfNull(format);
        return PackedWeights.Supports(format);
    }

    /// <inheritdoc/>
    public override bool UploadsFromManyThreads => true;

    /// <inheritdoc/>
    public override unsafe void UploadCodes(Tensor destination, ReadOnlySpan<sbyte> codes, ReadOnlySpan<float> scales,
        ReadOnlySpan<float> minimums, ReadOnlySpan<float> superScales = default)
    {
        ArgumentNullException.ThrowIfNull(destination);
        TensorType type = destination.Type;
        QuantizedFormat format = CheckCodes(type, codes, scales, minimums, superScales);
        fixed (sbyte* pCodes = codes)
        fixed (float* pScales = scales, pMinimums = minimums, pSuperScales = superScales)
            PackedWeights.Pack(type, new QuantizedNumbers(format, type.Shape.Columns, (nint)pCodes, (nint)pScales,
                (nint)pMinimums, (nint)pSuperScales), (byte*)CpuMemory.Pointer(destination));
    }

    /// <inheritdoc/>
    public override unsafe void Upload(ReadOnlySpan<byte> rowMajor, Tensor destination)
    {
        ArgumentNullException.ThrowIfNull(destination);
        TensorType type = destination.Type;
        RefuseCodes(type);
        CheckBytes(rowMajor.Length, type);
        if (type.Storage == Storage.RowMajor)
            rowMajor.CopyTo(CpuMemory.Span<byte>(destination));
        else
        {
            void* panels = CpuMemory.Pointer(destination);
            fixed (byte* source = rowMajor)
            {
                if (type.DataType == DataType.Float32)
                    WeightPanels.Pack((float*)source, (float*)panels, type.Shape.Rows, type.Shape.Columns);
                else
                    WeightPanels.Pack((ushort*)source, (ushort*)panels, type.Shape.Rows, type.Shape.Columns);
            }
        }
    }

    /// <inheritdoc/>
    public override unsafe void Download(Tensor source, Span<byte> rowMajor)
    {
        ArgumentNullException.ThrowIfNull(source);
        TensorType type = source.Type;
        RefuseCodes(type);
        CheckBytes(rowMajor.Length, type);
        if (type.Storage == Storage.RowMajor)
            CpuMemory.Span<byte>(source).CopyTo(rowMajor);
        else
        {
            void* panels = CpuMemory.Pointer(source);
            fixed (byte* target = rowMajor)
            {
                if (type.DataType == DataType.Float32)
                    WeightPanels.Unpack((float*)panels, (float*)target, type.Shape.Rows, type.Shape.Columns);
                else
                    WeightPanels.Unpack((ushort*)panels, (ushort*)target, type.Shape.Rows, type.Shape.Columns);
            }
        }
    }

    /// <inheritdoc/>
    public override string? StoredOrder => MappedMemory.IsSupported && BitConverter.IsLittleEndian
        ? string.Create(CultureInfo.InvariantCulture, $"cpu panels {WeightPanels.Width}, {PackedWeights.Version}") : null;

    /// <inheritdoc/>
    public override unsafe ReadOnlySpan<byte> StoredBytes(Tensor tensor, long offset, int count)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, BytesOf(tensor.Type) - count);
        return new ReadOnlySpan<byte>((byte*)CpuMemory.Pointer(tensor) + offset, count);
    }

    /// <inheritdoc/>
    public override TensorFile MapTensors(SafeFileHandle file)
    {
        ArgumentNullException.ThrowIfNull(file);
        return StoredOrder is null ? base.MapTensors(file) : new CpuTensorFile(this, file);
    }

    /// <inheritdoc/>
    public override void Copy(Tensor source, Tensor destination)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(destination);
        if (source.Type != destination.Type)
            throw new ArgumentException($"Cannot copy {source} to {destination}: the types differ.");
        CpuMemory.Copy(source, destination);
    }

    /// <inheritdoc/>
    public override void Clear(Tensor tensor) => CpuMemory.Clear(tensor);

    /// <inheritdoc/>
    public override Kernel CreateKernel(Node node)
    {
        ArgumentNullException.ThrowIfNull(node);
        if (node.Op is not ICpuKernel kernel)
            throw new NotSupportedException(
                $"{Name} has no kernel for {node.Op.Name}: the op's record must implement {nameof(ICpuKernel)}.");
        foreach (Value value in node.Inputs.Concat(node.Outputs))
        {
            bool parameter = value.Kind == ValueKind.Persistent;
            if (value.Type.DataType == DataType.BFloat16 && !parameter)
                throw new NotSupportedException($"{Name} computes activations in float32, but {node.Op.Name} has {value}.");
        }

        return new OpKernel(kernel, kernel.ScratchBytes(node.InputTypes), _threads, Compute,
            _roundsActivations);
    }

    /// <inheritdoc/>
    public override void Synchronize()
    {
        // Kernels run when called.
    }

    /// <summary>The bytes a tensor takes in memory, with the padding of weight panels.</summary>
    internal static long BytesOf(TensorType type) => type.Format is not null ? PackedWeights.BytesOf(type)
        : type.DataType.Size() * (type.Storage == Storage.RowMajor ? type.Shape.ElementCount
            : WeightPanels.ElementCount(type.Shape.Rows, type.Shape.Columns));

    private static void CheckBytes(int bytes, TensorType type)
    {
        if (bytes != type.Bytes)
            throw new ArgumentException($"{type} has {type.Bytes} bytes, not {bytes}.");
    }

    // What is in the same assembly needs no call of a program to be known by its name.
    [ModuleInitializer]
    [SuppressMessage("Usage", "CA2255", Justification = "Device, in a lower room, cannot name this class.")]
    internal static void Register() => Register("cpu", name => name == "cpu" ? new CpuDevice()
        : throw new ArgumentException($"There is no device '{name}': the processor is 'cpu'.", nameof(name)));

    private sealed class OpKernel(ICpuKernel kernel, long scratchBytes, int threads, DataType compute,
        bool roundsActivations) : Kernel
    {
        public override long ScratchBytes => scratchBytes;

        public override void Run(in KernelArguments arguments)
        {
            int before = CpuParallel.SetLimit(threads);
            try
            {
                kernel.Run(new CpuArguments(arguments, compute, roundsActivations));
            }
            finally
            {
                CpuParallel.SetLimit(before);
            }
        }
    }
}
