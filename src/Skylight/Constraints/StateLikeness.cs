namespace Skylight.Constraints;

/// <summary>
/// States that no token can tell apart: what can be read from them is the same for as many bytes as the longest token
/// has. The hundredth character of a string that may have a thousand is like the tenth, so they share masks.
/// </summary>
internal static class StateLikeness
{
    // Beyond, to find out would take longer than masks do that are found twice.
    private const long MostSteps = 10_000_000;

    /// <summary>A state for each state that is like it.</summary>
    /// <param name="automaton">The automaton.</param>
    /// <param name="bytes">The bytes of the longest token.</param>
    public static int[] Of(ByteAutomaton automaton, int bytes)
    {
        int count = automaton.Count, kinds = 0;
        int[] kind = new int[count];
        for (int state = 0; state < count; state++)
            kind[state] = (automaton.Accepts[state] ? 1 : 0) + (automaton.IsFree[state] ? 2 : 0);
        long steps = 0, ofRound = count + automaton.Bytes.Sum(edges => (long)edges.Length)
            + automaton.Calls.Sum(calls => (long)calls.Length);
        // States of a kind after k rounds agree in all that k edges lead to; every edge reads a byte at least.
        for (int round = 0; round <= bytes; round++)
        {
            steps += ofRound;
            if (steps > MostSteps)
                return [.. Enumerable.Range(0, count)];
            var numbers = new Dictionary<Signature, int>();
            int[] next = new int[count];
            for (int state = 0; state < count; state++)
            {
                var signature = new Signature(kind[state], automaton.Bytes[state], automaton.Calls[state], kind);
                if (!numbers.TryGetValue(signature, out next[state]))
                    numbers.Add(signature, next[state] = numbers.Count);
            }

            kind = next;
            if (numbers.Count == kinds)
                break;
            kinds = numbers.Count;
        }

        int[] first = new int[count], likes = new int[count];
        Array.Fill(first, -1);
        for (int state = 0; state < count; state++)
        {
            if (first[kind[state]] < 0)
                first[kind[state]] = state;
            likes[state] = first[kind[state]];
        }

        return likes;
    }

    /// <summary>What a state is and where its edges lead, as far as it is known.</summary>
    private readonly struct Signature : IEquatable<Signature>
    {
        private readonly (int, int, int)[] _edges;
        private readonly int _hash;

        public Signature(int kind, ByteAutomaton.ByteEdge[] bytes, ByteAutomaton.CallEdge[] calls, int[] kinds)
        {
            var edges = new (int, int, int)[1 + bytes.Length + calls.Length];
            edges[0] = (-1, kind, 0);
            for (int index = 0; index < bytes.Length; index++)
                edges[1 + index] = (bytes[index].Low, bytes[index].High, kinds[bytes[index].Target]);
            // Rules are told apart by where they begin, and by whether anybody comes back.
            for (int index = 0; index < calls.Length; index++)
                edges[1 + bytes.Length + index] = (256 + calls[index].Start, calls[index].IsTail ? 1 : 0,
                    kinds[calls[index].Return]);
            Array.Sort(edges, 1, edges.Length - 1);
            var hash = new HashCode();
            foreach ((int, int, int) edge in edges)
                hash.Add(edge);
            (_edges, _hash) = (edges, hash.ToHashCode());
        }

        public bool Equals(Signature other) => _hash == other._hash && _edges.AsSpan().SequenceEqual(other._edges);

        public override bool Equals(object? obj) => obj is Signature other && Equals(other);

        public override int GetHashCode() => _hash;
    }
}
