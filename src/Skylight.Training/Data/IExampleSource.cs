namespace Skylight.Training.Data;

/// <summary>Examples that are read one by one, in any order. Safe for use by several threads.</summary>
public interface IExampleSource
{
    /// <summary>How many there are, bad ones included.</summary>
    long Count { get; }

    /// <summary>
    /// The rows of each group that is read at once (Parquet's row groups), in order; empty where every row is as cheap
    /// as another.
    /// </summary>
    IReadOnlyList<long> GroupRows { get; }

    /// <summary>How many groups may be shuffled together without being read twice.</summary>
    int GroupsAtOnce { get; }

    /// <summary>Reads an example.</summary>
    /// <param name="row">Which one, from 0.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <exception cref="BadRowException">The row cannot be used; says where it is and why.</exception>
    /// <exception cref="IOException">The file cannot be read any more.</exception>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    ValueTask<TrainingExample> ReadAsync(long row, CancellationToken cancellationToken = default);
}
