using System.Runtime.InteropServices;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Execution;

/// <summary>
/// Memory for the arenas of plans that run one after the other. Inputs and outputs of a plan lie in its arena, so they are
/// valid only until another plan on the same workspace is given inputs or runs.
/// </summary>
public sealed class Workspace(Device device) : IDisposable
{
    private DeviceMemory? _memory;

    /// <summary>Where the memory is.</summary>
    public Device Device { get; } = device;

    /// <summary>The current size in bytes.</summary>
    public long Bytes => _memory?.Bytes ?? 0;

    /// <inheritdoc/>
    public void Dispose()
    {
        _memory?.Dispose();
        _memory = null;
    }

    /// <summary>The memory, made larger if necessary.</summary>
    internal DeviceMemory Reserve(long bytes)
    {
        if (_memory is null || _memory.Bytes < bytes)
        {
            // Freed first: two arenas at once could be more than the device has.
            _memory?.Dispose();
            _memory = null;
            _memory = Device.Allocate(Math.Max(bytes, 64));
        }

        return _memory;
    }
}

/// <summary>
/// Runs a plan. Its first run queues step after step; on a device that records work the second one records them all,
/// and from then on a run is one replay, until the arena or a persistent tensor has other memory. Not safe for use by
/// several threads at once.
/// </summary>
public sealed class Executor
{
    private readonly Workspace _workspace;
    private readonly KernelArguments[] _arguments;
    private readonly Dictionary<Value, Tensor> _tensors = [];
    private readonly (PersistentTensor Persistent, Tensor? Bound)[] _persistent;
    private readonly PersistentTensor[] _changed;
    private readonly Action _queueSteps;
    private readonly byte[] _grouped;
    private bool _groupIsNew;
    private DeviceMemory? _bound;
    private bool _hasRun;
    private RecordedWork? _recorded;

    /// <summary>Makes an executor.</summary>
    /// <param name="plan">What to run.</param>
    /// <param name="workspace">The memory for the plan's arena; it may be shared by plans that do not run at the same
    /// time.</param>
    public Executor(Plan plan, Workspace workspace)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(workspace);
        if (plan.Device != workspace.Device)
            throw new ArgumentException(
                $"The plan is for {plan.Device.Name}, the workspace on {workspace.Device.Name}.", nameof(workspace));
        Plan = plan;
        _workspace = workspace;
        _arguments = new KernelArguments[plan.Steps.Count];
        _persistent = [.. plan.Steps.SelectMany(step => step.Node.Inputs).Select(input => input.Persistent)
            .OfType<PersistentTensor>().Distinct().Select(tensor => (tensor, (Tensor?)null))];
        _changed = [
            .. plan.Steps.SelectMany(step =>
                step.Node.Op.MutatedInputs.Select(input => step.Node.Inputs[input].Persistent))
                    .OfType<PersistentTensor>().Distinct()];
        _queueSteps = () => QueueSteps(CancellationToken.None);
        _grouped = new byte[plan.GroupedInputBytes];
        foreach ((Value constant, int[] elements) in plan.Graph.Constants.Where(constant => IsGrouped(constant.Key)))
            MemoryMarshal.AsBytes<int>(elements).CopyTo(_grouped.AsSpan((int)plan.Slots[constant].Offset));
    }

    /// <summary>What is run.</summary>
    public Plan Plan { get; }

    /// <summary>Whether the next run replays what was recorded, if no memory is bound anew before it.</summary>
    public bool IsRecorded => _recorded is not null;

    /// <summary>
    /// Reserves the memory of the arena now rather than at the first write: what fails then has changed nothing.
    /// </summary>
    /// <exception cref="OutOfDeviceMemoryException">The device has no memory for the arena; the error has the plan's
    /// peak and what is free.</exception>
    public void Reserve() => BindMemory();

    /// <summary>Writes an input. To be called before every run, for every input.</summary>
    /// <typeparam name="T">float, int or <see cref="BFloat16"/>, as the input's data type says.</typeparam>
    /// <param name="input">An input of the graph.</param>
    /// <param name="elements">All its elements, row-major.</param>
    /// <exception cref="OutOfDeviceMemoryException">The device has no memory for the arena; the error has the plan's
    /// peak and what is free.</exception>
    public void Write<T>(Value input, ReadOnlySpan<T> elements)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(input);
        if (input.Kind != ValueKind.Input)
            throw new ArgumentException($"{input} is not an input.", nameof(input));
        CheckElements<T>(input, elements.Length);
        BindMemory();
        Tensor place = TensorOf(input);
        if (place.ByteOffset < _grouped.Length)
        {
            MemoryMarshal.AsBytes(elements).CopyTo(_grouped.AsSpan((int)place.ByteOffset));
            _groupIsNew = true;
        }
        else
        {
            Plan.Device.Upload(MemoryMarshal.AsBytes(elements), place);
        }
    }

    /// <summary>Writes a float32 or bfloat16 input from float32 numbers, which are rounded for the latter.</summary>
    public void WriteFloats(Value input, ReadOnlySpan<float> elements)
    {
        ArgumentNullException.ThrowIfNull(input);
        if (input.Type.DataType == DataType.Float32)
        {
            Write(input, elements);
            return;
        }

        var rounded = new BFloat16[elements.Length];
        for (int index = 0; index < rounded.Length; index++)
            rounded[index] = (BFloat16)elements[index];
        Write<BFloat16>(input, rounded);
    }

    /// <summary>Runs all steps.</summary>
    /// <exception cref="OperationCanceledException">
    /// Cancelled between two steps; persistent tensors may be half updated. A replay is cancelled before it begins, or
    /// not at all.
    /// </exception>
    /// <exception cref="OutOfDeviceMemoryException">The device has no memory for the arena; the error has the plan's
    /// peak and what is free.</exception>
    public void Run(CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        foreach ((PersistentTensor persistent, Tensor? bound) in _persistent)
        {
            if (persistent.Tensor != bound)
                _bound = null;
        }

        BindMemory();
        foreach (PersistentTensor persistent in _changed)
            persistent.MarkChanged();

        // Every time: their places may have been taken over by values of later steps, or by another plan of the workspace.
        UploadGroup();
        foreach ((Value constant, int[] elements) in Plan.Graph.Constants)
        {
            if (!IsGrouped(constant))
                Plan.Device.Upload(MemoryMarshal.AsBytes<int>(elements), TensorOf(constant));
        }

        // Kernels are loaded in the first run, which must not happen while work is recorded.
        if (_hasRun && _recorded is null)
            _recorded = Plan.Device.Record(_queueSteps);
        if (_recorded is not null)
        {
            _recorded.Replay();
            return;
        }

        QueueSteps(cancellationToken);
        _hasRun = true;
    }

    /// <summary>Reads an output (or any value that still has its memory), after everything queued before.</summary>
    /// <typeparam name="T">float, int or <see cref="BFloat16"/>, as the value's data type says.</typeparam>
    public T[] Read<T>(Value value)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(value);
        var elements = new T[value.Shape.ElementCount];
        Read(value, elements.AsSpan());
        return elements;
    }

    /// <summary>Reads a float32 or bfloat16 output as float32, where the caller does not care which it is.</summary>
    public float[] ReadFloats(Value value)
    {
        ArgumentNullException.ThrowIfNull(value);
        if (value.Type.DataType == DataType.Float32)
            return Read<float>(value);
        if (value.Type.DataType != DataType.BFloat16)
            throw new ArgumentException($"{value} holds no floating-point numbers.", nameof(value));
        var elements = new float[value.Shape.ElementCount];
        BFloat16.Widen(Read<BFloat16>(value), elements);
        return elements;
    }

    /// <summary>Reads an output into memory of the caller.</summary>
    /// <typeparam name="T">float, int or <see cref="BFloat16"/>, as the value's data type says.</typeparam>
    public void Read<T>(Value value, Span<T> elements)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(value);
        CheckElements<T>(value, elements.Length);
        PrepareToRead();
        Plan.Device.Download(TensorOf(value), MemoryMarshal.AsBytes(elements));
    }

    /// <summary>
    /// Reads several outputs at once, which a device does with one wait: the elements of one after those of the other,
    /// row-major, as bytes.
    /// </summary>
    /// <param name="values">Outputs of the graph, of any data types.</param>
    public byte[] ReadTogether(params ReadOnlySpan<Value> values)
    {
        PrepareToRead();
        var tensors = new Tensor[values.Length];
        long bytes = 0;
        for (int index = 0; index < values.Length; index++)
        {
            tensors[index] = TensorOf(values[index]);
            bytes += tensors[index].Type.Bytes;
        }

        var elements = new byte[bytes];
        Plan.Device.Download(tensors, elements);
        return elements;
    }

    private static unsafe void CheckElements<T>(Value value, int count)
        where T : unmanaged
    {
        if (sizeof(T) != value.Type.DataType.Size())
            throw new ArgumentException($"{value} cannot be accessed as {typeof(T).Name}.");
        if (count != value.Shape.ElementCount)
            throw new ArgumentException($"{value} has {value.Shape.ElementCount} elements, not {count}.");
    }

    private bool IsGrouped(Value constant) => Plan.Slots[constant].Offset < _grouped.Length;

    /// <summary>An input can be read back too, before any run.</summary>
    private void PrepareToRead()
    {
        BindMemory();
        if (_groupIsNew)
            UploadGroup();
    }

    private void UploadGroup()
    {
        if (_grouped.Length > 0)
            Plan.Device.Upload(_grouped, new Tensor(_bound!, 0, TensorType.Int32(_grouped.Length / sizeof(int))));
        _groupIsNew = false;
    }

    private Tensor TensorOf(Value value)
    {
        if (value.Persistent is { } persistent)
            return persistent.Tensor;
        return _tensors.TryGetValue(value, out Tensor? tensor)
            ? tensor
            : throw new ArgumentException($"{value} is not computed by this plan.", nameof(value));
    }

    private void QueueSteps(CancellationToken cancellationToken)
    {
        for (int step = 0; step < _arguments.Length; step++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            Plan.Steps[step].Kernel.Run(_arguments[step]);
        }
    }

    private DeviceMemory ReserveArena()
    {
        try
        {
            return _workspace.Reserve(Plan.ArenaBytes);
        }
        catch (OutOfDeviceMemoryException exception)
        {
            throw new OutOfDeviceMemoryException(
                $"{Plan.DescribePeak()}, and there is no place for the first part. {exception.Message}", exception);
        }
    }

    private void BindMemory()
    {
        DeviceMemory memory = ReserveArena();
        if (memory == _bound)
            return;

        // Set at the end: what fails here is tried again by the next call.
        _bound = null;
        _hasRun = false;
        _recorded?.Dispose();
        _recorded = null;
        _tensors.Clear();
        foreach ((Value value, ArenaSlot slot) in Plan.Slots)
            _tensors.Add(value, new Tensor(memory, slot.Offset, value.Type));
        for (int step = 0; step < _arguments.Length; step++)
        {
            PlanStep planStep = Plan.Steps[step];
            Tensor? scratch = planStep.ScratchOffset < 0
                ? null
                : new Tensor(memory, planStep.ScratchOffset,
                    TensorType.Float32(checked((int)((planStep.Kernel.ScratchBytes + 3) / 4))));
            _arguments[step] = new KernelArguments(
                [.. planStep.Node.Inputs.Select(TensorOf)],
                [.. planStep.Node.Outputs.Select(TensorOf)],
                scratch);
        }

        for (int index = 0; index < _persistent.Length; index++)
            _persistent[index].Bound = _persistent[index].Persistent.Tensor;
        _bound = memory;
    }
}
