using System.Globalization;
using Skylight.Cuda.Bindings;
using Skylight.Cuda.Interop;
using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Cuda;

/// <summary>
/// An NVIDIA card, compute capability 8.0 or newer. Activations are bfloat16, weights bfloat16 and row-major, sums
/// float32. Everything is queued on one stream: calls return before the work is done, and errors of kernels appear when
/// results are read. Kernels are compiled when a plan is made and kept in a cache.
/// </summary>
/// <example>
/// <code>
/// using var device = new CudaDevice(new CudaDeviceOptions { Ordinal = 1 });
/// await using ChatModel model = await ChatModel.LoadAsync("InternVL3-8B", new ChatModelOptions { Device = device });
/// </code>
/// </example>
public sealed class CudaDevice : Device
{
    private const string ProgrammaticLaunchVariable = "SKYLIGHT_PROGRAMMATIC_LAUNCH";
    private const string ClustersVariable = "SKYLIGHT_CLUSTERS";

    // Graphs of older drivers record no such launch.
    private static readonly Version s_programmaticVersion = new(12, 3);

    // Of a quantised weight, what is packed on the host at a time.
    private const long PackedBytes = 16 << 20;

    private readonly CudaContextHandle _context;
    private readonly StagingMemory _staging;
    private readonly long _memoryBytes;
    private readonly CudaBindings _bindings;
    private readonly bool _capturesGraphs;
    private HashSet<CudaMemory>? _memoryOfRecording;
    private bool _disposed;

    /// <summary>Makes a device of the first card that is visible.</summary>
    /// <exception cref="CudaException">A library was not found, or a call failed.</exception>
    public CudaDevice()
        : this(new CudaDeviceOptions())
    {
    }

    /// <summary>Makes a device.</summary>
    /// <exception cref="CudaException">A library was not found, there is no such card, context or stream are not of it,
    /// NVRTC makes nothing that it could run, or a call failed.</exception>
    /// <exception cref="NotSupportedException">The card is older than compute capability 8.0.</exception>
    public CudaDevice(CudaDeviceOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        Libraries = options.Libraries ?? CudaLibraries.Load();
        _bindings = options.Bindings;
        _capturesGraphs = options.CaptureGraphs;
        Name = string.Create(CultureInfo.InvariantCulture, $"{(Libraries.IsSimulated ? "simt" : "cuda")}:{options.Ordinal}");
        int device = Find(options.Ordinal);
        CardName = Driver.NameOf(device);
        Target = TargetOf(device, options.Deterministic);
        _context = new CudaContextHandle(Libraries, device, options.Context);
        Stream = new CudaStreamHandle(_context, options.Stream);
        _memoryBytes = options.MemoryBytes ?? ReadMemory().FreeBytes;
        Modules = new ModuleTable(_context, new KernelCache(Libraries, options.CacheFolder));
        Products = new ProductLibrary(this);
        _staging = new StagingMemory(Stream);
        Status = new KernelStatus(this);
        Counters = new KernelCounters(this);
        try
        {
            // First, so that the probe launches as everything else does.
            Target = Target with
            {
                UsesProgrammaticLaunch = (options.ProgrammaticLaunch ?? Switch(ProgrammaticLaunchVariable) ?? true)
                    && Driver.Version >= s_programmaticVersion,
                UsesClusters = options.Clusters ?? Switch(ClustersVariable) ?? true,
            };
            WarpgroupsOff = WhyWithoutWarpgroups(options.Warpgroups ?? WarpgroupProbe.Wanted());
        }
        catch
        {
            Dispose();
            throw;
        }

        Target = Target with { UsesWarpgroups = WarpgroupsOff is null };
    }

    /// <inheritdoc/>
    public override string Name { get; }

    /// <summary>The card's own name.</summary>
    public string CardName { get; }

    /// <summary>The native libraries it works with.</summary>
    public CudaLibraries Libraries { get; }

    /// <summary>What bindings know of the card.</summary>
    public CudaTarget Target { get; }

    /// <summary>Why kernels by <c>wgmma</c> are not used though the card has it; null where they are, or it has not.</summary>
    public string? WarpgroupsOff { get; }

    /// <inheritdoc/>
    public override long MemoryBytes => _memoryBytes;

    /// <inheritdoc/>
    public override int Alignment => 256;

    /// <inheritdoc/>
    // The masks of a hundred answers of a large vocabulary, at a bit for each token and answer.
    public override int GroupedInputBytes => 2 << 20;

    /// <inheritdoc/>
    public override DataType ActivationType => DataType.BFloat16;

    /// <summary>
    /// The context (<c>CUcontext</c>), for a host's own calls of the driver and for libraries such as ManagedCuda;
    /// valid while the device is open.
    /// </summary>
    public nint ContextHandle => _disposed ? throw new ObjectDisposedException(nameof(CudaDevice)) : _context.Value;

    /// <summary>
    /// The stream (<c>CUstream</c>) on which everything is queued; valid while the device is open. Whoever queues on it
    /// is in order with the device.
    /// </summary>
    public nint StreamHandle => _disposed ? throw new ObjectDisposedException(nameof(CudaDevice)) : Stream.Value;

    internal Driver Driver => Libraries.Driver;

    internal CudaStreamHandle Stream { get; }

    internal ModuleTable Modules { get; }

    internal ProductLibrary Products { get; }

    internal KernelStatus Status { get; }

    internal KernelCounters Counters { get; }

    /// <summary>How many copies to the card were queued.</summary>
    internal long Uploads => _staging.Uploads;

    /// <inheritdoc/>
    protected override DeviceMemory Reserve(long bytes)
    {
        CudaMemory memory = AllocateUninitialized(Math.Max(bytes, 1));
        Clear(memory.Address, memory.Bytes);
        return memory;
    }

    /// <inheritdoc/>
    public override long StorageBytes(TensorType type) =>
        type.Format is null ? type.Bytes : QuantizedWeightLayout.Of(type).BytesOf(type.Shape.Rows);

    /// <inheritdoc/>
    public override bool Multiplies(QuantizedFormat format)
    {
        ArgumentNullException.ThrowIfNull(format);
        return QuantizedWeightLayout.Supports(format);
    }

    /// <inheritdoc/>
    public override void UploadCodes(Tensor destination, ReadOnlySpan<sbyte> codes, ReadOnlySpan<float> scales,
        ReadOnlySpan<float> minimums, ReadOnlySpan<float> superScales = default)
    {
        ArgumentNullException.ThrowIfNull(destination);
        TensorType type = destination.Type;
        QuantizedFormat format = CheckCodes(type, codes, scales, minimums, superScales);
        QuantizedWeightLayout layout = QuantizedWeightLayout.Of(type);
        MakeCurrent();
        ulong address = AddressOf(destination);
        int rows = type.Shape.Rows, columns = type.Shape.Columns, blocks = format.BlocksOf(columns),
            part = (int)Math.Max(Math.Min(PackedBytes / layout.PanelBytes, QuantizedWeightLayout.Panels(rows)), 1) * RowBlock;
        byte[] packed = new byte[layout.BytesOf(Math.Min(part, rows))];
        for (int first = 0; first < rows; first += part)
        {
            int count = Math.Min(part, rows - first);
            Span<byte> panels = packed.AsSpan(0, (int)layout.BytesOf(count));
            layout.Pack(codes.Slice(first * columns, count * columns), scales.Slice(first * blocks, count * blocks),
                format.HasMinimum ? minimums.Slice(first * blocks, count * blocks) : [], count, panels);
            _staging.Upload(panels, address + (ulong)layout.BytesOf(first));
        }
    }

    /// <inheritdoc/>
    public override void Upload(ReadOnlySpan<byte> rowMajor, Tensor destination)
    {
        ArgumentNullException.ThrowIfNull(destination);
        RefuseCodes(destination.Type);
        CheckBytes(rowMajor.Length, destination.Type);
        MakeCurrent();
        _staging.Upload(rowMajor, AddressOf(destination));
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentOutOfRangeException">A kernel found an index in its data that it cannot use; the
    /// message names the op.</exception>
    public override void Download(Tensor source, Span<byte> rowMajor)
    {
        ArgumentNullException.ThrowIfNull(source);
        Download([source], rowMajor);
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentOutOfRangeException">A kernel found an index in its data that it cannot use; the
    /// message names the op.</exception>
    public override void Download(ReadOnlySpan<Tensor> sources, Span<byte> rowMajor)
    {
        long bytes = 0;
        foreach (Tensor source in sources)
        {
            RefuseCodes(source.Type);
            bytes += source.Type.Bytes;
        }

        if (bytes != rowMajor.Length)
            throw new ArgumentException(
                $"{string.Join(", ", sources.ToArray().Select(source => source.Type))}: {bytes} bytes, not " +
                $"{rowMajor.Length}.");
        MakeCurrent();
        var parts = new (ulong Address, int Bytes)[sources.Length];
        for (int index = 0; index < sources.Length; index++)
            parts[index] = (AddressOf(sources[index]), (int)sources[index].Type.Bytes);
        Status.CheckAndDownload(parts, rowMajor);
    }

    /// <inheritdoc/>
    public override void Copy(Tensor source, Tensor destination)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentNullException.ThrowIfNull(destination);
        if (source.Type != destination.Type)
            throw new ArgumentException($"Cannot copy {source} to {destination}: the types differ.");
        MakeCurrent();
        Copy(AddressOf(source), AddressOf(destination), StorageBytes(source.Type));
    }

    /// <inheritdoc/>
    public override void Clear(Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        MakeCurrent();
        Clear(AddressOf(tensor), StorageBytes(tensor.Type));
    }

    /// <inheritdoc/>
    public override Kernel CreateKernel(Node node)
    {
        ArgumentNullException.ThrowIfNull(node);
        ObjectDisposedException.ThrowIf(_disposed, this);
        return new CudaKernel(this, _bindings.Describe(node.Op, node.InputTypes, node.OutputTypes, Target));
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentOutOfRangeException">A kernel found an index in its data that it cannot use; the
    /// message names the op.</exception>
    public override void Synchronize()
    {
        MakeCurrent();
        Status.Check();
        Stream.Synchronize();
    }

    /// <summary>
    /// What is free on the card now, after what this and other processes have taken. Memory that was given back may
    /// stay with the process.
    /// </summary>
    public unsafe CudaMemoryInfo ReadMemory()
    {
        MakeCurrent();
        nuint free, total;
        Driver.Check(Driver.MemGetInfo(&free, &total), "cuMemGetInfo");
        return new CudaMemoryInfo((long)free, (long)total);
    }

    /// <inheritdoc/>
    /// <exception cref="CudaException">Something was queued that no graph can hold; the device works on.</exception>
    public override RecordedWork? Record(Action queue)
    {
        ArgumentNullException.ThrowIfNull(queue);
        if (!_capturesGraphs)
            return null;
        MakeCurrent();
        _memoryOfRecording = [];
        try
        {
            return CudaGraph.Record(this, queue, _memoryOfRecording);
        }
        finally
        {
            _memoryOfRecording = null;
        }
    }

    /// <summary>
    /// The address on the card of a tensor's first element (<c>CUdeviceptr</c>); elements are row-major. Valid until
    /// its memory is given back.
    /// </summary>
    /// <exception cref="ArgumentException">The tensor is not in memory of this device.</exception>
    public ulong GetAddress(Tensor tensor) => CudaMemory.AddressOf(tensor, Stream);

    /// <summary>
    /// Memory of the host as that of tensors: used where it lies, never freed. The host keeps it until all work that
    /// was queued on it is done, and queues its own use of it on <see cref="StreamHandle"/> or waits.
    /// </summary>
    /// <param name="address">Where it begins on the card (<c>CUdeviceptr</c>), a multiple of <see cref="Alignment"/>,
    /// in the device's context.</param>
    /// <param name="bytes">How many bytes it has.</param>
    /// <exception cref="ArgumentException">The address is zero or not aligned, or there are no bytes.</exception>
    public CudaMemory Borrow(ulong address, long bytes)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bytes);
        if (address == 0 || address % (ulong)Alignment != 0)
            throw new ArgumentException(
                $"0x{address:X} is no address that kernels can use: give a multiple of {Alignment} that is not zero, " +
                $"as cuMemAlloc returns it.", nameof(address));
        return new CudaMemory(Stream, address, bytes, isBorrowed: true);
    }

    /// <summary>Makes the card's context current on the calling thread.</summary>
    internal void MakeCurrent()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _context.MakeCurrent();
    }

    internal ulong AddressOf(Tensor tensor)
    {
        ulong address = CudaMemory.AddressOf(tensor, Stream);
        _memoryOfRecording?.Add((CudaMemory)tensor.Memory);
        return address;
    }

    internal unsafe void Copy(ulong source, ulong destination, long bytes)
    {
        if (source != destination && bytes > 0)
            Driver.Check(Driver.MemcpyDtoDAsync(destination, source, (nuint)bytes, Stream.Value), "cuMemcpyDtoDAsync");
    }

    internal unsafe void Clear(ulong address, long bytes)
    {
        if (bytes > 0)
            Driver.Check(Driver.MemsetD8Async(address, 0, (nuint)bytes, Stream.Value), "cuMemsetD8Async");
    }

    internal void Download(ReadOnlySpan<(ulong Address, int Bytes)> parts, Span<byte> bytes) =>
        _staging.Download(parts, bytes);

    internal CudaMemory AllocateUninitialized(long bytes)
    {
        MakeCurrent();
        if (Stream.IsCapturing)
            throw new InvalidOperationException(
                $"{bytes:N0} bytes cannot be reserved while work is recorded as a graph: its replays would not own them.");
        int result = Stream.Allocate(bytes, out ulong address);
        if (result == CudaNumbers.OutOfMemory)
        {
            (long free, long total) = ReadMemory();
            throw new OutOfDeviceMemoryException(string.Create(
                CultureInfo.InvariantCulture,
                $"{Name} ({CardName}): {bytes:N0} bytes cannot be reserved: {free:N0} of {total:N0} are free. Fewer " +
                $"tokens per step, recomputation of layers, or fewer trained modules would help; other " +
                $"processes may use the card too."));
        }

        Driver.Check(result, Stream.HasMemoryPool ? "cuMemAllocAsync" : "cuMemAlloc");
        return new CudaMemory(Stream, address, bytes);
    }

    /// <inheritdoc/>
    protected override unsafe void Dispose(bool disposing)
    {
        if (_disposed || !disposing)
            return;
        _disposed = true;
        _context.TryMakeCurrent();
        int result = Driver.StreamSynchronize(Stream.Value);
        Status.Dispose();
        Counters.Dispose();
        _staging.Dispose();
        Products.Dispose();
        Modules.Dispose();
        Stream.Dispose();
        _context.Dispose();

        // A card's context ends with its last owner; the emulator's outlives a lost device only when told to.
        if (Driver.IsLasting(result))
            Libraries.Emulator?.Reset();
    }

    private static void CheckBytes(int bytes, TensorType type)
    {
        if (bytes != type.Bytes)
            throw new ArgumentException($"{type} has {type.Bytes} bytes, not {bytes}.");
    }

    private unsafe int Find(int ordinal)
    {
        Driver.Check(Driver.Init(0), "cuInit");
        int count;
        Driver.Check(Driver.DeviceGetCount(&count), "cuDeviceGetCount");
        if (ordinal < 0 || ordinal >= count)
            throw new CudaException(string.Create(CultureInfo.InvariantCulture,
                $"There is no card {ordinal}: {count} are visible, counted from 0. See CUDA_VISIBLE_DEVICES."));
        int device;
        Driver.Check(Driver.DeviceGet(&device, ordinal), "cuDeviceGet");
        return device;
    }

    /// <summary>What an environment variable says that is <c>on</c> or <c>off</c>; null where it is not set.</summary>
    /// <exception cref="ArgumentException">It says something else.</exception>
    internal static bool? Switch(string variable) => Environment.GetEnvironmentVariable(variable) switch
    {
        null or "" => null,
        "on" => true,
        "off" => false,
        { } other => throw new ArgumentException($"{variable} is '{other}'; set it to on or off, or not at all."),
    };

    private string? WhyWithoutWarpgroups(bool? wanted)
    {
        if (!Target.HasHopperInstructions || wanted == true)
            return null;
        if (wanted == false)
            return "they were not wanted";
        // The emulator's bits depend on nothing beside an element, by construction.
        return Libraries.IsSimulated ? null : WarpgroupProbe.Run(this);
    }

    private CudaTarget TargetOf(int device, bool deterministic)
    {
        int architecture = Driver.ArchitectureOf(device);
        if (CudaTarget.WhyUnsupported(architecture) is { } reason)
            throw new NotSupportedException($"{CardName} {reason}.");
        CompiledForm form = CompiledForm.For(architecture, Libraries.Nvrtc, Driver.Version);
        return new CudaTarget(
            architecture,
            form.ArchitectureName ?? throw new CudaException($"{CardName}: {form.Problem}"),
            Driver.AttributeOf(device, CudaNumbers.AttributeMultiprocessors),
            Driver.AttributeOf(device, CudaNumbers.AttributeSharedBytesOptIn),
            deterministic);
    }
}
