using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Cpu.Assembly;

/// <summary>
/// Puts operands into the order that <see cref="BFloat16Tile"/> reads: pairs of steps in 32 bits, the earlier one in the
/// upper half. float32 is rounded to nearest even.
/// </summary>
internal static class BFloat16Packing
{
    private const int RowBytes = 64, PairBytes = 128;

    /// <summary>
    /// (source, target, bytes from a row to the next, whole chunks of 32 steps, steps after them, rows): rows of float32 into
    /// chunks, in each a row after the other; a chunk that is not full is filled up with zeros.
    /// </summary>
    public static nint Rows()
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        ColumnMasks(code, r8);
        // r9 counts rows; r8 becomes the bytes of a chunk.
        code.push(rbx);
        code.push(r12);
        code.mov(r12, r8);
        code.mov(r8, r9);
        code.shl(r8, 6);
        kernel.Loop(r9, () =>
        {
            code.mov(r10, rdi);
            code.mov(r11, rsi);
            code.mov(rbx, rcx);
            kernel.Loop(rbx, () =>
            {
                code.vmovups(zmm0, __zmmword_ptr[r10]);
                code.vmovups(zmm1, __zmmword_ptr[r10 + 64]);
                Round(code, zmm2, zmm0, zmm1);
                code.vmovdqu32(__zmmword_ptr[r11], zmm2);
                code.add(r10, 128);
                code.add(r11, r8);
            });
            Label whole = code.CreateLabel();
            code.test(r12, r12);
            code.jz(whole);
            code.vmovups(zmm0.k1.z, __zmmword_ptr[r10]);
            code.vmovups(zmm1.k2.z, __zmmword_ptr[r10 + 64]);
            Round(code, zmm2, zmm0, zmm1);
            code.vmovdqu32(__zmmword_ptr[r11], zmm2);
            code.Label(ref whole);
            code.add(rdi, rdx);
            code.add(rsi, RowBytes);
        });
        code.pop(r12);
        code.pop(rbx);
        return kernel.Finish();

        static void Round(Assembler code, AssemblerRegisterZMM result, AssemblerRegisterZMM first,
            AssemblerRegisterZMM second)
        {
            // The last operand becomes the lower half.
            code.vcvtne2ps2bf16(result, second, first);
            code.vprold(result, result, 16);
        }
    }

    /// <summary>
    /// (source, target, pairs, odd): steps of a panel of bfloat16 (32 columns each) into pairs; odd is 1 where one more step
    /// follows, whose partner is zero.
    /// </summary>
    public static nint Panel()
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        // Words of the first table are 0–31, those of the second 32–63.
        var first = new ushort[32];
        for (int column = 0; column < 16; column++)
            (first[2 * column], first[2 * column + 1]) = ((ushort)(32 + column), (ushort)column);
        code.vmovdqu16(zmm4, __zmmword_ptr[kernel.Constant<ushort>(first)]);
        code.vmovdqu16(zmm5, __zmmword_ptr[
            kernel.Constant<ushort>(Array.ConvertAll(first, index => (ushort)(index + 16)))]);
        kernel.Loop(rdx, () =>
        {
            code.vmovdqu16(zmm0, __zmmword_ptr[rdi]);
            code.vmovdqu16(zmm1, __zmmword_ptr[rdi + 64]);
            Interleave();
            code.add(rdi, PairBytes);
        });
        kernel.Loop(rcx, () =>
        {
            code.vmovdqu16(zmm0, __zmmword_ptr[rdi]);
            code.vpxord(zmm1, zmm1, zmm1);
            Interleave();
        });
        return kernel.Finish();

        void Interleave()
        {
            code.vmovdqa32(zmm2, zmm4);
            code.vpermi2w(zmm2, zmm0, zmm1);
            code.vmovdqa32(zmm3, zmm5);
            code.vpermi2w(zmm3, zmm0, zmm1);
            code.vmovdqu32(__zmmword_ptr[rsi], zmm2);
            code.vmovdqu32(__zmmword_ptr[rsi + 64], zmm3);
            code.add(rsi, PairBytes);
        }
    }

    /// <summary>
    /// (source, target, bytes from a step to the next, pairs, odd, columns 1–32): row-major float32 [steps, columns] into
    /// pairs; columns that are not there are zero.
    /// </summary>
    public static nint Steps()
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        ColumnMasks(code, r9);
        code.vmovdqu16(zmm6, __zmmword_ptr[kernel.Constant<ushort>(HalvesToPairs)]);
        kernel.Loop(rcx, () =>
        {
            code.vmovups(zmm0.k1.z, __zmmword_ptr[rdi]);
            code.vmovups(zmm1.k2.z, __zmmword_ptr[rdi + 64]);
            code.add(rdi, rdx);
            code.vmovups(zmm2.k1.z, __zmmword_ptr[rdi]);
            code.vmovups(zmm3.k2.z, __zmmword_ptr[rdi + 64]);
            code.add(rdi, rdx);
            Store();
        });
        kernel.Loop(r8, () =>
        {
            code.vmovups(zmm0.k1.z, __zmmword_ptr[rdi]);
            code.vmovups(zmm1.k2.z, __zmmword_ptr[rdi + 64]);
            code.vpxord(zmm2, zmm2, zmm2);
            code.vpxord(zmm3, zmm3, zmm3);
            Store();
        });
        return kernel.Finish();

        void Store()
        {
            code.vcvtne2ps2bf16(zmm4, zmm0, zmm2);
            code.vcvtne2ps2bf16(zmm5, zmm1, zmm3);
            code.vpermw(zmm4, zmm6, zmm4);
            code.vpermw(zmm5, zmm6, zmm5);
            code.vmovdqu32(__zmmword_ptr[rsi], zmm4);
            code.vmovdqu32(__zmmword_ptr[rsi + 64], zmm5);
            code.add(rsi, PairBytes);
        }
    }

    /// <summary>
    /// (source, target): a panel of a weight in bfloat16, used with its 32 outputs as steps and 32 of its inputs as columns:
    /// [32 inputs][32 outputs] into 16 pairs of outputs.
    /// </summary>
    public static nint PanelAcross() => Across(isChunk: false);

    /// <summary>
    /// (source, target): a chunk of 32 rows, as <see cref="Rows"/> makes it, into 16 pairs of steps with the rows as columns.
    /// </summary>
    public static nint ChunkAcross() => Across(isChunk: true);

    /// <summary>32 rows of 16 pairs transposed. In a chunk the earlier of a pair is in the upper half already.</summary>
    private static nint Across(bool isChunk)
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        for (int half = 0; half < 2; half++)
        {
            for (int row = 0; row < 16; row++)
                code.vmovdqu32(zmm[row], __zmmword_ptr[rdi + (half * 16 + row) * RowBytes]);
            AssemblerRegisterZMM[] columns = Transposition.OfDoublewords(code, zmm[..16], zmm[16..]);
            for (int pair = 0; pair < 16; pair++)
            {
                if (!isChunk)
                    code.vprold(columns[pair], columns[pair], 16);
                code.vmovdqu32(__zmmword_ptr[rsi + pair * PairBytes + half * 64], columns[pair]);
            }
        }

        return kernel.Finish();
    }

    /// <summary>
    /// (source, bytes from a step to the next, addresses of 16 targets, rows 1–16): float32 [32 steps, rows] into a chunk of
    /// each row, where the left operand is used transposed; of rows that are not there nothing is read.
    /// </summary>
    public static nint Columns()
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        ColumnMasks(code, rcx);
        code.vmovdqu16(zmm31, __zmmword_ptr[kernel.Constant<ushort>(HalvesToPairs)]);
        for (int pair = 0; pair < 16; pair++)
        {
            code.vmovups(zmm29.k1.z, __zmmword_ptr[rdi]);
            code.add(rdi, rsi);
            code.vmovups(zmm30.k1.z, __zmmword_ptr[rdi]);
            code.add(rdi, rsi);
            code.vcvtne2ps2bf16(zmm[pair], zmm29, zmm30);
            code.vpermw(zmm[pair], zmm31, zmm[pair]);
        }

        AssemblerRegisterZMM[] rows = Transposition.OfDoublewords(code, zmm[..16], zmm[16..]);
        for (int row = 0; row < 16; row++)
        {
            code.mov(rax, __qword_ptr[rdx + row * 8]);
            code.vmovdqu32(__zmmword_ptr[rax], rows[row]);
        }

        return kernel.Finish();
    }

    /// <summary>Word 2n from the lower half's n-th, word 2n + 1 from the upper half's.</summary>
    private static ushort[] HalvesToPairs { get; } =
        [.. Enumerable.Range(0, 32).Select(word => (ushort)(word / 2 + word % 2 * 16))];

    /// <summary>k1 and k2 for the first and the last 16 of up to 32 columns.</summary>
    private static void ColumnMasks(Assembler code, AssemblerRegister64 columns)
    {
        code.mov(rax, -1);
        code.bzhi(rax, rax, columns);
        code.kmovw(k1, eax);
        code.shr(eax, 16);
        code.kmovw(k2, eax);
    }
}
