using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Skylight.Tensors;

namespace Skylight.Models;

/// <summary>
/// Normal numbers of <see cref="CounterRandom"/> by Box–Muller, each from the two draws of one block of the generator:
/// number i of a stream depends on nothing but seed, stream and i. Eight at a time; the same bits on every machine up
/// to the last place of log and cos.
/// </summary>
internal static class NormalNumbers
{
    private const int Width = 8;
    private const int Rounds = 10;

    /// <summary>Fills a span with numbers first, first + 1, … of a stream.</summary>
    public static void Fill(Span<float> destination, float deviation, ulong seed, ulong stream, long first)
    {
        int index = 0;
        Span<float> eight = stackalloc float[Width];
        for (; index < destination.Length; index += Width)
        {
            (Vector512<ulong> radius, Vector512<ulong> angle) = Draw(seed, stream, (ulong)(first + index));
            // 24 bits each, as NextSingle has them.
            Vector512<double> one = Vector512.Create(1.0), unit = Vector512.Create(1.0 / (1 << 24));
            Vector512<double> length = Vector512.Sqrt(
                Vector512.Create(-2.0) * Vector512.Log(one - Vector512.ConvertToDouble(radius) * unit));
            Vector512<double> normal = Vector512.Create((double)deviation) * length
                * Vector512.Cos(Vector512.Create(2 * Math.PI) * (Vector512.ConvertToDouble(angle) * unit));
            Vector256<float> result = Vector256.Narrow(normal.GetLower(), normal.GetUpper());
            if (destination.Length - index >= Width)
            {
                result.CopyTo(destination[index..]);
            }
            else
            {
                result.CopyTo(eight);
                eight[..(destination.Length - index)].CopyTo(destination[index..]);
            }
        }
    }

    /// <summary>
    /// The upper 24 bits of both draws of eight successive blocks: <see cref="CounterRandom.Block"/>, a block to a
    /// lane.
    /// </summary>
    private static (Vector512<ulong> First, Vector512<ulong> Second) Draw(ulong seed, ulong stream, ulong block)
    {
        Vector512<ulong> low = Vector512.Create(0xFFFF_FFFFUL);
        Vector512<ulong> counter = Vector512.Create(block) + Vector512.Create(0UL, 1, 2, 3, 4, 5, 6, 7);
        Vector512<ulong> a = counter & low, b = counter >>> 32, c = Vector512.Create(stream & 0xFFFF_FFFF),
            d = Vector512.Create(stream >> 32);
        uint key0 = (uint)seed, key1 = (uint)(seed >> 32);
        for (int round = 0; round < Rounds; round++)
        {
            Vector512<ulong> product0 = Multiply(a, CounterRandom.Multiplier0),
                product1 = Multiply(c, CounterRandom.Multiplier1);
            (a, b, c, d) = ((product1 >>> 32) ^ b ^ Vector512.Create((ulong)key0), product1 & low,
                (product0 >>> 32) ^ d ^ Vector512.Create((ulong)key1), product0 & low);
            key0 += CounterRandom.Weyl0;
            key1 += CounterRandom.Weyl1;
        }

        return (b >>> 8, d >>> 8);
    }

    /// <summary>The 64-bit products of numbers below 2³².</summary>
    private static Vector512<ulong> Multiply(Vector512<ulong> values, uint factor) => Avx512F.IsSupported
        ? Avx512F.Multiply(values.AsUInt32(), Vector512.Create((ulong)factor).AsUInt32())
        : Avx2.IsSupported
            ? Vector512.Create(Multiply(values.GetLower(), factor), Multiply(values.GetUpper(), factor))
            : values * factor;

    private static Vector256<ulong> Multiply(Vector256<ulong> values, uint factor) =>
        Avx2.Multiply(values.AsUInt32(), Vector256.Create((ulong)factor).AsUInt32());
}
