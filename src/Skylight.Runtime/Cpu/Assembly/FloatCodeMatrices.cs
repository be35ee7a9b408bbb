using Iced.Intel;
using Skylight.Tensors;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Cpu.Assembly;

/// <summary>
/// A few rows with codes that are no integers by <c>tdpbf16ps</c>, in one walk over a panel: each chunk of codes becomes pairs
/// on the stack, which the processor loads as tiles.
/// </summary>
internal static class FloatCodeMatrices
{
    private const int RowBytes = 64, PairBytes = 128, ScaleBytes = 128, ChunkPairs = FloatCodeLayout.Chunk / 2,
        ChunkBytes = ChunkPairs * PairBytes;

    // Chunks lie on the stack until what was stored has left the store buffer, as in BFloat16Matrices.Panel.
    private const int Lag = 2, Ring = 4 * ChunkBytes, BlockSums = BFloat16Matrices.MaxRows * PairBytes;

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
        int codeBytes = FloatCodeTile.ChunkBytes(codes);
        AssemblerRegister64[] saved = [rbx, r12, r13, r14, r15, rbp];
        foreach (AssemblerRegister64 register in saved)
            code.push(register);
        code.mov(rbp, rsp);
        code.sub(rsp, Ring + BlockSums + TileConfiguration.Bytes);
        code.and(rsp, -64);
        AssemblerMemoryOperand kept = __[rbp - TileConfiguration.Bytes];
        TileConfiguration.Use(code, kernel.Constant<byte>(BFloat16Matrices.Configuration(rows)), kept);
        FloatCodeTile.Expansion expansion = FloatCodeTile.ExpansionOf(kernel, codes);
        int heights = BFloat16Matrices.HeightsOf(rows);
        BFloat16Matrices.EachSum(heights, (tile, _) => code.tilezero(BFloat16Matrices.Tmm[tile]));
        code.mov(eax, RowBytes);
        code.mov(r10d, PairBytes);
        // r11: scales of the block that is multiplied; r12, r13: where the next chunk goes, and where the next to be multiplied
        // is; r14, r15: chunks that are left of their blocks.
        code.mov(r9d, Lag);
        code.mov(r11, rsi);
        code.xor(r12d, r12d);
        code.xor(r13d, r13d);
        code.mov(r14, r8);
        code.mov(r15, r8);
        code.add(rsi, ScaleBytes);
        kernel.Loop(rcx, () =>
        {
            code.lea(rbx, __[rsp + r12 * 1]);
            for (int pair = 0; pair < ChunkPairs; pair += expansion.Pairs)
            {
                int first = pair;
                expansion.Write(pair, offset => __zmmword_ptr[rsi + offset], own =>
                {
                    code.vmovdqu32(__zmmword_ptr[rbx + (first + own) * PairBytes], zmm[FloatCodeTile.First]);
                    code.vmovdqu32(__zmmword_ptr[rbx + (first + own) * PairBytes + RowBytes], zmm[FloatCodeTile.Second]);
                });
            }

            WeightPrefetch.Ask(code, rsi, 0, codeBytes, rows);
            code.add(rsi, codeBytes);
            Advance(r12);
            Label inside = code.CreateLabel(), tooEarly = code.CreateLabel();
            code.sub(r14, 1);
            code.jnz(inside);
            code.mov(r14, r8);
            code.add(rsi, ScaleBytes);
            code.Label(ref inside);
            code.sub(r9, 1);
            code.jns(tooEarly);
            MultiplyNext();
            // An instruction of this assembler has one label at most.
            code.nop();
            code.Label(ref tooEarly);
        });
        Label drain = code.CreateLabel(), drained = code.CreateLabel(), whole = code.CreateLabel();
        code.nop();
        code.Label(ref drain);
        code.cmp(r12, r13);
        code.je(drained);
        MultiplyNext();
        code.jmp(drain);
        code.Label(ref drained);
        // The last block may be shorter.
        code.cmp(r15, r8);
        code.je(whole);
        AddBlock();
        code.Label(ref whole);
        TileConfiguration.PutBack(code, kept);
        code.mov(rsp, rbp);
        foreach (AssemblerRegister64 register in saved.Reverse())
            code.pop(register);
        return kernel.Finish();

        void Advance(AssemblerRegister64 place)
        {
            code.add(place, ChunkBytes);
            code.and(place, Ring - 1);
        }

        void MultiplyNext()
        {
            Label inside = code.CreateLabel();
            code.lea(rbx, __[rsp + r13 * 1]);
            BFloat16Matrices.Chunk(code, rows, heights, rbx);
            Advance(r13);
            code.sub(r15, 1);
            code.jnz(inside);
            AddBlock();
            BFloat16Matrices.EachSum(heights, (tile, _) => code.tilezero(BFloat16Matrices.Tmm[tile]));
            // Where the scales of the next block are.
            code.mov(r15, r8);
            code.imul(rbx, r8, codeBytes);
            code.lea(r11, __[r11 + rbx + ScaleBytes]);
            code.Label(ref inside);
        }

        void AddBlock()
        {
            code.lea(rbx, __[rsp + Ring]);
            BFloat16Matrices.EachSum(heights,
                (tile, offset) => code.tilestored(__[rbx + r10 * 1 + offset], BFloat16Matrices.Tmm[tile]));
            BFloat16Matrices.AddScaled(code, rows, rbx, r11);
        }
    }
}
