using System.Globalization;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Skylight.Cpu;

/// <summary>
/// How wide the vectors are that this program's kernels use, and how wide they could be. The two differ in a program
/// that was published ahead of time for older processors, and where the runtime was told to leave instructions unused.
/// </summary>
public static class CpuVectors
{
    private const int FusedMultiplyAdd = 1 << 12, SavesState = 1 << 27;
    private const int Avx2 = 1 << 5;
    // AVX-512 F, DQ, CD, BW and VL: what .NET asks for before it uses 512 bits.
    private const int Avx512 = (1 << 16) | (1 << 17) | (1 << 28) | (1 << 30) | (1 << 31);
    // Parts of the state that the system saves between threads: the upper halves of 256-bit registers, and the last
    // part of the 512-bit ones.
    private const int UpperHalves = 2, UpperRegisters = 7;

    /// <summary>The width of the vectors that kernels use: 128, 256 or 512 bits.</summary>
    public static int Bits => Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : 128;

    /// <summary>
    /// The width of the widest vectors that this machine and its system have, and that are fast: never less than
    /// <see cref="Bits"/>.
    /// </summary>
    public static int MachineBits { get; } = Math.Max(Bits, Find());

    /// <summary>Whether the system saves the registers of 512 bits between threads.</summary>
    internal static bool SavesAllRegisters { get; } = X86Base.IsSupported && X86Base.CpuId(0, 0).Eax >= 13
        && (X86Base.CpuId(1, 0).Ecx & SavesState) != 0 && IsSaved(UpperRegisters);

    /// <summary>One sentence that names both widths and what to do; null where they are equal.</summary>
    public static string? Warning => Describe(Bits, MachineBits, isAheadOfTime: !RuntimeFeature.IsDynamicCodeCompiled);

    internal static string? Describe(int bits, int machineBits, bool isAheadOfTime)
    {
        if (machineBits <= bits)
            return null;
        string remedy = isAheadOfTime
            ? $"It was published ahead of time for other processors: publish it with " +
                $"-p:SkylightIlcInstructionSet={(machineBits == 512 ? "x86-64-v4" : "x86-64-v3")} for machines " +
                $"like this one."
            : "A setting of the runtime keeps it from them: look for DOTNET_Enable… in the environment and " +
                "System.Runtime.Intrinsics in runtimeconfig.json.";
        return string.Create(CultureInfo.InvariantCulture,
            $"this machine has vectors of {machineBits} bits, but this program uses {bits} bits only and is slower " +
            $"for it. {remedy}");
    }

    private static int Find()
    {
        // Elsewhere vectors have 128 bits, and every program uses them.
        if (!X86Base.IsSupported || X86Base.CpuId(0, 0).Eax < 13)
            return 0;
        (int version, _, int base1, _) = X86Base.CpuId(1, 0);
        int base7 = X86Base.CpuId(7, 0).Ebx;
        if ((base1 & SavesState) == 0 || (base1 & FusedMultiplyAdd) == 0 || (base7 & Avx2) == 0 || !IsSaved(UpperHalves))
            return 128;
        return (base7 & Avx512) == Avx512 && IsSaved(UpperRegisters) && !SlowsDown(version) ? 512 : 256;
    }

    /// <summary>
    /// Whether the area into which the system saves registers is large enough for a part of them: it is as large as the
    /// parts that it saves.
    /// </summary>
    internal static bool IsSaved(int part)
    {
        (int size, int offset, _, _) = X86Base.CpuId(13, part);
        return size > 0 && X86Base.CpuId(13, 0).Ebx >= size + offset;
    }

    /// <summary>
    /// Intel's Skylake-X and its kin (family 6, model 0x55) clock down for 512 bits; .NET does not use them there, and
    /// that is right.
    /// </summary>
    private static bool SlowsDown(int version)
    {
        int family = (version >> 8) & 15, model = ((version >> 4) & 15) | ((version >> 12) & 0xF0);
        return family == 6 && model == 0x55;
    }
}
