using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Skylight.Checkpoints.Gguf;

/// <summary>
/// Takes the blocks of GGUF's quantised types apart into codes, scales and minimums
/// (<see cref="GgufTypes.Format"/>); a scale of a scale is multiplied in float32, as ggml does.
/// </summary>
internal static class GgufBlocks
{
    /// <summary>
    /// Writes a block of Q8_0 (the codes one after the other) or Q4_0 (eight added; the first half in the lower halves of
    /// the bytes).
    /// </summary>
    public static void Write(GgufType type, ReadOnlySpan<sbyte> codes, float scale, Span<byte> target)
    {
        BinaryPrimitives.WriteHalfLittleEndian(target, (Half)scale);
        if (type == GgufType.Q8_0)
        {
            MemoryMarshal.AsBytes(codes).CopyTo(target[2..]);
            return;
        }

        int half = codes.Length / 2;
        for (int index = 0; index < half; index++)
            target[2 + index] = (byte)((codes[index] + 8) | (codes[half + index] + 8) << 4);
    }

    private static readonly Vector128<byte> s_levels = Vector128.Create(
        (sbyte)-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113).AsByte();

    // Which byte of four has the bit of each of 32 values, and which bit it is.
    private static readonly Vector256<byte> s_byteOfBit = Vector256.Create(
        (byte)0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);

    private static readonly Vector256<byte> s_bitOfByte = Vector256.Create(0x8040_2010_0804_0201UL).AsByte();

    /// <summary>Takes whole blocks apart.</summary>
    /// <param name="type">A quantised type.</param>
    /// <param name="blocks">The blocks as stored.</param>
    /// <param name="codes">A code for each value.</param>
    /// <param name="scales">A scale for each block of the format.</param>
    /// <param name="minimums">A minimum for each, where the format has such; else not touched.</param>
    /// <param name="superScales">What scales (and minimums) of a super-block are multiples of, or empty.</param>
    public static void Decode(GgufType type, ReadOnlySpan<byte> blocks, Span<sbyte> codes, Span<float> scales,
        Span<float> minimums, Span<float> superScales = default)
    {
        int bytes = type.BlockBytes(), size = type.BlockSize(), perBlock = size / type.Format()!.BlockSize;
        bool hasMinimum = type.Format()!.HasMinimum;
        int count = blocks.Length / bytes;
        for (int block = 0; block < count; block++)
        {
            ReadOnlySpan<byte> stored = blocks.Slice(block * bytes, bytes);
            Span<byte> target = MemoryMarshal.AsBytes(codes.Slice(block * size, size));
            Span<float> scale = scales.Slice(block * perBlock, perBlock),
                minimum = hasMinimum ? minimums.Slice(block * perBlock, perBlock) : [];
            switch (type)
            {
                case GgufType.Q4_0:
                    scale[0] = HalfAt(stored, 0);
                    Nibbles(stored[2..], target);
                    Subtract(target, 8);
                    break;
                case GgufType.Q4_1:
                    (scale[0], minimum[0]) = (HalfAt(stored, 0), HalfAt(stored, 2));
                    Nibbles(stored[4..], target);
                    break;
                case GgufType.Q5_0:
                    scale[0] = HalfAt(stored, 0);
                    Nibbles(stored[6..], target);
                    AddFifthBits(stored[2..], target);
                    Subtract(target, 16);
                    break;
                case GgufType.Q5_1:
                    (scale[0], minimum[0]) = (HalfAt(stored, 0), HalfAt(stored, 2));
                    Nibbles(stored[8..], target);
                    AddFifthBits(stored[4..], target);
                    break;
                case GgufType.Q8_0:
                    scale[0] = HalfAt(stored, 0);
                    stored[2..].CopyTo(target);
                    break;
                case GgufType.IQ4_NL:
                    scale[0] = HalfAt(stored, 0);
                    Levels(stored[2..], target);
                    break;
                case GgufType.Q2_K:
                    Q2K(stored, target, scale, minimum);
                    break;
                case GgufType.Q3_K:
                    Q3K(stored, target, scale);
                    break;
                case GgufType.Q4_K:
                    ScalesAndMinimums(stored, scale, minimum);
                    for (int part = 0; part < 4; part++)
                        WideNibbles(stored.Slice(16 + (part * 32), 32), target.Slice(part * 64, 64));
                    break;
                case GgufType.Q5_K:
                    Q5K(stored, target, scale, minimum);
                    break;
                case GgufType.Q6_K:
                    Q6K(stored, target, scale);
                    break;
                case GgufType.IQ4_XS:
                    Iq4Xs(stored, target, scale);
                    break;
                default:
                    throw new ArgumentOutOfRangeException(nameof(type), type, "Not a quantised type.");
            }

            if (!superScales.IsEmpty)
                SuperScales(type, stored, superScales[(hasMinimum ? 2 * block : block)..]);
        }
    }

    private static void SuperScales(GgufType type, ReadOnlySpan<byte> stored, Span<float> target)
    {
        (int scale, int? minimum) = type switch
        {
            GgufType.Q2_K => (80, 82),
            GgufType.Q3_K => (108, null),
            GgufType.Q4_K or GgufType.Q5_K => (0, 2),
            GgufType.Q6_K => (208, (int?)null),
            GgufType.IQ4_XS => (0, null),
            _ => throw new ArgumentOutOfRangeException(nameof(type), type, "Has no super-blocks."),
        };
        target[0] = HalfAt(stored, scale);
        if (minimum is { } at)
            target[1] = -HalfAt(stored, at);
    }

    // scales[16], codes of 2 bits[64], scale of scales, scale of minimums.
    private static void Q2K(ReadOnlySpan<byte> stored, Span<byte> target, Span<float> scales, Span<float> minimums)
    {
        float scale = HalfAt(stored, 80), minimum = HalfAt(stored, 82);
        for (int i = 0; i < 16; i++)
            (scales[i], minimums[i]) = (scale * (stored[i] & 15), -(minimum * (stored[i] >> 4)));
        Pairs(stored[16..], target);
    }

    // Third bits[32], codes of 2 bits[64], scales of 6 bits[12], scale of scales.
    private static void Q3K(ReadOnlySpan<byte> stored, Span<byte> target, Span<float> scales)
    {
        float scale = HalfAt(stored, 108);
        ReadOnlySpan<byte> packed = stored.Slice(96, 12);
        for (int i = 0; i < 16; i++)
        {
            int low = i < 8 ? packed[i] & 15 : packed[i - 8] >> 4, high = (packed[8 + (i & 3)] >> (2 * (i >> 2))) & 3;
            scales[i] = scale * ((low | (high << 4)) - 32);
        }

        Pairs(stored[32..], target);
        var third = Vector256.Create(stored[..32]);
        for (int part = 0; part < 8; part++)
        {
            // Where the bit is missing, four is taken off.
            var isSet = Vector256.Equals(third & Vector256.Create((byte)(1 << part)), Vector256<byte>.Zero);
            Span<byte> codes = target.Slice(part * 32, 32);
            (Vector256.Create((ReadOnlySpan<byte>)codes) - (isSet & Vector256.Create((byte)4))).CopyTo(codes);
        }
    }

    // Scale of scales, of minimums, both of 6 bits[12], fifth bits[32], nibbles[128].
    private static void Q5K(ReadOnlySpan<byte> stored, Span<byte> target, Span<float> scales, Span<float> minimums)
    {
        ScalesAndMinimums(stored, scales, minimums);
        var fifth = Vector256.Create(stored.Slice(16, 32));
        for (int part = 0; part < 4; part++)
            WideNibbles(stored.Slice(48 + (part * 32), 32), target.Slice(part * 64, 64));
        for (int part = 0; part < 8; part++)
        {
            var mask = Vector256.Create((byte)(1 << part));
            Span<byte> codes = target.Slice(part * 32, 32);
            (Vector256.Create((ReadOnlySpan<byte>)codes)
                | (Vector256.Equals(fifth & mask, mask) & Vector256.Create((byte)16))).CopyTo(codes);
        }
    }

    // Nibbles[128], upper 2 bits[64], scales of 8 bits[16], scale of scales.
    private static void Q6K(ReadOnlySpan<byte> stored, Span<byte> target, Span<float> scales)
    {
        float scale = HalfAt(stored, 208);
        for (int i = 0; i < 16; i++)
            scales[i] = scale * (sbyte)stored[192 + i];
        var four = Vector256.Create((byte)15);
        var two = Vector256.Create((byte)3);
        var offset = Vector256.Create((byte)32);
        for (int half = 0; half < 2; half++)
        {
            ReadOnlySpan<byte> low = stored.Slice(half * 64, 64);
            var high = Vector256.Create(stored.Slice(128 + (half * 32), 32));
            for (int part = 0; part < 4; part++)
            {
                var nibbles = Vector256.Create(low.Slice((part & 1) * 32, 32));
                nibbles = part < 2 ? nibbles & four : nibbles >>> 4;
                var upper = ((high >>> (2 * part)) & two) << 4;
                ((nibbles | upper) - offset).CopyTo(target.Slice((half * 128) + (part * 32), 32));
            }
        }
    }

    // Scale of scales, their upper 2 bits[2], their lower 4[4], nibbles[128].
    private static void Iq4Xs(ReadOnlySpan<byte> stored, Span<byte> target, Span<float> scales)
    {
        float scale = HalfAt(stored, 0);
        int upper = BinaryPrimitives.ReadUInt16LittleEndian(stored[2..]);
        for (int i = 0; i < 8; i++)
        {
            int low = (stored[4 + (i >> 1)] >> (4 * (i & 1))) & 15, high = (upper >> (2 * i)) & 3;
            scales[i] = scale * ((low | (high << 4)) - 32);
            Levels(stored.Slice(8 + (i * 16), 16), target.Slice(i * 32, 32));
        }
    }

    /// <summary>The head of Q4_K and Q5_K: eight scales and minimums of 6 bits in 12 bytes, behind their own scales.</summary>
    private static void ScalesAndMinimums(ReadOnlySpan<byte> stored, Span<float> scales, Span<float> minimums)
    {
        float scale = HalfAt(stored, 0), minimum = HalfAt(stored, 2);
        ReadOnlySpan<byte> first = stored.Slice(4, 4), second = stored.Slice(8, 4), rest = stored.Slice(12, 4);
        for (int i = 0; i < 4; i++)
        {
            scales[i] = scale * (first[i] & 63);
            minimums[i] = -(minimum * (second[i] & 63));
            scales[4 + i] = scale * ((rest[i] & 15) | ((first[i] >> 2) & 0x30));
            minimums[4 + i] = -(minimum * ((rest[i] >> 4) | ((second[i] >> 2) & 0x30)));
        }
    }

    /// <summary>The low nibbles of 16 bytes, then the high ones.</summary>
    private static void Nibbles(ReadOnlySpan<byte> packed, Span<byte> target)
    {
        var bytes = Vector128.Create(packed[..16]);
        (bytes & Vector128.Create((byte)15)).CopyTo(target);
        (bytes >>> 4).CopyTo(target[16..]);
    }

    /// <summary>The low nibbles of 32 bytes, then the high ones.</summary>
    private static void WideNibbles(ReadOnlySpan<byte> packed, Span<byte> target)
    {
        var bytes = Vector256.Create(packed);
        (bytes & Vector256.Create((byte)15)).CopyTo(target);
        (bytes >>> 4).CopyTo(target[32..]);
    }

    /// <summary>As <see cref="Nibbles"/>, each an index into the sixteen levels of IQ4.</summary>
    private static void Levels(ReadOnlySpan<byte> packed, Span<byte> target)
    {
        var bytes = Vector128.Create(packed[..16]);
        Vector128.Shuffle(s_levels, bytes & Vector128.Create((byte)15)).CopyTo(target);
        Vector128.Shuffle(s_levels, bytes >>> 4).CopyTo(target[16..]);
    }

    /// <summary>The four pairs of bits of 32 bytes, one after the other, and of the next 32.</summary>
    private static void Pairs(ReadOnlySpan<byte> packed, Span<byte> target)
    {
        var two = Vector256.Create((byte)3);
        for (int half = 0; half < 2; half++)
        {
            var bytes = Vector256.Create(packed.Slice(half * 32, 32));
            for (int part = 0; part < 4; part++)
                ((bytes >>> (2 * part)) & two).CopyTo(target.Slice((half * 128) + (part * 32), 32));
        }
    }

    private static void AddFifthBits(ReadOnlySpan<byte> packed, Span<byte> target)
    {
        var spread = Vector256.Shuffle(Vector256.Create(BinaryPrimitives.ReadUInt32LittleEndian(packed)).AsByte(),
            s_byteOfBit);
        var isSet = Vector256.Equals(spread & s_bitOfByte, s_bitOfByte);
        (Vector256.Create((ReadOnlySpan<byte>)target[..32]) | (isSet & Vector256.Create((byte)16))).CopyTo(target);
    }

    private static void Subtract(Span<byte> target, byte offset) =>
        (Vector256.Create((ReadOnlySpan<byte>)target[..32]) - Vector256.Create(offset)).CopyTo(target);

    private static float HalfAt(ReadOnlySpan<byte> stored, int offset) =>
        (float)BinaryPrimitives.ReadHalfLittleEndian(stored[offset..]);
}
