using System.Globalization;
using System.Text;
using Parquet;
using Parquet.Data;
using Parquet.Schema;

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
/// <param name="IsText">Whether the bytes of a leaf are a text.</param>
internal sealed record ParquetNode(string Name, string Path, bool IsRepeated, bool IsList, int Definition,
    int Repetition, IReadOnlyList<ParquetNode> Children, int Leaf, bool IsText);

/// <summary>The values of a leaf in a row group, and where those of each row begin.</summary>
internal sealed class ParquetLeaf
{
    private static readonly UTF8Encoding s_strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private readonly Func<int, DataValue>? _value;
    private readonly int[]? _definitions, _repetitions;
    private readonly int[]? _entryOfRow, _valueOfRow;
    private readonly int _definition;
    private int _entry, _end, _next;

    private ParquetLeaf(ParquetNode node, Func<int, DataValue> value, int[]? definitions, int[]? repetitions, int rows)
    {
        (_value, _definitions, _repetitions, _definition) = (value, definitions, repetitions, node.Definition);
        if (definitions is null)
            return;
        _entryOfRow = new int[rows + 1];
        _valueOfRow = new int[rows + 1];
        int row = 0, values = 0;
        for (int entry = 0; entry < definitions.Length; entry++)
        {
            if (repetitions is null || repetitions[entry] == 0)
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

    private ParquetLeaf(string fault) => Fault = fault;

    /// <summary>Why it cannot be read; null if it can.</summary>
    public string? Fault { get; }

    /// <summary>How many of the nodes above the next entry are there.</summary>
    public int DefinitionLevel => _definitions is null ? 0 : _entry < _end ? _definitions[_entry]
        : throw new InvalidDataException("ends in the middle of a row");

    /// <summary>Which list the next entry goes on with; 0 for none, also at the end of the row.</summary>
    public int RepetitionLevel => _entry < _end && _repetitions is not null ? _repetitions[_entry] : 0;

    /// <summary>Reads the leaf of a row group.</summary>
    /// <param name="node">Its node.</param>
    /// <param name="field">What the library calls it.</param>
    /// <param name="count">How many values it has, nulls included.</param>
    /// <param name="group">The row group.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    public static async Task<ParquetLeaf> ReadAsync(ParquetNode node, DataField field, int count,
        ParquetRowGroupReader group, CancellationToken cancellationToken)
    {
        int[]? definitions = node.Definition > 0 ? new int[count] : null,
            repetitions = node.Repetition > 0 ? new int[count] : null;
        Func<int, DataValue>? value;
        try
        {
            value = await ValuesAsync(field.ClrType).ConfigureAwait(false);
        }
        catch (NotSupportedException exception)
        {
            return new ParquetLeaf(exception.Message);
        }

        return value is null ? new ParquetLeaf("its type is not supported")
            : new ParquetLeaf(node, value, definitions, repetitions, (int)group.RowCount);

        // By type, one after the other: a method that is found by its type at run time is not there in a program that
        // was compiled ahead of time.
        async Task<Func<int, DataValue>?> ValuesAsync(Type type)
        {
            if (type == typeof(ReadOnlyMemory<byte>)
                && await ReadAsync<ReadOnlyMemory<byte>>().ConfigureAwait(false) is var bytes)
                return node.IsText ? at => Text(bytes[at].Span, node.Path) : at => new BytesValue(bytes[at].ToArray());
            if (type == typeof(ReadOnlyMemory<char>)
                && await ReadAsync<ReadOnlyMemory<char>>().ConfigureAwait(false) is var texts)
                return at => new TextValue(texts[at].ToString());
            if (type == typeof(bool) && await ReadAsync<bool>().ConfigureAwait(false) is var booleans)
                return at => new BooleanValue(booleans[at]);
            if (type == typeof(int))
                return await NumbersAsync<int>().ConfigureAwait(false);
            if (type == typeof(long))
                return await NumbersAsync<long>().ConfigureAwait(false);
            if (type == typeof(double))
                return await NumbersAsync<double>().ConfigureAwait(false);
            if (type == typeof(float))
                return await NumbersAsync<float>().ConfigureAwait(false);
            if (type == typeof(short))
                return await NumbersAsync<short>().ConfigureAwait(false);
            if (type == typeof(ushort))
                return await NumbersAsync<ushort>().ConfigureAwait(false);
            if (type == typeof(sbyte))
                return await NumbersAsync<sbyte>().ConfigureAwait(false);
            if (type == typeof(byte))
                return await NumbersAsync<byte>().ConfigureAwait(false);
            if (type == typeof(uint))
                return await NumbersAsync<uint>().ConfigureAwait(false);
            if (type == typeof(ulong))
                return await NumbersAsync<ulong>().ConfigureAwait(false);
            if (type == typeof(decimal))
                return await NumbersAsync<decimal>().ConfigureAwait(false);
            if (type == typeof(BigDecimal) && await ReadAsync<BigDecimal>().ConfigureAwait(false) is var decimals)
                return at => new NumberValue(decimals[at].ToString());
            if (type == typeof(DateTime) && await ReadAsync<DateTime>().ConfigureAwait(false) is var times)
                return at => new TextValue(times[at].ToString("yyyy-MM-ddTHH:mm:ss.FFFFFFF", CultureInfo.InvariantCulture));
            if (type == typeof(TimeSpan) && await ReadAsync<TimeSpan>().ConfigureAwait(false) is var spans)
                return at => new TextValue(spans[at].ToString("c", CultureInfo.InvariantCulture));
            return null;
        }

        async Task<Func<int, DataValue>> NumbersAsync<T>()
            where T : struct, IFormattable
        {
            T[] numbers = await ReadAsync<T>().ConfigureAwait(false);
            return at => new NumberValue(numbers[at].ToString(null, CultureInfo.InvariantCulture));
        }

        async Task<T[]> ReadAsync<T>()
            where T : struct
        {
            var values = new T[count];
            await group.ReadRawAsync<T>(field, values, Levels(definitions), Levels(repetitions), cancellationToken)
                .ConfigureAwait(false);
            return values;
        }
    }

    /// <summary>Goes to a row.</summary>
    public void Seek(int row)
    {
        if (Fault is not null)
            return;
        (_entry, _end, _next) = _entryOfRow is null ? (row, row + 1, row)
            : (_entryOfRow[row], _entryOfRow[row + 1], _valueOfRow![row]);
    }

    /// <summary>Takes the next entry; null where nothing is there.</summary>
    public DataValue? Take()
    {
        bool isThere = _definitions is null || DefinitionLevel == _definition;
        _entry++;
        return isThere ? _value!(_next++) : null;
    }

    // A bare null would become memory without elements.
    private static Memory<int>? Levels(int[]? levels) => levels is null ? default(Memory<int>?) : levels.AsMemory();

    private static TextValue Text(ReadOnlySpan<byte> utf8, string column)
    {
        try
        {
            return new TextValue(s_strict.GetString(utf8));
        }
        catch (DecoderFallbackException exception)
        {
            throw new InvalidDataException($"has a text in '{column}' that is not UTF-8.", exception);
        }
    }
}
