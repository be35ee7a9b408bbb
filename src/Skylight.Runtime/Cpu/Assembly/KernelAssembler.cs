using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Cpu.Assembly;

/// <summary>
/// Writes one function for the System V calling convention: arguments in rdi, rsi, rdx, rcx, r8, r9; rax, r10 and r11 are
/// free, and so are all vector and mask registers.
/// </summary>
internal sealed class KernelAssembler
{
    private readonly List<(Label Label, byte[] Bytes)> _constants = [];

    /// <summary>The instructions.</summary>
    public Assembler Code { get; } = new(64);

    /// <summary>The vector registers by number: a kernel computes which one it means.</summary>
    public static AssemblerRegisterZMM[] Zmm { get; } =
    [
        zmm0, zmm1, zmm2, zmm3, zmm4, zmm5, zmm6, zmm7, zmm8, zmm9, zmm10, zmm11, zmm12, zmm13, zmm14, zmm15,
        zmm16, zmm17, zmm18, zmm19, zmm20, zmm21, zmm22, zmm23, zmm24, zmm25, zmm26, zmm27, zmm28, zmm29, zmm30, zmm31,
    ];

    /// <summary>A constant behind the code, for loads relative to the instruction.</summary>
    public Label Constant<T>(ReadOnlySpan<T> elements)
        where T : unmanaged
    {
        Label label = Code.CreateLabel();
        _constants.Add((label, System.Runtime.InteropServices.MemoryMarshal.AsBytes(elements).ToArray()));
        return label;
    }

    /// <summary>Repeats a body while a counter, which it counts down to zero, is above zero.</summary>
    public void Loop(AssemblerRegister64 counter, Action body)
    {
        Label again = Code.CreateLabel(), done = Code.CreateLabel();
        Code.test(counter, counter);
        Code.jle(done);
        Code.Label(ref again);
        body();
        Code.dec(counter);
        Code.jnz(again);
        Code.Label(ref done);
    }

    /// <summary>Ends the function and makes it callable.</summary>
    /// <exception cref="PlatformNotSupportedException">The system refuses executable memory.</exception>
    public unsafe nint Finish()
    {
        Code.vzeroupper();
        Code.ret();
        foreach ((Label label, byte[] bytes) in _constants)
        {
            Label here = label;
            Code.Label(ref here);
            Code.db(bytes);
        }

        var stream = new MemoryStream();
        Code.Assemble(new StreamCodeWriter(stream), 0);
        byte* start = CodePages.Load(stream.GetBuffer().AsSpan(0, (int)stream.Length));
        return start is not null ? (nint)start
            : throw new PlatformNotSupportedException("The system refuses executable memory.");
    }
}
