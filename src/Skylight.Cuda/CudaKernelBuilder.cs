using System.Globalization;
using Skylight.Graphs;
using Skylight.Tensors;

namespace Skylight.Cuda;

/// <summary>
/// Collects what runs for one op: a binding calls it. It knows the types of the operands and the card, never the data,
/// so a description is made once for a node and holds for all its runs.
/// </summary>
public sealed class CudaKernelBuilder
{
    private const int ScratchAlignment = 256;
    private const int MostThreads = 1024;
    private const int MostBlocksAcross = 65535;

    private static readonly string[] HopperHeaders = FindHopperHeaders();

    private readonly List<CudaStep> _steps = [];
    private readonly List<string> _statusMessages = [];
    private long _scratchBytes;

    internal CudaKernelBuilder(Op op, IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs, CudaTarget target)
    {
        Op = op;
        Inputs = inputs;
        Outputs = outputs;
        Target = target;
    }

    /// <summary>The op.</summary>
    public Op Op { get; }

    /// <summary>The types of the inputs.</summary>
    public IReadOnlyList<TensorType> Inputs { get; }

    /// <summary>The types of the outputs.</summary>
    public IReadOnlyList<TensorType> Outputs { get; }

    /// <summary>The card.</summary>
    public CudaTarget Target { get; }

    /// <summary>How many blocks of some size cover a number of elements.</summary>
    public static int Blocks(long elements, int elementsPerBlock)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(elements);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(elementsPerBlock);
        return checked((int)((elements + elementsPerBlock - 1) / elementsPerBlock));
    }

    /// <summary>An input as an operand.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The op has no such input.</exception>
    public CudaOperand Input(int index) => Checked(new CudaOperand(CudaOperandKind.Input, index));

    /// <summary>An output as an operand.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The op has no such output.</exception>
    public CudaOperand Output(int index) => Checked(new CudaOperand(CudaOperandKind.Output, index));

    /// <summary>Reserves temporary memory, aligned to 256 bytes and uninitialized.</summary>
    public CudaScratch Scratch(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        var scratch = new CudaScratch(_scratchBytes, bytes);
        _scratchBytes = checked(_scratchBytes + (bytes + ScratchAlignment - 1) / ScratchAlignment * ScratchAlignment);
        return scratch;
    }

    /// <summary>Queues a launch of a kernel in one of Skylight's own files.</summary>
    /// <param name="resource">The path within <c>kernels/</c>, for example <c>norm.cu</c>.</param>
    /// <param name="entryPoint">The name of the <c>extern "C" __global__</c> function.</param>
    /// <param name="grid">The number of blocks.</param>
    /// <param name="threads">The threads of a block, at most 1024.</param>
    /// <param name="sharedBytes">The dynamic shared memory of a block.</param>
    /// <returns>The launch, to be given constants and arguments.</returns>
    /// <exception cref="NotSupportedException">The card has not that much shared memory for a block.</exception>
    /// <exception cref="ArgumentException">There is no such file, or the geometry is impossible.</exception>
    public KernelLaunch Launch(string resource, string entryPoint, Dim3 grid, Dim3 threads, int sharedBytes = 0) =>
        Launch(KernelSource.Resource(resource), entryPoint, grid, threads, sharedBytes);

    /// <summary>Queues a launch. With an empty grid (no elements) nothing will run.</summary>
    /// <param name="source">The source.</param>
    /// <param name="entryPoint">The name of the <c>extern "C" __global__</c> function.</param>
    /// <param name="grid">The number of blocks.</param>
    /// <param name="threads">The threads of a block, at most 1024.</param>
    /// <param name="sharedBytes">The dynamic shared memory of a block.</param>
    /// <returns>The launch, to be given constants and arguments.</returns>
    /// <exception cref="NotSupportedException">The card has not that much shared memory for a block, or not the
    /// source's instructions (<c>ptx/wgmma.cuh</c>).</exception>
    /// <exception cref="ArgumentException">The geometry is impossible.</exception>
    public KernelLaunch Launch(KernelSource source, string entryPoint, Dim3 grid, Dim3 threads, int sharedBytes = 0)
    {
        ArgumentNullException.ThrowIfNull(source);
        ArgumentException.ThrowIfNullOrEmpty(entryPoint);
        if (grid.X < 0 || grid.Y is < 0 or > MostBlocksAcross || grid.Z is < 0 or > MostBlocksAcross)
            throw new ArgumentException(
                $"{Op.Name}: {entryPoint} cannot be launched with a grid of {grid}: y and z may be " +
                $"{MostBlocksAcross} at most.", nameof(grid));
        if (threads.X < 1 || threads.Y < 1 || threads.Z is < 1 or > 64 || threads.Count > MostThreads)
            throw new ArgumentException(
                $"{Op.Name}: {entryPoint} cannot be launched with {threads} threads: a block has 1 to {MostThreads}, " +
                $"64 at most along z.", nameof(threads));
        ArgumentOutOfRangeException.ThrowIfNegative(sharedBytes);
        if (sharedBytes > Target.SharedBytesPerBlock)
        {
            throw Unsupported(string.Create(
                CultureInfo.InvariantCulture,
                $"{entryPoint} needs {sharedBytes:N0} bytes of shared memory for a block, {Target.ArchitectureName} " +
                $"has {Target.SharedBytesPerBlock:N0}"));
        }

        // PTX with such an instruction would be refused by the driver only when the plan first runs.
        if (!Target.HasHopperInstructions && Array.Find(HopperHeaders,
            name => source.Text.Contains(name, StringComparison.Ordinal)) is { } header)
            throw Unsupported(
                $"{entryPoint} has instructions that only compute capability 9.0 has ({header}); this card's " +
                $"kernels are compiled for {Target.ArchitectureName}");

        var launch = new KernelLaunch(this, source, entryPoint, grid, threads, sharedBytes);
        if (grid.Count > 0)
            _steps.Add(new CudaLaunchStep(launch));
        return launch;
    }

    /// <summary>Queues filling a whole input, output or region with zeros.</summary>
    /// <param name="operand">An input or output; for a part of one, or temporary memory, give the bytes.</param>
    /// <param name="bytes">How many bytes; by default all of the input or output after the operand's offset.</param>
    public void Clear(CudaOperand operand, long? bytes = null)
    {
        Check(operand);
        long count = bytes ?? BytesFrom(operand);
        if (count > 0)
            _steps.Add(new CudaClearStep(operand, count));
    }

    /// <summary>Queues filling temporary memory with zeros.</summary>
    public void Clear(CudaScratch scratch) => Clear(scratch.ToOperand(), scratch.Bytes);

    /// <summary>Queues a copy of bytes on the device; none where both are the same memory.</summary>
    /// <param name="source">From where.</param>
    /// <param name="destination">To where.</param>
    /// <param name="bytes">How many bytes; by default all of the source after its offset.</param>
    public void Copy(CudaOperand source, CudaOperand destination, long? bytes = null)
    {
        Check(source);
        Check(destination);
        long count = bytes ?? BytesFrom(source);
        if (count > 0)
            _steps.Add(new CudaCopyStep(source, destination, count));
    }

    /// <summary>Queues a matrix product through cuBLAS.</summary>
    /// <exception cref="NotSupportedException">The card is in deterministic mode, in which the order of summation may
    /// not be the library's business.</exception>
    /// <exception cref="ArgumentException">An element type is neither given nor known from the operand.</exception>
    public void Product(CudaProductStep product)
    {
        ArgumentNullException.ThrowIfNull(product);
        if (Target.Deterministic)
            throw Unsupported("products in deterministic mode are made by the own matrix kernel, not by cuBLAS");
        Check(product.Left);
        Check(product.Right);
        Check(product.Result);
        if (product.Rows < 0 || product.Columns < 0 || product.Inner < 1 || product.Batch < 0)
            throw new ArgumentException(
                $"{Op.Name}: there is no product of {product.Batch} times [{product.Rows}, {product.Inner}] · " +
                $"[{product.Inner}, {product.Columns}].", nameof(product));
        if ((long)product.Rows * product.Columns * product.Batch == 0)
            return;
        _steps.Add(product with
        {
            FactorType = product.FactorType ?? TypeOf(product.Left, "the left factor"),
            ResultType = product.ResultType ?? TypeOf(product.Result, "the result"),
            LeftStride = Stride(product.LeftStride, product.TransposeLeft ? product.Rows : product.Inner),
            RightStride = Stride(product.RightStride, product.TransposeRight ? product.Inner : product.Columns),
            ResultStride = Stride(product.ResultStride, product.Columns),
        });
    }

    /// <summary>
    /// The exception for a binding to throw when it has no kernel for these types; it names the op, the types and the
    /// card.
    /// </summary>
    /// <param name="why">What is missing, as a clause without a period.</param>
    public NotSupportedException Unsupported(string why) =>
        new($"CUDA ({Target.ArchitectureName}) has no kernel for {Op.Name}: {Signature(Inputs, Outputs)}: {why}.");

    /// <summary>Operand types as text.</summary>
    internal static string Signature(IReadOnlyList<TensorType> inputs, IReadOnlyList<TensorType> outputs) =>
        $"({string.Join(", ", inputs)}) → ({string.Join(", ", outputs)})";

    /// <summary>Checks that the op has such an operand.</summary>
    internal void Check(CudaOperand operand)
    {
        int count = operand.Kind switch
        {
            CudaOperandKind.Input => Inputs.Count,
            CudaOperandKind.Output => Outputs.Count,
            _ => 1,
        };
        if (operand.Index < 0 || operand.Index >= count)
            throw new ArgumentOutOfRangeException(nameof(operand), operand.Index,
                $"{Op.Name} has no {operand.Kind} {operand.Index}: {Signature(Inputs, Outputs)}.");
        long bytes = BytesOf(operand);
        if (operand.ByteOffset < 0 || operand.ByteOffset > bytes)
            throw new ArgumentOutOfRangeException(nameof(operand), operand.ByteOffset,
                $"{Op.Name}: byte {operand.ByteOffset} is outside of {operand.Kind} {operand.Index}, which has " +
                $"{bytes} bytes.");
    }

    /// <summary>Keeps a status message; the same message is kept once.</summary>
    internal int AddStatus(string message)
    {
        int index = _statusMessages.IndexOf(message);
        if (index >= 0)
            return index;
        _statusMessages.Add(message);
        return _statusMessages.Count - 1;
    }

    internal CudaKernelDescription Build() => new(Op.Name, [.. _steps], _scratchBytes, [.. _statusMessages]);

    /// <summary>The header with such instructions, and those that include it.</summary>
    private static string[] FindHopperHeaders()
    {
        const string Instructions = "ptx/wgmma.cuh";
        return [Instructions, .. KernelSource.Headers
            .Where(header => header.Text.Contains(Instructions, StringComparison.Ordinal)).Select(header => header.Name)];
    }

    private static int Stride(int given, int dense) => given == 0 ? dense : given;

    private CudaOperand Checked(CudaOperand operand)
    {
        Check(operand);
        return operand;
    }

    private long BytesOf(CudaOperand operand) => operand.Kind switch
    {
        CudaOperandKind.Input => Inputs[operand.Index].Bytes,
        CudaOperandKind.Output => Outputs[operand.Index].Bytes,
        _ => _scratchBytes,
    };

    private long BytesFrom(CudaOperand operand) => operand.Kind == CudaOperandKind.Scratch
        ? throw new ArgumentException($"{Op.Name}: say how many bytes of temporary memory are meant.", nameof(operand))
        : BytesOf(operand) - operand.ByteOffset;

    private DataType TypeOf(CudaOperand operand, string name) => operand.Kind switch
    {
        CudaOperandKind.Input => Inputs[operand.Index].DataType,
        CudaOperandKind.Output => Outputs[operand.Index].DataType,
        _ => throw new ArgumentException($"{Op.Name}: say what the elements of {name} are, which lies in temporary memory."),
    };
}
