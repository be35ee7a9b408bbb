using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>What products round their activations to: what was asked for, else what the processor does best.</summary>
/// <param name="Compute">With weights of bfloat16 or of codes that are no integers: bfloat16, or float32, unrounded.</param>
/// <param name="RoundsActivations">Whether, with weights of integer codes, to bytes.</param>
internal readonly record struct ComputePolicy(DataType Compute, bool RoundsActivations)
{
    /// <summary>The policy of a device.</summary>
    /// <param name="asked">What it was asked for; null for nothing.</param>
    /// <param name="multipliesBFloat16">Whether there are kernels on dot products of bfloat16.</param>
    /// <param name="multipliesBytes">Whether there are some on dot products of bytes; either may be without the other.</param>
    public static ComputePolicy Of(DataType? asked, bool multipliesBFloat16, bool multipliesBytes) => asked is { } compute
        ? new ComputePolicy(compute, compute == DataType.BFloat16)
        : new ComputePolicy(multipliesBFloat16 ? DataType.BFloat16 : DataType.Float32, multipliesBytes);
}
