using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace Skylight.Images.Jpeg;

/// <summary>
/// Reads the bits of compressed data up to the next marker. Beyond it there are zeros, as libjpeg makes them up;
/// whoever has read some of them finds out by <see cref="IsExhausted"/>, so that the data needs no test for its end in
/// the middle of a block. Data that ends without any marker is a file that is cut off.
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

    /// <summary>Whether more bits were read than there are before the next marker.</summary>
    /// <exception cref="ImageException">There is no next marker: the file is cut off.</exception>
    public readonly bool IsExhausted => _count >= 0 ? _count < _invented : throw CutOff();

    /// <summary>
    /// Drops what is left of the current interval and looks for the restart marker after it. Where another marker
    /// stands there, libjpeg's rule decides: one of the next two numbers, or the end of the scan, means that data was
    /// lost, and is left for later; one of the two numbers before, or no valid marker, is passed over; any other
    /// restart marker is taken for the right one.
    /// </summary>
    /// <param name="expected">The number of the marker, 0 to 7.</param>
    /// <returns>Whether a restart marker was passed, so that data follows.</returns>
    public bool Restart(int expected)
    {
        _bits = 0;
        _count = 0;
        _invented = 0;
        while (true)
        {
            int marker = JpegReader.FindMarker(_data, Position);
            if (marker < 0)
                throw CutOff();
            int kind = _data[marker + 1];
            bool restart = kind is >= 0xD0 and <= 0xD7;
            int ahead = (kind - 0xD0 - expected) & 7;
            Position = marker;
            if (kind >= 0xC0 && (!restart || ahead is 1 or 2))
                return false;
            Position = marker + 2;
            if (restart && ahead is not (6 or 7))
                return true;
        }
    }

    private static ImageException CutOff() => new("JPEG: the file is cut off: its compressed data ends early.");

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
            int after = Position;
            while (after < _data.Length && _data[after] == 0xFF)
                after++;
            if (after >= _data.Length)
            {
                // Like libjpeg, which looks at 8 bits for a code: data without a marker behind it needs some to spare.
                if (_count < 8)
                    throw CutOff();
                return;
            }

            int next = _data[after];
            if (after > Position)
            {
                if (next != 0)
                {
                    _invented += 64 - _count;
                    _count = 64;
                    return;
                }

                next = 0xFF;
            }

            Position = after + 1;
            _bits |= (ulong)next << (56 - _count);
            _count += 8;
        }
    }
}
