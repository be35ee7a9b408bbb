namespace Skylight.Images.Jpeg;

/// <summary>
/// The inverse cosine transform in integers, after Loeffler, Ligtenberg and Moschytz: bit for bit libjpeg's accurate
/// one ("islow"), with 13 bits of constants and 2 bits more between the passes. Where damaged data leads out of range
/// it does what libjpeg-turbo's vector code does, whose sums of inputs wrap around at 16 bits and whose columns are cut
/// off there.
/// </summary>
internal static class JpegTransform
{
    private const int ConstantBits = 13;
    private const int PassBits = 2;
    private const int F0298 = 2446;
    private const int F0390 = 3196;
    private const int F0541 = 4433;
    private const int F0765 = 6270;
    private const int F0899 = 7373;
    private const int F1175 = 9633;
    private const int F1501 = 12299;
    private const int F1847 = 15137;
    private const int F1961 = 16069;
    private const int F2053 = 16819;
    private const int F2562 = 20995;
    private const int F3072 = 25172;

    /// <summary>From 64 dequantised coefficients, row by row, to 8 × 8 samples.</summary>
    /// <param name="block">The coefficients; overwritten.</param>
    /// <param name="samples">Where the samples go.</param>
    /// <param name="stride">Samples between rows.</param>
    public static void Inverse(Span<int> block, Span<byte> samples, int stride)
    {
        block = block[..64];
        if (!block[1..].ContainsAnyExcept(0))
        {
            byte level = Level(((short)(block[0] << PassBits) + 16) >> 5);
            for (int y = 0; y < 8; y++)
                samples.Slice(y * stride, 8).Fill(level);
            return;
        }

        if (!block[8..].ContainsAnyExcept(0))
        {
            for (int x = 0; x < 8; x++)
            {
                int level = (short)(block[x] << PassBits);
                for (int i = x; i < 64; i += 8)
                    block[i] = level;
            }
        }
        else
        {
            for (int x = 0; x < 8; x++)
                Column(block, x);
        }

        for (int y = 0; y < 8; y++)
            Row(block.Slice(8 * y, 8), samples.Slice(y * stride, 8));
    }

    private static void Column(Span<int> block, int x)
    {
        int c0 = block[x];
        int c1 = block[x + 8];
        int c2 = block[x + 16];
        int c3 = block[x + 24];
        int c4 = block[x + 32];
        int c5 = block[x + 40];
        int c6 = block[x + 48];
        int c7 = block[x + 56];
        if ((c1 | c2 | c3 | c4 | c5 | c6 | c7) == 0)
        {
            int level = Saturate(c0 << PassBits);
            for (int i = x; i < 64; i += 8)
                block[i] = level;
            return;
        }

        const int Shift = ConstantBits - PassBits;
        (int e0, int e1, int e2, int e3) = Even(c0, c2, c4, c6, 1 << (Shift - 1));
        (int o0, int o1, int o2, int o3) = Odd(c7, c5, c3, c1);
        block[x] = Saturate((e0 + o3) >> Shift);
        block[x + 56] = Saturate((e0 - o3) >> Shift);
        block[x + 8] = Saturate((e1 + o2) >> Shift);
        block[x + 48] = Saturate((e1 - o2) >> Shift);
        block[x + 16] = Saturate((e2 + o1) >> Shift);
        block[x + 40] = Saturate((e2 - o1) >> Shift);
        block[x + 24] = Saturate((e3 + o0) >> Shift);
        block[x + 32] = Saturate((e3 - o0) >> Shift);
    }

    private static void Row(Span<int> row, Span<byte> samples)
    {
        row = row[..8];
        samples = samples[..8];
        const int Shift = ConstantBits + PassBits + 3;
        (int e0, int e1, int e2, int e3) = Even(row[0], row[2], row[4], row[6], 1 << (Shift - 1));
        (int o0, int o1, int o2, int o3) = Odd(row[7], row[5], row[3], row[1]);
        samples[0] = Level((e0 + o3) >> Shift);
        samples[7] = Level((e0 - o3) >> Shift);
        samples[1] = Level((e1 + o2) >> Shift);
        samples[6] = Level((e1 - o2) >> Shift);
        samples[2] = Level((e2 + o1) >> Shift);
        samples[5] = Level((e2 - o1) >> Shift);
        samples[3] = Level((e3 + o0) >> Shift);
        samples[4] = Level((e3 - o0) >> Shift);
    }

    private static (int E0, int E1, int E2, int E3) Even(int c0, int c2, int c4, int c6, int rounding)
    {
        int z = (c2 + c6) * F0541;
        int t2 = z - (c6 * F1847);
        int t3 = z + (c2 * F0765);
        int t0 = ((short)(c0 + c4) << ConstantBits) + rounding;
        int t1 = ((short)(c0 - c4) << ConstantBits) + rounding;
        return (t0 + t3, t1 + t2, t1 - t2, t0 - t3);
    }

    private static (int O0, int O1, int O2, int O3) Odd(int c7, int c5, int c3, int c1)
    {
        int sum73 = (short)(c7 + c3);
        int sum51 = (short)(c5 + c1);
        int z5 = (sum73 + sum51) * F1175;
        int z1 = (c7 + c1) * -F0899;
        int z2 = (c5 + c3) * -F2562;
        int z3 = z5 - (sum73 * F1961);
        int z4 = z5 - (sum51 * F0390);
        return ((c7 * F0298) + z1 + z3, (c5 * F2053) + z2 + z4, (c3 * F3072) + z2 + z3, (c1 * F1501) + z1 + z4);
    }

    private static int Saturate(int value) => Math.Clamp(value, short.MinValue, short.MaxValue);

    private static byte Level(int value) => (byte)Math.Clamp(value + 128, 0, 255);
}
