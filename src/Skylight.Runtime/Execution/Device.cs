using Microsoft.Win32.SafeHandles;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Execution;

/// <summary>
/// A place where plans run: it owns memory, knows how weights are best stored, and has a kernel for every op.
/// One plan runs at a time on a device; the caller sees to that.
/// </summary>
public abstract class Device : IDisposable
{
    private long _reserved;
    private long _mostReserved;
    private static readonly Dictionary<string, Func<string, Device>> s_kinds = new(StringComparer.Ordinal);

    /// <summary>
    /// Opens a device by its name: <c>cpu</c>; and what other assemblies have registered, such as <c>cuda:0</c> and
    /// <c>simt</c> after <c>CudaDevices.Register()</c>. Never another device than the one asked for.
    /// </summary>
    /// <param name="name">A kind, or a kind and what it makes of the rest: <c>cuda:1</c>.</param>
    /// <exception cref="ArgumentException">No such kind is registered; names those that are.</exception>
    /// <example><code>using Device device = Device.Parse(args.Length > 0 ? args[0] : "cpu");</code></example>
    public static Device Parse(string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        int colon = name.IndexOf(':', StringComparison.Ordinal);
        string kind = colon < 0 ? name : name[..colon];
        Func<string, Device>? open;
        string[] known;
        lock (s_kinds)
        {
            s_kinds.TryGetValue(kind, out open);
            known = [.. s_kinds.Keys.Order(StringComparer.Ordinal)];
        }

        if (open is not null)
            return open(name);
        throw new ArgumentException(
            $"There is no device '{name}'. This program knows: {string.Join(", ", known)}. Reference the package that " +
            "brings another kind, and register it when the program starts (CudaDevices.Register()).", nameof(name));
    }

    /// <summary>Lets <see cref="Parse"/> open devices of another kind; the last registration of a kind counts.</summary>
    /// <param name="kind">What stands before the colon of a name.</param>
    /// <param name="open">Opens a device of a whole name.</param>
    public static void Register(string kind, Func<string, Device> open)
    {
        ArgumentException.ThrowIfNullOrEmpty(kind);
        ArgumentNullException.ThrowIfNull(open);
        if (kind.Contains(':', StringComparison.Ordinal))
            throw new ArgumentException($"'{kind}' has a colon, behind which a name says which one of its kind.",
                nameof(kind));
        lock (s_kinds)
            s_kinds[kind] = open;
    }

    /// <summary>The name, for example <c>cpu</c> or <c>cuda:0</c>.</summary>
    public abstract string Name { get; }

    /// <summary>The memory that plans may use in bytes; what a plan's peak is checked against.</summary>
    public abstract long MemoryBytes { get; }

    /// <summary>The element type of activations: what a model computes in between its parameters.</summary>
    public abstract DataType ActivationType { get; }

    /// <summary>
    /// What the places of values and temporary memory in a plan's arena are aligned to, in bytes: a power of two, at
    /// least 64.
    /// </summary>
    public virtual int Alignment => 64;

    /// <summary>
    /// Inputs of a plan of up to so many bytes are put side by side and uploaded as one, because a copy to the device
    /// costs more than their bytes; 0 where it costs nothing.
    /// </summary>
    public virtual int GroupedInputBytes => 0;

    /// <summary>
    /// The element type of the key-value caches of a model, and what its attention rounds the operands of products to;
    /// prefill, decoding and training alike, so that they agree.
    /// </summary>
    /// <param name="parameterType">What the model's parameters are.</param>
    public virtual DataType KeyValueType(DataType parameterType) => ActivationType;

    /// <summary>
    /// Whether key-value caches may have this element type, where answers alone are made: what is trained on must be drawn
    /// with <see cref="KeyValueType"/>. By default that of activations only.
    /// </summary>
    public virtual bool CanCache(DataType type) => type == ActivationType;

    /// <summary>
    /// Whether a key cache has a page's keys as columns, [D, 32], rather than as rows, [32, D], of a head. Values are
    /// rows everywhere. Caches of another type than activations are in an order of the device's own. Only who fills or
    /// reads a cache without <see cref="Ops.KeyValueWrite"/> and <see cref="Ops.PagedAttention"/> needs to know.
    /// </summary>
    public virtual bool HasKeysAsColumns => false;

    /// <summary>Reserves memory, filled with zeros and aligned to at least <see cref="Alignment"/> bytes.</summary>
    /// <exception cref="OutOfDeviceMemoryException">There is not that much.</exception>
    public DeviceMemory Allocate(long bytes) => Counted(Reserve(bytes));

    /// <summary>Counts memory among what is reserved, until it is given back.</summary>
    internal DeviceMemory Counted(DeviceMemory memory)
    {
        long now = Interlocked.Add(ref _reserved, memory.Bytes);
        for (long most = ReservedPeakBytes;
            most < now && Interlocked.CompareExchange(ref _mostReserved, now, most) != most; most = ReservedPeakBytes)
        {
        }

        memory.WhenGivenBack(given => Interlocked.Add(ref _reserved, -given));
        return memory;
    }

    /// <summary>
    /// The bytes that are reserved now: of everything that was asked of <see cref="Allocate"/> and not given back. What
    /// a device takes for itself, such as kernels and the workspaces of its libraries, is not among them.
    /// </summary>
    public long ReservedBytes => Interlocked.Read(ref _reserved);

    /// <summary>The most bytes that were reserved at any moment so far.</summary>
    public long ReservedPeakBytes => Interlocked.Read(ref _mostReserved);

    /// <summary>Does what <see cref="Allocate"/> says.</summary>
    protected abstract DeviceMemory Reserve(long bytes);

    /// <summary>The bytes that a tensor takes on this device, with the padding its storage order needs.</summary>
    public abstract long StorageBytes(TensorType type);

    /// <summary>Copies elements to the device, from dense row-major order into the tensor's storage order.</summary>
    public abstract void Upload(ReadOnlySpan<byte> rowMajor, Tensor destination);

    /// <summary>Copies elements from the device into dense row-major order, after all work queued before.</summary>
    public abstract void Download(Tensor source, Span<byte> rowMajor);

    /// <summary>
    /// Names the order in which this device stores tensors, where their bytes may be kept in a file and be mapped by
    /// another process on another day: it changes with every change of that order. Null where they may not.
    /// </summary>
    public virtual string? StoredOrder => null;

    /// <summary>Bytes of a tensor as they are stored; only where there is a <see cref="StoredOrder"/>.</summary>
    /// <param name="tensor">A tensor of this device.</param>
    /// <param name="offset">The first byte.</param>
    /// <param name="count">How many; together at most <see cref="StorageBytes"/>.</param>
    public virtual ReadOnlySpan<byte> StoredBytes(Tensor tensor, long offset, int count) =>
        throw new NotSupportedException($"{Name} does not show how it stores tensors.");

    /// <summary>Maps a file of tensors in this device's <see cref="StoredOrder"/>.</summary>
    /// <param name="file">Open for reading; may be closed at once. It must not become shorter while it is mapped.</param>
    /// <exception cref="IOException">It cannot be mapped.</exception>
    public virtual TensorFile MapTensors(SafeFileHandle file) =>
        throw new NotSupportedException($"{Name} maps no files.");

    /// <summary>
    /// Whether the device multiplies weights that stay quantised in this format; else they are given to it as numbers.
    /// </summary>
    public virtual bool Multiplies(QuantizedFormat format) => false;

    /// <summary>Whether many threads may be in <see cref="UploadCodes"/> at once; else one at a time.</summary>
    public virtual bool UploadsFromManyThreads => false;

    /// <summary>Copies a quantised weight, or rows of one, to the device.</summary>
    /// <param name="destination">A tensor with a <see cref="TensorType.Format"/> that it <see cref="Multiplies"/>.</param>
    /// <param name="codes">All codes, row-major, one a byte.</param>
    /// <param name="scales">[rows, blocks of a row].</param>
    /// <param name="minimums">The same; empty where the format has none.</param>
    /// <param name="superScales">[rows, super-blocks of a row, 1 or 2]: what scales, and minimums, are multiples of; empty
    /// where the format has no super-blocks.</param>
    /// <exception cref="NotSupportedException">The device multiplies no such weights.</exception>
    /// <exception cref="ArgumentException">There are more or fewer than the tensor has.</exception>
    public virtual void UploadCodes(Tensor destination, ReadOnlySpan<sbyte> codes, ReadOnlySpan<float> scales,
        ReadOnlySpan<float> minimums, ReadOnlySpan<float> superScales = default) =>
        throw new NotSupportedException($"{Name} multiplies no quantised weights.");

    /// <summary>Checks what is given to <see cref="UploadCodes"/>.</summary>
    protected static QuantizedFormat CheckCodes(TensorType type, ReadOnlySpan<sbyte> codes, ReadOnlySpan<float> scales,
        ReadOnlySpan<float> minimums, ReadOnlySpan<float> superScales)
    {
        if (type.Format is not { } format)
            throw new ArgumentException($"{type} is not quantised; give it its elements.");
        int blocks = checked(type.Shape.Rows * format.BlocksOf(type.Shape.Columns)),
            supers = checked(type.Shape.Rows * format.SuperScalesOf(type.Shape.Columns));
        if (codes.Length != type.Shape.ElementCount || scales.Length != blocks
            || minimums.Length != (format.HasMinimum ? blocks : 0) || superScales.Length != supers)
            throw new ArgumentException(
                $"{type} has {type.Shape.ElementCount} codes, {blocks} scales, {(format.HasMinimum ? blocks : 0)} minimums " +
                $"and {supers} scales of super-blocks, not {codes.Length}, {scales.Length}, {minimums.Length} and " +
                $"{superScales.Length}.");
        return format;
    }

    /// <summary>Refuses a quantised tensor where elements are copied.</summary>
    protected static void RefuseCodes(TensorType type)
    {
        if (type.Format is not null)
            throw new ArgumentException($"{type} is quantised: it has codes and scales, and no elements to copy.");
    }

    /// <summary>
    /// Copies the elements of several tensors from the device, one tensor after the other, with one wait for the work
    /// queued before.
    /// </summary>
    public virtual void Download(ReadOnlySpan<Tensor> sources, Span<byte> rowMajor)
    {
        foreach (Tensor source in sources)
        {
            int bytes = checked((int)source.Type.Bytes);
            Download(source, rowMajor[..bytes]);
            rowMajor = rowMajor[bytes..];
        }
    }

    /// <summary>Copies the bytes of one tensor to another of the same type.</summary>
    public abstract void Copy(Tensor source, Tensor destination);

    /// <summary>Fills a tensor with zeros.</summary>
    public abstract void Clear(Tensor tensor);

    /// <summary>Chooses the kernel for a node.</summary>
    /// <exception cref="NotSupportedException">The device has no kernel for the op, or not for these types; the error
    /// names both.</exception>
    public abstract Kernel CreateKernel(Node node);

    /// <summary>Waits until all queued work is done.</summary>
    public abstract void Synchronize();

    /// <summary>
    /// Records the work that an action queues, without doing it, so that all of it can be queued again at once. The
    /// action must have run before in the ordinary way, with the same tensors, and may only run kernels, clear and copy.
    /// </summary>
    /// <returns>What was recorded; null, without a call of the action, on a device that records nothing.</returns>
    public virtual RecordedWork? Record(Action queue) => null;

    /// <summary>
    /// Rows of a weight (<see cref="Storage.Weight"/>) lie in blocks of this many on every device, one block after the
    /// other: a part of it begins at a multiple.
    /// </summary>
    public const int RowBlock = 32;

    /// <summary>
    /// Consecutive rows of a matrix, or elements of a vector, as a tensor of their own in the same memory, so that a
    /// tensor too large for one buffer is uploaded and downloaded in parts.
    /// </summary>
    /// <param name="tensor">A vector or matrix of this device.</param>
    /// <param name="firstRow">Where the part begins; for weights a multiple of <see cref="RowBlock"/>.</param>
    /// <param name="rowCount">Its rows; for weights a multiple of <see cref="RowBlock"/> unless it reaches to the last
    /// row.</param>
    /// <exception cref="ArgumentException">The rows are not there, or not whole blocks.</exception>
    public Tensor Part(Tensor tensor, int firstRow, int rowCount)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        TensorType type = tensor.Type;
        int rows = type.Shape.Rank == 1 ? type.Shape[0] : type.Shape.Rows;
        if (firstRow < 0 || rowCount < 0 || firstRow > rows - rowCount)
            throw new ArgumentException($"{tensor} has no rows from {firstRow} to {(long)firstRow + rowCount}.");
        if (type.Storage == Storage.Weight
            && (firstRow % RowBlock != 0 || (rowCount % RowBlock != 0 && firstRow + rowCount != rows)))
            throw new ArgumentException(
                $"Rows from {firstRow} to {firstRow + rowCount} of {tensor} are not whole blocks of {RowBlock}.");
        TensorType before = type with { Shape = RowsOf(type.Shape, firstRow) };
        long offset = type.Storage == Storage.Weight ? StorageBytes(before) : before.Bytes;
        return new Tensor(tensor.Memory, tensor.ByteOffset + offset, type with { Shape = RowsOf(type.Shape, rowCount) });
    }

    private static Shape RowsOf(Shape shape, int rows) => shape.Rank == 1 ? new Shape(rows) : new Shape(rows, shape.Columns);

    /// <summary>Reserves memory for one tensor of its own.</summary>
    public Tensor AllocateTensor(TensorType type) => new(Allocate(Math.Max(StorageBytes(type), 1)), 0, type);

    /// <summary>Gives a persistent tensor its memory on this device, filled with zeros.</summary>
    public void Bind(PersistentTensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        tensor.Bind(AllocateTensor(tensor.Type));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives everything back.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }
}

/// <summary>A kernel chosen for one node: knows its shapes, runs on tensors of those shapes.</summary>
public abstract class Kernel
{
    /// <summary>The temporary memory it needs while running; the planner puts it into the arena.</summary>
    public virtual long ScratchBytes => 0;

    /// <summary>Computes (or queues the computation of) the outputs.</summary>
    public abstract void Run(in KernelArguments arguments);
}

/// <summary>Work that was recorded on a device, bound to the memory it was recorded with.</summary>
public abstract class RecordedWork : IDisposable
{
    /// <summary>Queues all of it.</summary>
    /// <exception cref="ObjectDisposedException">Memory that it uses was given back.</exception>
    public abstract void Replay();

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives the recording back; called once or more.</summary>
    protected abstract void Dispose(bool disposing);
}

/// <summary>The tensors of one kernel run.</summary>
/// <param name="Inputs">In the op's order.</param>
/// <param name="Outputs">In the op's order.</param>
/// <param name="Scratch">Temporary memory; null when the kernel asked for none.</param>
public readonly record struct KernelArguments(Tensor[] Inputs, Tensor[] Outputs, Tensor? Scratch);

/// <summary>A device has less memory than is needed.</summary>
public sealed class OutOfDeviceMemoryException : Exception
{
    /// <summary>Makes an exception.</summary>
    public OutOfDeviceMemoryException(string message)
        : base(message)
    {
    }

    /// <summary>Makes an exception with its cause.</summary>
    public OutOfDeviceMemoryException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Makes an exception without a message.</summary>
    public OutOfDeviceMemoryException()
    {
    }
}
