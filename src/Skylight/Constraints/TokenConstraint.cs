namespace Skylight.Constraints;

/// <summary>
/// A form and a vocabulary: which tokens may follow where. What was found out is kept, so that requests of the same form
/// should share one of these. May be used by many threads.
/// </summary>
public sealed class TokenConstraint
{
    private readonly Lock _gate = new();
    private readonly ConstraintWork _work = new();
    private readonly ByteAutomaton _automaton;
    private readonly ConstraintVocabulary _vocabulary;
    private readonly uint[] _words;
    private readonly Configuration[] _path;
    private readonly Dictionary<int, (TokenMask Mask, int[] Exits)> _ofPlaces = [];
    private readonly List<int> _exits = [];
    private ConfigurationSet _configurations;
    private int[]? _likes;
    private long _maskBytes;

    /// <summary>Makes the pair; masks are found when they are first needed.</summary>
    /// <param name="constraint">The form.</param>
    /// <param name="vocabulary">The tokens that answers are written with.</param>
    public TokenConstraint(Constraint constraint, ConstraintVocabulary vocabulary)
    {
        ArgumentNullException.ThrowIfNull(constraint);
        ArgumentNullException.ThrowIfNull(vocabulary);
        (_automaton, _vocabulary) = (constraint.Automaton, vocabulary);
        _words = new uint[(vocabulary.Size + 31) / 32];
        _path = new Configuration[vocabulary.LongestToken + 1];
        _configurations = new ConfigurationSet(_automaton, _work);
        Constraint = constraint;
    }

    /// <summary>The form.</summary>
    public Constraint Constraint { get; }

    /// <summary>The tokens of the vocabulary.</summary>
    public int VocabularySize => _vocabulary.Size;

    /// <summary>How often a mask had to be looked up in the tree of tokens.</summary>
    internal long Walks { get; private set; }

    /// <summary>Where an answer begins.</summary>
    internal Configuration Start
    {
        get
        {
            lock (_gate)
                return _configurations.Start;
        }
    }

    /// <summary>The tokens that may follow, those that end an answer left aside.</summary>
    /// <exception cref="ConstraintException">The answer can be read in too many ways at once, or finding the tokens takes
    /// too long for that reason.</exception>
    internal TokenMask MaskOf(Configuration configuration)
    {
        lock (_gate)
        {
            if (configuration.Mask is { } known)
                return known;
            ForgetIfMuch();
            _work.BeginMask();
            _likes ??= StateLikeness.Of(_automaton, _vocabulary.LongestToken);
            Configuration alike = _configurations.Alike(configuration, _likes);
            return configuration.Mask = alike.Mask ??= Find(alike);
        }
    }

    /// <summary>Where a token leads.</summary>
    /// <exception cref="ConstraintException">It may not follow, or the answer can be read in too many ways at
    /// once.</exception>
    internal Configuration Step(Configuration from, int token)
    {
        lock (_gate)
        {
            ReadOnlySpan<byte> bytes = _vocabulary.BytesOf(token);
            // Tokens that are no text may stand in thinking. Those of think tags end it; any other ends whatever of a
            // tag has been written, which a byte does that is in no text.
            if (_vocabulary.IsSpecial(token) && from.IsFree && !IsTag(bytes))
                bytes = [0xFF];
            Configuration? next = bytes.Length == 0 ? null : from;
            foreach (byte value in bytes)
            {
                next = _configurations.Step(next!, value);
                if (next is null)
                    break;
            }

            return next ?? throw new ConstraintException(
                $"Token {token} does not fit the form of the answer, {Constraint.Describe()}, where it stands.");
        }
    }

    private static bool IsTag(ReadOnlySpan<byte> bytes) => bytes.SequenceEqual("</think>"u8);

    private TokenMask Find(Configuration configuration)
    {
        uint[] words = new uint[_words.Length];
        foreach (Place place in configuration.Places)
        {
            (TokenMask mask, int[] exits) = OfPlace(place.State);
            mask.AddTo(words);
            if (place.Below is null)
                continue;
            // Tokens within which the place's rule ends go on where it was called.
            Configuration after = _configurations.After(place.Below);
            foreach (int node in exits)
                Walk(node, after, words, null);
        }

        if (configuration.IsFree)
        {
            foreach (int token in _vocabulary.SpecialTokens)
                words[token >> 5] |= 1u << token;
        }

        return Count(new TokenMask(words));
    }

    /// <summary>
    /// The tokens that a place can read before its rule ends, or as it ends, and the nodes of the tree at which it may
    /// end. Where it is called from does not matter, so that the inside of every string is looked up once.
    /// </summary>
    private (TokenMask Mask, int[] Exits) OfPlace(int state)
    {
        if (_ofPlaces.TryGetValue(state, out (TokenMask Mask, int[] Exits) known))
            return known;
        Array.Clear(_words);
        _exits.Clear();
        Walk(0, _configurations.Alone(state), _words, _exits);
        known = (Count(new TokenMask(_words)), [.. _exits]);
        _maskBytes += 4 * known.Exits.Length;
        _ofPlaces.Add(state, known);
        return known;
    }

    /// <summary>Marks the tokens below a node of the tree that can be read from there.</summary>
    private void Walk(int root, Configuration from, uint[] words, List<int>? exits)
    {
        Walks++;
        byte[] label = _vocabulary.Label;
        int[] depths = _vocabulary.Depth, ends = _vocabulary.End;
        int[] firsts = _vocabulary.FirstToken, tokens = _vocabulary.Tokens;
        _path[depths[root]] = from;
        for (int node = root + 1, end = ends[root]; node < end;)
        {
            int depth = depths[node];
            if (_configurations.Step(_path[depth - 1], label[node]) is not { } next)
            {
                node = ends[node];
                continue;
            }

            _path[depth] = next;
            for (int index = firsts[node]; index < firsts[node + 1]; index++)
                words[tokens[index] >> 5] |= 1u << tokens[index];
            if (exits is not null && next.IsComplete)
                exits.Add(node);
            node++;
        }
    }

    private TokenMask Count(TokenMask mask)
    {
        _maskBytes += mask.Bytes;
        return mask;
    }

    /// <summary>
    /// Answers that run hold their own configurations, so that all may be forgotten at any time; what is needed again is
    /// found again.
    /// </summary>
    private void ForgetIfMuch()
    {
        if (_configurations.Count <= ConstraintLimits.MostConfigurations && _maskBytes <= ConstraintLimits.MostMaskBytes)
            return;
        _configurations = new ConfigurationSet(_automaton, _work);
        _ofPlaces.Clear();
        _maskBytes = 0;
    }
}
