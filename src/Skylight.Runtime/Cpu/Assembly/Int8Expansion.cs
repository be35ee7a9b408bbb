using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Cpu.Assembly;

/// <summary>Bytes of key-value pages become pairs of bfloat16, the order that <see cref="BFloat16Tile"/> reads.</summary>
internal static unsafe class Int8Expansion
{
    private const int Lines = 16, LineBytes = 64, PairBytes = 128;
    private static readonly Lazy<nint> Made = new(Make);

    /// <summary>
    /// (page, target, scales, blocks, ahead): blocks of <see cref="Int8Pages"/> one after the other; of each 16 pairs of steps
    /// by 32 columns go to target, the earlier step in the upper half, and 32 scales in float32 to scales. Meanwhile as many
    /// bytes are asked for from ahead on.
    /// </summary>
    public static delegate* unmanaged<void*, void*, float*, nint, void*, void> Kernel =>
        (delegate* unmanaged<void*, void*, float*, nint, void*, void>)Made.Value;

    private static nint Make()
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

            code.prefetcht1(__byte_ptr[r8]);
            for (int line = 0; line < Lines; line++)
            {
                // Codes have 7 bits, so as float32 they are bfloat16 already: the lower halves are zero.
                int place = (1 + line) * LineBytes, first = line % 4 * 4;
                code.prefetcht1(__byte_ptr[r8 + place]);
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
            code.add(r8, Int8Pages.BlockBytes);
            code.add(rsi, Lines * PairBytes);
            code.add(rdx, 2 * LineBytes);
        });
        return kernel.Finish();
    }
}
