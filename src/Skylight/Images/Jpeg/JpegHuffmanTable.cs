namespace Skylight.Images.Jpeg;

/// <summary>A Huffman code, ready to decode with.</summary>
internal sealed class JpegHuffmanTable
{
    /// <summary>Codes of at most so many bits are found with one look.</summary>
    public const int LookBits = 10;

    private readonly byte[] _symbols;

    /// <summary>For each length the first code that is too large for it, left-aligned to 16 bits.</summary>
    private readonly int[] _limit = new int[18];

    /// <summary>For each length what to add to a code of it to get the index of its symbol.</summary>
    private readonly int[] _offset = new int[17];

    /// <summary>Makes the decoding tables.</summary>
    /// <param name="counts">Codes of each length from 1 to 16.</param>
    /// <param name="symbols">What they stand for.</param>
    public JpegHuffmanTable(ReadOnlySpan<byte> counts, byte[] symbols)
    {
        _symbols = symbols;
        Lookup = new ushort[1 << LookBits];
        int code = 0;
        int index = 0;
        for (int length = 1; length <= 16; length++)
        {
            _offset[length] = index - code;
            for (int i = 0; i < counts[length - 1]; i++, code++, index++)
            {
                if (code >= 1 << length)
                    throw new ImageException(
                        $"JPEG: a Huffman table has more codes of {length} bits than there are: the file is damaged.");
                if (length <= LookBits)
                    Lookup.AsSpan(code << (LookBits - length), 1 << (LookBits - length))
                        .Fill((ushort)((length << 8) | symbols[index]));
            }

            _limit[length] = code << (16 - length);
            code <<= 1;
        }

        _limit[17] = int.MaxValue;
    }

    /// <summary>
    /// Length × 256 + symbol for the next <see cref="LookBits"/> bits; 0 where the code is longer or there is none.
    /// </summary>
    public ushort[] Lookup { get; }

    /// <summary>The largest symbol.</summary>
    public int LargestSymbol => _symbols.Length == 0 ? 0 : _symbols.Max();

    /// <summary>
    /// Length × 256 + symbol for the next 16 bits. Of damaged data, whose bits are no code, libjpeg drops 17 and goes
    /// on with symbol 0.
    /// </summary>
    public int Find(int bits)
    {
        int length = 1;
        while (bits >= _limit[length])
            length++;
        return length <= 16 ? (length << 8) | _symbols[(bits >> (16 - length)) + _offset[length]] : 17 << 8;
    }
}
