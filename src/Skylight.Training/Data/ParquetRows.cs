using Microsoft.Win32.SafeHandles;
using Parquet;
using Parquet.Meta;
using Parquet.Schema;

namespace Skylight.Training.Data;

/// <summary>
/// A Parquet file. In memory are its footer and a few row groups, which it shares with others in a
/// <see cref="ParquetGroupCache"/>.
/// </summary>
internal sealed class ParquetRows : IDataFile
{
    private readonly SafeFileHandle _handle;
    private readonly ParquetReader _reader;
    private readonly ParquetGroupCache _cache;
    private readonly ParquetNode[] _columns;
    private readonly DataField[] _fields;
    private readonly ParquetNode[] _leaves;
    private readonly long[] _firstRows;

    private ParquetRows(string path, SafeFileHandle handle, ParquetReader reader, IReadOnlyList<bool> areTexts,
        ParquetGroupCache cache)
    {
        (FilePath, _handle, _reader, _cache) = (path, handle, reader, cache);
        FileMetaData footer = reader.Metadata ?? throw new InvalidDataException("it has no footer");
        var leaves = new List<ParquetNode>();
        int at = 1;
        _columns = Children(footer.Schema, areTexts, ref at, footer.Schema[0].NumChildren ?? 0, null, leaves);
        _leaves = [.. leaves];
        Dictionary<string, DataField> fields = reader.Schema.DataFields.ToDictionary(
            field => string.Join('/', field.Path.ToList()), StringComparer.Ordinal);
        _fields = [.. leaves.Select(leaf => fields.GetValueOrDefault(leaf.Path)
            ?? throw new InvalidDataException($"its column '{leaf.Path}' is of a kind that is not supported"))];
        GroupRows = [.. footer.RowGroups.Select(group => group.NumRows)];
        _firstRows = new long[GroupRows.Count];
        foreach ((int index, RowGroup group) in footer.RowGroups.Index())
        {
            if (group.NumRows is < 0 or > int.MaxValue)
                throw new InvalidDataException($"its row group {index + 1} claims {group.NumRows:N0} rows");
            _firstRows[index] = Count;
            Count += group.NumRows;
            LargestGroupBytes = Math.Max(LargestGroupBytes, group.TotalByteSize);
        }
    }

    /// <inheritdoc/>
    public string FilePath { get; }

    /// <inheritdoc/>
    public long Count { get; }

    /// <inheritdoc/>
    public IReadOnlyList<long> GroupRows { get; }

    /// <inheritdoc/>
    public long LargestGroupBytes { get; }

    /// <summary>Reads the footer.</summary>
    /// <param name="path">The file.</param>
    /// <param name="handle">The file, open; closed with what is returned.</param>
    /// <param name="cache">Where its row groups are kept.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <exception cref="InvalidDataException">It is not Parquet, or damaged; the end of a sentence.</exception>
    public static async Task<ParquetRows> OpenAsync(string path, SafeFileHandle handle, ParquetGroupCache cache,
        CancellationToken cancellationToken)
    {
        (long at, byte[] footer, IReadOnlyList<bool> areTexts) = ParquetGuard.ReadFooter(handle);
        try
        {
            var stream = new BufferedStream(new OverlaidStream(handle, at, footer));
            ParquetReader reader = await ParquetReader.CreateAsync(stream, cancellationToken: cancellationToken)
                .ConfigureAwait(false);
            return new ParquetRows(path, handle, reader, areTexts, cache);
        }
        catch (Exception exception) when (IsDamage(exception))
        {
            throw new InvalidDataException($"it is damaged, or of a kind that is not supported: {exception.Message}",
                exception);
        }
    }

    /// <inheritdoc/>
    public RowPlace PlaceOf(long row) => new(row + 1, "row");

    /// <inheritdoc/>
    public ValueTask<StructValue> ReadAsync(long row, CancellationToken cancellationToken)
    {
        int group = Array.BinarySearch(_firstRows, row);
        group = group >= 0 ? group : ~group - 1;
        // Of several groups that begin with the same row all but the last are empty.
        while (group + 1 < _firstRows.Length && _firstRows[group + 1] == row)
            group++;
        return _cache.ReadAsync(this, group, (int)(row - _firstRows[group]), cancellationToken);
    }

    /// <summary>Reads a row group; one at a time.</summary>
    /// <param name="group">Its number, from 0.</param>
    /// <param name="mostBytes">The most bytes of memory that it may take.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <exception cref="InvalidDataException">It cannot be read; the end of a sentence.</exception>
    public async Task<ParquetGroup> ReadGroupAsync(int group, long mostBytes, CancellationToken cancellationToken)
    {
        using ParquetRowGroupReader reader = _reader.OpenRowGroupReader(group);
        var leaves = new List<ParquetLeaf>();
        ParquetNode? node = null;
        try
        {
            for (int leaf = 0; leaf < _leaves.Length; leaf++)
            {
                node = _leaves[leaf];
                ColumnChunk chunk = reader.RowGroup.Columns.FirstOrDefault(column => column.MetaData is { } data
                    && string.Join('/', data.PathInSchema) == node.Path)
                    ?? throw new InvalidDataException("is not there");
                ParquetGuard.CheckPages(_handle, chunk, ref mostBytes);
                leaves.Add(await ParquetLeaf.ReadAsync(node, _fields[leaf], checked((int)chunk.MetaData!.NumValues),
                    reader, cancellationToken).ConfigureAwait(false));
            }

            return new ParquetGroup(_columns, [.. leaves]);
        }
        catch (Exception exception) when (IsDamage(exception))
        {
            throw new InvalidDataException(
                $"is in row group {group + 1}, of which column '{node?.Path}' cannot be read: {exception.Message}",
                exception);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _cache.Forget(this);
        _reader.DisposeAsync().AsTask().GetAwaiter().GetResult();
        _handle.Dispose();
    }

    /// <summary>What the library throws when a file is damaged has no one type.</summary>
    private static bool IsDamage(Exception exception) =>
        exception is not (OperationCanceledException or ObjectDisposedException or OutOfMemoryException);

    private static ParquetNode[] Children(List<SchemaElement> schema, IReadOnlyList<bool> areTexts, ref int at,
        int count, ParquetNode? parent, List<ParquetNode> leaves)
    {
        var children = new ParquetNode[count];
        for (int child = 0; child < count; child++)
        {
            bool isText = areTexts[at];
            SchemaElement element = schema[at++];
            bool isRepeated = element.RepetitionType == FieldRepetitionType.REPEATED,
                isOptional = element.RepetitionType == FieldRepetitionType.OPTIONAL;
            var node = new ParquetNode(
                element.Name, parent is null ? element.Name : $"{parent.Path}/{element.Name}", isRepeated, false,
                (parent?.Definition ?? 0) + (isRepeated || isOptional ? 1 : 0),
                (parent?.Repetition ?? 0) + (isRepeated ? 1 : 0), [], -1, isText);
            if (element.NumChildren is > 0 and int below)
            {
                ParquetNode[] inner = Children(schema, areTexts, ref at, below, node, leaves);
                bool isAnnotated = element.LogicalType is { LIST: not null } or { MAP: not null }
                    || element.ConvertedType is ConvertedType.LIST or ConvertedType.MAP or ConvertedType.MAP_KEY_VALUE;
                node = node with
                {
                    Children = inner,
                    IsList = isAnnotated && !isRepeated && inner is [{ IsRepeated: true }],
                };
            }
            else if (element.Type is null)
            {
                throw new InvalidDataException($"its column '{node.Path}' has nothing in it");
            }
            else
            {
                node = node with { Leaf = leaves.Count };
                leaves.Add(node);
            }

            children[child] = node;
        }

        return children;
    }
}

/// <summary>The row groups that were read last, of one or several files.</summary>
/// <param name="mostGroups">How many are kept.</param>
/// <param name="mostGroupBytes">The most bytes of memory that one may take.</param>
internal sealed class ParquetGroupCache(int mostGroups, long mostGroupBytes) : IDisposable
{
    private readonly SemaphoreSlim _gate = new(1);
    // The one used last at the end. Why a group cannot be read is kept as well: it has as many rows as others.
    private readonly List<(ParquetRows File, int Group, ParquetGroup? Rows, InvalidDataException? Fault)> _groups = [];

    /// <summary>How many groups were read.</summary>
    internal long GroupsRead { get; private set; }

    /// <summary>How many are kept.</summary>
    public int MostGroups { get; set; } = mostGroups;

    /// <summary>Reads a row.</summary>
    public async ValueTask<StructValue> ReadAsync(ParquetRows file, int group, int row, CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            int place = _groups.FindIndex(known => known.File == file && known.Group == group);
            if (place < 0)
                await AddAsync(file, group, cancellationToken).ConfigureAwait(false);
            else if (place < _groups.Count - 1)
                MoveToEnd(place);
            (_, _, ParquetGroup? rows, InvalidDataException? fault) = _groups[^1];
            return fault is null ? rows!.Row(row) : throw new InvalidDataException(fault.Message, fault);
        }
        // The columns have fewer values than their levels say.
        catch (Exception exception) when (exception is IndexOutOfRangeException or ArgumentException)
        {
            throw new InvalidDataException($"is in row group {group + 1}, which is damaged: {exception.Message}", exception);
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Drops the groups of a file that is closed.</summary>
    public void Forget(ParquetRows file)
    {
        _gate.Wait();
        try
        {
            _groups.RemoveAll(known => known.File == file);
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _gate.Dispose();

    private void MoveToEnd(int place)
    {
        (ParquetRows File, int Group, ParquetGroup? Rows, InvalidDataException? Fault) group = _groups[place];
        _groups.RemoveAt(place);
        _groups.Add(group);
    }

    private async Task AddAsync(ParquetRows file, int group, CancellationToken cancellationToken)
    {
        while (_groups.Count >= MostGroups)
            _groups.RemoveAt(0);

        GroupsRead++;
        try
        {
            _groups.Add((file, group,
                await file.ReadGroupAsync(group, mostGroupBytes, cancellationToken).ConfigureAwait(false), null));
        }
        catch (InvalidDataException fault)
        {
            _groups.Add((file, group, null, fault));
        }
    }
}
