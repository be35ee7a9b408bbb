using System.Buffers;

namespace Skylight.Text;

/// <summary>Tokens as they are found, in pooled memory.</summary>
internal ref struct TokenBuffer(int capacity)
{
    private int[] _tokens = ArrayPool<int>.Shared.Rent(Math.Max(capacity, 16));
    private int _count;

    public void Add(int token)
    {
        Room(1)[0] = token;
        _count++;
    }

    public void Add(ReadOnlySpan<int> tokens)
    {
        tokens.CopyTo(Room(tokens.Length));
        _count += tokens.Length;
    }

    /// <summary>Room for some more tokens; <see cref="Advance"/> says how many were written.</summary>
    public Span<int> Room(int count)
    {
        if (count > _tokens.Length - _count)
        {
            int[] larger = ArrayPool<int>.Shared.Rent(Math.Max(_tokens.Length * 2, _count + count));
            _tokens.AsSpan(0, _count).CopyTo(larger);
            ArrayPool<int>.Shared.Return(_tokens);
            _tokens = larger;
        }

        return _tokens.AsSpan(_count);
    }

    public void Advance(int count) => _count += count;

    /// <summary>The tokens; gives the memory back.</summary>
    public int[] ToArrayAndFree()
    {
        int[] tokens = _tokens.AsSpan(0, _count).ToArray();
        ArrayPool<int>.Shared.Return(_tokens);
        _tokens = [];
        return tokens;
    }
}
