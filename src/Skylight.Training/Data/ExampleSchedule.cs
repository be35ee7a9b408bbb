using Skylight.Tensors;

namespace Skylight.Training.Data;

/// <summary>A source and its share of a run.</summary>
/// <param name="Source">The examples.</param>
/// <param name="Weight">
/// Its share beside the weights of the others, whatever their sizes; null where shares follow the sizes, so that an
/// epoch has every example once. Either all sources have a weight or none.
/// </param>
public sealed record WeightedSource(IExampleSource Source, double? Weight = null);

/// <summary>Where an example of a run comes from.</summary>
/// <param name="Source">Which source.</param>
/// <param name="Row">Which of its rows.</param>
/// <param name="Epoch">How often the whole source was gone through before.</param>
public readonly record struct ExamplePlace(int Source, long Row, long Epoch);

/// <summary>
/// The order of a run's examples. The k-th follows from the seed and k alone, so that a run that is resumed needs k and
/// nothing else. Sources take turns in fixed proportion; each is shuffled anew in every epoch: row by row, or, where
/// rows are read in groups, the groups and then the rows of a few groups together, so that none is read twice. Safe for
/// use by several threads.
/// </summary>
public sealed class ExampleSchedule
{
    // Weights as whole numbers, so that shares stay exact however long a run is.
    private const double WeightUnits = 1 << 20;

    private readonly WeightedSource[] _sources;
    private readonly long[] _weights;
    private readonly GroupOrder?[] _orders;
    private readonly ulong _seed;
    private readonly bool _shuffle;
    private readonly Lock _gate = new();

    /// <summary>Makes an order.</summary>
    /// <param name="sources">The sources.</param>
    /// <param name="seed">The order follows from it.</param>
    /// <param name="shuffle">Whether rows are shuffled; otherwise every source is read as it stands.</param>
    /// <exception cref="ArgumentException">There is none, one has no examples, or weights are out of range or
    /// missing.</exception>
    public ExampleSchedule(IReadOnlyList<WeightedSource> sources, ulong seed, bool shuffle = true)
    {
        ArgumentNullException.ThrowIfNull(sources);
        if (sources.Count == 0)
            throw new ArgumentException("There is no data to take examples from.");
        if (sources.Any(source => source.Source.Count == 0))
            throw new ArgumentException("A source of examples has none.");
        int weighted = sources.Count(source => source.Weight is not null);
        if (weighted > 0 && weighted < sources.Count)
            throw new ArgumentException(
                $"{weighted} of {sources.Count} sources have a weight; give all of them one, or none.");
        if (sources.FirstOrDefault(source => source.Weight is { } weight && !(weight >= 1e-3 && weight <= 1e6)) is { } wrong)
            throw new ArgumentException(
                $"A weight must be from 0.001 to 1,000,000, not {wrong.Weight}; leave a source out that is not to be used.");
        (_sources, _seed, _shuffle) = ([.. sources], seed, shuffle);
        _weights = [.. sources.Select(source => source.Weight is { } weight ? (long)Math.Round(weight * WeightUnits)
            : source.Source.Count)];
        _orders = new GroupOrder?[sources.Count];
    }

    /// <summary>The examples of all sources together. Without weights an epoch is as long.</summary>
    public long Count => _sources.Sum(source => source.Source.Count);

    /// <summary>Where the k-th example comes from.</summary>
    /// <param name="index">k, from 0.</param>
    public ExamplePlace At(long index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        (int first, int count) = (0, _sources.Length);
        // Sources are halved again and again; each half gets its share of the turns, and the turn's number among them.
        while (count > 1)
        {
            int left = count / 2;
            (Int128 leftWeight, Int128 all) = (Sum(first, left), Sum(first, count));
            long before = Turns(index, leftWeight, all);
            bool isLeft = Turns(index + 1, leftWeight, all) > before;
            (index, first, count) = isLeft ? (before, first, left) : (index - before, first + left, count - left);
        }

        IExampleSource source = _sources[first].Source;
        (long epoch, long place) = Math.DivRem(index, source.Count);
        return new ExamplePlace(first, _shuffle ? Row(first, source, epoch, place) : place, epoch);
    }

    /// <summary>Reads the k-th example.</summary>
    /// <param name="index">k, from 0.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <exception cref="BadRowException">It cannot be used.</exception>
    public ValueTask<TrainingExample> ReadAsync(long index, CancellationToken cancellationToken = default)
    {
        ExamplePlace place = At(index);
        return _sources[place.Source].Source.ReadAsync(place.Row, cancellationToken);
    }

    /// <summary>Reads the k-th example or, where it cannot be used, the first after it that can.</summary>
    /// <param name="index">k, from 0.</param>
    /// <param name="badRows">Gets those that cannot be used.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <returns>The example, and the k with which to go on.</returns>
    /// <exception cref="InvalidDataException">There were more of them than may be, or nothing else.</exception>
    public async ValueTask<(TrainingExample Example, long Next)> NextAsync(long index, BadRows badRows,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(badRows);
        for (long end = index + 2 * Count; index < end; index++)
        {
            try
            {
                return (await ReadAsync(index, cancellationToken).ConfigureAwait(false), index + 1);
            }
            catch (BadRowException exception)
            {
                badRows.Add(exception.Row);
                badRows.ThrowIfOverLimit();
            }
        }

        throw new InvalidDataException($"No row of the data can be used: {badRows.Rows.FirstOrDefault()}");
    }

    /// <summary>How many of the first turns a part of the weight gets: as near to its share as whole numbers are.</summary>
    private static long Turns(long turns, Int128 weight, Int128 all) => (long)((turns * weight + all / 2) / all);

    private Int128 Sum(int first, int count)
    {
        Int128 sum = 0;
        for (int source = first; source < first + count; source++)
            sum += _weights[source];
        return sum;
    }

    private long Row(int number, IExampleSource source, long epoch, long place)
    {
        // A key for each source and epoch, and beside it room for what else is drawn from the seed.
        ulong key = new CounterRandom(_seed, ((ulong)(uint)number << 32) | 0xDA7A, (ulong)epoch).NextUInt64();
        if (source.GroupRows.Count == 0)
            return Shuffle.At(place, source.Count, key);
        GroupOrder? order;
        lock (_gate)
        {
            order = _orders[number];
            if (order?.Epoch != epoch)
                order = _orders[number] = new GroupOrder(source, epoch, key);
        }

        return order.At(place);
    }

    /// <summary>The order of a source whose rows are read in groups, in one epoch.</summary>
    private sealed class GroupOrder
    {
        private readonly long[] _firstRows;
        private readonly int[] _groups;
        // Where each group of the shuffled order begins, the end after the last.
        private readonly long[] _starts;
        private readonly int _atOnce;
        private readonly ulong _key;

        public GroupOrder(IExampleSource source, long epoch, ulong key)
        {
            (Epoch, _atOnce, _key) = (epoch, Math.Max(1, source.GroupsAtOnce), key);
            int count = source.GroupRows.Count;
            _firstRows = new long[count + 1];
            for (int group = 0; group < count; group++)
                _firstRows[group + 1] = _firstRows[group] + source.GroupRows[group];
            _groups = [.. Enumerable.Range(0, count).Select(group => (int)Shuffle.At(group, count, key))];
            _starts = new long[count + 1];
            for (int group = 0; group < count; group++)
                _starts[group + 1] = _starts[group] + source.GroupRows[_groups[group]];
        }

        public long Epoch { get; }

        public long At(long place)
        {
            int first = GroupAt(place) / _atOnce * _atOnce;
            long start = _starts[first], end = _starts[Math.Min(first + _atOnce, _groups.Length)];
            // The rows of these groups one after the other, shuffled.
            long mixed = start + Shuffle.At(place - start, end - start, _key + (ulong)first + 1);
            int group = GroupAt(mixed);
            return _firstRows[_groups[group]] + mixed - _starts[group];
        }

        private int GroupAt(long place)
        {
            int at = Array.BinarySearch(_starts, place);
            at = at >= 0 ? at : ~at - 1;
            while (at + 1 < _groups.Length && _starts[at + 1] == place)
                at++;
            return at;
        }
    }
}

/// <summary>
/// A permutation of the numbers below n of which any place is found without the others: the swap-or-not shuffle (Hoang,
/// Morris and Rogaway, "An enciphering scheme based on a card shuffle", 2012).
/// </summary>
internal static class Shuffle
{
    /// <summary>What comes to a place.</summary>
    /// <param name="place">The place, from 0.</param>
    /// <param name="count">How many numbers there are.</param>
    /// <param name="key">The permutation follows from it.</param>
    public static long At(long place, long count, ulong key)
    {
        if (count < 2)
            return place;
        ulong size = (ulong)count, number = (ulong)place;
        // Six rounds for each bit mix well; few numbers need more.
        int rounds = 6 * (64 - System.Numerics.BitOperations.LeadingZeroCount(size)) + 12;
        for (int round = 0; round < rounds; round++)
        {
            ulong partner = (new CounterRandom(key, (ulong)round).NextUInt64() % size + size - number) % size;
            if ((new CounterRandom(key, ((ulong)round << 32) | 1, Math.Max(number, partner)).NextUInt64() & 1) != 0)
                number = partner;
        }

        return (long)number;
    }
}
