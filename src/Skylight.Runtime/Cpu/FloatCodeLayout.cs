using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>
/// How a weight whose codes are no integers (8-bit floating point, NF4) lies in memory on the CPU: panels of 32 outputs,
/// in each the blocks of inputs one after the other, in each 32 scales in float32 and the codes. So a product reads one
/// stream.
/// </summary>
/// <remarks>
/// A block has at most 256 inputs, in chunks of 32, of which the last block may have fewer; the format's longer blocks
/// are cut, with the scale repeated. Codes lie so that a few instructions make pairs of steps of them, as
/// <see cref="Assembly.BFloat16Tile"/> takes them. Of 8 bits a pair has 64 bytes: in the l-th 16 of them, 2d + 1 and 2d
/// are the earlier and the later input of output 4l + d, 8 + 2d + 1 and 8 + 2d those of the output 16 further. Of 4 bits
/// two pairs have 64 bytes: words 2o + 1 and 2o are the earlier and the later input of outputs o and o + 16 (its lower
/// and upper half), in the lower byte of the first pair, in the upper one of the second. What pads the last chunk and
/// the last panel stands for zero.
/// </remarks>
internal readonly record struct FloatCodeLayout
{
    private const int Width = WeightPanels.Width;
    private const int ScaleBytes = Width * sizeof(float);
    private const int MostBlock = 256;

    /// <summary>Inputs of a chunk.</summary>
    public const int Chunk = 32;

    private FloatCodeLayout(QuantizedFormat format, int inputs)
    {
        (Codes, Inputs) = (format.Codes, inputs);
        // One scale for all inputs may be repeated anywhere, others where their blocks begin.
        Block = MostBlock;
        while (format.BlockSize < inputs && format.BlockSize % Block != 0)
            Block -= Chunk;
    }

    /// <summary>Whether products are computed from the codes of a format.</summary>
    public static bool Supports(QuantizedFormat format) =>
        format is { Codes: CodeType.Float8E4M3 or CodeType.NormalFloat4, HasMinimum: false, BlockSize: > 0 }
        && format.BlockSize % Chunk == 0;

    /// <summary>The layout of a weight; null where it has none.</summary>
    public static FloatCodeLayout? Of(TensorType type) =>
        type.Format is { } format && Supports(format) ? new FloatCodeLayout(format, type.Shape.Columns) : null;

    /// <summary>What the codes stand for.</summary>
    public CodeType Codes { get; }

    /// <summary>Inputs of the weight.</summary>
    public int Inputs { get; }

    /// <summary>Inputs of a block: a multiple of 32, at most 256.</summary>
    public int Block { get; }

    /// <summary>The bytes of a chunk of a panel.</summary>
    public int ChunkBytes => Codes == CodeType.Float8E4M3 ? Width * Chunk : Width * Chunk / 2;

    private int Chunks => (Inputs + Chunk - 1) / Chunk;

    private int BlockBytes => ScaleBytes + Block / Chunk * ChunkBytes;

    /// <summary>The bytes of a panel.</summary>
    public long PanelBytes => (long)((Inputs + Block - 1) / Block) * ScaleBytes + (long)Chunks * ChunkBytes;

    /// <summary>The bytes of so many outputs, padding included.</summary>
    public long BytesOf(int outputs) => WeightPanels.PanelCount(outputs) * PanelBytes;

    /// <summary>The 32 scales of the block of an input.</summary>
    public unsafe float* ScalesAt(byte* panel, int input) => (float*)(panel + (long)(input / Block) * BlockBytes);

    /// <summary>The chunk of an input.</summary>
    public unsafe byte* ChunkAt(byte* panel, int input) =>
        panel + (long)(input / Block) * BlockBytes + ScaleBytes + (long)(input % Block / Chunk) * ChunkBytes;

    /// <summary>Puts rows, from one that begins a panel on, into the layout.</summary>
    /// <param name="format">What the codes are.</param>
    /// <param name="codes">Row-major, one a byte.</param>
    /// <param name="scales">[rows, blocks of the format].</param>
    /// <param name="rows">How many.</param>
    /// <param name="target">The panel of the first row.</param>
    public unsafe void Pack(QuantizedFormat format, sbyte* codes, float* scales, int rows, byte* target)
    {
        FloatCodeLayout layout = this;
        CpuParallel.For(WeightPanels.PanelCount(rows), panel => layout.PackPanel(format, (byte*)codes, scales,
            panel * Width, Math.Min(Width, rows - panel * Width), target + panel * layout.PanelBytes));
    }

    private unsafe void PackPanel(QuantizedFormat format, byte* codes, float* scales, int firstRow, int rows,
        byte* panel)
    {
        byte* padded = stackalloc byte[Chunk];
        int formatBlocks = format.BlocksOf(Inputs);
        byte zero = Codes == CodeType.NormalFloat4 ? (byte)7 : (byte)0;
        for (int start = 0; start < Inputs; start += Chunk)
        {
            int count = Math.Min(Chunk, Inputs - start);
            byte* chunk = ChunkAt(panel, start);
            new Span<byte>(chunk, ChunkBytes).Clear();
            if (start % Block == 0)
                new Span<float>(ScalesAt(panel, start), Width).Clear();
            for (int output = 0; output < Width; output++)
            {
                byte* row = codes + (long)(firstRow + output) * Inputs + start;
                if (output < rows && start % Block == 0)
                    ScalesAt(panel, start)[output] =
                        scales[(long)(firstRow + output) * formatBlocks + start / format.BlockSize];
                if (output >= rows || count < Chunk)
                {
                    new Span<byte>(padded, Chunk).Fill(zero);
                    if (output < rows)
                        new ReadOnlySpan<byte>(row, count).CopyTo(new Span<byte>(padded, Chunk));
                    row = padded;
                }

                if (Codes == CodeType.Float8E4M3)
                    PackBytes(row, chunk, output);
                else
                    PackNibbles(row, chunk, output);
            }
        }
    }

    private static unsafe void PackBytes(byte* row, byte* chunk, int output)
    {
        byte* to = chunk + PlaceOf(output);
        for (int input = 0; input < Chunk; input += 2, to += 2 * Width)
            (to[1], to[0]) = (row[input], row[input + 1]);
    }

    private static unsafe void PackNibbles(byte* row, byte* chunk, int output)
    {
        int shift = output / 16 * 4;
        uint* to = (uint*)chunk + output % 16;
        for (int input = 0; input < Chunk; input += 4, to += 16)
        {
            uint first = ((row[input] & 15u) << 16) | (row[input + 1] & 15u),
                second = ((row[input + 2] & 15u) << 16) | (row[input + 3] & 15u);
            *to |= (first | second << 8) << shift;
        }
    }

    /// <summary>Where the later of a pair's two bytes is.</summary>
    private static int PlaceOf(int output) => output % 16 / 4 * 16 + output / 16 * 8 + output % 4 * 2;

    /// <summary>The code of an output of a panel and an input.</summary>
    public unsafe int Code(byte* panel, int output, int input)
    {
        byte* chunk = ChunkAt(panel, input);
        int within = input % Chunk;
        return Codes == CodeType.Float8E4M3 ? chunk[within / 2 * 2 * Width + PlaceOf(output) + 1 - within % 2]
            : (int)(((uint*)chunk)[within / 4 * 16 + output % 16] >> ((1 - within % 2) * 16 + within / 2 % 2 * 8
                + output / 16 * 4)) & 15;
    }

    /// <summary>One output's values: scale · code, rounded.</summary>
    public unsafe void DequantizeRow(byte* weight, int output, Span<float> target)
    {
        byte* panel = weight + output / Width * PanelBytes;
        ReadOnlySpan<float> values = Codes.Values();
        for (int input = 0; input < target.Length; input++)
            target[input] = ScalesAt(panel, input)[output % Width] * values[Code(panel, output % Width, input)];
    }
}
