using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace Skylight.Cpu.Assembly;

/// <summary>
/// What the processor and its system have beyond the instructions that .NET shows: dot products of bfloat16 and of bytes
/// with 512 bits. AMX is not used.
/// </summary>
internal static class ProcessorFeatures
{
    // Of AVX-512: F, DQ, BW and VL.
    private const int Avx512 = (1 << 16) | (1 << 17) | (1 << 30) | (1 << 31);

    /// <summary>AVX-512 with all of its registers saved by the system.</summary>
    public static bool HasAvx512 { get; } = X86Base.IsSupported && X86Base.CpuId(0, 0).Eax >= 13
        && (X86Base.CpuId(7, 0).Ebx & Avx512) == Avx512 && CpuVectors.SavesAllRegisters;

    /// <summary>AVX512_BF16: <c>vdpbf16ps</c> and the conversions.</summary>
    public static bool HasBFloat16 { get; } = HasAvx512 && X86Base.CpuId(7, 0).Eax >= 1
        && (X86Base.CpuId(7, 1).Eax & (1 << 5)) != 0;

    /// <summary>AVX512_VNNI: <c>vpdpbusd</c> with 512 bits.</summary>
    public static bool HasVnni { get; } = HasAvx512 && (X86Base.CpuId(7, 0).Ecx & (1 << 11)) != 0;

    /// <summary>Whether the processor says that it is Intel's.</summary>
    public static bool IsIntel { get; } = X86Base.IsSupported && X86Base.CpuId(0, 0).Ebx == 0x756E6547;

    /// <summary>Why nothing can be assembled here; null where it can.</summary>
    public static string? WhyNoAssembly { get; } =
        !OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64
            ? "kernels are assembled on x86-64 Linux only"
            : !HasAvx512 ? "the processor, or its system, has no AVX-512"
            : Environment.GetEnvironmentVariable("SKYLIGHT_ASSEMBLY") == "0" ? "SKYLIGHT_ASSEMBLY is 0"
            : RefusesCode() ? "the system refuses executable memory"
            : null;

    private static unsafe bool RefusesCode()
    {
        const byte Return = 0xC3;
        return CodePages.Load([Return]) is null;
    }
}
