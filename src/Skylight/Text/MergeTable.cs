using System.Numerics;

namespace Skylight.Text;

/// <summary>
/// The merges of a byte-pair tokenizer: which two tokens join to which third, and in which order. Immutable once filled.
/// </summary>
internal sealed class MergeTable
{
    /// <summary>The rank of two tokens that do not join.</summary>
    public const int None = int.MaxValue;

    private readonly Entry[] _entries;
    private readonly int[] _merged;
    private readonly int _shift;

    /// <summary>Makes an empty table.</summary>
    /// <param name="count">How many merges will be set.</param>
    public MergeTable(int count)
    {
        int capacity = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(count, 8) * 3 / 2);
        _shift = 64 - BitOperations.Log2((uint)capacity);
        _entries = new Entry[capacity];
        _merged = new int[count];
    }

    /// <summary>
    /// Sets the merge of a rank. Of two merges of the same tokens the later counts, as in Hugging Face's tokenizers.
    /// </summary>
    public void Set(int left, int right, int rank, int merged)
    {
        ulong key = Key(left, right);
        int slot = Slot(key);
        while (_entries[slot].Key != 0 && _entries[slot].Key != key)
            slot = (slot + 1) & (_entries.Length - 1);
        _entries[slot] = new Entry(key, rank);
        _merged[rank] = merged;
    }

    /// <summary>The rank of a merge, or <see cref="None"/>.</summary>
    public int Rank(int left, int right)
    {
        ulong key = Key(left, right);
        Entry[] entries = _entries;
        for (int slot = Slot(key); ; slot = (slot + 1) & (entries.Length - 1))
        {
            Entry entry = entries[slot];
            if (entry.Key == key)
                return entry.Rank;
            if (entry.Key == 0)
                return None;
        }
    }

    /// <summary>What the merge of a rank makes.</summary>
    public int Merged(int rank) => _merged[rank];

    // One is added so that no key is 0, which says that a slot is free.
    private static ulong Key(int left, int right) => ((ulong)(uint)left << 32 | (uint)right) + 1;

    private int Slot(ulong key) => (int)((key * 0x9E3779B97F4A7C15) >> _shift);

    private readonly record struct Entry(ulong Key, int Rank);
}
