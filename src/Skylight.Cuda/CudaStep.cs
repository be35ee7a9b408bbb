using Skylight.Tensors;

namespace Skylight.Cuda;

/// <summary>One thing queued on the stream for an op. Steps of an op run in order.</summary>
public abstract record CudaStep
{
    private protected CudaStep()
    {
    }
}

/// <summary>A kernel launch.</summary>
/// <param name="Launch">Source, entry point, geometry and arguments.</param>
public sealed record CudaLaunchStep(KernelLaunch Launch) : CudaStep;

/// <summary>Fills an operand with zero bytes.</summary>
/// <param name="Operand">Where.</param>
/// <param name="Bytes">How many bytes.</param>
public sealed record CudaClearStep(CudaOperand Operand, long Bytes) : CudaStep;

/// <summary>
/// Copies bytes on the device. Nothing happens where source and destination are the same memory (an output that took
/// over its input).
/// </summary>
/// <param name="Source">From where.</param>
/// <param name="Destination">To where.</param>
/// <param name="Bytes">How many bytes.</param>
public sealed record CudaCopyStep(CudaOperand Source, CudaOperand Destination, long Bytes) : CudaStep;

/// <summary>
/// A matrix product through cuBLAS with float32 accumulation: result = alpha · left · right + beta · result, all
/// matrices row-major. Its order of summation depends on the shape, so bindings use it outside of deterministic mode only.
/// </summary>
public sealed record CudaProductStep : CudaStep
{
    /// <summary><c>[rows, inner]</c>; stored <c>[inner, rows]</c> when <see cref="TransposeLeft"/> is set.</summary>
    public required CudaOperand Left { get; init; }

    /// <summary>
    /// <c>[inner, columns]</c>; stored <c>[columns, inner]</c> when <see cref="TransposeRight"/> is set, as weights
    /// are.
    /// </summary>
    public required CudaOperand Right { get; init; }

    /// <summary><c>[rows, columns]</c>.</summary>
    public required CudaOperand Result { get; init; }

    /// <summary>The rows of the result.</summary>
    public required int Rows { get; init; }

    /// <summary>The columns of the result.</summary>
    public required int Columns { get; init; }

    /// <summary>The length of the sums.</summary>
    public required int Inner { get; init; }

    /// <summary>Whether the left matrix lies transposed.</summary>
    public bool TransposeLeft { get; init; }

    /// <summary>Whether the right matrix lies transposed.</summary>
    public bool TransposeRight { get; init; }

    /// <summary>
    /// The element type of both factors; by default that of the left operand, when it is an input or output.
    /// </summary>
    public DataType? FactorType { get; init; }

    /// <summary>The element type of the result; by default that of its operand, when it is an input or output.</summary>
    public DataType? ResultType { get; init; }

    /// <summary>The elements from one stored row of the left matrix to the next; 0 for dense.</summary>
    public int LeftStride { get; init; }

    /// <summary>The elements from one stored row of the right matrix to the next; 0 for dense.</summary>
    public int RightStride { get; init; }

    /// <summary>The elements from one row of the result to the next; 0 for dense.</summary>
    public int ResultStride { get; init; }

    /// <summary>Scales the product.</summary>
    public float Alpha { get; init; } = 1;

    /// <summary>Scales what was in the result before; 0 reads nothing.</summary>
    public float Beta { get; init; }

    /// <summary>How many products of this shape there are.</summary>
    public int Batch { get; init; } = 1;

    /// <summary>The elements from one left matrix of the batch to the next; 0 uses the same for all.</summary>
    public long LeftBatchStride { get; init; }

    /// <summary>The elements from one right matrix of the batch to the next; 0 uses the same for all.</summary>
    public long RightBatchStride { get; init; }

    /// <summary>The elements from one result of the batch to the next.</summary>
    public long ResultBatchStride { get; init; }
}

/// <summary>Everything that runs for an op with operands of certain types on a certain card.</summary>
/// <param name="OpName">The op.</param>
/// <param name="Steps">What is queued, in order. May be empty (no elements).</param>
/// <param name="ScratchBytes">The temporary memory that the steps share.</param>
/// <param name="StatusMessages">What kernels may report, by the number that <see cref="KernelArgumentKind.Status"/>
/// arguments hold.</param>
public sealed record CudaKernelDescription(string OpName, IReadOnlyList<CudaStep> Steps, long ScratchBytes,
    IReadOnlyList<string> StatusMessages)
{
    /// <summary>The kernel launches among the steps.</summary>
    public IEnumerable<KernelLaunch> Launches => Steps.OfType<CudaLaunchStep>().Select(step => step.Launch);
}
