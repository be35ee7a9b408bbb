using System.Text;

namespace Skylight.Constraints;

/// <summary>
/// A regular set of texts: states with edges that read one character each, from state 0. Nothing is made deterministic,
/// so that no pattern grows beyond its length times its repetitions.
/// </summary>
internal sealed class CharacterNfa
{
    private const int MostEdges = 1_000_000;

    private readonly Edge[][] _edges;

    private CharacterNfa(Edge[][] edges, bool[] accepts) => (_edges, Accepts) = (edges, accepts);

    /// <summary>An edge that reads a character of a set.</summary>
    public readonly record struct Edge(CharacterSet Set, int Target);

    /// <summary>The edges of each state.</summary>
    public IReadOnlyList<IReadOnlyList<Edge>> Edges => _edges;

    /// <summary>Whether a text may end in each state.</summary>
    public IReadOnlyList<bool> Accepts { get; }

    /// <summary>Whether there is no text in it.</summary>
    public bool IsEmpty => !Accepts[0] && _edges[0].Length == 0;

    /// <summary>The texts that a pattern describes.</summary>
    /// <param name="pattern">The pattern.</param>
    /// <param name="isSearched">Whether it may match anywhere in the text, as in a JSON schema; otherwise it matches the
    /// whole.</param>
    /// <param name="path">Where it stands, for errors.</param>
    /// <exception cref="ConstraintException">It is too large.</exception>
    public static CharacterNfa Of(PatternNode pattern, bool isSearched, string path)
    {
        var builder = new Builder(path);
        if (isSearched)
        {
            var anything = new PatternNode.Repeated(new PatternNode.One(CharacterSet.All), 0, null);
            pattern = new PatternNode.Sequence([anything, pattern, anything]);
        }

        return builder.Finish(pattern);
    }

    /// <summary>Texts of so many characters.</summary>
    public static CharacterNfa OfLength(int least, int? most, string path)
    {
        int count = most ?? least;
        if (count > PatternParser.MostRepeats)
            throw TooLarge(path);
        var edges = new Edge[Math.Max(0, count) + 1][];
        for (int state = 0; state < edges.Length; state++)
            edges[state] = state < count ? [new(CharacterSet.All, state + 1)]
                : most is null ? [new(CharacterSet.All, state)] : [];
        return Trim(edges, [.. edges.Select((_, state) => state >= least && (most is null || state <= most))]);
    }

    /// <summary>All texts but some.</summary>
    public static CharacterNfa Except(IEnumerable<string> texts)
    {
        // State 0 is the root of the tree of these texts; whoever leaves it comes to state 1 and stays.
        var children = new List<SortedDictionary<int, int>> { new(), new() };
        var accepts = new List<bool> { true, true };
        foreach (string text in texts)
        {
            int state = 0;
            foreach (Rune character in text.EnumerateRunes())
            {
                if (!children[state].TryGetValue(character.Value, out int next))
                {
                    children[state].Add(character.Value, next = children.Count);
                    children.Add([]);
                    accepts.Add(true);
                }

                state = next;
            }

            accepts[state] = false;
        }

        var edges = new Edge[children.Count][];
        for (int state = 0; state < edges.Length; state++)
        {
            var others = CharacterSet.Of(children[state].Keys.Select(character => (character, character))).Complement();
            edges[state] = [.. children[state].Select(child => new Edge(CharacterSet.Of(child.Key), child.Value)),
                new(others, 1)];
        }

        return new CharacterNfa(edges, [.. accepts]);
    }

    /// <summary>The texts that are in both.</summary>
    /// <exception cref="ConstraintException">There are too many states.</exception>
    public CharacterNfa Intersect(CharacterNfa other, string path)
    {
        var numbers = new Dictionary<(int, int), int> { [(0, 0)] = 0 };
        var pairs = new List<(int Own, int Their)> { (0, 0) };
        var edges = new List<Edge[]>();
        long count = 0;
        for (int state = 0; state < pairs.Count; state++)
        {
            (int own, int their) = pairs[state];
            var merged = new Dictionary<int, CharacterSet>();
            foreach (Edge mine in _edges[own])
            {
                foreach (Edge theirs in other._edges[their])
                {
                    CharacterSet set = mine.Set.Intersect(theirs.Set);
                    if (set.IsEmpty)
                        continue;
                    if (!numbers.TryGetValue((mine.Target, theirs.Target), out int target))
                    {
                        numbers.Add((mine.Target, theirs.Target), target = pairs.Count);
                        pairs.Add((mine.Target, theirs.Target));
                        if (target > ConstraintLimits.MostStates)
                            throw TooLarge(path);
                    }

                    merged[target] = merged.TryGetValue(target, out CharacterSet? before) ? before.Union(set) : set;
                }
            }

            // Pairs of edges that have nothing in common take time as well.
            if ((count += Math.Max(1, _edges[own].Length * other._edges[their].Length)) > 4 * MostEdges)
                throw TooLarge(path);
            edges.Add([.. merged.Select(pair => new Edge(pair.Value, pair.Key))]);
        }

        return Trim([.. edges], [.. pairs.Select(pair => Accepts[pair.Own] && other.Accepts[pair.Their])]);
    }

    /// <summary>Whether a text is in it.</summary>
    public bool Matches(string text)
    {
        var states = new HashSet<int> { 0 };
        foreach (Rune character in text.EnumerateRunes())
            states = [.. states.SelectMany(state => _edges[state]).Where(edge => edge.Set.Contains(character.Value))
                .Select(edge => edge.Target)];
        return states.Any(state => Accepts[state]);
    }

    /// <summary>Leaves out what leads to no end.</summary>
    private static CharacterNfa Trim(Edge[][] edges, bool[] accepts)
    {
        var before = new List<int>[edges.Length];
        for (int state = 0; state < edges.Length; state++)
        {
            foreach (Edge edge in edges[state])
                (before[edge.Target] ??= []).Add(state);
        }

        bool[] isAlive = [.. accepts];
        var open = new Stack<int>(Enumerable.Range(0, edges.Length).Where(state => accepts[state]));
        while (open.TryPop(out int state))
        {
            foreach (int earlier in before[state] ?? [])
            {
                if (isAlive[earlier])
                    continue;
                isAlive[earlier] = true;
                open.Push(earlier);
            }
        }

        for (int state = 0; state < edges.Length; state++)
            edges[state] = isAlive[state] ? [.. edges[state].Where(edge => isAlive[edge.Target])] : [];
        return new CharacterNfa(edges, accepts);
    }

    private static ConstraintException TooLarge(string path) => new(path,
        $"{path}: the pattern, with the lengths and formats beside it, needs more than {ConstraintLimits.MostStates} " +
        $"states; repeat less.");

    /// <summary>Nodes with edges that read nothing, one that reads a character, or one that asks for an end.</summary>
    private sealed class Builder(string path)
    {
        private readonly List<List<(int Target, bool AtBegin, bool AtEnd)>> _free = [];
        private readonly List<Edge?> _reads = [];

        public CharacterNfa Finish(PatternNode pattern)
        {
            int start = NewNode(), end = NewNode();
            Add(pattern, start, end);
            // States are the start and what an edge that reads leads to.
            var numbers = new Dictionary<int, int> { [start] = 0 };
            var nodes = new List<int> { start };
            var edges = new List<Edge[]>();
            var accepts = new List<bool>();
            int count = 0;
            for (int state = 0; state < nodes.Count; state++)
            {
                var merged = new Dictionary<int, CharacterSet>();
                foreach (int node in Closure(nodes[state], isBegin: state == 0, isEnd: false))
                {
                    if (_reads[node] is not { } read)
                        continue;
                    if (!numbers.TryGetValue(read.Target, out int target))
                    {
                        numbers.Add(read.Target, target = nodes.Count);
                        nodes.Add(read.Target);
                    }

                    merged[target] = merged.TryGetValue(target, out CharacterSet? before) ? before.Union(read.Set)
                        : read.Set;
                }

                if ((count += merged.Count) > MostEdges)
                    throw TooLarge(path);
                edges.Add([.. merged.Select(pair => new Edge(pair.Value, pair.Key))]);
                accepts.Add(Closure(nodes[state], isBegin: state == 0, isEnd: true).Contains(end));
            }

            return Trim([.. edges], [.. accepts]);
        }

        private void Add(PatternNode pattern, int from, int to)
        {
            switch (pattern)
            {
                case PatternNode.One one:
                    int reading = NewNode();
                    _free[from].Add((reading, false, false));
                    _reads[reading] = new Edge(one.Set, to);
                    break;
                case PatternNode.Begin:
                    _free[from].Add((to, true, false));
                    break;
                case PatternNode.End:
                    _free[from].Add((to, false, true));
                    break;
                case PatternNode.Sequence sequence:
                    foreach (PatternNode part in sequence.Parts)
                    {
                        int next = NewNode();
                        Add(part, from, next);
                        from = next;
                    }

                    _free[from].Add((to, false, false));
                    break;
                case PatternNode.Alternatives alternatives:
                    foreach (PatternNode part in alternatives.Parts)
                        Add(part, from, to);
                    break;
                case PatternNode.Repeated repeated:
                    AddRepeated(repeated, from, to);
                    break;
            }
        }

        private void AddRepeated(PatternNode.Repeated repeated, int from, int to)
        {
            for (int count = 0; count < (repeated.Most ?? repeated.Least); count++)
            {
                if (count >= repeated.Least)
                    _free[from].Add((to, false, false));
                int next = NewNode();
                Add(repeated.Part, from, next);
                from = next;
            }

            if (repeated.Most is null)
            {
                int loop = NewNode();
                _free[from].Add((loop, false, false));
                int end = NewNode();
                Add(repeated.Part, loop, end);
                _free[end].Add((loop, false, false));
                from = loop;
            }

            _free[from].Add((to, false, false));
        }

        private int NewNode()
        {
            if (_free.Count >= 4 * ConstraintLimits.MostStates)
                throw TooLarge(path);
            _free.Add([]);
            _reads.Add(null);
            return _free.Count - 1;
        }

        private HashSet<int> Closure(int node, bool isBegin, bool isEnd)
        {
            var closure = new HashSet<int> { node };
            var open = new Stack<int>([node]);
            while (open.TryPop(out int next))
            {
                foreach ((int target, bool atBegin, bool atEnd) in _free[next])
                {
                    if ((!atBegin || isBegin) && (!atEnd || isEnd) && closure.Add(target))
                        open.Push(target);
                }
            }

            return closure;
        }
    }
}
