using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Cpu.Assembly;

/// <summary>
/// Products of a tile of query rows with a page of bytes that <see cref="Int8Packing.Expand"/> has expanded, by
/// <c>tdpbf16ps</c>: all blocks of a head in one call.
/// </summary>
/// <remarks>
/// To configure the tiles takes longer than to multiply a few rows by a page (Emerald Rapids: 0.13 of 0.17 µs), so a
/// <see cref="MatrixTileScope"/> does it for all pages. Tiles and the order of sums are those of <see cref="BFloat16Matrices"/>.
/// </remarks>
internal static class Int8Matrices
{
    /// <summary>The most rows.</summary>
    public const int MaxRows = 32;

    /// <summary>From a block's operand to the next: of rows [32][32 steps], of a page [16 pairs of steps][32 columns].</summary>
    public const int RowBlockBytes = MaxRows * RowBytes, PageBlockBytes = Pairs * PairBytes;

    private const int TileRows = 16, RowBytes = 64, PairBytes = 128, Pairs = 16, A = 4, B = 6;

    private static AssemblerRegisterTMM[] Tmm => BFloat16Matrices.Tmm;

    /// <summary>
    /// (rows, page, sums, blocks, scales, ahead): sums[rows, 32] = fma(product of a block, scales of its columns, sums), a block
    /// after the other. Meanwhile as many blocks of <see cref="Int8Pages"/> are asked for from ahead on.
    /// </summary>
    public static nint Scores(int rows)
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        code.push(rbp);
        code.mov(rbp, rsp);
        code.sub(rsp, MaxRows * PairBytes);
        code.and(rsp, -RowBytes);
        Strides(code);
        kernel.Loop(rcx, () =>
        {
            EachSum(rows, (tile, _) => code.tilezero(Tmm[tile]));
            Product(code, rows);
            EachSum(rows, (tile, offset) => code.tilestored(__[rsp + r10 * 1 + offset], Tmm[tile]));
            code.vmovups(zmm[0], __zmmword_ptr[r8]);
            code.vmovups(zmm[1], __zmmword_ptr[r8 + RowBytes]);
            code.add(r8, PairBytes);
            for (int half = 0; half < 2 * rows; half++)
            {
                AssemblerRegisterZMM own = zmm[2 + half % 16];
                code.vmovups(own, __zmmword_ptr[rsp + half * RowBytes]);
                code.vfmadd213ps(own, zmm[half % 2], __zmmword_ptr[rdx + half * RowBytes]);
                code.vmovups(__zmmword_ptr[rdx + half * RowBytes], own);
                Ask(code, r9, half, 2 * rows);
            }

            code.add(r9, Int8Pages.BlockBytes);
        });
        code.mov(rsp, rbp);
        code.pop(rbp);
        return kernel.Finish();
    }

    /// <summary>
    /// (rows, page, sums, blocks, ahead): sums[block][32 rows, 32] += product of the block. Asks like <see cref="Scores"/>.
    /// </summary>
    public static nint Values(int rows)
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        Strides(code);
        kernel.Loop(rcx, () =>
        {
            EachSum(rows, (tile, offset) => code.tileloadd(Tmm[tile], __[rdx + r10 * 1 + offset]));
            Ask(code, r8, 0, 1);
            code.add(r8, Int8Pages.BlockBytes);
            Product(code, rows);
            EachSum(rows, (tile, offset) => code.tilestored(__[rdx + r10 * 1 + offset], Tmm[tile]));
            code.add(rdx, MaxRows * PairBytes);
        });
        return kernel.Finish();
    }

    /// <summary>Asks for some lines of a block, one of so many parts.</summary>
    private static void Ask(Assembler code, AssemblerRegister64 block, int part, int parts)
    {
        const int Lines = Int8Pages.BlockBytes / RowBytes;
        for (int line = Lines * part / parts; line < Lines * (part + 1) / parts; line++)
            code.prefetcht1(__byte_ptr[block + line * RowBytes]);
    }

    private static void EachSum(int rows, Action<int, int> body) =>
        BFloat16Matrices.EachSum((rows + TileRows - 1) / TileRows, body);

    private static void Strides(Assembler code)
    {
        code.mov(eax, RowBytes);
        code.mov(r10d, PairBytes);
    }

    /// <summary>Adds the product of a block, rows at rdi and page at rsi, to the tiles of sums, and moves both on.</summary>
    private static void Product(Assembler code, int rows)
    {
        for (int high = 0; high * TileRows < rows; high++)
            code.tileloadd(Tmm[A + high], __[rdi + rax * 1 + high * TileRows * RowBytes]);
        for (int right = 0; right < 2; right++)
        {
            code.tileloadd(Tmm[B + right], __[rsi + r10 * 1 + right * RowBytes]);
            for (int high = 0; high * TileRows < rows; high++)
                code.tdpbf16ps(Tmm[2 * high + right], Tmm[A + high], Tmm[B + right]);
        }

        code.add(rdi, RowBlockBytes);
        code.add(rsi, PageBlockBytes);
    }
}
