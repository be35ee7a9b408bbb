using Iced.Intel;
using Skylight.Tensors;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Cpu.Assembly;

/// <summary>
/// Products with codes that are no integers (<see cref="FloatCodeLayout"/>): codes become pairs of bfloat16 on the way, by
/// tables in registers, and <see cref="BFloat16Tile"/>'s instruction multiplies them.
/// </summary>
internal static class FloatCodeTile
{
    private const int ChunkPairs = FloatCodeLayout.Chunk / 2, RowBytes = 64, PairBytes = 128, ScaleBytes = 128;

    // zmm0–23 sums, 24–27 tables, 28–30 codes and pairs, 31 a row of a.
    private const int Tables = 24, Raw = 28, First = 29, Second = 30, A = 31;

    /// <summary>
    /// (a, weight, sums, chunks, chunks of a block): <paramref name="rows"/> rows of a, as
    /// <see cref="BFloat16Packing.Rows"/> packs them, with a panel: sums [rows, 32] = fma(sum of a block, scale, sums), block
    /// after block.
    /// </summary>
    public static nint Rows(CodeType codes, int rows)
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        Action<int, Action> pairs = Pairs(kernel, codes);
        Label again = code.CreateLabel(), done = code.CreateLabel();
        code.test(rcx, rcx);
        code.jle(done);
        code.Label(ref again);
        code.mov(r9, r8);
        code.cmp(rcx, r9);
        code.cmovl(r9, rcx);
        code.sub(rcx, r9);
        code.mov(r10, rsi);
        code.add(rsi, ScaleBytes);
        for (int sum = 0; sum < 2 * rows; sum++)
            code.vpxord(zmm[sum], zmm[sum], zmm[sum]);
        kernel.Loop(r9, () =>
        {
            for (int pair = 0; pair < ChunkPairs; pair++)
            {
                int offset = pair * 4;
                pairs(pair, () =>
                {
                    for (int row = 0; row < rows; row++)
                    {
                        code.vpbroadcastd(zmm[A], __dword_ptr[rdi + row * RowBytes + offset]);
                        code.vdpbf16ps(zmm[2 * row], zmm[First], zmm[A]);
                        code.vdpbf16ps(zmm[2 * row + 1], zmm[Second], zmm[A]);
                    }
                });
            }

            code.add(rdi, rows * RowBytes);
            code.add(rsi, ChunkBytes(codes));
        });
        code.vmovups(zmm[First], __zmmword_ptr[r10]);
        code.vmovups(zmm[Second], __zmmword_ptr[r10 + 64]);
        for (int sum = 0; sum < 2 * rows; sum++)
        {
            code.vfmadd213ps(zmm[sum], zmm[First + sum % 2], __zmmword_ptr[rdx + sum * 64]);
            code.vmovups(__zmmword_ptr[rdx + sum * 64], zmm[sum]);
        }

        code.test(rcx, rcx);
        code.jg(again);
        code.Label(ref done);
        return kernel.Finish();
    }

    /// <summary>(weight, target, chunks): chunks of a panel into packed pairs, which <see cref="BFloat16Tile"/> reads.</summary>
    public static nint Expand(CodeType codes)
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        // The loop moves the weight on in rsi, the target in rdi.
        code.xchg(rdi, rsi);
        Action<int, Action> pairs = Pairs(kernel, codes);
        kernel.Loop(rdx, () =>
        {
            for (int pair = 0; pair < ChunkPairs; pair++)
            {
                int offset = pair * PairBytes;
                pairs(pair, () =>
                {
                    code.vmovdqu32(__zmmword_ptr[rdi + offset], zmm[First]);
                    code.vmovdqu32(__zmmword_ptr[rdi + offset + 64], zmm[Second]);
                });
            }

            code.add(rdi, ChunkPairs * PairBytes);
            code.add(rsi, ChunkBytes(codes));
        });
        return kernel.Finish();
    }

    private static int ChunkBytes(CodeType codes) => codes == CodeType.Float8E4M3 ? 1024 : 512;

    /// <summary>Loads the tables, and gives what makes a pair of a chunk at rsi before something uses it.</summary>
    private static Action<int, Action> Pairs(KernelAssembler kernel, CodeType codes)
    {
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        ushort[] values = Array.ConvertAll(codes.Values().ToArray(), value => ((BFloat16)value).Bits);
        if (codes == CodeType.NormalFloat4)
        {
            // An index has five bits, of which the highest belongs to the next code.
            code.vmovdqu16(zmm[Tables], __zmmword_ptr[kernel.Constant<ushort>([.. values, .. values])]);
            return (pair, use) =>
            {
                if (pair % 2 == 0)
                    code.vmovdqu32(zmm[Raw], __zmmword_ptr[rsi + pair * 32]);
                else
                    code.vpsrlw(zmm[Raw], zmm[Raw], 8);
                code.vpsrlw(zmm[Second], zmm[Raw], 4);
                code.vpermw(zmm[First], zmm[Raw], zmm[Tables]);
                code.vpermw(zmm[Second], zmm[Second], zmm[Tables]);
                use();
            };
        }

        // Of the numbers without their signs the upper and the lower bytes, by seven bits of a code.
        Label upper = kernel.Constant<byte>([.. values.Take(128).Select(value => (byte)(value >> 8))]),
            lower = kernel.Constant<byte>([.. values.Take(128).Select(value => (byte)value)]),
            sign = kernel.Constant<uint>([0x80808080]);
        code.lea(rax, __[upper]);
        code.vmovdqu8(zmm[Tables], __zmmword_ptr[rax]);
        code.vmovdqu8(zmm[Tables + 1], __zmmword_ptr[rax + 64]);
        code.lea(rax, __[lower]);
        code.vmovdqu8(zmm[Tables + 2], __zmmword_ptr[rax]);
        code.vmovdqu8(zmm[Tables + 3], __zmmword_ptr[rax + 64]);
        code.lea(rax, __[sign]);
        return (pair, use) =>
        {
            code.vmovdqu32(zmm[Raw], __zmmword_ptr[rsi + pair * 64]);
            code.vmovdqa32(zmm[First], zmm[Raw]);
            code.vpermi2b(zmm[First], zmm[Tables], zmm[Tables + 1]);
            code.vmovdqa32(zmm[Second], zmm[Raw]);
            code.vpermi2b(zmm[Second], zmm[Tables + 2], zmm[Tables + 3]);
            // upper | (code & 0x80)
            code.vpternlogd(zmm[First], zmm[Raw], __dword_bcst[rax], 0xF8);
            code.vpunpcklbw(zmm[Raw], zmm[Second], zmm[First]);
            code.vpunpckhbw(zmm[Second], zmm[Second], zmm[First]);
            code.vmovdqa32(zmm[First], zmm[Raw]);
            use();
        };
    }
}
