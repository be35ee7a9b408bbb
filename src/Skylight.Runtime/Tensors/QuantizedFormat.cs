namespace Skylight.Tensors;

/// <summary>What the codes of a quantised weight stand for.</summary>
public enum CodeType
{
    /// <summary>4 bits, −8…7.</summary>
    Int4,

    /// <summary>4 bits, 0…15; such weights have a minimum.</summary>
    UInt4,

    /// <summary>5 bits, −16…15.</summary>
    Int5,

    /// <summary>5 bits, 0…31; such weights have a minimum.</summary>
    UInt5,

    /// <summary>6 bits, −32…31.</summary>
    Int6,

    /// <summary>8 bits, −128…127.</summary>
    Int8,

    /// <summary>
    /// 8 bits: a sign, 4 bits of exponent (bias 7), 3 of mantissa; no infinities (OCP 8-bit floating point, E4M3).
    /// </summary>
    Float8E4M3,

    /// <summary>4 bits: an index into the 16 quantiles of a normal distribution (QLoRA, arXiv 2305.14314, appendix E).</summary>
    NormalFloat4,
}

/// <summary>
/// How a weight [n outputs, k inputs] is quantised: as codes with scales for each block of consecutive inputs of an output,
/// <c>value(n, k) = scale[n, k / BlockSize] · code(n, k) (+ minimum[n, k / BlockSize])</c>, in float32. The published
/// forms (GGUF's block types, AWQ, GPTQ, FP8 with channel scales, NF4) are of this form, exactly.
/// </summary>
/// <param name="Codes">What a code stands for.</param>
/// <param name="BlockSize">Inputs that share a scale; the last block of a row may be shorter.</param>
/// <param name="HasMinimum">Whether each block has a number that is added to its values.</param>
public sealed record QuantizedFormat(CodeType Codes, int BlockSize, bool HasMinimum)
{
    /// <summary>Bytes with a binary16 scale for 32 inputs: what GGUF calls Q8_0.</summary>
    public static QuantizedFormat Q8 { get; } = new(CodeType.Int8, 32, HasMinimum: false) { HasHalfScales = true };

    /// <summary>4 bits, −8…7, with a binary16 scale for 32 inputs: what GGUF calls Q4_0.</summary>
    public static QuantizedFormat Q4 { get; } = new(CodeType.Int4, 32, HasMinimum: false) { HasHalfScales = true };

    /// <summary>Whether every scale is an IEEE binary16 number, so that 16 bits hold it.</summary>
    public bool HasHalfScales { get; init; }

    /// <summary>
    /// Whether every minimum is −zero · scale, with an integer zero from 0 to 16, so that a byte holds it.
    /// </summary>
    public bool HasZeroPoints { get; init; }

    /// <summary>Whether every minimum is an IEEE binary16 number, and no zero point.</summary>
    public bool HasHalfMinimums { get; init; }

    /// <summary>
    /// Inputs that share the two numbers of binary16 of which their blocks' scales and minimums are multiples, by integers
    /// from −128 to 127: 256 in GGUF's K types. A multiple of <see cref="BlockSize"/>; 0 where there is no such thing.
    /// </summary>
    public int SuperBlockSize { get; init; }

    /// <summary>
    /// Whether the inputs stand in an order of the weight's own, in which the blocks are consecutive (GPTQ's act-order):
    /// activations are put into it before the product (<c>PermuteColumns</c>), and nothing else reads such a weight.
    /// </summary>
    public bool HasInputOrder { get; init; }

    /// <summary>Whether codes are integers.</summary>
    public bool HasIntegerCodes => Codes is not (CodeType.Float8E4M3 or CodeType.NormalFloat4);

    /// <summary>The bits of a code.</summary>
    public int CodeBits => Codes switch
    {
        CodeType.Int5 or CodeType.UInt5 => 5,
        CodeType.Int6 => 6,
        CodeType.Int8 or CodeType.Float8E4M3 => 8,
        _ => 4,
    };

    /// <summary>What is added to codes so that none is negative: a change of the highest bit; 0 where none can be.</summary>
    public int CodeBias => Codes is CodeType.Int4 or CodeType.Int5 or CodeType.Int6 or CodeType.Int8 ? 1 << (CodeBits - 1) : 0;

    /// <summary>The blocks of a row of <paramref name="inputs"/> values.</summary>
    public int BlocksOf(int inputs) => (inputs + BlockSize - 1) / BlockSize;

    /// <summary>
    /// How many numbers a row of <paramref name="inputs"/> values has of which scales and minimums are multiples: one or, with
    /// minimums, two for each super-block.
    /// </summary>
    public int SuperScalesOf(int inputs) =>
        SuperBlockSize == 0 ? 0 : (inputs + SuperBlockSize - 1) / SuperBlockSize * (HasMinimum ? 2 : 1);

    /// <summary>The bytes of a weight in this format: codes, scales and minimums, without any padding.</summary>
    public long BytesOf(Shape shape)
    {
        int scale = SuperBlockSize > 0 ? 1 : HasHalfScales ? 2 : 4,
            minimum = !HasMinimum ? 0 : SuperBlockSize > 0 || HasZeroPoints ? 1 : HasHalfMinimums ? 2 : 4;
        return (shape.ElementCount * CodeBits + 7) / 8 + (long)shape.Rows
            * ((long)BlocksOf(shape.Columns) * (scale + minimum) + SuperScalesOf(shape.Columns) * 2L);
    }

    /// <inheritdoc/>
    public override string ToString() => $"{Codes}/{BlockSize}{(HasZeroPoints ? "z" : HasMinimum ? "m" : "")}"
        + (SuperBlockSize > 0 ? $"/{SuperBlockSize}" : "") + (HasInputOrder ? ", ordered" : "");
}
