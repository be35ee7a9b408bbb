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

/// <summary>Runs a plan. Not safe for use by several threads at once.</summary>
public sealed class Executor
{
    private readonly Workspace _workspace;
    private readonly KernelArguments[] _arguments;
    private readonly Dictionary<Value, Tensor> _tensors = [];
    private DeviceMemory? _bound;

    /// <summary>Makes an executor.</summary>
    /// <param name="plan">What to run.</param>
    /// <param name="workspace">The memory for the plan's arena; it may be shared by plans that do not run at the same time.</param>
    public Executor(Plan plan, Workspace workspace)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(workspace);
        if (plan.Device != workspace.Device)
            throw new ArgumentException($"The plan is for {plan.Device.Name}, the workspace on {workspace.Device.Name}.", nameof(workspace));
        Plan = plan;
        _workspace = workspace;
        _arguments = new KernelArguments[plan.Steps.Count];
    }

    /// <summary>What is run.</summary>
    public Plan Plan { get; }

    /// <summary>Writes an input. To be called before every run, for every input.</summary>
    /// <typeparam name="T">float, int or <see cref="BFloat16"/>, as the input's data type says.</typeparam>
    /// <param name="input">An input of the graph.</param>
    /// <param name="elements">All its elements, row-major.</param>
    public void Write<T>(Value input, ReadOnlySpan<T> elements)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(input);
        if (input.Kind != ValueKind.Input)
            throw new ArgumentException($"{input} is not an input.", nameof(input));
        CheckElements<T>(input, elements.Length);
        BindMemory();
        Plan.Device.Upload(MemoryMarshal.AsBytes(elements), TensorOf(input));
    }

    /// <summary>Runs all steps.</summary>
    /// <exception cref="OperationCanceledException">Cancelled between two steps; persistent tensors may be half updated.</exception>
    public void Run(CancellationToken cancellationToken = default)
    {
        BindMemory();
        foreach ((Value constant, int[] elements) in Plan.Graph.Constants)
            Plan.Device.Upload(MemoryMarshal.AsBytes<int>(elements), TensorOf(constant));
        for (int step = 0; step < _arguments.Length; step++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            Plan.Steps[step].Kernel.Run(_arguments[step]);
        }
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
        return value.Type.DataType switch
        {
            DataType.Float32 => Read<float>(value),
            DataType.BFloat16 => Array.ConvertAll(Read<BFloat16>(value), element => (float)element),
            _ => throw new ArgumentException($"{value} holds no floating-point numbers.", nameof(value)),
        };
    }

    /// <summary>Reads an output into memory of the caller.</summary>
    /// <typeparam name="T">float, int or <see cref="BFloat16"/>, as the value's data type says.</typeparam>
    public void Read<T>(Value value, Span<T> elements)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(value);
        CheckElements<T>(value, elements.Length);
        BindMemory();
        Plan.Device.Download(TensorOf(value), MemoryMarshal.AsBytes(elements));
    }

    private static unsafe void CheckElements<T>(Value value, int count)
        where T : unmanaged
    {
        if (sizeof(T) != value.Type.DataType.Size())
            throw new ArgumentException($"{value} cannot be accessed as {typeof(T).Name}.");
        if (count != value.Shape.ElementCount)
            throw new ArgumentException($"{value} has {value.Shape.ElementCount} elements, not {count}.");
    }

    private Tensor TensorOf(Value value)
    {
        if (value.Persistent is { } persistent)
            return persistent.Tensor;
        return _tensors.TryGetValue(value, out Tensor? tensor)
            ? tensor
            : throw new ArgumentException($"{value} is not computed by this plan.", nameof(value));
    }

    private void BindMemory()
    {
        DeviceMemory memory = _workspace.Reserve(Plan.ArenaBytes);
        if (memory == _bound)
            return;
        _bound = memory;
        _tensors.Clear();
        foreach ((Value value, ArenaSlot slot) in Plan.Slots)
            _tensors.Add(value, new Tensor(memory, slot.Offset, value.Type));
        for (int step = 0; step < _arguments.Length; step++)
        {
            PlanStep planStep = Plan.Steps[step];
            Tensor? scratch = planStep.ScratchOffset < 0
                ? null
                : new Tensor(memory, planStep.ScratchOffset, TensorType.Float32(checked((int)((planStep.Kernel.ScratchBytes + 3) / 4))));
            _arguments[step] = new KernelArguments(
                [.. planStep.Node.Inputs.Select(TensorOf)],
                [.. planStep.Node.Outputs.Select(TensorOf)],
                scratch);
        }
    }
}
