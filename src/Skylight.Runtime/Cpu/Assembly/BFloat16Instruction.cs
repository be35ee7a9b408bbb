namespace Skylight.Cpu.Assembly;

/// <summary>What computes the products of a register tile of bfloat16. Each has an order of sums of its own.</summary>
internal enum BFloat16Instruction
{
    /// <summary><c>vdpbf16ps</c> (AVX512_BF16): one chain over the steps, ascending, as managed loops have it.</summary>
    DotProducts,

    /// <summary>
    /// <c>tdpbf16ps</c> (AMX_BF16): of each chunk of 32 steps, counted from the first one, the even steps are one chain from
    /// zero and the odd ones another; their sum is added to what there is.
    /// </summary>
    Matrices,
}
