using System.Buffers.Binary;
using System.Text.Json;
using Skylight.Tensors;

namespace Skylight.Checkpoints;

/// <summary>
/// The header of a safetensors file: 8 bytes little-endian length, JSON, then the data. Everything that a lying header
/// could say is checked here, so that whoever holds an entry may trust its offsets: every tensor lies inside the file,
/// has the bytes that its type and shape ask for, and the tensors cover the data without overlap and without holes (as
/// the format demands).
/// </summary>
internal sealed class SafetensorsHeader
{
    /// <summary>The limit of the reference implementation.</summary>
    public const long LargestHeader = 100_000_000;

    private const int LargestRank = 32;

    private SafetensorsHeader(IReadOnlyList<SafetensorsEntry> entries, IReadOnlyDictionary<string, string> metadata)
    {
        Entries = entries;
        Metadata = metadata;
    }

    /// <summary>The tensors in the order of their data.</summary>
    public IReadOnlyList<SafetensorsEntry> Entries { get; }

    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Reads and checks a header.</summary>
    /// <param name="file">Named in errors.</param>
    /// <param name="stream">The whole file, at its start; seeking is not needed.</param>
    /// <param name="fileLength">The bytes of the file.</param>
    public static SafetensorsHeader Read(string file, Stream stream, long fileLength)
    {
        Span<byte> start = stackalloc byte[64];
        start = start[..stream.ReadAtLeast(start[..(int)Math.Min(start.Length, fileLength)],
            (int)Math.Min(start.Length, fileLength), throwOnEndOfStream: false)];
        if (start.Length < 8)
        {
            RefuseOtherFormats(file, start);
            throw new CheckpointException(file,
                $"truncated: {fileLength} bytes cannot hold even the header's length. Copy or download the file again.");
        }

        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(start);
        if (length > LargestHeader)
        {
            // Only now: the eight bytes of an honest length may look like text, but eight characters of text are never
            // an honest length.
            RefuseOtherFormats(file, start);
            throw new CheckpointException(file,
                $"the header claims {length} bytes, more than the {LargestHeader} that the format allows. This is no " +
                $"safetensors file, or it is corrupt.");
        }

        if ((long)length > fileLength - 8)
            throw new CheckpointException(file,
                $"truncated: the header claims {length} bytes, but the file has only {fileLength - 8} after its " +
                $"first 8. Copy or download the file again.");

        byte[] json = new byte[length];
        ReadOnlySpan<byte> already = start[8..];
        already = already[..(int)Math.Min((ulong)already.Length, length)];
        already.CopyTo(json);
        if (stream.ReadAtLeast(json.AsSpan(already.Length), json.Length - already.Length,
            throwOnEndOfStream: false) < json.Length - already.Length)
            throw new CheckpointException(file, "truncated while reading the header. Copy or download the file again.");
        return Parse(file, json, 8 + (long)length, fileLength);
    }

    private static SafetensorsHeader Parse(string file, byte[] json, long dataStart, long fileLength)
    {
        if (json.Length == 0 || json[0] != (byte)'{' || Utf8Text.Fault(json) is not null)
            throw new CheckpointException(file,
                "the header is not a JSON object in UTF-8. This is no safetensors file, or it is corrupt.");

        var entries = new List<SafetensorsEntry>();
        IReadOnlyDictionary<string, string> metadata = new Dictionary<string, string>();
        try
        {
            using JsonDocument document = JsonText.Parse(json, maxDepth: 8);
            foreach (JsonProperty property in document.RootElement.EnumerateObject())
            {
                if (property.Name == "__metadata__")
                    metadata = ParseMetadata(file, property.Value);
                else
                    entries.Add(ParseEntry(file, property.Name, property.Value, dataStart));
            }
        }
        catch (JsonException exception)
        {
            throw new CheckpointException(file, $"the header is not valid JSON: {exception.Message}",
                innerException: exception);
        }

        RefuseTruncated(file, entries, fileLength);
        entries.Sort((left, right) => (left.ByteOffset, left.ByteCount).CompareTo((right.ByteOffset, right.ByteCount)));
        CheckCoverage(file, entries, dataStart, fileLength);
        return new SafetensorsHeader(entries, metadata);
    }

    private static Dictionary<string, string> ParseMetadata(string file, JsonElement element)
    {
        if (element.ValueKind != JsonValueKind.Object)
            throw new CheckpointException(file, $"'__metadata__' must be an object of strings, not {Excerpt(element)}.");
        var metadata = new Dictionary<string, string>();
        foreach (JsonProperty property in element.EnumerateObject())
        {
            if (property.Value.ValueKind != JsonValueKind.String)
                throw new CheckpointException(file,
                    $"'__metadata__' must hold strings only, but '{property.Name}' is {Excerpt(property.Value)}.");
            metadata.Add(property.Name, property.Value.GetString()!);
        }

        return metadata;
    }

    private static SafetensorsEntry ParseEntry(string file, string name, JsonElement element, long dataStart)
    {
        if (element.ValueKind != JsonValueKind.Object)
            throw new CheckpointException(file,
                $"its header entry must be an object with dtype, shape and data_offsets, not {Excerpt(element)}.", name);

        StoredType type = ParseType(file, name, element);
        (Shape shape, long bytes) = ParseShape(file, name, element, type);
        (long begin, long end) = ParseOffsets(file, name, element);
        if (begin > end)
            throw new CheckpointException(file, $"data_offsets [{begin}, {end}] run backwards. The file is corrupt.", name);
        if (end > long.MaxValue - dataStart)
            throw new CheckpointException(file,
                $"data_offsets [{begin}, {end}] lie outside the file: no file is that long. It is corrupt.", name);
        if (end - begin != bytes)
            throw new CheckpointException(file,
                $"{type.HeaderName()} {shape} takes {bytes} bytes, but data_offsets [{begin}, {end}] give it " +
                $"{end - begin}. The file is corrupt.", name);
        return new SafetensorsEntry(name, type, shape, dataStart + begin, bytes);
    }

    private static StoredType ParseType(string file, string name, JsonElement element)
    {
        if (!element.TryGetProperty("dtype", out JsonElement value) || value.ValueKind != JsonValueKind.String)
            throw new CheckpointException(file, "its header entry has no dtype.", name);
        string dtype = value.GetString()!;
        if (!StoredTypes.TryParse(dtype, out StoredType type))
        {
            string hint = dtype.StartsWith("F8", StringComparison.Ordinal) || dtype is "I8" or "U16" or "U32" or "U64"
                ? " Of quantised checkpoints AWQ, GPTQ, FP8 (E4M3) and NF4 are supported, of this form the bfloat16 one." : "";
            throw new CheckpointException(file,
                $"dtype '{dtype}' is not supported; supported are {StoredTypes.Supported}.{hint}", name);
        }

        return type;
    }

    private static (Shape Shape, long Bytes) ParseShape(string file, string name, JsonElement element, StoredType type)
    {
        if (!element.TryGetProperty("shape", out JsonElement value) || value.ValueKind != JsonValueKind.Array)
            throw new CheckpointException(file, "its header entry has no shape.", name);
        int rank = value.GetArrayLength();
        if (rank > LargestRank)
            throw new CheckpointException(file, $"its shape has {rank} extents; at most {LargestRank} are supported.", name);

        int[] dimensions = new int[rank];
        long bytes = type.Size();
        for (int axis = 0; axis < rank; axis++)
        {
            JsonElement extent = value[axis];
            if (extent.ValueKind != JsonValueKind.Number || !extent.TryGetInt32(out dimensions[axis])
                || dimensions[axis] < 0)
                throw new CheckpointException(file,
                    $"its shape holds {Excerpt(extent)}; an extent is a whole number from 0 to {int.MaxValue}.", name);
            // Also where a later extent is 0: the product up to here must be representable, as in the reference
            // implementation.
            Int128 product = (Int128)bytes * dimensions[axis];
            if (product > long.MaxValue)
                throw new CheckpointException(file, $"its shape {Excerpt(value)} has more bytes than any file.", name);
            bytes = (long)product;
        }

        return (new Shape(dimensions), bytes);
    }

    private static (long Begin, long End) ParseOffsets(string file, string name, JsonElement element)
    {
        if (!element.TryGetProperty("data_offsets", out JsonElement value) || value.ValueKind != JsonValueKind.Array
            || value.GetArrayLength() != 2
            || value[0].ValueKind != JsonValueKind.Number || !value[0].TryGetInt64(out long begin) || begin < 0
            || value[1].ValueKind != JsonValueKind.Number || !value[1].TryGetInt64(out long end) || end < 0)
        {
            throw new CheckpointException(file,
                "its header entry needs data_offsets: two whole numbers, none negative.", name);
        }

        return (begin, end);
    }

    /// <summary>A download that broke off leaves the header whole and the data short.</summary>
    private static void RefuseTruncated(string file, List<SafetensorsEntry> entries, long fileLength)
    {
        if (entries.Find(entry => entry.ByteOffset + entry.ByteCount > fileLength) is not { } first)
            return;
        long expected = entries.Max(entry => entry.ByteOffset + entry.ByteCount);
        throw new CheckpointException(file,
            $"its data lie outside the file. By its header the file has {expected} bytes, but {fileLength} are " +
            $"there: it is truncated (a download that broke off?) or corrupt. Copy or download it again.", first.Name);
    }

    private static void CheckCoverage(string file, List<SafetensorsEntry> entries, long dataStart, long fileLength)
    {
        long covered = dataStart;
        string? previous = null;
        foreach (SafetensorsEntry entry in entries)
        {
            if (entry.ByteOffset < covered)
                throw new CheckpointException(file,
                    $"its data overlaps that of tensor '{previous}'. The file is corrupt.", entry.Name);
            if (entry.ByteOffset > covered)
                throw new CheckpointException(file,
                    $"{entry.ByteOffset - covered} bytes before its data belong to no tensor, which the format " +
                    $"forbids. The file is corrupt.", entry.Name);
            covered = entry.ByteOffset + entry.ByteCount;
            previous = entry.Name;
        }

        if (covered != fileLength)
            throw new CheckpointException(file,
                $"{fileLength - covered} bytes at the end belong to no tensor, which the format forbids. The file " +
                $"is corrupt.");
    }

    private static void RefuseOtherFormats(string file, ReadOnlySpan<byte> start)
    {
        FileFaults.RefuseEmptyOrPointer(file, start, start.Length);
        if (start.TrimStart(" \t\r\n\uFEFF"u8).StartsWith("<"u8))
            throw new CheckpointException(file,
                "this is a web page or XML, not a safetensors file: a download that went wrong. Download it again.");
        if (start.StartsWith("PK\x03\x04"u8))
            throw new CheckpointException(file,
                "this is a zip archive (PyTorch's own format?), not a safetensors file. Convert it to safetensors.");
    }

    private static string Excerpt(JsonElement element)
    {
        string text = element.GetRawText();
        return text.Length <= 80 ? text : text[..80] + "…";
    }
}
