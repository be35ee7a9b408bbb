using Skylight.Cpu.Assembly;

namespace Skylight.Cpu;

/// <summary>
/// Which matrix kernels are assembled at run time for instructions that .NET does not show, and why not more; managed kernels
/// run in their place. SKYLIGHT_ASSEMBLY=0 in the environment switches them off.
/// </summary>
public static class CpuAssembly
{
    /// <summary>
    /// What they multiply: "bfloat16" (AVX512_BF16), "int8" (AVX512_VNNI: quantised weights). Empty where there are none.
    /// </summary>
    public static IReadOnlyList<string> Kernels { get; } =
    [
        .. BFloat16Kernels.AreAvailable ? ["bfloat16"] : Array.Empty<string>(),
        .. QuantizedKernels.AreAvailable ? ["int8"] : Array.Empty<string>(),
    ];

    /// <summary>Why there are not more; null where all are there.</summary>
    public static string? WhyNot { get; } = ProcessorFeatures.WhyNoAssembly
        ?? (!ProcessorFeatures.HasBFloat16 ? "the processor has no dot products of bfloat16 (AVX512_BF16)"
            : !ProcessorFeatures.HasVnni ? "the processor has no dot products of bytes (AVX512_VNNI)" : null);
}
