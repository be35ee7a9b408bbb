namespace Skylight.Constraints;

/// <summary>The configurations of an automaton that were met, each once. Not safe for use by several threads.</summary>
internal sealed class ConfigurationSet
{
    // One for all, since answers go on from configurations of sets that are forgotten.
    private static readonly Configuration s_dead = new([], false, 0);

    // So many edges are looked at while a place is made.
    private const int EdgesOfPlace = 8;

    private readonly ByteAutomaton _automaton;
    private readonly ConstraintWork _work;
    private readonly Dictionary<(int State, Place? Below), Place> _places = [];
    private readonly Dictionary<Key, Configuration> _configurations = [];
    private readonly HashSet<Place> _seen = [];
    private readonly Stack<Place> _open = [];
    private readonly List<Place> _reading = [];

    /// <param name="automaton">The form.</param>
    /// <param name="work">What is looked at counts there.</param>
    public ConfigurationSet(ByteAutomaton automaton, ConstraintWork work)
    {
        (_automaton, _work) = (automaton, work);
        Start = Of([PlaceOf(automaton.Start, null)], automaton.AcceptsNothing);
    }

    /// <summary>Where an answer begins.</summary>
    public Configuration Start { get; }

    /// <summary>How many there are.</summary>
    public int Count => _configurations.Count + _places.Count;

    /// <summary>Where a byte leads; null where it may not come.</summary>
    /// <exception cref="ConstraintException">There are too many places at once.</exception>
    public Configuration? Step(Configuration from, byte value)
    {
        int kind = _automaton.ClassOf[value];
        Configuration next = from.Next[kind] ??= Compute(from, _automaton.ByteOf[kind]);
        return ReferenceEquals(next, s_dead) ? null : next;
    }

    /// <summary>Where an answer is when the rule above a place has ended.</summary>
    public Configuration After(Place place) => place.Returned ??= Of([place], false);

    /// <summary>A single place, with nothing of the rules that it calls: what it reads itself.</summary>
    public Configuration Alone(int state)
    {
        _reading.Clear();
        _reading.Add(PlaceOf(state, null));
        return Intern(isComplete: false);
    }

    /// <summary>The same configuration with every place replaced by one that is like it.</summary>
    /// <param name="from">The configuration.</param>
    /// <param name="likes">A state for each state.</param>
    public Configuration Alike(Configuration from, int[] likes)
    {
        _seen.Clear();
        _reading.Clear();
        foreach (Place place in from.Places)
        {
            if (AlikePlace(place, likes) is var alike && _seen.Add(alike))
                _reading.Add(alike);
        }

        return Intern(from.IsComplete);
    }

    private Place AlikePlace(Place place, int[] likes)
    {
        if (place.Alike is not null)
            return place.Alike;
        // From the bottom up, without recursion: answers may be nested as deep as they are long.
        var path = new Stack<Place>();
        for (Place? next = place; next is { Alike: null }; next = next.Below)
            path.Push(next);
        while (path.TryPop(out Place? next))
            next.Alike = PlaceOf(likes[next.State], next.Below?.Alike);
        return place.Alike!;
    }

    private Configuration Compute(Configuration from, byte value)
    {
        var targets = new List<Place>();
        foreach (Place place in from.Places)
        {
            _work.Spend(1 + _automaton.Bytes[place.State].Length / EdgesOfPlace);
            foreach (ByteAutomaton.ByteEdge edge in _automaton.Bytes[place.State])
            {
                if (value >= edge.Low && value <= edge.High)
                    targets.Add(PlaceOf(edge.Target, place.Below));
            }
        }

        return targets.Count == 0 ? s_dead : Of(targets, false);
    }

    /// <summary>The configuration of places, and of those that rules lead to from there without a byte.</summary>
    private Configuration Of(IEnumerable<Place> places, bool isComplete)
    {
        _seen.Clear();
        _reading.Clear();
        foreach (Place place in places)
            Reach(place);
        while (_open.TryPop(out Place? place))
        {
            if (_automaton.Bytes[place.State].Length > 0)
                _reading.Add(place);
            foreach (ByteAutomaton.CallEdge call in _automaton.Calls[place.State])
                Reach(PlaceOf(call.Start, call.IsTail ? place.Below : PlaceOf(call.Return, place.Below)));
            if (!_automaton.Accepts[place.State])
                continue;
            if (place.Below is null)
                isComplete = true;
            else
                Reach(place.Below);
        }

        _work.Spend(_seen.Count);
        return Intern(isComplete);

        void Reach(Place place)
        {
            if (!_seen.Add(place))
                return;
            if (_seen.Count > ConstraintLimits.MostPlaces)
            {
                _open.Clear();
                throw new ConstraintException("The answer can be read in too many ways at once: more than " +
                    $"{ConstraintLimits.MostPlaces} places of the form's grammar are open. Write a grammar with fewer " +
                    "ways to read the same text.");
            }

            _open.Push(place);
        }
    }

    private Configuration Intern(bool isComplete)
    {
        var key = new Key([.. _reading], isComplete);
        if (!_configurations.TryGetValue(key, out Configuration? known))
        {
            known = new Configuration(key.Places, isComplete, _automaton.ByteOf.Length)
            {
                IsFree = Array.Exists(key.Places, place => _automaton.IsFree[place.State]),
            };
            _configurations.Add(key, known);
            // What it leads to has memory too.
            _work.Spend(known.Next.Length / 4);
        }

        return known;
    }

    private Place PlaceOf(int state, Place? below)
    {
        if (!_places.TryGetValue((state, below), out Place? known))
            _places.Add((state, below), known = new Place(state, below));
        return known;
    }

    /// <summary>A set of places, in whatever order.</summary>
    private readonly struct Key : IEquatable<Key>
    {
        private readonly bool _isComplete;
        private readonly int _hash;

        public Key(Place[] places, bool isComplete)
        {
            (Places, _isComplete, _hash) = (places, isComplete, isComplete ? 1 : 0);
            foreach (Place place in places)
                _hash += place.GetHashCode() * -1640531535;
        }

        public Place[] Places { get; }

        public bool Equals(Key other)
        {
            if (_hash != other._hash || _isComplete != other._isComplete || Places.Length != other.Places.Length)
                return false;
            return Places.AsSpan().SequenceEqual(other.Places) || new HashSet<Place>(Places).SetEquals(other.Places);
        }

        public override bool Equals(object? obj) => obj is Key other && Equals(other);

        public override int GetHashCode() => _hash;
    }
}
