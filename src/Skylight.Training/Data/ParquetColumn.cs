using System.Globalization;
using Parquet.Data;

namespace Skylight.Training.Data;

/// <summary>A node of a Parquet schema with its levels.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Path">Its place in the file, names joined by slashes.</param>
/// <param name="IsRepeated">Whether it may come several times.</param>
/// <param name="IsList">Whether it is annotated as a list or a map, of which its one child is the element.</param>
/// <param name="Definition">How many of the nodes down to this one may be absent and are there.</param>
/// <param name="Repetition">How many of them are repeated.</param>
/// <param name="Children">What it consists of; none of a leaf.</param>
/// <param name="Leaf">The number of the leaf; -1 of a group.</param>
internal sealed record ParquetNode(string Name, string Path, bool IsRepeated, bool IsList, int Definition, int Repetition, IReadOnlyList<ParquetNode> Children, int Leaf);

/// <summary>The values of a leaf in a row group, and where those of each row begin.</summary>
internal sealed class ParquetLeaf : IDisposable
{
    private readonly RawColumnData? _data;
    private readonly Func<int, DataValue>? _value;
    private readonly int[]? _entryOfRow;
    private readonly int[]? _valueOfRow;
    private readonly int _definition;
    private int _entry, _end, _next;

    /// <summary>Wraps what was read; belongs to this from now on.</summary>
    public ParquetLeaf(ParquetNode node, RawColumnData data, int rows)
    {
        (_data, _definition) = (data, node.Definition);
        _value = Reader(data);
        if (_value is null)
            Fault = "its type is not supported";
        if (node.Definition == 0)
            return;
        ReadOnlySpan<int> definitions = data.DefinitionLevels;
        ReadOnlySpan<int> repetitions = node.Repetition > 0 ? data.RepetitionLevels : [];
        _entryOfRow = new int[rows + 1];
        _valueOfRow = new int[rows + 1];
        int row = 0, values = 0;
        for (int entry = 0; entry < definitions.Length; entry++)
        {
            if (repetitions.IsEmpty || repetitions[entry] == 0)
            {
                if (row == rows)
                    throw new InvalidDataException("has more rows than its row group");
                (_entryOfRow[row], _valueOfRow[row]) = (entry, values);
                row++;
            }
            else if (row == 0)
            {
                throw new InvalidDataException("begins in the middle of a row");
            }

            values += definitions[entry] == _definition ? 1 : 0;
        }

        if (row != rows)
            throw new InvalidDataException("has fewer rows than its row group");
        _entryOfRow[rows] = definitions.Length;
        _valueOfRow[rows] = values;
    }

    /// <summary>A leaf that cannot be read.</summary>
    public ParquetLeaf(string fault) => Fault = fault;

    /// <summary>Why it cannot be read; null if it can.</summary>
    public string? Fault { get; }

    /// <summary>How many of the nodes above the next entry are there.</summary>
    public int DefinitionLevel => _entryOfRow is null ? 0 : _entry < _end ? _data!.DefinitionLevels[_entry] : throw new InvalidDataException("ends in the middle of a row");

    /// <summary>Which list the next entry goes on with; 0 for none, also at the end of the row.</summary>
    public int RepetitionLevel => _entry < _end && _entry > 0 ? _data!.RepetitionLevels[_entry] : 0;

    /// <summary>Goes to a row.</summary>
    public void Seek(int row)
    {
        if (Fault is not null)
            return;
        (_entry, _end, _next) = _entryOfRow is null ? (row, row + 1, row) : (_entryOfRow[row], _entryOfRow[row + 1], _valueOfRow![row]);
    }

    /// <summary>Takes the next entry; null where nothing is there.</summary>
    public DataValue? Take()
    {
        bool isThere = _entryOfRow is null || DefinitionLevel == _definition;
        _entry++;
        return isThere ? _value!(_next++) : null;
    }

    /// <inheritdoc/>
    public void Dispose() => _data?.Dispose();

    private static Func<int, DataValue>? Reader(RawColumnData data) => data switch
    {
        RawColumnData<ReadOnlyMemory<char>> text => at => new TextValue(text.Values[at].ToString()),
        RawColumnData<ReadOnlyMemory<byte>> bytes => at => new BytesValue(bytes.Values[at].ToArray()),
        RawColumnData<bool> boolean => at => new BooleanValue(boolean.Values[at]),
        RawColumnData<int> number => Number(number),
        RawColumnData<long> number => Number(number),
        RawColumnData<double> number => Number(number),
        RawColumnData<float> number => Number(number),
        RawColumnData<short> number => Number(number),
        RawColumnData<ushort> number => Number(number),
        RawColumnData<sbyte> number => Number(number),
        RawColumnData<byte> number => Number(number),
        RawColumnData<uint> number => Number(number),
        RawColumnData<ulong> number => Number(number),
        RawColumnData<decimal> number => Number(number),
        RawColumnData<BigDecimal> number => at => new NumberValue(number.Values[at].ToString()),
        RawColumnData<Guid> guid => at => new TextValue(guid.Values[at].ToString()),
        RawColumnData<DateTime> time => at => new TextValue(time.Values[at].ToString("yyyy-MM-ddTHH:mm:ss.FFFFFFF", CultureInfo.InvariantCulture)),
        RawColumnData<DateOnly> day => at => new TextValue(day.Values[at].ToString("yyyy-MM-dd", CultureInfo.InvariantCulture)),
        RawColumnData<TimeSpan> time => at => new TextValue(time.Values[at].ToString("c", CultureInfo.InvariantCulture)),
        RawColumnData<TimeOnly> time => at => new TextValue(time.Values[at].ToString("HH:mm:ss.FFFFFFF", CultureInfo.InvariantCulture)),
        _ => null,
    };

    private static Func<int, DataValue> Number<T>(RawColumnData<T> data)
        where T : struct, IFormattable => at => new NumberValue(data.Values[at].ToString(null, CultureInfo.InvariantCulture));
}
