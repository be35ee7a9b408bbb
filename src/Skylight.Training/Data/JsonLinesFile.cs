using System.Text.Json;
using Microsoft.Win32.SafeHandles;
using Skylight.Checkpoints;

namespace Skylight.Training.Data;

/// <summary>A JSON object a line. In memory is where each begins, 8 bytes a row.</summary>
internal sealed class JsonLinesFile : IDataFile
{
    /// <summary>Far more than a row with several pictures in base64 has.</summary>
    internal const int MostRowBytes = 256 << 20;

    private const int BlockBytes = 1 << 20;

    private const int MostDepth = 64;

    private readonly SafeFileHandle _handle;
    private readonly long[] _starts;
    private readonly List<(long Row, long BlankLines)> _blanks;

    private JsonLinesFile(string path, SafeFileHandle handle, long[] starts, List<(long Row, long BlankLines)> blanks) =>
        (FilePath, _handle, _starts, _blanks) = (path, handle, starts, blanks);

    /// <inheritdoc/>
    public string FilePath { get; }

    /// <inheritdoc/>
    public long Count => _starts.Length - 1;

    /// <inheritdoc/>
    public IReadOnlyList<long> GroupRows => [];

    /// <inheritdoc/>
    public long LargestGroupBytes => 0;

    /// <summary>Finds where the rows of a file begin.</summary>
    /// <param name="path">The file.</param>
    /// <param name="handle">The file, open; closed with what is returned.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    public static JsonLinesFile Open(string path, SafeFileHandle handle, CancellationToken cancellationToken)
    {
        var starts = new List<long>();
        var blanks = new List<(long Row, long BlankLines)>();
        var buffer = new byte[Math.Clamp(RandomAccess.GetLength(handle), 1 << 10, BlockBytes)];
        // Where the line begins, whether anything stands in it, and lines so far without anything.
        long line = 0, blank = 0, at = 0;
        bool isFilled = false;
        // No further than the file was long: a device has no end.
        long end = RandomAccess.GetLength(handle);
        while (at < end && RandomAccess.Read(handle, buffer.AsSpan(0, (int)Math.Min(buffer.Length, end - at)), at)
            is > 0 and int count)
        {
            cancellationToken.ThrowIfCancellationRequested();
            ReadOnlySpan<byte> block = buffer.AsSpan(0, count);
            int skipped = at == 0 && block.StartsWith("\uFEFF"u8) ? 3 : 0;
            line = at == 0 ? skipped : line;
            for (int start = skipped; start < count;)
            {
                int length = block[start..].IndexOf((byte)'\n');
                isFilled |= (length < 0 ? block[start..] : block.Slice(start, length)).IndexOfAnyExcept(" \t\r\v\f"u8) >= 0;
                if (length < 0)
                    break;
                start += length + 1;
                EndLine(at + start);
            }

            at += count;
        }

        if (isFilled)
            EndLine(at);
        starts.Add(at);
        return new JsonLinesFile(path, handle, [.. starts], blanks);

        void EndLine(long next)
        {
            if (isFilled)
            {
                starts.Add(line);
            }
            else
            {
                blank++;
                if (blanks.Count > 0 && blanks[^1].Row == starts.Count)
                    blanks[^1] = (starts.Count, blank);
                else
                    blanks.Add((starts.Count, blank));
            }

            (line, isFilled) = (next, false);
        }
    }

    /// <inheritdoc/>
    public RowPlace PlaceOf(long row)
    {
        // The last run of blank lines at or before the row.
        (int low, int high) = (0, _blanks.Count);
        while (low < high)
        {
            int middle = (low + high) / 2;
            (low, high) = _blanks[middle].Row <= row ? (middle + 1, high) : (low, middle);
        }

        return new RowPlace(row + 1 + (low > 0 ? _blanks[low - 1].BlankLines : 0), "line");
    }

    /// <inheritdoc/>
    public async ValueTask<StructValue> ReadAsync(long row, CancellationToken cancellationToken)
    {
        (long start, long end) = (_starts[row], _starts[row + 1]);
        if (end - start > MostRowBytes)
            throw new InvalidDataException(
                $"has {end - start:N0} bytes, more than the {MostRowBytes:N0} that a row may have: put its pictures " +
                $"into files of their own.");
        if (RandomAccess.GetLength(_handle) < _starts[^1])
            throw new IOException($"'{FilePath}' has become shorter since it was opened; start again.");
        var bytes = new byte[end - start];
        int count = 0;
        while (count < bytes.Length)
        {
            int read = await RandomAccess.ReadAsync(_handle, bytes.AsMemory(count), start + count, cancellationToken)
                .ConfigureAwait(false);
            if (read == 0)
                throw new IOException($"'{FilePath}' has become shorter since it was opened; start again.");
            count += read;
        }

        return Parse(bytes.AsMemory().TrimEnd(" \t\r\n\v\f"u8.ToArray()));
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();

    private static StructValue Parse(ReadOnlyMemory<byte> line)
    {
        try
        {
            using JsonDocument document = JsonText.Parse(line, MostDepth);
            return Value(document.RootElement) is { } value
                ? value as StructValue ?? throw new InvalidDataException($"is {value.Kind}, but a row is a JSON object.")
                : throw new InvalidDataException("is null, but a row is a JSON object.");
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"is not a JSON object: {JsonText.WithinLine(exception)}", exception);
        }
    }

    private static DataValue? Value(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.String => new TextValue(element.GetString()!),
        JsonValueKind.Number => new NumberValue(element.GetRawText()),
        JsonValueKind.True => new BooleanValue(true),
        JsonValueKind.False => new BooleanValue(false),
        JsonValueKind.Array => new ListValue([.. element.EnumerateArray().Select(Value)]),
        JsonValueKind.Object =>
            new StructValue(
                [.. element.EnumerateObject().Select(field => KeyValuePair.Create(field.Name, Value(field.Value)))]),
        _ => null,
    };
}
