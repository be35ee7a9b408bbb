using System.Runtime.Intrinsics;
using Skylight.Tensors;

namespace Skylight.Cpu;

/// <summary>What is added to a block beside scale · code.</summary>
internal enum BlockOffset
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>−zero · scale, with the zero as a byte.</summary>
    Zero,

    /// <summary>A float32 minimum.</summary>
    Minimum,
}

/// <summary>
/// How a quantised weight lies in memory on the CPU: panels of 32 outputs, in each the blocks of inputs one after the other,
/// in each the 32 scales, the 32 zeros or minimums if there are any, and the codes. So a product reads one stream.
/// </summary>
/// <remarks>
/// Codes are unsigned (a bias is added) and lie in quads of inputs, as <c>vpdpbusd</c> takes them: byte 4o + j belongs to
/// output o and input 4q + j of quad q. Of 8 bits a quad has 64 bytes for outputs 0–15 and 64 for 16–31; of 4 bits the lower
/// halves of 64 bytes are outputs 0–15, the upper ones 16–31. Blocks have 16 or 32 inputs; longer ones are cut, with the
/// scale repeated. What pads the last block and the last panel has a scale of zero or meets activations of zero.
/// </remarks>
internal readonly record struct QuantizedLayout
{
    private const int Width = WeightPanels.Width;

    private QuantizedLayout(QuantizedFormat format)
    {
        Bits = format.CodeBits;
        Block = format.BlockSize == 16 ? 16 : 32;
        HasHalfScales = format.HasHalfScales;
        Offset = !format.HasMinimum ? BlockOffset.None : format.HasZeroPoints ? BlockOffset.Zero : BlockOffset.Minimum;
        Bias = format.Codes switch
        {
            CodeType.Int4 => 8,
            CodeType.Int8 => 128,
            _ => 0,
        };
    }

    /// <summary>The layout of a format; null where its products are not computed from codes.</summary>
    public static QuantizedLayout? Of(QuantizedFormat format) =>
        format.Codes is CodeType.Int4 or CodeType.UInt4 or CodeType.Int8
        && (format.BlockSize == 16 || (format.BlockSize > 0 && format.BlockSize % 32 == 0))
            ? new QuantizedLayout(format) : null;

    /// <summary>The layout of a tensor that is known to have one.</summary>
    public static QuantizedLayout Of(TensorType type) => Of(type.Format!)
        ?? throw new NotSupportedException($"cpu: weights of format {type.Format} have no layout.");

    /// <summary>The bits of a code, 4 or 8.</summary>
    public int Bits { get; }

    /// <summary>Inputs of a block, 16 or 32.</summary>
    public int Block { get; }

    /// <summary>Whether scales have 16 bits.</summary>
    public bool HasHalfScales { get; }

    /// <summary>What a block has beside scales.</summary>
    public BlockOffset Offset { get; }

    /// <summary>What was added to the codes.</summary>
    public int Bias { get; }

    /// <summary>The bytes of 32 scales.</summary>
    public int ScaleBytes => Width * (HasHalfScales ? 2 : 4);

    /// <summary>The bytes of what is added.</summary>
    public int OffsetBytes => Offset switch
    {
        BlockOffset.None => 0,
        BlockOffset.Zero => Width,
        _ => Width * sizeof(float),
    };

    /// <summary>Where the codes of a block begin.</summary>
    public int CodesAt => ScaleBytes + OffsetBytes;

    /// <summary>The bytes of a quad of inputs.</summary>
    public int QuadBytes => Width * 4 * Bits / 8;

    /// <summary>The bytes of a block of 32 outputs.</summary>
    public int BlockBytes => CodesAt + Block / 4 * QuadBytes;

    /// <summary>The blocks of so many inputs.</summary>
    public int BlocksOf(int inputs) => (inputs + Block - 1) / Block;

    /// <summary>The bytes of a panel.</summary>
    public long PanelBytes(int inputs) => (long)BlocksOf(inputs) * BlockBytes;

    /// <summary>The bytes of a weight, padding included.</summary>
    public long BytesOf(Shape shape) => WeightPanels.PanelCount(shape.Rows) * PanelBytes(shape.Columns);

    /// <summary>Puts rows, from one that begins a panel on, into the layout.</summary>
    /// <param name="format">What the codes are.</param>
    /// <param name="codes">Row-major, one a byte.</param>
    /// <param name="scales">[rows, blocks of the format].</param>
    /// <param name="minimums">The same; empty where there are none.</param>
    /// <param name="rows">How many.</param>
    /// <param name="inputs">Codes of a row.</param>
    /// <param name="target">The panel of the first row.</param>
    public unsafe void Pack(QuantizedFormat format, sbyte* codes, float* scales, float* minimums, int rows, int inputs,
        byte* target)
    {
        QuantizedLayout layout = this;
        long panelBytes = PanelBytes(inputs);
        CpuParallel.For(WeightPanels.PanelCount(rows), panel => layout.PackPanel(format, codes, scales, minimums,
            panel * Width, Math.Min(Width, rows - panel * Width), inputs, target + panel * panelBytes));
    }

    private unsafe void PackPanel(QuantizedFormat format, sbyte* codes, float* scales, float* minimums, int firstRow, int rows,
        int inputs, byte* target)
    {
        int formatBlocks = format.BlocksOf(inputs);
        new Span<byte>(target, checked((int)PanelBytes(inputs))).Clear();
        for (int block = 0; block < BlocksOf(inputs); block++, target += BlockBytes)
        {
            int first = block * Block, count = Math.Min(Block, inputs - first);
            for (int output = 0; output < rows; output++)
            {
                long row = firstRow + output, place = row * formatBlocks + first / format.BlockSize;
                SetScale(target, output, scales[place]);
                if (Offset == BlockOffset.Minimum)
                    ((float*)(target + ScaleBytes))[output] = minimums[place];
                else if (Offset == BlockOffset.Zero)
                    target[ScaleBytes + output] = scales[place] == 0 ? (byte)0
                        : (byte)Math.Clamp(MathF.Round(-minimums[place] / scales[place]), 0, 255);
                PackCodes(codes + row * inputs + first, count, target + CodesAt, output);
            }
        }
    }

    /// <summary>Puts the codes of one output in a block, which was cleared, into the places that the remarks say.</summary>
    private unsafe void PackCodes(sbyte* from, int count, byte* block, int output)
    {
        // To add a bias of 8 or 128 to a number of 4 or 8 bits is to change its highest bit: a quad at once.
        uint bias = (uint)Bias * 0x01010101, mask = Bits == 8 ? uint.MaxValue : 0x0F0F0F0F;
        int shift = Bits == 8 ? 0 : output / 16 * 4, quad = 0;
        byte* to = block + (Bits == 8 ? output / 16 * 64 : 0) + output % 16 * 4;
        for (; quad < count / 4; quad++, to += QuadBytes)
            *(uint*)to |= ((((uint*)from)[quad] ^ bias) & mask) << shift;
        for (int input = quad * 4; input < count; input++)
            to[input % 4] |= (byte)((((byte)from[input] ^ bias) & mask & 0xFF) << shift);
    }

    private unsafe void SetScale(byte* block, int output, float scale)
    {
        if (HasHalfScales)
            ((Half*)block)[output] = (Half)scale;
        else
            ((float*)block)[output] = scale;
    }

    /// <summary>The scale of an output in a block.</summary>
    public unsafe float Scale(byte* block, int output) =>
        HasHalfScales ? (float)((Half*)block)[output] : ((float*)block)[output];

    /// <summary>What is added to scale · code of an output in a block.</summary>
    public unsafe float Added(byte* block, int output) => Offset switch
    {
        BlockOffset.None => 0,
        BlockOffset.Zero => -block[ScaleBytes + output] * Scale(block, output),
        _ => ((float*)(block + ScaleBytes))[output],
    };

    /// <summary>The unsigned code of an output and an input of a block.</summary>
    public unsafe int Code(byte* block, int output, int input)
    {
        byte* codes = block + CodesAt;
        return Bits == 8 ? codes[input / 4 * 128 + output / 16 * 64 + output % 16 * 4 + input % 4]
            : codes[input / 4 * 64 + output % 16 * 4 + input % 4] >> (output / 16 * 4) & 15;
    }

    /// <summary>
    /// The values of some inputs of all 32 outputs of a panel as [inputs, 32] float32: scale · code, then what is added, each
    /// rounded.
    /// </summary>
    public unsafe void Dequantize(byte* panel, int first, int count, float* target)
    {
        float* scale = stackalloc float[Width], added = stackalloc float[Width];
        int current = -1;
        for (int input = first; input < first + count; input++, target += Width)
        {
            byte* block = panel + (long)(input / Block) * BlockBytes;
            if (input / Block != current)
            {
                current = input / Block;
                for (int output = 0; output < Width; output++)
                    (scale[output], added[output]) = (Scale(block, output), Added(block, output));
            }

            // An element of 32 bits has the codes of four inputs of an output.
            int within = input % Block, shift = within % 4 * 8;
            uint* codes = (uint*)(block + CodesAt + within / 4 * QuadBytes);
            Vector512<uint> low = Vector512.Load(codes), high = Bits == 8 ? Vector512.Load(codes + 16) : low >>> 4,
                mask = Vector512.Create((1u << Bits) - 1);
            Vector512<int> bias = Vector512.Create(Bias);
            (Vector512.ConvertToSingle(((low >>> shift) & mask).AsInt32() - bias) * Vector512.Load(scale)).Store(target);
            (Vector512.ConvertToSingle(((high >>> shift) & mask).AsInt32() - bias) * Vector512.Load(scale + 16))
                .Store(target + 16);
            if (Offset == BlockOffset.None)
                continue;
            for (int output = 0; output < Width; output++)
                target[output] += added[output];
        }
    }

    /// <summary>One output's values.</summary>
    public unsafe void DequantizeRow(byte* weight, int output, int inputs, Span<float> target)
    {
        byte* panel = weight + output / Width * PanelBytes(inputs);
        int within = output % Width;
        for (int input = 0; input < inputs; input++)
        {
            byte* block = panel + (long)(input / Block) * BlockBytes;
            float value = (Code(block, within, input % Block) - Bias) * Scale(block, within);
            target[input] = Offset == BlockOffset.None ? value : value + Added(block, within);
        }
    }
}
