using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Cpu.Assembly;

/// <summary>
/// The register tile of products of bfloat16 by <c>tdpbf16ps</c>: sums[r, j] += Σ_k a[r, k]·b[k, j] for up to 32 rows and 32
/// columns, with the operands in the order of <see cref="BFloat16Tile"/>.
/// </summary>
/// <remarks>
/// A chunk of a, [rows][64 bytes], and 16 pairs of b, [16][2 · 64 bytes], are tiles of the processor as they lie in memory.
/// Of a chunk the instruction adds up the products of the lower halves and those of the upper halves apart, each a chain of
/// fused steps from zero, rounded to float32; then it adds the two, then that to the sum (subnormal numbers count as zero).
/// Pairs that do not fill a chunk are filled up with zeros, which changes neither chain.
/// </remarks>
internal static class BFloat16Matrices
{
    /// <summary>The most rows of a tile: 2 × 2 tiles of sums, of 16 rows and 16 columns each.</summary>
    public const int MaxRows = 32;

    private const int TileRows = 16, RowBytes = 64, PairBytes = 128, ChunkPairs = 16, ChunkBytes = ChunkPairs * PairBytes;

    // Tiles 0–3: sums, two of columns for each of rows; 4–5: a; 6–7: b.
    private const int A = 4, B = 6;

    /// <summary>The tiles by number.</summary>
    internal static readonly AssemblerRegisterTMM[] Tmm = [tmm0, tmm1, tmm2, tmm3, tmm4, tmm5, tmm6, tmm7];

    [Flags]
    private enum Kind
    {
        Plain = 0,
        AsksAhead = 1,
        StartsFromZero = 2,
        IsConfigured = 4,
        IsScaled = 8,
    }

    /// <summary>(a, b, sums, pairs, tiles): as <see cref="BFloat16Tile.Packed"/>.</summary>
    public static nint Packed(int rows) => Make(rows, Kind.Plain);

    /// <summary>(a, b, sums, pairs, tiles, ahead): as <see cref="BFloat16Tile.PackedAhead"/>.</summary>
    public static nint PackedAhead(int rows) => Make(rows, Kind.AsksAhead);

    /// <summary>
    /// The same, with the tiles configured for these rows before (<see cref="MatrixTileScope"/>): a configuration takes as long as
    /// four chunks.
    /// </summary>
    /// <param name="rows">Rows of a tile.</param>
    /// <param name="startsFromZero">Whether sums are not read, but only written.</param>
    /// <param name="asksAhead">Whether there is a last argument.</param>
    public static nint Configured(int rows, bool startsFromZero, bool asksAhead) => Make(rows, Kind.IsConfigured
        | (startsFromZero ? Kind.StartsFromZero : 0) | (asksAhead ? Kind.AsksAhead : 0));

    /// <summary>(where to): keeps the thread's configuration of tiles.</summary>
    public static nint KeepConfiguration()
    {
        var kernel = new KernelAssembler();
        kernel.Code.sttilecfg(__[rdi]);
        return kernel.Finish();
    }

    /// <summary>(from where): puts it back.</summary>
    public static nint PutBackConfiguration()
    {
        var kernel = new KernelAssembler();
        TileConfiguration.PutBack(kernel.Code, __[rdi]);
        return kernel.Finish();
    }

    /// <summary>(): configures the tiles for so many rows.</summary>
    public static nint Configure(int rows)
    {
        var kernel = new KernelAssembler();
        kernel.Code.ldtilecfg(__[kernel.Constant<byte>(Configuration(rows))]);
        return kernel.Finish();
    }

    /// <summary>(a, b, sums, pairs, tiles, scales): as <see cref="BFloat16Tile.PackedScaled"/>.</summary>
    public static nint PackedScaled(int rows) => Make(rows, Kind.IsScaled);

    private static nint Make(int rows, Kind kind)
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        int heights = HeightsOf(rows);
        code.push(rbx);
        code.push(r12);
        code.push(rbp);
        code.mov(rbp, rsp);
        // Sums of a block alone, before they are scaled.
        bool isScaled = kind.HasFlag(Kind.IsScaled), isConfigured = kind.HasFlag(Kind.IsConfigured);
        AssemblerRegister64 target = isScaled ? r13 : rdx;
        code.push(r13);
        code.sub(rsp, TileConfiguration.Bytes);
        AssemblerMemoryOperand kept = __[rbp - 8 - TileConfiguration.Bytes];
        if (isScaled)
        {
            code.sub(rsp, MaxRows * PairBytes);
            code.and(rsp, -RowBytes);
            code.mov(r13, rsp);
        }

        if (!isConfigured)
            TileConfiguration.Use(code, kernel.Constant<byte>(Configuration(rows)), kept);
        code.mov(eax, RowBytes);
        code.mov(r10d, PairBytes);
        code.mov(r11, rcx);
        code.shr(rcx, 4);
        code.and(r11, ChunkPairs - 1);
        Label whole = code.CreateLabel();
        code.jz(whole);
        FillLastChunk(kernel);
        code.Label(ref whole);
        kernel.Loop(r8, () =>
        {
            EachSum(heights, (tile, offset) =>
            {
                if (isScaled || kind.HasFlag(Kind.StartsFromZero))
                    code.tilezero(Tmm[tile]);
                else
                    code.tileloadd(Tmm[tile], __[rdx + r10 * 1 + offset]);
            });
            code.mov(rbx, rsi);
            code.mov(r12, rcx);
            kernel.Loop(r12, () =>
            {
                Chunk(code, rows, heights, rbx);
                code.add(rbx, ChunkBytes);
                if (!kind.HasFlag(Kind.AsksAhead))
                    return;
                for (int line = 0; line < ChunkBytes; line += 64)
                    code.prefetcht1(__byte_ptr[r9 + line]);
                code.add(r9, ChunkBytes);
            });
            Label done = code.CreateLabel();
            code.test(r11, r11);
            code.jz(done);
            Chunk(code, rows, heights, rsp);
            code.Label(ref done);
            EachSum(heights, (tile, offset) => code.tilestored(__[target + r10 * 1 + offset], Tmm[tile]));
            if (isScaled)
                AddScaled(code, rows, r13, r9);
            code.add(rdx, rows * PairBytes);
        });
        if (!isConfigured)
            TileConfiguration.PutBack(code, kept);
        code.lea(rsp, __[rbp - 8]);
        code.pop(r13);
        code.pop(rbp);
        code.pop(r12);
        code.pop(rbx);
        return kernel.Finish();
    }

    /// <summary>Tiles of rows that so many rows fill.</summary>
    internal static int HeightsOf(int rows) => (rows + TileRows - 1) / TileRows;

    /// <summary>sums (rdx) = fma(sums of a block, scales, sums); zmm0–9 are written.</summary>
    internal static void AddScaled(Assembler code, int rows, AssemblerRegister64 block, AssemblerRegister64 scales)
    {
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        code.vmovups(zmm[0], __zmmword_ptr[scales]);
        code.vmovups(zmm[1], __zmmword_ptr[scales + RowBytes]);
        for (int sum = 0; sum < 2 * rows; sum++)
        {
            AssemblerRegisterZMM own = zmm[2 + sum % 8];
            code.vmovups(own, __zmmword_ptr[block + sum * RowBytes]);
            code.vfmadd213ps(own, zmm[sum % 2], __zmmword_ptr[rdx + sum * RowBytes]);
            code.vmovups(__zmmword_ptr[rdx + sum * RowBytes], own);
        }
    }

    /// <summary>
    /// (a, b, sums, pairs, odd, start): as <see cref="BFloat16Tile.Panel"/>; a row's sums start from 32 numbers in the order
    /// of <see cref="InterleavedColumn"/>.
    /// </summary>
    /// <remarks>
    /// A chunk of the panel is interleaved on the stack two chunks before the processor loads it as tiles: loads of tiles wait
    /// until what was just stored has left the store buffer.
    /// </remarks>
    public static nint Panel(int rows)
    {
        const int Lag = 2, Ring = 4 * ChunkBytes;
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        int heights = HeightsOf(rows);
        code.push(rbx);
        code.push(r12);
        code.push(r13);
        code.push(rbp);
        code.mov(rbp, rsp);
        code.sub(rsp, Ring + TileConfiguration.Bytes);
        code.and(rsp, -64);
        AssemblerMemoryOperand kept = __[rbp - TileConfiguration.Bytes];
        TileConfiguration.Use(code, kernel.Constant<byte>(Configuration(rows)), kept);
        code.xor(r12d, r12d);
        for (int tile = 0; tile < 2 * heights; tile++)
            code.tileloadd(Tmm[tile], __[r9 + r12 * 1 + tile % 2 * RowBytes]);
        code.mov(eax, RowBytes);
        code.mov(r10d, PairBytes);
        code.mov(r9d, Lag);
        code.xor(r13d, r13d);
        code.mov(r11, rcx);
        code.shr(rcx, 4);
        code.and(r11, ChunkPairs - 1);
        kernel.Loop(rcx, () =>
        {
            code.lea(rbx, __[rsp + r12 * 1]);
            for (int pair = 0; pair < ChunkPairs; pair++)
            {
                Interleave(rsi, pair * PairBytes, rbx, pair * PairBytes, hasSecond: true);
                WeightPrefetch.Ask(code, rsi, pair * PairBytes, PairBytes, rows);
            }

            code.add(rsi, ChunkBytes);
            Advance(r12);
            MultiplyLater();
        });

        // What does not fill a chunk; a has zeros there.
        Label drain = code.CreateLabel(), drained = code.CreateLabel();
        code.lea(rbx, __[r11 + r8 * 1]);
        code.test(rbx, rbx);
        code.jz(drain);
        code.lea(rbx, __[rsp + r12 * 1]);
        code.vpxord(zmm[0], zmm[0], zmm[0]);
        for (int line = 0; line < ChunkBytes; line += 64)
            code.vmovdqu32(__zmmword_ptr[rbx + line], zmm[0]);
        kernel.Loop(r11, () =>
        {
            Interleave(rsi, 0, rbx, 0, hasSecond: true);
            code.add(rsi, PairBytes);
            code.add(rbx, PairBytes);
        });
        kernel.Loop(r8, () => Interleave(rsi, 0, rbx, 0, hasSecond: false));
        Advance(r12);
        MultiplyLater();
        // An instruction of this assembler has one label at most.
        code.nop();
        code.Label(ref drain);
        code.cmp(r12, r13);
        code.je(drained);
        MultiplyNext();
        code.jmp(drain);
        code.Label(ref drained);
        EachSum(heights, (tile, offset) => code.tilestored(__[rdx + r10 * 1 + offset], Tmm[tile]));
        TileConfiguration.PutBack(code, kept);
        SortColumns(kernel, rows);
        code.mov(rsp, rbp);
        code.pop(rbp);
        code.pop(r13);
        code.pop(r12);
        code.pop(rbx);
        return kernel.Finish();

        void Interleave(AssemblerRegister64 from, int offset, AssemblerRegister64 to, int target, bool hasSecond)
        {
            int first = offset / PairBytes % 4 * 4;
            (AssemblerRegisterZMM earlier, AssemblerRegisterZMM later) = (zmm[first], zmm[first + 1]);
            code.vmovdqu32(earlier, __zmmword_ptr[from + offset]);
            if (hasSecond)
                code.vmovdqu32(later, __zmmword_ptr[from + offset + 64]);
            else
                code.vpxord(later, later, later);
            code.vpunpcklwd(zmm[first + 2], later, earlier);
            code.vpunpckhwd(zmm[first + 3], later, earlier);
            code.vmovdqu32(__zmmword_ptr[to + target], zmm[first + 2]);
            code.vmovdqu32(__zmmword_ptr[to + target + 64], zmm[first + 3]);
        }

        void Advance(AssemblerRegister64 place)
        {
            code.add(place, ChunkBytes);
            code.and(place, Ring - 1);
        }

        void MultiplyNext()
        {
            code.lea(rbx, __[rsp + r13 * 1]);
            Chunk(code, rows, heights, rbx);
            Advance(r13);
        }

        void MultiplyLater()
        {
            Label tooEarly = code.CreateLabel();
            code.sub(r9, 1);
            code.jns(tooEarly);
            MultiplyNext();
            code.Label(ref tooEarly);
        }
    }

    /// <summary>Where a column of a panel is among interleaved ones.</summary>
    public static int InterleavedColumn(int column) =>
        column % 16 / 4 % 2 * 16 + column / 16 * 8 + column % 16 / 8 * 4 + column % 4;

    /// <summary>Puts the columns of sums in order: of each eight the first vector had four and the second the others.</summary>
    private static void SortColumns(KernelAssembler kernel, int rows)
    {
        Assembler code = kernel.Code;
        (Label first, Label second) = BFloat16Tile.InterleavedColumns(kernel);
        code.vmovdqu32(zmm0, __zmmword_ptr[first]);
        code.vmovdqu32(zmm1, __zmmword_ptr[second]);
        for (int row = 0; row < rows; row++)
        {
            code.vmovups(zmm2, __zmmword_ptr[rdx + row * PairBytes]);
            code.vmovups(zmm3, __zmmword_ptr[rdx + row * PairBytes + 64]);
            code.vmovdqa32(zmm4, zmm0);
            code.vpermi2ps(zmm4, zmm2, zmm3);
            code.vmovdqa32(zmm5, zmm1);
            code.vpermi2ps(zmm5, zmm2, zmm3);
            code.vmovups(__zmmword_ptr[rdx + row * PairBytes], zmm4);
            code.vmovups(__zmmword_ptr[rdx + row * PairBytes + 64], zmm5);
        }
    }

    /// <summary>The pairs (r11) behind the last whole chunk, and zeros, on the stack.</summary>
    private static void FillLastChunk(KernelAssembler kernel)
    {
        Assembler code = kernel.Code;
        code.sub(rsp, ChunkBytes);
        code.and(rsp, -64);
        code.vpxord(zmm0, zmm0, zmm0);
        for (int line = 0; line < ChunkBytes; line += 64)
            code.vmovdqu32(__zmmword_ptr[rsp + line], zmm0);
        code.mov(rbx, rcx);
        code.shl(rbx, 11);
        code.add(rbx, rsi);
        code.mov(r12, rsp);
        code.push(r11);
        kernel.Loop(r11, () =>
        {
            code.vmovdqu32(zmm0, __zmmword_ptr[rbx]);
            code.vmovdqu32(zmm1, __zmmword_ptr[rbx + 64]);
            code.vmovdqu32(__zmmword_ptr[r12], zmm0);
            code.vmovdqu32(__zmmword_ptr[r12 + 64], zmm1);
            code.add(rbx, PairBytes);
            code.add(r12, PairBytes);
        });
        code.pop(r11);
    }

    /// <summary>One chunk: a at rdi, which is moved on, and b; rax and r10 are the bytes of a row of each.</summary>
    internal static void Chunk(Assembler code, int rows, int heights, AssemblerRegister64 b)
    {
        code.tileloadd(Tmm[B], __[b + r10 * 1]);
        code.tileloadd(Tmm[A], __[rdi + rax * 1]);
        code.tdpbf16ps(Tmm[0], Tmm[A], Tmm[B]);
        code.tileloadd(Tmm[B + 1], __[b + r10 * 1 + RowBytes]);
        code.tdpbf16ps(Tmm[1], Tmm[A], Tmm[B + 1]);
        if (heights == 2)
        {
            code.tileloadd(Tmm[A + 1], __[rdi + rax * 1 + TileRows * RowBytes]);
            code.tdpbf16ps(Tmm[2], Tmm[A + 1], Tmm[B]);
            code.tdpbf16ps(Tmm[3], Tmm[A + 1], Tmm[B + 1]);
        }

        code.add(rdi, rows * RowBytes);
    }

    /// <summary>The tiles of sums, and where each lies in [rows, 32].</summary>
    internal static void EachSum(int heights, Action<int, int> body)
    {
        for (int tile = 0; tile < 2 * heights; tile++)
            body(tile, tile / 2 * TileRows * PairBytes + tile % 2 * RowBytes);
    }

    /// <summary>Palette 1, bytes of a row of each tile from byte 16 on, rows from byte 48 on.</summary>
    internal static byte[] Configuration(int rows)
    {
        var bytes = new byte[64];
        bytes[0] = 1;
        int low = Math.Min(rows, TileRows), high = rows - low;
        ReadOnlySpan<int> heights = [low, low, high, high, low, high, ChunkPairs, ChunkPairs];
        for (int tile = 0; tile < heights.Length; tile++)
        {
            bytes[16 + 2 * tile] = heights[tile] == 0 ? (byte)0 : (byte)RowBytes;
            bytes[48 + tile] = (byte)heights[tile];
        }

        return bytes;
    }
}
