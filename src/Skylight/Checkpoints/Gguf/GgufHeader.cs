using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using Skylight.Tensors;

namespace Skylight.Checkpoints.Gguf;

/// <summary>
/// The header of a GGUF file of version 2 or 3: metadata by key, and where the tensors are. Everything that a lying
/// header could say is checked here, so that whoever holds an entry may trust its offsets.
/// </summary>
internal sealed class GgufHeader
{
    private const int MostKeys = 1 << 16, MostTensors = 1 << 20, MostNesting = 4, MostDimensions = 4,
        LongestName = 1 << 16, DefaultAlignment = 32, MostAlignment = 1 << 24;

    private GgufHeader(GgufMetadata metadata, IReadOnlyList<GgufEntry> entries)
    {
        Metadata = metadata;
        Entries = entries;
    }

    /// <summary>What the file says of the model.</summary>
    public GgufMetadata Metadata { get; }

    /// <summary>The tensors, in the order of their data.</summary>
    public IReadOnlyList<GgufEntry> Entries { get; }

    /// <summary>Reads and checks a header.</summary>
    /// <param name="file">Named in errors.</param>
    /// <param name="stream">The whole file, at its start.</param>
    /// <param name="fileLength">The bytes of the file.</param>
    public static GgufHeader Read(string file, Stream stream, long fileLength)
    {
        var cursor = new GgufCursor(file, stream, fileLength);
        CheckStart(file, cursor);
        ulong tensorCount = cursor.UInt64("the number of tensors"), keyCount = cursor.UInt64("the number of keys");
        // A key takes 13 bytes or more, a tensor 33.
        CheckCount(file, "keys", keyCount, MostKeys, cursor.Remaining / 13);
        CheckCount(file, "tensors", tensorCount, MostTensors, cursor.Remaining / 33);
        var values = new Dictionary<string, GgufValue>(StringComparer.Ordinal);
        for (ulong i = 0; i < keyCount; i++)
        {
            string key = cursor.Name(LongestName, $"the name of key {i}");
            GgufValueType type = ValueType(file, cursor, key);
            if (!values.TryAdd(key, Value(file, cursor, key, type, 0)))
                throw new CheckpointException(file, $"'{key}' is there twice. The file is corrupt.");
        }

        var infos = new List<Info>((int)tensorCount);
        for (ulong i = 0; i < tensorCount; i++)
            infos.Add(ReadInfo(file, cursor, i));
        var metadata = new GgufMetadata(file, cursor.Bytes, values);
        return new GgufHeader(metadata, Place(file, infos, Alignment(metadata), cursor.Position, fileLength));
    }

    private static void CheckStart(string file, GgufCursor cursor)
    {
        if (cursor.Remaining < 24)
        {
            byte[] all = cursor.Take((ulong)cursor.Remaining, "the file").ToArray();
            FileFaults.RefuseEmptyOrPointer(file, all, all.Length);
            throw new CheckpointException(file,
                $"truncated: {all.Length} bytes cannot hold even the beginning of a GGUF file. Copy or download it again.");
        }

        Span<byte> start = stackalloc byte[24];
        cursor.Take(4, "the beginning").CopyTo(start);
        if (!start.StartsWith("GGUF"u8))
        {
            cursor.Take(20, "the beginning").CopyTo(start[4..]);
            FileFaults.RefuseEmptyOrPointer(file, start, start.Length);
            if (start.StartsWith("FUGG"u8))
                throw BigEndian(file);
            throw new CheckpointException(file,
                start.StartsWith("ggml"u8) || start.StartsWith("lmgg"u8) || start.StartsWith("tjgg"u8)
                || start.StartsWith("fmgg"u8)
                ? "this is a file of llama.cpp's formats before GGUF, which are not supported. Convert the model again."
                : "this is no GGUF file: it does not begin with 'GGUF'. A download that went wrong? Download it again.");
        }

        uint version = cursor.UInt32("the version");
        if (version != 0 && (version & 0xFFFF) == 0)
            throw BigEndian(file);
        if (version is not (2 or 3))
            throw new CheckpointException(file,
                $"is GGUF of version {version}; supported: 2 and 3. Convert the model with a current llama.cpp.");

        static CheckpointException BigEndian(string file) => new(file,
            "is big-endian GGUF, which is not supported. Convert it with gguf_convert_endian.py of llama.cpp, or download " +
            "the little-endian file.");
    }

    private static void CheckCount(string file, string what, ulong count, int most, long room)
    {
        if (count > (ulong)most || count > (ulong)room)
            throw new CheckpointException(file,
                $"claims {count} {what}, but {(count > (ulong)most ? $"at most {most} are supported" : $"the bytes that follow hold at most {room}")}. The file is corrupt or truncated.");
    }

    private static GgufValueType ValueType(string file, GgufCursor cursor, string key)
    {
        uint type = cursor.UInt32($"the type of '{key}'");
        return type <= (uint)GgufValueType.Float64 ? (GgufValueType)type
            : throw new CheckpointException(file,
                $"'{key}' has a value of type {type}; supported: 0 to {(int)GgufValueType.Float64}. The file is corrupt.");
    }

    private static GgufValue Value(string file, GgufCursor cursor, string key, GgufValueType type, int depth)
    {
        switch (type)
        {
            case GgufValueType.Text:
                ulong length = cursor.UInt64($"the length of '{key}'");
                int start = cursor.Position;
                cursor.Take(length, $"the text of '{key}'");
                return new GgufValue(type, type, 1, start, (int)length);
            case GgufValueType.Array:
                return ArrayOf(file, cursor, key, depth);
            default:
                start = cursor.Position;
                ReadOnlySpan<byte> bytes = cursor.Take((ulong)Size(type), $"the value of '{key}'");
                if (type == GgufValueType.Boolean && bytes[0] > 1)
                    throw new CheckpointException(file,
                        $"'{key}' is a boolean of {bytes[0]}; supported: 0 and 1. The file is corrupt.");
                return new GgufValue(type, type, 1, start, Size(type));
        }
    }

    private static GgufValue ArrayOf(string file, GgufCursor cursor, string key, int depth)
    {
        if (depth == MostNesting)
            throw new CheckpointException(file,
                $"'{key}' has lists within lists, more than {MostNesting} deep, which is not supported.");
        GgufValueType element = ValueType(file, cursor, key);
        ulong count = cursor.UInt64($"the number of elements of '{key}'");
        int least = element switch { GgufValueType.Text => 8, GgufValueType.Array => 12, _ => Size(element) };
        CheckCount(file, $"elements of '{key}'", count, int.MaxValue, cursor.Remaining / least);
        int start = cursor.Position;
        if (element is GgufValueType.Text or GgufValueType.Array)
        {
            for (ulong i = 0; i < count; i++)
                Value(file, cursor, key, element, depth + 1);
        }
        else
        {
            cursor.Take(count * (ulong)least, $"the list '{key}'");
        }

        return new GgufValue(GgufValueType.Array, element, (int)count, start, cursor.Position - start);
    }

    private static int Size(GgufValueType type) => type switch
    {
        GgufValueType.UInt8 or GgufValueType.Int8 or GgufValueType.Boolean => 1,
        GgufValueType.UInt16 or GgufValueType.Int16 => 2,
        GgufValueType.UInt32 or GgufValueType.Int32 or GgufValueType.Float32 => 4,
        _ => 8,
    };

    private static int Alignment(GgufMetadata metadata)
    {
        const string Key = "general.alignment";
        int alignment = metadata.Integer(Key, 1, MostAlignment) ?? DefaultAlignment;
        return BitOperations.IsPow2(alignment) ? alignment
            : throw metadata.Error(Key, alignment.ToString(CultureInfo.InvariantCulture), "a power of two");
    }

    private static Info ReadInfo(string file, GgufCursor cursor, ulong index)
    {
        string name = cursor.Name(LongestName, $"the name of tensor {index}");
        uint rank = cursor.UInt32($"the number of extents of tensor '{name}'");
        if (rank is 0 or > MostDimensions)
            throw new CheckpointException(file,
                $"has {rank} extents; supported: 1 to {MostDimensions}. The file is corrupt.", name);
        // The fastest first; ours are the other way around.
        int[] extents = new int[rank];
        long elements = 1;
        for (int axis = 0; axis < rank; axis++)
        {
            ulong extent = cursor.UInt64($"an extent of tensor '{name}'");
            if (extent is 0 or > int.MaxValue || (Int128)elements * extent > long.MaxValue)
                throw new CheckpointException(file,
                    $"has an extent of {extent}, or more elements than any file; supported: 1 to {int.MaxValue}. The file " +
                    $"is corrupt.", name);
            extents[rank - 1 - axis] = (int)extent;
            elements *= (long)extent;
        }

        uint number = cursor.UInt32($"the type of tensor '{name}'");
        if (!GgufTypes.TryParse(number, out GgufType type))
            throw new CheckpointException(file,
                $"has the type {GgufTypes.Describe(number)}; supported: {GgufTypes.Supported}. Take a file of another " +
                $"quantisation.", name);
        if (extents[^1] % type.BlockSize() != 0)
            throw new CheckpointException(file,
                $"has rows of {extents[^1]} elements, but {type} stores {type.BlockSize()} together; supported: a " +
                $"multiple. The file is corrupt.", name);
        Int128 bytes = (Int128)elements / type.BlockSize() * type.BlockBytes();
        if (bytes > long.MaxValue)
            throw new CheckpointException(file, "has more bytes than any file. The file is corrupt.", name);
        ulong offset = cursor.UInt64($"the offset of tensor '{name}'");
        int ones = 0;
        while (ones < extents.Length - 1 && extents[ones] == 1)
            ones++;
        return new Info(name, type, new Shape(extents.AsSpan(ones)), offset, (long)bytes);
    }

    /// <summary>Tensors lie one behind the other, each at the next multiple of the alignment, as llama.cpp demands.</summary>
    private static List<GgufEntry> Place(string file, List<Info> infos, int alignment, long headerEnd, long fileLength)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        var entries = new List<GgufEntry>(infos.Count);
        long start = Align(headerEnd, alignment), next = 0;
        string? previous = null;
        foreach (Info info in infos.OrderBy(info => info.Offset))
        {
            if (!names.Add(info.Name))
                throw new CheckpointException(file, "is there twice. The file is corrupt.", info.Name);
            if (info.Offset != (ulong)next)
                throw new CheckpointException(file,
                    $"begins at byte {info.Offset} of the data, but {(previous is null ? "the first tensor begins" : $"'{previous}' ends")} so that it is {next} (the alignment is {alignment}). The file is corrupt.",
                    info.Name);
            if (info.ByteCount > long.MaxValue - start - next - alignment)
                throw new CheckpointException(file, "lies where no file is that long. The file is corrupt.", info.Name);
            entries.Add(new GgufEntry(info.Name, info.Type, info.Shape, start + next, info.ByteCount));
            next = Align(next + info.ByteCount, alignment);
            previous = info.Name;
        }

        if (entries.Find(entry => entry.ByteOffset + entry.ByteCount > fileLength) is { } first)
            throw new CheckpointException(file,
                $"its data lie outside the file. By its header the file has {entries[^1].ByteOffset + entries[^1].ByteCount} " +
                $"bytes, but {fileLength} are there: it is truncated (a download that broke off?) or corrupt. Copy or " +
                $"download it again.", first.Name);
        return entries;
    }

    private static long Align(long position, int alignment) => (position + alignment - 1) / alignment * alignment;

    private readonly record struct Info(string Name, GgufType Type, Shape Shape, ulong Offset, long ByteCount);
}
