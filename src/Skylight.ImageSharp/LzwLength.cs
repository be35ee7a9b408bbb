namespace Skylight.ImageSharp;

/// <summary>
/// How much a stream of LZW codes unfolds to. ImageSharp leaves out what is missing and says nothing; a picture that is
/// not all there is refused here.
/// </summary>
internal static class LzwLength
{
    private const int MostCodes = 4096;

    /// <summary>Counts values until there are enough, the codes end, or one is met that cannot be.</summary>
    /// <param name="codes">The codes.</param>
    /// <param name="literalBits">Bits of a value.</param>
    /// <param name="tiff">Whether codes begin at the highest bit and grow one early, as in TIFF; else as in GIF.</param>
    /// <param name="enough">How many values are needed.</param>
    public static long Count(ReadOnlySpan<byte> codes, int literalBits, bool tiff, long enough)
    {
        Span<ushort> lengths = stackalloc ushort[MostCodes];
        int clear = 1 << literalBits, end = clear + 1, next = end + 1, bits = literalBits + 1;
        lengths[..clear].Fill(1);
        long values = 0;
        int previous = -1, held = 0;
        uint buffer = 0;
        foreach (byte value in codes)
        {
            buffer = tiff ? (buffer << 8) | value : buffer | ((uint)value << held);
            held += 8;
            while (held >= bits)
            {
                held -= bits;
                int code = tiff ? (int)(buffer >> held) & ((1 << bits) - 1) : (int)buffer & ((1 << bits) - 1);
                if (!tiff)
                    buffer >>= bits;
                if (code == end)
                    return values;
                if (code == clear)
                {
                    (next, bits, previous) = (end + 1, literalBits + 1, -1);
                    continue;
                }

                if (code > next || (code == next && (previous < 0 || next == MostCodes)) || (previous < 0 && code > clear))
                    return values;
                if (previous >= 0 && next < MostCodes)
                    lengths[next++] = (ushort)(lengths[previous] + 1);
                values += lengths[code];
                if (values >= enough)
                    return values;
                previous = code;
                if (bits < 12 && next + (tiff ? 1 : 0) >= 1 << bits)
                    bits++;
            }
        }

        return values;
    }
}
