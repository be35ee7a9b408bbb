using Skylight.Execution;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>The CPU kernel of an op; an op record implements it.</summary>
public interface ICpuKernel
{
    /// <summary>The temporary memory that <see cref="Run"/> needs, in bytes.</summary>
    long ScratchBytes(IReadOnlyList<TensorType> inputs) => 0;

    /// <summary>Computes the outputs. May use all cores through <see cref="CpuParallel"/>.</summary>
    void Run(in CpuArguments arguments);
}

/// <summary>The tensors of one CPU kernel run, as spans and pointers.</summary>
public readonly struct CpuArguments
{
    private readonly KernelArguments _arguments;

    /// <summary>Wraps the tensors of a run, whose products are computed in float32.</summary>
    public CpuArguments(in KernelArguments arguments)
        : this(arguments, DataType.Float32, roundsActivations: false)
    {
    }

    /// <inheritdoc cref="CpuArguments(in KernelArguments)"/>
    /// <param name="arguments">The tensors.</param>
    /// <param name="compute">What products with bfloat16 weights round their operands to.</param>
    /// <param name="roundsActivations">Whether products with quantised weights round activations to bytes.</param>
    internal CpuArguments(in KernelArguments arguments, DataType compute, bool roundsActivations)
    {
        _arguments = arguments;
        Compute = compute;
        RoundsActivations = roundsActivations;
    }

    /// <summary>The number of inputs.</summary>
    public int InputCount => _arguments.Inputs.Length;

    /// <summary>An input.</summary>
    public Tensor Input(int index) => _arguments.Inputs[index];

    /// <summary>An output.</summary>
    public Tensor Output(int index) => _arguments.Outputs[index];

    /// <summary>The first element of a float32 input.</summary>
    public unsafe float* InputPointer(int index) => (float*)CpuMemory.Pointer(NotBFloat16(index));

    /// <summary>The first element of a float32 output.</summary>
    public unsafe float* OutputPointer(int index) => (float*)CpuMemory.Pointer(_arguments.Outputs[index]);

    /// <summary>The elements of an int32 input.</summary>
    public ReadOnlySpan<int> InputInt32(int index) => CpuMemory.Span<int>(_arguments.Inputs[index]);

    /// <summary>The elements of a float32 input, in storage order.</summary>
    public Span<float> InputFloat32(int index) => CpuMemory.Span<float>(NotBFloat16(index));

    /// <summary>The elements of a float32 output, in storage order.</summary>
    public Span<float> OutputFloat32(int index) => CpuMemory.Span<float>(_arguments.Outputs[index]);

    /// <summary>
    /// What products with bfloat16 weights, and with codes that are no integers, round their operands to
    /// (<see cref="CpuDevice.Compute"/>).
    /// </summary>
    internal DataType Compute { get; }

    /// <summary>
    /// Whether products with weights of integer codes round activations to bytes (<see cref="CpuDeviceOptions.Compute"/>).
    /// </summary>
    internal bool RoundsActivations { get; }

    /// <summary>What the operands of a product with such a weight are rounded to (<see cref="CpuDevice.Compute"/>).</summary>
    internal DataType OperandsOf(DataType weightType) =>
        Compute == DataType.BFloat16 && weightType == DataType.BFloat16 ? DataType.BFloat16 : DataType.Float32;

    /// <summary>A copy of a small float32 or bfloat16 input (a norm's weight, a bias) as float32.</summary>
    public float[] ReadParameter(int index)
    {
        Tensor tensor = _arguments.Inputs[index];
        var elements = new float[tensor.Shape.ElementCount];
        ReadRows(tensor, 0, elements);
        return elements;
    }

    /// <summary>Copies consecutive rows of a float32 or bfloat16 tensor as float32.</summary>
    /// <param name="tensor">An input.</param>
    /// <param name="first">The first row.</param>
    /// <param name="rows">As many elements as are wanted.</param>
    public static void ReadRows(Tensor tensor, int first, Span<float> rows)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        int start = first * tensor.Shape.Columns;
        if (tensor.Type.DataType == DataType.Float32)
            CpuMemory.Span<float>(tensor).Slice(start, rows.Length).CopyTo(rows);
        else
            BFloat16.Widen(CpuMemory.Span<BFloat16>(tensor).Slice(start, rows.Length), rows);
    }

    /// <summary>An input, unless it is bfloat16: read as float32 it would be other numbers, and memory behind it.</summary>
    private Tensor NotBFloat16(int index) => _arguments.Inputs[index].Type.DataType != DataType.BFloat16
        ? _arguments.Inputs[index]
        : throw new NotSupportedException(
            $"cpu: the kernel reads input {index} as float32, but it is {_arguments.Inputs[index]}. Cast the " +
            $"parameter to float32, or read it by {nameof(ReadParameter)}.");

    /// <summary>The temporary memory, uninitialized.</summary>
    public unsafe float* ScratchPointer => (float*)CpuMemory.Pointer(Scratch);

    /// <summary>The temporary memory, uninitialized.</summary>
    internal Tensor Scratch =>
        _arguments.Scratch ?? throw new InvalidOperationException("The kernel asked for no temporary memory.");
}
