using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Cpu.Assembly;

/// <summary>
/// The register tile of products with quantised weights: up to 6 rows of activations in bytes and the 32 outputs of a panel,
/// by <c>vpdpbusd</c> (see <see cref="QuantizedLayout"/> and <see cref="QuantizedGemm"/>).
/// </summary>
internal static class QuantizedTile
{
    /// <summary>The most rows of a tile that takes all outputs at once: 12 sums in float32 and 12 in integers.</summary>
    public const int MaxRows = 6;

    /// <summary>
    /// The most rows of a tile that takes the outputs of a block in two halves: 16 sums in float32 and 8 in integers. It reads
    /// the rows' codes twice, but a weight that does not fit a cache once where two tiles would read it twice.
    /// </summary>
    public const int MaxHighRows = 8;

    private const int RowSumBytes = 128, InfoBytes = 16;

    // Where the last argument lies on the stack, behind two registers and the address to return to.
    private const int PartAt = 24;

    // zmm0–11 sums, 12–23 integer sums, 24–25 codes of the weight, 26 raw codes, 27 the mask of their halves, 28–31 codes of a;
    // where bits of codes lie apart, 31 is their mask.
    private const int Integers = 12, Weight = 24, Raw = 26, Mask = 27, A = 28, HighMask = 31;

    /// <summary>
    /// (codes, infos, weight, sums, blocks, tiles, part): a's codes [block][row][16 or 32 bytes] and what belongs to them
    /// [block][row] (<see cref="ActivationBlock"/>), tile after tile; the weight from where a group begins; sums are
    /// [rows, 32] float32, contiguous, and come and go as <see cref="PanelPart"/> says.
    /// </summary>
    /// <param name="layout">The weight's.</param>
    /// <param name="rows">Of a tile.</param>
    /// <param name="asksAhead">Whether a weight is read once, so that it is asked for while it is.</param>
    /// <remarks>
    /// r10 is where the codes of the next block lie, r11 the head of its group, r12 its integers where there are such, rax
    /// and rbx the blocks that are left of all and of the group.
    /// </remarks>
    public static nint Make(QuantizedLayout layout, int rows, bool asksAhead)
    {
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        code.push(rbx);
        code.push(r12);
        LoadMasks(code, layout);
        kernel.Loop(r9, () =>
        {
            TileSums.AskAhead(code, __qword_ptr[rsp + PartAt]);
            TileSums.Begin(code, rows, rcx, __qword_ptr[rsp + PartAt]);
            code.mov(r10, rdx);
            code.mov(rax, r8);
            Groups(kernel, layout, () => Block(code, layout, rows, asksAhead));
            TileSums.End(code, rows, rcx, __qword_ptr[rsp + PartAt]);
            code.add(rcx, rows * RowSumBytes);
        });
        code.pop(r12);
        code.pop(rbx);
        return kernel.Finish();
    }

    /// <summary>All blocks (rax), from where a group begins (r10).</summary>
    public static void Groups(KernelAssembler kernel, QuantizedLayout layout, Action block)
    {
        Assembler code = kernel.Code;
        if (layout.GroupBlocks == 1)
        {
            kernel.Loop(rax, () =>
            {
                Head();
                block();
            });
            return;
        }

        Label next = code.CreateLabel();
        code.Label(ref next);
        Head();
        code.mov(ebx, layout.GroupBlocks);
        code.cmp(rax, rbx);
        code.cmovl(rbx, rax);
        code.sub(rax, rbx);
        kernel.Loop(rbx, block);
        code.test(rax, rax);
        code.jnz(next);

        void Head()
        {
            code.mov(r11, r10);
            if (layout.HasMultiples)
                code.lea(r12, __[r10 + layout.MultiplesAt]);
            code.add(r10, layout.HeadBytes);
        }
    }

    /// <summary>What <see cref="Codes"/> needs in registers.</summary>
    public static void LoadMasks(Assembler code, QuantizedLayout layout)
    {
        if (layout.Bits != 8)
            Broadcast(code, Mask, 0x0F0F0F0F);
        if (layout.HighBits > 0)
            Broadcast(code, HighMask, layout.HighBits == 1 ? 0x10101010u : 0x30303030u);
    }

    private static void Broadcast(Assembler code, int register, uint value)
    {
        code.mov(eax, value);
        code.vpbroadcastd(KernelAssembler.Zmm[register], eax);
    }

    private static void Block(Assembler code, QuantizedLayout layout, int rows, bool asksAhead)
    {
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        // One or two rows alone wait for their own sums: odd quads have sums of their own, which integers allow.
        bool isSplit = rows <= 2;
        if (rows > MaxRows)
        {
            HighBlock(code, layout, rows, asksAhead);
        }
        else
        {
            for (int row = 0; row < rows; row++)
            {
                Start(code, layout, row, zmm[Integers + 2 * row]);
                code.vmovdqa32(zmm[Integers + 2 * row + 1], zmm[Integers + 2 * row]);
                if (isSplit)
                {
                    code.vpxord(zmm[Second(row)], zmm[Second(row)], zmm[Second(row)]);
                    code.vpxord(zmm[Second(row) + 1], zmm[Second(row) + 1], zmm[Second(row) + 1]);
                }
            }

            for (int quad = 0; quad < layout.Block / 4; quad++)
                Quad(code, layout, rows, quad, isSplit && quad % 2 == 1, asksAhead);
            if (isSplit)
            {
                for (int sum = 0; sum < 2 * rows; sum++)
                    code.vpaddd(zmm[Integers + sum], zmm[Integers + sum], zmm[Second(0) + sum]);
            }

            for (int half = 0; half < 2; half++)
            {
                int first = half;
                Scale(code, layout, half, rows, row => Integers + 2 * row + first);
            }
        }

        code.add(rdi, rows * layout.Block);
        code.add(rsi, rows * InfoBytes);
        NextBlock(code, layout);
    }

    /// <summary>The weight's next block of the group.</summary>
    public static void NextBlock(Assembler code, QuantizedLayout layout)
    {
        code.add(r10, layout.BlockBytes);
        if (layout.HasMultiples)
            code.add(r12, layout.MultipleBytes);
    }

    /// <summary>What integer sums start from.</summary>
    private static void Start(Assembler code, QuantizedLayout layout, int row, AssemblerRegisterZMM sum)
    {
        if (layout.Bias != 0)
            code.vpbroadcastd(sum, __dword_ptr[rsi + row * InfoBytes + 4]);
        else
            code.vpxord(sum, sum, sum);
    }

    /// <summary>The second sums of one or two rows, in registers that taller tiles have other uses for.</summary>
    private static int Second(int row) => Integers + 4 + 2 * row;

    /// <summary>The register of a row's codes: each has one while the one before is in use.</summary>
    private static AssemblerRegisterZMM ActivationOf(QuantizedLayout layout, int row) =>
        KernelAssembler.Zmm[A + row % (layout.HighBits > 0 ? 3 : 4)];

    private static void Quad(Assembler code, QuantizedLayout layout, int rows, int quad, bool isSecond,
        bool asksAhead)
    {
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        int at = quad * layout.QuadBytes;
        Codes(code, layout, quad);
        if (asksAhead)
            WeightPrefetch.Ask(code, r10, at, layout.QuadBytes, rows);
        for (int row = 0; row < rows; row++)
        {
            AssemblerRegisterZMM a = ActivationOf(layout, row);
            int sum = isSecond ? Second(row) : Integers + 2 * row;
            code.vpbroadcastd(a, __dword_ptr[rdi + row * layout.Block + quad * 4]);
            code.vpdpbusd(zmm[sum], zmm[Weight], a);
            code.vpdpbusd(zmm[sum + 1], zmm[Weight + 1], a);
        }
    }

    /// <summary>The codes of a quad, with their bias: of outputs 0–15 in zmm24, of the others in zmm25.</summary>
    public static void Codes(Assembler code, QuantizedLayout layout, int quad)
    {
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        int at = quad * layout.QuadBytes;
        if (layout.Bits == 8)
        {
            code.vmovdqu32(zmm[Weight], __zmmword_ptr[r10 + at]);
            code.vmovdqu32(zmm[Weight + 1], __zmmword_ptr[r10 + at + 64]);
            return;
        }

        code.vmovdqu32(zmm[Raw], __zmmword_ptr[r10 + at]);
        code.vpandd(zmm[Weight], zmm[Raw], zmm[Mask]);
        code.vpsrld(zmm[Weight + 1], zmm[Raw], 4);
        code.vpandd(zmm[Weight + 1], zmm[Weight + 1], zmm[Mask]);
        for (int half = 0; half < 2; half++)
            AddHigh(code, layout, quad, half, zmm[Weight + half]);
    }

    /// <summary>Adds the bits that lie apart to the lower four of half a quad.</summary>
    private static void AddHigh(Assembler code, QuantizedLayout layout, int quad, int half, AssemblerRegisterZMM weight)
    {
        if (layout.HighBits == 0)
            return;
        // target | (shifted & mask).
        const byte OrAnd = 0xF8;
        AssemblerRegisterZMM shifted = KernelAssembler.Zmm[Raw];
        (int at, int shift) = layout.HighOf(2 * quad + half);
        AssemblerMemoryOperand bits = __zmmword_ptr[r10 + at];
        if (shift < 4)
            code.vpslld(shifted, bits, (byte)(4 - shift));
        else if (shift > 4)
            code.vpsrld(shifted, bits, (byte)(shift - 4));
        else
            code.vmovdqu32(shifted, bits);
        code.vpternlogd(weight, shifted, KernelAssembler.Zmm[HighMask], OrAnd);
    }

    /// <summary>A block for more than six rows: sums in zmm0–15, integers of one half of the outputs in zmm16–23.</summary>
    private static void HighBlock(Assembler code, QuantizedLayout layout, int rows, bool asksAhead)
    {
        const int HalfIntegers = 16;
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        for (int half = 0; half < 2; half++)
        {
            for (int row = 0; row < rows; row++)
                Start(code, layout, row, zmm[HalfIntegers + row]);
            for (int quad = 0; quad < layout.Block / 4; quad++)
            {
                int at = quad * layout.QuadBytes;
                if (layout.Bits == 8)
                {
                    code.vmovdqu32(zmm[Weight], __zmmword_ptr[r10 + at + half * 64]);
                    if (asksAhead)
                        WeightPrefetch.Ask(code, r10, at + half * 64, 64, rows);
                }
                else if (half == 0)
                {
                    code.vpandd(zmm[Weight], zmm[Mask], __zmmword_ptr[r10 + at]);
                    if (asksAhead)
                        WeightPrefetch.Ask(code, r10, at, 64, rows);
                }
                else
                {
                    code.vpsrld(zmm[Weight], __zmmword_ptr[r10 + at], 4);
                    code.vpandd(zmm[Weight], zmm[Weight], zmm[Mask]);
                }

                AddHigh(code, layout, quad, half, zmm[Weight]);
                for (int row = 0; row < rows; row++)
                {
                    AssemblerRegisterZMM a = ActivationOf(layout, row);
                    code.vpbroadcastd(a, __dword_ptr[rdi + row * layout.Block + quad * 4]);
                    code.vpdpbusd(zmm[HalfIntegers + row], zmm[Weight], a);
                }
            }

            Scale(code, layout, half, rows, row => HalfIntegers + row);
        }
    }

    /// <summary>Adds the integer sums of one half of a block's outputs, scaled, to the rows' sums.</summary>
    private static void Scale(Assembler code, QuantizedLayout layout, int half, int rows, Func<int, int> integersOf)
    {
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        AssemblerRegisterZMM scale = zmm[Weight], added = zmm[Weight + 1], product = zmm[Raw];
        Numbers(code, layout, half);
        for (int row = 0; row < rows; row++)
        {
            AssemblerRegisterZMM integers = zmm[integersOf(row)], sum = zmm[2 * row + half];
            code.vcvtdq2ps(integers, integers);
            if (layout.Offset == BlockOffset.Zero)
                code.vfnmadd231ps(integers, added, __dword_bcst[rsi + row * InfoBytes + 12]);
            code.vmulps(product, scale, __dword_bcst[rsi + row * InfoBytes]);
            code.vfmadd231ps(sum, integers, product);
            if (layout.HasMinimum)
                code.vfmadd231ps(sum, added, __dword_bcst[rsi + row * InfoBytes + 8]);
        }
    }

    /// <summary>A block's scales of one half of the outputs in zmm24, and its zeros or minimums, if any, in zmm25.</summary>
    public static void Numbers(Assembler code, QuantizedLayout layout, int half)
    {
        AssemblerRegisterZMM[] zmm = KernelAssembler.Zmm;
        AssemblerRegisterZMM scale = zmm[Weight], added = zmm[Weight + 1], product = zmm[Raw];
        if (layout.HasHalfScales)
            code.vcvtph2ps(scale, __ymmword_ptr[r11 + half * 32]);
        else
            code.vmovups(scale, __zmmword_ptr[r11 + half * 64]);
        Multiply(code, layout, half * 16, scale, product);
        if (layout.Offset == BlockOffset.Zero)
        {
            code.vpmovzxbd(added, __xmmword_ptr[r11 + layout.ScaleBytes + half * 16]);
            code.vcvtdq2ps(added, added);
        }
        else if (layout.Offset == BlockOffset.HalfMinimum)
        {
            code.vcvtph2ps(added, __ymmword_ptr[r11 + layout.ScaleBytes + half * 32]);
            Multiply(code, layout, WeightPanels.Width + half * 16, added, product);
        }
        else if (layout.Offset == BlockOffset.Minimum)
        {
            code.vmovups(added, __zmmword_ptr[r11 + layout.ScaleBytes + half * 64]);
        }
    }

    /// <summary>Makes a block's scales or minimums of those in the head and its own integers, if it has such.</summary>
    private static void Multiply(Assembler code, QuantizedLayout layout, int at, AssemblerRegisterZMM unit,
        AssemblerRegisterZMM integers)
    {
        if (!layout.HasMultiples)
            return;
        code.vpmovsxbd(integers, __xmmword_ptr[r12 + at]);
        code.vcvtdq2ps(integers, integers);
        code.vmulps(unit, unit, integers);
    }
}
