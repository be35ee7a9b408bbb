using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Cpu.Assembly;

/// <summary>How kernels ask ahead for a weight that they read once, from memory.</summary>
/// <remarks>
/// Measured with two threads and weights larger than the caches, GB/s without → with. Intel (Emerald Rapids, 8 KiB ahead into
/// the second cache), of 32–36 that a loop reads: one row of 4 bits 17 → 26, of 8 bits 23 → 26; two rows 16 → 25 and 20 → 25;
/// its prefetcher follows one stream too shortly. Zen 4 (4 KiB ahead into the first cache): one row of 4 bits 40 → 28, of 8
/// bits 51 → 43; four rows 25 → 33 and 37 → 40; bfloat16, one and four rows, 57 → 51 and 50 → 45: few rows leave its
/// prefetcher enough time. Zen 5 (as Zen 4, bfloat16 twice as far): one row of 4 bits 45 → 48, two 35 → 41; bfloat16, one row
/// 46 → 45, two 38 → 60, four 37 → 46, eight 28 → 47, twelve 17 → 38.
/// </remarks>
internal static class WeightPrefetch
{
    private const int LineBytes = 64;

    private static readonly int s_leastRows = ProcessorFeatures.IsIntel || ProcessorFeatures.IsZen5 ? 1 : 3;

    /// <summary>The fewest rows for which a weight of bfloat16 is asked for.</summary>
    public static int LeastRowsOfBFloat16 { get; } = ProcessorFeatures.IsZen5 ? 2 : int.MaxValue;

    /// <summary>Asks for the lines that a kernel will read some blocks later.</summary>
    /// <param name="code">The kernel.</param>
    /// <param name="weight">Where the kernel reads.</param>
    /// <param name="at">How many bytes behind it.</param>
    /// <param name="bytes">How many bytes it reads there.</param>
    /// <param name="rows">How many rows it multiplies with what it reads.</param>
    public static void Ask(Assembler code, AssemblerRegister64 weight, int at, int bytes, int rows)
    {
        if (rows < s_leastRows)
            return;
        int ahead = ProcessorFeatures.IsIntel || (ProcessorFeatures.IsZen5 && bytes > LineBytes) ? 8192 : 4096;
        for (int line = 0; line < bytes; line += LineBytes)
        {
            AssemblerMemoryOperand place = __byte_ptr[weight + at + line + ahead];
            if (ProcessorFeatures.IsIntel)
                code.prefetcht1(place);
            else
                code.prefetcht0(place);
        }
    }
}
