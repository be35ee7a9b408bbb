using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace Skylight.Images.Jpeg;

/// <summary>
/// Reads the bits of compressed data up to the next marker. Beyond it there are zeros; whoever has read some of them finds out by
/// <see cref="Check"/>, so that the data needs no test for its end in the middle of a block.
/// </summary>
internal ref struct JpegBits(ReadOnlySpan<byte> data, int position)
{
    private readonly ReadOnlySpan<byte> _data = data;
    private ulong _bits;
    private int _count;
    private int _invented;

    /// <summary>The next byte that has not been taken up; never behind a marker.</summary>
    public int Position { get; private set; } = position;

    /// <summary>The symbol of the next code. At least 16 bits may be read after it with <see cref="Value"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Symbol(JpegHuffmanTable table)
    {
        if (_count < 32)
            Fill();
        int found = table.Lookup[(int)(_bits >> (64 - JpegHuffmanTable.LookBits))];
        if (found == 0)
            found = table.Find((int)(_bits >> 48));
        _bits <<= found >> 8;
        _count -= found >> 8;
        return found & 255;
    }

    /// <summary>A number of 1 to 16 bits, without sign, directly after a symbol.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Raw(int length)
    {
        int value = (int)(_bits >> (64 - length));
        _bits <<= length;
        _count -= length;
        return value;
    }

    /// <summary>A number of 1 to 15 bits in JPEG's signed form, directly after a symbol.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Value(int length)
    {
        int value = Raw(length);
        return value < 1 << (length - 1) ? value - (1 << length) + 1 : value;
    }

    /// <summary>One bit, anywhere.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public bool Bit()
    {
        if (_count < 1)
            Fill();
        bool set = (long)_bits < 0;
        _bits <<= 1;
        _count--;
        return set;
    }

    /// <summary>Fails if more bits were read than there are.</summary>
    public readonly void Check()
    {
        if (_count < _invented)
            throw new ImageException("JPEG: compressed data ends early: the file is cut off or damaged.");
    }

    /// <summary>Drops what is left of the current interval and passes the restart marker after it.</summary>
    public void Restart(int expected)
    {
        int marker = JpegReader.FindMarker(_data, Position);
        if (marker < 0 || _data[marker + 1] != 0xD0 + expected)
            throw new ImageException($"JPEG: restart marker {expected} is missing: the file is cut off or damaged.");
        Position = marker + 2;
        _bits = 0;
        _count = 0;
        _invented = 0;
    }

    /// <summary>At least 32 bits more than none.</summary>
    private void Fill()
    {
        if (_count <= 32 && _data.Length - Position >= 4)
        {
            uint word = BinaryPrimitives.ReadUInt32BigEndian(_data[Position..]);
            // No byte is 0xFF: no stuffing and no marker among them.
            if (((~word - 0x01010101) & word & 0x80808080) == 0)
            {
                _bits |= (ulong)word << (32 - _count);
                _count += 32;
                Position += 4;
                return;
            }
        }

        while (_count <= 56)
        {
            int next = Position < _data.Length ? _data[Position] : 0xFF;
            if (next == 0xFF)
            {
                if (Position + 1 >= _data.Length || _data[Position + 1] != 0)
                {
                    _invented += 64 - _count;
                    _count = 64;
                    return;
                }

                Position++;
            }

            Position++;
            _bits |= (ulong)next << (56 - _count);
            _count += 8;
        }
    }
}
