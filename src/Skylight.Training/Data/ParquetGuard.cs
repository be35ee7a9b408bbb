using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;
using Parquet.Meta;

namespace Skylight.Training.Data;

/// <summary>What a Parquet file claims, held against the bytes that are there, before the library believes it.</summary>
internal static class ParquetGuard
{
    private const int MostFooterBytes = 64 << 20, MostSchemaDepth = 32, MostPageHeadBytes = 16 << 20,
        UsualPageHeadBytes = 1 << 10;

    // Of texts the library makes characters, and of bytes that are no text a question mark without a word. So it is
    // told that they are bytes (BSON in both places where a column says what it is), and texts are read here.
    private const int TextConverted = 0, TextLogical = 1;
    private const byte BytesConverted = 20 << 1, BytesLogical = 13 << 4;

    /// <summary>Checks the frame and the footer of a file.</summary>
    /// <returns>Where the footer stands, the footer in which texts are bytes, and which elements of the schema are
    /// texts.</returns>
    /// <exception cref="InvalidDataException">The reason, as the end of a sentence.</exception>
    public static (long At, byte[] Footer, IReadOnlyList<bool> AreTexts) ReadFooter(SafeFileHandle handle)
    {
        long length = RandomAccess.GetLength(handle);
        Span<byte> tail = stackalloc byte[8];
        if (length < 12 || Read(handle, tail, length - 8) < 8 || !tail[4..].SequenceEqual("PAR1"u8))
        {
            throw new InvalidDataException(tail[4..].SequenceEqual("PARE"u8)
                ? "it is encrypted, which is not supported"
                : "it begins as a Parquet file and does not end as one: it was cut off. Copy or download it again");
        }

        uint footer = BinaryPrimitives.ReadUInt32LittleEndian(tail);
        if (footer > length - 12)
            throw new InvalidDataException($"its footer claims {footer:N0} bytes, more than the file has");
        if (footer > MostFooterBytes)
            throw new InvalidDataException(
                $"its footer has {footer:N0} bytes, more than the {MostFooterBytes:N0} that are supported: write " +
                $"fewer and larger row groups");
        byte[] bytes = new byte[footer];
        Read(handle, bytes, length - 8 - footer);
        var reader = new CompactThrift(bytes);
        ThriftShape.Footer.Check(ref reader);
        return (length - 8 - footer, bytes, CheckSchema(bytes));
    }

    /// <summary>Checks the pages of a column of a row group.</summary>
    /// <param name="handle">The file.</param>
    /// <param name="chunk">What the footer says of the column.</param>
    /// <param name="budget">How many bytes of memory the row group may still take; what this column takes is
    /// subtracted.</param>
    /// <exception cref="InvalidDataException">The reason, as the end of a sentence.</exception>
    public static void CheckPages(SafeFileHandle handle, ColumnChunk chunk, ref long budget)
    {
        if (chunk.FilePath is { Length: > 0 } other)
            throw new InvalidDataException($"lies in another file, '{other}', which is not supported");
        ColumnMetaData data = chunk.MetaData ?? throw new InvalidDataException("has no description");
        long at = data.DictionaryPageOffset is > 0 and { } dictionary ? Math.Min(dictionary, data.DataPageOffset)
            : data.DataPageOffset;
        long end = RandomAccess.GetLength(handle) - 8;
        if (data.NumValues < 0)
            throw new InvalidDataException("claims a number of values below 0");
        // Two levels and a value of 16 bytes for each.
        Spend(ref budget, data.NumValues, 24);
        byte[] buffer = new byte[UsualPageHeadBytes];
        // A column of no values has no pages.
        for (long values = 0; values < data.NumValues;)
        {
            PageHead head = ReadHead(handle, ref buffer, at, end);
            at += head.HeadBytes;
            if (head.Compressed < 0 || head.Uncompressed < 0 || head.Values < 0 || head.Compressed > end - at)
                throw new InvalidDataException("has a page that is longer than the file, or shorter than nothing");
            Spend(ref budget, head.Uncompressed, 3);
            if (data.Codec == CompressionCodec.SNAPPY && head.IsCompressed)
                CheckSnappy(handle, at + head.LevelBytes, at + head.Compressed, head.Uncompressed - head.LevelBytes);
            at += head.Compressed;
            if (head.Type is PageHead.Dictionary)
            {
                Spend(ref budget, head.Values, 16);
            }
            else
            {
                if (head.Type is PageHead.Data or PageHead.DataV2 && head.Values > data.NumValues - values)
                    throw new InvalidDataException("has more values in its pages than the footer says");
                values += head.Type is PageHead.Data or PageHead.DataV2 ? head.Values : 0;
            }
        }
    }

    /// <summary>
    /// A Snappy block begins with the length of what it holds, for which the library reserves memory without a look at
    /// the page's head; of other codecs it takes the length from there.
    /// </summary>
    private static void CheckSnappy(SafeFileHandle handle, long at, long end, long length)
    {
        if (at >= end)
            return;
        Span<byte> begin = stackalloc byte[(int)Math.Min(5, end - at)];
        int count = Read(handle, begin, at);
        ulong claimed = 0;
        for (int i = 0; i < count; i++)
        {
            claimed |= (ulong)(begin[i] & 0x7F) << (7 * i);
            if (begin[i] < 0x80)
                break;
        }

        if (length < 0 || claimed > (ulong)length)
            throw new InvalidDataException(
                $"has a page that claims to hold {claimed:N0} bytes, but is to have {Math.Max(0, length):N0}");
    }

    private static void Spend(ref long budget, long count, int bytes)
    {
        if (count > budget / bytes)
            throw new InvalidDataException(
                "takes more memory than a row group may: write the file with smaller row groups (row_group_size=100, say)");
        budget -= count * bytes;
    }

    /// <summary>
    /// Sees that the schema is one tree and no deeper than anybody needs: the library walks it on the stack.
    /// </summary>
    private static List<bool> CheckSchema(Span<byte> footer)
    {
        var reader = new CompactThrift(footer);
        var areTexts = new List<bool>();
        bool hasSchema = false;
        int field = 0;
        while (reader.NextField(ref field, out int type))
        {
            if (field != 2 || type != CompactThrift.List)
            {
                reader.Skip(type);
                continue;
            }

            (int element, int count) = reader.NextList();
            if (element != CompactThrift.Struct || count == 0 || hasSchema)
                throw new InvalidDataException("its footer has no schema");
            hasSchema = true;
            // How many children each node on the way down still lacks.
            var open = new Stack<long>([1]);
            for (int i = 0; i < count; i++)
            {
                while (open.Count > 0 && open.Peek() == 0)
                    open.Pop();
                if (open.Count == 0)
                    throw new InvalidDataException("its schema has more columns than it says");
                open.Push(open.Pop() - 1);
                (long children, bool isText) = Element(ref reader, footer);
                areTexts.Add(isText);
                if (children < 0 || children > count)
                    throw new InvalidDataException("its schema claims more columns than it has");
                if (children > 0)
                    open.Push(children);
                if (open.Count > MostSchemaDepth)
                    throw new InvalidDataException($"its columns are nested deeper than {MostSchemaDepth}");
            }

            if (open.Any(left => left > 0))
                throw new InvalidDataException("its schema claims more columns than it has");
        }

        if (!hasSchema)
            throw new InvalidDataException("its footer has no schema");
        return areTexts;
    }

    /// <summary>Reads an element of the schema, and makes bytes of a text.</summary>
    private static (long Children, bool IsText) Element(ref CompactThrift reader, Span<byte> footer)
    {
        long children = 0;
        bool isText = false;
        int field = 0;
        while (reader.NextField(ref field, out int type))
        {
            if (field == 5 && type == CompactThrift.Int32)
            {
                children = reader.NextZigZag();
            }
            else if (field == 6 && type == CompactThrift.Int32)
            {
                int at = reader.Position;
                if (reader.NextZigZag() != TextConverted || reader.Position != at + 1)
                    continue;
                footer[at] = BytesConverted;
                isText = true;
            }
            else if (field == 10 && type == CompactThrift.Struct)
            {
                int inner = 0, at = reader.Position;
                while (reader.NextField(ref inner, out int innerType))
                {
                    if (inner == TextLogical && innerType == CompactThrift.Struct && reader.Position == at + 1)
                    {
                        footer[at] = BytesLogical | CompactThrift.Struct;
                        isText = true;
                    }

                    reader.Skip(innerType);
                }
            }
            else
            {
                reader.Skip(type);
            }
        }

        return (children, isText);
    }

    private static PageHead ReadHead(SafeFileHandle handle, ref byte[] buffer, long at, long end)
    {
        if (at < 4 || at >= end)
            throw new InvalidDataException("has a page that lies outside of the file");
        while (true)
        {
            int count = Read(handle, buffer.AsSpan(0, (int)Math.Min(buffer.Length, end - at)), at);
            try
            {
                return PageHead.Read(buffer.AsSpan(0, count));
            }
            // Its statistics may be long.
            catch (InvalidDataException) when (count == buffer.Length && count < MostPageHeadBytes)
            {
                buffer = new byte[Math.Min(MostPageHeadBytes, 16 * buffer.Length)];
            }
        }
    }

    private static int Read(SafeFileHandle handle, Span<byte> bytes, long at)
    {
        int count = 0;
        while (count < bytes.Length && RandomAccess.Read(handle, bytes[count..], at + count) is > 0 and int read)
            count += read;
        return count;
    }

    /// <summary>What the head of a page says.</summary>
    private readonly record struct PageHead(long Type, long Uncompressed, long Compressed, long Values, int HeadBytes,
        long LevelBytes = 0, bool IsCompressed = true)
    {
        public const int Data = 0, Dictionary = 2, DataV2 = 3;

        public static PageHead Read(ReadOnlySpan<byte> bytes)
        {
            var whole = new CompactThrift(bytes);
            ThriftShape.PageHead.Check(ref whole);
            var reader = new CompactThrift(bytes);
            var head = new PageHead(-1, -1, -1, 0, 0);
            int field = 0;
            while (reader.NextField(ref field, out int type))
            {
                if (field is >= 1 and <= 3 && type == CompactThrift.Int32)
                {
                    long value = reader.NextZigZag();
                    head = field switch
                    {
                        1 => head with { Type = value },
                        2 => head with { Uncompressed = value },
                        _ => head with { Compressed = value },
                    };
                }
                else if (field is 5 or 7 or 8 && type == CompactThrift.Struct)
                {
                    int inner = 0;
                    while (reader.NextField(ref inner, out int innerType))
                    {
                        if (inner == 1 && innerType == CompactThrift.Int32)
                            head = head with { Values = reader.NextZigZag() };
                        else if (field == 8 && inner is 5 or 6 && innerType == CompactThrift.Int32)
                            // Levels of a page of the second kind stand before what is compressed.
                            head = head with { LevelBytes = head.LevelBytes + Math.Max(0, reader.NextZigZag()) };
                        else
                            reader.Skip(innerType);
                        if (field == 8 && inner == 7 && innerType == ThriftShape.Type.Boolean + 1)
                            head = head with { IsCompressed = false };
                    }
                }
                else
                {
                    reader.Skip(type);
                }
            }

            return head with { HeadBytes = reader.Position };
        }
    }
}
