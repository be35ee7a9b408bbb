using Iced.Intel;
using Skylight.Tensors;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Cpu.Assembly;

/// <summary>
/// Products with codes that are no integers (<see cref="FloatCodeLayout"/>): codes become pairs of bfloat16 on the way,
/// by tables in registers, and <see cref="BFloat16Tile"/>'s instruction multiplies them.
/// </summary>
internal static class FloatCodeTile
{
    private const int ChunkPairs = FloatCodeLayout.Chunk / 2, RowBytes = 64, PairBytes = 128, ScaleBytes = 128;

    // zmm0–23 sums, 24–27 tables, 28–30 codes and pairs, 31 a row of a.
    private const int Tables = 24, Raw = 28, A = 31;

    /// <summary>The registers that have a pair.</summary>
    internal const int First = 29, Second = 30;

    /// <summary>
    /// The panels that a kernel for so many rows walks side by side: a row or two alone wait for their own sums (Emerald
    /// Rapids: seven cycles from one to the next, where two start in four).
    /// </summary>
    public static int PanelsFor(int rows) => rows switch
    {
        1 => 4,
        2 => 2,
        _ => 1,
    };

    /// <summary>
    /// (a, weight, sums, chunks, chunks of a block, bytes of a panel): <paramref name="rows"/> rows of a, as
    /// <see cref="BFloat16Packing.Rows"/> packs them, with neighbouring panels: sums [panels, rows, 32] = fma(sum of a
    /// block, scale, sums), block after block.
    /// </summary>
    public static nint Rows(CodeType codes, int rows, int panels)
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        Expansion expansion = ExpansionOf(kernel, codes);
        Label again = code.CreateLabel(), done = code.CreateLabel();
        code.lea(r11, __[r9 + r9 * 2]);
        code.test(rcx, rcx);
        code.jle(done);
        code.Label(ref again);
        code.mov(rax, r8);
        code.cmp(rcx, rax);
        code.cmovl(rax, rcx);
        code.sub(rcx, rax);
        code.mov(r10, rsi);
        code.add(rsi, ScaleBytes);
        for (int sum = 0; sum < 2 * rows * panels; sum++)
            code.vpxord(zmm[sum], zmm[sum], zmm[sum]);
        kernel.Loop(rax, () =>
        {
            if (panels == 1)
                WeightPrefetch.Ask(code, rsi, 0, ChunkBytes(codes), rows);
            for (int pair = 0; pair < ChunkPairs; pair += expansion.Pairs)
            {
                for (int panel = 0; panel < panels; panel++)
                {
                    int sums = 2 * rows * panel;
                    expansion.Write(pair, offset => At(rsi, panel, offset), own => Multiply(sums, pair + own));
                }
            }

            code.add(rdi, rows * RowBytes);
            code.add(rsi, ChunkBytes(codes));
        });
        for (int panel = 0; panel < panels; panel++)
        {
            code.vmovups(zmm[First], At(r10, panel, 0));
            code.vmovups(zmm[Second], At(r10, panel, 64));
            for (int sum = 2 * rows * panel; sum < 2 * rows * (panel + 1); sum++)
            {
                code.vfmadd213ps(zmm[sum], zmm[First + sum % 2], __zmmword_ptr[rdx + sum * 64]);
                code.vmovups(__zmmword_ptr[rdx + sum * 64], zmm[sum]);
            }
        }

        code.test(rcx, rcx);
        code.jg(again);
        code.Label(ref done);
        return kernel.Finish();

        void Multiply(int sums, int pair)
        {
            for (int row = 0; row < rows; row++)
            {
                code.vpbroadcastd(zmm[A], __dword_ptr[rdi + row * RowBytes + pair * 4]);
                code.vdpbf16ps(zmm[sums + 2 * row], zmm[First], zmm[A]);
                code.vdpbf16ps(zmm[sums + 2 * row + 1], zmm[Second], zmm[A]);
            }
        }

        // r9 is the distance of panels, r11 three of them.
        static AssemblerMemoryOperand At(AssemblerRegister64 start, int panel, int offset) => panel switch
        {
            0 => __zmmword_ptr[start + offset],
            1 => __zmmword_ptr[start + r9 + offset],
            2 => __zmmword_ptr[start + r9 * 2 + offset],
            _ => __zmmword_ptr[start + r11 + offset],
        };
    }

    /// <summary>
    /// (weight, target, chunks): chunks of a panel into packed pairs, which <see cref="BFloat16Tile"/> reads.
    /// </summary>
    public static nint Expand(CodeType codes)
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        Expansion expansion = ExpansionOf(kernel, codes);
        kernel.Loop(rdx, () =>
        {
            for (int pair = 0; pair < ChunkPairs; pair += expansion.Pairs)
            {
                int first = pair;
                expansion.Write(pair, offset => __zmmword_ptr[rdi + offset], own =>
                {
                    code.vmovdqu32(__zmmword_ptr[rsi + (first + own) * PairBytes], zmm[First]);
                    code.vmovdqu32(__zmmword_ptr[rsi + (first + own) * PairBytes + 64], zmm[Second]);
                });
            }

            code.add(rdi, ChunkBytes(codes));
            code.add(rsi, ChunkPairs * PairBytes);
        });
        return kernel.Finish();
    }

    /// <summary>Bytes of a chunk of a panel.</summary>
    internal static int ChunkBytes(CodeType codes) => codes == CodeType.Float8E4M3 ? 1024 : 512;

    /// <summary>How pairs of steps are made of codes.</summary>
    /// <param name="Pairs">The pairs that 64 bytes have.</param>
    /// <param name="Write">
    /// Of the first pair, the operand at an offset in its chunk, and what uses each pair, told which one it is.
    /// </param>
    internal sealed record Expansion(int Pairs, Action<int, Func<int, AssemblerMemoryOperand>, Action<int>> Write);

    /// <summary>Loads the tables (zmm24–27); zmm28–30 are written by each pair.</summary>
    internal static Expansion ExpansionOf(KernelAssembler kernel, CodeType codes)
    {
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        ushort[] values = Array.ConvertAll(codes.Values().ToArray(), value => ((BFloat16)value).Bits);
        if (codes == CodeType.NormalFloat4)
        {
            // An index has five bits, of which the highest belongs to the next code.
            code.vmovdqu16(zmm[Tables], __zmmword_ptr[kernel.Constant<ushort>([.. values, .. values])]);
            return new Expansion(2, (pair, at, use) =>
            {
                code.vmovdqu32(zmm[Raw], at(pair * 32));
                for (int own = 0; own < 2; own++)
                {
                    if (own > 0)
                        code.vpsrlw(zmm[Raw], zmm[Raw], 8);
                    code.vpsrlw(zmm[Second], zmm[Raw], 4);
                    code.vpermw(zmm[First], zmm[Raw], zmm[Tables]);
                    code.vpermw(zmm[Second], zmm[Second], zmm[Tables]);
                    use(own);
                }
            });
        }

        // Of the numbers without their signs the upper and the lower bytes, by seven bits of a code.
        for (int half = 0; half < 2; half++)
        {
            int shift = 8 - half * 8;
            byte[] bytes = [.. values.Take(128).Select(value => (byte)(value >> shift))];
            code.vmovdqu8(zmm[Tables + 2 * half], __zmmword_ptr[kernel.Constant<byte>(bytes.AsSpan(0, 64))]);
            code.vmovdqu8(zmm[Tables + 2 * half + 1], __zmmword_ptr[kernel.Constant<byte>(bytes.AsSpan(64))]);
        }

        Label sign = kernel.Constant<uint>([0x80808080]);
        return new Expansion(1, (pair, at, use) =>
        {
            code.vmovdqu32(zmm[Raw], at(pair * 64));
            code.vmovdqa32(zmm[First], zmm[Raw]);
            code.vpermi2b(zmm[First], zmm[Tables], zmm[Tables + 1]);
            code.vmovdqa32(zmm[Second], zmm[Raw]);
            code.vpermi2b(zmm[Second], zmm[Tables + 2], zmm[Tables + 3]);
            // upper | (code & 0x80)
            code.vpternlogd(zmm[First], zmm[Raw], __dword_bcst[sign], 0xF8);
            code.vmovdqa32(zmm[Raw], zmm[First]);
            code.vpunpcklbw(zmm[First], zmm[Second], zmm[Raw]);
            code.vpunpckhbw(zmm[Second], zmm[Second], zmm[Raw]);
            use(0);
        });
    }
}
