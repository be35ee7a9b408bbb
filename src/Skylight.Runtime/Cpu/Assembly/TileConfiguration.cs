using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Cpu.Assembly;

/// <summary>
/// What a kernel does with the thread's configuration of tiles: uses its own, and puts back what it found. Another library of
/// the process may have configured the thread once for all its kernels (ggml does); without a configuration their
/// instructions are illegal. The contents of the tiles are nobody's across a call.
/// </summary>
internal static class TileConfiguration
{
    /// <summary>What it takes on the stack.</summary>
    public const int Bytes = 64;

    /// <summary>Keeps what is there at a place on the stack, and configures the tiles as a constant says.</summary>
    public static void Use(Assembler code, Label own, AssemblerMemoryOperand kept)
    {
        code.sttilecfg(kept);
        code.ldtilecfg(__[own]);
    }

    /// <summary>Puts back what was kept; where there was none that leaves the tiles free, as <c>tilerelease</c> does.</summary>
    public static void PutBack(Assembler code, AssemblerMemoryOperand kept) => code.ldtilecfg(kept);
}
