using Skylight.Images;

namespace Skylight.ImageSharp;

/// <summary>
/// How much memory a lossless WebP asks for its tables of codes. A small picture inside it says which part of the
/// picture uses which tables, and ImageSharp reserves as many as the largest number in it: a file of some hundred bytes
/// may ask for gigabytes. So that inner picture, and what comes before it, is read here first.
/// </summary>
internal ref struct WebPTables
{
    private const int Lengths = 24, Literals = 256, Distances = 40, MostCodeBits = 15;

    /// <summary>The order in which the lengths of lengths are stored.</summary>
    private static ReadOnlySpan<byte> LengthOrder => [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    /// <summary>The nearest pixels of rows above: a row in the high half byte, 8 − columns in the low.</summary>
    private static ReadOnlySpan<byte> Near =>
    [
        0x18, 0x07, 0x17, 0x19, 0x28, 0x06, 0x27, 0x29, 0x16, 0x1a, 0x26, 0x2a, 0x38, 0x05, 0x37, 0x39, 0x15, 0x1b,
        0x36, 0x3a, 0x25, 0x2b, 0x48, 0x04, 0x47, 0x49, 0x14, 0x1c, 0x35, 0x3b,
        0x46, 0x4a, 0x24, 0x2c, 0x58, 0x45, 0x4b, 0x34, 0x3c, 0x03, 0x57, 0x59, 0x13, 0x1d, 0x56, 0x5a, 0x23, 0x2d,
        0x44, 0x4c, 0x55, 0x5b, 0x33, 0x3d, 0x68, 0x02, 0x67, 0x69, 0x12, 0x1e,
        0x66, 0x6a, 0x22, 0x2e, 0x54, 0x5c, 0x43, 0x4d, 0x65, 0x6b, 0x32, 0x3e, 0x78, 0x01, 0x77, 0x79, 0x53, 0x5d,
        0x11, 0x1f, 0x64, 0x6c, 0x42, 0x4e, 0x76, 0x7a, 0x21, 0x2f, 0x75, 0x7b,
        0x31, 0x3f, 0x63, 0x6d, 0x52, 0x5e, 0x00, 0x74, 0x7c, 0x41, 0x4f, 0x10, 0x20, 0x62, 0x6e, 0x30, 0x73, 0x7d,
        0x51, 0x5f, 0x40, 0x72, 0x7e, 0x61, 0x6f, 0x50, 0x71, 0x7f, 0x60, 0x70,
    ];

    private readonly ReadOnlySpan<byte> _data;
    private long _bit;

    private WebPTables(ReadOnlySpan<byte> data) => _data = data;

    /// <summary>The bytes that all tables take.</summary>
    /// <param name="chunk">The picture, whose signature and sides were read.</param>
    /// <param name="width">Pixels from left to right.</param>
    /// <param name="height">Pixels from top to bottom.</param>
    /// <exception cref="ImageException">What comes before the picture itself is damaged or cut off.</exception>
    public static long Bytes(ReadOnlySpan<byte> chunk, int width, int height)
    {
        var reader = new WebPTables(chunk) { _bit = 40 };
        int seen = 0;
        while (reader.Bits(1) != 0)
        {
            int transform = reader.Bits(2);
            if ((seen & (1 << transform)) != 0)
                throw Damaged();
            seen |= 1 << transform;
            if (transform is 0 or 1)
            {
                int size = reader.Bits(3) + 2;
                reader.Picture(Part(width, size), Part(height, size));
            }
            else if (transform == 3)
            {
                int colors = reader.Bits(8) + 1;
                reader.Picture(colors, 1);
                width = Part(width, colors <= 2 ? 3 : colors <= 4 ? 2 : colors <= 16 ? 1 : 0);
            }
        }

        int cacheBits = reader.CacheBits();
        int groups = 1;
        if (reader.Bits(1) != 0)
        {
            int size = reader.Bits(3) + 2;
            foreach (uint value in reader.Picture(Part(width, size), Part(height, size)))
                groups = Math.Max(groups, 1 + (int)((value >> 8) & 0xFFFF));
        }

        // Five tables of codes of eight bytes, once in one array and once by themselves.
        return groups * (1024 + (2 * 8 * (2954L + (cacheBits > 0 ? 1 << cacheBits : 0))));
    }

    private static int Part(int pixels, int bits) => (pixels + (1 << bits) - 1) >> bits;

    private static ImageException Damaged() => new("WebP: the picture is damaged or cut off.");

    private int Bits(int count)
    {
        int value = 0;
        for (int index = 0; index < count; index++, _bit++)
        {
            if (_bit >> 3 >= _data.Length)
                throw Damaged();
            value |= ((_data[(int)(_bit >> 3)] >> (int)(_bit & 7)) & 1) << index;
        }

        return value;
    }

    private int CacheBits()
    {
        int bits = Bits(1) != 0 ? Bits(4) : 0;
        return bits <= 11 ? bits : throw Damaged();
    }

    /// <summary>A picture within: its own colours remembered, one group of codes.</summary>
    private uint[] Picture(int width, int height)
    {
        int cacheBits = CacheBits();
        uint[] cache = cacheBits > 0 ? new uint[1 << cacheBits] : [];
        Codes green = ReadCodes(Literals + Lengths + cache.Length), red = ReadCodes(Literals),
            blue = ReadCodes(Literals), alpha = ReadCodes(Literals), distances = ReadCodes(Distances);
        uint[] pixels = new uint[width * height];
        for (int at = 0; at < pixels.Length;)
        {
            int symbol = Symbol(green), from = at;
            if (symbol < Literals)
                pixels[at++] = (uint)((symbol << 8) | (Symbol(red) << 16) | Symbol(blue)) | ((uint)Symbol(alpha) << 24);
            else if (symbol >= Literals + Lengths)
                pixels[at++] = cache[symbol - Literals - Lengths];
            else
            {
                int length = Extended(symbol - Literals), distance = Distance(Extended(Symbol(distances)), width);
                if (distance > at || length > pixels.Length - at)
                    throw Damaged();
                for (; length > 0; length--, at++)
                    pixels[at] = pixels[at - distance];
            }

            for (; cacheBits > 0 && from < at; from++)
                cache[(0x1E35A7BD * pixels[from]) >> (32 - cacheBits)] = pixels[from];
        }

        return pixels;
    }

    private int Extended(int prefix)
    {
        int more = (prefix - 2) >> 1;
        return prefix < 4 ? prefix + 1 : ((2 + (prefix & 1)) << more) + Bits(more) + 1;
    }

    private static int Distance(int code, int width) =>
        code > Near.Length ? code - Near.Length : Math.Max(1, ((Near[code - 1] >> 4) * width) + 8 - (Near[code - 1] & 15));

    private Codes ReadCodes(int symbols)
    {
        Span<byte> lengths = stackalloc byte[symbols];
        lengths.Clear();
        if (Bits(1) != 0)
        {
            int count = Bits(1) + 1;
            int first = Bits(Bits(1) != 0 ? 8 : 1), second = count == 2 ? Bits(8) : first;
            if (first >= symbols || second >= symbols)
                throw Damaged();
            lengths[first] = lengths[second] = 1;
            return new Codes(lengths);
        }

        Span<byte> lengthsOfLengths = stackalloc byte[LengthOrder.Length];
        lengthsOfLengths.Clear();
        int stored = Bits(4) + 4;
        for (int index = 0; index < stored; index++)
            lengthsOfLengths[LengthOrder[index]] = (byte)Bits(3);
        var codes = new Codes(lengthsOfLengths);
        int left = Bits(1) == 0 ? symbols : 2 + Bits(2 + (2 * Bits(3)));
        byte previous = 8;
        for (int at = 0; at < symbols && left > 0; left--)
        {
            int symbol = Symbol(codes);
            if (symbol < 16)
            {
                lengths[at++] = (byte)symbol;
                previous = symbol != 0 ? (byte)symbol : previous;
                continue;
            }

            int times = symbol == 16 ? 3 + Bits(2) : symbol == 17 ? 3 + Bits(3) : 11 + Bits(7);
            if (times > symbols - at)
                throw Damaged();
            lengths.Slice(at, times).Fill(symbol == 16 ? previous : (byte)0);
            at += times;
        }

        return new Codes(lengths);
    }

    private int Symbol(Codes codes)
    {
        if (codes.Only >= 0)
            return codes.Only;
        for (int length = 1, code = 0, first = 0, index = 0; length <= MostCodeBits; length++)
        {
            code |= Bits(1);
            int count = codes.Counts[length];
            if (code - first < count)
                return codes.Symbols[index + code - first];
            (index, first, code) = (index + count, (first + count) << 1, code << 1);
        }

        throw Damaged();
    }

    /// <summary>Codes by their lengths, the shortest first, within a length in the order of their symbols.</summary>
    private sealed class Codes
    {
        public Codes(ReadOnlySpan<byte> lengths)
        {
            foreach (byte length in lengths)
                Counts[length]++;
            int used = lengths.Length - Counts[0];
            if (used == 0)
                throw Damaged();
            Symbols = new int[used];
            for (int length = 1, next = 0; length <= MostCodeBits; length++)
            {
                for (int symbol = 0; Counts[length] > 0 && symbol < lengths.Length; symbol++)
                {
                    if (lengths[symbol] == length)
                        Symbols[next++] = symbol;
                }
            }

            Only = used == 1 ? Symbols[0] : -1;
        }

        /// <summary>How many codes have each length.</summary>
        public int[] Counts { get; } = new int[MostCodeBits + 1];

        public int[] Symbols { get; }

        /// <summary>The one symbol that needs no bits; −1 where there are several.</summary>
        public int Only { get; }
    }
}
