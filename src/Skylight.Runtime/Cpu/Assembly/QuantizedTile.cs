using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Cpu.Assembly;

/// <summary>
/// The register tile of products with quantised weights: up to 6 rows of activations in bytes and the 32 outputs of a panel,
/// by <c>vpdpbusd</c> (see <see cref="QuantizedLayout"/> and <see cref="QuantizedGemm"/>).
/// </summary>
internal static class QuantizedTile
{
    /// <summary>The most rows of a tile: 12 sums in float32 and 12 in integers.</summary>
    public const int MaxRows = 6;

    private const int RowSumBytes = 128, InfoBytes = 16;

    // Measured on Zen 4 (two threads, a weight larger than the caches), GB/s without → with: one row of 4 bits 40 → 28, of 8 bits
    // 51 → 43; four rows 25 → 33 and 37 → 40. Few rows leave the processor's own prefetcher enough time.
    private const int Ahead = 4096, LeastRowsThatPrefetch = 3;

    // zmm0–11 sums, 12–23 integer sums, 24–25 codes of the weight, 26 raw codes, 27 the mask of their halves, 28–31 codes of a.
    private const int Integers = 12, Weight = 24, Raw = 26, Mask = 27, A = 28;

    /// <summary>
    /// (codes, infos, weight, sums, blocks, tiles): a's codes [block][row][16 or 32 bytes] and what belongs to them
    /// [block][row] (<see cref="ActivationBlock"/>), tile after tile; sums are [rows, 32] float32, contiguous, and are added to.
    /// </summary>
    public static nint Make(QuantizedLayout layout, int rows)
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        // One or two rows alone wait for their own sums: odd quads have sums of their own, which integers allow.
        bool isSplit = rows <= 2;
        if (layout.Bits == 4)
        {
            code.mov(eax, 0x0F0F0F0F);
            code.vpbroadcastd(zmm[Mask], eax);
        }

        kernel.Loop(r9, () =>
        {
            for (int sum = 0; sum < 2 * rows; sum++)
                code.vmovups(zmm[sum], __zmmword_ptr[rcx + sum * 64]);
            code.mov(r10, rdx);
            code.mov(rax, r8);
            kernel.Loop(rax, () =>
            {
                for (int row = 0; row < rows; row++)
                {
                    if (layout.Bias != 0)
                        code.vpbroadcastd(zmm[Integers + 2 * row], __dword_ptr[rsi + row * InfoBytes + 4]);
                    else
                        code.vpxord(zmm[Integers + 2 * row], zmm[Integers + 2 * row], zmm[Integers + 2 * row]);
                    code.vmovdqa32(zmm[Integers + 2 * row + 1], zmm[Integers + 2 * row]);
                    if (isSplit)
                    {
                        code.vpxord(zmm[Second(row)], zmm[Second(row)], zmm[Second(row)]);
                        code.vpxord(zmm[Second(row) + 1], zmm[Second(row) + 1], zmm[Second(row) + 1]);
                    }
                }

                for (int quad = 0; quad < layout.Block / 4; quad++)
                    Quad(code, layout, rows, quad, isSplit && quad % 2 == 1);
                if (isSplit)
                {
                    for (int sum = 0; sum < 2 * rows; sum++)
                        code.vpaddd(zmm[Integers + sum], zmm[Integers + sum], zmm[Second(0) + sum]);
                }

                Scale(code, layout, rows);
                code.add(rdi, rows * layout.Block);
                code.add(rsi, rows * InfoBytes);
                code.add(r10, layout.BlockBytes);
            });
            for (int sum = 0; sum < 2 * rows; sum++)
                code.vmovups(__zmmword_ptr[rcx + sum * 64], zmm[sum]);
            code.add(rcx, rows * RowSumBytes);
        });
        return kernel.Finish();
    }

    /// <summary>The second sums of one or two rows, in registers that taller tiles have other uses for.</summary>
    private static int Second(int row) => Integers + 4 + 2 * row;

    private static void Quad(Assembler code, QuantizedLayout layout, int rows, int quad, bool isSecond)
    {
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        int at = layout.CodesAt + quad * layout.QuadBytes;
        if (layout.Bits == 8)
        {
            code.vmovdqu32(zmm[Weight], __zmmword_ptr[r10 + at]);
            code.vmovdqu32(zmm[Weight + 1], __zmmword_ptr[r10 + at + 64]);
            if (rows >= LeastRowsThatPrefetch)
                code.prefetcht0(__byte_ptr[r10 + at + 64 + Ahead]);
        }
        else
        {
            code.vmovdqu32(zmm[Raw], __zmmword_ptr[r10 + at]);
            code.vpandd(zmm[Weight], zmm[Raw], zmm[Mask]);
            code.vpsrld(zmm[Weight + 1], zmm[Raw], 4);
            code.vpandd(zmm[Weight + 1], zmm[Weight + 1], zmm[Mask]);
        }

        if (rows >= LeastRowsThatPrefetch)
            code.prefetcht0(__byte_ptr[r10 + at + Ahead]);
        for (int row = 0; row < rows; row++)
        {
            AssemblerRegisterZMM a = zmm[A + row % 4];
            int sum = isSecond ? Second(row) : Integers + 2 * row;
            code.vpbroadcastd(a, __dword_ptr[rdi + row * layout.Block + quad * 4]);
            code.vpdpbusd(zmm[sum], zmm[Weight], a);
            code.vpdpbusd(zmm[sum + 1], zmm[Weight + 1], a);
        }
    }

    /// <summary>Adds the integer sums of a block, scaled, to the rows' sums.</summary>
    private static void Scale(Assembler code, QuantizedLayout layout, int rows)
    {
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        for (int half = 0; half < 2; half++)
        {
            AssemblerRegisterZMM scale = zmm[Weight], added = zmm[Weight + 1], product = zmm[Raw];
            if (layout.HasHalfScales)
                code.vcvtph2ps(scale, __ymmword_ptr[r10 + half * 32]);
            else
                code.vmovups(scale, __zmmword_ptr[r10 + half * 64]);
            if (layout.Offset == BlockOffset.Zero)
            {
                code.vpmovzxbd(added, __xmmword_ptr[r10 + layout.ScaleBytes + half * 16]);
                code.vcvtdq2ps(added, added);
            }
            else if (layout.Offset == BlockOffset.Minimum)
            {
                code.vmovups(added, __zmmword_ptr[r10 + layout.ScaleBytes + half * 64]);
            }

            for (int row = 0; row < rows; row++)
            {
                AssemblerRegisterZMM integers = zmm[Integers + 2 * row + half], sum = zmm[2 * row + half];
                code.vcvtdq2ps(integers, integers);
                if (layout.Offset == BlockOffset.Zero)
                    code.vfnmadd231ps(integers, added, __dword_bcst[rsi + row * InfoBytes + 12]);
                code.vmulps(product, scale, __dword_bcst[rsi + row * InfoBytes]);
                code.vfmadd231ps(sum, integers, product);
                if (layout.Offset == BlockOffset.Minimum)
                    code.vfmadd231ps(sum, added, __dword_bcst[rsi + row * InfoBytes + 8]);
            }
        }
    }
}
