using System.Runtime.InteropServices;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Skylight.Cpu.Assembly;

/// <summary>A block of steps of some row tiles and one panel, for <see cref="BFloat16MatrixBlock"/>; strides in bytes.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct MatrixBlock
{
    /// <summary>The left operand: tiles, in each its chunks of [rows][64 bytes].</summary>
    public byte* A;

    /// <summary>The panel's steps in pairs, filled up with zeros to whole chunks.</summary>
    public byte* B;

    /// <summary>What the sums of the first tile start from: 32 floats a row.</summary>
    public float* Source;

    /// <summary>From a row of it to the next; 0 where all start from the same.</summary>
    public nint SourceStride;

    /// <summary>From a tile's to the next one's.</summary>
    public nint SourceStep;

    /// <summary>Where the sums go.</summary>
    public float* Target;

    /// <summary>From a row there to the next.</summary>
    public nint TargetStride;

    /// <summary>From a tile's to the next one's.</summary>
    public nint TargetStep;

    /// <summary>Chunks of 32 steps; one at least.</summary>
    public nint Chunks;

    /// <summary>Row tiles; one at least.</summary>
    public nint Tiles;

    /// <summary>What is read next, and where it ends: both null where nothing is to be asked for.</summary>
    public byte* Ahead, AheadEnd;
}

/// <summary>
/// Products of bfloat16 by <c>tdpbf16ps</c> where a panel's block stays in the first cache for many row tiles: with the
/// operands, the tiles and the order of sums of <see cref="BFloat16Matrices"/>.
/// </summary>
/// <remarks>
/// The block takes two thirds of the first cache, so the left operand, which is read once for each panel, must not drive it
/// out: its tiles are loaded with the hint that they are not read again. (Emerald Rapids, one core, blocks of 512 steps, left
/// operand in the second cache: 1,470 → 2,180 GFLOP/s.) While a tile is multiplied, the sums of the next one are asked for.
/// </remarks>
internal static class BFloat16MatrixBlock
{
    private const int TileRows = 16, RowBytes = 64, PairBytes = 128, ChunkBytes = 16 * PairBytes;

    // Of the next tile's rows, and of the lines that are read next, for each chunk: 16 chunks ask for 32 rows.
    private const int RowsAhead = 2, LinesAhead = 4;

    // Tiles 0–3: sums, two of columns for each of rows; 4–5: a; 6–7: b.
    private const int A = 4, B = 6;

    private static AssemblerRegisterTMM[] Tmm => BFloat16Matrices.Tmm;

    /// <summary>(a <see cref="MatrixBlock"/>).</summary>
    /// <param name="rows">Rows of a tile, 1–32.</param>
    /// <param name="isMoved">Whether sums go elsewhere than they came from, where both are memory to be asked for.</param>
    public static nint Make(int rows, bool isMoved)
    {
        AssemblerRegister64 block = r13, a = rdi, b = rsi, source = rdx, sourceStride = r10, target = rcx, targetStride = r11,
            rowBytes = rax, pairBytes = r8, nextSource = r9, nextTarget = rbp, ahead = r12, tiles = r14, chunks = r15,
            place = rbx;
        var kernel = new KernelAssembler();
        Assembler code = kernel.Code;
        int heights = (rows + TileRows - 1) / TileRows;
        foreach (AssemblerRegister64 register in (AssemblerRegister64[])[rbx, rbp, r12, r13, r14, r15])
            code.push(register);
        code.sub(rsp, TileConfiguration.Bytes);
        TileConfiguration.Use(code, kernel.Constant<byte>(BFloat16Matrices.Configuration(rows)), __[rsp]);
        code.mov(block, rdi);
        code.mov(a, Field(nameof(MatrixBlock.A)));
        code.mov(b, Field(nameof(MatrixBlock.B)));
        code.mov(source, Field(nameof(MatrixBlock.Source)));
        code.mov(sourceStride, Field(nameof(MatrixBlock.SourceStride)));
        code.mov(target, Field(nameof(MatrixBlock.Target)));
        code.mov(targetStride, Field(nameof(MatrixBlock.TargetStride)));
        code.mov(ahead, Field(nameof(MatrixBlock.Ahead)));
        code.mov(tiles, Field(nameof(MatrixBlock.Tiles)));
        code.mov(eax, RowBytes);
        code.mov(r8d, PairBytes);
        kernel.Loop(tiles, () =>
        {
            EachSum(source, sourceStride, (tile, at) => code.tileloadd(Tmm[tile], at));
            code.add(source, Field(nameof(MatrixBlock.SourceStep)));
            code.mov(nextSource, source);
            code.mov(nextTarget, target);
            code.add(nextTarget, Field(nameof(MatrixBlock.TargetStep)));
            code.mov(place, b);
            code.mov(chunks, Field(nameof(MatrixBlock.Chunks)));
            kernel.Loop(chunks, () =>
            {
                Multiply();
                AskAhead();
            });
            EachSum(target, targetStride, (tile, at) => code.tilestored(at, Tmm[tile]));
            code.add(target, Field(nameof(MatrixBlock.TargetStep)));
        });
        TileConfiguration.PutBack(code, __[rsp]);
        code.add(rsp, TileConfiguration.Bytes);
        foreach (AssemblerRegister64 register in (AssemblerRegister64[])[r15, r14, r13, r12, rbp, rbx])
            code.pop(register);
        return kernel.Finish();

        AssemblerMemoryOperand Field(string name) =>
            __qword_ptr[block + (int)Marshal.OffsetOf<MatrixBlock>(name)];

        // The place of each tile of sums among rows that are a stride apart.
        void EachSum(AssemblerRegister64 first, AssemblerRegister64 stride, Action<int, AssemblerMemoryOperand> body)
        {
            body(0, __[first + stride * 1]);
            body(1, __[first + stride * 1 + RowBytes]);
            if (heights == 1)
                return;
            code.mov(place, stride);
            code.shl(place, 4);
            code.add(place, first);
            body(2, __[place + stride * 1]);
            body(3, __[place + stride * 1 + RowBytes]);
        }

        void Multiply()
        {
            code.tileloaddt1(Tmm[A], __[a + rowBytes * 1]);
            code.tileloadd(Tmm[B], __[place + pairBytes * 1]);
            code.tdpbf16ps(Tmm[0], Tmm[A], Tmm[B]);
            if (heights == 2)
            {
                code.tileloaddt1(Tmm[A + 1], __[a + rowBytes * 1 + TileRows * RowBytes]);
                code.tdpbf16ps(Tmm[2], Tmm[A + 1], Tmm[B]);
            }

            code.tileloadd(Tmm[B + 1], __[place + pairBytes * 1 + RowBytes]);
            code.tdpbf16ps(Tmm[1], Tmm[A], Tmm[B + 1]);
            if (heights == 2)
                code.tdpbf16ps(Tmm[3], Tmm[A + 1], Tmm[B + 1]);
            code.add(a, rows * RowBytes);
            code.add(place, ChunkBytes);
        }

        void AskAhead()
        {
            for (int row = 0; row < RowsAhead; row++)
            {
                code.prefetchw(__byte_ptr[nextTarget]);
                code.prefetchw(__byte_ptr[nextTarget + RowBytes]);
                code.add(nextTarget, targetStride);
                if (!isMoved)
                    continue;
                code.prefetcht0(__byte_ptr[nextSource]);
                code.prefetcht0(__byte_ptr[nextSource + RowBytes]);
                code.add(nextSource, sourceStride);
            }

            Label enough = code.CreateLabel();
            code.cmp(ahead, Field(nameof(MatrixBlock.AheadEnd)));
            code.jae(enough);
            for (int line = 0; line < LinesAhead; line++)
                code.prefetcht1(__byte_ptr[ahead + line * RowBytes]);
            code.add(ahead, LinesAhead * RowBytes);
            code.Label(ref enough);
        }
    }
}
