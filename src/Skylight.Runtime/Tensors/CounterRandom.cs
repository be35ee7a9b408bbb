namespace Skylight.Tensors;

/// <summary>
/// A counter-based random generator: Philox 4×32 with 10 rounds (Salmon et al., "Parallel random numbers: as easy as 1,
/// 2, 3",
/// 2011). Its whole state is seed, stream and counter, so that it can be saved and resumed anywhere, different streams never
/// influence each other, and any device can compute the same numbers.
/// </summary>
/// <remarks>It is a mutable value: pass it by <see langword="ref"/> to a method that draws from it.</remarks>
public struct CounterRandom
{
    /// <summary>
    /// What the counter's first word is multiplied by in every round; with the other constants, for those who compute
    /// many blocks at once.
    /// </summary>
    public const uint Multiplier0 = 0xD2511F53;

    /// <summary>What the counter's third word is multiplied by in every round.</summary>
    public const uint Multiplier1 = 0xCD9E8D57;

    /// <summary>What the first word of the key grows by with every round.</summary>
    public const uint Weyl0 = 0x9E3779B9;

    /// <summary>What the second word of the key grows by with every round.</summary>
    public const uint Weyl1 = 0xBB67AE85;

    private const int Rounds = 10;

    /// <summary>Makes a generator.</summary>
    /// <param name="seed">The seed of the run.</param>
    /// <param name="stream">Which of the seed's independent sequences: one for each purpose, prompt, worker and so
    /// on.</param>
    /// <param name="counter">How many values have been drawn already; 0 for a new generator.</param>
    public CounterRandom(ulong seed, ulong stream, ulong counter = 0)
    {
        Seed = seed;
        Stream = stream;
        Counter = counter;
    }

    /// <summary>The seed of the run.</summary>
    public ulong Seed { get; }

    /// <summary>Which of the seed's independent sequences this is.</summary>
    public ulong Stream { get; }

    /// <summary>How many values have been drawn: every draw, of whatever type, advances it by one.</summary>
    public ulong Counter { get; private set; }

    /// <summary>The next 64 random bits.</summary>
    public ulong NextUInt64()
    {
        // A block gives two values; the counter numbers values, so that no half-used block is part of the state.
        ulong counter = Counter++;
        ulong block = counter >> 1;
        (uint a, uint b, uint c, uint d) = Block(
            ((uint)block, (uint)(block >> 32), (uint)Stream, (uint)(Stream >> 32)), ((uint)Seed, (uint)(Seed >> 32)));
        return (counter & 1) == 0 ? a | ((ulong)b << 32) : c | ((ulong)d << 32);
    }

    /// <summary>A number in [0, 1) with 24 random bits.</summary>
    public float NextSingle() => (NextUInt64() >> 40) * (1f / (1 << 24));

    /// <summary>A number in [0, 1) with 53 random bits.</summary>
    public double NextDouble() => (NextUInt64() >> 11) * (1.0 / (1L << 53));

    /// <summary>A whole number from 0 up to, not including, <paramref name="max"/>.</summary>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="max"/> is not positive.</exception>
    public int Next(int max)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(max);
        // Always one draw: the bias, below max / 2^64, is worth less than a counter that advances evenly.
        return (int)Math.BigMul(NextUInt64(), (ulong)max, out _);
    }

    /// <summary>A whole number from <paramref name="min"/> up to, not including, <paramref name="max"/>.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range is empty.</exception>
    public int Next(int min, int max) => checked(min + Next(max - min));

    /// <summary>Puts the elements into a random order.</summary>
    public void Shuffle<T>(Span<T> elements)
    {
        for (int last = elements.Length - 1; last > 0; last--)
        {
            int other = Next(last + 1);
            (elements[last], elements[other]) = (elements[other], elements[last]);
        }
    }

    /// <summary>One block of the generator: four words from a counter and a key, by ten rounds.</summary>
    public static (uint A, uint B, uint C, uint D) Block((uint A, uint B, uint C, uint D) counter, (uint A, uint B) key)
    {
        for (int round = 0; round < Rounds; round++)
        {
            ulong product0 = (ulong)Multiplier0 * counter.A;
            ulong product1 = (ulong)Multiplier1 * counter.C;
            counter = (
                (uint)(product1 >> 32) ^ counter.B ^ key.A,
                (uint)product1,
                (uint)(product0 >> 32) ^ counter.D ^ key.B,
                (uint)product0);
            key = (key.A + Weyl0, key.B + Weyl1);
        }

        return counter;
    }
}
