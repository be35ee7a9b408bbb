using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace Skylight.Cpu.Assembly;

/// <summary>
/// What the processor and its system have beyond the instructions that .NET shows: dot products of bfloat16 and of bytes
/// with 512 bits, and products of whole matrices (AMX).
/// </summary>
internal static partial class ProcessorFeatures
{
    // Of AVX-512: F, DQ, BW and VL.
    private const int Avx512 = (1 << 16) | (1 << 17) | (1 << 30) | (1 << 31);

    private const int MatrixBFloat16 = 1 << 22, MatrixTiles = 1 << 24;

    // Parts of the state that the system saves between threads, and what asks Linux for the second.
    private const int TileConfiguration = 17, TileData = 18;
    private const long ArchPrctl = 158, RequestPermission = 0x1023;

    /// <summary>AVX-512 with all of its registers saved by the system.</summary>
    public static bool HasAvx512 { get; } = X86Base.IsSupported && X86Base.CpuId(0, 0).Eax >= 13
        && (X86Base.CpuId(7, 0).Ebx & Avx512) == Avx512 && CpuVectors.SavesAllRegisters;

    /// <summary>AVX512_BF16: <c>vdpbf16ps</c> and the conversions.</summary>
    public static bool HasBFloat16 { get; } = HasAvx512 && X86Base.CpuId(7, 0).Eax >= 1
        && (X86Base.CpuId(7, 1).Eax & (1 << 5)) != 0;

    /// <summary>AVX512_VNNI: <c>vpdpbusd</c> with 512 bits.</summary>
    public static bool HasVnni { get; } = HasAvx512 && (X86Base.CpuId(7, 0).Ecx & (1 << 11)) != 0;

    /// <summary>AVX512_VBMI: permutations of bytes, by tables of up to 128.</summary>
    public static bool HasVbmi { get; } = HasAvx512 && (X86Base.CpuId(7, 0).Ecx & (1 << 1)) != 0;

    /// <summary>
    /// AMX_BF16: <c>tdpbf16ps</c>, with tiles that the system saves and lets this process use. SKYLIGHT_ASSEMBLY=avx512 in the
    /// environment leaves it alone.
    /// </summary>
    public static bool HasMatrices { get; } = HasBFloat16
        && (X86Base.CpuId(7, 0).Edx & (MatrixBFloat16 | MatrixTiles)) == (MatrixBFloat16 | MatrixTiles)
        && CpuVectors.IsSaved(TileConfiguration) && CpuVectors.IsSaved(TileData)
        && Setting != "avx512" && AllowsTiles();

    /// <summary>AMX_INT8: <c>tdpbssd</c>, where <see cref="HasMatrices"/> is too.</summary>
    public static bool HasByteMatrices { get; } = HasMatrices && (X86Base.CpuId(7, 0).Edx & (1 << 25)) != 0;

    private static string? Setting => Environment.GetEnvironmentVariable("SKYLIGHT_ASSEMBLY");

    /// <summary>Whether the processor says that it is Intel's.</summary>
    public static bool IsIntel { get; } = X86Base.IsSupported && X86Base.CpuId(0, 0).Ebx == 0x756E6547;

    /// <summary>Whether it is AMD's of the fifth Zen generation (family 26).</summary>
    public static bool IsZen5 { get; } = X86Base.IsSupported && X86Base.CpuId(0, 0).Ebx == 0x68747541
        && Family(X86Base.CpuId(1, 0).Eax) == 26;

    /// <summary>Why nothing can be assembled here; null where it can.</summary>
    public static string? WhyNoAssembly { get; } =
        !OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64
            ? "kernels are assembled on x86-64 Linux only"
            : !HasAvx512 ? "the processor, or its system, has no AVX-512"
            : Setting == "0" ? "SKYLIGHT_ASSEMBLY is 0"
            : RefusesCode() ? "the system refuses executable memory"
            : null;

    /// <summary>Its base, of four bits, and what extends that.</summary>
    private static int Family(int signature) => ((signature >> 8) & 0xF) + ((signature >> 20) & 0xFF);

    private static unsafe bool RefusesCode()
    {
        const byte Return = 0xC3;
        return CodePages.Load([Return]) is null;
    }

    /// <summary>
    /// Linux gives tiles to a process that asks for them, if all of its threads have room for them where signals are handled.
    /// </summary>
    private static bool AllowsTiles() => OperatingSystem.IsLinux() && SystemCall(ArchPrctl, RequestPermission, TileData) == 0;

    [LibraryImport("libc", EntryPoint = "syscall")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial long SystemCall(long number, long operation, long argument);
}
