using System.Numerics;

namespace Skylight.Training.Data;

/// <summary>
/// Walks over a structure in Thrift's compact protocol, in which Parquet writes its footer and the heads of its pages,
/// and refuses lengths that the bytes cannot hold: the library that reads the file reserves memory for what they claim.
/// </summary>
internal ref struct CompactThrift
{
    public const int Int32 = 5, List = 9, Set = 10, Map = 11, Struct = 12;

    private const int MostDepth = 64;

    private readonly ReadOnlySpan<byte> _bytes;
    private int _at;

    /// <summary>Begins at the first byte.</summary>
    public CompactThrift(ReadOnlySpan<byte> bytes) => _bytes = bytes;

    /// <summary>Bytes walked over.</summary>
    public readonly int Position => _at;

    /// <summary>The next field of a structure; false at its end.</summary>
    /// <param name="id">The number of the field before, 0 at the beginning; then that of this one.</param>
    /// <param name="type">Its type.</param>
    public bool NextField(ref int id, out int type)
    {
        byte head = NextByte();
        type = head & 15;
        if (head == 0)
            return false;
        id = head >> 4 == 0 ? (int)NextZigZag() : id + (head >> 4);
        return true;
    }

    /// <summary>The type and the number of a list's elements.</summary>
    public (int Type, int Count) NextList()
    {
        byte head = NextByte();
        ulong count = head >> 4 == 15 ? NextVarInt() : (ulong)(head >> 4);
        // Every element has a byte at least.
        if (count > (ulong)(_bytes.Length - _at))
            throw new InvalidDataException("a list in it is longer than the bytes that are there");
        return (head & 15, (int)count);
    }

    /// <summary>A whole number.</summary>
    public long NextZigZag()
    {
        ulong value = NextVarInt();
        return (long)(value >> 1) ^ -(long)(value & 1);
    }

    /// <summary>Passes over a value.</summary>
    public void Skip(int type, int depth = 0)
    {
        if (depth > MostDepth)
            throw new InvalidDataException($"structures in it are nested deeper than {MostDepth}");
        switch (type)
        {
            case 1 or 2:
                break;
            case 3:
                Advance(1);
                break;
            case 4 or 5 or 6:
                NextVarInt();
                break;
            case 7:
                Advance(8);
                break;
            case 8:
                Advance(NextVarInt());
                break;
            case 9 or 10:
                (int element, int count) = NextList();
                for (int i = 0; i < count; i++)
                    SkipElement(element, depth);
                break;
            case 11:
                ulong pairs = NextVarInt();
                if (pairs > (ulong)(_bytes.Length - _at))
                    throw new InvalidDataException("a map in it is longer than the bytes that are there");
                byte types = pairs > 0 ? NextByte() : (byte)0;
                for (ulong i = 0; i < pairs; i++)
                {
                    SkipElement(types >> 4, depth);
                    SkipElement(types & 15, depth);
                }

                break;
            case 12:
                int id = 0;
                while (NextField(ref id, out int field))
                    Skip(field, depth + 1);
                break;
            case 13:
                Advance(16);
                break;
            default:
                throw new InvalidDataException($"a value in it has the unknown type {type}");
        }
    }

    // In a list true and false have a byte of their own.
    private void SkipElement(int type, int depth)
    {
        if (type is 1 or 2)
            Advance(1);
        else
            Skip(type, depth + 1);
    }

    private byte NextByte()
    {
        Advance(1);
        return _bytes[_at - 1];
    }

    private ulong NextVarInt()
    {
        ulong value = 0;
        for (int shift = 0; ; shift += 7)
        {
            byte part = NextByte();
            if (shift > 63 || BitOperations.Log2((uint)(part & 127) | 1) + shift > 63)
                throw new InvalidDataException("a number in it has more than 64 bits");
            value |= (ulong)(part & 127) << shift;
            if (part < 128)
                return value;
        }
    }

    private void Advance(ulong bytes)
    {
        if (bytes > (ulong)(_bytes.Length - _at))
            throw new InvalidDataException("it ends in the middle of a structure");
        _at += (int)bytes;
    }
}
