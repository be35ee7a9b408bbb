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

    /// <summary>A binary16 minimum.</summary>
    HalfMinimum,

    /// <summary>A float32 minimum.</summary>
    Minimum,
}

/// <summary>Where the numbers and the codes of a block of 32 outputs lie.</summary>
/// <param name="Head">The head of its group.</param>
/// <param name="Multiples">Its integers, where scales are multiples of those in the head.</param>
/// <param name="Codes">Its codes.</param>
internal readonly unsafe record struct BlockPlace(nint Head, nint Multiples, nint Codes);

/// <summary>
/// How a quantised weight lies in memory on the CPU: panels of 32 outputs, in each the inputs in groups that share their
/// scales. A group is a head with the 32 scales, the 32 zeros or minimums if there are any, and the integers of each block of
/// which the scales are a multiple, if there are such; then the blocks' codes. So a product reads one stream, and no number
/// is there twice.
/// </summary>
/// <remarks>
/// Blocks have 16 or 32 inputs, which are summed up in integers; groups one or more blocks, up to <see cref="MostInputs"/>
/// inputs and so that they divide it: longer or odder ones are cut, with the scale repeated. The last group of a row may have
/// fewer blocks. Codes are unsigned (a bias is added) and lie in quads of inputs, as <c>vpdpbusd</c> takes them: byte 4o + j
/// belongs to output o and input 4q + j of quad q. Of 8 bits a quad has 64 bytes for outputs 0–15 and 64 for 16–31; of 4 bits
/// the lower halves of 64 bytes are outputs 0–15, the upper ones 16–31. Of 5 and 6 bits the lower four lie so, and behind those
/// of the block the rest, in vectors of 64 bytes with as many half quads side by side as a byte holds, from its lowest bits on.
/// What pads the last block and the last panel has a scale of zero or meets activations of zero.
/// </remarks>
internal readonly record struct QuantizedLayout
{
    /// <summary>The most inputs of a group; products are computed in blocks of so many.</summary>
    public const int MostInputs = 512;

    private const int Width = WeightPanels.Width;

    private QuantizedLayout(QuantizedFormat format)
    {
        Bits = format.CodeBits;
        Block = format.BlockSize == 16 ? 16 : 32;
        HasMultiples = format.SuperBlockSize > 0;
        HasHalfScales = HasMultiples || format.HasHalfScales;
        Offset = !format.HasMinimum ? BlockOffset.None : HasMultiples ? BlockOffset.HalfMinimum
            : format.HasZeroPoints ? BlockOffset.Zero : format.HasHalfMinimums ? BlockOffset.HalfMinimum : BlockOffset.Minimum;
        Bias = format.CodeBias;
        // The largest power of two that divides both.
        int inputs = HasMultiples ? format.SuperBlockSize : format.BlockSize;
        GroupBlocks = Math.Min(inputs & -inputs, MostInputs) / Block;
    }

    /// <summary>The layout of a format; null where its products are not computed from codes.</summary>
    public static QuantizedLayout? Of(QuantizedFormat format) => format.HasIntegerCodes
        && (format.BlockSize == 16 || (format.BlockSize > 0 && format.BlockSize % 32 == 0))
        && (format.SuperBlockSize == 0 || (format.BlockSize <= 32 && format.SuperBlockSize is 64 or 128 or 256 or 512))
            ? new QuantizedLayout(format) : null;

    /// <summary>The layout of a tensor that is known to have one.</summary>
    public static QuantizedLayout Of(TensorType type) => Of(type.Format!)
        ?? throw new NotSupportedException($"cpu: weights of format {type.Format} have no layout.");

    /// <summary>The bits of a code: 4, 5, 6 or 8.</summary>
    public int Bits { get; }

    /// <summary>Inputs of a block, 16 or 32.</summary>
    public int Block { get; }

    /// <summary>Blocks that share a head.</summary>
    public int GroupBlocks { get; }

    /// <summary>Whether scales have 16 bits.</summary>
    public bool HasHalfScales { get; }

    /// <summary>Whether each block has integers of a byte, of which the scales and minimums in the head are the units.</summary>
    public bool HasMultiples { get; }

    /// <summary>What a block has beside scales.</summary>
    public BlockOffset Offset { get; }

    /// <summary>What was added to the codes.</summary>
    public int Bias { get; }

    /// <summary>Whether there are minimums of some type.</summary>
    public bool HasMinimum => Offset is BlockOffset.HalfMinimum or BlockOffset.Minimum;

    /// <summary>The bits of a code beyond four that lie apart: 0, 1 or 2.</summary>
    public int HighBits => Bits is 5 or 6 ? Bits - 4 : 0;

    /// <summary>The bytes of 32 scales.</summary>
    public int ScaleBytes => Width * (HasHalfScales ? 2 : 4);

    /// <summary>Where in the head the integers of the first block begin.</summary>
    public int MultiplesAt => ScaleBytes + Offset switch
    {
        BlockOffset.None => 0,
        BlockOffset.Zero => Width,
        BlockOffset.HalfMinimum => Width * 2,
        _ => Width * sizeof(float),
    };

    /// <summary>The bytes of a block's integers: of scales, then of minimums.</summary>
    public int MultipleBytes => !HasMultiples ? 0 : Offset == BlockOffset.None ? Width : 2 * Width;

    /// <summary>The bytes of a group's head, behind which codes begin.</summary>
    public int HeadBytes => MultiplesAt + GroupBlocks * MultipleBytes;

    /// <summary>The bytes of a quad of inputs, without the bits that lie apart.</summary>
    public int QuadBytes => Bits == 8 ? 128 : 64;

    /// <summary>Where in a block the bits begin that lie apart.</summary>
    public int HighAt => Block / 4 * QuadBytes;

    /// <summary>The bytes of the codes of a block of 32 outputs.</summary>
    public int BlockBytes => Block * Width * Bits / 8;

    /// <summary>The blocks of so many inputs.</summary>
    public int BlocksOf(int inputs) => (inputs + Block - 1) / Block;

    /// <summary>The bytes of so many inputs of a panel.</summary>
    public long PanelBytes(int inputs)
    {
        int blocks = BlocksOf(inputs);
        return (long)(blocks + GroupBlocks - 1) / GroupBlocks * HeadBytes + (long)blocks * BlockBytes;
    }

    /// <summary>The bytes of a weight, padding included.</summary>
    public long BytesOf(Shape shape) => WeightPanels.PanelCount(shape.Rows) * PanelBytes(shape.Columns);

    /// <summary>Where a block lies.</summary>
    /// <param name="panel">A panel, or where a group begins in one.</param>
    /// <param name="block">Which block, from there.</param>
    public unsafe BlockPlace PlaceOf(byte* panel, int block)
    {
        int group = block / GroupBlocks, within = block % GroupBlocks;
        byte* head = panel + group * ((long)HeadBytes + (long)GroupBlocks * BlockBytes);
        return new BlockPlace((nint)head, (nint)(head + MultiplesAt + within * MultipleBytes),
            (nint)(head + HeadBytes + (long)within * BlockBytes));
    }

    /// <summary>The scale of an output in a block.</summary>
    public unsafe float Scale(in BlockPlace place, int output)
    {
        float scale = HasHalfScales ? (float)((Half*)place.Head)[output] : ((float*)place.Head)[output];
        return HasMultiples ? scale * ((sbyte*)place.Multiples)[output] : scale;
    }

    /// <summary>The zero of an output in a block that has such.</summary>
    public unsafe float Zero(in BlockPlace place, int output) => ((byte*)place.Head)[ScaleBytes + output];

    /// <summary>What is added to scale · code of an output in a block.</summary>
    public unsafe float Added(in BlockPlace place, int output)
    {
        switch (Offset)
        {
            case BlockOffset.None:
                return 0;
            case BlockOffset.Zero:
                return -Zero(place, output) * Scale(place, output);
            case BlockOffset.Minimum:
                return ((float*)(place.Head + ScaleBytes))[output];
            default:
                float minimum = (float)((Half*)(place.Head + ScaleBytes))[output];
                return HasMultiples ? minimum * ((sbyte*)place.Multiples)[Width + output] : minimum;
        }
    }

    /// <summary>The unsigned code of an output and an input of a block.</summary>
    public unsafe int Code(in BlockPlace place, int output, int input)
    {
        byte* codes = (byte*)place.Codes;
        int quad = input / 4, half = output / 16, within = output % 16 * 4 + input % 4;
        if (Bits == 8)
            return codes[quad * QuadBytes + half * 64 + within];
        int low = codes[quad * QuadBytes + within] >> (half * 4) & 15;
        if (HighBits == 0)
            return low;
        (int at, int shift) = HighOf(2 * quad + half);
        return low | (codes[at + within] >> shift & ((1 << HighBits) - 1)) << 4;
    }

    /// <summary>Where in a block the vector lies that has the upper bits of a half quad, and from which bit on.</summary>
    public (int At, int Shift) HighOf(int halfQuad)
    {
        int perByte = 8 / HighBits;
        return (HighAt + halfQuad / perByte * 64, halfQuad % perByte * HighBits);
    }

    /// <summary>
    /// The values of some inputs of all 32 outputs of a panel as [inputs, 32] float32: scale · code, then what is added, each
    /// rounded.
    /// </summary>
    public unsafe void Dequantize(byte* panel, int first, int count, float* target)
    {
        float* scale = stackalloc float[Width], added = stackalloc float[Width];
        int current = -1;
        BlockPlace place = default;
        for (int input = first; input < first + count; input++, target += Width)
        {
            if (input / Block != current)
            {
                current = input / Block;
                place = PlaceOf(panel, current);
                for (int output = 0; output < Width; output++)
                    (scale[output], added[output]) = (Scale(place, output), Added(place, output));
            }

            int within = input % Block, byteShift = within % 4 * 8;
            for (int half = 0; half < 2; half++)
            {
                Vector512<float> values = Vector512.ConvertToSingle(CodesOf(place, within / 4, half, byteShift)
                    - Vector512.Create(Bias)) * Vector512.Load(scale + half * 16);
                if (Offset != BlockOffset.None)
                    values += Vector512.Load(added + half * 16);
                values.Store(target + half * 16);
            }
        }
    }

    /// <summary>The unsigned codes of one input of sixteen outputs; an element of 32 bits has those of a quad.</summary>
    private unsafe Vector512<int> CodesOf(in BlockPlace place, int quad, int half, int byteShift)
    {
        byte* codes = (byte*)place.Codes + quad * QuadBytes;
        if (Bits == 8)
            return ((Vector512.Load((uint*)(codes + half * 64)) >>> byteShift) & Vector512.Create(0xFFu)).AsInt32();
        Vector512<uint> low = (Vector512.Load((uint*)codes) >>> (byteShift + half * 4)) & Vector512.Create(15u);
        if (HighBits == 0)
            return low.AsInt32();
        (int at, int shift) = HighOf(2 * quad + half);
        Vector512<uint> high = (Vector512.Load((uint*)(place.Codes + at)) >>> (byteShift + shift))
            & Vector512.Create((1u << HighBits) - 1);
        return (low | (high << 4)).AsInt32();
    }

    /// <summary>One output's values.</summary>
    public unsafe void DequantizeRow(byte* weight, int output, int inputs, Span<float> target)
    {
        byte* panel = weight + output / Width * PanelBytes(inputs);
        int within = output % Width;
        for (int first = 0; first < inputs; first += Block)
        {
            BlockPlace place = PlaceOf(panel, first / Block);
            float scale = Scale(place, within), added = Added(place, within);
            for (int input = 0; input < Math.Min(Block, inputs - first); input++)
            {
                float value = (Code(place, within, input) - Bias) * scale;
                target[first + input] = Offset == BlockOffset.None ? value : value + added;
            }
        }
    }
}
