using Skylight.Cpu.Assembly;

namespace Skylight.Cpu;

/// <summary>
/// Which matrix kernels are assembled at run time for instructions that .NET does not show, and why not more; managed kernels
/// run in their place. In the environment SKYLIGHT_ASSEMBLY=0 switches them off, and SKYLIGHT_ASSEMBLY=avx512 leaves AMX alone.
/// </summary>
public static class CpuAssembly
{
    /// <summary>
    /// What they multiply: "bfloat16" (AVX512_BF16) or "bfloat16 (AMX)", which is ten times as fast and has an order of sums of
    /// its own; "int8" (AVX512_VNNI: quantised weights). Empty where there are none.
    /// </summary>
    public static IReadOnlyList<string> Kernels { get; } =
    [
        .. !BFloat16Kernels.AreAvailable ? Array.Empty<string>()
            : BFloat16Kernels.Fastest == BFloat16Instruction.Matrices ? ["bfloat16 (AMX)"] : ["bfloat16"],
        .. QuantizedKernels.AreAvailable ? ["int8"] : Array.Empty<string>(),
    ];

    /// <summary>Why there are not more; null where all are there.</summary>
    public static string? WhyNot { get; } =
        Reason is { } reason && !QuantizedKernels.AreAvailable && QuantizedVectors.AreAvailable
        ? $"{reason}; quantised weights use dot products of 256 bits (AVX-VNNI)" : Reason;

    private static string? Reason => ProcessorFeatures.WhyNoAssembly
        ?? (!ProcessorFeatures.HasBFloat16 ? "the processor has no dot products of bfloat16 (AVX512_BF16)"
            : !ProcessorFeatures.HasVnni ? "the processor has no dot products of bytes (AVX512_VNNI)" : null);
}
