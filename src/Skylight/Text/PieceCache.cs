namespace Skylight.Text;

/// <summary>The tokens of short pieces that were met lately: a bounded table without locks, for many threads.</summary>
internal sealed class PieceCache
{
    /// <summary>Longer pieces seldom come again.</summary>
    public const int LongestPiece = 32;

    private const int Slots = 1 << 15;

    // A slot is replaced as a whole: a reader sees the old entry or the new one, each complete.
    private readonly Entry?[] _entries = new Entry?[Slots];

    /// <summary>The tokens of a piece, or null; also says where to keep them.</summary>
    public int[]? Find(ReadOnlySpan<char> piece, out int slot)
    {
        slot = string.GetHashCode(piece) & (Slots - 1);
        return Volatile.Read(ref _entries[slot]) is { } entry && piece.SequenceEqual(entry.Piece) ? entry.Tokens : null;
    }

    /// <summary>Keeps the tokens of a piece in place of those that share its slot.</summary>
    public void Keep(int slot, ReadOnlySpan<char> piece, ReadOnlySpan<int> tokens) =>
        Volatile.Write(ref _entries[slot], new Entry(piece.ToString(), tokens.ToArray()));

    private sealed record Entry(string Piece, int[] Tokens);
}
