using System.Numerics;
using System.Runtime.InteropServices;

namespace Skylight.Text;

/// <summary>Tokens by spelling and by number, as a file gives them; the spelling is UTF-8. For loading only.</summary>
internal sealed class TokenTable
{
    // Far above any vocabulary; keeps a corrupt file from asking for gigabytes.
    public const int MostTokens = 1 << 22;

    private readonly ulong _seed = (ulong)Random.Shared.NextInt64();
    private byte[] _text;
    private int _textLength;
    private int[] _starts = [];
    private int[] _lengths = [];
    private int[] _slots;

    public TokenTable(int expectedTokens)
    {
        _text = new byte[Math.Max(expectedTokens * 8, 256)];
        _slots = new int[(int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(expectedTokens, 64) * 2)];
        Resize(expectedTokens);
    }

    /// <summary>How many tokens there are.</summary>
    public int Count { get; private set; }

    /// <summary>One more than the highest number.</summary>
    public int Size { get; private set; }

    /// <summary>How many bytes all spellings take.</summary>
    public int TextLength => _textLength;

    /// <summary>
    /// The spelling of a token; null (a default span with <paramref name="exists"/> false) where a number is not used.
    /// </summary>
    public ReadOnlySpan<byte> Spelling(int id, out bool exists)
    {
        exists = id < Size && _lengths[id] >= 0;
        return exists ? _text.AsSpan(_starts[id], _lengths[id]) : default;
    }

    /// <summary>The number of a spelling, or −1.</summary>
    public int Find(ReadOnlySpan<byte> spelling)
    {
        int slot = _slots[SlotOf(spelling)];
        return slot - 1;
    }

    /// <summary>Adds a token; false if the spelling or the number is there already.</summary>
    public bool TryAdd(ReadOnlySpan<byte> spelling, int id)
    {
        if (id < Size && _lengths[id] >= 0)
            return false;
        int slot = SlotOf(spelling);
        if (_slots[slot] != 0)
            return false;

        if (id >= _lengths.Length)
            Resize(Math.Max(id + 1, _lengths.Length * 2));
        if (spelling.Length > _text.Length - _textLength)
            Array.Resize(ref _text, Math.Max(_text.Length * 2, _textLength + spelling.Length));
        spelling.CopyTo(_text.AsSpan(_textLength));
        _starts[id] = _textLength;
        _lengths[id] = spelling.Length;
        _textLength += spelling.Length;
        _slots[slot] = id + 1;
        Size = Math.Max(Size, id + 1);
        if (++Count * 2 > _slots.Length)
            Grow();
        return true;
    }

    private int SlotOf(ReadOnlySpan<byte> spelling)
    {
        int mask = _slots.Length - 1;
        for (int slot = (int)(Hash(spelling) & (uint)mask); ; slot = (slot + 1) & mask)
        {
            int id = _slots[slot] - 1;
            if (id < 0 || (_lengths[id] == spelling.Length
                && _text.AsSpan(_starts[id], _lengths[id]).SequenceEqual(spelling)))
                return slot;
        }
    }

    private ulong Hash(ReadOnlySpan<byte> spelling)
    {
        ulong hash = _seed ^ (uint)spelling.Length;
        for (; spelling.Length >= 8; spelling = spelling[8..])
            hash = Mix(hash ^ MemoryMarshal.Read<ulong>(spelling));
        ulong rest = 0;
        foreach (byte value in spelling)
            rest = (rest << 8) | value;
        return Mix(hash ^ rest);
    }

    private static ulong Mix(ulong value)
    {
        ulong high = Math.BigMul(value, 0x9E3779B97F4A7C15, out ulong low);
        return low ^ high;
    }

    private void Resize(int size)
    {
        int filled = _lengths.Length;
        Array.Resize(ref _starts, size);
        Array.Resize(ref _lengths, size);
        _lengths.AsSpan(filled).Fill(-1);
    }

    private void Grow()
    {
        _slots = new int[_slots.Length * 2];
        for (int id = 0; id < Size; id++)
        {
            if (_lengths[id] >= 0)
                _slots[SlotOf(_text.AsSpan(_starts[id], _lengths[id]))] = id + 1;
        }
    }
}
