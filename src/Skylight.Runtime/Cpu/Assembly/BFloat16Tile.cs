using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Cpu.Assembly;

/// <summary>
/// The register tile of products of bfloat16: sums[r, j] += Σ_k a[r, k]·b[k, j] for up to 12 rows and 32 columns, by
/// <c>vdpbf16ps</c>, or where that is slow by two <c>vfmadd231ps</c>, with the same bits.
/// </summary>
/// <remarks>
/// Two steps lie side by side in 32 bits, the earlier one in the upper half. The instruction adds the product of the upper
/// halves first, then that of the lower ones, each sum rounded to float32: so the chain is the plain one over k ascending,
/// bit for bit (but for subnormal numbers, which it takes for zero). Intel's processors do it at half the speed of
/// float32: on Emerald Rapids its loop over registers makes 150 GFLOP/s on two cores, that of multiply-adds 330. There each
/// half becomes a float32 beforehand, and the chain is made of multiply-adds.
/// <para>a: chunks of 32 steps, in each a row after the other (64 bytes); rows tiles follow each other.</para>
/// <para>b, packed: [pair of steps][32 columns], 128 bytes a pair. Panels: rows of 32 bfloat16, a step after the other, as
/// weights lie in memory; they are interleaved on the way, into another order of columns, which is undone at the end.</para>
/// </remarks>
internal static class BFloat16Tile
{
    /// <summary>The most rows of a tile: 24 sums in registers.</summary>
    public const int MaxRows = 12;

    /// <summary>Steps of a chunk of a.</summary>
    public const int ChunkSteps = 32;

    private const int ChunkPairs = ChunkSteps / 2;
    private const int PairBytes = 128;
    private const int RowBytes = 64;

    // zmm0–23 sums, 24–25 a pair of b (for multiply-adds its earlier steps), 26–27 steps of b (its later ones), 28–31 rows of
    // a. k1 keeps the upper halves.
    private const int B = 24, Steps = 26, A = 28;

    /// <summary>
    /// (a, b, sums, pairs, tiles): <paramref name="rows"/> rows and as many tiles one after the other; sums are
    /// [rows, 32] float32, contiguous, and are added to.
    /// </summary>
    /// <param name="rows">Of a tile.</param>
    /// <param name="isDot">Whether <c>vdpbf16ps</c> is used.</param>
    public static nint Packed(int rows, bool isDot) => isDot
        ? Tile(rows, isScaled: false, hasPart: false) : PackedFloats(rows, hasPart: false);

    /// <summary>
    /// (a, b, sums, pairs, tiles, scales): the same for a block whose sums begin at zero and are scaled, an output with
    /// its own: sums = fma(sum of the block, scale, sums).
    /// </summary>
    public static nint PackedScaled(int rows) => Tile(rows, isScaled: true, hasPart: false);

    /// <summary>
    /// (a, b, sums, pairs, tiles, scales, part): either of these as a part of a product, whose sums come and go as
    /// <see cref="PanelPart"/> says. Scales are unused where a product has none.
    /// </summary>
    public static nint PackedPart(int rows, bool isDot, bool isScaled) => isDot || isScaled
        ? Tile(rows, isScaled, hasPart: true) : PackedFloats(rows, hasPart: true);

    private static nint Tile(int rows, bool isScaled, bool hasPart)
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        // Behind the address to return to, and the scales.
        AssemblerMemoryOperand? part = hasPart ? __qword_ptr[rsp + (isScaled ? 16 : 8)] : null;
        if (isScaled)
            code.push(r9);
        kernel.Loop(r8, () =>
        {
            TileSums.AskAhead(code, part);
            if (isScaled)
            {
                for (int sum = 0; sum < 2 * rows; sum++)
                    code.vpxord(zmm[sum], zmm[sum], zmm[sum]);
            }
            else
            {
                TileSums.Begin(code, rows, rdx, part);
            }

            code.mov(r9, rsi);
            Walk(kernel, rows, RowBytes, r9, (pair, a) =>
            {
                code.vmovdqu32(zmm[B], __zmmword_ptr[r9 + pair * PairBytes]);
                code.vmovdqu32(zmm[B + 1], __zmmword_ptr[r9 + pair * PairBytes + 64]);
                Dot(code, rows, row => a(row, 0));
            });
            if (isScaled)
            {
                code.mov(rax, __qword_ptr[rsp]);
                code.vmovups(zmm[B], __zmmword_ptr[rax]);
                code.vmovups(zmm[B + 1], __zmmword_ptr[rax + 64]);
                TileSums.Add(code, rows, rdx, part, (zmm[B], zmm[B + 1]), zmm[A]);
            }

            TileSums.End(code, rows, rdx, part);
            code.add(rdx, rows * PairBytes);
        });
        if (isScaled)
            code.pop(r9);
        return kernel.Finish();
    }

    /// <summary>
    /// The same by multiply-adds: a tile's rows become float32 on the stack first, [chunk][row][16 earlier, 16 later], which is
    /// a thirtieth of the work on a block of 256 steps.
    /// </summary>
    private static nint PackedFloats(int rows, bool hasPart)
    {
        // The last argument is behind two registers and the address to return to.
        const int WideBytes = 2 * RowBytes, PartAt = 24;
        AssemblerMemoryOperand? part = hasPart ? __qword_ptr[rbp + PartAt] : null;
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        KeepUpperHalves(code);
        code.push(rbx);
        code.push(rbp);
        code.mov(rbp, rsp);
        code.lea(rax, __[rcx + (ChunkPairs - 1)]);
        code.shr(rax, 4);
        code.imul(rax, rax, rows * WideBytes);
        code.sub(rsp, rax);
        code.and(rsp, -64);
        kernel.Loop(r8, () =>
        {
            code.lea(rax, __[rcx + (ChunkPairs - 1)]);
            code.shr(rax, 4);
            code.mov(r10, rsp);
            kernel.Loop(rax, () =>
            {
                for (int row = 0; row < rows; row++)
                {
                    code.vmovdqu32(zmm[A], __zmmword_ptr[rdi + row * RowBytes]);
                    code.vpslld(zmm[A + 1], zmm[A], 16);
                    code.vmovdqu16(zmm[A].k1.z, zmm[A]);
                    code.vmovdqa32(__zmmword_ptr[r10 + row * WideBytes], zmm[A]);
                    code.vmovdqa32(__zmmword_ptr[r10 + (row * WideBytes + RowBytes)], zmm[A + 1]);
                }

                code.add(rdi, rows * RowBytes);
                code.add(r10, rows * WideBytes);
            });
            TileSums.AskAhead(code, part);
            TileSums.Begin(code, rows, rdx, part);
            code.mov(rbx, rdi);
            code.mov(rdi, rsp);
            code.mov(r9, rsi);
            Walk(kernel, rows, WideBytes, r9, (pair, a) =>
            {
                code.vmovdqu32(zmm[B], __zmmword_ptr[r9 + pair * PairBytes]);
                code.vmovdqu32(zmm[B + 1], __zmmword_ptr[r9 + pair * PairBytes + 64]);
                Widen(code);
                // All earlier steps, then all later ones: a sum waits for its own last addition.
                for (int step = 0; step < 2; step++)
                {
                    for (int row = 0; row < rows; row++)
                    {
                        AssemblerRegisterZMM broadcast = zmm[A + row % 4];
                        code.vpbroadcastd(broadcast, a(row, step * RowBytes));
                        code.vfmadd231ps(zmm[2 * row], zmm[step == 0 ? B : Steps], broadcast);
                        code.vfmadd231ps(zmm[2 * row + 1], zmm[(step == 0 ? B : Steps) + 1], broadcast);
                    }
                }
            });
            code.mov(rdi, rbx);
            TileSums.End(code, rows, rdx, part);
            code.add(rdx, rows * PairBytes);
        });
        code.mov(rsp, rbp);
        code.pop(rbp);
        code.pop(rbx);
        return kernel.Finish();
    }

    /// <summary>
    /// (a, b, sums, pairs, 1, ahead): the same for one tile, which meanwhile asks for as many bytes from
    /// ahead on as it reads of b: loads of a page that is far away, spread over the work on the one before.
    /// (Zen 4, decoding at 16k, all at once before it: 9.6 ms; spread: 6.9 ms; spread, into the first cache: 14.5 ms.)
    /// </summary>
    public static nint PackedAhead(int rows, bool isDot)
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        KeepUpperHalves(code);
        for (int sum = 0; sum < 2 * rows; sum++)
            code.vmovups(zmm[sum], __zmmword_ptr[rdx + sum * 64]);
        code.sub(r9, rsi);
        Walk(kernel, rows, RowBytes, rsi, (pair, a) =>
        {
            code.vmovdqu32(zmm[B], __zmmword_ptr[rsi + pair * PairBytes]);
            code.vmovdqu32(zmm[B + 1], __zmmword_ptr[rsi + pair * PairBytes + 64]);
            code.prefetcht1(__byte_ptr[rsi + r9 + pair * PairBytes]);
            code.prefetcht1(__byte_ptr[rsi + r9 + (pair * PairBytes + 64)]);
            Multiply(code, rows, isDot, row => a(row, 0));
        });
        for (int sum = 0; sum < 2 * rows; sum++)
            code.vmovups(__zmmword_ptr[rdx + sum * 64], zmm[sum]);
        return kernel.Finish();
    }

    /// <summary>
    /// (a, b, sums, pairs, odd): one tile of <paramref name="rows"/> rows over a panel of a weight in memory; odd is 1 where
    /// one more step follows the pairs. Sums are written, not added to.
    /// </summary>
    public static nint Panel(int rows, bool isDot)
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        KeepUpperHalves(code);
        for (int sum = 0; sum < 2 * rows; sum++)
            code.vpxord(zmm[sum], zmm[sum], zmm[sum]);
        code.mov(r9, rsi);
        Walk(kernel, rows, RowBytes, r9, (pair, a) =>
        {
            code.vmovdqu32(zmm[Steps], __zmmword_ptr[r9 + pair * PairBytes]);
            code.vmovdqu32(zmm[Steps + 1], __zmmword_ptr[r9 + pair * PairBytes + 64]);
            if (rows >= WeightPrefetch.LeastRowsOfBFloat16)
                WeightPrefetch.Ask(code, r9, pair * PairBytes, PairBytes, rows);
            code.vpunpcklwd(zmm[B], zmm[Steps + 1], zmm[Steps]);
            code.vpunpckhwd(zmm[B + 1], zmm[Steps + 1], zmm[Steps]);
            Multiply(code, rows, isDot, row => a(row, 0));
        });

        // A last step without a second one; a has zeros there.
        kernel.Loop(r8, () =>
        {
            code.vmovdqu32(zmm[Steps], __zmmword_ptr[r9]);
            code.vpxord(zmm[Steps + 1], zmm[Steps + 1], zmm[Steps + 1]);
            code.vpunpcklwd(zmm[B], zmm[Steps + 1], zmm[Steps]);
            code.vpunpckhwd(zmm[B + 1], zmm[Steps + 1], zmm[Steps]);
            Multiply(code, rows, isDot, row => __dword_ptr[r10 + row * RowBytes]);
        });

        (Label firstHalf, Label secondHalf) = InterleavedColumns(kernel);
        code.vmovdqu32(zmm[A], __zmmword_ptr[firstHalf]);
        code.vmovdqu32(zmm[A + 1], __zmmword_ptr[secondHalf]);
        for (int row = 0; row < rows; row++)
        {
            code.vmovdqa32(zmm[B], zmm[A]);
            code.vpermi2ps(zmm[B], zmm[2 * row], zmm[2 * row + 1]);
            code.vmovups(__zmmword_ptr[rdx + row * PairBytes], zmm[B]);
            code.vmovdqa32(zmm[B], zmm[A + 1]);
            code.vpermi2ps(zmm[B], zmm[2 * row], zmm[2 * row + 1]);
            code.vmovups(__zmmword_ptr[rdx + row * PairBytes + 64], zmm[B]);
        }

        return kernel.Finish();
    }

    /// <summary>
    /// Where the columns of a panel are after its steps were interleaved, for <c>vpermi2ps</c>: four of each eight are in the
    /// first vector, four in the second.
    /// </summary>
    public static (Label First, Label Second) InterleavedColumns(KernelAssembler kernel)
    {
        var first = new int[16];
        for (int column = 0; column < 16; column++)
            first[column] = (column / 4 % 2 * 16) | (column / 8 * 4) | (column % 4);
        return (kernel.Constant<int>(first), kernel.Constant<int>(Array.ConvertAll(first, index => index + 8)));
    }

    /// <summary>
    /// All pairs (rcx) in chunks, then what is left. At the end rdi is the a of the next tile, r10 that of the pair after the
    /// last one, and b is behind its last pair.
    /// </summary>
    private static void Walk(KernelAssembler kernel, int rows, int rowBytes, AssemblerRegister64 b,
        Action<int, Func<int, int, AssemblerMemoryOperand>> pair)
    {
        Assembler code = kernel.Code;
        code.mov(rax, rcx);
        code.shr(rax, 4);
        kernel.Loop(rax, () =>
        {
            for (int p = 0; p < ChunkPairs; p++)
            {
                int offset = p * 4;
                pair(p, (row, more) => __dword_ptr[rdi + (row * rowBytes + offset + more)]);
            }

            code.add(rdi, rows * rowBytes);
            code.add(b, ChunkPairs * PairBytes);
        });
        code.mov(rax, rcx);
        code.and(rax, ChunkPairs - 1);
        code.mov(r10, rdi);
        Label whole = code.CreateLabel();
        code.jz(whole);
        code.lea(r11, __[rdi + rows * rowBytes]);
        kernel.Loop(rax, () =>
        {
            pair(0, (row, more) => __dword_ptr[r10 + (row * rowBytes + more)]);
            code.add(r10, 4);
            code.add(b, PairBytes);
        });
        code.mov(rdi, r11);
        code.Label(ref whole);
    }

    /// <summary>k1 for the upper halves of 16 pairs.</summary>
    private static void KeepUpperHalves(Assembler code)
    {
        code.mov(eax, unchecked((int)0xAAAAAAAA));
        code.kmovd(k1, eax);
    }

    /// <summary>A pair of b into float32: its earlier steps stay in their registers.</summary>
    private static void Widen(Assembler code)
    {
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        for (int half = 0; half < 2; half++)
        {
            code.vpslld(zmm[Steps + half], zmm[B + half], 16);
            code.vmovdqu16(zmm[B + half].k1.z, zmm[B + half]);
        }
    }

    private static void Multiply(Assembler code, int rows, bool isDot, Func<int, AssemblerMemoryOperand> a)
    {
        if (isDot)
            Dot(code, rows, a);
        else
            Add(code, rows, a);
    }

    private static void Dot(Assembler code, int rows, Func<int, AssemblerMemoryOperand> a)
    {
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        for (int row = 0; row < rows; row++)
        {
            AssemblerRegisterZMM broadcast = zmm[A + row % 4];
            code.vpbroadcastd(broadcast, a(row));
            code.vdpbf16ps(zmm[2 * row], zmm[B], broadcast);
            code.vdpbf16ps(zmm[2 * row + 1], zmm[B + 1], broadcast);
        }
    }

    /// <summary>By multiply-adds, with rows of a that are taken apart each time: where b is read once.</summary>
    private static void Add(Assembler code, int rows, Func<int, AssemblerMemoryOperand> a)
    {
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        Widen(code);
        for (int row = 0; row < rows; row++)
        {
            AssemblerRegisterZMM earlier = zmm[A + row % 2 * 2], later = zmm[A + row % 2 * 2 + 1];
            code.vpbroadcastd(earlier, a(row));
            code.vpslld(later, earlier, 16);
            code.vmovdqu16(earlier.k1.z, earlier);
            code.vfmadd231ps(zmm[2 * row], zmm[B], earlier);
            code.vfmadd231ps(zmm[2 * row + 1], zmm[B + 1], earlier);
            code.vfmadd231ps(zmm[2 * row], zmm[Steps], later);
            code.vfmadd231ps(zmm[2 * row + 1], zmm[Steps + 1], later);
        }
    }
}
