namespace Skylight.Cuda;

/// <summary>Where an operand of a kernel lies.</summary>
public enum CudaOperandKind
{
    /// <summary>An input of the op.</summary>
    Input,

    /// <summary>An output of the op.</summary>
    Output,

    /// <summary>The op's temporary memory.</summary>
    Scratch,
}

/// <summary>
/// An address that is known only when the plan is bound to memory: an input, an output or temporary memory, and an
/// offset.
/// </summary>
/// <param name="Kind">Where it lies.</param>
/// <param name="Index">Which input or output; 0 for temporary memory.</param>
/// <param name="ByteOffset">From the operand's first byte; in temporary memory from its beginning.</param>
public readonly record struct CudaOperand(CudaOperandKind Kind, int Index, long ByteOffset = 0)
{
    /// <summary>The same operand, some bytes further on.</summary>
    public CudaOperand At(long bytes) => this with { ByteOffset = checked(ByteOffset + bytes) };
}

/// <summary>
/// A region of an op's temporary memory, aligned to 256 bytes and uninitialized. It converts to a
/// <see cref="CudaOperand"/>.
/// </summary>
/// <param name="ByteOffset">From the beginning of the op's temporary memory.</param>
/// <param name="Bytes">The size.</param>
public readonly record struct CudaScratch(long ByteOffset, long Bytes)
{
    /// <summary>The region as an operand.</summary>
    public static implicit operator CudaOperand(CudaScratch scratch) => scratch.ToOperand();

    /// <summary>The region as an operand.</summary>
    public CudaOperand ToOperand() => new(CudaOperandKind.Scratch, 0, ByteOffset);
}
