using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Cpu.Assembly;

/// <summary>
/// How the sums of a register tile, 32 outputs of a row in two vectors from zmm0 on, come and go: [rows, 32] float32,
/// contiguous, between blocks of steps, and rows of a result at the end. <c>part</c> is where on the stack the address of a
/// <see cref="PanelPart"/> lies; without one they are added to what is there. rax, r10 and r11 are used.
/// </summary>
internal static class TileSums
{
    /// <summary>Asks for a tile's share of what comes after the block.</summary>
    public static void AskAhead(Assembler code, AssemblerMemoryOperand? part)
    {
        if (part is not { } address)
            return;
        Label again = code.CreateLabel(), done = code.CreateLabel();
        code.mov(rax, address);
        code.mov(r10, __qword_ptr[rax + PanelPart.AheadAt]);
        code.mov(r11, __qword_ptr[rax + PanelPart.AheadLinesAt]);
        code.test(r11, r11);
        code.jz(done);
        code.Label(ref again);
        code.prefetcht1(__byte_ptr[r10]);
        code.add(r10, 64);
        code.dec(r11);
        code.jnz(again);
        code.mov(__qword_ptr[rax + PanelPart.AheadAt], r10);
        code.Label(ref done);
        code.nop();
    }

    /// <summary>The sums so far, or zeros.</summary>
    public static void Begin(Assembler code, int rows, AssemblerRegister64 sums, AssemblerMemoryOperand? part)
    {
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        FirstOrNot(
            code, part,
            () =>
            {
                for (int sum = 0; sum < 2 * rows; sum++)
                    code.vpxord(zmm[sum], zmm[sum], zmm[sum]);
            },
            () =>
            {
                for (int sum = 0; sum < 2 * rows; sum++)
                    code.vmovups(zmm[sum], __zmmword_ptr[sums + sum * 64]);
            });
    }

    /// <summary>Scales the registers and adds them to the sums so far, or to zeros.</summary>
    public static void Add(Assembler code, int rows, AssemblerRegister64 sums, AssemblerMemoryOperand? part,
        (AssemblerRegisterZMM First, AssemblerRegisterZMM Second) scales, AssemblerRegisterZMM zero)
    {
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        FirstOrNot(
            code, part,
            () =>
            {
                code.vpxord(zero, zero, zero);
                for (int sum = 0; sum < 2 * rows; sum++)
                    code.vfmadd213ps(zmm[sum], ScaleOf(sum), zero);
            },
            () =>
            {
                for (int sum = 0; sum < 2 * rows; sum++)
                    code.vfmadd213ps(zmm[sum], ScaleOf(sum), __zmmword_ptr[sums + sum * 64]);
            });

        AssemblerRegisterZMM ScaleOf(int sum) => sum % 2 == 0 ? scales.First : scales.Second;
    }

    /// <summary>Writes the sums, or the next rows of the result.</summary>
    public static void End(Assembler code, int rows, AssemblerRegister64 sums, AssemblerMemoryOperand? part)
    {
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        Label store = code.CreateLabel(), done = code.CreateLabel();
        if (part is { } address)
        {
            Label unbiased = code.CreateLabel();
            code.mov(rax, address);
            code.mov(r10, __qword_ptr[rax + PanelPart.RowAt]);
            code.test(r10, r10);
            code.jz(store);
            code.mov(r11, __qword_ptr[rax + PanelPart.BiasAt]);
            code.test(r11, r11);
            code.jz(unbiased);
            for (int sum = 0; sum < 2 * rows; sum++)
                code.vaddps(zmm[sum], zmm[sum], __zmmword_ptr[r11 + sum % 2 * 64]);
            code.Label(ref unbiased);
            code.mov(r11, __qword_ptr[rax + PanelPart.RowBytesAt]);
            for (int row = 0; row < rows; row++)
            {
                code.vmovups(__zmmword_ptr[r10], zmm[2 * row]);
                code.vmovups(__zmmword_ptr[r10 + 64], zmm[2 * row + 1]);
                code.add(r10, r11);
            }

            code.mov(__qword_ptr[rax + PanelPart.RowAt], r10);
            code.jmp(done);
            code.Label(ref store);
        }

        for (int sum = 0; sum < 2 * rows; sum++)
            code.vmovups(__zmmword_ptr[sums + sum * 64], zmm[sum]);
        if (part is not null)
        {
            code.Label(ref done);
            code.nop();
        }
    }

    private static void FirstOrNot(Assembler code, AssemblerMemoryOperand? part, Action first, Action later)
    {
        if (part is not { } address)
        {
            later();
            return;
        }

        Label isLater = code.CreateLabel(), done = code.CreateLabel();
        code.mov(rax, address);
        code.cmp(__qword_ptr[rax + PanelPart.IsFirstAt], 0);
        code.je(isLater);
        first();
        code.jmp(done);
        code.Label(ref isLater);
        later();
        code.Label(ref done);
        code.nop();
    }
}
