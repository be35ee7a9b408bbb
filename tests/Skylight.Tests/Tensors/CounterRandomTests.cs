using Skylight.Tensors;

namespace Skylight.Tests.Tensors;

public class CounterRandomTests
{
    // Known answers of the authors' reference implementation (Random123, kat_vectors, philox4x32 with 10 rounds).
    [Fact]
    public void Blocks_equal_the_known_answers()
    {
        Assert.Equal(
            (0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u),
            CounterRandom.Block((0, 0, 0, 0), (0, 0)));
        Assert.Equal(
            (0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu),
            CounterRandom.Block((~0u, ~0u, ~0u, ~0u), (~0u, ~0u)));
        Assert.Equal(
            (0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u),
            CounterRandom.Block((0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344), (0xa4093822, 0x299f31d0)));
    }

    [Fact]
    public void A_saved_counter_resumes_the_same_sequence()
    {
        var whole = new CounterRandom(seed: 7, stream: 3);
        for (int draw = 0; draw < 13; draw++)
            whole.NextUInt64();

        var resumed = new CounterRandom(whole.Seed, whole.Stream, whole.Counter);
        Assert.Equal(13ul, resumed.Counter);
        for (int draw = 0; draw < 5; draw++)
            Assert.Equal(whole.NextUInt64(), resumed.NextUInt64());
    }

    [Fact]
    public void Seeds_and_streams_give_different_sequences()
    {
        var values = new HashSet<ulong>();
        for (ulong seed = 0; seed < 20; seed++)
        {
            for (ulong stream = 0; stream < 20; stream++)
            {
                var random = new CounterRandom(seed, stream);
                for (int draw = 0; draw < 4; draw++)
                    values.Add(random.NextUInt64());
            }
        }

        Assert.Equal(20 * 20 * 4, values.Count);
    }

    [Fact]
    public void Numbers_are_uniform_and_in_range()
    {
        var random = new CounterRandom(seed: 1, stream: 0);
        var counts = new int[10];
        double sum = 0;
        const int draws = 20_000;
        for (int draw = 0; draw < draws; draw++)
        {
            counts[random.Next(10)]++;
            float number = random.NextSingle();
            Assert.InRange(number, 0f, 0.99999994f);
            sum += number;
            Assert.InRange(random.Next(-3, 4), -3, 3);
        }

        Assert.All(counts, count => Assert.InRange(count, 0.9 * draws / 10, 1.1 * draws / 10));
        Assert.InRange(sum / draws, 0.49, 0.51);
    }

    [Fact]
    public void Shuffling_keeps_the_elements_and_moves_them()
    {
        var random = new CounterRandom(seed: 1, stream: 0);
        int[] elements = [.. Enumerable.Range(0, 50)];
        random.Shuffle<int>(elements);
        Assert.NotEqual(Enumerable.Range(0, 50), elements);
        Assert.Equal(Enumerable.Range(0, 50), elements.Order());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    public void An_empty_range_is_refused(int max) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new CounterRandom(0, 0).Next(max));
}
