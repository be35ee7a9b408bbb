using Skylight.Text;

namespace Skylight.Constraints;

/// <summary>
/// The bytes of a tokenizer's tokens as a tree, in which masks of tokens are looked up. Special tokens are no text and
/// not in it. May be used by many threads.
/// </summary>
public sealed class ConstraintVocabulary
{
    private readonly byte[][] _bytes;
    private readonly bool[] _isSpecial;

    /// <summary>Makes the tree.</summary>
    /// <param name="tokenizer">The tokenizer.</param>
    public ConstraintVocabulary(ITokenizer tokenizer)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        Size = tokenizer.VocabularySize;
        _bytes = new byte[Size][];
        _isSpecial = new bool[Size];
        for (int token = 0; token < Size; token++)
        {
            _bytes[token] = tokenizer.TokenBytes(token).ToArray();
            // Tags of tool calls are a part of forms, whatever a tokenizer calls them.
            _isSpecial[token] = tokenizer.IsSpecial(token) && !IsToolTag(_bytes[token]);
            LongestToken = Math.Max(LongestToken, _bytes[token].Length);
        }

        int[] order = [.. Enumerable.Range(0, Size).Where(token => !_isSpecial[token] && _bytes[token].Length > 0)];
        Array.Sort(order, (one, other) => _bytes[one].AsSpan().SequenceCompareTo(_bytes[other]));
        Build(order);
        SpecialTokens = [.. Enumerable.Range(0, Size).Where(token => _isSpecial[token])];
    }

    private static bool IsToolTag(ReadOnlySpan<byte> bytes) =>
        bytes.SequenceEqual("<tool_call>"u8) || bytes.SequenceEqual("</tool_call>"u8);

    /// <summary>How many tokens there are.</summary>
    public int Size { get; }

    /// <summary>The bytes of the longest token.</summary>
    internal int LongestToken { get; private set; }

    /// <summary>Tokens that are no text.</summary>
    internal int[] SpecialTokens { get; }

    /// <summary>The byte that leads to each node; nodes stand before those below them, node 0 is the root.</summary>
    internal byte[] Label { get; private set; } = [];

    /// <summary>How many bytes lead to each node.</summary>
    internal int[] Depth { get; private set; } = [];

    /// <summary>The first node behind those below each node.</summary>
    internal int[] End { get; private set; } = [];

    /// <summary>Where the tokens that end in each node begin in <see cref="Tokens"/>; one more than there are
    /// nodes.</summary>
    internal int[] FirstToken { get; private set; } = [];

    /// <summary>The tokens in the order of the nodes that they end in.</summary>
    internal int[] Tokens { get; private set; } = [];

    /// <summary>The bytes of a token; none of one that is outside of the tokenizer's.</summary>
    internal ReadOnlySpan<byte> BytesOf(int token) => (uint)token < (uint)Size ? _bytes[token] : [];

    /// <summary>Whether a token is no text.</summary>
    internal bool IsSpecial(int token) => (uint)token < (uint)Size && _isSpecial[token];

    private void Build(int[] order)
    {
        List<byte> label = [0];
        List<int> depth = [0], first = [0];
        var path = new List<int> { 0 };
        ReadOnlySpan<byte> before = [];
        int placed = 0;
        foreach (int token in order)
        {
            ReadOnlySpan<byte> bytes = _bytes[token];
            int common = before.CommonPrefixLength(bytes);
            path.RemoveRange(common + 1, path.Count - common - 1);
            for (int length = common; length < bytes.Length; length++)
            {
                path.Add(label.Count);
                label.Add(bytes[length]);
                depth.Add(length + 1);
                first.Add(placed);
            }

            placed++;
            before = bytes;
        }

        first.Add(placed);
        int[] end = new int[label.Count];
        var open = new Stack<int>();
        for (int node = 0; node < end.Length; node++)
        {
            while (open.Count > 0 && depth[open.Peek()] >= depth[node])
                end[open.Pop()] = node;
            open.Push(node);
        }

        while (open.TryPop(out int node))
            end[node] = label.Count;
        (Label, Depth, End, FirstToken, Tokens) = ([.. label], [.. depth], end, [.. first], order);
    }
}
