using System.Buffers;

namespace Skylight.Text;

/// <summary>
/// Turns the bytes of one piece into tokens: joins the two neighbours of the lowest rank, the leftmost first, until
/// none join.
/// </summary>
internal sealed class PieceMerger
{
    // Up to here the lowest rank is found by looking at all of them; a heap does not pay.
    private const int MostScanned = 128;

    private readonly MergeTable _merges;
    private readonly int[] _byteTokens;
    private readonly int[] _byteRanks;

    /// <summary>Makes a merger.</summary>
    /// <param name="merges">The merges.</param>
    /// <param name="byteTokens">The token of each of the 256 bytes.</param>
    public PieceMerger(MergeTable merges, int[] byteTokens)
    {
        _merges = merges;
        _byteTokens = byteTokens;
        _byteRanks = new int[256 * 256];
        for (int left = 0; left < 256; left++)
        {
            for (int right = 0; right < 256; right++)
                _byteRanks[left << 8 | right] = merges.Rank(byteTokens[left], byteTokens[right]);
        }
    }

    /// <summary>Writes the tokens of a piece and returns how many there are; never more than bytes.</summary>
    public int Merge(ReadOnlySpan<byte> piece, Span<int> tokens)
    {
        for (int i = 0; i < piece.Length; i++)
            tokens[i] = _byteTokens[piece[i]];
        return piece.Length < 2 ? piece.Length : piece.Length <= MostScanned ? MergeShort(piece, tokens)
            : MergeLong(piece, tokens);
    }

    private int MergeShort(ReadOnlySpan<byte> piece, Span<int> tokens)
    {
        int count = piece.Length;
        Span<int> ranks = stackalloc int[MostScanned];
        for (int i = 0; i + 1 < count; i++)
            ranks[i] = _byteRanks[piece[i] << 8 | piece[i + 1]];
        while (true)
        {
            int best = 0, lowest = MergeTable.None;
            for (int i = 0; i < count - 1; i++)
            {
                if (ranks[i] < lowest)
                {
                    lowest = ranks[i];
                    best = i;
                }
            }

            if (lowest == MergeTable.None)
                return count;

            tokens[best] = _merges.Merged(lowest);
            tokens[(best + 2)..count].CopyTo(tokens[(best + 1)..]);
            count--;
            if (best + 1 < count)
            {
                ranks[(best + 2)..count].CopyTo(ranks[(best + 1)..]);
                ranks[best] = _merges.Rank(tokens[best], tokens[best + 1]);
            }

            if (best > 0)
                ranks[best - 1] = _merges.Rank(tokens[best - 1], tokens[best]);
        }
    }

    /// <summary>
    /// The same in n·log n: neighbours in a linked list, ranks with their places in a heap. A heap entry counts while
    /// its place still has its rank.
    /// </summary>
    private int MergeLong(ReadOnlySpan<byte> piece, Span<int> tokens)
    {
        int count = piece.Length;
        int[] previous = ArrayPool<int>.Shared.Rent(count), next = ArrayPool<int>.Shared.Rent(count),
            ranks = ArrayPool<int>.Shared.Rent(count);
        var heap = new RankHeap(count);
        for (int i = 0; i < count; i++)
        {
            previous[i] = i - 1;
            next[i] = i + 1;
            ranks[i] = i + 1 < count ? _byteRanks[piece[i] << 8 | piece[i + 1]] : MergeTable.None;
            if (ranks[i] != MergeTable.None)
                heap.Push(ranks[i], i);
        }

        while (heap.TryPop(out int rank, out int left))
        {
            if (ranks[left] != rank)
                continue;
            int right = next[left];
            tokens[left] = _merges.Merged(rank);
            ranks[right] = MergeTable.None;
            int after = next[left] = next[right];
            ranks[left] = MergeTable.None;
            if (after < count)
            {
                previous[after] = left;
                if ((ranks[left] = _merges.Rank(tokens[left], tokens[after])) != MergeTable.None)
                    heap.Push(ranks[left], left);
            }

            int before = previous[left];
            if (before >= 0 && (ranks[before] = _merges.Rank(tokens[before], tokens[left])) != MergeTable.None)
                heap.Push(ranks[before], before);
        }

        int written = 0;
        for (int i = 0; i < count; i = next[i])
            tokens[written++] = tokens[i];
        ArrayPool<int>.Shared.Return(previous);
        ArrayPool<int>.Shared.Return(next);
        ArrayPool<int>.Shared.Return(ranks);
        return written;
    }

    /// <summary>A binary heap of (rank, place): the lowest rank first, then the leftmost place.</summary>
    private struct RankHeap(int capacity)
    {
        private ulong[] _items = new ulong[capacity];
        private int _count;

        public void Push(int rank, int place)
        {
            if (_count == _items.Length)
                Array.Resize(ref _items, _count * 2);
            ulong item = (ulong)(uint)rank << 32 | (uint)place;
            int index = _count++;
            while (index > 0 && _items[(index - 1) / 2] > item)
            {
                _items[index] = _items[(index - 1) / 2];
                index = (index - 1) / 2;
            }

            _items[index] = item;
        }

        public bool TryPop(out int rank, out int place)
        {
            if (_count == 0)
            {
                rank = place = 0;
                return false;
            }

            (rank, place) = ((int)(_items[0] >> 32), (int)(uint)_items[0]);
            ulong last = _items[--_count];
            int index = 0;
            for (int child = 1; child < _count; child = 2 * index + 1)
            {
                if (child + 1 < _count && _items[child + 1] < _items[child])
                    child++;
                if (_items[child] >= last)
                    break;
                _items[index] = _items[child];
                index = child;
            }

            _items[index] = last;
            return true;
        }
    }
}
