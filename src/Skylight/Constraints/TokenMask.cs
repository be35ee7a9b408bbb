namespace Skylight.Constraints;

/// <summary>The tokens that may follow: as numbers where they are few, else as bits.</summary>
internal sealed class TokenMask
{
    private readonly int[]? _tokens;
    private readonly uint[]? _words;

    /// <summary>Takes over the bits of all tokens that may follow.</summary>
    public TokenMask(ReadOnlySpan<uint> words)
    {
        foreach (uint word in words)
            Count += System.Numerics.BitOperations.PopCount(word);
        if (Count > words.Length / 2)
        {
            _words = words.ToArray();
            return;
        }

        _tokens = new int[Count];
        int next = 0;
        for (int index = 0; index < words.Length; index++)
        {
            for (uint word = words[index]; word != 0; word &= word - 1)
                _tokens[next++] = 32 * index + System.Numerics.BitOperations.TrailingZeroCount(word);
        }
    }

    /// <summary>How many there are.</summary>
    public int Count { get; }

    /// <summary>The memory it takes.</summary>
    public int Bytes => 4 * (_tokens?.Length ?? _words!.Length) + 64;

    /// <summary>Whether a token may follow.</summary>
    public bool Contains(int token) => _tokens is not null ? Array.BinarySearch(_tokens, token) >= 0
        : token >> 5 < _words!.Length && (_words[token >> 5] >> token & 1) != 0;

    /// <summary>Adds them to bits of at least as many tokens.</summary>
    public void AddTo(Span<uint> words)
    {
        if (_words is not null)
        {
            Span<uint> target = words[.._words.Length];
            System.Numerics.Tensors.TensorPrimitives.BitwiseOr(target, _words, target);
            return;
        }

        foreach (int token in _tokens!)
            words[token >> 5] |= 1u << token;
    }
}
