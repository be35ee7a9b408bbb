using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Cpu.Assembly;

/// <summary>Operands of attention over pages of bytes, as pairs of bfloat16 in the order of <see cref="BFloat16Tile"/>.</summary>
internal static class Int8Packing
{
    private const int Lines = 16, LineBytes = 64, PairBytes = 128;

    /// <summary>
    /// (page, target, scales, blocks): blocks of <see cref="Int8Pages"/> one after the other; of each 16 pairs of steps by 32
    /// columns go to target, the earlier step in the upper half, and 32 scales in float32 to scales.
    /// </summary>
    public static nint Expand()
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        kernel.Loop(rcx, () =>
        {
            for (int half = 0; half < 2; half++)
            {
                code.vpmovzxwd(zmm[half], __ymmword_ptr[rdi + half * 32]);
                code.vpslld(zmm[half], zmm[half], 16);
                code.vmovdqu32(__zmmword_ptr[rdx + half * LineBytes], zmm[half]);
            }

            for (int line = 0; line < Lines; line++)
            {
                // Codes have 7 bits, so as float32 they are bfloat16 already: the lower halves are zero.
                int place = (1 + line) * LineBytes, first = line % 4 * 4;
                for (int quarter = 0; quarter < 4; quarter++)
                {
                    code.vpmovsxbd(zmm[first + quarter], __xmmword_ptr[rdi + (place + quarter * 16)]);
                    code.vcvtdq2ps(zmm[first + quarter], zmm[first + quarter]);
                }

                for (int half = 0; half < 2; half++)
                {
                    code.vpsrld(zmm[first + 2 + half], zmm[first + 2 + half], 16);
                    code.vpord(zmm[first + half], zmm[first + half], zmm[first + 2 + half]);
                    code.vmovdqu32(__zmmword_ptr[rsi + (line * PairBytes + half * LineBytes)], zmm[first + half]);
                }
            }

            code.add(rdi, Int8Pages.BlockBytes);
            code.add(rsi, Lines * PairBytes);
            code.add(rdx, 2 * LineBytes);
        });
        return kernel.Finish();
    }

    /// <summary>
    /// (p, scales, target, rows, blocks): of each row [32] and each block the products with the block's 32 scales, rounded, go
    /// to target, [blocks][32 rows][32].
    /// </summary>
    public static nint Weights()
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        kernel.Loop(r8, () =>
        {
            code.vmovups(zmm0, __zmmword_ptr[rsi]);
            code.vmovups(zmm1, __zmmword_ptr[rsi + LineBytes]);
            code.mov(rax, rdi);
            code.mov(r10, rdx);
            code.mov(r11, rcx);
            kernel.Loop(r11, () =>
            {
                code.vmulps(zmm2, zmm0, __zmmword_ptr[rax]);
                code.vmulps(zmm3, zmm1, __zmmword_ptr[rax + LineBytes]);
                // The last source goes into the lower half; of each pair the earlier one then into the upper.
                code.vcvtne2ps2bf16(zmm2, zmm3, zmm2);
                code.vprold(zmm2, zmm2, 16);
                code.vmovdqu32(__zmmword_ptr[r10], zmm2);
                code.add(rax, PairBytes);
                code.add(r10, LineBytes);
            });
            code.add(rsi, PairBytes);
            code.add(rdx, Int8Matrices.RowBlockBytes);
        });
        return kernel.Finish();
    }
}
