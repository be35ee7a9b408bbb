namespace Skylight.Constraints;

/// <summary>Makes an automaton of a form, and finds out whether there is one.</summary>
internal sealed class ByteAutomatonCompiler
{
    private readonly List<Node> _nodes = [];
    private readonly Dictionary<Rule, (int Number, int Start, int End)> _rules = [];
    private readonly List<Rule> _order = [];
    private readonly string _what;
    private bool _isFree;
    private long _edges, _freeSteps;

    private ByteAutomatonCompiler(string what) => _what = what;

    /// <summary>Makes an automaton.</summary>
    /// <param name="form">The form.</param>
    /// <param name="what">What errors call it.</param>
    /// <exception cref="ConstraintException">The form is too large, cannot be satisfied, or a rule begins with
    /// itself.</exception>
    public static ByteAutomaton Compile(Form form, string what)
    {
        var compiler = new ByteAutomatonCompiler(what);
        var root = new Rule(what) { Body = form };
        compiler.NumberOf(root);
        for (int rule = 0; rule < compiler._order.Count; rule++)
        {
            (_, int start, int end) = compiler._rules[compiler._order[rule]];
            compiler.Add(compiler._order[rule].Body, start, end);
        }

        return compiler.Finish();
    }

    private int NumberOf(Rule rule)
    {
        if (!_rules.TryGetValue(rule, out (int Number, int Start, int End) known))
        {
            _rules.Add(rule, known = (_order.Count, NewNode(), NewNode()));
            _order.Add(rule);
        }

        return known.Number;
    }

    private int NewNode()
    {
        if (_nodes.Count >= 4 * ConstraintLimits.MostStates)
            throw TooLarge("states");
        _nodes.Add(new Node { IsFree = _isFree });
        return _nodes.Count - 1;
    }

    private void Add(Form form, int from, int to)
    {
        switch (form)
        {
            case Form.Literal literal:
                foreach (byte value in literal.Bytes)
                    from = AddByte(from, value, value, NewNode());
                _nodes[from].Free.Add(to);
                break;
            case Form.OneByte one:
                AddByte(from, one.Low, one.High, to);
                break;
            case Form.Sequence sequence:
                foreach (Form part in sequence.Parts)
                {
                    int next = NewNode();
                    Add(part, from, next);
                    from = next;
                }

                _nodes[from].Free.Add(to);
                break;
            case Form.Choice choice:
                foreach (Form part in choice.Parts)
                    Add(part, from, to);
                break;
            case Form.Repeated repeated:
                AddRepeated(repeated, from, to);
                break;
            case Form.Call call:
                _nodes[from].Calls.Add((NumberOf(call.Rule), to));
                break;
            case Form.Graph graph:
                AddGraph(graph, from, to);
                break;
        }
    }

    private int AddByte(int from, byte low, byte high, int to)
    {
        _nodes[from].Bytes.Add(new(low, high, to));
        return to;
    }

    private void AddRepeated(Form.Repeated repeated, int from, int to)
    {
        for (int count = 0; count < (repeated.Most ?? repeated.Least); count++)
        {
            if (count >= repeated.Least)
                _nodes[from].Free.Add(to);
            int next = NewNode();
            Add(repeated.Part, from, next);
            from = next;
        }

        if (repeated.Most is null)
        {
            int loop = NewNode(), end = NewNode();
            _nodes[from].Free.Add(loop);
            Add(repeated.Part, loop, end);
            _nodes[end].Free.Add(loop);
            from = loop;
        }

        _nodes[from].Free.Add(to);
    }

    private void AddGraph(Form.Graph graph, int from, int to)
    {
        bool wasFree = _isFree;
        _isFree = graph.IsFree;
        int[] states = [.. graph.Accepts.Select(_ => NewNode())];
        _nodes[from].Free.Add(states[0]);
        foreach ((int first, Form form, int last) in graph.Edges)
            Add(form, states[first], states[last]);
        _isFree = wasFree;
        for (int state = 0; state < states.Length; state++)
        {
            if (graph.Accepts[state])
            {
                _nodes[states[state]].Free.Add(to);
                _nodes[states[state]].IsFree = false;
            }
        }
    }

    private ByteAutomaton Finish()
    {
        bool[] isEmpty = RulesThatMayBeEmpty();
        // What a rule may leave out, its caller does: then no rule is empty.
        foreach (Node node in _nodes)
            node.Free.AddRange(node.Calls.Where(call => isEmpty[call.Rule]).Select(call => call.To).ToArray());
        List<State> states = States(out int[] starts);
        bool[] isAlive = Alive(states, starts);
        if (!isAlive[starts[0]] && !isEmpty[0])
            throw Unsatisfiable(states, starts, isAlive);
        for (int state = 0; state < states.Count; state++)
        {
            states[state].Bytes.RemoveAll(edge => !isAlive[edge.Target]);
            states[state].Calls.RemoveAll(call => !isAlive[starts[call.Rule]] || !isAlive[call.To]);
        }

        RefuseLeftRecursion(states, starts);
        return Number(states, starts, isEmpty[0]);
    }

    private bool[] RulesThatMayBeEmpty()
    {
        bool[] isEmpty = new bool[_order.Count], isReached = new bool[_nodes.Count];
        var ruleOf = new Dictionary<int, int>();
        var sites = new List<(int Node, int To)>[_order.Count];
        for (int rule = 0; rule < sites.Length; rule++)
            sites[rule] = [];
        for (int node = 0; node < _nodes.Count; node++)
        {
            foreach ((int rule, int to) in _nodes[node].Calls)
                sites[rule].Add((node, to));
        }

        var open = new Stack<int>();
        foreach (Rule rule in _order)
        {
            (int number, int start, int end) = _rules[rule];
            ruleOf.Add(end, number);
            Reach(start);
        }

        while (open.TryPop(out int node))
        {
            foreach (int target in _nodes[node].Free)
                Reach(target);
            foreach ((int rule, int to) in _nodes[node].Calls)
            {
                if (isEmpty[rule])
                    Reach(to);
            }

            if (!ruleOf.TryGetValue(node, out int ended))
                continue;
            isEmpty[ended] = true;
            foreach ((int caller, int to) in sites[ended])
            {
                if (isReached[caller])
                    Reach(to);
            }
        }

        return isEmpty;

        void Reach(int node)
        {
            if (isReached[node])
                return;
            isReached[node] = true;
            open.Push(node);
        }
    }

    private HashSet<int> Closure(int node)
    {
        var closure = new HashSet<int> { node };
        var open = new Stack<int>([node]);
        while (open.TryPop(out int next))
        {
            if ((_freeSteps += 1 + _nodes[next].Free.Count) > ConstraintLimits.MostFreeSteps)
                throw TooLarge("steps between its repeats", ConstraintLimits.MostFreeSteps);
            foreach (int target in _nodes[next].Free)
            {
                if (closure.Add(target))
                    open.Push(target);
            }
        }

        return closure;
    }

    /// <summary>States are the starts of rules, which nothing leads back to, and what edges lead to.</summary>
    private List<State> States(out int[] starts)
    {
        var states = new List<State>();
        var numbers = new Dictionary<int, int>();
        var open = new Queue<(int State, int Node, bool IsStart, int End)>();
        starts = new int[_order.Count];
        foreach (Rule rule in _order)
        {
            (int number, int start, int end) = _rules[rule];
            starts[number] = states.Count;
            states.Add(new State(number));
            open.Enqueue((starts[number], start, true, end));
        }

        while (open.TryDequeue(out (int State, int Node, bool IsStart, int End) next))
        {
            State state = states[next.State];
            foreach (int node in Closure(next.Node))
            {
                foreach (ByteAutomaton.ByteEdge edge in _nodes[node].Bytes)
                    state.Bytes.Add(edge with { Target = StateOf(edge.Target) });
                foreach ((int rule, int to) in _nodes[node].Calls)
                    state.Calls.Add((rule, StateOf(to)));
                state.IsFree |= _nodes[node].IsFree;
                state.Accepts |= node == next.End && !next.IsStart;
            }

            if ((_edges += state.Bytes.Count + state.Calls.Count) > ConstraintLimits.MostEdges)
                throw TooLarge("edges", ConstraintLimits.MostEdges);

            int StateOf(int node)
            {
                if (!numbers.TryGetValue(node, out int number))
                {
                    if (states.Count >= ConstraintLimits.MostStates)
                        throw TooLarge("states");
                    numbers.Add(node, number = states.Count);
                    states.Add(new State(state.Rule));
                    open.Enqueue((number, node, false, next.End));
                }

                return number;
            }
        }

        return states;
    }

    /// <summary>From which states an end can be reached.</summary>
    private static bool[] Alive(List<State> states, int[] starts)
    {
        bool[] isAlive = new bool[states.Count];
        var before = new List<int>?[states.Count];
        for (int state = 0; state < states.Count; state++)
        {
            foreach (ByteAutomaton.ByteEdge edge in states[state].Bytes)
                Note(edge.Target, state);
            foreach ((int rule, int to) in states[state].Calls)
            {
                Note(to, state);
                Note(starts[rule], state);
            }
        }

        var open = new Stack<int>();
        for (int state = 0; state < states.Count; state++)
            Look(state);
        while (open.TryPop(out int state))
        {
            foreach (int earlier in before[state] ?? [])
                Look(earlier);
        }

        return isAlive;

        void Note(int state, int earlier) => (before[state] ??= []).Add(earlier);

        void Look(int state)
        {
            if (isAlive[state] || !(states[state].Accepts || states[state].Bytes.Exists(edge => isAlive[edge.Target])
                || states[state].Calls.Exists(call => isAlive[starts[call.Rule]] && isAlive[call.To])))
                return;
            isAlive[state] = true;
            open.Push(state);
        }
    }

    private ConstraintException Unsatisfiable(List<State> states, int[] starts, bool[] isAlive)
    {
        // The cause is a rule that needs no other one which has no end, or else rules that need each other without end.
        bool[] needsAnother = new bool[_order.Count];
        foreach (State state in states)
            needsAnother[state.Rule] |= state.Calls.Exists(call => !isAlive[starts[call.Rule]]);
        Rule? cause = _order.Skip(1).FirstOrDefault(rule => _rules[rule].Number is var number
            && !isAlive[starts[number]] && !needsAnother[number]);
        if (cause is not null)
            return new(cause.Name, $"{_what} cannot be satisfied: there is nothing that {cause.Name} allows.");
        Rule? endless = _order.Skip(1).FirstOrDefault(rule => !isAlive[starts[_rules[rule].Number]]);
        return endless is null ? new(_what, $"{_what} cannot be satisfied: it allows nothing.")
            : new(endless.Name, $"{_what} cannot be satisfied: what {endless.Name} describes never ends, because every " +
                $"part of it needs another one.");
    }

    private void RefuseLeftRecursion(List<State> states, int[] starts)
    {
        // 0 not seen, 1 on the way, 2 done; no recursion of ours, because grammars may be deep.
        int[] seen = new int[_order.Count];
        for (int root = 0; root < seen.Length; root++)
        {
            var open = new Stack<(int Rule, int Next)>();
            if (seen[root] == 0)
                open.Push((root, 0));
            while (open.TryPop(out (int Rule, int Next) top))
            {
                seen[top.Rule] = 1;
                List<(int Rule, int To)> calls = states[starts[top.Rule]].Calls;
                if (top.Next == calls.Count)
                {
                    seen[top.Rule] = 2;
                    continue;
                }

                open.Push((top.Rule, top.Next + 1));
                int called = calls[top.Next].Rule;
                if (seen[called] == 1)
                    throw new ConstraintException(_order[called].Name, $"{_what}: the rule '{_order[called].Name}' begins " +
                        $"with itself (left recursion); write what repeats behind what ends it, such as a b* in place of " +
                        $"r ::= r b | a.");
                if (seen[called] == 0)
                    open.Push((called, 0));
            }
        }
    }

    /// <summary>Keeps what is reached, and tells apart the bytes that edges tell apart.</summary>
    private static ByteAutomaton Number(List<State> states, int[] starts, bool acceptsNothing)
    {
        var numbers = new Dictionary<int, int> { [starts[0]] = 0 };
        var order = new List<int> { starts[0] };
        for (int state = 0; state < order.Count; state++)
        {
            foreach (ByteAutomaton.ByteEdge edge in states[order[state]].Bytes)
                NumberOf(edge.Target);
            foreach ((int rule, int to) in states[order[state]].Calls)
            {
                NumberOf(starts[rule]);
                NumberOf(to);
            }
        }

        bool[] borders = new bool[257];
        foreach (ByteAutomaton.ByteEdge edge in order.SelectMany(state => states[state].Bytes))
            borders[edge.Low] = borders[edge.High + 1] = true;
        byte[] classOf = new byte[256];
        var byteOf = new List<byte> { 0 };
        for (int value = 1; value < 256; value++)
        {
            if (borders[value])
                byteOf.Add((byte)value);
            classOf[value] = (byte)(byteOf.Count - 1);
        }

        return new ByteAutomaton
        {
            Bytes = [.. order.Select(state => states[state].Bytes.Select(
                edge => edge with { Target = numbers[edge.Target] }).Distinct().ToArray())],
            Calls = [.. order.Select(state => states[state].Calls.Select(call => new ByteAutomaton.CallEdge(
                numbers[starts[call.Rule]], numbers[call.To], IsEnd(states[call.To]))).Distinct().ToArray())],
            Accepts = [.. order.Select(state => states[state].Accepts)],
            IsFree = [.. order.Select(state => states[state].IsFree)],
            Start = 0,
            AcceptsNothing = acceptsNothing,
            ClassOf = classOf,
            ByteOf = [.. byteOf],
        };

        void NumberOf(int state)
        {
            if (numbers.TryAdd(state, order.Count))
                order.Add(state);
        }

        static bool IsEnd(State state) => state.Accepts && state.Bytes.Count == 0 && state.Calls.Count == 0;
    }

    private ConstraintException TooLarge(string what, long most = ConstraintLimits.MostStates) =>
        new(_what, $"{_what} is too large: it needs more than {most} {what}; repeat less, or name less.");

    private sealed class Node
    {
        public List<int> Free { get; } = [];

        public List<ByteAutomaton.ByteEdge> Bytes { get; } = [];

        public List<(int Rule, int To)> Calls { get; } = [];

        public bool IsFree { get; set; }
    }

    private sealed class State(int rule)
    {
        public int Rule { get; } = rule;

        public List<ByteAutomaton.ByteEdge> Bytes { get; } = [];

        public List<(int Rule, int To)> Calls { get; } = [];

        public bool Accepts { get; set; }

        public bool IsFree { get; set; }
    }
}
