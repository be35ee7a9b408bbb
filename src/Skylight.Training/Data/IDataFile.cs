namespace Skylight.Training.Data;

/// <summary>A file of rows.</summary>
internal interface IDataFile : IDisposable
{
    /// <summary>The file.</summary>
    string FilePath { get; }

    /// <summary>Its rows.</summary>
    long Count { get; }

    /// <summary>The rows of each group that is read at once; empty where every row is read alone.</summary>
    IReadOnlyList<long> GroupRows { get; }

    /// <summary>The bytes that the largest group takes in memory; 0 where every row is read alone.</summary>
    long LargestGroupBytes { get; }

    /// <summary>What errors call a row: its line or its number, both from 1.</summary>
    RowPlace PlaceOf(long row);

    /// <summary>Reads a row. Safe for use by several threads.</summary>
    /// <param name="row">From 0.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <exception cref="InvalidDataException">The row cannot be read; says why.</exception>
    /// <exception cref="IOException">The file cannot be read any more.</exception>
    ValueTask<StructValue> ReadAsync(long row, CancellationToken cancellationToken);
}

/// <summary>Where a row stands.</summary>
/// <param name="Number">Its line (JSONL) or its row (Parquet), from 1.</param>
/// <param name="Unit">"line" or "row".</param>
internal readonly record struct RowPlace(long Number, string Unit);
