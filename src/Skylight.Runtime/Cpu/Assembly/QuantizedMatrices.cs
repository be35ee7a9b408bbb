using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Cpu.Assembly;

/// <summary>
/// The register tile of products with quantised weights by <c>tdpbssd</c> (AMX_INT8): up to 16 rows of activations in bytes and
/// the 32 outputs of a panel, whose codes were unpacked before (<see cref="UnpackedBlocks"/>). Sums of codes are integers and
/// exact, and what is done with them is what <see cref="QuantizedTile"/> does: the bits are the same.
/// </summary>
/// <remarks>
/// The processor's tiles are stored before vectors can scale them. So a block's sums go through a ring of two on the stack:
/// while one is scaled, the tiles of the next are multiplied. A block's operands are loaded before the sums of the one before
/// are stored: a load whose address looks like that of an earlier store waits for it, and that store for its product.
/// </remarks>
internal static class QuantizedMatrices
{
    /// <summary>The most rows of a tile.</summary>
    public const int MaxRows = 16;

    private const int RowSumBytes = 128, InfoBytes = 16, VectorBytes = 64, RingBytes = MaxRows * VectorBytes;

    // zmm0–15 sums; then scale, what is added, a product, and integers of rows in turn.
    private const int Scale = 16, Added = 17, Product = 18, Integers = 22;

    private static readonly (AssemblerRegisterTMM Sums, AssemblerRegisterTMM A, AssemblerRegisterTMM B)[] Tiles =
        [(tmm0, tmm1, tmm2), (tmm3, tmm4, tmm5)];

    /// <summary>
    /// (codes, infos, weight, sums, blocks, tiles): as <see cref="QuantizedTile.Make"/>, but for the weight, which is unpacked.
    /// There is one block at least.
    /// </summary>
    public static nint Make(UnpackedBlocks layout, int rows)
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        foreach (AssemblerRegister64 register in (AssemblerRegister64[])[rbx, r12, r13, r14, r15, rbp])
            code.push(register);
        code.mov(rbp, rsp);
        // So that the halves of the ring differ in one bit of their addresses.
        code.sub(rsp, (2 * RingBytes) + TileConfiguration.Bytes);
        code.and(rsp, -2 * RingBytes);
        AssemblerMemoryOperand kept = __[rbp - TileConfiguration.Bytes];
        TileConfiguration.Use(code, kernel.Constant<byte>(Configuration(layout, rows)), kept);
        code.mov(eax, layout.Block);
        code.mov(r12d, VectorBytes);
        kernel.Loop(r9, () =>
        {
            for (int half = 0; half < 2; half++)
            {
                for (int row = 0; row < rows; row++)
                    code.vmovups(zmm[row], __zmmword_ptr[rcx + row * RowSumBytes + half * VectorBytes]);
                code.mov(r10, rdi);
                code.mov(r11, rsi);
                code.mov(rbx, rdx);
                code.mov(r15, rdx);
                code.mov(r14, rsp);
                MultiplyBlocks(kernel, layout, rows, half);
                for (int row = 0; row < rows; row++)
                    code.vmovups(__zmmword_ptr[rcx + row * RowSumBytes + half * VectorBytes], zmm[row]);
            }

            code.mov(rdi, r10);
            code.mov(rsi, r11);
            code.add(rcx, rows * RowSumBytes);
        });
        TileConfiguration.PutBack(code, kept);
        code.mov(rsp, rbp);
        foreach (AssemblerRegister64 register in (AssemblerRegister64[])[rbp, r15, r14, r13, r12, rbx])
            code.pop(register);
        return kernel.Finish();
    }

    /// <summary>(weight, target, blocks): blocks of a panel, from where a group begins, as <see cref="UnpackedBlocks"/>.</summary>
    public static nint Unpack(QuantizedLayout layout)
    {
        const int Codes = 24, Bias = 23;
        var target = UnpackedBlocks.Of(layout);
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        code.push(rbx);
        code.push(r12);
        QuantizedTile.LoadMasks(code, layout);
        code.mov(eax, layout.Bias * 0x01010101);
        code.vpbroadcastd(zmm[Bias], eax);
        code.mov(r10, rdi);
        code.mov(rax, rdx);
        QuantizedTile.Groups(kernel, layout, () =>
        {
            for (int quad = 0; quad < layout.Block / 4; quad++)
            {
                QuantizedTile.Codes(code, layout, quad);
                WeightPrefetch.Ask(code, r10, quad * layout.QuadBytes, layout.QuadBytes, MaxRows);
                for (int half = 0; half < 2; half++)
                {
                    if (layout.Bias != 0)
                        code.vpsubb(zmm[Codes + half], zmm[Codes + half], zmm[Bias]);
                    code.vmovdqu32(__zmmword_ptr[rsi + half * target.HalfBytes + quad * VectorBytes], zmm[Codes + half]);
                }
            }

            for (int half = 0; half < 2; half++)
            {
                QuantizedTile.Numbers(code, layout, half);
                code.vmovups(__zmmword_ptr[rsi + target.ScalesAt + half * VectorBytes], zmm[Codes]);
                if (target.Offset != BlockOffset.None)
                    code.vmovups(__zmmword_ptr[rsi + target.AddedAt + half * VectorBytes], zmm[Codes + 1]);
            }

            code.add(rsi, target.BlockBytes);
            QuantizedTile.NextBlock(code, layout);
        });
        code.pop(r12);
        code.pop(rbx);
        return kernel.Finish();
    }

    /// <summary>All blocks (r8) of one half of the outputs.</summary>
    private static void MultiplyBlocks(KernelAssembler kernel, UnpackedBlocks layout, int rows, int half)
    {
        Assembler code = kernel.Code;
        Label pairs = code.CreateLabel(), one = code.CreateLabel(), odd = code.CreateLabel(), last = code.CreateLabel(),
            done = code.CreateLabel();
        Load(0);
        Multiply(0);
        code.lea(r13, __[r8 - 1]);
        code.test(r13, r13);
        code.jz(one);
        Load(1);
        Store(0);
        Multiply(1);
        code.Label(ref pairs);
        code.cmp(r13, 3);
        code.jl(odd);
        for (int set = 0; set < 2; set++)
        {
            Load(set);
            Store(1 - set);
            Multiply(set);
            ScaleBlock(code, layout, rows, half);
        }

        code.sub(r13, 2);
        code.jmp(pairs);
        code.Label(ref odd);
        code.cmp(r13, 2);
        code.jl(last);
        Load(0);
        Store(1);
        Multiply(0);
        ScaleBlock(code, layout, rows, half);
        Store(0);
        ScaleBlock(code, layout, rows, half);
        code.xor(r14, RingBytes);
        ScaleBlock(code, layout, rows, half);
        code.jmp(done);
        code.Label(ref last);
        Store(1);
        ScaleBlock(code, layout, rows, half);
        code.xor(r14, RingBytes);
        ScaleBlock(code, layout, rows, half);
        code.jmp(done);
        code.Label(ref one);
        Store(0);
        code.xor(r14, RingBytes);
        ScaleBlock(code, layout, rows, half);
        code.Label(ref done);

        void Load(int set)
        {
            code.tileloadd(Tiles[set].A, __[r10 + rax * 1]);
            code.tileloadd(Tiles[set].B, __[rbx + r12 * 1 + half * layout.HalfBytes]);
            code.add(r10, rows * layout.Block);
            code.add(rbx, layout.BlockBytes);
        }

        void Multiply(int set)
        {
            code.tilezero(Tiles[set].Sums);
            code.tdpbssd(Tiles[set].Sums, Tiles[set].A, Tiles[set].B);
        }

        void Store(int set)
        {
            code.tilestored(__[r14 + r12 * 1], Tiles[set].Sums);
            code.xor(r14, RingBytes);
        }
    }

    /// <summary>Adds the integer sums of a block, from the half of the ring at r14, to the rows' sums.</summary>
    private static void ScaleBlock(Assembler code, UnpackedBlocks layout, int rows, int half)
    {
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        code.vmovups(zmm[Scale], __zmmword_ptr[r15 + layout.ScalesAt + half * VectorBytes]);
        if (layout.Offset != BlockOffset.None)
            code.vmovups(zmm[Added], __zmmword_ptr[r15 + layout.AddedAt + half * VectorBytes]);
        for (int row = 0; row < rows; row++)
        {
            AssemblerRegisterZMM integers = zmm[Integers + row % 8], product = zmm[Product + row % 4];
            code.vcvtdq2ps(integers, __zmmword_ptr[r14 + row * VectorBytes]);
            if (layout.Offset == BlockOffset.Zero)
                code.vfnmadd231ps(integers, zmm[Added], __dword_bcst[r11 + row * InfoBytes + 12]);
            code.vmulps(product, zmm[Scale], __dword_bcst[r11 + row * InfoBytes]);
            code.vfmadd231ps(zmm[row], integers, product);
            if (layout.Offset is BlockOffset.Minimum)
                code.vfmadd231ps(zmm[row], zmm[Added], __dword_bcst[r11 + row * InfoBytes + 8]);
        }

        code.add(r11, rows * InfoBytes);
        code.add(r15, layout.BlockBytes);
    }

    /// <summary>Palette 1: sums, codes of a and of the weight; bytes of a row from byte 16 on, rows from byte 48 on.</summary>
    private static byte[] Configuration(UnpackedBlocks layout, int rows)
    {
        var bytes = new byte[64];
        bytes[0] = 1;
        (bytes[16], bytes[48]) = (VectorBytes, (byte)rows);
        (bytes[18], bytes[49]) = ((byte)layout.Block, (byte)rows);
        (bytes[20], bytes[50]) = (VectorBytes, (byte)(layout.Block / 4));
        for (int tile = 0; tile < 3; tile++)
            (bytes[22 + 2 * tile], bytes[51 + tile]) = (bytes[16 + 2 * tile], bytes[48 + tile]);
        return bytes;
    }
}
