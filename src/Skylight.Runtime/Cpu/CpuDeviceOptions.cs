using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>How a <see cref="CpuDevice"/> is made.</summary>
public sealed record CpuDeviceOptions
{
    /// <summary>The memory that plans may use in bytes; null for what the process may use.</summary>
    public long? MemoryBytes { get; init; }

    /// <summary>
    /// The most threads that a kernel of this device runs on, the caller's included, from 1 to 1024; null for one for
    /// each processor that the process may use. Threads are shared by all devices of the process. Results do not depend
    /// on their number.
    /// </summary>
    public int? Threads { get; init; }

    /// <summary>
    /// What products with bfloat16 weights round their operands to: bfloat16, on the processor's own dot products, with sums
    /// in float32; or float32, which leaves them as they are. Null for bfloat16 where the processor has such an instruction
    /// (AVX512_BF16), else float32. Products with float32 weights are always float32. Bfloat16 works on every machine, with
    /// the same bits, but is faster only with the instruction. Quantised weights whose codes are no integers (8-bit floating
    /// point, NF4) are as those of bfloat16; products with the others round activations to bytes with bfloat16 here, and
    /// where this is null and the processor has dot products of bytes (AVX512_VNNI).
    /// </summary>
    public DataType? Compute { get; init; }
}
