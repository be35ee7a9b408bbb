using Skylight.Training.Data;

namespace Skylight.Tests.Training.Data;

public sealed class ExampleScheduleTests
{
    [Fact]
    public void Every_epoch_has_every_row_once_in_an_order_of_its_own()
    {
        var schedule = new ExampleSchedule(
            [new(new Numbers(100)), new(new Numbers(37)), new(new Numbers(1)), new(new Numbers(1000))], seed: 5);
        ExamplePlace[] first = [.. Places(schedule, 0, 1138)], second = [.. Places(schedule, 1138, 1138)];
        Assert.Equal(1138, first.Distinct().Count());
        Assert.All(first, place => Assert.Equal(0, place.Epoch));
        Assert.All(second, place => Assert.Equal(1, place.Epoch));
        Assert.Equal(first.Select(place => (place.Source, place.Row)).Order(),
            second.Select(place => (place.Source, place.Row)).Order());
        Assert.NotEqual(first.Where(place => place.Source == 0).Select(place => place.Row),
            second.Where(place => place.Source == 0).Select(place => place.Row));
        // Sources take turns: of any hundred in a row, one in eleven or so is of the first.
        Assert.All(first.Chunk(100).SkipLast(1), chunk => Assert.InRange(chunk.Count(place => place.Source == 0), 8, 10));
    }

    [Fact]
    public void The_order_follows_from_seed_and_number_alone()
    {
        ExampleSchedule Make(ulong seed) => new([new(new Numbers(50, 7)), new(new Numbers(20))], seed);
        ExampleSchedule forward = Make(1), backward = Make(1);
        ExamplePlace[] places = [.. Places(forward, 0, 300)];
        Assert.Equal(places, Enumerable.Range(0, 300).Reverse().Select(index => backward.At(index)).Reverse());
        Assert.NotEqual(places, Places(Make(2), 0, 300));
    }

    [Fact]
    public void Weights_are_shares_whatever_the_sizes()
    {
        var schedule = new ExampleSchedule(
            [new(new Numbers(10), 1), new(new Numbers(1000), 2), new(new Numbers(5), 0.5)], seed: 1);
        int[] counts = new int[3];
        foreach (ExamplePlace place in Places(schedule, 0, 3500))
            counts[place.Source]++;
        Assert.Equal([1000, 2000, 500], counts);
        Assert.Equal(99, Places(schedule, 0, 3500).Where(place => place.Source == 0).Max(place => place.Epoch));
        // Also where the numbers are large.
        Assert.Equal(1000, Places(schedule, 3_500_000_000_000, 3500).Count(place => place.Source == 0));
    }

    [Fact]
    public void Groups_are_gone_through_a_few_at_a_time()
    {
        var schedule = new ExampleSchedule([new(new Numbers(1000, 50) { GroupsAtOnce = 3 })], seed: 9);
        long[] rows = [.. Places(schedule, 0, 1000).Select(place => place.Row)];
        Assert.Equal(1000, rows.Distinct().Count());
        foreach (long[] window in rows.Chunk(150))
            Assert.InRange(window.Select(row => row / 50).Distinct().Count(), window.Length / 50, 3);
        // Mixed within, and not in the order of the file.
        Assert.True(rows.Take(50).Select(row => row / 50).Distinct().Count() > 1);
        Assert.NotEqual(rows.Order(), rows);
    }

    [Fact]
    public void Without_shuffling_rows_come_as_they_stand()
    {
        var schedule = new ExampleSchedule([new(new Numbers(4, 2))], seed: 9, shuffle: false);
        Assert.Equal([0L, 1L, 2L, 3L, 0L, 1L], Places(schedule, 0, 6).Select(place => place.Row));
    }

    [Fact]
    public void Weights_that_mean_nothing_are_refused()
    {
        var numbers = new Numbers(3);
        Assert.Throws<ArgumentException>(() => new ExampleSchedule([], 1));
        Assert.Throws<ArgumentException>(() => new ExampleSchedule([new(new Numbers(0))], 1));
        Assert.Contains("1 of 2",
            Assert.Throws<ArgumentException>(() => new ExampleSchedule([new(numbers, 1), new(numbers)], 1)).Message,
            StringComparison.Ordinal);
        foreach (double weight in (double[])[0, -1, double.NaN, double.PositiveInfinity])
            Assert.Contains("A weight",
                Assert.Throws<ArgumentException>(() => new ExampleSchedule([new(numbers, weight)], 1)).Message,
                StringComparison.Ordinal);
    }

    /// <summary>
    /// The chi-squared of 24 orders of four numbers, 23 degrees of freedom: below 50 in all but one of a thousand
    /// draws.
    /// </summary>
    [Fact]
    public void All_orders_of_few_numbers_are_as_likely()
    {
        const int draws = 24_000;
        var counts = new Dictionary<string, int>();
        for (ulong key = 0; key < draws; key++)
        {
            string order = string.Concat(Enumerable.Range(0, 4).Select(place => Shuffle.At(place, 4, key)));
            counts[order] = counts.GetValueOrDefault(order) + 1;
        }

        Assert.Equal(24, counts.Count);
        Assert.True(counts.Values.Sum(count => Math.Pow(count - 1000.0, 2) / 1000) < 50);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(1000)]
    [InlineData(4096)]
    public void A_shuffle_is_a_permutation(int count) =>
        Assert.Equal(Enumerable.Range(0, count).Select(place => (long)place),
            Enumerable.Range(0, count).Select(place => Shuffle.At(place, count, 77)).Order());

    private static IEnumerable<ExamplePlace> Places(ExampleSchedule schedule, long first, int count) =>
        Enumerable.Range(0, count).Select(index => schedule.At(first + index));

    private sealed class Numbers(long count, int groupRows = 0) : IExampleSource
    {
        public long Count => count;

        public IReadOnlyList<long> GroupRows { get; } = groupRows == 0 ? []
            : [.. Enumerable.Range(0, (int)(count + groupRows - 1) / groupRows)
                .Select(group => Math.Min(groupRows, count - (long)group * groupRows))];

        public int GroupsAtOnce { get; init; } = 2;

        public ValueTask<TrainingExample> ReadAsync(long row, CancellationToken cancellationToken = default) =>
            ValueTask.FromResult(new TrainingExample($"{row}", []));
    }
}
